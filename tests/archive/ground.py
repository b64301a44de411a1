# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The ground truth: a made-up land cover, the same wherever it is looked at from.

The land is parcels (Voronoi cells about jittered points) of two sizes: fields and woods of some
300 m, and in places finer ones of some 110 m, as in towns. What a parcel is follows from smooth
fields (town, wet, wooded, farmed) and a draw of its own. Everything is defined on longitude and
latitude and computed in blocks that start at multiples of 128 on the zone grid, so two tiles that
share a pixel share its ground, and so do two zones along their seam (to within half a pixel).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from tests.archive.layout import lonlat
from tests.archive.noise import hash64, normal, smooth, uniform

BLOCK_PX = 128


class LandClass(NamedTuple):
    id: int
    name: str
    color: str


CLASSES = (
    LandClass(1, "Cropland", "#e6c34c"),
    LandClass(2, "Grassland", "#9ccc65"),
    LandClass(3, "Woodland", "#2e7d32"),
    LandClass(4, "Built-up", "#c0504d"),
    LandClass(5, "Wetland", "#4fa3c7"),
    LandClass(6, "Bare ground", "#b8a58c"),
)

SUBTYPES = 3
"""Crops, kinds of wood, … within a class."""
LATENTS = 8
"""Ways in which a parcel may differ from its kind."""

DEMO = (0.10, 52.18, 0.15, 52.22)
"""West, south, east, north of the area that the demo maps."""

_FIELD_M, _FINE_M = 300.0, 110.0
_EDGE_M = 7.0
"""A pixel closer to a border than this is a mixture of both sides."""

# What a parcel's mixture is mostly with: rows are its class, columns the other.
_AFFINITY = np.array(
    [
        [0, 6, 1, 1, 1, 4],
        [5, 0, 3, 1, 4, 1],
        [1, 5, 0, 1, 3, 0],
        [1, 2, 1, 0, 0, 5],
        [1, 5, 4, 0, 0, 1],
        [5, 1, 0, 5, 1, 0],
    ],
    np.float64,
)


@dataclass(frozen=True)
class Ground:
    """A block of 128 x 128 pixels. Endmember 2p is parcel p itself, 2p + 1 what it is mixed with."""

    classes: NDArray[np.uint8]
    """Class ids, 1 to 6."""
    first: NDArray[np.int32]
    """Endmember of a pixel, and …"""
    second: NDArray[np.int32]
    """… the one it is mixed with."""
    share: NDArray[np.float32]
    """How much of the second is in it, 0 to 1."""
    parcel_class: NDArray[np.intp]
    """Per endmember: class index, 0 to 5."""
    parcel_key: NDArray[np.uint64]
    """Per endmember: a hash of its parcel, the seed of all else about it."""


def ground(seed: int, zone: int, block_row: int, block_col: int) -> Ground:
    """Return a block of the land."""
    u, v = _metres(zone, block_row, block_col)
    fields, fine = _Cells(seed + 1, _FIELD_M, u, v), _Cells(seed + 2, _FINE_M, u, v)
    near, next_, gap = fields.nearest(u, v)
    split = _is_split(seed, fields)
    small_near, small_next, small_gap = fine.nearest(u, v)
    # Inside a split field the fine cells are the parcels. Their numbers follow the fields' own.
    inside = split[near]
    parcels = len(fields.key)
    own = np.where(inside, small_near + parcels, near)
    across = np.where(split[next_], small_near + parcels, next_)
    other = np.where(inside & (small_gap < gap), small_next + parcels, across)
    border = np.where(inside, np.minimum(small_gap, gap), gap)

    key = np.concatenate([fields.key, fine.key])
    kind = _classes(
        seed, np.concatenate([fields.u, fine.u]), np.concatenate([fields.v, fine.v]), key
    )
    used, index = np.unique(np.stack([own, other]), return_inverse=True)
    index = index.reshape(2, *own.shape)
    key, kind = key[used], kind[used]
    mixed_with = _pick(uniform(hash64(seed + 3, key)), _AFFINITY[kind])

    edge = border < _EDGE_M
    first = (2 * index[0]).astype(np.int32)
    second = np.where(edge, 2 * index[1], first + 1).astype(np.int32)
    share = np.where(edge, 0.5 - border / (2 * _EDGE_M), _inner_share(seed, key, index[0], u, v))
    return Ground(
        classes=(kind[index[0]] + 1).astype(np.uint8),
        first=first,
        second=second,
        share=share.astype(np.float32),
        parcel_class=np.stack([kind, mixed_with], axis=1).reshape(-1),
        parcel_key=np.repeat(key, 2),
    )


def _metres(zone: int, block_row: int, block_col: int) -> Tuple[NDArray[Any], NDArray[Any]]:
    """Return the plane on which the land is laid out, about true to scale, at each pixel centre."""
    lon, lat = pixel_lonlat(zone, block_row, block_col)
    return lon * 111_320.0 * np.cos(np.radians(lat)), lat * 110_574.0


def pixel_lonlat(zone: int, block_row: int, block_col: int) -> Tuple[NDArray[Any], NDArray[Any]]:
    """Return longitude and latitude of a block's pixel centres, right to less than a millimetre.

    Nine points are projected and a parabola laid through them each way: the projection is smooth.
    """
    nodes = np.array([0.0, BLOCK_PX / 2, float(BLOCK_PX)])
    rows = block_row * BLOCK_PX + np.repeat(nodes, 3)
    cols = block_col * BLOCK_PX + np.tile(nodes, 3)
    t = (np.arange(BLOCK_PX) + 0.5) / BLOCK_PX
    weights = np.stack([(2 * t - 1) * (t - 1), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)
    lon, lat = (np.asarray(part).reshape(3, 3) for part in lonlat(zone, rows, cols))
    return weights @ lon @ weights.T, weights @ lat @ weights.T


class _Cells:
    """The jittered points, one in each square of a lattice, in and around a block."""

    def __init__(self, seed: int, size: float, u: NDArray[Any], v: NDArray[Any]) -> None:
        self._size = size
        self._i0, self._j0 = (int(np.floor(x.min() / size)) - 2 for x in (u, v))
        self._shape = tuple(
            int(np.floor(x.max() / size)) + 3 - x0 for x, x0 in ((u, self._i0), (v, self._j0))
        )
        i = np.repeat(self._i0 + np.arange(self._shape[0]), self._shape[1])
        j = np.tile(self._j0 + np.arange(self._shape[1]), self._shape[0])
        self.key = hash64(seed, i, j)
        self.u = (i + 0.1 + 0.8 * uniform(hash64(seed, self.key, 1))) * size
        self.v = (j + 0.1 + 0.8 * uniform(hash64(seed, self.key, 2))) * size

    def nearest(
        self, u: NDArray[Any], v: NDArray[Any]
    ) -> Tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        """Return the nearest point, the next one, and the distance to the border between them."""
        i = np.floor(u / self._size).astype(np.intp) - self._i0
        j = np.floor(v / self._size).astype(np.intp) - self._j0
        cell = i * self._shape[1] + j
        best = np.full(u.shape, np.inf)
        second = np.full(u.shape, np.inf)
        near, next_ = np.zeros(u.shape, np.intp), np.zeros(u.shape, np.intp)
        for step in [di * self._shape[1] + dj for di in (-1, 0, 1) for dj in (-1, 0, 1)]:
            point = cell + step
            distance = (self.u[point] - u) ** 2 + (self.v[point] - v) ** 2
            closer, closer_than_next = distance < best, distance < second
            next_ = np.where(closer, near, np.where(closer_than_next, point, next_))
            second = np.where(closer, best, np.where(closer_than_next, distance, second))
            near = np.where(closer, point, near)
            best = np.where(closer, distance, best)
        apart = np.hypot(self.u[near] - self.u[next_], self.v[near] - self.v[next_])
        return near, next_, (second - best) / (2 * apart)


def _town(seed: int, u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """How much of a town it is, 0 to about 1: one in the demo area, and villages."""
    middle_u = 0.122 * 111_320.0 * np.cos(np.radians(52.2))
    middle_v = 52.199 * 110_574.0
    near = np.exp(-((u - middle_u) ** 2 + (v - middle_v) ** 2) / (2 * 900.0**2))
    return np.asarray(np.maximum(near, np.clip(smooth(seed + 10, u, v, 2600.0) - 0.8, 0, 1)))


def _is_split(seed: int, cells: _Cells) -> NDArray[np.bool_]:
    """Which fields are cut into fine parcels: in towns nearly all, elsewhere some."""
    chance = 0.25 + 0.7 * _town(seed, cells.u, cells.v)
    return uniform(hash64(seed + 4, cells.key)) < chance


def _classes(
    seed: int, u: NDArray[Any], v: NDArray[Any], key: NDArray[np.uint64]
) -> NDArray[np.intp]:
    """Return the class index of each parcel."""
    town = _town(seed, u, v)
    farmed = smooth(seed + 11, u, v, 1900.0)
    wooded = smooth(seed + 12, u, v, 1400.0)
    wet = smooth(seed + 13, u, v, 1200.0)
    logits = np.stack(
        [
            0.75 + 0.5 * farmed - 2.2 * town,
            0.45 - 0.2 * farmed - 0.3 * town,
            0.40 + 0.8 * wooded - 1.3 * town,
            -1.5 + 3.6 * town,
            -0.35 + 0.9 * wet - 1.5 * town,
            -0.75 + 0.3 * farmed + 0.4 * town,
        ],
        axis=1,
    )
    # The Gumbel draw: the greatest of logit + noise is a draw from the softmax of the logits.
    draw = uniform(hash64(seed + 14, key[:, None], np.arange(len(CLASSES))))
    return np.asarray(np.argmax(logits - 0.8 * np.log(-np.log(draw + 1e-12)), axis=1), np.intp)


def _pick(draw: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.intp]:
    """Return a column per row of weights, drawn in proportion."""
    total = np.cumsum(weights, axis=1)
    column = (total < (draw * total[:, -1])[:, None]).sum(axis=1)
    return np.asarray(np.minimum(column, weights.shape[1] - 1), np.intp)


def _inner_share(
    seed: int, key: NDArray[np.uint64], parcel: NDArray[Any], u: NDArray[Any], v: NDArray[Any]
) -> NDArray[Any]:
    """Return how much of something else is in a pixel inside a parcel: trees in a pasture, …

    Each parcel has a share of its own, and within it the share varies from place to place.
    """
    own = 0.50 * uniform(hash64(seed + 5, key)) ** 1.4
    local = 0.11 * smooth(seed + 15, u, v, 45.0) + 0.08 * smooth(seed + 16, u, v, 160.0)
    return np.asarray(np.clip(own[parcel] + local, 0.0, 0.9))


def parcel_numbers(
    seed: int, key: NDArray[np.uint64], salt: int, count: int
) -> NDArray[np.float64]:
    """Return `count` nearly normal numbers for each parcel."""
    return normal(hash64(seed + 100 + salt, key[:, None], np.arange(count)))
