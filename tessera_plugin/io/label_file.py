# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The label file: one GeoPackage with labels and classes; every change is one transaction.

All goes through GDAL's own connection. A second copy of SQLite in the process, such as Python's
may be, would drop the locks of the first one and could lose what it wrote.

The file is in write-ahead mode while it is open: drawing labels never waits for writing one, nor
the other way round. A change is in the log when `write` returns, so a crash of the program loses
nothing; after a power cut the changes since the last checkpoint may be gone, each of them wholly.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from osgeo import gdal, ogr

from ..errors import LabelsChanged, LabelsUnreadable, NotWritable
from ..progress import Report, silent
from ..values import POINTS, POLYGONS, LabelChange, LandClass, StoredClass
from . import gpkg_place, label_sql
from .gdal_errors import collected
from .label_connection import BUSY_MS, Rows, connect, connected, data_version, rows, sentence
from .label_contents import Contents, RawLabel, Reading, places_of
from .projection import spatial_reference

SCHEMA_VERSION = 2
"""1 had neither notes, confidence nor hidden classes."""

CLASSES, META = "classes", "tessera_meta"

_LABEL_FIELDS = ("class_id", "class_name", "year", "created", "key", "note", "confidence")
_FIELDS: Mapping[str, Tuple[str, ...]] = {
    POINTS: _LABEL_FIELDS,
    POLYGONS: _LABEL_FIELDS,
    CLASSES: ("class_id", "name", "color", "position", "hidden"),
    META: ("name", "value"),
}
_NUMBERS = {"class_id", "year", "confidence", "position"}
_KINDS = {POINTS: ogr.wkbPoint, POLYGONS: ogr.wkbPolygon}
_SINCE_2 = {
    POINTS: {"note": "TEXT", "confidence": "MEDIUMINT"},
    POLYGONS: {"note": "TEXT", "confidence": "MEDIUMINT"},
    CLASSES: {"hidden": "BOOLEAN"},
}


class LabelFile:
    """An open label file."""

    def __init__(self, path: str, *, has_log: bool = True) -> None:
        """Open a file, and bring one of version 1 up to date if it can be written.

        `has_log` is to be False where others may still have a file open that was in its place
        before: a log is known by its name, so they would take the log of this one for theirs.
        Raises: LabelsUnreadable if it is no label file, or a newer one; it is as before then.
        """
        self._path, self._has_log = path, has_log
        self._dataset = connect(path, gdal.OF_READONLY)
        self._check_tables()
        writable = connected(path, gdal.OF_UPDATE)
        self.is_writable = writable is not None and os.access(path, os.W_OK)
        if self.is_writable:
            self._dataset = writable
            self._prepare()
        self._identity = _identity(path)
        self._seen = self._data_version()

    def close(self) -> None:
        """Let go of the file and leave one tidy file, as long as nobody else has it open."""
        if self._dataset is not None and self.is_writable:
            with contextlib.suppress(NotWritable):
                if self.is_other:  # that one must not be taken for having this one's log
                    self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
                else:
                    self._rows("PRAGMA journal_mode = DELETE")
        self._dataset = None

    # --- others

    @property
    def is_gone(self) -> bool:
        """Whether there is no such file any more; writing on would go to nowhere."""
        return not os.path.exists(self._path)  # noqa: PTH110 - also where a drive is gone

    @property
    def is_other(self) -> bool:
        """Whether another file has taken its place."""
        return _identity(self._path) != self._identity

    @property
    def is_changed(self) -> bool:
        """Whether somebody else wrote to it since it was read, or brought its log in."""
        return self._data_version() != self._seen

    def checkpointed(self, nobody_wrote: Callable[[], bool]) -> None:
        """Don't take it for changed because its log was brought in, where that is all there was.

        `nobody_wrote` tells whether nobody did since `is_changed` was false; it is asked after a
        look at the file, so that nothing is missed that comes meanwhile.
        """
        now = self._data_version()
        if nobody_wrote():
            self._seen = now

    # --- reading

    def read(self) -> Contents:
        """Return all there is.

        Labels that other programs wrote are made like all others, in the file too: see
        `label_contents`. Raises: LabelsUnreadable.
        """
        self._seen = self._data_version()
        try:
            told = _whole(self._meta().get("next_class_id", "")) or 0
            reading = Reading(self._read_classes(), told)
            contents = reading.contents([row for table in _KINDS for row in self._raw(table)])
        except NotWritable as error:
            raise LabelsUnreadable(self._path, error.reason) from error
        self._amend(reading.amendments)
        return contents

    def feature_ids(self, table: str, keys: Sequence[str]) -> List[int]:
        """Return the ids of labels as QGIS knows them."""
        listed = ", ".join(label_sql.text(key) for key in keys)
        rows = self._rows(f"SELECT fid + 0 AS id FROM {table} WHERE key IN ({listed})")  # noqa: S608
        return [int(row[0]) for row in rows]

    # --- writing

    def write(self, change: LabelChange, next_class_id: int, report: Report = silent) -> None:
        """Bring a change about: all of it, or nothing.

        On any thread, as long as nobody else uses this object.
        Raises: NotWritable, Cancelled; LabelsChanged where the file is not as it was read, also
        where only its log was brought in: `read` tells whether there is something new.
        """
        if not self.is_writable:
            raise NotWritable(self._path, "it is read-only")
        expected = max(1, len(change.labels) // label_sql.ROWS_PER_INSERT)
        with self._transaction():
            self._rows(  # from here on nobody else writes
                f"UPDATE {META} SET value = max(CAST(value AS INTEGER), {next_class_id})"  # noqa: S608
                " WHERE name = 'next_class_id'"
            )
            if self.is_changed:
                raise LabelsChanged(self._path)
            for number, sql in enumerate(label_sql.statements(change)):
                report(min(number / expected, 1.0), "Writing labels")
                self._rows(sql)

    def write_styles(self, styles: Mapping[str, str]) -> None:
        """Have other programs draw tables so, as QML; all or none. Raises: NotWritable."""
        if not self.is_writable:
            raise NotWritable(self._path, "it is read-only")
        with self._transaction():
            for table, qml in styles.items():
                for sql in label_sql.style_statements(table, qml):
                    self._rows(sql)

    # --- inside

    def _check_tables(self) -> None:
        for table in (META, *_FIELDS):
            found = set(self._columns(table))
            if not found:
                raise LabelsUnreadable(self._path, f"it is no label file: it has no table {table}")
            missing = set(_FIELDS[table]) - found - set(_SINCE_2.get(table, ()))
            if missing:
                told = ", ".join(sorted(missing))
                raise LabelsUnreadable(self._path, f"table {table} has no field {told}")
        version = _whole(self._meta().get("schema_version", "")) or 0
        if not 1 <= version <= SCHEMA_VERSION:
            reason = f"its schema is version {version}, not {SCHEMA_VERSION}"
            raise LabelsUnreadable(self._path, reason)

    def _prepare(self) -> None:
        try:
            self._rows(f"PRAGMA busy_timeout = {BUSY_MS}")
            self._rows(f"PRAGMA journal_mode = {'WAL' if self._has_log else 'DELETE'}")
            self._rows(f"PRAGMA synchronous = {'NORMAL' if self._has_log else 'FULL'}")
            self._upgrade()
        except NotWritable:  # it can be read all the same
            self._dataset = connect(self._path, gdal.OF_READONLY)
            self.is_writable = False

    def _upgrade(self) -> None:
        wanted = [f"CREATE INDEX IF NOT EXISTS {table}_key ON {table} (key)" for table in _KINDS]
        for table, columns in _SINCE_2.items():
            there = self._columns(table)
            wanted += [
                f"ALTER TABLE {table} ADD COLUMN {column} {kind}"
                for column, kind in columns.items()
                if column not in there
            ]
        meta = self._meta()
        if meta.get("schema_version") == str(SCHEMA_VERSION) and "next_class_id" in meta:
            return
        if "next_class_id" not in meta:
            wanted.append(f"INSERT INTO {META} (name, value) VALUES ('next_class_id', '1')")  # noqa: S608
        version = f"UPDATE {META} SET value = '{SCHEMA_VERSION}' WHERE name = 'schema_version'"  # noqa: S608
        with self._transaction():
            for sql in (*wanted, version):
                self._rows(sql)
        # GDAL learns of columns when it opens a file
        self._dataset = None
        self._dataset = connect(self._path, gdal.OF_UPDATE)
        self._prepare()

    def _read_classes(self) -> Tuple[StoredClass, ...]:
        fields = self._known_fields(CLASSES)
        rows = (dict(zip(fields, row)) for row in self._select(CLASSES, fields))
        found: Dict[int, StoredClass] = {}
        for row in sorted(rows, key=lambda each: each["position"] or 0):
            number = _whole(row["class_id"])
            if number is not None:
                made = LandClass(number, row["name"] or str(number), row["color"] or "")
                found[number] = StoredClass(made, bool(row.get("hidden")))
        return tuple(found.values())

    def _amend(self, wanted: Sequence[str]) -> None:
        if wanted and self.is_writable:
            with contextlib.suppress(NotWritable), self._transaction():  # the next reading tries
                for sql in wanted:
                    self._rows(sql)

    def _raw(self, table: str) -> List[RawLabel]:
        """Return the rows of a table of labels."""
        fields = self._known_fields(table)
        extra = [each for each in self._columns(table) if each not in (*fields, "fid", "geom")]
        columns = ["fid + 0 AS id", "geom", *fields]
        columns += [
            f"quote({label_sql.name(name)}) AS x{number}" for number, name in enumerate(extra)
        ]
        sql = f"SELECT {', '.join(columns)} FROM {table} ORDER BY fid"  # noqa: S608
        ((count,),) = self._rows(f"SELECT count(*) FROM {table}")  # noqa: S608 - a constant
        problems: List[str] = []
        found: List[RawLabel] = []
        with collected(problems):
            result = self._dataset.ExecuteSQL(sql)
            if result is not None:
                found = [
                    _raw_label(table, each, fields, extra) for each in _features(result, count)
                ]
                self._dataset.ReleaseResultSet(result)
        is_whole = len(found) >= count and any(each.values for each in found)
        if problems and not is_whole:  # geometries that can't be read are no reason to read none
            raise LabelsUnreadable(self._path, sentence(problems[0]))
        return found

    def _known_fields(self, table: str) -> List[str]:
        there = self._columns(table)
        return [each for each in _FIELDS[table] if each in there]

    def _columns(self, table: str) -> List[str]:
        return [row[1] for row in self._rows(f"PRAGMA table_info({table})")]

    def _select(self, table: str, fields: Sequence[str]) -> Rows:
        return self._rows(f"SELECT {', '.join(fields)} FROM {table}")  # noqa: S608

    def _meta(self) -> Dict[str, str]:
        return {str(name): str(value) for name, value in self._select(META, _FIELDS[META])}

    def _data_version(self) -> int:
        """Return a number that changes when another connection writes."""
        return data_version(self._path, self._dataset)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        problems: List[str] = []
        with collected(problems):
            self._dataset.StartTransaction()
        try:
            if problems:
                raise NotWritable(self._path, sentence(problems[-1]))
            yield
            with collected(problems):
                self._dataset.CommitTransaction()
            if problems:
                raise NotWritable(self._path, sentence(problems[-1]))
        except BaseException:
            with collected([]):
                self._dataset.RollbackTransaction()
            raise

    def _rows(self, sql: str) -> Rows:
        return rows(self._path, self._dataset, sql)


def copy(source: str, path: str) -> None:
    """Write a copy of a label file as it is now, also while somebody writes to it.

    Raises: LabelsUnreadable, NotWritable; what was begun stays behind.
    """
    rows(path, connect(source, gdal.OF_READONLY), f"VACUUM INTO {label_sql.text(path)}")


# --- a new file


def create(path: str) -> None:
    """Make an empty label file, whole or not at all. Raises: NotWritable.

    What an older file of that name has left behind beside it goes.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.gpkg")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise NotWritable(path, "the folder takes no files")
        problems: List[str] = []
        with collected(problems):
            _create(temporary)
        if problems:
            raise NotWritable(path, sentence(problems[0]))
        gpkg_place.vacate(path)
        temporary.replace(target)
    except OSError as error:
        raise NotWritable(path, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):  # the usual case: it has been renamed
            temporary.unlink()


def _create(path: Path) -> None:
    dataset = gdal.GetDriverByName("GPKG").Create(str(path), 0, 0, 0, gdal.GDT_Unknown)
    for table, fields in _FIELDS.items():
        kind = _KINDS.get(table, ogr.wkbNone)
        crs = spatial_reference("EPSG:4326") if table in _KINDS else None
        layer = dataset.CreateLayer(table, crs, kind, ["FID=fid", "GEOMETRY_NAME=geom"])
        for name in fields:
            layer.CreateField(_definition(name))
        layer.SyncToDisk()
    for table in _KINDS:
        dataset.ExecuteSQL(f"CREATE INDEX {table}_key ON {table} (key)")
    meta = {"schema_version": SCHEMA_VERSION, "next_class_id": 1}
    for name, value in meta.items():
        dataset.ExecuteSQL(f"INSERT INTO {META} (name, value) VALUES ('{name}', '{value}')")  # noqa: S608


def _definition(name: str) -> ogr.FieldDefn:
    if name == "hidden":
        made = ogr.FieldDefn(name, ogr.OFTInteger)
        made.SetSubType(ogr.OFSTBoolean)
        return made
    return ogr.FieldDefn(name, ogr.OFTInteger if name in _NUMBERS else ogr.OFTString)


# --- inside


def _identity(path: str) -> Tuple[int, int]:
    with contextlib.suppress(OSError):
        found = Path(path).stat()
        return found.st_dev, found.st_ino
    return 0, 0


def _features(result: ogr.Layer, count: int) -> Iterator[Optional[ogr.Feature]]:
    """Yield so many features of a result, if there are, None for those that GDAL can't read."""
    for _ in range(count):
        try:
            feature = result.GetNextFeature()
        except RuntimeError:  # where another plugin switched exceptions on
            yield None
            continue
        if feature is None:
            return
        yield feature


def _raw_label(
    table: str, feature: Optional[ogr.Feature], fields: Sequence[str], extra: Sequence[str]
) -> RawLabel:
    if feature is None:
        return RawLabel(table, 0, (), {}, ())
    fid, *held = [feature.GetField(index) for index in range(1 + len(fields) + len(extra))]
    values = dict(zip(fields, held))
    for name in _NUMBERS & values.keys():
        values[name] = _whole(values[name])
    places = places_of(feature.GetGeometryRef())
    return RawLabel(table, fid, places, values, tuple(zip(extra, held[len(fields) :])))


def _whole(value: Any) -> Any:  # noqa: ANN401 - a number or None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
