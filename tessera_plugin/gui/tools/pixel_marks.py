# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels of the zone grids drawn over the map: those that are painted, those under the brush."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Iterable, List, Optional

from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt.QtCore import QPointF, QRectF, Qt
from qgis.PyQt.QtGui import QColor, QImage, QPainter, QPen, QPolygonF
from qgis.PyQt.QtWidgets import QStyleOptionGraphicsItem, QWidget

from ...tasks.zone_pixels import ZonePixels

if TYPE_CHECKING:
    from ...engine.brush import Part

LINES_FROM_PX = 5
"""Pixels of so many screen pixels are told apart by lines."""

_PAINTED, _UNDER = 120, 70  # of 255: how much they hide of the map


class PixelMarks(QgsMapCanvasItem):
    """A stroke on an image of its own, so that it costs the same however long it is."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self.color = QColor()
        self._pixels: Optional[ZonePixels] = None
        self._under: List[QPolygonF] = []
        self._image: Optional[QImage] = None
        self.setZValue(5.0)

    def use(self, pixels: Optional[ZonePixels]) -> None:
        """Draw on a map of another CRS."""
        self._pixels = pixels
        self.clear()

    def size_px(self, part: Part) -> float:
        """Return the shortest edge of a pixel on the screen; 0 where it has none."""
        shapes = self._on_screen(self._pixels.first(part)) if self._pixels is not None else []
        if not shapes:
            return 0.0
        (square,) = shapes
        edges = [square[k + 1] - square[k] for k in range(3)]
        return min(math.hypot(each.x(), each.y()) for each in edges)

    def show_under(self, part: Optional[Part]) -> None:
        """Show which pixels would be painted, or none."""
        if part is None and not self._under:
            return
        self._under = self._shapes(part) if part is not None else []
        self.update()

    def paint_part(self, part: Part, *, erase: bool) -> None:
        """Add pixels to what is painted, or take them away."""
        if not part.mask.any():
            return
        image = self._canvas_image()
        painter = QPainter(image)
        if erase:
            painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Clear)
        else:  # an edge that two of them share is not drawn twice
            painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
        self._draw(painter, self._shapes(part), _PAINTED)
        painter.end()
        self.update()

    def repaint_parts(self, parts: Iterable[Part]) -> None:
        """Draw what is painted anew, after the map has moved."""
        self._image = None
        for part in parts:
            self.paint_part(part, erase=False)
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self._image, self._under = None, []
        self.update()

    # --- what Qt and QGIS call

    def boundingRect(self) -> QRectF:
        return QRectF(self._canvas.viewport().rect())

    def updatePosition(self) -> None:
        """Follow the map: what is under the brush is shown anew when the mouse moves again."""
        self.show_under(None)

    def paint(
        self,
        painter: QPainter,
        option: Optional[QStyleOptionGraphicsItem] = None,  # noqa: ARG002
        widget: Optional[QWidget] = None,  # noqa: ARG002
    ) -> None:
        if self._image is not None:
            painter.drawImage(QPointF(0, 0), self._image)
        self._draw(painter, self._under, _UNDER)

    # --- inside

    def _canvas_image(self) -> QImage:
        if self._image is None:
            ratio = self._canvas.devicePixelRatioF()
            size = self._canvas.viewport().size() * ratio
            self._image = QImage(size, QImage.Format.Format_ARGB32_Premultiplied)
            self._image.setDevicePixelRatio(ratio)
            self._image.fill(Qt.GlobalColor.transparent)
        return self._image

    def _draw(self, painter: QPainter, shapes: List[QPolygonF], alpha: int) -> None:
        if not shapes:
            return
        fill = QColor(self.color)
        fill.setAlpha(alpha)
        painter.setBrush(fill)
        line = QColor(self.color)
        painter.setPen(QPen(line, 0) if self._has_lines(shapes[0]) else Qt.PenStyle.NoPen)
        for each in shapes:
            painter.drawConvexPolygon(each)

    @staticmethod
    def _has_lines(shape: QPolygonF) -> bool:
        box = shape.boundingRect()
        return bool(min(box.width(), box.height()) >= LINES_FROM_PX)

    def _shapes(self, part: Part) -> List[QPolygonF]:
        """Return pixels on the screen: one by one where they can be told apart, else as runs."""
        if self._pixels is None or not part.mask.any():
            return []
        is_fine = self.size_px(part) < LINES_FROM_PX
        return self._on_screen(self._pixels.runs(part) if is_fine else self._pixels.squares(part))

    def _on_screen(self, corners: QPolygonF) -> List[QPolygonF]:
        placed = self._canvas.getCoordinateTransform().transform().map(corners)
        return [placed[k : k + 4] for k in range(0, len(placed), 4)]
