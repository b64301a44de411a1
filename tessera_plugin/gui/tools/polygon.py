# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tool that draws polygons corner by corner."""

from __future__ import annotations

from typing import List, Optional

from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsPointXY
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsRubberBand
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QKeyEvent

from . import places
from .base import ToolBase

CORNERS = 3
"""A polygon has so many at least."""


class PolygonTool(ToolBase):
    """Click the corners; right click, double click or Enter ends the polygon."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._corners: List[QgsPointXY] = []
        self._crs = QgsCoordinateReferenceSystem()
        self._band: Optional[QgsRubberBand] = None

    # --- what QGIS calls

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() == Qt.MouseButton.RightButton:
            self._finish()
        elif event.button() == Qt.MouseButton.LeftButton:
            self._add(event.mapPoint())

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if self._band is not None and self._is_same_map():
            self._band.movePoint(event.mapPoint())

    def canvasDoubleClickEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:  # its first click has set the corner
            self._finish()

    def key(self, event: QKeyEvent) -> bool:
        if not self._corners:
            return super().key(event)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._finish()
        elif event.key() == Qt.Key.Key_Backspace:
            self._take_back()
        elif event.key() == Qt.Key.Key_Escape:
            self.reset()
        else:
            return super().key(event)
        return True

    def set_color(self, color: str) -> None:
        super().set_color(color)
        self._draw()

    def reset(self) -> None:
        self._corners = []
        self._draw()

    # --- inside

    def _add(self, point: QgsPointXY) -> None:
        if self._corners and not self._is_same_map():
            self.reset()
        self._crs = self.canvas().mapSettings().destinationCrs()
        self._corners.append(QgsPointXY(point))
        self._draw()

    def _is_same_map(self) -> bool:
        """Whether the corners are of the map as it is: coordinates of another CRS mean nothing."""
        return bool(self.canvas().mapSettings().destinationCrs() == self._crs)

    def _take_back(self) -> None:
        self._corners.pop()
        self._draw()

    def _draw(self) -> None:
        """Show the corners, and the last one again: that one goes with the mouse."""
        self.take_off(self._band)
        self._band = None
        if self._corners:
            self._band = self.new_band()
            for point in [*self._corners, self._corners[-1]]:
                self._band.addPoint(point)

    def _finish(self) -> None:
        if not self._corners:
            return
        if len(self._corners) < CORNERS:
            self.refused.emit(
                self.tr("A polygon needs three corners: click further ones, or Esc to drop it.")
            )
            return
        drawn = QgsGeometry.fromPolygonXY([[*self._corners, self._corners[0]]])
        is_same = self._is_same_map()
        self.reset()
        whole = places.one_polygon(drawn, self.canvas().mapUnitsPerPixel() ** 2)
        if whole is None or not is_same:
            self.refused.emit(self.tr("The polygon has no area: click its corners one by one."))
            return
        placed = self.to_lonlat(whole)
        if placed is not None:
            self.made.emit([placed])
