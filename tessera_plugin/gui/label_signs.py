# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The labels over the live map: their layers lie below it, and who labels wants to see both."""

from __future__ import annotations

from typing import Dict, Iterator, Optional, Tuple

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt.QtCore import QPointF, QRectF, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPen, QPixmap, QPolygonF
from qgis.PyQt.QtWidgets import QStyleOptionGraphicsItem, QWidget

from ..tasks.labels import LabelStore
from .tools.places import LONLAT, POINT

Z_VALUE = -2.0
"""Above the live map and the other overlays, below rubber bands and markers."""

MOST = 1_000
"""More signs in view would hide the map, and cost time with every change."""

RADIUS_PX = 5.0
LINE_PX = 2.0
HALO, SELECTED = QColor("#ffffff"), QColor("#ffd400")


class LabelSigns(QgsMapCanvasItem):
    """Draws the labels of a store in the colours of their classes, as they are now.

    They are drawn once into a picture of the size of the map: a map is repainted with every move of
    a tool.
    """

    def __init__(self, canvas: QgsMapCanvas, store: LabelStore) -> None:
        super().__init__(canvas)
        self._canvas, self._store = canvas, store
        self._picture: Optional[QPixmap] = None
        self._crs = QgsCoordinateReferenceSystem()
        self._on_map: Dict[str, Tuple[bytes, QgsGeometry]] = {}
        """Labels in the CRS of the map by key, with what they were made of: a click changes one."""
        self.setZValue(Z_VALUE)

    def look(self) -> None:
        """Draw anew, as after another label or another view."""
        self.prepareGeometryChange()
        self._picture = self._drawn() if self.isVisible() else None
        self.update()

    def boundingRect(self) -> QRectF:
        return QRectF(0, 0, self._canvas.width(), self._canvas.height())

    def updatePosition(self) -> None:
        """Do nothing: it covers the whole map. QGIS calls it when the map was moved."""

    def paint(
        self,
        painter: QPainter,
        option: Optional[QStyleOptionGraphicsItem] = None,  # noqa: ARG002
        widget: Optional[QWidget] = None,  # noqa: ARG002
    ) -> None:
        if self._picture is not None:
            painter.drawPixmap(QPointF(0, 0), self._picture)

    # --- inside

    def _drawn(self) -> Optional[QPixmap]:
        ratio = self._canvas.devicePixelRatioF()
        picture = QPixmap(self._canvas.size() * ratio)
        if picture.isNull():
            return None
        picture.setDevicePixelRatio(ratio)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        try:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            for geometry, colors in self._in_view():
                self._sign(painter, geometry, colors)
        finally:  # a painter that outlives its picture is a crash
            painter.end()
        return picture

    def _in_view(self) -> Iterator[Tuple[QgsGeometry, Tuple[QColor, QColor]]]:
        """Yield what is to be seen, in the map's CRS, with its colour and that around it."""
        crs = self._canvas.mapSettings().destinationCrs()
        if not crs.isValid():
            return
        if crs != self._crs:
            self._crs, self._on_map = crs, {}
        to_map = QgsCoordinateTransform(LONLAT, crs, QgsProject.instance())
        area = self._lonlat_area(QgsCoordinateTransform(crs, LONLAT, QgsProject.instance()))
        if area is None:
            return
        colors: Dict[int, QColor] = {each.id: QColor(each.color) for each in self._store.classes}
        selected, before, self._on_map = set(self._store.selected), self._on_map, {}
        for key in self._store.keys_in(area, MOST):
            label = self._store.label(key)
            if label is None:
                continue
            known = before.get(key)
            if known is None or known[0] != label.wkb:
                known = label.wkb, self._store.geometry(key)
                try:
                    known[1].transform(to_map)
                except QgsCsException:
                    continue
            self._on_map[key] = known
            yield known[1], (colors[label.class_id], SELECTED if key in selected else HALO)

    def _lonlat_area(self, to_lonlat: QgsCoordinateTransform) -> Optional[QgsRectangle]:
        try:
            return to_lonlat.transformBoundingBox(self._canvas.mapSettings().visibleExtent())
        except QgsCsException:
            return None

    def _sign(
        self, painter: QPainter, geometry: QgsGeometry, colors: Tuple[QColor, QColor]
    ) -> None:
        color, around = colors
        if geometry.type() == POINT:
            painter.setPen(QPen(around, LINE_PX))
            painter.setBrush(color)
            painter.drawEllipse(self.toCanvasCoordinates(geometry.asPoint()), RADIUS_PX, RADIUS_PX)
            return
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for ring in geometry.asPolygon():
            outline = QPolygonF([self.toCanvasCoordinates(point) for point in ring])
            for pen in (QPen(around, 2 * LINE_PX), QPen(color, LINE_PX)):
                painter.setPen(pen)
                painter.drawPolygon(outline)
