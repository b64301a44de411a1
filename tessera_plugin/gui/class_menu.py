# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be done with classes: the menu of their table, and of the button under it."""

from __future__ import annotations

from typing import Collection, Optional, Sequence

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QIcon, QKeySequence, QPixmap
from qgis.PyQt.QtWidgets import QMenu, QWidget

from ..tasks import schemes
from ..values import LandClass
from .compat import QAction

UP, DOWN = -1, 1
SWATCH_PX = 12


class ClassMenu(QMenu):
    """Tells which entry was chosen; what it is done with are the selected classes."""

    rename_wanted = pyqtSignal()
    color_wanted = pyqtSignal()
    move_wanted = pyqtSignal(int)
    """Up (-1) or down (1)."""
    merge_wanted = pyqtSignal(int)
    """The id of the class that the selected ones become."""
    hide_wanted = pyqtSignal(bool)
    remove_wanted = pyqtSignal()
    scheme_wanted = pyqtSignal(str)
    import_wanted = pyqtSignal()
    export_wanted = pyqtSignal()

    def __init__(self, table: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("classMenu")
        self.setToolTipsVisible(True)
        self._table = table
        self._chosen: Sequence[LandClass] = ()
        self._classes: Sequence[LandClass] = ()
        self._is_hidden = False
        self._rename = self._entry("renameClassAction", self.tr("Rename"), self.rename_wanted, "F2")
        self._color = self._entry("recolorClassAction", self.tr("Colour…"), self.color_wanted)
        self._up = self._entry("moveClassUpAction", self.tr("Move up"), None, "Alt+Up")
        self._up.triggered.connect(lambda: self.move_wanted.emit(UP))
        self._down = self._entry("moveClassDownAction", self.tr("Move down"), None, "Alt+Down")
        self._down.triggered.connect(lambda: self.move_wanted.emit(DOWN))
        self._merge = self.addMenu(self.tr("Merge into"))
        self._merge.setObjectName("mergeClassMenu")
        self._merge.aboutToShow.connect(self._fill_merge)
        self._hide = self._entry("hideClassAction", self.tr("Hide"))
        self._hide.triggered.connect(lambda: self.hide_wanted.emit(not self._is_hidden))
        self._remove = self._entry(
            "removeClassAction", self.tr("Delete"), self.remove_wanted, "Del"
        )
        self.addSeparator()
        self._add_schemes()
        self._entry("importClassesAction", self.tr("Import classes from CSV…"), self.import_wanted)
        self._export = self._entry(
            "exportClassesAction", self.tr("Export classes as CSV…"), self.export_wanted
        )

    def show_state(
        self, chosen: Sequence[LandClass], classes: Sequence[LandClass], hidden: Collection[int]
    ) -> None:
        """Let be used what can be, with these classes selected of all."""
        self._chosen, self._classes = chosen, classes
        is_one, is_some = len(chosen) == 1, bool(chosen)
        self._rename.setEnabled(is_one)
        self._color.setEnabled(is_one)
        self._up.setEnabled(is_one and chosen[0] != classes[0])
        self._down.setEnabled(is_one and chosen[0] != classes[-1])
        self._merge.setEnabled(is_some and len(classes) > 1)
        self._hide.setEnabled(is_some)
        self._remove.setEnabled(is_some)
        self._export.setEnabled(bool(classes))
        self._is_hidden = is_some and all(each.id in hidden for each in chosen)
        self._hide.setText(self.tr("Show") if self._is_hidden else self.tr("Hide"))

    def _entry(
        self, name: str, words: str, slot: Optional[object] = None, keys: str = ""
    ) -> QAction:
        action = self.addAction(words)
        action.setObjectName(name)
        if slot is not None:
            action.triggered.connect(slot)
        if keys:  # while the table has the focus, and not while a name is typed in it
            action.setShortcut(QKeySequence(keys))
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            self._table.addAction(action)
        return action

    def _add_schemes(self) -> None:
        menu = self.addMenu(self.tr("Schemes"))
        menu.setObjectName("schemesMenu")
        menu.setToolTipsVisible(True)
        for each in schemes.READY:
            action = menu.addAction(each.title)
            action.setObjectName(f"scheme_{each.key}")
            action.setToolTip(self.tr("Add the classes of {}").format(each.title))
            action.triggered.connect(lambda _=False, key=each.key: self.scheme_wanted.emit(key))

    def _fill_merge(self) -> None:
        """List what the selected classes can become: one of themselves, or any other."""
        self._merge.clear()
        together = self._chosen if len(self._chosen) > 1 else ()
        others = [each for each in self._classes if each not in self._chosen]
        for group in (together, others):
            for each in group:
                action = self._merge.addAction(_swatch(each.color), each.name.replace("&", "&&"))
                action.setObjectName(f"mergeInto{each.id}")
                action.triggered.connect(lambda _=False, to=each.id: self.merge_wanted.emit(to))
            if group is together and together and others:
                self._merge.addSeparator()


def _swatch(color: str) -> QIcon:
    picture = QPixmap(SWATCH_PX, SWATCH_PX)
    picture.fill(QColor(color))
    return QIcon(picture)
