# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The published NPY tiles: only the rows that are needed, verified, into the cache.

A pixel that several tiles cover belongs to the first valid one in ascending (lon, lat). A tile is
asked for a pixel only when those before it have nothing there.
"""

from __future__ import annotations

from typing import Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...progress import Report, silent
from ...values import Access, Dataset, Window
from ..cache import BlockCache
from ..objects import Client
from ..tiling import Tile
from .ahead import Ahead, AheadFront
from .base import NO_OPTIONS, FetchOptions, FetchSummary, Picker
from .blocks import LayoutOf, block_picker, block_states, read_blocks
from .known_tiles import Known
from .mirrors import open_client, roots_of
from .rounds import Order
from .tile_fetch import TileFetch

FORM = "npy"


class NpyTiles:
    """Embeddings of a dataset and year from its published NPY tiles. Safe between threads."""

    form = FORM

    def __init__(self, access: Access, dataset: Dataset, year: int) -> None:
        self.dataset = dataset
        self.year = year
        self.depth = dataset.depth
        self.access = access
        self.cache = BlockCache(
            access.cache_dir,
            access.archive,
            dataset=dataset.key,
            depth=dataset.depth,
            form=FORM,
            year=year,
        )
        self._clients: Set[Client] = set()

    def fetch(
        self,
        windows: Sequence[Window],
        report: Report = silent,
        options: FetchOptions = NO_OPTIONS,
    ) -> FetchSummary:
        """Bring what the cache lacks of the windows; parts that fail are named, not raised.

        Raises: Cancelled, DiskFull, NotWritable; what had arrived is kept.
        """
        client = open_client(self.access.archive, self.access.network, options.gate)
        self._clients.add(client)
        try:
            front = AheadFront(client, roots_of(self.access.archive), Ahead(self.cache))
            return TileFetch(self, client, front, Order(windows, report, options)).run()
        finally:
            self._clients.discard(client)
            client.close()

    def read(self, window: Window) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return codes (H, W, D) and scales (H, W) from the cache; asks nobody.

        Nodata: codes 0 and scale NaN, also where nothing is known.
        """
        return read_blocks(self.cache, window, self.depth, self._layouts(window))

    def states(self, window: Window) -> NDArray[np.uint8]:
        """Return the `State` of every pixel (H, W), from the cache."""
        return block_states(self.cache, window, self.depth, self._layouts(window))

    def picker(self, window: Window) -> Picker:
        """Return what reads single rows and columns of the blocks that a window touches."""
        return block_picker(self.cache, self.depth, self._layouts(window))

    def close(self) -> None:
        """End what is being fetched."""
        for client in list(self._clients):
            client.cancel()

    def _layouts(self, window: Window) -> LayoutOf:
        known = Known(self.cache)
        return lambda block: known.layout(block, known.tiles(block, window))

    def paths(self, tile: Tile) -> Tuple[str, str]:
        """Return the paths of a tile's codes and scales in the archive."""
        folder = f"npy/{self.dataset.npy_dir}/{self.year}/{tile.name}"
        return f"{folder}/{tile.name}.npy", f"{folder}/{tile.name}_scales.npy"
