# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coloured cells of the zone grids, and how they look on a map in any CRS."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..values import EMBEDDED, Extent, State
from .lattice import Bounds, Lattice, Screen

if TYPE_CHECKING:
    from .coverage import Coverage, CoveragePart

Color = Tuple[int, int, int, int]
"""Red, green, blue, alpha, 0 to 255; not premultiplied."""

_BAND_PX = 65_536
"""About so many screen pixels are worked on at a time: their arrays stay in the processor's cache."""

_ALPHA = np.array([0, 0, 0, 255], np.uint8).view(np.uint32)[0]
_HALF_STRIP_DEG = 3.0


Rgba = NDArray[np.uint8]
"""Red, green, blue and alpha (H, W, 4)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Coloured square cells on a zone's grid: cell (i, j) begins at row + i * cell_px, col + …."""

    zone: int
    row: int
    col: int
    cell_px: int
    rgba: NDArray[np.uint8]
    """(rows, cols, 4), not premultiplied; an alpha of 0 is nothing."""

    @property
    def bounds(self) -> Bounds:
        """Row, column, stop row, stop column in pixels of the grid."""
        rows, cols = self.rgba.shape[:2]
        return (self.row, self.col, self.row + rows * self.cell_px, self.col + cols * self.cell_px)


def render(
    pictures: Sequence[Picture], extent: Extent, width: int, height: int
) -> NDArray[np.uint8]:
    """Return how pictures look on a map, by the cell that a screen pixel's centre lies in.

    The extent is that of the map, in its CRS; it may lie across the antimeridian, and in a map that
    goes on past 180° the pictures are where the map shows their place. Within a zone later pictures
    lie on earlier ones. Where two zones have something, a pixel takes that of the zone in whose 6°
    strip it lies.
    Shapes: result (height, width, 4), not premultiplied, 0 where nothing is. A pixel is off by a
    quarter of a screen pixel at most. Raises: ExtentInvalid if the CRS is not known.
    """
    out = np.zeros((height, width), np.uint32)
    screen = Screen.of(extent, width, height)
    zones = _by_zone(pictures)
    for zone, members in zones.items():
        for view in screen.views(zone, _united(members)):
            _paint(out, members, view.lattice(strip=len(zones) > 1))
    return out.view(np.uint8).reshape(height, width, 4)


def _by_zone(pictures: Sequence[Picture]) -> Dict[int, List[Picture]]:
    zones: Dict[int, List[Picture]] = {}
    for each in pictures:
        if each.rgba.size:
            zones.setdefault(each.zone, []).append(each)
    return zones


def _united(pictures: Sequence[Picture]) -> Bounds:
    rows, cols, stop_rows, stop_cols = zip(*(each.bounds for each in pictures))
    return min(rows), min(cols), max(stop_rows), max(stop_cols)


def _paint(out: NDArray[np.uint32], pictures: Sequence[Picture], lattice: Lattice) -> None:
    """Lay one zone's pictures on what is there."""
    view, has_neighbour = lattice.view, len(lattice.nodes) > 2
    cuts = [cut for each in pictures for cut in [_cut(each, lattice)] if cut is not None]
    for top, bottom in lattice.bands(max(_BAND_PX // (view.right - view.left), 1)):
        there = out[top:bottom, view.left : view.right]
        band = np.zeros_like(there) if has_neighbour else there
        for each in cuts:
            each.paint(band, top, bottom)
        if has_neighbour:
            lon = lattice.at(2, top, bottom, view.left, view.right)
            mine = (lon >= -_HALF_STRIP_DEG) & (lon < _HALF_STRIP_DEG)
            mine |= there == 0
            mine &= band != 0
            np.copyto(there, band, where=mine)


@dataclass(frozen=True, eq=False)
class _Cut:
    """The part of a picture that a view shows."""

    lattice: Lattice
    area: Tuple[int, int, int, int]
    """Top, left, bottom, right on the screen."""
    row: int
    col: int
    cell_px: int
    colors: NDArray[np.uint32]
    """With a transparent edge of one cell, which all that lies beyond is taken from."""

    def paint(self, band: NDArray[np.uint32], band_top: int, band_bottom: int) -> None:
        """Lay the cells on rows of the view."""
        top, left, bottom, right = self.area
        top, bottom = max(top, band_top), min(bottom, band_bottom)
        if top >= bottom:
            return
        view, (rows, cols) = self.lattice.view, self.colors.shape
        places = (top, bottom, left, right)
        cell = self._cells(self.lattice.at(1, *places), self.lattice.base_row - self.row, rows)
        cell *= cols
        cell += self._cells(self.lattice.at(0, *places), self.lattice.base_col - self.col, cols)
        found = self.colors.take(cell)
        part = band[top - band_top : bottom - band_top, left - view.left : right - view.left]
        np.copyto(part, found, where=(found & _ALPHA) != 0)

    def _cells(self, places: NDArray[np.float32], offset_px: int, count: int) -> NDArray[np.intp]:
        """Return the index of the cell along one axis, 0 and count - 1 being the edge."""
        places *= np.float32(1 / self.cell_px)
        places += np.float32(offset_px / self.cell_px + 1)
        np.clip(places, 0, count - 1, out=places)
        return places.astype(np.intp)


def _cut(picture: Picture, lattice: Lattice) -> Optional[_Cut]:
    seen = lattice.part_of(picture.bounds)
    if seen is None:
        return None
    area, (row, col, stop_row, stop_col) = seen
    size = picture.cell_px
    first_row, first_col = (row - picture.row) // size, (col - picture.col) // size
    rows = slice(first_row, math.ceil((stop_row - picture.row) / size))
    cols = slice(first_col, math.ceil((stop_col - picture.col) / size))
    inner = np.ascontiguousarray(picture.rgba[rows, cols]).view(np.uint32)[..., 0]
    colors = np.zeros((inner.shape[0] + 2, inner.shape[1] + 2), np.uint32)
    colors[1:-1, 1:-1] = inner
    row, col = picture.row + first_row * size, picture.col + first_col * size
    return _Cut(lattice, area, row, col, size, colors)


# --- coverage


class Look(enum.Enum):
    """What a part of the map is to the person who is about to fetch."""

    TO_FETCH = "to fetch"
    CACHED = "cached"
    WATER = "water"
    NODATA = "nodata"
    OUTSIDE = "outside"
    PUBLISHED = "published"
    UNKNOWN = "unknown"


Palette = Mapping[Look, Color]

COVERAGE_COLORS: Palette = {
    Look.TO_FETCH: (85, 215, 230, 125),
    Look.CACHED: (25, 158, 147, 166),
    Look.WATER: (24, 70, 255, 90),
    Look.NODATA: (60, 60, 60, 140),
    Look.OUTSIDE: (222, 70, 11, 111),
    Look.PUBLISHED: (240, 232, 29, 95),
    Look.UNKNOWN: (0, 0, 0, 0),
}
"""Tints that the map below can be seen through, chosen so that those who don't see red or green tell
them apart as well, over light and dark maps."""

_LOOK_OF_STATE = {
    State.UNKNOWN: Look.UNKNOWN,
    State.VALID: Look.TO_FETCH,
    State.WATER: Look.WATER,
    State.NODATA: Look.NODATA,
    State.OUTSIDE: Look.OUTSIDE,
    State.PUBLISHED: Look.PUBLISHED,
}


def of_coverage(coverage: Coverage, palette: Palette = COVERAGE_COLORS) -> Tuple[Picture, ...]:
    """Return what is known of an extent as pictures, one for each part."""
    table = np.zeros((2, len(State), 4), np.uint8)
    for state, look in _LOOK_OF_STATE.items():
        table[:, state] = palette[look]
        if state in EMBEDDED:
            table[1, state] = palette[Look.CACHED]
    return tuple(
        Picture(part.zone, part.row, part.col, part.cell_px, _colored(part, table))
        for part in coverage.parts
    )


def _colored(part: CoveragePart, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    index = part.states + part.cached * np.uint8(len(State))  # small numbers: there are millions
    colors = table.reshape(-1, 4).view(np.uint32)[:, 0].take(index)
    return colors.view(np.uint8).reshape(*index.shape, 4)


def shares(coverage: Coverage) -> Dict[Look, float]:
    """Return the share of the extent's pixels by look, together 1; what there is none of is left out."""
    found = dict.fromkeys(Look, 0)
    for state, pixels in coverage.counts.items():
        cached = coverage.cached[state] if state in EMBEDDED else 0
        found[Look.CACHED] += cached
        found[_LOOK_OF_STATE[state]] += pixels - cached
    return {look: pixels / coverage.pixels for look, pixels in found.items() if pixels}


def premultiplied(rgba: Rgba) -> NDArray[np.uint32]:
    """Return pixels (H, W, 4) as 0xAARRGGBB (H, W), the colours times their alpha, rounded."""
    alpha = rgba[..., 3].astype(np.uint32)
    found: NDArray[np.uint32] = alpha << np.uint32(24)
    for band, shift in ((0, 16), (1, 8), (2, 0)):
        product = rgba[..., band] * alpha + np.uint32(128)
        part = (product + (product >> np.uint32(8))) >> np.uint32(8)  # exactly the 255th, rounded
        found |= part << np.uint32(shift)
    return found
