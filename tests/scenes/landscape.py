# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated landscape and what both Sentinels see of it in a year. numpy only.

    land = Landscape(seed=3, height=150, width=150)
    image, scl = land.optical(land.s2_dates[0])
    power = land.radar(land.ascending[0], "ascending")

Everything follows from the seed; an image does not depend on which others were made before it.
"""

from __future__ import annotations

import datetime as dt
from typing import Tuple

import numpy as np

from tests.scenes import optics, phenology, radar, spectra, weather
from tests.scenes.ground import ground

_REVISIT_S2, _REVISIT_S1 = 5, 6
"""Days, with two satellites."""
_ORBIT_NUMBERS = {"optical": 1, "ascending": 2, "descending": 3}


class Landscape:
    """A land, its year, and the days on which it was looked at."""

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        year: int = 2021,
        s2_count: int = 30,
        s1_count: int = 15,
        cloudiness: float = 0.4,
    ) -> None:
        self.seed, self.shape, self.year = seed, (height, width), year
        self.ground = ground(seed, height, width)
        self._weather = weather.year(np.random.default_rng([seed, 10, year]), cloudiness)
        plants = np.random.default_rng([seed, 11, year])
        self._parcels = phenology.parcels(plants, self.ground.kinds)
        made = np.random.default_rng([seed, 12])
        needle = self._parcels.needle
        self._surface = optics.surface(made, seed, self.ground.kinds, needle, self.shape)
        self._roughness = radar.roughness(made, self.ground.kinds)
        days = np.random.default_rng([seed, 13, year])
        self.s2_dates = self._dates(days, _REVISIT_S2, s2_count)
        self.ascending = self._dates(days, _REVISIT_S1, s1_count)
        self.descending = self._dates(days, _REVISIT_S1, s1_count)

    @property
    def classes(self) -> np.ndarray:
        """The truth: class ids (H, W) uint8."""
        return self.ground.classes

    def cloud_share(self, date: dt.date) -> float:
        """Return how much of the sky is covered, 0 to 1."""
        return float(self._weather.cloud[date.timetuple().tm_yday - 1])

    def optical(self, date: dt.date) -> Tuple[np.ndarray, np.ndarray]:
        """Return digital numbers without offset (H, W, 10) uint16, all bands at 10 m in the order of
        spectra.BANDS, and scene classes (H, W) uint8, alike in 2 x 2 pixels: they are of 20 m. Both
        are 0 beyond the edge of a swath.
        """
        rng, day = self._rng("optical", date), date.timetuple().tm_yday
        plants = phenology.cover(self._parcels, day)
        wet = float(self._weather.wet[day - 1])
        land, share = self.ground, self.ground.share[..., None]
        own = optics.reflectance(self._surface, land.parcel, plants, wet)
        other = optics.reflectance(self._surface, land.neighbour, plants, wet)
        clean = (1 - share) * own + share * other
        snow = self._weather.snow[day - 1]
        clean = (1 - snow) * clean + snow * spectra.SNOW
        is_wood = np.isin(land.kinds[land.parcel], (spectra.DECIDUOUS, spectra.EVERGREEN))
        seen = optics.observed(rng, clean, is_wood.astype(float), day)
        surface = _surface_classes(rng, seen, land.classes == spectra.WATER, snow > 0.5)
        seen, classes = weather.clouded(rng, self.cloud_share(date), seen, surface)
        numbers = np.clip(np.rint(seen * 10_000), 1, 20_000).astype(np.uint16)
        missed = _coarse(_beyond_swath(rng, self.shape))
        classes = _coarse(classes)
        numbers[missed], classes[missed] = 0, 0
        return numbers, classes

    def radar(self, date: dt.date, orbit: str) -> np.ndarray:
        """Return gamma-nought of VV and VH as linear power: (H, W, 2) float32."""
        rng, day = self._rng(orbit, date), date.timetuple().tm_yday
        plants = phenology.cover(self._parcels, day)
        wet = float(self._weather.wet[day - 1])
        garden = self._surface.garden
        mean = radar.backscatter(rng, self._roughness, plants, wet, orbit, garden)
        land, share = self.ground, self.ground.share[..., None]
        mixed = (1 - share) * mean[land.parcel] + share * mean[land.neighbour]
        local = np.exp(0.12 * self._surface.mixed[..., :1])
        return radar.speckled(rng, mixed * local)

    def _rng(self, what: str, date: dt.date) -> np.random.Generator:
        return np.random.default_rng([self.seed, 20, _ORBIT_NUMBERS[what], date.toordinal()])

    def _dates(self, rng: np.random.Generator, revisit: int, count: int) -> Tuple[dt.date, ...]:
        first = dt.date(self.year, 1, 1) + dt.timedelta(days=int(rng.integers(revisit)))
        passes = np.arange(0, 365 - revisit, revisit)
        chosen = np.sort(rng.choice(passes, min(count, len(passes)), replace=False))
        return tuple(first + dt.timedelta(days=int(day)) for day in chosen)


def _surface_classes(
    rng: np.random.Generator, seen: np.ndarray, is_water: np.ndarray, is_snow: bool
) -> np.ndarray:
    """Return the scene classes of a clear sky."""
    red, nir = seen[..., spectra.BANDS.index("B04")], seen[..., spectra.BANDS.index("B08")]
    green = (nir - red) / np.maximum(nir + red, 1e-3) > 0.4
    classes = np.where(green, weather.CLEAR_PLANTS, weather.CLEAR_SOIL)
    classes = np.where(is_water, weather.CLEAR_WATER, classes)
    classes[rng.random(classes.shape) < 0.01] = weather.UNSURE
    if is_snow:
        classes[...] = weather.SNOW
    return classes.astype(np.uint8)


def _coarse(image: np.ndarray) -> np.ndarray:
    """Return (H, W) of even size with the upper left of each four pixels in all of them."""
    return image[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)


def _beyond_swath(rng: np.random.Generator, shape: Tuple[int, int]) -> np.ndarray:
    """Return what a pass did not see: now and then the land lies at the edge of a swath."""
    chance, at, slope = rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.3)
    rows, cols = np.indices(shape)
    missed: np.ndarray = cols > at * shape[1] - slope * rows
    return missed & (chance < 0.08)
