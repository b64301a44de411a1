# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Outlines of pixels as polygons in degrees that hold just these pixels when burnt again."""

from __future__ import annotations

import math
from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import ogr

from .geometries import plain
from .outlines import Outline
from .projection import LONLAT, STRIP_DEG, transform_points, zone_crs

_STEP_M = 500.0  # an edge bends less than a centimetre off its chord over this


def lonlat_polygons(outline: Outline) -> Tuple[bytes, ...]:
    """Return an outline as valid polygons in degrees (EPSG:4326), as WKB.

    Where the pixels at a seam reach over it, the polygon is cut there: the ground beyond belongs to
    the pixels of the next zone.
    """
    shape = ogr.CreateGeometryFromWkb(outline.wkb)
    shape.Segmentize(_STEP_M)
    west = STRIP_DEG * outline.zone - 186.0
    polygon = ogr.Geometry(ogr.wkbPolygon)
    is_over = False
    for index in range(shape.GetGeometryCount()):
        metres = np.array(shape.GetGeometryRef(index).GetPoints(), np.float64)[:, :2]
        lonlat = _near(transform_points(metres, zone_crs(outline.zone), LONLAT), west)
        is_over |= bool(lonlat[:, 0].min() < west or lonlat[:, 0].max() > west + STRIP_DEG)
        polygon.AddGeometry(_ring(lonlat))
    valid, _ = plain(polygon)  # pixels that meet at a corner make a ring touch itself
    if valid is not None and is_over:
        valid, _ = plain(valid.Intersection(_strip(west)))
    return tuple(bytes(part.ExportToWkb(ogr.wkbNDR)) for part in _polygons(valid))


def _near(lonlat: NDArray[np.float64], west: float) -> NDArray[np.float64]:
    """Return points with longitudes next to those of a strip, also past the antimeridian."""
    middle = west + STRIP_DEG / 2
    lon = (lonlat[:, 0] - middle + 180.0) % 360.0 - 180.0 + middle
    return np.column_stack([lon, lonlat[:, 1]])


def _ring(lonlat: NDArray[np.float64]) -> ogr.Geometry:
    ring = ogr.Geometry(ogr.wkbLinearRing)
    for lon, lat in lonlat.tolist():
        ring.AddPoint_2D(lon, lat)
    return ring


def _strip(west: float) -> ogr.Geometry:
    east = west + STRIP_DEG
    strip = ogr.Geometry(ogr.wkbPolygon)
    strip.AddGeometry(
        _ring(np.array([(west, -90), (east, -90), (east, 90), (west, 90), (west, -90)], np.float64))
    )
    return strip


def _polygons(geometry: ogr.Geometry) -> List[ogr.Geometry]:
    if geometry is None or math.isclose(geometry.GetArea(), 0.0, abs_tol=1e-18):
        return []
    if ogr.GT_Flatten(geometry.GetGeometryType()) == ogr.wkbPolygon:
        return [geometry]
    return [geometry.GetGeometryRef(index) for index in range(geometry.GetGeometryCount())]
