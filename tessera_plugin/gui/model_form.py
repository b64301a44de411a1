# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How somebody's model is run, on the widgets of the dialog: filled in, and to be corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QFileDialog, QWidget

from ..errors import ModelUnusable
from ..tasks import model_jobs
from ..values import LandClass
from . import model_words
from .color_table import KEY, ColorTable

if TYPE_CHECKING:
    from ..engine.model_forms import ModelFacts, ModelForm

MOST_CLASSES = 255
"""A table of more classes is of no use to anybody."""

Statistics = Tuple[Tuple[float, ...], Tuple[float, ...]]
NOTHING: Statistics = ((), ())


class FormPart(QObject):
    """Shows the form of a model and keeps what the person changes."""

    changed = pyqtSignal()

    def __init__(self, page: QWidget) -> None:
        super().__init__(page)
        self._page = page
        self._facts: Optional[ModelFacts] = None
        self._classes: List[LandClass] = []
        self._statistics: List[Tuple[str, Statistics]] = []
        self._table = page.modelClassTable = ColorTable("modelClassTable", page)
        self._table.hideColumn(KEY)
        self._table.setToolTip(
            self.tr(
                "In the order of the model's outputs. Double-click a name to change it; click a "
                "colour to choose another."
            )
        )
        page.modelClassesLayout.insertWidget(0, self._table)
        for words, activation in (
            (self.tr("shares of 1 already"), "none"),
            (self.tr("scores, each by itself (sigmoid)"), "sigmoid"),
            (self.tr("scores, one of all (softmax)"), "softmax"),
        ):
            page.modelActivationCombo.addItem(words, activation)
        self._connect()
        self.show_facts(None)

    # --- what others ask

    @property
    def form(self) -> Optional[ModelForm]:
        """What the widgets say; None without a model."""
        if self._facts is None:
            return None
        page = self._page
        mean, std = self._chosen_statistics()
        return replace(
            self._facts.form,
            classes=tuple(self._classes),
            patch_px=page.modelPatchSpin.value(),
            overlap_px=page.modelOverlapSpin.value(),
            mean=mean,
            std=std,
            activation=page.modelActivationCombo.currentData(),
            threshold=page.modelThresholdSpin.value(),
        )

    @property
    def problem(self) -> str:
        """What is to be corrected; empty where nothing is."""
        facts, form = self._facts, self.form
        if facts is None or form is None:
            return ""
        if facts.outputs > MOST_CLASSES:
            return self.tr(
                "The model gives {} numbers per pixel, too many for classes. Choose another one."
            ).format(facts.outputs)
        names = [each.name for each in form.classes]
        if not all(names):
            return self.tr("Give every class a name.")
        if len(set(names)) < len(names):
            return self.tr("Give every class a name of its own.")
        try:
            form.check(facts)
        except ModelUnusable as error:
            return self.tr("It can't be run like this: {}.").format(error.reason)
        return ""

    def show_facts(self, facts: Optional[ModelFacts]) -> None:
        """Fill in the form of a model, or empty it."""
        self._facts = facts
        page = self._page
        page.modelFormGroup.setVisible(facts is not None)
        is_single = facts is not None and facts.outputs == 1
        for widget in (page.modelThresholdLabel, page.modelThresholdSpin):
            widget.setVisible(is_single)
        self._show_statistics([], 0)
        self._classes = []
        if facts is not None:
            self._fill(facts)
        self._show_classes()
        self.changed.emit()

    # --- inside

    def _connect(self) -> None:
        page = self._page
        page.modelPatchSpin.valueChanged.connect(self._patch_changed)
        for signal in (
            page.modelOverlapSpin.valueChanged,
            page.modelThresholdSpin.valueChanged,
            page.modelActivationCombo.currentIndexChanged,
            page.modelValuesCombo.currentIndexChanged,
        ):
            signal.connect(lambda _: self._tell())
        page.modelStatisticsButton.clicked.connect(self._choose_statistics)
        self._table.renamed.connect(self._rename)
        self._table.recolored.connect(self._recolor)

    def _fill(self, facts: ModelFacts) -> None:
        page, form = self._page, facts.form
        is_pixels = facts.layout == "NC"
        page.modelPatchSpin.setMaximum(model_jobs.largest_patch_px())
        page.modelPatchSpin.setValue(form.patch_px)
        page.modelPatchSpin.setEnabled(not is_pixels and not facts.patch)
        page.modelOverlapSpin.setEnabled(not is_pixels)
        self._patch_changed(form.patch_px)
        page.modelOverlapSpin.setValue(form.overlap_px)
        activations = page.modelActivationCombo
        activations.setCurrentIndex(activations.findData(form.activation))
        page.modelThresholdSpin.setValue(form.threshold)
        if form.mean or form.std:
            told = (model_words.sources(facts), (form.mean, form.std))
            self._show_statistics([told], 1)
        if facts.outputs <= MOST_CLASSES:
            self._classes = list(form.classes)

    def _patch_changed(self, patch_px: int) -> None:
        self._page.modelOverlapSpin.setMaximum(patch_px // 2)
        self._tell()

    # --- values

    def _show_statistics(self, known: List[Tuple[str, Statistics]], chosen: int) -> None:
        combo = self._page.modelValuesCombo
        self._statistics = known
        combo.blockSignals(True)
        combo.clear()
        combo.addItem(self.tr("as they are"))
        for source, _ in known:
            words = self.tr("standardised by {}") if len(known) > 1 else self.tr("standardised")
            combo.addItem(words.format(source))
        combo.setCurrentIndex(chosen)
        combo.blockSignals(False)
        self._tell()

    def _chosen_statistics(self) -> Statistics:
        index = self._page.modelValuesCombo.currentIndex()
        return self._statistics[index - 1][1] if index > 0 else NOTHING

    def _choose_statistics(self) -> None:
        folder = str(Path(self._facts.path).parent) if self._facts is not None else ""
        path, _ = QFileDialog.getOpenFileName(
            self._page,
            self.tr("Mean and standard deviation"),
            folder,
            f"{self.tr('JSON files')} (*.json);;{self.tr('All files')} (*)",
        )
        if not path:
            return
        found, name = model_jobs.statistics(path), Path(path).name
        if not all(found):
            self._page.modelValuesNote.setText(
                self.tr("“{}” has no lists “mean” and “std”.").format(name)
            )
            self._page.modelValuesNote.show()
            return
        known = [each for each in self._statistics if each[0] != name]
        self._show_statistics([*known, (name, found)], len(known) + 1)

    def _tell(self) -> None:
        """Say what is done to the values, and tell others."""
        page = self._page
        index = page.modelValuesCombo.currentIndex()
        told = ""
        if index > 0:
            told = self.tr("Mean and standard deviation from {}.").format(
                self._statistics[index - 1][0]
            )
        page.modelValuesNote.setText(told)
        page.modelValuesNote.setVisible(bool(told))
        self.changed.emit()

    # --- classes

    def _show_classes(self) -> None:
        self._table.show_names(self._classes)

    def _rename(self, number: int, name: str) -> None:
        self._change(number, name=name.strip())
        self.changed.emit()

    def _recolor(self, number: int, color: str) -> None:
        self._change(number, color=color)
        self.changed.emit()

    def _change(self, number: int, *, name: Optional[str] = None, color: str = "") -> None:
        """Change a class by its id."""
        self._classes = [
            LandClass(number, each.name if name is None else name, color or each.color)
            if each.id == number
            else each
            for each in self._classes
        ]
