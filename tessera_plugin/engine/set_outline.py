# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A set of pixels that is told from any ground: hatched inside, a line of light and dark around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .picture import Rgba

LIGHT, DARK = (255, 255, 255, 255), (0, 0, 0, 255)
"""One of them stands out from whatever is below."""

HATCH_LIGHT, HATCH_DARK = (255, 255, 255, 150), (0, 0, 0, 110)
HATCH_PX = 10
"""From one line of the hatch to the next, for lines of one pixel."""

Mask = NDArray[np.bool_]


def outlined(rgba: Rgba, line_px: int = 1) -> Rgba:
    """Return a picture of a set (H, W, 4), 0 where nothing is, such that it is seen over any map.

    Inside its colour stays, under a hatch of light and dark; around it run a light line and beyond
    it a dark one, each of `line_px` pixels of the picture, whatever that shows of the ground. They
    lie outside: a set of single pixels keeps its colour. The edge of the picture is no edge.
    """
    inside: Mask = rgba[..., 3] != 0
    found = rgba.copy()
    if not inside.any():
        return found
    light = _grown(inside, line_px)
    dark = _grown(light, line_px)
    rows, cols = np.arange(inside.shape[0]), np.arange(inside.shape[1])
    at = (cols - rows[:, None]) % (HATCH_PX * line_px)  # leans the other way than "not fetched"
    found[inside & (at < line_px)] = HATCH_LIGHT
    found[inside & (at >= line_px) & (at < 2 * line_px)] = HATCH_DARK
    found[light & ~inside] = LIGHT
    found[dark & ~light] = DARK
    return found


def _grown(mask: Mask, by_px: int) -> Mask:
    """Return a mask and what lies up to so many pixels beside it."""
    for _ in range(by_px):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        mask = grown.copy()
        mask[:, 1:] |= grown[:, :-1]
        mask[:, :-1] |= grown[:, 1:]
    return mask
