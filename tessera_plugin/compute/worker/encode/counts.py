# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many pixels of a scene were seen too seldom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW_S2 = 15
"""Fewer valid observations of Sentinel-2 in a year make embeddings that others would not use."""
FEW_S1 = 12
"""Of both orbit directions together."""


@dataclass
class Counts:
    """Pixels by what was seen of them."""

    no_s2: int = 0
    """Without a valid observation of Sentinel-2: never encoded."""
    few_s2: int = 0
    """Encoded from fewer than FEW_S2."""
    few_s1: int = 0
    """Encoded from fewer than FEW_S1 of Sentinel-1."""
    encoded: int = 0

    def add(self, records: NDArray[Any]) -> None:
        """Count pixels, records as in blocks."""
        seen = records["seen"].astype(np.int64)
        is_encoded = np.isfinite(records["scale"])
        self.no_s2 += int((seen[..., 0] == 0).sum())
        self.few_s2 += int((is_encoded & (seen[..., 0] < FEW_S2)).sum())
        self.few_s1 += int((is_encoded & (seen[..., 1] + seen[..., 2] < FEW_S1)).sum())
        self.encoded += int(is_encoded.sum())
