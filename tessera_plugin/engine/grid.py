# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Extents as windows of the zone grid, and what they weigh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence, Tuple

from ..errors import ExtentTooLarge
from ..io.projection import Bounds, centre_lonlat, zone_bounds, zone_of
from ..values import PIXEL_M, Extent, Window

SCALE_BYTES = 4


@dataclass(frozen=True)
class Size:
    """What an extent weighs."""

    pixels: int
    bytes: int
    """Codes and scales of every pixel, uncompressed."""

    @property
    def area_km2(self) -> float:
        """The pixels' area."""
        return self.pixels * PIXEL_M * PIXEL_M / 1e6


def windows_of(extent: Extent) -> Tuple[Window, ...]:
    """Return an extent's windows, one per UTM zone, in ascending order of the zones.

    A pixel belongs to the extent when its centre does; an extent smaller than that has the pixel
    under its middle.
    Raises: ExtentInvalid if it has no place on the zone grids.
    """
    return tuple(_snapped(zone, bounds) for zone, bounds in sorted(zone_bounds(extent).items()))


def measure(windows: Sequence[Window], depth: int = 128) -> Size:
    """Return what windows weigh, without asking anybody."""
    pixels = sum(window.pixels for window in windows)
    return Size(pixels, pixels * (depth + SCALE_BYTES))


def check_size(windows: Sequence[Window], limit_px: int, depth: int = 128) -> Size:
    """Return what windows weigh. Raises: ExtentTooLarge over `limit_px` pixels."""
    size = measure(windows, depth)
    if size.pixels > limit_px:
        raise ExtentTooLarge(size.pixels, size.bytes, limit_px)
    return size


def centre_zone(extent: Extent) -> int:
    """Return the UTM zone of an extent's centre."""
    return zone_of(centre_lonlat(extent)[0])


def _snapped(zone: int, bounds: Bounds) -> Window:
    west, south, east, north = (edge / PIXEL_M for edge in bounds)
    col, stop_col = _span(west, east)
    row, stop_row = _span(-north, -south)
    return Window.between(zone, row, col, stop_row, stop_col)


def _span(start: float, stop: float) -> Tuple[int, int]:
    """Return the first and the stop index of the cells whose centre lies between two positions."""
    first, end = math.ceil(start - 0.5), math.ceil(stop - 0.5)
    if end > first:
        return first, end
    middle = math.floor((start + stop) / 2)
    return middle, middle + 1
