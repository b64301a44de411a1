# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a d-pixel folder lies on the zone grid, and its inputs brought there if they lie off it.

By nearest neighbour, so by less than half a pixel in each direction. Where only the grid is shifted
no pixel gets another neighbour: the arrays stay as they are, and the window is the shifted one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

import numpy as np

from ...errors import SceneUnusable
from ...progress import Report, silent
from ...values import PIXEL_M, Window
from ..projection import LONLAT, transform_points, zone_of
from . import provenance
from .folder import Folder, open_folder
from .inside import ROI_FILE
from .moving import move, window_over
from .warping import ON_GRID_PX, Grid

_MOST_STRETCH = 0.02
"""A pixel's edge may differ from 10 m by this share: projections do not agree on lengths."""


@dataclass(frozen=True)
class Placed:
    """A d-pixel folder and its place on the zone grid."""

    folder: str
    """What to read: the folder itself unless its pixels had to change neighbours."""
    window: Window
    moved_m: float
    """How far a pixel's centre lies from where it was, at most; 0.0 if it was on the zone grid."""
    year: int
    """0 where nothing tells."""
    first_date: str
    """ISO, empty where nothing tells."""
    last_date: str
    provenance: Dict[str, object]
    """Of provenance.json, empty where there is none."""


def place(folder: str, moved_to: str, report: Report = silent) -> Placed:
    """Return where the pixels of a folder lie, from its roi.tiff only.

    Inputs in another zone's grid, another projection or rotated are written to `moved_to`, and not
    again while that is whole and of the same files.
    Raises: SceneUnusable where a file lacks, the arrays don't fit roi.tiff, or its pixels are not
    10 m wide; DiskFull, NotWritable, Cancelled.
    """
    found = open_folder(Path(folder))
    zone = _zone(found)
    shifted = _shifted(found.grid, zone)
    if shifted is not None:
        return _placed(found, folder, *shifted)
    _check_size(found, zone)
    window = window_over(found.grid, zone)
    moved_m = move(found, window, Path(moved_to), report)
    return _placed(found, moved_to, window, moved_m)


def _shifted(grid: Grid, zone: int) -> Optional[Tuple[Window, float]]:
    """Return window and shift of a grid that differs from the zone's by a shift at most."""
    west, _, _, north, _, _ = grid.transform
    row, col = math.floor(-north / PIXEL_M + 0.5), math.floor(west / PIXEL_M + 0.5)
    east_m, north_m = west - PIXEL_M * col, north + PIXEL_M * row
    moved = (west - east_m, *grid.transform[1:3], north - north_m, *grid.transform[4:])
    if Grid(grid.crs, moved, grid.height, grid.width).offset(zone) != (row, col):
        return None
    moved_m = math.hypot(east_m, north_m)
    on_grid = max(abs(east_m), abs(north_m)) <= ON_GRID_PX * PIXEL_M
    return Window(zone, row, col, grid.height, grid.width), 0.0 if on_grid else moved_m


def _zone(found: Folder) -> int:
    """Return the zone of a folder's own grid, else that of its middle's longitude."""
    grid = found.grid
    if grid.crs.startswith("EPSG:326"):
        return int(grid.crs[-2:])
    west, a, b, north, c, d = grid.transform
    col, row = grid.width / 2, grid.height / 2
    middle = np.array([[west + a * col + b * row, north + c * col + d * row]])
    lon, lat = transform_points(middle, grid.crs, LONLAT)[0].tolist()
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise SceneUnusable(str(found.path / ROI_FILE), "its place is not on the globe")
    return zone_of(lon)


def _check_size(found: Folder, zone: int) -> None:
    width, height = found.grid.pixel_px(window_over(found.grid, zone))
    if max(abs(width - 1), abs(height - 1)) > _MOST_STRETCH:
        raise SceneUnusable(
            str(found.path / ROI_FILE),
            f"its pixels are {PIXEL_M * width:.3g} x {PIXEL_M * height:.3g} m, not 10 x 10 m",
        )


def _placed(found: Folder, folder: str, window: Window, moved_m: float) -> Placed:
    told = provenance.read(found.path)
    year = told.get("year")
    return Placed(
        folder,
        window,
        moved_m,
        year if isinstance(year, int) and not isinstance(year, bool) else 0,
        _text(told.get("first_date")),
        _text(told.get("last_date")),
        told,
    )


def _text(told: object) -> str:
    return told if isinstance(told, str) else ""
