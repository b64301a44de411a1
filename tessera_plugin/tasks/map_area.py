# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is mapped: a rectangle, or a layer's polygons, which are read on the working thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterator, Optional, Sequence, Tuple, Union

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeatureRequest,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
)

from ..errors import ExtentInvalid, PolygonsFarApart
from ..progress import Report
from ..values import Extent
from . import snapshot

if TYPE_CHECKING:
    from ..engine.grid import Size
    from ..engine.map_ground import Area, Polygons

MOST_POLYGONS = 10_000
MOST_AROUND_PX = 100_000_000_000
"""Of the rectangle around polygons: over it, of ten million km², nobody need look at them closer."""

LONLAT = "EPSG:4326"
_MOST_BOXES = 1000
"""Polygons whose rectangles are looked at on the GUI thread."""
_HALF_TURN = 180.0


@dataclass(frozen=True)
class LayerPolygons:
    """The polygons of a layer as they were when they were asked for; no layer is held."""

    source: QgsVectorLayerFeatureSource
    request: QgsFeatureRequest
    count: int
    crs: str
    around: Extent
    """The rectangle around them."""

    def read(self, report: Report) -> Polygons:
        """Return the polygons. On any thread. Raises: ExtentInvalid, Cancelled."""
        from ..engine import map_ground  # noqa: PLC0415 - light plugin load

        found = map_ground.gathered(self._geometries(report), self.crs)
        if found.wkbs:
            return found
        if found.unusable:
            raise ExtentInvalid(_unusable(found.unusable))
        raise ExtentInvalid("the layer has no polygons")

    def measured(self, depth: int) -> Size:
        """Return what the rectangle around them weighs, which they seldom fill.

        Raises: ExtentInvalid; PolygonsFarApart where they lie all over the globe.
        """
        from ..engine import grid  # noqa: PLC0415 - light plugin load

        size = grid.measure(grid.windows_of(self.around), depth)
        if size.pixels > MOST_AROUND_PX:
            raise PolygonsFarApart(size.pixels, MOST_AROUND_PX)
        return size

    def _geometries(self, report: Report) -> Iterator[bytes]:
        for number, feature in enumerate(self.source.getFeatures(self.request)):
            report(number / max(self.count, 1), "polygons of the area")
            geometry = feature.geometry()
            if not geometry.isEmpty():  # nor is there none at all
                yield bytes(geometry.asWkb())


MapArea = Union[Extent, LayerPolygons]


def polygons_of(layer: QgsVectorLayer) -> LayerPolygons:
    """Return the selected polygons of a layer, all of them where none is selected.

    On the GUI thread. Raises: ExtentInvalid.
    """
    selected = layer.selectedFeatureCount()
    count = selected or layer.featureCount()
    if count == 0:
        raise ExtentInvalid("the layer has no polygons")
    if count > MOST_POLYGONS:
        raise ExtentInvalid(f"the layer has {count:,} polygons; select at most {MOST_POLYGONS:,}")
    request = QgsFeatureRequest()
    if selected:
        request.setFilterFids(layer.selectedFeatureIds())
    request.setNoAttributes()
    box = layer.boundingBoxOfSelected() if selected else layer.extent()
    if box.isNull():
        raise ExtentInvalid("the layer has no polygons")
    around = snapshot.extent_of(box, layer.crs())
    if count <= _MOST_BOXES:
        around = _over_the_antimeridian(layer, request, box) or around
    return LayerPolygons(
        QgsVectorLayerFeatureSource(layer), request, count, snapshot.crs_text(layer.crs()), around
    )


def read(area: MapArea, report: Report) -> Area:
    """Return an area as the engine takes it. On any thread. Raises: ExtentInvalid, Cancelled."""
    return area if isinstance(area, Extent) else area.read(report)


def _unusable(count: int) -> str:
    told = "1 polygon is" if count == 1 else f"{count:,} polygons are"
    return f"{told} broken beyond mending or without an inside"


# --- the rectangle around


def _over_the_antimeridian(
    layer: QgsVectorLayer, request: QgsFeatureRequest, box: QgsRectangle
) -> Optional[Extent]:
    """Return the rectangle around polygons the other way round the globe, where it is narrower."""
    lonlat = QgsCoordinateReferenceSystem(LONLAT)
    change = QgsCoordinateTransform(layer.crs(), lonlat, QgsProject.instance())
    try:
        if change.transformBoundingBox(box).width() <= _HALF_TURN:
            return None
        boxes = [
            change.transformBoundingBox(each.geometry().boundingBox())
            for each in layer.getFeatures(request)
            if not each.geometry().isEmpty()
        ]
    except QgsCsException:
        return None
    gap = _widest_gap([(each.xMinimum(), each.xMaximum()) for each in boxes]) if boxes else None
    if gap is None:
        return None
    south = min(each.yMinimum() for each in boxes)
    north = max(each.yMaximum() for each in boxes)
    return snapshot.extent_of(QgsRectangle(gap[1], south, gap[0] + 360.0, north), lonlat)


def _widest_gap(spans: Sequence[Tuple[float, float]]) -> Optional[Tuple[float, float]]:
    """Return the longitudes between which there is nothing, if that is more than what is around."""
    ordered = sorted(spans)
    reached = ordered[0][1]
    start = stop = reached
    for west, east in ordered:
        if west - reached > stop - start:
            start, stop = reached, west
        reached = max(reached, east)
    around = 360.0 - (reached - ordered[0][0])
    return (start, stop) if stop - start > around else None
