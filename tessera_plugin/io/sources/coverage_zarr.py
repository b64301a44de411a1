# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a store says of windows before anything is fetched: its shards, the nearest first."""

from __future__ import annotations

import functools
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ...errors import TesseraError
from ...values import Window
from ..cache import Layout
from ..zarr.shards import plan
from ..zarr.store import View
from .coverage_map import OUTSIDE, UNKNOWN, Lacking
from .coverage_shard import ShardUnit
from .mirrors import Front
from .spots import Nearness
from .zarr_store import ZarrStore

TABLES = 160
"""Indexes of so many shards, the nearest ones, are looked into."""

Check = Callable[[], None]


class StoreGround:
    """A store over windows."""

    unit_px = 4096 * 4096
    """Pixels of a shard, before the store has been asked."""

    def __init__(
        self,
        source: ZarrStore,
        windows: Sequence[Window],
        near: Nearness,
        *,
        inside: bool = True,
    ) -> None:
        self.source = source
        self._tables = TABLES if inside else 0
        self.cache = source.cache
        self.name = source.files.store
        self.units: Tuple[ShardUnit, ...] = ()
        self._windows = windows
        self._near = near
        self.zones = tuple(window.zone for window in windows)
        self._front: Optional[Front] = None
        self._view: Optional[View] = None
        self._detail = False

    def recall(self, check: Check, *, detail: bool) -> None:
        """Take what is kept; asks nobody. Raises: StoreUnusable, DepthNotOffered."""
        self._detail = detail
        self._renew_units(check)

    def look_up(self, front: Front, check: Check) -> None:
        """Ask what the store says of itself.

        Raises: StoreUnusable, DepthNotOffered, NetworkFailed, AccessRefused, DiskFull, NotWritable.
        """
        self._front = front
        try:
            self._renew_units(check)
        except BaseException:
            self._front = None  # what is told from now on is what is kept
            self.renew()
            raise

    def renew(self) -> None:
        """Take what is known of shards as it is now, for `layout`."""
        self._view = self.source.files.view(self.source.depth, self.source.year, self._front)

    def near(self) -> List[ShardUnit]:
        """Return the shards, the nearest first."""
        return sorted(self.units, key=lambda unit: self._near.of_window(unit.footprint))

    def to_index(self, index_bytes: int) -> List[ShardUnit]:
        """Return the nearest shards whose indexes lack, of so many bytes together at most."""
        chosen: List[ShardUnit] = []
        for unit in self.near()[: self._tables]:
            if not unit.is_known:
                index_bytes -= unit.index_bytes
                if index_bytes < 0:
                    break
                chosen.append(unit)
        return chosen

    def see(self, unit: ShardUnit, front: Front) -> None:
        """Ask whether a shard is there."""
        unit.see(front, self._root)

    def ask(self, unit: ShardUnit, front: Front) -> None:
        """Ask for a shard's indexes."""
        unit.ask(front, self._root)

    def scales(
        self, lacking: Dict[str, List[Lacking]]
    ) -> Iterator[Tuple[ShardUnit, Callable[[Front], None]]]:
        """Yield what reads the scales that lack, range by range. Raises: DecoderMissing."""
        units = [unit for unit in self.near() if unit.name in lacking]
        wanted = [unit.chunks(lacking[unit.name]) for unit in units]
        for unit, spans in zip(units, plan(wanted, len(wanted))):
            for span in spans:
                yield unit, functools.partial(unit.read_scales, span=span)

    def base(self, zone: int) -> int:
        """Return the rank of pixels over which no shard lies."""
        try:
            groups = self._view.groups(zone) if self._view else None
        except TesseraError:  # not understood, which is told elsewhere
            groups = None
        return UNKNOWN if groups is None else OUTSIDE

    def layout(self, block: Window) -> Optional[Layout]:
        """Return how shards lie over a block, as the cache wants it."""
        try:
            found = self._view.layout(block) if self._view else None
        except TesseraError:  # see `base`
            return None
        return found[0] if found else None

    @property
    def _root(self) -> str:
        return self._view.identity if self._view else ""

    def _renew_units(self, check: Check) -> None:
        """Take shards as the store's metadata say now; those that are known already stay."""
        self.renew()
        view = self._view
        before = {unit.name: unit for unit in self.units}
        units: List[ShardUnit] = []
        for window in self._windows if view else ():
            for shard in (view.shards(window) if view else None) or ():
                part = shard.footprint.intersection(window)
                if part is not None:
                    units.append(before.get(shard.name) or ShardUnit(self.source, shard, part))
        self.units = tuple(units)
        for number, unit in enumerate(self.near()):
            check()
            info = view.info(unit.name) if view else None
            if unit.name not in before or info != unit.info:
                unit.recall(info, indexes=number < self._tables, detail=self._detail)
