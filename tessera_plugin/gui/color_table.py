# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A table of names with their colours, both to be changed in place."""

from __future__ import annotations

from typing import List, Sequence

from qgis.gui import QgsColorButton
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ..values import LandClass

KEY, COLOR, NAME = range(3)

ID_ROLE = Qt.ItemDataRole.UserRole

FEWEST_ROWS, MOST_ROWS = 4, 10
SPARE_PX = 4
"""Some themes put a little between frame and rows."""

LEFT, RIGHT = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
MIDDLE, CENTER = Qt.AlignmentFlag.AlignVCenter, Qt.AlignmentFlag.AlignCenter


class ColorTable(QTableWidget):
    """Shows classes and tells what the person calls and colours them, by their ids.

    A row is not bound to a class, so that another order makes no widget anew.
    """

    renamed = pyqtSignal(int, str)
    recolored = pyqtSignal(int, str)

    ALIGNMENTS = {KEY: CENTER, COLOR: CENTER, NAME: LEFT | MIDDLE}
    """Of each column there is."""

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(0, len(self.ALIGNMENTS), parent)
        self.setObjectName(name)
        self.setAccessibleName(self.tr("Classes"))
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 14)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(24)
        header.setHighlightSections(False)
        header.setSectionsClickable(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.setColumnWidth(COLOR, 34)
        self.setHorizontalHeaderLabels(["", "", self.tr("Class")])
        self.itemChanged.connect(self._item_changed)

    def show_names(self, classes: Sequence[LandClass]) -> None:
        """Show classes by their names and colours."""
        self.blockSignals(True)
        self._make_rows(len(classes))
        for row, each in enumerate(classes):
            self._show_name(row, each)
        self.blockSignals(False)
        self._fit()

    # --- what tables of more columns use

    def _make_rows(self, number: int) -> None:
        there = self.rowCount()
        self.setRowCount(number)
        for row in range(there, number):
            for column, alignment in self.ALIGNMENTS.items():
                item = QTableWidgetItem()
                item.setTextAlignment(alignment)
                if column != NAME:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.setItem(row, column, item)
            self.setCellWidget(row, COLOR, self._color_cell(row))

    def _show_name(self, row: int, each: LandClass) -> None:
        name = self._set(row, NAME, each.name)
        name.setData(ID_ROLE, each.id)
        name.setToolTip(each.name)
        button = self._button(row)
        button.setObjectName(f"classColor{each.id}")
        told = self.tr("Colour of {}").format(each.name)
        button.setColorDialogTitle(told)
        button.setAccessibleName(told)
        button.blockSignals(True)
        button.setColor(QColor(each.color))
        button.blockSignals(False)

    def _set(self, row: int, column: int, words: str) -> QTableWidgetItem:
        item = self.item(row, column)
        if item.text() != words:
            item.setText(words)
        return item

    def _fit(self) -> None:
        """Be as high as the rows, within reason."""
        rows = min(max(self.rowCount(), FEWEST_ROWS), MOST_ROWS)
        header = self.horizontalHeader().sizeHint().height()
        height = header + rows * self.verticalHeader().defaultSectionSize()
        self.setFixedHeight(height + 2 * self.frameWidth() + SPARE_PX)

    def _button(self, row: int) -> QgsColorButton:
        return self.cellWidget(row, COLOR).findChild(QgsColorButton)

    def _id(self, row: int) -> int:
        return int(self.item(row, NAME).data(ID_ROLE) or 0)

    def _ids(self) -> List[int]:
        return [self._id(row) for row in range(self.rowCount())]

    # --- inside

    def _color_cell(self, row: int) -> QWidget:
        cell = QWidget(self)
        button = QgsColorButton(cell)
        button.setAllowOpacity(False)
        button.setShowMenu(False)
        button.setFixedSize(28, 20)
        button.colorChanged.connect(lambda color: self.recolored.emit(self._id(row), color.name()))
        layout = QHBoxLayout(cell)
        layout.setContentsMargins(3, 0, 3, 0)
        layout.addWidget(button, 0, Qt.AlignmentFlag.AlignCenter)
        return cell

    def _item_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == NAME:
            self.renamed.emit(self._id(item.row()), item.text())
