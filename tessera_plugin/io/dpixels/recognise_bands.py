# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which band of a file is which, by what the file calls them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List, Sequence, Tuple

from .recognise_look import Look
from .recognise_names import MASK_NAMES, SCL_NAMES, band, is_unused, polarisation, tokens
from .scenes import AMPLITUDE, DECIBEL, SCL

_NUMBERED = re.compile(r"(band|layer|lyr|raster)?[ _.:-]*0*(\d+)$", re.IGNORECASE)
_BY_WAVELENGTH = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_COMMON_ORDERS = {
    10: (_BY_WAVELENGTH, "ten bands are mostly stored by wavelength"),
    11: ((*_BY_WAVELENGTH, "SCL"), "mostly ten bands by wavelength, then the scene classes"),
    12: (("", *_BY_WAVELENGTH[:8], "", *_BY_WAVELENGTH[8:]),
         "twelve bands are mostly B01 to B12 without B10"),
    13: (("", *_BY_WAVELENGTH[:8], "", "", *_BY_WAVELENGTH[8:]),
         "thirteen bands are mostly B01 to B12 with B8A"),
}  # fmt: skip
_SHOWN = 4


@dataclass(frozen=True)
class NamedBands:
    """Bands of a file by what it calls them; numbers from 1, 0 where it has none."""

    optical: Dict[str, int] = field(default_factory=dict)
    mask: int = 0
    mask_name: str = ""
    vv: int = 0
    vh: int = 0
    repeated: bool = False
    """Whether one band is there several times: several dates in one file."""
    product: str = ""
    """Of radar bands: "rtc", "grd" or empty."""
    unit: str = ""
    """That the names of radar bands suggest."""
    other: str = ""
    """What names there are, if none is known."""


def named_bands(look: Look) -> NamedBands:
    """Return which band is which; nothing of files that only number theirs."""
    names = look.names
    if _only_numbers(names):
        return NamedBands()
    optical: Dict[str, int] = {}
    radar: Dict[str, int] = {}
    masks: Dict[str, int] = {}
    repeated = False
    for number, name in enumerate(names, 1):
        kind, called = _kind(name)
        found: Dict[str, int] = {"optical": optical, "radar": radar, "mask": masks}.get(kind, {})
        repeated |= called in found
        found.setdefault(called, number)
    mask_name = SCL if SCL in masks else next(iter(masks), "")
    is_known = bool(optical or radar)
    said = " ".join(names).lower()
    return NamedBands(
        optical, masks.get(mask_name, 0), mask_name, radar.get("vv", 0), radar.get("vh", 0),
        repeated, _radar_product(said), _radar_unit(said),
        "" if is_known else _listed(names),
    )  # fmt: skip


def _kind(name: str) -> Tuple[str, str]:
    words = set(tokens(name))
    pol = polarisation(name)
    if pol in ("vv", "vh"):
        return "radar", pol
    if words & SCL_NAMES:
        return "mask", SCL
    if words & MASK_NAMES:
        return "mask", " ".join(sorted(words & MASK_NAMES))
    found = band(name)
    if found and not any(is_unused(word) for word in words):
        return "optical", found
    return "", ""


def _only_numbers(names: Sequence[str]) -> bool:
    """Whether names are empty or nothing but the band's number, B1 to Bn included."""
    if all(not name for name in names):
        return True
    numbers = [_NUMBERED.match(name.strip()) for name in names]
    if all(match and int(match.group(2)) == n for n, match in enumerate(numbers, 1)):
        return True
    return [name.strip().upper() for name in names] == [f"B{n}" for n in range(1, len(names) + 1)]


def _radar_product(said: str) -> str:
    words = set(tokens(said))
    if words & {"rtc", "tf"}:
        return "rtc"
    return "grd" if words & {"sigma0", "sigma", "grd"} else ""


def _radar_unit(said: str) -> str:
    words = set(tokens(said))
    if words & {"db", "decibel"}:
        return DECIBEL
    return AMPLITUDE if "amplitude" in words else ""


def _listed(names: Sequence[str]) -> str:
    shown: List[str] = [name or "?" for name in names[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(names) > _SHOWN else "")


def likely_order(count: int) -> Tuple[str, str]:
    """Return the likely bands of a file that names none of its `count`, and why; else empty.

    As text: "B02=1 B03=2 …".
    """
    order, why = _COMMON_ORDERS.get(count, ((), ""))
    return " ".join(f"{name}={n}" for n, name in enumerate(order, 1) if name), why
