# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A confusion matrix that fits into a dock: swatches and upright names over narrow columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QModelIndex, QRect, QSize, Qt, pyqtSignal
from qgis.PyQt.QtGui import (
    QColor,
    QFont,
    QFontInfo,
    QFontMetrics,
    QIcon,
    QPainter,
    QPalette,
    QPen,
    QPixmap,
    QShowEvent,
)
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFrame,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QStyle,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..values import LandClass
from . import letters, text
from .cell_keys import CellKeys, FramedCells

if TYPE_CHECKING:
    from ..engine.accuracy import Accuracy

SWATCH_PX = 12
NAME_PX = 96
"""Longest an upright name may be before it is cut, with usual letters."""

ROW_NAME_PX = 120
COLUMN_PX = 22
"""So narrow columns may get before the table scrolls, with usual letters."""

SPARE_PX = 6
"""Some themes put a little between frame and rows."""

NO_PIXELS = "·"

RIGHT, WRONG = QColor("#3f9a4b"), QColor("#d64545")


def swatch(color: str, size_px: int = SWATCH_PX) -> QIcon:
    """Return a small square in a class's colour."""
    pixmap = QPixmap(size_px, size_px)
    pixmap.fill(QColor(color))
    painter = QPainter(pixmap)
    painter.setPen(QColor(128, 128, 128))
    painter.drawRect(0, 0, size_px - 1, size_px - 1)
    painter.end()
    return QIcon(pixmap)


class UprightHeader(QHeaderView):
    """Column names that stand upright, with their swatches beneath."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setSectionsClickable(False)

    def sizeHint(self) -> QSize:
        names = [
            str(self._data(index, Qt.ItemDataRole.DisplayRole) or "")
            for index in range(self.count())
        ]
        longest = max((self.fontMetrics().horizontalAdvance(name) for name in names), default=0)
        return QSize(
            super().sizeHint().width(), min(longest, letters.scaled(self, NAME_PX)) + SWATCH_PX + 16
        )

    def paintSection(self, painter: QPainter, rect: QRect, index: int) -> None:
        painter.save()
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        icon = self._data(index, Qt.ItemDataRole.DecorationRole)
        bottom = rect.bottom() - 4
        if isinstance(icon, QIcon):
            left = rect.center().x() - SWATCH_PX // 2
            icon.paint(painter, left, bottom - SWATCH_PX, SWATCH_PX, SWATCH_PX)
        bottom -= SWATCH_PX + 5
        name = str(self._data(index, Qt.ItemDataRole.DisplayRole) or "")
        room = bottom - rect.top() - 2
        name = self.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, room)
        painter.translate(rect.center().x(), bottom)
        painter.rotate(-90)
        half = self.fontMetrics().height() // 2
        painter.drawText(QRect(0, -half, room, 2 * half), Qt.AlignmentFlag.AlignVCenter, name)
        painter.restore()

    def _data(self, index: int, role: int) -> object:
        return self.model().headerData(index, Qt.Orientation.Horizontal, role)


class CellDelegate(FramedCells):
    """Numbers that use the whole width of narrow cells; a frame around the cell that is chosen."""

    cell: Optional[Tuple[int, int]] = None

    def paint(
        self, painter: Optional[QPainter], option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        if painter is None:
            return
        plain = QStyleOptionViewItem(option)
        self.initStyleOption(plain, index)
        told, plain.text = plain.text, ""
        style = plain.widget.style() if plain.widget is not None else QApplication.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, plain, painter, plain.widget)
        painter.save()
        painter.setPen(plain.palette.color(QPalette.ColorRole.Text))
        painter.setFont(_fitting(plain.font, told, plain.rect.width() - 2))
        painter.drawText(plain.rect, Qt.AlignmentFlag.AlignCenter, told)
        if self.cell == (index.row(), index.column()):
            painter.setPen(QPen(plain.palette.color(QPalette.ColorRole.WindowText), 2))
            painter.drawRect(plain.rect.adjusted(1, 1, -1, -1))
        painter.restore()
        self.draw_frame(painter, option)


def _fitting(font: QFont, words: str, width_px: int) -> QFont:
    """Return a font in which the words are no wider, down to half the size."""
    wide = QFontMetrics(font).horizontalAdvance(words)
    if wide <= width_px:
        return font
    small = QFont(font)
    small.setPixelSize(max(round(QFontInfo(font).pixelSize() * max(width_px / wide, 0.5)), 1))
    return small


class MatrixTable(QTableWidget):
    """Rows are the reference, columns what was mapped.

    The last column, the F1 of the row, is shown first: many classes don't push it out of sight.
    """

    chosen = pyqtSignal(int, int)
    """A cell was clicked: ids of the reference class and of the mapped one."""
    cleared = pyqtSignal()
    """The cell that was chosen was clicked again."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.can_choose = False
        """Whether clicks on cells mean something."""
        self._ids: Sequence[int] = ()
        self._frame = CellDelegate(self)
        self.setItemDelegate(self._frame)
        self.cellClicked.connect(self._clicked)
        self.setObjectName("accuracyTable")
        self.setHorizontalHeader(UprightHeader(self))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAccessibleName(self.tr("Confusion matrix"))
        self._keys = CellKeys(self)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.horizontalScrollBar().rangeChanged.connect(lambda *_: self._fit_height())
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)

    def show_accuracy(self, accuracy: Accuracy, classes: Sequence[LandClass]) -> None:
        """Fill it."""
        known = {each.id: each for each in classes}
        shown = [
            known.get(number, LandClass(number, str(number), "#808080"))
            for number in accuracy.class_ids
        ]
        self.clear()
        self.setColumnCount(0)  # else columns keep the places that they were moved to
        self._ids, self._frame.cell = accuracy.class_ids, None
        self.setRowCount(len(shown))
        self.setColumnCount(len(shown) + 1)
        for index, each in enumerate(shown):
            self.setVerticalHeaderItem(index, self._header(each, self.tr("Reference: {}")))
            self.setHorizontalHeaderItem(index, self._header(each, self.tr("Mapped as: {}")))
            self._fill_row(index, accuracy, shown)
        last = QTableWidgetItem(self.tr("F1"))
        last.setToolTip(self.tr("Mean of precision and recall: 100 % is perfect"))
        self.setHorizontalHeaderItem(len(shown), last)
        self._fit()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        super().showEvent(event)
        self._fit()  # only what is seen knows its letters

    def forget(self) -> None:
        """Let no cell be chosen."""
        self._frame.cell = None
        self.viewport().update()

    def _clicked(self, row: int, column: int) -> None:
        item = self.item(row, column)
        is_count = column < len(self._ids) and item is not None and item.text() != NO_PIXELS
        if not self.can_choose or not is_count:
            return
        if self._frame.cell == (row, column):
            self.forget()
            self.cleared.emit()
            return
        self._frame.cell = (row, column)
        self.viewport().update()
        self.chosen.emit(self._ids[row], self._ids[column])

    def _fill_row(self, row: int, accuracy: Accuracy, shown: Sequence[LandClass]) -> None:
        counts = accuracy.matrix[row]
        total = sum(counts)
        for column, number in enumerate(counts):
            item = QTableWidgetItem(text.count(number) if number else NO_PIXELS)
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            if number:
                color = QColor(RIGHT if row == column else WRONG)
                color.setAlpha(round(40 + 150 * number / total))
                item.setBackground(color)
            told = text.counted(
                number,
                self.tr("{} test pixel of {} was mapped as {}"),
                self.tr("{} test pixels of {} were mapped as {}"),
                shown[row].name,
                shown[column].name,
            )
            if number and self.can_choose:
                told = self.tr("{}. Click to see the labels.").format(told)
            item.setToolTip(told)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, told)
            self.setItem(row, column, item)
        item = QTableWidgetItem(text.percent(accuracy.f1[row]))
        item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
        item.setToolTip(
            self.tr("{}: precision {}, recall {}").format(
                shown[row].name,
                text.percent(accuracy.precision[row]),
                text.percent(accuracy.recall[row]),
            )
        )
        item.setFont(self._bold())
        self.setItem(row, len(counts), item)

    def _bold(self) -> QFont:
        font = QFont(self.font())
        font.setBold(True)
        return font

    def _header(self, land_class: LandClass, tip: str) -> QTableWidgetItem:
        item = QTableWidgetItem(swatch(land_class.color), land_class.name)
        item.setToolTip(tip.format(land_class.name))
        return item

    def _fit(self) -> None:
        """Be as high as all rows; share the width among the classes."""
        header, metrics = self.horizontalHeader(), QFontMetrics(self._bold())
        last = self.columnCount() - 1
        if last < 0:
            return
        header.setMinimumSectionSize(letters.scaled(self, COLUMN_PX))
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(last, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(last, metrics.horizontalAdvance(text.percent(1.0)) + 12)
        header.moveSection(header.visualIndex(last), 0)
        header.setFixedHeight(header.sizeHint().height())
        self.verticalHeader().setMaximumWidth(letters.scaled(self, ROW_NAME_PX))
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self._fit_height()

    def _fit_height(self) -> None:
        """Have room for all rows, and for the bar where the columns scroll."""
        bar = self.horizontalScrollBar()
        bar_px = bar.sizeHint().height() if bar.maximum() > bar.minimum() else 0
        rows_px = self.horizontalHeader().height() + self.verticalHeader().length()
        self.setFixedHeight(rows_px + SPARE_PX + bar_px)


class MatrixView(QWidget):
    """The matrix with captions that say what is a row and what a column."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.table = MatrixTable(self)
        self._caption = caption = QLabel(self)
        caption.setObjectName("matrixCaption")
        caption.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(caption)
        layout.addWidget(self.table)

    def show_accuracy(
        self,
        accuracy: Optional[Accuracy],
        classes: Sequence[LandClass],
        *,
        can_choose: bool = False,
    ) -> None:
        """Fill it, or hide it where there is nothing to show.

        `can_choose`: whether a click on a cell means something.
        """
        self.setVisible(accuracy is not None)
        self.table.can_choose = can_choose
        told = self.tr("Rows: reference (your labels). Columns: as mapped. Test pixels.")
        if can_choose:
            told = text.join((told, self.tr("Click a number to see its labels on the map.")))
        self._caption.setText(told)
        if accuracy is not None:
            self.table.show_accuracy(accuracy, classes)
