# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One fetch under faults, and whether what it left behind is right.

    trial = Trial(scene("zarr"), server, folder)
    outcome = trial.fetch()
    problems = outcome.problems() + trial.repaired(outcome)

Every check gives sentences; none is no violation.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass, field
from typing import List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.engine import catalog
from tessera_plugin.errors import TesseraError
from tessera_plugin.io import http_proxies
from tessera_plugin.io.sources import mirrors
from tessera_plugin.io.sources.base import NO_OPTIONS, FetchOptions, FetchSummary
from tessera_plugin.io.sources.npy_tiles import NpyTiles
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.zarr import store
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, NetworkSettings, State
from tests.servers import RangeServer, Request
from tests.stress.scenes import DATASET, YEAR, Scene, Truth

KINDS = {"zarr": ZarrStore, "npy": NpyTiles}

QUICK = NetworkSettings(
    backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5, attempts=2, connections=4
)

HEAD_BYTES = 65_536
"""Ranges from the first byte that are no longer than this ask what an object is."""


@dataclass(frozen=True)
class Outcome:
    """What a fetch said, what is in the cache after it, and what it asked."""

    scene: Scene
    summary: Optional[FetchSummary]
    error: Optional[TesseraError]
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    states: NDArray[np.uint8]
    log: Tuple[Request, ...]
    seconds: float
    denied: Tuple[str, ...] = field(default=())
    """Parts of which the server said that there are none, though there are."""

    @property
    def truth(self) -> Truth:
        """What is true, as far as the server lets anyone know."""
        return self.scene.truth_without(self.denied)

    @property
    def reasons(self) -> Tuple[str, ...]:
        """Why anything failed."""
        if self.error is not None:
            return (str(self.error),)
        failed = self.summary.failed if self.summary else ()
        return tuple(sorted({failure.reason for failure in failed}))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Pixels that need nothing more."""
        known: NDArray[np.bool_] = self.states != State.UNKNOWN
        return known

    def problems(self) -> List[str]:
        """Return what is wrong: a pixel, a gap that nobody told of, an alarm about nothing."""
        return [*self._wrong_pixels(), *self._silent_gaps(), *self._false_alarms()]

    def not_named(self, words: str) -> List[str]:
        """Return what is wrong with the reasons, where there must be some and each so."""
        if not self.reasons:
            return [f"nothing failed, where {words!r} should have"]
        other = [reason for reason in self.reasons if not re.search(words, reason)]
        return [f"the reasons {other} do not say {words!r}"] if other else []

    def not_whole(self) -> List[str]:
        """Return what is wrong where everything must have come."""
        problems = [f"failed: {reason}" for reason in self.reasons]
        if not self.known.all():
            problems.append(f"{np.count_nonzero(~self.known):,} pixels are not there")
        return problems

    def not_bounded(self, requests: int, seconds: float) -> List[str]:
        """Return what was too much."""
        problems = []
        if len(self.log) > requests:
            problems.append(f"{len(self.log)} requests, where {requests} are enough")
        if self.seconds > seconds:
            problems.append(f"it took {self.seconds:.1f} s, where {seconds:g} s are enough")
        return problems

    def _marked(self) -> NDArray[np.bool_]:
        """Return the pixels of parts that are told of as unusual."""
        marked = np.zeros(self.states.shape, bool)
        for name in self.summary.unusual if self.summary else ():
            marked |= self.scene.mask(self.scene.place_of(name))
        return marked

    def _wrong_pixels(self) -> List[str]:
        truth, known = self.truth, self.known & ~self._marked()
        problems = []
        valid = ~np.isnan(self.scales)
        if (valid != (self.states == State.VALID)).any():
            problems.append("read and states disagree about which pixels are valid")
        same = (self.codes == truth.codes).all(axis=-1) & (self.scales == truth.scales)
        wrong = valid & known & ~same
        if wrong.any():
            problems.append(f"{np.count_nonzero(wrong):,} valid pixels are WRONG")
        if self.codes[~valid].any():
            problems.append("pixels that are not valid have codes")
        return problems + self._wrong_states(known)

    def _wrong_states(self, known: NDArray[np.bool_]) -> List[str]:
        denied = np.zeros(self.states.shape, bool)
        for name in self.denied:
            denied |= self.scene.mask(self.scene.place_of(name))
        there = self.states
        if self.scene.form == "npy":  # tiles don't tell water from nodata as stores do
            there = np.where(there == State.WATER, State.NODATA, there)
        wrong = known & (there != self.truth.states) & ~denied
        if not wrong.any():
            return []
        pairs = np.unique(np.stack([self.truth.states[wrong], self.states[wrong]]), axis=1)
        told = [f"{State(a).name} as {State(b).name}" for a, b in pairs.T.tolist()]
        return [f"{np.count_nonzero(wrong):,} pixels: {', '.join(told)}"]

    def _failed(self) -> NDArray[np.bool_]:
        """Return the pixels of parts that are named as failed."""
        failed = np.zeros(self.states.shape, bool)
        for failure in self.summary.failed if self.summary else ():
            failed |= self.scene.mask(self.scene.place_of(failure.part))
        return failed

    def _silent_gaps(self) -> List[str]:
        """Return what is not there and that no failure names."""
        if self.error is not None or self.summary is None:
            return []
        gaps = ~self.known & ~self._failed()
        if gaps.any():
            return [f"{np.count_nonzero(gaps):,} pixels are not there and nobody says so"]
        valid = np.count_nonzero(self.states == State.VALID)
        if self.summary.pixels != self.states.size or self.summary.valid_px != valid:
            return [
                f"the summary counts {self.summary.valid_px:,} valid pixels, there are {valid:,}"
            ]
        return []

    def _false_alarms(self) -> List[str]:
        found = []
        for failure in self.summary.failed if self.summary else ():
            missing = self.scene.mask(self.scene.place_of(failure.part)) & ~self.known
            if not missing.any():
                found.append(f"{failure.part} failed ({failure.reason}), but nothing of it lacks")
        return found


class Trial:
    """Fetches of one scene into one cache, over one server."""

    def __init__(
        self, scene: Scene, server: RangeServer, folder: object, location: str = ""
    ) -> None:
        self.scene = scene
        self.server = server
        self.folder = str(folder)
        self.location = location or server.url

    def fetch(
        self,
        network: NetworkSettings = QUICK,
        denied: Sequence[str] = (),
        options: FetchOptions = NO_OPTIONS,
    ) -> Outcome:
        """Fetch as a new session would, and look at what is there then."""
        fresh_session()
        access = Access(self.folder, self.location, network=network)
        source = KINDS[self.scene.form](access, catalog.dataset(DATASET), YEAR)
        before, began = len(self.server.log), time.monotonic()
        summary, error = None, None
        try:
            summary = source.fetch([self.scene.window], silent, options)
        except TesseraError as raised:
            error = raised
        finally:
            source.close()
        seconds = time.monotonic() - began
        return self.look(tuple(self.server.log[before:]), summary, error, seconds, denied)

    def look(
        self,
        log: Sequence[Request] = (),
        summary: Optional[FetchSummary] = None,
        error: Optional[TesseraError] = None,
        seconds: float = 0.0,
        denied: Sequence[str] = (),
    ) -> Outcome:
        """Return what is in the cache, as a new source reads it; asks nobody."""
        access = Access(self.folder, self.location, offline=True)
        source = KINDS[self.scene.form](access, catalog.dataset(DATASET), YEAR)
        window = self.scene.window
        states = source.states(window)
        codes, scales = source.read(window)
        return Outcome(
            self.scene, summary, error, codes, scales, states, tuple(log), seconds, tuple(denied)
        )

    def repaired(
        self, before: Outcome, network: NetworkSettings = QUICK, *, is_same: bool = True
    ) -> List[str]:
        """Fetch without any fault; return what is wrong with that: all must come, nothing twice.

        Unless `is_same`, objects may be others than they were said to be before.
        """
        self.server.faults.clear()
        after = self.fetch(network)
        found = [*after.problems(), *after.not_whole()]
        if is_same:
            found += _again(self.scene, before, after.log)
        return [f"fetched again without faults: {problem}" for problem in found]


def fresh_session() -> None:
    """Forget what a process remembers of servers, as a new one would."""
    store._asked.clear()
    mirrors._failed.clear()
    http_proxies._closed.clear()


def with_(**changes: object) -> NetworkSettings:
    """Return the quick settings with some others."""
    return dataclasses.replace(QUICK, **changes)  # type: ignore[arg-type]


def _again(scene: Scene, before: Outcome, log: Sequence[Request]) -> List[str]:
    """Return what was asked for though it had arrived.

    Of a range that closes gaps its ends count: both must be of something that was lacking.
    """
    problems = []
    for entry in log:
        part = next((p for p in scene.parts if entry.path in (p.codes, p.scales)), None)
        if part is None:
            continue
        lacking = scene.mask(part.place) & ~before.known
        if not lacking.any():
            problems.append(f"{part.name} was whole, but {entry.path} {entry.range} was asked for")
            continue
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", entry.range or "")
        if match is None or (match[1] == "0" and int(match[2]) < HEAD_BYTES):
            continue  # what the object is
        units = list(scene.units_of(entry.path, (int(match[1]), int(match[2]) + 1)))
        for name, place in (units[0], units[-1]):
            if not (scene.mask(place) & ~before.known).any():
                problems.append(f"{name} of {entry.path} was there, but was asked for again")
    return problems
