# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How an encoder file is made of an official checkpoint: whose data, and how it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from ..tasks import encode_lookups

WIDTH_PX = 560
MPC, AWS, UNSTATED = "mpc", "aws", "unstated"
PRECISIONS = ("float32", "float16", "int8")


class ExportDialog(QDialog):
    """Two questions at most; what the file's name tells is chosen already."""

    def __init__(
        self, checkpoint: str, parent: Optional[QWidget], *, asks_source: bool = False
    ) -> None:
        """`asks_source`: the file's name does not tell, but it was seen that it comes in two."""
        super().__init__(parent)
        self._is_asked = asks_source or encode_lookups.has_two_sources(checkpoint)
        self.setObjectName("TesseraExportEncoder")
        self.setWindowTitle(self.tr("Make an encoder"))
        self.setMinimumWidth(WIDTH_PX)
        intro = QLabel(
            self.tr(
                "“{}” is a checkpoint. An encoder file is made of it once, checked against the "
                "checkpoint, and kept. The checkpoint is not changed and not needed any more."
            ).format(Path(checkpoint).name),
            self,
        )
        intro.setWordWrap(True)
        intro.setMinimumHeight(intro.heightForWidth(WIDTH_PX - 2 * intro.fontMetrics().height()))
        self._source = self._sources(checkpoint)
        self._precision = self._precisions()
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        if self._is_asked:
            form.addRow(self.tr("Trained on data of"), self._source)
        else:
            self._source.hide()
        form.addRow(self.tr("Computes in"), self._precision)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self._ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self._ok.setText(self.tr("Make it"))
        self._ok.setObjectName("exportButton")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(12)
        layout.addWidget(intro)
        layout.addLayout(form)
        layout.addWidget(buttons)
        self._source.currentIndexChanged.connect(self._enable)
        self._enable()

    @property
    def source(self) -> str:
        """`mpc`, `aws` or `unstated`."""
        return str(self._source.currentData() or UNSTATED) if self._is_asked else UNSTATED

    @property
    def precision(self) -> str:
        """`float32`, `float16` or `int8`."""
        return str(self._precision.currentData())

    # --- inside

    def _sources(self, checkpoint: str) -> QComboBox:
        combo = QComboBox(self)
        combo.setObjectName("exportSourceCombo")
        combo.addItem(self.tr("Please choose: it is in the file's name"), "")
        combo.addItem(self.tr("Planetary Computer (mpc)"), MPC)
        combo.addItem(self.tr("AWS, Earth Search (aws)"), AWS)
        combo.setCurrentIndex(max(combo.findData(encode_lookups.source_of(checkpoint)), 0))
        combo.setToolTip(
            self.tr("Version 1.1 comes in two: images of the two providers differ slightly")
        )
        return combo

    def _precisions(self) -> QComboBox:
        combo = QComboBox(self)
        combo.setObjectName("exportPrecisionCombo")
        names = (
            self.tr("float32: exact, the same on every run"),
            self.tr("float16: half the size, for GPUs"),
            self.tr("int8: faster on processors, slightly different"),
        )
        for name, precision in zip(names, PRECISIONS):
            combo.addItem(name, precision)
        return combo

    def _enable(self) -> None:
        self._ok.setEnabled(not self._is_asked or bool(self._source.currentData()))
