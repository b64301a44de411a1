# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pixels of a tile are wanted, and roi.tiff: the only georeference that upstream knows."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Optional

import numpy as np
from numpy.typing import NDArray
from osgeo import ogr

from ...errors import ExtentInvalid
from ...values import Window
from ..gdal_errors import collected
from ..polygons import ZonePolygon
from ..projection import LONLAT, spatial_reference, zone_crs
from ..rasters import Layout, RasterWriter

ROI_FILE = "roi.tiff"

PART_PX = 1024
"""Edge of the parts that a tile is made by: whole tiles of a GeoTIFF, some megabytes."""

_STEP_DEG = 0.01  # an edge bends less than 3 cm off its chord over this
ROI_LAYOUT = Layout(np.dtype(np.uint8), resampling="", options=("COMPRESS=LZW",))


def parts_of(window: Window) -> Iterator[Window]:
    """Yield the parts of a window, row by row; together they are the window."""
    for row in range(window.row, window.stop_row, PART_PX):
        for col in range(window.col, window.stop_col, PART_PX):
            yield Window.between(window.zone, row, col, min(row + PART_PX, window.stop_row),
                                 min(col + PART_PX, window.stop_col))  # fmt: skip


class Inside:
    """The pixels of a window whose centres lie in polygons; a bit per pixel in memory."""

    def __init__(self, window: Window, roi: Optional[str]) -> None:
        """Take WKT in EPSG:4326, None for the whole window. Raises: ExtentInvalid."""
        self.window = window
        self.count_px = window.pixels
        self._bits: Optional[NDArray[np.uint8]] = None
        if roi is not None:
            self._bits = np.zeros((window.height, (window.width + 7) // 8), np.uint8)
            self._burn(ZonePolygon(window.zone, _in_metres(roi, window.zone), at_seam=False))

    def of(self, place: Window) -> NDArray[np.bool_]:
        """Return which pixels of a part are inside (H, W)."""
        if self._bits is None:
            return np.ones(place.shape, np.bool_)
        rows, cols = place.slices_in(self.window)
        return np.unpackbits(self._bits[rows], axis=1)[:, cols].astype(np.bool_)

    def write(self, path: Path) -> None:
        """Write 1 for inside and 0 as a raster with the window's place. Raises: DiskFull, NotWritable."""
        with RasterWriter(path, self.window, ROI_LAYOUT, {}) as writer:
            for place in parts_of(self.window):
                writer.write(place, self.of(place).astype(np.uint8))
            writer.finish()

    def _burn(self, polygon: ZonePolygon) -> None:
        assert self._bits is not None  # noqa: S101
        self.count_px = 0
        for row in range(self.window.row, self.window.stop_row, PART_PX):
            stop = min(row + PART_PX, self.window.stop_row)
            place = Window.between(
                self.window.zone, row, self.window.col, stop, self.window.stop_col
            )
            inside = polygon.mask(place)
            self.count_px += int(inside.sum())
            self._bits[place.slices_in(self.window)[0]] = np.packbits(inside, axis=1)
        if not self.count_px:
            raise ExtentInvalid("no pixel of it has its centre in the polygons")


def _in_metres(roi: str, zone: int) -> bytes:
    problems: List[str] = []
    wkb = b""
    with collected(problems):
        geometry = ogr.CreateGeometryFromWkt(roi)
        if geometry is not None and geometry.GetDimension() == 2:
            geometry.Segmentize(_STEP_DEG)
            geometry.AssignSpatialReference(spatial_reference(LONLAT))
            geometry.TransformTo(spatial_reference(zone_crs(zone)))
            wkb = bytes(geometry.ExportToWkb(ogr.wkbNDR))
    if problems or not wkb:
        raise ExtentInvalid("its polygons can't be read")
    return wkb
