# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a class map says of its classes: colours, names, pixels and hectares, as GDAL keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

from osgeo import gdal

from ..values import PIXEL_M, LandClass

CLASS_NODATA = 0
HECTARES_PER_PX = PIXEL_M * PIXEL_M / 10_000


@dataclass(frozen=True)
class ClassCount:
    """How much of a map a class covers."""

    id: int
    name: str
    color: str
    pixels: int
    hectares: float
    """The pixels' area on the zone grid."""

    @classmethod
    def of(cls, land_class: LandClass, pixels: int) -> ClassCount:
        """Return the count of a class's pixels."""
        hectares = round(pixels * HECTARES_PER_PX, 2)
        return cls(land_class.id, land_class.name, land_class.color, pixels, hectares)


def _rgb(color: str) -> Tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def color_table(classes: Sequence[LandClass]) -> gdal.ColorTable:
    """Return the colours of values; nodata is transparent."""
    table = gdal.ColorTable()
    table.SetColorEntry(CLASS_NODATA, (0, 0, 0, 0))
    for each in classes:
        table.SetColorEntry(each.id, (*_rgb(each.color), 255))
    return table


def add_classes(band: gdal.Band, counts: Sequence[ClassCount]) -> None:
    """Give a band category names and an attribute table."""
    if not counts:
        return
    names = [""] * (max(each.id for each in counts) + 1)
    for each in counts:
        names[each.id] = each.name
    band.SetCategoryNames(names)
    band.SetDefaultRAT(_attribute_table(counts))


def _attribute_table(counts: Sequence[ClassCount]) -> gdal.RasterAttributeTable:
    table = gdal.RasterAttributeTable()
    whole = gdal.GFT_Integer
    pixels = whole if max(each.pixels for each in counts) < 2**31 else gdal.GFT_Real
    for name, kind, usage in (
        ("Value", whole, gdal.GFU_MinMax),
        ("Class", gdal.GFT_String, gdal.GFU_Name),
        ("Red", whole, gdal.GFU_Red),
        ("Green", whole, gdal.GFU_Green),
        ("Blue", whole, gdal.GFU_Blue),
        ("Pixels", pixels, gdal.GFU_PixelCount),
        ("Hectares", gdal.GFT_Real, gdal.GFU_Generic),
    ):
        table.CreateColumn(name, kind, usage)
    table.SetRowCount(len(counts))
    for row, each in enumerate(counts):
        table.SetValueAsInt(row, 0, each.id)
        table.SetValueAsString(row, 1, each.name)
        for col, value in enumerate(_rgb(each.color), 2):
            table.SetValueAsInt(row, col, value)
        table.SetValueAsDouble(row, 5, float(each.pixels))
        table.SetValueAsDouble(row, 6, each.hectares)
    return table
