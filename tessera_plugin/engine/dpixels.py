# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs of encoders: what a person has, searched and built into a tile on the zone grid.

The work is in io; this is the door for those who may not know it.
"""

from __future__ import annotations

from ..io.dpixels.build import BuildPlan, Built, build, tile_bytes
from ..io.dpixels.place import Placed, place
from ..io.dpixels.recognise import Corrections, Recognised, Unrecognised, corrected, recognise
from ..io.dpixels.scenes import (
    MASKS,
    ORBITS,
    S1_UNITS,
    S2_UNITS,
    S1Scene,
    S2Scene,
    Scenes,
)
from ..values import Extent, Window
from .grid import windows_of

__all__ = [
    "MASKS",
    "ORBITS",
    "S1_UNITS",
    "S2_UNITS",
    "BuildPlan",
    "Built",
    "Corrections",
    "Placed",
    "Recognised",
    "S1Scene",
    "S2Scene",
    "Scenes",
    "Unrecognised",
    "build",
    "corrected",
    "place",
    "recognise",
    "tile_bytes",
    "window_of",
]


def window_of(extent: Extent) -> Window:
    """Return the window of a tile over an extent: in the zone that most of it lies in.

    A tile has one grid: over a zone seam the smaller part is left out, and is a scene of its own.
    Raises: ExtentInvalid.
    """
    return max(windows_of(extent), key=lambda window: window.pixels)
