# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tools share that work on labels which are there: the one under the mouse is marked."""

from __future__ import annotations

import time
from typing import Optional, Tuple

from qgis.core import QgsApplication, QgsGeometry
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsRubberBand
from qgis.PyQt.QtCore import QPoint
from qgis.PyQt.QtGui import QColor

from ...tasks.labels import LabelStore
from . import places
from .base import ToolBase

LOOK_EVERY_S = 0.03

Found = Optional[Tuple[str, QgsGeometry]]


class PickTool(ToolBase):
    """Marks the label under the mouse."""

    mark_color = "#d64545"

    def __init__(self, canvas: QgsMapCanvas, store: LabelStore) -> None:
        super().__init__(canvas, QgsApplication.Cursor.Select)
        self.store = store
        self._mark_band: Optional[QgsRubberBand] = None
        self._looked_s = 0.0

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        found = self.under(event.pixelPoint())
        self.mark(found[1] if found else None)

    def reset(self) -> None:
        self.mark(None)

    def under(self, pixel: QPoint) -> Found:
        """Return key and geometry (EPSG:4326) of the label at a pixel of the screen, if there is one."""
        area = self.lonlat_around(pixel)
        return None if area is None else self.store.at(area)

    def mark(self, geometry: Optional[QgsGeometry]) -> None:
        """Mark a geometry (EPSG:4326) on the map, or none."""
        self.take_off(self._mark_band)
        self._mark_band = None
        if geometry is not None:
            band = self.new_band(geometry.type(), QColor(self.mark_color), width=3)
            band.setIconSize(14)
            band.setToGeometry(geometry, places.LONLAT)
            self._mark_band = band
