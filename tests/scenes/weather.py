# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies between the land and the satellites on a day: wet soil, haze, clouds, snow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from tests.archive.noise import smooth
from tests.scenes import spectra

SHADOW, CLEAR_PLANTS, CLEAR_SOIL, CLEAR_WATER, UNSURE = 3, 4, 5, 6, 7
CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS, SNOW = 8, 9, 10, 11
"""Scene classes of Sen2Cor; 0 is nodata."""

ALL_CLOUDY = 0.93
"""A date with more cloud than that has no clear pixel."""


@dataclass(frozen=True)
class Year:
    """The weather of a year: (days,) each, by day of year less one."""

    wet: np.ndarray
    """Soil moisture, 0 to 1."""
    cloud: np.ndarray
    """Share of the sky."""
    snow: np.ndarray
    """Depth of snow as a share of what hides the ground."""


def year(rng: np.random.Generator, cloudiness: float, days: int = 366) -> Year:
    """Return the weather of a year whose mean cloud cover is about `cloudiness`."""
    rain = rng.gamma(0.35, 0.55, days) * (rng.random(days) < 0.42)
    drying = 0.055 - 0.03 * np.cos(2 * np.pi * (np.arange(days) - 190) / 365)
    drying = drying[::-1].copy()
    wet = np.empty(days)
    level = 0.6
    for day in range(days):
        level = min(1.0, level * (1 - drying[day]) + 0.35 * rain[day])
        wet[day] = level
    ratio = cloudiness / (1 - cloudiness)
    cloud = rng.beta(0.55 * ratio, 0.55, days)
    cold = (np.arange(days) < 55) | (np.arange(days) > 345)
    snow = np.where(cold & (rng.random(days) < 0.05), rng.uniform(0.2, 0.9, days), 0)
    return Year(wet, cloud, snow)


def clouded(
    rng: np.random.Generator, share: float, reflectance: np.ndarray, surface: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Return reflectance (H, W, 10) under clouds, and scene classes (H, W).

    `surface` are the classes of what lies below. As in real scenes thin edges pass for clear, and
    part of the shadows goes unseen.
    """
    height, width = surface.shape
    thickness = _thickness(rng, share, height, width)
    over = np.clip(thickness / 0.5, 0, 1)
    shade = _moved(over, *rng.integers(4, 14, 2) * rng.choice([-1, 1], 2))
    dark = reflectance * (1 - 0.6 * shade[..., None])
    bright = spectra.CLOUD * rng.uniform(0.7, 1.25)
    seen = dark * (1 - over[..., None]) + bright * over[..., None]
    classes = surface.copy()
    classes[(shade > 0.35) & (rng.random((height, width)) > 0.07)] = SHADOW
    for limit, kind in ((0.12, CIRRUS), (0.22, CLOUD_MEDIUM), (0.6, CLOUD_HIGH)):
        classes[over > limit] = kind
    return seen, classes


def _thickness(rng: np.random.Generator, share: float, height: int, width: int) -> np.ndarray:
    """Return how thick clouds are; nothing where it is 0 or less."""
    if share > ALL_CLOUDY:
        return np.full((height, width), 1.0)
    x, y = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    seed = int(rng.integers(1 << 30))
    field = smooth(seed, x, y, 45.0) + 0.4 * smooth(seed + 1, x, y, 14.0)
    # 1.5 landscapes' worth of sky: a small one is often wholly clear or wholly covered
    level = rng.normal(0, 0.35) + 1.1 * _normal_quantile(1 - share)
    return np.asarray(field - level)


def _normal_quantile(share: float) -> float:
    """Return about the quantile of a normal distribution."""
    share = min(max(share, 1e-3), 1 - 1e-3)
    return float(4.91 * (share**0.14 - (1 - share) ** 0.14))


def _moved(field: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Return a field moved, with its edge drawn out."""
    height, width = field.shape
    r = np.clip(np.arange(height) - rows, 0, height - 1)
    c = np.clip(np.arange(width) - cols, 0, width - 1)
    return field[np.ix_(r, c)]
