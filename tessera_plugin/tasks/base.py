# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The only bridge between the interface and the engine: work off the GUI thread, answers on it."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, List, Optional, Set, cast

from qgis.core import QgsApplication, QgsTask
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ..progress import Cancelled, Gate, Report

Work = Callable[[Report], object]

REPORT_EVERY_S = 0.05
"""Progress is told this often at most: the interface has better things to do."""

_alive: Set[EngineTask] = set()
"""QGIS holds no Python reference to a task: one that nobody holds vanishes before it answers."""

_leaving: Set[EngineTask] = set()
"""Tasks whose work is done and that QGIS has not let go of yet."""

_waiting: List[EngineTask] = []
"""Tasks that are started when `_leaving` is empty.

At every news of a task QGIS takes its runnable out of the threads' queue, by its address and also
when it is gone long since. One of a new task may have the same address: that task would be taken
out instead, and never run.
"""


class EngineTask(QgsTask):
    """Run `work(report)` off the GUI thread and answer on it, once.

    `work` must hold plain values only: no layer, project, canvas or widget.
    """

    succeeded = pyqtSignal(object)
    failed = pyqtSignal(object)
    cancelled = pyqtSignal()
    ended = pyqtSignal()
    """After any of the three, and also when the task was silenced."""
    told = pyqtSignal(float, str)
    """Fraction done and message, from the working thread."""
    happened = pyqtSignal(object)
    """Whatever `work` wants to tell besides, from the working thread."""

    def __init__(
        self,
        title: str,
        work: Work,
        discard: Optional[Callable[[Any], None]] = None,
        gate: Optional[Gate] = None,
    ) -> None:
        """`discard` gets the result that nobody waits for any more, on any thread.

        `gate` is the one that the work passes, if it can be paused.
        """
        # Nothing is lost by a cancel, so closing a project or QGIS needs no question.
        flags = QgsTask.Flag.CanCancel | QgsTask.Flag.CancelWithoutPrompt
        # The page that started it tells what came; QGIS would call a cancel a failure (from 3.26).
        super().__init__(title, flags | getattr(QgsTask.Flag, "Silent", flags))
        self._work: Optional[Work] = work
        self._discard = discard
        self.gate = gate
        self._result: object = None
        self._error: Optional[Exception] = None
        self._quiet = False
        self._last_told_s = 0.0
        self._message = ""
        self._begun = False
        self._done = threading.Event()

    def start(self) -> None:
        """Hand the task to QGIS, once it has let go of those that have just ended."""
        _alive.add(self)
        _waiting.append(self)
        _hand_over()

    def cancel(self) -> None:
        """Ask the work to stop, also while it is paused."""
        super().cancel()
        if self.gate is not None:
            self.gate.resume()

    def silence(self) -> None:
        """Answer nobody any more."""
        self._quiet = True

    @property
    def is_silent(self) -> bool:
        """Whether nobody waits for answers any more: what is made is to be discarded."""
        return self._quiet

    def stop_and_wait(self, timeout_s: float) -> bool:
        """Cancel quietly and wait until no code of ours runs; False if it still does.

        `QgsTask.waitForFinished` won't do: it keeps the interpreter's lock, so the work would never
        see that it is cancelled.
        """
        self.silence()
        self.cancel()
        return self._done.wait(timeout_s) if self._begun else True

    def run(self) -> bool:
        self._begun = True
        work = cast("Work", self._work)
        self._work = None  # it may hold arrays, and it may hold this task
        try:
            self._result = work(self._report)
            if self._quiet:
                self._drop()
        except Cancelled:
            return False
        except Exception as error:  # noqa: BLE001 - the one broad except: `finished` hands it on
            self._error = error
            return False
        finally:
            _leaving.add(self)
            self._done.set()
        return True  # also when a cancel came too late: what is done is done

    def finished(self, ok: bool) -> None:  # noqa: FBT001 - QGIS calls it so
        QTimer.singleShot(0, lambda: _let_go(self))  # not a slot of the task: QGIS deletes it
        _alive.discard(self)
        if self._quiet:
            self._drop()
        elif ok:
            self.succeeded.emit(self._result)
        elif self._error is not None and not self.isCanceled():
            self.failed.emit(self._error)
        else:
            self.cancelled.emit()
        self.ended.emit()

    def _drop(self) -> None:
        result, self._result = self._result, None
        if self._discard is not None and result is not None:
            self._discard(result)

    def _report(self, fraction: float, message: str = "") -> None:
        if self.isCanceled():
            raise Cancelled
        now_s = time.monotonic()
        self._message = message or self._message
        if now_s - self._last_told_s < REPORT_EVERY_S:
            return
        self._last_told_s = now_s
        if not self._quiet:
            self.setProgress(100 * fraction)
            self.told.emit(fraction, self._message)


def _let_go(task: EngineTask) -> None:
    _leaving.discard(task)
    _hand_over()


def _hand_over() -> None:
    while _waiting and not _leaving:
        task = _waiting.pop(0)
        if task.isCanceled():  # meanwhile: QGIS would never tell of its end
            task.finished(ok=False)
        else:
            QgsApplication.taskManager().addTask(task)


class TaskBox(QObject):
    """The one task that runs at a time, and its end when the plugin goes."""

    started = pyqtSignal(str)
    """With the task's title."""
    told = pyqtSignal(float, str)
    paused = pyqtSignal(bool)
    """Whether the task is held back now."""
    ended = pyqtSignal()

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._task: Optional[EngineTask] = None
        self._title = ""

    @property
    def running(self) -> str:
        """Title of the task that runs; empty when none does."""
        return self._title if self._task is not None else ""

    @property
    def can_pause(self) -> bool:
        """Whether the task that runs can be paused."""
        return self._task is not None and self._task.gate is not None

    def start(self, task: EngineTask) -> bool:
        """Start a task unless one runs already; whether it was started."""
        if self._task is not None:
            return False
        self._task, self._title = task, task.description()
        task.told.connect(self.told)
        task.ended.connect(self._end)
        self.started.emit(self._title)
        task.start()
        return True

    def pause(self, wanted: bool) -> None:  # noqa: FBT001 - it is the state of a button
        """Hold the running task back, or let it go on; others than those with a gate don't care."""
        gate = self._task.gate if self._task is not None else None
        if gate is None or gate.is_paused == wanted:
            return
        if wanted:
            gate.pause()
        else:
            gate.resume()
        self.paused.emit(wanted)

    def cancel(self) -> None:
        """Ask the running task to stop; it answers within a second."""
        if self._task is not None:
            self._task.cancel()

    def close(self, timeout_s: float = 3.0) -> None:
        """End the running task quietly and wait for it: after this no code of ours runs."""
        task, self._task = self._task, None
        if task is not None:
            task.ended.disconnect(self._end)
            task.stop_and_wait(timeout_s)

    def _end(self) -> None:
        self._task = None
        self.ended.emit()
