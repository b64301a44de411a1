# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What Sentinel-1 would see: gamma-nought of VV and VH as linear power, with speckle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple

import numpy as np

from tests.scenes import spectra
from tests.scenes.phenology import Cover

ORBITS = ("ascending", "descending")
LOOKS = 5.0
"""Equivalent number of looks of a pixel."""

_PLANTS: Dict[int, Tuple[float, float]] = {
    spectra.GRASS: (-12.4, -18.6),
    spectra.WINTER: (-13.6, -18.9),  # upright stems swallow VV
    spectra.SPRING: (-13.4, -18.7),
    spectra.SUMMER: (-9.6, -14.8),  # broad leaves scatter
    spectra.DECIDUOUS: (-10.3, -15.9),
    spectra.EVERGREEN: (-10.6, -16.2),
    spectra.BUILT: (-10.5, -16.0),
    spectra.WATER: (-30.0, -40.0),
}
"""VV and VH of closed canopies, dB."""


@dataclass(frozen=True)
class Roughness:
    """What radar sees of the parcels beside their plants; dB, (parcels, 2) for VV and VH."""

    kinds: np.ndarray
    ground: np.ndarray
    canopy: np.ndarray
    walls: Dict[str, np.ndarray]
    """Of houses, by the orbit they are seen from."""


def roughness(rng: np.random.Generator, kinds: np.ndarray) -> Roughness:
    """Return what is the parcels' own."""
    n = len(kinds)
    tilled = rng.normal(0, 1.1, (n, 1)) + rng.normal(0, 0.4, (n, 2))
    walls = np.array([-6.0, -13.5]) + rng.normal(0, 1.6, (n, 1)) + rng.normal(0, 0.6, (n, 2))
    plants = np.array([_PLANTS[int(kind)] for kind in kinds])
    return Roughness(
        kinds=kinds,
        ground=np.array([-13.8, -22.0]) + tilled,
        canopy=plants + rng.normal(0, 0.7, (n, 1)) + rng.normal(0, 0.3, (n, 2)),
        walls={orbit: walls + rng.normal(0, 1.3, (n, 1)) for orbit in ORBITS},
    )


def backscatter(
    rng: np.random.Generator,
    of: Roughness,
    plants: Cover,
    wet: float,
    orbit: str,
    garden: np.ndarray,
) -> np.ndarray:
    """Return the parcels' mean power (parcels, 2) on a day; `garden`: share of plants in a town."""
    bias = 0.35 if orbit == "ascending" else -0.35
    day = rng.normal(0, 0.2) + bias
    ground = _power(of.ground + np.array([4.5, 3.6]) * wet)
    is_wood = np.isin(of.kinds, (spectra.DECIDUOUS, spectra.EVERGREEN))
    # trunks and branches stay when leaves fall
    hidden = 1 - np.exp(-0.45 * plants.leaves)
    hidden = np.where(is_wood, 0.8 + 0.2 * hidden, hidden)[:, None]
    power = hidden * _power(of.canopy + 1.2 * (wet - 0.5)) + (1 - hidden) * ground
    share = garden[:, None]
    town = share * power + (1 - share) * _power(of.walls[orbit])
    power = np.where((of.kinds == spectra.BUILT)[:, None], town, power)
    wind = rng.gamma(1.5, 1.6)
    water = _power(np.array([-21.0 + wind, -27.5 + 0.4 * wind]))
    power = np.where((of.kinds == spectra.WATER)[:, None], water, power)
    return np.asarray(power * _power(day))


def speckled(rng: np.random.Generator, mean: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 2) float32 of mean powers."""
    return (mean * rng.gamma(LOOKS, 1 / LOOKS, mean.shape)).astype(np.float32)


def _power(decibel):
    return 10 ** (np.asarray(decibel) / 10)
