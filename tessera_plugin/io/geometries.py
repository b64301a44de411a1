# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Geometries of any make as points and polygons that all else can work with."""

from __future__ import annotations

import math
from typing import Iterator, List, Optional, Tuple

from osgeo import ogr, osr

from .projection import LONLAT, spatial_reference

_POINTS = (ogr.wkbPoint, ogr.wkbMultiPoint)
_POLYGONS = (ogr.wkbPolygon, ogr.wkbMultiPolygon)
_HALF = 180.0
_MOST_LON = 540.0  # the map goes on counting past the antimeridian


def plain(geometry: ogr.Geometry) -> Tuple[Optional[ogr.Geometry], bool]:
    """Return the points or polygons of a geometry, 2-D, linear and valid, and if it was mended.

    None where it is neither, or broken beyond mending.
    """
    linear = geometry.GetLinearGeometry() if geometry.HasCurveGeometry() else geometry.Clone()
    if linear is None:
        return None, False
    linear.FlattenTo2D()
    kind = linear.GetGeometryType()
    if kind in _POINTS:
        return (linear if _is_finite(linear) else None), False
    surface = _gathered(linear, _POLYGONS)
    if surface is None:
        return _gathered(linear, _POINTS), False
    if not _is_finite(surface):
        return None, False
    if _attempted(surface, "IsValid"):
        return surface, False
    valid = _attempted(surface, "MakeValid")
    return (_gathered(valid, _POLYGONS) if valid is not None else None), True


def _gathered(geometry: ogr.Geometry, kinds: Tuple[int, int]) -> Optional[ogr.Geometry]:
    """Return the parts of a geometry that are of a kind (single, multi) as one geometry."""
    kind = geometry.GetGeometryType()
    if kind in kinds:
        return None if geometry.IsEmpty() else geometry
    if kind in (ogr.wkbTIN, ogr.wkbPolyhedralSurface, ogr.wkbTriangle):
        return _gathered(ogr.ForceToMultiPolygon(geometry.Clone()), kinds)
    single, multi = kinds
    result = ogr.Geometry(multi)
    for index in range(geometry.GetGeometryCount()):
        part = _gathered(geometry.GetGeometryRef(index), kinds)
        if part is None:
            continue
        for piece in [part] if part.GetGeometryType() == single else _parts(part):
            result.AddGeometry(piece)
    return None if result.IsEmpty() else result


def _parts(geometry: ogr.Geometry) -> List[ogr.Geometry]:
    return [geometry.GetGeometryRef(index) for index in range(geometry.GetGeometryCount())]


def _is_finite(geometry: ogr.Geometry) -> bool:
    return all(math.isfinite(edge) for edge in geometry.GetEnvelope())


def _attempted(geometry: ogr.Geometry, method: str) -> Optional[ogr.Geometry]:
    """Return what a method of GEOS gives, None where it can't."""
    try:
        result = getattr(geometry, method)()
    except RuntimeError:
        return None
    return result


def transformation(
    source: osr.SpatialReference, target: osr.SpatialReference
) -> Optional[osr.CoordinateTransformation]:
    """Return what brings geometries from one CRS to another; None where they are the same."""
    return None if source.IsSame(target) else osr.CoordinateTransformation(source, target)


def transformed(
    geometry: ogr.Geometry, change: osr.CoordinateTransformation
) -> Optional[ogr.Geometry]:
    """Return a geometry, changed in place; None where it has no place in the other CRS."""
    try:
        done = geometry.Transform(change) == ogr.OGRERR_NONE
    except RuntimeError:
        done = False
    return geometry if done and _is_finite(geometry) else None


def cut_at_180(geometry: ogr.Geometry) -> ogr.Geometry:
    """Return a geometry in degrees in which no polygon goes around the globe the wrong way.

    One on both sides of 180° comes out of a projection with vertices near 180 and near -180: it is cut
    there, as RFC 7946 asks. All others are returned as they are.
    """
    west, east = geometry.GetEnvelope()[:2]
    if east - west <= _HALF or geometry.GetGeometryType() not in _POLYGONS:
        return geometry
    is_single = geometry.GetGeometryType() == ogr.wkbPolygon
    result = ogr.Geometry(ogr.wkbMultiPolygon)
    for polygon in [geometry] if is_single else _parts(geometry):
        _unwrap(polygon)
        for lap in (-1, 0, 1):
            piece = polygon.Intersection(_lap(lap))
            found = None if piece is None else _gathered(piece, _POLYGONS)
            if found is not None:
                _shift(found, -lap * 2 * _HALF)
                for each in [found] if found.GetGeometryType() == ogr.wkbPolygon else _parts(found):
                    result.AddGeometry(each)
    return geometry if result.IsEmpty() else result


def _unwrap(polygon: ogr.Geometry) -> None:
    """Let no edge of a polygon be longer than half a turn: what follows a jump is counted on."""
    before = polygon.GetGeometryRef(0).GetX(0)
    for ring in _parts(polygon):
        for index in range(ring.GetPointCount()):
            lon = ring.GetX(index)
            lon += 2 * _HALF * round((before - lon) / (2 * _HALF))
            ring.SetPoint_2D(index, lon, ring.GetY(index))
            before = lon


def _shift(geometry: ogr.Geometry, degrees: float) -> None:
    if geometry.GetGeometryCount():
        for part in _parts(geometry):
            _shift(part, degrees)
        return
    for index in range(geometry.GetPointCount()):
        geometry.SetPoint_2D(index, geometry.GetX(index) + degrees, geometry.GetY(index))


def _lap(number: int) -> ogr.Geometry:
    """Return the rectangle of a lap of the globe, 0 from -180 to 180."""
    west, east = (2 * number - 1) * _HALF, (2 * number + 1) * _HALF
    return ogr.CreateGeometryFromWkt(
        f"POLYGON (({west} -90,{east} -90,{east} 90,{west} 90,{west} -90))"
    )


def parts_of(geometry: ogr.Geometry) -> List[bytes]:
    """Return the points or polygons that a plain geometry has, one by one, as WKB."""
    is_single = geometry.GetGeometryType() in (ogr.wkbPoint, ogr.wkbPolygon)
    parts = [geometry] if is_single else _parts(geometry)
    return [bytes(part.ExportToWkb(ogr.wkbNDR)) for part in parts]


def fingerprint(wkb: bytes) -> bytes:
    """Return what two equal geometries share, wherever their rings begin and whichever way they go.

    For geometries in degrees: it is exact to a millimetre.
    """
    geometry = ogr.CreateGeometryFromWkb(wkb)
    if geometry is None:
        return wkb
    vertices = sorted({(round(x * 1e8), round(y * 1e8)) for x, y in _vertices(geometry)})
    return repr((geometry.GetGeometryType(), vertices)).encode()


def _vertices(geometry: ogr.Geometry) -> Iterator[Tuple[float, float]]:
    if geometry.GetGeometryCount():
        for part in _parts(geometry):
            yield from _vertices(part)
    else:
        yield from ((point[0], point[1]) for point in geometry.GetPoints() or ())


class ToLonLat:
    """Brings geometries of one CRS to points and polygons in degrees."""

    def __init__(self, crs: str) -> None:
        """Begin with a CRS as text. Raises: ExtentInvalid if it is not known."""
        self._change = transformation(spatial_reference(crs), spatial_reference(LONLAT))
        self.mended = 0
        """How many polygons had to be mended."""

    def __call__(self, wkb: bytes) -> Optional[List[bytes]]:
        """Return the parts of a geometry; empty where nothing is drawn, None where it can't be used."""
        geometry = ogr.CreateGeometryFromWkb(wkb)
        if geometry is None:
            return None
        if geometry.IsEmpty():
            return []
        usable, is_mended = plain(geometry)
        if usable is not None and self._change is not None:
            usable = transformed(usable, self._change)
        if usable is None or not is_on_globe(usable):
            return None
        self.mended += is_mended
        return parts_of(cut_at_180(usable))


def is_on_globe(geometry: ogr.Geometry) -> bool:
    """Return whether a geometry may be one in degrees, the laps beside the first one too."""
    west, east, south, north = geometry.GetEnvelope()
    return bool(west >= -_MOST_LON and east <= _MOST_LON and south >= -90 and north <= 90)
