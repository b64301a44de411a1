# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What pixels without labels tell an instant head: how the land around the labels varies.

A handful of labels says little of how far a class spreads; the pixels around them, of which there
are plenty, say it without any label. They are taken for a mixture of Gaussians, one per class, with
one covariance for all, in the dimensions in which the place varies at all. The means begin at the
labels' means and may be moved by the pixels only as if these were a few more labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..products import product
from .moments import moments

MAX_PX = 2_000
"""Pixels that are looked at; more change nothing."""

FEWEST_PX = 200
"""Fewer say too little of how the land varies."""

FEWEST_DIMENSIONS = 8
ROUNDS = 5
"""Steps of expectation and maximisation; what is learnt later is hardly to be seen."""

MOVE_LABELS = 3.0
"""The pixels that look like a class weigh as much as so many labels when the mean of a class with one
label is found, half as much with two, and so on: many labels know better where a class lies."""

ROUNDNESS = 0.2
"""How much of the covariance is taken to be the same in all directions."""

_Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Background:
    """Pixels without labels, and the dimensions in which they vary; u pixels, r dimensions."""

    codes: NDArray[np.int8]
    """(u, D), all valid."""
    scales: NDArray[np.float32]
    """(u,)."""
    mean: NDArray[np.float32]
    """(D,): heads that use it standardise by it."""
    std: NDArray[np.float32]
    """(D,)."""
    basis: NDArray[np.float64]
    """(D, r), orthonormal: directions in which standardised pixels vary more than on average."""
    spread: NDArray[np.float64]
    """(r,): variance along them."""
    rows: _Rows
    """(u, r): the pixels in them."""

    @classmethod
    def of(cls, codes: NDArray[np.int8], scales: NDArray[np.float32], seed: int = 0) -> Background:
        """Return it of valid pixels, of many a seeded choice. Shapes: codes (n, D); scales (n,).

        Raises: ValueError for fewer than FEWEST_PX.
        """
        if len(codes) < FEWEST_PX:
            raise ValueError(f"a background has {FEWEST_PX} pixels at least, got {len(codes)}")
        if len(codes) > MAX_PX:
            some = np.random.default_rng(seed).choice(len(codes), MAX_PX, replace=False)
            codes, scales = codes[np.sort(some)], scales[np.sort(some)]
        mean, std = moments(codes, scales)
        x = (codes.astype(np.float64) * scales[:, None] - mean) / std
        values, vectors = np.linalg.eigh(product(x.T, x) / len(x))  # ascending
        values, vectors = values[::-1], vectors[:, ::-1]
        size = max(int((values > values.mean()).sum()), min(FEWEST_DIMENSIONS, len(values)))
        basis = vectors[:, :size]
        return cls(codes, scales, mean.astype(np.float32), std.astype(np.float32),
                   basis, values[:size], product(x, basis))  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[Background]) -> Background:
        """Return that of all pixels of several together."""
        if len(parts) == 1:
            return parts[0]
        codes = np.concatenate([each.codes for each in parts])
        return cls.of(codes, np.concatenate([each.scales for each in parts]))

    def __len__(self) -> int:
        return len(self.codes)

    def learn(
        self, means: _Rows, counts: NDArray[np.int64], shares: NDArray[np.float64]
    ) -> Tuple[_Rows, _Rows]:
        """Return the classes' means (k, D), moved towards pixels like them, and the covariance (D, D).

        Shapes: means (k, D), standardised, of `counts` (k,) labelled pixels each; shares (k,): how
        common the classes are held to be. The covariance is the pixels' around the means; in the
        dimensions in which the place hardly varies it is set so wide that they decide nothing.
        """
        size = self.basis.shape[1]
        start = means @ self.basis
        moved = start
        covariance = np.eye(size) * float(self.spread.mean()) / 2
        for _ in range(ROUNDS):
            belongs = _posterior(self.rows, moved, covariance, shares)  # (u, k)
            weight = belongs.sum(axis=0)
            found = product(belongs.T, self.rows) / np.maximum(weight, 1e-9)[:, None]
            pull = np.minimum(weight, MOVE_LABELS / counts)[:, None]
            moved = (counts[:, None] * start + pull * found) / (counts[:, None] + pull)
            covariance = _rounded(_around(self.rows, moved, belongs))
        depth = len(self.basis)
        aside = np.eye(depth) - self.basis @ self.basis.T
        widest = float(np.linalg.eigvalsh(covariance)[-1])
        whole = self.basis @ covariance @ self.basis.T + widest * aside
        return means + (moved - start) @ self.basis.T, whole


def _posterior(
    rows: _Rows, means: _Rows, covariance: _Rows, shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how probably each row belongs to each class (u, k)."""
    directions: _Rows = np.linalg.solve(covariance, means.T)
    said = (
        product(rows, directions) - 0.5 * np.einsum("kr,rk->k", means, directions) + np.log(shares)
    )
    said -= said.max(axis=1, keepdims=True)
    odds: NDArray[np.float64] = np.exp(said)
    odds /= odds.sum(axis=1, keepdims=True)
    return odds


def _around(rows: _Rows, means: _Rows, belongs: NDArray[np.float64]) -> _Rows:
    """Return the covariance of rows around the means they belong to (r, r)."""
    size = rows.shape[1]
    total = np.zeros((size, size))
    for index, mean in enumerate(means):
        centred = rows - mean
        total += product((belongs[:, index, None] * centred).T, centred)
    return total / len(rows)


def _rounded(covariance: _Rows) -> _Rows:
    size = len(covariance)
    level = float(np.trace(covariance)) / size
    return (1 - ROUNDNESS) * covariance + max(ROUNDNESS * level, 1e-9) * np.eye(size)
