# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A sentence on a page, with a sign that says what kind of sentence it is."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QSizePolicy, QWidget

from ..errors import TesseraError
from . import messages

INFO, SUCCESS, WARNING = "mIconInfo.svg", "mIconSuccess.svg", "mIconWarning.svg"

ICON_PX = 16


class Note(QFrame):
    """An icon and a text that wraps, with a button where there is something to do about it.

    Hidden while there is nothing to say.
    """

    acted = pyqtSignal()
    """The button was clicked."""

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._icon = QLabel(self)
        self._text = QLabel(self)
        self._text.setObjectName(f"{name}Text")
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self._button = QPushButton(self)
        self._button.setObjectName(f"{name}Button")
        self._button.clicked.connect(self.acted)
        self._button.hide()
        layout = QGridLayout(self)
        layout.setContentsMargins(8, 7, 8, 7)
        layout.setSpacing(8)
        layout.setColumnStretch(1, 1)
        layout.addWidget(self._icon, 0, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._text, 0, 1)
        layout.addWidget(self._button, 1, 1, Qt.AlignmentFlag.AlignLeft)
        self.hide()

    def say(self, text: str, kind: str = INFO, action: str = "") -> None:
        """Show a text and, if it has a name, the button; an empty text hides the note."""
        self._icon.setPixmap(QgsApplication.getThemeIcon(f"/{kind}").pixmap(ICON_PX, ICON_PX))
        self._text.setText(text)
        self._button.setText(action)
        self._button.setVisible(bool(action))
        self.setVisible(bool(text))

    def enable(self, *, enabled: bool) -> None:
        """Let the button be used, or not."""
        self._button.setEnabled(enabled)

    def text(self) -> str:
        """Return what it says."""
        return str(self._text.text()) if self.isVisibleTo(self.parentWidget()) else ""


def tell(note: Note, bar: QgsMessageBar, error: Exception) -> None:
    """Say in a note what went wrong; a bug is told in the message bar."""
    if isinstance(error, TesseraError):
        note.say("\n".join(messages.explain(error)), WARNING)
        messages.log(error)
    else:
        messages.show_error(bar, error)
