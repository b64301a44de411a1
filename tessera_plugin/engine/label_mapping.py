# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From the features of any layer to labels: what their values mean, and what will come of them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import (
    AbstractSet,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from ..io import geometries
from ..io.label_rows import RawRow
from ..io.ogr_layers import Value
from ..progress import Report, silent
from ..values import LandClass, StoredLabel
from .class_colors import filled
from .label_guess import COLOR
from .labels import name_of

FULL = 100
"""Percent of confidence that a label has unless told otherwise."""

_REPORT_EVERY = 500

Fingerprints = AbstractSet[Tuple[bytes, int, str]]
"""Geometry, year and class name (casefolded) of labels that are there already."""


@dataclass(frozen=True)
class Columns:
    """Which fields of a source mean what; empty where none does."""

    class_field: str
    year_field: str = ""
    note_field: str = ""
    confidence_field: str = ""
    color_field: str = ""

    @property
    def names(self) -> Tuple[str, ...]:
        """The fields in the order in which `gather` takes their values."""
        return (
            self.class_field,
            self.year_field,
            self.note_field,
            self.confidence_field,
            self.color_field,
        )


LocatedRow = Tuple[Optional[Tuple[bytes, ...]], Tuple[Optional[Value], ...], bool]
"""A feature of a source: where it is, its values, and whether it crossed itself.

Where: points or polygons in degrees (EPSG:4326), none where nothing is drawn, None where what is
drawn can't be used. A plain tuple, as there may be many: see `_Place` of `tasks.label_rows`.
"""


@dataclass(frozen=True)
class Located:
    """What a source holds, before it is said what its fields mean."""

    crs: str
    """Of the source."""
    fields: Tuple[str, ...]
    rows: Tuple[LocatedRow, ...]
    """Their values are in the order of `fields`."""


@dataclass(frozen=True)
class Place:
    """A point or a polygon that may become a label."""

    wkb: bytes
    """Point or Polygon in degrees (EPSG:4326)."""
    value: str
    """Of the class field, as people read it."""
    year: int = 0
    """0 where its source does not say."""
    note: str = ""
    confidence: int = FULL
    """Percent."""


@dataclass(frozen=True)
class ValueFacts:
    """A value of the class field."""

    value: str
    features: int
    """That have it and a place."""
    places: int
    """Labels they make: a feature of several parts makes one of each."""
    color: str = ""
    """`#rrggbb` where the source has one."""
    name: str = ""
    """What the source calls it, where that is not the value itself."""


@dataclass(frozen=True)
class Found:
    """What a source holds."""

    crs: str
    """Of the source."""
    places: Tuple[Place, ...]
    values: Tuple[ValueFacts, ...]
    """Numbers by size, then text by letters."""
    no_class: int = 0
    """Features left out: the class field is empty."""
    no_geometry: int = 0
    """Features left out: nothing is drawn."""
    unusable: int = 0
    """Features left out: neither points nor polygons, or without a place on earth."""
    mended: int = 0
    """Polygons that crossed themselves and were mended."""
    tells_confidence: bool = False
    """Whether some place tells its own confidence."""


@dataclass(frozen=True)
class Target:
    """What becomes of a value: labels of a class that is there, of a new one, or nothing."""

    class_id: int = 0
    name: str = ""
    """Of the class; empty to leave the value out."""
    color: str = ""
    """Of a new class; empty for one that is free."""

    @property
    def is_new(self) -> bool:
        """Whether a class is to be made."""
        return bool(self.name) and not self.class_id


@dataclass(frozen=True)
class PlannedLabel:
    """A label that will be made."""

    wkb: bytes
    class_id: int
    """0 for a new class."""
    class_name: str
    year: int
    note: str
    confidence: int


@dataclass(frozen=True)
class ImportPlan:
    """What will happen, and what won't."""

    crs: str
    labels: Tuple[PlannedLabel, ...] = ()
    new_classes: Tuple[Tuple[str, str], ...] = ()
    """Names and colours, in the order of the values; only such that get labels."""
    classes: int = 0
    """Classes that get labels."""
    no_class: int = 0
    no_geometry: int = 0
    unusable: int = 0
    not_wanted: int = 0
    """Places left out by the person."""
    there_already: int = 0
    """Places left out: the same label is there, or was among those before."""
    without_year: int = 0
    """Labels that get the fixed year because their own is not told."""
    mended: int = 0
    confidence: Optional[Tuple[int, int]] = None
    """The least and the greatest of the labels, in percent; None where their source tells none."""

    @property
    def left_out(self) -> int:
        """All that is left out."""
        return (
            self.no_class + self.no_geometry + self.unusable + self.not_wanted + self.there_already
        )


@dataclass
class _Tally:
    features: int = 0
    places: int = 0
    colors: Counter[str] = field(default_factory=Counter)


def gather(
    rows: Iterable[Tuple[str, RawRow]],
    crs_of: Mapping[str, str],
    colors: Optional[Mapping[str, str]] = None,
    report: Report = silent,
    expected: int = 0,
) -> Found:
    """Return the places of a source's rows.

    `rows` come with the name of their layer, whose CRS `crs_of` tells, and have values in the order
    of `Columns.names`; `expected` is about how many there are. A feature of several parts gives one
    place of each. `colors` are those of values, where the source has them apart from the rows.
    Raises: ExtentInvalid if a CRS is not known, and whatever `rows` raises.
    """
    return _found(_located(rows, crs_of), _crs(crs_of), colors, report, expected)


def locate(
    rows: Iterable[Tuple[str, RawRow]],
    crs_of: Mapping[str, str],
    fields: Sequence[str],
    report: Report = silent,
    expected: int = 0,
) -> Located:
    """Return a source's rows, whose values are those of `fields`, before it is said what they mean.

    Arguments and errors as of `gather`.
    """
    found = _told(_located(rows, crs_of), report, expected)
    return Located(_crs(crs_of), tuple(fields), tuple(found))


def found_in(
    located: Located,
    columns: Columns,
    colors: Optional[Mapping[str, str]] = None,
    report: Report = silent,
) -> Found:
    """Return the places of rows, of which `columns` says what the fields mean; as `gather` does."""
    at = [located.fields.index(name) if name else -1 for name in columns.names]
    rows = (
        (parts, tuple(values[index] if index >= 0 else None for index in at), is_mended)
        for parts, values, is_mended in located.rows
    )
    return _found(rows, located.crs, colors, report, len(located.rows))


def _located(rows: Iterable[Tuple[str, RawRow]], crs_of: Mapping[str, str]) -> Iterator[LocatedRow]:
    movers = {layer: geometries.ToLonLat(crs) for layer, crs in crs_of.items()}
    for layer, row in rows:
        mover, before = movers[layer], movers[layer].mended
        parts = mover(row.wkb) if row.wkb is not None else []
        told = None if parts is None else tuple(parts)
        yield told, row.values, mover.mended > before


def _told(rows: Iterable[LocatedRow], report: Report, expected: int) -> Iterator[LocatedRow]:
    for number, row in enumerate(rows):
        if number % _REPORT_EVERY == 0:
            report(min(number / max(expected, number + 1), 1.0), "Reading labels")
        yield row


def _crs(crs_of: Mapping[str, str]) -> str:
    return next(iter(crs_of.values()), "")


def _found(
    rows: Iterable[LocatedRow],
    crs: str,
    colors: Optional[Mapping[str, str]],
    report: Report,
    expected: int,
) -> Found:
    tallies: Dict[Value, _Tally] = {}
    places: List[Place] = []
    left: Counter[str] = Counter()
    confidences = _Confidences()
    for parts, values, is_mended in _told(rows, report, expected):
        value, year, note, confidence, color = values
        if value is None:
            left["no_class"] += 1
            continue
        if not parts:
            left["unusable" if parts is None else "no_geometry"] += 1
            continue
        left["mended"] += is_mended
        tally = tallies.setdefault(_plain(value), _Tally())
        tally.features += 1
        tally.places += len(parts)
        if color is not None and (usable := _color(color)):
            tally.colors[usable] += 1
        told = confidences.hundredths(confidence)
        text = "" if note is None else str(note)
        name = name_of(value)
        places += [Place(part, name, year_of(year), text, told) for part in parts]
    return Found(
        crs=crs,
        places=confidences.settled(places),
        values=_facts(tallies, colors or {}),
        no_class=left["no_class"],
        no_geometry=left["no_geometry"],
        unusable=left["unusable"],
        mended=left["mended"],
        tells_confidence=confidences.are_told,
    )


def plan(
    found: Found,
    targets: Mapping[str, Target],
    year: int,
    there: Fingerprints = frozenset(),
    report: Report = silent,
) -> ImportPlan:
    """Return what an import will do: `targets` by value, and the year of places that tell none.

    Values without a target are left out. Labels that are in `there` (see `fingerprint`), or occur
    twice, are made once.
    """
    labels: List[PlannedLabel] = []
    seen = set(there)
    not_wanted = there_already = without_year = 0
    for number, place in enumerate(found.places):
        if number % _REPORT_EVERY == 0:
            report(number / len(found.places), "Looking what will happen")
        target = targets.get(place.value, Target())
        if not target.name:
            not_wanted += 1
            continue
        its_year = place.year or year
        mark = fingerprint(place.wkb, its_year, target.name)
        if mark in seen:
            there_already += 1
            continue
        seen.add(mark)
        without_year += not place.year
        labels.append(
            PlannedLabel(place.wkb, target.class_id, target.name, its_year, place.note,
                         place.confidence)
        )  # fmt: skip
    used = {label.class_name.casefold() for label in labels}
    return ImportPlan(
        found.crs, tuple(labels), _new_classes(found, targets, used), len(used),
        found.no_class, found.no_geometry, found.unusable, not_wanted, there_already,
        without_year, found.mended, _confidence(labels) if found.tells_confidence else None,
    )  # fmt: skip


def _confidence(labels: Sequence[PlannedLabel]) -> Optional[Tuple[int, int]]:
    told = [each.confidence for each in labels]
    return (min(told), max(told)) if told else None


def as_labels(found: Found, year: int) -> Tuple[Tuple[StoredLabel, ...], Tuple[LandClass, ...]]:
    """Return all places as labels, and the values as their classes, with ids from 1 on.

    `year` is that of places that tell none.
    """
    colors = filled([each.color for each in found.values])
    classes = tuple(
        LandClass(number, each.name or each.value, color)
        for number, (each, color) in enumerate(zip(found.values, colors), 1)
    )
    ids = {each.value: number for number, each in enumerate(found.values, 1)}
    labels = tuple(
        StoredLabel(str(number), ids[each.value], each.year or year, each.wkb, each.note,
                    each.confidence)
        for number, each in enumerate(found.places, 1)
    )  # fmt: skip
    return labels, classes


def fingerprint(wkb: bytes, year: int, class_name: str) -> Tuple[bytes, int, str]:
    """Return what tells a label from others: its place (EPSG:4326), year and class."""
    return geometries.fingerprint(wkb), year, class_name.casefold()


def year_of(value: Optional[Value]) -> int:
    """Return the year that a value tells, as a number, text or date; 0 where it tells none."""
    if value is None:
        return 0
    found = re.match(r"\s*(\d{4})(?!\d)", name_of(value))
    year = int(found.group(1)) if found else 0
    return year if 1900 <= year <= 2200 else 0


class _Confidences:
    """Confidences may be percent or shares of 1: that is clear once all of them are known."""

    def __init__(self) -> None:
        self._most, self._has_percent = 0.0, False
        self.are_told = False

    def hundredths(self, value: Optional[Value]) -> int:
        """Return a number in hundredths, to be settled; -1 where none is told."""
        said = "" if value is None else str(value).strip()
        try:
            number = float(said.rstrip("%")) if said else -1.0
        except ValueError:
            number = -1.0
        if not 0 <= number <= FULL:
            return -1
        self.are_told = True
        self._most = max(self._most, number)
        self._has_percent |= said.endswith("%")
        return round(100 * number)

    def settled(self, places: Sequence[Place]) -> Tuple[Place, ...]:
        """Return places with their confidence in percent."""
        are_shares = self._most <= 1 and not self._has_percent
        scale = 1 if are_shares else 100
        percent = (
            FULL if each.confidence < 0 else round(each.confidence / scale) for each in places
        )
        return tuple(replace(each, confidence=told) for each, told in zip(places, percent))


def _plain(value: Value) -> Value:
    """Return a whole number as one: 1 and 1.0 are one class."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _facts(tallies: Mapping[Value, _Tally], colors: Mapping[str, str]) -> Tuple[ValueFacts, ...]:
    ordered = sorted(tallies.items(), key=lambda each: _order(each[0]))
    found: Dict[str, ValueFacts] = {}
    for value, tally in ordered:
        name = name_of(value)
        own = tally.colors.most_common(1)
        color = own[0][0] if own else _color(colors.get(name, ""))
        before = found.get(name, ValueFacts(name, 0, 0))  # the number 1 and the text "1"
        found[name] = ValueFacts(
            name, before.features + tally.features, before.places + tally.places,
            before.color or color,
        )  # fmt: skip
    return tuple(found.values())


def _order(value: Value) -> Tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")


def _color(value: Value) -> str:
    found = re.fullmatch(COLOR, str(value).strip())
    return found.group(0).lower() if found else ""


def _new_classes(
    found: Found, targets: Mapping[str, Target], used: AbstractSet[str]
) -> Tuple[Tuple[str, str], ...]:
    new: Dict[str, Tuple[str, str]] = {}
    for each in found.values:
        target = targets.get(each.value, Target())
        key = target.name.casefold()
        if target.is_new and key in used:
            new.setdefault(key, (target.name, target.color))
    return tuple(new.values())
