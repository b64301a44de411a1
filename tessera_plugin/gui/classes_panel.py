# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The classes on the Labels page: their table, the row that adds one, and the menu."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QFileDialog, QMessageBox, QWidget

from ..tasks import schemes
from ..tasks.session import Session
from ..values import LandClass
from . import forms, messages, note, text
from .class_menu import ClassMenu
from .class_table import ClassTable
from .colors import color_for


class ClassesPanel(QWidget):
    """Every change goes to the label store, and undo takes it back."""

    active_changed = pyqtSignal()
    """Another class is the active one, or none."""
    said = pyqtSignal(str, str)
    """A sentence about what was done or could not be, and its kind of note."""

    def __init__(self, iface: QgisInterface, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("classes_panel", self)
        self._iface, self._session, self._store = iface, session, session.labels
        self._table = ClassTable(self)
        self.tableLayout.addWidget(self._table)
        self._menu = ClassMenu(self._table, self)
        self.classMenuButton.setMenu(self._menu)
        self.addClassButton.setIcon(QgsApplication.getThemeIcon("/symbologyAdd.svg"))
        self.removeClassButton.setIcon(QgsApplication.getThemeIcon("/symbologyRemove.svg"))
        self._connect()

    # --- what the page asks

    def refresh(self) -> None:
        """Show the classes as they are now. There is an active one as long as there is one."""
        store = self._store
        if self.active() is None and store.classes:
            self._session.update(active_class=store.classes[0].id)
        active = self._session.settings.active_class
        self._table.show_classes(store.classes, store.counts, store.pixels, store.hidden, active)
        self._enable()

    def active(self) -> Optional[LandClass]:
        """Return the class that labels get."""
        return self._store.land_class(self._session.settings.active_class)

    def choose(self, class_id: int) -> None:
        """Make a class the active one."""
        self._session.update(active_class=class_id)
        self._table.choose(class_id)
        self._enable()
        self.active_changed.emit()

    def choose_number(self, number: int) -> None:
        """Make the class with a key (1 to 9) the active one."""
        classes = self._store.classes
        if number <= len(classes):
            self.choose(classes[number - 1].id)

    def close_down(self) -> None:
        """Let go of nothing: all here lives in the page."""

    # --- one class

    def _add(self) -> None:
        name = self.classNameEdit.text().strip()
        if not name:
            self.classNameEdit.setFocus()
            return
        if self._is_taken(name):
            return
        used = {each.color.lower() for each in self._store.classes}
        color = color_for(name, used)
        made = self._attempt(lambda: self._store.add_class(name, color))
        if made is not None:
            self.classNameEdit.setText("")
            self.choose(made.id)

    def _rename(self, class_id: int, name: str) -> None:
        name, known = name.strip(), self._store.land_class(class_id)
        is_new = name and known is not None and name != known.name
        is_free = is_new and not self._is_taken(name, class_id)
        if not is_free or not self._tried(lambda: self._store.rename_class(class_id, name)):
            self.refresh()  # the table gets back the name that holds

    def _is_taken(self, name: str, but: int = 0) -> bool:
        others = (each for each in self._store.classes if each.id != but)
        taken = any(each.name.casefold() == name.casefold() for each in others)
        if taken:
            self.said.emit(self.tr("There is a class “{}” already.").format(name), note.WARNING)
        return taken

    def _recolor(self, class_id: int, color: str) -> None:
        if not self._tried(lambda: self._store.recolor_class(class_id, color)):
            self.refresh()  # the table gets back the colour that holds
        self.choose(class_id)

    def _move(self, class_id: int, place: int) -> None:
        self._attempt(lambda: self._store.move_class(class_id, place))

    def _step(self, step: int) -> None:
        for each in self._selected():
            place = self._store.classes.index(each) + step
            if 0 <= place < len(self._store.classes):
                self._move(each.id, place)

    # --- the selected classes

    def _selected(self) -> List[LandClass]:
        found = (self._store.land_class(each) for each in self._table.selected_ids())
        return [each for each in found if each is not None]

    def _hide(self, hidden: bool) -> None:  # noqa: FBT001 - a signal's
        ids = [each.id for each in self._selected()]
        self._attempt(lambda: self._store.hide_classes(ids, hidden))

    def _hide_one(self, class_id: int, hidden: bool) -> None:  # noqa: FBT001 - a signal's
        self._attempt(lambda: self._store.hide_class(class_id, hidden))

    def _merge(self, into: int) -> None:
        gone = [each for each in self._selected() if each.id != into]
        kept = self._store.land_class(into)
        if not gone or kept is None:
            return
        number = sum(self._store.counts.get(each.id, 0) for each in gone)
        ids = [each.id for each in gone]
        before = self._session.settings.active_class
        self._session.update(active_class=into)
        if not self._tried(lambda: self._store.merge_classes(ids, into)):
            self._session.update(active_class=before)
        else:
            self.active_changed.emit()
            told = self.tr("Merged {} into “{}”, with {}. Undo takes it back.")
            names = self._names(gone)
            self.said.emit(told.format(names, kept.name, text.labels(number)), note.SUCCESS)

    def _remove(self) -> None:
        chosen = self._selected()
        if chosen and self._sure(chosen):
            self._attempt(lambda: self._store.remove_classes([each.id for each in chosen]))

    def _sure(self, chosen: Sequence[LandClass]) -> bool:
        number = sum(self._store.counts.get(each.id, 0) for each in chosen)
        if not number:
            return True
        question = self.tr("Remove {} with {}? Undo brings them back.").format(
            self._names(chosen), text.labels(number)
        )
        answer = QMessageBox.question(self, self.tr("Remove class"), question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # --- lists of classes

    def _add_scheme(self, key: str) -> None:
        title = next(each.title for each in schemes.READY if each.key == key)
        self._add_all(lambda: schemes.ready(key), title)

    def _import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self,
            self.tr("Import classes"),
            "",
            self.tr("Lists of classes (*.csv *.txt);;All files (*)"),
        )
        if path:
            self._add_all(lambda: schemes.read(path), Path(path).name)

    def _add_all(self, read: Callable[[], Sequence[schemes.NamedColor]], title: str) -> None:
        """Add classes in one step, and say which were there already."""
        found = self._attempt(read)
        made = self._attempt(lambda: self._store.add_classes(found)) if found else None
        if made is None:
            return
        if made:
            self.choose(made[0].id)
        names = {each.name for each in made}
        there = [name for name, _ in found if name not in names]
        self.said.emit(self._told(len(made), there, title), note.SUCCESS if made else note.INFO)

    def _told(self, number: int, there: Sequence[str], title: str) -> str:
        sentences = []
        if number:
            one, many = (
                self.tr("{} class of {} was added."),
                self.tr("{} classes of {} were added."),
            )
            sentences.append(text.counted(number, one, many, title))
        if there:
            names = ", ".join(f"“{each}”" for each in there[:3])
            more = self.tr("{} and {} more").format(names, len(there) - 3)
            template = self.tr("Left out, as there are classes of that name: {}.")
            sentences.append(template.format(more if len(there) > 3 else names))
        if number:
            sentences.append(self.tr("Now choose one and label places of it on the map."))
        return text.join(sentences)

    def _export(self) -> None:
        proposal = str(Path(self._store.path).with_name("classes.csv"))
        path, _ = QFileDialog.getSaveFileName(
            self, self.tr("Export classes"), proposal, self.tr("CSV (*.csv)")
        )
        if not path:
            return
        path = path if Path(path).suffix else f"{path}.csv"
        rows = [(each.name, each.color) for each in self._store.classes]
        if self._tried(lambda: schemes.write(path, rows)):
            one, many = (
                self.tr("{} class was written to {}."),
                self.tr("{} classes were written to {}."),
            )
            self.said.emit(text.counted(len(rows), one, many, path), note.SUCCESS)

    # --- inside

    def _names(self, classes: Sequence[LandClass]) -> str:
        if len(classes) > 2:
            return text.classes(len(classes))
        return self.tr(" and ").join(f"“{each.name}”" for each in classes)

    def _enable(self) -> None:
        chosen = self._selected()
        self.removeClassButton.setEnabled(bool(chosen))
        self._menu.show_state(chosen, self._store.classes, self._store.hidden)

    def _attempt(self, change: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call gives
        return messages.attempt(self._iface.messageBar(), change)

    def _tried(self, change: Callable[[], Any]) -> bool:
        """Do something that gives nothing; return whether it was done."""
        return bool(self._attempt(lambda: (change(), True)))

    def _show_menu(self, place: QPoint) -> None:
        self._menu.popup(self._table.viewport().mapToGlobal(place))

    def _rename_chosen(self) -> None:
        for each in self._selected()[:1]:
            self._table.edit_name(each.id)

    def _recolor_chosen(self) -> None:
        for each in self._selected()[:1]:
            self._table.pick_color(each.id)

    def _connect(self) -> None:
        self.addClassButton.clicked.connect(self._add)
        self.classNameEdit.returnPressed.connect(self._add)
        self.removeClassButton.clicked.connect(self._remove)
        table, menu = self._table, self._menu
        table.chosen.connect(self.choose)
        table.selected.connect(self._enable)
        table.renamed.connect(self._rename)
        table.recolored.connect(self._recolor)
        table.moved.connect(self._move)
        table.hidden.connect(self._hide_one)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._show_menu)
        menu.rename_wanted.connect(self._rename_chosen)
        menu.color_wanted.connect(self._recolor_chosen)
        menu.move_wanted.connect(self._step)
        menu.merge_wanted.connect(self._merge)
        menu.hide_wanted.connect(self._hide)
        menu.remove_wanted.connect(self._remove)
        menu.scheme_wanted.connect(self._add_scheme)
        menu.import_wanted.connect(self._import)
        menu.export_wanted.connect(self._export)
