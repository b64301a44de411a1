# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pick similar: click a pixel, Shift and click more of them."""

from __future__ import annotations

from typing import List

from qgis.core import QgsGeometry, QgsPointXY
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsVertexMarker
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent

from ..place_marker import clicked_mark
from .base import ToolBase

_KEYS_OF_ACCEPT = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class SimilarTool(ToolBase):
    """Tells which pixels were clicked, and whether what grew from them is taken or dropped."""

    picked = pyqtSignal(float, float, bool)
    """Longitude, latitude, and whether it is one more of the pixels clicked before."""
    accepted = pyqtSignal()
    dropped = pyqtSignal()
    recolored = pyqtSignal()

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._markers: List[QgsVertexMarker] = []
        self.has_picked = False
        """Whether there is something to accept or to drop, which Enter and Esc are then for."""

    def set_color(self, color: str) -> None:
        super().set_color(color)
        self.recolored.emit()

    def mark(self, point: QgsPointXY) -> None:
        """Show a place of the map that was clicked."""
        self._markers.append(clicked_mark(self.canvas(), point))

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        placed = self.to_lonlat(QgsGeometry.fromPointXY(event.mapPoint()))
        if placed is None:
            return
        is_more = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier) and self.has_picked
        if not is_more:
            self.dropped.emit()
        self.mark(event.mapPoint())
        point = placed.asPoint()
        self.picked.emit(point.x(), point.y(), is_more)

    def key(self, event: QKeyEvent) -> bool:
        if self.has_picked and event.key() in _KEYS_OF_ACCEPT:
            self.accepted.emit()
        elif self.has_picked and event.key() == Qt.Key.Key_Escape:
            self.dropped.emit()
        else:
            return super().key(event)
        return True

    def unmark_last(self) -> None:
        """Take the mark of the last click away."""
        if self._markers:
            self.canvas().scene().removeItem(self._markers.pop())

    def reset(self) -> None:
        for marker in self._markers:
            self.canvas().scene().removeItem(marker)
        self._markers = []
