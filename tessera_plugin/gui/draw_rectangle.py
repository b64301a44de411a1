# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A rectangle that a person draws on the map, as long as a button is down."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsRectangle
from qgis.gui import QgisInterface, QgsMapTool, QgsMapToolExtent
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QAbstractButton

from ..errors import TesseraError
from ..tasks import snapshot


class RectangleDrawing(QObject):
    """Takes the map's tool while the button is down, and gives the one before back."""

    drawn = pyqtSignal(object)
    """An `Extent`."""
    drawing = pyqtSignal(bool)
    """Whether a rectangle is being drawn."""

    def __init__(self, iface: QgisInterface, button: QAbstractButton, parent: QObject) -> None:
        super().__init__(parent)
        self._iface, self._button = iface, button
        self._tool: Optional[QgsMapToolExtent] = None
        self._before: Optional[QgsMapTool] = None
        button.toggled.connect(self._draw)

    def stop(self) -> None:
        """Take the tool away, if it is there."""
        tool, self._tool = self._tool, None
        before, self._before = self._before, None
        if tool is None:
            return
        tool.deactivated.disconnect(self._given_up)
        canvas = self._iface.mapCanvas()
        if canvas.mapTool() is tool:
            canvas.unsetMapTool(tool)
            if before is not None:
                canvas.setMapTool(before)
        tool.clearRubberBand()
        tool.deleteLater()
        self._button.blockSignals(True)
        self._button.setChecked(False)
        self._button.blockSignals(False)
        self.drawing.emit(False)

    def _draw(self, wanted: bool) -> None:  # noqa: FBT001 - Qt's signal
        if not wanted:
            self.stop()
            return
        canvas = self._iface.mapCanvas()
        self._before = canvas.mapTool()
        self._tool = QgsMapToolExtent(canvas)
        self._tool.extentChanged.connect(self._was_drawn)
        self._tool.deactivated.connect(self._given_up)
        canvas.setMapTool(self._tool)
        self.drawing.emit(True)

    def _was_drawn(self, rectangle: QgsRectangle) -> None:
        crs = self._iface.mapCanvas().mapSettings().destinationCrs()
        try:
            extent = snapshot.extent_of(rectangle, crs)
        except TesseraError:
            return  # a click is no rectangle
        self.stop()
        self.drawn.emit(extent)

    def _given_up(self) -> None:
        """Another tool was taken meanwhile."""
        self._before = None
        self.stop()
