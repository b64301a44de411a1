# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentinel-1: backscatter in the integers that encoders know, and the images of one pass and date.

The code of a linear gamma-nought power v is (20 log10 v + 50) x 200, that is 400 dB + 10 000 in
true decibels: upstream takes the power for an amplitude, and every encoder was trained with that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Sequence

import numpy as np
from numpy.typing import NDArray

from ...progress import Report
from ...values import Window
from .rasters_on_grid import OpenRasters
from .scenes import AMPLITUDE, CODE, DECIBEL, POWER, Raster, S1Scene
from .warping import BILINEAR, NEAREST

MOST_CODE = 32767
DARKEST_DB = -25
"""What is as dark or darker has no code: it counts as missing."""

POLARISATIONS = ("VV", "VH")

_NO_DB = -200
"""So low is no backscatter but a number that stands for nodata, -9999 or the like."""

_ZERO_DB_CODE = 10_000
_NOISE = 5e-4
"""How far a code may be off since files have 32-bit numbers: 0.01 in them is a little less, and its
code is 2000 all the same."""

_TOO_DARK = -1
"""Stands for it until it is counted."""


@dataclass
class S1Part:
    """The images of one date and orbit direction on a part of the window."""

    codes: NDArray[np.int16]
    """(H, W, 2), VV and VH; 0 is missing."""
    took_px: Dict[str, int] = field(default_factory=dict)
    """How many pixels have at least one number of which scene."""
    too_dark: int = 0
    """Numbers that are missing since they are too dark for a code."""


def read_part(
    scenes: Sequence[S1Scene],
    place: Window,
    inside: NDArray[np.bool_],
    rasters: OpenRasters,
    report: Report,
) -> S1Part:
    """Return the mosaic of one pass: per pixel and polarisation the first number that there is.

    `inside` (H, W): the pixels that are wanted, the others are 0.
    Raises: SceneUnusable, Cancelled.
    """
    codes = np.zeros((*place.shape, len(POLARISATIONS)), np.int16)
    took: Dict[str, int] = {}
    for number, scene in enumerate(scenes):
        report(number / len(scenes), scene.name)
        seen = _scene_codes(scene, place, rasters)
        # a number too dark is no reason against a neighbouring image's
        fills = (codes <= 0) & (seen != 0) & (codes != seen) & inside[..., None]
        codes[fills] = seen[fills]
        took[scene.name] = int((fills & (seen > 0)).any(axis=-1).sum())
    too_dark = codes == _TOO_DARK
    codes[too_dark] = 0
    return S1Part(codes, {name: count for name, count in took.items() if count},
                  int(too_dark.sum()))  # fmt: skip


def _scene_codes(scene: S1Scene, place: Window, rasters: OpenRasters) -> NDArray[np.int16]:
    """Return the codes of a scene (H, W, 2): 0 where it has none, -1 where it is too dark."""
    found = [
        _band_codes(raster, scene.unit, place, rasters)
        for raster in (scene.vv, scene.vh)
        if raster is not None
    ]
    codes = np.stack(found, axis=-1)
    if scene.unit == DECIBEL:
        # exactly 0 dB in both is what was left empty: many such files name no nodata
        codes[(codes == _ZERO_DB_CODE).all(axis=-1)] = 0
    return codes


def _band_codes(
    raster: Raster, unit: str, place: Window, rasters: OpenRasters
) -> NDArray[np.int16]:
    """Return one polarisation, by nearest neighbour; coarse pixels are interpolated, as power."""
    band = rasters.of(raster)
    if not band.is_coarse:
        return band.onto(place, lambda values: _codes(values, unit), NEAREST)
    return _codes(band.onto(place, lambda values: power_of(values, unit), BILINEAR), POWER)


def codes_of(values: NDArray[np.float32], unit: str) -> NDArray[np.int16]:
    """Return backscatter in one of S1_UNITS as 400 dB + 10 000, cut off to 0 to 32767.

    0 is missing: what is no number (in linear units also 0 and less), and what is as dark as
    -25 dB, since the format has no number for it.
    """
    return np.maximum(_codes(values, unit), 0)


def _codes(values: NDArray[np.float32], unit: str) -> NDArray[np.int16]:
    """Return the codes, -1 where a number is too dark for one."""
    there = _there(values, unit)
    scaled: NDArray[np.float64] = np.where(there, values, 1).astype(np.float64)
    if unit in (POWER, AMPLITUDE):
        times = 20.0 if unit == POWER else 40.0
        scaled = (np.log10(scaled) * times + 50.0) * 200.0
    elif unit == DECIBEL:
        scaled = 400 * scaled + _ZERO_DB_CODE
    codes = np.floor(np.clip(scaled + _NOISE, 0, MOST_CODE)).astype(np.int16)
    return np.where(there, np.where(codes > 0, codes, _TOO_DARK), 0).astype(np.int16)


def _there(values: NDArray[np.float32], unit: str) -> NDArray[np.bool_]:
    least = _NO_DB if unit == DECIBEL else 0
    return np.isfinite(values) & (values > least)


def power_of(values: NDArray[np.float32], unit: str) -> NDArray[np.float32]:
    """Return backscatter in one of S1_UNITS as linear power, 0 where there is none."""
    there = _there(values, unit)
    known = np.where(there, values, 1).astype(np.float64)
    if unit == AMPLITUDE:
        known *= known
    elif unit == DECIBEL:
        known = np.power(10.0, known / 10)
    elif unit == CODE:
        known = np.power(10.0, (known - _ZERO_DB_CODE) / 4000)
    return np.where(there, known, 0).astype(np.float32)
