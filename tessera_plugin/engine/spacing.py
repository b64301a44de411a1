# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How far labels lie apart, and how far what they show reaches: what a spatial test needs to know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional

import numpy as np
from numpy.typing import NDArray

from ..io.projection import LONLAT, transform_points, zone_crs
from ..values import PIXEL_M
from .accuracy import majority
from .embeddings import dequantise
from .samples import Samples

MOST_LABELS = 1500
"""Of more labels so many are drawn to measure distances."""

BINS = 12
LEAST_PAIRS = 30
"""Fewer pairs of labels than this in a bin of distance tell nothing."""

SILL_SHARE = 0.95
"""The range is where the difference has come to so much of what it is far apart."""

LEAST_BLOCK_PX = 10
AREA_GAP_M = 10_000.0
"""Labels with a gap like this between them lie in different areas."""

EARTH_M = 6_371_000.0


@dataclass(frozen=True, eq=False)
class LabelPlaces:
    """Where labels are; g of them. Those on the same ground are one."""

    names: NDArray[np.int64]
    """(g,), the numbers in `Samples.units`."""
    of_row: NDArray[np.int64]
    """(n,), which of them a row is of."""
    zone: NDArray[np.int64]
    """(g,)."""
    row: NDArray[np.float64]
    """(g,), of the middle of its pixels on the zone's grid."""
    col: NDArray[np.float64]
    class_index: NDArray[np.int64]
    """(g,), of its most frequent class."""


@dataclass(frozen=True)
class BlockSize:
    """A size of spatial blocks, and what speaks for it."""

    block_px: int
    spacing_m: float
    """Median distance of a label to its nearest neighbour."""
    range_m: Optional[float]
    """From where on labels of one class are no longer more alike for being near; None where there
    are too few labels to tell."""

    def sentence(self) -> str:
        """Return it as an English sentence for the log and the command line."""
        told = (
            f"labels are alike up to {self.range_m:,.0f} m"
            if self.range_m is not None
            else "too few labels tell how far they are alike"
        )
        return (
            f"Blocks of {self.block_px * PIXEL_M:,} m: the nearest label is {self.spacing_m:,.0f} m "
            f"away, and {told}."
        )


def label_places(samples: Samples, y: NDArray[np.int64]) -> LabelPlaces:
    """Return where the labels of samples are. Shapes: y (n,), index of a row's class."""
    names, first, of_row, sizes = np.unique(
        samples.units, return_index=True, return_inverse=True, return_counts=True
    )
    return LabelPlaces(
        names, of_row, samples.zone[first],
        np.bincount(of_row, samples.row) / sizes, np.bincount(of_row, samples.col) / sizes,
        majority(y, of_row, len(names)),
    )  # fmt: skip


def suggested_block(samples: Samples, places: LabelPlaces, folds: int = 5) -> BlockSize:
    """Return the size of blocks that labels' spacing suggests.

    As large as labels are alike, and twice the distance to the nearest neighbour at least, for
    smaller blocks would hold a label each; but so small that there are twice as many blocks with
    labels as folds, where the labels' extent allows.
    """
    drawn = _drawn(len(places.names))
    xyz = _on_earth(places)[drawn]
    distance = _distances(xyz)
    nearest = np.where(np.eye(len(drawn), dtype=bool), np.inf, distance).min(axis=1)
    spacing = float(np.median(nearest)) if len(drawn) > 1 else 0.0
    spacing = spacing if math.isfinite(spacing) else 0.0
    reach = _range(distance, _residuals(samples, places)[drawn], places.class_index[drawn])
    wanted = max(2 * spacing, reach or 0.0) / PIXEL_M
    size = max(LEAST_BLOCK_PX, math.ceil(wanted))
    while size > LEAST_BLOCK_PX and block_count(places, size) < 2 * folds:
        size = max(LEAST_BLOCK_PX, int(size * 0.8))
    return BlockSize(size, spacing, reach)


def block_count(places: LabelPlaces, block_px: int) -> int:
    """Return how many blocks hold labels."""
    return len(np.unique(blocks_of(places, block_px), axis=0))


def blocks_of(places: LabelPlaces, block_px: int) -> NDArray[np.int64]:
    """Return the block of each label (g, 3): zone, and number down and across the zone's grid."""
    down, across = (np.floor(at / block_px).astype(np.int64) for at in (places.row, places.col))
    return np.column_stack([places.zone, down, across])


def areas_of(places: LabelPlaces) -> NDArray[np.int64]:
    """Return the number of the area of each label (g,): gaps of 10 km lie between areas."""
    xyz = _on_earth(places)
    area = np.full(len(xyz), -1)
    count = 0
    for start in range(len(xyz)):
        if area[start] >= 0:
            continue
        area[start] = count
        reached: List[int] = [start]
        while reached:
            away = np.linalg.norm(xyz - xyz[reached.pop()], axis=1)
            near = np.flatnonzero((away < AREA_GAP_M) & (area < 0))
            area[near] = count
            reached += near.tolist()
        count += 1
    return area


def _range(
    distance: NDArray[np.float64], residuals: NDArray[np.float64], class_index: NDArray[np.int64]
) -> Optional[float]:
    """Return the range of an empirical variogram of what labels of one class differ in (m).

    Each bin holds the mean half square of the difference of pairs at such a distance; the bins are
    of equal ratio. The sill is that of pairs farther than the median.
    """
    first, second = np.triu_indices(len(distance), 1)
    same = class_index[first] == class_index[second]
    away = distance[first[same], second[same]]
    square = (residuals**2).sum(axis=1)
    product = residuals @ residuals.T
    half = 0.5 * (square[first] + square[second] - 2 * product[first, second])[same]
    if len(away) < 4 * LEAST_PAIRS or away.max() <= 0:
        return None
    sill = half[away >= np.median(away)].mean()
    closest = float(np.partition(away, LEAST_PAIRS)[LEAST_PAIRS])  # so the first bin is not empty
    edges = np.geomspace(max(closest, PIXEL_M), away.max(), BINS + 1)
    reach = None
    for start, stop in zip(edges[:-1], edges[1:]):
        inside = (away >= start) & (away < stop)
        if inside.sum() >= LEAST_PAIRS and half[inside].mean() < SILL_SHARE * sill:
            reach = float(stop)  # still alike at this distance
        elif inside.sum() >= LEAST_PAIRS:
            break
    # alike at no distance: what the spacing says is enough
    return reach if reach is not None else 0.0


def _residuals(samples: Samples, places: LabelPlaces) -> NDArray[np.float64]:
    """Return what the mean embedding of a label differs by from its class's (g, D), standardised."""
    count = len(places.names)
    sums = np.zeros((count, samples.codes.shape[1]))
    np.add.at(sums, places.of_row, dequantise(samples.codes, samples.scales))
    means = sums / np.bincount(places.of_row, minlength=count)[:, None]
    for index in np.unique(places.class_index):
        mine = places.class_index == index
        means[mine] -= means[mine].mean(axis=0)
    spread = means.std(axis=0)
    spread[spread <= 0] = 1
    return np.asarray(means / spread, np.float64)


def _on_earth(places: LabelPlaces) -> NDArray[np.float64]:
    """Return the labels as points of a sphere (g, 3) in metres: zones and seams don't matter there.

    Chords are as long as distances to a part in a thousand within 1,000 km.
    """
    lonlat = np.empty((len(places.names), 2))
    for zone in np.unique(places.zone):
        mine = places.zone == zone
        xy = np.column_stack([places.col[mine] + 0.5, -(places.row[mine] + 0.5)])
        xy = PIXEL_M * xy.astype(np.float64)
        lonlat[mine] = transform_points(xy, zone_crs(int(zone)), LONLAT)
    return in_space(lonlat)


def in_space(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places in degrees (n, 2) as points of a sphere (n, 3) in metres."""
    lon, lat = np.radians(lonlat).T
    up = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    return np.asarray(EARTH_M * up, np.float64)


def _distances(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    away: NDArray[np.float64] = np.linalg.norm(xyz[:, None] - xyz[None], axis=2)
    return away


def _drawn(count: int) -> NDArray[np.int64]:
    if count <= MOST_LABELS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_LABELS, replace=False))
