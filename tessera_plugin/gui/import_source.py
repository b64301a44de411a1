# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where labels are imported from: the upper half of the import dialog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Tuple, Union

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapLayerModel,
    QgsProject,
    QgsVectorLayer,
)
from qgis.gui import QgsProjectionSelectionWidget
from qgis.PyQt.QtCore import QObject, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QWidget

from ..errors import ExtentInvalid
from ..tasks import label_exchange, snapshot
from ..tasks.base import EngineTask
from ..tasks.label_exchange import (
    NO_LOOKS,
    RASTER,
    VECTOR,
    Asked,
    LayerChoice,
    Looks,
    ReadSource,
)
from ..values import Extent
from . import text
from .area_page import AreaPage
from .links import Links

if TYPE_CHECKING:
    from ..engine.label_mapping import Columns, Located
    from ..engine.label_sources import FieldFacts, FileFacts, LayerFacts

VECTOR_PAGE, RASTER_PAGE = range(2)
FILE = "file"

MOST_VALUES = 3_000_000
"""Of more values only those of the chosen fields are kept; choosing other ones reads anew."""

Ask = Callable[[EngineTask, Callable[..., None]], None]
"""Runs a task and hands on what it gives; a newer one takes the place of those before."""


class ImportSource(QObject):
    """Layer or file, fields or sampling; it looks by itself what there is to choose."""

    changed = pyqtSignal()
    """Something else is to be read."""
    emptied = pyqtSignal()
    """Another source was chosen: what was read before is not of it."""

    def __init__(self, form: QWidget, area: AreaPage, ask: Ask) -> None:
        """Fill the named widgets of a form."""
        super().__init__(form)
        self._form, self._area, self._ask = form, area, ask
        self._facts: Optional[FileFacts] = None
        self._key: Tuple[object, ...] = ()
        self._located: Optional[Located] = None
        self._color_field = ""
        self._links = Links()
        self._soon = self._timer(self.changed)  # much may change at once
        self._later = self._timer(self._layers_changed)  # the layer tree follows the project
        for words, edge_px in (
            (self.tr("Pixels with the same class all around (3 by 3)"), 3),
            (self.tr("Pixels well inside of their class (5 by 5)"), 5),
            (self.tr("Any pixel"), 1),
        ):
            form.importEdgeCombo.addItem(words, edge_px)
        none = QgsProjectionSelectionWidget.CrsOption.CrsNotSet
        form.importCrsWidget.setOptionVisible(none, True)
        form.importCrsWidget.setNotSetText(self.tr("not known: choose…"))
        form.importCrsWidget.setCrs(QgsCoordinateReferenceSystem())
        self._fill_sources()
        self._connect()

    @property
    def is_map(self) -> bool:
        """Whether the source is a class map."""
        return bool(self._form.importStack.currentIndex() == RASTER_PAGE)

    @property
    def class_field(self) -> str:
        """The field that tells the class."""
        return str(self._form.importClassCombo.currentText())

    def open_file(self, path: str) -> None:
        """Choose a file."""
        combo = self._form.importSourceCombo
        index = _index_of(combo, (FILE, path))
        if index < 0:
            icon = QgsApplication.getThemeIcon("/mIconFile.svg")
            combo.addItem(icon, Path(path).name, (FILE, path))
            index = combo.count() - 1
            combo.setItemData(index, path, Qt.ItemDataRole.ToolTipRole)
        if index == combo.currentIndex():  # it may be another file by now
            self.look()
        combo.setCurrentIndex(index)

    def look(self) -> None:
        """Look what the chosen source has."""
        self._soon.stop()
        self.emptied.emit()
        form, self._facts, self._located = self._form, None, None
        kind, which = self._chosen()
        choice = self._choice()
        selected = choice.selected if choice is not None else 0
        form.importSelectedCheck.setVisible(selected > 0)
        form.importSelectedCheck.setText(
            self.tr("Selected features only ({})").format(text.count(selected))
        )
        form.importStack.setEnabled(bool(kind))
        form.importStack.setCurrentIndex(RASTER_PAGE if kind == RASTER else VECTOR_PAGE)
        self._show_layers(())
        self._show_fields(())
        layer = self._project_layer()
        if kind == FILE:
            self._ask(label_exchange.peek_file(which), self._peeked)
        elif kind == VECTOR and layer is not None:
            self._ask(label_exchange.peek_layer(layer), self._peeked)
        else:
            self._soon.start()

    def task(self) -> Union[EngineTask, str]:
        """Return what reads the labels, or a sentence on what is to be chosen first.

        It gives a `ReadSource`, of which `keep` is to be told: other fields are taken of that.
        """
        kind, which = self._chosen()
        if self.is_map:
            return self._sampling(kind, which)
        problem = self._problem(kind)
        if problem:
            return problem
        asked, layer = self._asked(kind, which), self._project_layer()
        check = self._form.importSelectedCheck
        only = layer is not None and check.isChecked() and check.isVisibleTo(self._form)
        key = which, asked.crs_of, asked.fields, only
        if self._located is not None and key == self._key:
            return label_exchange.read_again(self._located, asked)
        self._key, self._located = key, None
        if layer is None and self._facts is not None:
            return label_exchange.read_file(self._facts, asked)
        return label_exchange.read_layer(layer, asked, selected_only=only)

    def keep(self, read: ReadSource) -> None:
        """Remember what was read, as long as the same source is chosen."""
        self._located = read.located

    @property
    def has_read(self) -> bool:
        """Whether what is chosen now is of a source that was read."""
        return self._located is not None

    def close_down(self) -> None:
        """Let go of the project."""
        self._links.close()
        self._soon.stop()
        self._later.stop()

    # --- which source

    def _timer(self, slot: Callable[..., None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(0)
        timer.timeout.connect(slot)
        return timer

    def _connect(self) -> None:
        form, project = self._form, QgsProject.instance()
        self._links.connect(project.layersRemoved, self._later.start)
        self._links.connect(project.layersAdded, self._later.start)
        form.importSourceCombo.currentIndexChanged.connect(lambda _: self.look())
        form.importLayerCombo.currentIndexChanged.connect(lambda _: self._layer_chosen())
        for combo in (form.importClassCombo, form.importYearCombo, form.importNoteCombo,
                      form.importConfidenceCombo, form.importEdgeCombo):  # fmt: skip
            combo.currentIndexChanged.connect(lambda _: self._soon.start())
        form.importCrsWidget.crsChanged.connect(lambda _: self._soon.start())
        form.importPerClassSpin.valueChanged.connect(lambda _: self._soon.start())
        for check in (form.importSelectedCheck, form.importExtentCheck):
            check.toggled.connect(lambda _: self._soon.start())

    def _fill_sources(self) -> None:
        """Offer the project's layers; files that were chosen stay."""
        combo, before = self._form.importSourceCombo, self._chosen()
        entries = [(combo.itemData(i), combo.itemText(i)) for i in range(combo.count())]
        combo.blockSignals(True)
        combo.clear()
        combo.addItem(self.tr("Choose a layer, or browse for a file…"), ("", ""))
        project = QgsProject.instance()
        for each in label_exchange.choices(project):
            icon = QgsMapLayerModel.iconForLayer(project.mapLayer(each.id))
            combo.addItem(icon, each.name, (each.kind, each.id))
        for (kind, path), name in entries:
            if kind == FILE:
                combo.addItem(QgsApplication.getThemeIcon("/mIconFile.svg"), name, (kind, path))
        combo.setCurrentIndex(max(_index_of(combo, before), 0))
        combo.blockSignals(False)

    def _layers_changed(self) -> None:
        before = self._chosen()
        self._fill_sources()
        if self._chosen() != before:
            self.look()

    def _chosen(self) -> Tuple[str, str]:
        """Return the kind of source, and the layer's id or the file."""
        return self._form.importSourceCombo.currentData() or ("", "")

    def _choice(self) -> Optional[LayerChoice]:
        kind, which = self._chosen()
        found = label_exchange.choices(QgsProject.instance()) if kind in (VECTOR, RASTER) else ()
        return next((each for each in found if each.id == which), None)

    def _project_layer(self) -> Optional[QgsVectorLayer]:
        kind, which = self._chosen()
        return QgsProject.instance().mapLayer(which) if kind == VECTOR else None

    def _problem(self, kind: str) -> str:
        if not kind or not self._layers():
            return self.tr("Choose where the labels come from.")
        if not self._form.importClassCombo.currentData():
            return self.tr("The layer has no field that could tell the class.")
        if self._needs_crs() and not self._form.importCrsWidget.crs().isValid():
            return self.tr("The layer does not say where it lies: choose its coordinate system.")
        if kind == VECTOR and self._project_layer() is None:
            return self.tr("The layer is no longer there. Choose another one.")
        return ""

    # --- layers and fields

    def _peeked(self, facts: Optional[FileFacts]) -> None:
        self._facts = facts
        if facts is None:
            self._form.importStack.setCurrentIndex(RASTER_PAGE)
            self._soon.start()
            return
        self._show_layers(facts.layers)
        self._layer_chosen()

    def _show_layers(self, layers: Sequence[LayerFacts]) -> None:
        combo = self._form.importLayerCombo
        combo.blockSignals(True)
        combo.clear()
        if len(layers) > 1 and _common_fields(layers):
            combo.addItem(self.tr("All {} layers").format(len(layers)), tuple(layers))
        for each in layers:
            combo.addItem(each.name, (each,))
        combo.blockSignals(False)
        for widget in (combo, self._form.importLayerComboLabel):
            widget.setVisible(len(layers) > 1)

    def _layers(self) -> Sequence[LayerFacts]:
        return self._form.importLayerCombo.currentData() or ()

    def _layer_chosen(self) -> None:
        self._show_fields(self._layers())
        self._soon.start()

    def _show_fields(self, layers: Sequence[LayerFacts]) -> None:
        from ..engine import label_guess  # noqa: PLC0415 - light plugin load

        form, fields = self._form, _common_fields(layers)
        names, nothing = [each.name for each in fields], self.tr("None")
        _fill(form.importClassCombo, "", names, label_guess.class_field(fields))
        year = label_guess.year_field(fields)
        _fill(form.importYearCombo, self.tr("One year for all"), names, year)
        _fill(form.importNoteCombo, nothing, names, label_guess.note_field(fields))
        _fill(form.importConfidenceCombo, nothing, names, label_guess.confidence_field(fields))
        self._color_field = label_guess.color_field(fields)
        for widget in (form.importCrsWidget, form.importCrsWidgetLabel):
            widget.setVisible(self._needs_crs())

    def _needs_crs(self) -> bool:
        return any(not each.crs for each in self._layers())

    def _columns(self) -> Columns:
        from ..engine.label_mapping import Columns  # noqa: PLC0415 - light plugin load

        form = self._form
        return Columns(
            class_field=form.importClassCombo.currentData() or "",
            year_field=form.importYearCombo.currentData() or "",
            note_field=form.importNoteCombo.currentData() or "",
            confidence_field=form.importConfidenceCombo.currentData() or "",
            color_field=self._color_field,
        )

    def _asked(self, kind: str, which: str) -> Asked:
        """Return what is to be read: all fields, so that others can be chosen without reading anew."""
        columns, wanted = self._columns(), self._layers()
        crs = self._form.importCrsWidget.crs()
        crs_text = snapshot.crs_text(crs) if crs.isValid() else ""
        facts, looks = self._facts, NO_LOOKS
        colors = facts.colors if facts is not None else {}
        if kind == VECTOR:
            looks = label_exchange.looks_of(QgsProject.instance(), which, columns.class_field)
            colors = looks.colors
        rows = sum(max(each.rows, 0) for each in wanted)
        only = [name for name in dict.fromkeys(columns.names) if name]
        every = [field.name for field in _common_fields(wanted)]
        fits = all(each.rows >= 0 for each in wanted) and rows * len(every) <= MOST_VALUES
        crs_of = {each.name: each.crs or crs_text for each in wanted}
        return Asked(crs_of, tuple(every if fits else only), columns, rows, colors, looks)

    # --- class maps

    def _sampling(self, kind: str, which: str) -> EngineTask:
        looks: Looks = NO_LOOKS
        path, project = which, QgsProject.instance()
        if kind == RASTER:
            path = label_exchange.raster_path(project, which)
            looks = label_exchange.looks_of(project, which)
        form = self._form
        return label_exchange.sample(
            path, form.importPerClassSpin.value(), form.importEdgeCombo.currentData(),
            self._extent(), looks,
        )  # fmt: skip

    def _extent(self) -> Optional[Extent]:
        """Return what the map shows, if points are to be there; None for the whole class map."""
        check = self._form.importExtentCheck
        if not check.isChecked():
            return None
        try:
            return self._area.extent()
        except ExtentInvalid:  # the map shows nothing
            check.setChecked(False)
            return None


def _index_of(combo: QComboBox, wanted: Tuple[str, str]) -> int:
    """Return the entry with some data, -1 if there is none; Qt knows a tuple only by its address."""
    entries = range(combo.count())
    return next((each for each in entries if combo.itemData(each) == wanted), -1)


def _fill(combo: QComboBox, nothing: str, names: Sequence[str], chosen: str) -> None:
    combo.blockSignals(True)
    combo.clear()
    if nothing:
        combo.addItem(nothing, "")
    for name in names:
        combo.addItem(name, name)
    combo.setCurrentIndex(max(combo.findData(chosen), 0) if chosen else 0)
    combo.blockSignals(False)


def _common_fields(layers: Sequence[LayerFacts]) -> List[FieldFacts]:
    """Return the fields that all layers have."""
    if not layers:
        return []
    names = set.intersection(*({field.name for field in each.fields} for each in layers))
    return [field for field in layers[0].fields if field.name in names]
