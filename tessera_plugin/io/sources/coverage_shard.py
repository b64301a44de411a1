# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a shard before anything of it is fetched: its indexes, and its scales."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DecoderMissing, DiskFull, NotWritable
from ...values import Window
from ..objects import NotFound
from ..zarr.decode import check_decoder, decode
from ..zarr.metadata import ArrayMeta
from ..zarr.shards import Chunk, ShardIndex, Span
from ..zarr.store import Shard, ShardInfo
from . import presence
from .ahead import Ahead
from .coverage_map import (
    NODATA,
    OUTSIDE,
    PUBLISHED,
    UNKNOWN,
    UNTOLD,
    VALID,
    WATER,
    Index,
    Lacking,
    Mask,
    Ranks,
    cells_of,
    lacking_px,
    multiples,
    united,
)
from .mirrors import Front
from .rounds import check_same
from .zarr_store import ZarrStore

UNPACKED_BYTES = 2_000_000
"""Chunks of about so many bytes are unpacked at once."""

PACKED_SHARE = 0.93
"""Codes and scales are stored in about this part of their bytes."""

DAMAGED = "damaged"

_Indexes = Dict[str, ShardIndex]


class ShardUnit:
    """A shard, and what is known of it."""

    def __init__(self, source: ZarrStore, shard: Shard, part: Window) -> None:
        self._source = source
        self._files = source.files
        self._ahead = Ahead(source.cache)
        self._codes_path, self._scales_path = (
            self._files.path(shard.key(array)) for array in (shard.group.codes, shard.group.scales)
        )
        self.shard = shard
        self.part = part
        """What of it the windows ask for."""
        self.info: Optional[ShardInfo] = None
        self._length = 0
        self._table: Optional[Ranks] = None
        self._codes_there: Optional[Mask] = None
        self._sizes: Optional[Index] = None
        self._detail: Optional[Ranks] = None
        self._drawn: Optional[Mask] = None
        self._lock = threading.Lock()
        self._arrived: List[Tuple[int, bytes]] = []
        self.name = shard.name
        self.title = shard.title
        self.footprint = shard.footprint

    @property
    def is_absent(self) -> bool:
        """Whether nothing was ever written there."""
        return self.info is not None and self.info.absent

    @property
    def is_seen(self) -> bool:
        """Whether it is known if there is anything."""
        return self.info is not None or self._length > 0

    @property
    def is_known(self) -> bool:
        """Whether all is known that needs no chunk."""
        return self.info is not None

    @property
    def index_bytes(self) -> int:
        """What its indexes weigh."""
        return self.shard.group.codes.index_bytes + self.shard.group.scales.index_bytes

    # --- what is kept

    def recall(self, info: Optional[ShardInfo], *, indexes: bool, detail: bool) -> None:
        """Take what is kept of it."""
        self.info = info
        self._length = 0 if info else presence.recalled(self._source.cache, self.name)
        if info is None or info.absent or not indexes:
            return
        found = self._files.indexes(self.shard, info)
        if found is not None:
            self._take_indexes(info, found)
            if detail:
                with contextlib.suppress(DecoderMissing):
                    self._recall_scales(info, found["scales"])

    def _take_indexes(self, info: ShardInfo, indexes: _Indexes) -> None:
        scales = indexes["scales"]
        codes = indexes.get("codes")
        sizes = _cell_bytes(scales, self.shard.cells, without=self._kept(info, scales))
        if codes is not None:
            sizes = sizes + _cell_bytes(codes, self.shard.cells)
            self._codes_there = codes.starts >= 0
        else:
            self._codes_there = np.zeros((1, 1), dtype=np.bool_)
        self._table = np.where(scales.starts >= 0, PUBLISHED, OUTSIDE).astype(np.uint8)
        self._sizes = sizes

    def _kept(self, info: ShardInfo, scales: ShardIndex) -> Mask:
        """Return which chunks of scales have been read ahead."""
        spans = self._ahead.spans(self._scales_path, info.scales) if info.scales else []
        if not spans:
            return np.zeros(scales.starts.shape, dtype=np.bool_)
        firsts, lasts = np.array(spans).T
        at = np.searchsorted(firsts, scales.starts, side="right") - 1
        kept: Mask = (scales.starts >= 0) & (at >= 0) & (scales.stops <= lasts[at])
        return kept

    def _recall_scales(self, info: ShardInfo, index: ShardIndex) -> None:
        """Take in the scales that were read ahead before."""
        kept = self._kept(info, index) & self._chunks_of_part()
        if info.scales is None or not kept.any():
            return
        chunks = index.chunks(kept)
        for first, last in self._ahead.spans(self._scales_path, info.scales):
            inside = [chunk for chunk in chunks if first <= chunk.start and chunk.stop <= last]
            found = (
                self._ahead.read(self._scales_path, info.scales.etag, first, last)
                if inside
                else None
            )
            if found is not None and not found[1]:
                self._unpack(inside, first, found[0].data)

    def _chunks_of_part(self) -> Mask:
        scales = self.shard.group.scales
        shape = (
            scales.outer_size("y") // scales.inner_size("y"),
            scales.outer_size("x") // scales.inner_size("x"),
        )
        mask = np.zeros(shape, dtype=np.bool_)
        mask[_span(self.part.row, self.part.stop_row, self.shard.top, scales.inner_size("y")),
             _span(self.part.col, self.part.stop_col, self.shard.left, scales.inner_size("x"))] = True  # fmt: skip
        return mask

    # --- what is asked

    def see(self, front: Front, root: str) -> None:
        """Ask whether there is anything, by one byte of the scales.

        Raises: NetworkFailed, AccessRefused.
        """
        try:
            reply = front.get_range(self._scales_path, 0, 1)
        except NotFound:
            self._keep(ShardInfo(self.name, time.time(), root, None, None), b"")
            return
        self._length = reply.total
        presence.keep(self._source.cache, self.name, reply.total)

    def ask(self, front: Front, root: str) -> None:
        """Ask for the indexes, and keep them for the fetch.

        Raises: IndexDamaged, NetworkFailed, AccessRefused.
        """
        info, raw = self._files.ask_shard(self.shard, root, front)
        self._keep(info, raw)
        indexes = self._files.indexes(self.shard, info)
        if indexes and not info.absent:
            self._take_indexes(info, indexes)

    def _keep(self, info: ShardInfo, raw: bytes) -> None:
        with contextlib.suppress(DiskFull, NotWritable):
            self._files.keep_shard(info, raw)
        self.info = info

    def chunks(self, lacking: Sequence[Lacking]) -> List[Chunk]:
        """Return the chunks of scales that lack, by their offset."""
        info = self.info
        if info is None or info.absent or self._sizes is None:
            return []
        check_decoder(self.shard.group.scales.codec, self._source.unpack)
        indexes = self._files.indexes(self.shard, info)
        if indexes is None:
            return []
        index = indexes["scales"]
        cells = united(lacking, self.shard.cells)
        times = [whole // part for whole, part in zip(index.starts.shape, cells.shape)]
        wanted = cells.repeat(times[0], axis=0).repeat(times[1], axis=1)
        if self._drawn is not None:
            wanted &= ~self._drawn
        return index.chunks(wanted & ~self._kept(info, index))

    def read_scales(self, front: Front, span: Span) -> None:
        """Ask for a range of scales, and take in what its chunks say of pixels.

        Raises: ObjectChanged, NetworkFailed, AccessRefused.
        """
        info = self.info.scales if self.info else None
        if info is None:
            return
        reply = front.get_range(self._scales_path, span.start, span.stop, info.etag)
        check_same(self._scales_path, reply, info.length, info)
        if self._unpack(span.chunks, span.start, reply.data):
            with self._lock:
                self._arrived.append((span.start, reply.data))

    def put_away(self) -> None:
        """Keep the scales that have come, for the fetch."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
        info = self.info
        if arrived and info is not None and info.scales is not None:
            self._ahead.keep(self._scales_path, info.scales, arrived)
            indexes = self._files.indexes(self.shard, info)
            if indexes:
                self._take_indexes(info, indexes)

    def forget(self) -> None:
        """Forget a shard that is no longer what it was."""
        self._files.forget_shard(self.name)
        self.info, self._length = None, 0
        self._table = self._sizes = self._detail = self._drawn = None

    # --- pixels

    def _unpack(self, chunks: Sequence[Chunk], start: int, data: bytes) -> bool:
        """Take in chunks out of a range; return whether all of them are sound."""
        array = self.shard.group.scales
        step = max(UNPACKED_BYTES // array.chunk_bytes, 1)
        is_sound = True
        for at in range(0, len(chunks), step):
            some = chunks[at : at + step]
            packed = [data[chunk.start - start : chunk.stop - start] for chunk in some]
            with _computing:
                out, damaged = decode(packed, array.codec, array.chunk_bytes, self._source.unpack)
                for chunk, raw, is_damaged in zip(some, out, damaged):
                    if is_damaged:
                        is_sound = False
                    else:
                        self._draw(array, chunk, raw)
        return is_sound

    def _draw(self, array: ArrayMeta, chunk: Chunk, raw: NDArray[np.uint8]) -> None:
        """Note what a chunk of scales says of the pixels that are asked for."""
        height, width = array.inner_size("y"), array.inner_size("x")
        window = Window(
            self.part.zone, self.shard.top + chunk.row * height, self.shard.left + chunk.col * width,
            height, width,
        )  # fmt: skip
        part = window.intersection(self.part)
        if part is None:
            return
        order = [array.axes.index(axis) for axis in ("time", "y", "x")]
        scales = raw.view(array.numpy_dtype).reshape(array.inner).transpose(order)[0]
        scales = scales[part.slices_in(window)]
        ranks = np.full(scales.shape, NODATA, dtype=np.uint8)
        ranks[np.isnan(scales)] = NODATA if self.shard.group.nan_is_nodata else WATER
        ranks[np.isposinf(scales)] = OUTSIDE
        ranks[(scales > 0) & (scales < 1) & self._have_codes(part)] = VALID
        if self._detail is None or self._drawn is None:
            self._detail = np.full(self.part.shape, UNTOLD, dtype=np.uint8)
            self._drawn = np.zeros_like(self._chunks_of_part())
        self._drawn[chunk.row, chunk.col] = True
        self._detail[part.slices_in(self.part)] = ranks

    def _have_codes(self, part: Window) -> Mask:
        """Return of which pixels codes were ever written; the others have none but zeros."""
        there = self._codes_there
        codes = self.shard.group.codes
        if there is None or there.shape == (1, 1):
            return np.full(part.shape, there is None or bool(there[0, 0]))
        rows = (np.arange(part.row, part.stop_row) - self.shard.top) // codes.inner_size("y")
        cols = (np.arange(part.col, part.stop_col) - self.shard.left) // codes.inner_size("x")
        have: Mask = there[rows[:, None], cols]
        return have

    def edges(self, part: Window) -> Tuple[Index, Index]:
        """Return the edges of the chunks of scales within a part, where the index is known."""
        if self._table is None:
            return _NONE, _NONE
        scales = self.shard.group.scales
        return (
            multiples(part.row, part.stop_row, self.shard.top, scales.inner_size("y")),
            multiples(part.col, part.stop_col, self.shard.left, scales.inner_size("x")),
        )

    def ranks(self, rows: Index, cols: Index) -> Ranks:
        """Return the ranks of pixels; see `Unit`."""
        table, detail = self._table, self._detail
        if table is None:
            return np.full((len(rows), len(cols)), PUBLISHED if self.is_seen else UNKNOWN, np.uint8)
        scales = self.shard.group.scales
        at = (
            (rows - self.shard.top) // scales.inner_size("y"),
            (cols - self.shard.left) // scales.inner_size("x"),
        )
        ranks: Ranks = table[at[0][:, None], at[1]]
        if detail is not None:
            told = detail[rows[:, None] - self.part.row, cols - self.part.col]
            ranks = np.where(told == UNTOLD, ranks, told)
        return ranks

    def lacking(self, rows: Index, cols: Index, wanted: Mask) -> Lacking:
        """Return what is needed of it; see `Unit`."""
        pixels = lacking_px(rows, cols, wanted)
        if self._table is None:
            return Lacking(pixels, 0, 0, None)
        row, col, cells = cells_of(self.footprint, self.shard.group.cell, rows, cols, wanted)
        return Lacking(pixels, row, col, cells)

    def bytes_of(self, lacking: Sequence[Lacking]) -> Tuple[int, bool]:
        """Return what a fetch brings of it, and whether that is exact."""
        if self._sizes is not None and all(one.cells is not None for one in lacking):
            return int(self._sizes[united(lacking, self.shard.cells)].sum()), True
        group = self.shard.group
        pixels = sum(one.pixels for one in lacking)
        share = 1.0
        length = self.info.scales.length if self.info and self.info.scales else self._length
        if length:
            whole = 4 * math.prod(group.shard) * PACKED_SHARE
            share = min((length - group.scales.index_bytes) / whole, 1.0)
        estimate = share * pixels * (group.codes.size("band") + 4) * PACKED_SHARE
        return int(estimate) + (0 if self.info else self.index_bytes), False


def _cell_bytes(index: ShardIndex, cells: Tuple[int, int], without: Optional[Mask] = None) -> Index:
    """Return the stored bytes of each cell of a shard."""
    sizes = np.where(index.starts >= 0, index.stops - index.starts, 0)
    if without is not None:
        sizes[without] = 0
    rows, cols = (whole // part for whole, part in zip(sizes.shape, cells))
    total: Index = sizes.reshape(cells[0], rows, cells[1], cols).sum(axis=(1, 3))
    return total


def _span(start: int, stop: int, origin: int, step: int) -> slice:
    return slice((start - origin) // step, (stop - 1 - origin) // step + 1)


_NONE: Index = np.zeros(0, dtype=np.int64)
_computing = threading.Lock()
