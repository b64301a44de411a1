# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Class rasters that others made: their values, names and colours, read part by part.

numpy arrays are read as buffers: `osgeo.gdal_array` breaks where numpy is not the one that QGIS
was built with.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Dict, List, Mapping, Optional, Tuple, Type

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ..errors import LabelsUnreadable
from . import ogr_layers
from .gdal_errors import collected

NOTHING = -1
"""Value of pixels that have no class; classes are whole numbers from 0 on."""

_LARGEST = 2**31 - 1

Transform = Tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class MapFacts:
    """A class raster, before any of its pixels is looked at."""

    path: str
    height: int
    width: int
    crs: str
    transform: Transform
    """GDAL's six numbers."""
    names: Mapping[int, str]
    """Of values, where the file has them."""
    colors: Mapping[int, str]
    """`#rrggbb` of values, where the file has them."""


class ForeignMap:
    """A class raster, open for reading. A context manager. Raises in every method: LabelsUnreadable."""

    def __init__(self, path: str) -> None:
        problems: List[str] = []
        with collected(problems):
            self._dataset = gdal.OpenEx(path, gdal.OF_RASTER | gdal.OF_READONLY)
        if self._dataset is None or problems:
            told = problems[0] if problems else "it is no raster GDAL knows"
            raise LabelsUnreadable(path, told.rstrip("."))
        if not self._dataset.RasterCount:
            raise LabelsUnreadable(path, "it has no band")
        self._band = self._dataset.GetRasterBand(1)
        if gdal.DataTypeIsComplex(self._band.DataType):
            raise LabelsUnreadable(path, "its numbers are complex")
        self.facts = self._described(path)

    def __enter__(self) -> ForeignMap:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._band = self._dataset = None

    def read(self, row: int, col: int, height: int, width: int) -> NDArray[np.int32]:
        """Return the values of a part (H, W), NOTHING for nodata and beyond the raster."""
        facts = self.facts
        values = np.full((height, width), NOTHING, np.int32)
        top, left = max(row, 0), max(col, 0)
        rows, cols = min(row + height, facts.height) - top, min(col + width, facts.width) - left
        if rows > 0 and cols > 0:
            inside = slice(top - row, top - row + rows), slice(left - col, left - col + cols)
            values[inside] = self._part(left, top, cols, rows)
        return values

    def _part(self, left: int, top: int, cols: int, rows: int) -> NDArray[np.int32]:
        problems: List[str] = []
        data = mask = None
        place = (left, top, cols, rows)
        with collected(problems):
            data = self._band.ReadRaster(*place, buf_type=gdal.GDT_Float64)
            mask = self._band.GetMaskBand().ReadRaster(*place, buf_type=gdal.GDT_Byte)
        if problems or data is None or mask is None:
            told = problems[0] if problems else "a part of it is broken"
            raise LabelsUnreadable(self.facts.path, told.rstrip("."))
        numbers = np.frombuffer(data, np.float64).reshape(rows, cols)
        is_there = np.frombuffer(mask, np.uint8).reshape(rows, cols) > 0
        is_there &= (numbers >= 0) & (numbers <= _LARGEST)  # NaN is neither
        numbers = np.where(is_there, numbers, NOTHING)
        values = numbers.astype(np.int32)
        if (values != numbers).any():
            raise LabelsUnreadable(
                self.facts.path, "its values are no whole numbers, so no classes"
            )
        return values

    def _described(self, path: str) -> MapFacts:
        reference = self._dataset.GetSpatialRef()
        transform = self._dataset.GetGeoTransform(can_return_null=True)
        if reference is None or transform is None:
            raise LabelsUnreadable(path, "it does not say where it lies")
        names, colors = _table(self._band)
        for value, name in enumerate(self._band.GetCategoryNames() or ()):
            if name.strip():
                names.setdefault(value, name.strip())
        palette = self._band.GetColorTable()
        for value in range(palette.GetCount() if palette is not None else 0):
            red, green, blue, alpha = palette.GetColorEntry(value)
            if alpha and (red or green or blue or value in names):
                colors.setdefault(value, f"#{red:02x}{green:02x}{blue:02x}")
        return MapFacts(
            path, self._dataset.RasterYSize, self._dataset.RasterXSize,
            ogr_layers.crs_text(reference), tuple(transform), names, colors,
        )  # fmt: skip


def _table(band: gdal.Band) -> Tuple[Dict[int, str], Dict[int, str]]:
    """Return names and colours by value of a raster attribute table."""
    names: Dict[int, str] = {}
    colors: Dict[int, str] = {}
    table = band.GetDefaultRAT()
    if table is None:
        return names, colors
    columns = {
        table.GetUsageOfCol(each): each for each in range(table.GetColumnCount() - 1, -1, -1)
    }
    at = columns.get(gdal.GFU_MinMax, columns.get(gdal.GFU_Min))
    name = columns.get(gdal.GFU_Name)
    rgb = [columns.get(each) for each in (gdal.GFU_Red, gdal.GFU_Green, gdal.GFU_Blue)]
    for row in range(table.GetRowCount()):
        value = row if at is None else int(table.GetValueAsInt(row, at))
        if name is not None and (told := str(table.GetValueAsString(row, name)).strip()):
            names[value] = told
        if None not in rgb:
            channels = (min(max(int(table.GetValueAsInt(row, each)), 0), 255) for each in rgb)
            colors[value] = "#" + "".join(f"{channel:02x}" for channel in channels)
    return names, colors
