# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A button for every class: key, swatch and name, as much of the name as there is room for."""

from __future__ import annotations

from typing import List, Optional, Sequence

from qgis.PyQt.QtCore import QRect, Qt, pyqtSignal
from qgis.PyQt.QtGui import QIcon, QPaintEvent, QResizeEvent
from qgis.PyQt.QtWidgets import (
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QWidget,
)

from ..values import LandClass
from . import letters
from .matrix import swatch

KEYS = 9
"""So many classes have a key of their own."""

COLUMNS = 2
SPACING_PX = 4
LEAST_PX = 80
"""Swatch, key and a few letters of the name."""


class AnswerButton(QPushButton):
    """Written from the left; a name too long for it ends with “…”, and is whole in the tool tip."""

    def __init__(self, icon: QIcon, words: str, parent: QWidget) -> None:
        super().__init__(icon, words.replace("&", "&&"), parent)  # else it marks a letter
        self._words = words
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(letters.scaled(self, LEAST_PX))

    def is_cut_at(self, width_px: int) -> bool:
        """Whether a button of a width has too little room for the words."""
        return self._needed_px() > self._room(QRect(0, 0, width_px, self.height())).width()

    def shown_words(self) -> str:
        """Return as much of the words as there is room for."""
        room = self._room(self.rect()).width() - self._beside_px()
        return self.fontMetrics().elidedText(self._words, Qt.TextElideMode.ElideRight, room)

    def paintEvent(self, _: Optional[QPaintEvent]) -> None:
        """Draw it as the style does, which centres icon and text in what it is given: at the left."""
        painter, option = QStylePainter(self), QStyleOptionButton()
        self.initStyleOption(option)
        painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)
        words, room = self.shown_words(), self._room(self.rect())
        wide = self._beside_px() + self.fontMetrics().horizontalAdvance(words)
        taken = QRect(room.left(), room.top(), min(wide, room.width()), room.height())
        option.rect = QStyle.visualRect(self.layoutDirection(), room, taken)
        option.text = words.replace("&", "&&")
        painter.drawControl(QStyle.ControlElement.CE_PushButtonLabel, option)
        if self.hasFocus():
            option.rect = self.style().subElementRect(
                QStyle.SubElement.SE_PushButtonFocusRect, option, self
            )
            painter.drawPrimitive(QStyle.PrimitiveElement.PE_FrameFocusRect, option)

    def _needed_px(self) -> int:
        # widths are rounded: one pixel more, or it may be cut all the same
        return self._beside_px() + int(self.fontMetrics().horizontalAdvance(self._words)) + 1

    def _beside_px(self) -> int:
        """Return the width of what is there besides the words."""
        spare = 2 * SPACING_PX
        return spare if self.icon().isNull() else spare + self.iconSize().width() + SPACING_PX

    def _room(self, rect: QRect) -> QRect:
        """Return where a button of a size has its contents."""
        option = QStyleOptionButton()
        self.initStyleOption(option)
        option.rect = rect
        inside = self.style().subElementRect(QStyle.SubElement.SE_PushButtonContents, option, self)
        return QRect(inside)


class Answers(QWidget):
    """What the person may answer: buttons side by side, those with long names in rows of their own."""

    answered = pyqtSignal(int)
    """The id of a class."""
    skipped = pyqtSignal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("nextAnswers")
        self.buttons: List[AnswerButton] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(SPACING_PX)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)
        self.hide()

    def offer(self, classes: Sequence[LandClass]) -> None:
        """Offer classes, the first ones by keys 1 to 9, and to skip the place."""
        self.withdraw()
        for number, each in enumerate(classes, 1):
            key = f"{number}  " if number <= KEYS else " "
            button = self._add(f"answer{each.id}", f"{key}{each.name}", swatch(each.color))
            button.setToolTip(self.tr("Label it as “{}”").format(each.name))
            button.clicked.connect(lambda _, class_id=each.id: self.answered.emit(class_id))
        skip = self._add("answerSkip", self.tr("N  I can't tell: skip"), QIcon())
        skip.setToolTip(self.tr("Go to the next place; this one is not suggested again"))
        skip.clicked.connect(lambda _: self.skipped.emit())
        self._arrange()
        self.show()

    def withdraw(self) -> None:
        """Offer nothing."""
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.setParent(None)  # nobody is to find it any more
            button.deleteLater()
        self.buttons = []
        self.hide()

    def resizeEvent(self, event: Optional[QResizeEvent]) -> None:
        super().resizeEvent(event)
        self._arrange()

    def _add(self, name: str, words: str, icon: QIcon) -> AnswerButton:
        button = AnswerButton(icon, words, self)
        button.setObjectName(name)
        self.buttons.append(button)
        return button

    def _arrange(self) -> None:
        """Put them in their order, as many in a row as have room for their names."""
        column_px = (self.width() - (COLUMNS - 1) * SPACING_PX) // COLUMNS
        row = column = 0
        for button in self.buttons:
            taken = COLUMNS if button.is_cut_at(column_px) else 1
            if column + taken > COLUMNS:
                row, column = row + 1, 0
            self._grid.addWidget(button, row, column, 1, taken)  # from where it was
            column += taken
