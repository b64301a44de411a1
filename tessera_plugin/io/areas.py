# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Polygons without any class, from whatever GDAL reads: the area of a map."""

from __future__ import annotations

from typing import Iterable, Iterator, List, Optional, Tuple

from osgeo import ogr, osr

from ..errors import LabelsUnreadable
from . import geometries, ogr_layers
from .projection import spatial_reference

_POLYGONS = (ogr.wkbPolygon, ogr.wkbMultiPolygon)
_SURFACE = 2


def read_polygons(path: str) -> Tuple[Tuple[bytes, ...], str, int]:
    """Return the polygons of all layers of a file as WKB (2-D, valid), and their CRS as text.

    Layers in different CRSs are brought to that of the first; what is no polygon is left out. The
    number is that of the polygons that can't be used: broken beyond mending or without an inside.
    Raises: LabelsUnreadable.
    """
    found: List[bytes] = []
    unusable = 0
    with ogr_layers.quiet():
        dataset = ogr_layers.opened(path)
        layers = ogr_layers.every_layer(dataset)
        drawn = [each for each in layers if each is not None and each.GetGeomType() != ogr.wkbNone]
        if not drawn:
            raise LabelsUnreadable(path, "it has no layer with geometries")
        crs = ogr_layers.crs_of(path, drawn[0])
        for layer in drawn:
            own = spatial_reference(ogr_layers.crs_of(path, layer))
            change = geometries.transformation(own, spatial_reference(crs))
            shapes = (each.GetGeometryRef() for each in ogr_layers.features(path, layer))
            of_layer, lost = _usable(shapes, change)
            found += of_layer
            unusable += lost
    if not found:
        raise LabelsUnreadable(path, "it has no polygons")
    return tuple(found), crs, unusable


def usable(wkbs: Iterable[bytes]) -> Tuple[Tuple[bytes, ...], int]:
    """Return the polygons among geometries as WKB (2-D, valid), and how many can't be used."""
    with ogr_layers.quiet():
        found, unusable = _usable(ogr.CreateGeometryFromWkb(each) for each in wkbs)
    return tuple(found), unusable


def _usable(
    shapes: Iterator[Optional[ogr.Geometry]],
    change: Optional[osr.CoordinateTransformation] = None,
) -> Tuple[List[bytes], int]:
    found: List[bytes] = []
    unusable = 0
    for geometry in shapes:
        if geometry is None or geometry.IsEmpty():
            continue
        is_surface = geometry.GetDimension() == _SURFACE
        plain = geometries.plain(geometry)[0]
        if plain is not None and change is not None:
            plain = geometries.transformed(plain, change)
        if plain is not None and plain.GetGeometryType() in _POLYGONS:
            found.append(bytes(plain.ExportToWkb(ogr.wkbNDR)))
        else:
            unusable += is_surface
    return found, unusable
