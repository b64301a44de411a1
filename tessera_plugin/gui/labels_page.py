# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels: the classes, the tools that make and remove labels, and the file that keeps them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Optional

from qgis.core import QgsApplication, QgsGeometry, QgsProject
from qgis.gui import QgisInterface, QgsMapTool
from qgis.PyQt import sip
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtWidgets import QFileDialog, QMessageBox, QWidget

from ..errors import LabelsUnreadable, TesseraError
from ..tasks.session import Session
from . import forms, messages, note, text, view
from .area_page import AreaPage
from .class_table import ClassTable
from .colors import color_for
from .compat import QShortcut
from .label_tool import LabelTool, RemoveTool
from .links import Links
from .note import Note

ENOUGH = 8
"""Labels per class that make a good start."""


class LabelsPage(QWidget):
    """What the analyst knows of the place."""

    changed = pyqtSignal()

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("labels_page", self)
        self._iface, self._session, self._store = iface, session, session.labels
        self._area = area
        self._links = Links()
        self._shown = False
        self._hint = Note("labelsHint", self)
        self.hintLayout.addWidget(self._hint)
        self._table = ClassTable(self.classTable)
        self._label_tool = LabelTool(iface.mapCanvas())
        self._remove_tool = RemoveTool(iface.mapCanvas(), self._store.at)
        self._tool_before: Optional[QgsMapTool] = None
        self._dress()
        self._connect()
        self.refresh()

    # --- what the dock asks

    def open_store(self) -> None:
        """Open the label file in use, and show the labels."""
        self._shown = True
        self._attempt(lambda: self._store.open(self._session.labels_path))
        if not self._store.path:  # it can't be read: start with one that can be made
            path = Path(self._session.labels_path)
            fresh = _free(path.with_name(f"{path.stem}_new.gpkg"))
            self._attempt(lambda: self._store.open(str(fresh)))
        self.show_layers()
        self.refresh()

    def show_layers(self) -> None:
        """Have the project show the labels."""
        if self._shown:
            with view.kept(self._iface.mapCanvas()):
                self._store.show_in(QgsProject.instance())

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        self._links.close()
        with contextlib.suppress(RuntimeError):  # when QGIS ends, the canvas may be gone first
            for tool in (self._label_tool, self._remove_tool):
                self._put_away(tool)
                tool.deleteLater()

    # --- what is seen

    def refresh(self) -> None:
        """Show classes, counts and what to do next as they are now."""
        self._table.show_classes(
            self._store.classes, self._store.counts, self._session.settings.active_class
        )
        self._choose_something()
        path = self._store.path or self._session.labels_path
        self.labelsPath.setText(path)
        self.labelsPath.setToolTip(path)
        self._enable()
        self._say_hint()
        self.changed.emit()

    def _enable(self) -> None:
        has_class = self._active() is not None
        self.labelToolButton.setEnabled(has_class or self.labelToolButton.isChecked())
        self.removeToolButton.setEnabled(bool(self._store.counts))
        self.removeClassButton.setEnabled(has_class)
        self.undoButton.setEnabled(self._store.can_undo)

    def _say_hint(self) -> None:
        active = self._active()
        if not self._store.classes:
            self._hint.say(self.tr("Type the name of a class you want to map, and add it."))
        elif self.removeToolButton.isChecked():
            self._hint.say(self.tr("Click a label on the map to remove it."))
        elif active is not None and self.labelToolButton.isChecked():
            lead = self.tr("Labelling “{}”: click the map for a point, drag for a polygon.").format(
                active.name
            )
            kind = note.SUCCESS if self._is_enough() else note.INFO
            self._hint.say(f"{lead}\n{self._progress()}", kind)
        elif self._is_enough():
            self._hint.say(self._progress(), note.SUCCESS)
        else:
            self._hint.say(self.tr("Choose a class, then label places of it on the map."))

    def _is_enough(self) -> bool:
        counts, classes = self._store.counts, self._store.classes
        return len(classes) > 1 and all(counts.get(each.id, 0) >= ENOUGH for each in classes)

    def _progress(self) -> str:
        counts = self._store.counts
        if len(self._store.classes) == 1:
            return self.tr("A map needs two classes or more.")
        fewest = min(self._store.classes, key=lambda each: counts.get(each.id, 0))
        number = counts.get(fewest.id, 0)
        if number >= ENOUGH:
            return self.tr("Every class has {} labels or more: go on to the Map page.").format(
                ENOUGH
            )
        return self.tr("About {} per class make a good start; “{}” has {}.").format(
            ENOUGH, fewest.name, text.count(number)
        )

    # --- classes

    def _active(self) -> Any:  # noqa: ANN401 - Optional[LandClass]
        return self._store.land_class(self._session.settings.active_class)

    def _choose_something(self) -> None:
        """There is an active class as long as there is a class."""
        if self._active() is None and self._store.classes:
            self._chosen(self._store.classes[0].id)

    def _chosen(self, class_id: int) -> None:
        self._session.update(active_class=class_id)
        self._table.choose(class_id)
        active = self._active()
        if active is not None:
            self._label_tool.set_color(active.color)
        self._enable()
        self._say_hint()

    def _choose_number(self, number: int) -> None:
        classes = self._store.classes
        if number <= len(classes):
            self._chosen(classes[number - 1].id)

    def _add_class(self) -> None:
        name = self.classNameEdit.text().strip()
        if not name:
            self.classNameEdit.setFocus()
            return
        if any(each.name.casefold() == name.casefold() for each in self._store.classes):
            self._hint.say(self.tr("There is a class “{}” already.").format(name), note.WARNING)
            return
        used = {each.color.lower() for each in self._store.classes}
        color = color_for(name, used)
        made = self._attempt(lambda: self._store.add_class(name, color))
        if made is not None:
            self.classNameEdit.clear()
            self._chosen(made.id)
            self.show_layers()

    def _rename(self, class_id: int, name: str) -> None:
        name, known = name.strip(), self._store.land_class(class_id)
        if name and known is not None and name != known.name:
            self._attempt(lambda: self._store.rename_class(class_id, name))
        self.refresh()
        self.show_layers()

    def _recolor(self, class_id: int, color: str) -> None:
        self._attempt(lambda: self._store.recolor_class(class_id, color))
        self._chosen(class_id)
        self.show_layers()

    def _remove_class(self) -> None:
        active = self._active()
        if active is None or not self._sure(active.id, active.name):
            return
        self._attempt(lambda: self._store.remove_class(active.id))
        self.show_layers()

    def _sure(self, class_id: int, name: str) -> bool:
        number = self._store.counts.get(class_id, 0)
        if not number:
            return True
        question = self.tr("Remove “{}” and its labels ({})? Undo brings them back.").format(
            name, text.count(number)
        )
        answer = QMessageBox.question(self, self.tr("Remove class"), question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # --- labels

    def _made(self, geometry: QgsGeometry) -> None:
        active = self._active()
        if active is None:
            self._hint.say(self.tr("Add or choose a class first."), note.WARNING)
            return
        year = self._session.settings.year
        self._attempt(lambda: self._store.add_label(geometry, active.id, year))
        self.show_layers()

    def _hit(self, key: str) -> None:
        self._attempt(lambda: self._store.remove_label(key))
        self.show_layers()

    def _undo(self) -> None:
        self._attempt(self._store.undo)
        self.show_layers()

    def _refused(self) -> None:
        self._hint.say(self.tr("This place has no longitude and latitude."), note.WARNING)

    # --- the file

    def _change_file(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self,
            self.tr("Open a label file, or name a new one"),
            self._store.path,
            self.tr("Label file (*.gpkg)"),
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if path:
            self.use_file(path if path.lower().endswith(".gpkg") else f"{path}.gpkg")

    def use_file(self, path: str) -> None:
        """Use another label file; it is made with its first class if it is not there."""
        try:
            self._store.open(path)
        except LabelsUnreadable as error:
            messages.show_error(self._iface.messageBar(), error)
            return
        self._session.update(labels_path=path, active_class=0)
        self.refresh()
        self.show_layers()

    # --- inside

    def _attempt(self, change: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call gives
        """Do something that writes; say so if it could not."""
        try:
            return change()
        except TesseraError as error:
            messages.show_error(self._iface.messageBar(), error)
            return None

    def _toggled(self, tool: QgsMapTool, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        canvas = self._iface.mapCanvas()
        if on:
            if canvas.mapTool() not in (self._label_tool, self._remove_tool):
                self._tool_before = canvas.mapTool()
            canvas.setMapTool(tool)
            canvas.setFocus()
        else:
            self._put_away(tool)
        self._enable()
        self._say_hint()

    def _put_away(self, tool: QgsMapTool) -> None:
        """Give the map the tool back that it had before."""
        canvas, before = self._iface.mapCanvas(), self._tool_before
        if canvas.mapTool() != tool:
            return
        if before is not None and not sip.isdeleted(before):
            canvas.setMapTool(before)
        else:
            canvas.unsetMapTool(tool)

    def _tool_changed(self, new: Optional[QgsMapTool], *_: object) -> None:
        self.labelToolButton.setChecked(new == self._label_tool)
        self.removeToolButton.setChecked(new == self._remove_tool)

    def _dress(self) -> None:
        self.labelToolButton.setIcon(forms.icon("label"))
        self.removeToolButton.setIcon(forms.icon("remove"))
        self.undoButton.setIcon(QgsApplication.getThemeIcon("/mActionUndo.svg"))
        self.addClassButton.setIcon(QgsApplication.getThemeIcon("/symbologyAdd.svg"))
        self.removeClassButton.setIcon(QgsApplication.getThemeIcon("/symbologyRemove.svg"))

    def _connect(self) -> None:
        self.addClassButton.clicked.connect(self._add_class)
        self.classNameEdit.returnPressed.connect(self._add_class)
        self.removeClassButton.clicked.connect(self._remove_class)
        self.undoButton.clicked.connect(self._undo)
        self.changeFileButton.clicked.connect(self._change_file)
        self.labelToolButton.toggled.connect(lambda on: self._toggled(self._label_tool, on))
        self.removeToolButton.toggled.connect(lambda on: self._toggled(self._remove_tool, on))
        self._table.chosen.connect(self._chosen)
        self._table.renamed.connect(self._rename)
        self._table.recolored.connect(self._recolor)
        self._label_tool.made.connect(self._made)
        self._remove_tool.hit.connect(self._hit)
        for tool in (self._label_tool, self._remove_tool):
            tool.digit.connect(self._choose_number)
            tool.undo.connect(self._undo)
            tool.refused.connect(self._refused)
        self._links.connect(self._iface.mapCanvas().mapToolSet, self._tool_changed)
        self._links.connect(self._store.changed, self.refresh)
        project = QgsProject.instance()
        self._links.connect(project.cleared, self._project_changed)
        self._links.connect(project.readProject, self._project_changed)

    def add_shortcuts(self, window: QWidget) -> None:
        """Keys 1 to 9 choose a class while the focus is in the dock."""
        for number in range(1, 10):
            shortcut = QShortcut(QKeySequence(str(number)), window)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda number=number: self._choose_number(number))

    def _project_changed(self, *_: object) -> None:
        # Not at once: the project is still being emptied or filled.
        QTimer.singleShot(0, self.show_layers)


def _free(path: Path) -> Path:
    """Return a path that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return free
