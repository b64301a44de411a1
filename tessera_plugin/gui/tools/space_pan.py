# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Space bar and drag move the map while a tool is active."""

from __future__ import annotations

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, QPointF, Qt
from qgis.PyQt.QtGui import QMouseEvent
from qgis.PyQt.QtWidgets import QApplication

_BUTTON = (
    QEvent.Type.MouseButtonPress,
    QEvent.Type.MouseButtonRelease,
    QEvent.Type.MouseButtonDblClick,
)


class SpacePan(QObject):
    """Keeps the mouse button from the tool while the space bar is down.

    With the space bar down QGIS moves the map with the mouse, but only as long as no button is
    pressed: that goes to the tool, and a person who drags as elsewhere would make a label.
    """

    def __init__(self, canvas: QgsMapCanvas, parent: QObject) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._is_down = False
        self._is_watching = False

    def watch(self, wanted: bool) -> None:  # noqa: FBT001 - it is set as told
        """Look at what the canvas gets, or not."""
        if wanted == self._is_watching:
            return
        self._is_watching, self._is_down = wanted, False
        for watched in (self._canvas, self._canvas.viewport()):
            if wanted:
                watched.installEventFilter(self)
            else:
                watched.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
                self._is_down = kind == QEvent.Type.KeyPress
        elif kind == QEvent.Type.FocusOut:
            self._is_down = False  # its release goes to somebody else
        elif self._is_down and kind in _BUTTON:
            return True
        elif self._is_down and kind == QEvent.Type.MouseMove and event.buttons():
            none = Qt.MouseButton.NoButton
            here, there = QPointF(event.pos()), QPointF(watched.mapToGlobal(event.pos()))
            free = QMouseEvent(kind, here, there, none, none, event.modifiers())
            QApplication.sendEvent(watched, free)
            return True
        return False
