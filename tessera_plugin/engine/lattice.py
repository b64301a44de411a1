# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the pixels of a screen lie on a zone's grid: exact on a lattice, bilinear in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.projection import LONLAT, spatial_reference, transform_points, zone_crs
from ..values import PIXEL_M, Extent

TOLERANCE_PX = 0.25
"""A screen pixel is looked up no further than this from its place."""

STEPS_PX = (64, 32, 16, 8, 4)
"""Distances of the lattice's nodes that are tried, in screen pixels."""

_EDGE_POINTS = 16
_COPIES = 8
_SAME_PLACE_DEG = 1e-6
_NOWHERE = np.float32(-1e9)
"""Stands for the row and column of a screen pixel that has no place on the grid."""

Bounds = Tuple[int, int, int, int]
"""Row, column, stop row, stop column on a zone's grid."""


@dataclass(frozen=True)
class Screen:
    """A rectangle of the map, cut into pixels."""

    west: float
    north: float
    dx: float
    """Width of a pixel in the map's units."""
    dy: float
    width: int
    height: int
    crs: str
    period: float
    """After so many map units eastward the same places come again; 0 where they don't."""

    @classmethod
    def of(cls, extent: Extent, width: int, height: int) -> Screen:
        """Return the screen that shows an extent. Raises: ExtentInvalid if its CRS is not known."""
        east = extent.east
        if east < extent.west and spatial_reference(extent.crs).IsGeographic():
            east += 360.0
        dx, dy = (east - extent.west) / width, (extent.north - extent.south) / height
        middle = (extent.west + east) / 2, (extent.south + extent.north) / 2
        period = _period(extent.crs, middle, dx * width)
        return cls(extent.west, extent.north, dx, dy, width, height, extent.crs, period)

    def views(self, zone: int, bounds: Bounds) -> Iterator[View]:
        """Yield the parts of the screen that bounds of a zone can be seen in, mostly one or none.

        There are two where the screen shows more of the world than there is.
        """
        ring = self._ring(zone, bounds)
        if ring is None:
            return
        for turn in self._turns(ring[:, 0]):
            x = (ring[:, 0] + turn * self.period - self.west) / self.dx
            y = (self.north - ring[:, 1]) / self.dy
            if not np.isfinite(ring).all():  # part of it lies beyond the map's horizon
                x, y = np.array([0, self.width]), np.array([0, self.height])
            left, right = _clipped(x, self.width)
            top, bottom = _clipped(y, self.height)
            if left < right and top < bottom:
                yield View(self, zone, turn, left, top, right, bottom)

    def _ring(self, zone: int, bounds: Bounds) -> Optional[NDArray[np.float64]]:
        """Return the outline of bounds in the map's CRS, or None if nothing of it is there."""
        row, col, stop_row, stop_col = bounds
        share = np.linspace(0, 1, _EDGE_POINTS, endpoint=False)[:, None]
        corners = np.array([(col, row), (stop_col, row), (stop_col, stop_row), (col, stop_row),
                            (col, row)], float)  # fmt: skip
        edges = [a + share * (b - a) for a, b in zip(corners[:-1], corners[1:])]
        metres = np.concatenate(edges) * (PIXEL_M, -PIXEL_M)
        ring = transform_points(metres, zone_crs(zone), self.crs)
        if not np.isfinite(ring).any():
            return None
        if self.period and np.isfinite(ring).all():
            ring[:, 0] = np.unwrap(ring[:, 0], period=self.period)
        return ring

    def _turns(self, x: NDArray[np.float64]) -> List[int]:
        if not self.period:
            return [0]
        finite = x[np.isfinite(x)]
        first = math.ceil((self.west - finite.max()) / self.period)
        last = math.floor((self.west + self.width * self.dx - finite.min()) / self.period)
        return list(range(first, last + 1))[:_COPIES]


@dataclass(frozen=True)
class View:
    """A part of a screen in which a zone is seen."""

    screen: Screen
    zone: int
    turn: int
    """How many periods of the map it lies away from its place."""
    left: int
    top: int
    right: int
    """The column right of the last one."""
    bottom: int

    def lattice(self, *, strip: bool) -> Lattice:
        """Return where its pixels lie on the zone's grid, with `strip` also their longitude."""
        for step in STEPS_PX:
            nodes = self._nodes(step, strip=strip)
            if step == STEPS_PX[-1] or _error_px(nodes, step) <= TOLERANCE_PX:
                break
        return Lattice.of(self, step, nodes)

    def _nodes(self, step: int, *, strip: bool) -> NDArray[np.float64]:
        """Return column, row (and longitude from the zone's middle) of the nodes. Shape: (2 or 3, n, m).

        n and m are odd, so that every other node tells how good the rest is.
        """
        xs = self.left + 0.5 + step * np.arange(_node_count(self.right - self.left, step))
        ys = self.top + 0.5 + step * np.arange(_node_count(self.bottom - self.top, step))
        screen = self.screen
        x = screen.west - self.turn * screen.period + xs * screen.dx
        y = screen.north - ys * screen.dy
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        metres = transform_points(grid, screen.crs, zone_crs(self.zone))
        values = [metres[:, 0] / PIXEL_M, metres[:, 1] / -PIXEL_M]
        if strip:
            lon = transform_points(grid, screen.crs, LONLAT)[:, 0]
            with np.errstate(invalid="ignore"):
                values.append((lon - (6 * self.zone - 183) + 180) % 360 - 180)
        result = np.array(values).reshape(-1, len(ys), len(xs))
        result[:, ~np.isfinite(result).all(axis=0)] = np.nan
        return result


@dataclass(frozen=True, eq=False)
class Lattice:
    """Rows and columns of the zone's grid at the pixels of a view."""

    view: View
    step: int
    """Screen pixels between two nodes."""
    base_row: int
    """Rows are counted from here, so that short floats tell them well."""
    base_col: int
    nodes: NDArray[np.float32]
    """Column and row from the base, and longitude in degrees from the zone's middle if it was asked
    for. Shape: (2 or 3, n, m); NaN where a node has no place."""

    @classmethod
    def of(cls, view: View, step: int, nodes: NDArray[np.float64]) -> Lattice:
        """Return the lattice of nodes in double precision."""
        finite = np.isfinite(nodes[0])
        places = nodes[:2, finite].mean(axis=1) if finite.any() else np.zeros(2)
        base_col, base_row = (math.floor(place) for place in places)
        nodes = nodes.copy()
        nodes[0] -= base_col
        nodes[1] -= base_row
        return cls(view, step, base_row, base_col, nodes.astype(np.float32))

    def bands(self, height: int) -> Iterator[Tuple[int, int]]:
        """Yield the first and the stop row of parts of the view; rows of the screen."""
        for top in range(self.view.top, self.view.bottom, height):
            yield top, min(top + height, self.view.bottom)

    def at(self, axis: int, top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
        """Return a node value at screen pixels. Shape: (bottom - top, right - left)."""
        first = (left - self.view.left) // self.step
        last = (right - 1 - self.view.left) // self.step
        nodes = self.nodes[axis, :, first : last + 2]
        rows = np.arange(top - self.view.top, bottom - self.view.top)
        share = (rows % self.step / np.float32(self.step)).astype(np.float32)[:, None]
        above = rows // self.step
        values = nodes[above] * (1 - share) + nodes[above + 1] * share
        across = np.arange(self.step, dtype=np.float32) / np.float32(self.step)
        wide = np.diff(values, axis=1)[:, :, None] * across
        wide += values[:, :-1, None]
        skip = left - self.view.left - first * self.step
        result: NDArray[np.float32] = wide.reshape(len(rows), -1)[:, skip : skip + right - left]
        if np.isnan(nodes).any():
            result[np.isnan(result)] = _NOWHERE
        return result

    def part_of(self, bounds: Bounds) -> Optional[Tuple[Bounds, Bounds]]:
        """Return the part of the screen that shows bounds of the zone's grid.

        Result: (top, left, bottom, right) of the screen, and the (row, col, stop row, stop col) of
        the grid that are seen there at most; None where nothing is. A bilinear surface lies within
        its nodes, so no pixel is missed.
        """
        ranges = [_cell_range(self.nodes[axis]) for axis in (0, 1)]
        (low_col, high_col), (low_row, high_row) = ranges
        row, col, stop_row, stop_col = bounds
        with np.errstate(invalid="ignore"):
            seen = (low_col < stop_col - self.base_col) & (high_col >= col - self.base_col)
            seen &= (low_row < stop_row - self.base_row) & (high_row >= row - self.base_row)
        if not seen.any():
            return None
        rows, cols = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        view, step = self.view, self.step
        area = (view.top + int(rows[0]) * step, view.left + int(cols[0]) * step,
                min(view.top + (int(rows[-1]) + 1) * step, view.bottom),
                min(view.left + (int(cols[-1]) + 1) * step, view.right))  # fmt: skip
        if area[0] >= area[2] or area[1] >= area[3]:
            return None
        # one pixel more: short floats may round over an edge
        grid = (max(row, self.base_row + math.floor(low_row[seen].min()) - 1),
                max(col, self.base_col + math.floor(low_col[seen].min()) - 1),
                min(stop_row, self.base_row + math.floor(high_row[seen].max()) + 2),
                min(stop_col, self.base_col + math.floor(high_col[seen].max()) + 2))  # fmt: skip
        return area, grid


def _cell_range(nodes: NDArray[np.float32]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the largest of every cell's four nodes; NaN if one is."""
    corners = nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _node_count(pixels: int, step: int) -> int:
    return 2 * math.ceil(pixels / (2 * step)) + 1


def _error_px(nodes: NDArray[np.float64], step: int) -> float:
    """Return how far off every other node is from what its neighbours say, in screen pixels.

    What lies between all nodes is about four times better: a bow's height goes with the square.
    """
    guess = nodes.copy()
    guess[:, ::2, 1::2] = (nodes[:, ::2, :-1:2] + nodes[:, ::2, 2::2]) / 2
    guess[:, 1::2] = (guess[:, :-1:2] + guess[:, 2::2]) / 2
    errors = [np.hypot(*(guess - nodes)[:2]), *np.abs(guess - nodes)[2:]]
    worst = 0.0
    for axes, error in zip((slice(0, 2), slice(2, 3)), errors):
        across = np.linalg.norm(np.diff(nodes[axes], axis=2), axis=0)
        down = np.linalg.norm(np.diff(nodes[axes], axis=1), axis=0)
        if axes.start:  # longitude changes along one direction only: the steepest counts
            per_px = np.hypot(across[:-1], down[:, :-1])
        else:
            per_px = np.minimum(across[:-1], down[:, :-1])
        if np.isfinite(error).any() and np.isfinite(per_px).any():
            slope = float(np.nanmin(per_px)) / step
            worst = max(worst, float(np.nanmax(error)) / max(slope, 1e-12))
    return worst


def _clipped(positions: NDArray[np.float64], size: int) -> Tuple[int, int]:
    """Return the pixels between positions, with one more on both sides, within 0 to size."""
    low, high = np.clip([positions.min() - 1, positions.max() + 2], 0, size)
    return math.floor(low), math.ceil(high)


def _period(crs: str, middle: Tuple[float, float], width: float) -> float:
    """Return the map units around the world, or 0 where the map does not repeat itself."""
    if spatial_reference(crs).IsGeographic():
        return 360.0
    x, y = middle
    step = width / 1000
    for _ in range(2):  # the second time with a step of a degree: short ones tell little
        lon, other = transform_points(np.array([(x, y), (x + step, y)]), crs, LONLAT)[:, 0]
        if not np.isfinite([lon, other]).all() or lon == other:
            return 0.0
        step /= (other - lon + 180) % 360 - 180
        if step <= 0:
            return 0.0
    period = 360 * step
    here, around = transform_points(np.array([(x, y), (x + period, y)]), crs, LONLAT)
    if not np.isfinite(around).all():
        return 0.0
    off_lon = (around[0] - here[0] + 180) % 360 - 180
    return period if max(abs(off_lon), abs(around[1] - here[1])) < _SAME_PLACE_DEG else 0.0
