# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How good a head is, in figures and plain sentences; a click on a number shows its labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

from qgis.gui import QgsMapCanvas
from qgis.PyQt import sip
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QHeaderView, QSizePolicy, QTableWidgetItem, QWidget

from ..tasks import snapshot, train_jobs
from ..tasks.session import Session
from . import cell_labels, forms, text
from .block_bands import part_color
from .matrix import SPARE_PX, MatrixView, swatch

if TYPE_CHECKING:
    from ..engine.accuracy import Accuracy
    from ..engine.heads import Head
    from ..engine.training import TrainResult

MOST_PARTS = 8
"""So many parts are seen at once; of more, the table scrolls."""


class AccuracyView(QWidget):
    """Of a head, and of the training that made it where that was just now."""

    def __init__(self, canvas: QgsMapCanvas, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("accuracy_view", self)
        self._canvas, self._session = canvas, session
        self._result: Optional[TrainResult] = None
        self._matrix = MatrixView(self)
        self.matrixLayout.addWidget(self._matrix)
        self._matrix.table.chosen.connect(self._cell_chosen)
        self._matrix.table.cleared.connect(self._cell_cleared)
        table = self.partsTable
        table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def show_head(self, head: Head, result: Optional[TrainResult]) -> None:
        """Show what is known of a head; without its training no labels can be shown."""
        self._result = result
        accuracy = head.accuracy
        can_choose = result is not None and result.answers is not None
        self._matrix.show_accuracy(accuracy, head.classes, can_choose=can_choose)
        self.cellLabel.hide()
        self._show_parts(_validation(head))
        is_measured = accuracy is not None and accuracy.overall is not None
        self.refitLabel.setVisible(is_measured)
        self._show_calibration(head)
        if accuracy is None or not is_measured:
            self.accuracyLabel.setText(
                self.tr("Not measured: there were too few labels to hold some out.")
            )
            return
        self.accuracyLabel.setText(
            "<br>".join(
                (
                    f"<b>{self._overall(accuracy, _validation(head))}</b>",
                    self._figures(accuracy, _validation(head)),
                    *self._weights(accuracy),
                )
            )
        )
        self.refitLabel.setText(self._refit_text(head))

    # --- words

    def _overall(self, accuracy: Accuracy, validation: Mapping[str, Any]) -> str:
        if validation.get("spread") is not None:
            return self.tr("Overall accuracy {} ± {} over {} parts").format(
                text.percent(validation["mean"], 1),
                text.percent(validation["spread"], 1),
                len(validation["parts"]),
            )
        low, high = accuracy.interval or (0.0, 1.0)
        return self.tr("Overall accuracy {} (95 % interval {} to {})").format(
            text.percent(accuracy.overall, 1), text.percent(low), text.percent(high)
        )

    def _figures(self, accuracy: Accuracy, validation: Mapping[str, Any]) -> str:
        """Return the figures of all that was tested, which the matrix shows too."""
        tested = text.counted(accuracy.n, self.tr("{} test pixel"), self.tr("{} test pixels"))
        figures = self.tr("{} from {} · macro F1 {} · kappa {}").format(
            tested,
            text.labels(accuracy.n_labels),
            _figure(accuracy.macro_f1),
            _figure(accuracy.kappa),
        )
        if validation.get("spread") is None:
            return figures
        together = self.tr("All parts together, as in the matrix: {}").format(
            text.percent(accuracy.overall, 1)
        )
        return f"{together} · {figures}"

    def _weights(self, accuracy: Accuracy) -> List[str]:
        """Return what is to be said of labels of unequal size; nothing where it changes nothing."""
        told = []
        if accuracy.differs_by_label:
            words = self.tr("With each label counted once, whatever its size: {}.")
            told.append(words.format(text.percent(accuracy.by_label, 1)))
        if accuracy.rests_on_few:
            words = self.tr(
                "A few large labels, or places labelled several times, hold most of the test "
                "pixels: this is only as sure as a test on {} of equal size. More, or smaller, "
                "polygons make it surer."
            )
            told.append(words.format(text.labels(max(round(accuracy.n_effective), 1))))
        return told

    def _show_calibration(self, head: Head) -> None:
        found = head.training.get("calibration")
        self.calibrationLabel.setVisible(isinstance(found, Mapping))
        if not isinstance(found, Mapping):
            return
        said, right = text.percent(found["confidence_after"]), text.percent(found["right"])
        temperature = text.decimal(found["temperature"])
        tested = head.accuracy.n_labels if head.accuracy is not None else 0
        if found.get("n_labels", tested) == tested:
            asked = self.tr("The same labels")
        else:  # an instant head is quick to train: more labels are asked than the test holds out
            asked = self.tr("{}, each held out in its turn").format(text.labels(found["n_labels"]))
        before, after = found["ece_before"], found["ece_after"]
        if before is None or after is None:
            told = self.tr(
                "{}: when it says {}, it was right in {} of cases. They are too few to tell the "
                "calibration error (temperature {})."
            ).format(asked, said, right, temperature)
        else:
            told = self.tr(
                "{}: when it says {}, it was right in {} of cases. Expected calibration error {} "
                "before calibration, {} after (temperature {})."
            ).format(asked, said, right, text.decimal(before), text.decimal(after), temperature)
        self.calibrationLabel.setText(told)

    def _refit_text(self, head: Head) -> str:
        trained = self.tr("{} head for {}, {}.").format(
            self.tr("MLP") if head.kind == train_jobs.MLP else self.tr("Instant"),
            snapshot.title_of(self._session.settings, head.dataset),
            ", ".join(str(year) for year in head.years),
        )
        if head.training.get("refitted"):
            told = self.tr("After this test it was trained again on all labels.")
        else:
            told = self.tr("The labels held out for this test were not used to train it.")
        return f"{trained} {told}"

    # --- parts

    def _show_parts(self, validation: Mapping[str, Any]) -> None:
        parts: List[Dict[str, Any]] = validation.get("parts", [])
        table = self.partsTable
        table.setVisible(len(parts) > 1)
        table.setRowCount(len(parts))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for row, each in enumerate(parts):
            name = QTableWidgetItem(self._part_name(each["name"]))
            if validation.get("scheme") == "blocks":
                name.setIcon(swatch(part_color(row).name()))  # as the map shows its blocks
            table.setItem(row, 0, name)
            for column, value in (
                (1, text.percent(each["overall"], 1)),
                (2, text.count(each["labels"])),
            ):
                item = QTableWidgetItem(value)
                item.setTextAlignment(right)
                table.setItem(row, column, item)
        rows = table.verticalHeader()
        rows.setDefaultSectionSize(table.fontMetrics().height() + 8)
        height = min(len(parts), MOST_PARTS) * rows.defaultSectionSize()
        table.setFixedHeight(table.horizontalHeader().sizeHint().height() + height + SPARE_PX)

    def _part_name(self, name: str) -> str:
        """Return what a part is called here; areas and years have names of their own."""
        number = re.fullmatch(r"(part|area) (\d+)", name)
        if number is None:
            return name
        told = self.tr("Part {}") if number[1] == "part" else self.tr("Area {}")
        return told.format(number[2])

    # --- a cell

    def _cell_chosen(self, reference: int, mapped: int) -> None:
        if self._result is None or sip.isdeleted(self._canvas):
            return
        told = cell_labels.show(self._result, reference, mapped, self._session.labels, self._canvas)
        self.cellLabel.setText(told)
        self.cellLabel.show()

    def _cell_cleared(self) -> None:
        self._session.labels.select(())
        self.cellLabel.hide()


def _validation(head: Head) -> Mapping[str, Any]:
    """Return what the folds gave, as the head remembers it; empty where there were none."""
    found = head.training.get("validation")
    return found if isinstance(found, Mapping) else {}


def _figure(value: Optional[float]) -> str:
    return text.NONE if value is None else text.decimal(value)
