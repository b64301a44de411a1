# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Polygons without any class, from whatever GDAL reads: the area of a map."""

from __future__ import annotations

from typing import List, Tuple

from osgeo import ogr

from ..errors import LabelsUnreadable
from . import geometries, ogr_layers
from .projection import spatial_reference

_POLYGONS = (ogr.wkbPolygon, ogr.wkbMultiPolygon)


def read_polygons(path: str) -> Tuple[Tuple[bytes, ...], str]:
    """Return the polygons of all layers of a file as WKB (2-D, valid), and their CRS as text.

    Layers in different CRSs are brought to that of the first; what is no polygon is left out.
    Raises: LabelsUnreadable.
    """
    found: List[bytes] = []
    with ogr_layers.quiet():
        dataset = ogr_layers.opened(path)
        layers = ogr_layers.every_layer(dataset)
        drawn = [each for each in layers if each is not None and each.GetGeomType() != ogr.wkbNone]
        if not drawn:
            raise LabelsUnreadable(path, "it has no layer with geometries")
        crs = ogr_layers.crs_of(path, drawn[0])
        for layer in drawn:
            found += _polygons(path, layer, crs)
    if not found:
        raise LabelsUnreadable(path, "it has no polygons")
    return tuple(found), crs


def _polygons(path: str, layer: ogr.Layer, crs: str) -> List[bytes]:
    own = spatial_reference(ogr_layers.crs_of(path, layer))
    transformation = geometries.transformation(own, spatial_reference(crs))
    found = []
    for feature in ogr_layers.features(path, layer):
        geometry = feature.GetGeometryRef()
        plain = None if geometry is None else geometries.plain(geometry)[0]
        if plain is not None and transformation is not None:
            plain = geometries.transformed(plain, transformation)
        if plain is not None and plain.GetGeometryType() in _POLYGONS:
            found.append(bytes(plain.ExportToWkb(ogr.wkbNDR)))
    return found
