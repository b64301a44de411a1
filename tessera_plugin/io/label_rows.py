# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a vector file, with some of their fields, to be made labels of; and what a file holds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from osgeo import gdal, ogr

from ..errors import LabelsUnreadable
from . import ogr_layers, vectors
from .ogr_layers import Value
from .projection import LONLAT

PEEK_ROWS = 1000
"""So many rows are looked at to tell what fields hold."""

TEXT, WHOLE, REAL = "text", "whole", "real"

_KINDS = {ogr.OFTInteger: WHOLE, ogr.OFTInteger64: WHOLE, ogr.OFTReal: REAL}

_TABLE_OPTIONS = [
    "X_POSSIBLE_NAMES=lon,long,longitude,x,easting",
    "Y_POSSIBLE_NAMES=lat,latitude,y,northing",
    "GEOM_POSSIBLE_NAMES=wkt,geom,geometry,the_geom",
]
_TABLES = (".csv", ".tsv", ".txt")
_DEGREE_NAMES = {"lon", "long", "longitude", "lat", "latitude", "wkt"}


@dataclass(frozen=True)
class RawRow:
    """A feature as its source has it."""

    wkb: Optional[bytes]
    """In the CRS of its source; None where nothing is drawn."""
    values: Tuple[Optional[Value], ...]
    """Of the fields that were asked for; None where there is none."""


@dataclass(frozen=True)
class FieldFacts:
    """A field, and what the first rows have in it."""

    name: str
    kind: str
    """One of TEXT, WHOLE, REAL."""
    values: int = 0
    """Different values of the first rows."""
    rows: int = 0
    """First rows that have a value."""


@dataclass(frozen=True)
class LayerFacts:
    """A layer of a file, or of a project."""

    name: str
    rows: int
    """-1 where that is not known."""
    crs: str
    """As text; empty where the layer does not say."""
    fields: Tuple[FieldFacts, ...]


@dataclass(frozen=True)
class FileFacts:
    """What a file has to offer."""

    path: str
    layers: Tuple[LayerFacts, ...]
    """Those that have geometries."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """Colour (`#rrggbb`) by class name, where the file is a label store of ours."""


def describe(path: str) -> FileFacts:
    """Return what a vector file has. Raises: LabelsUnreadable."""
    with ogr_layers.quiet():
        dataset = _opened(path)
        drawn = [each for each in ogr_layers.every_layer(dataset) if _is_drawn(each)]
        if not drawn:
            raise LabelsUnreadable(path, "it has no layer with geometries")
        facts = tuple(_facts(path, each) for each in drawn)
        return FileFacts(path, facts, vectors.class_colors(path, dataset))


def read(path: str, layers: Sequence[str], fields: Sequence[str]) -> Iterator[Tuple[str, RawRow]]:
    """Yield the rows of layers, each with its layer's name. Raises: LabelsUnreadable."""
    with ogr_layers.quiet():
        dataset = _opened(path)
        for layer in ogr_layers.every_layer(dataset):
            if layer.GetName() in layers:
                for feature in ogr_layers.features(path, layer):
                    yield layer.GetName(), _row(feature, fields)


def fields_of(
    names_and_kinds: Sequence[Tuple[str, str]], rows: Iterable[RawRow]
) -> Tuple[FieldFacts, ...]:
    """Return what fields hold, by rows that have the values of all of them."""
    seen: List[Set[Value]] = [set() for _ in names_and_kinds]
    filled = [0] * len(names_and_kinds)
    for row in rows:
        for number, value in enumerate(row.values):
            if value is not None:
                seen[number].add(value)
                filled[number] += 1
    return tuple(
        FieldFacts(name, kind, len(values), rows_filled)
        for (name, kind), values, rows_filled in zip(names_and_kinds, seen, filled)
    )


def _opened(path: str) -> gdal.Dataset:
    is_table = Path(path).suffix.lower() in _TABLES
    return ogr_layers.opened(path, _TABLE_OPTIONS if is_table else [])


def _is_drawn(layer: Optional[ogr.Layer]) -> bool:
    return layer is not None and layer.GetGeomType() != ogr.wkbNone


def _facts(path: str, layer: ogr.Layer) -> LayerFacts:
    definition = layer.GetLayerDefn()
    named: Dict[str, str] = {}
    for index in range(definition.GetFieldCount()):
        each = definition.GetFieldDefn(index)
        named.setdefault(each.GetName(), _KINDS.get(each.GetType(), TEXT))
    first = itertools.islice(ogr_layers.features(path, layer), PEEK_ROWS)
    fields = fields_of(list(named.items()), (_row(each, list(named)) for each in first))
    return LayerFacts(layer.GetName(), int(layer.GetFeatureCount()), _crs(path, layer), fields)


def _crs(path: str, layer: ogr.Layer) -> str:
    """Return the CRS of a layer; of a table of longitudes and latitudes that is clear."""
    if layer.GetSpatialRef() is not None:
        return ogr_layers.crs_of(path, layer)
    is_table = Path(path).suffix.lower() in _TABLES
    names = {each.casefold() for each in ogr_layers.field_names([layer])}
    if not is_table or not (names & _DEGREE_NAMES or layer.GetGeometryColumn()):
        return ""
    west, east, south, north = layer.GetExtent()
    in_degrees = west >= -180 and east <= 180 and south >= -90 and north <= 90
    return LONLAT if in_degrees and names & _DEGREE_NAMES else ""


def _row(feature: ogr.Feature, fields: Sequence[str]) -> RawRow:
    geometry = feature.GetGeometryRef()
    wkb = None if geometry is None else bytes(geometry.ExportToIsoWkb(ogr.wkbNDR))
    values = (ogr_layers.value(feature, name) if name else None for name in fields)
    return RawRow(wkb, tuple(values))
