# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rows of a label file say, also where other programs wrote some of them.

Those may lack a key, have a class's name alone, or several parts. They become labels like all others,
and the file is amended to say so; what can't be used stays in the file and is counted.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from osgeo import ogr

from ..values import StoredClass, StoredLabel
from . import geometries, label_sql

_PLAIN = (ogr.wkbPoint, ogr.wkbPolygon)


@dataclass(frozen=True)
class Contents:
    """All that a label file says."""

    classes: Tuple[StoredClass, ...]
    """In the person's order."""
    labels: Tuple[StoredLabel, ...]
    """Those with a class and a place; their keys are all different."""
    names: Mapping[int, str]
    """What labels call the classes that the file's table does not have."""
    next_class_id: int
    """Greater than every id that was ever given."""
    no_class: int = 0
    """Labels left out: they have neither the id nor the name of a class."""
    unusable: int = 0
    """Labels left out: they are neither points nor polygons with a place on earth."""


class RawLabel(NamedTuple):
    """A row of a table of labels. A plain tuple, as there may be many."""

    table: str
    fid: int
    places: Tuple[bytes, ...]
    """Its points or polygons; empty where there are none, or they can't be used."""
    values: Mapping[str, Any]
    """Of the fields that labels have, None where there is none; numbers are whole."""
    extra: Tuple[Tuple[str, str], ...]
    """Other columns and what they hold, as SQL literals."""


def places_of(geometry: Optional[ogr.Geometry]) -> Tuple[bytes, ...]:
    """Return the points or polygons of a geometry in degrees; none where it is of no use.

    What is a point or a polygon in the plane stays as it is, also one that crosses itself.
    """
    try:
        return _places_of(geometry)
    except RuntimeError:  # how GDAL fails where another plugin switched exceptions on
        return ()


def _places_of(geometry: Optional[ogr.Geometry]) -> Tuple[bytes, ...]:
    if geometry is None or geometry.IsEmpty():
        return ()
    if geometry.GetGeometryType() not in _PLAIN and geometry.CoordinateDimension() > 2:
        geometry.FlattenTo2D()
    if geometry.GetGeometryType() in _PLAIN:
        return (_wkb(geometry),) if _is_on_earth(geometry) else ()
    usable, _ = geometries.plain(geometry)
    if usable is None:
        return ()
    single = usable.GetGeometryType() in _PLAIN
    count = 1 if single else usable.GetGeometryCount()
    parts = [usable if single else usable.GetGeometryRef(number) for number in range(count)]
    if not all(_is_on_earth(each) for each in parts):
        return ()
    return tuple(_wkb(each) for each in parts)


def _wkb(geometry: ogr.Geometry) -> bytes:
    return bytes(geometry.ExportToWkb(ogr.wkbNDR))


def _is_on_earth(part: ogr.Geometry) -> bool:
    # the area tells a vertex that is no number, which the box passes over
    return geometries.is_on_globe(part) and math.isfinite(part.Area())


class Reading:
    """Makes labels of rows, and notes how the file is to be amended."""

    def __init__(self, classes: Sequence[StoredClass], next_class_id: int) -> None:
        """Begin with the table of classes and the next free id as the file tells them."""
        self._listed = tuple(classes)
        self._next_class_id = max([next_class_id, *(e.land_class.id + 1 for e in classes), 1])
        self._renumbered: Dict[int, int] = {}
        self._names: Dict[int, str] = {}
        self._by_name: Dict[str, int] = {}
        self.amendments: List[str] = []
        """What makes the file say what was understood, as SQL."""

    def contents(self, rows: Sequence[RawLabel]) -> Contents:
        """Return all that the file says."""
        usable = [row for row in rows if row.places]
        ids = [row.values["class_id"] or 0 for row in usable]
        self._next_class_id = max([self._next_class_id, *(each + 1 for each in ids)])
        classes = self._classes()
        self._name_others(usable, {each.land_class.id for each in classes})
        labels: Dict[str, StoredLabel] = {}
        no_class = 0
        for row in usable:
            class_id = self._class_of(row)
            if class_id is None:
                no_class += 1
                continue
            for number, place in enumerate(row.places):
                key = self._key(row, number, labels)
                labels[key] = _label(row, key, class_id, place)
        return Contents(
            classes, tuple(labels.values()), self._names, self._next_class_id,
            no_class, len(rows) - len(usable),
        )  # fmt: skip

    # --- classes

    def _classes(self) -> Tuple[StoredClass, ...]:
        """Return the listed classes; 0 is what maps have where there is nothing: it is no id."""
        found = []
        for each in self._listed:
            known = each.land_class
            if known.id < 1:
                self._renumbered[known.id] = self._free_id()
                known = replace(known, id=self._renumbered[known.id])
                self.amendments.append(
                    f"UPDATE classes SET class_id = {known.id}"  # noqa: S608 - numbers
                    f" WHERE class_id = {each.land_class.id}"
                )
            self._by_name.setdefault(known.name.casefold(), known.id)
            found.append(replace(each, land_class=known))
        return tuple(found)

    def _name_others(self, rows: Sequence[RawLabel], known: Any) -> None:  # noqa: ANN401 - a set
        for row in rows:
            class_id = row.values["class_id"] or 0
            if class_id >= 1 and class_id not in known:
                self._names.setdefault(class_id, _name(row) or str(class_id))
        for class_id, name in self._names.items():
            self._by_name.setdefault(name.casefold(), class_id)

    def _class_of(self, row: RawLabel) -> Optional[int]:
        """Return the id of a label's class, by its name where it has no id."""
        class_id, name = row.values["class_id"], _name(row)
        if class_id is not None and class_id >= 1:
            return int(class_id)
        found = self._by_name.get(name.casefold()) if name else self._renumbered.get(class_id)
        if found is None and name:
            found = self._by_name[name.casefold()] = self._free_id()
            self._names[found] = name
        if found is not None:
            self._amend(row, f"class_id = {found}")
        return found

    def _free_id(self) -> int:
        self._next_class_id += 1
        return self._next_class_id - 1

    # --- rows

    def _key(self, row: RawLabel, number: int, taken: Mapping[str, object]) -> str:
        """Return the key of a part of a row; each part but the first one gets a row of its own."""
        key = row.values["key"] if number == 0 else ""
        is_new = not key or key in taken  # drawn by other means, or a copy
        if is_new:
            key = str(uuid.uuid4())
        if number:
            self._add_row(row, key, row.places[number])
        elif is_new:
            self._amend(row, f"key = {label_sql.text(key)}")
        if number == 0 and len(row.places) > 1:
            self._amend(row, f"geom = {label_sql.geometry(row.places[0])}")
        return str(key)

    def _amend(self, row: RawLabel, what: str) -> None:
        self.amendments.append(f"UPDATE {row.table} SET {what} WHERE fid = {row.fid}")  # noqa: S608

    def _add_row(self, row: RawLabel, key: str, place: bytes) -> None:
        kept = [*(each for each in row.values if each != "key"), *(each for each, _ in row.extra)]
        columns = ", ".join(label_sql.name(each) for each in kept)
        self.amendments.append(
            f"INSERT INTO {row.table} (geom, key, {columns})"  # noqa: S608 - literals
            f" SELECT {label_sql.geometry(place)}, {label_sql.text(key)}, {columns}"
            f" FROM {row.table} WHERE fid = {row.fid}"
        )


def _name(row: RawLabel) -> str:
    return str(row.values["class_name"] or "").strip()


def _label(row: RawLabel, key: str, class_id: int, place: bytes) -> StoredLabel:
    values = row.values
    confidence = values.get("confidence")
    return StoredLabel(
        key, class_id, values["year"] or 0, place, values.get("note") or "",
        100 if confidence is None else confidence, values["created"] or "",
        tuple((name, held) for name, held in row.extra if held != "NULL"),
    )  # fmt: skip
