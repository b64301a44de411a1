# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the pixels of neighbouring zones lie side by side: what hangs together goes on over a seam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.polygons import pixels_of_points
from ..io.projection import strip_limits, zone_crs
from ..values import PIXEL_M, Window

_Limits = Tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Seam:
    """Pixels of two windows that lie side by side."""

    windows: Tuple[int, int]
    """Which two."""
    pixels: Tuple[NDArray[np.int64], NDArray[np.int64]]
    """(n, 2) of each: row and column within its window; a pixel may be there several times."""


def seams_between(windows: Sequence[Window]) -> Tuple[Seam, ...]:
    """Return where windows, at most one per zone, meet; each has its own 6° strip's pixels only.

    The neighbour of the last pixel of a row lies in the other zone's strip: there it is the pixel
    that holds its centre.
    """
    if len(windows) < 2:
        return ()
    limits = [strip_limits(window) for window in windows]
    by_zone = {window.zone: number for number, window in enumerate(windows)}
    found: List[Seam] = []
    for number, (first, stop) in enumerate(limits):
        rows = np.flatnonzero(stop > first)
        for last, beyond in ((stop[rows] - 1, stop[rows]), (first[rows], first[rows] - 1)):
            found += _towards(windows, limits, by_zone, number, (rows, last, beyond))
    return tuple(found)


def _towards(
    windows: Sequence[Window],
    limits: Sequence[_Limits],
    by_zone: Dict[int, int],
    number: int,
    ends: Tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> List[Seam]:
    """Return the seams of a window on one side: rows within it, their last columns and the next ones."""
    window = windows[number]
    rows, last, beyond = ends
    centres: NDArray[np.float64] = np.column_stack([beyond + 0.5, -(window.row + rows) - 0.5])
    centres *= PIXEL_M
    zones, their_rows, their_cols = pixels_of_points(centres, zone_crs(window.zone))
    found = []
    for zone in np.unique(zones).tolist():
        other = by_zone.get(zone)
        if other is None or other == number:
            continue
        there = windows[other]
        row, col = their_rows - there.row, their_cols
        is_in = (zones == zone) & (row >= 0) & (row < there.height)
        first, stop = (limit[np.where(is_in, row, 0)] for limit in limits[other])
        # the pixel that holds the centre may have its own on this side: then it is the one after it
        near = np.clip(col, first, stop - 1)
        is_in &= (stop > first) & (np.abs(near - col) <= 1)
        mine = np.column_stack([rows, last - window.col])[is_in]
        theirs = np.column_stack([row, near - there.col])[is_in]
        if len(mine):
            found.append(Seam((number, other), (mine, theirs)))
    return found
