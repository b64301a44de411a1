# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a part of what is fetched, and what is then done and not done about it."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import Callable, Dict, Generic, Hashable, Mapping, Sequence, Set, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, NetworkFailed, TileUnusable
from ..objects import Client, NotFound, ObjectChanged, Unreachable
from ..zarr.shards import IndexDamaged

CHANGES = 3
REPEATS = 3
SILENT_PARTS = 3
"""So many parts one after another without any answer: the network is gone."""

NOT_KEPT = "it did not stay in the cache"
NO_CONNECTION = "no connection"
CHANGES_OFTEN = "it changes while it is read"

Units = NDArray[np.bool_]
"""Which units of a part: (rows,) of a tile, (rows, cols) of cells of a shard."""

P = TypeVar("P", bound=Hashable)


class Mishaps(ABC, Generic[P]):
    """Notes what fails; what goes wrong with one part is no reason to stop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._failed: Dict[str, str] = {}
        self._given_up: Set[P] = set()
        self._lost: Dict[P, Units] = {}
        self._tried: Dict[P, NDArray[np.uint8]] = {}
        self._changes: Dict[P, int] = {}
        self._changed_now: Set[P] = set()
        self._silent_parts = 0
        self._last_silent = 0.0
        self._silent_url = ""

    @abstractmethod
    def _title(self, part: P) -> str:
        """Return a part's name, as people are told."""

    @abstractmethod
    def _units(self, part: P) -> Tuple[int, ...]:
        """Return the shape of a part's units."""

    @abstractmethod
    def _forget(self, part: P) -> None:
        """Forget what was known of a part."""

    @property
    def _unreachable(self) -> str:
        """Address of what was asked for last, where no server answers any more."""
        return "" if self._client.heard_since(self._last_silent) else self._silent_url

    def _fail(self, title: str, reason: str) -> None:
        with self._lock:
            self._failed.setdefault(title, reason)

    def _give_up(self, part: P, reason: str) -> None:
        """Name a part as failed, and ask no more for it."""
        self._fail(self._title(part), reason)
        with self._lock:
            self._given_up.add(part)

    def _lose(self, part: P, units: Sequence[Tuple[int, ...]]) -> None:
        """Ask no more for some units of a part."""
        with self._lock:
            lost = self._lost.setdefault(part, np.zeros(self._units(part), dtype=np.bool_))
            for unit in units:
                lost[unit] = True

    def _is_over(self, part: P) -> bool:
        """Whether there is nothing more to do for a part in this round."""
        with self._lock:
            return part in self._given_up or part in self._changed_now

    def _guarded(self, part: P, work: Callable[[], None]) -> str:
        """Do something for a part; return why it failed, or nothing."""
        if self._is_over(part):
            return ""
        if self._silent_parts >= SILENT_PARTS:
            return NO_CONNECTION
        try:
            work()
        except (ObjectChanged, NotFound):
            self._has_changed(part)
        except Unreachable as error:
            return self._heard_nothing(error)
        except (NetworkFailed, AccessRefused, TileUnusable) as error:
            return error.reason
        except IndexDamaged as error:
            return str(error)
        return ""

    def _has_changed(self, part: P) -> None:
        """Begin anew with a part that is no longer what it was, a few times."""
        with self._lock:
            if part in self._changed_now:
                return
            self._changed_now.add(part)
            self._changes[part] = self._changes.get(part, 0) + 1
            self._tried.pop(part, None)
            too_often = self._changes[part] > CHANGES
        self._forget(part)
        if too_often:
            self._give_up(part, CHANGES_OFTEN)

    def _heard_nothing(self, error: Unreachable) -> str:
        """Hurry once a part got no answer at all; after a few in a row ask no more."""
        with self._lock:
            heard = self._client.heard_since(self._last_silent)
            self._silent_parts = 1 if heard else self._silent_parts + 1
            self._last_silent = time.monotonic()
            self._silent_url = error.url
        self._client.hurry()
        return error.reason

    def _not_too_often(self, part: P, units: Units) -> Units:
        """Return units without those wanted again and again: something takes them away."""
        tried = self._tried.get(part)
        if tried is None or tried.shape != units.shape:
            tried = self._tried[part] = np.zeros(units.shape, dtype=np.uint8)
        tried[units] += 1
        often = tried > REPEATS
        if not often.any():
            return units
        self._fail(self._title(part), NOT_KEPT)
        with self._lock:
            lost = self._lost.get(part)
            self._lost[part] = often if lost is None or lost.shape != often.shape else lost | often
        return units & ~often

    def _not_lost(self, wanted: Mapping[P, Units]) -> Dict[P, Units]:
        """Return what can still be had of what is wanted."""
        having: Dict[P, Units] = {}
        for part, units in wanted.items():
            lost = self._lost.get(part)
            left = units if lost is None or lost.shape != units.shape else units & ~lost
            if part not in self._given_up and left.any():
                having[part] = left
        return having
