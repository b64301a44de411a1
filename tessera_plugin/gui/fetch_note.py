# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fetch brought, in sentences: what came, what was there, what is missing and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..errors import (
    AccessRefused,
    DiskFull,
    NetworkFailed,
    NothingPublished,
    NotWritable,
    StoreUnusable,
)
from ..tasks.fetch_jobs import Fetched, YearFetched
from ..values import LOCAL
from . import messages, note, text
from .reasons import reason

if TYPE_CHECKING:
    from ..engine.embeddings import Failure, FetchSummary

NAMED_PARTS = 3
"""So many parts that failed are named; of more only the number is told."""

TRY_AGAIN = (AccessRefused, DiskFull, NetworkFailed, NotWritable, StoreUnusable)
"""What may be over when one tries again."""

translate = QCoreApplication.translate


@dataclass(frozen=True)
class Told:
    """A fetch in words."""

    text: str
    kind: str
    is_missing: bool
    """Whether trying again may bring more."""


def tell(fetched: Fetched) -> Told:
    """Return what a fetch brought; of several years one line each."""
    several = len(fetched.years) > 1
    lines, is_missing, is_good = [], False, True
    for each in fetched.years:
        words = text.join(_year(each, short=several))
        lines.append(translate("Fetch", "{}: {}").format(each.year, words) if several else words)
        is_missing |= _is_missing(each)
        is_good &= each.result is not None and bool(each.result.summary.valid_px)
    if fetched.evicted_bytes:
        lines.append(
            translate(
                "Fetch", "The cache was over its limit: {} not used for long were removed."
            ).format(text.size(fetched.evicted_bytes))
        )
    kind = note.SUCCESS if is_good and not is_missing else note.WARNING
    return Told("\n".join(lines), kind, is_missing)


def _is_missing(fetched: YearFetched) -> bool:
    if fetched.result is not None:
        return bool(fetched.result.summary.failed)
    return fetched.error is None or isinstance(fetched.error, TRY_AGAIN)


def _year(fetched: YearFetched, *, short: bool) -> List[str]:
    if isinstance(fetched.error, NothingPublished):
        return [translate("Fetch", "Nothing is published here.")]
    if fetched.error is not None:
        happened, advice = messages.explain(fetched.error)
        return [happened] if short else [happened, advice]
    if fetched.result is None:
        return [translate("Fetch", "Not tried any more.")]
    result = fetched.result
    if result.form == LOCAL:
        return _own(result.summary)
    told = _summary(result.summary)
    if result.form_reason:
        told.append(
            translate("Fetch", "Read from the NPY tiles, as of the Zarr store {}.").format(
                reason(result.form_reason)
            )
        )
    return told


def _own(summary: FetchSummary) -> List[str]:
    """Return what there is of the person's own embeddings."""
    told = [
        translate("Fetch", "{} of {} pixels have embeddings of your own.").format(
            text.count(summary.valid_px), text.count(summary.pixels)
        )
    ]
    if summary.failed:
        told.append(translate("Fetch", "Can't be read: {}.").format(_failures(summary.failed)))
    return told


def _summary(summary: FetchSummary) -> List[str]:
    told = [_arrival(summary)]
    invalid_px = summary.pixels - summary.valid_px
    if not summary.failed and invalid_px:
        told.append(
            text.counted(
                invalid_px,
                translate("Fetch", "The other {} is water, a gap or not published."),
                translate("Fetch", "The other {} are water, gaps or not published."),
            )
        )
    if summary.absent:
        told.append(
            translate("Fetch", "Tiles that are not published: {}.").format(_named(summary.absent))
        )
    if summary.unusual:
        told.append(
            translate("Fetch", "Unusual values, kept as published: {}.").format(
                _named(summary.unusual)
            )
        )
    if summary.failed:
        told.append(translate("Fetch", "Did not arrive: {}.").format(_failures(summary.failed)))
    return told


def _arrival(summary: FetchSummary) -> str:
    valid, pixels = text.count(summary.valid_px), text.count(summary.pixels)
    if summary.bytes_fetched == 0 and not summary.failed:
        if summary.valid_px == summary.pixels:
            words = translate("Fetch", "All {} pixels were in the cache: nothing to fetch.")
            return words.format(pixels)
        words = translate(
            "Fetch",
            "Nothing to fetch: {} of {} pixels have embeddings, all were in the cache already.",
        )
        return words.format(valid, pixels)
    if summary.failed:  # of what did not arrive nobody knows whether it has embeddings
        words = translate("Fetch", "{} of {} pixels have arrived. Fetched {} in {}.")
    else:
        words = translate("Fetch", "{} of {} pixels have embeddings. Fetched {} in {}.")
    told = words.format(
        valid, pixels, text.size(summary.bytes_fetched), text.seconds(summary.seconds)
    )
    if not summary.cached_px:
        return told
    # they may be more than the valid ones: that there is water is known from the cache, too
    one = translate("Fetch", "{} was known from the cache before.")
    many = translate("Fetch", "{} were known from the cache before.")
    return text.join((told, text.counted(summary.cached_px, one, many)))


def _failures(failed: Sequence[Failure]) -> str:
    """Return the parts that failed by name, those of the same reason together."""
    by_reason: Dict[str, List[str]] = {}
    for each in failed:
        by_reason.setdefault(reason(each.reason), []).append(each.part)
    told: List[Tuple[str, str]] = [(_named(parts), why) for why, parts in by_reason.items()]
    return "; ".join(translate("Fetch", "{} ({})").format(*each) for each in told)


def _named(parts: Sequence[str]) -> str:
    """Return the first parts by name and how many more there are."""
    named = ", ".join(parts[:NAMED_PARTS])
    if len(parts) <= NAMED_PARTS:
        return named
    return translate("Fetch", "{} and {} more").format(named, len(parts) - NAMED_PARTS)
