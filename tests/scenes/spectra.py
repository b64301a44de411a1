# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Classes of the simulated land, and what its surfaces look like in the bands of Sentinel-2.

Reflectances are round numbers of the usual kind, not measured ones.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""By wavelength, as files hold them; the last axis of every reflectance here."""

BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")


class SceneClass(NamedTuple):
    id: int
    name: str
    color: str


CLASSES = (
    SceneClass(1, "Water", "#3b78b5"),
    SceneClass(2, "Deciduous woodland", "#6a9f3a"),
    SceneClass(3, "Evergreen woodland", "#1f5f36"),
    SceneClass(4, "Grassland", "#a6d96a"),
    SceneClass(5, "Winter cereal", "#e6c34c"),
    SceneClass(6, "Spring cereal", "#d98c3f"),
    SceneClass(7, "Summer crop", "#b5562f"),
    SceneClass(8, "Built-up", "#8d7f8f"),
)
WATER, DECIDUOUS, EVERGREEN, GRASS, WINTER, SPRING, SUMMER, BUILT = range(1, 9)


def _spectrum(*percent: float) -> np.ndarray:
    return np.array(percent) / 100


SOILS = np.stack(
    [
        _spectrum(5, 7, 9, 10.5, 12, 13.5, 15, 16, 22, 18),
        _spectrum(10, 14, 18, 20, 22.5, 25, 27, 29, 36, 31),
    ]
)
"""Dark and bright, dry."""

LEAVES = {
    "herb": _spectrum(2.6, 5.2, 2.7, 8.5, 28, 38, 42, 43, 20, 9),
    "broad": _spectrum(2.0, 4.2, 2.1, 7.0, 26, 35, 39, 40, 17, 7),
    "needle": _spectrum(1.8, 3.0, 1.9, 4.3, 14, 19, 21.5, 22.5, 9.5, 4.5),
}
"""Closed canopies."""

DRY_PLANTS = _spectrum(7, 10, 14, 17, 21, 24, 27, 28.5, 31, 22)
LITTER = _spectrum(4, 5.5, 7.2, 8.6, 11, 12.7, 14.3, 15.3, 21, 15)

WATERS = np.stack(
    [
        _spectrum(4.5, 4.0, 2.5, 2.2, 1.7, 1.5, 1.3, 1.1, 0.6, 0.4),
        _spectrum(6.5, 9.5, 8.5, 8.0, 5.0, 4.6, 4.0, 3.4, 1.4, 0.9),
    ]
)
"""Clear and turbid."""

MATERIALS = np.stack(
    [
        _spectrum(7, 9, 15, 17, 18.5, 20, 21, 22, 26, 24),  # tiles
        _spectrum(8, 9, 9.5, 10, 10.6, 11, 11.6, 12, 14, 13.4),  # asphalt
        _spectrum(19, 22, 24, 25, 26, 27, 28.5, 29.5, 33, 31),  # concrete, gravel
    ]
)

CLOUD = _spectrum(62, 61, 61, 62, 63, 64, 65, 65, 42, 32)
SNOW = _spectrum(78, 80, 79, 77, 76, 74, 72, 70, 10, 8)
HAZE = _spectrum(1.0, 0.75, 0.55, 0.45, 0.4, 0.36, 0.32, 0.3, 0.1, 0.05)
"""Added by what the correction of the atmosphere leaves, at its strength 1."""

TILE_ORDER: Tuple[int, ...] = tuple(
    BANDS.index(band)
    for band in ("B04", "B02", "B03", "B08", "B8A", "B05", "B06", "B07", "B11", "B12")
)
"""Where the channels of `bands.npy` are found in BANDS."""
