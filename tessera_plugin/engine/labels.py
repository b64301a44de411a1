# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled places and their classes, from a vector file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Dict, List, Optional, Sequence, Tuple

from ..errors import LabelsUnreadable, NoLabels
from ..io import polygons, vectors
from ..io.vectors import Feature, Features, Skipped
from ..values import LandClass
from .class_colors import filled, is_color

MAX_CLASSES = 65_535


@dataclass(frozen=True)
class Label:
    """A labelled place; its pixels stay together in every split."""

    wkb: bytes
    """Point, multipoint, polygon or multipolygon in the CRS of its `Labels`."""
    class_id: int
    key: str
    """Stable id."""


@dataclass(frozen=True)
class Labels:
    """Labelled places and their classes."""

    crs: str
    classes: Tuple[LandClass, ...]
    items: Tuple[Label, ...]
    source: str
    """Where they come from, for messages."""
    skipped: Skipped = field(default_factory=Skipped)
    """What of the source could not be taken."""

    def __post_init__(self) -> None:
        unknown = {label.class_id for label in self.items} - {known.id for known in self.classes}
        if unknown:
            raise ValueError(f"labels have classes that are not there: {sorted(unknown)}")


def load_labels(path: str, class_field: str, layer: Optional[str] = None) -> Labels:
    """Return the labels of a vector file: all layers that have the field, or one layer.

    Classes are those of the file's `classes` table where it is a label store of ours; else the
    field's values in ascending order, with the ids 1, 2, …. Those without a colour get one that no
    other has. A class that has a single feature of several parts (a dissolved layer) has each part as a label.
    Raises: LabelsUnreadable, FieldMissing, NoLabels.
    """
    features = vectors.read_features(path, class_field, layer)
    if not features.items:
        raise NoLabels(path)
    classes, ids = _classes(path, features)
    items = _labels(features.items, ids)
    return Labels(features.crs, classes, items, path, features.skipped)


def _classes(path: str, features: Features) -> Tuple[Tuple[LandClass, ...], List[int]]:
    """Return the classes, and the class id of every feature."""
    known = {land_class.id: land_class for land_class in features.classes}
    by_name = {land_class.name: land_class.id for land_class in features.classes}
    ids = [_known_id(feature, known, by_name) for feature in features.items]
    new = sorted({f.value for f, number in zip(features.items, ids) if number is None}, key=_order)
    start = max(known, default=0) + 1
    for number, value in enumerate(new, start):
        name = name_of(value)
        known[number] = LandClass(number, name, "")
        by_name[name] = number
    if known and not 1 <= min(known) <= max(known) <= MAX_CLASSES:
        reason = f"its classes have ids from {min(known)} to {max(known)}, not 1 to {MAX_CLASSES:,}"
        raise LabelsUnreadable(path, reason)
    return _coloured(tuple(known.values())), [
        by_name[name_of(feature.value)] if number is None else number
        for feature, number in zip(features.items, ids)
    ]


def _known_id(
    feature: Feature, known: Dict[int, LandClass], by_name: Dict[str, int]
) -> Optional[int]:
    """Return the id in the file's table: by id, for a class may have been renamed; else by name."""
    if feature.class_id in known:
        return feature.class_id
    return by_name.get(name_of(feature.value))


def name_of(value: vectors.Value) -> str:
    """Return what a value of a class field is called: a whole number without decimals."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _order(value: vectors.Value) -> Tuple[bool, float, str]:
    """Numbers by size, then text by letters."""
    if isinstance(value, str):
        return True, 0.0, value
    return False, float(value), ""


def _coloured(classes: Tuple[LandClass, ...]) -> Tuple[LandClass, ...]:
    """Give each class a colour that brings none."""
    colors = filled([each.color if is_color(each.color) else "" for each in classes])
    return tuple(replace(each, color=color) for each, color in zip(classes, colors))


def _labels(features: Sequence[Feature], ids: Sequence[int]) -> Tuple[Label, ...]:
    count = Counter(ids)
    labels: List[Label] = []
    for feature, number in zip(features, ids):
        parts = polygons.parts_of(feature.wkb) if count[number] == 1 else (feature.wkb,)
        if len(parts) == 1:
            labels.append(Label(feature.wkb, number, feature.key))
        else:
            labels += [Label(part, number, f"{feature.key}/{i}") for i, part in enumerate(parts)]
    return tuple(labels)
