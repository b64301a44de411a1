# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Vector files as GDAL opens them: their layers, fields, features and values, each step checked.

GDAL tells of a broken read in its error state only, or by an exception where the host program has
switched them on, so each step here is asked both ways.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from osgeo import gdal, ogr, osr

from ..errors import FieldMissing, LabelsUnreadable
from .projection import spatial_reference

Value = Union[int, float, str]

_NUMBERS = (ogr.OFTInteger, ogr.OFTInteger64)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep GDAL's messages from stderr; what matters is raised from here."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        yield
    finally:
        gdal.PopErrorHandler()


def opened(path: str, options: Sequence[str] = ()) -> gdal.Dataset:
    """Return a vector file, open for reading; `options` are the driver's. Raises: LabelsUnreadable."""
    gdal.ErrorReset()
    try:
        dataset = gdal.OpenEx(path, gdal.OF_VECTOR | gdal.OF_READONLY, open_options=list(options))
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


def every_layer(dataset: gdal.Dataset) -> List[ogr.Layer]:
    """Return all layers of a file."""
    return [dataset.GetLayer(index) for index in range(dataset.GetLayerCount())]


def layers(
    path: str, dataset: gdal.Dataset, class_field: str, name: Optional[str]
) -> List[ogr.Layer]:
    """Return the layers that have geometries and a field, or the one of a name.

    Raises: LabelsUnreadable, FieldMissing.
    """
    drawn = [
        layer
        for layer in every_layer(dataset)
        if layer is not None
        and layer.GetGeomType() != ogr.wkbNone
        and name in (None, layer.GetName())
    ]
    if not drawn:
        what = "no layer with geometries" if name is None else f"no layer {name!r}"
        raise LabelsUnreadable(path, f"it has {what}")
    found = [layer for layer in drawn if layer.GetLayerDefn().GetFieldIndex(class_field) >= 0]
    if not found:
        raise FieldMissing(path, class_field, field_names(drawn))
    return found


def field_names(of: Sequence[ogr.Layer]) -> Tuple[str, ...]:
    """Return the names of all fields of layers, each once."""
    names: Dict[str, None] = {}
    for layer in of:
        definition = layer.GetLayerDefn()
        for index in range(definition.GetFieldCount()):
            names.setdefault(definition.GetFieldDefn(index).GetName())
    return tuple(names)


def crs_of(path: str, layer: ogr.Layer) -> str:
    """Return the CRS of a layer as text: its EPSG code where that says it all, else WKT.

    Raises: LabelsUnreadable if there is none. A guess would put the labels somewhere else.
    """
    reference = layer.GetSpatialRef()
    if reference is None or not (reference.IsGeographic() or reference.IsProjected()):
        raise LabelsUnreadable(path, f"layer {layer.GetName()!r} says no coordinate system")
    return crs_text(reference)


def crs_text(reference: osr.SpatialReference) -> str:
    """Return a CRS as text: its EPSG code where that says it all, else WKT."""
    code = reference.GetAuthorityCode(None)
    if code and reference.GetAuthorityName(None) == "EPSG":
        known = spatial_reference(f"EPSG:{code}")
        if known.IsSame(reference, ["IGNORE_DATA_AXIS_TO_SRS_AXIS_MAPPING=YES"]):
            return f"EPSG:{code}"
    return str(reference.ExportToWkt(["FORMAT=WKT2_2019"]))


def features(path: str, layer: ogr.Layer) -> Iterator[ogr.Feature]:
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


def value(feature: ogr.Feature, name: str) -> Optional[Value]:
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
