# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings as the published ones are stored: int8 codes and one scale per pixel."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from ..encoders.spec import Quantisation

LARGEST_CODE = 127

_MOST_SCALE = np.float32(1.0)
"""Scales of valid pixels lie below, as readers of published data expect."""


def quantise(
    embeddings: NDArray[np.float32], rule: Quantisation
) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return codes and scales: an embedding is about code times scale.

    The scale is the largest magnitude of the pixel's own vector over 127, but not under the rule's
    smallest. A vector that is not finite, has a scale of 1 or more, or whose codes are all zero
    makes a pixel that is not valid.
    Shapes: embeddings (n, D), already cut to the depth to be stored; codes (n, D); scales (n,).
    Nodata: codes 0, scale NaN.
    """
    largest = np.abs(embeddings).max(axis=1) / np.float32(LARGEST_CODE)
    # A vector with a NaN or an infinity has such a scale, and fails the comparison.
    is_usable = largest < _MOST_SCALE
    scales = np.maximum(np.where(is_usable, largest, 1), np.float32(rule.smallest_scale))
    rounded = np.rint(np.where(is_usable[:, None], embeddings, 0) / scales[:, None])
    codes = np.clip(rounded, rule.smallest_code, LARGEST_CODE).astype(np.int8)
    is_valid = codes.any(axis=1)
    return codes, np.where(is_valid, scales, np.nan).astype(np.float32)
