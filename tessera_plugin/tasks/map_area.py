# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is mapped: a rectangle, or a layer's polygons, which are read on the working thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, List, Union

from qgis.core import QgsFeatureRequest, QgsVectorLayer, QgsVectorLayerFeatureSource, QgsWkbTypes

from ..errors import ExtentInvalid
from ..progress import Report
from ..values import Extent
from . import snapshot

if TYPE_CHECKING:
    from ..engine.map_ground import Area, Polygons

MOST_POLYGONS = 10_000


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
        from ..engine.map_ground import Polygons  # noqa: PLC0415 - light plugin load

        found: List[bytes] = []
        for number, feature in enumerate(self.source.getFeatures(self.request)):
            report(number / max(self.count, 1), "polygons of the area")
            geometry = feature.geometry()
            if not geometry.isGeosValid():
                geometry = geometry.makeValid()
            geometry.convertToStraightSegment()
            geometry.get().dropZValue()
            geometry.get().dropMValue()
            if geometry.type() == QgsWkbTypes.GeometryType.PolygonGeometry:
                found.append(bytes(geometry.asWkb()))
        if not found:
            raise ExtentInvalid("the layer has no polygons")
        return Polygons(tuple(found), self.crs)


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
    around = snapshot.extent_of(box, layer.crs())
    return LayerPolygons(
        QgsVectorLayerFeatureSource(layer), request, count, snapshot.crs_text(layer.crs()), around
    )


def read(area: MapArea, report: Report) -> Area:
    """Return an area as the engine takes it. On any thread. Raises: ExtentInvalid, Cancelled."""
    return area if isinstance(area, Extent) else area.read(report)
