# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The dialog that changes what labels carry: year, confidence and note."""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple, Optional, Sequence, Tuple

from qgis.PyQt.QtWidgets import QDialog, QWidget

from ...values import LandClass, StoredLabel
from .. import forms, text
from . import new_labels

_MIXED = -1
"""Stands for several values in the list of confidences."""

UNKNOWN_YEAR = 0
"""The year of labels that have none."""


class Changes(NamedTuple):
    """What labels get, by the names that `LabelStore.edit_labels` has for it; None stays as it is."""

    year: Optional[int] = None
    confidence: Optional[int] = None
    note: Optional[str] = None


class LabelEditDialog(QDialog):
    """Shows what labels have in common; what they differ in stays unless it is changed."""

    def __init__(
        self, labels: Sequence[StoredLabel], classes: Sequence[LandClass], parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("label_edit_dialog", self)
        ids = {each.class_id for each in labels}
        names = ", ".join(each.name for each in classes if each.id in ids)
        self.labelEditNote.setText(self.tr("{} of {}").format(text.labels(len(labels)), names))
        self._show_year({each.year for each in labels})
        self._show_confidence({each.confidence for each in labels})
        self._show_note({each.note for each in labels})
        self._before = self._shown()

    def changes(self) -> Changes:
        """Return what was changed."""
        shown = zip(self._shown(), self._before)
        return Changes(*(now if now != before else None for now, before in shown))

    # --- inside

    def _shown(self) -> Tuple[Any, ...]:
        year = self.labelYearSpin.value()
        return (
            year if year > self.labelYearSpin.minimum() else UNKNOWN_YEAR,
            self.labelConfidenceCombo.currentData(),
            self.labelNoteEdit.text().strip(),
        )

    def _show_year(self, years: Iterable[int]) -> None:
        found = list(years)
        is_one = len(found) == 1
        self.labelYearSpin.setSpecialValueText(
            self.tr("not known") if is_one else self.tr("several")
        )
        self.labelYearSpin.setValue(found[0] if is_one else self.labelYearSpin.minimum())

    def _show_confidence(self, confidences: Iterable[int]) -> None:
        found, combo = list(confidences), self.labelConfidenceCombo
        new_labels.fill(combo, found)
        if len(found) > 1:
            combo.insertItem(0, self.tr("several"), _MIXED)
        combo.setCurrentIndex(combo.findData(found[0] if len(found) == 1 else _MIXED))

    def _show_note(self, notes: Iterable[str]) -> None:
        found = list(notes)
        if len(found) == 1:
            self.labelNoteEdit.setText(found[0])
        else:
            self.labelNoteEdit.setPlaceholderText(self.tr("several"))
