# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of the land: what 128 numbers each kind of parcel has, in a dataset and year.

    x = mean + std * (class + kind within the class + parcel + pixel noise)

Means and spreads of the bands are drawn here, so that every machine has the same numbers, to the
figures of published embeddings (measured on the sample around the demo area, published in brackets):
the means spread by 2.0 over the bands (1.7), the standard deviations are 1.9 on average and 1.0 to
2.7 (1.8, 1.1 to 3.2), vectors are 31 long (27 to 33). The scales are drawn by themselves, so what is
read is x times a factor of its own for each pixel, 1.3 on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from tests.archive.ground import CLASSES, LATENTS, SUBTYPES, Ground, parcel_numbers
from tests.archive.layout import DEPTH
from tests.archive.noise import hash64, uniform

SCALE_MEAN, SCALE_SPREAD = 0.0605, 0.0040
SCALE_LIMITS = (0.046, 0.076)

# How the variance of a band is made up.
_CLASS, _KIND, _PARCEL, _NOISE = 0.30, 0.14, 0.22, 0.34

# How alike the classes are: they share that much of a common direction with the one named.
_LIKE = ((1, 0, 0.45), (4, 1, 0.40), (5, 3, 0.40), (4, 2, 0.25), (5, 0, 0.25))


@dataclass(frozen=True)
class Spectrum:
    """One feature space in one year."""

    signatures: NDArray[np.float32]
    """(6, 3, 128): class by kind."""
    latents: NDArray[np.float32]
    """(8, 128): directions in which parcels differ."""
    noise: NDArray[np.float32]
    """(128,): standard deviation of a pixel's noise."""
    year: int

    def endmembers(self, seed: int, land: Ground) -> NDArray[np.float32]:
        """Return the embeddings (endmembers, 128) of a block's endmembers, without noise."""
        key = land.parcel_key
        # The crop changes from year to year; what is no field stays what it is.
        season = np.where(land.parcel_class == 0, self.year, 0)
        kind = (uniform(hash64(seed + 6, key, land.parcel_class, season)) * SUBTYPES).astype(int)
        own = parcel_numbers(seed, key, 0, LATENTS).astype(np.float32)
        return np.asarray(self.signatures[land.parcel_class, kind] + own @ self.latents, np.float32)


def spectrum(rotation: int, year: int) -> Spectrum:
    """Return the feature space of a dataset: 0 is the first one, others are turned against it."""
    draw = np.random.Generator(np.random.PCG64(128))
    mean = np.asarray(np.clip(draw.normal(0.13, 1.50, DEPTH), -3.8, 4.0), np.float64)
    std = np.asarray(np.clip(draw.normal(1.62, 0.27, DEPTH), 1.05, 2.9), np.float64)
    signatures = _signatures(draw)
    latents = draw.normal(0, np.sqrt(_PARCEL / LATENTS), (LATENTS, DEPTH))
    season = np.random.Generator(np.random.PCG64(year)).normal(0, 0.08, DEPTH)
    signatures = mean + std * (signatures + season)
    latents = std * latents
    if rotation:
        turn = _rotation(rotation)
        signatures, latents = signatures @ turn, latents @ turn
    noise = std * np.sqrt(_NOISE)
    return Spectrum(
        signatures.astype(np.float32), latents.astype(np.float32), noise.astype(np.float32), year
    )


def _signatures(draw: np.random.Generator) -> NDArray[np.float64]:
    classes = draw.normal(0, 1, (len(CLASSES), DEPTH))
    for one, other, alike in _LIKE:
        classes[one] = (1 - alike) * classes[one] + alike * classes[other]
    classes -= classes.mean(axis=0)
    classes *= np.sqrt(_CLASS) / classes.std()
    kinds = draw.normal(0, np.sqrt(_KIND), (len(CLASSES), SUBTYPES, DEPTH))
    return np.asarray(classes[:, None, :] + kinds, np.float64)


def _rotation(seed: int) -> NDArray[np.float64]:
    draw = np.random.Generator(np.random.PCG64(seed))
    q, r = np.linalg.qr(draw.normal(0, 1, (DEPTH, DEPTH)))
    return np.asarray(q * np.sign(np.diag(r)), np.float64)


def embed(
    table: NDArray[np.float32],
    land: Ground,
    part: Tuple[slice, slice],
    noise: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the embeddings of part of a block to `out` (height, width, 128).

    `noise` is of the same shape, already scaled to the bands.
    """
    first, second, share = land.first[part], land.second[part], land.share[part]
    np.take(table, first, axis=0, out=out, mode="clip")
    other = np.take(table, second, axis=0, mode="clip")
    other -= out
    other *= share[..., None]
    out += other
    out += noise


def quantise(x: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return codes (…, 128) with a largest absolute value of 127 each; `x` is overwritten."""
    largest = np.maximum(x.max(axis=-1), -x.min(axis=-1))
    x *= (np.float32(127) / largest)[..., None]
    np.rint(x, out=x)
    return x.astype(np.int8)
