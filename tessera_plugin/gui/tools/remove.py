# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tool that removes labels."""

from __future__ import annotations

from qgis.gui import QgsMapMouseEvent
from qgis.PyQt.QtCore import Qt, pyqtSignal

from .pick import PickTool


class RemoveTool(PickTool):
    """Hover to see which label, click to remove it."""

    hit = pyqtSignal(str)
    """With the label's key."""

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        found = self.under(event.pixelPoint())
        self.reset()
        if found:
            self.hit.emit(found[0])
