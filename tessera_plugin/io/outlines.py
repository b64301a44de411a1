# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels as polygons along their edges, and polygons and points as GeoJSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, ogr

from ..values import PIXEL_M, Window
from . import files
from .gdal_errors import collected
from .projection import LONLAT, transform_points, zone_crs

_DIGITS = 7  # of a degree: a centimetre


@dataclass(frozen=True)
class Outline:
    """A polygon around pixels that hang together by their edges."""

    zone: int
    wkb: bytes
    """In the metres of the zone grid (EPSG:326zz), southern northings negative."""
    pixels: int


@dataclass(frozen=True)
class GeoPoint:
    """A place with what is to be said of it."""

    lon: float
    lat: float
    properties: Mapping[str, object] = field(default_factory=dict)


def outlines(mask: NDArray[np.bool_], window: Window) -> Tuple[Outline, ...]:
    """Return the polygons of a mask's regions, with their holes, the largest first.

    Shapes: mask (H, W), of the window.
    """
    raster = gdal.GetDriverByName("MEM").Create("", window.width, window.height, 1, gdal.GDT_Byte)
    raster.SetGeoTransform(
        (float(PIXEL_M * window.col), PIXEL_M, 0.0, -float(PIXEL_M * window.row), 0.0, -PIXEL_M)
    )
    band = raster.GetRasterBand(1)
    # "Memory" was folded into "MEM" in GDAL 3.11
    driver = gdal.GetDriverByName("Memory") or gdal.GetDriverByName("MEM")
    vectors = driver.Create("", 0, 0, 0, gdal.GDT_Unknown)
    layer = vectors.CreateLayer("outlines", None, ogr.wkbPolygon)
    problems: List[str] = []
    with collected(problems):
        band.WriteRaster(0, 0, window.width, window.height, mask.astype(np.uint8).tobytes())
        gdal.Polygonize(band, band, layer, -1, [])
    if problems:
        raise RuntimeError(f"GDAL could not outline pixels: {problems[0]}")
    found = [_outline(feature.GetGeometryRef(), window.zone) for feature in layer]
    return tuple(sorted(found, key=lambda each: -each.pixels))


def write_outlines(path: str, found: Sequence[Outline]) -> None:
    """Write polygons as GeoJSON in degrees, with their pixels. Raises: NotWritable, DiskFull."""
    features = [
        _feature({"type": "Polygon", "coordinates": _rings(each)}, {"pixels": each.pixels})
        for each in found
    ]
    _write(path, features)


def write_points(path: str, points: Sequence[GeoPoint]) -> None:
    """Write points as GeoJSON in degrees. Raises: NotWritable, DiskFull."""
    _write(path, [
        _feature({"type": "Point", "coordinates": [round(each.lon, _DIGITS),
                                                   round(each.lat, _DIGITS)]}, each.properties)
        for each in points
    ])  # fmt: skip


def _outline(polygon: ogr.Geometry, zone: int) -> Outline:
    pixels = round(polygon.GetArea() / PIXEL_M**2)
    return Outline(zone, bytes(polygon.ExportToWkb(ogr.wkbNDR)), pixels)


def in_degrees(outline: Outline) -> bytes:
    """Return an outline as a WKB polygon in degrees, corner by corner."""
    polygon = ogr.Geometry(ogr.wkbPolygon)
    for lonlat in _lonlat_rings(outline):
        ring = ogr.Geometry(ogr.wkbLinearRing)
        for lon, lat in lonlat:
            ring.AddPoint_2D(float(lon), float(lat))
        polygon.AddGeometry(ring)
    return bytes(polygon.ExportToWkb(ogr.wkbNDR))


def _rings(outline: Outline) -> List[List[List[float]]]:
    return [np.round(lonlat, _DIGITS).tolist() for lonlat in _lonlat_rings(outline)]


def _lonlat_rings(outline: Outline) -> Iterator[NDArray[np.float64]]:
    """Yield the corners of the rings, the outer one first and counter-clockwise (RFC 7946)."""
    polygon = ogr.CreateGeometryFromWkb(outline.wkb)
    for index in range(polygon.GetGeometryCount()):
        metres = np.array(polygon.GetGeometryRef(index).GetPoints(), np.float64)[:, :2]
        if (_turning(metres) > 0) != (index == 0):
            metres = metres[::-1]
        yield transform_points(metres, zone_crs(outline.zone), LONLAT)


def _turning(ring: NDArray[np.float64]) -> float:
    """Return twice the area within a ring, above 0 where it goes counter-clockwise."""
    near = ring - ring[0]  # large coordinates would cost digits
    return float(np.sum(near[:-1, 0] * near[1:, 1] - near[1:, 0] * near[:-1, 1]))


def _feature(geometry: Mapping[str, Any], properties: Mapping[str, object]) -> Dict[str, Any]:
    return {"type": "Feature", "properties": dict(properties), "geometry": dict(geometry)}


def _write(path: str, features: Sequence[Mapping[str, Any]]) -> None:
    files.write_text(path, json.dumps({"type": "FeatureCollection", "features": list(features)}))
