# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two looks at the same places that an encoder should not be able to tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tools.demo_encoder.inputs import S1, S2, Floats, Seen, optical, radar, sequences
from tools.demo_encoder.pool import Sample

S2_LENGTHS, S1_LENGTHS = (8, 16, 24, 32), (8, 16, 24)

View = Tuple[Floats, Floats]
"""(n, T2, 11) and (n, T1, 3)."""


@dataclass(frozen=True)
class Changes:
    """How much two views of a place differ."""

    least_kept: float = 0.4
    """Smallest share of the clear observations that a view has; the largest is all."""
    gap_days: float = 70.0
    """Longest time without any image of Sentinel-2, in half of the views."""
    no_orbit: float = 0.15
    """How often an orbit direction is missing, …"""
    no_radar: float = 0.05
    """… and how often both."""
    gain: float = 0.05
    """Spread of a factor of all bands, …"""
    band_gain: float = 0.02
    """… of one band's own, …"""
    radar_codes: float = 150.0
    """… of what is added to radar (400 are 1 dB), …"""
    days: float = 6.0
    """… and of a shift of the whole year."""
    other_pixel: float = 0.7
    """How often the second view is of another pixel of the same parcel."""


def pair(
    rng: np.random.Generator, samples: Sequence[Sample], per_sample: int, changes: Changes
) -> Tuple[View, View]:
    """Return two views of the same places, as many of each landscape."""
    lengths = [(int(rng.choice(S2_LENGTHS)), int(rng.choice(S1_LENGTHS))) for _ in range(2)]
    parts: Tuple[List[View], List[View]] = ([], [])
    for sample in samples:
        px = rng.choice(len(sample.parcels), per_sample, replace=False)
        other = _neighbours(rng, sample.parcels, px, changes.other_pixel)
        for number, chosen in enumerate((px, other)):
            parts[number].append(_view(rng, sample, chosen, lengths[number], changes))
    return _together(parts[0]), _together(parts[1])


def _together(parts: Sequence[View]) -> View:
    return np.concatenate([s2 for s2, _ in parts]), np.concatenate([s1 for _, s1 in parts])


def _neighbours(
    rng: np.random.Generator, parcels: NDArray[np.intp], px: NDArray[np.intp], chance: float
) -> NDArray[np.intp]:
    """Return for each pixel, with this chance, another one of its parcel."""
    order = np.argsort(parcels, kind="stable")
    first = np.searchsorted(parcels[order], parcels[px])
    count = np.searchsorted(parcels[order], parcels[px], side="right") - first
    other = order[first + (rng.random(len(px)) * count).astype(np.intp)]
    return np.where(rng.random(len(px)) < chance, other, px)


def _view(
    rng: np.random.Generator,
    sample: Sample,
    px: NDArray[np.intp],
    lengths: Tuple[int, int],
    changes: Changes,
) -> View:
    shift = rng.normal(0, changes.days)
    kept = rng.uniform(changes.least_kept, 1.0, len(px))
    seen = _thinned(rng, optical(sample.pixels).of(px), kept)
    if rng.random() < 0.5:
        since = (seen.days - rng.uniform(1, 366)) % 365
        is_hidden = since < rng.uniform(0, changes.gap_days)
        seen = seen._replace(is_valid=seen.is_valid & ~is_hidden[:, None])
    gain = (1 + rng.normal(0, changes.gain)) * (1 + rng.normal(0, changes.band_gain, 10))
    bands = seen._replace(values=seen.values * gain, days=seen.days + shift)
    is_radar = rng.random() >= changes.no_radar
    orbits = []
    for orbit in radar(sample.pixels):
        one = _thinned(rng, orbit.of(px), kept)
        is_there = is_radar and rng.random() >= changes.no_orbit
        added = rng.normal(0, changes.radar_codes, 2)
        orbits.append(Seen(one.values + added, one.is_valid & is_there, one.days + shift))
    return sequences(S2, [bands], lengths[0]), sequences(S1, orbits, lengths[1])


def _thinned(rng: np.random.Generator, seen: Seen, kept: NDArray[np.float64]) -> Seen:
    """Return a share `kept` (n,) of the observations of each pixel."""
    return seen._replace(is_valid=seen.is_valid & (rng.random(seen.is_valid.shape) < kept))
