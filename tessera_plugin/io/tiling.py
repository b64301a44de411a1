# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The published tile grid: names, zones and footprints of the 0.1° NPY tiles."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import numpy as np

from ..values import PIXEL_M, Window
from .projection import LONLAT, transform_points, zone_crs, zone_of

STEP = 10
"""Edge of a tile in hundredths of a degree."""

_CELL_PX = 8  # grain of the estimate of what has to be read

_NAME = re.compile(r"grid_(-?\d+)\.(\d\d)_(-?\d+)\.(\d\d)")


@dataclass(frozen=True, order=True)
class Tile:
    """A published tile by its centre; tiles sort by ascending (lon, lat)."""

    lon_i: int
    """Longitude of the centre in hundredths of a degree."""
    lat_i: int

    @property
    def name(self) -> str:
        """The name in the archive, `grid_0.15_52.05`."""
        return f"grid_{_degrees(self.lon_i)}_{_degrees(self.lat_i)}"

    @property
    def zone(self) -> int:
        """The UTM zone of its centre, in which it is stored."""
        return zone_of(self.lon_i / 100)

    def footprint(self, shape: Optional[Tuple[int, int]] = None) -> Window:
        """Return its pixels on the zone grid.

        `shape` is the array's own height and width; without it they are computed from the corners.
        Source: the published layout (UTM box of the projected corners, pixels laid out from the
        origin snapped outwards to 10 m, in the zone of the centre).
        """
        row, col, height, width = _projected(self)
        return Window(self.zone, row, col, *(shape or (height, width)))

    @classmethod
    def parse(cls, name: str) -> Tile:
        """Return the tile of a name. Raises ValueError if it is none."""
        match = _NAME.fullmatch(name)
        if not match:
            raise ValueError(f"{name!r} is not the name of a tile")
        lon, lon_part, lat, lat_part = match.groups()
        return cls(_hundredths(lon, lon_part), _hundredths(lat, lat_part))

    @classmethod
    def at(cls, lon_deg: float, lat_deg: float) -> Tile:
        """Return the tile whose 0.1° cell holds a point."""
        # the small addition keeps 0.3 * 10 = 3.0000000000000004 and its kin in their cells
        return cls(
            *(STEP * math.floor(deg * STEP + 1e-9) + STEP // 2 for deg in (lon_deg, lat_deg))
        )


def tiles_of(window: Window) -> Tuple[Tile, ...]:
    """Return the tiles of the window's zone whose footprint meets it, by ascending (lon, lat)."""
    edge_m = (
        2 * PIXEL_M
    )  # footprints reach over their cell by the slant of the meridians, see below
    north, south = -window.row * PIXEL_M + edge_m, -window.stop_row * PIXEL_M - edge_m
    west, east = window.col * PIXEL_M - edge_m, window.stop_col * PIXEL_M + edge_m
    steps = np.linspace(0, 1, 9)
    outline = [
        (west + (east - west) * a, south + (north - south) * b) for a in steps for b in steps
    ]
    lonlat = transform_points(np.array(outline), zone_crs(window.zone), LONLAT)
    (first_lon, first_lat), (last_lon, last_lat) = lonlat.min(axis=0), lonlat.max(axis=0)
    found = []
    # a tile is the UTM box of a slanted cell, so it may reach a cell further than the cell itself
    for lon_i in range(
        Tile.at(first_lon, 0).lon_i - STEP, Tile.at(last_lon, 0).lon_i + STEP + 1, STEP
    ):
        for lat_i in range(
            Tile.at(0, first_lat).lat_i - STEP, Tile.at(0, last_lat).lat_i + STEP + 1, STEP
        ):
            tile = Tile((lon_i + 18000) % 36000 - 18000, lat_i)
            if tile.zone == window.zone and tile.footprint().intersection(window):
                found.append(tile)
    return tuple(sorted(found))


def rows_to_read(window: Window) -> Dict[Tile, int]:
    """Return how many rows of which tiles a window needs, to within a few rows, asking nobody.

    A tile that comes later in the order is needed only where no earlier one reaches.
    """
    is_free = np.ones([-(-size // _CELL_PX) for size in window.shape], dtype=np.bool_)
    rows: Dict[Tile, int] = {}
    for tile in tiles_of(window):
        part = tile.footprint().intersection(window)
        if part is None:
            continue
        here = tuple(
            slice(span.start // _CELL_PX, -(-span.stop // _CELL_PX))
            for span in part.slices_in(window)
        )
        cells = int(is_free[here].any(axis=1).sum())
        if cells:
            rows[tile] = min(cells * _CELL_PX, part.height)
            is_free[here] = False
    return rows


@functools.lru_cache(maxsize=4096)
def _projected(tile: Tile) -> Tuple[int, int, int, int]:
    half = STEP // 2
    west, east = (tile.lon_i - half) / 100, (tile.lon_i + half) / 100
    south, north = (tile.lat_i - half) / 100, (tile.lat_i + half) / 100
    corners = np.array([(west, north), (east, north), (west, south), (east, south)])
    upper_left, upper_right, lower_left, lower_right = transform_points(
        corners, LONLAT, zone_crs(tile.zone)
    )
    west_m = min(upper_left[0], lower_left[0])
    north_m = max(upper_left[1], upper_right[1])
    height = round((north_m - min(lower_left[1], lower_right[1])) / PIXEL_M)
    width = round((max(upper_right[0], lower_right[0]) - west_m) / PIXEL_M)
    # ceil(N / 10) = -floor(-N / 10): the top edge snapped up is the row of the origin
    return math.floor(-north_m / PIXEL_M), math.floor(west_m / PIXEL_M), height, width


def _degrees(hundredths: int) -> str:
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


def _hundredths(whole: str, part: str) -> int:
    value = abs(int(whole)) * 100 + int(part)
    return -value if whole.startswith("-") else value
