# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dated Sentinel images as plain values: what is found or fetched, and what a tile is built from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

S2_BANDS = ("B04", "B02", "B03", "B08", "B8A", "B05", "B06", "B07", "B11", "B12")
"""All ten are needed, in the channel order of a tile."""

SCL = "scl"
"""Sen2Cor's scene classes."""
CLEAR = "clear"
"""A mask in which any number but 0 is usable."""
CLOUDY = "cloudy"
"""A mask in which 0 is usable."""
NO_MASK = "none"
"""Everything that is not 0 in all bands counts as usable; the tile says so."""
MASKS = (SCL, CLEAR, CLOUDY, NO_MASK)

DN = "dn"
"""Reflectance times 10 000, without offset; 0 is nodata."""
DN_OFFSET = "dn+1000"
"""The same with the offset of 1000 of baselines 04.00 and later still in it."""
REFLECTANCE = "reflectance"
"""0 to 1."""
S2_UNITS = (DN, DN_OFFSET, REFLECTANCE)

POWER = "power"
"""Linear gamma-nought power."""
AMPLITUDE = "amplitude"
DECIBEL = "db"
CODE = "code"
"""400 dB + 10 000, as tiles hold it."""
S1_UNITS = (POWER, AMPLITUDE, DECIBEL, CODE)

ASCENDING = "ascending"
DESCENDING = "descending"
ORBITS = (ASCENDING, DESCENDING)


@dataclass(frozen=True)
class Raster:
    """One band of a file that GDAL opens."""

    path: str
    band: int = 1


@dataclass(frozen=True)
class S2Scene:
    """A Sentinel-2 L2A image of one date: a granule, or a mosaic."""

    name: str
    """Of the item, the SAFE folder or the file."""
    date: dt.date
    """Of the acquisition, UTC."""
    bands: Dict[str, Raster]
    """By the names of S2_BANDS; a scene that lacks one can't be used."""
    unit: str
    """One of S2_UNITS; empty where it has to be asked for."""
    mask: Optional[Raster] = None
    mask_kind: str = NO_MASK
    """One of MASKS."""
    baseline: str = ""
    """Of the processing, "05.11"; empty where nothing tells."""
    datatake: str = ""
    """Of the acquisition, without the baseline; two scenes of one datatake and tile are one."""
    tile: str = ""
    """MGRS tile, "31UCT"."""

    @property
    def lacking(self) -> Tuple[str, ...]:
        """The bands that it does not have."""
        return tuple(band for band in S2_BANDS if band not in self.bands)


@dataclass(frozen=True)
class S1Scene:
    """A Sentinel-1 image of one date and orbit direction, both polarisations on one grid."""

    name: str
    date: dt.date
    orbit: str
    """One of ORBITS; empty where it has to be asked for."""
    vv: Optional[Raster]
    vh: Optional[Raster]
    unit: str
    """One of S1_UNITS; empty where it has to be asked for."""
    product: str = ""
    """"rtc", "grd" or empty. Only terrain-corrected gamma-nought is what encoders know."""


@dataclass(frozen=True)
class Scenes:
    """All that a tile is built from."""

    s2: Tuple[S2Scene, ...] = ()
    s1: Tuple[S1Scene, ...] = ()
