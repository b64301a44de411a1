# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the writing of many labels is, and a button that stops it."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QHBoxLayout, QProgressBar, QToolButton, QWidget

from ..tasks.session import Session
from . import messages
from .area_page import AreaPage
from .links import Links

PATIENCE_MS = 200
"""What is done sooner is not worth a word."""


class WritingBar(QWidget):
    """Hidden while nothing is written, or for no longer than a blink."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        _area: AreaPage,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._iface, self._store = iface, session.labels
        self._bar = QProgressBar(self)
        self._bar.setObjectName("writingBar")
        self._bar.setRange(0, 1000)
        self._stop = QToolButton(self)
        self._stop.setObjectName("stopWritingButton")
        self._stop.setAccessibleName(self.tr("Stop writing"))
        self._stop.setIcon(QgsApplication.getThemeIcon("/mActionCancelAllEdits.svg"))
        self._stop.setToolTip(self.tr("Stop, and leave the labels as they were before"))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._bar, 1)
        row.addWidget(self._stop)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(PATIENCE_MS)
        self._soon.timeout.connect(self.show)
        self._links = Links()
        self._links.connect(self._store.writing, self._writing)
        self._links.connect(self._store.wrote, self._wrote)
        self._links.connect(self._store.not_written, self._failed)
        self._stop.clicked.connect(lambda _: self._cancel())
        self.hide()

    def close_down(self) -> None:
        """Let go of the labels."""
        self._links.close()
        self._soon.stop()

    # --- inside

    def _writing(self, is_writing: bool) -> None:  # noqa: FBT001 - a signal's
        self._bar.setValue(0)
        self._bar.setFormat(self.tr("Writing labels…"))
        self._stop.setEnabled(True)
        if is_writing:
            self._soon.start()
        else:
            self._soon.stop()
            self.hide()

    def _wrote(self, fraction: float) -> None:
        self._bar.setValue(round(1000 * fraction))

    def _cancel(self) -> None:
        self._stop.setEnabled(False)
        self._bar.setFormat(self.tr("Stopping…"))
        self._store.cancel_writing()

    def _failed(self, error: Exception) -> None:
        messages.show_error(self._iface.messageBar(), error)
