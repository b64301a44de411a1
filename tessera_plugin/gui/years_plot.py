# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How much a place changed from year to year, as bars."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication, QEvent, QPointF, QRectF, QSize
from qgis.PyQt.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent, QPalette
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QToolTip, QWidget

from . import text
from .plot_lines import halves, paint_lines

Change = Tuple[int, int, float]
"""A year, the next one that has an embedding, and how alike they are (cosine)."""

BAR, GAP_BAR = QColor("#3b82b8"), QColor("#a9c8df")
"""The latter where years between are missing: nobody knows which one the change is of."""

HEIGHT_PX, GAP_PX = 140, 6
LEAST_TOP = 0.05
"""Smaller changes do not fill the plot."""


translate = QCoreApplication.translate


def is_gap(change: Change) -> bool:
    """Whether years between the two are missing."""
    earlier, later, _ = change
    return later - earlier > 1


def words(change: Change) -> str:
    """Return a change in words: of which two years, and how large."""
    earlier, later, cosine = change
    told = translate("Years", "Between {} and {}: cosine {}.").format(
        earlier, later, text.decimal(cosine, 3)
    )
    if not is_gap(change):
        return told
    unknown = translate(
        "Years", "The years between have no embedding here: when it changed is not known."
    )
    return text.join([told, unknown])


class YearsPlot(QLabel):
    """A bar per year: 1 less the cosine to the last year before it that has an embedding."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("yearsPlot")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._years: List[int] = []
        self._changes: Dict[int, Change] = {}

    def sizeHint(self) -> QSize:
        return QSize(240, HEIGHT_PX)

    @property
    def changes(self) -> Dict[int, float]:
        """What is drawn: the change of each year that has one."""
        return {year: max(1 - cosine, 0.0) for year, (_, _, cosine) in self._changes.items()}

    def show_years(self, years: Sequence[int], changes: Sequence[Change]) -> None:
        """Show years, and what changed up to those that have an embedding."""
        self._years = list(years)
        self._changes = {later: (earlier, later, cosine) for earlier, later, cosine in changes}
        self.update()

    def event(self, event: QEvent) -> bool:
        """Say what the bar under the mouse stands for."""
        if event.type() != QEvent.Type.ToolTip or not isinstance(event, QHelpEvent):
            return bool(super().event(event))
        QToolTip.showText(event.globalPos(), self.told_at(event.pos().x()), self)
        return True

    def told_at(self, x: float) -> str:
        """Return what the bar at a distance from the left stands for; empty where there is none."""
        area = self._area(self._high)
        number = math.floor((x - area.left()) / area.width() * len(self._years))
        year = self._years[number] if 0 <= number < len(self._years) else 0
        return words(self._changes[year]) if year in self._changes else ""

    @property
    def _high(self) -> float:
        return max([LEAST_TOP, *self.changes.values()]) * 1.1

    def _area(self, high: float) -> QRectF:
        """Return where the bars are."""
        metrics = self.fontMetrics()
        left = metrics.horizontalAdvance(text.decimal(high)) + 2 * GAP_PX
        top, bottom = metrics.height() + 2 * GAP_PX, metrics.height() + GAP_PX
        return QRectF(left, top, self.width() - left - GAP_PX, self.height() - top - bottom)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - Qt's
        if not self._years:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = self.fontMetrics()
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        has_gaps = any(map(is_gap, self._changes.values()))
        title = (
            self.tr("Change (pale: over several years)")
            if has_gaps
            else self.tr("Change to the year before")
        )
        painter.drawText(QPointF(GAP_PX, metrics.ascent()), title)
        high = self._high
        area = self._area(high)
        lines = [(y, text.decimal(value)) for y, value in halves(area, high)]
        paint_lines(painter, self, area, lines)
        self._paint_bars(painter, area, high, ink)
        painter.end()

    def _paint_bars(self, painter: QPainter, area: QRectF, high: float, ink: QColor) -> None:
        metrics, changes = self.fontMetrics(), self.changes
        step = area.width() / len(self._years)
        widest = metrics.horizontalAdvance("0000") + GAP_PX
        every = max(math.ceil(widest / step), 1)  # years that there is room to write
        for number, year in enumerate(self._years):
            middle = area.left() + (number + 0.5) * step
            if year in changes:
                height = changes[year] / high * area.height()
                bar = QRectF(middle - 0.3 * step, area.bottom() - height, 0.6 * step, height)
                painter.fillRect(bar, GAP_BAR if is_gap(self._changes[year]) else BAR)
            if (len(self._years) - 1 - number) % every:
                continue
            name = str(year)
            painter.setPen(ink)
            left = middle - metrics.horizontalAdvance(name) / 2
            painter.drawText(QPointF(left, self.height() - metrics.descent()), name)
