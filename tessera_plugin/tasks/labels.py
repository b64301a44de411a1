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
from typing import Callable, Iterable, List, Mapping, Optional, Sequence, Tuple

from qgis.core import QgsGeometry, QgsRectangle

from ..errors import NotWritable
from ..progress import Report
from ..values import LabelChange, LandClass, StoredClass, StoredLabel
from . import label_words
from .label_core import with_colors
from .label_file import default_path
from .label_history import Step
from .label_rows import geometry_of, wkb_of
from .label_steps import MANY, LabelSteps
from .label_writing import LabelWriting

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


class LabelStore(LabelSteps):
    """Labels and their classes in one GeoPackage.

    Every call that changes something has changed the file when it returns, as one transaction, and
    is one step of undo; where the file takes no changes it raises NotWritable and nothing is other
    than before. What somebody else wrote to the file meanwhile is taken over first, as a step too.

    What changes MANY labels, but for `add_labels`, is begun when the call returns, and `changed` tells
    when it is done: then it is in the file as one transaction, or `not_written` has told why not.
    """

    # --- classes

    def add_class(self, name: str, color: str = "") -> LandClass:
        """Add a class. Its id is never given to another one. Raises: NotWritable."""
        return self._add_classes([(name, color)])[0]

    def add_classes(self, wanted: Sequence[Tuple[str, str]]) -> Tuple[LandClass, ...]:
        """Add classes by name and colour (may be empty), but those whose names are there already.

        Returns those that were made. Raises: NotWritable.
        """
        fresh = self._fresh(wanted)
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

    def keys_in(self, area: QgsRectangle, most: Optional[int] = None) -> Tuple[str, ...]:
        """Return the keys of the labels that touch an area, but of those that are not drawn.

        There are no more of them than `most`.
        """
        return self._rows.keys_in(area, self.hidden, most)

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

        They are there when it returns, however many they are: see `adding`. Raises: NotWritable.
        """
        self._ready()
        for class_id in {each.class_id for each in wanted}:
            self._class(class_id)
        now = _now()
        made = [_stored(each, now) for each in wanted]
        text, pairs = label_words.labels(made, self.classes), [(None, label) for label in made]
        self._do(text, pairs, at_once=True)
        return tuple(label.key for label in made)

    def adding(
        self,
        make: Callable[[Mapping[str, int]], Iterable[NewLabel]],
        number: int,
        new_classes: Sequence[Tuple[str, str]] = (),
        text: str = "",
    ) -> LabelWriting:
        """Return what adds a number of labels on the side, with classes for them, once it is started.

        `make` gives the labels, by the ids of all classes by their names, casefolded; it is called
        on another thread. `new_classes` (name, colour) whose names are there already are not made.
        All is one transaction and one step, called `text`; a cancel leaves nothing of it behind.
        """

        def made(report: Report) -> Step:
            fresh = self._made(self._fresh(new_classes))
            classes = (*self._classes, *(StoredClass(each) for each in fresh))
            ids = {each.land_class.name.casefold(): each.land_class.id for each in classes}
            known, now = frozenset(ids.values()), _now()
            labels: List[StoredLabel] = []
            for each in make(ids):
                if len(labels) % MANY == 0:
                    report(len(labels) / max(number, 1), "Making labels")
                if each.class_id not in known:
                    raise NotWritable(self._path, "the class is gone")
                labels.append(_stored(each, now))
            known_classes = [each.land_class for each in classes]
            pairs = tuple((None, label) for label in labels)
            told = text or label_words.labels(labels, known_classes)
            return Step(told, LabelChange(self._classes, classes, pairs))

        return self._on_the_side(made, self._note, self._ensure_file, is_anew=True)

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
        made = self._made(wanted)
        classes = (*self._classes, *(StoredClass(each) for each in made))
        self._do(label_words.classes_added(made), classes=classes)
        return tuple(made)

    def _fresh(self, wanted: Sequence[Tuple[str, str]]) -> List[Tuple[str, str]]:
        """Return those names and colours whose names no class has, each name once."""
        taken = {each.name.casefold() for each in self.classes}
        fresh: List[Tuple[str, str]] = []
        for name, color in wanted:
            if name.casefold() not in taken:
                taken.add(name.casefold())
                fresh.append((name, color))
        return fresh

    def _made(self, wanted: Sequence[Tuple[str, str]]) -> List[LandClass]:
        """Return new classes, with ids that were never given before."""
        colors = with_colors([color for _, color in wanted], self.classes)
        named = zip((name for name, _ in wanted), colors)
        return [LandClass(at, *each) for at, each in enumerate(named, self._next_class_id)]

    def _change_class(self, before: StoredClass, after: LandClass, text: str) -> None:
        self._do(text, classes=self._with(before, replace(before, land_class=after)))

    def _with(self, before: StoredClass, after: StoredClass) -> List[StoredClass]:
        return [after if each is before else each for each in self._classes]

    def _class(self, class_id: int) -> StoredClass:
        found = [each for each in self._classes if each.land_class.id == class_id]
        if not found:  # somebody else removed it meanwhile
            raise NotWritable(self._path, "the class is gone")
        return found[0]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _stored(label: NewLabel, now: str) -> StoredLabel:
    return StoredLabel(
        str(uuid.uuid4()), label.class_id, label.year, wkb_of(label.geometry), label.note,
        label.confidence, now,
    )  # fmt: skip
