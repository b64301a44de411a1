# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""People set larger letters in QGIS's options: what was measured in pixels grows with them."""

from __future__ import annotations

from qgis.PyQt.QtGui import QGuiApplication
from qgis.PyQt.QtWidgets import QDialog, QLayout, QScrollArea, QWidget

USUAL_PX, LARGE_PX = 18, 22
"""Height of a line with the letters that systems come with, or a little more; and of large ones."""

FRAME_PX = 40
"""What a window's title and borders take of a screen."""


def scaled(widget: QWidget, size_px: int) -> int:
    """Return a size that was chosen for usual letters, for those that a widget is written in."""
    widget.ensurePolished()  # QGIS sets letters by a style sheet, which counts from here on
    line_px = widget.fontMetrics().height()
    return round(size_px * line_px / USUAL_PX) if line_px >= LARGE_PX else size_px


def fit_dialog(dialog: QDialog) -> None:
    """Open a dialog as large as its form says, larger with larger letters, and on the screen."""
    size, screen = dialog.size(), QGuiApplication.primaryScreen()
    width, height = scaled(dialog, size.width()), scaled(dialog, size.height())
    if screen is not None:
        there = screen.availableSize()
        width, height = min(width, there.width()), min(height, there.height() - FRAME_PX)
    dialog.resize(width, height)


def fit_page(area: QScrollArea, most_px: int) -> None:
    """See that a page is not cut off at its side, if it needs at most so much with usual letters.

    For a page that is seen: what is not does not know its letters yet.
    """
    page = area.widget()
    if page is not None:
        for layout in page.findChildren(QLayout):
            layout.invalidate()  # what was folded before it was seen is not measured by itself
        needed_px = page.minimumSizeHint().width() + area.verticalScrollBar().sizeHint().width()
        area.setMinimumWidth(min(needed_px, scaled(area, most_px)))
