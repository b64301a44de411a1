# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How well a few labels map a simulated landscape: from embeddings, and from plain statistics.

The same labelled pixels, the same heads, the same test pixels; labels lie inside parcels as a
careful person would click them, and no parcel that has a label is tested. Landscapes, weather and
dates are none that were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.compute.worker.encode.dpixel import Pixels
from tessera_plugin.engine.heads import fit_instant
from tools.demo_encoder.pool import Sample

Floats = NDArray[np.float64]
Features = Callable[[Pixels], Floats]
"""Pixels to (n, features)."""

PERCENTILES = (10, 25, 50, 75, 90)
MONTHS = np.arange(12) * 30.4 + 15.2
_MOST_TESTED = 3000


def statistics(pixels: Pixels) -> Floats:
    """Return mean, standard deviation and percentiles of what is valid, per band and per orbit."""
    found = [_distribution(pixels.bands, pixels.is_clear)]
    found += [_distribution(codes, valid) for codes, valid, _ in _orbits(pixels)]
    return np.concatenate(found, axis=1)


def monthly(pixels: Pixels) -> Floats:
    """Return the course of the year instead: each band at the middle of twelve months, straight
    lines between the medians of the months that have an observation.
    """  # noqa: D205
    found = [_course(pixels.bands, pixels.is_clear, pixels.s2_doys)]
    found += [_course(*orbit) for orbit in _orbits(pixels)]
    return np.concatenate(found, axis=1)


def _orbits(pixels: Pixels) -> List[Tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.int32]]]:
    return [
        (codes, (codes != 0).any(axis=2), doys)
        for codes, doys in (
            (pixels.ascending, pixels.ascending_doys),
            (pixels.descending, pixels.descending_doys),
        )
    ]


def _masked(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(valid[..., None], values.astype(np.float64), np.nan))


def _distribution(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> Floats:
    seen = _masked(values, valid)
    parts = [np.nanmean(seen, axis=0), np.nanstd(seen, axis=0)]
    parts += list(_percentiles(seen))
    return np.asarray(np.nan_to_num(np.concatenate(parts, axis=1)))


def _percentiles(seen: Floats) -> Floats:
    """Return (percentiles, n, bands); as numpy's nanpercentile, but in a second, not in a minute."""
    ordered = np.sort(seen, axis=0)  # NaN last
    count = np.isfinite(seen).sum(axis=0)
    found = []
    for percentile in PERCENTILES:
        at = np.maximum(count - 1, 0) * percentile / 100
        low = np.floor(at).astype(np.intp)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        pair = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (low, high))
        below, above = pair
        found.append(below + (at - low) * (above - below))
    return np.array(found)


def _course(
    values: NDArray[np.generic], valid: NDArray[np.bool_], doys: NDArray[np.int32]
) -> Floats:
    seen = _masked(values, valid)
    month = np.minimum((doys - 1) * 12 // 366, 11)
    course = np.full((12, *seen.shape[1:]), np.nan)
    for number in np.unique(month):
        course[number] = _percentiles(seen[month == number])[PERCENTILES.index(50)]
    for px in range(course.shape[1]):
        known = np.isfinite(course[:, px, 0])
        for band in range(course.shape[2]):
            here = course[:, px, band]
            course[:, px, band] = (
                np.interp(MONTHS, MONTHS[known], here[known]) if known.any() else 0
            )
    return np.concatenate(list(course), axis=1)


@dataclass(frozen=True)
class Split:
    """Which pixels are labelled and which are tested."""

    labelled: NDArray[np.intp]
    tested: NDArray[np.intp]


def split(rng: np.random.Generator, sample: Sample, per_class: int) -> Split:
    """Return `per_class` pixels of every class, from as many parcels as there are to spare."""
    seen = sample.pixels.is_clear.any(axis=0)
    labelled: List[int] = []
    for kind in np.unique(sample.classes):
        inside = np.flatnonzero((sample.classes == kind) & sample.is_inside & seen)
        parcels = rng.permutation(np.unique(sample.parcels[inside]))
        used = parcels[: max(1, min(per_class, len(parcels) // 2))]
        for number in range(per_class):
            own = inside[sample.parcels[inside] == used[number % len(used)]]
            labelled.append(int(rng.choice(own)))
    chosen = np.array(labelled)
    free = seen & ~np.isin(sample.parcels, sample.parcels[chosen])
    tested = rng.permutation(np.flatnonzero(free))[:_MOST_TESTED]
    return Split(chosen, tested)


def _instant(x: Floats, y: NDArray[np.int64], to: Floats) -> NDArray[np.int64]:
    weights = fit_instant(x.astype(np.float32), y)
    return np.asarray((to @ weights["W"] + weights["b"]).argmax(axis=1), np.int64)


def _nearest(x: Floats, y: NDArray[np.int64], to: Floats) -> NDArray[np.int64]:
    distance = (x**2).sum(axis=1) - 2 * to @ x.T
    return np.asarray(y[distance.argmin(axis=1)], np.int64)


def _linear(x: Floats, y: NDArray[np.int64], to: Floats) -> NDArray[np.int64]:
    """Ridge regression on the classes, with a weight of the ridge of a tenth of the variance."""
    wanted = np.eye(int(y.max()) + 1)[y] - 1 / (int(y.max()) + 1)
    inner = x @ x.T
    ridge = 0.1 * np.trace(inner) / len(x) * np.eye(len(x))
    return np.asarray((to @ (x.T @ np.linalg.solve(inner + ridge, wanted))).argmax(axis=1))


HEADS = {"instant": _instant, "nearest": _nearest, "linear": _linear}


def accuracies(features: Floats, sample: Sample, by: Split) -> Dict[str, float]:
    """Return the mean over the classes of the share that is mapped rightly, by head."""
    kinds, y = np.unique(sample.classes, return_inverse=True)
    x = features[by.labelled]
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std <= 1e-9] = 1
    x, to = (x - mean) / std, (features[by.tested] - mean) / std
    truth = y[by.tested]
    found = {}
    for name, head in HEADS.items():
        right = head(x, y[by.labelled].astype(np.int64), to) == truth
        shares = [
            right[truth == kind].mean() for kind in range(len(kinds)) if (truth == kind).any()
        ]
        found[name] = float(np.mean(shares))
    return found


def compare(
    samples: Sequence[Sample], of: Dict[str, Features], per_class: Sequence[int], repeats: int
) -> Dict[str, Dict[str, Dict[str, Tuple[float, float]]]]:
    """Return mean and standard deviation over landscapes and repeats: [labels][features][head]."""
    made = [{name: make(sample.pixels) for name, make in of.items()} for sample in samples]
    found: Dict[str, Dict[str, Dict[str, Tuple[float, float]]]] = {}
    for count in per_class:
        rows: Dict[str, List[Dict[str, float]]] = {name: [] for name in of}
        for number, sample in enumerate(samples):
            for repeat in range(repeats):
                by = split(np.random.default_rng([number, repeat, count]), sample, count)
                for name in of:
                    rows[name].append(accuracies(made[number][name], sample, by))
        found[str(count)] = {
            name: {head: _told([row[head] for row in each]) for head in HEADS}
            for name, each in rows.items()
        }
    return found


def _told(values: Sequence[float]) -> Tuple[float, float]:
    return round(float(np.mean(values)), 4), round(float(np.std(values)), 4)
