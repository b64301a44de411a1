# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Result rasters: GeoTIFFs written part by part and read back.

GDAL's exception mode belongs to QGIS, so every call is checked in a way that works in both modes.
numpy arrays are handed over as buffers: `osgeo.gdal_array` breaks where numpy is not the one that
QGIS was built with.
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from ..errors import TesseraError
from ..progress import Report, part, silent
from ..values import LandClass, Window
from . import files
from .gdal_errors import collected as _errors
from .raster_classes import CLASS_NODATA, ClassCount, add_classes, color_table

CONFIDENCE_NODATA = 255

TILE_PX = 256
"""Edge of the tiles inside a GeoTIFF."""

_TYPES = {
    np.dtype(np.uint8): gdal.GDT_Byte,
    np.dtype(np.uint16): gdal.GDT_UInt16,
    np.dtype(np.float32): gdal.GDT_Float32,
}


@dataclass(frozen=True)
class Layout:
    """What a raster is made of."""

    dtype: np.dtype[Any]
    bands: int = 1
    nodata: Optional[float] = None
    resampling: str = "NEAREST"
    """How its overviews are made; empty for none."""
    options: Tuple[str, ...] = ("COMPRESS=DEFLATE",)


class RasterWriter:
    """Writes one GeoTIFF part by part; `finish` makes it whole, anything else removes it.

    A context manager. Raises in every method: DiskFull, NotWritable.
    """

    def __init__(self, path: Path, window: Window, layout: Layout, tags: Mapping[str, str]) -> None:
        self.path = path
        self._window = window
        self._layout = layout
        self._rows = _TileRows(window, layout)
        self._written: List[Tuple[Window, int]] = []
        self._dataset: Any = None  # None again once it is closed
        self._whole = False
        with self._checked():
            self._dataset = _create(path, window, layout, tags)

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if not self._whole:
            self.abandon()

    def style(self, classes: Sequence[LandClass]) -> None:
        """Set the colours of the values, before anything is written."""
        with self._checked():
            band = self._dataset.GetRasterBand(1)
            band.SetColorInterpretation(gdal.GCI_PaletteIndex)
            band.SetColorTable(color_table(classes))

    def describe(self, names: Sequence[str]) -> None:
        """Name the bands."""
        with self._checked():
            for number, name in enumerate(names, 1):
                self._dataset.GetRasterBand(number).SetDescription(name)

    def write(self, place: Window, values: NDArray[Any]) -> None:
        """Write the pixels of `place`, each once.

        What does not fill rows of tiles waits in memory until it does, or until `finish`.
        Shapes: values (H, W) for one band, else (bands, H, W), of the layout's type.
        """
        shape = place.shape if self._layout.bands == 1 else (self._layout.bands, *place.shape)
        if values.shape != shape or values.dtype != self._layout.dtype:
            raise ValueError(f"expected {self._layout.dtype} of {shape}, got {values.dtype} of "
                             f"{values.shape}")  # fmt: skip
        if self._rows.is_whole(place):
            self._put(place, values)
            return
        for row, gathered in self._rows.add(place, values):
            self._put(row, gathered)

    def finish(self, counts: Sequence[ClassCount] = (), report: Report = silent) -> None:
        """Add overviews and the attribute table, close, and read everything back."""
        for row, gathered in self._rows.rest():
            self._put(row, gathered)
        self._add_overviews(part(report, 0.0, 0.7))
        with self._checked():
            if counts:
                add_classes(self._dataset.GetRasterBand(1), counts)
            self._dataset = None  # GDAL's way of closing, the last errors come here
        self._verify(part(report, 0.7, 1.0))
        self._whole = True

    def abandon(self) -> None:
        """Close and remove the file."""
        with _errors([]):
            self._dataset = None
        for path in (self.path, self.path.with_name(self.path.name + ".aux.xml")):
            with contextlib.suppress(OSError):
                path.unlink()

    def _put(self, place: Window, values: NDArray[Any]) -> None:
        buffer = values.tobytes()
        with self._checked():
            self._dataset.WriteRaster(*self._at(place), buffer, *place.shape[::-1])
            self._dataset.FlushCache()  # else GDAL keeps a twentieth of the machine's memory
        self._written.append((place, zlib.crc32(buffer)))

    def _at(self, place: Window) -> Tuple[int, int, int, int]:
        rows, cols = place.slices_in(self._window)
        return cols.start, rows.start, place.width, place.height

    def _add_overviews(self, report: Report) -> None:
        levels = _levels(self._window)
        if not levels or not self._layout.resampling:
            return
        problems = self._overviews(self._layout.resampling, levels, report)
        if problems and self._layout.resampling != "NEAREST":
            # a GDAL that does not know the method
            self._overviews("NONE", [], report)
            problems = self._overviews("NEAREST", levels, report)
        if problems:
            raise self._failure(problems)

    def _overviews(self, method: str, levels: Sequence[int], report: Report) -> List[str]:
        """Build overviews and return what went wrong; what `report` raises goes on."""
        stop: List[BaseException] = []
        problems: List[str] = []

        def forward(fraction: float, _message: str, _data: object) -> int:
            try:
                report(fraction, "overviews")
            except BaseException as error:  # noqa: BLE001  (may not pass through GDAL's C code)
                stop.append(error)
                return 0
            return 1

        with _errors(problems):
            self._dataset.BuildOverviews(method, list(levels), forward)
        if stop:
            raise stop[0]
        return problems

    def _verify(self, report: Report) -> None:
        problems: List[str] = []
        with _errors(problems):
            dataset = gdal.OpenEx(str(self.path), gdal.OF_RASTER)
            for index, (place, expected) in enumerate(self._written):
                report(index / len(self._written), "reading back")
                data = dataset.ReadRaster(*self._at(place)) if dataset else None
                if data is None or zlib.crc32(data) != expected:
                    problems.append("what was written can't be read back")
                    break
                dataset.FlushCache()  # lets go of what was read
            dataset = None
        if problems:
            raise self._failure(problems)

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        problems: List[str] = []
        with _errors(problems):
            yield
        if problems:
            raise self._failure(problems)

    def _failure(self, problems: Sequence[str]) -> TesseraError:
        pixel_bytes = self._layout.bands * self._layout.dtype.itemsize
        return files.write_failure(self.path, problems, self._window.pixels * pixel_bytes)


class _TileRows:
    """Gathers parts until rows of tiles are whole: a half tile would be compressed twice."""

    def __init__(self, window: Window, layout: Layout) -> None:
        self._window = window
        self._layout = layout
        self._gathered: Dict[Window, NDArray[Any]] = {}
        self._lacks_px: Dict[Window, int] = {}

    def is_whole(self, place: Window) -> bool:
        """Return whether a part consists of whole tiles."""
        rows, cols = place.slices_in(self._window)
        height, width = self._window.shape
        return all(
            side.start % TILE_PX == 0 and (side.stop % TILE_PX == 0 or side.stop == edge)
            for side, edge in ((rows, height), (cols, width))
        )

    def add(self, place: Window, values: NDArray[Any]) -> Iterator[Tuple[Window, NDArray[Any]]]:
        """Yield the rows of tiles that are whole now. Shape: (bands, H, W)."""
        values = values.reshape(self._layout.bands, *place.shape)
        for row in self._rows_of(place):
            inside = place.intersection(row)
            if inside is None:
                continue
            if row not in self._gathered:
                self._gathered[row] = self._empty(row)
                self._lacks_px[row] = row.pixels
            (to_rows, to_cols), (rows, cols) = inside.slices_in(row), inside.slices_in(place)
            self._gathered[row][:, to_rows, to_cols] = values[:, rows, cols]
            self._lacks_px[row] -= inside.pixels
            if self._lacks_px[row] == 0:
                yield row, self._gathered.pop(row)

    def rest(self) -> Iterator[Tuple[Window, NDArray[Any]]]:
        """Yield the rows of tiles that parts are missing of, nodata there."""
        while self._gathered:
            yield self._gathered.popitem()

    def _rows_of(self, place: Window) -> Iterator[Window]:
        outer = self._window
        first = outer.row + (place.row - outer.row) // TILE_PX * TILE_PX
        for row in range(first, place.stop_row, TILE_PX):
            stop = min(row + TILE_PX, outer.stop_row)
            yield Window.between(outer.zone, row, outer.col, stop, outer.stop_col)

    def _empty(self, row: Window) -> NDArray[Any]:
        shape = (self._layout.bands, *row.shape)
        return np.full(shape, self._layout.nodata or 0, self._layout.dtype)


def class_map(
    path: Path, window: Window, classes: Sequence[LandClass], tags: Mapping[str, str]
) -> RasterWriter:
    """Return the writer of a class map: class ids, 0 = nodata, coloured.

    uint8, or uint16 where an id is over 255 (see `class_dtype`).
    Raises: DiskFull, NotWritable.
    """
    layout = Layout(class_dtype(classes), nodata=CLASS_NODATA, resampling="MODE")
    writer = RasterWriter(path, window, layout, tags)
    writer.style(classes)
    return writer


def class_dtype(classes: Sequence[LandClass]) -> np.dtype[Any]:
    """Return the type that holds the ids of all classes. Raises ValueError outside 1 to 65535."""
    ids = [each.id for each in classes]
    if min(ids) < 1 or max(ids) > 65535:
        raise ValueError(f"class ids must be 1 to 65535, got {min(ids)} to {max(ids)}")
    return np.dtype(np.uint8 if max(ids) <= 255 else np.uint16)


def confidence(path: Path, window: Window, tags: Mapping[str, str], bands: int = 1) -> RasterWriter:
    """Return the writer of a confidence raster, or another one in percent: uint8, 255 = nodata.

    Raises: DiskFull, NotWritable.
    """
    # GDAL would take three or four bands for red, green, blue and alpha
    options = ("COMPRESS=DEFLATE", "PHOTOMETRIC=MINISBLACK", "ALPHA=NO", "INTERLEAVE=BAND")
    layout = Layout(np.dtype(np.uint8), bands, CONFIDENCE_NODATA, "AVERAGE", options)
    return RasterWriter(path, window, layout, tags)


def picture(path: Path, window: Window, tags: Mapping[str, str]) -> RasterWriter:
    """Return the writer of a picture: uint8 red, green, blue, alpha (0 where there is nothing).

    Raises: DiskFull, NotWritable.
    """
    options = ("COMPRESS=DEFLATE", "PHOTOMETRIC=RGB", "ALPHA=YES", "INTERLEAVE=PIXEL")
    layout = Layout(np.dtype(np.uint8), bands=4, resampling="AVERAGE", options=options)
    return RasterWriter(path, window, layout, tags)


def embeddings(path: Path, window: Window, depth: int, tags: Mapping[str, str]) -> RasterWriter:
    """Return the writer of embeddings as float32 bands, NaN = nodata.

    Not compressed: it would save a tenth of the bytes and take five times the time.
    Raises: DiskFull, NotWritable.
    """
    files.check_space(path, window.pixels * depth * 4)
    options = ("INTERLEAVE=BAND",)
    layout = Layout(np.dtype(np.float32), depth, float("nan"), resampling="", options=options)
    writer = RasterWriter(path, window, layout, tags)
    writer.describe([f"dimension {number}" for number in range(depth)])
    return writer


def tiles(window: Window) -> Iterator[Window]:
    """Yield the parts of a window that are whole tiles of its GeoTIFF (256 x 256 px), row by row."""
    for row in range(window.row, window.stop_row, TILE_PX):
        for col in range(window.col, window.stop_col, TILE_PX):
            yield Window.between(window.zone, row, col, min(row + TILE_PX, window.stop_row),
                                 min(col + TILE_PX, window.stop_col))  # fmt: skip


# --- GDAL, checked


def _create(path: Path, window: Window, layout: Layout, tags: Mapping[str, str]) -> gdal.Dataset:
    options = ["TILED=YES", f"BLOCKXSIZE={TILE_PX}", f"BLOCKYSIZE={TILE_PX}",
               "BIGTIFF=IF_SAFER", *layout.options]  # fmt: skip
    dataset = gdal.GetDriverByName("GTiff").Create(
        str(path), window.width, window.height, layout.bands, _TYPES[layout.dtype], options
    )
    if dataset is None:
        raise RuntimeError(gdal.GetLastErrorMsg() or "GDAL can't create it")
    dataset.SetSpatialRef(_reference(window.epsg))
    dataset.SetGeoTransform(window.transform)
    dataset.SetMetadata(dict(tags))
    if layout.nodata is not None:
        for number in range(1, layout.bands + 1):
            dataset.GetRasterBand(number).SetNoDataValue(layout.nodata)
    return dataset


def _reference(epsg: int) -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return reference


def _levels(window: Window) -> List[int]:
    levels: List[int] = []
    while max(window.shape) > TILE_PX * 2 ** len(levels):
        levels.append(2 ** (len(levels) + 1))
    return levels
