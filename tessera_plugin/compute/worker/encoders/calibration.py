# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Observations to take the ranges of an int8 graph from, and others to measure its loss with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
from numpy.typing import NDArray

from ..encode.dpixel import Pixels, open_tile
from ..encode.errors import InputUnusable
from ..encode.prepare import Inputs, Prepared
from ..encode.sampling import keys_of
from .graph import ExportRefused
from .spec import EMPTY_ZEROS, EncoderSpec, Stream

SYNTHETIC = "made-up observations that follow the training statistics"
PIXELS = 256
"""For each of the two uses."""

_BATCH_PX = 32
_PATCH_PX = 8
_PATCHES = 16
_FEWEST_PX = 64
_DATES = (100, 40, 40)
"""Of a made-up year: Sentinel-2, and both orbits of Sentinel-1."""
_MOST = {"s2": 65535, "s1": 32767}


@dataclass(frozen=True)
class Calibration:
    """Inputs of the graph in batches, and what they were made of."""

    words: str
    ranges: Tuple[Inputs, ...]
    """What ranges are taken from."""
    held_out: Tuple[Inputs, ...]
    """Other pixels, which the loss is measured with."""


def calibration_of(folder: str, spec: EncoderSpec, seed: int = 1) -> Calibration:
    """Return pixels of a d-pixel folder, or made-up ones where none is named.

    Raises: ExportRefused if the folder can't be used.
    """
    if folder:
        name = Path(folder).name
        first, second = _from_folder(folder, spec, seed)
        return Calibration(f"the d-pixel folder {name}", first, second)
    rng = np.random.default_rng(seed)
    pair = [_batches(made_up(spec, PIXELS, rng), spec) for _ in range(2)]
    return Calibration(SYNTHETIC, pair[0], pair[1])


def made_up(spec: EncoderSpec, n: int, rng: np.random.Generator) -> Pixels:
    """Return n pixels of one year with the mean and spread of the training data.

    Bands go up and down together, with the seasons, and some clouds were not masked; some pixels
    have few clear dates, some are seen by one orbit only.
    """
    optical, ascending, descending = (*spec.s2.streams, *spec.s1.streams)
    share = rng.choice([0.08, 0.3, 0.6, 0.95], n)
    doys = [np.sort(rng.choice(np.arange(1, 367), dates, replace=False)) for dates in _DATES]
    is_clear = rng.random((_DATES[0], n)) < share
    is_clear[rng.integers(0, _DATES[0], n), np.arange(n)] = True
    radar = []
    one_orbit = rng.integers(0, 8, n)  # two of eight kinds of pixels have one only
    for number, (stream, days) in enumerate(((ascending, doys[1]), (descending, doys[2]))):
        codes = _drawn(stream, days, n, rng, _MOST["s1"]).astype(np.int16)
        codes[:, one_orbit == number] = 0
        radar.append(codes)
    return Pixels(
        bands=_drawn(optical, doys[0], n, rng, _MOST["s2"]).astype(np.uint16),
        is_clear=is_clear,
        s2_doys=doys[0].astype(np.int32),
        ascending=radar[0],
        ascending_doys=doys[1].astype(np.int32),
        descending=radar[1],
        descending_doys=doys[2].astype(np.int32),
    )


def _drawn(
    stream: Stream, days: NDArray[np.int64], n: int, rng: np.random.Generator, most: int
) -> NDArray[np.float64]:
    """Return (T, n, bands) whole numbers from 1: each band with its mean and about its spread."""
    time, bands = len(days), len(stream.bands)
    season = np.sin(2 * np.pi * (days / 366 - rng.random((n, 1)))).T  # (T, n)
    common = 0.5 * rng.standard_normal(n) + 0.5 * season + 0.4 * rng.standard_normal((time, n))
    own = 0.5 * rng.standard_normal((n, bands)) + 0.4 * rng.standard_normal((time, n, bands))
    z = common[..., None] + own
    z[rng.random((time, n)) < 0.02] += 3.0
    values = np.array(stream.mean) + np.array(stream.std) * z
    clipped: NDArray[np.float64] = np.clip(np.rint(values), 1, most)
    return clipped


def saturated(spec: EncoderSpec, inputs: Inputs) -> Inputs:
    """Return inputs of the same shape whose every raw value is the largest there is."""
    found: Dict[str, NDArray[np.float32]] = {}
    for entry, most in ((spec.s2, _MOST["s2"]), (spec.s1, _MOST["s1"])):
        stream = entry.streams[0]
        values = np.ones_like(inputs[entry.name])
        z = (most - np.array(stream.mean)) / (np.array(stream.std) + stream.epsilon)
        values[..., :-1] = z
        found[entry.name] = values
    return found


def _from_folder(
    folder: str, spec: EncoderSpec, seed: int
) -> Tuple[Tuple[Inputs, ...], Tuple[Inputs, ...]]:
    """Return patches drawn by chance: every second one for the ranges."""
    try:
        tile = open_tile(Path(folder))
        rng = np.random.default_rng(seed)
        halves: Tuple[List[Inputs], List[Inputs]] = ([], [])
        for number in range(_PATCHES):
            row = int(rng.integers(0, max(tile.height - _PATCH_PX, 0) + 1))
            col = int(rng.integers(0, max(tile.width - _PATCH_PX, 0) + 1))
            pixels = tile.read(slice(row, row + _PATCH_PX), slice(col, col + _PATCH_PX))
            halves[number % 2].extend(_batches(pixels, spec))
    except (InputUnusable, OSError) as error:
        raise ExportRefused(f"the calibration data can't be used: {error}") from error
    for half in halves:
        found = sum(len(inputs[spec.s2.name]) for inputs in half)
        if found < _FEWEST_PX:
            raise ExportRefused(f"the calibration data has {found} pixels that can be encoded")
    return tuple(halves[0]), tuple(halves[1])


def _batches(pixels: Pixels, spec: EncoderSpec) -> Tuple[Inputs, ...]:
    """Return inputs of pixels, and of some of them once more without any radar."""
    numbers = np.arange(pixels.count)
    prepared = Prepared(pixels, spec, keys_of(0, numbers, numbers))
    found = [prepared.inputs(px) for px in prepared.batches(lambda: _BATCH_PX)]
    if found and spec.sampling.empty == EMPTY_ZEROS:
        some = found[0][spec.s2.name]
        size = (len(some), spec.sampling.empty_length, spec.s1.channels)
        found.append({spec.s2.name: some, spec.s1.name: np.zeros(size, np.float32)})
    return tuple(found)
