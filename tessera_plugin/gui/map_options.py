# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written beside a class map, and how a copy of it is cleaned."""

from __future__ import annotations

from dataclasses import replace

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..tasks import map_choices, map_jobs
from ..tasks.map_choices import HECTARES, PIXELS, MapChoices
from ..tasks.session import Session
from . import forms

MOST_SIEVE_PX = 1_000_000


class MapOptions(QWidget):
    """Every change is remembered at once."""

    changed = pyqtSignal()

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("map_options", self)
        self._session = session
        for edge in (3, 5):
            self.majorityCombo.addItem(self.tr("{} \u00d7 {} px").format(edge, edge), edge)
        self.sieveUnitCombo.addItem(self.tr("px"), PIXELS)
        self.sieveUnitCombo.addItem(self.tr("ha"), HECTARES)
        self._fill(map_jobs.choices(session))
        self._connect()
        self._enable()

    # --- inside

    def _fill(self, chosen: MapChoices) -> None:
        self.uncertainCheck.setChecked(chosen.uncertain)
        self.uncertainSpin.setValue(chosen.uncertain_below)
        self.probabilitiesCheck.setChecked(chosen.probabilities)
        self.marginCheck.setChecked(chosen.margin)
        self.noveltyCheck.setChecked(chosen.novelty)
        self.majorityCheck.setChecked(bool(chosen.majority))
        self.majorityCombo.setCurrentIndex(max(self.majorityCombo.findData(chosen.majority), 0))
        self.sieveCheck.setChecked(chosen.sieve)
        self.sieveUnitCombo.setCurrentIndex(self.sieveUnitCombo.findData(chosen.sieve_unit))
        self._show_unit()
        self.sieveSpin.setValue(chosen.sieve_size)
        self.cornersCheck.setChecked(chosen.corners)
        self.polygonsCheck.setChecked(chosen.polygons)

    def _connect(self) -> None:
        for check in (
            *(self.uncertainCheck, self.probabilitiesCheck, self.marginCheck, self.noveltyCheck),
            *(self.majorityCheck, self.sieveCheck, self.cornersCheck, self.polygonsCheck),
        ):
            check.toggled.connect(self._keep)
        self.uncertainSpin.valueChanged.connect(self._keep)
        self.sieveSpin.valueChanged.connect(self._keep)
        self.majorityCombo.currentIndexChanged.connect(self._keep)
        self.sieveUnitCombo.currentIndexChanged.connect(self._unit_chosen)

    def _unit_chosen(self, *_: object) -> None:
        """Keep the size as it is, in the other unit."""
        size = float(self.sieveSpin.value())
        to_hectares = self.sieveUnitCombo.currentData() == HECTARES
        per = map_choices.PX_PER_HECTARE
        self.sieveSpin.blockSignals(True)
        self._show_unit()
        self.sieveSpin.setValue(size / per if to_hectares else size * per)
        self.sieveSpin.blockSignals(False)
        self._keep()

    def _show_unit(self) -> None:
        is_px = self.sieveUnitCombo.currentData() == PIXELS
        per = map_choices.PX_PER_HECTARE
        self.sieveSpin.setDecimals(0 if is_px else 2)
        self.sieveSpin.setSingleStep(1.0 if is_px else 0.1)
        self.sieveSpin.setRange(*((2, MOST_SIEVE_PX) if is_px else (0.02, MOST_SIEVE_PX / per)))

    def _keep(self, *_: object) -> None:
        before = map_jobs.choices(self._session)
        chosen = replace(
            before,
            uncertain=self.uncertainCheck.isChecked(),
            uncertain_below=self.uncertainSpin.value(),
            probabilities=self.probabilitiesCheck.isChecked(),
            margin=self.marginCheck.isChecked(),
            novelty=self.noveltyCheck.isChecked(),
            majority=self.majorityCombo.currentData() if self.majorityCheck.isChecked() else 0,
            sieve=self.sieveCheck.isChecked(),
            sieve_size=float(self.sieveSpin.value()),
            sieve_unit=self.sieveUnitCombo.currentData(),
            corners=self.cornersCheck.isChecked(),
            polygons=self.polygonsCheck.isChecked(),
        )
        map_jobs.keep(self._session, chosen)
        self._enable()
        self.changed.emit()

    def _enable(self) -> None:
        self.uncertainSpin.setEnabled(self.uncertainCheck.isChecked())
        self.majorityCombo.setEnabled(self.majorityCheck.isChecked())
        for widget in (self.sieveSpin, self.sieveUnitCombo, self.cornersCheck):
            widget.setEnabled(self.sieveCheck.isChecked())
