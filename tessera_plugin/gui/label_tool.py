# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Map tools of the Labels page: make a label, remove a label."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Tuple

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsWkbTypes,
)
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QKeyEvent
from qgis.PyQt.QtWidgets import QApplication

LONLAT = "EPSG:4326"

SIMPLIFY_PX = 1.0
"""Freehand lines lose the points that no eye sees."""

STEP_PX = 3
"""A drag adds a point every so many pixels."""

REACH_PX = 8
"""A label is hit from so far."""

LOOK_EVERY_S = 0.03

DIGITS = tuple("123456789")

Found = Optional[Tuple[str, QgsGeometry]]


class _Tool(QgsMapTool):
    """What both tools share."""

    digit = pyqtSignal(int)
    """A key 1 to 9 was pressed over the map."""
    undo = pyqtSignal()
    """Backspace was pressed over the map."""
    refused = pyqtSignal()
    """The place has no longitude and latitude."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.text() in DIGITS and event.modifiers() in _PLAIN:
            self.digit.emit(int(event.text()))
            event.accept()
        elif event.key() == Qt.Key.Key_Backspace:
            self.undo.emit()
            event.accept()
        else:
            event.ignore()

    def to_lonlat(self, geometry: QgsGeometry) -> Optional[QgsGeometry]:
        """Return a geometry of the map in degrees, or None where it has no place on earth."""
        if not self.canvas().mapSettings().destinationCrs().isValid():
            return None  # a transform would leave it as it is
        result = QgsGeometry(geometry)
        try:
            result.transform(self._transform())
        except QgsCsException:
            return None
        box = result.boundingBox()
        if not box.isFinite() or not QgsRectangle(-180, -90, 180, 90).contains(box):
            return None
        return result

    def _transform(self) -> QgsCoordinateTransform:
        return QgsCoordinateTransform(
            self.canvas().mapSettings().destinationCrs(),
            QgsCoordinateReferenceSystem(LONLAT),
            QgsProject.instance(),
        )


_PLAIN = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)


class LabelTool(_Tool):
    """Click for a point, drag for a polygon."""

    made = pyqtSignal(QgsGeometry)
    """In degrees (EPSG:4326)."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self.setCursor(QgsApplication.getThemeCursor(QgsApplication.Cursor.CapturePoint))
        self._color = QColor("#3b82b8")
        self._pressed: Optional[QPoint] = None
        self._last = QPoint()
        self._points: List[QgsPointXY] = []
        self._band: Optional[QgsRubberBand] = None

    def set_color(self, color: str) -> None:
        """Draw in the active class's colour."""
        self._color = QColor(color)

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        self._forget()
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
            self._band = self._new_band()
        if (here - self._last).manhattanLength() >= STEP_PX:
            self._last = here
            self._points.append(event.mapPoint())
            self._band.addPoint(event.mapPoint())

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if self._pressed is None or event.button() != Qt.MouseButton.LeftButton:
            return
        points, dragged = self._points, self._band is not None
        self._forget()
        geometry = self._polygon(points) if dragged else None
        if geometry is None:
            geometry = QgsGeometry.fromPointXY(points[0])
        placed = self.to_lonlat(geometry)
        if placed is None:
            self.refused.emit()
        else:
            self.made.emit(placed)

    def deactivate(self) -> None:
        self._forget()
        super().deactivate()

    def _polygon(self, points: List[QgsPointXY]) -> Optional[QgsGeometry]:
        """Return what was drawn as one valid polygon; None where it has no area to speak of."""
        if len(points) < 3:
            return None
        pixel = self.canvas().mapUnitsPerPixel()
        drawn = QgsGeometry.fromPolygonXY([[*points, points[0]]]).simplify(SIMPLIFY_PX * pixel)
        if drawn.isEmpty() or not drawn.isGeosValid():
            drawn = QgsGeometry.fromPolygonXY([[*points, points[0]]]).makeValid()
        parts = [
            part
            for part in drawn.asGeometryCollection()
            if part.type() == QgsWkbTypes.geometryType(QgsWkbTypes.Type.Polygon)
        ]
        largest = max(parts, key=lambda part: part.area(), default=None)
        if largest is None or largest.area() < (2 * pixel) ** 2:
            return None
        return largest

    def _new_band(self) -> QgsRubberBand:
        kind = QgsWkbTypes.geometryType(QgsWkbTypes.Type.Polygon)
        band = QgsRubberBand(self.canvas(), kind)
        fill = QColor(self._color)
        fill.setAlpha(70)
        band.setColor(self._color)
        band.setFillColor(fill)
        band.setWidth(2)
        band.addPoint(self._points[0])
        return band

    def _forget(self) -> None:
        self._pressed, self._points = None, []
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None


class RemoveTool(_Tool):
    """Hover to see which label, click to remove it."""

    hit = pyqtSignal(str)
    """With the label's key."""

    def __init__(self, canvas: QgsMapCanvas, find: Callable[[QgsRectangle], Found]) -> None:
        super().__init__(canvas)
        self.setCursor(QgsApplication.getThemeCursor(QgsApplication.Cursor.Select))
        self._find = find
        self._band: Optional[QgsRubberBand] = None
        self._looked_s = 0.0

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        found = self._under(event.pixelPoint())
        self._mark(found[1] if found else None)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        found = self._under(event.pixelPoint())
        self._mark(None)
        if found:
            self.hit.emit(found[0])

    def deactivate(self) -> None:
        self._mark(None)
        super().deactivate()

    def _under(self, pixel: QPoint) -> Found:
        reach = QPoint(REACH_PX, REACH_PX)
        area = QgsRectangle(
            self.toMapCoordinates(pixel - reach), self.toMapCoordinates(pixel + reach)
        )
        try:
            return self._find(self._transform().transformBoundingBox(area))
        except QgsCsException:
            return None

    def _mark(self, geometry: Optional[QgsGeometry]) -> None:
        if self._band is not None:
            self.canvas().scene().removeItem(self._band)
            self._band = None
        if geometry is not None:
            self._band = QgsRubberBand(self.canvas(), geometry.type())
            self._band.setColor(QColor("#d64545"))
            self._band.setFillColor(QColor(214, 69, 69, 60))
            self._band.setWidth(3)
            self._band.setIconSize(14)
            self._band.setToGeometry(geometry, QgsCoordinateReferenceSystem(LONLAT))
