# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One line that says what the option under the mouse, or in use, is for."""

from __future__ import annotations

from typing import Optional, Sequence

from qgis.PyQt.QtCore import QEvent, QObject
from qgis.PyQt.QtWidgets import QFormLayout, QLabel, QWidget


class HelpLine(QObject):
    """Shows the tool tip of the option that is pointed at; else of the one that is being changed."""

    def __init__(self, label: QLabel, otherwise: str, parent: QObject) -> None:
        super().__init__(parent)
        self._label, self._otherwise = label, otherwise
        self._focused: Optional[QWidget] = None
        self._label.setText(otherwise)

    def follow(self, form: QFormLayout, widgets: Sequence[QWidget]) -> None:
        """Tell of these options; their names in the form say the same as they do."""
        for each in widgets:
            each.installEventFilter(self)
            name = form.labelForField(each)
            if name is not None:
                name.setToolTip(each.toolTip())
                name.installEventFilter(self)

    def say(self, words: str) -> None:
        """Say something else until another option is looked at."""
        self._label.setText(words)

    def eventFilter(self, watched: Optional[QObject], event: Optional[QEvent]) -> bool:
        """Look which option is pointed at; every event goes its way."""
        if isinstance(watched, QWidget) and event is not None:
            kind = event.type()
            if kind == QEvent.Type.Enter:
                self._label.setText(watched.toolTip())
            elif kind == QEvent.Type.FocusIn:
                self._focused = watched
                self._label.setText(watched.toolTip())
            elif kind == QEvent.Type.FocusOut:
                self._focused = None
                self._rest()
            elif kind == QEvent.Type.Leave:
                self._rest()
        return False

    def _rest(self) -> None:
        self._label.setText(self._focused.toolTip() if self._focused else self._otherwise)
