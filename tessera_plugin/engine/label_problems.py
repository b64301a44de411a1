# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with labels: where they lie, what they say, and what they say of one another."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import TesseraError
from ..io import geometries
from ..io.polygon_edges import Edges
from ..io.polygons import ZonePolygon
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import BLOCK_PX, Access, State, StoredLabel, Window
from . import embeddings
from .label_places import Placed

MAX_PAIRS = 20_000
"""So many pairs of polygons are compared by their pixels at most."""

MAX_LOOKS = 1_000_000
"""So many pairs are looked at, by their edges, whether there is anything to compare."""

HALF = 0.5
"""A polygon with fewer usable pixels than this share is told."""


class Kind:
    """What is wrong. Plain text: thousands of them are looked through on the GUI thread."""

    CONFLICT = "conflict"
    """Another label of the same year and place has another class."""
    WATER = "water"
    """There are no embeddings of water there."""
    NODATA = "nodata"
    OUTSIDE = "outside"
    """Nothing is published there."""
    OTHER_YEAR = "other_year"
    """It is of another year than the one that is mapped."""
    SMALL = "small"
    """A polygon that holds no pixel's centre; the pixel under it is used."""
    DUPLICATE = "duplicate"
    """The same is said by a label before it."""
    NOT_FETCHED = "not_fetched"
    """No mistake: its embedding is not in the cache yet."""


KINDS = (
    Kind.CONFLICT,
    Kind.WATER,
    Kind.NODATA,
    Kind.OUTSIDE,
    Kind.OTHER_YEAR,
    Kind.SMALL,
    Kind.DUPLICATE,
    Kind.NOT_FETCHED,
)
"""In the order in which they are told."""


@dataclass(frozen=True)
class Problem:
    """A label that needs a look."""

    kind: str
    """One of KINDS."""
    key: str
    """Of the label."""
    class_id: int
    year: int
    lon: float
    lat: float
    """A place in the label."""
    others: Tuple[str, ...] = ()
    """Keys of the labels that it is at odds with, or that say the same."""
    other_class: int = 0
    """Class of the first of them."""


@dataclass(frozen=True)
class Checked:
    """What came of a check."""

    problems: Tuple[Problem, ...] = ()
    """By kind, then in the order of the labels."""
    all_compared: bool = True
    """Whether all polygons were looked at that may lie over one another, not only the first ones."""


@dataclass(frozen=True)
class CheckRequest:
    """Which embeddings labels are checked against, as far as they are in the cache."""

    dataset: str
    """Key, `1.1-dclimate`."""
    year: int
    access: Access
    depth: int = 0


_OF_STATE = {
    int(State.WATER): Kind.WATER,
    int(State.NODATA): Kind.NODATA,
    int(State.OUTSIDE): Kind.OUTSIDE,
    int(State.UNKNOWN): Kind.NOT_FETCHED,
}


def check_cached(
    labels: Sequence[StoredLabel], request: CheckRequest, report: Report = silent
) -> Checked:
    """Do `check` with what is in the cache; nobody is asked for anything.

    Where the embeddings can't be opened, nothing is said of what they have. Raises: Cancelled.
    """
    if not labels:
        return Checked()
    access = replace(request.access, offline=True)
    try:
        source = embeddings.open_source(
            request.dataset, request.year, access, request.depth, report=report
        )
    except TesseraError:
        return check(labels, request.year, None, report)
    with contextlib.closing(source):
        return check(labels, request.year, source, report)


def check(
    labels: Sequence[StoredLabel],
    year: int,
    source: Optional[EmbeddingSource] = None,
    report: Report = silent,
) -> Checked:
    """Return what is wrong with labels (EPSG:4326).

    `year` is the one that is mapped. `source` tells the states of pixels from its cache; without
    one nothing is said of them. A label has one problem of a kind at most.
    """
    placed = Placed.of(labels, part(report, 0.0, 0.5))
    problems: List[Problem] = []
    problems += _states(placed, source, part(report, 0.5, 0.7)) if source is not None else []
    problems += [_problem(placed, Kind.OUTSIDE, index) for index in placed.nowhere]
    problems += [
        _problem(placed, Kind.OTHER_YEAR, index)
        for index, label in enumerate(labels)
        if label.year != year
    ]
    problems += [_problem(placed, Kind.SMALL, index) for index in placed.small]
    doubles, all_compared = _doubles(placed, part(report, 0.7, 1.0))
    problems += doubles
    order = {kind: number for number, kind in enumerate(KINDS)}
    index_of = {label.key: number for number, label in enumerate(labels)}
    unique = {(each.kind, each.key): each for each in reversed(problems)}
    ordered = sorted(unique.values(), key=lambda p: (order[p.kind], index_of[p.key]))
    return Checked(tuple(ordered), all_compared)


def _problem(placed: Placed, kind: str, index: int, others: Sequence[int] = ()) -> Problem:
    label, labels = placed.labels[index], placed.labels
    lon, lat = placed.lonlat[index].tolist()
    return Problem(
        kind, label.key, label.class_id, label.year, lon, lat,
        tuple(labels[each].key for each in others),
        labels[others[0]].class_id if others else 0,
    )  # fmt: skip


# --- what is there


def _states(placed: Placed, source: EmbeddingSource, report: Report) -> List[Problem]:
    """Return the labels of which nothing, or less than half, can be used."""
    state = np.zeros(len(placed.pixels), np.int64)
    boxes = list(_boxes(placed.pixels))
    for number, (window, index) in enumerate(boxes):
        report(number / len(boxes), "Checking labels")
        states = source.states(window)
        row, col = placed.pixels[index, 1] - window.row, placed.pixels[index, 2] - window.col
        state[index] = states[row, col]
    counts = np.zeros((len(placed.labels), int(max(State)) + 1), np.int64)
    np.add.at(counts, (placed.pixels[:, 3], state), 1)
    usable = counts[:, State.VALID] + counts[:, State.PUBLISHED]
    problems = []
    for index in np.flatnonzero(usable < HALF * counts.sum(axis=1)):
        worst = max(_OF_STATE, key=lambda each, row=counts[index]: int(row[each]))  # type: ignore[misc]
        problems.append(_problem(placed, _OF_STATE[worst], int(index)))
    return problems


def _boxes(pixels: NDArray[np.int64]) -> Iterator[Tuple[Window, NDArray[np.int64]]]:
    """Yield the box around the pixels in each block of the cache, and their indices."""
    block = np.column_stack([pixels[:, 0], pixels[:, 1] // BLOCK_PX, pixels[:, 2] // BLOCK_PX])
    order = np.lexsort(block.T[::-1])
    starts = np.flatnonzero(np.any(np.diff(block[order], axis=0) != 0, axis=1)) + 1
    for index in np.split(order, starts):
        if len(index):
            row, col = pixels[index, 1], pixels[index, 2]
            yield Window.between(
                int(pixels[index[0], 0]), int(row.min()), int(col.min()),
                int(row.max()) + 1, int(col.max()) + 1,
            ), index  # fmt: skip


# --- labels over one another


def _doubles(placed: Placed, report: Report) -> Tuple[List[Problem], bool]:
    """Return conflicts and duplicates, of one year only, for places change; and if all are known."""
    pairs = _Pairs(placed)
    _same_pixels(placed, pairs)
    _same_polygons(placed, pairs)
    _points_in_polygons(placed, pairs, report)
    all_compared = _overlapping(placed, pairs, report)
    return pairs.problems(), all_compared


class _Pairs:
    """Which labels are at odds with which, and which say the same."""

    def __init__(self, placed: Placed) -> None:
        self._placed = placed
        self._at_odds: Dict[int, List[int]] = {}
        self._same: Dict[int, int] = {}

    def are_compared(self, first: int, second: int) -> bool:
        """Whether two labels could be at odds and one of them is not known to be."""
        one, other = self._placed.labels[first], self._placed.labels[second]
        if one.year != other.year or one.class_id == other.class_id:
            return False
        return first not in self._at_odds or second not in self._at_odds

    def at_odds(self, first: int, second: int) -> None:
        """Note that two labels of different classes are of one place."""
        self._at_odds.setdefault(first, []).append(second)
        self._at_odds.setdefault(second, []).append(first)

    def same(self, index: int, before: int) -> None:
        """Note that a label says what one before it said."""
        self._same.setdefault(index, before)

    def problems(self) -> List[Problem]:
        placed = self._placed
        found = [
            _problem(placed, Kind.CONFLICT, each, others) for each, others in self._at_odds.items()
        ]
        return found + [
            _problem(placed, Kind.DUPLICATE, each, [before]) for each, before in self._same.items()
        ]


def _same_pixels(placed: Placed, pairs: _Pairs) -> None:
    """Compare the points (and small polygons) of each pixel with the first one of their year."""
    first: Dict[Tuple[int, ...], Dict[int, int]] = {}
    for zone, row, col, index in placed.spots.tolist():
        label = placed.labels[index]
        there = first.setdefault((zone, row, col, label.year), {})
        if label.class_id in there:
            pairs.same(index, there[label.class_id])
        for class_id, other in there.items():
            if class_id != label.class_id:
                pairs.at_odds(index, other)
        there.setdefault(label.class_id, index)


def _same_polygons(placed: Placed, pairs: _Pairs) -> None:
    first: Dict[Tuple[bytes, int, int], int] = {}
    for index in placed.areas:
        label = placed.labels[index]
        mark = geometries.fingerprint(label.wkb), label.year, label.class_id
        if first.setdefault(mark, index) != index:
            pairs.same(index, first[mark])


def _points_in_polygons(placed: Placed, pairs: _Pairs, report: Report) -> None:
    """Find points whose pixel is one of a polygon of another class."""
    spots = placed.spots[np.lexsort(placed.spots[:, 1::-1].T)]  # by zone, then row
    places = _place(spots[:, 0], spots[:, 1])
    for number, (index, parts) in enumerate(placed.areas.items()):
        report(0.5 * number / len(placed.areas), "Checking labels")
        for zone_polygon in parts:
            for near in _near(zone_polygon, spots, places):
                rivals = [each for each in near if pairs.are_compared(index, int(each[3]))]
                if rivals:
                    for at in _inside(zone_polygon, np.array(rivals)):
                        pairs.at_odds(int(at[3]), index)


def _near(
    zone_polygon: ZonePolygon, spots: NDArray[np.int64], places: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Yield the spots in each window of a polygon that has some."""
    for window in zone_polygon.windows():
        edges = _place(np.array(window.zone), np.array([window.row, window.stop_row]))
        start, stop = np.searchsorted(places, edges)
        col = spots[start:stop, 2]
        near = spots[start:stop][(col >= window.col) & (col < window.stop_col)]
        if len(near):
            yield near


def _inside(zone_polygon: ZonePolygon, spots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the spots that are pixels of a polygon."""
    row, col = spots[:, 1], spots[:, 2]
    box = Window.between(
        zone_polygon.zone, int(row.min()), int(col.min()), int(row.max()) + 1, int(col.max()) + 1
    )
    found: NDArray[np.int64] = spots[zone_polygon.mask(box)[row - box.row, col - box.col]]
    return found


def _place(zone: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number that orders by zone, then row; rows are a few million at most."""
    return zone * 2**32 + row


def _overlapping(placed: Placed, pairs: _Pairs, report: Report) -> bool:
    """Find polygons of different classes that share pixels; return whether all were compared."""
    boxes: Dict[int, List[Tuple[int, Window, ZonePolygon]]] = {}
    for index, parts in placed.areas.items():
        for zone_polygon in parts:
            for window in zone_polygon.windows():
                boxes.setdefault(zone_polygon.zone, []).append((index, window, zone_polygon))
    edges = _EdgesOf()
    looked = compared = 0
    for one, other in _crossing(boxes):
        if not pairs.are_compared(one[0], other[0]):
            continue
        if looked >= MAX_LOOKS:
            return False
        looked += 1
        report(0.5 + 0.5 * max(looked / MAX_LOOKS, compared / MAX_PAIRS), "Checking labels")
        common = one[1].intersection(other[1])
        if common is None or not edges.may_overlap(one[2], other[2]):
            continue
        if compared >= MAX_PAIRS:
            return False
        compared += 1
        if (one[2].mask(common) & other[2].mask(common)).any():
            pairs.at_odds(one[0], other[0])
    return True


class _EdgesOf:
    """The edges of polygons, each read once."""

    def __init__(self) -> None:
        self._made: Dict[int, Edges] = {}

    def may_overlap(self, one: ZonePolygon, other: ZonePolygon) -> bool:
        """Return whether two polygons of a zone, which are kept elsewhere, may share pixels."""
        return self._of(one).may_overlap(self._of(other))

    def _of(self, polygon: ZonePolygon) -> Edges:
        if id(polygon) not in self._made:
            self._made[id(polygon)] = Edges(polygon.wkb)
        return self._made[id(polygon)]


_Box = Tuple[int, Window, ZonePolygon]


def _crossing(boxes: Mapping[int, Sequence[_Box]]) -> Iterator[Tuple[_Box, _Box]]:
    """Yield the pairs of boxes that touch, in a sweep over their rows."""
    for zone in sorted(boxes):
        ordered = sorted(boxes[zone], key=lambda box: (box[1].row, box[0]))
        rows = np.array([box[1].row for box in ordered])
        stop_rows = np.array([box[1].stop_row for box in ordered])
        cols = np.array([box[1].col for box in ordered])
        stop_cols = np.array([box[1].stop_col for box in ordered])
        for number, box in enumerate(ordered):
            last = int(np.searchsorted(rows, stop_rows[number]))
            rest = slice(number + 1, last)
            touch = (cols[rest] < stop_cols[number]) & (stop_cols[rest] > cols[number])
            for other in (np.flatnonzero(touch) + number + 1).tolist():
                if ordered[other][0] != box[0]:
                    yield box, ordered[other]
