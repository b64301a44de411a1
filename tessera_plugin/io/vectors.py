# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled features from whatever GDAL reads: any format, any CRS, points and polygons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Set, Tuple

from osgeo import gdal, ogr, osr

from ..errors import LabelsUnreadable
from ..values import LandClass
from . import geometries, ogr_layers
from .label_file import SCHEMA_VERSION
from .ogr_layers import Value
from .projection import spatial_reference

__all__ = ["Feature", "Features", "Skipped", "Value", "class_colors", "read_features"]


@dataclass(frozen=True)
class Skipped:
    """What of a file could not be taken as it is, in features."""

    no_class: int = 0
    """Left out: the class field is empty."""
    no_geometry: int = 0
    """Left out: nothing is drawn."""
    unusable: int = 0
    """Left out: neither points nor polygons, or broken beyond mending."""
    mended: int = 0
    """Taken: a polygon that crossed itself was mended."""


@dataclass(frozen=True)
class Feature:
    """A labelled place."""

    wkb: bytes
    """Point, multipoint, polygon or multipolygon, 2-D, no curves, valid."""
    value: Value
    """Of the class field: a number, or text without blanks around it."""
    key: str
    """Stable as long as the file is: its `key` in our label store, else layer and feature id."""
    class_id: Optional[int] = None
    """Of our label store: the stable id in its `classes` table."""


@dataclass(frozen=True)
class Features:
    """The labelled features of a file."""

    crs: str
    """Of all of them, as text."""
    items: Tuple[Feature, ...]
    classes: Tuple[LandClass, ...]
    """Of a `classes` table in the file, in its order; empty where there is none."""
    skipped: Skipped


def read_features(path: str, class_field: str, layer: Optional[str] = None) -> Features:
    """Return the points and polygons of all layers that have the class field, or of one layer.

    Layers in different CRSs are brought to that of the first.
    Raises: LabelsUnreadable, FieldMissing.
    """
    with ogr_layers.quiet():
        dataset = ogr_layers.opened(path)
        sources = ogr_layers.layers(path, dataset, class_field, layer)
        classes = _class_table(path, dataset)
        crs = ogr_layers.crs_of(path, sources[0])
        reader = _Reader(path, class_field, spatial_reference(crs), is_store=bool(classes))
        for source in sources:
            reader.read(source, ogr_layers.crs_of(path, source))
    return Features(crs, tuple(reader.items), classes, reader.skipped)


class _Reader:
    """Collects the features of a file's layers, and counts what it can't take."""

    def __init__(
        self, path: str, class_field: str, target: osr.SpatialReference, *, is_store: bool
    ) -> None:
        self.items: List[Feature] = []
        self._path, self._field, self._target = path, class_field, target
        self._is_store = is_store
        self._counts = {"no_class": 0, "no_geometry": 0, "unusable": 0, "mended": 0}

    @property
    def skipped(self) -> Skipped:
        return Skipped(**self._counts)

    def read(self, layer: ogr.Layer, crs: str) -> None:
        transformation = geometries.transformation(spatial_reference(crs), self._target)
        definition = layer.GetLayerDefn()
        names = {definition.GetFieldDefn(i).GetName() for i in range(definition.GetFieldCount())}
        ours = self._is_store and {"class_id", "key"} <= names
        for feature in ogr_layers.features(self._path, layer):
            class_id = _whole(ogr_layers.value(feature, "class_id")) if ours else None
            value = ogr_layers.value(feature, self._field)
            if value is None:
                value = class_id  # in our store the id decides, also where the name was not written
            if value is None:
                self._counts["no_class"] += 1
                continue
            wkb = self._geometry(feature, transformation)
            if wkb is not None:
                key = f"{layer.GetName()}/{feature.GetFID()}"
                key = str(ogr_layers.value(feature, "key") or key) if ours else key
                self.items.append(Feature(wkb, value, key, class_id))

    def _geometry(
        self, feature: ogr.Feature, transformation: Optional[osr.CoordinateTransformation]
    ) -> Optional[bytes]:
        geometry = feature.GetGeometryRef()
        if geometry is None or geometry.IsEmpty():
            self._counts["no_geometry"] += 1
            return None
        plain, mended = geometries.plain(geometry)
        if plain is not None and transformation is not None:
            plain = geometries.transformed(plain, transformation)
        if plain is None:
            self._counts["unusable"] += 1
            return None
        self._counts["mended"] += mended
        return bytes(plain.ExportToWkb(ogr.wkbNDR))


def _whole(value: Optional[Value]) -> Optional[int]:
    return value if isinstance(value, int) else None


# --- our own label store


def class_colors(path: str, dataset: gdal.Dataset) -> Dict[str, str]:
    """Return the colours of a label store's classes by name, empty for any other file.

    Raises: LabelsUnreadable if the store is of a later version, or two classes share an id.
    """
    return {each.name: each.color for each in _class_table(path, dataset)}


def _class_table(path: str, dataset: gdal.Dataset) -> Tuple[LandClass, ...]:
    """Return the classes of a label store's table, empty for any other file.

    Raises: LabelsUnreadable if the store is of a later version, or two classes share an id.
    """
    table = _table(dataset, "classes", {"class_id", "name", "color"})
    if table is None:
        return ()
    _check_version(path, dataset)
    rows = [
        (_whole(ogr_layers.value(row, "position")) or 0, _whole(ogr_layers.value(row, "class_id")),
         str(ogr_layers.value(row, "name") or ""), str(ogr_layers.value(row, "color") or ""))
        for row in ogr_layers.features(path, table)
    ]  # fmt: skip
    classes = [
        LandClass(number, name or str(number), color)
        for _, number, name, color in sorted(rows, key=lambda row: row[0])
        if number is not None
    ]
    if len({land_class.id for land_class in classes}) < len(classes):
        raise LabelsUnreadable(path, "two classes of its table have the same id")
    return tuple(classes)


def _check_version(path: str, dataset: gdal.Dataset) -> None:
    table = _table(dataset, "tessera_meta", {"name", "value"})
    for row in ogr_layers.features(path, table) if table is not None else ():
        if ogr_layers.value(row, "name") == "schema_version":
            version = str(ogr_layers.value(row, "value"))
            if not version.isdigit() or not 1 <= int(version) <= SCHEMA_VERSION:
                reason = f"its schema is version {version}, this plugin reads {SCHEMA_VERSION}"
                raise LabelsUnreadable(path, reason)


def _table(dataset: gdal.Dataset, name: str, fields: Set[str]) -> Optional[ogr.Layer]:
    for index in range(dataset.GetLayerCount()):
        layer = dataset.GetLayer(index)
        if (
            layer is not None
            and layer.GetName() == name
            and fields <= set(ogr_layers.field_names([layer]))
        ):
            return layer
    return None
