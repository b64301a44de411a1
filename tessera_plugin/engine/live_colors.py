# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The colours of a live map."""

from __future__ import annotations

from typing import FrozenSet, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..values import LandClass
from .zone_cells import FIRST, NOT_FETCHED

CLASSES, UNCERTAINTY, NOVELTY = MODES = ("classes", "uncertainty", "novelty")

Argb = NDArray[np.uint32]
"""Colours as 0xAARRGGBB, premultiplied (H, W)."""

Stop = Tuple[int, Tuple[int, int, int]]
"""A value, and its colour."""

RAMPS: Mapping[str, Sequence[Stop]] = {
    UNCERTAINTY: ((0, (255, 247, 204)), (50, (253, 158, 72)), (100, (160, 0, 60))),
    NOVELTY: (
        (0, (237, 244, 250)),
        (99, (158, 188, 218)),
        (100, (140, 90, 170)),
        (254, (77, 0, 75)),
    ),
}
"""From light to dark, told apart also by those who don't see red or green; values are percentages.
Novelty jumps at 100, beyond which a pixel is unlike all labels."""

_VALUES = 255
_STRIPE, _BETWEEN = 0x8C3F3F3F, 0x30282828
"""Grey that the map below can be seen through."""

_STRIPE_PX, _PERIOD_PX = 2, 9


def palette(
    mode: str,
    learnt: Sequence[LandClass],
    classes: Sequence[LandClass],
    hidden: FrozenSet[int] = frozenset(),
) -> NDArray[np.uint32]:
    """Return the colour of every number a cell may have: of classes as they are now.

    `learnt` are the head's, in its order.
    """
    if mode != CLASSES:
        return np.concatenate([np.zeros(FIRST, np.uint32), ramp(mode)])
    now = {each.id: each.color for each in classes}
    colors = [0 if each.id in hidden else _argb(now.get(each.id, each.color)) for each in learnt]
    return np.array([*[0] * FIRST, *colors], np.uint32)


def ramp(mode: str) -> NDArray[np.uint32]:
    """Return the colours of the values 0 to 254."""
    at, colors = zip(*RAMPS[mode])
    bands = [np.interp(np.arange(_VALUES), at, band).round().astype(np.uint32)
             for band in zip(*colors)]  # fmt: skip
    opaque = np.uint32(0xFF000000)
    return opaque | bands[0] << np.uint32(16) | bands[1] << np.uint32(8) | bands[2]


def painted(shown: NDArray[np.uint16], colors: NDArray[np.uint32]) -> Tuple[Argb, bool]:
    """Return the picture of what is shown (H, W), and whether some of it is not fetched yet."""
    argb = colors.take(shown)
    gaps = shown == NOT_FETCHED
    has_gaps = bool(gaps.any())
    if has_gaps:
        rows, cols = np.arange(shown.shape[0]), np.arange(shown.shape[1])
        is_stripe = (rows[:, None] + cols) % _PERIOD_PX < _STRIPE_PX
        hatch = np.where(is_stripe, np.uint32(_STRIPE), np.uint32(_BETWEEN))
        np.copyto(argb, hatch, where=gaps)
    return argb, has_gaps


def _argb(color: str) -> int:
    return 0xFF000000 | int(color.lstrip("#")[:6] or "808080", 16)
