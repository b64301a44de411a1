# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The brush: paints pixels of the zone grid, which are shown as such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from qgis.core import QgsApplication, QgsGeometry, QgsPointXY
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent
from qgis.PyQt import sip
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent, QWheelEvent

from ...tasks.zone_pixels import ZonePixels, polygons_of
from .. import view_changes
from ..links import Links
from .base import ToolBase
from .pixel_marks import PixelMarks

if TYPE_CHECKING:
    from ...engine.brush import Part, Spot, Stroke

SIZES_PX = (1, 3, 5, 9)
"""Edges of the brush, in pixels of the grid."""

LEAST_PX = 2
"""A pixel of the grid must be so large on the screen."""

_ERASING = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier


class BrushTool(ToolBase):
    """Press and drag to paint, with Ctrl or Alt to erase from the stroke."""

    sized = pyqtSignal(int)
    """The brush has another size, in pixels of the grid."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas, QgsApplication.Cursor.CrossHair)
        self.size_px = SIZES_PX[1]
        self._marks: Optional[PixelMarks] = None
        self._pixels: Optional[ZonePixels] = None
        self._stroke: Optional[Stroke] = None
        self._last: Optional[Spot] = None
        self._pointed: Optional[QgsPointXY] = None
        self._links = Links()

    # --- the brush

    def set_size(self, size_px: int) -> None:
        """Take another brush, of those there are."""
        if size_px == self.size_px:
            return
        self.size_px = size_px
        self.sized.emit(size_px)
        self._hover()

    def set_color(self, color: str) -> None:
        super().set_color(color)
        if self._marks is not None:
            self._marks.color = self.color
            self._marks.update()

    # --- what QGIS calls

    def activate(self) -> None:
        super().activate()
        canvas = self.canvas()
        self._marks = PixelMarks(canvas)
        self._marks.color = self.color
        canvas.destinationCrsChanged.connect(self._crs_changed)
        view_changes.follow(self._links, canvas, self._map_moved)
        self._crs_changed()
        middle = self._spot(canvas.center())
        if middle is not None:  # what takes long the first time is over before the mouse moves
            self._is_large(middle)

    def deactivate(self) -> None:
        super().deactivate()
        if self._marks is not None:
            self.canvas().destinationCrsChanged.disconnect(self._crs_changed)
            self._links.close()
            self.canvas().scene().removeItem(self._marks)
            sip.delete(self._marks)
            self._marks = None

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        self.reset()
        if event.button() != Qt.MouseButton.LeftButton:
            return
        spot = self._spot(event.mapPoint())
        if spot is None:
            if self.to_lonlat(QgsGeometry.fromPointXY(event.mapPoint())) is not None:
                self.refused.emit(
                    self.tr("There are no pixels here: their grid ends at 80° S and 84° N.")
                )
        elif not self._is_large(spot):
            self.refused.emit(self.tr("Zoom in to paint single pixels."))
        else:
            self._stroke, self._last = _new_stroke(), spot
            self._paint(spot, event)

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        self._pointed = event.mapPoint()
        if self._stroke is None:
            self._hover()
            return
        spot = self._spot(event.mapPoint())
        if spot is not None:
            self._paint(spot, event)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        stroke = self._stroke
        if stroke is None or event.button() != Qt.MouseButton.LeftButton:
            return
        self.reset()
        polygons = polygons_of(stroke)
        if polygons:
            self.made.emit(polygons)

    def wheelEvent(self, event: QWheelEvent) -> None:
        turned = event.angleDelta().y() or event.angleDelta().x()  # Shift may turn it sideways
        if event.modifiers() == Qt.KeyboardModifier.ShiftModifier and turned:
            self._step(1 if turned > 0 else -1)
            event.accept()
        else:
            event.ignore()  # the map zooms

    def key(self, event: QKeyEvent) -> bool:
        steps = {"[": -1, "]": 1}
        if event.text() in steps:
            self._step(steps[event.text()])
            return True
        return super().key(event)

    def reset(self) -> None:
        self._stroke = self._last = None
        if self._marks is not None:
            self._marks.clear()

    # --- inside

    def _step(self, steps: int) -> None:
        wanted = SIZES_PX.index(self.size_px) + steps
        self.set_size(SIZES_PX[min(max(wanted, 0), len(SIZES_PX) - 1)])

    def _spot(self, point: QgsPointXY) -> Optional[Spot]:
        return self._pixels.spot(point) if self._pixels is not None else None

    def _paint(self, spot: Spot, event: QgsMapMouseEvent) -> None:
        if self._stroke is None or self._marks is None:
            return
        erase = bool(event.modifiers() & _ERASING)
        changed = self._stroke.paint(self._last or spot, spot, self.size_px, erase=erase)
        self._last = spot
        self._marks.paint_part(changed, erase=erase)
        self._marks.show_under(_footprint(spot, self.size_px))

    def _hover(self) -> None:
        """Show which pixels a click would paint, where it would paint any."""
        if self._marks is None or self._pointed is None:
            return
        spot = self._spot(self._pointed)
        if spot is not None and self._is_large(spot):
            self._marks.show_under(_footprint(spot, self.size_px))
        else:
            self._marks.show_under(None)

    def _is_large(self, spot: Spot) -> bool:
        return self._marks is not None and self._marks.size_px(_footprint(spot, 1)) >= LEAST_PX

    def _crs_changed(self) -> None:
        crs = self.canvas().mapSettings().destinationCrs()
        self._pixels = ZonePixels(crs) if crs.isValid() else None
        self._stroke = self._last = self._pointed = None
        if self._marks is not None:
            self._marks.use(self._pixels)

    def _map_moved(self) -> None:
        """Keep what is being painted in its place."""
        self._pointed = None
        if self._marks is not None and self._stroke is not None:
            self._marks.repaint_parts(self._stroke.parts())


def _new_stroke() -> Stroke:
    from ...engine.brush import Stroke  # noqa: PLC0415 - light plugin load

    return Stroke()


def _footprint(spot: Spot, size_px: int) -> Part:
    from ...engine.brush import footprint  # noqa: PLC0415 - light plugin load

    return footprint(spot, size_px)
