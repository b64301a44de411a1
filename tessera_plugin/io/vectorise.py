# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Class maps as polygons in a GeoPackage: with the classes' names, hectares and colours."""

from __future__ import annotations

import datetime as dt
import itertools
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence
from xml.sax.saxutils import quoteattr

from osgeo import gdal, ogr

from ..errors import TooManyPolygons
from ..progress import Report, part, silent
from ..values import LandClass
from . import files
from .class_rasters import telling
from .gdal_errors import collected

MOST_POLYGONS = 500_000
"""More is of no use to anybody who opens the file."""

_BATCH = 20_000
_STYLES = "layer_styles"


@dataclass(frozen=True)
class PolygonLayer:
    """A class map and the table that its polygons go to."""

    name: str
    """Of ours, not a person's: GDAL refuses some (`gpkg_x`), and it is part of SQL."""
    raster: Path


def polygonise(
    out: Path,
    layers: Sequence[PolygonLayer],
    classes: Sequence[LandClass],
    tags: Mapping[str, str],
    *,
    report: Report = silent,
    limit: Optional[int] = None,
) -> int:
    """Write a GeoPackage with the areas of class maps, a table per map in its CRS; return how many.

    An area is what hangs together by the edges of its pixels. Fields: `class_id`, `class` (name),
    `hectares` (of its pixels, counted). The colours are in it too, as QGIS keeps them, and `tags` as
    metadata.
    Raises: TooManyPolygons, NotWritable, DiskFull, Cancelled.
    """
    problems: List[str] = []
    count, most = 0, MOST_POLYGONS if limit is None else limit
    package = None
    with collected(problems):
        package = gdal.GetDriverByName("GPKG").Create(str(out), 0, 0, 0, gdal.GDT_Unknown)
        try:
            package.SetMetadata(dict(tags))
            for number, each in enumerate(layers):
                share = part(report, number / len(layers), (number + 1) / len(layers))
                count += _add_layer(package, each, classes, share, most - count)
            _add_styles(package, [each.name for each in layers], qml(classes))
        except BaseException as error:
            _let_go(error)
            raise
        finally:
            package = None
    if problems:
        raise files.write_failure(out, problems)
    return count


def _let_go(error: Optional[BaseException]) -> None:
    """Free what the frames of an error hold: it may be kept, and with it files would stay open."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _add_layer(
    package: gdal.Dataset, source: PolygonLayer, classes: Sequence[LandClass], report: Report,
    limit: int,
) -> int:  # fmt: skip
    raster = gdal.OpenEx(str(source.raster), gdal.OF_RASTER)
    band = raster.GetRasterBand(1)
    layer = package.CreateLayer(source.name, raster.GetSpatialRef(), ogr.wkbPolygon)
    if layer is None:
        return 0  # GDAL has said why
    for name, kind in (("class_id", ogr.OFTInteger), ("class", ogr.OFTString),
                       ("hectares", ogr.OFTReal)):  # fmt: skip
        layer.CreateField(ogr.FieldDefn(name, kind))
    package.StartTransaction()
    stop: List[BaseException] = []
    counted = _counting(part(report, 0.0, 0.8), layer.GetFeatureCount, limit)
    gdal.Polygonize(
        band, band.GetMaskBand(), layer, 0, [], callback=telling(counted, "polygons", stop)
    )
    if stop:
        raise stop[0]
    count = int(layer.GetFeatureCount())
    if count > limit:
        raise TooManyPolygons(MOST_POLYGONS)
    case = " ".join(f"WHEN {each.id} THEN {_quoted(each.name)}" for each in classes)
    for start in range(0, count, _BATCH):
        report(0.8 + 0.2 * start / count, "polygons")
        package.ExecuteSQL(  # a name of ours and whole numbers; names of classes are quoted
            f'UPDATE "{source.name}" SET class = CASE class_id {case} END, '  # noqa: S608
            f"hectares = ROUND(ST_Area(geom) / 10000.0, 2) WHERE fid > {start} AND "
            f"fid <= {start + _BATCH}"
        )
    package.CommitTransaction()
    return count


def _counting(report: Report, count: Callable[[], int], limit: int) -> Report:
    """Return a report that also stops where there are too many; counted now and then."""
    calls = itertools.count()

    def counted(fraction: float, message: str = "") -> None:
        report(fraction, message)
        if next(calls) % 64 == 63 and count() > limit:
            raise TooManyPolygons(MOST_POLYGONS)

    return counted


def qml(classes: Sequence[LandClass]) -> str:
    """Return the style of a layer of polygons, in QGIS's format: the colours of the classes."""
    categories = "".join(
        f'<category symbol="{index}" value="{each.id}" type="long" render="true" '
        f"label={quoteattr(each.name)}/>"
        for index, each in enumerate(classes)
    )
    symbols = "".join(
        f'<symbol name="{index}" type="fill" alpha="1"><layer class="SimpleFill" enabled="1" '
        f'pass="0" locked="0"><prop k="color" v="{_rgba(each.color)}"/><prop k="style" v="solid"/>'
        f'<prop k="outline_color" v="60,60,60,90"/><prop k="outline_width" v="0.1"/>'
        f'<prop k="outline_style" v="solid"/></layer></symbol>'
        for index, each in enumerate(classes)
    )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
        '<qgis version="3.22.0" styleCategories="Symbology"><renderer-v2 type="categorizedSymbol" '
        f'attr="class_id" enableorderby="0" forceraster="0" symbollevels="0"><categories>{categories}'
        f"</categories><symbols>{symbols}</symbols></renderer-v2></qgis>"
    )


def _add_styles(package: gdal.Dataset, names: Sequence[str], text: str) -> None:
    """Add the table in which QGIS keeps the styles of a GeoPackage's layers."""
    table = package.CreateLayer(_STYLES, None, ogr.wkbNone, ["FID=id"])
    if table is None:
        return  # GDAL has said why
    for name in ("f_table_catalog", "f_table_schema", "f_table_name", "f_geometry_column",
                 "styleName", "styleQML", "styleSLD"):  # fmt: skip
        table.CreateField(ogr.FieldDefn(name, ogr.OFTString))
    default = ogr.FieldDefn("useAsDefault", ogr.OFTInteger)
    default.SetSubType(ogr.OFSTBoolean)
    table.CreateField(default)
    for name in ("description", "owner", "ui"):
        table.CreateField(ogr.FieldDefn(name, ogr.OFTString))
    table.CreateField(ogr.FieldDefn("update_time", ogr.OFTDateTime))
    now = dt.datetime.now(dt.timezone.utc).strftime("%Y/%m/%d %H:%M:%S")
    for name in names:
        row = ogr.Feature(table.GetLayerDefn())
        values = {"f_table_catalog": "", "f_table_schema": "", "f_table_name": name,
                  "f_geometry_column": "geom", "styleName": "classes", "styleQML": text,
                  "styleSLD": "", "useAsDefault": 1, "description": "", "owner": "",
                  "update_time": now}  # fmt: skip
        for field, value in values.items():
            row.SetField(field, value)
        table.CreateFeature(row)


def _rgba(color: str) -> str:
    return ",".join(str(int(color[start : start + 2], 16)) for start in (1, 3, 5)) + ",255"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
