# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated land cover: parcels of a class each, in a pattern as of a farmed lowland."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from tests.archive.noise import smooth
from tests.scenes import spectra

_CELL_PX = (19.0, 13.0)
"""Parcels are about that long and wide, in 10 m pixels."""
_EDGE_PX = 0.7
"""A pixel centre closer to a border than this is a mixture of both sides."""

_TOWN, _WATER, _WOOD = 0.15, 0.07, 0.24
"""Shares of the parcels; the rest is farmed, each parcel for itself: …"""
_FARMED = (
    (spectra.GRASS, 0.28),
    (spectra.WINTER, 0.27),
    (spectra.SPRING, 0.22),
    (spectra.SUMMER, 0.23),
)


@dataclass(frozen=True)
class Ground:
    """What lies where."""

    parcel: np.ndarray
    """(H, W), number of the parcel that a pixel's centre lies in."""
    neighbour: np.ndarray
    """(H, W), the parcel across the nearest border."""
    share: np.ndarray
    """(H, W), how much of the pixel is the neighbour's, 0 to 0.5."""
    kinds: np.ndarray
    """(parcels,), class ids."""

    @property
    def classes(self) -> np.ndarray:
        """Class ids (H, W) uint8."""
        return self.kinds[self.parcel].astype(np.uint8)


def ground(seed: int, height: int, width: int) -> Ground:
    """Return the land of a seed; another size is another land."""
    rng = np.random.default_rng([seed, 0])
    x, y = _turned(rng.uniform(0, np.pi), *np.meshgrid(np.arange(width), np.arange(height)))
    at_x, at_y = _points(rng, x, y)
    near, other, gap = _nearest(x, y, at_x, at_y)
    used, index = np.unique(np.stack([near, other]), return_inverse=True)
    near, other = index.reshape(2, height, width)
    share = np.clip(0.5 - gap / (2 * _EDGE_PX), 0, 0.5)
    kinds = _kinds(rng, seed, at_x[used], at_y[used])
    return Ground(near, other, share, kinds)


def _turned(angle: float, x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across the fields, in lengths and widths of a field."""
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return along / _CELL_PX[0], across / _CELL_PX[1]


def _points(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Return one point in each square of a lattice that covers the land."""
    i = np.arange(np.floor(x.min()) - 1, np.ceil(x.max()) + 2)
    j = np.arange(np.floor(y.min()) - 1, np.ceil(y.max()) + 2)
    at = np.stack(np.meshgrid(i, j), axis=-1).reshape(-1, 2)
    at += rng.uniform(0.12, 0.88, at.shape)
    return at[:, 0], at[:, 1]


def _nearest(
    x: np.ndarray, y: np.ndarray, at_x: np.ndarray, at_y: np.ndarray
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest point, the next one, and about how many pixels away their border is."""
    near, other = np.empty((2, *x.shape), np.intp)
    gap = np.empty(x.shape)
    for row in range(len(x)):  # a row at a time: all distances at once are many
        far = np.hypot(x[row][:, None] - at_x, y[row][:, None] - at_y)
        first, second = np.argpartition(far, 1, axis=1)[:, :2].T
        near[row], other[row] = first, second
        here = np.arange(far.shape[0])
        gap[row] = (far[here, second] - far[here, first]) / 2
    return near, other, gap * min(_CELL_PX)


def _kinds(rng: np.random.Generator, seed: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the class of each parcel: towns, lakes and woods hang together."""
    kinds = rng.choice([kind for kind, _ in _FARMED], len(u), p=[share for _, share in _FARMED])
    fields = (smooth(7919 * seed + salt, u, v, 3.0) for salt in (1, 2, 3))
    wood, water, town = (field + 0.35 * rng.normal(size=len(u)) for field in fields)
    leafless = smooth(7919 * seed + 4, u, v, 2.0) + 0.5 * rng.normal(size=len(u)) > 0
    kinds = np.where(
        _top(wood, _WOOD), np.where(leafless, spectra.DECIDUOUS, spectra.EVERGREEN), kinds
    )
    kinds = np.where(_top(town, _TOWN), spectra.BUILT, kinds)
    return np.where(_top(water, _WATER), spectra.WATER, kinds)


def _top(field: np.ndarray, share: float) -> np.ndarray:
    return field > np.quantile(field, 1 - share)
