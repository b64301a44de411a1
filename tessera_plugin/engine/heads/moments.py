# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mean and spread of embeddings, which heads standardise by."""

from __future__ import annotations

from typing import Iterator, Tuple

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 8192


def moments(
    codes: NDArray[np.int8], scales: NDArray[np.float32]
) -> Tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each dimension; 1 where a dimension never changes.

    Shapes: codes (n, D), all valid, n >= 1; scales (n,); results (D,).
    """
    mean = sum(chunk.sum(axis=0) for chunk in _chunks(codes, scales)) / len(codes)
    square = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in _chunks(codes, scales))
    std = np.sqrt(square / len(codes))
    # rounding leaves a trace of a deviation where there is none
    std[std <= 1e-9 * np.maximum(np.abs(mean), 1e-30)] = 1.0
    return mean, std


def _chunks(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(codes), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield codes[rows].astype(np.float64) * scales[rows, None]
