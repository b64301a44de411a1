# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What Sentinel-2 would see of the land on a day without clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.archive.noise import smooth
from tests.scenes import spectra
from tests.scenes.phenology import Cover

_SUN_BEHIND = 0.6
"""Extinction: leaf area 1 hides 45 % of the ground."""


@dataclass(frozen=True)
class Surface:
    """What the land is made of, apart from its plants of the day; per parcel, then per pixel."""

    kinds: np.ndarray
    soil: np.ndarray
    """(parcels, 10), dry."""
    leaf: np.ndarray
    """(parcels, 10), closed canopy."""
    water: np.ndarray
    """(parcels, 10)."""
    materials: np.ndarray
    """(parcels, 3), how much tiles, asphalt and concrete there is; logits."""
    garden: np.ndarray
    """(parcels,), share of plants in a town."""
    vigour: np.ndarray
    """(H, W), factor of leaf area."""
    bright: np.ndarray
    """(H, W), factor of the ground's reflectance."""
    mixed: np.ndarray
    """(H, W, 4): logits of the materials and a shift of the garden's share."""


def surface(
    rng: np.random.Generator, seed: int, kinds: np.ndarray, needle: np.ndarray, shape
) -> Surface:
    """Return what the land is made of; `needle`: share of evergreen trees per parcel."""
    n = len(kinds)
    blend = rng.beta(1.6, 1.6, n)[:, None]
    soil = ((1 - blend) * spectra.SOILS[0] + blend * spectra.SOILS[1]) * rng.uniform(
        0.8, 1.2, (n, 1)
    )
    is_wood = np.isin(kinds, (spectra.DECIDUOUS, spectra.EVERGREEN))[:, None]
    trees = (1 - needle)[:, None] * spectra.LEAVES["broad"] + needle[:, None] * spectra.LEAVES[
        "needle"
    ]
    leaf = np.where(is_wood, trees, spectra.LEAVES["herb"])
    turbid = rng.beta(1.2, 1.8, n)[:, None]
    x, y = np.meshgrid(np.arange(shape[1], dtype=float), np.arange(shape[0], dtype=float))
    local = np.stack([smooth(31 * seed + salt, x, y, 3.0) for salt in range(4)], axis=-1)
    fine = rng.normal(0, 1, shape)
    return Surface(
        kinds=kinds,
        soil=np.where(is_wood, spectra.LITTER * rng.uniform(0.8, 1.2, (n, 1)), soil),
        leaf=leaf * np.exp(rng.normal(0, 0.09, (n, 10))) * rng.uniform(0.85, 1.15, (n, 1)),
        water=(1 - turbid) * spectra.WATERS[0] + turbid * spectra.WATERS[1],
        materials=rng.normal(0, 0.9, (n, 3)),
        garden=rng.beta(2.2, 2.6, n),
        vigour=np.exp(0.14 * smooth(31 * seed + 9, x, y, 9.0) + 0.08 * fine),
        bright=np.exp(0.07 * smooth(31 * seed + 10, x, y, 7.0) + 0.04 * rng.normal(0, 1, shape)),
        mixed=local,
    )


def reflectance(of: Surface, parcel: np.ndarray, plants: Cover, wet: float) -> np.ndarray:
    """Return (H, W, 10) as if each pixel lay wholly in `parcel` (H, W)."""
    kind = of.kinds[parcel]
    covered = 1 - np.exp(-_SUN_BEHIND * plants.leaves[parcel] * of.vigour)
    is_town = kind == spectra.BUILT
    garden = np.clip(of.garden[parcel] + 0.22 * of.mixed[..., 3], 0, 1)
    covered = np.where(is_town, garden * covered, covered)[..., None]
    dried = plants.dry[parcel][..., None]
    # water darkens soil, and most where it absorbs
    darkened = 1 - wet * np.linspace(0.28, 0.45, 10)
    soil = of.soil[parcel] * of.bright[..., None] * darkened
    ground = (1 - dried) * soil + dried * spectra.DRY_PLANTS
    town = garden[..., None] * ground + (1 - garden[..., None]) * _built(of, parcel)
    ground = np.where(is_town[..., None], town, ground)
    land = covered * of.leaf[parcel] + (1 - covered) * ground
    return np.where((kind == spectra.WATER)[..., None], of.water[parcel], land)


def _built(of: Surface, parcel: np.ndarray) -> np.ndarray:
    logits = of.materials[parcel] + 1.3 * of.mixed[..., :3]
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    mixed: np.ndarray = shares @ spectra.MATERIALS
    return mixed * of.bright[..., None] ** 2


def observed(rng: np.random.Generator, clean: np.ndarray, wood: np.ndarray, day: int) -> np.ndarray:
    """Return what an image of a day shows: angles, haze and noise. `wood` (H, W): share of trees."""
    low_sun = 0.5 - 0.5 * np.cos(2 * np.pi * (day - 172) / 365)
    shaded = 1 - 0.35 * low_sun * wood[..., None]
    angles = 1 + rng.normal(0, 0.035) + rng.normal(0, 0.015, 10)
    haze = spectra.HAZE * max(rng.normal(0.004, 0.006), -0.006)
    noise = rng.normal(0, 1, clean.shape) * (0.002 + 0.015 * clean)
    return clean * shaded * angles + haze + noise
