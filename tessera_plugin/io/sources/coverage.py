# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is published under windows, what of it is cached, and what is to come: told in steps.

First what is kept, without any request; for large windows then whether each shard or tile is there;
then their indexes or heads; and where the windows are small the scales, which tell of every pixel.
What comes is kept where the fetch finds it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Generic,
    List,
    Optional,
    Sequence,
    Tuple,
)

from ...errors import AccessRefused, ExtentTooLarge, NetworkFailed, TesseraError, TileUnusable
from ...progress import Report
from ...values import State, Window
from ..objects import Client, NotFound, ObjectChanged, Unreachable
from ..zarr.shards import IndexDamaged
from .base import Failure
from .coverage_ground import Ground, Source, U
from .coverage_map import STATES, UNKNOWN, CoverageMap, CoveragePart
from .crew import Crew
from .mirrors import Front, open_client, roots_of
from .spots import Nearness

UNITS = 5000
"""Windows over more shards or tiles are refused."""

TOLD_S = 0.5
"""While requests are under way, what is new is told about this often."""

NEAREST = 4
"""So many shards or tiles tell whether there is something in a year."""

ROUNDS = 4
"""So often pixels are looked at anew, where shards or tiles overlap or came damaged."""

SILENT_UNITS = 3
"""So many shards or tiles one after another without any answer: the network is gone."""

CHANGED = "it has changed while it was read"
NO_CONNECTION = "no connection"


@dataclass(frozen=True)
class Told:
    """What is known at one moment."""

    parts: Tuple[CoveragePart, ...]
    counts: Dict[State, int]
    cached: Dict[State, int]
    """How many of them are known from the cache: also that they are water, or not published."""
    bytes_to_fetch: int
    bytes_known: bool
    failed: Tuple[Failure, ...]
    requests: int
    bytes_asked: int


class Survey(Generic[U]):
    """One look at windows, from what is kept to what the server says. Raises: ExtentTooLarge."""

    def __init__(
        self,
        ground: Ground[U],
        windows: Sequence[Window],
        near: Nearness,
        *,
        detail_px: int,
        index_bytes: int,
        report: Report,
        on_told: Callable[[Told], None],
    ) -> None:
        self._ground = ground
        self._access = ground.source.access
        self._windows = windows
        self._pixels = sum(window.pixels for window in windows)
        self._is_detailed = self._pixels <= detail_px
        self._index_bytes = index_bytes
        self._report = report
        self._on_told = on_told
        self._check_size(ground.unit_px)
        self._map = CoverageMap(ground, windows, near, is_detailed=self._is_detailed)
        self._placed: Dict[str, Window] = {}
        self._client: Optional[Client] = None
        self._lock = threading.Lock()
        self._news: Deque[U] = deque()
        self._failed: Dict[str, str] = {}
        self._given_up: Dict[str, None] = {}
        self._told_at = 0.0
        self._last: Optional[Told] = None
        self._is_new = True
        self._fraction = 0.0
        self._silent = 0
        self._last_silent = 0.0

    def run(self) -> Told:
        """Look, and return what is known in the end.

        Raises: ExtentTooLarge, Cancelled.
        """
        try:
            self._ground.recall(self._check, detail=self._is_detailed)
        except TesseraError as error:
            if self._access.offline:  # else the server may know better
                self._failed[self._ground.name] = _why(error)
        self._check_units()
        self._place()
        told = self._tell()
        if self._access.offline:
            return told
        client = open_client(_location(self._ground.source), self._access.network)
        self._client = client
        try:
            return self._asked(client)
        finally:
            client.close()

    def _asked(self, client: Client) -> Told:
        front = Front(client, roots_of(_location(self._ground.source)))
        before = self._outline()
        if not self._look_up(client, front):
            return self._tell()
        self._check_units()
        if self._outline() != before:
            self._place()
        self._see(client, front)
        to_index = self._open(self._ground.to_index(self._index_bytes))
        self._stage(client, [(u, _bound(self._ground.ask, u, front)) for u in to_index],
                    "Looking up", 0.3)  # fmt: skip
        if self._is_detailed:
            self._read_scales(client, front)
        self._fraction = 1.0
        return self._tell()

    def _look_up(self, client: Client, front: Front) -> bool:
        """Look the whole up in this thread's stead, so that cancel is heard; whether that worked."""
        problems: List[TesseraError] = []

        def work() -> None:
            try:
                self._ground.look_up(front, client.check_cancelled)
            except TesseraError as error:
                problems.append(error)

        Crew(1, client.cancel).run([work], self._check)
        for problem in problems:
            self._failed[self._ground.name] = _why(problem)
        return not problems

    def _see(self, client: Client, front: Front) -> None:
        """Ask whether the units are there, if there are more than can be asked for more."""
        unknown = [unit for unit in self._ground.near() if not unit.is_known]
        if len(unknown) <= len(self._ground.to_index(self._index_bytes)):
            return
        unseen = [unit for unit in unknown if not unit.is_seen]
        self._stage(client, [(u, _bound(self._ground.see, u, front)) for u in unseen],
                    "Looking for data", 0.1)  # fmt: skip

    def _read_scales(self, client: Client, front: Front) -> None:
        """Look at pixels; what one shard or tile rules out the next one is asked for."""
        for number in range(ROUNDS):
            lacking = {n: ls for n, ls in self._map.lacking().items() if n not in self._given_up}
            try:
                jobs = [
                    (unit, functools.partial(read, front))
                    for unit, read in self._ground.scales(lacking)
                ]
            except TesseraError as error:
                self._failed[self._ground.name] = _why(error)
                return
            if not jobs:
                return
            try:
                self._stage(client, jobs, "Looking at pixels", 0.0 if number else 0.6)
            finally:
                for unit in {unit.name: unit for unit, _ in jobs}.values():
                    unit.put_away()
            self._news.extend(unit for unit, _ in jobs)
            self._tell()

    # --- steps

    def _stage(
        self,
        client: Client,
        jobs: Sequence[Tuple[U, Callable[[], None]]],
        message: str,
        share: float,
    ) -> None:
        """Do jobs side by side, the first ones first, and tell what comes of them."""
        left = len(jobs)
        begun = self._fraction

        def guarded(unit: U, work: Callable[[], None]) -> None:
            nonlocal left
            self._guarded(client, unit, work)
            with self._lock:
                left -= 1
                self._news.append(unit)

        def tick() -> None:
            self._fraction = begun + share * (len(jobs) - left) / len(jobs)
            self._report(self._fraction, message)
            if self._news and time.monotonic() - self._told_at > TOLD_S:
                self._tell()

        if jobs:
            crew = Crew(self._access.network.connections, client.cancel)
            crew.run([functools.partial(guarded, *job) for job in jobs], tick)
            self._tell()
        self._fraction = begun + share

    def _check(self) -> None:
        self._report(self._fraction, "Looking up")

    def _check_size(self, unit_px: int) -> None:
        if self._pixels > UNITS * unit_px:
            pixel_bytes = self._ground.source.depth + 4
            raise ExtentTooLarge(self._pixels, self._pixels * pixel_bytes, UNITS * unit_px)

    def _check_units(self) -> None:
        units = self._ground.units
        if len(units) > UNITS:
            self._check_size(self._pixels // len(units))

    # --- what is known

    def _outline(self) -> List[Tuple[Any, ...]]:
        """Return what is known without looking at pixels."""
        units = self._ground.units
        return [
            *((zone, self._ground.base(zone)) for zone in self._ground.zones),
            *((unit.name, unit.footprint, unit.is_seen, unit.is_known) for unit in units),
        ]

    def _place(self) -> None:
        """Lay the units over the windows, and look at all of them anew."""
        self._placed = {unit.name: unit.footprint for unit in self._ground.units}
        self._map.place(self._ground.units)
        self._is_new = True

    def _tell(self) -> Told:
        """Work out what is known now, and say so."""
        news: Dict[str, U] = {}
        while self._news:
            unit = self._news.popleft()
            news[unit.name] = unit
        if news:
            self._ground.renew()
        if any(unit.footprint != self._placed.get(name) for name, unit in news.items()):
            self._place()
        for unit in news.values():
            self._map.spoil(unit.footprint)
        self._map.work(self._check)
        told = self._told()
        if self._is_new or news or self._last is None or told.failed != self._last.failed:
            self._on_told(told)
        self._is_new = False
        self._last = told
        self._told_at = time.monotonic()
        return told

    def _told(self) -> Told:
        counts, cached = self._map.counts()
        to_fetch, known = self._bytes()
        client = self._client
        with self._lock:
            failed = tuple(Failure(*pair) for pair in sorted(self._failed.items()))
        return Told(
            parts=self._map.parts(),
            counts={State(int(s)): int(n) for s, n in zip(STATES, counts)},
            cached={State(int(s)): int(n) for s, n in zip(STATES, cached)},
            bytes_to_fetch=to_fetch,
            bytes_known=known,
            failed=failed,
            requests=client.requests if client else 0,
            bytes_asked=client.bytes_received if client else 0,
        )

    def _bytes(self) -> Tuple[int, bool]:
        total, known = 0, True
        for window in self._windows:
            if self._ground.base(window.zone) == UNKNOWN:
                total += window.pixels * (self._ground.source.depth + 4)
                known = False
        units = {unit.name: unit for unit in self._ground.units}
        for name, lacking in self._map.lacking().items():
            size, is_known = units[name].bytes_of(lacking)
            total += size
            known &= is_known
        return total, known

    # --- what goes wrong with one of them is no reason to stop

    def _open(self, units: Sequence[U]) -> List[U]:
        """Return those that have not failed."""
        return [unit for unit in units if unit.name not in self._given_up]

    def _guarded(self, client: Client, unit: U, work: Callable[[], None]) -> None:
        reason = NO_CONNECTION
        if self._silent < SILENT_UNITS:
            reason = self._tried(client, unit, work)
        if reason:
            with self._lock:
                self._failed.setdefault(unit.title, reason)
                self._given_up[unit.name] = None

    def _tried(self, client: Client, unit: U, work: Callable[[], None]) -> str:
        """Do something for a unit; return why it failed, or nothing."""
        try:
            work()
        except (ObjectChanged, NotFound):
            unit.forget()
            return CHANGED
        except Unreachable as error:
            with self._lock:
                heard = client.heard_since(self._last_silent)
                self._silent = 1 if heard else self._silent + 1
                self._last_silent = time.monotonic()
            client.hurry()
            return error.reason
        except (NetworkFailed, AccessRefused, TileUnusable) as error:
            return error.reason
        except IndexDamaged as error:
            return str(error)
        return ""


def some_published(ground: Ground[U], report: Report) -> State:
    """Return whether something is published at the shards or tiles nearest to the middle.

    PUBLISHED, OUTSIDE or, where that can't be told, UNKNOWN. Raises: ExtentInvalid, Cancelled.
    """
    found: List[State] = []
    access = ground.source.access
    client = open_client(_location(ground.source), access.network)

    def work() -> None:
        front = Front(client, roots_of(_location(ground.source)))
        with contextlib.suppress(TesseraError):
            ground.recall(client.check_cancelled, detail=False)
            if not access.offline:
                ground.look_up(front, client.check_cancelled)
            found.append(_state_of(ground, front))

    try:
        Crew(1, client.cancel).run([work], lambda: report(0.5, "Looking for data"))
    finally:
        client.close()
    return found[0] if found else State.UNKNOWN


def _state_of(ground: Ground[U], front: Front) -> State:
    """Return the state of the nearest units, asking for those that are not known."""
    for unit in ground.near()[:NEAREST]:
        if not unit.is_seen and not ground.source.access.offline:
            ground.see(unit, front)
        if not unit.is_seen:
            return State.UNKNOWN
        if not unit.is_absent:
            return State.PUBLISHED
    is_known = all(ground.base(zone) != UNKNOWN for zone in ground.zones)
    return State.OUTSIDE if is_known else State.UNKNOWN


def _location(source: Source) -> str:
    return source.dataset.store or source.access.archive


def _why(error: TesseraError) -> str:
    reason: Any = getattr(error, "reason", "")
    return str(reason or error)


def _bound(ask: Callable[[U, Front], None], unit: U, front: Front) -> Callable[[], None]:
    return lambda: ask(unit, front)
