# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which labels of another file: a file or a layer of the project, its class field, place and year."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from qgis.core import QgsProject, QgsVectorLayer
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QWidget

from ..tasks import label_files
from ..tasks.label_files import Layer
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from ..tasks.train_choices import LabelFile
from . import forms, messages, note
from .note import Note


class LabelFileDialog(QDialog):
    """Gives `chosen` when it was accepted."""

    def __init__(
        self, session: Session, intro: str, parent: QWidget, *, has_area: bool = True
    ) -> None:
        super().__init__(parent)
        forms.load("label_file_dialog", self)
        self._layers: Tuple[Layer, ...] = ()
        self._lookup = Lookup(self)
        self._note = Note("labelFileNote", self)
        self.labelFileNoteLayout.addWidget(self._note)
        self.labelFileIntro.setText(intro)
        self._ok = self.labelFileButtons.button(QDialogButtonBox.StandardButton.Ok)
        self._fill_layers()
        self._fill_years(session)
        self.areaNameEdit.setVisible(has_area)
        self.areaNameEditLabel.setVisible(has_area)
        self.labelFileButtons.accepted.connect(self.accept)
        self.labelFileButtons.rejected.connect(self.reject)
        self.labelFilePath.setDialogTitle(self.tr("File with labels"))
        self.labelFilePath.fileChanged.connect(self._look)
        self.labelLayerCombo.currentIndexChanged.connect(self._layer_chosen)
        self.classFieldCombo.currentIndexChanged.connect(self._enable)
        self._enable()

    @property
    def chosen(self) -> LabelFile:
        """The labels that were chosen."""
        layer = self.labelLayerCombo.currentData()
        return LabelFile(
            path=self.labelFilePath.filePath().strip(),
            class_field=self.classFieldCombo.currentText(),
            layer=layer[1] if layer else "",
            area=self.areaNameEdit.text().strip(),
            year=self.labelYearCombo.currentData(),
        )

    def done(self, result: int) -> None:
        """Look at nothing any more."""
        self._lookup.close()
        super().done(result)

    # --- inside

    def _fill_layers(self) -> None:
        self.labelLayerCombo.addItem(self.tr("A file"))
        for layer in QgsProject.instance().mapLayers().values():
            if isinstance(layer, QgsVectorLayer) and layer.dataProvider().name() == "ogr":
                path, _, rest = layer.source().partition("|")
                found = [each for each in rest.split("|") if each.startswith("layername=")]
                name = found[0].partition("=")[2] if found else ""
                if Path(path).is_file() and "subset=" not in rest:
                    self.labelLayerCombo.addItem(layer.name(), (path, name))

    def _fill_years(self, session: Session) -> None:
        chosen = session.settings.year
        self.labelYearCombo.addItem(self.tr("{} (as on the Area page)").format(chosen), 0)
        for year in reversed(session.dataset.years):
            self.labelYearCombo.addItem(str(year), year)

    def _layer_chosen(self) -> None:
        layer = self.labelLayerCombo.currentData()
        self.labelFilePath.setEnabled(layer is None)
        self.labelFilePath.setFilePath(layer[0] if layer else "")
        self._look()

    def _look(self, *_: object) -> None:
        self._layers = ()
        self.classFieldCombo.clear()
        self._note.say("")
        self._enable()
        path = self.labelFilePath.filePath().strip()
        if path:
            self._lookup.ask(label_files.layers_of(path), self._seen, self._failed)

    def _seen(self, layers: Tuple[Layer, ...]) -> None:
        from ..engine import label_guess  # noqa: PLC0415 - light plugin load

        layer = self.labelLayerCombo.currentData()
        wanted = layer[1] if layer else ""
        self._layers = tuple(each for each in layers if not wanted or each.name == wanted)
        fields = list(dict.fromkeys(name for each in self._layers for name in each.fields))
        self.classFieldCombo.addItems(fields)
        self.classFieldCombo.setCurrentText(label_guess.class_name(fields))
        if not fields:
            self._note.say(self.tr("It has no field that could hold classes."), note.WARNING)
        if not self.areaNameEdit.text():
            self.areaNameEdit.setText(Path(self.labelFilePath.filePath()).stem)
        self._enable()

    def _failed(self, error: Exception) -> None:
        self._note.say(messages.words(error), note.WARNING)
        self._enable()

    def _enable(self, *_: object) -> None:
        is_ready = bool(self.classFieldCombo.currentText())
        self._ok.setEnabled(is_ready)
        self._ok.setToolTip("" if is_ready else self.tr("Choose a file and its class field first"))


def ask(
    session: Session, intro: str, parent: QWidget, *, has_area: bool = True
) -> Optional[LabelFile]:
    """Return the labels that the person chose, None where they chose none."""
    dialog = LabelFileDialog(session, intro, parent, has_area=has_area)
    try:
        return dialog.chosen if dialog.exec() == QDialog.DialogCode.Accepted else None
    finally:
        dialog.deleteLater()
