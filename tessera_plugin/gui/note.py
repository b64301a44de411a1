# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A sentence on a page, with a sign that says what kind of sentence it is."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QWidget

INFO, SUCCESS, WARNING = "mIconInfo.svg", "mIconSuccess.svg", "mIconWarning.svg"

ICON_PX = 16


class Note(QFrame):
    """An icon and a text that wraps; hidden while there is nothing to say."""

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
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 7, 8, 7)
        layout.setSpacing(8)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._text, 1)
        self.hide()

    def say(self, text: str, kind: str = INFO) -> None:
        """Show a text; an empty one hides the note."""
        self._icon.setPixmap(QgsApplication.getThemeIcon(f"/{kind}").pixmap(ICON_PX, ICON_PX))
        self._text.setText(text)
        self.setVisible(bool(text))

    def text(self) -> str:
        """Return what it says."""
        return str(self._text.text()) if self.isVisibleTo(self.parentWidget()) else ""
