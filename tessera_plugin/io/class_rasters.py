# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Class maps read back part by part, and freed from their smallest areas."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ..errors import NotWritable
from ..progress import Report
from ..values import Window
from . import files
from .gdal_errors import collected

_TYPES: Dict[int, np.dtype[Any]] = {
    gdal.GDT_Byte: np.dtype(np.uint8),
    gdal.GDT_UInt16: np.dtype(np.uint16),
}


class ClassRaster:
    """A class map on the zone grid that has just been written. A context manager.

    Raises in every method: NotWritable if it can't be read back.
    """

    def __init__(self, path: Path, window: Window) -> None:
        self.path = path
        self._window = window
        problems: List[str] = []
        with collected(problems):
            self._dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
        if problems or self._dataset is None:
            raise _unreadable(path, problems)
        self.dtype: np.dtype[Any] = _TYPES[self._dataset.GetRasterBand(1).DataType]

    def __enter__(self) -> ClassRaster:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._dataset = None

    def read(self, place: Window) -> NDArray[Any]:
        """Return the ids of a part (H, W), 0 = nodata."""
        rows, cols = place.slices_in(self._window)
        problems: List[str] = []
        with collected(problems):
            data = self._dataset.ReadRaster(cols.start, rows.start, place.width, place.height)
            self._dataset.FlushCache()  # lets go of what was read
        if problems or data is None:
            raise _unreadable(self.path, problems)
        return np.frombuffer(data, self.dtype).reshape(place.shape)


def sieve(source: Path, target: Path, least_px: int, connected: int, report: Report) -> None:
    """Write a class map in which areas of fewer pixels have the class of their largest neighbour.

    Areas hang together by edges (`connected` 4) or by corners too (8). Nodata stays, and so does an
    area whose neighbours are all as small. The memory goes with the number of areas: 33 MB for 16
    million pixels of fields with noise, at most 25 bytes per pixel, where each is an area.
    The result has neither colours nor compression.
    Raises: NotWritable, DiskFull, Cancelled.
    """
    problems: List[str] = []
    stop: List[BaseException] = []
    with collected(problems):
        known = gdal.OpenEx(str(source), gdal.OF_RASTER)
        band = known.GetRasterBand(1)
        made = gdal.GetDriverByName("GTiff").Create(
            str(target), known.RasterXSize, known.RasterYSize, 1, band.DataType
        )
        gdal.SieveFilter(
            band, band.GetMaskBand(), made.GetRasterBand(1), least_px, connected,
            callback=telling(report, "sieve", stop),
        )  # fmt: skip
        made = None
    if stop:
        raise stop[0]
    if problems:
        raise files.write_failure(target, problems)


def telling(
    report: Report, message: str, stop: List[BaseException]
) -> Callable[[float, str, object], int]:
    """Return what GDAL tells its progress to; what `report` raises is put in `stop`.

    It may not pass through GDAL's C code.
    """

    def forward(fraction: float, _message: str, _data: object) -> int:
        try:
            report(fraction, message)
        except BaseException as error:  # noqa: BLE001
            stop.append(error)
            return 0
        return 1

    return forward


def _unreadable(path: Path, problems: List[str]) -> NotWritable:
    told = problems[0].rstrip(".") if problems else "what was written can't be read back"
    return NotWritable(str(path), told)
