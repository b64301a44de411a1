# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels of the zone grids painted one by one: the stroke of a brush, and the polygons it leaves."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from ..io.outlines import outlines
from ..io.pixel_polygons import lonlat_polygons
from ..io.projection import UTM_NORTH_DEG, UTM_SOUTH_DEG, strip_limits, zone_of
from ..values import BLOCK_PX, PIXEL_M, Window

Cells = Union[NDArray[np.int64], Sequence[Tuple[int, int, int]]]
"""Runs of pixels in rows: row, first and stop column of each."""

_ROOM_PX = BLOCK_PX
_WIDEST = (-100_000, 200_000)  # columns: beyond any strip


@dataclass(frozen=True)
class Spot:
    """A place on the grid of a zone, in pixels and parts of them from the grid's origin."""

    zone: int
    row: float
    col: float


@dataclass(frozen=True, eq=False)
class Part:
    """Some pixels of a zone's grid. Shape of the mask: that of the window."""

    window: Window
    mask: NDArray[np.bool_]


def zone_at(lon_deg: float, lat_deg: float) -> Optional[int]:
    """Return the zone whose pixels lie at a place, None beyond 80° S and 84° N."""
    return zone_of(lon_deg) if UTM_SOUTH_DEG <= lat_deg <= UTM_NORTH_DEG else None


def footprint(spot: Spot, size_px: int) -> Part:
    """Return the pixels under a square brush; those that another zone owns are left out.

    Sizes are odd, so that there is a pixel in the middle.
    """
    return _swept(spot, spot, size_px)


class Stroke:
    """What a brush has painted from press to release, in any number of zones."""

    def __init__(self) -> None:
        self._parts: Dict[int, Part] = {}

    @property
    def pixels(self) -> int:
        """How many pixels are painted."""
        return sum(int(part.mask.sum()) for part in self._parts.values())

    def paint(self, start: Spot, stop: Spot, size_px: int, *, erase: bool = False) -> Part:
        """Paint all that a brush meets on a straight way; return the pixels that changed by it.

        Where the way leads into another zone only its end is painted. `erase` takes back what this
        stroke has painted.
        """
        if start.zone != stop.zone:
            start = stop
        swept = _swept(start, stop, size_px)
        painted = self._room_for(swept.window)
        here = painted.mask[swept.window.slices_in(painted.window)]
        changed = swept.mask & here if erase else swept.mask & ~here
        here[changed] = not erase
        return Part(swept.window, changed)

    def parts(self) -> Iterator[Part]:
        """Yield what is painted, zone by zone."""
        for part in self._parts.values():
            rows, cols = (
                np.flatnonzero(part.mask.any(axis=1)),
                np.flatnonzero(part.mask.any(axis=0)),
            )
            if len(rows):
                w = part.window
                window = Window.between(w.zone, w.row + int(rows[0]), w.col + int(cols[0]),
                                        w.row + int(rows[-1]) + 1, w.col + int(cols[-1]) + 1)  # fmt: skip
                yield Part(window, part.mask[window.slices_in(w)])

    def polygons(self) -> Tuple[bytes, ...]:
        """Return polygons in degrees (EPSG:4326, WKB) around the painted pixels, along their edges.

        They hold the centres of just these pixels. Pixels that meet at a corner only are in
        polygons of their own; pixels left out in the middle are holes.
        """
        return tuple(
            wkb
            for part in self.parts()
            for outline in outlines(part.mask, part.window)
            for wkb in lonlat_polygons(outline)
        )

    def _room_for(self, window: Window) -> Part:
        known = self._parts.get(window.zone)
        if known is not None and known.window.intersection(window) == window:
            return known
        room = _widened(window)
        if known is not None:
            old = known.window
            room = Window.between(
                room.zone,
                min(room.row, old.row),
                min(room.col, old.col),
                max(room.stop_row, old.stop_row),
                max(room.stop_col, old.stop_col),
            )
        made = Part(room, np.zeros(room.shape, np.bool_))
        if known is not None:
            made.mask[known.window.slices_in(room)] = known.mask
        self._parts[window.zone] = made
        return made


def runs(part: Part) -> NDArray[np.int64]:
    """Return the runs of neighbouring pixels in the rows of a part. Shape: (n, 3): row, col, stop."""
    height, width = part.mask.shape
    padded = np.zeros((height, width + 1), np.int8)
    padded[:, :width] = part.mask
    changes = np.diff(padded.ravel(), prepend=0)
    starts, stops = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    row, col = np.divmod(starts, width + 1)
    row, col = row + part.window.row, col + part.window.col
    return np.column_stack([row, col, col + stops - starts])


def squares(part: Part) -> NDArray[np.int64]:
    """Return the pixels of a part one by one. Shape: (n, 3), as those of `runs`."""
    row, col = np.nonzero(part.mask)
    row, col = row + part.window.row, col + part.window.col
    return np.column_stack([row, col, col + 1])


def corners(cells: Cells) -> Tuple[List[float], List[float]]:
    """Return the corners of runs of pixels, four each, clockwise from the upper left one.

    Units: metres east and north on the grid (EPSG:326zz), southern northings negative.
    """
    row, first, stop = np.asarray(cells, np.int64).T * float(PIXEL_M)
    x = np.stack([first, stop, stop, first], axis=1)
    y = -np.stack([row, row, row + PIXEL_M, row + PIXEL_M], axis=1)
    return x.ravel().tolist(), y.ravel().tolist()


def _swept(start: Spot, stop: Spot, size_px: int) -> Part:
    reach = size_px // 2
    steps = math.ceil(max(abs(stop.row - start.row), abs(stop.col - start.col))) + 1
    rows = np.floor(np.linspace(start.row, stop.row, steps)).astype(np.int64) - reach
    cols = np.floor(np.linspace(start.col, stop.col, steps)).astype(np.int64) - reach
    row, col = int(rows.min()), int(cols.min())
    window = Window.between(start.zone, row, col, int(rows.max()) + size_px,
                            int(cols.max()) + size_px)  # fmt: skip
    mask = np.zeros(window.shape, np.bool_)
    for top, left in zip((rows - row).tolist(), (cols - col).tolist()):
        mask[top : top + size_px, left : left + size_px] = True
    _leave_out_others(mask, window)
    return Part(window, mask)


def _leave_out_others(mask: NDArray[np.bool_], window: Window) -> None:
    """Take the pixels away whose centre lies in the strip of another zone."""
    blocks = range(window.row // BLOCK_PX, (window.stop_row - 1) // BLOCK_PX + 1)
    limits = np.concatenate([_limits(window.zone, block) for block in blocks], axis=1)
    skip = window.row - blocks[0] * BLOCK_PX
    first, stop = limits[:, skip : skip + window.height] - window.col
    if first.max() > 0 or stop.min() < window.width:
        cols = np.arange(window.width)
        mask &= (cols >= first[:, None]) & (cols < stop[:, None])


@functools.lru_cache(maxsize=256)
def _limits(zone: int, block_row: int) -> NDArray[np.int64]:
    """Return the first and the stop column of a zone's own pixels in the rows of a block (2, 128)."""
    first, last = _WIDEST
    rows = Window(zone, block_row * BLOCK_PX, first, BLOCK_PX, last - first)
    return np.stack(strip_limits(rows))


def _widened(window: Window) -> Window:
    return Window.between(window.zone, window.row - _ROOM_PX, window.col - _ROOM_PX,
                          window.stop_row + _ROOM_PX, window.stop_col + _ROOM_PX)  # fmt: skip
