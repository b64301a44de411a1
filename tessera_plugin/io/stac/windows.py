# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows of images as small GeoTIFFs: native grid, native values, enough to be interpolated.

GDAL's exception mode belongs to QGIS: every call is checked in a way that works in both modes, and
arrays go through bytes, not `gdal_array`.
"""

from __future__ import annotations

import contextlib
import math
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ...values import PIXEL_M, Window
from ..cache_files import write_whole
from ..gdal_errors import collected
from ..projection import LONLAT, transform_points, zone_crs
from .tiff import Directory, NotUsable

MARGIN_PX = 2
"""Native pixels around a window, so that it can be interpolated up to its edge."""

_EDGE_STEP_M = 500.0

_TYPES = {"Byte": "u1", "UInt16": "u2", "Int16": "i2", "Float32": "f4"}
_CRC_TAG = "TESSERA_CRC"

Rectangle = Tuple[int, int, int, int]
"""Column, row, width and height in pixels of an image."""


@dataclass(frozen=True)
class Grid:
    """Where an image lies, and what its pixels are."""

    crs: str
    transform: Tuple[float, ...]
    width: int
    height: int
    dtype: np.dtype[Any]
    nodata: Optional[float]


# --- which pixels


def outline_of(window: Window, crs: str = LONLAT) -> NDArray[np.float64]:
    """Return points (n, 2) along the edge of a window, in a CRS."""
    west, east = window.col * PIXEL_M, window.stop_col * PIXEL_M
    north, south = -window.row * PIXEL_M, -window.stop_row * PIXEL_M
    count = max(int(max(east - west, north - south) / _EDGE_STEP_M), 8) + 1
    x, y = np.linspace(west, east, count), np.linspace(south, north, count)
    edges = [(x, np.full(count, south)), (x, np.full(count, north)),
             (np.full(count, west), y), (np.full(count, east), y)]  # fmt: skip
    points = np.concatenate([np.column_stack(edge) for edge in edges])
    return transform_points(points, zone_crs(window.zone), crs)


def rectangle_of(window: Window, grid: Grid) -> Optional[Rectangle]:
    """Return the pixels of an image that a window and its margin need; None where it has none."""
    points = outline_of(window, grid.crs)
    west, size_x, skew_x, north, skew_y, size_y = grid.transform
    if skew_x or skew_y or not size_x or not size_y:
        raise NotUsable("its grid is rotated")
    if not np.isfinite(points).all():
        return None  # it has no place in that system: the image is far away
    cols, rows = (points[:, 0] - west) / size_x, (points[:, 1] - north) / size_y
    if cols.max() <= 0 or rows.max() <= 0 or cols.min() >= grid.width or rows.min() >= grid.height:
        return None
    col, stop_col = _span(cols, grid.width)
    row, stop_row = _span(rows, grid.height)
    return col, row, stop_col - col, stop_row - row


def _span(places: NDArray[np.float64], size: int) -> Tuple[int, int]:
    first = max(math.floor(places.min() + 1e-6) - MARGIN_PX, 0)
    return first, min(math.ceil(places.max() - 1e-6) + MARGIN_PX, size)


# --- what GDAL is asked


def grid_of(tiff: bytes) -> Grid:
    """Return the grid of a TIFF. Raises: NotUsable."""
    with _opened(tiff) as dataset:
        band = dataset.GetRasterBand(1)
        kind = _TYPES.get(gdal.GetDataTypeName(band.DataType))
        reference = dataset.GetSpatialRef()
        transform = dataset.GetGeoTransform(can_return_null=True)
        if kind is None:
            raise NotUsable(f"its pixels are {gdal.GetDataTypeName(band.DataType)}")
        if reference is None or transform is None:
            raise NotUsable("nothing tells where it lies")
        return Grid(
            str(reference.ExportToWkt()), tuple(transform), dataset.RasterXSize,
            dataset.RasterYSize, np.dtype(kind), band.GetNoDataValue(),
        )  # fmt: skip


def read_pixels(
    tiff: bytes, grid: Grid, rectangle: Rectangle, directory: Directory, blocks: Sequence[int]
) -> NDArray[Any]:
    """Return the pixels (height, width) of a rectangle of a TIFF that holds these blocks of it.

    That GDAL takes each block from where it was put is asked of it, so that none comes as zeros.
    Raises: NotUsable.
    """
    col, row, width, height = rectangle
    with _opened(tiff) as dataset:
        band = dataset.GetRasterBand(1)
        shape = (directory.block_width, directory.block_height)
        if tuple(band.GetBlockSize()) != shape or band.XSize != directory.width:
            raise NotUsable("its directory can't be understood")
        for number in blocks:
            place = f"{number % directory.across}_{number // directory.across}"
            told = band.GetMetadataItem(f"BLOCK_SIZE_{place}", "TIFF")
            if told != str(directory.counts[number]):
                raise NotUsable("its directory can't be understood")
        data = band.ReadRaster(col, row, width, height)
    if data is None or len(data) != width * height * grid.dtype.itemsize:
        raise NotUsable("its tiles can't be unpacked")
    return np.frombuffer(data, grid.dtype).reshape(height, width)


def write_window(
    path: Path, pixels: NDArray[Any], grid: Grid, rectangle: Rectangle, tags: Mapping[str, str]
) -> None:
    """Write pixels of an image as a GeoTIFF of their own, whole or not at all.

    Raises: NotUsable, DiskFull, NotWritable.
    """
    west, size_x, _, north, _, size_y = grid.transform
    col, row, width, height = rectangle
    name = _memory_name()
    try:
        with _checked("it can't be written as a GeoTIFF"):
            dataset = gdal.GetDriverByName("GTiff").Create(
                name, width, height, 1, _type_of(grid.dtype), ["COMPRESS=DEFLATE"]
            )
            if dataset is None:
                raise NotUsable("it can't be written as a GeoTIFF")
            dataset.SetProjection(grid.crs)
            at = (west + col * size_x, size_x, 0.0, north + row * size_y, 0.0, size_y)
            dataset.SetGeoTransform(at)
            dataset.SetMetadata({**tags, _CRC_TAG: _crc(pixels)})
            band = dataset.GetRasterBand(1)
            if grid.nodata is not None:
                band.SetNoDataValue(grid.nodata)
            band.WriteRaster(0, 0, width, height, np.ascontiguousarray(pixels).tobytes())
            band = dataset = None
            data = _bytes_in_memory(name)
    finally:
        _forget(name)
    write_whole(path, [data])


def read_window(path: Path, tags: Mapping[str, str]) -> Optional[NDArray[Any]]:
    """Return the pixels of a window that was written with these tags; None if it isn't whole."""
    try:
        with _dataset(str(path)) as dataset:
            found: Dict[str, str] = dataset.GetMetadata()
            band = dataset.GetRasterBand(1)
            kind = np.dtype(_TYPES.get(gdal.GetDataTypeName(band.DataType), "u1"))
            data = band.ReadRaster()
            shape = (band.YSize, band.XSize)
    except NotUsable:
        return None
    if data is None or len(data) != shape[0] * shape[1] * kind.itemsize:
        return None
    pixels = np.frombuffer(data, kind).reshape(shape)
    is_it = all(found.get(name) == value for name, value in tags.items())
    return pixels if is_it and found.get(_CRC_TAG) == _crc(pixels) else None


def _crc(pixels: NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(pixels).tobytes()):08x}"


def _type_of(dtype: np.dtype[Any]) -> int:
    name = next(name for name, kind in _TYPES.items() if np.dtype(kind) == dtype)
    return int(gdal.GetDataTypeByName(name))


# --- GDAL, checked


def _memory_name() -> str:
    return f"/vsimem/tessera-{uuid.uuid4().hex}/image.tif"


@contextlib.contextmanager
def _opened(tiff: bytes) -> Iterator[Any]:
    """Give the dataset of a TIFF in memory. Raises: NotUsable."""
    name = _memory_name()
    try:
        with _checked("it can't be opened"):
            gdal.FileFromMemBuffer(name, tiff)
        with _dataset(name) as dataset:
            yield dataset
    finally:
        _forget(name)


@contextlib.contextmanager
def _dataset(name: str) -> Iterator[Any]:
    """Give the dataset of a GeoTIFF, which nothing beside it changes. Raises: NotUsable."""
    with _checked("it is damaged"):
        dataset = gdal.OpenEx(
            name, gdal.OF_RASTER, allowed_drivers=["GTiff"],
            open_options=["GEOREF_SOURCES=INTERNAL"], sibling_files=[],
        )  # fmt: skip
        if dataset is None:
            raise NotUsable("it is not a GeoTIFF")
        yield dataset
        dataset = None


@contextlib.contextmanager
def _checked(what: str) -> Iterator[None]:
    """Raise NotUsable if GDAL complains of anything meanwhile, in either of its modes."""
    problems: List[str] = []
    with collected(problems):
        yield
    if problems:
        raise NotUsable(f"{what}: {problems[0].rstrip('.')}")


def _bytes_in_memory(name: str) -> bytes:
    found = gdal.VSIStatL(name)
    file = gdal.VSIFOpenL(name, "rb")
    try:
        return bytes(gdal.VSIFReadL(1, found.size, file))
    finally:
        gdal.VSIFCloseL(file)


def _forget(name: str) -> None:
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        for remove, path in ((gdal.Unlink, name), (gdal.Rmdir, name.rpartition("/")[0])):
            with contextlib.suppress(RuntimeError):
                remove(path)
    finally:
        gdal.PopErrorHandler()
