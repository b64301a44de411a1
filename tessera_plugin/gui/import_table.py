# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of each value of a source: the table of the import dialog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Sequence

from qgis.gui import QgsColorButton
from qgis.PyQt.QtCore import QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QComboBox, QHeaderView, QTableWidget, QTableWidgetItem

from ..values import LandClass
from . import letters, text
from .colors import color_for

if TYPE_CHECKING:
    from ..engine.label_mapping import Found, Target, ValueFacts

VALUE, LABELS, BECOMES, NAME, COLOR = range(5)
NEW, LEAVE_OUT = 0, -1
"""Data of the entries that are no class."""

MOST_VALUES = 200
"""More are no classes, and more rows than anybody reads."""

NO_CLASSES = {"nodata", "no data", "unclassified", "background", "none", "unknown"}

_HEIGHT_PX = 30


class ImportTable(QObject):
    """A row per value: its name and number, a class that is there, a new one, or nothing."""

    changed = pyqtSignal()

    def __init__(self, table: QTableWidget) -> None:
        super().__init__(table)
        self._table = table
        self._values: List[ValueFacts] = []
        self._chosen_colors: List[str] = []
        self._colors: Dict[int, str] = {}
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(VALUE, QHeaderView.ResizeMode.Stretch)
        for column, width in ((LABELS, 80), (BECOMES, 170), (NAME, 170), (COLOR, 70)):
            table.setColumnWidth(column, letters.scaled(table, width))
        table.verticalHeader().setDefaultSectionSize(_HEIGHT_PX)
        table.horizontalHeaderItem(LABELS).setTextAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        table.itemChanged.connect(self._edited)

    def clear(self) -> None:
        """Show nothing."""
        self._values, self._chosen_colors = [], []
        self._table.setRowCount(0)

    def show_found(self, found: Found, classes: Sequence[LandClass]) -> None:
        """Show the values that were found; a class of the same name is chosen for each."""
        self.clear()
        if len(found.values) > MOST_VALUES:
            return
        self._table.blockSignals(True)
        self._values = list(found.values)
        self._colors = {each.id: each.color for each in classes}
        self._table.setRowCount(len(self._values))
        used = {each.color.lower() for each in classes}
        used.update(each.color for each in self._values)
        for row, facts in enumerate(self._values):
            name = facts.name or facts.value
            color = facts.color or color_for(name, used)
            used.add(color)
            self._fill(row, facts, classes, color)
        self._table.blockSignals(False)

    def targets(self) -> Dict[str, Target]:
        """Return what becomes of each value."""
        from ..engine.label_mapping import Target  # noqa: PLC0415 - light plugin load

        found: Dict[str, Target] = {}
        for row, facts in enumerate(self._values):
            combo = self._combo(row)
            if combo.currentData() == LEAVE_OUT:
                found[facts.value] = Target()
            elif combo.currentData() == NEW:
                name = self._table.item(row, NAME).text().strip() or facts.value
                found[facts.value] = Target(0, name, self._chosen_colors[row])
            else:
                found[facts.value] = Target(combo.currentData(), combo.currentText())
        return found

    # --- inside

    def _fill(self, row: int, facts: ValueFacts, classes: Sequence[LandClass], color: str) -> None:
        told = facts.value if facts.name in ("", facts.value) else f"{facts.value}  {facts.name}"
        self._table.setItem(row, VALUE, _fixed(told))
        number = _fixed(text.count(facts.places))
        number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._table.setItem(row, LABELS, number)
        combo = QComboBox()
        combo.setObjectName(f"importBecomes{row}")
        combo.setAccessibleName(self.tr("What {} becomes").format(told))
        combo.addItem(self.tr("New class"), NEW)
        combo.addItem(self.tr("Leave out"), LEAVE_OUT)
        if classes:
            combo.insertSeparator(2)
        for each in classes:
            combo.addItem(each.name, each.id)
        button = QgsColorButton()
        button.setObjectName(f"importColor{row}")
        button.setColorDialogTitle(self.tr("Colour of the class"))
        button.setAccessibleName(self.tr("Colour of {}").format(told))
        button.setShowMenu(False)
        self._chosen_colors.append(color)
        self._table.setCellWidget(row, BECOMES, combo)
        self._table.setCellWidget(row, COLOR, button)
        self._table.setItem(row, NAME, QTableWidgetItem(facts.name or facts.value))
        self._choose(combo, facts, classes)
        self._dress(row)
        combo.currentIndexChanged.connect(lambda _, row=row: self._chosen(row))
        button.colorChanged.connect(lambda color, row=row: self._recolored(row, color))

    def _choose(self, combo: QComboBox, facts: ValueFacts, classes: Sequence[LandClass]) -> None:
        names = {facts.value.casefold(), facts.name.casefold()} - {""}
        same = [each.id for each in classes if each.name.casefold() in names]
        if same:
            combo.setCurrentIndex(combo.findData(same[0]))
        elif names & NO_CLASSES or not facts.places:
            combo.setCurrentIndex(combo.findData(LEAVE_OUT))

    def _chosen(self, row: int) -> None:
        self._table.blockSignals(True)
        self._dress(row)
        self._table.blockSignals(False)
        self.changed.emit()

    def _dress(self, row: int) -> None:
        """Name and colour are asked of new classes only."""
        is_new = self._combo(row).currentData() == NEW
        item = self._table.item(row, NAME)
        plain = Qt.ItemFlag.ItemIsEnabled if is_new else Qt.ItemFlag.NoItemFlags
        item.setFlags(plain | Qt.ItemFlag.ItemIsEditable if is_new else plain)
        if is_new and not item.text():
            item.setText(self._values[row].name or self._values[row].value)
        elif not is_new:
            item.setText("")
        button, known = self._button(row), self._colors.get(self._combo(row).currentData(), "")
        button.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, not is_new)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus if is_new else Qt.FocusPolicy.NoFocus)
        button.setToolTip("" if is_new else self.tr("The colour that the class has"))
        button.blockSignals(True)
        if is_new:
            _paint(button, self._chosen_colors[row])
        else:
            _paint(button, known)
        button.blockSignals(False)

    def _recolored(self, row: int, color: QColor) -> None:
        self._chosen_colors[row] = color.name()
        self.changed.emit()

    def _edited(self, item: QTableWidgetItem) -> None:
        if item.column() == NAME:
            self.changed.emit()

    def _combo(self, row: int) -> QComboBox:
        return self._table.cellWidget(row, BECOMES)

    def _button(self, row: int) -> QgsColorButton:
        return self._table.cellWidget(row, COLOR)


def _paint(button: QgsColorButton, color: str) -> None:
    if color:
        button.setColor(QColor(color))
    else:
        button.setToNull()


def _fixed(words: str) -> QTableWidgetItem:
    item = QTableWidgetItem(words)
    item.setFlags(Qt.ItemFlag.ItemIsEnabled)
    item.setToolTip(words)
    return item
