# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs, in a dialog: a bar that says what it is at, and a button that stops it."""

from __future__ import annotations

from qgis.PyQt.QtCore import QObject
from qgis.PyQt.QtWidgets import QProgressBar, QPushButton, QWidget

from ..tasks.base import TaskBox
from . import messages
from .links import Links


class JobBar(QObject):
    """Shows a frame with a bar and a button while a job runs. The bar counts to 1000."""

    def __init__(self, box: TaskBox, frame: QWidget, bar: QProgressBar, stop: QPushButton) -> None:
        super().__init__(frame)
        self._box, self._frame, self._bar, self._stop = box, frame, bar, stop
        self._links = Links()
        self._links.connect(box.started, self._started)
        self._links.connect(box.told, self._told)
        self._links.connect(box.ended, self._frame.hide)
        stop.clicked.connect(self._cancel)
        frame.hide()
        if box.running:
            self._started(box.running)

    def close_down(self) -> None:
        """Let go of what lives longer than the dialog."""
        self._links.close()

    # --- inside

    def _started(self, title: str) -> None:
        self._bar.setValue(0)
        self._say(self.tr("{}…").format(title))
        self._stop.setEnabled(True)
        self._frame.show()

    def _told(self, fraction: float, message: str) -> None:
        if not self._box.running or not self._stop.isEnabled():
            return
        self._bar.setValue(round(1000 * fraction))
        if message:
            self._say(messages.phase(message))

    def _cancel(self) -> None:
        self._stop.setEnabled(False)
        self._say(self.tr("Stopping…"))
        self._box.cancel()

    def _say(self, words: str) -> None:
        self._bar.setFormat(words.replace("%", "%%"))
