# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The confusion matrix in a narrow dock: with many classes, with large letters, by keys."""

import numpy as np
import pytest
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QApplication, QLineEdit, QWidget

from tessera_plugin.engine.accuracy import assess
from tessera_plugin.gui import letters
from tessera_plugin.gui.matrix import MatrixView
from tessera_plugin.values import LandClass

WIDE_PX = 330


def matrix_of(qtbot, count):
    """Return a table of so many classes, a little wrong, as wide as a dock leaves it."""
    classes = [LandClass(n, f"Class with a long name {n}", "#0000ff") for n in range(1, count + 1)]
    reference = np.repeat(np.arange(1, count + 1), 3)
    mapped = np.where(np.arange(3 * count) % 3, reference, reference % count + 1)
    view = MatrixView(None)
    qtbot.addWidget(view)
    view.resize(WIDE_PX, 600)
    view.show()
    view.show_accuracy(assess(reference, mapped, classes), classes, can_choose=True)
    QApplication.processEvents()
    return view, classes


@pytest.mark.parametrize("points", [0, 15])
@pytest.mark.parametrize("count", [6, 12])
def test_the_matrix_has_all_rows_and_f1_in_sight(qgis_app, qtbot, count, points):
    view, _ = matrix_of(qtbot, count)
    table = view.table
    if points:  # as large as QGIS's options let letters be
        view.setStyleSheet(f"QWidget {{ font-size: {points}pt }}")
        view.resize(letters.scaled(view, WIDE_PX), 600)  # as the dock
        view.hide()
        view.show()
        QApplication.processEvents()
    assert table.horizontalScrollBar().isVisible() == (count == 12)
    seen = table.viewport().rect()
    assert all(seen.contains(table.visualItemRect(table.item(row, count))) for row in range(count))
    assert table.verticalScrollBar().maximum() == 0
    order = [table.horizontalHeader().logicalIndex(place) for place in range(count + 1)]
    assert order == [count, *range(count)]
    names = table.verticalHeader()
    wide = table.fontMetrics().averageCharWidth()
    assert names.width() > 12 * wide
    assert names.textElideMode() == Qt.TextElideMode.ElideRight


def test_the_matrix_is_filled_again_with_more_classes(qgis_app, qtbot):
    view, _ = matrix_of(qtbot, 3)
    _, classes = matrix_of(qtbot, 5)
    numbers = np.arange(1, 6)
    view.show_accuracy(assess(numbers, numbers, classes), classes)
    header = view.table.horizontalHeader()
    assert [header.logicalIndex(place) for place in range(6)] == [5, 0, 1, 2, 3, 4]


def test_cells_of_the_matrix_are_pressed_by_keys(qgis_app, qtbot):
    view, _ = matrix_of(qtbot, 4)
    table, chosen, cleared = view.table, [], []
    table.chosen.connect(lambda *ids: chosen.append(ids))
    table.cleared.connect(lambda: cleared.append(True))
    before = QLineEdit(view)
    view.layout().insertWidget(0, before)
    before.show()
    QWidget.setTabOrder(before, table)
    before.setFocus()
    qtbot.keyClick(before, Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is table
    table.setCurrentCell(0, 0)
    plain = table.viewport().grab(table.visualItemRect(table.item(1, 1))).toImage()
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Down):
        qtbot.keyClick(table, key)
    assert (table.currentRow(), table.currentColumn()) == (1, 1)
    framed = table.viewport().grab(table.visualItemRect(table.item(1, 1))).toImage()
    assert framed != plain
    assert framed.pixelColor(6, 6) == plain.pixelColor(6, 6)  # and it keeps its colour
    qtbot.keyClick(table, Qt.Key.Key_Space)
    assert chosen == [(2, 2)]
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert cleared == [True]
    qtbot.keyClick(table, Qt.Key.Key_Left)
    qtbot.keyClick(table, Qt.Key.Key_Left)  # F1 is at the left of the first class
    assert table.currentColumn() == 4
    qtbot.keyClick(table, Qt.Key.Key_Return)  # no count: nothing to show
    assert chosen == [(2, 2)]
    qtbot.keyClick(table, Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is not table
