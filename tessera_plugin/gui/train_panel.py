# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Train: from labels to a head, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, List, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QFileDialog, QWidget

from ..errors import TesseraError
from ..tasks import jobs, train_jobs
from ..tasks.label_files import LabelFiles
from ..tasks.session import Session
from ..tasks.train_jobs import INSTANT, MLP
from . import add_on, forms, messages, note, text, train_words
from .accuracy_view import AccuracyView
from .curve import LossCurve
from .learnt_panel import LearntPanel
from .links import Links
from .note import Note
from .train_options import TrainOptionsForm
from .validation_panel import ValidationPanel

if TYPE_CHECKING:
    from ..engine.heads import Head
    from ..engine.training import TrainRequest, TrainResult

MODEL = ".onnx"
HEAD_FILES = f"*.head *{MODEL}"


class TrainPanel(QWidget):
    """From labels to a head; it is whole when `pieces` has come to its end."""

    trained = pyqtSignal()
    head_changed = pyqtSignal()
    """Another head, or none, is in use."""
    news = pyqtSignal(QWidget)
    """Something to look at has come into a widget of the panel."""
    add_on_wanted = pyqtSignal()
    """The add-on's link was clicked."""
    model_wanted = pyqtSignal(str)
    """An ONNX model was opened instead of a head."""

    def __init__(self, iface: QgisInterface, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("train_panel", self)
        self._iface, self._session = iface, session
        self._links = Links()
        self._head: Optional[Head] = None
        self._add_on_percent = -1
        self._note = Note("trainNote", self)
        self.trainNoteLayout.addWidget(self._note)
        self._curve = LossCurve(self)
        self.curveLayout.addWidget(self._curve)
        self._files = LabelFiles(self)
        self._parts: List[ValidationPanel] = []  # those with a `close_down`

    def pieces(self) -> Iterator[None]:
        """Make the panel whole, part by part."""
        session, canvas = self._session, self._iface.mapCanvas()
        self._options = TrainOptionsForm(session, self)
        self.optionsLayout.addWidget(self._options)
        yield
        self._learnt = LearntPanel(session, self._files, self)
        self.learntLayout.addWidget(self._learnt)
        yield
        self._validation = ValidationPanel(canvas, session, self._files, self._learnt, self)
        self.validationPlace.addWidget(self._validation)
        self._parts.append(self._validation)
        yield
        self._accuracy = AccuracyView(canvas, session, self)
        self.accuracyLayout.addWidget(self._accuracy)
        self._dress()
        self._offer_heads()
        self._connect()
        self._show_head(None)
        self._enable()
        yield

    # --- what the page asks

    @property
    def head(self) -> Optional[Head]:
        """The head in use; its file is `settings.head_path`."""
        return self._head

    def restore(self) -> None:
        """Go on with the head of the last time, if it is still there."""
        path = self._session.settings.head_path
        if path and Path(path).is_file():
            self._use_head(path)

    def use(self, path: str) -> None:
        """Use the head of a file; empty: none any more."""
        if path:
            self._use_head(path)
        else:
            self._session.update(head_path="")
            self._show_head(None)

    def refresh(self) -> None:
        """Show what can be done as things are now."""
        self._files.want(train_jobs.files(self._session))
        self._offer_heads()
        self._look_again()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Catch up with what was labelled meanwhile."""
        super().showEvent(event)
        self._look_again()

    def put_blocks_away(self) -> None:
        """Take the blocks of a test off a map that is finished."""
        self._validation.put_blocks_away()

    def prepare(self, then: Callable[[], None]) -> None:
        """Read the label files that the choices need as they are now, then call."""
        self._files.want(train_jobs.files(self._session), then)

    def request(self) -> TrainRequest:
        """Return what is to be trained, as it is chosen; call it from `prepare`.

        Raises: NoLabels, LabelsUnreadable, FieldMissing, ValidationImpossible.
        """
        return train_jobs.request(self._session, self._files)

    def close_down(self) -> None:
        """Let go of what lives longer than the panel."""
        self._links.close()
        for part in self._parts:
            part.close_down()
        self._files.close()

    # --- options

    def _dress(self) -> None:
        self.trainButton.setIcon(forms.icon("train"))
        self.headCombo.addItem(self.tr("Instant"), INSTANT)
        self.headCombo.addItem(self.tr("MLP (neural network)"), MLP)

    def _connect(self) -> None:
        session = self._session
        self._links.connect(session.box.started, self._enable)
        self._links.connect(session.box.ended, self._enable)
        self._links.connect(session.settings_changed, self._settings_changed)
        self._links.connect(session.labels.changed, self._look_again)
        self._links.connect(session.add_on.changed, self._offer_heads)
        self._links.connect(session.add_on.told, self._tell_add_on)
        self.headNote.linkActivated.connect(lambda _: self.add_on_wanted.emit())
        self.headCombo.currentIndexChanged.connect(self._head_chosen)
        for part in (self._options, self._learnt, self._validation):
            part.changed.connect(self._look_again)
        self._files.changed.connect(self._look_again)
        self.trainButton.clicked.connect(self._train)
        self.loadHeadButton.clicked.connect(self._load_head)

    def _offer_heads(self) -> None:
        """Offer MLP where it works; else say plainly that it does not and what does."""
        available = self._session.compute.can_train
        item = self.headCombo.model().item(self.headCombo.findData(MLP))
        item.setEnabled(available)
        kind = self._session.settings.head_kind if available else INSTANT
        self.headCombo.blockSignals(True)
        self.headCombo.setCurrentIndex(max(self.headCombo.findData(kind), 0))
        self.headCombo.blockSignals(False)
        if kind == MLP:
            told = self.tr("A small neural network, trained by PyTorch in a process of its own.")
        elif available:
            told = self.tr("Linear, trained in a blink. A good first choice.")
        else:
            told = self.tr("Linear, trained in a blink. It needs nothing else.")
        self._options.show_kind(kind)
        self.headNote.setText(text.join([told, add_on.line(self._session.add_on)]))

    def _tell_add_on(self, fraction: float, _: str) -> None:
        percent = round(100 * fraction)
        if percent != self._add_on_percent:
            self._add_on_percent = percent
            self._offer_heads()

    def _head_chosen(self) -> None:
        self._session.update(head_kind=self.headCombo.currentData())

    def _settings_changed(self) -> None:
        self._offer_heads()
        self._look_again()

    def _look_again(self) -> None:
        """Show what is learnt and whether it can be tested, while one looks at it."""
        if not self.isVisible():
            return
        self._learnt.refresh()
        title = self.tr("What is learnt: {}").format(self._learnt.summary)
        self.learntGroup.setTitle(title)
        self._enable()

    def _enable(self, *_: object) -> None:
        running, problem = self._session.box.running, self._validation.problem
        self.trainButton.setEnabled(not running and not problem)
        self.trainButton.setToolTip(
            messages.waits_for(running) or problem or self.tr("Learn the classes from the labels")
        )
        self.loadHeadButton.setEnabled(not running)
        self.headCombo.setEnabled(not running)

    # --- train

    def _train(self) -> None:
        self._note.say("")
        self._validation.bring_blocks_back()
        self.prepare(self._start)
        if self._files.is_busy:
            self._note.say(self.tr("Reading the label files…"))

    def _start(self) -> None:
        try:
            request = self.request()
            task = train_jobs.train(self._session, request)
        except TesseraError as error:
            self._failed(error)
            return
        task.happened.connect(lambda epoch: self._curve.add(*epoch))
        task.succeeded.connect(self._trained)
        task.failed.connect(self._failed)
        task.cancelled.connect(
            lambda: self._note.say(self.tr("Stopped. The head is as it was before."))
        )
        if self._session.box.start(task):
            self._note.say("")
            self._curve.clear()
            is_drawn = request.validation is None and request.test is None
            self._curve.setVisible(request.params.kind == MLP and is_drawn)
            self.news.emit(self.trainButton)

    def _trained(self, result: TrainResult) -> None:
        told = train_words.sentences(result, self._session)
        self._note.say("\n".join(told), note.WARNING if len(told) > 1 else note.SUCCESS)
        self._session.update(head_path=result.head_path)
        self._show_head(result.head, result)
        self.news.emit(self.accuracyGroup)
        self.trained.emit()

    def _load_head(self) -> None:
        folder = str(Path(self._session.settings.head_path or self._session.labels_path).parent)
        path, _ = QFileDialog.getOpenFileName(
            self,
            self.tr("Load a head"),
            folder,
            self.tr("Heads and models ({})").format(HEAD_FILES),
        )
        if path.lower().endswith(MODEL):
            self.model_wanted.emit(path)
        elif path and self._use_head(path):
            self._session.update(head_path=path)

    def _use_head(self, path: str) -> bool:
        try:
            head = jobs.load_head(path)
        except TesseraError as error:
            self._failed(error)
            return False
        self._session.update(head_path=path)
        self._show_head(head)
        self._note.say("")
        return True

    def _show_head(self, head: Optional[Head], result: Optional[TrainResult] = None) -> None:
        self._head = head
        path = self._session.settings.head_path if head is not None else ""
        self.headPath.setText(path)
        self.headPath.setToolTip(path)
        curve = head.training.get("loss_curve") if head is not None else None
        self._curve.setVisible(bool(curve))
        if isinstance(curve, list) and len(curve) != self._curve.epochs:
            self._curve.clear()
            for epoch in curve:
                self._curve.add(*epoch)
        self.accuracyGroup.setVisible(head is not None)
        if head is not None:
            self._accuracy.show_head(head, result)
        self.head_changed.emit()

    def _failed(self, error: Exception) -> None:
        note.tell(self._note, self._iface.messageBar(), error)
