# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a map is made of: a rectangle, or the inside of polygons, as windows of the zone grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtentInvalid
from ..io import areas, polygons
from ..io.polygons import ZonePolygon
from ..progress import Report, silent
from ..values import Extent, Window
from .grid import centre_zone, windows_of
from .zones import own_pixels, strips


@dataclass(frozen=True)
class Polygons:
    """Polygons whose inside is mapped: the pixels whose centre lies in one of them."""

    wkbs: Tuple[bytes, ...]
    """Polygons or multipolygons, valid; they may overlap."""
    crs: str
    """As text: an authority code or WKT."""


Area = Union[Extent, Polygons]


class Clip:
    """Which pixels lie in polygons."""

    def __init__(self, parts: Sequence[ZonePolygon], report: Report = silent) -> None:
        self._parts: List[Tuple[Window, ZonePolygon]] = []
        for index, each in enumerate(parts):
            report(index / len(parts), "polygons of the area")
            bounds = _around(each.windows())
            if bounds is not None:
                self._parts.append((bounds, each))

    @property
    def windows(self) -> Tuple[Window, ...]:
        """The window around the polygons in each zone, by ascending zone."""
        zones: Dict[int, List[Window]] = {}
        for bounds, each in self._parts:
            zones.setdefault(each.zone, []).append(bounds)
        return tuple(w for zone in sorted(zones) for w in [_around(zones[zone])] if w)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window have their centre in a polygon (H, W)."""
        inside = np.zeros(window.shape, np.bool_)
        for bounds, each in self._parts:
            if bounds.intersection(window) is None:
                continue
            for place in each.windows(window):
                inside[place.slices_in(window)] |= each.mask(place)
        return inside

    def touched(self, window: Window) -> Iterator[Window]:
        """Yield what is to be fetched of a window: of each row of blocks what the polygons span."""
        for strip in strips(window):
            cols = np.flatnonzero(self.mask(strip).any(axis=0))
            if len(cols):
                first, stop = strip.col + int(cols[0]), strip.col + int(cols[-1]) + 1
                yield Window.between(strip.zone, strip.row, first, strip.stop_row, stop)


@dataclass(frozen=True, eq=False)
class Ground:
    """An area on the zone grids."""

    windows: Tuple[Window, ...]
    """One per UTM zone, by ascending zone."""
    zone: int
    """In whose CRS a mosaic over all zones is."""
    clip: Optional[Clip] = None
    """Of polygons; None where the windows are the area."""

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window belong to the area, each in one zone only (H, W)."""
        if self.clip is not None:
            return self.clip.mask(window)
        if len(self.windows) > 1:
            return own_pixels(window)
        return np.ones(window.shape, np.bool_)

    def needed(self) -> Tuple[Window, ...]:
        """Return the windows whose embeddings are needed."""
        if self.clip is None:
            return self.windows
        return tuple(part for window in self.windows for part in self.clip.touched(window))


def ground_of(area: Area, report: Report = silent) -> Ground:
    """Return an area on the zone grids.

    Raises: ExtentInvalid if it has no place there, or its polygons hold no pixel's centre.
    """
    if isinstance(area, Extent):
        return Ground(windows_of(area), centre_zone(area))
    parts: List[ZonePolygon] = []
    for wkb in area.wkbs:
        for single in polygons.parts_of(wkb):
            found = polygons.zone_polygons(single, area.crs)
            if not found:
                raise ExtentInvalid("a polygon has no place on the globe")
            parts += found
    clip = Clip(parts, report)
    if not clip.windows:
        raise ExtentInvalid("no pixel has its centre in the polygons")
    return Ground(clip.windows, max(clip.windows, key=lambda each: each.pixels).zone, clip)


def load_polygons(path: str) -> Polygons:
    """Return the polygons of all layers of a vector file. Raises: LabelsUnreadable."""
    return Polygons(*areas.read_polygons(path))


def _around(windows: Union[Sequence[Window], Iterator[Window]]) -> Optional[Window]:
    """Return the window around windows of one zone; None where there is none."""
    found = list(windows)
    if not found:
        return None
    return Window.between(
        found[0].zone, min(each.row for each in found), min(each.col for each in found),
        max(each.stop_row for each in found), max(each.stop_col for each in found),
    )  # fmt: skip
