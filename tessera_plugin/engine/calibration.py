# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How sure a head may be of itself: one temperature, found on labels that it has not seen.

Source: Guo et al., On calibration of modern neural networks (2017). Dividing the outputs before the
softmax by one number changes no class, only how sure the head says it is.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from .trials import evenness

MOST_BINS = 15

LABELS_PER_BIN = 20
"""Fewer, and a bin shows chance."""

MOST_ROWS = 20_000
"""Of more held-out rows so many are drawn: one number needs no more."""

PRIOR_SPREAD = 0.5
"""A handful of labels that are all right say nothing of the temperature; what keeps it near 1 is a
normal distribution of its logarithm with this spread, which a few dozen labels outweigh."""

_COARSE = np.linspace(math.log(0.1), math.log(300.0), 25)
_GOLDEN = (math.sqrt(5) - 1) / 2
_FINE = 1e-4


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a head said of rows it had not seen; k classes, m rows."""

    logits: NDArray[np.float32]
    """(m, k), before the softmax and without a temperature."""
    y: NDArray[np.int64]
    """Index of the class that is right, (m,)."""
    groups: NDArray[np.int64]
    """Which label a row is of, (m,): each label counts once, however many pixels it has. Labels that
    share ground are one."""
    parts: NDArray[np.int64]
    """Which training said it, (m,)."""


@dataclass(frozen=True)
class Calibration:
    """How sure a head is, against how often it is right."""

    temperature: float
    n_labels: int
    """Held-out labels it was found on."""
    right: float
    """Share of the held-out pixels that are right."""
    confidence_before: float
    """Mean probability of the class that was chosen, without a temperature."""
    confidence_after: float
    ece_before: Optional[float]
    """Expected calibration error, without a temperature; None where there are too few labels."""
    ece_after: Optional[float]
    """With one, for each part of the labels with the temperature that the other parts give: no
    label is judged by a temperature it helped to find."""

    def to_json(self) -> Dict[str, object]:
        """Return it as JSON values."""
        return asdict(self)

    def sentence(self) -> str:
        """Return it as an English sentence for the log and the command line."""
        if self.ece_before is None or self.ece_after is None:
            error = "too few labels to tell the expected calibration error"
        else:
            error = (
                f"expected calibration error {self.ece_before:.2f} before and "
                f"{self.ece_after:.2f} after"
            )
        return (
            f"Calibrated on {self.n_labels:,} held-out labels, of which {self.right:.1%} of the "
            f"pixels are right: mean confidence {self.confidence_before:.3f} before and "
            f"{self.confidence_after:.3f} after, {error} (temperature {self.temperature:.2f})."
        )


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities (m, k)."""
    z = np.asarray(logits, np.float64) / temperature
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z


def expected_calibration_error(
    probabilities: NDArray[np.float64],
    y: NDArray[np.int64],
    groups: Optional[NDArray[np.int64]] = None,
) -> Optional[float]:
    """Return how far confidence and accuracy are apart on average, less what chance adds.

    Over bins of equal mass, 15 or as many as have 20 labels each; None where that are less than two.
    Shapes: probabilities (m, k); y (m,), index of the right class; groups (m,), which label a row is
    of, without them each row is one.

    A bin of few labels is off by chance, and what is averaged has no sign to cancel: of a perfectly
    calibrated head 15 bins say 0.26 from 30 labels and 0.11 from 150. So what chance adds to a bin's
    gap is taken off, from the spread of its labels. In simulations a perfectly calibrated head then
    gets 0.05 from 60 to 150 labels and 0.01 from 5,000, one that is too sure by 0.1 gets 0.09 to 0.10.
    Source: Kumar, Liang and Ma, Verified uncertainty calibration (2019), with the mean of a folded
    normal distribution in place of its draws.
    """
    labels = np.arange(len(y)) if groups is None else groups
    _, label, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    bins = min(int(evenness(sizes)) // LABELS_PER_BIN, MOST_BINS)
    if bins < 2:
        return None
    confidence = probabilities.max(axis=1)
    gap = confidence - (probabilities.argmax(axis=1) == y)
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return max(sum(_without_chance(gap[rows], label[rows]) for rows in parts) / len(y), 0.0)


def _without_chance(gap: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Return the size of a bin's summed gap, less what chance adds to it on average."""
    size = abs(float(gap.sum()))
    _, which = np.unique(label, return_inverse=True)
    off = np.bincount(which, gap - gap.mean())  # the rows of one label are off together
    spread = math.sqrt((off**2).sum() * len(off) / max(len(off) - 1, 1))
    if not spread:
        return size
    ratio = size / (spread * math.sqrt(2))
    with_chance = spread * math.sqrt(2 / math.pi) * math.exp(-(ratio**2)) + size * math.erf(ratio)
    return 2 * size - with_chance


def fit_temperature(
    logits: NDArray[np.float32], y: NDArray[np.int64], weights: Optional[NDArray[np.float64]] = None
) -> float:
    """Return the temperature under which held-out labels are most likely.

    Shapes: logits (m, k); y (m,); weights (m,), how many labels a row stands for, 1 unless given.
    1 where there is no row.
    """
    if not len(y):
        return 1.0
    z = np.asarray(logits, np.float64)
    z = z - z[np.arange(len(y)), y][:, None]  # against the right class: the loss is log sum exp
    top = z.max(axis=1, keepdims=True)
    mass = np.ones(len(y)) if weights is None else weights

    def loss(log_temperature: float) -> float:
        share = math.exp(-log_temperature)
        rows = np.log(np.exp((z - top) * share).sum(axis=1)) + top[:, 0] * share
        return float(mass @ rows) + 0.5 * (log_temperature / PRIOR_SPREAD) ** 2

    coarse = [loss(value) for value in _COARSE]
    best = min(max(int(np.argmin(coarse)), 1), len(_COARSE) - 2)
    low, high = float(_COARSE[best - 1]), float(_COARSE[best + 1])
    while high - low > _FINE:  # golden section
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return round(math.exp((low + high) / 2), 4)


def calibrate(held_out: HeldOut, seed: int = 0) -> Calibration:
    """Return the temperature of held-out labels, and what it betters."""
    held = _drawn(held_out, seed)
    parts = _two_or_more(held)
    weights = _label_weights(held.groups)
    before = softmax(held.logits)
    after = np.empty_like(before)
    for number in np.unique(parts):
        mine = parts == number
        # a place may be held out in several parts, in another year
        others = ~mine & ~np.isin(held.groups, held.groups[mine])
        cool = fit_temperature(held.logits[others], held.y[others], weights[others])
        after[mine] = softmax(held.logits[mine], cool)
    return Calibration(
        temperature=fit_temperature(held.logits, held.y, weights),
        n_labels=len(np.unique(held.groups)),
        right=float((before.argmax(axis=1) == held.y).mean()),
        confidence_before=float(before.max(axis=1).mean()),
        confidence_after=float(after.max(axis=1).mean()),
        ece_before=expected_calibration_error(before, held.y, held.groups),
        ece_after=expected_calibration_error(after, held.y, held.groups),
    )


def _drawn(held: HeldOut, seed: int) -> HeldOut:
    if len(held.y) <= MOST_ROWS:
        return held
    rows = np.sort(np.random.default_rng(seed).choice(len(held.y), MOST_ROWS, replace=False))
    return HeldOut(held.logits[rows], held.y[rows], held.groups[rows], held.parts[rows])


def _two_or_more(held: HeldOut) -> NDArray[np.int64]:
    """Return the parts; where one training said it all, its labels are dealt to two."""
    if len(np.unique(held.parts)) > 1:
        return held.parts
    _, label = np.unique(held.groups, return_inverse=True)
    return np.asarray(label % 2, np.int64)


def _label_weights(groups: NDArray[np.int64]) -> NDArray[np.float64]:
    _, label, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1 / sizes[label], np.float64)


def held_out_of(
    rows: Tuple[NDArray[np.int64], ...],
    logits: Tuple[NDArray[np.float32], ...],
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> HeldOut:
    """Return what several trainings said of rows each: numbers of rows (m,) and logits (m, k).

    Shapes: y, groups (n,) of all rows.
    """
    all_rows = np.concatenate(rows)
    parts = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    return HeldOut(np.concatenate(logits), y[all_rows], groups[all_rows], parts)
