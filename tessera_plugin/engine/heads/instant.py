# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The instant head: shrinkage linear discriminant analysis, closed form, milliseconds.

Every class is a Gaussian with its own mean and one covariance for all, drawn towards a multiple of
the identity so that a handful of labels in 128 dimensions is enough. The posterior probability of
such Gaussians is the softmax of a linear function, so the head is one matrix and one bias.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..products import product
from .background import Background

CHUNK_ROWS = 1024
"""Rows multiplied at once: so few stay in the processor's cache."""

TRUSTED_PX = 2.0
"""With so many labelled pixels beyond one per class, their covariance counts as much as that of
pixels without labels; with many more, it alone counts."""

_Standardised = Callable[[slice], NDArray[np.float32]]
"""Gives some of the standardised rows (m, D)."""


def layers_of(
    weights: Mapping[str, NDArray[np.float32]],
) -> List[Tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the one layer of an instant head's weights W, b. Raises: ValueError for others."""
    if set(weights) != {"W", "b"}:
        raise ValueError(f"an instant head has W and b, got {sorted(weights)}")
    return [(weights["W"], weights["b"])]


def fit_instant(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    priors: Optional[NDArray[np.float64]] = None,
    shrinkage: Optional[float] = None,
    background: Optional[Background] = None,
) -> Dict[str, NDArray[np.float32]]:
    """Return the weights W (D, k) and b (k,) of a shrinkage linear discriminant.

    The priors, equal unless given, say how common the classes are held to be; they weigh both the
    classes' covariances and the probabilities, so a class with many labels does not outweigh one
    with few. The shrinkage (0 to 1) is Ledoit and Wolf's unless given. With a background, means and
    covariance are drawn towards what pixels without labels tell, the less the more labels there are.
    Shapes: x (n, D), standardised, by the background's mean and deviation where there is one; y (n,),
    0 to k - 1, each at least once.
    Raises: ValueError if a class has no row, or the priors don't fit.
    Source: Ledoit and Wolf, Honey, I shrunk the sample covariance matrix (2004); the same numbers
    as scikit-learn's LinearDiscriminantAnalysis(solver="lsqr") with these priors and shrinkage.
    """
    return _fitted(lambda rows: x[rows], y, priors, shrinkage, background)[0]


class Rows(NamedTuple):
    """Embeddings as they are stored, some of which are learnt from."""

    codes: NDArray[np.int8]
    """(N, D)."""
    scales: NDArray[np.float32]
    """(N,)."""
    chosen: NDArray[np.int64]
    """(n,), which of them; all valid."""
    mean: NDArray[np.float32]
    """(D,), what they are standardised by."""
    std: NDArray[np.float32]
    """(D,)."""

    def standardised(self, part: slice) -> NDArray[np.float32]:
        """Return some of those that were chosen (m, D)."""
        at = self.chosen[part]
        x: NDArray[np.float32] = self.codes[at].astype(np.float32)
        x *= self.scales[at, None]
        x -= self.mean
        x /= self.std
        return x


def fit_instant_codes(
    rows: Rows, y: NDArray[np.int64], background: Optional[Background] = None
) -> Tuple[Dict[str, NDArray[np.float32]], float]:
    """Return the weights `fit_instant` gives for embeddings as they are stored, and its shrinkage.

    They are dequantised and standardised a few at a time: of many labels all at once would take
    longer than the rest. Shape: y (n,). Raises: ValueError if a class has no row.
    """
    return _fitted(rows.standardised, y, background=background)


def within_class_shrinkage(
    x: NDArray[np.float32], y: NDArray[np.int64], priors: Optional[NDArray[np.float64]] = None
) -> float:
    """Return the Ledoit-Wolf shrinkage `fit_instant` uses for these rows.

    Rows are centred on their class and weighted by the square root of prior / count, so that it is
    the shrinkage of the very covariance that is shrunk.
    """
    return _fitted(lambda rows: x[rows], y, priors)[1]


def _fitted(
    x: _Standardised,
    y: NDArray[np.int64],
    priors: Optional[NDArray[np.float64]] = None,
    shrinkage: Optional[float] = None,
    background: Optional[Background] = None,
) -> Tuple[Dict[str, NDArray[np.float32]], float]:
    """Return the weights and the Ledoit-Wolf shrinkage."""
    counts = np.bincount(y)
    if not len(counts) or counts.min() == 0:
        raise ValueError(f"every class needs a row, got {counts.tolist()}")
    shares = _checked_priors(priors, len(counts))
    means = _class_means(x, y, counts)  # (k, D)
    row_weights = (shares / counts)[y] * len(y)  # (n,), mean 1
    covariance, automatic = _covariance(x, y, means, row_weights)
    amount = automatic if shrinkage is None else shrinkage
    shrunk = _shrunk(covariance, amount)
    if background is not None:
        means, around = background.learn(means, counts, shares)
        spare = len(y) - len(counts)
        trust = spare / (spare + TRUSTED_PX)
        # one pixel per class spreads by nothing at all: then the background alone counts
        shrunk = trust * shrunk + (1 - trust) * around if spare else around
    directions = np.linalg.solve(shrunk, means.T)  # (D, k)
    bias = np.log(shares) - 0.5 * np.einsum("kd,dk->k", means, directions)
    return {"W": directions.astype(np.float32), "b": bias.astype(np.float32)}, automatic


def _checked_priors(priors: Optional[NDArray[np.float64]], classes: int) -> NDArray[np.float64]:
    if priors is None:
        return np.full(classes, 1 / classes)
    shares = np.asarray(priors, np.float64)
    if shares.shape != (classes,) or not (shares > 0).all() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"{classes} priors above 0 with the sum 1 are needed, got {priors}")
    return shares


def _class_means(
    x: _Standardised, y: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.zeros(())
    for rows in _parts(y):
        is_of = (y[rows, None] == np.arange(len(counts))).astype(np.float64)  # (m, k)
        part = product(is_of.T, x(rows).astype(np.float64))
        sums = sums + part
    means: NDArray[np.float64] = sums / counts[:, None]
    return means


def _covariance(
    x: _Standardised, y: NDArray[np.int64], means: NDArray[np.float64], weights: NDArray[np.float64]
) -> Tuple[NDArray[np.float64], float]:
    """Return the weighted covariance within the classes (D, D) and its Ledoit-Wolf shrinkage."""
    depth = means.shape[1]
    total = np.zeros((depth, depth))
    fourth = 0.0  # the sum of the rows' norms to the fourth
    for rows in _parts(y):
        centred = x(rows) - means[y[rows]]
        centred *= np.sqrt(weights[rows])[:, None]
        total += product(centred.T, centred)
        fourth += float((np.einsum("nd,nd->n", centred, centred) ** 2).sum())
    covariance = total / len(y)
    return covariance, _ledoit_wolf(covariance, fourth, len(y))


def _parts(y: NDArray[np.int64]) -> Iterator[slice]:
    for start in range(0, len(y), CHUNK_ROWS):
        yield slice(start, start + CHUNK_ROWS)


def _ledoit_wolf(covariance: NDArray[np.float64], fourth: float, rows: int) -> float:
    """Return the shrinkage that is expected to come closest to the true covariance.

    It is how far the sample covariance is from its own expectation, as a share of how far it is
    from the scaled identity.
    """
    depth = len(covariance)
    square = float((covariance**2).sum())
    noise = (fourth / rows - square) / rows
    distance = square - float(np.trace(covariance)) ** 2 / depth
    if distance <= 0:  # it is the scaled identity already, or zero
        return 0.0
    return min(max(noise, 0.0) / distance, 1.0)


def _shrunk(covariance: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    depth = len(covariance)
    level = float(np.trace(covariance)) / depth
    if level <= 0:  # one distinct pixel per class: nothing but the distance to it is known
        return np.eye(depth)
    shrunk = (1 - shrinkage) * covariance
    # a hair of the identity keeps the matrix regular where the rows span fewer dimensions
    shrunk.flat[:: depth + 1] += max(shrinkage, 1e-9) * level
    return shrunk
