# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A change of many labels on its way into the file: off the GUI thread, answered on it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable, Optional

from qgis.PyQt.QtCore import QObject, Qt, QTimer, pyqtSignal

from ..errors import LabelsChanged, TesseraError
from ..progress import Cancelled, Report
from .base import REPORT_EVERY_S

TRIES = 3
"""So often it is begun while others write to the file."""


class LabelWriting(QObject):
    """Writes on a thread of its own, which no other job holds up, and answers once.

    It is begun by `start`; closing the label file brings it to its end first.
    """

    succeeded = pyqtSignal()
    """The change is in the file and in memory."""
    failed = pyqtSignal(object)
    """With the error; nothing is other than before."""
    cancelled = pyqtSignal()
    """Nothing is other than before."""
    ended = pyqtSignal()
    """After any of the three."""
    told = pyqtSignal(float)
    """Fraction done."""
    _done = pyqtSignal()

    def __init__(
        self,
        begin: Callable[[LabelWriting], None],
        work: Callable[[Report], Any],
        take: Callable[[Any], None],
        again: Callable[[], bool],
        parent: QObject,
    ) -> None:
        """`begin` and `take` are called on the GUI thread, before and after `work`.

        `begin` may raise a TesseraError; `take` gets what `work` gave, None where it gave up.
        `again` is called, on the GUI thread too, where `work` raised LabelsChanged: it tells whether
        to do the work again, and may raise a TesseraError.
        """
        super().__init__(parent)
        self._begin, self._work, self._take, self._again = begin, work, take, again
        self._tries = 0
        self._thread: Optional[threading.Thread] = None
        self._is_answered = False
        self._is_unwanted = threading.Event()
        self._result: Any = None
        self._error: Optional[Exception] = None
        self._last_told_s = 0.0
        self._done.connect(self._answer, Qt.ConnectionType.QueuedConnection)

    def start(self, *, at_once: bool = False) -> None:
        """Write, and answer later; or be done when the call returns."""
        try:
            self._begin(self)
        except TesseraError as error:
            self._error = error
            self._tell()
            return
        self._go(at_once=at_once)

    def cancel(self) -> None:
        """Leave nothing of it behind, unless it is done already."""
        self._is_unwanted.set()

    def finish(self, *, tell: bool = True) -> None:
        """Wait until it is in the file; answer, unless there is nobody any more."""
        if self._thread is not None:
            self._thread.join()
        while tell and not self._is_answered:
            self._answer()
        self._is_answered = True

    # --- inside

    def _go(self, *, at_once: bool) -> None:
        if at_once:
            self._run()
            self._answer()
        else:
            self._thread = threading.Thread(target=self._run, name="tessera-labels", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work(self._report)
        except Cancelled:
            pass
        except Exception as error:  # noqa: BLE001 - handed on by `failed`
            self._error = error
        with contextlib.suppress(RuntimeError):  # the plugin may have gone meanwhile
            self._done.emit()

    def _report(self, fraction: float, _: str = "") -> None:
        if self._is_unwanted.is_set():
            raise Cancelled
        now_s = time.monotonic()
        if now_s - self._last_told_s >= REPORT_EVERY_S:
            self._last_told_s = now_s
            with contextlib.suppress(RuntimeError):  # who looks at it may have gone meanwhile
                self.told.emit(fraction)

    def _answer(self) -> None:
        if self._is_answered:
            return
        if self._thread is not None:
            self._thread.join()  # it has nothing left to do but to end
        if isinstance(self._error, LabelsChanged) and self._is_tried_again():
            return
        self._is_answered = True
        self._take(self._result)
        if self._thread is None:
            self._tell()
        else:  # both take a moment
            QTimer.singleShot(0, self._tell)

    def _is_tried_again(self) -> bool:
        """Look what somebody else changed, and do the work again if that is to be."""
        self._tries += 1
        tries = self._tries
        try:
            is_wanted = self._again()
        except TesseraError as error:
            self._error = error
            return False
        if self._is_answered:  # who heard of the changes waited for it to be finished
            return True
        if is_wanted and tries < TRIES:
            self._error = None
            self._go(at_once=self._thread is None)
            return True
        return False

    def _tell(self) -> None:
        if self._error is not None:
            self.failed.emit(self._error)
        elif self._result is not None:
            self.succeeded.emit()
        else:
            self.cancelled.emit()
        self.ended.emit()
        self.deleteLater()
