# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A few raw pixels and the embeddings that an encoder gives them, to travel in its file."""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import numpy as np
from numpy.typing import NDArray

from .spec import (
    EMPTY_ZEROS,
    FLOAT16,
    FLOAT32,
    INT8,
    RANDOM,
    Input,
    Output,
    Sampling,
    SelfTest,
    Stream,
)

TOLERANCE_OF_SPREAD = {FLOAT32: 1e-3, FLOAT16: 3e-2, INT8: 2e-2}
"""Devices add up in their own order, and some multiply with fewer bits; a wrong input is far off.
In int8 a last bit may push a value to the next of its 256 steps."""

Embed = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""From sequences of Sentinel-2 and -1, (1, T, bands + 1), to the embedding (1, dimension)."""

_Raw = Tuple[NDArray[np.int64], NDArray[np.int64]]
"""Values (T, bands) and days of year (T,) of a pixel's valid observations in one stream."""


def make_self_test(
    embed: Embed,
    inputs: Tuple[Input, Input],
    sampling: Sampling,
    output: Output,
    tolerance: float,
) -> SelfTest:
    """Draw pixels, and encode them.

    Pixels: all observations; no radar; with buckets also only descending, and one optical
    observation. Their numbers of observations are allowed lengths (or one), so what comes out does
    not depend on how a rest is filled.
    """
    s2, s1 = inputs
    rng = np.random.default_rng(20250101)
    length = sampling.lengths[0]
    per_orbit = length // 2 if sampling.mode == RANDOM else length
    n = 2 if sampling.mode == RANDOM else 4
    bands, doys = _drawn(rng, s2.streams[0], length, n), _days(rng, length)
    ascending = _drawn(rng, s1.streams[0], per_orbit, n), _days(rng, per_orbit)
    descending = _drawn(rng, s1.streams[1], per_orbit, n), _days(rng, per_orbit)
    masks = np.ones((length, n), np.int64)
    ascending[0][:, 1], descending[0][:, 1] = 0, 0
    if n == 4:
        ascending[0][:, 2] = 0
        masks[: length - 1, 3] = 0
    embeddings = []
    for pixel in range(n):
        clear = masks[:, pixel] > 0
        optical = [(bands[clear, pixel], doys[clear])]
        radar = [_seen(values[:, pixel], days) for values, days in (ascending, descending)]
        if sampling.all_if_none_valid and not sum(len(days) for _values, days in radar):
            radar = [(values[:, pixel], days) for values, days in (ascending, descending)]
        sequences = (_sequence(s2, optical, sampling), _sequence(s1, radar, sampling))
        embedding = embed(*(one[None] for one in sequences))[0]
        embeddings.append(embedding[: output.kept_dimension].tolist())
    return SelfTest(
        bands=_plain(bands),
        masks=_plain(masks),
        doys=_plain(doys),
        ascending=_plain(ascending[0]),
        ascending_doys=_plain(ascending[1]),
        descending=_plain(descending[0]),
        descending_doys=_plain(descending[1]),
        expected=tuple(tuple(one) for one in embeddings),
        tolerance=tolerance,
    )


def _drawn(rng: np.random.Generator, stream: Stream, time: int, n: int) -> NDArray[np.int64]:
    values = rng.normal(stream.mean, stream.std, (time, n, len(stream.bands)))
    return np.asarray(np.clip(np.rint(values), 1, 30000), np.int64)


def _days(rng: np.random.Generator, time: int) -> NDArray[np.int64]:
    return np.sort(rng.choice(np.arange(1, 367), time, replace=False))


def _seen(values: NDArray[np.int64], days: NDArray[np.int64]) -> _Raw:
    is_seen = (values != 0).any(axis=1)
    return values[is_seen], days[is_seen]


def _sequence(of: Input, streams: List[_Raw], sampling: Sampling) -> NDArray[np.float32]:
    """Return (T, bands + 1) of a pixel whose number of observations is 0, 1 or allowed."""
    rows = [_scaled(stream, *raw) for stream, raw in zip(of.streams, streams)]
    together = np.concatenate(rows)
    if not len(together) and sampling.empty == EMPTY_ZEROS:
        return np.zeros((sampling.empty_length, of.channels), np.float32)
    if len(together) == 1:
        return np.repeat(together, sampling.lengths[0], axis=0)
    return together


def _scaled(
    stream: Stream, values: NDArray[np.int64], days: NDArray[np.int64]
) -> NDArray[np.float32]:
    mean, std = (np.array(numbers, np.float32) for numbers in (stream.mean, stream.std))
    z = (values.astype(np.float32) - mean) / (std + np.float32(stream.epsilon))
    return np.asarray(np.concatenate([z, days[:, None]], axis=1), np.float32)


def _plain(array: NDArray[np.int64]) -> Any:  # noqa: ANN401 - tuples as deep as the array
    if array.ndim == 1:
        return tuple(array.tolist())
    return tuple(_plain(part) for part in array)
