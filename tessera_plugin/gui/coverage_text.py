# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is published of an area and what a fetch costs, in sentences for the Area page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, List, Mapping, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..values import LOCAL, State
from . import note, text
from .reasons import reason

if TYPE_CHECKING:
    from ..engine.compare import Comparison
    from ..engine.compare_spaces import SpacesComparison
    from ..engine.coverage import Coverage

REQUEST_URL = "https://github.com/ucam-eo/geotessera/issues/new?template=embedding-request.yml"
"""Form by which people ask for embeddings of a place and year."""

ENCODE = "encode"
"""Where the link leads that offers to make embeddings where none are published."""

translate = QCoreApplication.translate


def is_nothing(coverage: Coverage) -> bool:
    """Whether it is certain that nothing is published in the area."""
    return coverage.nothing_published


def download(coverage: Coverage, years: Sequence[int], *, can_fetch: bool) -> str:
    """Return what is to be fetched, and how much is in the cache; empty where there is nothing."""
    if is_nothing(coverage) or coverage.form == LOCAL:
        return ""
    which = str(years[0]) if len(years) > 1 else ""
    if not coverage.bytes_to_fetch and coverage.bytes_known:
        told = translate("Coverage", "Nothing to fetch: all that is published is in the cache.")
        return f"{which}: {told}" if which else told
    amount = text.size(coverage.bytes_to_fetch)
    if not coverage.bytes_known:
        amount = translate("Coverage", "about {}").format(amount)
    if not can_fetch:
        told = translate("Coverage", "What is published here weighs {}").format(amount)
    elif which:
        told = translate("Coverage", "To fetch for {}: {}").format(which, amount)
    else:
        told = translate("Coverage", "To fetch: {}").format(amount)
    if not coverage.cached_px:
        return told
    share = _share(coverage.cached_px, coverage.pixels)
    return text.join(
        (told, translate("Coverage", "({} of the area is in the cache)").format(share))
    )


def offline(coverage: Coverage) -> str:
    """Return what can be used without asking anybody."""
    share = _share(coverage.cached_px, coverage.pixels)
    return translate("Coverage", "{} of the area is in the cache.").format(share)


def what_is_there(coverage: Coverage, years: Mapping[int, State]) -> str:
    """Return as HTML what kinds of pixels there are; empty where all are valid."""
    if is_nothing(coverage):
        return _nothing(coverage, years)
    told = [_shares(coverage)]
    if coverage.failed:
        reasons = {reason(each.reason): None for each in coverage.failed}
        told.append(
            translate("Coverage", "A part could not be told: {}.").format(", ".join(reasons))
        )
    return escape(text.join(told))


def _nothing(coverage: Coverage, years: Mapping[int, State]) -> str:
    is_own = coverage.form == LOCAL
    told = translate("Coverage", "Nothing is published here for {}.")
    if is_own:
        told = translate("Coverage", "You have encoded nothing here for {}.")
    told = told.format(coverage.year)
    others = [str(year) for year, state in years.items() if state == State.PUBLISHED]
    if others:
        also = translate("Coverage", "There is for {}.").format(", ".join(others))
        told = text.join((told, also))
    ask = translate("Coverage", "Ask the makers for it…")
    make = translate("Coverage", "Encode own scenes…")
    if is_own:
        return f'{escape(told)} <a href="{ENCODE}">{escape(make)}</a>'
    return (
        f'{escape(told)} <a href="{REQUEST_URL}">{escape(ask)}</a> '
        f'<a href="{ENCODE}">{escape(make)}</a>'
    )


def _shares(coverage: Coverage) -> str:
    names = {
        State.VALID: translate("Coverage", "{} has embeddings"),
        State.PUBLISHED: translate("Coverage", "{} is published"),
        State.WATER: translate("Coverage", "{} is water"),
        State.NODATA: translate("Coverage", "{} has no data"),
        State.OUTSIDE: translate("Coverage", "{} is not published"),
        State.UNKNOWN: translate("Coverage", "{} is not known"),
    }
    if coverage.form == LOCAL:
        names[State.PUBLISHED] = translate("Coverage", "{} is encoded")
        names[State.OUTSIDE] = translate("Coverage", "{} is not encoded")
        names[State.UNKNOWN] = translate("Coverage", "{} is not encoded yet, or damaged")
    counts = {state: coverage.counts.get(state, 0) for state in names}
    told: List[str] = [
        names[state].format(_share(count, coverage.pixels))
        for state, count in counts.items()
        if count
    ]
    is_plain = list(filter(counts.get, counts)) in ([State.VALID], [State.PUBLISHED])
    return "" if is_plain else translate("Coverage", "Of this {}.").format(", ".join(told))


def _share(count: int, pixels: int) -> str:
    """Return a share as percent that is 0 or 100 only where it is so."""
    share = count / pixels
    if 0 < share < 0.01:
        return translate("Coverage", "under {}").format(text.percent(0.01))
    if 0.99 < share < 1:
        return translate("Coverage", "over {}").format(text.percent(0.99))
    return text.percent(share)


def spaces(found: SpacesComparison) -> Tuple[str, str]:
    """Return how far two datasets agree, and what kind of news that is."""
    if not found.pixels:
        why = ", ".join(dict.fromkeys(reason(each.reason) for each in found.failed))
        told = translate("Coverage", "No pixel could be compared: {}.").format(
            why or translate("Coverage", "nothing is valid in both here")
        )
        return told, note.WARNING
    words = translate(
        "Coverage",
        "{} and {} in {}: the median cosine is {}, 5 % of the pixels are below {}, and {} of "
        "the codes are equal.",
    )
    told = words.format(
        found.dataset, found.other, text.counted_pixels(found.pixels), text.decimal(found.cosine_median, 3),
        text.decimal(found.cosine_low, 3), text.percent(found.equal_codes),
    )  # fmt: skip
    if found.looks_same:
        alike = translate("Coverage", "They look like one embedding space.")
        return text.join((told, alike)), note.SUCCESS
    other = translate(
        "Coverage", "They don't look like one embedding space: use a head of its own for each."
    )
    return text.join((told, other)), note.INFO


def comparison(found: Comparison) -> Tuple[str, str]:
    """Return whether the two published forms agree, and what kind of news that is."""
    if not found.pixels:
        why = ", ".join(dict.fromkeys(reason(each.reason) for each in found.failed))
        told = translate("Coverage", "No pixel could be compared: {}.").format(
            why or translate("Coverage", "nothing is valid here")
        )
        return told, note.WARNING
    if found.agrees:
        told = translate("Coverage", "The Zarr store and the NPY tiles agree on all {} pixels.")
        return told.format(text.count(found.pixels)), note.SUCCESS
    told = translate("Coverage", "The Zarr store and the NPY tiles differ in {} of {} pixels.")
    sentences = [told.format(text.count(found.pixels - found.equal), text.count(found.pixels))]
    if found.shift:
        sentences.append(
            translate("Coverage", "The store lies {} and {} off the tiles, a known defect.").format(
                text.counted(
                    found.shift[0],
                    translate("Coverage", "{} row"),
                    translate("Coverage", "{} rows"),
                ),
                text.counted(
                    found.shift[1],
                    translate("Coverage", "{} column"),
                    translate("Coverage", "{} columns"),
                ),
            )
        )
    sentences.append(translate("Coverage", "Choose the NPY tiles in the settings for this area."))
    return text.join(sentences), note.WARNING
