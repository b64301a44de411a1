# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Import labels from a layer, a file or a class map: shows what will happen before it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QFileDialog

from ..errors import TesseraError
from ..tasks import label_exchange
from ..tasks.base import EngineTask
from ..tasks.label_exchange import ReadSource
from ..tasks.label_steps import MANY
from ..tasks.label_writing import LabelWriting
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, import_words, messages, note, text
from .area_page import AreaPage
from .import_source import ImportSource
from .import_table import MOST_VALUES, ImportTable
from .links import Links
from .note import Note

if TYPE_CHECKING:
    from ..engine.label_mapping import Found, ImportPlan


class ImportDialog(QDialog):
    """Source, fields, what becomes of each value, and the sentence that says what will happen."""

    imported = pyqtSignal(int)
    """So many labels were imported."""

    def __init__(self, iface: QgisInterface, session: Session, area: AreaPage) -> None:
        super().__init__(iface.mainWindow())
        forms.load("import_dialog", self)
        self._session = session
        self._found: Optional[Found] = None
        self._plan: Optional[ImportPlan] = None
        self._writing: Optional[LabelWriting] = None
        self._links, self._import_links = Links(), Links()
        self._lookup, self._planning = Lookup(self), Lookup(self)
        self._note = Note("importNote", self)
        self.importNoteLayout.addWidget(self._note)
        self._table = ImportTable(self.importTable)
        self._ok = self.importButtons.button(QDialogButtonBox.StandardButton.Ok)
        self._ok.setObjectName("importOkButton")
        self._ok.setIcon(QgsApplication.getThemeIcon("/mActionFileOpen.svg"))
        widest = self._ok.fontMetrics().horizontalAdvance(import_words.button(99_999))
        self._ok.setMinimumWidth(widest + 48)  # with its icon and edges
        self.importBar.hide()
        for spin in (self.importYearSpin, self.importMapYearSpin):
            spin.setValue(session.settings.year)
        self._plan_soon = QTimer(self)  # much may change at once
        self._plan_soon.setSingleShot(True)
        self._plan_soon.setInterval(0)
        self._plan_soon.timeout.connect(self._look_what_happens)
        self.source = ImportSource(self, area, self._ask)
        self._connect()
        self.source.look()

    def reject(self) -> None:
        """Close; or stop the import, and stay until nothing of it is left."""
        if self._writing is None:
            super().reject()
        else:
            self._note.say(self.tr("Stopping…"))
            self._writing.cancel()

    def done(self, result: int) -> None:
        """Close, and let nothing run on."""
        self.close_down()
        super().done(result)

    def close_down(self) -> None:
        """Let go of everything."""
        self._links.close()
        self._import_links.close()
        self.source.close_down()
        self._plan_soon.stop()
        self._lookup.close()
        self._planning.close()

    # --- inside

    def _connect(self) -> None:
        self._links.connect(self._session.labels.changed, self._labels_changed)
        self._lookup.busy.connect(self._busy)
        self._table.changed.connect(self._plan_soon.start)
        self.source.emptied.connect(self._forget)
        self.source.changed.connect(self._read)
        for spin in (self.importYearSpin, self.importMapYearSpin):
            spin.valueChanged.connect(lambda _: self._plan_soon.start())
        self.importBrowseButton.clicked.connect(self._browse)
        self.importButtons.accepted.connect(self._import)
        self.importButtons.rejected.connect(self.reject)

    def _forget(self) -> None:
        self._found = self._plan = None
        self._lookup.cancel()
        self._planning.cancel()
        self._table.clear()
        self._enable()

    def _read(self) -> None:
        """Read what is chosen now; of a source that was read, only other fields are taken."""
        task = self.source.task()
        if isinstance(task, str) or not self.source.has_read:
            self._forget()
        if isinstance(task, str):
            self._note.say(task)
        else:
            self._plan = None
            self._planning.cancel()
            self._enable()
            self._ask(task, self._was_read)

    def _ask(self, task: EngineTask, answered: Callable[..., None]) -> None:
        self._note.say("")
        task.told.connect(self._told)
        self._lookup.ask(task, answered, self._failed)

    def _told(self, fraction: float, _: str) -> None:
        self.importBar.setValue(round(1000 * fraction))

    def _busy(self, is_busy: bool) -> None:  # noqa: FBT001 - a signal's
        is_writing = self._writing is not None
        self.importBar.setFormat(self.tr("Importing…") if is_writing else self.tr("Reading…"))
        self.importBar.setValue(0)
        self.importBar.setVisible(is_busy)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            what, _ = messages.explain(error)
            words = text.join([what, self.tr("Choose another source.")])
        else:
            words = messages.words(error)
        self._note.say(words, note.WARNING)
        self._enable()

    # --- what will happen

    def _was_read(self, read: ReadSource) -> None:
        self.source.keep(read)
        found, before = read.found, self._found
        if len(found.values) > MOST_VALUES:
            self._forget()
            words = self.tr("“{}” has {} different values: too many for classes.").format(
                self.source.class_field, text.count(len(found.values))
            )
            self._note.say(text.join([words, self.tr("Choose another field.")]), note.WARNING)
            return
        self._found = found
        if before is None or before.values != found.values:  # else the person's choices stay
            self._table.show_found(found, self._session.labels.classes)
        self._look_what_happens()

    def _labels_changed(self) -> None:
        if self._writing is None:  # else it is of our own doing
            self._plan_soon.start()

    def _look_what_happens(self) -> None:
        self._plan = None
        self._enable()
        if self._found is not None:
            spin = self.importMapYearSpin if self.source.is_map else self.importYearSpin
            store, targets = self._session.labels, self._table.targets()
            task = label_exchange.plan(store, self._found, targets, spin.value())
            self._planning.ask(task, self._planned, self._failed)

    def _planned(self, plan: ImportPlan) -> None:
        self._plan = plan
        self._note.say(import_words.told(plan), note.INFO if plan.labels else note.WARNING)
        self._enable()

    def _enable(self) -> None:
        labels = len(self._plan.labels) if self._plan is not None else 0
        self._ok.setEnabled(labels > 0 and self._writing is None)
        self._ok.setText(import_words.button(labels))
        self._ok.setToolTip("" if labels else self.tr("There is nothing to import yet."))

    # --- what a person does

    def _browse(self) -> None:
        start = str(Path(self._session.labels_path).parent)
        path, _ = QFileDialog.getOpenFileName(
            self, self.tr("Import labels from"), start, self.tr("Layers and class maps (*)")
        )
        if path:
            self.source.open_file(path)

    def _import(self) -> None:
        plan = self._plan
        if plan is None:
            return
        number = len(plan.labels)
        writing = label_exchange.carrying_out(self._session.labels, plan)
        links = self._import_links = Links()
        links.connect(writing.told, lambda fraction: self._told(fraction, ""))
        links.connect(writing.succeeded, lambda: self._imported(number))
        links.connect(writing.failed, self._not_imported)
        links.connect(writing.cancelled, self._stopped)
        self._note.say(self.tr("Importing {}…").format(text.labels(number)))
        self._begin(writing)
        writing.start(at_once=number <= MANY)

    def _begin(self, writing: Optional[LabelWriting]) -> None:
        """Let nothing else be done while an import runs, but to stop it."""
        self._writing = writing
        for each in (self.importSourceCombo, self.importBrowseButton, self.importLayerCombo,
                     self.importSelectedCheck, self.importStack, self.importTable):  # fmt: skip
            each.setEnabled(writing is None)
        self._busy(writing is not None)
        self._enable()

    def _imported(self, number: int) -> None:
        self._writing = None
        self.imported.emit(number)
        self.accept()

    def _not_imported(self, error: Exception) -> None:
        self._begin(None)
        self._note.say(messages.words(error), note.WARNING)

    def _stopped(self) -> None:
        self._begin(None)
        self._note.say(self.tr("Stopped. Nothing was imported."))
