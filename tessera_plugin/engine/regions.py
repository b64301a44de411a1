# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Connected regions of a mask, row by row as runs of pixels: no loop over pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from .seams import Seam


@dataclass(frozen=True, eq=False)
class Patches:
    """The largest regions of a mask."""

    mask: NDArray[np.bool_]
    """(H, W), of those that were kept."""
    sizes: NDArray[np.int64]
    """Pixels of those that were kept, the largest first."""
    left_out: int
    """How many were large enough, but more than were wanted."""


def connected(mask: NDArray[np.bool_], seeds: Sequence[Tuple[int, int]]) -> NDArray[np.bool_]:
    """Return the pixels of a mask that hang together with a seed by their edges.

    Shapes: mask and result (H, W); seeds are (row, column), those outside of the mask count nothing.
    """
    return around(mask, seeds).mask


def around(mask: NDArray[np.bool_], seeds: Sequence[Tuple[int, int]]) -> Patches:
    """Return the regions of a mask (H, W) that hold a seed (row, column)."""
    return around_all([mask], [seeds])[0]


def around_all(
    masks: Sequence[NDArray[np.bool_]],
    seeds: Sequence[Sequence[Tuple[int, int]]],
    seams: Sequence[Seam] = (),
) -> Tuple[Patches, ...]:
    """Return the regions of each mask (H, W) that hang together with a seed of any of them.

    Seeds are (row, column) of their mask; over a seam regions of two masks hang together.
    """
    regions = [_Regions.of(mask) for mask in masks]
    wanted = [np.zeros(len(each.starts), np.bool_) for each in regions]
    for each, is_wanted, places in zip(regions, wanted, seeds):
        at = each.at(np.array(places, np.int64).reshape(-1, 2))
        is_wanted[at[at >= 0]] = True
    bridges = []
    for seam in seams:
        (one, other), (here, there) = seam.windows, seam.pixels
        ends = np.column_stack([regions[one].at(here), regions[other].at(there)])
        ends = np.unique(ends[(ends >= 0).all(axis=1)], axis=0)
        if len(ends):
            bridges.append((wanted[one], wanted[other], *ends.T))
    grows = True
    while grows:
        grows = False
        for is_here, is_there, here, there in bridges:
            reached = is_here[here] | is_there[there]
            grows = grows or not (is_here[here] & is_there[there])[reached].all()
            is_here[here[reached]] = True
            is_there[there[reached]] = True
    return tuple(each.patches(is_wanted) for each, is_wanted in zip(regions, wanted))


def patches(mask: NDArray[np.bool_], least_px: int = 1, most: int = 0) -> Patches:
    """Return the regions of a mask (H, W) that have some pixels at least, the `most` largest of them.

    Pixels hang together by their edges; `most` 0 is all. Of regions of a size the first ones are kept.
    """
    starts, stops, width = _runs(mask)
    regions = _regions(starts, stops, width)
    sizes = np.bincount(regions, weights=stops - starts, minlength=len(starts)).astype(np.int64)
    large = np.flatnonzero(sizes >= max(least_px, 1))
    kept = large[np.argsort(-sizes[large], kind="stable")][: most or None]
    is_kept = np.zeros(len(starts), np.bool_)
    is_kept[kept] = True
    wanted = is_kept[regions]
    filled = _filled(starts[wanted], stops[wanted], mask.shape[0], width)
    return Patches(filled, sizes[kept], len(large) - len(kept))


@dataclass(frozen=True, eq=False)
class _Regions:
    """The regions of a mask as runs of pixels; a region has the number of its first run."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    of_run: NDArray[np.int64]
    """Which region each run is of."""
    height: int
    width: int
    """Of the rows that runs are counted in: one more than the mask's."""

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Regions:
        starts, stops, width = _runs(mask)
        return cls(starts, stops, _regions(starts, stops, width), len(mask), width)

    def at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the region at each place (n, 2): row and column; -1 where there is none."""
        if not len(self.starts):
            return np.full(len(places), -1)
        row, col = places.T
        flat = row * self.width + col
        run = np.searchsorted(self.starts, flat, side="right") - 1
        inside = (run >= 0) & (flat < self.stops[run]) & (col >= 0) & (col < self.width)
        return np.where(inside, self.of_run[run], -1)

    def patches(self, is_wanted: NDArray[np.bool_]) -> Patches:
        """Return some of the regions, by number, the largest first."""
        chosen = is_wanted[self.of_run]
        starts, stops = self.starts[chosen], self.stops[chosen]
        sizes = np.bincount(self.of_run[chosen], weights=stops - starts).astype(np.int64)
        filled = _filled(starts, stops, self.height, self.width)
        return Patches(filled, np.sort(sizes[sizes > 0])[::-1], 0)


def _filled(
    starts: NDArray[np.int64], stops: NDArray[np.int64], height: int, width: int
) -> NDArray[np.bool_]:
    """Return the mask (height, width - 1) of runs."""
    # plus one where a run begins, minus one behind its end: their running sum is the mask
    steps = np.zeros(height * width + 1, np.int8)
    steps[starts] += 1
    steps[stops] -= 1
    filled = np.cumsum(steps[:-1], dtype=np.int8).astype(np.bool_)
    return np.ascontiguousarray(filled.reshape(height, width)[:, :-1])


def _runs(mask: NDArray[np.bool_]) -> Tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return where runs of pixels start and stop, in rows that are one column wider than the mask.

    The further column is never in it, so that no run goes on into the next row.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 1), np.int8)
    padded[:, :width] = mask
    changes = np.diff(padded.ravel(), prepend=0)
    return np.flatnonzero(changes == 1), np.flatnonzero(changes == -1), width + 1


def _regions(starts: NDArray[np.int64], stops: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return for each run the first run of its region.

    Runs are hooked on the smallest region they touch until none touches another: a few rounds.
    """
    upper, lower = _touching(starts, stops, width)
    root = np.arange(len(starts))
    while True:
        ends = np.sort([root[upper], root[lower]], axis=0)
        apart = ends[0] < ends[1]
        if not apart.any():
            return root
        upper, lower, (low, high) = upper[apart], lower[apart], ends[:, apart]
        order = np.argsort(
            -low, kind="stable"
        )  # of several writes the last one, the smallest, stays
        root[high[order]] = low[order]
        while True:
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further


def _touching(
    starts: NDArray[np.int64], stops: NDArray[np.int64], width: int
) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of runs that share an edge between two rows."""
    first = np.searchsorted(stops, starts + width, side="right")
    last = np.searchsorted(starts, stops + width, side="left")
    count = last - first
    upper = np.repeat(np.arange(len(starts)), count)
    # 0, 1, … within each run's share, from its first one on
    within = np.arange(len(upper)) - np.repeat(np.cumsum(count) - count, count)
    return upper, np.repeat(first, count) + within
