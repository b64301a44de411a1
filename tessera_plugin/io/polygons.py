# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Points and polygons of any CRS on the zone grids, a strip of pixels at a time."""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, ogr

from ..values import PIXEL_M, Window
from .projection import (
    LONLAT,
    STRIP_DEG,
    spatial_reference,
    strip_limits,
    transform_points,
    zone_crs,
)

STRIP_PX = 1 << 20
"""Pixels that are rasterised at a time: what bounds the memory, whatever the polygon."""

_STEP_M, _STEP_DEG = 1000.0, 0.01  # an edge bends less than 3 cm off its chord over these
_MAX_STEPS = 1_000_000
_MARGIN_DEG = 0.001  # over the seam, so that the pixels at it are decided by their centres alone

Rings = List[NDArray[np.float64]]
"""The outer ring of a polygon, then its holes; each (n, 2)."""


@dataclass(frozen=True)
class ZonePolygon:
    """The part of a polygon that belongs to a UTM zone."""

    zone: int
    wkb: bytes
    """In the metres of the zone grid, southern northings negative."""
    at_seam: bool
    """Whether it reaches over the zone's strip; its pixels there are another zone's."""

    @property
    def pixels(self) -> int:
        """About how many pixels it holds, by its area."""
        return round(float(_geometry(self.wkb).GetArea()) / (PIXEL_M * PIXEL_M))

    def windows(self, within: Optional[Window] = None) -> Iterator[Window]:
        """Yield the windows that hold its pixel centres, each at most STRIP_PX pixels.

        There is none where the polygon is narrower than the distance between two centres.
        """
        west, east, south, north = _geometry(self.wkb).GetEnvelope()
        col, stop_col = _centres(west, east)
        row, stop_row = _centres(-north, -south)
        if within is not None:
            row, stop_row = max(row, within.row), min(stop_row, within.stop_row)
            col, stop_col = max(col, within.col), min(stop_col, within.stop_col)
        if stop_col <= col:
            return
        height = max(STRIP_PX // (stop_col - col), 1)
        for top in range(row, stop_row, height):
            yield Window.between(self.zone, top, col, min(top + height, stop_row), stop_col)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window have their centre in it (H, W)."""
        inside = _burnt(self.wkb, window)
        if self.at_seam:
            first, stop = (limits[:, None] for limits in strip_limits(window))
            cols = window.col + np.arange(window.width)
            inside &= (cols >= first) & (cols < stop)
        return inside


def is_point(wkb: bytes) -> bool:
    """Return whether a geometry is a point or a multipoint."""
    return _kind(_geometry(wkb)) in (ogr.wkbPoint, ogr.wkbMultiPoint)


def points_of(wkb: bytes) -> NDArray[np.float64]:
    """Return the points of a point or multipoint (n, 2)."""
    geometry = _geometry(wkb)
    parts = [geometry] if _kind(geometry) == ogr.wkbPoint else _parts(geometry)
    return np.array([part.GetPoint_2D(0) for part in parts], np.float64).reshape(-1, 2)


def parts_of(wkb: bytes) -> Tuple[bytes, ...]:
    """Return the points of a multipoint, or the polygons of a multipolygon, one by one."""
    geometry = _geometry(wkb)
    if _kind(geometry) in (ogr.wkbPoint, ogr.wkbPolygon):
        return (wkb,)
    return tuple(bytes(part.ExportToWkb(ogr.wkbNDR)) for part in _parts(geometry))


def inner_point(wkb: bytes) -> Optional[NDArray[np.float64]]:
    """Return a point inside a polygon (1, 2), None where it is too broken to have one."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        point = _geometry(wkb).PointOnSurface()
    except RuntimeError:  # raised where the host program has switched GDAL's exceptions on
        return None
    finally:
        gdal.PopErrorHandler()
    return None if point is None or point.IsEmpty() else np.array([point.GetPoint_2D(0)])


def pixels_of_points(
    xy: NDArray[np.float64], crs: str
) -> Tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return zone, row and column of the pixels that hold points.

    The zone is that of the point's own longitude. In the metre or two at a seam where each zone's
    pixel under the point has its centre on the other side, that is as good as the other.
    Shapes: xy (n, 2), x before y; results (n,), zone 0 where a point has no place on a zone grid.
    """
    zone = _zones(transform_points(xy, crs, LONLAT)[:, 0])
    row, col = np.zeros(len(xy), np.int64), np.zeros(len(xy), np.int64)
    for number in np.unique(zone[zone > 0]):
        here = zone == number
        # a micrometre of rounding: a point on a cell's edge must not fall to chance
        metres = np.round(transform_points(xy[here], crs, zone_crs(int(number))), 6)
        col[here] = np.floor(metres[:, 0] / PIXEL_M)
        row[here] = np.floor(-metres[:, 1] / PIXEL_M)
    return zone, row, col


def zone_polygons(wkb: bytes, crs: str) -> Tuple[ZonePolygon, ...]:
    """Return the parts of a polygon or multipolygon by UTM zone, edges densified before projecting.

    Empty where a part of it has no place on the globe.
    """
    geometry = _geometry(wkb)
    length = _length(geometry)
    if not math.isfinite(length):
        return ()
    geometry.Segmentize(max(_step(crs), length / _MAX_STEPS))
    polygons = _rings(geometry)
    lonlat = _lonlat([ring for rings in polygons for ring in rings], crs)
    if not np.isfinite(lonlat).all():
        return ()
    first, last = (math.floor((lon + 180) / STRIP_DEG) for lon in (lonlat[:, 0].min(),
                                                                   lonlat[:, 0].max()))  # fmt: skip
    polygons = _refilled(polygons, lonlat)
    if first == last:
        return (_in_zone(polygons, first % 60 + 1, at_seam=False),)
    parts = (_clipped(polygons, strip) for strip in range(first, min(last, first + 59) + 1))
    return tuple(
        _in_zone(part, strip % 60 + 1, at_seam=True)
        for strip, part in enumerate(parts, first)
        if part
    )


# --- points


def _zones(lon_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    known = np.isfinite(lon_deg)
    strips = np.floor((np.where(known, lon_deg, 0) + 180) / STRIP_DEG).astype(np.int64)
    return np.where(known, strips % 60 + 1, 0)


# --- polygons


@functools.lru_cache(maxsize=64)
def _step(crs: str) -> float:
    """Return how long an edge may be, in the units of a CRS."""
    reference = spatial_reference(crs)
    if reference.IsGeographic():
        return math.radians(_STEP_DEG) / float(reference.GetAngularUnits())
    return _STEP_M / float(reference.GetLinearUnits())


def _length(geometry: ogr.Geometry) -> float:
    edges = [np.diff(ring, axis=0) for rings in _rings(geometry) for ring in rings]
    return float(sum(np.hypot(edge[:, 0], edge[:, 1]).sum() for edge in edges))


def _lonlat(rings: Sequence[NDArray[np.float64]], crs: str) -> NDArray[np.float64]:
    """Return all vertices in degrees, continuous over the antimeridian."""
    lonlat = transform_points(np.concatenate(rings), crs, LONLAT)
    if np.isfinite(lonlat).all():
        lonlat[:, 0] = np.unwrap(lonlat[:, 0], period=360.0)
    return lonlat


def _refilled(polygons: Sequence[Rings], points: NDArray[np.float64]) -> List[Rings]:
    """Return polygons of the same make with other points, given in the order of their rings."""
    result, start = [], 0
    for rings in polygons:
        moved = []
        for ring in rings:
            moved.append(points[start : start + len(ring)])
            moved[-1][-1] = moved[-1][0]  # projecting may leave a hair between first and last
            start += len(ring)
        result.append(moved)
    return result


def _clipped(polygons: Sequence[Rings], strip: int) -> List[Rings]:
    """Return the part of polygons in degrees that lies in a 6° strip or just over its edges."""
    west = strip * STRIP_DEG - 180.0 - _MARGIN_DEG
    east = west + STRIP_DEG + 2 * _MARGIN_DEG
    box = np.array([(west, -90), (east, -90), (east, 90), (west, 90), (west, -90)], np.float64)
    parts: List[Rings] = []
    clip = _geometry(_wkb([[box]]))
    for rings in polygons:
        part = _intersection(_geometry(_wkb([rings])), clip)
        if part is not None:
            part.Segmentize(_STEP_DEG)  # a meridian is no straight line in metres
            parts += _rings(part)
    return parts


def _intersection(first: ogr.Geometry, second: ogr.Geometry) -> Optional[ogr.Geometry]:
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        if not first.IsValid():  # bending its edges may have let them touch
            first = first.MakeValid()
        return first.Intersection(second) if first is not None else None
    except RuntimeError:
        return None
    finally:
        gdal.PopErrorHandler()


def _in_zone(polygons: Sequence[Rings], zone: int, *, at_seam: bool) -> ZonePolygon:
    lonlat = np.concatenate([ring for rings in polygons for ring in rings])
    metres = np.round(transform_points(lonlat, LONLAT, zone_crs(zone)), 6)
    return ZonePolygon(zone, _wkb(_refilled(polygons, metres)), at_seam)


def _centres(start_m: float, stop_m: float) -> Tuple[int, int]:
    """Return the first and the stop index of the cells whose centre lies between two positions."""
    return math.ceil(start_m / PIXEL_M - 0.5), math.floor(stop_m / PIXEL_M - 0.5) + 1


def _burnt(wkb: bytes, window: Window) -> NDArray[np.bool_]:
    """Return which pixels of a window GDAL burns for a polygon: those whose centre is inside."""
    raster = gdal.GetDriverByName("MEM").Create("", window.width, window.height, 1, gdal.GDT_Byte)
    raster.SetGeoTransform(
        (float(PIXEL_M * window.col), PIXEL_M, 0.0, -float(PIXEL_M * window.row), 0.0, -PIXEL_M)
    )
    # "Memory" was folded into "MEM" in GDAL 3.11
    driver = gdal.GetDriverByName("Memory") or gdal.GetDriverByName("MEM")
    vectors = driver.Create("", 0, 0, 0, gdal.GDT_Unknown)
    layer = vectors.CreateLayer("polygon", None, ogr.wkbUnknown)
    feature = ogr.Feature(layer.GetLayerDefn())
    feature.SetGeometryDirectly(_geometry(wkb))
    gdal.PushErrorHandler("CPLQuietErrorHandler")  # it warns that the layer has no CRS
    try:
        failed = layer.CreateFeature(feature) or gdal.RasterizeLayer(
            raster, [1], layer, burn_values=[1]
        )
    finally:
        gdal.PopErrorHandler()
    burnt = None if failed else raster.GetRasterBand(1).ReadAsArray()
    if burnt is None:
        raise RuntimeError(f"GDAL could not rasterise a polygon: {gdal.GetLastErrorMsg()}")
    inside: NDArray[np.bool_] = burnt.astype(bool)
    return inside


# --- geometries as arrays


def _geometry(wkb: bytes) -> ogr.Geometry:
    geometry = ogr.CreateGeometryFromWkb(wkb)
    if geometry is None:
        raise ValueError(f"no geometry can be read from {wkb[:16]!r}")
    return geometry


def _kind(geometry: ogr.Geometry) -> int:
    return int(ogr.GT_Flatten(geometry.GetGeometryType()))


def _parts(geometry: ogr.Geometry) -> List[ogr.Geometry]:
    return [geometry.GetGeometryRef(index) for index in range(geometry.GetGeometryCount())]


def _rings(geometry: ogr.Geometry) -> List[Rings]:
    """Return the polygons among a geometry's parts, each as its rings."""
    kind = _kind(geometry)
    if kind == ogr.wkbPolygon:
        rings = [np.array(ring.GetPoints(), np.float64)[:, :2] for ring in _parts(geometry)]
        return [rings] if rings else []
    if kind in (ogr.wkbMultiPolygon, ogr.wkbGeometryCollection):
        return [rings for part in _parts(geometry) for rings in _rings(part)]
    return []


def _wkb(polygons: Sequence[Rings]) -> bytes:
    parts = [struct.pack("<BII", 1, ogr.wkbMultiPolygon, len(polygons))]
    for rings in polygons:
        parts.append(struct.pack("<BII", 1, ogr.wkbPolygon, len(rings)))
        for ring in rings:
            parts += [struct.pack("<I", len(ring)), ring.astype("<f8").tobytes()]
    return b"".join(parts)
