# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reproducible randomness that depends on a place and not on the order of asking."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Callable, Dict, Generic, Hashable, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")


class Memo(Generic[Value]):
    """Keeps the last values made; each is made once, however many threads ask for it at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, Dict[str, Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._lock:
            slot = self._slots.setdefault(key, {"lock": threading.Lock()})
            self._slots.move_to_end(key)
            while len(self._slots) > self._limit:
                self._slots.popitem(last=False)
        with slot["lock"]:
            if "value" not in slot:
                slot["value"] = make()
            value: Value = slot["value"]
            return value


def hash64(seed: int, *parts: Any) -> NDArray[np.uint64]:
    """Return 64 well-mixed bits for each combination of integers (arrays broadcast)."""
    with np.errstate(over="ignore"):
        h = np.full(1, seed & 0xFFFFFFFFFFFFFFFF, np.uint64)
        for part in parts:
            mixed = np.asarray(part).astype(np.int64).astype(np.uint64)
            h = _mix(h ^ (mixed + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xD1B54A32D192ED03))
    return h


def _mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def uniform(h: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return a number in [0, 1) per hash."""
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(h: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return a nearly normal number per hash: the sum of its four 16-bit parts."""
    total = sum(
        ((h >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.float64) for s in (0, 16, 32, 48)
    )
    return np.asarray((total - 4 * 32767.5) / (65536 * np.sqrt(4 / 12)), np.float64)


def smooth(seed: int, u: NDArray[Any], v: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Return a smooth random field of about unit spread, with features of `scale` (units of u, v)."""
    x, y = u / scale, v / scale
    i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    # Corners from one small lattice: hashing every pixel's four corners would cost far more.
    i0, j0 = int(i.min()), int(j.min())
    shape = (int(i.max()) - i0 + 2, int(j.max()) - j0 + 2)
    lattice = normal(hash64(seed, i0 + np.arange(shape[0])[:, None], j0 + np.arange(shape[1])))
    a, b = i - i0, j - j0
    s, t = x - i, y - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = lattice[a, b] * (1 - s) + lattice[a + 1, b] * s
    high = lattice[a, b + 1] * (1 - s) + lattice[a + 1, b + 1] * s
    # Interpolation flattens: 1.35 brings the spread back to about one.
    return np.asarray((low * (1 - t) + high * t) * 1.35, np.float64)
