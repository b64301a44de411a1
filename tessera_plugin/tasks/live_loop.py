# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map's thread: what is wanted goes in, pictures and heads come out; the newest wins.

A thread of its own and no QGIS task: between a click and the map there is no time for a queue.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, FrozenSet, Optional, Tuple

from qgis.core import QgsProject, QgsRectangle
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtGui import QImage

from ..errors import TesseraError
from ..progress import Cancelled
from ..values import Access, Extent
from . import snapshot
from .canvas_pictures import View, image_of_argb
from .label_choice import LabelChoice, LeftOut
from .session import Session

if TYPE_CHECKING:
    from ..engine.instant_loop import InstantLoop, LivePicture, LiveState, LoopRequest, News
    from ..engine.view_cells import SomeCells

MODES = CLASSES, UNCERTAINTY, NOVELTY = ("classes", "uncertainty", "novelty")
"""What a live map may show."""

_DECIDE = (
    "dataset", "year", "depth", "form", "archive", "stores", "cache_dir", "min_observations",
    "max_px_per_polygon",
)  # fmt: skip
"""Settings that decide, besides `LabelChoice`, which embeddings are read and what is learnt."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture for the map."""

    image: Optional[QImage]
    """None where there is nothing to show."""
    rectangle: QgsRectangle
    """Of the map, which the image shows."""
    has_gaps: bool
    """Whether embeddings of some of it are not fetched yet."""
    is_whole: bool
    """Whether all of the view was looked at; else more comes."""
    seconds: float
    """Since it was asked for."""
    lack: Optional[TesseraError]
    """Why there is nothing to show, if that is because of the view."""


@dataclass(frozen=True, eq=False)
class _Wanted:
    """What is asked of the thread."""

    labels: snapshot.LabelsNow
    dataset: str
    depth: int
    year: int
    access: Access
    sampling_px: int
    view: Optional[View] = None
    extent: Optional[Extent] = None
    focus: Optional[Tuple[float, float]] = None
    mode: str = CLASSES
    hidden: FrozenSet[int] = frozenset()
    arrived: int = 0
    revision: int = 0
    asked_s: float = 0.0


class LiveLoop(QObject):
    """Trains the instant head after every change of labels and makes pictures of what the map shows.

    It works while it is running and knows a view. All its signals come on the GUI thread.
    """

    updated = pyqtSignal(object)
    """`LiveState`, after every training."""
    drawn = pyqtSignal(object)
    """`Frame`, the newest one."""
    outdated = pyqtSignal()
    """What was drawn is of another dataset, year or archive than is chosen now."""
    failed = pyqtSignal(object)
    """An exception that nobody expected; the next change is a new try."""

    def __init__(self, session: Session, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._session = session
        self._is_running = False
        self._is_closed = False
        self._view: Optional[View] = None
        self._extent: Optional[Extent] = None
        self._focus: Optional[Tuple[float, float]] = None
        self._mode = CLASSES
        self._arrived = 0
        self._labels: Optional[snapshot.LabelsNow] = None
        self._left_out = LeftOut()
        self._place: Optional[Tuple[object, ...]] = None
        self._access: Optional[Access] = None
        self._state: Optional[LiveState] = None
        self._state_path = ""
        """The label file that it is of."""
        answers = _Answers()
        answers.came.connect(self._tell)
        self._worker = _Worker(answers)
        self.destroyed.connect(self._worker.stop)
        session.labels.changed.connect(self._labels_changed)
        session.settings_changed.connect(self._settings_changed)
        session.box.ended.connect(self.look_again)
        session.warm.connect(self._ask)
        QgsProject.instance().cleared.connect(self.rest)

    # --- what others ask

    @property
    def state(self) -> Optional[LiveState]:
        """The head that the labels gave last, or why there is none; None before the first time."""
        return self._state

    @property
    def current(self) -> Optional[LiveState]:
        """The same, but None where it is of something else than what is chosen now.

        That is: of another dataset, year or label file, or of classes that have no labels any more.
        Further labels don't matter: a head that has not learnt them yet is of use.
        """
        state, session = self._state, self._session
        if state is None or self._state_path != session.labels.path:
            return None
        here = session.dataset.key, session.depth, session.settings.year
        if (state.dataset, state.depth, state.year) != here:
            return None
        counts = session.labels.counts
        known = () if state.head is None else state.head.classes
        return state if all(counts.get(each.id) for each in known) else None

    @property
    def left_out(self) -> LeftOut:
        """What of the labels is not learnt because the person wants it so."""
        return self._left_out

    @property
    def is_running(self) -> bool:
        """Whether it works: labels that change are learnt."""
        return self._is_running

    @property
    def mode(self) -> str:
        """What is shown, one of `MODES`."""
        return self._mode

    def view_cells(self, count: int, seed: int = 0) -> Optional[SomeCells]:
        """Return a seeded choice of the embeddings in memory of what the map shows; any thread may ask.

        None where there are none.
        """
        return self._worker.some_cells(count, seed)

    def set_running(self, wanted: bool) -> None:  # noqa: FBT001 - the state of a check
        """Work from now on, or stop at once and draw nothing any more."""
        if wanted == self._is_running:
            return
        self._is_running = wanted
        if wanted:
            self._ask()
        else:
            self._worker.rest()

    def release(self) -> None:
        """Let go of the view's embeddings: they take up to 150 MB."""
        self._view = self._extent = None
        self._worker.release()

    def set_view(
        self,
        view: Optional[View],
        extent: Optional[Extent],
        focus: Optional[Tuple[float, float]] = None,
    ) -> None:
        """Look at another part of the map; None where it shows no place on earth.

        The extent is the view's, as `snapshot.extent_of` gives it. What lies near `focus` comes
        first: a place of the view from its left and its top, 0 to 1; its middle if left out.
        """
        self._view, self._extent, self._focus = view, extent, focus
        self._ask()

    def set_mode(self, mode: str) -> None:
        """Show classes, uncertainty or novelty."""
        if mode != self._mode:
            self._mode = mode
            self._ask()

    def rest(self) -> None:
        """Drop what is on its way; the next change asks anew."""
        self._worker.rest()

    def look_again(self) -> None:
        """See what the cache has by now."""
        self._arrived += 1
        self._ask()

    def close(self) -> None:
        """End the thread; nothing of ours runs after this."""
        if not self._is_closed:
            self._is_closed = True
            QgsProject.instance().cleared.disconnect(self.rest)
            self._worker.close()

    # --- inside

    def _labels_changed(self) -> None:
        self._labels = None
        self._ask()

    def _settings_changed(self) -> None:
        if self._place is None or self._place != self._place_now():
            self._place = self._labels = None
            self.outdated.emit()
            self._ask()

    def _place_now(self) -> Tuple[object, ...]:
        """Return what decides which embeddings are read and learnt."""
        settings = (getattr(self._session.settings, name) for name in _DECIDE)
        return (LabelChoice.of(self._session), *settings)

    def _ask(self) -> None:
        """Ask for what is to be seen now, instead of all that was asked before."""
        session = self._session
        if self._is_closed or not self._is_running or not session.is_warm:
            return
        if self._labels is None:
            learnt, self._left_out = LabelChoice.of(session).this_year(session.labels.labels())
            self._labels = snapshot.LabelsNow(session.labels, learnt)
        if self._place is None or self._access is None:
            self._place, self._access = self._place_now(), session.access()
        settings, store = session.settings, session.labels
        self._worker.ask(
            _Wanted(
                self._labels, session.dataset.key, session.depth, settings.year, self._access,
                settings.max_px_per_polygon, self._view, self._extent, self._focus, self._mode,
                store.hidden, self._arrived, store.revision, time.monotonic(),
            )
        )  # fmt: skip

    def _tell(self, answer: _Answer) -> None:
        """Hand on what the thread made. On the GUI thread.

        A picture is dropped where something newer is wanted. A state never is: it is told once, and
        a map that was moved meanwhile is no reason to train again.
        """
        if self._is_closed:
            return
        if answer.state is not None:
            self._state, self._state_path = answer.state, answer.path
            self.updated.emit(answer.state)
        elif answer.turn != self._worker.turn:
            return
        elif answer.error is not None:
            self.failed.emit(answer.error)
        elif answer.frame is not None:
            self.drawn.emit(answer.frame)


class _Answers(QObject):
    """The way back from the thread: no Qt object owns it, so it is there as long as the thread."""

    came = pyqtSignal(object)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the thread tells."""

    turn: int
    """Number of the request that it answers."""
    state: Optional[LiveState] = None
    frame: Optional[Frame] = None
    error: Optional[Exception] = None
    path: str = ""
    """Of the label file."""


class _Worker:
    """The thread; it starts with the first request and holds the newest one only."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._changed = threading.Condition()
        self._wanted: Optional[_Wanted] = None
        self._is_release = False
        self._is_closed = False
        self._thread: Optional[threading.Thread] = None
        self._loop: Optional[InstantLoop] = None
        self.turn = 0
        """Counts requests; an answer to an older one is dropped."""

    def ask(self, wanted: _Wanted) -> None:
        with self._changed:
            if self._is_closed:
                return
            self._wanted, self._is_release = wanted, False
            self.turn += 1
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tessera-live", daemon=True)
                self._thread.start()

    def rest(self) -> None:
        """Stop what is being done."""
        with self._changed:
            self._wanted = None
            self.turn += 1

    def release(self) -> None:
        """Stop, and let go of what is in memory."""
        with self._changed:
            self._wanted, self._is_release = None, True
            self.turn += 1
            self._changed.notify()

    def stop(self, *_: object) -> None:
        with self._changed:
            self._is_closed, self._wanted = True, None
            self.turn += 1
            self._changed.notify()

    def close(self, timeout_s: float = 3.0) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def some_cells(self, count: int, seed: int) -> Optional[SomeCells]:
        loop = self._loop
        return None if loop is None else loop.some_cells(count, seed)

    # --- on the thread

    def _run(self) -> None:
        from ..engine.instant_loop import InstantLoop  # noqa: PLC0415 - light plugin load

        loop = self._loop = InstantLoop()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._wanted is not None or self._is_closed or self._is_release
                )
                wanted, turn, is_closed = self._wanted, self.turn, self._is_closed
                self._wanted, self._is_release = None, False
            if is_closed or wanted is None:
                loop.close()
                if is_closed:
                    return
                continue
            self._work(loop, wanted, turn)

    def _work(self, loop: InstantLoop, wanted: _Wanted, turn: int) -> None:
        def report(*_: object) -> None:
            if turn != self.turn:
                raise Cancelled

        def tell(news: News) -> None:
            report()
            self._answers.came.emit(_answer(news, wanted, turn))

        try:
            loop.update(_request(wanted), tell, report)
        except Cancelled:
            pass
        except Exception as error:  # noqa: BLE001 - the thread goes on, `failed` hands it on
            loop.close()  # whatever is half done is done anew
            self._answers.came.emit(_Answer(turn, error=error))


def _request(wanted: _Wanted) -> LoopRequest:
    from ..engine.instant_loop import LoopRequest  # noqa: PLC0415 - light plugin load
    from ..engine.samples import SampleParams  # noqa: PLC0415
    from ..engine.view_cells import ScreenView  # noqa: PLC0415

    view, extent = wanted.view, wanted.extent
    seen = None
    if view is not None and extent is not None:
        seen = ScreenView(extent, view.extent, view.width, view.height)
    return LoopRequest(
        wanted.dataset, wanted.depth, wanted.year, wanted.access, wanted.labels(), seen,
        wanted.mode, wanted.hidden, wanted.arrived, wanted.revision,
        SampleParams(max_px_per_polygon=wanted.sampling_px), wanted.focus,
    )  # fmt: skip


def _answer(news: News, wanted: _Wanted, turn: int) -> _Answer:
    from ..engine.instant_loop import LivePicture  # noqa: PLC0415 - light plugin load

    if not isinstance(news, LivePicture):
        return _Answer(turn, state=news, path=wanted.labels.path)
    return _Answer(turn, frame=_frame(news, wanted))


def _frame(picture: LivePicture, wanted: _Wanted) -> Frame:
    shown = picture.view.shown
    rectangle = QgsRectangle(shown.west, shown.south, shown.east, shown.north)
    image = None if picture.argb is None else image_of_argb(picture.argb)
    seconds = time.monotonic() - wanted.asked_s
    return Frame(image, rectangle, picture.has_gaps, picture.is_whole, seconds, picture.lack)
