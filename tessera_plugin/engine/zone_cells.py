# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The embeddings of one zone that a map shows, kept in memory: of each screen pixel about the nearest.

The cells are a grid of the zone's own: cell i holds the pixel in the middle of i * pitch to
(i + 1) * pitch, so that cells that stay in view after a pan are the same ones and are not read again.
Their arrays wrap around: cell i lies in row i modulo the number of rows.
"""

from __future__ import annotations

import itertools
from typing import Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import Picked
from ..values import BLOCK_PX, State, Window

NOTHING, NOT_FETCHED, FIRST = 0, 1, 2
"""What a cell shows: nothing, that it is to be fetched, or a value counted from `FIRST`."""

CELL_BYTES = 9
"""Of a cell besides its codes."""

_MOST_ROOM = 1.5

_Type = TypeVar("_Type", bound=np.generic)

Numbers = NDArray[np.int64]
Slots = Tuple[Numbers, Numbers]
"""Rows and columns of the arrays."""
Index = Union[Tuple[slice, slice], Tuple[Numbers, ...]]


class Spot(NamedTuple):
    """The cells of a view whose pixels lie in one block."""

    block: Window
    rows: Numbers
    """Numbers of the cells' rows."""
    cols: Numbers

    @property
    def size(self) -> int:
        """How many cells it has."""
        return len(self.rows) * len(self.cols)


class Spots:
    """What is to be read of a zone, block by block in the order in which it is wanted."""

    def __init__(
        self, zone: int, blocks: Numbers, parts: Tuple[List[Numbers], List[Numbers]], at: Numbers
    ) -> None:
        """`blocks` are rows and columns of their corners; `at` which of the parts each holds (n, 2)."""
        self._zone, self._blocks, self._parts, self._at = zone, blocks, parts, at

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Spot]:
        rows, cols = self._parts
        for (row, col), (i, j) in zip(self._blocks.tolist(), self._at.tolist()):
            yield Spot(Window(self._zone, row, col, BLOCK_PX, BLOCK_PX), rows[i], cols[j])

    @property
    def hull(self) -> Window:
        """The window around all of its blocks, of which there must be one."""
        (row, col), (last_row, last_col) = self._blocks.min(axis=0), self._blocks.max(axis=0)
        stop = int(last_row) + BLOCK_PX, int(last_col) + BLOCK_PX
        return Window.between(self._zone, int(row), int(col), *stop)


class ZoneCells:
    """Cells of one zone. Shapes: all arrays (R, C) or (R, C, D), by cell number modulo R and C."""

    def __init__(
        self,
        zone: int,
        pitch: Tuple[float, float],
        depth: int,
        shape: Tuple[int, int],
        before: Optional[ZoneCells] = None,
    ) -> None:
        """Begin with nothing read, in the memory of others that go where these are of about that size."""
        self.zone, self.pitch = zone, pitch
        count = shape[0] * shape[1] * depth
        self._memory = _memory_for(count, before)
        self.codes = self._memory[:count].reshape(*shape, depth)
        self.scales = np.full(shape, np.nan, np.float32)
        self.states = np.full(shape, State.UNKNOWN, np.uint8)
        self.is_read = np.zeros(shape, np.bool_)
        """Whether the cache was asked for the cell."""
        self.is_guessed = np.zeros(shape, np.bool_)
        """Whether it shows what another one near it does, until it is read."""
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

    @property
    def in_view(self) -> NDArray[np.bool_]:
        """Which cells the view shows (R, C): there is room for some more around them."""
        found = np.zeros(self.shape, np.bool_)
        found[_index(self._slots(*self._numbers()))] = True
        return found

    @property
    def is_whole(self) -> bool:
        """Whether the cache was asked for every cell in view."""
        return bool(_taken(self.is_read, self._slots(*self._numbers())).all())

    @property
    def is_blank(self) -> bool:
        """Whether some cell in view is neither read nor guessed."""
        return not _taken(self.is_read | self.is_guessed, self._slots(*self._numbers())).all()

    def move(self, origin: Tuple[int, int], size: Tuple[int, int]) -> None:
        """Hold the cells from `origin` on; those that were held already stay."""
        gone = [
            (before + (slots - before) % room) != (now + (slots - now) % room)
            for before, now, room in zip(self.origin, origin, self.shape)
            for slots in [np.arange(room)]
        ]
        for cells in ((gone[0], slice(None)), (slice(None), gone[1])):
            self.is_read[cells] = self.is_guessed[cells] = False
            self.states[cells] = State.UNKNOWN
            self.shown[cells] = NOTHING
        self.origin, self.size = origin, size

    def give_up(self) -> NDArray[np.int8]:
        """Return the memory of its codes, for others; only what it shows is of use after this."""
        memory = self._memory
        self._memory = np.zeros(0, np.int8)
        self.codes = self._memory.reshape(0, 0, self.codes.shape[2])
        return memory

    # --- reading

    def unread(self, focus: Optional[Tuple[int, int]] = None, step: int = 1) -> Spots:
        """Return what has not been asked for, nearest to a pixel (row, col) or the middle first.

        With a `step` only every so many cells, and only those that show nothing yet.
        """
        cells = self._numbers(step)
        if not all(map(len, cells)):
            return Spots(
                self.zone, np.zeros((0, 2), np.int64), ([], []), np.zeros((0, 2), np.int64)
            )
        pixels = [self._pixels(axis, each) for axis, each in enumerate(cells)]
        starts = [np.flatnonzero(np.diff(px // BLOCK_PX, prepend=px[0] // BLOCK_PX - 1))
                  for px in pixels]  # fmt: skip
        slots = self._slots(*cells)
        is_open = ~_taken(self.is_read, slots)
        if step > 1:
            is_open &= ~_taken(self.is_guessed, slots)
        by_row = np.logical_or.reduceat(is_open, starts[0], axis=0)
        at = np.argwhere(np.logical_or.reduceat(by_row, starts[1], axis=1))
        edges = [px[start] // BLOCK_PX * BLOCK_PX for px, start in zip(pixels, starts)]
        blocks = np.column_stack([edges[0][at[:, 0]], edges[1][at[:, 1]]])
        middle = focus or tuple(int(px[len(px) // 2]) for px in pixels)
        far = np.hypot(*(blocks + BLOCK_PX / 2 - middle).T)
        order = np.argsort(far, kind="stable")
        rows, cols = (np.split(each, start[1:]) for each, start in zip(cells, starts))
        return Spots(self.zone, blocks[order], (rows, cols), at[order])

    def places(self, spot: Spot) -> Tuple[Numbers, Numbers]:
        """Return the rows and columns of a spot's cells in its block."""
        rows, cols = self._pixels(0, spot.rows), self._pixels(1, spot.cols)
        return rows - spot.block.row, cols - spot.block.col

    def put(self, spot: Spot, picked: Picked, shown: NDArray[np.uint16]) -> None:
        """Take in what was read of a spot, and what it shows (n, m)."""
        at = _index(self._slots(spot.rows, spot.cols))
        self.codes[at], self.scales[at], self.states[at] = picked
        self.shown[at] = shown
        self.is_read[at] = True

    def ask_again(self) -> int:
        """Ask the cache again for what it did not have; what is shown stays. Returns how many."""
        missing = self.is_read & (self.states == State.UNKNOWN)
        self.is_read[missing] = False
        self.is_guessed[missing] = True
        return int(missing.sum())

    # --- what is shown before it is read

    def guess(self, step: int) -> None:
        """Let what shows nothing yet show what the nearest one of every so many cells does."""
        some, all_cells = self._numbers(step), self._numbers()
        if not all(map(len, some)):
            return
        near = [(each // step * step + step // 2).clip(known[0], known[-1])
                for each, known in zip(all_cells, some)]  # fmt: skip
        here, there = self._slots(*all_cells), self._slots(*near)
        guessed = _taken(self.is_read, there)
        guessed &= ~_taken(self.is_read | self.is_guessed, here)
        self._let_show(here, _taken(self.shown, there), guessed)

    def take_over(self, before: ZoneCells) -> None:
        """Let cells show what those of another pitch showed at their places."""
        here, there = [], []
        for axis, each in enumerate(self._numbers()):
            start = before.origin[axis]
            other = np.asarray(np.floor(self._pixels(axis, each) / before.pitch[axis]), np.int64)
            is_held = (other >= start) & (other < start + before.size[axis])
            here.append(each[is_held])
            there.append(other[is_held])
        known = before._slots(there[0], there[1])
        guessed = _taken(before.is_read | before.is_guessed, known)
        self._let_show(self._slots(here[0], here[1]), _taken(before.shown, known), guessed)

    def forget_guesses(self) -> None:
        """Show no value where none was read: values have another meaning now."""
        forgotten = ~self.is_read & (self.shown != NOT_FETCHED)
        np.copyto(self.shown, np.uint16(NOTHING), where=forgotten)
        self.is_guessed &= ~forgotten

    def _let_show(self, at: Slots, shown: NDArray[np.uint16], guessed: NDArray[np.bool_]) -> None:
        for (rows, there_rows), (cols, there_cols) in itertools.product(*map(_spans, at)):
            here, there = (rows, cols), (there_rows, there_cols)
            np.copyto(self.shown[there], shown[here], where=guessed[here])
            self.is_guessed[there] |= guessed[here]

    # --- where cells are

    def pixels_of(self, slots: NDArray[np.int64]) -> Tuple[Numbers, Numbers]:
        """Return rows and columns on the zone grid of cells by their flat index (n,)."""
        found = []
        for axis, slot in enumerate(np.unravel_index(slots, self.shape)):
            start, room = self.origin[axis], self.shape[axis]
            found.append(self._pixels(axis, start + (slot - start) % room))
        return found[0], found[1]

    def _numbers(self, step: int = 1) -> Tuple[Numbers, Numbers]:
        """Return the numbers of the rows and of the columns in view, every so many of them."""
        found = []
        for start, count in zip(self.origin, self.size):
            cells = start + np.arange(count)
            found.append(cells if step == 1 else cells[cells % step == step // 2])
        return found[0], found[1]

    def _pixels(self, axis: int, cells: Numbers) -> Numbers:
        return np.asarray(np.floor((cells + 0.5) * self.pitch[axis]), np.int64)

    def _slots(self, rows: Numbers, cols: Numbers) -> Slots:
        return rows % self.shape[0], cols % self.shape[1]


def _memory_for(count: int, before: Optional[ZoneCells]) -> NDArray[np.int8]:
    """Return memory for so many codes: that of others that go, or new; never both at once."""
    if before is not None:
        memory = before.give_up()
        if count <= memory.size <= _MOST_ROOM * count:
            return memory
        del memory
    return np.empty(count, np.int8)


# What handles a whole view lets go of the interpreter meanwhile, as fancy indices would not.


def _taken(array: NDArray[_Type], slots: Slots) -> NDArray[_Type]:
    """Return what an array has in rows and columns, as a view where it can be one."""
    index = _index(slots)
    if isinstance(index[0], slice):
        return array[index]
    return array.take(slots[0], axis=0).take(slots[1], axis=1)


def _index(slots: Slots) -> Index:
    """Return rows and columns as numpy takes them: as slices, which are fast, where they can be."""
    spans = [_span(each) for each in slots]
    if spans[0] is not None and spans[1] is not None:
        return spans[0], spans[1]
    return np.ix_(*slots)


def _span(slots: Numbers) -> Optional[slice]:
    """Return slots as a slice; None where they wrap around, or are not evenly apart."""
    count = len(slots)
    if count == 0:
        return slice(0, 0)
    first, last = int(slots[0]), int(slots[-1])
    step = int(slots[1]) - first if count > 1 else 1
    if step < 1 or last != first + (count - 1) * step or (np.diff(slots) != step).any():
        return None
    return slice(first, last + 1, step)


def _spans(slots: Numbers) -> List[Tuple[slice, slice]]:
    """Return where slots that follow one another lie in their list and in the arrays: they wrap once."""
    edges = [0, *(np.flatnonzero(np.diff(slots) < 0) + 1).tolist(), len(slots)]
    return [
        (slice(start, stop), slice(int(slots[start]), int(slots[start]) + stop - start))
        for start, stop in zip(edges[:-1], edges[1:])
        if stop > start
    ]
