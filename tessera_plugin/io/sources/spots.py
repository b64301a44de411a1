# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks that windows touch, which of them there is room for, and what is nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...values import BLOCK_PX, Window
from .blocks import block_of

FEW_BLOCKS = 4
"""Windows of more blocks are gone through block by block; only smaller ones are put together."""

Places = Tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rows and columns on the zone grid."""


@dataclass(frozen=True)
class Spot:
    """A block, the parts of it that are asked for, and a window that it is of."""

    block: Window
    parts: Tuple[Window, ...]
    window: Window


class Spots:
    """The blocks of windows, made as they are asked for: memory does not grow with an extent.

    A block of several small windows (the pixels of labels) comes once.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        self._large = [window for window in windows if not _is_small(window)]
        self._parts: Dict[Window, List[Window]] = {}
        self._windows: Dict[Window, Window] = {}
        for window in windows:
            for part in window.blocks() if _is_small(window) else ():
                block = block_of(part)
                self._parts.setdefault(block, []).append(part)
                self._windows.setdefault(block, window)

    def __iter__(self) -> Iterator[Spot]:
        for window in self._large:
            for part in window.blocks():
                yield Spot(block_of(part), (part,), window)
        for block, parts in self._parts.items():
            yield Spot(block, tuple(parts), self._windows[block])


class BlockSet:
    """A set of blocks, a byte for each place between them."""

    def __init__(self) -> None:
        self._masks: Dict[int, _Mask] = {}

    def add(self, window: Window) -> None:
        """Add the blocks that a window touches."""
        top, left = window.row // BLOCK_PX, window.col // BLOCK_PX
        stop_row, stop_col = (window.stop_row - 1) // BLOCK_PX, (window.stop_col - 1) // BLOCK_PX
        mask = self._masks.setdefault(window.zone, _Mask())
        mask.set(top, left, stop_row + 1, stop_col + 1)

    def __iter__(self) -> Iterator[Window]:
        for zone, mask in self._masks.items():
            for row, col in mask.places():
                yield Window(zone, row * BLOCK_PX, col * BLOCK_PX, BLOCK_PX, BLOCK_PX)


class _Mask:
    """True and false at integer places, over a rectangle that grows."""

    def __init__(self) -> None:
        self._top = self._left = 0
        self._bits: NDArray[np.bool_] = np.zeros((0, 0), dtype=np.bool_)

    def set(self, top: int, left: int, stop_row: int, stop_col: int) -> None:
        self._grow(top, left, stop_row, stop_col)
        rows = slice(top - self._top, stop_row - self._top)
        self._bits[rows, left - self._left : stop_col - self._left] = True

    def places(self) -> Iterator[Tuple[int, int]]:
        for index, row in enumerate(self._bits):
            for col in np.flatnonzero(row).tolist():
                yield self._top + index, self._left + col

    def _grow(self, top: int, left: int, stop_row: int, stop_col: int) -> None:
        height, width = self._bits.shape
        if not self._bits.size:
            self._top, self._left = top, left
        first = min(top, self._top), min(left, self._left)
        last = max(stop_row, self._top + height), max(stop_col, self._left + width)
        if first == (self._top, self._left) and last == (self._top + height, self._left + width):
            return
        bits = np.zeros([stop - start for start, stop in zip(first, last)], dtype=np.bool_)
        at = self._top - first[0], self._left - first[1]
        bits[at[0] : at[0] + height, at[1] : at[1] + width] = self._bits
        (self._top, self._left), self._bits = first, bits


class Nearness:
    """How far things are from where a fetch begins: a point per zone, or its windows' middle."""

    def __init__(
        self, windows: Sequence[Window], towards: Sequence[Tuple[int, int, int]] = ()
    ) -> None:
        self._points: Dict[int, Tuple[float, float]] = {}
        for zone in {window.zone for window in windows}:
            self._points[zone] = _middle([window for window in windows if window.zone == zone])
        self._points.update({zone: (float(row), float(col)) for zone, row, col in towards})

    def of_window(self, window: Window) -> Tuple[float, float]:
        """Return the distances of a window's nearest pixel and of its middle, in pixels."""
        row, col = self._point(window.zone, window)
        beside = (
            max(window.row - row, 0.0, row - window.stop_row),
            max(window.col - col, 0.0, col - window.stop_col),
        )
        middle = _middle([window])
        return float(np.hypot(*beside)), float(np.hypot(middle[0] - row, middle[1] - col))

    def of_places(self, zone: int, rows: Sequence[float], cols: Sequence[float]) -> float:
        """Return the distance of the nearest of some places, in pixels."""
        row, col = self._point(zone, None)
        return float(np.hypot(np.subtract(rows, row), np.subtract(cols, col)).min())

    def _point(self, zone: int, otherwise: Optional[Window]) -> Tuple[float, float]:
        if zone in self._points:
            return self._points[zone]
        return _middle([otherwise]) if otherwise else (0.0, 0.0)


def _is_small(window: Window) -> bool:
    rows = (window.stop_row - 1) // BLOCK_PX - window.row // BLOCK_PX + 1
    cols = (window.stop_col - 1) // BLOCK_PX - window.col // BLOCK_PX + 1
    return rows * cols <= FEW_BLOCKS


def _middle(windows: Sequence[Window]) -> Tuple[float, float]:
    rows = min(window.row for window in windows) + max(window.stop_row for window in windows)
    cols = min(window.col for window in windows) + max(window.stop_col for window in windows)
    return rows / 2, cols / 2
