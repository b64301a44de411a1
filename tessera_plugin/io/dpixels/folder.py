# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A d-pixel folder that somebody made: its arrays, checked against roi.tiff, still on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ...errors import SceneUnusable, TileUnusable
from ..gdal_errors import collected
from ..npy import HEADER_LIMIT_BYTES, Header, parse_header
from .arrays import BANDS, DAYS, LAYERS, MASKS, S1_ARRAYS, S1_DAYS, array_file
from .inside import ROI_FILE
from .scenes import ORBITS
from .warping import Grid, grid_of


@dataclass(frozen=True)
class Folder:
    """A tile as it was found."""

    path: Path
    grid: Grid
    """Of roi.tiff: nothing else in the folder says where it lies, its name least of all."""
    headers: Dict[str, Header]
    """Of the arrays with pixels."""

    def dates(self, name: str) -> int:
        """Return how many dates an array has."""
        return self.headers[name].shape[0]

    def date(self, name: str, index: int) -> NDArray[Any]:
        """Return one date of an array (H, W, ...), mapped. Raises: SceneUnusable."""
        path, header = array_file(self.path, name), self.headers[name]
        dtype = np.dtype(header.dtype)
        shape = header.shape[1:]
        offset = header.offset + index * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        try:
            return np.memmap(path, dtype, "r", offset, shape)
        except (OSError, ValueError) as error:
            raise SceneUnusable(str(path), f"it can't be read: {error}") from error

    def state(self) -> List[Tuple[str, int, int]]:
        """Return name, bytes and time of change of its files: what tells two tiles apart."""
        names = [path.name for path in _files(self.path)]
        stats = [(self.path / name).stat() for name in names]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, stats)]


def open_folder(folder: Path) -> Folder:
    """Return a d-pixel folder whose files fit together.

    Raises: SceneUnusable: a file lacks, is cut off, or has another shape than roi.tiff.
    """
    for path in _files(folder):
        if not path.is_file():
            raise SceneUnusable(str(folder), f"{path.name} is not there")
    roi = folder / ROI_FILE
    grid = _grid(roi)
    headers = {name: _header(array_file(folder, name)) for name in LAYERS}
    for name, header in headers.items():
        _check(array_file(folder, name), header, grid, LAYERS[name])
    masks, bands = headers[MASKS].shape, headers[BANDS].shape
    if masks[0] != bands[0]:
        told = f"it has {masks[0]} dates, the bands have {bands[0]}"
        raise SceneUnusable(str(array_file(folder, MASKS)), told)
    return Folder(folder, grid, headers)


def _files(folder: Path) -> List[Path]:
    names = [BANDS, MASKS, DAYS]
    for orbit in ORBITS:
        names += [S1_ARRAYS[orbit], S1_DAYS[orbit]]
    return [*(array_file(folder, name) for name in names), folder / ROI_FILE]


def _grid(roi: Path) -> Grid:
    problems: List[str] = []
    grid: Optional[Grid] = None
    with collected(problems):
        dataset = gdal.OpenEx(str(roi), gdal.OF_RASTER)
        # of its own zone if it is in one; zone 1 is asked for where it is not
        grid = grid_of(dataset, 1) if dataset is not None else None
        dataset = None
    if problems:
        raise SceneUnusable(str(roi), f"it can't be opened: {'; '.join(problems)}")
    if grid is None:
        raise SceneUnusable(str(roi), "it does not say where it lies")
    return grid


def _header(path: Path) -> Header:
    try:
        with path.open("rb") as stream:
            header = parse_header(stream.read(HEADER_LIMIT_BYTES), path.name)
        has_bytes = path.stat().st_size
    except OSError as error:
        raise SceneUnusable(str(path), error.strerror or str(error)) from error
    except TileUnusable as error:
        raise SceneUnusable(str(path), error.reason) from error
    if has_bytes < header.total_bytes:
        raise SceneUnusable(str(path), f"it has {has_bytes:,} bytes of {header.total_bytes:,}")
    return header


def _check(path: Path, header: Header, grid: Grid, layer: Tuple[str, Tuple[int, ...]]) -> None:
    """Check type and shape against roi.tiff; an orbit without a date may have any height and width."""
    shape, (dtype, rest) = header.shape, layer
    if header.dtype[1:] not in (dtype[1:], "b1" if dtype == "|u1" else ""):
        raise SceneUnusable(str(path), f"its numbers have the type {header.dtype}, not {dtype}")
    is_empty_orbit = shape[:1] == (0,) and path.stem in S1_ARRAYS.values()
    fits = len(shape) == 3 + len(rest) and shape[3:] == rest
    if not fits or not (is_empty_orbit or shape[1:3] == (grid.height, grid.width)):
        raise SceneUnusable(
            str(path), f"its shape is {shape}, that of {ROI_FILE} {(grid.height, grid.width)}"
        )
