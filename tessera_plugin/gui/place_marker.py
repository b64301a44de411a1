# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A pixel of the zone grid that the person is asked about: shown on the map, and brought into sight."""

from __future__ import annotations

import contextlib
import math
from typing import Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsDistanceArea,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas, QgsRubberBand, QgsVertexMarker
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QObject
from qgis.PyQt.QtGui import QColor

from ..values import PIXEL_M
from .links import Links
from .tools.places import LONLAT, POLYGON

COLOR = "#e7298a"
HALO_PX, CLICKED_PX = 26, 10
COARSEST_M = 5.0
"""Metres per pixel of the screen at which a place of 10 m can still be looked at."""

LOOK_M = 2.5
"""Metres per pixel of the screen after zooming to a place."""

MIDDLE = 0.7
"""A place in this share of the map's width and height is in sight."""

_DEGREE_M = 111_320.0


def clicked_mark(canvas: QgsMapCanvas, point: QgsPointXY) -> QgsVertexMarker:
    """Return a new mark at a point of the map that was clicked."""
    marker = QgsVertexMarker(canvas)
    marker.setIconType(QgsVertexMarker.IconType.ICON_CIRCLE)
    marker.setIconSize(CLICKED_PX)
    marker.setPenWidth(2)
    marker.setColor(QColor("#202020"))
    marker.setFillColor(QColor("#ffffff"))
    marker.setCenter(point)
    return marker


class PlaceMarker(QObject):
    """Shows one place at a time on a canvas."""

    def __init__(self, canvas: QgsMapCanvas, parent: QObject) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._pixel: Optional[QgsGeometry] = None
        self._zone = 0
        self._band: Optional[QgsRubberBand] = None
        self._halo: Optional[QgsVertexMarker] = None
        self._links = Links()
        self._links.connect(canvas.destinationCrsChanged, self._draw)

    def show(self, zone: int, row: int, col: int) -> None:
        """Mark a pixel of a zone's grid instead of the one before."""
        west, north = col * PIXEL_M, -row * PIXEL_M
        box = QgsRectangle(west, north - PIXEL_M, west + PIXEL_M, north)
        self._zone, self._pixel = zone, QgsGeometry.fromRect(box)
        self._draw()

    def clear(self) -> None:
        """Mark nothing."""
        self._pixel = None
        self._take_off()

    def close_down(self) -> None:
        """Leave nothing on the map."""
        if not sip.isdeleted(self._canvas):
            self._links.close()
            self.clear()

    def _take_off(self) -> None:
        for item in (self._band, self._halo):
            if item is not None and not sip.isdeleted(item):
                self._canvas.scene().removeItem(item)
        self._band = self._halo = None

    def _draw(self) -> None:
        self._take_off()
        if self._pixel is None:
            return
        target = self._canvas.mapSettings().destinationCrs()
        grid = QgsCoordinateReferenceSystem(f"EPSG:{32600 + self._zone}")
        shown = QgsGeometry(self._pixel)
        with contextlib.suppress(QgsCsException):  # the map's CRS does not reach there
            shown.transform(QgsCoordinateTransform(grid, target, QgsProject.instance()))
            self._band = QgsRubberBand(self._canvas, POLYGON)
            self._band.setStrokeColor(QColor(COLOR))
            self._band.setFillColor(QColor(0, 0, 0, 0))
            self._band.setWidth(2)
            self._band.setToGeometry(shown, None)
            self._halo = QgsVertexMarker(self._canvas)
            self._halo.setIconType(QgsVertexMarker.IconType.ICON_CIRCLE)
            self._halo.setIconSize(HALO_PX)
            self._halo.setPenWidth(3)
            self._halo.setColor(QColor(COLOR))
            self._halo.setCenter(shown.centroid().asPoint())


def bring_into_sight(canvas: QgsMapCanvas, lon: float, lat: float) -> None:
    """Move the map to a place, if it is not in sight, and zoom in, if it could not be looked at."""
    settings = canvas.mapSettings()
    to_map = QgsCoordinateTransform(LONLAT, settings.destinationCrs(), QgsProject.instance())
    with contextlib.suppress(QgsCsException):  # the map's CRS does not reach there
        point = to_map.transform(QgsPointXY(lon, lat))
        if metres_per_pixel(canvas) > COARSEST_M:
            half_m = LOOK_M * max(canvas.width(), canvas.height(), 1) / 2
            north, east = (
                half_m / _DEGREE_M,
                half_m / (_DEGREE_M * max(math.cos(math.radians(lat)), 0.01)),
            )
            box = QgsRectangle(lon - east, lat - north, lon + east, lat + north)
            canvas.setExtent(to_map.transformBoundingBox(box))
        elif not _is_in_middle(canvas, point):
            canvas.setCenter(point)
        else:
            return
        canvas.refresh()


def metres_per_pixel(canvas: QgsMapCanvas) -> float:
    """Return how much of the ground a pixel in the middle of the screen shows."""
    settings = canvas.mapSettings()
    ruler = QgsDistanceArea()
    ruler.setSourceCrs(settings.destinationCrs(), QgsProject.instance().transformContext())
    ruler.setEllipsoid("WGS84")
    middle, step = canvas.extent().center(), canvas.mapUnitsPerPixel()
    beside = QgsPointXY(middle.x() + step, middle.y())
    try:
        return float(ruler.measureLine(middle, beside))
    except QgsCsException:
        return 0.0


def _is_in_middle(canvas: QgsMapCanvas, point: QgsPointXY) -> bool:
    """Return whether a point is well in sight, however the map is turned and magnified."""
    at = canvas.getCoordinateTransform().transform(point)
    aside = (abs(at.x() / canvas.width() - 0.5), abs(at.y() / canvas.height() - 0.5))
    return max(aside) <= MIDDLE / 2
