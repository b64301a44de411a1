# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled features from whatever GDAL reads: any format, any CRS, points and polygons.

GDAL tells of a broken read in its error state only, or by an exception where the host program has
switched them on, so each step here is asked both ways.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

from osgeo import gdal, ogr, osr

from ..errors import FieldMissing, LabelsUnreadable
from ..values import LandClass
from .projection import spatial_reference

SCHEMA_VERSION = 1
"""Of our own label store; a newer one is refused."""

Value = Union[int, float, str]

_POINTS = (ogr.wkbPoint, ogr.wkbMultiPoint)
_POLYGONS = (ogr.wkbPolygon, ogr.wkbMultiPolygon)
_NUMBERS = (ogr.OFTInteger, ogr.OFTInteger64)


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
    with _quiet():
        dataset = _opened(path)
        sources = _layers(path, dataset, class_field, layer)
        classes = _class_table(path, dataset)
        crs = _crs(path, sources[0])
        reader = _Reader(path, class_field, spatial_reference(crs), is_store=bool(classes))
        for source in sources:
            reader.read(source, _crs(path, source))
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
        transformation = _transformation(spatial_reference(crs), self._target)
        definition = layer.GetLayerDefn()
        names = {definition.GetFieldDefn(i).GetName() for i in range(definition.GetFieldCount())}
        ours = self._is_store and {"class_id", "key"} <= names
        for feature in _features(self._path, layer):
            class_id = _whole(_value(feature, "class_id")) if ours else None
            value = _value(feature, self._field)
            if value is None:
                value = class_id  # in our store the id decides, also where the name was not written
            if value is None:
                self._counts["no_class"] += 1
                continue
            wkb = self._geometry(feature, transformation)
            if wkb is not None:
                key = f"{layer.GetName()}/{feature.GetFID()}"
                key = str(_value(feature, "key") or key) if ours else key
                self.items.append(Feature(wkb, value, key, class_id))

    def _geometry(
        self, feature: ogr.Feature, transformation: Optional[osr.CoordinateTransformation]
    ) -> Optional[bytes]:
        geometry = feature.GetGeometryRef()
        if geometry is None or geometry.IsEmpty():
            self._counts["no_geometry"] += 1
            return None
        plain, mended = _plain(geometry)
        if plain is not None and transformation is not None:
            plain = _transformed(plain, transformation)
        if plain is None:
            self._counts["unusable"] += 1
            return None
        self._counts["mended"] += mended
        return bytes(plain.ExportToWkb(ogr.wkbNDR))


# --- files, layers and fields


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep GDAL's messages from stderr; what matters is raised from here."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        yield
    finally:
        gdal.PopErrorHandler()


def _opened(path: str) -> gdal.Dataset:
    gdal.ErrorReset()
    try:
        dataset = gdal.OpenEx(path, gdal.OF_VECTOR | gdal.OF_READONLY)
    except RuntimeError as error:
        raise LabelsUnreadable(path, _open_failure(path, str(error))) from error
    if dataset is None:
        raise LabelsUnreadable(path, _open_failure(path, gdal.GetLastErrorMsg()))
    return dataset


def _open_failure(path: str, message: str) -> str:
    if not path.startswith("/vsi") and not Path(path).exists():
        return "there is no such file"
    return _sentence(message) or "it is no vector file GDAL knows"


def _sentence(message: str) -> str:
    return " ".join(message.split()).rstrip(".")


def _layers(
    path: str, dataset: gdal.Dataset, class_field: str, name: Optional[str]
) -> List[ogr.Layer]:
    layers = [dataset.GetLayer(index) for index in range(dataset.GetLayerCount())]
    drawn = [
        layer
        for layer in layers
        if layer is not None
        and layer.GetGeomType() != ogr.wkbNone
        and name in (None, layer.GetName())
    ]
    if not drawn:
        what = "no layer with geometries" if name is None else f"no layer {name!r}"
        raise LabelsUnreadable(path, f"it has {what}")
    found = [layer for layer in drawn if layer.GetLayerDefn().GetFieldIndex(class_field) >= 0]
    if not found:
        raise FieldMissing(path, class_field, _field_names(drawn))
    return found


def _field_names(layers: Sequence[ogr.Layer]) -> Tuple[str, ...]:
    names: Dict[str, None] = {}
    for layer in layers:
        definition = layer.GetLayerDefn()
        for index in range(definition.GetFieldCount()):
            names.setdefault(definition.GetFieldDefn(index).GetName())
    return tuple(names)


def _crs(path: str, layer: ogr.Layer) -> str:
    """Return the CRS of a layer as text: its EPSG code where that says it all, else WKT.

    Raises: LabelsUnreadable if there is none. A guess would put the labels somewhere else.
    """
    reference = layer.GetSpatialRef()
    if reference is None or not (reference.IsGeographic() or reference.IsProjected()):
        raise LabelsUnreadable(path, f"layer {layer.GetName()!r} says no coordinate system")
    code = reference.GetAuthorityCode(None)
    if code and reference.GetAuthorityName(None) == "EPSG":
        known = spatial_reference(f"EPSG:{code}")
        if known.IsSame(reference, ["IGNORE_DATA_AXIS_TO_SRS_AXIS_MAPPING=YES"]):
            return f"EPSG:{code}"
    return str(reference.ExportToWkt(["FORMAT=WKT2_2019"]))


def _features(path: str, layer: ogr.Layer) -> Iterator[ogr.Feature]:
    """Yield a layer's features. The end of a layer and a failed read look alike to OGR's caller.

    Raises: LabelsUnreadable if it was the latter.
    """
    layer.ResetReading()
    while True:
        gdal.ErrorReset()
        try:
            feature = layer.GetNextFeature()
        except RuntimeError as error:
            raise LabelsUnreadable(path, _sentence(str(error))) from error
        if feature is None:
            if gdal.GetLastErrorType() >= gdal.CE_Failure:
                raise LabelsUnreadable(path, _sentence(gdal.GetLastErrorMsg()))
            return
        yield feature


def _value(feature: ogr.Feature, name: str) -> Optional[Value]:
    """Return a field's value, None where it is null, not a number or blank."""
    index = feature.GetFieldIndex(name)
    if index < 0 or not feature.IsFieldSetAndNotNull(index):
        return None
    kind = feature.GetFieldDefnRef(index).GetType()
    if kind in _NUMBERS:
        return int(feature.GetFieldAsInteger64(index))
    if kind == ogr.OFTReal:
        number = float(feature.GetFieldAsDouble(index))
        return number if math.isfinite(number) else None
    text = feature.GetFieldAsString(index)
    if isinstance(text, bytes):  # text that is not in the encoding its file declares
        text = text.decode("latin-1")
    return str(text).strip() or None


def _whole(value: Optional[Value]) -> Optional[int]:
    return value if isinstance(value, int) else None


# --- our own label store


def _class_table(path: str, dataset: gdal.Dataset) -> Tuple[LandClass, ...]:
    """Return the classes of a label store's table, empty for any other file.

    Raises: LabelsUnreadable if the store is of a later version, or two classes share an id.
    """
    table = _table(dataset, "classes", {"class_id", "name", "color"})
    if table is None:
        return ()
    _check_version(path, dataset)
    rows = [
        (_whole(_value(row, "position")) or 0, _whole(_value(row, "class_id")),
         str(_value(row, "name") or ""), str(_value(row, "color") or ""))
        for row in _features(path, table)
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
    for row in _features(path, table) if table is not None else ():
        if _value(row, "name") == "schema_version":
            version = str(_value(row, "value"))
            if version != str(SCHEMA_VERSION):
                reason = f"its schema is version {version}, this plugin reads {SCHEMA_VERSION}"
                raise LabelsUnreadable(path, reason)


def _table(dataset: gdal.Dataset, name: str, fields: Set[str]) -> Optional[ogr.Layer]:
    for index in range(dataset.GetLayerCount()):
        layer = dataset.GetLayer(index)
        if layer is not None and layer.GetName() == name and fields <= set(_field_names([layer])):
            return layer
    return None


# --- geometries


def _plain(geometry: ogr.Geometry) -> Tuple[Optional[ogr.Geometry], bool]:
    """Return the points or polygons of a geometry, 2-D, linear and valid, and if it was mended."""
    linear = geometry.GetLinearGeometry() if geometry.HasCurveGeometry() else geometry.Clone()
    if linear is None:
        return None, False
    linear.FlattenTo2D()
    kind = linear.GetGeometryType()
    if kind in _POINTS:
        return (linear if _is_finite(linear) else None), False
    surface = _gathered(linear, _POLYGONS)
    if surface is None:
        return _gathered(linear, _POINTS), False
    if not _is_finite(surface):
        return None, False
    if _attempted(surface, "IsValid"):
        return surface, False
    valid = _attempted(surface, "MakeValid")
    return (_gathered(valid, _POLYGONS) if valid is not None else None), True


def _gathered(geometry: ogr.Geometry, kinds: Tuple[int, int]) -> Optional[ogr.Geometry]:
    """Return the parts of a geometry that are of a kind (single, multi) as one geometry."""
    kind = geometry.GetGeometryType()
    if kind in kinds:
        return None if geometry.IsEmpty() else geometry
    if kind in (ogr.wkbTIN, ogr.wkbPolyhedralSurface, ogr.wkbTriangle):
        return _gathered(ogr.ForceToMultiPolygon(geometry.Clone()), kinds)
    single, multi = kinds
    result = ogr.Geometry(multi)
    for index in range(geometry.GetGeometryCount()):
        part = _gathered(geometry.GetGeometryRef(index), kinds)
        if part is None:
            continue
        for piece in [part] if part.GetGeometryType() == single else _parts(part):
            result.AddGeometry(piece)
    return None if result.IsEmpty() else result


def _parts(geometry: ogr.Geometry) -> List[ogr.Geometry]:
    return [geometry.GetGeometryRef(index) for index in range(geometry.GetGeometryCount())]


def _is_finite(geometry: ogr.Geometry) -> bool:
    return all(math.isfinite(edge) for edge in geometry.GetEnvelope())


def _attempted(geometry: ogr.Geometry, method: str) -> Optional[ogr.Geometry]:
    """Return what a method of GEOS gives, None where it can't."""
    try:
        result = getattr(geometry, method)()
    except RuntimeError:
        return None
    return result


def _transformation(
    source: osr.SpatialReference, target: osr.SpatialReference
) -> Optional[osr.CoordinateTransformation]:
    return None if source.IsSame(target) else osr.CoordinateTransformation(source, target)


def _transformed(
    geometry: ogr.Geometry, transformation: osr.CoordinateTransformation
) -> Optional[ogr.Geometry]:
    try:
        done = geometry.Transform(transformation) == ogr.OGRERR_NONE
    except RuntimeError:
        done = False
    return geometry if done and _is_finite(geometry) else None
