# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The embeddings that a map shows, kept in memory: of each screen pixel about the nearest one.

A zone's cells are a grid of its own: cell i holds the pixel in the middle of i * pitch to
(i + 1) * pitch, so that cells that stay in view after a pan are the same ones and are not read again.
Their arrays wrap around: cell i lies in row i modulo the number of rows.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtentTooLarge
from ..io.sources.base import Picked
from ..values import BLOCK_PX, Extent, State, Window
from . import grid
from .lattice import Lattice, Screen, View

MOST_BYTES = 150_000_000
"""Memory that the cells of a view may take; a very large screen gets coarser cells."""

MOST_PX = 150_000_000
"""Views of more pixels than this are not looked at: reading every so many of them takes too long."""

SPARE_CELLS = 8
"""Rows and columns more than a view needs: a pan changes the scale of most maps a little."""

NOTHING, NOT_FETCHED, FIRST = 0, 1, 2
"""What a cell shows: nothing, that it is to be fetched, or a value counted from `FIRST`."""

_BAND_PX = 65_536
_HALF_STRIP_DEG = 3.0
_CELL_BYTES = 8
"""Of a cell besides its codes."""


@dataclass(frozen=True)
class ScreenView:
    """What a map shows, and in how many pixels of the screen."""

    extent: Extent
    """In the map's CRS, from -180 to 180 where that is in degrees."""
    shown: Extent
    """The same, with longitudes as the map counts them: past 180 they may go on."""
    width: int
    height: int


class Spot(NamedTuple):
    """The cells of a view whose pixels lie in one block."""

    block: Window
    rows: NDArray[np.int64]
    """Numbers of the cells' rows."""
    cols: NDArray[np.int64]


class ZoneCells:
    """Cells of one zone. Shapes: all arrays (R, C) or (R, C, D), by cell number modulo R and C."""

    def __init__(
        self, zone: int, pitch: Tuple[float, float], depth: int, shape: Tuple[int, int]
    ) -> None:
        self.zone, self.pitch = zone, pitch
        self.codes = np.zeros((*shape, depth), np.int8)
        self.scales = np.full(shape, np.nan, np.float32)
        self.states = np.full(shape, State.UNKNOWN, np.uint8)
        self.is_read = np.zeros(shape, np.bool_)
        """Whether the cache was asked for the cell."""
        self.shown = np.zeros(shape, np.uint16)
        """`NOTHING`, `NOT_FETCHED`, or `FIRST` and a value."""
        self.origin = (0, 0)
        self.size = (0, 0)

    @property
    def shape(self) -> Tuple[int, int]:
        """Rows and columns that there is room for."""
        return self.shown.shape[0], self.shown.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which cells have a valid embedding (R, C)."""
        found: NDArray[np.bool_] = self.is_read & (self.states == State.VALID)
        return found

    def move(self, origin: Tuple[int, int], size: Tuple[int, int]) -> None:
        """Hold the cells from `origin` on; those that were held already stay."""
        gone = [
            (before + (slots - before) % room) != (now + (slots - now) % room)
            for before, now, room in zip(self.origin, origin, self.shape)
            for slots in [np.arange(room)]
        ]
        for cells in ((gone[0], slice(None)), (slice(None), gone[1])):
            self.is_read[cells] = False
            self.states[cells] = State.UNKNOWN
            self.shown[cells] = NOTHING
        self.origin, self.size = origin, size

    def unread(self) -> List[Spot]:
        """Return what has not been asked for, block by block, nearest to the middle first."""
        cells = [start + np.arange(count) for start, count in zip(self.origin, self.size)]
        pixels = [self._pixels(axis, each) for axis, each in enumerate(cells)]
        starts = [np.flatnonzero(np.diff(px // BLOCK_PX, prepend=px[0] // BLOCK_PX - 1))
                  for px in pixels]  # fmt: skip
        is_open = ~self.is_read[self._slots(*cells)]
        by_row = np.logical_or.reduceat(is_open, starts[0], axis=0)
        by_block = np.logical_or.reduceat(by_row, starts[1], axis=1)
        parts = [np.split(each, start[1:]) for each, start in zip(cells, starts)]
        middle = [px[len(px) // 2] for px in pixels]
        found = []
        for i, j in np.argwhere(by_block).tolist():
            corner = [int(px[start[k]]) // BLOCK_PX * BLOCK_PX
                      for px, start, k in zip(pixels, starts, (i, j))]  # fmt: skip
            far = math.hypot(*(c + BLOCK_PX / 2 - m for c, m in zip(corner, middle)))
            block = Window(self.zone, corner[0], corner[1], BLOCK_PX, BLOCK_PX)
            found.append((far, Spot(block, parts[0][i], parts[1][j])))
        found.sort(key=lambda each: each[0])
        return [spot for _, spot in found]

    def places(self, spot: Spot) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows and columns of a spot's cells in its block."""
        rows, cols = self._pixels(0, spot.rows), self._pixels(1, spot.cols)
        return rows - spot.block.row, cols - spot.block.col

    def put(self, spot: Spot, picked: Picked) -> Tuple[NDArray[np.int64], ...]:
        """Take in what was read of a spot, and return where it lies in the arrays."""
        at = self._slots(spot.rows, spot.cols)
        self.codes[at], self.scales[at] = picked.codes, picked.scales
        self.states[at] = picked.states
        self.is_read[at] = True
        return at

    def ask_again(self) -> int:
        """Ask the cache again for what it did not have; what is shown stays. Returns how many."""
        missing = self.is_read & (self.states == State.UNKNOWN)
        self.is_read[missing] = False
        return int(missing.sum())

    def pixels_of(self, slots: NDArray[np.int64]) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and columns on the zone grid of cells by their flat index (n,)."""
        found = []
        for axis, slot in enumerate(np.unravel_index(slots, self.shape)):
            start, room = self.origin[axis], self.shape[axis]
            found.append(self._pixels(axis, start + (slot - start) % room))
        return found[0], found[1]

    def _pixels(self, axis: int, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(np.floor((cells + 0.5) * self.pitch[axis]), np.int64)

    def _slots(
        self, rows: NDArray[np.int64], cols: NDArray[np.int64]
    ) -> Tuple[NDArray[np.int64], ...]:
        return np.ix_(rows % self.shape[0], cols % self.shape[1])


@dataclass(frozen=True, eq=False)
class SomeCells:
    """Valid cells of a view. Shapes: codes (n, D); all other arrays (n,)."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    zone: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]


class ViewCells:
    """The cells of what a map shows, of all its zones. One thread changes them; any may ask `some`."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.zones: Dict[int, ZoneCells] = {}
        self._pixels = np.zeros((0, 0), np.intp)
        self._lock = threading.Lock()

    def look(self, view: Optional[ScreenView]) -> None:
        """Hold the cells of another view; None holds nothing. Raises: ExtentInvalid, ExtentTooLarge."""
        if view is None:
            with self._lock:
                self.zones, self._pixels = {}, np.zeros((0, 0), np.intp)
            return
        windows = grid.windows_of(view.extent)
        size = grid.measure(windows, self.depth)
        if size.pixels > MOST_PX:
            raise ExtentTooLarge(size.pixels, size.bytes, MOST_PX)
        screen = Screen.of(view.shown, view.width, view.height)
        seen = [_Seen.of(screen, _wider(each), strip=len(windows) > 1) for each in windows]
        places = _fitted([each for each in seen if each.lattices], self.depth)
        with self._lock:
            self._hold(places)
            self._pixels = self._looked_up(places, view)

    def some(self, count: int, seed: int = 0) -> Optional[SomeCells]:
        """Return a seeded choice of valid cells; None where there is none. From any thread."""
        with self._lock:
            zones = list(self.zones.values())
            valid = [np.flatnonzero(each.valid) for each in zones]
            total = sum(map(len, valid))
            if not total:
                return None
            chosen = np.arange(total)
            if total > count:
                chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
            return _gathered(zones, valid, chosen)

    def put(self, cells: ZoneCells, spot: Spot, picked: Picked) -> Tuple[NDArray[np.int64], ...]:
        """Take in what was read of a spot of a zone, and return where it lies."""
        with self._lock:
            return cells.put(spot, picked)

    def ask_again(self) -> int:
        """Ask the cache again for what it did not have. Returns how many cells that is."""
        with self._lock:
            return sum(each.ask_again() for each in self.zones.values())

    def is_read(self) -> bool:
        """Whether the cache was asked for every cell of the view."""
        return not any(each.unread() for each in self.zones.values())

    def on_screen(self) -> NDArray[np.uint16]:
        """Return what each pixel of the screen shows (H, W)."""
        nothing = np.zeros(1, np.uint16)
        values = np.concatenate([nothing, *(z.shown.reshape(-1) for z in self.zones.values())])
        return np.asarray(values.take(self._pixels), np.uint16)

    # --- inside

    def _hold(self, places: Sequence[_Place]) -> None:
        kept: Dict[int, ZoneCells] = {}
        for place in places:
            cells = self.zones.pop(place.seen.window.zone, None)
            room = place.size[0] + SPARE_CELLS, place.size[1] + SPARE_CELLS
            is_fit = cells is not None and cells.pitch == place.pitch and all(
                need <= have <= 1.5 * enough
                for need, have, enough in zip(place.size, cells.shape, room)
            )  # fmt: skip
            if cells is None or not is_fit:
                cells = None  # let go of the memory before more is taken
                cells = ZoneCells(place.seen.window.zone, place.pitch, self.depth, room)
            cells.move(place.origin, place.size)
            kept[cells.zone] = cells
        self.zones = kept

    def _looked_up(self, places: Sequence[_Place], view: ScreenView) -> NDArray[np.intp]:
        """Return for each pixel of the screen (H, W) its cell's place in all zones' arrays, from 1 on."""
        found = np.zeros((view.height, view.width), np.intp)
        first = 1
        for place in places:
            cells = self.zones[place.seen.window.zone]
            for lattice in place.seen.lattices:
                _look_up(found, lattice, place, cells, first)
            first += cells.shown.size
        return found


@dataclass(frozen=True, eq=False)
class _Seen:
    """Where a zone's window is on the screen."""

    window: Window
    lattices: Tuple[Lattice, ...]
    is_clipped: bool

    @classmethod
    def of(cls, screen: Screen, window: Window, *, strip: bool) -> _Seen:
        bounds = window.row, window.col, window.stop_row, window.stop_col
        views: List[View] = list(screen.views(window.zone, bounds))
        return cls(window, tuple(view.lattice(strip=strip) for view in views), strip)

    def pitch(self) -> Tuple[float, float]:
        """Return the pixels between cells in a column and in a row, about those of the screen."""
        lattice = self.lattices[0]
        spacings = []
        for axis in (1, 0):
            steps = [np.diff(lattice.nodes[axis], axis=along) for along in (0, 1)]
            down, across = (float(np.nanmedian(np.abs(each))) for each in steps)
            spacings.append(_rounded(math.hypot(down, across) / lattice.step))
        return spacings[0], spacings[1]


@dataclass(frozen=True, eq=False)
class _Place:
    """The cells that a zone needs."""

    seen: _Seen
    pitch: Tuple[float, float]

    @property
    def origin(self) -> Tuple[int, int]:
        window = self.seen.window
        return math.floor(window.row / self.pitch[0]), math.floor(window.col / self.pitch[1])

    @property
    def size(self) -> Tuple[int, int]:
        window, (row, col) = self.seen.window, self.origin
        stops = (window.stop_row - 1) / self.pitch[0], (window.stop_col - 1) / self.pitch[1]
        return math.floor(stops[0]) + 1 - row, math.floor(stops[1]) + 1 - col

    @property
    def cells(self) -> int:
        return (self.size[0] + SPARE_CELLS) * (self.size[1] + SPARE_CELLS)


def _wider(window: Window) -> Window:
    """Return a window with the pixels around it: at the screen's edge less than half of one is seen."""
    row, col, (height, width) = window.row - 1, window.col - 1, window.shape
    return Window(window.zone, row, col, height + 2, width + 2)


def _fitted(seen: Sequence[_Seen], depth: int) -> List[_Place]:
    """Return cells for zones, coarser ones where they would take too much memory."""
    places = [_Place(each, each.pitch()) for each in seen]
    while sum(each.cells for each in places) * (depth + _CELL_BYTES) > MOST_BYTES:
        places = [_Place(p.seen, (_next(p.pitch[0]), _next(p.pitch[1]))) for p in places]
    return places


def _step(spacing: float) -> float:
    return float(2.0 ** (math.floor(math.log2(spacing)) - 3))


def _rounded(spacing: float) -> float:
    """Return the next smaller of eight distances per doubling: it stays as a map is moved."""
    if not spacing > 1:
        return 1.0
    step = _step(spacing)
    return max(math.floor(spacing / step + 0.05) * step, 1.0)


def _next(pitch: float) -> float:
    return pitch + _step(pitch)


def _look_up(
    out: NDArray[np.intp], lattice: Lattice, place: _Place, cells: ZoneCells, first: int
) -> None:
    """Write the cells' places into the pixels of the screen that see them."""
    view = lattice.view
    bases = (lattice.base_row, lattice.base_col)
    for top, bottom in lattice.bands(max(_BAND_PX // (view.right - view.left), 1)):
        at = top, bottom, view.left, view.right
        slots, is_inside = [], np.ones((bottom - top, view.right - view.left), np.bool_)
        for axis in (0, 1):
            pitch, origin = place.pitch[axis], place.origin[axis]
            numbers = lattice.at(1 - axis, *at)
            numbers *= np.float32(1 / pitch)
            numbers += np.float32(bases[axis] / pitch - origin)
            is_inside &= (numbers >= 0) & (numbers < place.size[axis])
            room = cells.shape[axis]
            slot = numbers.astype(np.int32)
            slot += origin % room
            slot[slot >= room] -= room
            slots.append(slot)
        if place.seen.is_clipped:
            lon = lattice.at(2, *at)
            is_inside &= (lon >= -_HALF_STRIP_DEG) & (lon < _HALF_STRIP_DEG)
        index = slots[0].astype(np.intp)
        index *= cells.shape[1]
        index += slots[1]
        index += first
        np.copyto(out[top:bottom, view.left : view.right], index, where=is_inside)


def _gathered(
    zones: Sequence[ZoneCells], valid: Sequence[NDArray[np.intp]], chosen: NDArray[np.int64]
) -> SomeCells:
    parts = []
    first = 0
    for cells, slots in zip(zones, valid):
        mine = slots[chosen[(chosen >= first) & (chosen < first + len(slots))] - first]
        first += len(slots)
        codes = cells.codes.reshape(-1, cells.codes.shape[2])[mine]
        scales = cells.scales.reshape(-1)[mine]
        zone = np.full(len(mine), cells.zone)
        parts.append(SomeCells(codes, scales, zone, *cells.pixels_of(mine)))
    return SomeCells(
        np.concatenate([each.codes for each in parts]),
        np.concatenate([each.scales for each in parts]),
        np.concatenate([each.zone for each in parts]),
        np.concatenate([each.row for each in parts]),
        np.concatenate([each.col for each in parts]),
    )
