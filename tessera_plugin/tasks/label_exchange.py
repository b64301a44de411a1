# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels from layers and files of others, and for them: as tasks on plain values, and the import."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

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

from ..progress import Report, part
from ..values import POINTS, POLYGONS, Extent
from . import label_words, layers, snapshot
from .base import EngineTask
from .label_writing import LabelWriting
from .labels import LabelStore, NewLabel

if TYPE_CHECKING:
    from ..engine.label_mapping import (
        Columns,
        Found,
        ImportPlan,
        Located,
        PlannedLabel,
        Target,
    )
    from ..engine.label_sources import FileFacts, RawRow

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

READING = 0.8
"""Share of the time of a reading that the file takes."""


@dataclass(frozen=True)
class Asked:
    """What is to be read of a source."""

    crs_of: Mapping[str, str]
    """CRS by layer."""
    fields: Tuple[str, ...]
    """To be kept: those of `columns`, and others that may take their place."""
    columns: Columns
    expected: int = 0
    """About how many features there are."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """Of values, where the source has them apart from its features."""
    looks: Looks = NO_LOOKS


@dataclass(frozen=True)
class ReadSource:
    """What was read of a source."""

    found: Found
    located: Optional[Located] = None
    """What other fields can be taken of without reading anew."""


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


def looks_of(project: QgsProject, layer_id: str, class_field: str = "") -> Looks:
    """Return how a layer names and paints classes: of a field, or of a raster's values."""
    layer = project.mapLayer(layer_id)
    if isinstance(layer, QgsRasterLayer):
        return _raster_looks(layer)
    renderer = layer.renderer() if isinstance(layer, QgsVectorLayer) else None
    if not isinstance(renderer, QgsCategorizedSymbolRenderer) or (
        renderer.classAttribute().strip('"') != class_field
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


def read_file(facts: FileFacts, asked: Asked) -> EngineTask:
    """Return the task that reads layers of a file: gives `ReadSource`."""
    from ..engine import label_sources  # noqa: PLC0415 - light plugin load

    def rows() -> Iterator[Tuple[str, RawRow]]:
        return label_sources.read(facts.path, list(asked.crs_of), asked.fields)

    return _reading(rows, asked)


def read_layer(layer: QgsVectorLayer, asked: Asked, *, selected_only: bool) -> EngineTask:
    """Return the task that reads a layer of the project: gives `ReadSource`."""
    source, (name,) = QgsVectorLayerFeatureSource(layer), tuple(asked.crs_of)
    request = QgsFeatureRequest()
    if selected_only:
        request.setFilterFids(layer.selectedFeatureIds())
    indices = [layer.fields().lookupField(each) if each else -1 for each in asked.fields]

    def rows() -> Iterator[Tuple[str, RawRow]]:
        return ((name, row) for row in _rows(source, request, indices))

    return _reading(rows, asked)


def read_again(located: Located, asked: Asked) -> EngineTask:
    """Return the task that takes other fields of what was read: gives `ReadSource`."""
    from ..engine import label_mapping  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> ReadSource:
        found = label_mapping.found_in(located, asked.columns, asked.colors, report)
        return ReadSource(_named(found, asked.looks), located)

    return EngineTask(translate("LabelExchange", "Reading labels"), work)


def _reading(rows: Callable[[], Iterator[Tuple[str, RawRow]]], asked: Asked) -> EngineTask:
    from ..engine import label_mapping  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> ReadSource:
        reading, telling = part(report, 0.0, READING), part(report, READING, 1.0)
        located = label_mapping.locate(rows(), asked.crs_of, asked.fields, reading, asked.expected)
        found = label_mapping.found_in(located, asked.columns, asked.colors, telling)
        return ReadSource(_named(found, asked.looks), located)

    return EngineTask(translate("LabelExchange", "Reading labels"), work)


def sample(
    path: str, per_class: int, edge_px: int, extent: Optional[Extent], looks: Looks
) -> EngineTask:
    """Return the task that chooses points of a class raster: gives `ReadSource`."""
    from ..engine import label_sample  # noqa: PLC0415 - light plugin load

    request = label_sample.SampleRequest(path, per_class, edge_px, extent)

    def work(report: Report) -> ReadSource:
        return ReadSource(_named(label_sample.sample(request, report).found(), looks))

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


def carrying_out(store: LabelStore, wanted: ImportPlan) -> LabelWriting:
    """Return what makes the classes and labels of a plan, as one step of undo, once it is started."""

    def made(ids: Mapping[str, int]) -> Iterator[NewLabel]:
        return (_new_label(each, ids) for each in wanted.labels)

    number = len(wanted.labels)
    return store.adding(made, number, wanted.new_classes, label_words.imported(number))


def _new_label(label: PlannedLabel, ids: Mapping[str, int]) -> NewLabel:
    geometry = QgsGeometry()
    geometry.fromWkb(label.wkb)
    class_id = label.class_id or ids[label.class_name.casefold()]
    return NewLabel(geometry, class_id, label.year, label.note, label.confidence)


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
