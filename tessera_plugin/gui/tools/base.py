# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tools on the map share: keys, colours, what is drawn, places in degrees."""

from __future__ import annotations

from typing import List, Optional

from qgis.core import QgsApplication, QgsCsException, QgsGeometry, QgsRectangle
from qgis.gui import QgsMapCanvas, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, QRect, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QKeyEvent

from ..undo_keys import is_redo, is_undo
from . import places

DIGITS = tuple("123456789")

REACH_PX = 8
"""A label is hit from so far."""

_PLAIN = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
_DEFAULT_COLOR = "#3b82b8"


class ToolBase(QgsMapTool):
    """A tool of the Labels page.

    A tool that draws overrides `reset`; one with keys of its own overrides `key`.
    """

    digit = pyqtSignal(int)
    """A key 1 to 9 was pressed over the map."""
    undo = pyqtSignal()
    redo = pyqtSignal()
    next_wanted = pyqtSignal()
    """N was pressed over the map: go to the next place."""
    refused = pyqtSignal(str)
    """A sentence: why nothing came of it, and what to do."""
    left = pyqtSignal()
    """Esc was pressed: the map gets back the tool it had before."""
    made = pyqtSignal(object)
    """What is to be labels of the active class: a list of geometries in degrees (EPSG:4326)."""

    def __init__(
        self,
        canvas: QgsMapCanvas,
        cursor: QgsApplication.Cursor = QgsApplication.Cursor.CapturePoint,
    ) -> None:
        super().__init__(canvas)
        self.setCursor(QgsApplication.getThemeCursor(cursor))
        self.color = QColor(_DEFAULT_COLOR)

    # --- what tools override

    def set_color(self, color: str) -> None:
        """Draw in the active class's colour."""
        self.color = QColor(color)

    def reset(self) -> None:
        """Forget what is being drawn, and take it off the map."""

    def key(self, event: QKeyEvent) -> bool:
        """Take a key that was pressed over the map; return whether it was one of the tool's."""
        plain = event.modifiers() in _PLAIN
        if plain and event.text() in DIGITS:
            self.digit.emit(int(event.text()))
        elif is_undo(event) or (plain and event.key() == Qt.Key.Key_Backspace):
            self.undo.emit()
        elif is_redo(event):
            self.redo.emit()
        elif plain and event.key() == Qt.Key.Key_N:
            self.next_wanted.emit()
        elif plain and event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            return False
        return True

    # --- what QGIS calls

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # For the canvas an ignored event is one that the tool used. All others it uses itself:
        # arrows and space bar move the map.
        if self.key(event):
            event.ignore()

    def deactivate(self) -> None:
        self.reset()
        super().deactivate()

    # --- what tools use

    def to_lonlat(self, geometry: QgsGeometry) -> Optional[QgsGeometry]:
        """Return a geometry of the map in degrees; None where it has no place, and `refused` told so."""
        try:
            return places.in_lonlat(geometry, self.canvas().mapSettings().destinationCrs())
        except places.OverAntimeridianError:
            self.refused.emit(
                self.tr("This crosses the 180° meridian: draw one label on each side of it.")
            )
        except places.NoPlaceError:
            self.refused.emit(self.tr("This place has no longitude and latitude."))
        return None

    def lonlat_around(self, pixel: QPoint) -> Optional[QgsRectangle]:
        """Return the box in degrees within reach of a pixel of the screen."""
        reach = QPoint(REACH_PX, REACH_PX)
        return self.lonlat_box(QRect(pixel - reach, pixel + reach))

    def lonlat_box(self, pixels: QRect) -> Optional[QgsRectangle]:
        """Return a box in degrees around a rectangle of the screen; None where it has no place."""
        crs = self.canvas().mapSettings().destinationCrs()
        if not crs.isValid():
            return None
        # the map may be rotated: all four corners count
        area = self.screen_polygon(pixels).boundingBox()
        try:
            return places.to_lonlat(crs).transformBoundingBox(area)
        except QgsCsException:
            return None

    def screen_polygon(self, pixels: QRect) -> QgsGeometry:
        """Return a rectangle of the screen as a polygon of the map."""
        corners: List[QPoint] = [pixels.topLeft(), pixels.topRight(), pixels.bottomRight(),
                                 pixels.bottomLeft(), pixels.topLeft()]  # fmt: skip
        return QgsGeometry.fromPolygonXY([[self.toMapCoordinates(each) for each in corners]])

    def new_band(
        self, kind: object = places.POLYGON, color: Optional[QColor] = None, width: int = 2
    ) -> QgsRubberBand:
        """Return a new rubber band in the active class's colour, or in another one."""
        line = color or self.color
        fill = QColor(line)
        fill.setAlpha(70)
        band = QgsRubberBand(self.canvas(), kind)
        band.setColor(line)
        band.setFillColor(fill)
        band.setWidth(width)
        return band

    def take_off(self, band: Optional[QgsRubberBand]) -> None:
        """Take a rubber band off the map for good."""
        if band is not None:
            self.canvas().scene().removeItem(band)
