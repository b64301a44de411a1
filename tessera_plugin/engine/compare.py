# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a dataset's store and its tiles hold the same: a few pixels read both ways.

Stores that were built before the published tools were mended have whole tiles displaced by a pixel
(issue 429 of geotessera), so a shift by one pixel is looked for.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FormNotOffered
from ..io.sources.base import EmbeddingSource, Failure
from ..progress import Report, part, silent
from ..values import FORMS, Access, Extent, State, Window
from . import catalog, grid
from .embeddings import open_source, valid_mask

SPOTS = 5
"""Places that are compared: the middle of the extent, and of its quarters."""

SPOT_PX = 8
"""Edge of one in pixels. Of tiles this fetches 10 rows each, of a store one to four chunks."""

NEIGHBOURS: Tuple[Tuple[int, int], ...] = tuple(itertools.product((0, -1, 1), (0, -1, 1)))
"""Rows and columns by which a copy may be displaced; none comes first."""

Pixels = Tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.bool_]]
"""Codes (H, W, D), scales (H, W), and whether anything is known of them (H, W)."""


@dataclass(frozen=True)
class CompareRequest:
    """Which dataset to compare with itself, and where."""

    dataset: str
    year: int
    extent: Extent
    access: Access


@dataclass(frozen=True)
class Comparison:
    """What came out."""

    dataset: str
    year: int
    pixels: int
    """Compared: known in both forms, and valid in at least one."""
    equal: int
    """Pixels whose codes and scale are the same, bit for bit."""
    differing: int
    """Valid in both, and not the same."""
    only_zarr: int
    """Valid in the store only."""
    only_npy: int
    """Valid in the tiles only."""
    shift: Optional[Tuple[int, int]]
    """Rows and columns by which the store's pixels lie off the tiles' where that makes more of them
    equal; None where they lie best as they are."""
    windows: Tuple[Window, ...]
    """The spots."""
    failed: Tuple[Failure, ...]
    """What did not arrive, of either form."""
    bytes_fetched: int

    @property
    def agrees(self) -> bool:
        """Whether there was something to compare, and it is all the same."""
        return self.pixels > 0 and self.equal == self.pixels

    def sentence(self) -> str:
        """Return what was compared, what came out and what to do."""
        if not self.pixels:
            why = f" ({self.failed[0].reason})" if self.failed else ": nothing is valid there"
            return f"No pixel could be compared in {len(self.windows)} spots{why}."
        if self.agrees:
            return f"The Zarr store and the tiles agree on all {self.pixels:,} pixels compared."
        found = [
            f"{count:,} {what}"
            for count, what in (
                (self.differing, "have other values"),
                (self.only_zarr, "are in the store only"),
                (self.only_npy, "are in the tiles only"),
            )
            if count
        ]
        moved = f" {_moved(*self.shift)}" if self.shift else ""
        return (
            f"The Zarr store and the tiles differ in {self.pixels - self.equal:,} of "
            f"{self.pixels:,} pixels compared: {', '.join(found)}.{moved} "
            "Use the NPY tiles for this area and tell the publisher."
        )


def compare(request: CompareRequest, report: Report = silent) -> Comparison:
    """Return whether a few pixels of an extent are the same in both forms of a dataset.

    At most 5 spots of 8 x 8 pixels are read, which takes less than 10 MB; what comes is kept.
    Raises: UnknownDataset, UnknownYear, FormNotOffered where there is one form only, ExtentInvalid,
    StoreUnusable, DecoderMissing, DiskFull, NotWritable, Cancelled.
    """
    dataset = catalog.dataset(request.dataset, request.access.stores)
    for form in FORMS:
        if form not in dataset.forms():
            raise FormNotOffered(dataset.key, form, dataset.depth, dataset.forms())
    windows = grid.windows_of(request.extent)
    spots = middles(max(windows, key=lambda window: window.pixels), SPOT_PX)
    read: Dict[str, List[Pixels]] = {}
    failed: List[Failure] = []
    size = 0
    for number, form in enumerate(FORMS):
        share = part(report, number / len(FORMS), (number + 1) / len(FORMS))
        access = replace(request.access, form=form)
        source = open_source(dataset.key, request.year, access, report=share)
        with contextlib.closing(source):
            wide = [widened(spot) for spot in spots]
            summary = source.fetch(wide, share)
            read[form] = [_pixels(source, window) for window in wide]
        failed += summary.failed
        size += summary.bytes_fetched
    counts = np.sum([_counts(*pair) for pair in zip(read["zarr"], read["npy"])], axis=0)
    pixels, equal, differing, only_zarr, only_npy = counts.tolist()
    return Comparison(
        dataset.key, request.year, pixels, equal, differing, only_zarr, only_npy,
        _shift(read["zarr"], read["npy"]), spots, tuple(failed), size,
    )  # fmt: skip


def middles(window: Window, edge_px: int) -> Tuple[Window, ...]:
    """Return the middle of a window and of its quarters as small windows that don't overlap."""
    places = ((1 / 2, 1 / 2), (1 / 4, 1 / 4), (1 / 4, 3 / 4), (3 / 4, 1 / 4), (3 / 4, 3 / 4))
    spots: List[Window] = []
    for down, right in places[:SPOTS]:
        row = window.row + int(down * window.height) - edge_px // 2
        col = window.col + int(right * window.width) - edge_px // 2
        spot = Window(window.zone, row, col, edge_px, edge_px).intersection(window)
        if spot is not None and not any(spot.intersection(other) for other in spots):
            spots.append(spot)
    return tuple(spots)


def widened(spot: Window) -> Window:
    """Return a spot with a pixel more on every side, for a copy that is displaced."""
    return Window(spot.zone, spot.row - 1, spot.col - 1, spot.height + 2, spot.width + 2)


def _pixels(source: EmbeddingSource, window: Window) -> Pixels:
    codes, scales = source.read(window)
    return codes, scales, source.states(window) != State.UNKNOWN


def _counts(zarr: Pixels, npy: Pixels) -> Tuple[int, int, int, int, int]:
    """Return the pixels compared, equal, differing, and valid in either form only."""
    ours, theirs = _inner(zarr), _inner(npy)
    known = ours[2] & theirs[2]
    in_zarr, in_npy = (valid_mask(codes, scales) & known for codes, scales, _ in (ours, theirs))
    equal = _equal(ours, theirs) & in_zarr & in_npy
    masks = (
        in_zarr | in_npy,
        equal,
        in_zarr & in_npy & ~equal,
        in_zarr & ~in_npy,
        in_npy & ~in_zarr,
    )
    pixels, same, other, only_zarr, only_npy = (int(np.count_nonzero(mask)) for mask in masks)
    return pixels, same, other, only_zarr, only_npy


def _shift(zarr: Sequence[Pixels], npy: Sequence[Pixels]) -> Optional[Tuple[int, int]]:
    """Return the rows and columns to go from a pixel of the store to its like in the tiles."""
    alike = {
        by: sum(
            int(np.count_nonzero(_equal(_inner(ours), _inner(theirs, by)) & _inner_valid(ours)))
            for ours, theirs in zip(zarr, npy)
        )
        for by in NEIGHBOURS
    }
    best = max(NEIGHBOURS, key=lambda by: alike[by])  # the first of equals: none
    return best if best != (0, 0) else None


def _inner(pixels: Pixels, by: Tuple[int, int] = (0, 0)) -> Pixels:
    """Return a spot without its border, or as far as a neighbour away."""
    height, width = pixels[1].shape
    rows, cols = (slice(1 + step, size - 1 + step) for step, size in zip(by, (height, width)))
    codes, scales, known = pixels
    return codes[rows, cols], scales[rows, cols], known[rows, cols]


def _inner_valid(pixels: Pixels) -> NDArray[np.bool_]:
    codes, scales, _ = _inner(pixels)
    return valid_mask(codes, scales)


def _equal(one: Pixels, other: Pixels) -> NDArray[np.bool_]:
    """Return which pixels have the same codes and the same scale, (H, W)."""
    same: NDArray[np.bool_] = (one[0] == other[0]).all(axis=-1) & (one[1] == other[1])
    return same


def _moved(rows: int, cols: int) -> str:
    """Return how the store lies off the tiles, in words."""
    parts = []
    if rows:
        parts.append(f"{abs(rows)} pixel {'north' if rows > 0 else 'south'}")
    if cols:
        parts.append(f"{abs(cols)} pixel {'west' if cols > 0 else 'east'}")
    return f"The store lies {' and '.join(parts)} of the tiles."
