# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coordinates between reference systems, and the 6° strips of the UTM zones."""

from __future__ import annotations

import math
import threading
from typing import Dict, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, ogr, osr

from ..errors import ExtentInvalid
from ..values import PIXEL_M, Extent, Window

Bounds = Tuple[float, float, float, float]
"""West, south, east, north."""


class _Cached(threading.local):
    """Transformations by (source, target); GDAL's may not be shared between threads."""

    def __init__(self) -> None:
        self.transformations: Dict[Tuple[str, str], osr.CoordinateTransformation] = {}


_cached = _Cached()

LONLAT = "EPSG:4326"
UTM_SOUTH_DEG, UTM_NORTH_DEG = -80.0, 84.0
STRIP_DEG = 6

_EDGE_STEP_DEG = 0.01  # a parallel bends less than 3 cm off its chord over this step
_EDGE_POINTS = (21, 2001)
_MERIDIAN_STEP_M = 100.0


def zone_crs(zone: int) -> str:
    """Return the CRS of a zone's grid, in both hemispheres."""
    return f"EPSG:{32600 + zone}"


def zone_of(lon_deg: float) -> int:
    """Return the UTM zone of a longitude; no exceptions for Norway and Svalbard."""
    return min(max(math.floor((lon_deg + 180) / STRIP_DEG) + 1, 1), 60)


def transform_points(xy: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Return points of one CRS in another.

    Shapes: xy (n, 2), x before y (longitude before latitude); result the same, inf where a point
    has no place in the target.
    Raises: ExtentInvalid if a CRS is not known.
    """
    if source == target:
        return np.array(xy, dtype=np.float64)
    transformation = _transformation(source, target)
    listed = np.asarray(xy).tolist()
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        points = transformation.TransformPoints(listed)
    except RuntimeError:  # another part of the host program has asked GDAL for exceptions
        points = [_one_point(transformation, *point) for point in listed]
    finally:
        gdal.PopErrorHandler()
    return np.array(points, dtype=np.float64).reshape(-1, 3)[:, :2]


def _one_point(
    transformation: osr.CoordinateTransformation, x: float, y: float
) -> Tuple[float, float, float]:
    try:
        return tuple(transformation.TransformPoint(x, y))
    except RuntimeError:
        return math.inf, math.inf, math.inf


def spatial_reference(crs: str) -> osr.SpatialReference:
    """Return GDAL's object for a CRS given as text, x before y.

    Raises: ExtentInvalid if it is not known.
    """
    reference = osr.SpatialReference()
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        # PROJ speaks through exceptions or codes, by what the host program has chosen
        known = bool(crs) and reference.SetFromUserInput(crs) == ogr.OGRERR_NONE
    except RuntimeError:
        known = False
    finally:
        gdal.PopErrorHandler()
    if not known:
        raise ExtentInvalid(f"the coordinate system {crs!r} is not known")
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def zone_bounds(extent: Extent) -> Dict[int, Bounds]:
    """Return, per UTM zone, the bounds in metres of the part of an extent in the zone's strip.

    Edges are densified; an extent over a seam or the antimeridian has several zones.
    Units: metres in EPSG:326zz, southern northings negative.
    Raises: ExtentInvalid if there is nothing of it between 80° S and 84° N, or it holds a pole.
    """
    ring = lonlat_ring(extent)
    area = _polygon(ring)
    bounds: Dict[int, Bounds] = {}
    strips = range(_strip(ring[:, 0].min()), _strip(ring[:, 0].max()) + 1)
    for strip in strips[:60]:
        lonlat = _vertices(area.Intersection(_strip_polygon(strip)))
        if not len(lonlat):
            continue
        zone = strip % 60 + 1
        points = transform_points(lonlat, LONLAT, zone_crs(zone))
        (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
        bounds[zone] = _united(bounds.get(zone), (west, south, east, north))
    if not bounds:
        raise ExtentInvalid("it has no area between 80° south and 84° north")
    return bounds


def centre_lonlat(extent: Extent) -> Tuple[float, float]:
    """Return longitude (-180 to 180) and latitude of an extent's centre.

    Raises: ExtentInvalid if it has no place on the globe.
    """
    ring = lonlat_ring(extent)
    lon, lat = (ring.min(axis=0) + ring.max(axis=0)) / 2
    return float((lon + 180) % 360 - 180), float(lat)


def strip_limits(window: Window) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return per row of a window the first and the stop column that lie in the zone's own strip.

    A pixel lies there when its centre's longitude is in [6z - 186, 6z - 180).
    Shapes: both (H,); columns of the zone grid, limited to the window's own.
    """
    northing = -(window.row + np.arange(window.height) + 0.5) * PIXEL_M
    west_deg = STRIP_DEG * window.zone - 186.0
    limits = [
        np.ceil((_meridian_easting(lon, northing, window.zone) - PIXEL_M / 2) / PIXEL_M)
        for lon in (west_deg, west_deg + STRIP_DEG)
    ]
    first, stop = (np.clip(limit, window.col, window.stop_col).astype(np.int64) for limit in limits)
    return first, stop


def _meridian_easting(
    lon_deg: float, northing_m: NDArray[np.float64], zone: int
) -> NDArray[np.float64]:
    """Return where a meridian near the zone crosses each northing; exact to 0.01 mm."""
    reach = np.array([[500_000.0, northing_m.min()], [500_000.0, northing_m.max()]])
    lat = transform_points(reach, zone_crs(zone), LONLAT)[:, 1]
    count = int(np.ptp(northing_m) / _MERIDIAN_STEP_M) + 21
    lats = np.linspace(lat.min() - 0.2, lat.max() + 0.2, count + int(40_000 / _MERIDIAN_STEP_M))
    meridian = np.column_stack([np.full_like(lats, lon_deg), lats])
    points = transform_points(meridian, LONLAT, zone_crs(zone))
    return np.interp(northing_m, points[:, 1], points[:, 0])


def _transformation(source: str, target: str) -> osr.CoordinateTransformation:
    known = _cached.transformations
    if (source, target) not in known:
        known[source, target] = osr.CoordinateTransformation(
            spatial_reference(source), spatial_reference(target)
        )
    return known[source, target]


def lonlat_ring(extent: Extent) -> NDArray[np.float64]:
    """Return the densified outline in degrees, longitudes continuous over the antimeridian."""
    _check_numbers(extent)
    east = extent.east
    if spatial_reference(extent.crs).IsGeographic() and east < extent.west:
        east += 360.0
    if east <= extent.west or extent.north <= extent.south:
        raise ExtentInvalid("it has no area")
    corners = [(extent.west, extent.south), (east, extent.south), (east, extent.north),
               (extent.west, extent.north)]  # fmt: skip
    coarse = _to_lonlat(_densified(corners, _EDGE_POINTS[0]), extent.crs)
    step = np.abs(np.diff(coarse, axis=0)).max()
    count = math.ceil(step * _EDGE_POINTS[0] / _EDGE_STEP_DEG)
    ring = _to_lonlat(_densified(corners, min(max(count, _EDGE_POINTS[0]), _EDGE_POINTS[1])),
                      extent.crs)  # fmt: skip
    if abs(ring[-1, 0] - ring[0, 0]) > 180:
        raise ExtentInvalid("it holds a pole")
    ring[-1] = ring[0]  # projecting and unwrapping leave a hair's breadth, and GEOS wants none
    return ring


def _check_numbers(extent: Extent) -> None:
    if not all(map(math.isfinite, (extent.west, extent.south, extent.east, extent.north))):
        raise ExtentInvalid("its coordinates are not all numbers")


def _to_lonlat(points: NDArray[np.float64], crs: str) -> NDArray[np.float64]:
    lonlat = transform_points(points, crs, LONLAT)
    if not np.isfinite(lonlat).all():
        raise ExtentInvalid("a part of it has no place on the globe")
    if crs != LONLAT:
        lonlat[:, 0] = np.unwrap(lonlat[:, 0], period=360.0)
    return lonlat


def _densified(corners: List[Tuple[float, float]], count: int) -> NDArray[np.float64]:
    """Return a closed ring with `count` steps on every edge, corners exact."""
    share = np.linspace(0, 1, count, endpoint=False)[:, None]
    ring = np.array([*corners, corners[0]])
    edges = [start + share * (stop - start) for start, stop in zip(ring[:-1], ring[1:])]
    return np.concatenate([*edges, ring[-1:]])


def _strip(lon_deg: float) -> int:
    return math.floor((lon_deg + 180) / STRIP_DEG)


def _strip_polygon(strip: int) -> ogr.Geometry:
    west = strip * STRIP_DEG - 180.0
    box = [(west, UTM_SOUTH_DEG), (west + STRIP_DEG, UTM_SOUTH_DEG),
           (west + STRIP_DEG, UTM_NORTH_DEG), (west, UTM_NORTH_DEG)]  # fmt: skip
    return _polygon(np.array([*box, box[0]]))


def _polygon(ring: NDArray[np.float64]) -> ogr.Geometry:
    line = ogr.Geometry(ogr.wkbLinearRing)
    for lon, lat in ring:
        line.AddPoint_2D(float(lon), float(lat))
    polygon = ogr.Geometry(ogr.wkbPolygon)
    polygon.AddGeometry(line)
    return polygon


def _vertices(geometry: ogr.Geometry) -> NDArray[np.float64]:
    """Return the vertices of the parts that have an area, densified along the strip's edges."""
    if geometry is None or geometry.IsEmpty() or geometry.GetArea() <= 0:
        return np.empty((0, 2))
    geometry.Segmentize(0.2)  # only the cuts along meridians are longer than this
    parts = [geometry] if geometry.GetGeometryName() == "POLYGON" else list(geometry)
    rings = [
        np.array(part.GetGeometryRef(0).GetPoints())[:, :2]
        for part in parts
        if part.GetGeometryName() == "POLYGON"
    ]
    return np.concatenate(rings) if rings else np.empty((0, 2))


def _united(first: Optional[Bounds], second: Bounds) -> Bounds:
    if first is None:
        return second
    return (min(first[0], second[0]), min(first[1], second[1]),
            max(first[2], second[2]), max(first[3], second[3]))  # fmt: skip
