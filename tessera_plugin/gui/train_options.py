# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of training: only those of the kind that is chosen, with a sentence each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Optional, Tuple

from qgis.PyQt.QtCore import QEvent, QObject, QRegularExpression, Qt, pyqtSignal
from qgis.PyQt.QtGui import QRegularExpressionValidator
from qgis.PyQt.QtWidgets import QWidget

from ..settings import Settings
from ..tasks import train_choices, train_jobs
from ..tasks.session import Session
from ..tasks.train_choices import TrainOptions
from . import forms
from .form_rows import FormRows
from .help_line import HelpLine

WIDTHS = r"\s*[1-9]\d{0,3}\s*(,\s*[1-9]\d{0,3}\s*)?"
"""One or two hidden layers."""

OF_MLP = (
    "hiddenEdit",
    "dropoutSpin",
    "epochsSpin",
    "rateSpin",
    "noiseSpin",
    "ensembleSpin",
    "weightsCheck",
)
OF_ALL = ("backgroundCheck", "calibrateCheck", "polygonSpin", "sureSpin", "seedSpin")

HELP_LINES = 3


class TrainOptionsForm(QWidget):
    """Every change is remembered at once."""

    changed = pyqtSignal()

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("train_options", self)
        self._session = session
        self._is_filling = False
        self._kind = train_jobs.MLP
        self.hiddenEdit.setValidator(QRegularExpressionValidator(QRegularExpression(WIDTHS), self))
        self.hiddenEdit.installEventFilter(self)
        self.optionHelp.setMinimumHeight(HELP_LINES * self.fontMetrics().lineSpacing())
        self.optionHelp.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._help = HelpLine(
            self.optionHelp,
            self.tr("The defaults suit most maps. Point at an option to read what it does."),
            self,
        )
        names = (*OF_MLP, *OF_ALL)
        self._help.follow(self.trainOptionsForm, [getattr(self, name) for name in names])
        self._rows = FormRows(self.trainOptionsForm)
        self._fill()
        self._connect()

    def show_kind(self, kind: str) -> None:
        """Show the options of a kind of head."""
        if kind == self._kind:
            return
        self._kind = kind
        self._rows.show((*OF_MLP, *OF_ALL) if kind == train_jobs.MLP else OF_ALL)

    def eventFilter(self, watched: Optional[QObject], event: Optional[QEvent]) -> bool:
        """Bring back the widths in use where what was typed is none."""
        if (
            event is not None
            and event.type() == QEvent.Type.FocusOut
            and not _widths(self.hiddenEdit.text())
        ):
            self._show_hidden(train_jobs.options(self._session))
        return bool(super().eventFilter(watched, event))

    # --- inside

    def _fill(self) -> None:
        chosen, settings = train_jobs.options(self._session), self._session.settings
        self._is_filling = True
        self._show_hidden(chosen)
        self.dropoutSpin.setValue(round(100 * chosen.dropout))
        self.epochsSpin.setValue(chosen.epochs)
        self.rateSpin.setValue(chosen.learning_rate)
        self.noiseSpin.setValue(chosen.noise)
        self.ensembleSpin.setValue(chosen.ensemble)
        self.weightsCheck.setChecked(chosen.class_weights)
        self.backgroundCheck.setChecked(chosen.background)
        self.calibrateCheck.setChecked(chosen.calibrate)
        self.sureSpin.setValue(chosen.min_confidence)
        self.polygonSpin.setValue(settings.max_px_per_polygon)
        self.seedSpin.setValue(settings.seed)
        self._is_filling = False
        self._enable()

    def _show_hidden(self, chosen: TrainOptions) -> None:
        self.hiddenEdit.setText(", ".join(str(each) for each in chosen.hidden))

    def _connect(self) -> None:
        spins = (
            self.dropoutSpin,
            self.epochsSpin,
            self.rateSpin,
            self.noiseSpin,
            self.ensembleSpin,
            self.polygonSpin,
            self.sureSpin,
            self.seedSpin,
        )
        for spin in spins:
            spin.valueChanged.connect(self._keep)
        self.weightsCheck.toggled.connect(self._keep)
        self.backgroundCheck.toggled.connect(self._keep)
        self.calibrateCheck.toggled.connect(self._keep)
        self.hiddenEdit.textEdited.connect(self._keep)
        self.defaultsButton.clicked.connect(self._to_defaults)

    def _keep(self, *_: object) -> None:
        if self._is_filling:
            return
        before = train_jobs.options(self._session)
        hidden = _widths(self.hiddenEdit.text())
        if not hidden:
            self._help.say(
                self.tr("One or two whole numbers, as 64 or 128, 64. In use: {}.").format(
                    ", ".join(str(each) for each in before.hidden)
                )
            )
        chosen = replace(
            before,
            hidden=hidden or before.hidden,
            dropout=self.dropoutSpin.value() / 100,
            epochs=self.epochsSpin.value(),
            learning_rate=round(self.rateSpin.value(), 4),
            noise=round(self.noiseSpin.value(), 2),
            ensemble=self.ensembleSpin.value(),
            class_weights=self.weightsCheck.isChecked(),
            background=self.backgroundCheck.isChecked(),
            calibrate=self.calibrateCheck.isChecked(),
            min_confidence=self.sureSpin.value(),
        )
        self._session.update(
            train_options=train_choices.to_text(chosen),
            max_px_per_polygon=self.polygonSpin.value(),
            seed=self.seedSpin.value(),
        )
        self._enable()
        self.changed.emit()

    def _to_defaults(self) -> None:
        default = Settings()
        self._session.update(
            train_options=default.train_options,
            max_px_per_polygon=default.max_px_per_polygon,
            seed=default.seed,
        )
        self._fill()
        self.changed.emit()

    def _enable(self) -> None:
        settings, default = self._session.settings, Settings()
        names = ("train_options", "max_px_per_polygon", "seed")
        is_changed = any(getattr(settings, name) != getattr(default, name) for name in names)
        self.defaultsButton.setEnabled(is_changed)
        self.defaultsButton.setToolTip(
            self.tr("Set all options to what suits most maps")
            if is_changed
            else self.tr("All options are as they were at first")
        )


def _widths(text: str) -> Tuple[int, ...]:
    """Return the widths of hidden layers; none where it is not one or two numbers."""
    if not re.fullmatch(WIDTHS, text):
        return ()
    return tuple(int(each) for each in text.split(","))
