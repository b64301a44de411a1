# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Questions asked on the side, of which only the newest matters: they never hold up a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Dict, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication, QObject, pyqtSignal

from ..progress import Report
from ..values import Extent, State, Window
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.compare import Comparison
    from ..engine.compare_spaces import SpacesComparison
    from ..engine.coverage import Coverage, CoveragePart
    from ..engine.locations import Found
    from ..engine.picture import Look, Picture

DETAIL_PX = 5_000_000
"""Areas of fewer pixels are looked at pixel by pixel."""

translate = QCoreApplication.translate

Slot = Callable[..., None]


@dataclass(frozen=True)
class Seen:
    """Coverage, and how much of it looks how."""

    coverage: Coverage
    shares: Dict[Look, float]
    """Share of the area by look, together 1."""


class Lookup(QObject):
    """Runs one question at a time; a newer one takes the place of those before it.

    Whoever asked last gets the answers, all on the GUI thread; an older question that is given up
    says nothing any more.
    """

    busy = pyqtSignal(bool)
    """Whether a question is open."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._running: Optional[EngineTask] = None
        self._next: Optional[EngineTask] = None
        self._wanted: Optional[EngineTask] = None
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a question is open."""
        return self._wanted is not None

    def ask(
        self,
        task: EngineTask,
        answered: Slot,
        failed: Optional[Slot] = None,
        on_way: Optional[Slot] = None,
    ) -> None:
        """Ask a question instead of the one before; `on_way` gets what the task's `happened` tells."""
        if self._is_closed:
            return
        task.succeeded.connect(self._only_newest(task, answered))
        if failed is not None:
            task.failed.connect(self._only_newest(task, failed))
        if on_way is not None:
            task.happened.connect(self._only_newest(task, on_way))
        task.ended.connect(lambda: self._ended(task))
        self._give_up()
        self._wanted = self._next = task
        self._go_on()
        self.busy.emit(True)

    def cancel(self) -> None:
        """Ask nothing any more."""
        was_busy = self.is_busy
        self._give_up()
        if was_busy:
            self.busy.emit(False)

    def close(self, timeout_s: float = 3.0) -> None:
        """Give up and wait: after this no code of ours runs."""
        self._is_closed = True
        self._wanted = self._next = None
        if self._running is not None:
            self._running.stop_and_wait(timeout_s)

    def _only_newest(self, task: EngineTask, slot: Slot) -> Slot:
        def told(*facts: object) -> None:
            if self._wanted is task:
                slot(*facts)

        return told

    def _give_up(self) -> None:
        self._wanted = self._next = None
        if self._running is not None:
            self._running.silence()
            self._running.cancel()

    def _go_on(self) -> None:
        """Start what waits, once the one before has let go: QGIS has few threads for tasks."""
        if self._running is None and self._next is not None:
            self._running, self._next = self._next, None
            self._running.start()

    def _ended(self, task: EngineTask) -> None:
        self._running = None
        if self._is_closed:
            return
        if self._wanted is task:
            self._wanted = None
            self.busy.emit(False)
        self._go_on()


# --- the questions


def coverage(session: Session, extent: Extent, *, forget: bool = False) -> EngineTask:
    """Return the task that tells what of an extent is there: gives `Seen`.

    Its `happened` tells the same less exactly, sooner. `forget`: what is known about availability
    is asked anew.
    """
    from ..engine import coverage as engine  # noqa: PLC0415 - light plugin load
    from ..engine import picture  # noqa: PLC0415
    from ..engine.unpack import by_worker  # noqa: PLC0415

    def seen(found: Coverage) -> Seen:
        return Seen(found, picture.shares(found))

    def refined(found: Coverage) -> None:
        task.happened.emit(seen(found))

    settings, access = session.settings, session.access()
    unpack = by_worker(session.compute.client())
    key, depth = session.dataset.key, session.depth
    request = engine.CoverageRequest(
        key, settings.year, extent, access, depth=depth, detail_px=DETAIL_PX
    )

    def work(report: Report) -> Seen:
        if forget:
            engine.refresh(key, access)
        return seen(engine.coverage(request, report, refined, unpack))

    task = EngineTask(translate("Lookups", "Looking what is published here"), work)
    return task


class CoveragePictures:
    """Makes the pictures of a coverage, once, on the thread that asks for them.

    What is in the cache is not tinted where the map shows its preview: that is better to look at.
    """

    def __init__(self, coverage: Coverage, previews: Sequence[Window]) -> None:
        self._coverage, self._previews = coverage, previews
        self._made: Optional[Tuple[Picture, ...]] = None

    def __call__(self) -> Tuple[Picture, ...]:
        from ..engine import picture  # noqa: PLC0415 - light plugin load

        if self._made is None:
            made = picture.of_coverage(self._coverage)
            for part, each in zip(self._coverage.parts, made):
                for preview in self._previews:
                    if preview.zone == part.zone:
                        cells = _cells(part, preview)
                        states = part.states[cells]
                        comes = (states == State.VALID) | (states == State.PUBLISHED)
                        each.rgba[cells][part.cached[cells] & comes] = 0
            self._made = made
        return self._made


def _cells(part: CoveragePart, window: Window) -> Tuple[slice, slice]:
    """Return the cells of a part whose middle lies in a window."""
    spans = (
        (window.row - part.row, window.stop_row - part.row),
        (window.col - part.col, window.stop_col - part.col),
    )
    rows, cols = (slice(*(max(round(edge / part.cell_px), 0) for edge in span)) for span in spans)
    return rows, cols


def years_here(session: Session, extent: Extent) -> EngineTask:
    """Return the task that tells which years have data in an extent: gives a state per year."""
    from ..engine import coverage as engine  # noqa: PLC0415 - light plugin load
    from ..engine import grid  # noqa: PLC0415

    access, key, depth = session.access(), session.dataset.key, session.depth

    def work(report: Report) -> Dict[int, State]:
        found = engine.years_here(key, extent, access, report, depth=depth)
        edges = (edge for window in grid.windows_of(extent) for edge in window.shape)
        if max(edges) <= 2 * engine.AROUND_PX:
            return found
        # only the middle was looked at: nothing there does not mean nothing on the whole map
        unknown = {State.OUTSIDE: State.UNKNOWN}
        return {year: unknown.get(state, state) for year, state in found.items()}

    return EngineTask(translate("Lookups", "Looking which years have data here"), work)


def look(session: Session, location: str) -> EngineTask:
    """Return the task that tells what is at an address or in a folder: gives `Found`."""
    from ..engine import locations  # noqa: PLC0415 - light plugin load

    access = session.access(location)

    def work(report: Report) -> Found:
        return locations.look(location, access, report)

    return EngineTask(translate("Lookups", "Looking what is there"), work)


def compare_spaces(session: Session, extent: Extent, other: str) -> EngineTask:
    """Return the task that reads a few pixels of another dataset too: gives `SpacesComparison`."""
    from ..engine import compare_spaces as engine  # noqa: PLC0415 - light plugin load

    request = engine.SpacesRequest(
        session.dataset.key, other, session.settings.year, extent, session.access(dataset=other)
    )

    def work(report: Report) -> SpacesComparison:
        return engine.compare_spaces(request, report)

    return EngineTask(translate("Lookups", "Comparing two datasets"), work)


def compare(session: Session, extent: Extent) -> EngineTask:
    """Return the task that reads a few pixels in both published forms: gives `Comparison`."""
    from ..engine import compare as engine  # noqa: PLC0415 - light plugin load

    request = engine.CompareRequest(
        session.dataset.key, session.settings.year, extent, session.access()
    )

    def work(report: Report) -> Comparison:
        return engine.compare(request, report)

    return EngineTask(translate("Lookups", "Comparing the two published forms"), work)
