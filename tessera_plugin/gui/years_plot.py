# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How much a place changed from year to year, as bars."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence

from qgis.PyQt.QtCore import QPointF, QRectF, QSize
from qgis.PyQt.QtGui import QColor, QPainter, QPaintEvent, QPalette
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QWidget

from . import text
from .plot_lines import halves, paint_lines

BAR = QColor("#3b82b8")
HEIGHT_PX, GAP_PX = 140, 6
LEAST_TOP = 0.05
"""Smaller changes do not fill the plot."""


class YearsPlot(QLabel):
    """A bar per year: 1 less the cosine to the last year before it that has an embedding."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("yearsPlot")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._years: List[int] = []
        self._changes: Dict[int, float] = {}

    def sizeHint(self) -> QSize:
        return QSize(240, HEIGHT_PX)

    @property
    def changes(self) -> Dict[int, float]:
        """What is drawn: the change of each year that has one."""
        return dict(self._changes)

    def show_years(self, years: Sequence[int], alike: Dict[int, float]) -> None:
        """Show years, and how alike (cosine) each is to the one before it."""
        self._years = list(years)
        self._changes = {year: max(1 - cosine, 0.0) for year, cosine in alike.items()}
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - Qt's
        if not self._years:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = self.fontMetrics()
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        painter.drawText(QPointF(GAP_PX, metrics.ascent()), self.tr("Change to the year before"))
        high = max([LEAST_TOP, *self._changes.values()]) * 1.1
        left = metrics.horizontalAdvance(text.decimal(high)) + 2 * GAP_PX
        top, bottom = metrics.height() + 2 * GAP_PX, metrics.height() + GAP_PX
        area = QRectF(left, top, self.width() - left - GAP_PX, self.height() - top - bottom)
        lines = [(y, text.decimal(value)) for y, value in halves(area, high)]
        paint_lines(painter, self, area, lines)
        self._paint_bars(painter, area, high, ink)
        painter.end()

    def _paint_bars(self, painter: QPainter, area: QRectF, high: float, ink: QColor) -> None:
        metrics = self.fontMetrics()
        step = area.width() / len(self._years)
        widest = metrics.horizontalAdvance("0000") + GAP_PX
        every = max(math.ceil(widest / step), 1)  # years that there is room to write
        for number, year in enumerate(self._years):
            middle = area.left() + (number + 0.5) * step
            if year in self._changes:
                height = self._changes[year] / high * area.height()
                bar = QRectF(middle - 0.3 * step, area.bottom() - height, 0.6 * step, height)
                painter.fillRect(bar, BAR)
            if (len(self._years) - 1 - number) % every:
                continue
            words = str(year)
            painter.setPen(ink)
            left = middle - metrics.horizontalAdvance(words) / 2
            painter.drawText(QPointF(left, self.height() - metrics.descent()), words)
