# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Observations of pixels to what a student of version 2 is given, and its embeddings as stored."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Sequence

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.compute.worker.encode.dpixel import Pixels
from tessera_plugin.compute.worker.encode.quantise import quantise
from tessera_plugin.compute.worker.encode.sampling import choose, lengths_of
from tessera_plugin.compute.worker.encoders.releases import RULES, inputs_of
from tessera_plugin.compute.worker.encoders.spec import Input

Floats = NDArray[np.float32]
Network = Callable[[Floats, Floats], Floats]
"""(n, T2, 11) and (n, T1, 3) to (n, dimensions)."""

SAMPLING = RULES["2.0"].sampling
S2, S1 = inputs_of(RULES["2.0"].scaling["unstated"])
_BATCH_PX = 512


class Seen(NamedTuple):
    """Observations of n pixels by one sensor (and orbit)."""

    values: NDArray[Any]
    """(T, n, bands), raw numbers."""
    is_valid: NDArray[np.bool_]
    """(T, n)."""
    days: NDArray[Any]
    """(T,), days of year."""

    def of(self, px: NDArray[np.intp]) -> Seen:
        """Return those of some pixels."""
        return Seen(self.values[:, px], self.is_valid[:, px], self.days)


def optical(pixels: Pixels) -> Seen:
    """Return what Sentinel-2 saw."""
    return Seen(pixels.bands, pixels.is_clear, pixels.s2_doys)


def radar(pixels: Pixels) -> List[Seen]:
    """Return what Sentinel-1 saw, ascending and descending."""
    return [
        Seen(codes, (codes != 0).any(axis=2), days)
        for codes, days in (
            (pixels.ascending, pixels.ascending_doys),
            (pixels.descending, pixels.descending_doys),
        )
    ]


def counts(seen: Sequence[Seen]) -> NDArray[np.intp]:
    """Return how many observations of a pixel are valid: (n,)."""
    total: NDArray[np.intp] = np.concatenate([one.is_valid for one in seen]).sum(axis=0)
    return total


def sequences(of: Input, seen: Sequence[Seen], length: int) -> Floats:
    """Return (n, length, bands + 1): what is valid, filled up or thinned as the runner does it.

    A pixel without any observation has rows of zeros: to a network that takes observations in any
    order, and as often as they come, they are the one row that the runner gives.
    """
    rows = [
        (one.values - np.array(stream.mean)) / (np.array(stream.std) + stream.epsilon)
        for stream, one in zip(of.streams, seen)
    ]
    z = np.concatenate(rows)
    is_valid = np.concatenate([one.is_valid for one in seen])
    days = np.concatenate([one.days for one in seen])
    found = is_valid.sum(axis=0)
    unused = np.zeros(len(found), np.uint64)  # nothing is drawn by chance in filling
    position = choose(found, length, SAMPLING, unused)
    in_time = np.argsort(~is_valid, axis=0, kind="stable")
    when = np.take_along_axis(in_time.T, position, axis=1)  # (n, length)
    out = np.empty((len(found), length, of.channels), np.float32)
    out[..., :-1] = z[when, np.arange(len(found))[:, None]]
    out[..., -1] = days[when]
    out[found == 0] = 0
    return out


def embeddings(network: Network, pixels: Pixels, depth: int = 128) -> NDArray[np.float64]:
    """Return embeddings (n, depth) as they come back from int8 codes and scales."""
    seen = [optical(pixels)], radar(pixels)
    lengths = np.stack([lengths_of(counts(one), SAMPLING) for one in seen], axis=1)
    out = np.zeros((pixels.count, depth))
    for s2, s1 in np.unique(lengths, axis=0):
        alike = np.flatnonzero((lengths == (s2, s1)).all(axis=1))
        for start in range(0, len(alike), _BATCH_PX):
            px = alike[start : start + _BATCH_PX]
            given = [
                sequences(entry, [one.of(px) for one in each], int(length))
                for entry, each, length in zip((S2, S1), seen, (s2, s1))
            ]
            codes, scales = quantise(network(*given)[:, :depth], RULES["2.0"].quantisation)
            out[px] = codes * scales[:, None].astype(np.float64)
    return out
