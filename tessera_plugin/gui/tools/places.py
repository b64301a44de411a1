# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is drawn on a map of any CRS, as places in degrees."""

from __future__ import annotations

from typing import Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsWkbTypes,
)

LONLAT = QgsCoordinateReferenceSystem("EPSG:4326")

POINT, POLYGON = (
    QgsWkbTypes.geometryType(kind) for kind in (QgsWkbTypes.Type.Point, QgsWkbTypes.Type.Polygon)
)

_STEPS = 4  # an edge is looked at in so many parts
_BEND_DEG = 2e-6  # two decimetres: less is no matter for pixels of 10 m
_GLOBE = QgsRectangle(-180, -90, 180, 90)


class NoPlaceError(Exception):
    """What was drawn has no longitude and latitude."""


class OverAntimeridianError(NoPlaceError):
    """What was drawn lies on both sides of 180° of longitude."""


def to_lonlat(crs: QgsCoordinateReferenceSystem) -> QgsCoordinateTransform:
    """Return the way from the CRS of a map to degrees."""
    return QgsCoordinateTransform(crs, LONLAT, QgsProject.instance())


def in_lonlat(geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> QgsGeometry:
    """Return a point or polygon of a map in degrees (EPSG:4326).

    Edges that are straight on the map and bend in degrees get further vertices.
    Raises: NoPlaceError, OverAntimeridianError.
    """
    if not crs.isValid():
        raise NoPlaceError  # a transform would leave it as it is
    result = _placed(geometry, crs)
    if crs.isGeographic() or result.type() != POLYGON:
        return result
    fine = _placed(geometry.densifyByCount(_STEPS - 1), crs)
    bend_deg = _bend(fine)
    if bend_deg is None:
        raise OverAntimeridianError
    return fine if bend_deg > _BEND_DEG else result


def _placed(geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> QgsGeometry:
    result = QgsGeometry(geometry)
    try:
        result.transform(to_lonlat(crs))
    except QgsCsException:
        raise NoPlaceError from None
    box = result.boundingBox()
    if box.isFinite() and crs.isGeographic():  # the map goes on counting past 180
        turn = 360.0 * round(box.center().x() / 360.0)
        result.translate(-turn, 0.0)
        box = result.boundingBox()
        if box.xMinimum() < -_GLOBE.xMaximum() or box.xMaximum() > _GLOBE.xMaximum():
            raise OverAntimeridianError
    if not box.isFinite() or not _GLOBE.contains(box):
        raise NoPlaceError
    return result


def _bend(fine: QgsGeometry) -> Optional[float]:
    """Return how far edges in parts leave their chords; None where one jumps around the globe."""
    worst = 0.0
    for rings in fine.asMultiPolygon() if fine.isMultipart() else [fine.asPolygon()]:
        for ring in rings:
            if any(abs(a.x() - b.x()) > 180 for a, b in zip(ring[:-1], ring[1:])):
                return None
            corners, middles = ring[::_STEPS], ring[_STEPS // 2 :: _STEPS]
            for start, middle, stop in zip(corners[:-1], middles, corners[1:]):
                worst = max(
                    worst,
                    abs(middle.x() - (start.x() + stop.x()) / 2),
                    abs(middle.y() - (start.y() + stop.y()) / 2),
                )
    return worst


def one_polygon(drawn: QgsGeometry, least_area: float) -> Optional[QgsGeometry]:
    """Return what was drawn as one valid polygon: the largest part where its edges cross.

    None where it has no area to speak of.
    """
    if drawn.isEmpty() or not drawn.isGeosValid():
        drawn = drawn.makeValid()
    parts = [part for part in drawn.asGeometryCollection() if part.type() == POLYGON]
    largest = max(parts, key=lambda part: part.area(), default=None)
    if largest is None or largest.area() < least_area:
        return None
    return largest


def on_map(geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> QgsGeometry:
    """Return a geometry in degrees as it lies on a map; empty where the map does not reach."""
    result = QgsGeometry(geometry)
    try:
        result.transform(QgsCoordinateTransform(LONLAT, crs, QgsProject.instance()))
    except QgsCsException:
        return QgsGeometry()
    return result
