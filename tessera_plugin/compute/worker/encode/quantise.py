# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings as the published ones are stored: int8 codes and one scale per pixel."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

LARGEST_CODE = 127
"""Codes are symmetric: -128 never occurs."""

_LEAST_SCALE = np.float32(1e-8)
_MOST_SCALE = np.float32(1.0)
"""Scales of valid pixels lie between, as readers of published data expect."""


def quantise(embeddings: NDArray[np.float32]) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return codes and scales: an embedding is about code times scale.

    The scale is the largest magnitude of the pixel's own vector over 127. A vector that is not
    finite, is all zeros, or has a scale outside (1e-8, 1) makes a pixel that is not valid.
    Shapes: embeddings (n, D), already cut to the depth to be stored; codes (n, D); scales (n,).
    Nodata: codes 0, scale NaN.
    """
    scales = np.abs(embeddings).max(axis=1) / np.float32(LARGEST_CODE)
    # A vector with a NaN or an infinity has such a scale, and fails both comparisons or one.
    is_valid = (scales > _LEAST_SCALE) & (scales < _MOST_SCALE)
    divisors = np.where(is_valid, scales, 1).astype(np.float32)
    rounded = np.rint(np.where(is_valid[:, None], embeddings, 0) / divisors[:, None])
    codes = np.clip(rounded, -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
    return codes, np.where(is_valid, scales, np.nan).astype(np.float32)
