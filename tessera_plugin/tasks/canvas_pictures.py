# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures on zone grids become images for the map, on a thread of their own."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Dict, Optional, Sequence, Tuple, Union

from qgis.core import QgsRectangle
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtGui import QImage

from ..values import Extent

if TYPE_CHECKING:
    from ..engine.live_colors import Argb
    from ..engine.picture import Picture, Rgba

Supply = Union[Sequence["Picture"], Callable[[], Sequence["Picture"]]]
"""Pictures, or what gives them; it is called on the thread that renders."""

Finish = Callable[["Rgba"], "Rgba"]
"""What is done to the pixels of the screen (H, W, 4), not premultiplied, on that thread."""


@dataclass(frozen=True)
class View:
    """What a map shows, and in how many pixels of the screen."""

    extent: Extent
    """In the map's CRS; longitudes may go on past 180."""
    width: int
    height: int

    @property
    def rectangle(self) -> QgsRectangle:
        """The extent, as QGIS knows it."""
        extent = self.extent
        return QgsRectangle(extent.west, extent.south, extent.east, extent.north)


@dataclass(frozen=True, eq=False)
class _Job:
    """A role's pictures in a view."""

    role: str
    turn: int
    """Tells a role's pictures from those it had before it was dropped."""
    supply: Supply
    view: View
    finish: Optional[Finish] = None


@dataclass(frozen=True, eq=False)
class _Made:
    """What came of a job."""

    job: _Job
    image: Optional[QImage] = None
    error: Optional[Exception] = None


class CanvasPictures(QObject):
    """Renders sets of pictures, each known by its role, for what the map shows now.

    One at a time: what is asked for while another is made replaces what waits for the same role.
    """

    rendered = pyqtSignal(str, QImage, QgsRectangle)
    """Role, image (premultiplied) and the rectangle of the map that it shows."""
    failed = pyqtSignal(str, object)
    """Role and the exception."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._view: Optional[View] = None
        self._supplies: Dict[str, Tuple[Supply, Optional[Finish]]] = {}
        self._turns: Dict[str, int] = {}
        answers = _Answers()
        answers.came.connect(self._tell)
        self._maker = _Maker(answers)
        self.destroyed.connect(self._maker.stop)

    def set_view(self, view: Optional[View]) -> None:
        """Render for what the map shows from now on; None where it shows nothing."""
        self._view = view

    def look(self, view: Optional[View]) -> None:
        """Do `set_view` and render everything anew."""
        self.set_view(view)
        for role in self._supplies:
            self._ask(role)

    def show(self, role: str, supply: Supply, finish: Optional[Finish] = None) -> None:
        """Render a role's pictures, now and whenever the map moves. May be called often."""
        self._supplies[role] = supply, finish
        self._ask(role)

    def drop(self, role: str) -> None:
        """Forget a role's pictures; nothing of them is told any more."""
        self._supplies.pop(role, None)
        self._turns[role] = self._turns.get(role, 0) + 1
        self._maker.forget(role)

    def close(self, timeout_s: float = 3.0) -> None:
        """End the thread and tell nothing any more; waits for what is being rendered."""
        for role in tuple(self._supplies):
            self.drop(role)
        self._maker.close(timeout_s)

    def _ask(self, role: str) -> None:
        if self._view is None:
            self._maker.forget(role)
        else:
            turn = self._turns.setdefault(role, 0)
            supply, finish = self._supplies[role]
            self._maker.ask(_Job(role, turn, supply, self._view, finish))

    def _tell(self, made: _Made) -> None:
        """Hand on what was made, unless nobody wants it any more. On the GUI thread."""
        job, view = made.job, self._view
        is_old = job.role not in self._supplies or job.turn != self._turns.get(job.role)
        if is_old or view is None or view.extent.crs != job.view.extent.crs:
            return
        if made.image is not None:
            self.rendered.emit(job.role, made.image, job.view.rectangle)
        else:
            self.failed.emit(job.role, made.error)


class _Answers(QObject):
    """The way back from the thread: no Qt object owns it, so it is there as long as the thread.

    To emit a signal of an object that Qt has deleted is a crash.
    """

    came = pyqtSignal(object)


class _Maker:
    """The thread; it starts with the first job."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._jobs: Dict[str, _Job] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: Optional[threading.Thread] = None

    def ask(self, job: _Job) -> None:
        with self._changed:
            if self._is_closed:
                return
            self._jobs[job.role] = job
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tessera-map", daemon=True)
                self._thread.start()

    def forget(self, role: str) -> None:
        with self._changed:
            self._jobs.pop(role, None)

    def stop(self, *_: object) -> None:
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        for job in iter(self._next, None):
            self._answers.came.emit(_make(job))

    def _next(self) -> Optional[_Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closed)
            return None if self._is_closed else self._jobs.pop(next(iter(self._jobs)))


def _make(job: _Job) -> _Made:
    try:
        return _Made(job, image=_image(job))
    except Exception as error:  # noqa: BLE001 - the thread goes on, `failed` hands it on
        return _Made(job, error=error)


def _image(job: _Job) -> QImage:
    from ..engine.picture import render  # noqa: PLC0415 - light plugin load

    pictures = job.supply() if callable(job.supply) else job.supply
    view = job.view
    pixels = render(pictures, view.extent, view.width, view.height)
    return image_of(pixels if job.finish is None else job.finish(pixels))


def image_of(rgba: Rgba) -> QImage:
    """Return an image in the form that the screen is painted with, with memory of its own.

    `rgba` (H, W, 4) is not premultiplied. Qt is not asked to convert it: it would share the work
    with its pool of threads, hold the interpreter while it waits for them, and wait for ever where
    all of these are tasks that need the interpreter.
    """
    from ..engine.picture import premultiplied  # noqa: PLC0415 - light plugin load

    return image_of_argb(premultiplied(rgba))


def image_of_argb(argb: Argb) -> QImage:
    """Return an image of premultiplied pixels 0xAARRGGBB (H, W), with memory of its own."""
    height, width = argb.shape
    form = QImage.Format.Format_ARGB32_Premultiplied
    return QImage(argb.tobytes(), width, height, 4 * width, form).copy()
