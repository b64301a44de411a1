# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on: what is installed, what can be, and the way from one to the other."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsApplication
from qgis.PyQt.QtWidgets import QDialog, QFileDialog, QMessageBox, QWidget

from ..errors import InstallFailed, TesseraError
from ..tasks.environment import (
    FAILED,
    INCOMPLETE,
    INSTALLED,
    PYTHON_GONE,
    REMOVED,
    RUNTIME,
    TRAINING,
    Choices,
    Interpreter,
    Offer,
    Outcome,
    Record,
    State,
)
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, messages, note, text
from .links import Links
from .note import Note


class EnvironmentDialog(QDialog):
    """Not modal: labelling goes on while it installs, and closing it stops nothing."""

    def __init__(self, session: Session, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        forms.load("environment_dialog", self)
        self._session, self._add_on = session, session.add_on
        self._links = Links()
        self._lookup = Lookup(self)
        self._choices: Optional[Choices] = None
        self._python = ""
        self._note = Note("addOnNote", self)
        self.addOnNoteLayout.addWidget(self._note)
        record = self._add_on.state.record
        self.runtimeRadio.setChecked(record is not None and record.bundle == RUNTIME)
        self._connect()
        self._show_python()
        self._show()
        self._lookup.ask(self._add_on.choices(), self._offered, self._failed)

    def done(self, result: int) -> None:
        """Close; what was begun goes on."""
        self._links.close()
        self._lookup.close(timeout_s=0.0)
        super().done(result)

    def close_down(self) -> None:
        """Close, and let no code of ours run after it."""
        self._lookup.close()
        self.close()

    # --- inside

    def _connect(self) -> None:
        self._links.connect(self._add_on.changed, self._show)
        self._links.connect(self._add_on.told, self._told)
        self._links.connect(self._session.box.started, self._enable)
        self._links.connect(self._session.box.ended, self._enable)
        self.addOnInstallButton.clicked.connect(self._install)
        self.addOnRemoveButton.clicked.connect(self._remove)
        self.addOnPythonButton.clicked.connect(self._choose_python)
        self.addOnStopButton.clicked.connect(self._stop)
        self.trainingRadio.toggled.connect(self._enable)
        self._note.acted.connect(self._copy_log)

    @property
    def _bundle(self) -> str:
        return TRAINING if self.trainingRadio.isChecked() else RUNTIME

    def _show(self) -> None:
        """Show what is there, what runs, and how the last job ended."""
        found = self._add_on.state
        self.addOnStateLabel.setText(self._condition(found))
        self.addOnStateDetails.setVisible(found.record is not None)
        if found.record is not None:
            self._show_record(found.record, found.place)
        if self._add_on.running:
            self._note.say("")
            self.addOnStopButton.setEnabled(True)
            self.addOnBar.setValue(0)
            self.addOnWorkLabel.setText(self.tr("{}…").format(self._add_on.running))
            self._told(self._add_on.fraction, self._add_on.message)
        elif self._add_on.outcome is not None:
            self._show_outcome(self._add_on.outcome)
        self._enable()

    # --- what is there

    def _condition(self, found: State) -> str:
        if found.problem == PYTHON_GONE:
            return self.tr("It can't start any more, as its Python was removed: repair it.")
        if found.problem == INCOMPLETE:
            return self.tr("It is not complete: repair it.")
        if found.record is None and found.was_interrupted and not self._add_on.running:
            return self.tr(
                "Nothing: the last installation was cut off. Install it again; what was "
                "downloaded is used."
            )
        if found.record is None:
            return self.tr("Nothing yet")
        told = self.runtimeRadio.text() if found.record.bundle == RUNTIME else ""
        told = (told or self.trainingRadio.text()).replace("&", "")
        if found.is_outdated:
            told += self.tr(". This version of the plugin brings newer packages: update it.")
        return told

    def _show_record(self, record: Record, place: str) -> None:
        packages = [f"{name} {version}" for name, version in record.versions.items()]
        self.installedVersions.setText(", ".join([f"Python {record.python}", *packages]))
        self.installedDevice.setText(text.join([self._device(record), *record.notes]))
        self.installedSize.setText(text.size(record.size_bytes))
        self.installedPlace.setText(place)
        self.installedPlace.setToolTip(place)
        self.installedPlace.setCursorPosition(0)

    def _device(self, record: Record) -> str:
        gpu = [name for name in record.onnx_providers if name != "CPUExecutionProvider"]
        gpu += [name for name in record.torch_devices if name != "cpu"]
        return self.tr("GPU.") if gpu else self.tr("Processor.")

    # --- what can be

    def _offered(self, choices: Choices) -> None:
        self._choices = choices
        rows = (
            (TRAINING, self.trainingRadio, self.trainingLabel,
             self.tr("Trains MLP heads, and unpacks stores that this QGIS can't.")),
            (RUNTIME, self.runtimeRadio, self.runtimeLabel,
             self.tr("Unpacks stores that this QGIS can't; heads stay instant.")),
        )  # fmt: skip
        for bundle, radio, label, purpose in rows:
            offer = choices.offers.get(bundle)
            radio.setEnabled(offer is not None)
            if offer is not None:
                label.setText(f"{purpose}\n{self._sizes(offer)}")
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
        add_on = self._add_on
        is_busy, found = bool(add_on.running), add_on.state
        offer = self._choices.offers.get(self._bundle) if self._choices else None
        is_told = found.record is not None and found.record.bundle == self._bundle
        told = [offer.reason if offer and not is_told else ""]
        if add_on.other_python:
            told.append(
                self.tr("Not used as things are: {} was set up to be used instead.").format(
                    add_on.other_python
                )
            )
        self.deviceLabel.setText(text.join(told))
        self.deviceLabel.setVisible(any(told))
        self.addOnWorkFrame.setVisible(is_busy)
        self.choiceGroup.setEnabled(not is_busy)
        self.addOnInstallButton.setEnabled(offer is not None and not is_busy)
        self.addOnInstallButton.setText(self._verb(found))
        other_work = messages.waits_for(self._session.box.running)
        self.addOnRemoveButton.setEnabled(found.is_there and not is_busy and not other_work)
        self.addOnRemoveButton.setToolTip(
            other_work or self.tr("Delete the add-on from this computer; heads and maps stay")
        )
        if offer is not None:
            self.addOnPythonButton.setToolTip(
                self.tr(
                    "For computers that may not download programs: choose an installed Python {}"
                ).format(self.tr(" or ").join(offer.pythons))
            )

    def _verb(self, found: State) -> str:
        """Return what the button does to what is there."""
        if found.problem:
            return self.tr("Repair")
        if found.record is None or found.record.bundle != self._bundle:
            return self.tr("Install")
        return self.tr("Update") if found.is_outdated else self.tr("Repair")

    # --- the Python

    def _choose_python(self) -> None:
        if self._python:
            self._python = ""
            self._note.say("")
            self._show_python()
            return
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Use an existing Python"))
        if path:
            self._note.say(self.tr("Trying {}…").format(path))
            task = self._add_on.proof(path, self._bundle)
            self._lookup.ask(task, self._python_proved, self._failed)

    def _python_proved(self, found: Interpreter) -> None:
        self._python = found.path
        self._note.say("")
        self._show_python(found.minor)

    def _show_python(self, version: str = "") -> None:
        if self._python:
            self.addOnPythonLabel.setText(
                self.tr("Made with Python {}: {}").format(version, self._python)
            )
            self.addOnPythonButton.setText(self.tr("Choose automatically"))
        else:
            self.addOnPythonLabel.setText(self.tr("A Python is found or downloaded for it."))
            self.addOnPythonButton.setText(self.tr("Use an existing Python…"))

    # --- the work

    def _install(self) -> None:
        self._add_on.install(self._bundle, self._python)

    def _remove(self) -> None:
        answer = QMessageBox.question(
            self,
            self.tr("Remove the add-on"),
            self.tr(
                "Remove the add-on? The instant head stays, and heads that were trained go on "
                "working."
            ),
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._add_on.remove()

    def _stop(self) -> None:
        self.addOnStopButton.setEnabled(False)
        self.addOnWorkLabel.setText(self.tr("Stopping…"))
        self._add_on.cancel()

    def _told(self, fraction: float, message: str) -> None:
        if not self.addOnStopButton.isEnabled():
            return
        self.addOnBar.setValue(round(1000 * fraction))
        if message:
            self.addOnWorkLabel.setText(messages.phase(message))

    def _show_outcome(self, outcome: Outcome) -> None:
        if outcome.kind == FAILED and outcome.error is not None:
            self._failed(outcome.error)
        elif outcome.kind == INSTALLED:
            self._note.say(self._installed(), note.SUCCESS)
        elif outcome.kind == REMOVED:
            freed = text.size(outcome.freed_bytes)
            self._note.say(self.tr("Removed. This frees {}.").format(freed), note.SUCCESS)
        else:
            self._note.say(
                self.tr("Stopped. What was there before is as it was; what was downloaded is kept.")
            )

    def _installed(self) -> str:
        told = [self.tr("Installed, and tried out: it works.")]
        if self._add_on.can_train:
            told.append(self.tr("MLP can be chosen on the Map page."))
        return text.join(told)

    def _failed(self, error: Exception) -> None:
        words = messages.words(error)
        has_log = isinstance(error, InstallFailed) or not isinstance(error, TesseraError)
        self._note.say(words, note.WARNING, self.tr("Copy the log") if has_log else "")

    def _copy_log(self) -> None:
        QgsApplication.clipboard().setText(self._add_on.log_text())
        self._note.say(self._note.text(), note.WARNING, self.tr("The log is copied"))
