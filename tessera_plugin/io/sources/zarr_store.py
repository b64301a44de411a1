# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A published Zarr store: only the chunks that are needed, verified, into the cache."""

from __future__ import annotations

import contextlib
from typing import Callable, Iterator, Optional, Sequence, Set, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreUnusable
from ...progress import Gate, Report, silent
from ...values import Access, Dataset, Window
from ..cache import BlockCache, Layout
from ..objects import Client
from ..zarr.decode import Unpacker
from ..zarr.metadata import FULL_DEPTH
from ..zarr.store import NOT_PUBLISHED, NotKept, StoreFiles, View
from .ahead import Ahead, AheadFront
from .base import NO_OPTIONS, FetchOptions, FetchSummary, Picker
from .blocks import LayoutOf, block_picker, block_states, read_blocks
from .mirrors import Front, open_client, roots_of
from .rounds import Order
from .zarr_fetch import ShardFetch

FORM = "zarr"

_Found = TypeVar("_Found")


class ZarrStore:
    """Embeddings of a dataset and year from its published store. Safe between threads.

    A dataset with a `store` of its own is read there, in no archive.
    """

    form = FORM

    def __init__(
        self,
        access: Access,
        dataset: Dataset,
        year: int,
        depth: int = FULL_DEPTH,
        unpack: Optional[Unpacker] = None,
    ) -> None:
        self.dataset = dataset
        self.year = year
        self.depth = depth
        self.access = access
        self.unpack = unpack
        self.location = dataset.store or access.archive
        """Root of the archive, or of the store itself."""
        self.cache = BlockCache(
            access.cache_dir,
            self.location,
            dataset=dataset.key,
            depth=depth,
            form=FORM,
            year=year,
        )
        self.files = StoreFiles(self.cache, self.location, dataset, unpack)
        self._clients: Set[Client] = set()

    def fetch(
        self,
        windows: Sequence[Window],
        report: Report = silent,
        options: FetchOptions = NO_OPTIONS,
    ) -> FetchSummary:
        """Bring what the cache lacks of the windows; parts that fail are named, not raised.

        Raises: StoreUnusable, DepthNotOffered, DecoderMissing where the store as a whole can't be
        read; Cancelled, DiskFull, NotWritable; what had arrived is kept.
        """
        with self._client(options.gate) as client:
            order = Order(windows, report, options)
            return ShardFetch(self, client, self._front(client), order).run()

    def read(self, window: Window) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return codes (H, W, D) and scales (H, W) from the cache; asks nobody.

        Nodata: codes 0 and scale NaN, also where nothing is known.
        """
        return read_blocks(self.cache, window, self.depth, self._layout_of())

    def states(self, window: Window) -> NDArray[np.uint8]:
        """Return the `State` of every pixel (H, W), from the cache."""
        return block_states(self.cache, window, self.depth, self._layout_of())

    def picker(self, window: Window) -> Picker:  # noqa: ARG002 - shards are found by themselves
        """Return what reads single rows and columns of the blocks that a window touches."""
        return block_picker(self.cache, self.depth, self._layout_of())

    def is_published(self) -> bool:
        """Whether the archive has the store; asks once a session, unless offline.

        Raises: StoreUnusable where it is there but not understood; NetworkFailed, AccessRefused,
        Cancelled, DiskFull, NotWritable.
        """
        if not (self.dataset.zarr_dir or self.dataset.store):
            return False
        try:
            return self._looked_up(bool, otherwise=False)
        except StoreUnusable as error:
            if error.reason == NOT_PUBLISHED:
                return False
            raise

    def years(self) -> Tuple[int, ...]:
        """Return the years that the store lists, from its time coordinate. Raises: as above."""
        return self._looked_up(lambda view: view.years(), otherwise=())

    def depths(self) -> Tuple[int, ...]:
        """Return the depths that the store offers. Raises: as above."""
        return self._looked_up(lambda view: view.depths(), otherwise=())

    def close(self) -> None:
        """End what is being fetched."""
        for client in list(self._clients):
            client.cancel()

    def _layout_of(self) -> LayoutOf:
        view = self.files.view(self.depth, self.year)

        def layout_of(block: Window) -> Optional[Layout]:
            found = view.layout(block) if view else None
            return found[0] if found else None

        return layout_of

    def _front(self, client: Client) -> Front:
        return AheadFront(client, roots_of(self.location), Ahead(self.cache))

    def _looked_up(self, ask: Callable[[View], _Found], otherwise: _Found) -> _Found:
        with self._client() as client:
            front = None if self.access.offline else self._front(client)
            view = self.files.view(self.depth, self.year, front)
            try:
                return otherwise if view is None else ask(view)
            except NotKept:
                return otherwise

    @contextlib.contextmanager
    def _client(self, gate: Optional[Gate] = None) -> Iterator[Client]:
        client = open_client(self.location, self.access.network, gate)
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)
            client.close()
