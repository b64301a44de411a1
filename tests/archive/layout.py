# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Names, places and shapes of the published NPY layout, computed a second way.

Nothing here is shared with the plugin: the footprint of a tile is worked out with pyproj as the
publisher's own tool does it, so that a mistake in ours can show.
"""

from __future__ import annotations

import io
import math
import threading
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

PIXEL_M = 10
DEPTH = 128
PUBLISHED = 1_767_225_600
"""2026-01-01 in seconds since 1970: when everything here was uploaded."""

_local = threading.local()


@dataclass(frozen=True)
class Tile:
    """A published tile: its centre in hundredths of a degree."""

    lon_i: int
    lat_i: int

    @classmethod
    def parse(cls, name: str) -> Tile:
        """From `grid_0.15_52.05`."""
        _, lon, lat = name.split("_")
        return cls(round(float(lon) * 100), round(float(lat) * 100))

    @property
    def name(self) -> str:
        return f"grid_{self.lon_i / 100:.2f}_{self.lat_i / 100:.2f}"

    @property
    def zone(self) -> int:
        """UTM zone of the centre; no exceptions for Norway."""
        return min(max(math.floor((self.lon_i / 100 + 180) / 6) + 1, 1), 60)

    @property
    def epsg(self) -> int:
        """CRS of the tile's landmask."""
        return (32600 if self.lat_i >= 0 else 32700) + self.zone


@dataclass(frozen=True)
class Footprint:
    """Where a tile's pixels lie."""

    zone: int
    row: int
    """Of the zone grid: floor(-N / 10) with N in EPSG:326zz, negative in the north."""
    col: int
    height: int
    width: int
    origin: Tuple[float, float]
    """Upper left corner as the landmask has it: in the tile's own CRS, not on the 10 m grid."""

    def overlap(self, other: Footprint) -> Tuple[int, int, int, int]:
        """Return row, col, stop_row, stop_col of what both cover (empty where stop <= start)."""
        return (
            max(self.row, other.row),
            max(self.col, other.col),
            min(self.row + self.height, other.row + other.height),
            min(self.col + self.width, other.col + other.width),
        )


def transformer(source: int, target: int) -> Transformer:
    """Return this thread's transformer between two EPSG codes, lon before lat."""
    known: Dict[Tuple[int, int], Transformer] = _local.__dict__.setdefault("known", {})
    if (source, target) not in known:
        known[source, target] = Transformer.from_crs(source, target, always_xy=True)
    return known[source, target]


def footprint(tile: Tile) -> Footprint:
    """Return where a tile lies: its four corners projected, the origin snapped outward to 10 m."""
    west, east = tile.lon_i / 100 - 0.05, tile.lon_i / 100 + 0.05
    south, north = tile.lat_i / 100 - 0.05, tile.lat_i / 100 + 0.05
    to_utm = transformer(4326, tile.epsg)
    # Rounded so that -0.05 + 0.05 is the equator and not a hair beside it.
    e, n = to_utm.transform(
        np.round([west, east, west, east], 9), np.round([north, north, south, south], 9)
    )
    left, right, top, bottom = min(e[0], e[2]), max(e[1], e[3]), max(n[0], n[1]), min(n[2], n[3])
    snapped_n = math.ceil(top / PIXEL_M)
    return Footprint(
        zone=tile.zone,
        row=(1_000_000 if tile.lat_i < 0 else 0) - snapped_n,
        col=math.floor(left / PIXEL_M),
        height=round((top - bottom) / PIXEL_M),
        width=round((right - left) / PIXEL_M),
        origin=(left, top),
    )


def lonlat(zone: int, rows: NDArray[Any], cols: NDArray[Any]) -> Tuple[NDArray[Any], NDArray[Any]]:
    """Return longitude and latitude of places on the zone grid (pixel corners; + 0.5 = centres)."""
    back = transformer(32600 + zone, 4326)
    lon, lat = back.transform(
        np.asarray(cols, np.float64) * PIXEL_M, np.asarray(rows, np.float64) * -PIXEL_M
    )
    return lon, lat


def pixel_of(zone: int, lon: float, lat: float) -> Tuple[int, int]:
    """Return row and column of the zone's pixel that holds a point."""
    e, n = transformer(4326, 32600 + zone).transform(lon, lat)
    return math.floor(-n / PIXEL_M), math.floor(e / PIXEL_M)


def npy_header(shape: Tuple[int, ...], dtype: str) -> bytes:
    """Return the .npy v1.0 header that numpy writes for a C-order array."""
    buffer = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def tile_paths(npy_dir: str, year: int, name: str) -> Tuple[str, str]:
    """Return where the codes and the scales of a tile are."""
    folder = f"npy/{npy_dir}/{year}/{name}"
    return f"{folder}/{name}.npy", f"{folder}/{name}_scales.npy"


def cambridge_tiles() -> List[Tile]:
    """The tiles around Cambridge, over the seam of zones 30 and 31; one corner is not published."""
    return [
        Tile(lon, lat)
        for lon in (-15, -5, 5, 15, 25)
        for lat in (5205, 5215, 5225)
        if (lon, lat) != (25, 5225)
    ]


def equator_tiles() -> List[Tile]:
    """Two tiles either side of the equator, the second in EPSG:32736."""
    return [Tile(3255, 5), Tile(3255, -5)]
