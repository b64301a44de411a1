# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where another label would bring little: close to labelled points, and in labelled polygons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Collection, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io import polygons
from ..io.polygons import ZonePolygon
from ..io.projection import LONLAT, STRIP_DEG, transform_points, zone_crs
from ..values import PIXEL_M, Window
from .labels import Labels

APART_M = 30.0
"""Closer to a labelled point, or to a place that is not wanted, no place is worth a label."""

LonLat = Tuple[float, float]

_REACH_DEG = STRIP_DEG
"""From a zone's middle: points beyond its neighbours' strips have no place on its grid."""

_OFFSET = 1 << 23


@dataclass(frozen=True, eq=False)
class _Area:
    """A labelled polygon in a zone."""

    polygon: ZonePolygon
    windows: Tuple[Window, ...]
    """That hold its pixels."""


@dataclass(frozen=True, eq=False)
class NearLabels:
    """Pixels that are taken already, by zone."""

    points: Dict[int, NDArray[np.int64]] = field(default_factory=dict)
    """Rows and columns (n, 2) of pixels whose centre is within `APART_M` of a labelled point."""
    areas: Dict[int, List[_Area]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, labels: Optional[Labels], zones: Collection[int], others: Sequence[LonLat] = ()
    ) -> NearLabels:
        """Return those of labels and of other places in degrees, in some zones.

        Of a polygon all of its pixels count, also where it gives the head only some.
        """
        items, crs = ((), LONLAT) if labels is None else (labels.items, labels.crs)
        points = [np.array(others, np.float64).reshape(-1, 2)]
        areas: Dict[int, List[_Area]] = {zone: [] for zone in zones}
        for label in items:
            found = _areas_of(label.wkb, crs)
            for each in found:
                areas.setdefault(each.polygon.zone, []).append(each)
            if not found:
                points.append(_points_of(label.wkb, crs))
        lonlat = np.concatenate(points)
        return cls({zone: _around(lonlat, zone) for zone in zones}, areas)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are taken (H, W)."""
        taken = np.zeros(window.shape, np.bool_)
        pixels = self.points.get(window.zone)
        if pixels is not None:
            at = pixels - (window.row, window.col)
            at = at[((at >= 0) & (at < window.shape)).all(axis=1)]
            taken[at[:, 0], at[:, 1]] = True
        for area in self.areas.get(window.zone, ()):
            for each in area.windows:
                shared = each.intersection(window)
                if shared is not None:
                    taken[shared.slices_in(window)] |= area.polygon.mask(shared)
        return taken

    def covers(
        self, zone: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which of some pixels are taken. Shapes: all (n,)."""
        taken = np.zeros(len(zone), np.bool_)
        for number in np.unique(zone).tolist():
            here = np.flatnonzero(zone == number)
            rows, cols = row[here], col[here]
            pixels = self.points.get(number, np.zeros((0, 2), np.int64))
            taken[here] = np.isin(_keys(rows, cols), _keys(pixels[:, 0], pixels[:, 1]))
            for area in self.areas.get(number, ()):
                for window in area.windows:
                    inside = (rows >= window.row) & (rows < window.stop_row)
                    inside &= (cols >= window.col) & (cols < window.stop_col)
                    if inside.any():
                        mask = area.polygon.mask(window)
                        taken[here[inside]] |= mask[
                            rows[inside] - window.row, cols[inside] - window.col
                        ]
        return taken


def _areas_of(wkb: bytes, crs: str) -> List[_Area]:
    """Return a polygon's areas; none of points, and where it holds no pixel's centre."""
    if polygons.is_point(wkb):
        return []
    areas = [_Area(each, tuple(each.windows())) for each in polygons.zone_polygons(wkb, crs)]
    return [each for each in areas if each.windows]


def _points_of(wkb: bytes, crs: str) -> NDArray[np.float64]:
    """Return the points of a label in degrees (n, 2); of a tiny polygon one inside."""
    xy = polygons.points_of(wkb) if polygons.is_point(wkb) else polygons.inner_point(wkb)
    if xy is None or not len(xy):
        return np.empty((0, 2))
    lonlat = transform_points(xy, crs, LONLAT)
    return np.asarray(lonlat[np.isfinite(lonlat).all(axis=1)], np.float64)


def _around(lonlat: NDArray[np.float64], zone: int) -> NDArray[np.int64]:
    """Return the pixels (n, 2) of a zone's grid, row and column, that are close to points."""
    middle = STRIP_DEG * zone - 183.0
    away = np.abs((lonlat[:, 0] - middle + 180) % 360 - 180)
    near = lonlat[away <= _REACH_DEG]
    metres = transform_points(near, LONLAT, zone_crs(zone)) if len(near) else near
    metres = metres[np.isfinite(metres).all(axis=1)]
    at = np.column_stack([-metres[:, 1], metres[:, 0]]) / PIXEL_M
    reach = int(np.ceil(APART_M / PIXEL_M))
    steps = np.arange(-reach, reach + 1)
    square = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    pixels = np.floor(at)[:, None] + square
    apart_m = PIXEL_M * np.linalg.norm(pixels + 0.5 - at[:, None], axis=2)
    return np.asarray(np.unique(pixels[apart_m < APART_M], axis=0), np.int64)


def _keys(row: NDArray[np.int64], col: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pixel of a zone; rows and columns are a few million at most."""
    return np.asarray(((row + _OFFSET) << 24) + col + _OFFSET, np.int64)
