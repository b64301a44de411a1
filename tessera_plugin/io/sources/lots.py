# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells of shards in lots that are under way at once: the nearest first, memory bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...values import Window
from ..cache import ObjectInfo
from ..zarr.metadata import ArrayMeta
from ..zarr.shards import Chunk, ShardIndex, Span, cut, plan
from ..zarr.store import Shard, ShardInfo, parts_of
from .cells import Cell, Gathered
from .spots import BlockSet, Nearness

LOT_PX = 1 << 22
"""Cells of about so many pixels are under way at once; their scales may wait for their codes."""

SQUARE_PX = 1024
"""Edge of the squares that lots are made of: writers put their chunks beside one another."""

NEAR_BYTES = (1_500_000, 2_000_000, 3_000_000, 4_000_000, 6_000_000)
"""Longest range where that many requests are not needed otherwise: the first of these with which
they suffice. The nearest can come first then, and all connections have something to do."""

CHEAP_SHARE = 0.02
"""Share of what is wanted that may be fetched in vain to have requests to spare for that."""

Cells = NDArray[np.bool_]
"""(rows, cols) of a shard's cells."""


@dataclass(frozen=True)
class ShardObject:
    """One object of a shard: its codes or its scales."""

    shard: Shard
    info: ObjectInfo
    array: ArrayMeta

    @property
    def are_scales(self) -> bool:
        """Whether it is of scales."""
        return self.array is self.shard.group.scales

    def title(self, chunk: Chunk) -> str:
        """Return what a chunk of it is called."""
        name = self.array.path.rsplit("/", 1)[-1]
        return f"{self.shard.title} {name} chunk {chunk.row}/{chunk.col}"

    def cell_of(self, chunk: Chunk) -> Tuple[int, int]:
        """Return row and column of the cell that a chunk lies in."""
        height, width = self.shard.group.cell
        return (
            chunk.row * self.array.inner_size("y") // height,
            chunk.col * self.array.inner_size("x") // width,
        )


@dataclass(frozen=True)
class Lot:
    """Cells that are under way at once."""

    cells: Dict[Tuple[Shard, int, int], Cell]
    gathered: Gathered

    def cell(self, source: ShardObject, chunk: Chunk) -> Cell:
        """Return the cell that a chunk lies in."""
        row, col = source.cell_of(chunk)
        return self.cells[source.shard, row, col]


def lots(wanted: Mapping[Shard, Cells], nearness: Nearness) -> Iterator[Dict[Shard, Cells]]:
    """Yield wanted cells in lots of a bounded number of pixels, the nearest squares first."""
    squares: List[Tuple[Tuple[float, float], str, Tuple[slice, slice], Shard]] = []
    for shard, mask in wanted.items():
        for here in _squares(shard):
            if mask[here].any():
                near = nearness.of_window(_window(shard, here))
                squares.append((near, shard.name, here, shard))
    lot: Dict[Shard, Cells] = {}
    room = LOT_PX
    for _, _, here, shard in sorted(squares, key=lambda square: square[:2]):
        pixels = int(np.count_nonzero(wanted[shard][here])) * math.prod(shard.group.cell)
        if lot and pixels > room:
            yield lot
            lot, room = {}, LOT_PX
        mask = lot.setdefault(shard, np.zeros_like(wanted[shard]))
        mask[here] = wanted[shard][here]
        room -= pixels
    if lot:
        yield lot


def objects_of(
    shard: Shard, info: ShardInfo, indexes: Mapping[str, ShardIndex], cells: Cells
) -> Iterator[Tuple[ShardObject, List[Chunk]]]:
    """Yield a shard's objects, scales first, each with its chunks in some cells."""
    for part, array in reversed(parts_of(shard.group)):
        own: Optional[ObjectInfo] = getattr(info, part)
        if own is None or part not in indexes:
            continue
        index = indexes[part]
        times = [whole // cells for whole, cells in zip(index.starts.shape, cells.shape)]
        wanted = cells.repeat(times[0], axis=0).repeat(times[1], axis=1)
        yield ShardObject(shard, own, array), index.chunks(wanted)


def ranges(objects: Sequence[Sequence[Chunk]], requests: int, spare: int) -> List[List[Span]]:
    """Return, per object, the ranges to ask for, as `plan`; shorter where the requests allow it."""
    wanted = sum(chunk.stop - chunk.start for chunks in objects for chunk in chunks)
    found = plan(objects, requests // 2, min(spare, int(CHEAP_SHARE * wanted)))
    if _count(found) > requests:
        found = plan(objects, requests, spare)
    for size in NEAR_BYTES:
        parts = [[part for span in own for part in cut(span, size)] for own in found]
        if _count(parts) <= requests:
            return parts
    return found


def _count(spans: Sequence[Sequence[Span]]) -> int:
    return sum(map(len, spans))


def blocks_of(wanted: Mapping[Shard, Cells]) -> BlockSet:
    """Return the blocks that cells touch."""
    blocks = BlockSet()
    for shard, cells in wanted.items():
        for row, mask in enumerate(cells):
            edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
            for start, stop in zip(edges[::2], edges[1::2]):
                run = _window(shard, (slice(row, row + 1), slice(start, stop)))
                inside = run.intersection(shard.footprint)
                if inside is not None:
                    blocks.add(inside)
    return blocks


def _squares(shard: Shard) -> Iterator[Tuple[slice, slice]]:
    steps = [max(SQUARE_PX // edge, 1) for edge in shard.group.cell]
    for row in range(0, shard.cells[0], steps[0]):
        for col in range(0, shard.cells[1], steps[1]):
            yield slice(row, row + steps[0]), slice(col, col + steps[1])


def _window(shard: Shard, here: Tuple[slice, slice]) -> Window:
    rows, cols = (range(*span.indices(count)) for span, count in zip(here, shard.cells))
    first, last = shard.cell_window(rows[0], cols[0]), shard.cell_window(rows[-1], cols[-1])
    return Window.between(first.zone, first.row, first.col, last.stop_row, last.stop_col)
