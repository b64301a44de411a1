# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels from layers and files of others, and for them: as tasks on plain values, and the import."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsFeatureRequest,
    QgsField,
    QgsGeometry,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
)
from qgis.PyQt.QtCore import QCoreApplication, QDate, QDateTime, Qt, QVariant

from ..progress import Report
from ..values import POINTS, POLYGONS, Extent
from . import label_words, layers, snapshot
from .base import EngineTask
from .labels import LabelStore, NewLabel

if TYPE_CHECKING:
    from ..engine.label_mapping import Columns, Found, ImportPlan, Target
    from ..engine.label_sources import FileFacts, LayerFacts, RawRow

translate = QCoreApplication.translate

Value = Union[int, float, str]

VECTOR, RASTER = "vector", "raster"


@dataclass(frozen=True)
class LayerChoice:
    """A layer of the project that labels can come from."""

    id: str
    name: str
    kind: str
    """VECTOR or RASTER."""
    selected: int = 0
    """Features of it that are selected."""


@dataclass(frozen=True)
class Looks:
    """What a layer of the project calls the values of a field, and how it paints them."""

    names: Mapping[str, str]
    colors: Mapping[str, str]


NO_LOOKS = Looks({}, {})


# --- what there is to choose from


def choices(project: QgsProject) -> Tuple[LayerChoice, ...]:
    """Return the project's layers that labels can come from, as the layer tree has them."""
    found = []
    for layer in (node.layer() for node in project.layerTreeRoot().findLayers()):
        if layer is None or not layer.isValid():
            continue
        role = layer.customProperty(layers.ROLE)
        if (
            isinstance(layer, QgsVectorLayer)
            and layer.isSpatial()
            and role not in (POINTS, POLYGONS)
        ):
            found.append(
                LayerChoice(layer.id(), layer.name(), VECTOR, layer.selectedFeatureCount())
            )
        elif isinstance(layer, QgsRasterLayer) and _is_class_map(layer):
            found.append(LayerChoice(layer.id(), layer.name(), RASTER))
    return tuple(found)


def raster_path(project: QgsProject, layer_id: str) -> str:
    """Return the file of a raster layer; empty where it has gone."""
    layer = project.mapLayer(layer_id)
    return layers.file_of(layer) if layer is not None else ""


def looks_of(project: QgsProject, layer_id: str, field: str = "") -> Looks:
    """Return how a layer names and paints classes: of a field, or of a raster's values."""
    layer = project.mapLayer(layer_id)
    if isinstance(layer, QgsRasterLayer):
        return _raster_looks(layer)
    renderer = layer.renderer() if isinstance(layer, QgsVectorLayer) else None
    if not isinstance(renderer, QgsCategorizedSymbolRenderer) or (
        renderer.classAttribute().strip('"') != field
    ):
        return NO_LOOKS
    names: Dict[str, str] = {}
    colors: Dict[str, str] = {}
    for category in renderer.categories():
        value = plain_value(category.value())
        if value is not None and category.symbol() is not None:
            text = _name(value)
            colors[text] = category.symbol().color().name()
            if category.label().strip():
                names[text] = category.label().strip()
    return Looks(names, colors)


# --- looking and reading


def peek_file(path: str) -> EngineTask:
    """Return the task that tells what a file has: gives `FileFacts`, or None where it is a raster."""
    from ..engine import label_sources  # noqa: PLC0415 - light plugin load

    def work(_: Report) -> Optional[FileFacts]:
        return label_sources.peek(path)

    return EngineTask(translate("LabelExchange", "Looking what the file has"), work)


def peek_layer(layer: QgsVectorLayer) -> EngineTask:
    """Return the task that tells what a layer of the project has: gives `FileFacts` of one layer."""
    from ..engine import label_sources as engine  # noqa: PLC0415 - light plugin load

    source, crs = QgsVectorLayerFeatureSource(layer), _crs(layer)
    name, count = layer.name(), int(layer.featureCount())
    fields = [(each.name(), _kind(each)) for each in layer.fields()]
    indices = list(range(len(fields)))

    def work(_: Report) -> FileFacts:
        request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry)
        rows = _rows(source, request.setLimit(engine.PEEK_ROWS), indices)
        facts = engine.LayerFacts(name, count, crs, engine.fields_of(fields, rows))
        return engine.FileFacts("", (facts,))

    return EngineTask(translate("LabelExchange", "Looking what the layer has"), work)


def read_file(
    facts: FileFacts, wanted: Sequence[LayerFacts], columns: Columns, crs: str
) -> EngineTask:
    """Return the task that reads layers of a file: gives `Found`. `crs` is for those that have none."""
    from ..engine import label_mapping, label_sources  # noqa: PLC0415 - light plugin load

    crs_of = {each.name: each.crs or crs for each in wanted}
    expected = sum(max(each.rows, 0) for each in wanted)

    def work(report: Report) -> Found:
        rows = label_sources.read(facts.path, list(crs_of), columns.names)
        return label_mapping.gather(rows, crs_of, facts.colors, report, expected)

    return EngineTask(translate("LabelExchange", "Reading labels"), work)


def read_layer(
    layer: QgsVectorLayer, columns: Columns, crs: str, looks: Looks, *, selected_only: bool
) -> EngineTask:
    """Return the task that reads a layer of the project: gives `Found`."""
    from ..engine import label_mapping  # noqa: PLC0415 - light plugin load

    source, name = QgsVectorLayerFeatureSource(layer), layer.name()
    crs_of = {name: _crs(layer) or crs}
    request = QgsFeatureRequest()
    if selected_only:
        request.setFilterFids(layer.selectedFeatureIds())
    expected = layer.selectedFeatureCount() if selected_only else int(layer.featureCount())
    indices = [layer.fields().lookupField(each) if each else -1 for each in columns.names]

    def work(report: Report) -> Found:
        rows = ((name, row) for row in _rows(source, request, indices))
        found = label_mapping.gather(rows, crs_of, looks.colors, report, expected)
        return _named(found, looks)

    return EngineTask(translate("LabelExchange", "Reading labels"), work)


def sample(
    path: str, per_class: int, edge_px: int, extent: Optional[Extent], looks: Looks
) -> EngineTask:
    """Return the task that chooses points of a class raster: gives `Found`."""
    from ..engine import label_sample  # noqa: PLC0415 - light plugin load

    request = label_sample.SampleRequest(path, per_class, edge_px, extent)

    def work(report: Report) -> Found:
        return _named(label_sample.sample(request, report).found(), looks)

    return EngineTask(translate("LabelExchange", "Choosing points"), work)


# --- what will happen, and doing it


def plan(store: LabelStore, found: Found, targets: Mapping[str, Target], year: int) -> EngineTask:
    """Return the task that tells what an import will do: gives `ImportPlan`."""
    from ..engine import label_mapping  # noqa: PLC0415 - light plugin load

    names = {each.id: each.name for each in store.classes}
    there = tuple(store.labels())
    targets = dict(targets)

    def work(report: Report) -> ImportPlan:
        marks = frozenset(
            label_mapping.fingerprint(each.wkb, each.year, names[each.class_id]) for each in there
        )
        return label_mapping.plan(found, targets, year, marks, report)

    return EngineTask(translate("LabelExchange", "Looking what will happen"), work)


def carry_out(store: LabelStore, wanted: ImportPlan) -> int:
    """Make the classes and labels of a plan, as one step of undo; return how many labels.

    Raises: NotWritable.
    """
    labels: List[NewLabel] = []
    with store.one_step(label_words.imported(len(wanted.labels))):
        made = store.add_classes(wanted.new_classes) if wanted.new_classes else ()
        ids = {each.name.casefold(): each.id for each in (*made, *store.classes)}
        for each in wanted.labels:
            geometry = QgsGeometry()
            geometry.fromWkb(each.wkb)
            class_id = each.class_id or ids[each.class_name.casefold()]
            labels.append(NewLabel(geometry, class_id, each.year, each.note, each.confidence))
        store.add_labels(labels)
    return len(labels)


def export(store: LabelStore, path: str) -> EngineTask:
    """Return the task that writes the labels to a file: gives how many they are."""
    from ..engine import label_export  # noqa: PLC0415 - light plugin load

    source, labels, classes = store.path, tuple(store.labels()), tuple(store.classes)

    def work(report: Report) -> int:
        return label_export.export(source, labels, classes, path, report)

    return EngineTask(translate("LabelExchange", "Writing labels"), work)


# --- from QGIS's values to plain ones


def plain_value(value: object) -> Optional[Value]:
    """Return an attribute as a number or text; None where it is NULL, blank or no number."""
    if value is None or (isinstance(value, QVariant) and value.isNull()):
        return None
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither infinite nor NaN
    if isinstance(value, (QDate, QDateTime)):
        return str(value.toString(Qt.DateFormat.ISODate)) or None
    return str(value).strip() or None


def _rows(
    source: QgsVectorLayerFeatureSource, request: QgsFeatureRequest, indices: Sequence[int]
) -> Iterator[RawRow]:
    from ..engine.label_sources import RawRow  # noqa: PLC0415 - light plugin load

    feature = QgsFeature()
    features = source.getFeatures(request)
    while features.nextFeature(feature):
        geometry, values = feature.geometry(), feature.attributes()
        wkb = None if geometry.isNull() else bytes(geometry.asWkb())
        told = (plain_value(values[each]) if each >= 0 else None for each in indices)
        yield RawRow(wkb, tuple(told))


def _kind(field: QgsField) -> str:
    from ..engine.label_sources import REAL, TEXT, WHOLE  # noqa: PLC0415 - light plugin load

    if not field.isNumeric():
        return TEXT
    return WHOLE if "int" in field.typeName().casefold() else REAL


def _name(value: Value) -> str:
    from ..engine.label_sources import name_of  # noqa: PLC0415 - light plugin load

    return name_of(value)


def _crs(layer: QgsVectorLayer) -> str:
    crs = layer.crs()
    return snapshot.crs_text(crs) if crs.isValid() else ""


def _is_class_map(layer: QgsRasterLayer) -> bool:
    """Whether a raster may hold classes: one band of a file."""
    return layer.providerType() == "gdal" and layer.bandCount() == 1 and bool(layers.file_of(layer))


def _raster_looks(layer: QgsRasterLayer) -> Looks:
    renderer = layer.renderer()
    if not isinstance(renderer, QgsPalettedRasterRenderer):
        return NO_LOOKS
    names: Dict[str, str] = {}
    colors: Dict[str, str] = {}
    for each in renderer.classes():
        text = _name(each.value)
        colors[text] = each.color.name()
        if each.label.strip():
            names[text] = each.label.strip()
    return Looks(names, colors)


def _named(found: Found, looks: Looks) -> Found:
    """Return what was found with the names and colours that the project has for it."""
    values = tuple(
        replace(each, name=looks.names.get(each.value, each.name),
                color=looks.colors.get(each.value, each.color))
        for each in found.values
    )  # fmt: skip
    return replace(found, values=values)
