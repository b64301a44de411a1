# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Patches that overlap, on a grid that is the same wherever a map begins, and how they blend.

A pixel's value is the weighted mean of all patches that cover it. The patches lie at multiples of
their step on the zone grid, so that maps made in parts fit together without a seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Tuple

import numpy as np
from numpy.typing import NDArray

LEAST_WEIGHT = 1e-3
"""At a patch's very edge, where it knows least of what is around."""


@dataclass(frozen=True)
class Patches:
    """The patches that touch a rectangle of the zone grid."""

    size: int
    """Edge in pixels."""
    overlap: int

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"patches of {self.size} can't overlap by {self.overlap}")

    @property
    def step(self) -> int:
        """From one patch to the next."""
        return self.size - self.overlap

    def touching(self, row: int, col: int, height: int, width: int) -> List[Tuple[int, int]]:
        """Return row and column of the first pixel of each patch."""
        return [
            (top, left) for top in self._firsts(row, height) for left in self._firsts(col, width)
        ]

    def _firsts(self, start: int, length: int) -> Iterator[int]:
        first = -(-(start - self.size + 1) // self.step) * self.step
        yield from range(first, start + length, self.step)

    def weights(self) -> NDArray[np.float32]:
        """Return the weight of each pixel of a patch (size, size): less where patches overlap."""
        ramp = np.ones(self.size)
        if self.overlap:
            rising = (np.arange(self.overlap) + 0.5) / self.overlap
            ramp[: self.overlap] = rising
            ramp[-self.overlap :] = rising[::-1]
        ramp = np.maximum(ramp, LEAST_WEIGHT)
        return np.outer(ramp, ramp).astype(np.float32)


class Blend:
    """The weighted mean of patches over a rectangle."""

    def __init__(self, row: int, col: int, height: int, width: int, outputs: int) -> None:
        self._row, self._col = row, col
        self._sums = np.zeros((outputs, height, width), np.float32)
        self._weights = np.zeros((height, width), np.float32)

    def add(self, top: int, left: int, scores: NDArray[np.float32], w: NDArray[np.float32]) -> None:
        """Add a patch's scores (outputs, size, size) where it lies within the rectangle."""
        height, width = self._weights.shape
        first_row, first_col = max(top - self._row, 0), max(left - self._col, 0)
        stop_row = min(top - self._row + scores.shape[1], height)
        stop_col = min(left - self._col + scores.shape[2], width)
        rows, cols = slice(first_row, stop_row), slice(first_col, stop_col)
        down, right = self._row - top, self._col - left
        its_rows = slice(first_row + down, stop_row + down)
        its_cols = slice(first_col + right, stop_col + right)
        weights = w[its_rows, its_cols]
        self._sums[:, rows, cols] += scores[:, its_rows, its_cols] * weights
        self._weights[rows, cols] += weights

    def mean(self) -> NDArray[np.float32]:
        """Return the scores (outputs, height, width)."""
        found: NDArray[np.float32] = self._sums / self._weights
        return found
