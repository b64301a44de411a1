# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays from any grid onto a part of a zone's grid, and where pixels come to lie.

Everything here lies in memory: files are read elsewhere, checked, before they are warped, so that
what can't be read never comes out as zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from ...values import PIXEL_M, SOUTH_OFFSET_M, Window
from ..gdal_errors import collected
from ..projection import spatial_reference, transform_points, zone_crs

NEAREST, BILINEAR = "near", "bilinear"

GeoTransform = Tuple[float, float, float, float, float, float]

ON_GRID_PX = 1e-3
"""A raster whose edges are closer to the grid's lines than this (1 cm) lies on it."""

_MOST_ERROR_PX = 1e-3  # of a position, between two grids of different projections
_STEPS = 12  # positions along each edge of a part that tell which pixels of a raster it needs
_REACH_M = 500.0  # over which the size of a raster's pixels is measured
_TYPES = {
    np.dtype(np.uint8): gdal.GDT_Byte,
    np.dtype(np.int16): gdal.GDT_Int16,
    np.dtype(np.int32): gdal.GDT_Int32,
    np.dtype(np.float32): gdal.GDT_Float32,
}


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie. In a zone's own projection it is in the zone grid's metres."""

    crs: str
    """EPSG:326zz for the UTM of WGS 84 in both hemispheres, else WKT."""
    transform: GeoTransform
    height: int
    width: int

    def pixels_at(self, metres: NDArray[np.float64], zone: int) -> NDArray[np.float64]:
        """Return column and row, with fractions, of places on a zone's grid; inf where there is none.

        Shapes: (n, 2), x before y; both.
        """
        xy = transform_points(metres, zone_crs(zone), self.crs)
        known = np.isfinite(xy).all(axis=1)
        west, a, b, north, c, d = self.transform
        x, y = xy[known, 0] - west, xy[known, 1] - north
        area = a * d - b * c
        pixels = np.full_like(xy, np.inf)
        pixels[known] = np.column_stack([(d * x - b * y) / area, (a * y - c * x) / area])
        return pixels

    def offset(self, zone: int) -> Optional[Tuple[int, int]]:
        """Return row and column of its first pixel on a zone's grid, None where it lies off it."""
        west, a, b, north, c, d = self.transform
        if self.crs != zone_crs(zone):
            return None
        row, col = -north / PIXEL_M, west / PIXEL_M
        # of the first and, seen from there, of the last pixel
        first = max(abs(row - round(row)), abs(col - round(col)))
        grown = (abs(a - PIXEL_M) + abs(c)) * self.width + (abs(d + PIXEL_M) + abs(b)) * self.height
        if first + grown / PIXEL_M > ON_GRID_PX:
            return None
        return round(row), round(col)

    def pixel_px(self, place: Window) -> Tuple[float, float]:
        """Return width and height of its pixels in pixels of the zone grid, at a window's middle."""
        east, north = _middle(place)
        around = np.array([(east - _REACH_M, north), (east + _REACH_M, north),
                           (east, north - _REACH_M), (east, north + _REACH_M)])  # fmt: skip
        west, east_, south, north_ = self.pixels_at(around, place.zone)
        across = float(np.hypot(*(east_ - west)))
        down = float(np.hypot(*(north_ - south)))
        if not (0 < across < math.inf and 0 < down < math.inf):
            return 1.0, 1.0  # nowhere near
        return 2 * _REACH_M / PIXEL_M / across, 2 * _REACH_M / PIXEL_M / down

    def needed_for(self, place: Window, pixel_px: float) -> Optional[Tuple[int, int, int, int]]:
        """Return first row, first column, height and width of the pixels that a part is made from.

        None where there are none. `pixel_px`: the smaller edge of its pixels on the zone grid.
        """
        found = self.pixels_at(_outline(place), place.zone)
        found = found[np.isfinite(found).all(axis=1)]
        if not len(found):
            return None
        margin = math.ceil(2 / min(pixel_px, 1.0)) + 1
        (col, row), (stop_col, stop_row) = found.min(axis=0), found.max(axis=0)
        row, col = max(math.floor(row) - margin, 0), max(math.floor(col) - margin, 0)
        stop_row = min(math.ceil(stop_row) + margin, self.height)
        stop_col = min(math.ceil(stop_col) + margin, self.width)
        if stop_row <= row or stop_col <= col:
            return None
        return row, col, stop_row - row, stop_col - col

    def part(self, row: int, col: int, height: int, width: int) -> Grid:
        """Return the grid of some of its pixels."""
        west, a, b, north, c, d = self.transform
        moved = (west + a * col + b * row, a, b, north + c * col + d * row, c, d)
        return Grid(self.crs, moved, height, width)


def grid_of(dataset: gdal.Dataset, zone: int) -> Optional[Grid]:
    """Return the grid of a raster; None where it does not say where it lies.

    Southern and northern UTM are one projection: both become the zone grid's own.
    """
    transform = dataset.GetGeoTransform(can_return_null=True)
    reference = dataset.GetSpatialRef()
    if transform is None or reference is None or not _has_area(transform):
        return None
    height, width = dataset.RasterYSize, dataset.RasterXSize
    reference = reference.Clone()
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    for candidate in dict.fromkeys((abs(reference.GetUTMZone()) or zone, zone)):
        for epsg, south in ((32600 + candidate, 0), (32700 + candidate, SOUTH_OFFSET_M)):
            if reference.IsSame(spatial_reference(f"EPSG:{epsg}")):
                west, a, b, north, c, d = transform
                moved = (west, a, b, north - south, c, d)
                return Grid(zone_crs(candidate), moved, height, width)
    return Grid(reference.ExportToWkt(["FORMAT=WKT2_2019"]), tuple(transform), height, width)


def warped(
    values: NDArray[Any], grid: Grid, place: Window, method: str, pixel_px: Tuple[float, float]
) -> NDArray[Any]:
    """Return values of a raster's part on a part of the zone grid; 0 is nodata, in and out.

    Bilinear as GDAL does it: values that are nodata have no weight, and a pixel whose centre lies
    in a nodata pixel is nodata. `pixel_px` is stated once per raster, since GDAL would estimate it
    anew for every part and let the result depend on how a window is cut.
    Shapes: values (h, w) of `grid`; result (H, W) of the place, same type.
    Raises: RuntimeError where GDAL can't.
    """
    own = Grid(zone_crs(place.zone), _transform(place), *place.shape)
    problems: List[str] = []
    data = None
    with collected(problems):
        source = _in_memory(values, grid)
        target = _in_memory(np.zeros(place.shape, values.dtype), own)
        done = gdal.Warp(
            target, source, resampleAlg=method, srcNodata=0, errorThreshold=_MOST_ERROR_PX,
            warpOptions=["INIT_DEST=0", f"XSCALE={pixel_px[0]!r}", f"YSCALE={pixel_px[1]!r}"],
        )  # fmt: skip
        data = target.ReadRaster() if done else None
        source = target = None
    if problems or data is None:
        raise RuntimeError(f"GDAL could not warp: {'; '.join(problems) or 'no reason told'}")
    return np.frombuffer(data, values.dtype).reshape(place.shape)


def _in_memory(values: NDArray[Any], grid: Grid) -> gdal.Dataset:
    height, width = values.shape
    driver = gdal.GetDriverByName("MEM")
    dataset = driver.Create("", width, height, 1, _TYPES[values.dtype])
    dataset.SetSpatialRef(spatial_reference(grid.crs))
    dataset.SetGeoTransform(grid.transform)
    # as bytes: GDAL's own way with arrays breaks where numpy is not the one that QGIS brought
    dataset.GetRasterBand(1).WriteRaster(0, 0, width, height, values.tobytes())
    return dataset


def _transform(place: Window) -> GeoTransform:
    """Return GDAL's six numbers in the zone grid's metres, negative in the south."""
    west, north = float(PIXEL_M * place.col), -float(PIXEL_M * place.row)
    return (west, float(PIXEL_M), 0.0, north, 0.0, -float(PIXEL_M))


def _has_area(transform: GeoTransform) -> bool:
    _, a, b, _, c, d = transform
    return all(map(math.isfinite, transform)) and a * d - b * c != 0


def _middle(place: Window) -> Tuple[float, float]:
    return PIXEL_M * (place.col + place.width / 2), -PIXEL_M * (place.row + place.height / 2)


def _outline(place: Window) -> NDArray[np.float64]:
    """Return places all over a window, its edges and corners among them."""
    east = np.linspace(place.col, place.stop_col, _STEPS) * PIXEL_M
    north = -np.linspace(place.row, place.stop_row, _STEPS) * PIXEL_M
    return np.array([(x, y) for y in north.tolist() for x in east.tolist()], np.float64)
