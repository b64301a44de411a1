# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The embeddings that a map shows, of all its zones, and which of them each pixel of the screen shows."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtentTooLarge
from ..io.projection import strip_limits
from ..io.sources.base import Picked
from ..values import Extent, Window
from . import grid
from .lattice import Lattice, Screen, View
from .zone_cells import CELL_BYTES, Spot, Spots, ZoneCells

MOST_BYTES = 150_000_000
"""Memory that the cells of a view may take; a very large screen gets coarser cells."""

MOST_PX = 150_000_000
"""Views of more pixels than this are not looked at: reading every so many of them takes too long."""

SPARE_CELLS = 8
"""Rows and columns more than a view needs: a pan changes the scale of most maps a little."""

FEW_BLOCKS = 16
"""So few blocks are read at once; of more, some cells of each come first."""

STEPS = (8, 16, 32)
"""Every so many cells are read first."""

MOST_LOOKS = 1_500
"""Blocks that are opened for that at most, about."""

_BAND_PX = 65_536
_HALF_STRIP_DEG = 3.0


@dataclass(frozen=True)
class ScreenView:
    """What a map shows, and in how many pixels of the screen."""

    extent: Extent
    """In the map's CRS, from -180 to 180 where that is in degrees."""
    shown: Extent
    """The same, with longitudes as the map counts them: past 180 they may go on."""
    width: int
    height: int


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
        self._turn = 0
        self._is_clipped = False
        """Whether each zone shows its own strip only."""
        self._step = 0
        """Every so many cells were read first."""

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
            self._is_clipped = len(windows) > 1
            self._hold(places)
            self._pixels = self._looked_up(places, view)

    def some(self, count: int, seed: int = 0) -> Optional[SomeCells]:
        """Return a seeded choice of the valid cells in view; None where there is none.

        Over a zone seam each cell is of its zone's own strip. From any thread.
        """
        with self._lock:
            zones = list(self.zones.values())
            valid = [np.flatnonzero(each.valid & each.in_view) for each in zones]
            if self._is_clipped:
                valid = [_own(each, slots) for each, slots in zip(zones, valid)]
            total = sum(map(len, valid))
            if not total:
                return None
            chosen = np.arange(total)
            if total > count:
                chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
            return _gathered(zones, valid, chosen)

    # --- reading

    def new_turn(self) -> int:
        """Begin to read, or end it: what is put with another turn's number is dropped."""
        with self._lock:
            self._turn += 1
            return self._turn

    def put(
        self, turn: int, cells: ZoneCells, spot: Spot, picked: Picked, shown: NDArray[np.uint16]
    ) -> None:
        """Take in what was read of a spot of a zone, and what it shows (n, m). From any thread."""
        with self._lock:
            if turn == self._turn:
                cells.put(spot, picked, shown)

    def unread(
        self, focus: Optional[Tuple[float, float]] = None, step: int = 1
    ) -> List[Tuple[ZoneCells, Spots]]:
        """Return what has not been asked for of each zone, as `ZoneCells.unread`.

        `focus` is a place of the screen, from its left and its top, 0 to 1: what is near it comes
        first. Without one its middle is.
        """
        x, y = focus or (0.5, 0.5)
        zone, pixel = self._seen_at(x, y)
        order = sorted(self.zones.values(), key=lambda each: each.zone != zone)
        found = [(each, each.unread(pixel if each.zone == zone else None, step)) for each in order]
        return [(cells, spots) for cells, spots in found if len(spots)]

    def unread_some(
        self, focus: Optional[Tuple[float, float]] = None
    ) -> List[Tuple[ZoneCells, Spots]]:
        """Return what to read for a first look at what shows nothing yet, then `guess` the rest.

        Empty where all is read soon.
        """
        for step in STEPS:
            found = self.unread(focus, step)
            self._step = step
            looks = sum(len(spots) for _, spots in found)
            if looks <= MOST_LOOKS:
                break
        return found if looks > FEW_BLOCKS else []

    def guess(self) -> None:
        """Let what shows nothing yet show what was read near it."""
        if self._step:
            with self._lock:
                for cells in self.zones.values():
                    if cells.is_blank:
                        cells.guess(self._step)

    def forget_guesses(self) -> None:
        """Let only what was read show a value: values have another meaning now."""
        with self._lock:
            for cells in self.zones.values():
                cells.forget_guesses()

    def ask_again(self) -> int:
        """Ask the cache again for what it did not have. Returns how many cells that is."""
        with self._lock:
            return sum(each.ask_again() for each in self.zones.values())

    def is_read(self) -> bool:
        """Whether the cache was asked for every cell of the view."""
        return all(each.is_whole for each in self.zones.values())

    def on_screen(self) -> NDArray[np.uint16]:
        """Return what each pixel of the screen shows (H, W)."""
        nothing = np.zeros(1, np.uint16)
        values = np.concatenate([nothing, *(z.shown.reshape(-1) for z in self.zones.values())])
        return np.asarray(values.take(self._pixels), np.uint16)

    # --- inside

    def _seen_at(self, x: float, y: float) -> Tuple[int, Optional[Tuple[int, int]]]:
        """Return the zone, and row and column on its grid, that a place of the screen shows."""
        height, width = self._pixels.shape
        if height and width:
            row, col = (min(int(share * n), n - 1) for share, n in ((y, height), (x, width)))
            slot = int(self._pixels[row, col]) - 1
            for cells in self.zones.values():
                if 0 <= slot < cells.shown.size:
                    rows, cols = cells.pixels_of(np.array([slot]))
                    return cells.zone, (int(rows[0]), int(cols[0]))
                slot -= cells.shown.size
        return 0, None

    def _hold(self, places: Sequence[_Place]) -> None:
        kept: Dict[int, ZoneCells] = {}
        for place in places:
            cells = self.zones.pop(place.seen.window.zone, None)
            room = place.size[0] + SPARE_CELLS, place.size[1] + SPARE_CELLS
            is_fit = cells is not None and cells.pitch == place.pitch and all(
                need <= have <= 1.5 * enough
                for need, have, enough in zip(place.size, cells.shape, room)
            )  # fmt: skip
            before = cells
            if cells is None or not is_fit:
                zone = place.seen.window.zone
                cells = ZoneCells(zone, place.pitch, self.depth, room, before)
            cells.move(place.origin, place.size)
            if before is not None and before is not cells:
                cells.take_over(before)
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
    while sum(each.cells for each in places) * (depth + CELL_BYTES) > MOST_BYTES:
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


def _own(cells: ZoneCells, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of some cells whose pixels lie in the zone's own strip."""
    if not len(slots):
        return slots
    rows, cols = cells.pixels_of(slots)
    hull = Window.between(
        cells.zone, int(rows.min()), int(cols.min()), int(rows.max()) + 1, int(cols.max()) + 1
    )
    first, stop = (limits[rows - hull.row] for limits in strip_limits(hull))
    return np.asarray(slots[(cols >= first) & (cols < stop)], np.int64)


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
