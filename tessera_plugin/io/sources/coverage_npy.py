# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What published tiles say of windows before anything is fetched: their heads, their scales."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ...errors import DiskFull, NotWritable
from ...values import Window
from ..cache import Layout, TileInfo
from ..objects import NotFound
from ..tiling import Tile
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
    lacking_px,
    united,
)
from .known_tiles import Known, tiles_around
from .mirrors import Front
from .npy_tiles import NpyTiles
from .rounds import check_same
from .spots import Nearness
from .tile_heads import ask_tile

HEADS = 200
"""So many tiles, the nearest ones, are asked for the headers of their two objects."""

RANGE_BYTES = 2_000_000
HEAD_BYTES = 256
SCALE_BYTES = 4

Check = Callable[[], None]


class TileUnit:
    """A tile, and what is known of it."""

    def __init__(self, source: NpyTiles, tile: Tile, window: Window) -> None:
        self._source = source
        self._ahead = Ahead(source.cache)
        self._paths = source.paths(tile)
        self._window = window
        self.tile = tile
        self.info: Optional[TileInfo] = None
        self._length = 0
        self._detail: Optional[Ranks] = None
        self._lock = threading.Lock()
        self._arrived: List[Tuple[int, bytes]] = []
        self.name = self.title = tile.name

    @property
    def footprint(self) -> Window:
        """Its pixels, of its own shape where that is known."""
        info = self.info
        return self.tile.footprint(info.shape if info and not info.absent else None)

    @property
    def is_absent(self) -> bool:
        """Whether the server said that there is no such tile."""
        return self.info is not None and self.info.absent

    @property
    def is_seen(self) -> bool:
        """Whether it is known if there is anything."""
        return self.info is not None or self._length > 0

    @property
    def is_known(self) -> bool:
        """Whether all is known that needs no pixel."""
        return self.info is not None

    # --- what is kept

    def recall(self, info: Optional[TileInfo], *, detail: bool) -> None:
        """Take what is kept of it."""
        self.info, self._detail = info, None
        self._length = 0 if info else presence.recalled(self._source.cache, self.name)
        if detail and info is not None and info.scales is not None:
            for first, last in self._ahead.spans(self._paths[1], info.scales):
                found = self._ahead.read(self._paths[1], info.scales.etag, first, last)
                if found is not None and not found[1]:
                    self._draw(first, found[0].data)

    # --- what is asked

    def see(self, front: Front) -> None:
        """Ask whether there is such a tile, by one byte of its codes.

        Not of its scales: a tile without them is not one that is not published.
        Raises: NetworkFailed, AccessRefused.
        """
        try:
            reply = front.get_range(self._paths[0], 0, 1)
        except NotFound:
            self._keep(TileInfo(self.name, time.time()))
            return
        self._length = reply.total
        presence.keep(self._source.cache, self.name, reply.total)

    def ask(self, front: Front) -> None:
        """Ask for the headers of its two objects, and keep them for the fetch.

        Raises: TileUnusable, ObjectChanged, NetworkFailed, AccessRefused.
        """
        self._keep(ask_tile(front, self.tile, self._paths, self._source.depth))

    def _keep(self, info: TileInfo) -> None:
        with contextlib.suppress(DiskFull, NotWritable):
            self._source.cache.keep_tile(info)
        self.info = info

    def ranges(self, lacking: Sequence[Lacking]) -> List[Tuple[int, int]]:
        """Return first and last byte of the scales that lack, in ranges that are not too long."""
        info = self.info
        if info is None or info.scales is None or info.scale_bands != 1:
            return []  # scales of every band weigh more than the codes
        rows = united(lacking, (self.footprint.height, 1))[:, 0] & ~self._kept_rows()
        rows &= ~self._drawn_rows()
        row_bytes = self.footprint.width * SCALE_BYTES
        step = max(RANGE_BYTES // row_bytes, 1)
        edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0)).tolist()
        return [
            (info.scales.offset + first * row_bytes, info.scales.offset + min(first + step, stop) * row_bytes)
            for start, stop in zip(edges[::2], edges[1::2])
            for first in range(start, stop, step)
        ]  # fmt: skip

    def read_scales(self, front: Front, first: int, last: int) -> None:
        """Ask for rows of scales, and take in what they say of pixels.

        Raises: ObjectChanged, NetworkFailed, AccessRefused.
        """
        info = self.info.scales if self.info else None
        if info is None:
            return
        reply = front.get_range(self._paths[1], first, last, info.etag)
        check_same(self._paths[1], reply, info.length, info)
        self._draw(first, reply.data)
        with self._lock:
            self._arrived.append((first, reply.data))

    def put_away(self) -> None:
        """Keep the scales that have come, for the fetch."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
        if arrived and self.info is not None and self.info.scales is not None:
            self._ahead.keep(self._paths[1], self.info.scales, arrived)

    def forget(self) -> None:
        """Forget a tile that is no longer what it was."""
        self._source.cache.forget_tile(self.name)
        self.info, self._length, self._detail = None, 0, None

    def _kept_rows(self) -> Mask:
        """Return the rows of which the scales have been read ahead."""
        height, width = self.footprint.shape
        rows = np.zeros(height, dtype=np.bool_)
        info = self.info.scales if self.info else None
        for first, last in self._ahead.spans(self._paths[1], info) if info else ():
            row_bytes = width * SCALE_BYTES
            start, stop = (first - info.offset) / row_bytes, (last - info.offset) // row_bytes  # type: ignore[union-attr]
            rows[max(int(np.ceil(start)), 0) : stop] = True
        return rows

    def _drawn_rows(self) -> Mask:
        """Return the rows of which the scales have been looked at."""
        rows: Mask = np.zeros(self.footprint.height, dtype=np.bool_)
        part = self.footprint.intersection(self._window)
        if self._detail is not None and part is not None:
            top = part.row - self.footprint.row
            rows[top : top + part.height] = self._detail[:, 0] != UNTOLD
        return rows

    # --- pixels

    def _draw(self, first: int, data: bytes) -> None:
        """Note what rows of scales, whole ones, say of the pixels that are asked for."""
        info = self.info
        part = self.footprint.intersection(self._window)
        if info is None or info.scales is None or part is None or info.scale_bands != 1:
            return
        width = self.footprint.width
        at, rest = divmod(first - info.scales.offset, width * SCALE_BYTES)
        if rest or len(data) % (width * SCALE_BYTES):
            return
        scales = np.frombuffer(data, dtype="<f4").reshape(-1, width)
        here = Window(part.zone, self.footprint.row + at, self.footprint.col, *scales.shape)
        both = here.intersection(part)
        if both is None:
            return
        scales = scales[both.slices_in(here)]
        ranks = np.full(scales.shape, NODATA, dtype=np.uint8)
        ranks[np.isnan(scales)] = WATER
        ranks[(scales > 0) & (scales < 1)] = VALID
        if self._detail is None or self._detail.shape != part.shape:
            self._detail = np.full(part.shape, UNTOLD, dtype=np.uint8)
        self._detail[both.slices_in(part)] = ranks

    def edges(self, part: Window) -> Tuple[Index, Index]:  # noqa: ARG002 - see below
        """Return none: what is known of a tile is the same all over it, or known by pixel."""
        nothing: Index = np.zeros(0, dtype=np.int64)
        return nothing, nothing

    def ranks(self, rows: Index, cols: Index) -> Ranks:
        """Return the ranks of pixels; see `Unit`."""
        rank = PUBLISHED if self.is_seen else UNKNOWN
        part = self.footprint.intersection(self._window)
        detail = self._detail
        if detail is None or part is None or detail.shape != part.shape:
            return np.full((len(rows), len(cols)), rank, dtype=np.uint8)
        told: Ranks = detail[rows[:, None] - part.row, cols - part.col]
        return np.where(told == UNTOLD, np.uint8(rank), told)

    def lacking(self, rows: Index, cols: Index, wanted: Mask) -> Lacking:
        """Return the rows that are needed of it; see `Unit`."""
        some = wanted.any(axis=1).repeat(np.diff(rows))
        return Lacking(lacking_px(rows, cols, wanted), int(rows[0]) - self.footprint.row, 0,
                       some[:, None])  # fmt: skip

    def bytes_of(self, lacking: Sequence[Lacking]) -> Tuple[int, bool]:
        """Return what a fetch brings of it, and whether that is exact."""
        height, width = self.footprint.shape
        rows = united(lacking, (height, 1))[:, 0]
        count = int(np.count_nonzero(rows))
        bands = self.info.scale_bands if self.info else 1
        spared = int(np.count_nonzero(rows & self._kept_rows()))
        total = count * width * (self._source.depth + SCALE_BYTES * bands)
        total -= spared * width * SCALE_BYTES
        return total + (0 if self.info else HEAD_BYTES), self.info is not None


class TilesGround:
    """Published tiles over windows."""

    unit_px = 1140 * 1115
    """Pixels of the largest tile, about."""

    def __init__(self, source: NpyTiles, windows: Sequence[Window], near: Nearness) -> None:
        self.source = source
        self.cache = source.cache
        self.name = "tiles"
        self.units: Tuple[TileUnit, ...] = ()
        self._windows = {window.zone: window for window in windows}
        self._near = near
        self.zones = tuple(window.zone for window in windows)
        self._asks = False
        self._known = Known(source.cache)

    def recall(self, check: Check, *, detail: bool) -> None:
        """Take what is kept; asks nobody. Raises: ExtentInvalid."""
        self.units = tuple(
            TileUnit(self.source, tile, window)
            for window in self._windows.values()
            for tile in tiles_around(window)
            if self._known.footprint(tile).intersection(window)
        )
        for unit in self.units:
            check()
            unit.recall(self._known.info(unit.tile), detail=detail)
        self._detail = detail

    def look_up(self, front: Front, check: Check) -> None:  # noqa: ARG002 - tiles need no look-up
        """Believe no more what is too old."""
        self._asks = True
        self.renew()
        for unit in self.units:
            check()
            info = self._known.info(unit.tile)
            if info != unit.info:
                unit.recall(info, detail=self._detail)

    def renew(self) -> None:
        """Take what is known of tiles as it is now, for `layout`."""
        self._known = Known(self.source.cache, recheck=self._asks)

    def near(self) -> List[TileUnit]:
        """Return the tiles, the nearest first."""
        return sorted(self.units, key=lambda unit: self._near.of_window(unit.footprint))

    def to_index(self, index_bytes: int) -> List[TileUnit]:
        """Return the nearest tiles whose headers are not known."""
        return [unit for unit in self.near()[: min(HEADS, index_bytes // HEAD_BYTES)]
                if not unit.is_known]  # fmt: skip

    def see(self, unit: TileUnit, front: Front) -> None:
        """Ask whether a tile is there."""
        unit.see(front)

    def ask(self, unit: TileUnit, front: Front) -> None:
        """Ask for a tile's headers."""
        unit.ask(front)

    def scales(
        self, lacking: Dict[str, List[Lacking]]
    ) -> Iterator[Tuple[TileUnit, Callable[[Front], None]]]:
        """Yield what reads the scales that lack, range by range."""
        for unit in self.near():
            for first, last in unit.ranges(lacking[unit.name]) if unit.name in lacking else ():
                yield unit, functools.partial(unit.read_scales, first=first, last=last)

    def base(self, zone: int) -> int:  # noqa: ARG002 - where tiles may lie is known
        """Return the rank of pixels over which no tile lies."""
        return OUTSIDE

    def layout(self, block: Window) -> Optional[Layout]:
        """Return how tiles lie over a block, as the cache wants it."""
        window = self._windows[block.zone]
        return self._known.layout(block, self._known.tiles(block, window))
