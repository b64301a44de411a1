# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels of simulated landscapes, as the runner reads them from a d-pixel folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Tuple

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.compute.worker.encode.dpixel import Pixels
from tests.scenes.landscape import Landscape
from tests.scenes.pixels import arrays

SIDE_PX = 64
"""Height and width of a landscape to train on."""


@dataclass(frozen=True)
class Sample:
    """Some pixels of one landscape; n of them."""

    pixels: Pixels
    parcels: NDArray[np.intp]
    """(n,), which parcel each lies in."""
    classes: NDArray[np.uint8]
    """(n,), the truth. Training never looks at it."""
    is_inside: NDArray[np.bool_]
    """(n,), whether a pixel is not at the border of its parcel."""


def sample_of(land: Landscape, count: int) -> Sample:
    """Return `count` pixels of a landscape, drawn by its seed; 0 takes all, row by row."""
    made = arrays(land)
    total = land.classes.size
    draw = np.random.default_rng([land.seed, 90])
    px = np.sort(draw.choice(total, count, replace=False)) if count else np.arange(total)

    def taken(name: str) -> NDArray[Any]:
        whole = made[name]
        return whole.reshape(len(whole), total, *whole.shape[3:])[:, px]

    pixels = Pixels(
        bands=taken("bands"),
        is_clear=taken("masks") != 0,
        s2_doys=made["doys"].astype(np.int32),
        ascending=taken("sar_ascending"),
        ascending_doys=made["sar_ascending_doy"].astype(np.int32),
        descending=taken("sar_descending"),
        descending_doys=made["sar_descending_doy"].astype(np.int32),
    )
    return Sample(
        pixels=pixels,
        parcels=land.ground.parcel.ravel()[px],
        classes=land.classes.ravel()[px],
        is_inside=(land.ground.share == 0).ravel()[px],
    )


def training_samples(landscapes: int, first_seed: int, count: int) -> List[Sample]:
    """Return samples of landscapes that differ in weather, dates and number of images."""
    return [sample_of(_training_land(first_seed + number), count) for number in range(landscapes)]


def _training_land(seed: int) -> Landscape:
    draw = np.random.default_rng([seed, 91])
    s2, s1 = (int(number) for number in (draw.integers(20, 61), draw.integers(8, 31)))
    shape: Tuple[int, int] = (SIDE_PX, SIDE_PX)
    cloudiness = float(draw.uniform(0.25, 0.65))
    return Landscape(seed, *shape, year=2021, s2_count=s2, s1_count=s1, cloudiness=cloudiness)
