# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The label store: one GeoPackage that holds every label the moment it is made.

All labels are in memory too, so asking is cheap; the file has its own connection, so that closing
the project or removing layers from it takes nothing away. All on the GUI thread.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple

from qgis.core import QgsGeometry, QgsRectangle

from ..errors import NotWritable
from ..values import LandClass, StoredClass, StoredLabel
from . import label_words
from .label_core import LabelCore, free_color
from .label_file import default_path
from .label_rows import geometry_of, wkb_of

__all__ = ["LabelStore", "NewLabel", "StoredLabel", "default_path"]


@dataclass(frozen=True)
class NewLabel:
    """A label to be made."""

    geometry: QgsGeometry
    """Point or polygon in degrees (EPSG:4326)."""
    class_id: int
    year: int
    note: str = ""
    confidence: int = 100
    """Percent."""


class LabelStore(LabelCore):
    """Labels and their classes in one GeoPackage.

    Every call that changes something has changed the file when it returns, as one transaction, and
    is one step of undo; where the file takes no changes it raises NotWritable and nothing is other
    than before. What somebody else wrote to the file meanwhile is taken over first, as a step too.
    """

    # --- classes

    def next_color(self) -> str:
        """Return a colour that no class has, as long as there is one."""
        return free_color(self.classes)

    def add_class(self, name: str, color: str = "") -> LandClass:
        """Add a class. Its id is never given to another one. Raises: NotWritable."""
        return self._add_classes([(name, color)])[0]

    def add_classes(self, wanted: Sequence[Tuple[str, str]]) -> Tuple[LandClass, ...]:
        """Add classes by name and colour (may be empty), but those whose names are there already.

        Returns those that were made. Raises: NotWritable.
        """
        taken = {each.name.casefold() for each in self.classes}
        fresh: List[Tuple[str, str]] = []
        for name, color in wanted:
            if name.casefold() not in taken:
                taken.add(name.casefold())
                fresh.append((name, color))
        return self._add_classes(fresh) if fresh else ()

    def rename_class(self, class_id: int, name: str) -> None:
        """Give a class another name; its id and labels stay. Raises: NotWritable."""
        self._ready()
        before = self._class(class_id)
        text = label_words.renamed(before.land_class)
        self._change_class(before, replace(before.land_class, name=name), text)

    def recolor_class(self, class_id: int, color: str) -> None:
        """Give a class another colour. Raises: NotWritable."""
        self._ready()
        before = self._class(class_id)
        text = label_words.recolored(before.land_class)
        self._change_class(before, replace(before.land_class, color=color), text)

    def move_class(self, class_id: int, position: int) -> None:
        """Put a class at a position (0 is the first) of the list. Raises: NotWritable."""
        self._ready()
        moved = self._class(class_id)
        others = [each for each in self._classes if each is not moved]
        others.insert(max(0, position), moved)
        self._do(label_words.class_moved(moved.land_class), classes=others)

    def merge_classes(self, class_ids: Sequence[int], into: int) -> None:
        """Give the labels of classes to another class, and remove them. Raises: NotWritable."""
        self._ready()
        target, gone = self._class(into).land_class, set(class_ids) - {into}
        kept = [each for each in self._classes if each.land_class.id not in gone]
        pairs = [
            (each, replace(each, class_id=into)) for each in self._rows if each.class_id in gone
        ]
        text = label_words.merged([e for e in self.classes if e.id in gone], target)
        self._do(text, pairs, kept)

    def hide_class(self, class_id: int, hidden: bool) -> None:  # noqa: FBT001 - it is set as told
        """Draw a class no more, or again; it is learnt all the same. Raises: NotWritable."""
        self.hide_classes([class_id], hidden)

    def hide_classes(self, class_ids: Iterable[int], hidden: bool) -> None:  # noqa: FBT001 - as above
        """Draw classes no more, or again, as one step. Raises: NotWritable."""
        self._ready()
        told = [self._class(each) for each in class_ids]
        text = label_words.hidden([each.land_class for each in told], is_hidden=hidden)
        after = [replace(each, hidden=hidden) if each in told else each for each in self._classes]
        self._do(text, classes=after)

    def remove_class(self, class_id: int) -> None:
        """Remove a class and all its labels; undo brings them back. Raises: NotWritable."""
        self.remove_classes([class_id])

    def remove_classes(self, class_ids: Iterable[int]) -> None:
        """Remove classes and all their labels, as one step. Raises: NotWritable."""
        self._ready()
        gone = [self._class(each) for each in class_ids]
        ids = {each.land_class.id for each in gone}
        pairs = [(each, None) for each in self._rows if each.class_id in ids]
        kept = [each for each in self._classes if each not in gone]
        self._do(label_words.classes_removed([each.land_class for each in gone]), pairs, kept)

    # --- what the labels are

    @property
    def counts(self) -> Mapping[int, int]:
        """Labels of each class id."""
        return self._rows.counts

    @property
    def pixels(self) -> Mapping[int, int]:
        """About how many pixels the labels of each class id have."""
        return self._rows.pixels

    @property
    def years(self) -> Mapping[int, int]:
        """Labels made for each year."""
        return self._rows.years

    def labels(self) -> Tuple[StoredLabel, ...]:
        """Return every label."""
        return tuple(self._rows)

    def label(self, key: str) -> Optional[StoredLabel]:
        """Return a label, or None."""
        return self._rows.get(key)

    def at(self, area: QgsRectangle) -> Optional[Tuple[str, QgsGeometry]]:
        """Return key and geometry of the label nearest to the middle of an area, if one is in it.

        A point goes before the polygon it lies on. Labels that are not drawn are not found.
        """
        return self._rows.at(area, self.hidden)

    def keys_in(self, area: QgsRectangle) -> Tuple[str, ...]:
        """Return the keys of the labels that touch an area, but of those that are not drawn."""
        return self._rows.keys_in(area, self.hidden)

    def geometry(self, key: str) -> QgsGeometry:
        """Return where a label is, in degrees; empty if there is no such label."""
        label = self._rows.get(key)
        return QgsGeometry() if label is None else geometry_of(label)

    # --- changing labels

    def add_label(
        self, geometry: QgsGeometry, class_id: int, year: int, note: str = "", confidence: int = 100
    ) -> str:
        """Write a point or polygon (EPSG:4326) as a label; return its key. Raises: NotWritable."""
        return self.add_labels([NewLabel(geometry, class_id, year, note, confidence)])[0]

    def add_labels(self, wanted: Sequence[NewLabel]) -> Tuple[str, ...]:
        """Write labels, all or none of them; return their keys in that order.

        Raises: NotWritable.
        """
        self._ready()
        for class_id in {each.class_id for each in wanted}:
            self._class(class_id)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        made = [
            StoredLabel(
                str(uuid.uuid4()),
                each.class_id,
                each.year,
                wkb_of(each.geometry),
                each.note,
                each.confidence,
                now,
            )
            for each in wanted
        ]
        self._do(label_words.labels(made, self.classes), [(None, label) for label in made])
        return tuple(label.key for label in made)

    def remove_label(self, key: str) -> None:
        """Remove a label. Raises: NotWritable."""
        self.remove_labels([key])

    def remove_labels(self, keys: Iterable[str]) -> None:
        """Remove labels; those that are gone already are passed over. Raises: NotWritable."""
        self._ready()
        found = self._rows.pick(keys)
        text = label_words.removed(found, self.classes)
        self._do(text, [(label, None) for label in found])

    def reclass_labels(self, keys: Iterable[str], class_id: int) -> None:
        """Give labels another class. Raises: NotWritable."""
        self._ready()
        to = self._class(class_id).land_class
        found = [each for each in self._rows.pick(keys) if each.class_id != class_id]
        text = label_words.reclassed(found, to, self.classes)
        self._do(text, [(each, replace(each, class_id=class_id)) for each in found])

    def move_label(self, key: str, geometry: QgsGeometry) -> None:
        """Put a label somewhere else (EPSG:4326). Raises: NotWritable."""
        self._ready()
        found = self._rows.pick([key])
        text = label_words.moved(found, self.classes)
        self._do(text, [(each, replace(each, wkb=wkb_of(geometry))) for each in found])

    def edit_labels(
        self,
        keys: Iterable[str],
        *,
        year: Optional[int] = None,
        note: Optional[str] = None,
        confidence: Optional[int] = None,
    ) -> None:
        """Give labels another year, note or confidence; None stays as it is.

        Raises: NotWritable.
        """
        self._ready()
        told = {"year": year, "note": note, "confidence": confidence}
        values = {name: value for name, value in told.items() if value is not None}
        found = self._rows.pick(keys)
        pairs = [(each, replace(each, **values)) for each in found]  # type: ignore[arg-type]
        self._do(label_words.edited(found, self.classes), pairs)

    # --- inside

    def _add_classes(self, wanted: Sequence[Tuple[str, str]]) -> Tuple[LandClass, ...]:
        self._ensure_file()
        made: List[LandClass] = []
        for number, (name, color) in enumerate(wanted, self._next_class_id):
            known = (*self.classes, *made)
            made.append(LandClass(number, name, color or free_color(known)))
        classes = (*self._classes, *(StoredClass(each) for each in made))
        self._do(label_words.classes_added(made), classes=classes)
        return tuple(made)

    def _change_class(self, before: StoredClass, after: LandClass, text: str) -> None:
        self._do(text, classes=self._with(before, replace(before, land_class=after)))

    def _with(self, before: StoredClass, after: StoredClass) -> List[StoredClass]:
        return [after if each is before else each for each in self._classes]

    def _class(self, class_id: int) -> StoredClass:
        found = [each for each in self._classes if each.land_class.id == class_id]
        if not found:  # somebody else removed it meanwhile
            raise NotWritable(self._path, "the class is gone")
        return found[0]
