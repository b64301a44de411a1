# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What every fetch does, whatever the form: survey the cache, bring what lacks, survey again.

A part is what the server has as a unit (a tile, a shard); its units are what can be fetched of it
(rows, cells). What goes wrong with one part is no reason to stop.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Generic,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
    Union,
)

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, NetworkFailed, NotWritable
from ...progress import Report
from ...values import Access, Window
from ..cache import NO_OWNER, BlockCache, Layout, ObjectInfo
from ..files import write_error
from ..objects import Client, ObjectChanged, RangeReply
from .base import Failure, FetchOptions, FetchSummary
from .crew import Crew, Job
from .mishaps import NOT_KEPT, Mishaps, P, Units
from .spots import BlockSet, Nearness, Spot, Spots

ROUNDS = 32
TOLD_BLOCKS = 64
"""So many blocks that are there already are told at once."""

NOT_CACHED = "not in the cache"
NO_ROOM = "the cache can't be written"

Places = Tuple[NDArray[np.int64], ...]

Wanted = Mapping[P, Units]


class Source(Protocol):
    """What a fetch needs of its source."""

    access: Access
    cache: BlockCache
    depth: int
    year: int


@dataclass(frozen=True)
class Order:
    """What is asked of a fetch."""

    windows: Sequence[Window]
    report: Report
    options: FetchOptions


@dataclass
class Survey(Generic[P]):
    """What the cache has of the windows, and which units of which parts it lacks."""

    resolved_px: int = 0
    """Pixels that need nothing more."""
    cached_px: int = 0
    """Those of them that some part covers, see `FetchSummary.cached_px`."""
    valid_px: int = 0
    wanted: Dict[P, Units] = field(default_factory=dict)


class Rounds(Mishaps[P]):
    """One fetch, from the first survey to the summary."""

    def __init__(self, source: Source, client: Client, order: Order) -> None:
        super().__init__(client)
        self._access = source.access
        self._cache = source.cache
        self._windows = order.windows
        self._report = order.report
        self._options = order.options
        self._spots = Spots(order.windows)
        self._nearness = Nearness(order.windows, order.options.towards)
        # one thread computes at a time: several would keep the interpreter from the window's thread
        self._computing = threading.RLock()
        self._unwritable: Optional[NotWritable] = None
        self._fresh: Dict[Window, None] = {}
        self._is_begun = False
        self._done_bytes = 0
        self._total_bytes = 0
        self._fraction = 0.0

    # --- what a form says

    @property
    @abstractmethod
    def _name(self) -> str:
        """What is named where nothing at all can be asked."""

    @abstractmethod
    def _look_again(self) -> None:
        """Take what is known of parts as it is now, for the next survey.

        Raises: NetworkFailed, AccessRefused where that must be asked for, the first time only.
        """

    @abstractmethod
    def _layout(self, spot: Spot) -> Optional[Tuple[Layout, Sequence[P]]]:
        """Return how parts lie over a block; None where that is not known."""

    @abstractmethod
    def _footprint(self, part: P) -> Window:
        """Return the pixels of a part, also of one that is not published."""

    @abstractmethod
    def _units_at(self, part: P, places: Places) -> Places:
        """Return the indices of the units that hold pixels (rows, cols) of the zone grid."""

    @abstractmethod
    def _is_known(self, part: P) -> bool:
        """Whether the server has been asked what there is of a part."""

    @abstractmethod
    def _ask(self, part: P) -> None:
        """Ask the server about a part, and keep that."""

    @abstractmethod
    def _blocks_of(self, wanted: Wanted[P]) -> BlockSet:
        """Return all blocks that fetching units touches."""

    @abstractmethod
    def _fetch_all(self, wanted: Wanted[P]) -> None:
        """Fetch units into the cache."""

    @abstractmethod
    def _remarks(self) -> Tuple[Set[str], Set[str]]:
        """Return the parts that are not published, and the unusual ones."""

    # --- from beginning to end

    def run(self) -> FetchSummary:
        """Bring what can be had. Raises: Cancelled, DiskFull, NotWritable."""
        began = time.monotonic()
        self._tell("Looking in the cache")
        if not self._access.offline:
            self._unwritable = _write_problem(self._cache.root)
        try:
            survey = self._survey()
        except NetworkFailed as error:
            return self._nothing(began, error.reason, error.url)
        except AccessRefused as error:
            return self._nothing(began, error.reason, "")
        cached = survey.cached_px
        if self._asks:
            survey = self._brought(survey)
        else:
            self._leave_out(survey)
        absent, unusual = self._remarks()
        return FetchSummary(
            pixels=sum(window.pixels for window in self._windows),
            valid_px=survey.valid_px,
            cached_px=cached,
            bytes_fetched=self._client.bytes_received,
            requests=self._client.requests,
            absent=tuple(sorted(absent)),
            failed=tuple(Failure(*pair) for pair in sorted(self._failed.items())),
            unusual=tuple(sorted(unusual)),
            seconds=time.monotonic() - began,
            unreachable=self._unreachable,
        )

    @property
    def _asks(self) -> bool:
        """Whether the server is asked: not where nothing that comes could be kept."""
        return not self._access.offline and self._unwritable is None

    def _nothing(self, began: float, reason: str, url: str) -> FetchSummary:
        """Return the summary where nothing can be asked and nothing is kept."""
        return FetchSummary(
            pixels=sum(window.pixels for window in self._windows),
            valid_px=0,
            cached_px=0,
            bytes_fetched=self._client.bytes_received,
            requests=self._client.requests,
            failed=(Failure(self._name, reason),),
            seconds=time.monotonic() - began,
            unreachable=url if not self._client.heard_since(began) else "",
        )

    def _brought(self, survey: Survey[P]) -> Survey[P]:
        """Fetch; where the cache turns out not to be writable, go by what there is."""
        try:
            return self._bring(survey)
        except NotWritable as error:
            self._unwritable = error
            survey = self._survey()
            self._leave_out(survey)
            return survey

    def _bring(self, survey: Survey[P]) -> Survey[P]:
        """Fetch and survey until nothing is lacking that can be had."""
        for _ in range(ROUNDS):
            wanted = self._not_lost(survey.wanted)
            if not wanted:
                return survey
            self._changed_now.clear()
            unknown = [part for part in wanted if not self._is_known(part)]
            if unknown:
                self._ask_all(unknown)
            else:
                self._check_space(wanted)
                self._is_begun = True
                self._fetch_all(wanted)
            survey = self._survey()
        for part in self._not_lost(survey.wanted):
            self._fail(self._title(part), NOT_KEPT)
        return survey

    def _leave_out(self, survey: Survey[P]) -> None:
        """Name what is lacking where nobody is asked. Raises: NotWritable if there is nothing."""
        for part in survey.wanted:
            self._fail(self._title(part), self._why_not)
        if self._unwritable is not None and self._failed and not survey.cached_px:
            raise self._unwritable

    @property
    def _why_not(self) -> str:
        return NOT_CACHED if self._access.offline else NO_ROOM

    def _ask_all(self, parts: Sequence[P]) -> None:
        near = sorted(parts, key=lambda part: self._nearness.of_window(self._footprint(part)))
        jobs: List[Job] = [_bound(self._ask_guarded, part) for part in near]
        count = f"{len(jobs)} parts" if len(jobs) > 1 else "a part"
        self._crew().run(jobs, lambda: self._tell(f"Looking up {count}"))

    def _ask_guarded(self, part: P) -> None:
        reason = self._guarded(part, lambda: self._ask(part))
        if reason:
            self._give_up(part, reason)

    def _crew(self, hands: int = 0) -> Crew:
        return Crew(
            hands or self._access.network.connections, self._client.cancel, self._options.gate
        )

    # --- surveys

    def _survey(self) -> Survey[P]:
        self._look_again()
        survey: Survey[P] = Survey()
        for spot in self._spots:
            self._tell("Checking what has arrived" if self._is_begun else "Looking in the cache")
            found = self._layout(spot)
            if found is None:
                self._fail(self._name, self._why_not)
                continue
            self._survey_spot(survey, spot, *found)
            if len(self._fresh) >= TOLD_BLOCKS:
                self._hand_over()
        self._hand_over()
        return survey

    def _survey_spot(
        self, survey: Survey[P], spot: Spot, layout: Layout, parts: Sequence[P]
    ) -> None:
        cover = layout.cover()
        block = self._cache.load(layout, trusted=True, codes=False)
        missing = cover if block is None else block.missing(cover)
        reached = self._reached(spot.block, parts, cover)
        if block is not None and not self._is_begun:
            self._note_fresh([spot.block])
        for window in spot.parts:
            here = window.slices_in(spot.block)
            resolved = missing[here] == 0
            survey.resolved_px += int(np.count_nonzero(resolved))
            survey.cached_px += int(np.count_nonzero(resolved & reached[here]))
            if block is not None:
                owned = block.owner[here] != NO_OWNER
                survey.valid_px += int(np.count_nonzero(owned & resolved))
            self._want(survey, parts, window, missing[here])

    def _reached(
        self, block: Window, parts: Sequence[P], cover: NDArray[np.uint16]
    ) -> NDArray[np.bool_]:
        """Return which pixels of a block any part covers, unpublished ones included."""
        reached: NDArray[np.bool_] = np.not_equal(cover, 0)
        if not reached.all():
            for part in parts:
                inside = self._footprint(part).intersection(block)
                if inside is not None:
                    reached[inside.slices_in(block)] = True
        return reached

    def _want(
        self, survey: Survey[P], parts: Sequence[P], window: Window, missing: NDArray[np.uint16]
    ) -> None:
        """Note, for each pixel of a window that lacks something, the first part it waits for."""
        first = missing & (~missing + np.uint16(1))
        if not first.any():
            return
        for index, part in enumerate(parts):
            rows, cols = np.nonzero(first == np.uint16(1 << index))
            if not len(rows):
                continue
            if part not in survey.wanted:
                survey.wanted[part] = np.zeros(self._units(part), dtype=np.bool_)
            at = self._units_at(part, (rows + window.row, cols + window.col))
            survey.wanted[part][at] = True

    # --- space

    def _check_space(self, wanted: Wanted[P]) -> None:
        """Check that the disk has room for all that is to come. Raises: DiskFull."""
        shares = [np.count_nonzero(units) / units.size for units in wanted.values()]
        pixels = sum(self._footprint(part).pixels * each for part, each in zip(wanted, shares))
        self._cache.check_space(self._told(self._blocks_of(wanted)), math.ceil(pixels))

    def _told(self, blocks: BlockSet) -> Iterator[Window]:
        """Yield blocks, and tell now and then that they are looked at."""
        for count, block in enumerate(blocks):
            if count % TOLD_BLOCKS == 0:
                self._tell("Looking in the cache")
            yield block

    # --- progress

    def _tell(self, message: str) -> None:
        self._report(self._fraction, message)

    def _tell_bytes(self) -> None:
        done, total = min(self._done_bytes, self._total_bytes), self._total_bytes
        # a later round adds to the total, but nobody wants to see progress go back
        self._fraction = max(self._fraction, done / total if total else 0.0)
        self._tell(f"Fetching {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    def _arrived(self, size: int) -> None:
        with self._lock:
            self._done_bytes += size

    def _note_fresh(self, blocks: Sequence[Window]) -> None:
        """Note blocks that are in the cache now, to be told in the caller's thread."""
        if self._options.arrived is not None:
            with self._lock:
                self._fresh.update(dict.fromkeys(blocks))

    def _hand_over(self) -> None:
        if self._options.arrived is None:
            return
        with self._lock:
            fresh, self._fresh = list(self._fresh), {}
        if fresh:
            self._options.arrived(fresh)


def check_same(
    path: str, reply: RangeReply, length: int, first: Union[RangeReply, ObjectInfo]
) -> None:
    """Check what an ETag does not tell, and what stands for it where there is none."""
    is_dated = bool(first.etag) or reply.last_modified == first.last_modified
    if reply.total != length or not is_dated:
        raise ObjectChanged(path)


def _write_problem(folder: Path) -> Optional[NotWritable]:
    """Return why nothing can be written into a folder; None where it can, or the disk is full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"-")
    except OSError as error:
        problem = write_error(folder, error)
        # of a full disk the fetch itself says how much was needed
        return problem if isinstance(problem, NotWritable) else None
    return None


def _bound(work: Callable[[P], None], part: P) -> Job:
    return lambda: work(part)
