# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How unlike all labels a pixel is: where a head is asked about what it has never seen.

The dissimilarity index of Meyer and Pebesma (Predicting into unknown space?, 2021): the distance to
the nearest labelled pixel, divided by the mean distance of labelled pixels from each other. What is
further than labels are from those of other folds (their upper whisker) lies outside of the area of
applicability. Distances are between directions of embeddings (length 1): on the sample archive, with
one class left out of ten labels each, they tell its pixels from the others' with an area under the
curve of 0.87 (bench/explore.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import TooFewLabels
from .products import product
from .samples import Samples
from .similarity import products_of, unit

MAX_REFERENCES = 512
"""Labelled pixels that others are compared with: of more, as many are drawn evenly from the classes,
and of each evenly from its labels."""

FOLDS = 5
CHUNK_PX = 4096
"""Few enough that the products with all references stay in the processor's cache."""

MOST_PERCENT = 254


@dataclass(frozen=True, eq=False)
class Novelty:
    """What tells how unlike the labels a pixel is."""

    references: NDArray[np.float32]
    """(n, D), directions of labelled pixels."""
    mean_distance: float
    """Of the labelled pixels from each other, what distances are divided by."""
    limit: float
    """Of the index: what is further from the nearest label than this is unlike all of them."""

    @classmethod
    def of(cls, samples: Samples, seed: int = 0) -> Novelty:
        """Return it of labelled pixels. Raises: TooFewLabels if they are all of one label."""
        chosen = _evenly(samples.class_ids, samples.groups, seed)
        groups = samples.groups[chosen]
        if len(np.unique(groups)) < 2:
            raise TooFewLabels(tuple((c.name, c.labels) for c in samples.report.classes), 1)
        directions = unit(samples.codes[chosen])
        distances = _between(directions, directions)
        above = distances[np.triu_indices(len(chosen), 1)]
        # where all labels are one and the same, anything else is novel
        mean_distance = max(float(above.mean(dtype=np.float64)), 1e-6)
        folds = _folds(groups, seed)
        distances[folds[:, None] == folds] = np.inf
        limit = max(_whisker(distances.min(axis=1) / mean_distance), 1e-6)
        return cls(directions, mean_distance, limit)

    def index(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return the dissimilarity index of valid pixels. Shapes: codes (n, D); result (n,)."""
        result = np.empty(len(codes), np.float32)
        columns = np.ascontiguousarray(self.references.T)
        for start in range(0, len(codes), CHUNK_PX):
            chunk = slice(start, start + CHUNK_PX)
            products, norms = products_of(codes[chunk], columns)
            result[chunk] = _chord(products.max(axis=1) / np.maximum(norms, 1))
        result /= self.mean_distance
        return result

    def percent(self, codes: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Return the index in percent of the limit, 254 and more as 254: over 100 is novel."""
        share = 100 * self.index(codes) / np.float32(self.limit)
        return np.asarray(np.rint(np.minimum(share, MOST_PERCENT)), np.uint8)


def _between(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return _chord(product(first, second.T))


def _chord(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distance of the ends of two directions."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosine, 0)), np.float32)


def _evenly(class_ids: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Return rows to keep, at most MAX_REFERENCES, but one of each class.

    Classes take turns, so that none with few labels is forgotten; in a class its labels do, and which
    pixel of a label is next is drawn.
    """
    drawn = np.random.default_rng(seed).permutation(len(groups))
    order = drawn[np.lexsort((_turn(groups[drawn]), class_ids[drawn]))]
    order = order[np.argsort(_turn(class_ids[order]), kind="stable")]
    return np.sort(order[: max(MAX_REFERENCES, len(np.unique(class_ids)))])


def _turn(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many equal ones come before each value (n,)."""
    order = np.argsort(values, kind="stable")
    _, first, sizes = np.unique(values[order], return_index=True, return_counts=True)
    turn = np.empty(len(values), np.int64)
    turn[order] = np.arange(len(values)) - np.repeat(first, sizes)
    return turn


def _folds(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the fold of each row; the pixels of a label are in one."""
    labels, of = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng([seed, 1]).permutation(len(labels)) % min(FOLDS, len(labels))
    return np.asarray(dealt[of], np.int64)


def _whisker(values: NDArray[np.float32]) -> float:
    """Return the largest value that is no outlier."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(min(values.max(), high + 1.5 * (high - low)))
