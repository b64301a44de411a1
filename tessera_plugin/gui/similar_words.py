# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told where a look for similar pixels failed."""

from __future__ import annotations

from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import QCoreApplication

from ..errors import ExtentTooLarge
from . import note, text
from .note import Note

translate = QCoreApplication.translate


def tell(told: Note, bar: QgsMessageBar, error: Exception) -> None:
    """Say in a note what went wrong; a bug is told in the message bar."""
    if isinstance(error, ExtentTooLarge):  # a limit of its own, which no setting raises
        words = translate(
            "Similar",
            "The map shows {} pixels of 10 m, too many to look at for a click. Zoom in until it "
            "shows less than {}.",
        )
        told.say(words.format(text.pixels(error.pixels), text.pixels(error.limit_px)), note.WARNING)
    else:
        note.tell(told, bar, error)
