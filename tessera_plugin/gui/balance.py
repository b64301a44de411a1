# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How the labels are spread over the classes, to be seen at a glance: a bar under each count.

A head learns badly what it has seen seldom, so a class far behind the others is drawn in amber.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Dict, Mapping, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication, QModelIndex, QRectF, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPalette
from qgis.PyQt.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from ..values import LandClass
from . import text

BEHIND = 3
"""A class with less than one of so many labels of the others is behind."""

BAR_PX = 4
MARGIN_PX = 4
AMBER = QColor("#e69f00")

SHARE_ROLE = int(Qt.ItemDataRole.UserRole) + 1
BEHIND_ROLE = int(Qt.ItemDataRole.UserRole) + 2


@dataclass(frozen=True)
class Balance:
    """A class beside the others."""

    count: int
    share: float
    """Of the labels of the class with most, 0 to 1."""
    others: int
    """Labels that the other classes have, the median."""
    is_behind: bool


def balance(class_ids: Sequence[int], counts: Mapping[int, int]) -> Dict[int, Balance]:
    """Return how each class stands."""
    numbers = {each: counts.get(each, 0) for each in class_ids}
    most = max(numbers.values(), default=0)
    result = {}
    for each, count in numbers.items():
        others = [number for key, number in numbers.items() if key != each]
        middle = median(others) if others else 0
        share = count / most if most else 0.0
        result[each] = Balance(count, share, round(middle), count * BEHIND < middle)
    return result


def most_behind(classes: Sequence[LandClass], stand: Mapping[int, Balance]) -> Sequence[LandClass]:
    """Return the classes that are behind, the one with fewest labels first."""
    behind = [each for each in classes if stand[each.id].is_behind]
    return sorted(behind, key=lambda each: stand[each.id].count)


def sentence(name: str, stand: Balance) -> str:
    """Return what the bar of a class says."""
    translate = QCoreApplication.translate
    if stand.is_behind:
        template = translate("Balance", "“{}” has {}, the others about {}.")
        return str(template).format(name, text.labels(stand.count), text.count(stand.others))
    return str(translate("Balance", "“{}” has {}.")).format(name, text.labels(stand.count))


class BalanceBar(QStyledItemDelegate):
    """Draws the count of a class with a bar under it, as long as its share of the most."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().paint(painter, option, index)
        share = float(index.data(SHARE_ROLE) or 0.0)
        cell = QRectF(option.rect).adjusted(MARGIN_PX, 0, -MARGIN_PX, 0)
        track = QRectF(cell.left(), cell.bottom() - BAR_PX - 1, cell.width(), BAR_PX)
        filled, empty = _colors(option, is_behind=bool(index.data(BEHIND_ROLE)))
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(empty)
        painter.drawRoundedRect(track, BAR_PX / 2, BAR_PX / 2)
        if share > 0:
            painter.setBrush(filled)
            track.setWidth(max(float(BAR_PX), track.width() * share))
            painter.drawRoundedRect(track, BAR_PX / 2, BAR_PX / 2)
        painter.restore()


def _colors(option: QStyleOptionViewItem, *, is_behind: bool) -> Tuple[QColor, QColor]:
    """Return the colours of the bar and of its track; amber also where the bar is empty."""
    if is_behind:
        return AMBER, _faint(AMBER, 0.4)
    is_selected = bool(option.state & QStyle.StateFlag.State_Selected)
    role = QPalette.ColorRole.HighlightedText if is_selected else QPalette.ColorRole.Text
    ink = option.palette.color(role)
    return _faint(ink, 0.55), _faint(ink, 0.15)


def _faint(color: QColor, alpha: float) -> QColor:
    faint = QColor(color)
    faint.setAlphaF(alpha)
    return faint
