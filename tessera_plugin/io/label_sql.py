# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A change of the labels as SQL statements on a label file."""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from osgeo import ogr

from ..values import POINTS, POLYGONS, LabelChange, StoredClass, StoredLabel

ROWS_PER_INSERT = 200
KEYS_PER_STATEMENT = 500
"""Larger statements are no faster, and who waits for a cancel waits for one of them."""

SRS_ID = 4326
"""Of the coordinates, as the tables of the file say."""

STYLE_NAME = "Tessera"
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

_LITTLE_ENDIAN, _WITH_BOX = 0b001, 0b010
_HEAD_BYTES = 5  # of a WKB: byte order and type
_COLUMNS = ("geom", "class_id", "class_name", "year", "created", "key", "note", "confidence")

Box = Tuple[float, float, float, float]
"""West, east, south, north."""


def statements(change: LabelChange) -> Iterator[str]:
    """Yield what brings the change about; all of it belongs into one transaction."""
    yield from _class_statements(change)
    names = {each.land_class.id: each.land_class.name for each in change.classes_after}
    for table in (POINTS, POLYGONS):
        before = {
            old.key: old for old, _ in change.labels if old is not None and old.table == table
        }
        after = {new.key: new for _, new in change.labels if new is not None and new.table == table}
        yield from _deletes(table, [key for key in before if key not in after])
        yield from _inserts(table, [new for key, new in after.items() if key not in before], names)
        kept = [(old, after[key]) for key, old in before.items() if key in after]
        yield from _updates(table, kept, names)
    yield from _renames(change)
    yield from _extents(change)


def text(value: str) -> str:
    """Return a text as an SQL literal."""
    plain = value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return "'" + plain.replace("'", "''") + "'"


def name(value: str) -> str:
    """Return the name of a table or column as SQL wants it."""
    return '"' + value.replace('"', '""') + '"'


def geometry(wkb: bytes) -> str:
    """Return a geometry as an SQL literal of what the file keeps."""
    return f"X'{_blob(wkb).hex()}'"


# --- styles


def style_statements(table: str, qml: str) -> Iterator[str]:
    """Yield what makes a style the one that QGIS draws a table with when somebody opens the file.

    The table of styles is QGIS's own; it is made where it is not there yet. A style that the person
    made the default one stays it.
    """
    yield (
        "CREATE TABLE IF NOT EXISTS layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
        " f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),"
        " f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,"
        " useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),"
        " update_time DATETIME DEFAULT CURRENT_TIMESTAMP)"
    )
    yield (
        "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, srs_id)"
        " VALUES ('layer_styles', 'attributes', 'layer_styles', 0)"
    )
    yield (
        "DELETE FROM layer_styles"  # noqa: S608 - constants
        f" WHERE f_table_name = '{table}' AND styleName = '{STYLE_NAME}'"
    )
    yield (
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name,"  # noqa: S608
        " f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, update_time)"
        f" SELECT '', '', '{table}', 'geom', '{STYLE_NAME}', {text(qml)}, '', count(*) = 0, '',"
        f" {NOW} FROM layer_styles WHERE f_table_name = '{table}' AND useAsDefault"
    )


# --- classes


def _class_statements(change: LabelChange) -> Iterator[str]:
    before, after = _class_rows(change.classes_before), _class_rows(change.classes_after)
    for class_id in sorted(before.keys() | after.keys()):
        if before.get(class_id) == after.get(class_id):
            continue
        yield f"DELETE FROM classes WHERE class_id = {class_id}"  # noqa: S608 - a number
        if class_id in after:
            row = after[class_id]
            columns, values = ", ".join(row), ", ".join(row.values())
            yield f"INSERT INTO classes ({columns}) VALUES ({values})"  # noqa: S608 - literals


def _class_rows(classes: Sequence[StoredClass]) -> Mapping[int, Mapping[str, str]]:
    return {
        each.land_class.id: {
            "class_id": str(each.land_class.id),
            "name": text(each.land_class.name),
            "color": text(each.land_class.color),
            "position": str(position),
            "hidden": str(int(each.hidden)),
        }
        for position, each in enumerate(classes)
    }


def _renames(change: LabelChange) -> Iterator[str]:
    before = {each.land_class.id: each.land_class.name for each in change.classes_before}
    for each in change.classes_after:
        found = each.land_class
        if found.id in before and before[found.id] != found.name:
            for table in (POINTS, POLYGONS):
                yield (
                    f"UPDATE {table} SET class_name = {text(found.name)}"  # noqa: S608 - literals
                    f" WHERE class_id = {found.id}"
                )


# --- labels


def _deletes(table: str, keys: Sequence[str]) -> Iterator[str]:
    for some in _portions(keys):
        yield f"DELETE FROM {table} WHERE key IN ({_list(some)})"  # noqa: S608 - literals


def _inserts(table: str, labels: Sequence[StoredLabel], names: Mapping[int, str]) -> Iterator[str]:
    groups: Dict[Tuple[str, ...], List[StoredLabel]] = defaultdict(list)
    for label in labels:
        groups[tuple(column for column, _ in label.extra)].append(label)
    for more, group in groups.items():
        columns = ", ".join(name(column) for column in (*_COLUMNS, *more))
        for start in range(0, len(group), ROWS_PER_INSERT):
            rows = (
                "(" + ", ".join(_values(label, names).values()) + ")"
                for label in group[start : start + ROWS_PER_INSERT]
            )
            yield f"INSERT INTO {table} ({columns}) VALUES {', '.join(rows)}"  # noqa: S608


def _updates(
    table: str, pairs: Sequence[Tuple[StoredLabel, StoredLabel]], names: Mapping[int, str]
) -> Iterator[str]:
    """Yield one statement for all labels that get the same new values."""
    groups: Dict[str, List[str]] = defaultdict(list)
    for before, after in pairs:
        old, new = _values(before, {}), _values(after, names)
        told = [f"{name(column)} = {new[column]}" for column in new if new[column] != old[column]]
        groups[", ".join(told)].append(before.key)
    for values, keys in groups.items():
        for some in _portions(keys):
            yield f"UPDATE {table} SET {values} WHERE key IN ({_list(some)})"  # noqa: S608 - literals


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        yield keys[start : start + KEYS_PER_STATEMENT]


def _values(label: StoredLabel, names: Mapping[int, str]) -> Dict[str, str]:
    class_name = names.get(label.class_id)
    values = (
        geometry(label.wkb),
        str(label.class_id),
        "NULL" if class_name is None else text(class_name),
        str(label.year),
        text(label.created),
        text(label.key),
        text(label.note),
        str(label.confidence),
    )
    return {**dict(zip(_COLUMNS, values)), **dict(label.extra)}


def _list(keys: Iterable[str]) -> str:
    return ", ".join(text(key) for key in keys)


# --- geometries


def _blob(wkb: bytes) -> bytes:
    """Return a geometry as GeoPackage keeps it; points go without a box, as GDAL writes them."""
    if wkb[1] == ogr.wkbPoint:
        return struct.pack("<2sBBi", b"GP", 0, _LITTLE_ENDIAN, SRS_ID) + wkb
    head = struct.pack("<2sBBi4d", b"GP", 0, _LITTLE_ENDIAN | _WITH_BOX, SRS_ID, *box(wkb))
    return head + wkb


def box(wkb: bytes) -> Box:
    """Return the box of a geometry (little endian)."""
    if wkb[1] == ogr.wkbPoint:
        x, y = struct.unpack_from("<2d", wkb, _HEAD_BYTES)
        return x, x, y, y
    west, east, south, north = ogr.CreateGeometryFromWkb(wkb).GetEnvelope()
    return west, east, south, north


def _extents(change: LabelChange) -> Iterator[str]:
    """Tell other software where the labels are: that is what it zooms to."""
    for table in (POINTS, POLYGONS):
        touched = [pair for pair in change.labels if table in _tables(pair)]
        boxes = [box(after.wkb) for _, after in touched if after is not None]
        if touched:
            yield _contents(table, boxes)


def _tables(pair: Tuple[Optional[StoredLabel], Optional[StoredLabel]]) -> Tuple[str, ...]:
    return tuple(each.table for each in pair if each is not None)


def _contents(table: str, boxes: Sequence[Box]) -> str:
    pairs = [f"last_change = {NOW}"]
    if boxes:
        west, east, south, north = zip(*boxes)
        pairs += [
            f"{column} = {function}(IFNULL({column}, {edge!r}), {edge!r})"
            for column, function, edge in (
                ("min_x", "min", min(west)),
                ("max_x", "max", max(east)),
                ("min_y", "min", min(south)),
                ("max_y", "max", max(north)),
            )
        ]
    return f"UPDATE gpkg_contents SET {', '.join(pairs)} WHERE table_name = '{table}'"  # noqa: S608
