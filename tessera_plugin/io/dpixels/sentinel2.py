# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentinel-2: what of an image is usable, its numbers without offset, and the images of one date."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Sequence

import numpy as np
from numpy.typing import NDArray

from ...progress import Report, part
from ...values import Window
from .rasters_on_grid import Convert, OpenRasters
from .scenes import CLEAR, CLOUDY, DN_OFFSET, NO_MASK, REFLECTANCE, S2_BANDS, SCL, S2Scene
from .warping import BILINEAR, NEAREST

USABLE_SCL = (4, 5, 6, 7, 10, 11)
"""Vegetation, bare, water, unclassified, thin cirrus and snow: what encoders were trained with."""

OFFSET = 1000
"""That baselines 04.00 and later add to every digital number but nodata."""

FULL_SCALE = 10_000
"""Digital number of reflectance 1."""

_MOST_DN = 65535
_LEAST_DN = -OFFSET
"""Where noise ends and numbers that stand for nodata begin."""


@dataclass
class S2Part:
    """The images of one date on a part of the window."""

    bands: NDArray[np.uint16]
    """(H, W, 10), digital numbers without offset; all 0 where nothing is usable."""
    usable: NDArray[np.uint8]
    """(H, W), 1 or 0."""
    took_px: Dict[str, int] = field(default_factory=dict)
    """How many pixels are of which scene."""
    clamped_px: int = 0
    """Of those that an offset was subtracted from: how many were darker than the offset."""


def read_part(
    scenes: Sequence[S2Scene],
    place: Window,
    inside: NDArray[np.bool_],
    rasters: OpenRasters,
    report: Report,
) -> S2Part:
    """Return the mosaic of one date: per pixel the first scene that is usable there.

    Usable is what the mask says, where all ten bands have a number. Pixels that no scene sees well
    are 0 in all bands. `inside` (H, W): the pixels that are wanted.
    Raises: SceneUnusable, Cancelled.
    """
    found = S2Part(np.zeros((*place.shape, len(S2_BANDS)), np.uint16),
                   np.zeros(place.shape, np.uint8))  # fmt: skip
    wanted = inside.copy()
    for number, scene in enumerate(scenes):
        share = part(report, number / len(scenes), (number + 1) / len(scenes))
        share(0.0, scene.name)
        candidates = wanted & _usable(scene, place, rasters)
        if not candidates.any():
            continue
        numbers = _digital_numbers(scene, place, rasters, share)
        taken = candidates & numbers.all(axis=-1)
        found.bands[taken] = numbers[taken]
        found.usable[taken] = 1
        found.took_px[scene.name] = int(taken.sum())
        if scene.unit == DN_OFFSET:
            found.clamped_px += int((numbers[taken].min(axis=-1) == 1).sum())
        wanted &= ~taken
        if not wanted.any():
            break
    return found


def _usable(scene: S2Scene, place: Window, rasters: OpenRasters) -> NDArray[np.bool_]:
    if scene.mask is None:
        return np.ones(place.shape, np.bool_)
    # 0 is a clear sky in such a mask, though many are written with 0 as nodata
    keep_zero = scene.mask_kind == CLOUDY
    mask = rasters.of(scene.mask)
    found: NDArray[np.bool_] = (
        mask.onto(place, usable_by(scene.mask_kind), NEAREST, keep_zero=keep_zero) != 0
    )
    return found


def usable_by(mask_kind: str) -> Convert:
    """Return what makes 1 (usable) or 0 of a mask's numbers, NaN being nodata."""

    def of_classes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.asarray(np.isin(values, USABLE_SCL), np.uint8)

    def of_clear(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.asarray((values != 0) & ~np.isnan(values), np.uint8)

    def of_cloudy(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.asarray(values == 0, np.uint8)

    return {SCL: of_classes, CLEAR: of_clear, CLOUDY: of_cloudy}[mask_kind]


def _digital_numbers(
    scene: S2Scene, place: Window, rasters: OpenRasters, report: Report
) -> NDArray[np.uint16]:
    """Return all bands of a scene (H, W, 10), 0 where it has none."""
    convert = harmonised_from(scene.unit)
    numbers = np.empty((*place.shape, len(S2_BANDS)), np.uint16)
    for channel, band in enumerate(S2_BANDS):
        report(channel / len(S2_BANDS), scene.name)
        values = rasters.of(scene.bands[band]).onto(place, convert, BILINEAR)
        numbers[..., channel] = np.rint(values)
    return numbers


def harmonised_from(unit: str) -> Convert:
    """Return what makes digital numbers without offset of a file's own numbers.

    float32: 0 where there is nothing (0, NaN, or lower than any reflectance can be), else 1 to
    65535, with the fractions that a file of reflectances has. It is done on the file's own pixels,
    before they are resampled or mosaicked: a file with the offset and its copy without come out
    the same.
    """
    factor = FULL_SCALE if unit == REFLECTANCE else 1
    offset = OFFSET if unit == DN_OFFSET else 0

    def convert(values: NDArray[np.float32]) -> NDArray[np.float32]:
        there = np.isfinite(values) & (values != 0)
        numbers = np.where(there, values, 0) * np.float32(factor) - np.float32(offset)
        there &= numbers >= _LEAST_DN
        return np.where(there, np.clip(numbers, 1, _MOST_DN), 0).astype(np.float32)

    return convert


def has_mask(scene: S2Scene) -> bool:
    """Return whether anything tells where a scene's clouds are."""
    return scene.mask_kind != NO_MASK
