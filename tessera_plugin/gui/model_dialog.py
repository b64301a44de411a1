# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run an ONNX model of somebody's: which, how, where; and always what is next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

from qgis.gui import QgisInterface, QgsFileWidget
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QDialog, QFileDialog

from ..errors import ExtentInvalid, TesseraError
from ..tasks import model_jobs
from ..tasks.lookups import Lookup
from ..tasks.model_jobs import ModelPlan
from ..tasks.session import Session
from ..values import Extent
from . import forms, messages, model_words, note, text
from .area_page import AreaPage
from .job_bar import JobBar
from .links import Links
from .model_form import FormPart
from .model_run import ModelRun
from .note import Note

if TYPE_CHECKING:
    from ..engine.model_forms import ModelFacts

RASTERS = (".tif", ".tiff")


class ModelDialog(QDialog):
    """Not modal; closing it stops nothing, and opened again it is as it was."""

    add_on_wanted = pyqtSignal()

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, running: ModelRun
    ) -> None:
        super().__init__(iface.mainWindow())
        forms.load("model_dialog", self)
        self._session, self._area, self._running = session, area, running
        self._facts: Optional[ModelFacts] = None
        self._was_refused = False
        self._proposed = ""
        self._links = Links()
        self._lookup = Lookup(self)
        self._note = Note("modelRunNote", self)
        self.modelNoteLayout.addWidget(self._note)
        self._bar = JobBar(session.box, self.modelJobFrame, self.modelBar, self.modelCancelButton)
        self.modelRunButton.setIcon(forms.icon("classify"))
        self.modelOutput.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.modelOutput.setFilter(self.tr("GeoTIFF (*.tif)"))
        self.modelOutput.setDialogTitle(self.tr("Save the map as"))
        self.modelConfidenceCheck.setChecked(session.settings.confidence)
        self._soon = QTimer(self)  # much may change at once
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._refresh)
        self.form = FormPart(self)
        self._connect()
        self._refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._running.is_watched = True
        self._refresh()

    def done(self, result: int) -> None:
        """Hide; what runs goes on, and what was chosen stays."""
        self._running.is_watched = False
        super().done(result)

    def open_model(self, path: str) -> None:
        """Look what a model takes, and fill in how it is run."""
        self.modelPath.setText(path)
        self.modelPath.setToolTip(path)
        self._facts, self._was_refused = None, False
        self._note.say("")
        self.form.show_facts(None)
        self._look()

    def close_down(self) -> None:
        """Close for good, and let no code of ours run after it."""
        self._links.close()
        self._soon.stop()
        self._bar.close_down()
        self._lookup.close()
        self.close()

    # --- what is planned

    @property
    def plan(self) -> Optional[ModelPlan]:
        """What would be run now; None where something is missing."""
        form, extent = self.form.form, self._extent()
        if self._problem() or self._facts is None or form is None or extent is None:
            return None
        return ModelPlan(
            facts=self._facts,
            form=form,
            dataset=self._session.dataset.key,
            year=self._session.settings.year,
            extent=extent,
            out=self._out(),
            confidence=self.modelConfidenceCheck.isChecked(),
        )

    # --- inside

    def _connect(self) -> None:
        session = self._session
        self._links.connect(session.box.started, self._soon.start)
        self._links.connect(session.box.ended, self._soon.start)
        self._links.connect(session.settings_changed, self._settings_changed)
        self._links.connect(session.add_on.changed, self._look)
        self._links.connect(self._area.measured, self._soon.start)
        self._links.connect(self._running.said, self._say)
        self._lookup.busy.connect(lambda _: self._soon.start())
        self.form.changed.connect(self._soon.start)
        self.modelOutput.fileChanged.connect(lambda _: self._soon.start())
        self.modelConfidenceCheck.toggled.connect(lambda _: self._soon.start())
        self.modelChooseButton.clicked.connect(self._choose)
        self.modelAddOnButton.clicked.connect(self.add_on_wanted)
        self.modelRunButton.clicked.connect(self._run)
        self.modelCloseButton.clicked.connect(self.reject)

    def _problem(self) -> str:
        """Return what is to be done before the model can be run; empty where nothing is."""
        session, facts = self._session, self._facts
        if session.add_on.running:
            return self.tr("Wait until the add-on is done.")
        if not session.compute.available():
            return self.tr("Install the add-on: it runs the model.")
        if self._lookup.is_busy:
            return self.tr("Looking what the model takes…")
        if facts is None:
            if self._was_refused:
                return self.tr("This model can't be used. Choose another one.")
            return self.tr("Choose the model's file.")
        return (
            model_words.mismatch(facts, session.dataset)
            or self.form.problem
            or self._problem_of_area()
            or ("" if self._out() else self.tr("Choose a file for the map."))
        )

    def _problem_of_area(self) -> str:
        if not self._session.is_warm:
            return self.tr("Measuring…")
        problem = self._area.problem
        return text.join(messages.explain(problem)) if problem is not None else ""

    def _extent(self) -> Optional[Extent]:
        """Return what the map shows; None where it can't be used, as on QGIS's welcome page."""
        try:
            return self._area.extent()
        except ExtentInvalid:
            return None

    def _out(self) -> str:
        """Return where the map goes, with the ending of a raster."""
        out = str(self.modelOutput.filePath()).strip()
        return out if not out or out.lower().endswith(RASTERS) else f"{out}.tif"

    # --- what is shown

    def _refresh(self) -> None:
        session, running = self._session, self._session.box.running
        self._show_add_on()
        problem = self._problem()
        self.modelTakesLabel.setText(model_words.takes(self._facts) if self._facts else "")
        self.modelTakesLabel.setVisible(self._facts is not None)
        self.modelIntro.setVisible(self._facts is None)
        self.modelDatasetValue.setText(
            model_words.embeddings(session.dataset, session.settings.year, self._facts)
        )
        self.modelAreaValue.setText(self._size())
        self.modelNextLabel.setText(self._next(problem, running))
        self.modelRunButton.setEnabled(not problem and not running)
        self.modelRunButton.setToolTip(messages.waits_for(running))

    def _show_add_on(self) -> None:
        running, is_there = self._session.add_on.running, self._session.compute.available()
        self.modelAddOnFrame.setVisible(not is_there or bool(running))
        if running:
            told = self.tr("The add-on is at work: {}…").format(running)
        else:
            told = self.tr("Models run in the add-on (ONNX Runtime), which is not installed yet.")
        self.modelAddOnLabel.setText(told)
        self.modelChooseButton.setEnabled(is_there and not running)

    def _size(self) -> str:
        told = self.tr("What the map shows: {}").format(self._area.size_text)
        extent = self._extent()
        if not self._session.is_warm or self._area.problem is not None or extent is None:
            return told
        if self._session.settings.offline:
            return self.tr("{} · offline: only what is in the cache").format(told)
        facts, dataset = self._facts, self._session.dataset
        depth = facts.depth if facts and facts.depth in dataset.depths else self._session.depth
        amount = model_jobs.download_bytes(self._session, extent, depth)
        if not amount:  # it is the person's own
            return told
        words = self.tr("{} · to fetch: up to {}, less what the cache has")
        return words.format(told, text.size(amount))

    def _next(self, problem: str, running: str) -> str:
        """Return the sentence that says what to do next."""
        if running and self._running.is_running:
            return self.tr("You can close this window and go on working: the dock shows it.")
        if running and not self._session.add_on.running:
            return messages.waits_for(running)
        if problem:
            return problem
        if self._running.last is not None and self._running.last == self.plan:
            return self.tr("Done: the map is in the project. Move the map, or run another model.")
        return self.tr("See that classes and dataset are right, then run the model.")

    def _settings_changed(self) -> None:
        self._propose_output()
        self._soon.start()

    def _propose_output(self) -> None:
        """Propose a file beside the labels, as long as the person has not chosen another."""
        if self._facts is None or self.modelOutput.filePath() not in ("", self._proposed):
            return
        name = f"{Path(self._facts.path).stem}_{self._session.settings.year}.tif"
        self._proposed = str(Path(self._session.labels_path).parent / name)
        self.modelOutput.setFilePath(self._proposed)

    # --- what a person does

    def _choose(self) -> None:
        wanted = self.tr("ONNX models (*.onnx)")
        path, _ = QFileDialog.getOpenFileName(
            self, self.tr("Choose a model"), str(Path(self.modelPath.text()).parent),
            f"{wanted};;{self.tr('All files')} (*)",
        )  # fmt: skip
        if path:
            self.open_model(path)

    def _look(self) -> None:
        """Ask the worker what the model takes, once there is one."""
        path, session = self.modelPath.text(), self._session
        can_ask = session.compute.available() and not session.add_on.running
        if path and self._facts is None and can_ask:
            self._lookup.ask(model_jobs.describe(session, path), self._described, self._refused)
        self._soon.start()

    def _described(self, facts: ModelFacts) -> None:
        self._facts = facts
        self.form.show_facts(facts)
        self._propose_output()

    def _refused(self, error: Exception) -> None:
        self._was_refused = True
        self._say(messages.words(error), note.WARNING)

    def _run(self) -> None:
        try:
            plan = self.plan
            if plan is not None:
                self._running.start(plan)
        except TesseraError as error:
            self._say("\n".join(messages.explain(error)), note.WARNING)

    def _say(self, words: str, kind: str) -> None:
        self._note.say(words, kind)
        self._soon.start()
