# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hectares per class of maps, as a table to look at, to copy and to save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence, Tuple

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..errors import TesseraError
from ..tasks import map_jobs
from . import text
from .matrix import SPARE_PX, swatch

if TYPE_CHECKING:
    from ..engine.classify import ClassCount, ClassifyResult

MOST_COLUMNS = 4
"""So many years have room in the dock; of more the table scrolls."""


class AreaTable(QWidget):
    """One map: hectares, and their share or those of the cleaned copy; several years: hectares of each."""

    failed = pyqtSignal(object)
    """Why the table could not be saved."""
    saved = pyqtSignal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("areas")
        self._results: Tuple[ClassifyResult, ...] = ()
        self._beside = ""
        self._table = _table(self)
        words = QLabel(self.tr("Hectares are counted pixels, not an estimate of area."), self)
        words.setObjectName("areaWords")
        words.setWordWrap(True)
        words.setToolTip(
            self.tr(
                "A map's errors don't cancel out, so counted pixels are biased. An estimate with a "
                "confidence interval needs a sample of places that somebody has looked at."
            )
        )
        copy = QPushButton(self.tr("Copy"), self)
        copy.setObjectName("copyAreasButton")
        copy.setToolTip(self.tr("Copy the table, for a spreadsheet"))
        copy.clicked.connect(self._copy)
        save = QPushButton(self.tr("Save table…"), self)
        save.setObjectName("saveAreasButton")
        save.setToolTip(self.tr("Save classes, pixels and hectares as a CSV file"))
        save.clicked.connect(self._save)
        row = QHBoxLayout()
        row.addWidget(copy)
        row.addWidget(save)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        layout.addWidget(words)
        layout.addLayout(row)
        self.hide()

    def show_results(self, results: Sequence[ClassifyResult], out: str) -> None:
        """Show maps that were to be written to a file, in the order of their years."""
        self._results = tuple(sorted(results, key=lambda each: each.year))
        self._beside = map_jobs.areas_path(out)
        if not self._results:
            self.hide()
            return
        first = self._results[0]
        heads, columns = self._columns(first)
        self._table.setColumnCount(1 + len(heads))
        self._table.setHorizontalHeaderLabels([self.tr("Class"), *heads])
        self._table.setRowCount(len(first.classes))
        for row, each in enumerate(first.classes):
            name = QTableWidgetItem(swatch(each.color), each.name)
            name.setToolTip(each.name)
            self._table.setItem(row, 0, name)
            for column, values in enumerate(columns, 1):
                item = QTableWidgetItem(values[row])
                item.setTextAlignment(_RIGHT)
                self._table.setItem(row, column, item)
        _fit(self._table)
        self.show()

    # --- inside

    def _columns(self, first: ClassifyResult) -> Tuple[List[str], List[List[str]]]:
        """Return the heads of the columns and what is in them."""
        if len(self._results) > 1:
            heads = [self.tr("{} (ha)").format(each.year) for each in self._results]
            return heads, [_hectares(each.classes) for each in self._results]
        if first.clean_classes:
            heads = [self.tr("Hectares"), self.tr("Cleaned (ha)")]
            return heads, [_hectares(first.classes), _hectares(first.clean_classes)]
        total = sum(each.pixels for each in first.classes) or 1
        shares = [text.percent(each.pixels / total, 1) for each in first.classes]
        return [self.tr("Hectares"), self.tr("Share")], [_hectares(first.classes), shares]

    def _copy(self) -> None:
        QApplication.clipboard().setText(map_jobs.areas_text(self._results))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, self.tr("Save the table"), self._beside, self.tr("CSV (*.csv)")
        )
        if not path:
            return
        path = path if Path(path).suffix else f"{path}.csv"
        try:
            map_jobs.save_areas(path, self._results)
        except TesseraError as error:
            self.failed.emit(error)
        else:
            self.saved.emit(path)


_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


def _hectares(classes: Sequence[ClassCount]) -> List[str]:
    return [text.decimal(each.hectares, 1) for each in classes]


def _table(parent: QWidget) -> QTableWidget:
    table = QTableWidget(parent)
    table.setObjectName("areaTable")
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return table


def _fit(table: QTableWidget) -> None:
    """Give all rows room, and the classes what the columns leave."""
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    is_wide = table.columnCount() > 1 + MOST_COLUMNS
    if not is_wide:
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
    height = header.sizeHint().height() + table.verticalHeader().length()
    bar = table.horizontalScrollBar().sizeHint().height() if is_wide else 0
    table.setFixedHeight(height + SPARE_PX + bar)
