# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is published in an extent, what of it is cached, and how many bytes a fetch would bring."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..io.sources import availability, choice
from ..io.sources.base import EmbeddingSource, Failure
from ..io.sources.coverage import Survey, Told, some_published
from ..io.sources.coverage_ground import Ground
from ..io.sources.coverage_local import some_encoded
from ..io.sources.coverage_local import survey as survey_local
from ..io.sources.coverage_map import CoveragePart
from ..io.sources.coverage_npy import TilesGround
from ..io.sources.coverage_zarr import StoreGround
from ..io.sources.local_store import LocalStore
from ..io.sources.npy_tiles import NpyTiles
from ..io.sources.spots import Nearness
from ..io.sources.zarr_store import ZarrStore
from ..io.zarr.decode import Unpacker
from ..progress import Report, part, silent
from ..values import EMBEDDED, LOCAL, Access, Extent, State, Window
from . import catalog, embeddings, grid

__all__ = [
    "Coverage",
    "CoveragePart",
    "CoverageRequest",
    "coverage",
    "refresh",
    "years_here",
]

AROUND_PX = 4096
"""The years of an extent are those of at most so many pixels around its middle."""

NAMES = {
    State.VALID: "valid",
    State.PUBLISHED: "published, not looked at",
    State.WATER: "water",
    State.NODATA: "without data",
    State.OUTSIDE: "not published",
    State.UNKNOWN: "not known",
}
"""States as people are told, in this order."""

LOCAL_NAMES = {
    **NAMES,
    State.PUBLISHED: "encoded, not looked at",
    State.OUTSIDE: "not encoded",
    State.UNKNOWN: "not encoded yet, or damaged",
}
"""The same of embeddings that the person made."""


@dataclass(frozen=True)
class CoverageRequest:
    """Of what extent and embeddings coverage is asked."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    depth: int = 0
    """Dimensions, where the dataset is published in several; 0 for all of them."""
    detail_px: int = 5_000_000
    """Extents of at most so many pixels are looked at pixel by pixel."""
    index_bytes: int = 64_000_000
    """At most so many bytes of shard indexes are asked for; what lies beyond is an estimate."""


@dataclass(frozen=True)
class Coverage:
    """What is known of an extent at one moment. Before a fetch, valid means: by its scale."""

    dataset: str
    year: int
    depth: int
    form: str
    windows: Tuple[Window, ...]
    """One per UTM zone."""
    parts: Tuple[CoveragePart, ...]
    """One per window, in their order."""
    pixels: int
    """Of all windows."""
    counts: Dict[State, int]
    """Pixels by state; they sum up to `pixels`."""
    cached: Dict[State, int]
    """How many of them are known from the cache: also that they are water, or not published."""
    bytes_to_fetch: int
    """What a fetch would still bring."""
    bytes_known: bool
    """Whether that follows from indexes and headers; else it is an estimate."""
    failed: Tuple[Failure, ...]
    requests: int
    """Asked for this, so far."""
    bytes_asked: int

    @property
    def cached_px(self) -> int:
        """Pixels that have embeddings, as far as is known, and are in the cache."""
        return sum(self.cached[state] for state in EMBEDDED)

    @property
    def nothing_published(self) -> bool:
        """Whether it is certain that there is nothing at all."""
        return self.counts[State.OUTSIDE] == self.pixels

    def sentences(self) -> Tuple[str, ...]:
        """Return what is known in plain English, for the command line."""
        said = [f"{self.pixels:,} pixels: {self._shares()}; {self._to_come()}."]
        if self.nothing_published:
            done = "has been encoded" if self.form == LOCAL else "is published"
            said = [f"{self.pixels:,} pixels: nothing {done} here for {self.year}."]
        if self.failed:
            said.append(_failures(self.failed, "read" if self.form == LOCAL else "asked"))
        return tuple(said)

    def to_json(self) -> Dict[str, Any]:
        """Return what is known as numbers, without the pictures."""
        return {
            "dataset": self.dataset,
            "year": self.year,
            "depth": self.depth,
            "form": self.form,
            "windows": [
                {"epsg": 32600 + w.zone, "row": w.row, "col": w.col, "height": w.height,
                 "width": w.width}
                for w in self.windows
            ],
            "pixels": self.pixels,
            "states": {state.name.lower(): self.counts[state] for state in NAMES},
            "cached_pixels": self.cached_px,
            "bytes_to_fetch": self.bytes_to_fetch,
            "bytes_exact": self.bytes_known,
            "nothing_published": self.nothing_published,
            "failed": [{"part": one.part, "reason": one.reason} for one in self.failed],
            "requests": self.requests,
            "bytes_asked": self.bytes_asked,
        }  # fmt: skip

    def _shares(self) -> str:
        names = LOCAL_NAMES if self.form == LOCAL else NAMES
        shares = [
            f"{_percent(self.counts[state], self.pixels)} {name}"
            for state, name in names.items()
            if self.counts[state]
        ]
        return ", ".join(shares)

    def _to_come(self) -> str:
        if self.form == LOCAL:
            return "nothing to come"
        cached = f"{_percent(self.cached_px, self.pixels)} in the cache"
        if not self.bytes_to_fetch:
            return f"{cached}; nothing to come"
        about = "" if self.bytes_known else "about "
        return f"{cached}; {about}{_size(self.bytes_to_fetch)} to come"


OnRefined = Callable[[Coverage], None]


def coverage(
    request: CoverageRequest,
    report: Report = silent,
    on_refined: Optional[OnRefined] = None,
    unpack: Optional[Unpacker] = None,
) -> Coverage:
    """Return what is known of an extent, having asked for what is small: no codes are fetched.

    `on_refined` is given what is known at each step, the first time before anything is asked, in
    the thread that called; what is asked is kept for the fetch. What could not be asked is named in
    the result, and unknown.
    Raises: UnknownDataset, UnknownYear, DepthNotOffered, FormNotOffered, ExtentInvalid,
    ExtentTooLarge where even shards or tiles are too many, LocationUnusable where the folder of a
    local dataset can't be read, Cancelled, DiskFull, NotWritable.
    """
    windows = grid.windows_of(request.extent)
    access = request.access
    with contextlib.closing(
        embeddings.open_source(
            request.dataset, request.year, access, request.depth, report=report, unpack=unpack
        )
    ) as source:
        refined = functools.partial(_coverage, source, windows)

        def on_told(told: Told) -> None:
            if on_refined is not None:
                on_refined(refined(told))

        if isinstance(source, LocalStore):
            return refined(
                survey_local(source, windows, detail_px=request.detail_px, report=report,
                             on_told=on_told)
            )  # fmt: skip
        near = Nearness(windows, embeddings.towards_of(request.extent, windows))
        survey = Survey(
            _ground(source, windows, near),
            windows,
            near,
            detail_px=request.detail_px,
            index_bytes=request.index_bytes,
            report=report,
            on_told=on_told,
        )
        return refined(survey.run())


def years_here(
    dataset_key: str, extent: Extent, access: Access, report: Report = silent, depth: int = 0
) -> Dict[int, State]:
    """Return of each year whether something is published around the middle of an extent.

    PUBLISHED: something is there; OUTSIDE: nothing; UNKNOWN: that could not be told. At most a few
    shards or tiles are asked, for one byte each.
    Raises: UnknownDataset, DepthNotOffered, FormNotOffered, ExtentInvalid, LocationUnusable,
    Cancelled.
    """
    whole = grid.windows_of(extent)
    towards = embeddings.towards_of(extent, whole)
    windows, near = _around(whole, towards), Nearness(whole, towards)
    dataset = catalog.dataset(dataset_key, access.stores)
    states: Dict[int, State] = {}
    years = catalog.years_of(dataset)
    for number, year in enumerate(years):
        share = part(report, number / len(years), (number + 1) / len(years))
        share(0.0, f"Looking for {year}")
        with contextlib.closing(
            embeddings.open_source(dataset_key, year, access, depth, report=share)
        ) as source:
            states[year] = _state_around(source, windows, near, share)
    return states


def refresh(dataset_key: str, access: Access) -> None:
    """Have what is known of availability asked for again: what is there, heads, indexes, the root.

    The data stay. Without a connection what was known goes on to count. Of a local dataset nothing
    is remembered that its folder does not say. Raises: UnknownDataset, DiskFull, NotWritable.
    """
    dataset = catalog.dataset(dataset_key, access.stores)
    if not dataset.local:
        availability.forget(access, dataset)
    choice.forget()


def _around(
    windows: Tuple[Window, ...], towards: Sequence[Tuple[int, int, int]]
) -> Tuple[Window, ...]:
    """Return what of windows lies around their middle, where they are large."""
    squares = [
        Window(zone, row - AROUND_PX, col - AROUND_PX, 2 * AROUND_PX, 2 * AROUND_PX)
        for zone, row, col in towards
    ]
    parts = [w.intersection(square) for w in windows for square in squares]
    return tuple(one for one in parts if one is not None) or windows[:1]


def _state_around(
    source: EmbeddingSource, windows: Tuple[Window, ...], near: Nearness, report: Report
) -> State:
    if isinstance(source, LocalStore):
        return some_encoded(source, windows)
    return some_published(_ground(source, windows, near, inside=False), report)


def _ground(
    source: EmbeddingSource, windows: Tuple[Window, ...], near: Nearness, *, inside: bool = True
) -> Ground[Any]:
    if isinstance(source, ZarrStore):
        return StoreGround(source, windows, near, inside=inside)
    if isinstance(source, NpyTiles):
        return TilesGround(source, windows, near)
    raise TypeError(f"no coverage of {type(source).__name__}")


def _coverage(source: EmbeddingSource, windows: Tuple[Window, ...], told: Told) -> Coverage:
    return Coverage(
        dataset=source.dataset.key,
        year=source.year,
        depth=source.depth,
        form=source.form,
        windows=windows,
        parts=told.parts,
        pixels=sum(window.pixels for window in windows),
        counts=told.counts,
        cached=told.cached,
        bytes_to_fetch=told.bytes_to_fetch,
        bytes_known=told.bytes_known,
        failed=told.failed,
        requests=told.requests,
        bytes_asked=told.bytes_asked,
    )


def _failures(failed: Tuple[Failure, ...], done: str) -> str:
    reasons: Dict[str, List[str]] = {}
    for failure in failed:
        reasons.setdefault(failure.reason, []).append(failure.part)
    told = [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in reasons.items()
    ]
    return f"Could not be {done}: {'; '.join(told)}."


def _percent(share: int, whole: int) -> str:
    """Return a share in percent; less than a half is not told as nothing, nor most as all."""
    percent = 100 * share / whole
    if 0 < percent < 1:
        return "under 1 %"
    if 99 < percent < 100:
        return "over 99 %"
    return f"{percent:.0f} %"


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{max(round(count / 1e3), 1):,} kB"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
