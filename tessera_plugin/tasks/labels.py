# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The label store: one GeoPackage that holds every label the moment it is made.

It works on layer objects of its own, so that closing the project or removing layers from it takes
nothing away; what the project shows are further layers on the same file. All on the GUI thread.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QCoreApplication, QObject, QStandardPaths, pyqtSignal

from ..errors import NotWritable
from ..values import LandClass
from . import layers
from .label_file import (
    CLASSES,
    META,
    POINTS,
    POLYGONS,
    Row,
    Table,
    checkpoint,
    create_file,
    open_tables,
    uri,
)

STYLE = "tessera/style"
"""Custom property of a layer: the classes it is drawn by."""

PALETTE = (
    "#4e79a7",
    "#59a14f",
    "#edc948",
    "#e15759",
    "#b07aa1",
    "#f28e2b",
    "#76b7b2",
    "#9c755f",
    "#ff9da7",
    "#8cd17d",
    "#499894",
    "#bab0ac",
)
"""Colours of new classes, told apart also side by side on a map."""


@dataclass(frozen=True)
class StoredLabel:
    """A label as it is on disk, in degrees (EPSG:4326)."""

    key: str
    """Stable id; it becomes the group that accuracy never splits."""
    class_id: int
    year: int
    wkb: bytes


@dataclass(frozen=True)
class _Step:
    """What undo takes back: a label that was made, or rows and a class that were removed."""

    made: str = ""
    removed: Tuple[Row, ...] = ()
    land_class: Optional[LandClass] = None
    position: int = 0


def default_path() -> str:
    """Return where labels are kept until the person chooses: the documents folder."""
    location = QStandardPaths.StandardLocation.DocumentsLocation
    folder = QStandardPaths.writableLocation(location) or str(Path.home())
    return str(Path(folder) / "Tessera" / "labels.gpkg")


class LabelStore(QObject):
    """Labels and their classes in one GeoPackage.

    Every call that changes something has changed the file when it returns.
    """

    changed = pyqtSignal()
    """Labels or classes are other than before."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._path = ""
        self._tables: Dict[str, Table] = {}
        self._classes: Dict[int, LandClass] = {}
        self._class_fids: Dict[int, int] = {}
        self._index: Dict[str, Tuple[str, int, int, int]] = {}  # key: table, fid, class, year
        self._steps: List[_Step] = []

    # --- the file

    @property
    def path(self) -> str:
        """The file in use; it is made with the first class."""
        return self._path

    def open(self, path: str) -> None:
        """Use a label file, which need not be there yet.

        Raises: LabelsUnreadable, and the file used before stays in use.
        """
        tables = open_tables(path) if Path(path).exists() else {}
        self.close()
        self._path, self._tables = path, tables
        self.refresh()

    def close(self) -> None:
        """Let go of the file."""
        self._tables = {}  # the last connection that closes leaves one tidy file
        self._classes, self._class_fids, self._index, self._steps = {}, {}, {}, []

    def refresh(self) -> None:
        """Read everything anew, as after somebody else edited the file."""
        if self._tables:
            self._read_classes()
            self._read_labels()
        self.changed.emit()

    # --- classes

    @property
    def classes(self) -> Tuple[LandClass, ...]:
        """The classes, in the order they were made."""
        return tuple(self._classes.values())

    def land_class(self, class_id: int) -> Optional[LandClass]:
        """Return a class, or None."""
        return self._classes.get(class_id)

    def next_color(self) -> str:
        """Return a colour that no class has, as long as there is one."""
        used = {each.color.lower() for each in self.classes}
        free = [color for color in PALETTE if color not in used]
        return free[0] if free else PALETTE[len(used) % len(PALETTE)]

    def add_class(self, name: str, color: str = "") -> LandClass:
        """Add a class. Its id is never given to another one. Raises: NotWritable."""
        self._ensure_file()
        made = LandClass(self._next_class_id(), name, color or self.next_color())
        self._set_meta("next_class_id", str(made.id + 1))
        self._insert_class(made, len(self._classes))
        self._wrote()
        return made

    def rename_class(self, class_id: int, name: str) -> None:
        """Give a class another name; its id and labels stay. Raises: NotWritable."""
        self._change_class(replace(self._classes[class_id], name=name))
        for table in self._label_tables():
            rows = self._fids_of(class_id, table.name)
            table.change({fid: {"class_name": name} for fid in rows})
        self._wrote()

    def recolor_class(self, class_id: int, color: str) -> None:
        """Give a class another colour. Raises: NotWritable."""
        self._change_class(replace(self._classes[class_id], color=color))
        self._wrote()

    def remove_class(self, class_id: int) -> None:
        """Remove a class and all its labels; undo brings them back. Raises: NotWritable."""
        self._check_file()
        gone, position = self._classes[class_id], list(self._classes).index(class_id)
        keys = [key for key, entry in self._index.items() if entry[2] == class_id]
        rows = self._take(keys)
        self._tables[CLASSES].delete([self._class_fids.pop(class_id)])
        del self._classes[class_id]
        self._steps.append(_Step(removed=rows, land_class=gone, position=position))
        self._wrote()

    # --- labels

    @property
    def counts(self) -> Mapping[int, int]:
        """Labels of each class id."""
        return Counter(entry[2] for entry in self._index.values())

    @property
    def years(self) -> Mapping[int, int]:
        """Labels made for each year."""
        return Counter(entry[3] for entry in self._index.values())

    def labels(self) -> Iterator[StoredLabel]:
        """Yield every label of a known class."""
        for table in self._label_tables():
            for feature in table.features():
                entry = self._index.get(_text(feature["key"]))
                if entry is not None and not feature.geometry().isNull():
                    wkb = bytes(feature.geometry().asWkb())
                    yield StoredLabel(_text(feature["key"]), entry[2], entry[3], wkb)

    def add_label(self, geometry: QgsGeometry, class_id: int, year: int) -> str:
        """Write a point or polygon (EPSG:4326) as a label; return its key. Raises: NotWritable."""
        self._check_file()
        key = str(uuid.uuid4())
        values = {
            "class_id": class_id,
            "class_name": self._classes[class_id].name,
            "year": year,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "key": key,
        }
        is_point = geometry.type() == QgsWkbTypes.geometryType(QgsWkbTypes.Type.Point)
        table = POINTS if is_point else POLYGONS
        self._put(Row(table, values, geometry))
        self._steps.append(_Step(made=key))
        self._wrote()
        return key

    def remove_label(self, key: str) -> None:
        """Remove a label; undo brings it back. Raises: NotWritable."""
        self._check_file()
        self._steps.append(_Step(removed=self._take([key])))
        self._wrote()

    def at(self, area: QgsRectangle) -> Optional[Tuple[str, QgsGeometry]]:
        """Return key and geometry of the label nearest to the middle of an area, if one is in it.

        A point goes before the polygon it lies on.
        """
        middle = QgsGeometry.fromPointXY(area.center())
        for table in self._label_tables():
            found = [each for each in table.features(area) if _text(each["key"]) in self._index]
            if found:
                nearest = min(found, key=lambda each: each.geometry().distance(middle))
                return _text(nearest["key"]), QgsGeometry(nearest.geometry())
        return None

    # --- undo

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._steps)

    def undo(self) -> None:
        """Take back the last label that was made or removed, or class that was removed."""
        if not self._steps:
            return
        self._check_file()
        step = self._steps[-1]
        if step.made:
            self._take([step.made] if step.made in self._index else [])
        if step.land_class is not None:
            self._insert_class(step.land_class, step.position)
            items = list(self._classes.items())
            items.insert(step.position, items.pop())
            self._classes = dict(items)
        for row in step.removed:
            self._put(row)
        self._steps.pop()
        self._wrote()

    # --- the project

    def show_in(self, project: QgsProject) -> None:
        """Have the project show the labels, in the colours of the classes."""
        if not self._tables:
            return
        dirty = project.isDirty()
        for role in (POINTS, POLYGONS):
            self._show(project, role)
        project.setDirty(dirty)  # all is in the label file: nothing to save

    def _show(self, project: QgsProject, role: str) -> None:
        shown = [
            each
            for each in project.mapLayers().values()
            if isinstance(each, QgsVectorLayer) and _shows(each, self._path, role)
        ]
        if not shown:
            layer = QgsVectorLayer(uri(self._path, role), _layer_name(role), "ogr")
            layer.afterCommitChanges.connect(self.refresh)
            layers.add(project, layer, role)
            shown = [layer]
        style = repr(self.classes)
        for layer in shown:
            if layer.customProperty(STYLE) != style:  # a new renderer folds the legend anew
                layer.setRenderer(layers.label_renderer(role, self.classes))
                layer.setCustomProperty(STYLE, style)
            layer.dataProvider().reloadData()
            layer.triggerRepaint()

    # --- inside

    def _label_tables(self) -> Sequence[Table]:
        if not self._tables:
            return ()
        return self._tables[POINTS], self._tables[POLYGONS]

    def _ensure_file(self) -> None:
        if self._tables:
            self._check_file()
        elif Path(self._path).exists():  # made by another QGIS meanwhile
            self.open(self._path)
        else:
            create_file(self._path)
            self._tables = open_tables(self._path)

    def _check_file(self) -> None:
        # Where files can be deleted while they are open, writing on would go to nowhere.
        if not Path(self._path).exists():
            raise NotWritable(self._path, "the file is gone")

    def _read_classes(self) -> None:
        rows = sorted(self._tables[CLASSES].features(), key=lambda each: each["position"] or 0)
        self._classes, self._class_fids = {}, {}
        for row in rows:
            found = LandClass(int(row["class_id"]), _text(row["name"]), _text(row["color"]))
            self._classes[found.id] = found
            self._class_fids[found.id] = row.id()

    def _read_labels(self) -> None:
        self._index = {}
        for table in self._label_tables():
            for feature in table.features():
                class_id, year = _number(feature["class_id"]), _number(feature["year"])
                if class_id is None:
                    continue
                if class_id not in self._classes:  # drawn by other means
                    name = _text(feature["class_name"]) or str(class_id)
                    self._insert_class(
                        LandClass(class_id, name, self.next_color()), len(self._classes)
                    )
                key = _text(feature["key"])
                if not key:
                    key = str(uuid.uuid4())
                    table.change({feature.id(): {"key": key}})
                self._index[key] = (table.name, feature.id(), class_id, year or 0)

    def _next_class_id(self) -> int:
        told = [row["value"] for row in self._meta_rows("next_class_id")]
        return max([1, *(int(each) for each in told), *(each + 1 for each in self._classes)])

    def _meta_rows(self, name: str) -> List[QgsFeature]:
        return [row for row in self._tables[META].features() if row["name"] == name]

    def _set_meta(self, name: str, value: str) -> None:
        rows = self._meta_rows(name)
        if rows:
            self._tables[META].change({rows[0].id(): {"value": value}})
        else:
            self._tables[META].add({"name": name, "value": value})

    def _insert_class(self, made: LandClass, position: int) -> None:
        values = {
            "class_id": made.id,
            "name": made.name,
            "color": made.color,
            "position": position,
        }
        self._class_fids[made.id] = self._tables[CLASSES].add(values)
        self._classes[made.id] = made

    def _change_class(self, changed: LandClass) -> None:
        self._check_file()
        values = {"name": changed.name, "color": changed.color}
        self._tables[CLASSES].change({self._class_fids[changed.id]: values})
        self._classes[changed.id] = changed

    def _fids_of(self, class_id: int, table: str) -> List[int]:
        entries = self._index.values()
        return [fid for name, fid, each, _ in entries if name == table and each == class_id]

    def _put(self, row: Row) -> None:
        fid = self._tables[row.table].add(row.values, row.geometry)
        class_id, year = int(str(row.values["class_id"])), int(str(row.values["year"] or 0))
        self._index[str(row.values["key"])] = (row.table, fid, class_id, year)

    def _take(self, keys: Sequence[str]) -> Tuple[Row, ...]:
        """Delete labels and return them."""
        rows = []
        for table in self._label_tables():
            fids = [self._index[key][1] for key in keys if self._index[key][0] == table.name]
            rows += [table.row(feature) for feature in table.pick(fids)]
            table.delete(fids)
        for key in keys:
            del self._index[key]
        return tuple(rows)

    def _wrote(self) -> None:
        checkpoint(self._path)
        self.changed.emit()


def _shows(layer: QgsVectorLayer, path: str, table: str) -> bool:
    file, _, rest = layer.source().partition("|")
    return f"layername={table}" in rest.split("|") and os.path.normcase(file) == os.path.normcase(
        path
    )


def _layer_name(role: str) -> str:
    if role == POINTS:
        return QCoreApplication.translate("Labels", "Label points")
    return QCoreApplication.translate("Labels", "Label polygons")


def _text(value: object) -> str:
    """Return an attribute as text; NULL is empty."""
    return value if isinstance(value, str) else ""


def _number(value: object) -> Optional[int]:
    """Return an attribute as a number; NULL is None."""
    return int(value) if isinstance(value, (int, float)) else None
