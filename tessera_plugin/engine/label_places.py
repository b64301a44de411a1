# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where labels lie on the zone grids, to see what is there and what lies on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io import polygons
from ..io.polygons import ZonePolygon
from ..io.projection import LONLAT, UTM_NORTH_DEG, UTM_SOUTH_DEG
from ..progress import Report, part
from ..values import StoredLabel
from .samples import scattered

MAX_STATE_PX = 400
"""Of a larger polygon so many pixels are looked at, evenly over its area."""


@dataclass(frozen=True, eq=False)
class Placed:
    """Labels on the zone grids."""

    labels: Sequence[StoredLabel]
    spots: NDArray[np.int64]
    """(n, 4): zone, row, column and label; a point's pixel, or the one under a small polygon."""
    areas: Mapping[int, Tuple[ZonePolygon, ...]]
    """Polygons that hold pixels, by label."""
    pixels: NDArray[np.int64]
    """(m, 4): of points all, of polygons some pixels."""
    small: Tuple[int, ...]
    nowhere: Tuple[int, ...]
    """Labels without a place on the zone grids."""
    lonlat: NDArray[np.float64]
    """(labels, 2): a place in each."""

    @classmethod
    def of(cls, labels: Sequence[StoredLabel], report: Report) -> Placed:
        """Place labels (EPSG:4326). Raises: Cancelled."""
        spots: List[Tuple[int, NDArray[np.float64]]] = []
        areas: Dict[int, Tuple[ZonePolygon, ...]] = {}
        pixels: List[NDArray[np.int64]] = []
        small: List[int] = []
        nowhere: List[int] = []
        lonlat = np.zeros((len(labels), 2))
        for index, label in enumerate(labels):
            report(index / len(labels), "Checking labels")
            if polygons.is_point(label.wkb):
                at: Optional[NDArray[np.float64]] = polygons.points_of(label.wkb)
            else:
                at = polygons.inner_point(label.wkb)
                parts = polygons.zone_polygons(label.wkb, LONLAT)
                some = _some_pixels(parts, part(report, index / len(labels), 1.0))
                if len(some):
                    areas[index] = parts
                    pixels.append(np.column_stack([some, np.full(len(some), index)]))
                else:
                    small += [index] if at is not None else []
            if at is None:
                nowhere.append(index)
                continue
            lonlat[index] = at[0]
            if index not in areas:
                spots.append((index, at))
        found = _spots(spots)
        nowhere += sorted({index for index, _ in spots} - set(found[:, 3].tolist()))
        small = [index for index in small if index not in nowhere]
        together = np.concatenate([found, *pixels])
        return cls(labels, found, areas, together, tuple(small), tuple(nowhere), lonlat)


def _spots(points: Sequence[Tuple[int, NDArray[np.float64]]]) -> NDArray[np.int64]:
    """Return the pixels under points (n, 4), without those that have no place on the grids."""
    if not points:
        return np.empty((0, 4), np.int64)
    xy = np.concatenate([at for _, at in points])
    index = np.repeat([index for index, _ in points], [len(at) for _, at in points])
    on_grids = (xy[:, 1] >= UTM_SOUTH_DEG) & (xy[:, 1] <= UTM_NORTH_DEG)
    zone, row, col = polygons.pixels_of_points(xy[on_grids], LONLAT)
    return np.column_stack([zone, row, col, index[on_grids]])[zone > 0]


def _some_pixels(parts: Sequence[ZonePolygon], report: Report) -> NDArray[np.int64]:
    """Return pixels of a polygon (n, 3), at most MAX_STATE_PX, evenly over it."""
    found = []
    for zone_polygon in parts:
        for window in zone_polygon.windows():
            report(0.0, "")  # a large one takes a while, and may be given up
            rows, cols = np.nonzero(zone_polygon.mask(window))
            zones = np.full(len(rows), zone_polygon.zone)
            found.append(_few(np.column_stack([zones, rows + window.row, cols + window.col])))
    return _few(np.concatenate(found)) if found else np.empty((0, 3), np.int64)


def _few(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return some pixels (n, 3), the same ones each time."""
    if len(pixels) <= MAX_STATE_PX:
        return pixels
    chosen = np.argpartition(scattered(pixels, 0), MAX_STATE_PX)[:MAX_STATE_PX]
    some: NDArray[np.int64] = pixels[chosen]
    return some
