# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of heads: a row each, in an order that the person chooses."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Tuple

from qgis.PyQt.QtCore import QCoreApplication, QModelIndex, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QBrush, QColor, QPalette
from qgis.PyQt.QtWidgets import (
    QAction,
    QActionGroup,
    QHeaderView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
)

from ..tasks.session import Session
from . import head_words
from .matrix import SPARE_PX

if TYPE_CHECKING:
    from ..engine.head_library import ListedHead

MOST_ROWS = 6
"""So many heads are seen at once; of more, the list scrolls."""

ROW_SPARE_PX = 5
"""Between the rows, whatever the theme."""

LINE_END = "\u2028"
"""What Qt makes of a line break where it draws an entry."""

FAINT = 0.6
"""How much of the colour of text is left where an entry is of less interest."""

NEWEST, NAME, ACCURACY, LABELS, YEAR = "newest", "name", "accuracy", "labels", "year"
BY_COLUMN = (NAME, ACCURACY)
"""What a click on a column's heading sorts by."""

Listed = Tuple["ListedHead", ...]


class HeadsList(QObject):
    """Fills the tree of heads and keeps its order.

    Heads of the dataset of the Area page come first, then those of others, which a map of this
    place can't be made with; last, files that can't be used.
    """

    marked_changed = pyqtSignal()
    order_changed = pyqtSignal(str)

    def __init__(self, tree: QTreeWidget, session: Session, order: str) -> None:
        super().__init__(tree)
        self._tree, self._session = tree, session
        self._heads: Listed = ()
        self._order = order
        self._used = ""
        header = tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(30)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionsClickable(True)
        header.sectionClicked.connect(self._heading_clicked)
        self._lines = _Lines(tree)
        tree.setItemDelegate(self._lines)
        for column in range(len(BY_COLUMN)):
            told = tr("Click to sort by this; click again for the newest first")
            tree.headerItem().setToolTip(column, told)
        tree.itemSelectionChanged.connect(self.marked_changed)
        self._actions: Dict[str, QAction] = {}

    # --- what is listed

    @property
    def heads(self) -> Listed:
        """All heads, as they are shown."""
        return self._heads

    def show(self, heads: Listed) -> None:
        """Show heads; those that were marked stay so."""
        marked = {each.path for each in self.marked()}
        self._heads = tuple(sorted(heads, key=self._key()))
        tree = self._tree
        tree.blockSignals(True)
        tree.clear()
        for each in self._heads:
            item = self._item(each)
            tree.addTopLevelItem(item)
            item.setSelected(each.path in marked)
        tree.blockSignals(False)
        tree.setVisible(bool(heads))
        rows = min(len(heads), MOST_ROWS)
        lines = sum(tree.topLevelItem(row).text(0).count("\n") + 1 for row in range(rows))
        rows_px = lines * tree.fontMetrics().lineSpacing() + rows * ROW_SPARE_PX
        tree.setFixedHeight(tree.header().sizeHint().height() + rows_px + SPARE_PX)
        self._show_used()
        self._show_order()

    def marked(self) -> List[ListedHead]:
        """Return the heads that are marked, in the order of the list."""
        paths = [item.data(0, Qt.ItemDataRole.UserRole) for item in self._tree.selectedItems()]
        return [each for each in self._heads if each.path in paths]

    def is_used(self, each: ListedHead) -> bool:
        """Whether a head is the one in use."""
        used = self._session.settings.head_path
        return bool(used) and Path(used) == Path(each.path)

    # --- its order

    def menu(self, parent: QMenu) -> QMenu:
        """Return a menu of the orders, for a menu."""
        menu, group = QMenu(tr("Sort by"), parent), QActionGroup(self)
        menu.setObjectName("sortHeadsMenu")
        for order, words in _orders().items():
            action = self._actions[order] = QAction(words, menu)
            action.setObjectName(f"sortHeadsBy{order.capitalize()}")
            action.setCheckable(True)
            action.triggered.connect(lambda _=False, order=order: self.sort(order))
            group.addAction(action)
            menu.addAction(action)
        self._show_order()
        return menu

    def sort(self, order: str) -> None:
        """Show the heads in another order."""
        if order != self._order:
            self._order = order
            self.show(self._heads)
            self.order_changed.emit(order)

    # --- inside

    def _heading_clicked(self, column: int) -> None:
        order = BY_COLUMN[column]
        self.sort(NEWEST if order == self._order else order)

    def _key(self) -> Callable[[ListedHead], Tuple[int, object]]:
        """Return what heads are sorted by; of equals the newest comes first."""
        dataset, keys = self._session.dataset.key, _keys()
        by = keys.get(self._order, keys[NEWEST])

        def key(each: ListedHead) -> Tuple[int, object]:
            if each.head is None:
                return 2, -each.made_s
            return int(each.head.dataset != dataset), (by(each), -each.made_s)

        return key

    def _show_used(self) -> None:
        """Bring the head in use into sight when it becomes so; else the list stays where it is."""
        used = self._session.settings.head_path
        if used == self._used:
            return
        for row, each in enumerate(self._heads):
            if self.is_used(each):
                self._used = used
                self._tree.scrollToItem(self._tree.topLevelItem(row))

    def _show_order(self) -> None:
        header = self._tree.header()
        header.setSortIndicatorShown(self._order in BY_COLUMN)
        if self._order in BY_COLUMN:
            is_up = self._order == NAME
            direction = Qt.SortOrder.AscendingOrder if is_up else Qt.SortOrder.DescendingOrder
            header.setSortIndicator(BY_COLUMN.index(self._order), direction)
        for order, action in self._actions.items():
            action.setChecked(order == self._order)

    def _item(self, each: ListedHead) -> QTreeWidgetItem:
        head, is_used = each.head, self.is_used(each)
        is_other = head is not None and head.dataset != self._session.dataset.key
        lines = [head_words.title(each), head_words.line(each)]
        if head is not None and is_other:
            lines.append(head_words.other_dataset(head, self._session))
        tested = (head_words.short_accuracy(head), head_words.short_test(head)) if head else ()
        item = QTreeWidgetItem(["\n".join(lines), "\n".join(tested)])
        item.setData(0, Qt.ItemDataRole.UserRole, each.path)
        told = _told(each, self._session, is_used=is_used)
        faint = _faint(self._tree.palette())
        for column in range(2):
            item.setToolTip(column, told)
            item.setTextAlignment(column, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            font = item.font(column)
            font.setBold(is_used)
            item.setFont(column, font)
            if head is None or is_other:
                item.setForeground(column, faint)
        return item


def _told(each: ListedHead, session: Session, *, is_used: bool) -> str:
    """Return all that is known of a head, for a tool tip. Its name may be anybody's: no markup."""
    facts = [(tr("Name"), head_words.title(each)), *head_words.facts(each, session)]
    lines = [f"{caption}: {value}" for caption, value in facts if value]
    first = [tr("In use")] if is_used else []
    return "<qt>" + "<br>".join(escape(line) for line in (*first, *lines, each.path)) + "</qt>"


def _faint(palette: QPalette) -> QBrush:
    """Return the colour of text, nearer to that of the ground."""
    roles = QPalette.ColorRole.Text, QPalette.ColorRole.Base
    text, ground = (palette.color(role).getRgb() for role in roles)
    mixed = (round(FAINT * a + (1 - FAINT) * b) for a, b in zip(text, ground))
    return QBrush(QColor(*mixed))


class _Lines(QStyledItemDelegate):
    """Cuts what does not fit line by line: names in their middle, as they often differ at the end."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Prepare an entry to be drawn."""
        super().initStyleOption(option, index)
        style, role = option.widget.style(), QStyle.PixelMetric.PM_FocusFrameHMargin
        width = option.rect.width() - 2 * (style.pixelMetric(role, option, option.widget) + 1)
        if width <= 0:  # it is only measured
            return
        name, *others = option.text.split(LINE_END)
        cut = option.fontMetrics.elidedText
        lines = [cut(name, Qt.TextElideMode.ElideMiddle, width)]
        lines += [cut(each, Qt.TextElideMode.ElideRight, width) for each in others]
        option.text = LINE_END.join(lines)


def tr(words: str) -> str:
    """Return words in the person's language."""
    return str(QCoreApplication.translate("HeadsPanel", words))


def _orders() -> Mapping[str, str]:
    """Return the orders there are, and what they are called."""
    return {
        NEWEST: tr("Newest first"),
        NAME: tr("Name"),
        ACCURACY: tr("Accuracy"),
        LABELS: tr("Number of labels"),
        YEAR: tr("Latest year"),
    }


def _natural(words: str) -> List[object]:
    """Return what names are sorted by: `Fields 2` before `Fields 10`, and case does not matter."""
    parts = re.split(r"([0-9]+)", words.casefold())
    return [int(each) if at % 2 else each for at, each in enumerate(parts)]


def _keys() -> Mapping[str, Callable[[ListedHead], object]]:
    """Return by what each order sorts, ascending."""
    return {
        NEWEST: lambda _: 0,
        NAME: lambda each: _natural(head_words.title(each)),
        ACCURACY: lambda each: -head_words.share(each),
        LABELS: lambda each: -each.labels,
        YEAR: lambda each: -max(each.head.years, default=0) if each.head is not None else 0,
    }
