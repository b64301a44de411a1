# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells that mean something when they are clicked are reached and pressed by keys as well."""

from __future__ import annotations

from qgis.PyQt.QtCore import QEvent, QModelIndex, QObject, Qt
from qgis.PyQt.QtGui import QPainter, QPalette, QPen
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
)

from . import sight

KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)

FRAME_PX = 2


class CellKeys(QObject):
    """Arrows go from cell to cell, Enter and Space are a click, Tab leaves the table."""

    def __init__(self, table: QTableWidget) -> None:
        super().__init__(table)
        self._table = table
        table.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        table.setTabKeyNavigation(False)
        # where nothing can be selected arrows do nothing on some systems; but it hides colours
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.itemSelectionChanged.connect(table.clearSelection)
        table.horizontalHeader().setHighlightSections(False)
        table.verticalHeader().setHighlightSections(False)
        if not isinstance(table.itemDelegate(), FramedCells):
            table.setItemDelegate(FramedCells(table))
        table.installEventFilter(self)
        table.currentCellChanged.connect(self._bring)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.KeyPress or event.key() not in KEYS:
            return bool(super().eventFilter(watched, event))
        if self._table.currentRow() >= 0:
            self._table.cellClicked.emit(self._table.currentRow(), self._table.currentColumn())
        return True

    def _bring(self, row: int, column: int, *_: int) -> None:
        """Scroll the page: a table as high as its rows has no need to."""
        if row >= 0 and self._table.hasFocus():
            model = self._table.model()
            sight.bring_part(
                self._table.viewport(), self._table.visualRect(model.index(row, column))
            )


class FramedCells(QStyledItemDelegate):
    """A frame around the cell that keys act on, which is seen on any colour."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        option.state &= ~QStyle.StateFlag.State_HasFocus  # the system's own frame

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().paint(painter, option, index)
        self.draw_frame(painter, option)

    def draw_frame(self, painter: QPainter, option: QStyleOptionViewItem) -> None:
        """Draw the frame, if it is the cell that keys act on."""
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.save()
            color = option.palette.color(QPalette.ColorRole.Highlight)
            painter.setPen(QPen(color, FRAME_PX, Qt.PenStyle.DashLine))
            painter.drawRect(option.rect.adjusted(1, 1, -1, -1))
            painter.restore()
