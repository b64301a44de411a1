# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that GDAL opens, read part by part and brought onto a zone's grid. Every read is checked."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Callable, List, Optional

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ...errors import SceneUnusable
from ...values import Window
from ..gdal_errors import collected
from .scenes import Raster
from .warping import grid_of, warped

Convert = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Makes of a raster's own numbers, NaN for nodata, those that are wanted, 0 for nodata."""

_COARSE_PX = 1.5
"""Pixels wider than so many of the zone grid's are interpolated, where that is asked for."""

_MOST_OPEN = 48
_MOST_READ_PX = 1 << 26
_NOTHING = np.full((1, 1), np.nan, np.float32)


class RasterOnGrid:
    """A band of a file, over a window. Raises in every method: SceneUnusable."""

    def __init__(self, raster: Raster, window: Window) -> None:
        self.path = raster.path
        problems: List[str] = []
        band: Any = None
        grid = None
        with collected(problems):
            self._dataset = gdal.OpenEx(raster.path, gdal.OF_RASTER)
            if self._dataset is not None and raster.band <= self._dataset.RasterCount:
                band = self._dataset.GetRasterBand(raster.band)
                grid = grid_of(self._dataset, window.zone)
        if problems or band is None:
            raise self._unusable("it can't be opened", problems or ["no such band"])
        if grid is None:
            raise SceneUnusable(self.path, "it does not say where it lies")
        if gdal.DataTypeIsComplex(band.DataType):
            raise SceneUnusable(self.path, "its numbers are complex")
        self._band = band
        self._grid = grid
        self._offset = grid.offset(window.zone)
        self._pixel_px = (1.0, 1.0) if self._offset is not None else grid.pixel_px(window)

    @property
    def is_coarse(self) -> bool:
        """Whether its pixels are clearly larger than the zone grid's."""
        return max(self._pixel_px) > _COARSE_PX

    def onto(
        self, place: Window, convert: Convert, method: str, *, keep_zero: bool = False
    ) -> NDArray[Any]:
        """Return converted values on a part of the zone grid (H, W), 0 where there are none.

        They are converted before they are resampled. `keep_zero`: 0 is a number, even if the file
        says that it is nodata.
        """
        if self._offset is not None:
            return self._copied(place, convert, keep_zero=keep_zero)
        needed = self._grid.needed_for(place, min(self._pixel_px))
        if needed is None:
            return np.zeros(place.shape, convert(_NOTHING).dtype)
        values = convert(self._read(*needed, keep_zero=keep_zero))
        try:
            return warped(values, self._grid.part(*needed), place, method, self._pixel_px)
        except RuntimeError as error:
            raise SceneUnusable(self.path, str(error)) from error

    def _copied(self, place: Window, convert: Convert, *, keep_zero: bool) -> NDArray[Any]:
        """Return the pixels as they are: they lie on the grid."""
        row, col = self._offset or (0, 0)
        own = Window(place.zone, row, col, self._grid.height, self._grid.width)
        found = np.zeros(place.shape, convert(_NOTHING).dtype)
        inside = place.intersection(own)
        if inside is not None:
            read = self._read(inside.row - row, inside.col - col, *inside.shape,
                              keep_zero=keep_zero)  # fmt: skip
            found[inside.slices_in(place)] = convert(read)
        return found

    def _read(
        self, row: int, col: int, height: int, width: int, *, keep_zero: bool
    ) -> NDArray[np.float32]:
        if height * width > _MOST_READ_PX:
            raise SceneUnusable(self.path, "its pixels are far smaller than 10 m")
        place = (col, row, width, height)
        problems: List[str] = []
        data = mask = None
        nodata: Optional[float] = None
        with collected(problems):
            data = self._band.ReadRaster(*place, buf_type=gdal.GDT_Float32)
            nodata = self._band.GetNoDataValue()
            if self._band.GetMaskFlags() & gdal.GMF_PER_DATASET:
                mask = self._band.GetMaskBand().ReadRaster(*place, buf_type=gdal.GDT_Byte)
                if mask is None:
                    problems.append("its mask can't be read")
        if problems or data is None or len(data) != 4 * height * width:
            raise self._unusable("it can't be read", problems)
        values = np.frombuffer(data, np.float32).reshape(height, width).copy()
        if nodata is not None and not (keep_zero and nodata == 0):
            with np.errstate(over="ignore"):  # some say what only fits twice the bits
                values[values == np.float32(nodata)] = np.nan
        if mask is not None:
            values[np.frombuffer(mask, np.uint8).reshape(height, width) == 0] = np.nan
        return values

    def _unusable(self, what: str, problems: List[str]) -> SceneUnusable:
        said = "; ".join(dict.fromkeys(problems)) or "GDAL gives no reason"
        return SceneUnusable(self.path, f"{what}: {said.rstrip('.')}")


class OpenRasters:
    """Opened files over a window; the ones not asked for longest are closed."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._open: OrderedDict[Raster, RasterOnGrid] = OrderedDict()

    def of(self, raster: Raster) -> RasterOnGrid:
        """Return a raster, opened. Raises: SceneUnusable."""
        if raster not in self._open:
            while len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)
            self._open[raster] = RasterOnGrid(raster, self._window)
        self._open.move_to_end(raster)
        return self._open[raster]

    def close(self) -> None:
        """Close them all."""
        self._open.clear()
