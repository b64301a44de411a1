# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A landscape as the arrays of a d-pixel folder, computed a second way: no file, no GDAL.

20 m bands are averaged to 20 m and brought back by bilinear interpolation, radar becomes codes.
"""

from __future__ import annotations

from typing import Dict

import numpy as np

from tests.scenes import spectra
from tests.scenes.landscape import Landscape

UNUSABLE = (0, 1, 2, 3, 8, 9)
"""Scene classes that don't count."""


def arrays(land: Landscape) -> Dict[str, np.ndarray]:
    """Return the seven arrays by the names of their files."""
    images = [land.optical(date) for date in land.s2_dates]
    bands = np.stack([_tile_bands(image) for image, _ in images])
    masks = np.stack([~np.isin(scl, UNUSABLE) for _, scl in images]).astype(np.uint8)
    found = {"bands": bands, "masks": masks, "doys": _days(land.s2_dates)}
    for orbit, dates in (("ascending", land.ascending), ("descending", land.descending)):
        found[f"sar_{orbit}"] = np.stack([code(land.radar(date, orbit)) for date in dates])
        found[f"sar_{orbit}_doy"] = _days(dates)
    return found


def code(power: np.ndarray) -> np.ndarray:
    """Return 400 dB + 10 000, cut to 0..32767 and to integers."""
    return np.clip(4000 * np.log10(power) + 10_000, 0, 32_767).astype(np.int16)


def coarse(image: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels: (H, W, n) of even size to (H / 2, W / 2, n)."""
    height, width, depth = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, depth).mean(axis=(1, 3))


def fine(image: np.ndarray) -> np.ndarray:
    """Return twice as many pixels each way, interpolated between the centres of the old ones."""
    for axis in (0, 1):
        edge = [(0, 0)] * image.ndim
        edge[axis] = (1, 1)
        wide = np.pad(image, edge, mode="edge")
        middle = np.arange(1, wide.shape[axis] - 1)
        here = np.take(wide, middle, axis)
        pairs = [0.75 * here + 0.25 * np.take(wide, middle + step, axis) for step in (-1, 1)]
        shape = list(here.shape)
        shape[axis] *= 2
        image = np.stack(pairs, axis=axis + 1).reshape(shape)
    return image


def _tile_bands(image: np.ndarray) -> np.ndarray:
    at_20m = [spectra.BANDS.index(band) for band in spectra.BANDS_20M]
    out = image.astype(np.float32)
    out[..., at_20m] = fine(np.rint(coarse(out[..., at_20m])))
    out[image == 0] = 0
    return np.rint(out).astype(np.uint16)[..., spectra.TILE_ORDER]


def _days(dates) -> np.ndarray:
    return np.array([date.timetuple().tm_yday for date in dates], np.uint16)
