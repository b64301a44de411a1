# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Principal components of what a map shows, kept so that colours and stretch change at once.

From the cache only, of every so many pixels where there are many: of each cell the scores of the
strongest components are held, never its embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import BLOCK_PX, Access, Extent, Window
from .embeddings import cached_source, dequantise, valid_mask
from .explore import (
    SAMPLE_PX,
    STRETCH_PERCENT,
    Basis,
    levels,
    nothing_in_cache,
    principal_components,
    stretch,
)
from .grid import check_size, windows_of
from .picture import Picture
from .products import product

COMPONENTS = 6
"""Components that can be chosen as colours."""

MOST_CELLS = 1_000_000
"""About as many as a screen has pixels."""

MOST_PX = 150_000_000
"""Views of more pixels are refused: to read every so many of them takes long."""


@dataclass(frozen=True)
class ColorParams:
    """How principal components become colours."""

    red: int = 0
    """Number of a component, 0 the strongest."""
    green: int = 1
    blue: int = 2
    low_percent: float = STRETCH_PERCENT[0]
    """So many percent of the pixels are cut off at the dark end."""
    high_percent: float = STRETCH_PERCENT[1]
    """What lies above so many percent of the pixels is cut off at the bright end."""
    gamma: float = 1.0
    """Over 1 what lies between gets brighter, under 1 darker."""

    def __post_init__(self) -> None:
        if not all(0 <= each < COMPONENTS for each in self.bands):
            raise ValueError(f"components are 0 to {COMPONENTS - 1}, not {self.bands}")
        if not 0 <= self.low_percent < self.high_percent <= 100:
            raise ValueError(f"{self.low_percent} to {self.high_percent} percent is no stretch")
        if not 0 < self.gamma < 100:
            raise ValueError(f"{self.gamma} is no gamma")

    @property
    def bands(self) -> Tuple[int, int, int]:
        """The components of red, green and blue."""
        return self.red, self.green, self.blue


@dataclass(frozen=True)
class ExploreRequest:
    """Of what the components are looked at."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    depth: int = 0
    limit_px: int = MOST_PX
    most_cells: int = MOST_CELLS
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of a sample, the strongest first."""

    mean: NDArray[np.float32]
    """(D,)."""
    vectors: NDArray[np.float32]
    """(D, 6), of depth 4 (D, 4)."""
    shares: Tuple[float, ...]
    """Of the sample's variance."""
    sample: NDArray[np.float32]
    """(n, 6), scores of the sample's pixels."""

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> Components:
        """Return those of a sample (n, D), all valid, n >= 1."""
        count = min(COMPONENTS, embeddings.shape[1])
        mean, vectors, shares = principal_components(embeddings, count)
        scores = (embeddings - mean) @ vectors
        return cls(
            mean.astype(np.float32),
            vectors.astype(np.float32),
            tuple(shares.tolist()),
            scores.astype(np.float32),
        )

    def basis(self, params: ColorParams) -> Basis:
        """Return components and stretch of red, green and blue, to colour other pixels alike."""
        bands = list(params.bands)
        percent = params.low_percent, params.high_percent
        low, high = stretch(self.sample[:, bands], percent)
        vectors = np.ascontiguousarray(self.vectors[:, bands])
        return Basis(
            self.mean, vectors, low.astype(np.float32), high.astype(np.float32), params.gamma
        )


@dataclass(frozen=True, eq=False)
class ScorePart:
    """Cells of a zone: cell (i, j) begins at row + i * cell_px, and shows the pixel in its middle."""

    zone: int
    row: int
    col: int
    cell_px: int
    scores: NDArray[np.float32]
    """(rows, cols, 6)."""
    valid: NDArray[np.bool_]
    """(rows, cols)."""


@dataclass(frozen=True, eq=False)
class ExploreView:
    """Scores of everything in view."""

    parts: Tuple[ScorePart, ...]
    components: Components
    valid_cells: int

    def pictures(self, params: ColorParams) -> Tuple[Picture, ...]:
        """Return it in colours."""
        basis, bands = self.components.basis(params), list(params.bands)
        result = []
        for each in self.parts:
            rgba = np.zeros((*each.valid.shape, 4), np.uint8)
            share = (each.scores[each.valid][:, bands] - basis.low) / (basis.high - basis.low)
            rgba[each.valid, :3] = levels(share, basis.gamma)
            rgba[each.valid, 3] = 255
            result.append(Picture(each.zone, each.row, each.col, each.cell_px, rgba))
        return tuple(result)


def explore_view(
    request: ExploreRequest, report: Report = silent, components: Optional[Components] = None
) -> ExploreView:
    """Return the scores of what is in view; nothing is fetched.

    With `components` their scores, so that colours stay the same while the map moves.
    Raises: NoValidEmbeddings, ExtentTooLarge, ExtentInvalid, UnknownDataset, UnknownYear,
    DepthNotOffered, FormNotOffered, Cancelled.
    """
    windows = windows_of(request.extent)
    with cached_source(request.dataset, request.year, request.access, request.depth) as source:
        check_size(windows, request.limit_px, source.depth)
        return explore_view_from(source, windows, request, report, components)


def explore_view_from(
    source: EmbeddingSource,
    windows: Sequence[Window],
    request: ExploreRequest,
    report: Report = silent,
    components: Optional[Components] = None,
) -> ExploreView:
    """Do `explore_view` with a source that is open."""
    cell_px = _cell_px(sum(window.pixels for window in windows), request.most_cells)
    cells = [
        _read(source, window, cell_px, part(report, *(i / len(windows) for i in (n, n + 1))))
        for n, window in enumerate(windows)
    ]
    if not any(each.valid.any() for each in cells):
        raise nothing_in_cache(source)
    if components is None:
        components = Components.of(_sample(cells, request.seed))
    parts = tuple(each.scored(components) for each in cells)
    return ExploreView(parts, components, sum(int(each.valid.sum()) for each in parts))


@dataclass(frozen=True, eq=False)
class _Cells:
    window: Window
    """The whole blocks that they were read from."""
    cell_px: int
    codes: NDArray[np.int8]
    """(rows, cols, D)."""
    scales: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def scored(self, components: Components) -> ScorePart:
        offset = components.mean @ components.vectors
        scores = np.empty((*self.valid.shape, len(offset)), np.float32)
        for number, row in enumerate(self.codes):  # a row at a time: as float all is large
            products = product(row.astype(np.float32), components.vectors)
            scores[number] = products * np.nan_to_num(self.scales[number])[:, None] - offset
        at = self.window
        return ScorePart(at.zone, at.row, at.col, self.cell_px, scores, self.valid)


def _cell_px(pixels: int, most_cells: int) -> int:
    """Return the edge of cells, a power of two up to that of a block."""
    cell_px = 1
    while cell_px < BLOCK_PX and pixels > most_cells * cell_px**2:
        cell_px *= 2
    return cell_px


def _read(source: EmbeddingSource, window: Window, cell_px: int, report: Report) -> _Cells:
    """Read the pixels in the middle of the cells of all blocks that a window touches."""
    blocks = list(window.whole_blocks())
    whole = Window.between(
        window.zone, blocks[0].row, blocks[0].col, blocks[-1].stop_row, blocks[-1].stop_col
    )
    shape = whole.height // cell_px, whole.width // cell_px
    codes = np.zeros((*shape, source.depth), np.int8)
    scales = np.full(shape, np.nan, np.float32)
    middles = np.arange(cell_px // 2, BLOCK_PX, cell_px)
    pick = source.picker(window)
    for number, block in enumerate(blocks):
        report(number / len(blocks), "preview")
        found = pick(block, middles, middles)
        top, left = (block.row - whole.row) // cell_px, (block.col - whole.col) // cell_px
        here = slice(top, top + len(middles)), slice(left, left + len(middles))
        codes[here], scales[here] = found.codes, found.scales
    return _Cells(whole, cell_px, codes, scales, valid_mask(codes, scales))


def _sample(cells: Sequence[_Cells], seed: int) -> NDArray[np.float32]:
    """Return embeddings (n, D) of valid cells, all or a seeded choice."""
    counts = [int(each.valid.sum()) for each in cells]
    chosen = np.arange(sum(counts))
    if len(chosen) > SAMPLE_PX:
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(chosen), SAMPLE_PX, replace=False))
    found: List[NDArray[np.float32]] = []
    first = 0
    for each, count in zip(cells, counts):
        mine = chosen[(chosen >= first) & (chosen < first + count)] - first
        at = tuple(axis[mine] for axis in np.nonzero(each.valid))
        found.append(dequantise(each.codes[at], each.scales[at]))
        first += count
    return np.concatenate(found)
