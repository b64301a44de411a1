# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Adding layers must not move the map under the person's eyes."""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from typing import Iterator

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject, QTimer

from ..values import Extent

WAIT_MS = 2000
"""A layer that is not on the map by then comes from somebody else."""

LEAST_PX = 5
"""A smaller polygon is not seen on the map."""

MARGINS = 8
"""Around it when the map is zoomed to it, in widths of the polygon: what lies there is to be seen."""


@contextmanager
def kept(canvas: QgsMapCanvas) -> Iterator[None]:
    """Keep CRS and extent of the map over what is added to the project.

    With the first layer of a project QGIS takes its CRS and zooms to it, a moment later. That is
    meant for a layer that the person opens, not for one that shows what they look at.
    """
    project = QgsProject.instance()
    is_first = canvas.layerCount() == 0 and canvas.isVisible() and project.crs().isValid()
    keeper = _Keeper(canvas) if is_first else None
    yield
    if keeper is not None and not project.mapLayers():
        keeper.deleteLater()


def show_extent(canvas: QgsMapCanvas, extent: Extent) -> None:
    """Let the map show an extent, in the map's own CRS."""
    crs = QgsCoordinateReferenceSystem(extent.crs)
    to_map = QgsCoordinateTransform(
        crs, canvas.mapSettings().destinationCrs(), QgsProject.instance()
    )
    rectangle = QgsRectangle(extent.west, extent.south, extent.east, extent.north)
    with contextlib.suppress(QgsCsException):  # the map's CRS does not reach there
        canvas.setExtent(to_map.transformBoundingBox(rectangle))
        canvas.refresh()


def show_place(canvas: QgsMapCanvas, geometry: QgsGeometry) -> None:
    """Bring a geometry in degrees (EPSG:4326) into view, and leave a map alone that shows it.

    The scale stays, but where a polygon is too large for it, or too small to be seen.
    """
    lonlat = QgsCoordinateReferenceSystem("EPSG:4326")
    crs = canvas.mapSettings().destinationCrs()
    to_map = QgsCoordinateTransform(lonlat, crs, QgsProject.instance())
    try:
        box = to_map.transformBoundingBox(geometry.boundingBox())
    except QgsCsException:  # the map's CRS does not reach there
        return
    shown = canvas.extent()
    edge = max(box.width(), box.height())
    is_small = 0 < edge < LEAST_PX * canvas.mapUnitsPerPixel()  # points are drawn at any scale
    fits = box.width() < shown.width() and box.height() < shown.height()
    if geometry.isNull() or (shown.contains(box) and not is_small):
        return
    if is_small:
        canvas.setExtent(box.buffered(MARGINS * edge))
    elif fits:
        canvas.setCenter(box.center())
    else:
        canvas.setExtent(box.buffered(0.2 * edge))
    canvas.refresh()


class _Keeper(QObject):
    """Waits for the canvas's first layers and then puts the view back."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)  # goes with the canvas
        self._canvas, self._project = canvas, QgsProject.instance()
        canvas.layersChanged.connect(self._layers_came)
        QTimer.singleShot(WAIT_MS, self.deleteLater)

    def _layers_came(self) -> None:
        self._canvas.layersChanged.disconnect(self._layers_came)
        # not before: a person may have moved the map since they were asked for
        self._crs, self._extent = self._project.crs(), self._canvas.extent()
        QTimer.singleShot(0, self._restore)  # what QGIS does with them comes right after

    def _restore(self) -> None:
        if self._project.crs() != self._crs:
            self._project.setCrs(self._crs)
        if self._canvas.extent() != self._extent:
            self._canvas.setExtent(self._extent)
            self._canvas.refresh()
        self.deleteLater()
