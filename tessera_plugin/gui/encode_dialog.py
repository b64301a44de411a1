# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encode own scenes: model, input, start; and always a sentence that says what is next."""

from __future__ import annotations

from typing import Optional, Tuple

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtGui import QIcon, QShowEvent
from qgis.PyQt.QtWidgets import QDialog

from ..errors import TesseraError
from ..tasks.encode_jobs import EncodePlan
from ..tasks.session import Session
from . import forms, messages, note, text
from .encode_input import STAC, InputPart
from .encode_model import ModelPart
from .encode_run import Encoding
from .encode_start import StartPart
from .job_bar import JobBar
from .links import Links
from .note import Note

MODEL, INPUT, START = range(3)


class EncodeDialog(QDialog):
    """Not modal; closing it stops nothing, and opened again it is as it was."""

    add_on_wanted = pyqtSignal()

    def __init__(self, iface: QgisInterface, session: Session, encoding: Encoding) -> None:
        super().__init__(iface.mainWindow())
        forms.load("encode_dialog", self)
        self._session, self._encoding = session, encoding
        self._links = Links()
        self._note = Note("encodeNote", self)
        self.encodeNoteLayout.addWidget(self._note)
        self.model = ModelPart(self, session)
        self.input = InputPart(self, session, iface)
        self.start = StartPart(self, session)
        self._job = JobBar(
            session.box, self.encodeJobFrame, self.encodeBar, self.encodeCancelButton
        )
        self._soon = QTimer(self)  # much may change at once
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._refresh)
        self._connect()
        self._refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._encoding.is_watched:
            self._encoding.is_watched = True
            self.model.look()

    def done(self, result: int) -> None:
        """Hide; what runs goes on, and what was chosen stays."""
        self._encoding.is_watched = False
        super().done(result)

    def close_down(self) -> None:
        """Close for good, and let no code of ours run after it."""
        self._links.close()
        self._job.close_down()
        self._soon.stop()
        for part in (self.model, self.input, self.start):
            part.close_down()
        self.close()

    # --- what is planned

    @property
    def plan(self) -> Optional[EncodePlan]:
        """What would be encoded now; None where something is missing."""
        facts, window = self.model.facts, self.input.window
        if any(self._problems()) or facts is None or window is None:
            return None
        return EncodePlan(
            encoder=facts,
            window=window,
            name=self.start.name,
            year=self.start.year,
            depth=self.model.depth,
            providers=self.start.providers,
            scenes=self.input.scenes,
            stac=self.input.plan,
            tile=self.input.folder,
            keeps_inputs=self.keepInputsCheck.isChecked(),
        )

    # --- inside

    def _connect(self) -> None:
        box = self._session.box
        self._links.connect(box.started, self._job_started)
        self._links.connect(box.ended, lambda *_: self._refresh())
        self._links.connect(self._encoding.said, self._say)
        self.model.changed.connect(self._soon.start)
        self.model.devices_known.connect(lambda: self.start.show_devices(self.model.devices))
        self.model.add_on_wanted.connect(self.add_on_wanted)
        self.input.changed.connect(self._soon.start)
        self.input.area.drawing.connect(self._give_way)
        self.start.changed.connect(self._soon.start)
        self.encodeTabs.currentChanged.connect(lambda _: self._refresh())
        self.keepInputsCheck.toggled.connect(lambda _: self._soon.start())
        self.encodeMainButton.clicked.connect(self._go_on)
        self.encodeBackButton.clicked.connect(self._go_back)
        self.encodeCloseButton.clicked.connect(self.reject)
        self._note.acted.connect(self._encoding.add_observations)

    def _problems(self) -> Tuple[str, str, str]:
        """Return what is missing in each step; empty where nothing is."""
        needs_radar = ""
        facts, scenes = self.model.facts, self.input.scenes
        if facts is not None and facts.needs_s1 and scenes is not None and not scenes.s1:
            needs_radar = self.tr("This encoder can't do without Sentinel-1: add such images too.")
        return (self.model.problem, self.input.problem or needs_radar, self.start.problem)

    def _refresh(self, *_: object) -> None:
        """Show what is complete, what is next, and what it would take."""
        facts = self.model.facts
        if facts is not None:
            self.input.stac.prefer(facts.data_source)
        self.start.propose(self.input.name, self.input.year)
        problems, step = self._problems(), self.encodeTabs.currentIndex()
        is_done = (not problems[MODEL], not problems[INPUT], self._is_done())
        for number, done in enumerate(is_done):
            self.encodeTabs.setTabIcon(number, forms.icon("done") if done else QIcon())
        self.keepInputsCheck.setVisible(not self.input.folder)
        running = self._session.box.running
        self.start.plan_is(self.plan, can_ask=not running)
        self.nextLabel.setText(self._next(problems, step, running))
        self.encodeBackButton.setVisible(step > MODEL)
        self.encodeMainButton.setText(self._verb(step))
        can_go_on = not problems[step] if step < START else not (any(problems) or running)
        self.encodeMainButton.setEnabled(can_go_on)
        self.encodeMainButton.setToolTip(messages.waits_for(running) if step == START else "")

    def _verb(self, step: int) -> str:
        if step < START:
            return self.tr("Next")
        if self.input.kind == STAC:
            return self.tr("Download and encode")
        return self.tr("Start encoding")

    def _next(self, problems: Tuple[str, str, str], step: int, running: str) -> str:
        """Return the sentence that says what to do next."""
        if running and step == START:
            return self._while_running(running)
        for number in (step, *range(step)):  # what is in sight, then what was passed over
            if problems[number]:
                named = self.encodeTabs.tabText(number).replace("&", "")
                return problems[number] if number == step else f"{named}: {problems[number]}"
        if step == START and self._is_done():
            return self.tr("Done. Label some places, or encode something else.")
        return (
            self.tr("Next: choose the images."),
            self.tr("Next: name it and see how long it takes."),
            self.tr("Everything is there: start."),
        )[step]

    def _is_done(self) -> bool:
        """Whether it is just what is shown that was encoded last."""
        last = self._encoding.last
        return last is not None and last.plan == self.plan

    def _while_running(self, running: str) -> str:
        if self._encoding.is_running:
            return self.tr("You can close this window and go on working: the dock shows it.")
        return messages.waits_for(running)

    # --- what a person does

    def _go_on(self) -> None:
        step, plan = self.encodeTabs.currentIndex(), self.plan
        if step < START:
            self.encodeTabs.setCurrentIndex(step + 1)
            return
        if plan is None:
            return
        self.start.give_way()
        try:
            self._encoding.start(plan)
        except TesseraError as error:
            self._say(text.join(messages.explain(error)), note.WARNING)
        self._refresh()

    def _go_back(self) -> None:
        self.encodeTabs.setCurrentIndex(self.encodeTabs.currentIndex() - 1)

    def _give_way(self, is_drawing: bool) -> None:  # noqa: FBT001 - a signal's
        """Let the map be seen while a rectangle is drawn on it."""
        self.setVisible(not is_drawing)
        if not is_drawing:
            self.raise_()
            self.activateWindow()

    # --- what is told

    def _job_started(self, _title: str) -> None:
        self.start.give_way()
        self._refresh()

    def _say(self, words: str, kind: str) -> None:
        is_done = self._encoding.last is not None
        action = self.tr("Show how often each pixel was seen") if is_done else ""
        self._note.say(words, kind, action)
        self.encodeTabs.setCurrentIndex(START)
