# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What labels carry beside place and class: year, confidence and note."""

from __future__ import annotations

from typing import Iterable, List, Optional, Sequence

from qgis.core import QgsGeometry
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtWidgets import QComboBox, QWidget

from ...tasks.labels import NewLabel
from ...tasks.session import Session
from .. import forms, text
from ..links import Links
from ..no_wheel import NoWheel

SURE, LIKELY, GUESS = 100, 75, 50
"""Percent."""


def name_of(confidence: int) -> str:
    """Return what people call a confidence in percent."""
    names = {
        SURE: QCoreApplication.translate("NewLabels", "sure"),
        LIKELY: QCoreApplication.translate("NewLabels", "likely"),
        GUESS: QCoreApplication.translate("NewLabels", "a guess"),
    }
    return names.get(confidence, "")


def fill(combo: QComboBox, more: Iterable[int] = ()) -> None:
    """List the confidences there are, and those that labels have by other means."""
    for each in sorted({SURE, LIKELY, GUESS, *more}, reverse=True):
        name, percent = name_of(each), text.percent(each / 100)
        combo.addItem(f"{name[:1].upper()}{name[1:]} ({percent})" if name else percent, each)


class NewLabels(QWidget):
    """What every new label carries, in a line that unfolds. Remembered as long as QGIS runs."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("new_labels", self)
        self._session = session
        self._links = Links()
        fill(self.newConfidenceCombo)
        self._no_wheel = NoWheel(self, self.newConfidenceCombo)
        self.newLabelsFields.hide()
        self.newLabelsButton.toggled.connect(self._unfold)
        self.newConfidenceCombo.currentIndexChanged.connect(self._say)
        self.newNoteEdit.textChanged.connect(self._say)
        self._links.connect(session.settings_changed, self._say)
        self._say()

    def of(
        self, geometries: Sequence[QgsGeometry], class_id: int, year: Optional[int] = None
    ) -> List[NewLabel]:
        """Return geometries (EPSG:4326) as new labels of a class; of the chosen year if none is told."""
        year = self._session.settings.year if year is None else year
        note, confidence = self.newNoteEdit.text().strip(), self.newConfidenceCombo.currentData()
        return [NewLabel(each, class_id, year, note, confidence) for each in geometries]

    def close_down(self) -> None:
        """Let go of what lives longer."""
        self._links.close()

    def _unfold(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        self.newLabelsFields.setVisible(on)
        arrow = Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow
        self.newLabelsButton.setArrowType(arrow)

    def _say(self, *_: object) -> None:
        parts = [str(self._session.settings.year), name_of(self.newConfidenceCombo.currentData())]
        note = self.newNoteEdit.text().strip()
        if note:
            parts.append(self.tr("“{}”").format(note))
        self.newLabelsButton.setText(self.tr("New labels: {}").format(", ".join(parts)))
