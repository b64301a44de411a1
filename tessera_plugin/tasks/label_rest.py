# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done for the label file when the person pauses: none of it may slow down a click."""

from __future__ import annotations

import contextlib
import threading
from typing import Callable, Optional

from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

REST_MS = 1000
"""So long after the last change."""

AGAIN_MS = 5000
"""So long after somebody who was reading stood in the way."""


class LabelRest(QObject):
    """Brings the log of the changes into the file, and calls what else waits for a pause."""

    _done = pyqtSignal(bool)

    def __init__(self, at_rest: Callable[[], None], parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._at_rest = at_rest
        self._path = ""
        self._thread: Optional[threading.Thread] = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._rest)
        self._done.connect(self._ended)

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
            self._thread = None

    def _rest(self) -> None:
        self._at_rest()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._checkpoint, args=(self._path,), name="tessera-labels", daemon=True
            )
            self._thread.start()
        else:
            self.start()

    def _checkpoint(self, path: str) -> None:
        from ..engine.label_files import checkpoint  # noqa: PLC0415 - light plugin load

        is_whole = checkpoint(path)
        with contextlib.suppress(RuntimeError):  # the plugin may have gone meanwhile
            self._done.emit(is_whole)

    def _ended(self, is_whole: bool) -> None:  # noqa: FBT001 - a Qt slot
        if not is_whole and not self._timer.isActive() and self._thread is not None:
            self._timer.start(AGAIN_MS)
