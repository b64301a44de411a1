# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The row of tools on the Labels page: which one is active, and what it makes of labels."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from qgis.core import QgsApplication, QgsGeometry
from qgis.gui import QgisInterface, QgsMapTool
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QSize, pyqtSignal
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QHBoxLayout, QToolButton, QWidget

from ...errors import TesseraError
from ...tasks.session import Session
from ...values import PIXEL_M, LandClass
from .. import forms, messages, text
from ..area_page import AreaPage
from ..links import Links
from ..no_wheel import NoWheel
from .base import ToolBase
from .brush import SIZES_PX, BrushTool
from .label import LabelTool
from .new_labels import NewLabels
from .polygon import PolygonTool
from .remove import RemoveTool
from .select import SelectTool
from .selection import SelectionMenu
from .space_pan import SpacePan

ICON_PX, BUTTON_PX = 20, 32

Hint = Callable[[str], str]
"""Gives what to do with a tool, from the name of the active class, empty where there is none."""


@dataclass(frozen=True)
class _Entry:
    tool: ToolBase
    button: QToolButton
    about: str
    """Tool tip: its name, and what it does."""
    hint: Hint
    needs_labels: bool
    """It changes labels; the others make them and need a class."""


class LabelTools(QWidget):
    """Buttons of the tools that make and change labels, with undo and redo."""

    digit = pyqtSignal(int)
    """A key 1 to 9 was pressed over the map."""
    undo = pyqtSignal()
    redo = pyqtSignal()
    next_wanted = pyqtSignal()
    problem = pyqtSignal(str)
    """A sentence: what could not be done, and what to do."""
    changed = pyqtSignal()
    """Another tool is active, or none; or there is something else to say of the active one."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("label_tools", self)
        self._canvas, self._session, self._store = iface.mapCanvas(), session, session.labels
        self._area = area
        self._links = Links()
        self._entries: Dict[str, _Entry] = {}
        self._tool_before: Optional[QgsMapTool] = None
        self._class: Optional[LandClass] = None
        self.new_labels = NewLabels(session, self)
        self.newLabelsRow.addWidget(self.new_labels)
        self._space = SpacePan(self._canvas, self)
        self._add_making_tools()
        self._add_changing_tools()
        self._dress()
        self._links.connect(self._canvas.mapToolSet, self._tool_changed)
        self._links.connect(self._store.changed, self.enable)
        self._links.connect(self._store.writing, self._enable_undo)
        self._links.connect(self._store.selection_changed, self.changed.emit)
        self.enable()

    # --- what the page asks

    def add(  # noqa: PLR0917 - each is told by its type
        self,
        name: str,
        tool: ToolBase,
        icon: QIcon,
        title: str,
        tip: str,
        hint: Hint,
    ) -> QToolButton:
        """Add a tool that makes labels of the active class; return its button, called `name`."""
        about = f"{title}\n{tip}"
        return self._add(self.makingRow, name, tool, icon=icon, about=about, hint=hint)

    def hint(self) -> str:
        """Return what to do with the active tool; empty when none is."""
        name = self._class.name if self._class is not None else ""
        entry = self._active()
        return entry.hint(name) if entry is not None else ""

    def set_class(self, land_class: Optional[LandClass]) -> None:
        """Have the tools draw in the colour of the active class."""
        self._class = land_class
        if land_class is not None:
            for entry in self._entries.values():
                entry.tool.set_color(land_class.color)
        self.enable()

    def enable(self) -> None:
        """Let be used what can be; the others say in their tool tips what they wait for."""
        for entry in self._entries.values():
            missing = "" if entry.button.isChecked() else self._missing(entry)
            entry.button.setEnabled(not missing)
            entry.button.setToolTip(f"{entry.about}\n{missing}".rstrip())
        self._enable_undo()

    def use(self, name: str) -> None:
        """Make the tool of a button the active one."""
        self._entries[name].button.setChecked(True)

    def is_active(self) -> bool:
        """Return whether the map has one of the tools."""
        return self._active() is not None

    def make(self, geometries: Sequence[QgsGeometry]) -> Tuple[str, ...]:
        """Write geometries (EPSG:4326) as labels of the active class, in one step; return their keys.

        None are written, and `problem` says why, where there is no class or the file can't be.
        """
        active = self._store.land_class(self._session.settings.active_class)
        if active is None:
            self.problem.emit(self.tr("Add or choose a class first."))
            return ()
        labels = self.new_labels.of(geometries, active.id)
        keys: List[str] = []
        self.attempt(lambda: keys.extend(self._store.add_labels(labels)))
        return tuple(keys)

    def attempt(self, change: Callable[[], object]) -> bool:
        """Do something that writes, or say by `problem` why it could not be; return whether it was."""
        try:
            change()
        except TesseraError as error:
            messages.log(error)
            self.problem.emit(text.join(messages.explain(error)))
            return False
        return True

    def close_down(self) -> None:
        """Let go of the map, and take the tools away."""
        self._links.close()
        self.new_labels.close_down()
        self._menu.close_down()
        with contextlib.suppress(RuntimeError):  # when QGIS ends, the canvas may be gone first
            self._space.watch(False)
            for entry in self._entries.values():
                self._put_away(entry.tool)
                entry.tool.deleteLater()

    # --- the tools

    def _add_making_tools(self) -> None:
        self.add(
            "labelToolButton",
            LabelTool(self._canvas),
            forms.icon("label"),
            self.tr("Point or freehand polygon"),
            self.tr(
                "Click the map for a point, drag to draw a polygon. Keys 1 to 9 choose the class."
            ),
            lambda name: self.tr(
                "Labelling “{}”: click the map for a point, drag for a polygon."
            ).format(name),
        )
        self.add(
            "polygonToolButton",
            PolygonTool(self._canvas),
            forms.icon("polygon"),
            self.tr("Polygon"),
            self.tr("Click corner after corner; a right click or Enter ends the polygon."),
            lambda name: self.tr(
                "Labelling “{}”: click the corners; right click, double click or Enter ends. "
                "Backspace takes back a corner, Esc drops the polygon."
            ).format(name),
        )
        self._brush = BrushTool(self._canvas)
        self.add(
            "brushToolButton",
            self._brush,
            forms.icon("brush"),
            self.tr("Brush"),
            self.tr("Press and drag to paint the pixels of 10 m that the map will have."),
            lambda name: self.tr(
                "Labelling “{}”: press and drag to paint pixels, with Ctrl to erase from the "
                "stroke. [ and ] change the brush."
            ).format(name),
        )

    def _add_changing_tools(self) -> None:
        select = SelectTool(self._canvas, self._store, self.attempt)
        self._menu = SelectionMenu(self._canvas, self._store, select, self.attempt, self)
        self._add(
            self.changingRow,
            "selectToolButton",
            select,
            icon=forms.icon("select"),
            about=self.tr(
                "Select, move and change labels\n"
                "Click a label or drag a box; drag a selected label to move it, right click for more.\n"
                "For the corners of a polygon take QGIS's vertex tool on the layer of the labels: once "
                "its edits are saved they are learnt, and Undo here takes them back."
            ),
            hint=self._select_hint,
            needs_labels=True,
        )
        remove = RemoveTool(self._canvas, self._store)
        remove.hit.connect(lambda key: self.attempt(lambda: self._store.remove_label(key)))
        self._add(
            self.changingRow,
            "removeToolButton",
            remove,
            icon=forms.icon("remove"),
            about=self.tr("Remove labels\nClick a label on the map to remove it."),
            hint=lambda _: self.tr("Click a label on the map to remove it."),
            needs_labels=True,
        )

    def _select_hint(self, _: str) -> str:
        number = len(self._store.selected)
        if not number:
            return self.tr("Click a label or drag a box to select, with Shift to add to it.")
        return self.tr(
            "Selected: {}. Keys 1 to 9 give another class, Delete removes, a drag moves; right "
            "click for more."
        ).format(text.labels(number))

    def _add(
        self,
        row: QHBoxLayout,
        name: str,
        tool: ToolBase,
        *,
        icon: QIcon,
        about: str,
        hint: Hint,
        needs_labels: bool = False,
    ) -> QToolButton:
        button = QToolButton(self)
        button.setObjectName(name)
        button.setText(about.partition("\n")[0])
        button.setIcon(icon)
        button.setIconSize(QSize(ICON_PX, ICON_PX))
        button.setAutoRaise(True)
        button.setMinimumSize(BUTTON_PX, BUTTON_PX)
        button.setCheckable(True)
        row.addWidget(button)
        self._entries[name] = _Entry(tool, button, about, hint, needs_labels)
        button.toggled.connect(lambda on: self._toggled(tool, on))
        tool.digit.connect(self.digit)
        tool.undo.connect(self.undo)
        tool.redo.connect(self.redo)
        tool.next_wanted.connect(self.next_wanted)
        tool.refused.connect(self.problem)
        tool.left.connect(lambda: self._put_away(tool))
        tool.made.connect(self.make)
        if self._class is not None:
            tool.set_color(self._class.color)
        return button

    def _active(self) -> Optional[_Entry]:
        checked = (each for each in self._entries.values() if each.button.isChecked())
        return next(checked, None)

    def _missing(self, entry: _Entry) -> str:
        """Return what a tool waits for; empty where it can be used."""
        if entry.needs_labels:
            return "" if self._store.counts else self.tr("There are no labels yet.")
        if not self._store.classes:
            return self.tr("Add a class first.")
        return "" if self._class is not None else self.tr("Choose a class first.")

    # --- which one the map has

    def _toggled(self, tool: ToolBase, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        if on:
            if not self._is_ours(self._canvas.mapTool()):
                self._tool_before = self._canvas.mapTool()
            self._canvas.setMapTool(tool)
            self._canvas.setFocus()
        else:
            self._put_away(tool)
        self.enable()
        self.changed.emit()

    def _put_away(self, tool: QgsMapTool) -> None:
        """Give the map the tool back that it had before."""
        canvas, before = self._canvas, self._tool_before
        if canvas.mapTool() != tool:
            return
        if before is not None and not sip.isdeleted(before):
            canvas.setMapTool(before)
        else:
            canvas.unsetMapTool(tool)

    def _tool_changed(self, new: Optional[QgsMapTool], *_: object) -> None:
        for entry in self._entries.values():
            entry.button.setChecked(new == entry.tool)
        self.brushOptions.setVisible(new is not None and new == self._brush)
        self._space.watch(new is not None and self._is_ours(new))

    def _is_ours(self, tool: Optional[QgsMapTool]) -> bool:
        return any(tool == entry.tool for entry in self._entries.values())

    # --- undo and redo

    def _dress(self) -> None:
        for button in (self.undoButton, self.redoButton):
            button.setMinimumSize(BUTTON_PX, BUTTON_PX)
        self.undoButton.setIcon(QgsApplication.getThemeIcon("/mActionUndo.svg"))
        self.redoButton.setIcon(QgsApplication.getThemeIcon("/mActionRedo.svg"))
        self.undoButton.clicked.connect(self.undo)
        self.redoButton.clicked.connect(self.redo)
        for size_px in SIZES_PX:
            template = (
                self.tr("{} pixel ({} m)") if size_px == 1 else self.tr("{} pixels wide ({} m)")
            )
            self.brushSizeCombo.addItem(template.format(size_px, size_px * PIXEL_M), size_px)
        self._no_wheel = NoWheel(self, self.brushSizeCombo)
        self.brushOptions.hide()
        self._show_brush(self._brush.size_px)
        self._brush.sized.connect(self._show_brush)
        self.brushSizeCombo.currentIndexChanged.connect(
            lambda: self._brush.set_size(self.brushSizeCombo.currentData())
        )

    def _show_brush(self, size_px: int) -> None:
        self.brushSizeCombo.setCurrentIndex(SIZES_PX.index(size_px))

    def _enable_undo(self, *_: object) -> None:
        store = self._store
        busy = self.tr("Many labels are being written just now") if store.is_writing else ""
        self.undoButton.setEnabled(store.can_undo)
        self.redoButton.setEnabled(store.can_redo)
        self.undoButton.setToolTip(
            self.tr("Undo: {} (Ctrl+Z)").format(store.undo_text)
            if store.can_undo
            else busy or self.tr("There is nothing to undo")
        )
        self.redoButton.setToolTip(
            self.tr("Redo: {} (Ctrl+Shift+Z)").format(store.redo_text)
            if store.can_redo
            else busy or self.tr("There is nothing to redo")
        )
