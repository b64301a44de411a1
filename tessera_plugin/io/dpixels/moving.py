# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The inputs of a d-pixel folder on another grid, by nearest neighbour, part by part on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ...errors import SceneUnusable
from ...progress import Report, part
from ...values import PIXEL_M, Window
from .. import files
from ..gdal_errors import collected
from ..projection import transform_points, zone_crs
from ..rasters import RasterWriter
from . import provenance
from .arrays import DAY_LISTS, LAYERS, Layer, array_file, layer_bytes
from .folder import Folder, open_folder
from .inside import ROI_FILE, ROI_LAYOUT, parts_of
from .warping import NEAREST, Grid, warped

_EVERY_PX = 16  # of the pixels whose distance to where they were is measured


def window_over(grid: Grid, zone: int) -> Window:
    """Return the window of a zone's grid that holds all pixels of a grid."""
    rows, cols = (np.linspace(0, edge, 33) for edge in (grid.height, grid.width))
    outline = [(col, row) for row in rows.tolist() for col in cols.tolist()]
    xy = _metres(np.array(outline), grid, zone)
    (west, south), (east, north) = xy.min(axis=0), xy.max(axis=0)
    if not np.isfinite([west, south, east, north]).all():
        raise SceneUnusable(ROI_FILE, "its place is not on the globe")
    return Window.between(
        zone, int(np.floor(-north / PIXEL_M)), int(np.floor(west / PIXEL_M)),
        int(np.ceil(-south / PIXEL_M)), int(np.ceil(east / PIXEL_M)),
    )  # fmt: skip


def move(found: Folder, window: Window, target: Path, report: Report) -> float:
    """Write a folder's inputs on a window to `target`, unless they are there; return how far.

    What the folder does not reach is nodata. Metres, at most, of a pixel's centre.
    Raises: SceneUnusable, DiskFull, NotWritable, Cancelled.
    """
    moved_m = _distance(found.grid, window)
    told = {"moved": {"files": [list(each) for each in found.state()], "metres": moved_m}}
    if provenance.read(target).get("moved") == told["moved"] and _is_whole(target):
        return moved_m
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_error(target, error) from error
    staged = files.staging_folder(target)
    try:
        needed = sum(layer_bytes(name, window.pixels, found.dates(name)) for name in LAYERS)
        files.check_space(staged, needed)
        _write(found, window, staged, report)
        provenance.write(
            staged, {**provenance.read(found.path), **provenance.placing(window), **told}
        )
        _replace(staged, target)
    finally:
        files.remove_folder(staged)
    return moved_m


def _write(found: Folder, window: Window, folder: Path, report: Report) -> None:
    places = list(parts_of(window))
    indices = {place: _indices(found.grid, place) for place in places[:1]}
    cells = sum(found.dates(name) for name in LAYERS)
    done = 0
    for name in LAYERS:
        with Layer(folder, name, window) as layer:
            for date in range(found.dates(name)):
                share = part(report, done / cells, (done + 1) / cells)
                values = found.date(name, date)
                for number, place in enumerate(places):
                    share(number / len(places), f"{name} {date + 1}")
                    index = indices.get(place)
                    if index is None:
                        index = _indices(found.grid, place)
                    layer.write(date, place, _gathered(values, index))
                done += 1
            layer.finish(found.dates(name))
    for name in DAY_LISTS:
        _copy(array_file(found.path, name), array_file(folder, name))
    roi = _read_roi(found)
    with RasterWriter(folder / ROI_FILE, window, ROI_LAYOUT, {}) as writer:
        for place in places:
            writer.write(place, _gathered(roi, _indices(found.grid, place)))
        writer.finish()


def _gathered(values: NDArray[Any], index: NDArray[np.int32]) -> NDArray[Any]:
    """Return the pixels of an array (H, W, ...) by their number from 1 on; 0 is nodata."""
    taken = values.reshape(-1, *values.shape[2:])[np.maximum(index, 1) - 1]
    taken[index == 0] = 0
    return np.asarray(taken)


def _indices(grid: Grid, place: Window) -> NDArray[np.int32]:
    """Return which pixel of a grid, numbered row by row from 1, each pixel of a part takes."""
    numbers = np.arange(1, grid.height * grid.width + 1, dtype=np.int32)
    return warped(numbers.reshape(grid.height, grid.width), grid, place, NEAREST, (1.0, 1.0))


def _distance(grid: Grid, window: Window) -> float:
    """Return how far pixels' centres are from those they take their numbers of, at most."""
    rows = np.arange(window.row, window.stop_row, _EVERY_PX) + 0.5
    cols = np.arange(window.col, window.stop_col, _EVERY_PX) + 0.5
    centres = [(PIXEL_M * col, -PIXEL_M * row) for row in rows.tolist() for col in cols.tolist()]
    pixels = grid.pixels_at(np.array(centres), window.zone)
    inside = ((pixels >= 0) & (pixels < (grid.width, grid.height))).all(axis=1)
    if not inside.any():
        return 0.0
    nearest = np.floor(pixels[inside]) + 0.5
    apart = _metres(nearest, grid, window.zone) - np.array(centres)[inside]
    return float(np.hypot(apart[:, 0], apart[:, 1]).max())


def _metres(pixels: NDArray[np.float64], grid: Grid, zone: int) -> NDArray[np.float64]:
    """Return places given as (column, row) of a grid on a zone's grid."""
    west, a, b, north, c, d = grid.transform
    x = west + a * pixels[:, 0] + b * pixels[:, 1]
    y = north + c * pixels[:, 0] + d * pixels[:, 1]
    return transform_points(np.column_stack([x, y]), grid.crs, zone_crs(zone))


def _read_roi(found: Folder) -> NDArray[np.uint8]:
    problems: List[str] = []
    data = None
    path = str(found.path / ROI_FILE)
    with collected(problems):
        dataset = gdal.OpenEx(path, gdal.OF_RASTER)
        data = dataset.GetRasterBand(1).ReadRaster(buf_type=gdal.GDT_Byte) if dataset else None
        dataset = None
    if problems or data is None:
        raise SceneUnusable(path, f"it can't be read: {'; '.join(problems)}")
    return np.frombuffer(data, np.uint8).reshape(found.grid.height, found.grid.width)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise files.write_error(target, error) from error


def _is_whole(folder: Path) -> bool:
    try:
        open_folder(folder)
    except SceneUnusable:
        return False
    return True


def _replace(staged: Path, target: Path) -> None:
    try:
        if target.exists():
            shutil.rmtree(target)
        staged.replace(target)
    except OSError as error:
        raise files.write_error(target, error) from error
