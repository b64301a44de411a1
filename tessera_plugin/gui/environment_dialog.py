# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on: what is installed, what can be, and the way from one to the other."""

from __future__ import annotations

import sys
from typing import Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtWidgets import QDialog, QFileDialog, QMessageBox, QWidget

from ..errors import TesseraError
from ..tasks.environment import (
    INCOMPLETE,
    PYTHON_GONE,
    RUNTIME,
    TRAINING,
    Choices,
    Interpreter,
    Offer,
    Record,
    State,
)
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import messages, note, text
from .forms import load
from .links import Links
from .note import Note


class EnvironmentDialog(QDialog):
    """Not modal: labelling goes on while it installs, and closing it stops nothing."""

    def __init__(self, session: Session, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        load("environment_dialog", self)
        self._session, self._add_on = session, session.add_on
        self._links = Links()
        self._lookup = Lookup(self)
        self._choices: Optional[Choices] = None
        self._python = ""
        self._is_closed = False
        self._note = Note("addOnNote", self)
        self.noteLayout.addWidget(self._note)
        self._connect()
        self._show_state()
        self._show_python()
        self._lookup.ask(self._add_on.choices(), self._offered, self._failed)

    def done(self, result: int) -> None:
        """Close; what was begun goes on."""
        self._is_closed = True
        self._links.close()
        self._lookup.close()
        super().done(result)

    # --- inside

    def _connect(self) -> None:
        box = self._add_on.box
        self._links.connect(box.started, self._started)
        self._links.connect(box.told, self._told)
        self._links.connect(box.ended, self._ended)
        self._links.connect(self._add_on.changed, self._show_state)
        self.installButton.clicked.connect(self._install)
        self.removeButton.clicked.connect(self._remove)
        self.pythonButton.clicked.connect(self._choose_python)
        self.stopButton.clicked.connect(self._stop)
        self.trainingRadio.toggled.connect(self._enable)
        self._note.acted.connect(self._copy_log)

    @property
    def _bundle(self) -> str:
        return TRAINING if self.trainingRadio.isChecked() else RUNTIME

    # --- what is there

    def _show_state(self) -> None:
        found = self._add_on.state
        self.stateLabel.setText(self._condition(found))
        details = self._details(found.record, found.place) if found.record else ""
        self.stateDetails.setText(details)
        self.stateDetails.setVisible(bool(details))
        self._enable()

    def _condition(self, found: State) -> str:
        if found.problem == PYTHON_GONE:
            return self.tr("It can't start any more: its Python was removed. Repair it.")
        if found.problem == INCOMPLETE:
            return self.tr("It is not complete. Repair it.")
        if found.record is None and found.was_interrupted:
            return self.tr("Not installed: the last installation was cut off. Install it again.")
        if found.record is None:
            return self.tr("Nothing yet.")
        kind = self.trainingRadio if found.record.bundle == TRAINING else self.runtimeRadio
        told = self.tr("{}, {}.").format(kind.text().replace("&", ""), self._device(found.record))
        if found.is_outdated:
            told += " " + self.tr("This version of the plugin would install newer packages.")
        return told

    def _device(self, record: Record) -> str:
        gpu = [name for name in record.onnx_providers if name != "CPUExecutionProvider"]
        gpu += [name for name in record.torch_devices if name != "cpu"]
        if gpu:
            return self.tr("on the GPU")
        return self.tr("on the processor")

    def _details(self, record: Record, place: str) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
        lines = [
            self.tr("Python {}, {}").format(record.python, versions),
            self.tr("{} in {}").format(text.size(record.size_bytes), place),
            *record.notes,
        ]
        return "\n".join(lines)

    # --- what can be

    def _offered(self, choices: Choices) -> None:
        self._choices = choices
        rows = (
            (TRAINING, self.trainingRadio, self.trainingLabel,
             self.tr("Trains MLP heads and runs TESSERA encoders.")),
            (RUNTIME, self.runtimeRadio, self.runtimeLabel,
             self.tr("Runs TESSERA encoders; heads stay instant.")),
        )  # fmt: skip
        for bundle, radio, label, purpose in rows:
            offer = choices.offers.get(bundle)
            radio.setEnabled(offer is not None)
            if offer is not None:
                label.setText(f"{purpose} {self._sizes(offer)}")
            else:
                label.setText(text.join(messages.explain(choices.problems[bundle])))
        if TRAINING not in choices.offers and RUNTIME in choices.offers:
            self.runtimeRadio.setChecked(True)
        self._enable()

    def _sizes(self, offer: Offer) -> str:
        return self.tr("Download {}, {} on disk.").format(
            text.size(offer.download_bytes), text.size(offer.installed_bytes)
        )

    def _enable(self, *_: object) -> None:
        is_busy = bool(self._add_on.box.running)
        found = self._add_on.state
        offer = self._choices.offers.get(self._bundle) if self._choices else None
        self.deviceLabel.setText(offer.reason if offer else "")
        self.deviceLabel.setVisible(offer is not None)
        self.workFrame.setVisible(is_busy)
        self.choiceGroup.setEnabled(not is_busy)
        self.installButton.setEnabled(offer is not None and not is_busy)
        self.removeButton.setEnabled(found.is_there and not is_busy)
        same = found.record is not None and found.record.bundle == self._bundle
        if same and found.is_outdated and not found.problem:
            self.installButton.setText(self.tr("Update"))
        elif same or found.problem:
            self.installButton.setText(self.tr("Repair"))
        else:
            self.installButton.setText(self.tr("Install"))

    # --- the Python

    def _choose_python(self) -> None:
        if self._python:
            self._python = ""
            self._show_python()
            return
        pattern = self.tr("Python (python.exe)") if sys.platform == "win32" else ""
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Use an existing Python"), "", pattern)
        if path:
            self._use_python(path)

    def _use_python(self, path: str) -> None:
        self._note.say(self.tr("Trying {}…").format(path))
        self._lookup.ask(self._add_on.proof(path), self._python_proved, self._failed)

    def _python_proved(self, found: Interpreter) -> None:
        self._python = found.path
        self._note.say(self.tr("Python {} will be used.").format(found.minor))
        self._show_python()

    def _show_python(self) -> None:
        if self._python:
            self.pythonLabel.setText(self.tr("Made with {}").format(self._python))
            self.pythonButton.setText(self.tr("Choose automatically"))
        else:
            self.pythonLabel.setText(self.tr("Python is chosen automatically."))
            self.pythonButton.setText(self.tr("Use an existing Python…"))

    # --- the work

    def _install(self) -> None:
        self._note.say("")
        if self._add_on.install(self._bundle, self._python):
            self._listen(self.tr("The add-on is installed and was tried out: it works."))

    def _remove(self) -> None:
        answer = QMessageBox.question(
            self,
            self.tr("Remove the add-on"),
            self.tr("Remove the add-on? Heads that were trained with it go on working."),
        )
        if answer == QMessageBox.StandardButton.Yes and self._add_on.remove():
            self._note.say("")
            self._listen("")

    def _listen(self, done: str) -> None:
        task = self._add_on.last
        if task is None:
            return
        task.succeeded.connect(lambda result: self._succeeded(result, done))
        task.failed.connect(self._failed)
        task.cancelled.connect(self._cancelled)

    def _succeeded(self, result: object, done: str) -> None:
        if isinstance(result, int):
            done = self.tr("Removed; {} are free again.").format(text.size(result))
        self._say(done, note.SUCCESS)

    def _cancelled(self) -> None:
        self._say(
            self.tr("Stopped. What was there before is untouched; what was downloaded is kept.")
        )

    def _failed(self, error: Exception) -> None:
        messages.log(error)
        if isinstance(error, TesseraError):
            words = text.join(messages.explain(error))
        else:
            words = self.tr("This is a bug of the Tessera plugin: {}").format(error)
        self._say(words, note.WARNING, action=self.tr("Copy the log"))

    def _say(self, words: str, kind: str = note.INFO, action: str = "") -> None:
        if not self._is_closed:
            self._note.say(words, kind, action)
            self._show_state()

    def _copy_log(self) -> None:
        QgsApplication.clipboard().setText(self._add_on.log_text())

    def _started(self, title: str) -> None:
        self.workLabel.setText(self.tr("{}…").format(title))
        self.workBar.setValue(0)
        self.stopButton.setEnabled(True)
        self._enable()

    def _told(self, fraction: float, message: str) -> None:
        self.workBar.setValue(round(1000 * fraction))
        if message:
            self.workLabel.setText(messages.phase(message))

    def _ended(self) -> None:
        self._show_state()

    def _stop(self) -> None:
        self.stopButton.setEnabled(False)
        self.workLabel.setText(self.tr("Stopping…"))
        self._add_on.box.cancel()
