# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Scrolling a page of the dock to what the person is asked or told."""

from __future__ import annotations

from typing import Optional

from qgis.PyQt import sip
from qgis.PyQt.QtCore import QPoint, QRect, QTimer
from qgis.PyQt.QtWidgets import QScrollArea, QWidget

MARGIN_PX = 10
SETTLE_MS = 50


def bring(widget: QWidget) -> None:
    """Scroll the page that a widget is on until it is seen, once its layout is settled."""
    page = _page_of(widget)
    if page is not None:
        QTimer.singleShot(SETTLE_MS, lambda: _scroll(page, widget))


def bring_part(widget: QWidget, part: QRect) -> None:
    """Scroll the page that a widget is on until a part of the widget is seen."""
    page = _page_of(widget)
    if page is not None and page.widget() is not None:
        there = widget.mapTo(page.widget(), QPoint(part.center()))
        margin_px = part.height() // 2 + MARGIN_PX
        page.ensureVisible(there.x(), there.y(), 0, margin_px)


def _page_of(widget: QWidget) -> Optional[QScrollArea]:
    page = widget.parentWidget()
    while page is not None and not isinstance(page, QScrollArea):
        page = page.parentWidget()
    return page


def _scroll(page: QScrollArea, widget: QWidget) -> None:
    if not sip.isdeleted(page) and not sip.isdeleted(widget) and widget.isVisible():
        page.ensureWidgetVisible(widget, 0, MARGIN_PX)
