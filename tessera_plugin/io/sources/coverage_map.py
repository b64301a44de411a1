# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of windows before anything is fetched: pixels by state, bytes to come, a picture.

Windows are worked on in pieces, each on a lattice: the rows and columns at which what is known may
change, which is every pixel only where pixels are known. So counts are exact whatever the extent,
and memory is that of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...values import BLOCK_PX, State, Window
from ..cache import Block, BlockCache, Layout
from .spots import Nearness

OUTSIDE, WATER, NODATA, UNKNOWN, PUBLISHED, VALID = range(6)
"""Ranks: where shards or tiles overlap a pixel is the highest of what each of them says."""

UNTOLD = 255
"""Stands for the rank of a pixel that nobody has looked at."""

RULED_OUT = NODATA
"""A pixel of this rank or a lower one is not valid in a shard or tile: the next one is asked."""

STATES = np.array(
    [State.OUTSIDE, State.WATER, State.NODATA, State.UNKNOWN, State.PUBLISHED, State.VALID],
    dtype=np.uint8,
)
"""The state of each rank."""

PIECE_PX = 1024
"""Edge of a piece, which starts at multiples of it on the zone grid."""

LARGE_PX = 500_000_000
"""Windows of more pixels are worked on in larger pieces, and nobody looks into cached blocks."""

LARGE_PIECE_PX = 4096

PICTURE_CELLS = 1_000_000
"""A picture of larger windows than the detail has at most so many cells."""

FINEST_PX = 32
"""And its cells are not smaller than this."""

LISTED_PX = 16_000_000
"""The blocks of windows of more pixels are looked up by listing their folder."""

Index = NDArray[np.int64]
Ranks = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Check = Callable[[], None]
_Place = Tuple[int, int, int]
"""Zone, row and column of a piece, in edges of pieces."""


@dataclass(frozen=True)
class Lacking:
    """Pixels of a unit in one piece that a fetch would ask it for."""

    pixels: int
    row: int
    """Position of the mask among the unit's cells."""
    col: int
    cells: Optional[Mask]
    """Which of the unit's cells are needed; None where only their number is known."""


class Unit(Protocol):
    """A shard or a tile: one object of codes and one of scales, and what is known of them."""

    @property
    def name(self) -> str:
        """As the cache's layouts call it."""

    @property
    def footprint(self) -> Window:
        """Its pixels."""

    @property
    def is_absent(self) -> bool:
        """Whether nothing is published there."""

    def edges(self, part: Window) -> Tuple[Index, Index]:
        """Return the rows and columns within a part where what is known may change."""

    def ranks(self, rows: Index, cols: Index) -> Ranks:
        """Return the ranks (R, C) of the pixels at rows (R,) and columns (C,)."""

    def lacking(self, rows: Index, cols: Index, wanted: Mask) -> Lacking:
        """Return what is needed of it, for the lattice with these edges (R + 1,), (C + 1,)."""


class Form(Protocol):
    """How a source lies over the zone grid."""

    cache: BlockCache

    def base(self, zone: int) -> int:
        """Return the rank of a zone's pixels over which no unit lies."""

    def layout(self, block: Window) -> Optional[Layout]:
        """Return how units lie over a block, as the cache wants it."""


@dataclass(frozen=True)
class CoveragePart:
    """A rectangle of cells of a zone's grid.

    Cell (i, j) covers the pixels from row + i * cell_px and col + j * cell_px on. Cells of more than a
    pixel tell what is known of the pixel in their middle, and the last ones may hang over.
    """

    zone: int
    row: int
    col: int
    cell_px: int
    states: NDArray[np.uint8]
    """(rows, cols) of `State`."""
    cached: NDArray[np.bool_]
    """(rows, cols): in the cache."""


class _Picture:
    """The cells of one window."""

    def __init__(self, window: Window, cell_px: int) -> None:
        self.window = window
        self.cell_px = cell_px
        self.rows, self.cols = cell_middles(window, cell_px)
        shape = len(self.rows), len(self.cols)
        self.ranks: Ranks = np.full(shape, UNKNOWN, dtype=np.uint8)
        self.cached: Mask = np.zeros(shape, dtype=np.bool_)

    def draw(self, piece: Window, lattice: _Lattice) -> None:
        """Take the cells of a piece from its lattice."""
        top, bottom = np.searchsorted(self.rows, (piece.row, piece.stop_row))
        left, right = np.searchsorted(self.cols, (piece.col, piece.stop_col))
        rows = np.searchsorted(lattice.rows, self.rows[top:bottom], side="right") - 1
        cols = np.searchsorted(lattice.cols, self.cols[left:right], side="right") - 1
        self.ranks[top:bottom, left:right] = lattice.ranks[rows[:, None], cols]
        self.cached[top:bottom, left:right] = lattice.cached[rows[:, None], cols]

    def part(self) -> CoveragePart:
        """Return a copy that nobody changes."""
        window = self.window
        return CoveragePart(window.zone, window.row, window.col, self.cell_px, STATES[self.ranks],
                            self.cached.copy())  # fmt: skip


class _Lattice:
    """A piece, cut at rows and columns between which everything known is the same."""

    def __init__(self, rows: Index, cols: Index, base: int) -> None:
        self.rows = rows
        self.cols = cols
        shape = len(rows) - 1, len(cols) - 1
        self.ranks: Ranks = np.full(shape, base, dtype=np.uint8)
        self.resolved: Mask = np.zeros(shape, dtype=np.bool_)
        self.cached: Mask = np.zeros(shape, dtype=np.bool_)
        self.is_pixelwise = shape == (rows[-1] - rows[0], cols[-1] - cols[0])

    def slices(self, part: Window) -> Tuple[slice, slice]:
        """Return where a part lies, whose edges are among the lattice's."""
        top, bottom = np.searchsorted(self.rows, (part.row, part.stop_row)).tolist()
        left, right = np.searchsorted(self.cols, (part.col, part.stop_col)).tolist()
        return slice(top, bottom), slice(left, right)

    def count(self) -> Tuple[Index, Index]:
        """Return pixels by rank (6,), and how many of them are in the cache (6,)."""
        weights = None if self.is_pixelwise else self.weights((slice(None), slice(None)))
        counts, cached = (
            np.bincount(
                self.ranks[here].ravel(),
                None if weights is None else weights[here].ravel(),
                minlength=len(STATES),
            ).astype(np.int64)
            for here in (..., self.cached)
        )
        return counts, cached

    def weights(self, here: Tuple[slice, slice]) -> Index:
        """Return the pixels of each cell of a part."""
        weights: Index = np.diff(self.rows)[here[0], None] * np.diff(self.cols)[here[1]]
        return weights


@dataclass(frozen=True)
class _Held:
    """A block of the cache within a piece."""

    part: Window
    layout: Optional[Layout] = None
    block: Optional[Block] = None
    """None where nobody has looked into it."""


@dataclass
class _Piece:
    """A part of a window, the units over it, and what was found out."""

    window: Window
    picture: _Picture
    units: List[Unit]
    counts: Index
    cached: Index
    lacking: Tuple[Tuple[str, Lacking], ...] = ()


class CoverageMap:
    """What is known of windows, kept up to date piece by piece."""

    def __init__(
        self, form: Form, windows: Sequence[Window], near: Nearness, *, is_detailed: bool
    ) -> None:
        self._form = form
        self._is_detailed = is_detailed
        pixels = sum(window.pixels for window in windows)
        self._is_large = pixels > LARGE_PX
        self._edge = LARGE_PIECE_PX if self._is_large else PIECE_PX
        self._is_listed = pixels > LISTED_PX
        self._listed: Dict[int, Dict[_Place, List[Window]]] = {}
        cell_px = 1 if is_detailed else cell_px_of(windows)
        self._pictures = [_Picture(window, cell_px) for window in windows]
        pieces = {
            self._place_of(part): _Piece(part, picture, [], _all(part, UNKNOWN), _none())
            for picture in self._pictures
            for part in self._parts(picture.window)
        }
        order = sorted(pieces, key=lambda place: near.of_window(pieces[place].window))
        self._pieces = {place: pieces[place] for place in order}
        self._spoiled: Dict[_Place, None] = dict.fromkeys(order)

    def place(self, units: Sequence[Unit]) -> None:
        """Say which units there are, in the order in which they win; everything is looked at anew."""
        for piece in self._pieces.values():
            piece.units = []
        for unit in units:
            for place in self._over(unit.footprint):
                self._pieces[place].units.append(unit)
        self._spoiled = dict.fromkeys(self._pieces)

    def spoil(self, window: Window) -> None:
        """Say that something new is known of a window."""
        self._spoiled.update(dict.fromkeys(self._over(window)))

    def work(self, check: Check) -> None:
        """Look at the pieces of which something new is known; `check` is called for each."""
        for place in list(self._spoiled):
            check()
            self._look(self._pieces[place])
            del self._spoiled[place]

    def counts(self) -> Tuple[Index, Index]:
        """Return the windows' pixels by rank (6,), and how many of them are in the cache (6,)."""
        pieces = self._pieces.values()
        counts: Index = np.sum([piece.counts for piece in pieces], axis=0)
        cached: Index = np.sum([piece.cached for piece in pieces], axis=0)
        return counts, cached

    def parts(self) -> Tuple[CoveragePart, ...]:
        """Return what is known as pictures, one per window."""
        return tuple(picture.part() for picture in self._pictures)

    def lacking(self) -> Dict[str, List[Lacking]]:
        """Return what a fetch would ask of which unit, by their names."""
        found: Dict[str, List[Lacking]] = {}
        for piece in self._pieces.values():
            for name, lacking in piece.lacking:
                found.setdefault(name, []).append(lacking)
        return found

    # --- one piece

    def _look(self, piece: _Piece) -> None:
        held = list(self._held(piece.window))
        lattice = self._lattice(piece, held)
        over = [(unit, part) for unit in piece.units if not unit.is_absent
                for part in [unit.footprint.intersection(piece.window)] if part]  # fmt: skip
        told: List[Tuple[Unit, Tuple[slice, slice], Ranks]] = []
        for unit, part in over:
            here = lattice.slices(part)
            ranks = unit.ranks(lattice.rows[:-1][here[0]], lattice.cols[:-1][here[1]])
            np.maximum(lattice.ranks[here], ranks, out=lattice.ranks[here])
            told.append((unit, here, ranks))
        spared: Dict[str, Mask] = {}
        for one in held:
            _take(lattice, one, spared)
        piece.lacking = tuple(_lacking(lattice, told, spared))
        piece.counts, piece.cached = lattice.count()
        piece.picture.draw(piece.window, lattice)

    def _lattice(self, piece: _Piece, held: Sequence[_Held]) -> _Lattice:
        window, base = piece.window, self._form.base(piece.window.zone)
        if self._is_detailed or any(one.block for one in held):
            return _Lattice(np.arange(window.row, window.stop_row + 1),
                            np.arange(window.col, window.stop_col + 1), base)  # fmt: skip
        parts = [one.part for one in held]
        rows: List[Index] = [np.array([window.row, window.stop_row])]
        cols: List[Index] = [np.array([window.col, window.stop_col])]
        for unit in piece.units:
            part = unit.footprint.intersection(window)
            if part is not None and not unit.is_absent:
                parts.append(part)
                more = unit.edges(part)
                rows.append(more[0])
                cols.append(more[1])
        rows.append(np.array([(part.row, part.stop_row) for part in parts], dtype=np.int64).ravel())
        cols.append(np.array([(part.col, part.stop_col) for part in parts], dtype=np.int64).ravel())
        return _Lattice(np.unique(np.concatenate(rows)), np.unique(np.concatenate(cols)), base)

    # --- the cache's blocks

    def _held(self, window: Window) -> Iterator[_Held]:
        """Yield the blocks of a piece that are in the cache and can be used."""
        for block in self._cached(window):
            part = block.intersection(window)
            if part is None:
                continue
            if self._is_large:
                yield _Held(part)
                continue
            layout = self._form.layout(block)
            found = self._form.cache.peek(layout) if layout else None
            if layout is not None and found is not None:
                yield _Held(part, layout, found)

    def _cached(self, window: Window) -> Sequence[Window]:
        """Return the blocks of a piece that are in the cache."""
        if not self._is_listed:
            path_of = self._form.cache.block_path
            return [block for block in window.whole_blocks() if path_of(block).exists()]
        if window.zone not in self._listed:
            by_place: Dict[_Place, List[Window]] = {}
            for row, col in sorted(self._form.cache.numbers(window.zone)):
                block = Window(window.zone, row * BLOCK_PX, col * BLOCK_PX, BLOCK_PX, BLOCK_PX)
                by_place.setdefault(self._place_of(block), []).append(block)
            self._listed[window.zone] = by_place
        return self._listed[window.zone].get(self._place_of(window), [])

    # --- pieces

    def _over(self, window: Window) -> Iterator[_Place]:
        """Yield the places of the pieces that a window meets."""
        for picture in self._pictures:
            part = picture.window.intersection(window)
            for one in self._parts(part) if part else ():
                yield self._place_of(one)

    def _parts(self, window: Window) -> Iterator[Window]:
        """Yield the parts of a window that are pieces, or lie in one."""
        edge = self._edge
        for row in range(window.row // edge, (window.stop_row - 1) // edge + 1):
            for col in range(window.col // edge, (window.stop_col - 1) // edge + 1):
                yield Window.between(
                    window.zone,
                    max(window.row, row * edge),
                    max(window.col, col * edge),
                    min(window.stop_row, (row + 1) * edge),
                    min(window.stop_col, (col + 1) * edge),
                )

    def _place_of(self, part: Window) -> _Place:
        return part.zone, part.row // self._edge, part.col // self._edge


def _take(lattice: _Lattice, held: _Held, spared: Dict[str, Mask]) -> None:
    """Let a cached block tell of its pixels; notes which units its other pixels don't need."""
    here = lattice.slices(held.part)
    if held.block is None or held.layout is None:
        lattice.cached[here] = lattice.resolved[here] = True
        return
    inner = held.part.slices_in(held.layout.block)
    cover = held.layout.cover()
    states, missing = held.block.states(cover)[inner], held.block.missing(cover)[inner]
    done = missing == 0
    lattice.ranks[here][done] = _RANKS[states[done]]
    lattice.resolved[here] = done
    lattice.cached[here] = done & (cover[inner] != 0)
    if done.all():
        return
    for index, name in enumerate(held.layout.names):
        mask = spared.setdefault(name, np.zeros(lattice.ranks.shape, dtype=np.bool_))
        mask[here] = (missing & np.uint16(1 << index)) == 0


def _lacking(
    lattice: _Lattice,
    told: Sequence[Tuple[Unit, Tuple[slice, slice], Ranks]],
    spared: Dict[str, Mask],
) -> Iterator[Tuple[str, Lacking]]:
    """Yield what each unit would be asked for: a pixel needs the first one that may be valid."""
    is_open = ~lattice.resolved
    for unit, here, ranks in told:
        wanted = is_open[here].copy()
        if unit.name in spared:
            wanted &= ~spared[unit.name][here]
        if not wanted.any():
            continue
        is_open[here] &= ~wanted | (ranks <= RULED_OUT)
        rows, cols = (
            edges[s.start : s.stop + 1] for edges, s in zip((lattice.rows, lattice.cols), here)
        )
        yield unit.name, unit.lacking(rows, cols, wanted)


def lacking_px(rows: Index, cols: Index, wanted: Mask) -> int:
    """Return the pixels of a lattice's cells that are wanted."""
    return int((np.diff(rows)[:, None] * np.diff(cols))[wanted].sum())


def united(lacking: Sequence[Lacking], shape: Tuple[int, int]) -> Mask:
    """Return all of a unit's cells that are needed."""
    cells: Mask = np.zeros(shape, dtype=np.bool_)
    for one in lacking:
        if one.cells is not None:
            height, width = one.cells.shape
            cells[one.row : one.row + height, one.col : one.col + width] |= one.cells
    return cells


def cells_of(
    footprint: Window, cell: Tuple[int, int], rows: Index, cols: Index, wanted: Mask
) -> Tuple[int, int, Mask]:
    """Return first row, first column and mask of the cells in which something is wanted.

    The lattice's edges must include those of the cells.
    """
    r, c = (rows[:-1] - footprint.row) // cell[0], (cols[:-1] - footprint.col) // cell[1]
    starts = [np.flatnonzero(np.diff(at, prepend=at[0] - 1)) for at in (r, c)]
    some = np.logical_or.reduceat(wanted, starts[0], axis=0)
    return int(r[0]), int(c[0]), np.logical_or.reduceat(some, starts[1], axis=1)


def multiples(start: int, stop: int, origin: int, step: int) -> Index:
    """Return origin + n * step between two positions."""
    first = origin + -(-(start - origin) // step) * step
    return np.arange(first, stop, step)


def cell_middles(window: Window, cell_px: int) -> Tuple[Index, Index]:
    """Return the rows and columns of the pixels that stand for a picture's cells."""
    rows, cols = (
        np.minimum(np.arange(start, stop, cell_px) + cell_px // 2, stop - 1)
        for start, stop in ((window.row, window.stop_row), (window.col, window.stop_col))
    )
    return rows, cols


def cell_px_of(windows: Sequence[Window]) -> int:
    """Return the edge of a picture's cells for windows of more pixels than are looked at."""
    cell = FINEST_PX
    while sum(-(-w.height // cell) * -(-w.width // cell) for w in windows) > PICTURE_CELLS:
        cell *= 2
    return cell


def _none() -> Index:
    return np.zeros(len(STATES), dtype=np.int64)


def _all(window: Window, rank: int) -> Index:
    counts = _none()
    counts[rank] = window.pixels
    return counts


_RANKS = np.zeros(len(State), dtype=np.uint8)
_RANKS[STATES] = np.arange(len(STATES))
