# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at embeddings while they arrive: principal components as colours, block by block."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import EmbeddingSource
from ..progress import Report, silent
from ..values import BLOCK_PX, Window
from .embeddings import dequantise, valid_mask
from .explore import SAMPLE_PX, Basis, basis_of, colors
from .picture import Picture
from .zones import own_pixels

FIRST_CELLS = 500
"""The first colours are computed from so many valid cells at least, if there are as many."""

KEPT_BYTES = 32_000_000
"""Values that are kept to compute the colours a second time; after that nothing is."""

ENOUGH_SHARE = 0.5
"""So much of an area tells its colours well, if there are as many cells as a sample takes."""


class LivePicture:
    """What has arrived of windows, as a small picture for each; any thread may ask for it.

    A cell shows the pixel in its middle; what is not valid is transparent, and so is, where there
    is more than one window, what lies beyond the zone's own strip. The colours are those of the
    first cells' principal components; they change once and as little as can be, when enough has come
    to know better, at the latest with the last block.
    """

    def __init__(self, windows: Sequence[Window], max_px: int = 1_000_000, seed: int = 0) -> None:
        """Begin with nothing; a window's picture is to have about `max_px` cells at most."""
        self._canvases = [_Canvas.of(window, max_px) for window in windows]
        self._is_clipped = len(windows) > 1
        self._seed = seed
        self._lock = threading.Lock()
        self._arrived: Set[Window] = set()
        self._expected = len({block for w in windows for block in w.whole_blocks()})
        self._kept: Dict[Tuple[int, Window], _Cells] = {}
        self._basis: Optional[Basis] = None
        self._is_final = False
        self._pictures: Optional[Tuple[Picture, ...]] = None

    def add(
        self, source: EmbeddingSource, blocks: Iterable[Window], report: Report = silent
    ) -> None:
        """Take in blocks (whole ones of the cache) that are in the cache now, one or more times.

        Reads them from the cache; what lies beyond the windows is passed over. `report` is called
        per block and may raise Cancelled.
        """
        for block in blocks:
            report(len(self._arrived) / max(self._expected, 1), "preview")
            for number, canvas in enumerate(self._canvases):
                inside = block.intersection(canvas.window)
                if inside is None:
                    continue
                cells = self._read(source, canvas, inside)
                if cells is not None:
                    self._take(number, block, cells)
                self._arrived.add(block)
            self._find_colors()

    def pictures(self) -> Tuple[Picture, ...]:
        """Return the pictures as they are now, one per window; the same ones until more arrives."""
        with self._lock:
            if self._pictures is None:
                self._pictures = tuple(canvas.picture() for canvas in self._canvases)
            return self._pictures

    # --- inside

    def _read(self, source: EmbeddingSource, canvas: _Canvas, inside: Window) -> Optional[_Cells]:
        rows, cols = canvas.middles(inside)
        if not rows.size or not cols.size:
            return None
        codes, scales = source.read(inside)
        places = np.ix_(rows - inside.row, cols - inside.col)
        codes, scales = codes[places], scales[places]
        valid = valid_mask(codes, scales)
        if self._is_clipped:
            valid &= own_pixels(inside)[places]
        return _Cells(rows // canvas.cell_px, cols // canvas.cell_px, valid, codes[valid],
                      scales[valid].astype(np.float32))  # fmt: skip

    def _take(self, number: int, block: Window, cells: _Cells) -> None:
        if not self._is_final:
            self._kept[number, block] = cells
        if self._basis is not None:
            self._paint([(number, cells)], self._basis)

    def _find_colors(self) -> None:
        """Compute the colours where it is time to: once early, once when much has come."""
        if self._is_final:
            return
        count = sum(len(cells.codes) for cells in self._kept.values())
        room = sum(cells.codes.nbytes + cells.scales.nbytes for cells in self._kept.values())
        is_half = len(self._arrived) >= ENOUGH_SHARE * self._expected
        is_all = len(self._arrived) >= self._expected
        is_final = is_all or room >= KEPT_BYTES or (is_half and count >= SAMPLE_PX)
        is_first = self._basis is None and (is_half or count >= FIRST_CELLS)
        if count and (is_first or is_final):
            self._basis = basis_of(self._sample(), like=self._basis)
            self._paint([(number, cells) for (number, _), cells in self._kept.items()], self._basis)
        if is_final:
            self._is_final = True
            self._kept.clear()

    def _sample(self) -> NDArray[np.float32]:
        """Return embeddings (n, D) of kept cells, all or a seeded choice."""
        codes = np.concatenate([cells.codes for cells in self._kept.values()])
        scales = np.concatenate([cells.scales for cells in self._kept.values()])
        if len(codes) > SAMPLE_PX:
            random = np.random.default_rng(self._seed)
            chosen = np.sort(random.choice(len(codes), SAMPLE_PX, replace=False))
            codes, scales = codes[chosen], scales[chosen]
        return dequantise(codes, scales)

    def _paint(self, parts: Sequence[Tuple[int, _Cells]], basis: Basis) -> None:
        painted = [(number, cells, cells.painted(basis)) for number, cells in parts]
        with self._lock:
            for number, cells, rgba in painted:
                self._canvases[number].put(cells, rgba)
            self._pictures = None


@dataclass(frozen=True, eq=False)
class _Cells:
    """What was read of a block."""

    rows: NDArray[np.int64]
    """Rows of the grid's cells."""
    cols: NDArray[np.int64]
    valid: NDArray[np.bool_]
    """(rows, cols)."""
    codes: NDArray[np.int8]
    """(n, D), of the valid ones."""
    scales: NDArray[np.float32]
    """(n,)."""

    def painted(self, basis: Basis) -> NDArray[np.uint8]:
        """Return their colours. Shape: (rows, cols, 4)."""
        rgba = np.zeros((*self.valid.shape, 4), np.uint8)
        rgba[self.valid, :3] = colors(basis, self.codes, self.scales)
        rgba[self.valid, 3] = 255
        return rgba


@dataclass(frozen=True, eq=False)
class _Canvas:
    """A window's picture; its cells begin at multiples of their size, as blocks do."""

    window: Window
    cell_px: int
    """A power of two up to a block's size."""
    rgba: NDArray[np.uint8]

    @classmethod
    def of(cls, window: Window, max_px: int) -> _Canvas:
        cell_px = 1
        while cell_px < BLOCK_PX and window.pixels > max_px * cell_px**2:
            cell_px *= 2
        rows = (window.stop_row - 1) // cell_px - window.row // cell_px + 1
        cols = (window.stop_col - 1) // cell_px - window.col // cell_px + 1
        return cls(window, cell_px, np.zeros((rows, cols, 4), np.uint8))

    def middles(self, inside: Window) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows and columns of the pixels that stand for the cells of a part."""
        half, size = self.cell_px // 2, self.cell_px
        axes: List[NDArray[np.int64]] = []
        for start, stop in ((inside.row, inside.stop_row), (inside.col, inside.stop_col)):
            pixels = np.arange(start, stop)
            axes.append(pixels[pixels % size == half])
        return axes[0], axes[1]

    def put(self, cells: _Cells, rgba: NDArray[np.uint8]) -> None:
        """Lay cells on what is there."""
        row = int(cells.rows[0]) - self.window.row // self.cell_px
        col = int(cells.cols[0]) - self.window.col // self.cell_px
        height, width = rgba.shape[:2]
        self.rgba[row : row + height, col : col + width] = rgba

    def picture(self) -> Picture:
        """Return a copy of it as it is now."""
        size = self.cell_px
        return Picture(self.window.zone, self.window.row // size * size,
                       self.window.col // size * size, size, self.rgba.copy())  # fmt: skip
