# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is in the files and layers that labels come from."""

from __future__ import annotations

from typing import Optional

from ..errors import FieldMissing, LabelsUnreadable
from ..io.foreign_maps import ForeignMap
from ..io.label_rows import (
    PEEK_ROWS,
    REAL,
    TEXT,
    WHOLE,
    FieldFacts,
    FileFacts,
    LayerFacts,
    RawRow,
    describe,
    fields_of,
    read,
)
from ..progress import Report, silent
from .label_mapping import Columns, Found, gather
from .labels import name_of

__all__ = [
    "PEEK_ROWS",
    "REAL",
    "TEXT",
    "WHOLE",
    "FieldFacts",
    "FileFacts",
    "LayerFacts",
    "RawRow",
    "fields_of",
    "gathered",
    "name_of",
    "peek",
    "read",
]


def gathered(path: str, columns: Columns, layer: str = "", report: Report = silent) -> Found:
    """Return the places of a file's layers that have the class field, or of one layer.

    Raises: LabelsUnreadable; FieldMissing, also where none of these layers has another field named.
    """
    facts = describe(path)
    named = [each for each in facts.layers if layer in ("", each.name)]
    wanted = [each for each in named if columns.class_field in {f.name for f in each.fields}]
    known = dict.fromkeys(field.name for each in wanted or named for field in each.fields)
    missing = [each for each in columns.names if each and each not in known]
    if missing:
        raise FieldMissing(path, missing[0], tuple(known))
    crs_of = {each.name: each.crs for each in wanted}
    unknown = [name for name, crs in crs_of.items() if not crs]
    if unknown:
        raise LabelsUnreadable(path, f"layer {unknown[0]!r} says no coordinate system")
    expected = sum(max(each.rows, 0) for each in wanted)
    rows = read(path, list(crs_of), columns.names)
    return gather(rows, crs_of, facts.colors, report, expected)


def peek(path: str) -> Optional[FileFacts]:
    """Return what a vector file has; None where it is a class raster. Raises: LabelsUnreadable."""
    try:
        return describe(path)
    except LabelsUnreadable as error:
        try:
            with ForeignMap(path):
                return None
        except LabelsUnreadable as other:
            raise (other if "where it lies" in other.reason else error) from other
