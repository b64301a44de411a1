# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done for the label file when the person pauses: none of it may slow down a click."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from qgis.PyQt.QtCore import QObject, Qt, QTimer, pyqtSignal

if TYPE_CHECKING:
    from ..engine.label_files import Checkpoint

REST_MS = 1000
"""So long after the last change."""

AGAIN_MS = 5000
"""So long after somebody who was reading stood in the way."""


class Rester(Protocol):
    """Who uses the file; asked on the GUI thread."""

    def at_rest(self) -> bool:
        """Do what waits for a pause; return whether the log may be brought in now."""

    def is_unchanged(self) -> bool:
        """Return whether nobody else wrote to the file."""

    def checkpointed(self, nobody_wrote: Callable[[], bool]) -> None:
        """Hear that the log was brought in while, it may be, nobody wrote."""


class LabelRest(QObject):
    """Brings the log of the changes into the file, and calls what else waits for a pause."""

    _done = pyqtSignal(bool)

    def __init__(self, rester: Rester, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._rester = rester
        self._path = ""
        self._thread: Optional[threading.Thread] = None
        self._checkpoint: Optional[Checkpoint] = None
        self._is_known = False
        """Whether nobody had written when the checkpoint began."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._rest)
        self._done.connect(self._ended, Qt.ConnectionType.QueuedConnection)

    def use(self, path: str) -> None:
        """Care for another file from now on."""
        self._path = path

    def start(self) -> None:
        """Something was written."""
        self._timer.start(REST_MS)

    def close(self) -> None:
        """End what runs."""
        self._timer.stop()
        if self._thread is not None:
            self._thread.join()
        self._let_go()

    def _rest(self) -> None:
        if self._thread is not None or not self._rester.at_rest():
            self.start()
            return
        from ..engine.label_files import Checkpoint  # noqa: PLC0415 - light plugin load

        # In this order: what others write after the look is seen by the checkpoint.
        self._checkpoint = Checkpoint(self._path)
        self._is_known = self._rester.is_unchanged()
        self._thread = threading.Thread(
            target=self._run, args=(self._checkpoint,), name="tessera-labels", daemon=True
        )
        self._thread.start()

    def _run(self, checkpoint: Checkpoint) -> None:
        is_whole = checkpoint.run()
        with contextlib.suppress(RuntimeError):  # the plugin may have gone meanwhile
            self._done.emit(is_whole)

    def _ended(self, is_whole: bool) -> None:  # noqa: FBT001 - a Qt slot
        if self._thread is None or self._checkpoint is None:
            return
        self._thread.join()  # it has nothing left to do but to end
        if self._is_known:
            self._rester.checkpointed(self._checkpoint.nobody_wrote)
        self._let_go()
        if not is_whole and not self._timer.isActive():
            self._timer.start(AGAIN_MS)

    def _let_go(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.close()
        self._thread = self._checkpoint = None
