# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A coarse picture of a scene from the few pixels that are encoded before all others."""

from __future__ import annotations

from typing import Any, Mapping, Optional

import numpy as np

from .embeddings import dequantise
from .explore import basis_of, colors
from .picture import Picture

STRIDE_PX = 8
"""Of so many rows and columns one is encoded first: a sixty-fourth of the work."""


def first_look(told: Mapping[str, Any], zone: int) -> Optional[Picture]:
    """Return the picture of a lattice that the worker has told of; None where it is gone already.

    `told` has the file ("preview"), "stride", and "row" and "col" of its first pixel on the grid.
    """
    try:
        records = np.load(str(told["preview"]))
    except (OSError, ValueError):
        return None
    valid = np.isfinite(records["scale"])
    rgba = np.zeros((*valid.shape, 4), np.uint8)
    if valid.any():
        codes, scales = records["codes"][valid], records["scale"][valid]
        rgba[valid, :3] = colors(basis_of(dequantise(codes, scales)), codes, scales)
        rgba[valid, 3] = 255
    stride, (row, col) = int(told["stride"]), (int(told["row"]), int(told["col"]))
    return Picture(zone, row - stride // 2, col - stride // 2, stride, rgba)
