# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks of a store on their way into the cache: put together to cells, gathered to blocks."""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...values import Window
from ..cache import Piece
from ..zarr.metadata import ArrayMeta
from ..zarr.shards import Chunk
from ..zarr.store import Shard

FLUSH_S = 1.0
"""What has arrived waits at most about this long for the rest of its block."""

FIRST_FLUSH_S = 0.2
"""But not the very first, so that there is something to see."""

HELD_BYTES = 24_000_000
"""So much may wait for the rest of its blocks; more is written at once."""

EARLY_BLOCKS = 4

_PEAK = 127
"""Largest |code| of every valid 128-d pixel in what has been seen of published data."""
_PEAK_DEPTH = 128

Keep = Callable[[Window, Shard, Sequence[Piece]], None]
"""Puts pieces of a shard into a block."""


class Cell:
    """The smallest part of a shard of which all chunks are whole."""

    def __init__(self, shard: Shard, row: int, col: int, chunks: int) -> None:
        self.shard = shard
        self.row = row
        self.col = col
        self.window = shard.cell_window(row, col)
        self.left = chunks
        """Chunks that have not come yet."""
        self.scales_left = 0
        """Those of them that are scales."""
        self.over = False
        """Whether it was finished or given up."""
        self.codes: Optional[NDArray[np.int8]] = None
        self.scales: Optional[NDArray[np.float32]] = None

    @property
    def place(self) -> Tuple[int, int]:
        """Row and column among the cells of its shard."""
        return self.row, self.col

    @property
    def title(self) -> str:
        """As people are told."""
        return f"{self.shard.title} cell {self.row}/{self.col}"

    @property
    def part(self) -> Window:
        """What of it lies within the arrays."""
        part = self.window.intersection(self.shard.footprint)
        if part is None:
            raise ValueError(f"cell {self.row}/{self.col} lies outside {self.shard.title}")
        return part

    @property
    def held_bytes(self) -> int:
        """Bytes of the codes that it holds."""
        return 0 if self.codes is None else self.codes.nbytes

    @property
    def is_embedded(self) -> bool:
        """Whether the scale of any pixel says that it has codes."""
        return self.scales is not None and bool(((self.scales > 0) & (self.scales < 1)).any())

    def put(self, array: ArrayMeta, chunk: Chunk, raw: NDArray[np.uint8]) -> None:
        """Take an unpacked chunk in."""
        here = self._slices(array, chunk)
        if array is self.shard.group.scales:
            if self.scales is None:
                # a chunk that was never written stays like this
                self.scales = np.full(self.window.shape, np.inf, dtype=np.float32)
            self.scales[here] = _ordered(array, raw, ("time", "y", "x"))[0]
            return
        values = _ordered(array, raw, ("time", "y", "x", "band"))[0]
        if values.shape[:2] == self.window.shape:
            self.codes = np.ascontiguousarray(values)
            return
        if self.codes is None:
            self.codes = np.zeros((*self.window.shape, array.size("band")), dtype=np.int8)
        self.codes[here] = values

    def piece(self) -> Tuple[Piece, bool]:
        """Return it as arrays, and whether they are as published data usually are."""
        part = self.part
        here = part.slices_in(self.window)
        group = self.shard.group
        depth = group.codes.size("band")
        codes = _nothing((*self.window.shape, depth)) if self.codes is None else self.codes
        codes = codes[here]
        if self.scales is None:
            scales = np.full(part.shape, np.inf, dtype=np.float32)
        else:
            scales = self.scales[here]
        outside = np.isposinf(scales)
        if group.nan_is_nodata:
            scales = np.where(np.isnan(scales), np.float32(np.inf), scales)
        high, low = codes.max(axis=-1), codes.min(axis=-1)
        valid = (scales > 0) & (scales < 1) & ((high != 0) | (low != 0))
        usual = ((high == _PEAK) | (low == -_PEAK)) & (low >= -_PEAK)
        is_usual = depth != _PEAK_DEPTH or not (valid & ~usual).any()
        return Piece(part, codes, scales, valid, outside), is_usual

    def clear(self) -> None:
        """Let go of what it holds."""
        self.codes = self.scales = None

    def is_same(self, other: Cell) -> bool:
        """Whether another holds the same bits."""
        return _same(self.codes, other.codes) and _same(self.scales, other.scales)

    def _slices(self, array: ArrayMeta, chunk: Chunk) -> Tuple[slice, slice]:
        height, width = array.inner_size("y"), array.inner_size("x")
        top = chunk.row * height - self.row * self.window.height
        left = chunk.col * width - self.col * self.window.width
        return slice(top, top + height), slice(left, left + width)


class Gathered:
    """Pieces waiting for the rest of their blocks, so that blocks are not written for each.

    Threads add; one may flush, so that nothing waits for a request that stalls.
    """

    def __init__(self, cells: Sequence[Cell], keep: Keep) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._due: Dict[Window, int] = {}
        self._pieces: Dict[Window, List[Tuple[Shard, Piece]]] = {}
        self._since: Dict[Window, float] = {}
        self._held = 0
        self._has_written = False
        for cell in cells:
            for block in cell.part.whole_blocks():
                self._due[block] = self._due.get(block, 0) + 1

    @property
    def blocks(self) -> List[Window]:
        """All blocks that the cells touch."""
        return list(self._due)

    def add(self, cell: Cell, piece: Optional[Piece]) -> None:
        """Take a cell's piece, or none where it was given up; write the blocks that are complete."""
        complete: List[Window] = []
        with self._lock:
            for block in cell.part.whole_blocks():
                self._due[block] -= 1
                if piece is not None:
                    self._pieces.setdefault(block, []).append((cell.shard, piece))
                    self._since.setdefault(block, time.monotonic())
                    self._held += piece.codes.nbytes
                if not self._due[block]:
                    complete.append(block)
        for block in complete:
            self._write(block)
        if self._held > HELD_BYTES:
            self.flush(at_most=EARLY_BLOCKS)

    def flush_due(self, at_most: int) -> None:
        """Write blocks whose first piece has waited for long."""
        self.flush(FLUSH_S if self._has_written else FIRST_FLUSH_S, at_most)

    def flush(self, older_s: float = 0.0, at_most: Optional[int] = None) -> None:
        """Write the blocks whose first piece has waited for some time."""
        limit = time.monotonic() - older_s
        with self._lock:
            due = [block for block, since in self._since.items() if since <= limit]
        for block in due[:at_most]:
            self._write(block)

    def _write(self, block: Window) -> None:
        with self._lock:
            pieces = self._pieces.pop(block, [])
            self._since.pop(block, None)
            self._held -= sum(piece.codes.nbytes for _, piece in pieces)
            self._has_written = self._has_written or bool(pieces)
        by_shard: Dict[Shard, List[Piece]] = {}
        for shard, piece in pieces:
            by_shard.setdefault(shard, []).append(piece)
        for shard, own in by_shard.items():
            self._keep(block, shard, own)


def _ordered(array: ArrayMeta, raw: NDArray[np.uint8], axes: Sequence[str]) -> NDArray[np.generic]:
    """Return a chunk with its axes in this order."""
    values = raw.view(array.numpy_dtype).reshape(array.inner)
    return values.transpose([array.axes.index(axis) for axis in axes])


def _nothing(shape: Tuple[int, ...]) -> NDArray[np.int8]:
    """Return zeros that need no memory."""
    return np.broadcast_to(np.int8(0), shape)


def _same(one: Optional[NDArray[np.generic]], other: Optional[NDArray[np.generic]]) -> bool:
    if one is None or other is None:
        return one is other
    return one.tobytes() == other.tobytes()
