# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of a pixel's n valid observations make up a sequence of an allowed length, in which order.

A choice depends on the pixel alone: never on its neighbours, its block or its batch.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..encoders.spec import BUCKETS, FILL_V2, FILL_V11, Sampling

Ints = NDArray[np.intp]
Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def lengths_of(counts: Ints, sampling: Sampling) -> Ints:
    """Return the length of each sequence: the smallest allowed that holds n, or the longest.

    For n = 0 it is what stands for a sensor that has seen nothing (0 where nothing may).
    Shapes: counts and result (pixels,).
    """
    allowed = np.array(sampling.lengths, np.intp)
    longest = len(allowed) - 1
    held = allowed[np.minimum(np.searchsorted(allowed, counts), longest)]
    return np.where(counts > 0, held, sampling.empty_length).astype(np.intp)


def choose(counts: Ints, length: int, sampling: Sampling, keys: Keys) -> Ints:
    """Return positions among each pixel's valid observations, 0 to n - 1 (0 where n is 0).

    `keys` decide what is drawn by chance; filling by a rule doesn't look at them.
    Shapes: counts and keys (pixels,); result (pixels, length).
    """
    if sampling.mode != BUCKETS:
        return _drawn(counts, length, keys)
    rows, which = np.unique(counts, return_inverse=True)
    table = np.stack([_filled(int(n), length, sampling.fill) for n in rows])
    positions: Ints = table[which]
    return positions


@lru_cache(maxsize=4096)
def _filled(n: int, length: int, fill: str) -> Ints:
    if n == 0:
        return np.zeros(length, np.intp)
    return {FILL_V2: fill_v2, FILL_V11: fill_v11}[fill](n, length)


def fill_v2(n: int, length: int) -> Ints:
    """Return the positions as the encoders of generation 2 were trained: (length,)."""
    if n >= length:
        thinned: Ints = np.linspace(0, n - 1, length).astype(np.intp)  # cut to integers
        return thinned
    more = length - n
    extra = _middles(n, more) if more <= n else np.arange(more) % n
    return np.concatenate([np.arange(n), extra])


def fill_v11(n: int, length: int) -> Ints:
    """Return the positions as the encoders of generation 1.1 were trained: (length,)."""
    if n > length:
        return _middles(n, length)
    inner = np.linspace(0, n - 1, length - n + 2)[1:-1]
    return np.concatenate([np.arange(n), np.rint(inner).astype(np.intp)])  # half to even


def _middles(n: int, parts: int) -> Ints:
    """Return the element len // 2 of each of the nearly equal parts of 0..n-1."""
    return np.array([part[len(part) // 2] for part in np.array_split(np.arange(n), parts)], np.intp)


def _drawn(counts: Ints, length: int, keys: Keys) -> Ints:
    """Return `length` of n positions without replacement (with, where n is less), ascending."""
    widest = max(length, int(counts.max(initial=1)))
    numbers = mixed(keys[:, None] + np.arange(1, widest + 1, dtype=np.uint64) * _GOLDEN)
    with_replacement = (numbers[:, :length] >> np.uint64(11)).astype(np.float64) / 2.0**53
    again = (with_replacement * counts[:, None]).astype(np.intp)
    hidden = np.arange(widest) >= counts[:, None]
    ranks = np.where(hidden, np.uint64(2**64 - 1), numbers >> np.uint64(1))
    once = np.argsort(ranks, axis=1, kind="stable")[:, :length]
    return np.sort(np.where(counts[:, None] < length, again, once), axis=1)


def keys_of(seed: int, rows: Ints, cols: Ints) -> Keys:
    """Return a number per pixel that depends on the seed and its place on the grid alone."""
    key = mixed(np.full(len(rows), seed % 2**64, np.uint64) + _GOLDEN)
    for place in (rows, cols):
        key = mixed(key ^ place.astype(np.int64).view(np.uint64))
    return key


def mixed(numbers: Keys) -> Keys:
    """Return numbers that look random (SplitMix64's mixer), the same on every machine."""
    x = numbers + _GOLDEN  # arrays of uint64 wrap around
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    mixed_up: Keys = x ^ (x >> np.uint64(31))
    return mixed_up
