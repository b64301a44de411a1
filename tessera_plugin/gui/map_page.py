# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Map: train a head, see how good it is, classify what the map shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence

from qgis.core import QgsProject
from qgis.gui import QgisInterface, QgsFileWidget
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QFileDialog,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ..errors import NoLabels, TesseraError
from ..tasks import jobs, snapshot
from ..tasks.session import Session
from . import add_on, forms, map_words, messages, note, text, view
from .area_page import AreaPage
from .curve import LossCurve
from .links import Links
from .matrix import SPARE_PX, MatrixView, swatch
from .note import Note

if TYPE_CHECKING:
    from ..engine.classify import ClassCount, StagedMap
    from ..engine.heads import Head
    from ..engine.training import TrainResult

INSTANT, MLP = "instant", "mlp"
MODEL = ".onnx"
HEAD_FILES = f"*.head *{MODEL}"


class MapPage(QWidget):
    """From labels to a head, from the head to a map."""

    trained = pyqtSignal()
    mapped = pyqtSignal()
    news = pyqtSignal(QWidget)
    """Something to look at has come into a widget of the page."""
    add_on_wanted = pyqtSignal()
    """The add-on's link was clicked."""
    model_wanted = pyqtSignal(str)
    """An ONNX model was opened instead of a head."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("map_page", self)
        self._iface, self._session, self._area = iface, session, area
        self._links = Links()
        self._head: Optional[Head] = None
        self._proposed = ""
        self._add_on_percent = -1
        self._train_note = Note("trainNote", self)
        self.trainNoteLayout.addWidget(self._train_note)
        self._map_note = Note("classifyNote", self)
        self.classifyNoteLayout.addWidget(self._map_note)
        self._curve = LossCurve(self)
        self.curveLayout.addWidget(self._curve)
        self._matrix = MatrixView(self)
        self.matrixLayout.addWidget(self._matrix)
        self._dress()
        self._fill_options()
        self._connect()
        self._show_head(None)
        self._measured()

    # --- what the dock asks

    def restore(self) -> None:
        """Go on with the head of the last time, if it is still there."""
        path = self._session.settings.head_path
        if path and Path(path).is_file():
            self._use_head(path)
        self.refresh()

    def refresh(self) -> None:
        """Show what can be done as things are now."""
        self._offer_heads()
        self._propose_output()
        self._enable()

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        self._links.close()

    # --- options

    def _dress(self) -> None:
        self.trainButton.setIcon(forms.icon("train"))
        self.classifyButton.setIcon(forms.icon("classify"))
        self.headCombo.addItem(self.tr("Instant"), INSTANT)
        self.headCombo.addItem(self.tr("MLP (neural network)"), MLP)
        self.outputPath.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.outputPath.setFilter(self.tr("GeoTIFF (*.tif)"))
        self.outputPath.setDialogTitle(self.tr("Save the map as"))
        self.areaTable.hide()
        self.areaTable.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        header = self.areaTable.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def _fill_options(self) -> None:
        settings = self._session.settings
        self.testShareSpin.setValue(round(100 * settings.test_share))
        self.polygonSpin.setValue(settings.max_px_per_polygon)
        self.seedSpin.setValue(settings.seed)
        self.confidenceCheck.setChecked(settings.confidence)
        self._offer_heads()

    def _connect(self) -> None:
        session = self._session
        self._links.connect(session.box.started, self._enable)
        self._links.connect(session.box.ended, self._enable)
        self._links.connect(session.settings_changed, self.refresh)
        self._links.connect(session.add_on.changed, self._offer_heads)
        self._links.connect(session.add_on.told, self._tell_add_on)
        self.headNote.linkActivated.connect(lambda _: self.add_on_wanted.emit())
        self._links.connect(session.labels.changed, self._enable)
        self._area.measured.connect(self._measured)
        self.headCombo.currentIndexChanged.connect(self._head_chosen)
        self.testShareSpin.valueChanged.connect(
            lambda value: session.update(test_share=value / 100)
        )
        self.polygonSpin.valueChanged.connect(
            lambda value: session.update(max_px_per_polygon=value)
        )
        self.seedSpin.valueChanged.connect(lambda value: session.update(seed=value))
        self.confidenceCheck.toggled.connect(lambda on: session.update(confidence=on))
        self.trainButton.clicked.connect(self._train)
        self.loadHeadButton.clicked.connect(self._load_head)
        self.classifyButton.clicked.connect(self._classify)

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
        self.headNote.setText(text.join([told, add_on.line(self._session.add_on)]))

    def _tell_add_on(self, fraction: float, _: str) -> None:
        percent = round(100 * fraction)
        if percent != self._add_on_percent:
            self._add_on_percent = percent
            self._offer_heads()

    def _head_chosen(self) -> None:
        self._session.update(head_kind=self.headCombo.currentData())

    def _propose_output(self) -> None:
        """Propose a file beside the labels, as long as the person has not chosen another."""
        if self.outputPath.filePath() not in ("", self._proposed):
            return
        folder = Path(self._session.labels_path).parent
        name = f"land_cover_{self._session.settings.year}.tif"
        self._proposed = self._session.settings.output_path or str(folder / name)
        if Path(self._proposed).name.startswith("land_cover_"):
            self._proposed = str(Path(self._proposed).with_name(name))
        self.outputPath.setFilePath(self._proposed)

    def _measured(self) -> None:
        self.mapSizeLabel.setText(self.tr("What the map shows: {}").format(self._area.size_text))
        self._enable()

    def _enable(self, *_: object) -> None:
        running = self._session.box.running
        idle = not running
        self.trainButton.setEnabled(idle)
        self.trainButton.setToolTip(
            messages.waits_for(running) or self.tr("Learn the classes from the labels")
        )
        self.loadHeadButton.setEnabled(idle)
        self.headCombo.setEnabled(idle)
        ready = self._head is not None and self._area.problem is None
        self.classifyButton.setEnabled(idle and ready)
        self.classifyButton.setToolTip(messages.waits_for(running) or self._why_not())

    def _why_not(self) -> str:
        if self._head is None:
            return self.tr("Train or load a head first")
        if self._area.problem is not None:
            return " ".join(messages.explain(self._area.problem))
        return self.tr("Write the class of every pixel that the map shows to a raster")

    # --- train

    def _train(self) -> None:
        try:
            labels = snapshot.labels_of(self._session.labels)
            if not labels.items:
                raise NoLabels(self._session.labels_path)
            task = jobs.train(self._session, labels)
        except TesseraError as error:
            self._train_note.say("\n".join(messages.explain(error)), note.WARNING)
            return
        task.happened.connect(lambda epoch: self._curve.add(*epoch))
        task.succeeded.connect(self._trained)
        task.failed.connect(lambda error: self._failed(self._train_note, error))
        task.cancelled.connect(
            lambda: self._train_note.say(self.tr("Stopped. The head is as it was before."))
        )
        if self._session.box.start(task):
            self._train_note.say("")
            self._curve.clear()
            self._curve.setVisible(self.headCombo.currentData() == MLP)
            self.news.emit(self.trainButton)

    def _trained(self, result: TrainResult) -> None:
        samples, told = result.samples, []
        told.append(
            self.tr("Trained on {} pixels of {} labels in {}.").format(
                text.count(samples.pixels),
                text.count(samples.labels),
                text.seconds(float(str(result.head.training.get("seconds", 0)))),
            )
        )
        left_out = samples.invalid_px + samples.missing_px
        if left_out:
            told.append(
                self.tr("Left out, without a valid embedding: {} pixels.").format(
                    text.count(left_out)
                )
            )
        if samples.conflicting_px:
            told.append(
                self.tr("Left out, labelled as several classes: {} pixels.").format(
                    text.count(samples.conflicting_px)
                )
            )
        told += self._empty_classes(result)
        told += self._other_years()
        self._train_note.say("\n".join(told), note.WARNING if len(told) > 1 else note.SUCCESS)
        self._session.update(head_path=result.head_path)
        self._show_head(result.head)
        self.news.emit(self.accuracyGroup)
        self.trained.emit()

    def _empty_classes(self, result: TrainResult) -> List[str]:
        names = [each.name for each in result.samples.classes if not each.labels]
        if not names:
            return []
        return [self.tr("Without usable labels, so not mapped: {}.").format(", ".join(names))]

    def _other_years(self) -> List[str]:
        year = self._session.settings.year
        others = {
            each: count
            for each, count in self._session.labels.years.items()
            if each not in (0, year)
        }
        if not others:
            return []
        return [
            self.tr("{} labels were made for {}, and were used for {} as they are.").format(
                text.count(sum(others.values())),
                ", ".join(str(each) for each in sorted(others)),
                year,
            )
        ]

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
            self._failed(self._train_note, error)
            return False
        self._session.update(head_path=path)
        self._show_head(head)
        self._train_note.say("")
        return True

    def _show_head(self, head: Optional[Head]) -> None:
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
        self._show_accuracy(head)
        self._enable()

    def _show_accuracy(self, head: Optional[Head]) -> None:
        self.accuracyGroup.setVisible(head is not None)
        if head is None:
            return
        accuracy = head.accuracy
        self._matrix.show_accuracy(accuracy, head.classes)
        if accuracy is None or accuracy.overall is None:
            self.accuracyLabel.setText(
                self.tr("Not measured: there were too few labels to hold some out.")
            )
            self.refitLabel.hide()
            return
        low, high = accuracy.interval or (0.0, 1.0)
        self.accuracyLabel.setText(
            "<b>{}</b><br>{}".format(
                self.tr("Overall accuracy {} (95 % interval {} to {})").format(
                    text.percent(accuracy.overall, 1), text.percent(low), text.percent(high)
                ),
                self.tr("{} test pixels from {} labels · macro F1 {} · kappa {}").format(
                    text.count(accuracy.n),
                    text.count(accuracy.n_labels),
                    _figure(accuracy.macro_f1),
                    _figure(accuracy.kappa),
                ),
            )
        )
        self.refitLabel.setVisible(True)
        self.refitLabel.setText(self._refit_text(head))

    def _refit_text(self, head: Head) -> str:
        trained = self.tr("{} head for {}, {}.").format(
            self.tr("MLP") if head.kind == MLP else self.tr("Instant"),
            snapshot.title_of(self._session.settings, head.dataset),
            ", ".join(str(year) for year in head.years),
        )
        if head.training.get("refitted"):
            told = self.tr("After this test it was trained again on all labels.")
        else:
            told = self.tr("The labels held out for this test were not used to train it.")
        return f"{trained} {told}"

    # --- classify

    def _classify(self) -> None:
        out = self.outputPath.filePath().strip()
        if not out:
            self._map_note.say(self.tr("Choose a file for the map first."), note.WARNING)
            return
        if not out.lower().endswith((".tif", ".tiff")):
            out = f"{out}.tif"
            self.outputPath.setFilePath(out)
        try:
            self._check_head()
            task = jobs.classify(
                self._session, self._area.extent(), self._session.settings.head_path, out
            )
        except TesseraError as error:
            self._map_note.say("\n".join(messages.explain(error)), note.WARNING)
            return
        generation = self._session.project_generation
        task.succeeded.connect(lambda staged: self._came(staged, out, generation))
        task.failed.connect(lambda error: self._failed(self._map_note, error))
        task.cancelled.connect(
            lambda: self._map_note.say(self.tr("Stopped. No file was written or changed."))
        )
        if self._session.box.start(task):
            self._map_note.say("")
            self.areaTable.hide()

    def _check_head(self) -> None:
        """Check that the head and the dataset chosen on the Area page belong together."""
        chosen = self._session.dataset
        if self._head is not None:
            is_offered = self._head.depth in chosen.depths
            self._head.check(chosen.key, self._head.depth if is_offered else chosen.depth)

    def _came(self, staged: StagedMap, out: str, generation: int) -> None:
        project = QgsProject.instance()
        is_same = generation == self._session.project_generation
        try:
            with view.kept(self._iface.mapCanvas()):
                result = jobs.publish(staged, project if is_same else None)
        except TesseraError as error:
            self._failed(self._map_note, error)
            return
        self._session.update(output_path=out)
        told = map_words.sentences(result, out, self.tr("Classify again to fill them."))
        self._map_note.say("\n".join(told), map_words.kind(result))
        self._show_areas(result.classes)
        self.news.emit(self.areaTable)
        self.mapped.emit()

    def _show_areas(self, classes: Sequence[ClassCount]) -> None:
        table: QTableWidget = self.areaTable
        total = sum(each.pixels for each in classes) or 1
        table.setRowCount(len(classes))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for row, each in enumerate(classes):
            table.setItem(row, 0, QTableWidgetItem(swatch(each.color), each.name))
            shown = (text.decimal(each.hectares, 1), text.percent(each.pixels / total, 1))
            for column, value in enumerate(shown, 1):
                item = QTableWidgetItem(value)
                item.setTextAlignment(right)
                table.setItem(row, column, item)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 8)
        height = table.horizontalHeader().sizeHint().height() + table.verticalHeader().length()
        table.setFixedHeight(height + SPARE_PX)
        table.show()

    def _failed(self, where: Note, error: Exception) -> None:
        if isinstance(error, TesseraError):
            where.say("\n".join(messages.explain(error)), note.WARNING)
            messages.log(error)
        else:
            messages.show_error(self._iface.messageBar(), error)


def _figure(value: Optional[float]) -> str:
    return text.NONE if value is None else text.decimal(value)
