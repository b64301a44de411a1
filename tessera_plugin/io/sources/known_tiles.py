# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cache knows of published tiles, and how they lie over its blocks."""

from __future__ import annotations

import functools
import time
from typing import Dict, List, Optional, Sequence, Tuple

from ...errors import ExtentInvalid
from ...values import BLOCK_PX, Window
from ..cache import MAX_TILES, BlockCache, Layout, TileInfo
from ..tiling import Tile, tiles_of
from .blocks import block_of

ABSENT_S = 24 * 3600.0
"""How long a 404 is believed."""


class Known:
    """What the cache knows of tiles, as it was when each was first looked up here."""

    def __init__(self, cache: BlockCache, *, recheck: bool = False) -> None:
        self._cache = cache
        self._recheck = recheck
        self._infos: Dict[Tile, Optional[TileInfo]] = {}
        self._window: Optional[Window] = None
        self._over: Dict[int, Tuple[Tuple[Tile, int, int], ...]] = {}
        """By a row of blocks of that window: tiles, their first and their stop column."""
        self._footprints: Dict[Tile, Window] = {}

    def info(self, tile: Tile) -> Optional[TileInfo]:
        """Return what is known of a tile."""
        if tile not in self._infos:
            info = self._cache.tile(tile.name)
            if info is not None and self._recheck and _is_stale(info):
                info = None
            self._infos[tile] = info
        return self._infos[tile]

    def footprint(self, tile: Tile) -> Window:
        """Return the pixels of a tile, of its own shape where that is known."""
        found = self._footprints.get(tile)
        if found is None:
            info = self.info(tile)
            shape = info.shape if info is not None and not info.absent else None
            found = self._footprints[tile] = tile.footprint(shape)
        return found

    def tiles(self, block: Window, window: Window) -> List[Tile]:
        """Return the tiles that may meet a block of a window, ascending."""
        if self._window is not window:
            self._window, self._over = window, {}
        over = self._over.get(block.row)
        if over is None:
            places = [(tile, tile.footprint()) for tile in tiles_around(window)]
            over = self._over[block.row] = tuple(
                (tile, place.col, place.stop_col)
                for tile, place in places
                if place.row < block.stop_row and block.row < place.stop_row
            )
        col, stop_col = block.col, block.stop_col
        return [tile for tile, first, stop in over if first < stop_col and col < stop]

    def layout(self, block: Window, tiles: Sequence[Tile]) -> Layout:
        """Return how tiles lie over a block; `tiles` are all that may meet it, ascending."""
        over = [tile for tile in tiles if tile.footprint().intersection(block)]
        if len(over) > MAX_TILES:
            raise ExtentInvalid("it is too near to a pole")
        infos = [self.info(tile) for tile in over]
        return Layout(
            block,
            tuple(tile.name for tile in over),
            tuple(info.identity if info else ("", "") for info in infos),
            tuple(
                None if info and info.absent else self.footprint(tile).intersection(block)
                for tile, info in zip(over, infos)
            ),
        )


@functools.lru_cache(maxsize=256)
def tiles_around(window: Window) -> Tuple[Tile, ...]:
    """Return the tiles of all blocks that a window touches, by ascending (lon, lat)."""
    first = block_of(window)
    last_row, last_col = (window.stop_row - 1) // BLOCK_PX, (window.stop_col - 1) // BLOCK_PX
    stop = (last_row + 1) * BLOCK_PX, (last_col + 1) * BLOCK_PX
    return tiles_of(Window.between(window.zone, first.row, first.col, *stop))


def _is_stale(info: TileInfo) -> bool:
    """Whether the server should be asked again: after a while, or where `forget` wants it."""
    is_old = not 0 <= time.time() - info.checked < ABSENT_S
    return is_old and (info.absent or not info.checked)
