# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where faults are tried: a window over four parts, of either form, and what is true there.

The truth is worked out from the arrays of the sample archive; nothing of it comes from a fetch.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.values import State, Window
from tests.archive.layout import Tile, footprint, npy_header
from tests.archive.sample import SampleArchive
from tests.archive.zarr_shards import ABSENT, read_index

STORE = "v1.1"
NPY_DIR = "v1.1-cam"
DATASET = "1.1-cambridge"
YEAR = 2024
SHARD_PX, CHUNK_PX, SIDE = 4096, 32, 128
DEPTH = 128

WINDOWS = {
    "zarr": Window(36, -40, 45135, 60, 195),  # a lake on the left, never written on the right
    "npy": Window(31, -578_737, 30_100, 20, 150),  # where four tiles overlap
}

LARGE = {
    "zarr": Window(36, -60, 45130, 100, 210),
    "npy": Window(31, -578_760, 30_100, 40, 150),
}
"""The same with some more around it: where time is needed for something to happen."""


@dataclass(frozen=True)
class Part:
    """A part of the archive, as a failure names it."""

    name: str
    place: Window
    codes: str
    """Path of its object."""
    scales: str


@dataclass(frozen=True)
class Truth:
    """What a source has to give for a window."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    """NaN where not valid."""
    states: NDArray[np.uint8]
    """VALID; WATER, OUTSIDE, NODATA where the form tells them apart, else NODATA."""


@functools.lru_cache(maxsize=1)
def archive() -> SampleArchive:
    """Return the archive that all scenes are of."""
    return SampleArchive()


@dataclass(frozen=True)
class Scene:
    """A window of one form."""

    form: str
    window: Window

    @functools.cached_property
    def truth(self) -> Truth:
        """What is true of its pixels."""
        return _of_store(self.window) if self.form == "zarr" else _of_tiles(self.window)

    def truth_without(self, names: Sequence[str]) -> Truth:
        """Return what would be true without some parts: of tiles, the next one wins."""
        if not names or self.form == "zarr":
            return self.truth
        return _of_tiles(self.window, names)

    @functools.cached_property
    def parts(self) -> Tuple[Part, ...]:
        """All parts that meet the window."""
        every = _shards(self.window) if self.form == "zarr" else _tiles(self.window)
        return tuple(part for part in every if part.place.intersection(self.window))

    def place_of(self, name: str) -> Optional[Window]:
        """Return the pixels of what a failure names; None for everything. Raises: KeyError."""
        if name in (STORE, "tiles"):
            return None
        parts = {part.name: part.place for part in self.parts}
        if self.form == "npy":  # one that there is not may fail too, before that is known
            place = footprint(Tile.parse(name))
            return Window(place.zone, place.row, place.col, place.height, place.width)
        match = re.fullmatch(r"(utm\d\d \d+/\d+) (?:\w+ chunk|cell) (\d+)/(\d+)", name)
        if match is None:
            return parts[name]
        shard = parts[match[1]]
        row, col = shard.row + CHUNK_PX * int(match[2]), shard.col + CHUNK_PX * int(match[3])
        return Window(shard.zone, row, col, CHUNK_PX, CHUNK_PX)

    def mask(self, place: Optional[Window]) -> NDArray[np.bool_]:
        """Return which pixels of the window lie in a place; all for None."""
        mask = np.full(self.window.shape, place is None)
        inside = place.intersection(self.window) if place is not None else None
        if inside is not None:
            mask[inside.slices_in(self.window)] = True
        return mask

    def units_of(self, path: str, span: Tuple[int, int]) -> Iterator[Tuple[str, Window]]:
        """Yield what lies in a range of an object, in the order of its bytes: name and pixels."""
        part = next(part for part in self.parts if path in (part.codes, part.scales))
        yield from (_chunks if self.form == "zarr" else _rows)(part, path, span)


@functools.lru_cache(maxsize=16)
def scene(form: str, window: Optional[Window] = None) -> Scene:
    """Return the scene of a form, or another window of it."""
    return Scene(form, window or WINDOWS[form])


# --- stores


def _of_store(window: Window) -> Truth:
    place = (window.zone, window.row, window.col, window.height, window.width)
    codes, told = archive().zarr_window(STORE, YEAR, *place)
    valid = _valid(codes, told)
    states = np.full(window.shape, State.NODATA, np.uint8)
    states[np.isnan(told)] = State.WATER
    states[np.isposinf(told)] = State.OUTSIDE
    return _truth(codes, told, valid, states)


def _shards(window: Window) -> Iterator[Part]:
    store = archive().zarr.stores[STORE]
    grid = next(grid for grid in store.grids if grid.zone == window.zone)
    time = store.times.index(YEAR)
    first_row, first_col = (window.row - grid.row) // SHARD_PX, (window.col - grid.col) // SHARD_PX
    last_row = (window.stop_row - 1 - grid.row) // SHARD_PX
    last_col = (window.stop_col - 1 - grid.col) // SHARD_PX
    for row in range(first_row, last_row + 1):
        for col in range(first_col, last_col + 1):
            top, left = grid.row + SHARD_PX * row, grid.col + SHARD_PX * col
            root = f"zarr/{STORE}/{grid.group}"
            yield Part(
                f"{grid.group} {row}/{col}",
                Window(grid.zone, top, left, SHARD_PX, SHARD_PX),
                f"{root}/embeddings/c/{time}/0/{row}/{col}",
                f"{root}/scales/c/{time}/{row}/{col}",
            )


@functools.lru_cache(maxsize=32)
def chunks_of(path: str) -> Tuple[Tuple[int, int, int, int], ...]:
    """Return the chunks of a shard's object, by offset: first byte, stop, row, column."""
    found = archive().find(path)
    if found is None:
        return ()
    index = read_index(found.read(found.length - 16 * SIDE * SIDE - 4, found.length), SIDE)
    rows, cols = np.nonzero(index[..., 0] != ABSENT)
    listed = [(int(index[r, c, 0]), int(index[r, c].sum()), int(r), int(c))
              for r, c in zip(rows, cols)]  # fmt: skip
    return tuple(sorted(listed))


def _chunks(part: Part, path: str, span: Tuple[int, int]) -> Iterator[Tuple[str, Window]]:
    for start, stop, row, col in chunks_of(path):
        if start < span[1] and span[0] < stop:
            top, left = part.place.row + CHUNK_PX * row, part.place.col + CHUNK_PX * col
            yield f"chunk {row}/{col}", Window(part.place.zone, top, left, CHUNK_PX, CHUNK_PX)


# --- tiles


def _of_tiles(window: Window, without: Sequence[str] = ()) -> Truth:
    codes = np.zeros((*window.shape, DEPTH), np.int8)
    told = np.full(window.shape, np.nan, np.float32)
    valid = np.zeros(window.shape, bool)
    reached = np.zeros(window.shape, bool)
    for part in _tiles(window):  # ascending: the first valid one wins
        inside = part.place.intersection(window)
        if inside is None or part.name in without:
            continue
        there = inside.slices_in(part.place)
        rows = (there[0].start, there[0].stop)
        own, scales = archive().tile_arrays(NPY_DIR, YEAR, part.name, rows)
        own, scales = own[:, there[1]], scales[:, there[1]]
        here = inside.slices_in(window)
        take = _valid(own, scales) & ~valid[here]
        codes[here][take], told[here][take] = own[take], scales[take]
        valid[here] |= take
        reached[here] = True
    states = np.where(reached, State.NODATA, State.OUTSIDE).astype(np.uint8)
    return _truth(codes, told, valid, states)


def _tiles(window: Window) -> List[Part]:
    parts = []
    for name in archive().tile_names(NPY_DIR):
        place = archive().footprint(name)
        if place.zone != window.zone:
            continue
        root = f"npy/{NPY_DIR}/{YEAR}/{name}/{name}"
        inside = Window(place.zone, place.row, place.col, place.height, place.width)
        parts.append(Part(name, inside, f"{root}.npy", f"{root}_scales.npy"))
    return parts


def _rows(part: Part, path: str, span: Tuple[int, int]) -> Iterator[Tuple[str, Window]]:
    place = part.place
    if path == part.codes:
        head, row_bytes = npy_header((*place.shape, DEPTH), "|i1"), place.width * DEPTH
    else:
        head, row_bytes = npy_header(place.shape, "<f4"), place.width * 4
    first = max(span[0] - len(head), 0) // row_bytes
    stop = -(-max(span[1] - len(head), 0) // row_bytes)
    for row in range(first, min(stop, place.height)):
        yield f"row {row}", Window(place.zone, place.row + row, place.col, 1, place.width)


# --- both


def _valid(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (scales > 0) & (scales < 1) & codes.any(axis=-1)
    return found


def _truth(
    codes: NDArray[np.int8],
    told: NDArray[np.float32],
    valid: NDArray[np.bool_],
    states: NDArray[np.uint8],
) -> Truth:
    states[valid] = State.VALID
    return Truth(
        np.where(valid[..., None], codes, np.int8(0)),
        np.where(valid, told, np.float32(np.nan)),
        states,
    )


def counts(states: NDArray[np.uint8]) -> Dict[State, int]:
    """Return how many pixels are in each state."""
    return {state: int(np.count_nonzero(states == state)) for state in State}
