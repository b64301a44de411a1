# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Picking places on the map for the Explore window: a button, a tool, and marks that stay."""

from __future__ import annotations

import contextlib
from typing import List, Optional, Sequence, Tuple

from qgis.core import (
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
)
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsVertexMarker
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QObject, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QAbstractButton

from .links import Links
from .place_marker import clicked_mark
from .tools.base import ToolBase
from .tools.places import LONLAT


class PickTool(ToolBase):
    """Tells longitude and latitude of each click."""

    picked = pyqtSignal(float, float)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        placed = self.to_lonlat(QgsGeometry.fromPointXY(event.mapPoint()))
        if placed is not None:
            point = placed.asPoint()
            self.picked.emit(point.x(), point.y())


class PlacePicker(QObject):
    """A tool that a checkable button takes up and puts away, and marks on the map."""

    picked = pyqtSignal(float, float)
    refused = pyqtSignal(str)

    def __init__(self, canvas: QgsMapCanvas, button: QAbstractButton) -> None:
        super().__init__(button)
        self._canvas, self._button = canvas, button
        self._links = Links()
        self._before: Optional[QgsMapTool] = None
        self._places: Tuple[Tuple[float, float], ...] = ()
        self._markers: List[QgsVertexMarker] = []
        self._tool = PickTool(canvas)
        self._tool.picked.connect(self.picked)
        self._tool.refused.connect(self.refused)
        self._tool.left.connect(lambda: button.setChecked(False))
        button.toggled.connect(self._toggled)
        self._links.connect(canvas.mapToolSet, self._tool_changed)
        self._links.connect(canvas.destinationCrsChanged, self._mark)

    def mark(self, places: Sequence[Tuple[float, float]]) -> None:
        """Mark places (longitude, latitude) on the map, instead of those before."""
        self._places = tuple(places)
        self._mark()

    def put_away(self) -> None:
        """Give the map the tool back that it had before."""
        self._button.setChecked(False)

    def close_down(self) -> None:
        """Leave nothing on the map."""
        with contextlib.suppress(RuntimeError):  # when QGIS ends, the canvas may be gone first
            self.put_away()
            self.mark(())
        self._links.close()
        with contextlib.suppress(RuntimeError):
            self._tool.deleteLater()

    # --- inside

    def _toggled(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        canvas = self._canvas
        if on:
            self._before = canvas.mapTool()
            canvas.setMapTool(self._tool)
            canvas.setFocus()
        elif canvas.mapTool() == self._tool:
            if self._before is not None and not sip.isdeleted(self._before):
                canvas.setMapTool(self._before)
            else:
                canvas.unsetMapTool(self._tool)

    def _tool_changed(self, new: Optional[QgsMapTool], *_: object) -> None:
        if new != self._tool:
            self._button.setChecked(False)

    def _mark(self) -> None:
        if sip.isdeleted(self._canvas):
            return
        for marker in self._markers:
            self._canvas.scene().removeItem(marker)
        self._markers = []
        crs = self._canvas.mapSettings().destinationCrs()
        to_map = QgsCoordinateTransform(LONLAT, crs, QgsProject.instance())
        for lon, lat in self._places:
            with contextlib.suppress(QgsCsException):  # the map's CRS does not reach there
                point = to_map.transform(QgsPointXY(lon, lat))
                self._markers.append(clicked_mark(self._canvas, point))
