# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tool that selects labels, moves them, and changes or deletes what is selected."""

from __future__ import annotations

from typing import Callable, List, Optional, Tuple

from qgis.core import QgsGeometry
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsRubberBand
from qgis.PyQt.QtCore import QPoint, QRect, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QKeyEvent
from qgis.PyQt.QtWidgets import QApplication

from ...tasks.labels import LabelStore
from . import places
from .base import DIGITS
from .pick import PickTool

Attempt = Callable[[Callable[[], object]], bool]
"""Does something that writes, and tells if it could not be."""


class SelectTool(PickTool):
    """Click or drag a box to select, drag a selected label to move it; keys change what is selected."""

    mark_color = "#e9a23b"

    menu_wanted = pyqtSignal(QPoint)
    """The right button was clicked with labels selected: at a place on the screen."""

    def __init__(self, canvas: QgsMapCanvas, store: LabelStore, attempt: Attempt) -> None:
        super().__init__(canvas, store)
        self._attempt = attempt
        self._pressed: Optional[QPoint] = None
        self._held: Optional[Tuple[str, QgsGeometry]] = None  # in the CRS of the map
        self._band: Optional[QgsRubberBand] = None

    # --- what QGIS calls

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        self.reset()
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed = event.pixelPoint()
            self._held = self._selected_under(event.pixelPoint())

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if self._pressed is None:
            super().canvasMoveEvent(event)
            return
        here = event.pixelPoint()
        if self._band is None:
            if (here - self._pressed).manhattanLength() < QApplication.startDragDistance():
                return
            kind = self._held[1].type() if self._held else places.POLYGON
            self._band = self.new_band(kind, QColor(self.mark_color))
            self._band.setIconSize(14)
        drawn = self._moved(here) if self._held else self.screen_polygon(self._box(here))
        self._band.setToGeometry(drawn, None)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() == Qt.MouseButton.RightButton:
            self._ask_menu(event)
        if self._pressed is None or event.button() != Qt.MouseButton.LeftButton:
            return
        here, dragged, held = event.pixelPoint(), self._band is not None, self._held
        moved = self._moved(here) if held and dragged else None
        box = self._box(here)
        self.reset()
        if held is not None and moved is not None:
            self._move(held[0], moved)
            return
        found = self._in_box(box) if dragged else self._at(here)
        self._select(found, adds=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))

    def key(self, event: QKeyEvent) -> bool:
        selected = self.store.selected
        if not selected:
            return super().key(event)
        if event.key() == Qt.Key.Key_Delete:
            self.delete()
        elif event.text() in DIGITS and event.text():
            self._reclass_by_number(int(event.text()))
        else:
            return super().key(event)
        return True

    def reset(self) -> None:
        super().reset()
        self.take_off(self._band)
        self._pressed = self._held = self._band = None

    # --- what is done to what is selected

    def delete(self) -> None:
        """Delete the selected labels."""
        self._attempt(lambda: self.store.remove_labels(self.store.selected))

    def reclass(self, class_id: int) -> None:
        """Give the selected labels to another class."""
        self._attempt(lambda: self.store.reclass_labels(self.store.selected, class_id))

    def _reclass_by_number(self, number: int) -> None:
        classes = self.store.classes
        if number <= len(classes):
            self.reclass(classes[number - 1].id)

    def _move(self, key: str, geometry: QgsGeometry) -> None:
        placed = self.to_lonlat(geometry)
        if placed is not None:
            self._attempt(lambda: self.store.move_label(key, placed))

    # --- inside

    def _select(self, keys: List[str], *, adds: bool) -> None:
        """Select labels; with Shift they come to those that are selected, a single one may also go."""
        before = list(self.store.selected)
        if not adds:
            self.store.select(keys)
        elif len(keys) == 1 and keys[0] in before:
            self.store.select([each for each in before if each != keys[0]])
        else:
            self.store.select([*before, *(each for each in keys if each not in before)])

    def _at(self, pixel: QPoint) -> List[str]:
        found = self.under(pixel)
        return [found[0]] if found else []

    def _box(self, here: QPoint) -> QRect:
        return QRect(self._pressed or here, here).normalized()

    def _in_box(self, box: QRect) -> List[str]:
        """Return the labels that a box on the screen touches; on a turned map it is not upright."""
        area = self.lonlat_box(box)
        if area is None:
            return []
        found = self.store.keys_in(area)
        shape = self.to_lonlat(self.screen_polygon(box)) if found else None
        if shape is None:
            return []
        shapes = ((key, self.store.geometry(key)) for key in found)
        return [key for key, each in shapes if shape.intersects(each)]

    def _selected_under(self, pixel: QPoint) -> Optional[Tuple[str, QgsGeometry]]:
        """Return key and geometry on the map of the label that can be moved from here."""
        found = self.under(pixel)
        if found is None or found[0] not in self.store.selected:
            return None
        crs = self.canvas().mapSettings().destinationCrs()
        shape = places.on_map(found[1], crs)
        return None if shape.isEmpty() else (found[0], shape)

    def _moved(self, here: QPoint) -> QgsGeometry:
        start, stop = (self.toMapCoordinates(each) for each in (self._pressed or here, here))
        moved = QgsGeometry(self._held[1]) if self._held else QgsGeometry()
        moved.translate(stop.x() - start.x(), stop.y() - start.y())
        return moved

    def _ask_menu(self, event: QgsMapMouseEvent) -> None:
        found = self._at(event.pixelPoint())
        if found and found[0] not in self.store.selected:
            self.store.select(found)
        if self.store.selected:
            self.reset()
            self.menu_wanted.emit(self.canvas().viewport().mapToGlobal(event.pixelPoint()))
