# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The plain tool: click for a point, drag for a polygon."""

from __future__ import annotations

from typing import List, Optional

from qgis.core import QgsGeometry, QgsPointXY
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtWidgets import QApplication

from . import places
from .base import ToolBase

SIMPLIFY_PX = 1.0
"""Freehand lines lose the points that no eye sees."""

STEP_PX = 3
"""A drag adds a point every so many pixels."""

LEAST_PX = 2
"""A drag of less than so many pixels squared is a click."""


class LabelTool(ToolBase):
    """Click for a point, drag for a polygon."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._pressed: Optional[QPoint] = None
        self._last = QPoint()
        self._points: List[QgsPointXY] = []
        self._band: Optional[QgsRubberBand] = None

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        self.reset()
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed = self._last = event.pixelPoint()
            self._points = [event.mapPoint()]

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if self._pressed is None:
            return
        here = event.pixelPoint()
        if self._band is None:
            if (here - self._pressed).manhattanLength() < QApplication.startDragDistance():
                return
            self._band = self.new_band()
            self._band.addPoint(self._points[0])
        if (here - self._last).manhattanLength() >= STEP_PX:
            self._last = here
            self._points.append(event.mapPoint())
            self._band.addPoint(event.mapPoint())

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if self._pressed is None or event.button() != Qt.MouseButton.LeftButton:
            return
        points, dragged = self._points, self._band is not None
        self.reset()
        geometry = self._polygon(points) if dragged else None
        if geometry is None:
            geometry = QgsGeometry.fromPointXY(points[0])
        placed = self.to_lonlat(geometry)
        if placed is not None:
            self.made.emit([placed])

    def reset(self) -> None:
        self._pressed, self._points = None, []
        self.take_off(self._band)
        self._band = None

    def _polygon(self, points: List[QgsPointXY]) -> Optional[QgsGeometry]:
        """Return what was drawn as one valid polygon; None where it has no area to speak of."""
        if len(points) < 3:
            return None
        pixel = self.canvas().mapUnitsPerPixel()
        ring = [[*points, points[0]]]
        drawn = QgsGeometry.fromPolygonXY(ring).simplify(SIMPLIFY_PX * pixel)
        if drawn.isEmpty() or not drawn.isGeosValid():
            drawn = QgsGeometry.fromPolygonXY(ring)
        return places.one_polygon(drawn, (LEAST_PX * pixel) ** 2)
