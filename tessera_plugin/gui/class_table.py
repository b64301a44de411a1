# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of classes: key, eye, colour, name, labels and pixels; it knows nothing of the store.

The active class is bold and its row selected. More rows can be selected, to be merged or removed
together. Rows are dragged by the mouse: Qt's own dragging would write cells over one another.
"""

from __future__ import annotations

from typing import Collection, Mapping, Optional, Sequence, Tuple

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QItemSelectionModel, QPoint, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qgis.PyQt.QtWidgets import QAbstractItemView, QApplication, QWidget

from ..values import LandClass
from . import text
from .balance import BEHIND_ROLE, SHARE_ROLE, BalanceBar, balance, sentence
from .color_table import CENTER, COLOR, KEY, MIDDLE, NAME, RIGHT, ColorTable

LABELS, PIXELS, EYE = range(3, 6)
EYE_PLACE = 1
"""The eye is seen second, as in the list of layers."""

LAST_KEY = 9
SCROLL_PX = 12
"""So near to an edge a dragged row scrolls the table."""


class ClassTable(ColorTable):
    """Shows classes and tells what the person does with them, by their ids."""

    chosen = pyqtSignal(int)
    """Another class is to be the active one."""
    selected = pyqtSignal()
    """Other rows are selected."""
    moved = pyqtSignal(int, int)
    """A class was dragged; the place it is to have, from 0."""
    hidden = pyqtSignal(int, bool)

    ALIGNMENTS = {
        **ColorTable.ALIGNMENTS,
        LABELS: RIGHT | MIDDLE,
        PIXELS: RIGHT | MIDDLE,
        EYE: CENTER,
    }

    def __init__(self, parent: QWidget) -> None:
        super().__init__("classTable", parent)
        self._active = 0
        self._hidden: Collection[int] = ()
        self._pressed: Optional[QPoint] = None
        self._dragged = self._gap = self._eye_row = -1
        self._eyes = tuple(
            QgsApplication.getThemeIcon(f"/mAction{name}AllLayers.svg") for name in ("Show", "Hide")
        )
        self._dress()
        self.itemSelectionChanged.connect(self._selection_changed)

    # --- what is shown

    def show_classes(
        self,
        classes: Sequence[LandClass],
        counts: Mapping[int, int],
        pixels: Mapping[int, int],
        hidden: Collection[int],
        active: int,
    ) -> None:
        """Show classes, how many labels and pixels they have, and which one is active."""
        selected, ids = self.selected_ids(), [each.id for each in classes]
        if ids != self._ids():
            self._end_drag()
        self.blockSignals(True)
        self._hidden = frozenset(hidden)
        stand = balance(ids, counts)
        self._make_rows(len(classes))
        for row, each in enumerate(classes):
            self._show_class(row, each)
            number = pixels.get(each.id, 0)
            told = self.tr("About {}").format(text.counted_pixels(number))
            self._set(row, PIXELS, text.short(number)).setToolTip(told)
            labels = self._set(row, LABELS, text.count(stand[each.id].count))
            labels.setData(SHARE_ROLE, stand[each.id].share)
            labels.setData(BEHIND_ROLE, stand[each.id].is_behind)
            labels.setToolTip(sentence(each.name, stand[each.id]))
        self.blockSignals(False)
        self._fit()
        self._select(selected, active)

    def choose(self, class_id: int) -> None:
        """Make a class the active one without telling."""
        self._select(self.selected_ids(), class_id)

    def selected_ids(self) -> Tuple[int, ...]:
        """Return the ids of the classes whose rows are selected, from the top."""
        rows = sorted(each.row() for each in self.selectionModel().selectedRows(NAME))
        return tuple(self._id(row) for row in rows)

    def edit_name(self, class_id: int) -> None:
        """Let the person type another name."""
        self.editItem(self.item(self._ids().index(class_id), NAME))

    def pick_color(self, class_id: int) -> None:
        """Let the person choose another colour."""
        self._button(self._ids().index(class_id)).click()

    # --- what the person does

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.indexAt(event.pos())
        is_left = event.button() == Qt.MouseButton.LeftButton
        self._pressed, self._eye_row = None, -1
        if is_left and index.isValid() and index.column() == EYE:
            self._eye_row = index.row()
            return  # looking away from a class does not make it the active one
        if is_left and event.modifiers() == Qt.KeyboardModifier.NoModifier and index.isValid():
            self._pressed, self._dragged = event.pos(), -1
        super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.indexAt(event.pos()).column() == EYE:
            self.mousePressEvent(event)
        else:
            super().mouseDoubleClickEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._pressed is None:
            super().mouseMoveEvent(event)
            return
        distance = (event.pos() - self._pressed).manhattanLength()
        if self._dragged < 0 and distance >= QApplication.startDragDistance():
            self._dragged = self.indexAt(self._pressed).row()
            self.viewport().setCursor(Qt.CursorShape.ClosedHandCursor)
        if self._dragged >= 0:
            self._drag_to(event.pos())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        eye, self._eye_row = self._eye_row, -1
        if eye >= 0:
            index = self.indexAt(event.pos())
            if (index.row(), index.column()) == (eye, EYE):
                class_id = self._id(eye)
                self.hidden.emit(class_id, class_id not in self._hidden)
            return
        dragged, gap = self._dragged, self._gap
        self._end_drag()
        super().mouseReleaseEvent(event)
        if dragged >= 0 and gap not in (-1, dragged, dragged + 1):
            self.moved.emit(self._id(dragged), gap - 1 if gap > dragged else gap)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self._dragged >= 0:
            self._end_drag()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._gap >= 0:
            painter = QPainter(self.viewport())
            painter.setPen(QPen(self.palette().highlight().color(), 3))
            height = self._gap_y()
            painter.drawLine(0, height, self.viewport().width(), height)
            painter.end()

    # --- inside

    def _dress(self) -> None:
        self.setHorizontalHeaderLabels(
            ["", "", self.tr("Class"), self.tr("Labels"), self.tr("px"), ""]
        )
        tips = {
            KEY: self.tr("The key that chooses the class, here and over the map"),
            COLOR: self.tr("Colour of the class on the map; click one to change it"),
            NAME: self.tr(
                "The selected class is the one that new labels get. Double-click a name to change "
                "it, drag a row to move it, right-click for more"
            ),
            LABELS: self.tr(
                "Labels of the class; the bar compares it with the class that has most. Amber: far "
                "fewer than the others"
            ),
            PIXELS: self.tr("About how many pixels of 10 m lie under the labels"),
            EYE: self.tr(
                "Whether labels and live map show the class; a hidden class is still learnt"
            ),
        }
        for column, tip in tips.items():
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)  # F2 is in the menu
        self.setItemDelegateForColumn(LABELS, BalanceBar(self))
        self.horizontalHeader().moveSection(EYE, EYE_PLACE)
        wide = self.fontMetrics().horizontalAdvance
        widths = {
            KEY: wide("9") + 18,
            EYE: 24,
            LABELS: max(wide(self.tr("Labels")), wide("9,999")) + 10,
            PIXELS: max(wide(self.tr("px")), wide("9.9k")) + 10,
        }
        for column, width in widths.items():
            self.setColumnWidth(column, width)

    def _show_class(self, row: int, each: LandClass) -> None:
        is_hidden = each.id in self._hidden
        self._show_name(row, each)
        self._set(row, KEY, str(row + 1) if row < LAST_KEY else "")
        group = QPalette.ColorGroup.Disabled if is_hidden else QPalette.ColorGroup.Active
        ink = self.palette().brush(group, QPalette.ColorRole.Text)
        self.item(row, NAME).setForeground(ink)
        self.item(row, EYE).setIcon(self._eyes[int(is_hidden)])
        self.item(row, EYE).setToolTip(
            (self.tr("Show “{}” again") if is_hidden else self.tr("Hide “{}”")).format(each.name)
        )

    def _select(self, selected: Collection[int], active: int) -> None:
        """Select the active class; of several rows that are selected, it is one."""
        wanted = set(selected) if active in selected else {active}
        self.blockSignals(True)
        self._active = active
        model = self.selectionModel()
        flags = QItemSelectionModel.SelectionFlag
        for row, each in enumerate(self._ids()):
            index = self.model().index(row, NAME)
            if (each in wanted) != model.isRowSelected(row, index.parent()):
                model.select(
                    index, (flags.Select if each in wanted else flags.Deselect) | flags.Rows
                )
            if each == active and self.currentRow() != row:
                model.setCurrentIndex(index, flags.NoUpdate)
            self._embolden(row, is_bold=each == active)
        self.blockSignals(False)

    def _embolden(self, row: int, *, is_bold: bool) -> None:
        for column in (KEY, NAME, LABELS):
            font = self.item(row, column).font()
            if font.bold() != is_bold:
                font.setBold(is_bold)
                self.item(row, column).setFont(font)

    def _drag_to(self, place: QPoint) -> None:
        bar = self.verticalScrollBar()
        if place.y() < SCROLL_PX:
            bar.setValue(bar.value() - 1)
        elif place.y() > self.viewport().height() - SCROLL_PX:
            bar.setValue(bar.value() + 1)
        row = self.rowAt(place.y())
        if row < 0:
            self._gap = 0 if place.y() < 0 else self.rowCount()
        else:
            middle = self.rowViewportPosition(row) + self.rowHeight(row) / 2
            self._gap = row + (place.y() > middle)
        self.viewport().update()

    def _gap_y(self) -> int:
        if self._gap < self.rowCount():
            return max(1, self.rowViewportPosition(self._gap))
        last = self.rowCount() - 1
        return self.rowViewportPosition(last) + self.rowHeight(last) - 1

    def _end_drag(self) -> None:
        self._pressed, self._dragged, self._gap = None, -1, -1
        self.viewport().unsetCursor()
        self.viewport().update()

    def _selection_changed(self) -> None:
        selected = self.selected_ids()
        if selected and self._active not in selected:
            self.chosen.emit(selected[0])
        self.selected.emit()
