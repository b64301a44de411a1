# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a map is made of: a rectangle, or the inside of polygons, as windows of the zone grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtentInvalid, ExtentTooLarge, PolygonsFarApart
from ..io import areas, polygons
from ..io.polygons import ZonePolygon
from ..progress import Report, part, silent
from ..values import Extent, Window
from .grid import Size, centre_zone, check_size, measure, windows_of
from .zones import own_pixels, strips

MOST_RASTER_PX = 500_000_000
"""Of the rasters around polygons, which may be nearly all empty: more takes minutes to write."""


@dataclass(frozen=True)
class Polygons:
    """Polygons whose inside is mapped: the pixels whose centre lies in one of them."""

    wkbs: Tuple[bytes, ...]
    """Polygons or multipolygons, valid; they may overlap."""
    crs: str
    """As text: an authority code or WKT."""
    unusable: int = 0
    """How many there were besides that are broken beyond mending or have no inside."""


Area = Union[Extent, Polygons]


class Clip:
    """Which pixels lie in polygons."""

    def __init__(self, parts: Sequence[ZonePolygon], report: Report = silent) -> None:
        self._parts: List[Tuple[Window, ZonePolygon]] = []
        self._needed: Optional[Tuple[Window, ...]] = None
        for index, each in enumerate(parts):
            report(index / len(parts), "polygons of the area")
            bounds = _around(each.windows())
            if bounds is not None and not _is_beyond_seam(each):
                self._parts.append((bounds, each))
        edges = [(w.zone, w.row, w.stop_row, w.col, w.stop_col) for w, _ in self._parts]
        self._edges = np.array(edges, np.int64).reshape(-1, 5).T

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
        for each in self._near(window):
            for place in each.windows(window):
                inside[place.slices_in(window)] |= each.mask(place)
        return inside

    def needed(self, report: Report = silent) -> Tuple[Window, ...]:
        """Return what is to be fetched: of each row of blocks what the polygons span."""
        if self._needed is None:
            found: List[Window] = []
            windows = self.windows
            for number, window in enumerate(windows):
                share = part(report, number / len(windows), (number + 1) / len(windows))
                found += self._touched(window, share)
            self._needed = tuple(found)
        return self._needed

    def about_px(self) -> int:
        """Return about how many pixels the polygons hold; where they overlap, too many."""
        return sum(each.pixels for _, each in self._parts)

    def _touched(self, window: Window, report: Report) -> Iterator[Window]:
        for strip in strips(window):
            report((strip.row - window.row) / window.height, "polygons of the area")
            inside = self.mask(strip)
            rows, cols = (np.flatnonzero(inside.any(axis=axis)).tolist() for axis in (1, 0))
            if cols:
                yield Window.between(
                    strip.zone, strip.row + rows[0], strip.col + cols[0],
                    strip.row + rows[-1] + 1, strip.col + cols[-1] + 1,
                )  # fmt: skip

    def _near(self, window: Window) -> Iterator[ZonePolygon]:
        """Yield the polygons whose surrounding window meets a window."""
        zone, row, stop_row, col, stop_col = self._edges
        is_near = (zone == window.zone) & (row < window.stop_row) & (stop_row > window.row)
        is_near &= (col < window.stop_col) & (stop_col > window.col)
        for index in np.flatnonzero(is_near).tolist():
            yield self._parts[index][1]


@dataclass(frozen=True, eq=False)
class Ground:
    """An area on the zone grids."""

    windows: Tuple[Window, ...]
    """One per UTM zone, by ascending zone."""
    zone: int
    """In whose CRS a mosaic over all zones is."""
    clip: Optional[Clip] = None
    """Of polygons; None where the windows are the area."""
    unusable: int = 0
    """How many polygons of the area could not be used."""

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
        return self.clip.needed()


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
    largest = max(clip.windows, key=lambda each: each.pixels)
    return Ground(clip.windows, largest.zone, clip, area.unusable)


def check_area(ground: Ground, limit_px: int, depth: int = 128, report: Report = silent) -> Size:
    """Return what the embeddings of an area weigh; of polygons that is what is fetched of them.

    Raises: ExtentTooLarge over `limit_px` pixels; PolygonsFarApart where the rasters around
    polygons would be larger than can be written; Cancelled.
    """
    if ground.clip is None:
        return check_size(ground.windows, limit_px, depth)
    around = measure(ground.windows, depth)
    most_px = max(limit_px, MOST_RASTER_PX)
    if around.pixels <= most_px:
        return check_size(ground.clip.needed(report), limit_px, depth)
    inside_px = ground.clip.about_px()  # to count them exactly would take minutes
    if inside_px > limit_px:
        raise ExtentTooLarge(inside_px, inside_px * (around.bytes // around.pixels), limit_px)
    raise PolygonsFarApart(around.pixels, most_px)


def load_polygons(path: str) -> Polygons:
    """Return the polygons of all layers of a vector file. Raises: LabelsUnreadable."""
    return Polygons(*areas.read_polygons(path))


def gathered(wkbs: Iterable[bytes], crs: str) -> Polygons:
    """Return geometries of any make as polygons that can be mapped: mended, 2-D, without curves.

    What is empty or no polygon is left out, what can't be used is counted.
    """
    found, unusable = areas.usable(wkbs)
    return Polygons(found, crs, unusable)


def _is_beyond_seam(polygon: ZonePolygon) -> bool:
    """Whether all pixels of a polygon at a zone seam are the other zone's."""
    return polygon.at_seam and not any(polygon.mask(each).any() for each in polygon.windows())


def _around(windows: Union[Sequence[Window], Iterator[Window]]) -> Optional[Window]:
    """Return the window around windows of one zone; None where there is none."""
    found = list(windows)
    if not found:
        return None
    return Window.between(
        found[0].zone, min(each.row for each in found), min(each.col for each in found),
        max(each.stop_row for each in found), max(each.stop_col for each in found),
    )  # fmt: skip
