# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Step 1 of encoding: which encoder; what it says of itself; and the way to have one."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Tuple

from qgis.PyQt.QtCore import QObject, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QFileDialog, QWidget

from ..errors import EncoderUnusable
from ..tasks import encode_lookups
from ..tasks.encode_lookups import Survey
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import encode_words, messages, note, text
from .encode_export import UNSTATED, ExportDialog
from .links import Links
from .note import Note

if TYPE_CHECKING:
    from ..engine.encoders import EncoderFacts, Listed
    from ..engine.worker import Device

MODELS = "https://huggingface.co/geotessera"
PROJECT = "https://github.com/ucam-eo/tessera"


class ModelPart(QObject):
    """Keeps the list of encoders and devices, and which encoder is chosen."""

    changed = pyqtSignal()
    """What is chosen, what is known of it, or what is missing."""
    devices_known = pyqtSignal()
    add_on_wanted = pyqtSignal()

    def __init__(self, page: QWidget, session: Session) -> None:
        super().__init__(page)
        self._page, self._session = page, session
        self._listed: Tuple[Listed, ...] = ()
        self._was_told = False
        self.devices: Tuple[Device, ...] = ()
        self._lookup = Lookup(self)
        self._links = Links()
        self._note = Note("modelNote", page)
        page.modelNoteLayout.addWidget(self._note)
        page.checkpointsLabel.setText(self._where_to_get_them())
        self._links.connect(session.add_on.changed, self.look)
        self._lookup.busy.connect(lambda _: self._tell())
        self._note.acted.connect(self.add_on_wanted)
        page.encodeAddOnButton.clicked.connect(self.add_on_wanted)
        page.addEncoderButton.clicked.connect(self._add)
        page.removeEncoderButton.clicked.connect(self._remove)
        page.encoderCombo.currentIndexChanged.connect(self._chosen)
        page.keptCombo.currentIndexChanged.connect(lambda _: self.changed.emit())
        self._show_list()

    # --- what others ask

    @property
    def facts(self) -> Optional[EncoderFacts]:
        """What the chosen encoder says of itself; None where none can be used."""
        chosen = self._chosen_one()
        return chosen.facts if chosen is not None else None

    @property
    def depth(self) -> int:
        """How many numbers are kept of an embedding; 0 for all."""
        facts, kept = self.facts, self._page.keptCombo.currentData()
        return 0 if facts is None or kept in (None, facts.depth) else int(kept)

    @property
    def problem(self) -> str:
        """What is to be done before this step is complete; empty where it is."""
        if not self._session.compute.available():
            return self.tr("Install the add-on: it runs the encoders.")
        if self.facts is not None:
            return ""
        if self._lookup.is_busy or not self._was_told:
            return self.tr("Looking which encoders there are…")
        if self._chosen_one() is not None:
            return self.tr("This encoder can't be used. Choose another one, or add one.")
        return self.tr("Add an encoder: a file that you have, or an official checkpoint.")

    def look(self) -> None:
        """Look which encoders and devices there are, if anything can run them."""
        self._tell()
        if self._session.compute.available() and not self._session.add_on.running:
            task = encode_lookups.survey(self._session)
            self._lookup.ask(task, self._answered, self._failed, self._listed_told)

    def close_down(self) -> None:
        """End what runs."""
        self._links.close()
        self._lookup.close()

    # --- the list

    def _listed_told(self, found: Survey) -> None:
        self._was_told, self._listed = True, found.encoders
        self._show_list()

    def _answered(self, found: Survey) -> None:
        self.devices = found.devices
        self.devices_known.emit()
        self._listed_told(found)

    def _failed(self, error: Exception) -> None:
        self._was_told = True
        self._say_error(error)
        self._tell()

    def _chosen_one(self) -> Optional[Listed]:
        path = self._page.encoderCombo.currentData()
        return next((each for each in self._listed if each.path == path), None)

    def _show_list(self) -> None:
        combo, wanted = self._page.encoderCombo, self._session.settings.encoder
        combo.blockSignals(True)
        combo.clear()
        for number, each in enumerate(self._listed):
            name = Path(each.path).name
            title = each.facts.title if each.facts else self.tr("{} (can't be used)").format(name)
            combo.addItem(title, each.path)
            combo.setItemData(number, each.path, Qt.ItemDataRole.ToolTipRole)
        combo.setCurrentIndex(max(combo.findData(wanted), 0) if self._listed else -1)
        combo.blockSignals(False)
        self._show_chosen()

    def _chosen(self) -> None:
        self._session.update(encoder=self._page.encoderCombo.currentData() or "")
        self._note.say("")
        self._show_chosen()

    def _show_chosen(self) -> None:
        page, chosen = self._page, self._chosen_one()
        facts = chosen.facts if chosen is not None else None
        page.encoderGroup.setVisible(facts is not None)
        if facts is not None:
            page.spaceValue.setText(encode_words.space(facts))
            page.precisionValue.setText(encode_words.precision(facts))
            page.needsValue.setText(encode_words.needs(facts))
            page.sourceValue.setText(encode_words.source(facts))
            page.licenceValue.setText(facts.licence or text.NONE)
            page.encoderFileValue.setText(
                self.tr("{} ({})").format(facts.path, text.size(facts.bytes))
            )
            page.encoderFileValue.setCursorPosition(0)
            page.encoderFileValue.setToolTip(facts.path)
            self._show_depths(facts)
        if chosen is not None and facts is None:
            self._note.say(self.tr("It can't be used: {}.").format(chosen.reason), note.WARNING)
        elif facts is not None and facts.warnings:
            self._note.say("\n".join(facts.warnings), note.WARNING)
        self._tell()

    def _show_depths(self, facts: EncoderFacts) -> None:
        combo = self._page.keptCombo
        depths = sorted({facts.depth, *facts.prefixes}, reverse=True)
        if [combo.itemData(index) for index in range(combo.count())] == depths:
            return
        combo.blockSignals(True)
        combo.clear()
        for each in depths:
            words = self.tr("{} (all)") if each == facts.depth else self.tr("the first {}")
            combo.addItem(words.format(each), each)
        combo.blockSignals(False)
        combo.setEnabled(len(depths) > 1)

    def _tell(self) -> None:
        page, session = self._page, self._session
        is_available, running = session.compute.available(), session.add_on.running
        page.encodeAddOnFrame.setVisible(not is_available or bool(running))
        if running:
            told = self.tr("The add-on is at work: {}…").format(running)
        else:
            told = self.tr("Encoders run in the add-on (ONNX Runtime), which is not installed yet.")
        page.encodeAddOnLabel.setText(told)
        for widget in (page.encoderCombo, page.addEncoderButton):
            widget.setEnabled(is_available and not running)
        chosen = self._page.encoderCombo.currentData()
        is_own = chosen in encode_lookups.read_paths(session.settings.encoders)
        page.removeEncoderButton.setEnabled(is_own)
        page.removeEncoderButton.setVisible(bool(session.settings.encoders.strip("[]")))
        self.changed.emit()

    def _where_to_get_them(self) -> str:
        told = self.tr(
            "Official encoders are free (CC0): version 2 from {}, earlier ones from the {}. Take the "
            "checkpoint (.pt) and add it here. “nano” and “small” are quick on any computer, "
            "“medium” and “large” are better with a GPU."
        )
        links = (
            f'<a href="{MODELS}">{escape(self.tr("the TESSERA model pages"))}</a>',
            f'<a href="{PROJECT}">{escape(self.tr("TESSERA project"))}</a>',
        )
        return escape(told).format(*links)

    # --- adding

    def _add(self) -> None:
        wanted = self.tr("Encoders and checkpoints (*.onnx *.pt *.pth)")
        path, _ = QFileDialog.getOpenFileName(
            self._page, self.tr("Add an encoder"), "", f"{wanted};;{self.tr('All files')} (*)"
        )
        if path:
            self.add(path)

    def add(self, path: str) -> None:
        """Take an encoder file into the list, or make one of a checkpoint."""
        self._note.say("")
        if path.lower().endswith((".pt", ".pth")):
            self._export(path)
            return
        task = encode_lookups.describe(self._session, path)
        self._lookup.ask(task, self._described, self._failed)

    def _described(self, facts: EncoderFacts) -> None:
        settings = self._session.settings
        remembered = (*encode_lookups.read_paths(settings.encoders), facts.path)
        self._session.update(encoders=encode_lookups.write_paths(remembered), encoder=facts.path)
        self._take(facts)

    def _take(self, facts: EncoderFacts) -> None:
        from ..engine.encoders import Listed  # noqa: PLC0415 - light plugin load

        others = tuple(each for each in self._listed if each.path != facts.path)
        self._listed = (*others, Listed(facts.path, facts))
        self._show_list()
        if not self.devices:
            self.look()

    def _remove(self) -> None:
        path, settings = self._page.encoderCombo.currentData(), self._session.settings
        left = [each for each in encode_lookups.read_paths(settings.encoders) if each != path]
        self._listed = tuple(each for each in self._listed if each.path != path)
        self._session.update(encoders=encode_lookups.write_paths(left), encoder="")
        self._note.say("")
        self._show_list()

    def _export(self, path: str, *, asks_source: bool = False) -> None:
        if not self._session.compute.can_train:
            self._note.say(
                self.tr("Making an encoder of a checkpoint needs the training part of the add-on."),
                note.INFO,
                self.tr("Add-on…"),
            )
            return
        dialog = ExportDialog(path, self._page, asks_source=asks_source)
        is_wanted = dialog.exec() == dialog.DialogCode.Accepted
        source, precision = dialog.source, dialog.precision
        dialog.deleteLater()
        if not is_wanted:
            return
        task = encode_lookups.export(self._session, path, source, precision)
        task.succeeded.connect(self._exported)
        task.failed.connect(lambda error: self._not_exported(path, source, error))
        task.cancelled.connect(lambda: self._note.say(self.tr("Stopped.")))
        if not self._session.box.start(task):
            self._note.say(messages.waits_for(self._session.box.running))

    def _exported(self, facts: EncoderFacts) -> None:
        self._session.update(encoder=facts.path)
        self._take(facts)
        if not facts.warnings:
            self._note.say(encode_words.exported(facts), note.SUCCESS)

    def _not_exported(self, path: str, source: str, error: Exception) -> None:
        lacks_source = isinstance(error, EncoderUnusable) and "data source" in error.reason
        if lacks_source and source == UNSTATED:
            self._export(path, asks_source=True)  # its name did not tell that it comes in two
        else:
            self._say_error(error)

    def _say_error(self, error: Exception) -> None:
        self._note.say(messages.words(error), note.WARNING)
