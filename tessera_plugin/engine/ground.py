# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What labels stand on: which share ground, so that one would tell the answer for the other.

A label of a polygon covers all of it, also where only some of its pixels were chosen; and a place
looks much the same from year to year.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.polygons import ZonePolygon
from ..values import Window

SLIVER = 0.1
"""Labels that have less than this share of the smaller one in common are neighbours whose edges were
drawn carelessly: taking them together would chain all fields of a plain into one."""

ZONE, ROW, COL, LABEL = range(4)


@dataclass(frozen=True)
class LargeLabel:
    """A polygon of which only some pixels were chosen."""

    label: int
    parts: Tuple[ZonePolygon, ...]


@dataclass(frozen=True, eq=False)
class Ground:
    """What labels cover."""

    claims: NDArray[np.int64]
    """(m, 4): zone, row, column, label; ascending, each once. All pixels that a label was made of,
    also those that went to another one or were left out."""
    large: Tuple[LargeLabel, ...] = ()

    @classmethod
    def of(cls, claims: NDArray[np.int64], large: Sequence[LargeLabel] = ()) -> Ground:
        """Return the ground of claims (m, 4) in any order."""
        return cls.of_ordered(claims[np.lexsort(claims.T[::-1])], large)

    @classmethod
    def of_ordered(cls, ordered: NDArray[np.int64], large: Sequence[LargeLabel] = ()) -> Ground:
        """Return the ground of ascending claims (m, 4)."""
        is_new = np.ones(len(ordered), bool)
        is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        return cls(ordered[is_new], tuple(large))

    @classmethod
    def joined(cls, parts: Sequence[Tuple[Ground, NDArray[np.int64]]]) -> Ground:
        """Return that of several with the new numbers (labels,) of each one's labels."""
        claims = []
        large: Dict[int, LargeLabel] = {}
        for ground, number in parts:
            moved = ground.claims.copy()
            moved[:, LABEL] = number[moved[:, LABEL]]
            claims.append(moved)
            for each in ground.large:
                label = int(number[each.label])
                large.setdefault(label, replace(each, label=label))
        return cls.of(np.concatenate(claims), tuple(large.values()))

    def among(self, is_present: NDArray[np.bool_]) -> Ground:
        """Return that of some labels (labels,)."""
        large = tuple(each for each in self.large if is_present[each.label])
        return Ground(self.claims[is_present[self.claims[:, LABEL]]], large)

    @property
    def places(self) -> NDArray[np.int64]:
        """Return `place_numbers` of the claims (m,)."""
        return place_numbers(*self.claims[:, :LABEL].T)


class PixelIndex:
    """Pixels in the order of zone and row, to be found by polygons."""

    def __init__(
        self, zone: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64]
    ) -> None:
        self._lines = _line(zone, row)
        self._row, self._col = row, col

    def strangers(
        self, parts: Sequence[ZonePolygon], values: NDArray[np.int64], own: int
    ) -> NDArray[np.int64]:
        """Return the indices of the pixels in a polygon whose value (n,) is not its own."""
        found: List[NDArray[np.int64]] = [np.empty(0, np.int64)]
        for zone_polygon in parts:
            for window in zone_polygon.windows():
                ends = _line(np.array(window.zone), np.array([window.row, window.stop_row]))
                first, stop = np.searchsorted(self._lines, ends)
                row, col = self._row[first:stop], self._col[first:stop]
                near = values[first:stop] != own
                near &= (col >= window.col) & (col < window.stop_col)
                at = np.flatnonzero(near)
                if len(at):
                    row, col = row[at], col[at]
                    box = Window.between(
                        window.zone, int(row.min()), int(col.min()),
                        int(row.max()) + 1, int(col.max()) + 1,
                    )  # fmt: skip
                    mask = zone_polygon.mask(box)
                    found.append(first + at[mask[row - box.row, col - box.col]])
        return np.concatenate(found)


def place_numbers(
    zone: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return one number per pixel of the zone grids (n,); rows and columns are below 2**25."""
    numbers: NDArray[np.int64] = (zone << 52) + ((row + 2**25) << 26) + (col + 2**25)
    return numbers


def settle(
    is_first: NDArray[np.bool_], classes: NDArray[np.int64], contested: NDArray[np.bool_]
) -> Tuple[NDArray[np.bool_], int, int]:
    """Return which claims are kept, how many say it again, and how many pixels are left out.

    A pixel is used once, by its first claim, and not at all where classes differ or one claim is
    contested. Shapes: all (m,), the claims of a pixel after each other.
    """
    pixel = np.cumsum(is_first) - 1
    # class of a pixel's first claim against that of every further one
    bad = contested | (classes != classes[is_first][pixel])
    if len(pixel):
        bad = np.bincount(pixel, weights=bad)[pixel] > 0
    return is_first & ~bad, int(np.sum(~is_first & ~bad)), int(np.sum(is_first & bad))


def units_of(ground: Ground, labels: int) -> NDArray[np.int64]:
    """Return the unit of each label (labels,): labels that share ground are in one.

    A unit has the number of its first label.
    """
    claims = ground.claims
    label = claims[:, LABEL]
    sizes = np.bincount(label, minlength=labels)
    same = (claims[1:, :LABEL] == claims[:-1, :LABEL]).all(axis=1)
    # neighbours in the order of labels do: a third label on these pixels ties the outer two
    first, second, shared = _pairs(label[:-1][same], label[1:][same], labels)
    tied = shared >= SLIVER * np.minimum(sizes[first], sizes[second])
    ends = [np.column_stack([first, second])[tied]]
    index = PixelIndex(*claims[:, :LABEL].T)
    for each in ground.large:
        others, inside = np.unique(
            label[index.strangers(each.parts, label, each.label)], return_counts=True
        )
        others = others[inside >= SLIVER * sizes[others]]
        ends.append(np.column_stack([np.full(len(others), each.label), others]))
    return _components(labels, np.concatenate(ends))


def standing_on(mine: Ground, other: Ground) -> NDArray[np.int64]:
    """Return the labels that share any pixel with a label of another ground."""
    label = mine.claims[:, LABEL]
    found = [label[np.isin(mine.places, other.places)]]
    nobody = -1
    index = PixelIndex(*mine.claims[:, :LABEL].T)
    found += [label[index.strangers(each.parts, label, nobody)] for each in other.large]
    index = PixelIndex(*other.claims[:, :LABEL].T)
    whose = other.claims[:, LABEL]
    found += [
        np.array([each.label])
        for each in mine.large
        if len(index.strangers(each.parts, whose, nobody))
    ]
    labels: NDArray[np.int64] = np.unique(np.concatenate(found))
    return labels


def _line(zone: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number that orders by zone, then row; rows are a few million at most."""
    return zone * 2**32 + row


def _pairs(
    first: NDArray[np.int64], second: NDArray[np.int64], labels: int
) -> Tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each pair once and how often it is there."""
    pairs, counts = np.unique(first * labels + second, return_counts=True)
    return pairs // max(labels, 1), pairs % max(labels, 1), counts


def _components(count: int, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first node that each node (count,) hangs together with, by edges (e, 2)."""
    root = np.arange(count)
    while len(ends):
        low, high = np.sort(root[ends], axis=1).T
        apart = low != high
        if not apart.any():
            break
        ends, low, high = ends[apart], low[apart], high[apart]
        np.minimum.at(root, high, low)
        while not np.array_equal(root, root[root]):
            root = root[root]
    return root
