# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the pixels of the zone grids lie on a map of any CRS. On the GUI thread, and fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsLineString,
    QgsPointXY,
    QgsProject,
)
from qgis.PyQt.QtGui import QPolygonF

from ..values import PIXEL_M

if TYPE_CHECKING:
    from ..engine.brush import Cells, Part, Spot, Stroke

_LONLAT = "EPSG:4326"


class ZonePixels:
    """The way from a map of a CRS to the grids of the zones, and back."""

    def __init__(self, crs: QgsCoordinateReferenceSystem) -> None:
        from ..engine import brush  # noqa: PLC0415 - light plugin load

        self._brush, self._crs = brush, crs
        self._to_lonlat = _way(crs, QgsCoordinateReferenceSystem(_LONLAT))
        self._known: Dict[int, Tuple[QgsCoordinateTransform, QgsCoordinateTransform]] = {}

    def spot(self, point: QgsPointXY) -> Optional[Spot]:
        """Return which place of which zone's grid a point of the map is; None where it is none."""
        if not self._crs.isValid():
            return None
        try:
            lonlat = self._to_lonlat.transform(point)
            zone = self._brush.zone_at(lonlat.x(), lonlat.y())
            if zone is None:
                return None
            metres = self._ways(zone)[0].transform(point)
        except (QgsCsException, ValueError, OverflowError):  # no place, or no number
            return None
        return self._brush.Spot(zone, -metres.y() / PIXEL_M, metres.x() / PIXEL_M)

    def squares(self, part: Part) -> QPolygonF:
        """Return the pixels of a part on the map, four corners each: they need not stand upright.

        Empty where they have no place.
        """
        return self._on_map(part.window.zone, self._brush.squares(part))

    def runs(self, part: Part) -> QPolygonF:
        """Return the runs of neighbouring pixels in the rows of a part, as `squares` its pixels."""
        return self._on_map(part.window.zone, self._brush.runs(part))

    def first(self, part: Part) -> QPolygonF:
        """Return the first pixel of a part's window, whether it is in the part or not."""
        row, col = part.window.row, part.window.col
        return self._on_map(part.window.zone, [(row, col, col + 1)])

    def _on_map(self, zone: int, cells: Cells) -> QPolygonF:
        line = QgsLineString(*self._brush.corners(cells))
        try:
            line.transform(self._ways(zone)[1])
        except QgsCsException:
            return QPolygonF()
        return line.asQPolygonF()

    def _ways(self, zone: int) -> Tuple[QgsCoordinateTransform, QgsCoordinateTransform]:
        """Return the ways to a zone's grid and back, made once: that takes longer than going."""
        if zone not in self._known:
            grid = QgsCoordinateReferenceSystem(f"EPSG:{32600 + zone}")
            self._known[zone] = _way(self._crs, grid), _way(grid, self._crs)
        return self._known[zone]


def polygons_of(stroke: Stroke) -> List[QgsGeometry]:
    """Return the polygons around painted pixels, in degrees (EPSG:4326)."""
    found = []
    for wkb in stroke.polygons():
        found.append(QgsGeometry())
        found[-1].fromWkb(wkb)
    return found


def _way(
    source: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsCoordinateTransform:
    return QgsCoordinateTransform(source, target, QgsProject.instance())
