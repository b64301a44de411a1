# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How the plants of a parcel grow over a year: leaf area and dry cover by day.

Classes differ in curve; parcels of a class differ in date, vigour, cuts, what stood there before
and what follows, so that single dates, and the distribution of values over the year, say little.
Winter and spring cereals have the same leaves and nearly the same curve at another time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.scenes import spectra

_CUTS = 4


@dataclass(frozen=True)
class Parcels:
    """What is the parcels' own, (parcels,) each where nothing else is said."""

    kinds: np.ndarray
    shift: np.ndarray
    """Days that its season comes later, with that of the year."""
    most: np.ndarray
    """Largest leaf area, as a share of the usual."""
    needle: np.ndarray
    """Share of evergreen trees in a wood."""
    cuts: np.ndarray
    """(parcels, 4) days on which grass is cut; beyond the year where it is not."""
    before: np.ndarray
    """Leaf area of a catch crop that stands from the year before."""
    cleared: np.ndarray
    """Day on which that goes."""
    ploughed: np.ndarray
    """Days after harvest until stubble goes."""
    after: np.ndarray
    """Leaf area reached in autumn by what was sown next."""
    greened: np.ndarray
    """Day on which that is half grown."""
    drought: np.ndarray
    """Dry share of grass in late summer."""


@dataclass(frozen=True)
class Cover:
    """The plants of one day."""

    leaves: np.ndarray
    """(parcels,) leaf area index."""
    dry: np.ndarray
    """(parcels,) share of what the leaves let through that is dry plants."""


def parcels(rng: np.random.Generator, kinds: np.ndarray) -> Parcels:
    """Return what is the parcels' own in a year."""
    n = len(kinds)
    year_shift, is_drought = rng.normal(0, 7), rng.random() < 0.4
    is_evergreen = kinds == spectra.EVERGREEN
    few = rng.beta(1, 7, n)
    cuts = np.sort(rng.uniform(125, 290, (n, _CUTS)), axis=1)
    cuts[np.arange(_CUTS) >= rng.integers(0, _CUTS + 1, n)[:, None]] = 999
    return Parcels(
        kinds=kinds,
        shift=year_shift + rng.normal(0, 10, n),
        most=np.exp(rng.normal(0, 0.22, n)),
        needle=np.where(is_evergreen, 1 - few, few),
        cuts=cuts,
        before=np.where(rng.random(n) < 0.45, rng.uniform(0.5, 1.8, n), 0),
        cleared=rng.uniform(45, 115, n),
        ploughed=rng.uniform(5, 70, n),
        after=np.where(rng.random(n) < 0.6, rng.uniform(0.5, 1.9, n), 0),
        greened=rng.normal(292, 18, n),
        drought=rng.uniform(0.1, 0.5, n) * is_drought,
    )


def cover(of: Parcels, day: float) -> Cover:
    """Return leaves and dry plants on a day of the year."""
    leaves, dry = np.zeros(len(of.kinds)), np.zeros(len(of.kinds))
    for kind, grown in _GROWN.items():
        here = of.kinds == kind
        if here.any():
            leaf_area, dry_share = grown(of, day)
            leaves[here], dry[here] = leaf_area[here], dry_share[here]
    return Cover(np.maximum(leaves, 0), np.clip(dry, 0, 1))


def _risen(day: float, half: np.ndarray, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip((day - half) / width, -40, 40)))


def _crop(of, day, up, down, widths, most):
    """Return leaves and dry cover of a crop that is green between two days."""
    start, end = up + of.shift, down + 0.7 * of.shift
    own = most * of.most * _risen(day, start, widths[0]) * (1 - _risen(day, end, widths[1]))
    stubble = _risen(day, end + 2, widths[1]) * (1 - _risen(day, end + 15 + of.ploughed, 3))
    return own, 0.75 * stubble


def _autumn(of, day):
    return of.after * _risen(day, of.greened, 9)


def _winter(of, day):
    young = (0.35 + 0.35 * of.most) * (1 - _risen(day, 185 + 0.7 * of.shift, 6))
    own, dry = _crop(of, day, 104, 190, (11, 6), 4.2)
    return young + own + _autumn(of, day), dry


def _spring(of, day):
    own, dry = _crop(of, day, 131, 209, (9, 6), 4.2)
    return of.before * (1 - _risen(day, of.cleared, 4)) + own + _autumn(of, day), dry


def _summer(of, day):
    own, dry = _crop(of, day, 171, 266, (9, 8), 4.4)
    late = _autumn(of, day) * _risen(day, 300 + of.shift, 6)
    return of.before * (1 - _risen(day, of.cleared, 4)) + own + 0.6 * late, dry


def _grass(of, day):
    season = _risen(day, 88 + of.shift, 15) * (1 - _risen(day, 300 + of.shift, 20))
    since = day - of.cuts
    left = np.where(since >= 0, 1 - 0.8 * np.exp(-np.maximum(since, 0) / 17), 1).min(axis=1)
    bump = _risen(day, np.full(len(left), 195.0), 8) * (1 - _risen(day, 245 + of.shift, 10))
    dry = 0.25 + of.drought * bump
    return (0.9 + 2.9 * of.most * season * (1 - of.drought * bump)) * left, dry


def _wood(of, day):
    leafy = _risen(day, 117 + of.shift, 6) * (1 - _risen(day, 299 + of.shift, 8))
    return (1 - of.needle) * 4.6 * of.most * leafy + of.needle * 4.2, np.zeros(len(leafy))


def _garden(of, day):
    season = _risen(day, 100 + of.shift, 14) * (1 - _risen(day, 300 + of.shift, 16))
    return 0.9 + 2.2 * of.most * season, np.full(len(season), 0.2)


_GROWN = {
    spectra.DECIDUOUS: _wood,
    spectra.EVERGREEN: _wood,
    spectra.GRASS: _grass,
    spectra.WINTER: _winter,
    spectra.SPRING: _spring,
    spectra.SUMMER: _summer,
    spectra.BUILT: _garden,
}
