# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The loss of a head while it learns, drawn live."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QWidget

from . import text
from .plot_lines import halves, paint_lines

TRAINING, VALIDATION = QColor("#3b82b8"), QColor("#e8853d")
"""Told apart on light and on dark, and without colour vision."""

HEIGHT_PX = 150
GAP_PX = 6


class LossCurve(QLabel):
    """Training and validation loss by epoch."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("lossCurve")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._points: List[Tuple[int, float, float]] = []

    def sizeHint(self) -> QSize:
        return QSize(240, HEIGHT_PX)

    @property
    def epochs(self) -> int:
        """How many epochs are drawn."""
        return len(self._points)

    def clear(self) -> None:
        """Start over."""
        self._points = []
        self.update()

    def add(self, epoch: int, training: Optional[float], validation: Optional[float]) -> None:
        """Add an epoch; None, as files tell it, is a loss that was no number."""
        losses = [math.nan if loss is None else loss for loss in (training, validation)]
        self._points.append((epoch, losses[0], losses[1]))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - Qt's
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = self.fontMetrics()
        top = metrics.height() + GAP_PX
        self._paint_legend(painter, metrics)
        values = [value for _, *pair in self._points for value in pair if value == value]  # noqa: PLR0124 - not NaN
        if not values:
            painter.end()
            return
        high = max(values) * 1.05 or 1.0
        left = metrics.horizontalAdvance(text.decimal(high)) + GAP_PX
        bottom = metrics.height() + GAP_PX
        area = QRectF(left, top, self.width() - left - GAP_PX, self.height() - top - bottom)
        self._paint_axes(painter, area, high)
        for column, color in ((1, TRAINING), (2, VALIDATION)):
            self._paint_line(painter, area, high, column, color)
        painter.end()

    def _paint_legend(self, painter: QPainter, metrics: QFontMetrics) -> None:
        x = float(GAP_PX)
        middle = metrics.height() / 2
        for color, name in (
            (TRAINING, self.tr("Training loss")),
            (VALIDATION, self.tr("Validation loss")),
        ):
            painter.setPen(QPen(color, 2.5))
            painter.drawLine(QPointF(x, middle), QPointF(x + 14, middle))
            painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
            painter.drawText(QPointF(x + 18, metrics.ascent()), name)
            x += 18 + metrics.horizontalAdvance(name) + 3 * GAP_PX

    def _paint_axes(self, painter: QPainter, area: QRectF, high: float) -> None:
        lines = [(y, text.decimal(value)) for y, value in halves(area, high)]
        paint_lines(painter, self, area, lines)
        metrics = self.fontMetrics()
        last = self.tr("Epoch {}").format(self._points[-1][0])
        painter.drawText(
            QPointF(
                area.right() - metrics.horizontalAdvance(last), self.height() - metrics.descent()
            ),
            last,
        )

    def _paint_line(
        self, painter: QPainter, area: QRectF, high: float, column: int, color: QColor
    ) -> None:
        points = self._polyline(area, high, [(each[0], each[column]) for each in self._points])
        painter.setPen(QPen(color, 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        if len(points) == 1:
            painter.drawPoint(points[0])
        painter.drawPolyline(QPolygonF(points))

    def _polyline(
        self, area: QRectF, high: float, series: Sequence[Tuple[int, float]]
    ) -> List[QPointF]:
        first, last = series[0][0], max(series[-1][0], series[0][0] + 1)
        return [
            QPointF(
                area.left() + (epoch - first) / (last - first) * area.width(),
                area.bottom() - value / high * area.height(),
            )
            for epoch, value in series
            if value == value  # noqa: PLR0124 - not NaN
        ]
