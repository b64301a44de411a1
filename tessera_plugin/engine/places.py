# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Places worth a label: uncertain or unlike any label, and spread out over the map and the embeddings.

On the sample archive an instant head that begins with six labels of three classes has, after five
rounds of six labels, a mean accuracy of the classes of 0.85 with suggested places and 0.69 with random
ones (bench/explore.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.projection import LONLAT, transform_points, zone_crs
from ..values import BLOCK_PX, PIXEL_M, LandClass
from .heads.base import Head
from .near_labels import NearLabels
from .novelty import Novelty
from .percent_maps import Strip
from .similarity import unit
from .spacing import in_space

CELL_PX = 8
"""Of a square of this edge one pixel at most can be a place."""

PER_BLOCK = 8
"""Of a block of the cache so many cells at most are kept as candidates."""

POOL = 4000
"""Candidates that are kept in all, those with the highest score."""


@dataclass(frozen=True)
class Place:
    """A pixel that is worth a label, and why."""

    lon: float
    lat: float
    zone: int
    row: int
    col: int
    uncertainty: float
    """0 to 1: one minus the margin between the two most probable classes."""
    novelty: float
    """Over 1 it is further from all labels than they are from each other."""
    best: LandClass
    second: LandClass
    best_probability: float
    second_probability: float

    @property
    def is_novel(self) -> bool:
        """Whether it is unlike all labels."""
        return self.novelty > 1

    @property
    def is_uncertain(self) -> bool:
        """Whether the second class is at least half as probable as the best."""
        return self.second_probability >= 0.5 * self.best_probability

    def reasons(self) -> Tuple[str, ...]:
        """Return why it is suggested, as English sentences; there is one at least."""
        told: List[str] = []
        if self.is_uncertain:
            told.append(
                f"It could be {self.best.name} ({self.best_probability:.0%}) or "
                f"{self.second.name} ({self.second_probability:.0%})."
            )
        if self.is_novel:
            told.append(
                f"It is unlike every label: {self.novelty:.2f} times as far from the nearest as labels "
                "are from each other at most."
            )
        if not told:
            told.append(
                f"It is far from the other places; {self.best.name} is held to be "
                f"{self.best_probability:.0%} probable."
            )
        return tuple(told)


@dataclass
class Candidates:
    """Collects the pixels with the highest scores, strip by strip, a bounded number of them.

    What is near labels is none of them. The strips' first raster is uncertainty in percent, the second novelty in percent of the limit.
    The score is the mean of both, over the 3 x 3 pixels around: a lone mixed pixel on a border is a
    bad place for a label.
    """

    depth: int
    near: NearLabels = field(default_factory=NearLabels)
    """What is taken already."""
    valid_px: int = field(init=False, default=0)
    """Valid pixels that were looked at, also those near labels."""
    codes: NDArray[np.int8] = field(init=False)
    scales: NDArray[np.float32] = field(init=False)
    scores: NDArray[np.float32] = field(init=False)
    at: NDArray[np.int64] = field(init=False)
    """(n, 3): zone, row, column."""
    novelty_percent: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.codes = np.empty((0, self.depth), np.int8)
        self.scales = np.empty(0, np.float32)
        self.scores = np.empty(0, np.float32)
        self.at = np.empty((0, 3), np.int64)
        self.novelty_percent = np.empty(0, np.uint8)

    def __call__(self, strip: Strip) -> None:
        """Take the best cells of each block of a strip."""
        uncertain, novel = strip.values
        score = _smoothed(score_of(uncertain, novel), strip.valid)
        score[self.near.mask(strip.window)] = -1
        self.valid_px += int(strip.valid.sum())
        for block in strip.window.blocks():
            here = block.slices_in(strip.window)
            rows, cols = _best_cells(score[here])
            inside = rows + here[0].start, cols + here[1].start
            zone = np.full(len(rows), block.zone)
            self.add(
                strip.codes[inside], strip.scales[inside], score[inside],
                np.column_stack([zone, rows + block.row, cols + block.col]), novel[inside],
            )  # fmt: skip

    def add(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        scores: NDArray[np.float32],
        at: NDArray[np.int64],
        novelty_percent: NDArray[np.uint8],
    ) -> None:
        """Take valid pixels with their scores. Shapes: codes (n, D); at (n, 3); all others (n,)."""
        every = np.concatenate([self.scores, scores])
        first = np.argsort(-every, kind="stable")[:POOL]
        self.scores = every[first]
        self.codes = np.concatenate([self.codes, codes])[first]
        self.scales = np.concatenate([self.scales, scales])[first]
        self.at = np.concatenate([self.at, at])[first]
        self.novelty_percent = np.concatenate([self.novelty_percent, novelty_percent])[first]


def score_of(uncertain: NDArray[np.uint8], novel: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much a pixel is worth a label, 0 to 1. Shapes: all (H, W)."""
    capped = np.minimum(novel, 200).astype(np.float32) / 200
    return (np.minimum(uncertain, 100).astype(np.float32) / 100 + capped) / 2


def choose(candidates: Candidates, head: Head, novelty: Novelty, count: int) -> Tuple[Place, ...]:
    """Return at most `count` places, the most useful first.

    Each next one has the highest score times how far it is from those before, on the map and in the
    embeddings; far enough is the spacing that so many places evenly spread would have, and the mean
    distance of the labels.
    """
    total = len(candidates.scores)
    if not total:
        return ()
    lonlat = _lonlat(candidates.at)
    positions = in_space(lonlat)
    directions = unit(candidates.codes)
    spacing_m = _spacing_m(positions, count)
    worth = candidates.scores.astype(np.float64)
    chosen: List[int] = []
    while len(chosen) < min(count, total) and worth.max() > 0:
        newest = int(worth.argmax())
        chosen.append(newest)
        apart_m = np.sqrt(((positions - positions[newest]) ** 2).sum(axis=1))
        apart = np.sqrt(np.maximum(2 - 2 * (directions @ directions[newest]), 0))
        nearness = np.minimum(apart_m / spacing_m, 1) * np.minimum(apart / novelty.mean_distance, 1)
        # the nearest of those before decides
        worth = np.minimum(worth, candidates.scores * nearness)
        worth[chosen] = 0
    return _places(candidates, chosen, lonlat, head, novelty)


def _places(
    candidates: Candidates,
    chosen: List[int],
    lonlat: NDArray[np.float64],
    head: Head,
    novelty: Novelty,
) -> Tuple[Place, ...]:
    codes, scales = candidates.codes[chosen], candidates.scales[chosen]
    probabilities = head.probabilities(codes, scales)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    index = novelty.index(codes) / novelty.limit
    places = []
    for number, (pick, (best, second)) in enumerate(zip(chosen, order.tolist())):
        zone, row, col = candidates.at[pick].tolist()
        first, other = (float(probabilities[number, each]) for each in (best, second))
        places.append(Place(
            lon=float(lonlat[pick, 0]), lat=float(lonlat[pick, 1]), zone=zone, row=row, col=col,
            uncertainty=1 - (first - other), novelty=float(index[number]),
            best=head.classes[best], second=head.classes[second],
            best_probability=first, second_probability=other,
        ))  # fmt: skip
    return tuple(places)


def _best_cells(score: NDArray[np.float32]) -> Tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of the best pixel of the block's best cells; scores below 0 are none."""
    height, width = score.shape
    rows, cols = -(-height // CELL_PX), -(-width // CELL_PX)
    padded = np.full((rows * CELL_PX, cols * CELL_PX), -1, np.float32)
    padded[:height, :width] = score
    cells = padded.reshape(rows, CELL_PX, cols, CELL_PX).swapaxes(1, 2).reshape(rows * cols, -1)
    within = cells.argmax(axis=1)
    highest = cells[np.arange(len(cells)), within]
    best = np.argsort(-highest, kind="stable")[:PER_BLOCK]
    best = best[highest[best] >= 0]
    row = best // cols * CELL_PX + within[best] // CELL_PX
    col = best % cols * CELL_PX + within[best] % CELL_PX
    return row, col


def _smoothed(score: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean over the valid ones of the 3 x 3 pixels around; -1 where not valid."""
    sums, counts = _around(np.where(valid, score, np.float32(0))), _around(valid.astype(np.float32))
    return np.where(valid, sums / np.maximum(counts, 1), np.float32(-1))


def _around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of the 3 x 3 pixels around each."""
    padded = np.pad(values, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:], np.float32)


def _lonlat(at: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.empty((len(at), 2))
    for zone in np.unique(at[:, 0]):
        here = at[:, 0] == zone
        metres = (at[here][:, [2, 1]] + 0.5) * (PIXEL_M, -PIXEL_M)
        result[here] = transform_points(metres, zone_crs(int(zone)), LONLAT)
    return result


def _spacing_m(positions: NDArray[np.float64], count: int) -> float:
    """Return how far apart so many places would lie, spread over what the candidates cover."""
    covered = len(np.unique(np.floor(positions / (BLOCK_PX * PIXEL_M)), axis=0))
    return float(np.sqrt(covered / max(count, 1)) * BLOCK_PX * PIXEL_M)
