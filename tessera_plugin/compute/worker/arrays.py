# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arrays that client and worker exchange: .npy files, memory-mapped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_npy(path: str) -> NDArray[Any]:
    """Return the array of a file, read as it is used. Raises: OSError, ValueError if it is none."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
