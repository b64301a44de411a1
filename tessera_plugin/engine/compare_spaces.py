# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How far two datasets of the same place and year agree: a person's own beside a published one.

Only a comparison: whatever comes out, a head of one of them is never used with the other.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import EmbeddingSource, Failure
from ..io.sources.local_store import LocalStore
from ..progress import Report, part, silent
from ..values import Access, Dataset, Extent, Window
from . import catalog, grid
from .compare import NEIGHBOURS, middles, widened
from .embeddings import dequantise, open_source, valid_mask

SPOT_PX = 16
"""Edge of a spot in pixels. Of published tiles a spot takes 18 rows, of a store one to four chunks."""

SAME = (0.95, 0.8)
"""Median and 5th percentile of the cosine from which on two spaces look like the same one."""

RELATED = 0.5
"""Median of the cosine from which on they have something in common."""

BETTER = 0.02
"""A displaced copy is told of where it raises the median by so much."""

_Pixels = Tuple[NDArray[np.int8], NDArray[np.float32]]
"""Codes (H, W, D) and scales (H, W)."""


@dataclass(frozen=True)
class SpacesRequest:
    """Which two datasets to compare, and where."""

    dataset: str
    other: str
    year: int
    extent: Extent
    access: Access


@dataclass(frozen=True)
class SpacesComparison:
    """What came out."""

    dataset: str
    other: str
    year: int
    pixels: int
    """Compared: valid in both."""
    depth: int
    """Dimensions compared, the first ones of both."""
    depths: Tuple[int, int]
    """Dimensions that they have."""
    cosine_median: float
    """Per pixel; NaN, like what follows, where no pixel was compared."""
    cosine_low: float
    """The 5th percentile of it."""
    equal_codes: float
    """Share of the codes that are the same number."""
    relative_scale: float
    """Median of the length of an embedding of the first by that of the second."""
    shift: Optional[Tuple[int, int]]
    """Rows and columns by which the second lies off the first where that fits better; else None."""
    windows: Tuple[Window, ...]
    """The spots."""
    failed: Tuple[Failure, ...]
    """What did not arrive, of either."""
    bytes_fetched: int

    @property
    def looks_same(self) -> bool:
        """Whether they look like one embedding space."""
        return self.cosine_median >= SAME[0] and self.cosine_low >= SAME[1]

    def sentence(self) -> str:
        """Return what was compared and what came out."""
        if not self.pixels:
            why = f" ({self.failed[0].reason})" if self.failed else ": none is valid in both"
            return f"No pixel could be compared in {len(self.windows)} spots{why}."
        return (
            f"{self.dataset} and {self.other} in {self.pixels:,} pixels of {self.year}: the median "
            f"cosine is {self.cosine_median:.3f} (5 % are below {self.cosine_low:.3f}), "
            f"{100 * self.equal_codes:.0f} % of the codes are equal, and the first is "
            f"{self.relative_scale:.2f} times as long.{self._prefix()}{self._moved()} {self._verdict()}"
        )

    def _verdict(self) -> str:
        if self.looks_same:
            return "They look like the same embedding space."
        if self.cosine_median >= RELATED:
            return "They are related, but don't look like the same embedding space."
        return "They look like different embedding spaces."

    def _prefix(self) -> str:
        if self.depths == (self.depth, self.depth):
            return ""
        ours, theirs = self.depths
        return f" They have {ours} and {theirs} dimensions: the first {self.depth} were compared."

    def _moved(self) -> str:
        if self.shift is None:
            return ""
        ways = (("north", "south"), ("west", "east"))
        steps = [f"1 pixel {names[step > 0]}" for step, names in zip(self.shift, ways) if step]
        return f" {self.other} seems to lie {' and '.join(steps)} of its place."


def compare_spaces(request: SpacesRequest, report: Report = silent) -> SpacesComparison:
    """Return how far a few pixels of an extent agree in two datasets of different spaces or depths.

    At most 5 spots of 16 x 16 pixels are read; what comes of a published one is kept.
    Raises: UnknownDataset, UnknownYear, FormNotOffered, ExtentInvalid, LocationUnusable,
    StoreUnusable, DecoderMissing, DiskFull, NotWritable, Cancelled.
    """
    access = request.access
    both = [catalog.dataset(key, access.stores) for key in (request.dataset, request.other)]
    wanted = _wanted_depths(*both)
    spots = _spots(both, request)
    read: List[List[_Pixels]] = []
    failed: Dict[Failure, None] = {}
    size = 0
    for number, (dataset, depth) in enumerate(zip(both, wanted)):
        share = part(report, number / 2, (number + 1) / 2)
        source = open_source(dataset.key, request.year, access, depth, report=share)
        with contextlib.closing(source):
            wide = [widened(spot) for spot in spots]
            summary = source.fetch(wide, share)
            read.append([source.read(window) for window in wide])
        failed.update(dict.fromkeys(_of_spots(summary.failed, source)))
        size += summary.bytes_fetched
    depth = min(wanted)
    pairs = [(_cut(ours, depth), _cut(theirs, depth)) for ours, theirs in zip(*read)]
    x, y = (np.concatenate(side) for side in zip(*(_vectors(*pair) for pair in pairs)))
    cosines = _cosines(x, y) if len(x) else np.array([np.nan])
    median, low = (float(np.percentile(cosines, at)) for at in (50, 5))
    return SpacesComparison(
        request.dataset, request.other, request.year, len(x), depth, wanted, median, low,
        _equal_share(pairs), float(np.median(_lengths(x) / _lengths(y))) if len(x) else np.nan,
        _shift(pairs, median), spots, tuple(failed), size,
    )  # fmt: skip


def _wanted_depths(one: Dataset, other: Dataset) -> Tuple[int, int]:
    """Return the depths to read: the largest that both have, else all there is of either."""
    shared = set(one.depths) & set(other.depths)
    return (max(shared), max(shared)) if shared else (one.depth, other.depth)


def _spots(both: Sequence[Dataset], request: SpacesRequest) -> Tuple[Window, ...]:
    """Return small windows where the person's own embeddings lie within the extent.

    Each window's middle and those of its quarters; of the largest windows first, 5 at most.
    """
    windows = list(grid.windows_of(request.extent))
    for dataset in both:
        if dataset.local:
            catalog.check_year(dataset, request.year)
            scenes = LocalStore(request.access, dataset, request.year).scenes
            parts = [scene.window.intersection(window) for scene in scenes for window in windows]
            windows = [each for each in parts if each is not None] or windows
    return middles(max(windows, key=lambda window: window.pixels), SPOT_PX)


def _of_spots(failed: Sequence[Failure], source: EmbeddingSource) -> Sequence[Failure]:
    """Return what failed, without a person's scenes that lie elsewhere."""
    problems = source.problems() if isinstance(source, LocalStore) else ()
    return [failure for failure in failed if failure not in problems]


def _shift(
    pairs: Sequence[Tuple[_Pixels, _Pixels]], as_they_are: float
) -> Optional[Tuple[int, int]]:
    """Return the rows and columns to go to find what fits better in the second, if any does."""
    medians = {}
    for by in NEIGHBOURS[1:]:
        x, y = (np.concatenate(side) for side in zip(*(_vectors(*pair, by) for pair in pairs)))
        medians[by] = float(np.median(_cosines(x, y))) if len(x) else -1.0
    best = max(medians, key=lambda by: medians[by])
    is_better = medians[best] >= max(as_they_are + BETTER, RELATED)
    return best if is_better else None


def _cut(pixels: _Pixels, depth: int) -> _Pixels:
    codes, scales = pixels
    return codes[..., :depth], scales


def _equal_share(pairs: Sequence[Tuple[_Pixels, _Pixels]]) -> float:
    """Return the share of the codes that are equal, of the pixels that are valid in both."""
    equal: List[NDArray[np.bool_]] = []
    for ours, theirs in pairs:
        mine, other = _inner(ours), _inner(theirs)
        valid = valid_mask(*mine) & valid_mask(*other)
        equal.append(mine[0][valid] == other[0][valid])
    every = np.concatenate(equal)
    return float(every.mean()) if every.size else float("nan")


def _vectors(
    ours: _Pixels, theirs: _Pixels, by: Tuple[int, int] = (0, 0)
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the embeddings (n, D) of a spot's pixels that are valid in both."""
    x, y = dequantise(*_inner(ours)), dequantise(*_inner(theirs, by))
    valid = np.isfinite(x[..., 0]) & np.isfinite(y[..., 0])
    return x[valid], y[valid]


def _inner(pixels: _Pixels, by: Tuple[int, int] = (0, 0)) -> _Pixels:
    """Return a spot without its border, or as far as a neighbour away."""
    height, width = pixels[1].shape
    rows, cols = (slice(1 + step, size - 1 + step) for step, size in zip(by, (height, width)))
    return pixels[0][rows, cols], pixels[1][rows, cols]


def _cosines(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    products = np.einsum("nd,nd->n", x, y, dtype=np.float64)
    return np.asarray(products / (_lengths(x) * _lengths(y)))


def _lengths(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64)))
