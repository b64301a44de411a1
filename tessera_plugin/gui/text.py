# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers as people write them, in the language of their QGIS."""

from __future__ import annotations

from typing import Iterable, Optional
from urllib.parse import urlsplit

from qgis.PyQt.QtCore import QCoreApplication, QDateTime, QLocale

from ..values import LOCAL

translate = QCoreApplication.translate

KILO = 1000.0

NONE = "\u2013"
"""A dash: there is no such number."""


def _locale() -> QLocale:
    locale = QLocale()
    # The "C" locale of a bare system writes 92000 rather than 92,000.
    return QLocale("en") if locale.name() == "C" else locale


def count(number: int) -> str:
    """Return a whole number with its groups apart."""
    return str(_locale().toString(float(number), "f", 0))


def decimal(number: float, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals."""
    return str(_locale().toString(float(number), "f", digits))


def percent(share: Optional[float], digits: int = 0) -> str:
    """Return a share (0 to 1) as percent; a dash where it is not defined."""
    if share is None:
        return NONE
    return translate("Text", "{} %").format(decimal(100 * share, digits))


def size(amount: int) -> str:
    """Return bytes in the unit that suits them."""
    value, units = float(amount), ("B", "kB", "MB", "GB", "TB")
    unit = 0
    while value >= KILO and unit < len(units) - 1:
        value, unit = value / KILO, unit + 1
    return f"{decimal(value, 1 if value < 10 and unit else 0)} {units[unit]}"


def area_km2(km2: float) -> str:
    """Return an area in square kilometres, with as many decimals as say something."""
    digits = (2 if km2 < 1 else 1) if km2 < 10 else 0
    return f"{decimal(km2, digits)} km²"


def seconds(duration_s: float) -> str:
    """Return a duration."""
    if duration_s < 0.1:
        return translate("Text", "under 0.1 s")
    if duration_s < 10:
        return f"{decimal(duration_s, 1)} s"
    if duration_s < 120:
        return f"{decimal(duration_s, 0)} s"
    return translate("Text", "{} min").format(decimal(duration_s / 60, 0))


def seconds_exactly(duration_s: float) -> str:
    """Return a duration with hundredths of a second where it is short."""
    return f"{decimal(duration_s, 2)} s" if duration_s < 10 else seconds(duration_s)


def moment(seconds_since_1970: float) -> str:
    """Return a day and time as the person's system writes them; a dash where there is none."""
    if not seconds_since_1970:
        return NONE
    when = QDateTime.fromSecsSinceEpoch(int(seconds_since_1970))
    return str(_locale().toString(when, QLocale.FormatType.ShortFormat))


def day(seconds_since_1970: float) -> str:
    """Return a day as the person's system writes it; a dash where there is none."""
    if not seconds_since_1970:
        return NONE
    when = QDateTime.fromSecsSinceEpoch(int(seconds_since_1970)).date()
    return str(_locale().toString(when, QLocale.FormatType.ShortFormat))


def pixels(number: int) -> str:
    """Return a number of pixels; large ones in millions."""
    if number < 10_000_000:
        return count(number)
    return translate("Text", "{} million").format(count(round(number / 1e6)))


def short(number: int) -> str:
    """Return about a number, in few letters: 950, 1.2k, 12k, 1.2M."""
    if number < 1000:
        return count(number)
    value, template = number / 1e3, translate("Text", "{}k")
    if number >= 999_500:
        value, template = number / 1e6, translate("Text", "{}M")
    return str(template).format(decimal(value, 0 if value >= 9.95 else 1))


def counted(number: int, one: str, many: str, *more: object) -> str:
    """Return what is said of a number of things: `one` of 1, else `many`.

    The first {} in them is the number, the others are `more`.
    """
    return (one if number == 1 else many).format(count(number), *more)


def labels(number: int) -> str:
    """Return a number of labels."""
    if number == 0:
        return translate("Text", "no labels")
    return counted(number, translate("Text", "{} label"), translate("Text", "{} labels"))


def counted_pixels(number: int) -> str:
    """Return a number of pixels with the word."""
    return counted(number, translate("Text", "{} pixel"), translate("Text", "{} pixels"))


def polygons(number: int) -> str:
    """Return a number of polygons."""
    return counted(number, translate("Text", "{} polygon"), translate("Text", "{} polygons"))


def classes(number: int) -> str:
    """Return a number of classes."""
    return counted(number, translate("Text", "{} class"), translate("Text", "{} classes"))


def parts(number: int) -> str:
    """Return a number of parts."""
    return counted(number, translate("Text", "{} part"), translate("Text", "{} parts"))


def form(name: str) -> str:
    """Return a form that embeddings are published in (`zarr`, `npy`), as people call it."""
    names = {
        "zarr": translate("Text", "Zarr store"),
        "npy": translate("Text", "NPY tiles"),
        LOCAL: translate("Text", "your own"),
    }
    return names.get(name, name)


def place(location: str) -> str:
    """Return the part of an address or a folder that people know it by."""
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        return parts.netloc.rpartition("@")[2]
    return location


def join(sentences: Iterable[str]) -> str:
    """Return sentences as one paragraph."""
    return " ".join(each for each in sentences if each)
