# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with the sample on purpose, and where. All of it lies outside the demo area.

| what | where (lon, lat) | in v1.1-cam | in v1 |
|---|---|---|---|
| lake | LAKES, the first in grid_0.15_52.15, the second over the equator | scale NaN | codes 0 |
| river | RIVER, through all tiles of lat 52.05 and over the zone seam | scale NaN | codes 0 |
| unwritten | UNWRITTEN, in grid_-0.15_52.25 | scale +inf, codes 0 | the same |
| empty | EMPTY, in grid_0.05_52.15 | codes 0, a valid scale | the same |
| corrupt | CORRUPT, single pixels of grid_0.25_52.15, west to east | CORRUPT_SCALES | the same |
| gap | GAP: 24 px wide, over all rows that two tiles share, in the first only | NaN | NaN |

Codes under water in v1.1-cam, and at corrupt scales, are ordinary ones: only the scale tells.
In the gap the first tile (ascending lon, lat) is invalid and the second is not.
"""

from __future__ import annotations

import enum
from typing import Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from tests.archive.ground import BLOCK_PX, pixel_lonlat
from tests.archive.layout import Footprint, Tile, footprint, pixel_of


class Kind(enum.IntEnum):
    """What is the matter with a pixel."""

    SOUND = 0
    WATER = 1
    UNWRITTEN = 2
    EMPTY = 3
    CORRUPT = 4
    GAP = 5


LAKES = ((0.175, 52.125, 700.0, 450.0), (32.56, 0.001, 500.0, 400.0))
"""Longitude and latitude of the middle, half axes east and north in metres."""

RIVER = (-0.20, 0.30, 52.065, 0.006, 0.11, 30.0)
"""West, east, mean latitude, swing in latitude, length of a bend in degrees, half width in metres."""

UNWRITTEN = (-0.190, 52.225, -0.170, 52.240)
"""West, south, east, north."""

EMPTY = (0.070, 52.115, 0.080, 52.122)
"""West, south, east, north."""

CORRUPT = (0.2300, 52.1500)
"""The pixel that holds this point and those right of it have the scales below."""

CORRUPT_SCALES = (-161685.0, 3e8, 0.0, 1.0, -np.inf, np.nan)

GAP = ("grid_0.15_52.05", "grid_0.15_52.15")
"""The tile that has the gap, and the one that fills it."""

GAP_WIDTH_PX = 24


def gap_window() -> Tuple[int, int, int, int]:
    """Return row, col, stop_row, stop_col of the gap on the grid of zone 31."""
    first, second = (footprint(Tile.parse(name)) for name in GAP)
    row, col, stop_row, stop_col = first.overlap(second)
    middle = (col + stop_col) // 2
    return row, middle, stop_row, middle + GAP_WIDTH_PX


def corrupt_pixels() -> Tuple[int, int, int]:
    """Return zone, row and first column of the corrupt pixels."""
    return (31, *pixel_of(31, *CORRUPT))


def planted_block(zone: int, block_row: int, block_col: int) -> Optional[NDArray[np.uint8]]:
    """Return the Kind of each pixel of a block, or None where all are sound. Without the gap."""
    lon, lat = pixel_lonlat(zone, block_row, block_col)
    kind = np.zeros(lon.shape, np.uint8)
    kind[_is_water(lon, lat)] = Kind.WATER
    kind[_is_inside(UNWRITTEN, lon, lat)] = Kind.UNWRITTEN
    kind[_is_inside(EMPTY, lon, lat)] = Kind.EMPTY
    corrupt_zone, row, col = corrupt_pixels()
    row, col = row - block_row * BLOCK_PX, col - block_col * BLOCK_PX
    if zone == corrupt_zone and 0 <= row < BLOCK_PX:
        columns = col + np.arange(len(CORRUPT_SCALES))
        kind[row, columns[(columns >= 0) & (columns < BLOCK_PX)]] = Kind.CORRUPT
    return kind if kind.any() else None


def put_scales(
    scales: NDArray[np.float32], kind: NDArray[np.uint8], place: Footprint, water: float
) -> None:
    """Overwrite a tile's scales where something is planted; water gets `water` unless 0."""
    if water:
        scales[kind == Kind.WATER] = water
    scales[kind == Kind.UNWRITTEN] = np.inf
    scales[kind == Kind.GAP] = np.nan
    zone, row, col = corrupt_pixels()
    for i, value in enumerate(CORRUPT_SCALES):
        at = row - place.row, col + i - place.col
        if zone == place.zone and 0 <= at[0] < place.height and 0 <= at[1] < place.width:
            scales[at] = value


def _is_water(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    water = np.zeros(lon.shape, bool)
    for middle_lon, middle_lat, half_east, half_north in LAKES:
        east = (lon - middle_lon) * 111_320.0 * np.cos(np.radians(middle_lat))
        north = (lat - middle_lat) * 110_574.0
        water |= (east / half_east) ** 2 + (north / half_north) ** 2 < 1
    west, east_end, middle, swing, bend, half_width = RIVER
    line = middle + swing * np.sin(2 * np.pi * lon / bend)
    on_river = np.abs(lat - line) * 110_574.0 < half_width
    return np.asarray(water | (on_river & (lon > west) & (lon < east_end)))


def _is_inside(
    box: Tuple[float, float, float, float], lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> NDArray[np.bool_]:
    west, south, east, north = box
    return np.asarray((lon > west) & (lon < east) & (lat > south) & (lat < north))
