# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What plots share: faint lines across, with what they stand for at their left.

They are labels: QGIS's themes are style sheets, which give a colour of words to those.
"""

from __future__ import annotations

from typing import Iterable, Tuple

from qgis.PyQt.QtCore import QPointF, QRectF
from qgis.PyQt.QtGui import QColor, QPainter, QPalette, QPen
from qgis.PyQt.QtWidgets import QLabel

BESIDE_PX = 4


def paint_lines(
    painter: QPainter, plot: QLabel, area: QRectF, lines: Iterable[Tuple[float, str]]
) -> None:
    """Paint lines at heights of the widget (y), each with its words; leaves the pen on ink."""
    ink = plot.palette().color(QPalette.ColorRole.WindowText)
    faint = QColor(ink)
    faint.setAlpha(50)
    metrics = plot.fontMetrics()
    for y, words in lines:
        painter.setPen(QPen(faint, 1))
        painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
        painter.setPen(ink)
        left = area.left() - metrics.horizontalAdvance(words) - BESIDE_PX
        painter.drawText(QPointF(left, y + metrics.ascent() / 2 - 1), words)


def halves(area: QRectF, high: float) -> Iterable[Tuple[float, float]]:
    """Yield height and value of lines at nothing, half and all of the highest value."""
    for share in (0.0, 0.5, 1.0):
        yield area.bottom() - share * area.height(), share * high
