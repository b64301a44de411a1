# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Warning signs on the map, at labels that need a look."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsPointXY,
    QgsProject,
)
from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QPointF, QRectF, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPen, QPolygonF
from qgis.PyQt.QtWidgets import QStyleOptionGraphicsItem, QWidget

from .links import Links

MOST = 300
"""So many signs are drawn at most; with more the map would be nothing but signs."""

SIZE_PX = 13.0
_UP_PX = 7.0  # over the label, which stays to be seen

_FILL, _EDGE = QColor("#ffb300"), QColor("#4a3400")


class ProblemMarks(QgsMapCanvasItem):
    """Triangles with an exclamation mark; one of them may be larger."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._lonlat: List[Tuple[float, float]] = []
        self._points: List[QgsPointXY] = []
        self._current: Optional[int] = None
        self._links = Links()
        self._links.connect(canvas.destinationCrsChanged, self._place)
        self.setZValue(60)

    @property
    def count(self) -> int:
        """How many signs are on the map."""
        return len(self._points)

    def show_at(self, lonlat: Sequence[Tuple[float, float]], current: Optional[int] = None) -> None:
        """Draw signs at places in degrees, the first MOST of them; that at `current` is larger."""
        self._lonlat, self._current = list(lonlat[:MOST]), current
        if not sip.isdeleted(self):  # the map may have gone before its dock
            self._place()

    def close_down(self) -> None:
        """Take the signs off the map for good."""
        if sip.isdeleted(self):
            return
        self._links.close()
        scene = self.scene()
        if scene is not None:
            scene.removeItem(self)
        sip.delete(self)

    def updatePosition(self) -> None:
        """Follow the map. QGIS calls it when its extent or size has changed."""
        self.prepareGeometryChange()
        self.setPos(QPointF(0, 0))
        self.update()

    def boundingRect(self) -> QRectF:
        return QRectF(0, 0, self._canvas.width(), self._canvas.height())

    def paint(
        self,
        painter: QPainter,
        option: Optional[QStyleOptionGraphicsItem] = None,  # noqa: ARG002
        widget: Optional[QWidget] = None,  # noqa: ARG002
    ) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        seen = self.boundingRect().adjusted(-SIZE_PX, -SIZE_PX, SIZE_PX, SIZE_PX)
        for number, point in enumerate(self._points):
            at = self.toCanvasCoordinates(point)
            if seen.contains(at):
                _draw(painter, at, SIZE_PX * (1.5 if number == self._current else 1.0))

    def _place(self) -> None:
        crs = self._canvas.mapSettings().destinationCrs()
        lonlat = QgsCoordinateReferenceSystem("EPSG:4326")
        to_map = QgsCoordinateTransform(lonlat, crs, QgsProject.instance())
        self._points = [_transformed(QgsPointXY(*each), to_map) for each in self._lonlat]
        self.updatePosition()


def _transformed(point: QgsPointXY, to_map: QgsCoordinateTransform) -> QgsPointXY:
    try:
        return to_map.transform(point)
    except QgsCsException:  # beyond what the map's CRS can show
        return QgsPointXY(math.inf, math.inf)


def _draw(painter: QPainter, at: QPointF, size: float) -> None:
    foot = at - QPointF(0, _UP_PX)
    triangle = QPolygonF(
        [foot - QPointF(0, size), foot + QPointF(0.6 * size, 0), foot - QPointF(0.6 * size, 0)]
    )
    painter.setPen(QPen(_EDGE, 1.2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap,
                        Qt.PenJoinStyle.RoundJoin))  # fmt: skip
    painter.setBrush(_FILL)
    painter.drawPolygon(triangle)
    painter.setPen(QPen(_EDGE, 0.13 * size))
    painter.drawLine(foot - QPointF(0, 0.66 * size), foot - QPointF(0, 0.36 * size))
    painter.drawPoint(foot - QPointF(0, 0.16 * size))
