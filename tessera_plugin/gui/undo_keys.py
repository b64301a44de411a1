# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl+Z and Ctrl+Y for the labels, where the person is at the labels, and nowhere else.

QGIS has the same keys for its own edits. A shortcut of ours would make them ambiguous, and then
neither works; so the keys are asked for where the focus is: in the dock, or on the map while it has
a tool of ours. A field that is typed in keeps them as long as it has something to take back.
"""

from __future__ import annotations

from typing import Callable

from qgis.PyQt.QtCore import QEvent, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence
from qgis.PyQt.QtWidgets import QLineEdit, QWidget

SHIFT_Z = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier


def is_undo(event: QKeyEvent) -> bool:
    """Return whether these are the keys that undo."""
    return bool(event.matches(QKeySequence.StandardKey.Undo))


def is_redo(event: QKeyEvent) -> bool:
    """Return whether these are the keys that redo: those of the system, Ctrl+Shift+Z or Ctrl+Y."""
    if event.matches(QKeySequence.StandardKey.Redo):
        return True
    is_ctrl_y = event.key() == Qt.Key.Key_Y and (
        event.modifiers() == Qt.KeyboardModifier.ControlModifier
    )
    return bool(is_ctrl_y or (event.key() == Qt.Key.Key_Z and event.modifiers() == SHIFT_Z))


class UndoKeys(QObject):
    """Takes the keys in a window's part, and reserves them on the map for its tool."""

    undo = pyqtSignal()
    redo = pyqtSignal()

    def watch(self, *widgets: QWidget) -> None:
        """Take the keys in these widgets, and in what is in them."""
        for widget in widgets:
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind not in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress):
            return False
        is_ours = is_undo(event) or is_redo(event)
        if not is_ours or _has_own(watched, event):
            return False
        if kind == QEvent.Type.KeyPress:
            (self.undo if is_undo(event) else self.redo).emit()
        event.accept()
        return True


class MapUndoKeys(QObject):
    """Has the map's tool get the keys before QGIS's own shortcuts, while the tool is one of ours."""

    def __init__(self, canvas: QWidget, is_ours: Callable[[], bool], parent: QObject) -> None:
        super().__init__(parent)
        self._canvas, self._is_ours = canvas, is_ours
        canvas.installEventFilter(self)

    def close(self) -> None:
        """Let go of the map."""
        self._canvas.removeEventFilter(self)

    def eventFilter(self, _: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.ShortcutOverride:
            return False
        if (is_undo(event) or is_redo(event)) and self._is_ours():
            event.accept()
            return True
        return False


def _has_own(watched: QObject, event: QKeyEvent) -> bool:
    """Return whether what is typed in a field is to be taken back first."""
    if not isinstance(watched, QLineEdit):
        return False
    return bool(watched.isUndoAvailable() if is_undo(event) else watched.isRedoAvailable())
