# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The label file: its tables, how they are made, and writing to them at once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence, Set

from qgis.core import (
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..errors import LabelsUnreadable, NotWritable

SCHEMA_VERSION = 1

POINTS, POLYGONS, CLASSES, META = "label_points", "label_polygons", "classes", "tessera_meta"
LABEL_FIELDS = (
    "field=class_id:integer&field=class_name:string&field=year:integer"
    "&field=created:string&field=key:string"
)
SCHEMA: Mapping[str, str] = {
    POINTS: f"Point?crs=EPSG:4326&{LABEL_FIELDS}",
    POLYGONS: f"Polygon?crs=EPSG:4326&{LABEL_FIELDS}",
    CLASSES: "NoGeometry?field=class_id:integer&field=name:string&field=color:string"
    "&field=position:integer",
    META: "NoGeometry?field=name:string&field=value:string",
}
"""Tables as URIs of QGIS's memory provider: the one way to name field types in every QGIS."""


@dataclass(frozen=True)
class Row:
    """A feature, to put it back."""

    table: str
    values: Mapping[str, object]
    geometry: QgsGeometry


class Table:
    """One table of the file, through a layer that no project knows."""

    def __init__(self, path: str, name: str) -> None:
        self.name = name
        self._path = path
        self._layer = QgsVectorLayer(uri(path, name), name, "ogr")
        if not self._layer.isValid():
            raise LabelsUnreadable(path, f"it is no label file: it has no table {name}")
        missing = _fields(name) - {field.name() for field in self._layer.fields()}
        if missing:
            raise LabelsUnreadable(path, f"table {name} has no field {', '.join(sorted(missing))}")

    def hold(self) -> Table:
        """Keep the file open for writing.

        It is then in write-ahead mode, in which drawing the labels never blocks writing one.
        """
        self._layer.dataProvider().enterUpdateMode()
        return self

    def features(self, area: Optional[QgsRectangle] = None) -> Iterator[QgsFeature]:
        """Yield the rows, or those that touch an area."""
        request = QgsFeatureRequest()
        if area is not None:
            request.setFilterRect(area).setFlags(QgsFeatureRequest.Flag.ExactIntersect)
        yield from self._layer.getFeatures(request)

    def pick(self, fids: Sequence[int]) -> Iterator[QgsFeature]:
        """Yield rows by id."""
        yield from self._layer.getFeatures(QgsFeatureRequest().setFilterFids(list(fids)))

    def row(self, feature: QgsFeature) -> Row:
        """Return a feature as a value that `add` takes."""
        values = {
            field.name(): feature[field.name()]
            for field in self._layer.fields()
            if field.name() != "fid"
        }
        return Row(self.name, values, QgsGeometry(feature.geometry()))

    def add(self, values: Mapping[str, object], geometry: Optional[QgsGeometry] = None) -> int:
        """Write a row at once; return its id."""
        feature = QgsFeature(self._layer.fields())
        for name, value in values.items():
            feature.setAttribute(name, value)
        if geometry is not None:
            feature.setGeometry(geometry)
        done, written = self._layer.dataProvider().addFeatures([feature])
        self._check(done)
        return int(written[0].id())

    def change(self, rows: Mapping[int, Mapping[str, object]]) -> None:
        """Write other values at once."""
        if rows:
            fields = self._layer.fields()
            numbered = {
                fid: {fields.lookupField(name): value for name, value in values.items()}
                for fid, values in rows.items()
            }
            self._check(self._layer.dataProvider().changeAttributeValues(numbered))

    def delete(self, fids: Sequence[int]) -> None:
        """Delete rows at once."""
        if fids:
            self._check(self._layer.dataProvider().deleteFeatures(list(fids)))

    def _check(self, done: bool) -> None:  # noqa: FBT001 - the answer of a provider
        if not done:
            provider = self._layer.dataProvider()
            reason = provider.lastError() or "; ".join(provider.errors())
            provider.clearErrors()
            raise NotWritable(self._path, reason or "the file takes no changes")


def create_file(path: str) -> None:
    """Make an empty label file, whole or not at all. Raises: NotWritable."""
    target = Path(path)
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.gpkg")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise NotWritable(path, "the folder takes no files")
        for number, name in enumerate(SCHEMA):
            _create_table(temporary, name, is_first=number == 0)
        _write_meta(temporary)
        temporary.replace(target)
    except OSError as error:
        raise NotWritable(path, error.strerror or str(error)) from error
    except sqlite3.Error as error:
        raise NotWritable(path, str(error)) from error
    finally:
        with contextlib.suppress(OSError):  # the usual case: it has been renamed
            temporary.unlink()


def _create_table(path: Path, name: str, *, is_first: bool) -> None:
    model = QgsVectorLayer(SCHEMA[name], name, "memory")
    actions = QgsVectorFileWriter.ActionOnExistingFile
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName = "GPKG", name
    options.actionOnExistingFile = (
        actions.CreateOrOverwriteFile if is_first else actions.CreateOrOverwriteLayer
    )
    context = QgsProject.instance().transformContext()
    writer = QgsVectorFileWriter.create(
        str(path), model.fields(), model.wkbType(), model.crs(), context, options
    )
    message = writer.errorMessage()
    failed = writer.hasError() != QgsVectorFileWriter.WriterError.NoError
    del writer  # closes the file
    if failed:
        raise NotWritable(str(path), message)


def _write_meta(path: Path) -> None:
    """Write the first rows without QGIS.

    It would begin a write-ahead log, which stays behind when the file gets its name while somebody
    else looks at it, as QGIS's browser does.
    """
    rows = (("schema_version", str(SCHEMA_VERSION)), ("next_class_id", "1"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(f"INSERT INTO {META} (name, value) VALUES (?, ?)", rows)  # noqa: S608


def open_tables(path: str) -> Dict[str, Table]:
    """Open the tables of a label file. Raises: LabelsUnreadable if it is none, or a newer one."""
    meta = Table(path, META)
    told = [row["value"] for row in meta.features() if row["name"] == "schema_version"]
    version = int(told[0]) if told and str(told[0]).isdigit() else 0
    if version != SCHEMA_VERSION:
        raise LabelsUnreadable(path, f"its schema is version {version}, not {SCHEMA_VERSION}")
    tables = {META: meta, **{name: Table(path, name) for name in SCHEMA if name != META}}
    return {name: table.hold() for name, table in tables.items()}


def _fields(table: str) -> Set[str]:
    parts = SCHEMA[table].split("field=")[1:]
    return {part.split(":")[0] for part in parts}


def uri(path: str, table: str) -> str:
    """Return the source of a layer on a table of the file."""
    return f"{path}|layername={table}"


def checkpoint(path: str) -> None:
    """Bring the write-ahead log into the file, so that a copy of the file alone has it all."""
    with contextlib.suppress(sqlite3.Error):  # noqa: SIM117 - Python 3.9 has no brackets here
        with contextlib.closing(sqlite3.connect(path, timeout=0.2)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
