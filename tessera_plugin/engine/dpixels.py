# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs of encoders: what a person has, searched and built into a tile on the zone grid.

The work is in io; this is the door for those who may not know it.
"""

from __future__ import annotations

from pathlib import Path

from ..io import files
from ..io.dpixels.build import BuildPlan, Built, build, tile_bytes
from ..io.dpixels.place import Placed, place
from ..io.dpixels.recognise import (
    OFFSET_BY_DATE,
    Corrections,
    Recognised,
    Unrecognised,
    corrected,
    recognise,
)
from ..io.dpixels.scenes import (
    MASKS,
    ORBITS,
    S1_UNITS,
    S2_UNITS,
    Raster,
    S1Scene,
    S2Scene,
    Scenes,
)
from ..values import Extent, Window
from .grid import windows_of

PROVENANCE = "provenance.json"
"""What only a tile that was built here has."""

__all__ = [
    "MASKS",
    "OFFSET_BY_DATE",
    "ORBITS",
    "S1_UNITS",
    "S2_UNITS",
    "BuildPlan",
    "Built",
    "Corrections",
    "Placed",
    "Raster",
    "Recognised",
    "S1Scene",
    "S2Scene",
    "Scenes",
    "Unrecognised",
    "build",
    "corrected",
    "place",
    "recognise",
    "remove",
    "tile_bytes",
    "window_of",
]


def remove(folder: str) -> None:
    """Remove a tile that was built here; anything else is left alone."""
    if (Path(folder) / PROVENANCE).is_file() and (Path(folder) / "bands.npy").is_file():
        files.remove_folder(folder)


def window_of(extent: Extent) -> Window:
    """Return the window of a tile over an extent: in the zone that most of it lies in.

    A tile has one grid: over a zone seam the smaller part is left out, and is a scene of its own.
    Raises: ExtentInvalid.
    """
    return max(windows_of(extent), key=lambda window: window.pixels)
