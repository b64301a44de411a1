# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Accuracy against the number of labels, with the spread over repeats as a band."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QWidget

from . import text
from .curve import GAP_PX, TRAINING
from .plot_lines import paint_lines

if TYPE_CHECKING:
    from ..engine.learning_curve import CurvePoint, LearningCurve

HEIGHT_PX = 190
DOT_PX = 3.0
SIDE_PX = 10
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
"""Between the lines of the vertical axis: the smallest of these that gives at most MOST_LINES."""
MOST_LINES = 5


class AccuracyPlot(QLabel):
    """A learning curve; labels per class run in equal ratios."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("accuracyPlot")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._points: Tuple[CurvePoint, ...] = ()
        self.hide()

    def sizeHint(self) -> QSize:
        return QSize(240, HEIGHT_PX)

    @property
    def points(self) -> Tuple[CurvePoint, ...]:
        """What is drawn."""
        return self._points

    def show_curve(self, curve: Optional[LearningCurve]) -> None:
        """Draw a curve; None, or one of a single point, hides the plot."""
        self._points = curve.points if curve is not None and len(curve.points) > 1 else ()
        self.setVisible(bool(self._points))
        self.setToolTip(
            "\n".join(
                self.tr("{} per class: {} ± {}").format(
                    text.labels(each.labels_per_class),
                    text.percent(each.mean, 1),
                    text.percent(each.spread, 1),
                )
                for each in self._points
            )
        )
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - Qt's
        if not self._points:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        lines = axis(self._points)
        metrics = self.fontMetrics()
        left = max(metrics.horizontalAdvance(_percent(each)) for each in lines) + GAP_PX + 4
        top = 1.5 * metrics.height() + GAP_PX
        bottom = 2 * metrics.height() + 2 * GAP_PX
        area = QRectF(left, top, self.width() - left - SIDE_PX, self.height() - top - bottom)
        place = self._placer(area, lines[0], lines[-1])
        self._paint_axes(painter, area, lines, place)
        self._paint_band(painter, place)
        painter.end()

    def _placer(self, area: QRectF, low: float, high: float) -> Callable[[float, float], QPointF]:
        """Return what tells where labels per class and an accuracy lie."""
        first, last = (math.log(self._points[i].labels_per_class) for i in (0, -1))

        def place(labels: float, share: float) -> QPointF:
            x = (math.log(labels) - first) / (last - first)
            y = (share - low) / (high - low)
            return QPointF(area.left() + x * area.width(), area.bottom() - y * area.height())

        return place

    def _paint_axes(
        self, painter: QPainter, area: QRectF, lines: Sequence[float],
        place: Callable[[float, float], QPointF],
    ) -> None:  # fmt: skip
        metrics, first = self.fontMetrics(), self._points[0].labels_per_class
        heights = [(place(first, share).y(), _percent(share)) for share in lines]
        paint_lines(painter, self, area, heights)
        painter.drawText(QPointF(GAP_PX, metrics.ascent()), self.tr("Accuracy, tested labels"))
        base, right = area.bottom() + GAP_PX + metrics.ascent(), -math.inf
        for each in self._points:
            words = text.count(each.labels_per_class)
            width = metrics.horizontalAdvance(words)
            x = place(each.labels_per_class, lines[0]).x()
            start = min(x - width / 2, self.width() - width)
            painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + 3))
            if start > right + GAP_PX:
                painter.drawText(QPointF(start, base), words)
                right = start + width
        caption = self.tr("Labels per class")
        x = area.center().x() - metrics.horizontalAdvance(caption) / 2
        painter.drawText(QPointF(x, self.height() - metrics.descent()), caption)

    def _paint_band(self, painter: QPainter, place: Callable[[float, float], QPointF]) -> None:
        points = self._points
        upper = [place(p.labels_per_class, min(p.mean + p.spread, 1.0)) for p in points]
        lower = [place(p.labels_per_class, max(p.mean - p.spread, 0.0)) for p in points]
        band = QColor(TRAINING)
        band.setAlpha(70)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(band)
        painter.drawPolygon(QPolygonF([*upper, *reversed(lower)]))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(TRAINING, 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        middle = [place(p.labels_per_class, p.mean) for p in points]
        painter.drawPolyline(QPolygonF(middle))
        painter.setBrush(TRAINING)
        for each in middle:
            painter.drawEllipse(each, DOT_PX, DOT_PX)


def axis(points: Sequence[CurvePoint]) -> List[float]:
    """Return where lines of the vertical axis lie: round shares, at least two, around the band."""
    low = max(min(each.mean - each.spread for each in points), 0.0)
    high = min(max(each.mean + each.spread for each in points), 1.0)
    for step in STEPS:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        if last * step > 1 + 1e-9:
            first, last = first - 1, last - 1
        if last - first < MOST_LINES:
            break
    return [round(number * step, 4) for number in range(first, last + 1)]


def _percent(share: float) -> str:
    return text.percent(share)
