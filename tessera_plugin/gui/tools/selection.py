# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be done to the labels that are selected, as a menu at the mouse."""

from __future__ import annotations

from typing import Optional, Tuple

from qgis.core import QgsApplication, QgsRectangle
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject, QPoint
from qgis.PyQt.QtGui import QColor, QIcon, QPixmap
from qgis.PyQt.QtWidgets import QDialog, QMenu, QWidget

from ...tasks.labels import LabelStore
from ...values import Extent
from .. import view
from .label_edit import LabelEditDialog
from .select import Attempt, SelectTool

_AROUND, _LEAST_DEG = 0.3, 0.002  # what is seen around labels that are zoomed to
_SWATCH_PX = 12


class SelectionMenu(QObject):
    """Reclass, edit, zoom to and delete what is selected."""

    def __init__(
        self,
        canvas: QgsMapCanvas,
        store: LabelStore,
        tool: SelectTool,
        attempt: Attempt,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._canvas, self._store, self._tool, self._attempt = canvas, store, tool, attempt
        self._parent = parent
        self._menu: Optional[QMenu] = None
        self._dialog: Optional[LabelEditDialog] = None
        tool.menu_wanted.connect(self._show)

    def close_down(self) -> None:
        """Close what is open."""
        for window in (self._menu, self._dialog):
            if window is not None:
                window.close()

    def edit(self) -> None:
        """Open the dialog for what labels carry."""
        keys = self._store.selected
        found = [each for each in map(self._store.label, keys) if each is not None]
        dialog = LabelEditDialog(found, self._store.classes, self._parent)
        self._dialog = dialog
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        self._dialog = None
        changes = dialog.changes()
        if accepted and any(each is not None for each in changes):
            self._attempt(lambda: self._store.edit_labels(keys, **changes._asdict()))
        dialog.deleteLater()

    def zoom(self) -> None:
        """Have the map show what is selected."""
        box = QgsRectangle()
        box.setMinimal()
        for key in self._store.selected:
            box.combineExtentWith(self._store.geometry(key).boundingBox())
        if box.isNull():
            return
        west, east = _wider(box.xMinimum(), box.xMaximum(), 180.0)
        south, north = _wider(box.yMinimum(), box.yMaximum(), 90.0)
        view.show_extent(self._canvas, Extent(west, south, east, north))

    # --- inside

    def _show(self, place: QPoint) -> None:
        if self._menu is not None:
            self._menu.deleteLater()
        menu = self._menu = QMenu(self._parent)
        menu.setObjectName("selectionMenu")
        reclass = menu.addMenu(self.tr("Reclass"))
        for number, each in enumerate(self._store.classes, 1):
            name = self.tr("{}\t{}").format(each.name, number) if number < 10 else each.name
            action = reclass.addAction(_swatch(each.color), name.replace("&", "&&"))
            action.triggered.connect(lambda *_, to=each.id: self._tool.reclass(to))
        edit = QgsApplication.getThemeIcon("/mActionToggleEditing.svg")
        menu.addAction(edit, self.tr("Edit…")).triggered.connect(lambda *_: self.edit())
        zoom = QgsApplication.getThemeIcon("/mActionZoomToSelected.svg")
        menu.addAction(zoom, self.tr("Zoom to")).triggered.connect(lambda *_: self.zoom())
        menu.addSeparator()
        delete = QgsApplication.getThemeIcon("/mActionDeleteSelected.svg")
        words = self.tr("Delete\tDel")
        menu.addAction(delete, words).triggered.connect(lambda *_: self._tool.delete())
        menu.popup(place)


def _wider(low: float, high: float, limit: float) -> Tuple[float, float]:
    more = max(_AROUND * (high - low), _LEAST_DEG)
    return max(low - more, -limit), min(high + more, limit)


def _swatch(color: str) -> QIcon:
    picture = QPixmap(_SWATCH_PX, _SWATCH_PX)
    picture.fill(QColor(color))
    return QIcon(picture)
