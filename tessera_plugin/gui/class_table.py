# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of classes: key, colour, name and how many labels; its selected row is the active one."""

from __future__ import annotations

from typing import List, Mapping, Sequence

from qgis.gui import QgsColorButton
from qgis.PyQt.QtCore import QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QFont
from qgis.PyQt.QtWidgets import QHBoxLayout, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from ..values import LandClass
from . import text

KEY, COLOR, NAME, LABELS = range(4)
ID_ROLE = Qt.ItemDataRole.UserRole

LAST_KEY = 9
FEWEST_ROWS, MOST_ROWS = 4, 10
SPARE_PX = 4
"""Some themes put a little between frame and rows."""


class ClassTable(QObject):
    """Fills the table and tells what the person does with it."""

    chosen = pyqtSignal(int)
    """A class was selected, by its id."""
    renamed = pyqtSignal(int, str)
    recolored = pyqtSignal(int, str)

    def __init__(self, table: QTableWidget) -> None:
        super().__init__(table)
        self._table = table
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 12)
        table.itemSelectionChanged.connect(self._selected)
        table.itemChanged.connect(self._changed)

    def show_classes(
        self, classes: Sequence[LandClass], counts: Mapping[int, int], active: int
    ) -> None:
        """Show the classes as they are; rows are made anew only where they are other classes."""
        self._table.blockSignals(True)
        if self._ids() != [each.id for each in classes]:
            self._table.setRowCount(0)
            self._table.setRowCount(len(classes))
            for row, each in enumerate(classes):
                self._make_row(row, each)
        for row, each in enumerate(classes):
            self._table.item(row, NAME).setText(each.name)
            self._table.item(row, LABELS).setText(text.count(counts.get(each.id, 0)))
            button = self._table.cellWidget(row, COLOR).findChild(QgsColorButton)
            button.blockSignals(True)
            button.setColor(QColor(each.color))
            button.blockSignals(False)
        self._table.blockSignals(False)
        self._fit()
        self.choose(active)

    def _fit(self) -> None:
        """Be as high as the rows, within reason."""
        rows = min(max(self._table.rowCount(), FEWEST_ROWS), MOST_ROWS)
        header = self._table.horizontalHeader().sizeHint().height()
        height = header + rows * self._table.verticalHeader().defaultSectionSize()
        self._table.setFixedHeight(height + 2 * self._table.frameWidth() + SPARE_PX)

    def choose(self, class_id: int) -> None:
        """Select a class without telling."""
        self._table.blockSignals(True)
        ids = self._ids()
        if class_id in ids:
            self._table.selectRow(ids.index(class_id))
        else:
            self._table.clearSelection()
        for row, each in enumerate(ids):
            for column in (KEY, NAME, LABELS):
                item = self._table.item(row, column)
                font = QFont(self._table.font())
                font.setBold(each == class_id)
                item.setFont(font)
        self._table.blockSignals(False)

    def _make_row(self, row: int, land_class: LandClass) -> None:
        key = str(row + 1) if row < LAST_KEY else ""
        alignments = {
            KEY: Qt.AlignmentFlag.AlignCenter,
            COLOR: Qt.AlignmentFlag.AlignCenter,
            NAME: Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
            LABELS: Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
        }
        for column, alignment in alignments.items():
            item = QTableWidgetItem(key if column == KEY else "")
            item.setTextAlignment(alignment)
            item.setData(ID_ROLE, land_class.id)
            if column != NAME:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self._table.setItem(row, column, item)
        self._table.setCellWidget(row, COLOR, self._color_cell(land_class))

    def _color_cell(self, land_class: LandClass) -> QWidget:
        cell = QWidget(self._table)
        button = QgsColorButton(cell, self.tr("Colour of {}").format(land_class.name))
        button.setObjectName(f"classColor{land_class.id}")
        button.setAllowOpacity(False)
        button.setShowMenu(False)
        button.setFixedSize(30, 20)
        button.setColor(QColor(land_class.color))
        number = land_class.id
        button.colorChanged.connect(lambda color: self.recolored.emit(number, color.name()))
        layout = QHBoxLayout(cell)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.addWidget(button, 0, Qt.AlignmentFlag.AlignCenter)
        return cell

    def _ids(self) -> List[int]:
        rows = range(self._table.rowCount())
        return [int(self._table.item(row, NAME).data(ID_ROLE)) for row in rows]

    def _selected(self) -> None:
        rows = self._table.selectionModel().selectedRows(NAME)
        if rows:
            self.chosen.emit(int(rows[0].data(ID_ROLE)))

    def _changed(self, item: QTableWidgetItem) -> None:
        if item.column() == NAME:
            self.renamed.emit(int(item.data(ID_ROLE)), item.text())
