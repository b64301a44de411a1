# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From labelled points and polygons to pixels of the zone grids, each once and with one class.

What labels give is kept from one time to the next: a new label costs its own pixels and a look at
the labels that lie where it lies. Whatever came and went before, the answer is the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NoLabels
from ..io import polygons
from ..io.polygons import ZonePolygon
from ..progress import Report, silent
from .ground import COL, LABEL, ROW, ZONE, Ground, LargeLabel, PixelIndex, place_numbers, settle
from .labels import Labels

MOST_KEPT_PX = 400_000
"""Pixels of labels that are kept, some 5 MB; beyond that those of labels that are gone are forgotten."""

MOST_CHANGES = 64
"""Of more labels that came or went since the last time, all is settled anew: that is as quick."""

_FAR = 2**24
"""No row and no column of a zone grid is so far out."""


@dataclass(frozen=True)
class SampleParams:
    """How labels become pixels."""

    max_px_per_polygon: int = 200
    """Of a larger polygon so many pixels are chosen, evenly over its area."""
    seed: int = 0
    """Of that choice. The same polygon gives the same pixels, whatever other labels there are."""

    def __post_init__(self) -> None:
        if self.max_px_per_polygon < 1:
            raise ValueError(f"a polygon gives at least 1 pixel, got {self.max_px_per_polygon}")


@dataclass(frozen=True, eq=False)
class LabelPixels:
    """The pixels of labels, each once and with one class, before any embedding is known.

    Shapes: all arrays (n,), by ascending label.
    """

    zone: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    label: NDArray[np.int64]
    """Index of the label in `Labels.items`."""
    duplicate_px: int
    """Further mentions of a pixel by labels of the same class; it is used once."""
    conflicting_px: int
    """Pixels with labels of several classes; left out."""
    capped_polygons: int
    """Polygons of which only a part of the pixels was chosen."""
    small_polygons: int
    """Polygons that hold no pixel centre; they have the pixel under their inner point."""
    unplaced_labels: int
    """Labels that have no place on the zone grids; left out."""
    ground: Ground
    """What the labels cover; its labels are indices in `Labels.items`."""


def label_pixels(labels: Labels, params: SampleParams, report: Report = silent) -> LabelPixels:
    """Return the pixels of labels on the zone grids.

    A point gives the pixel that holds it. A polygon gives the pixels whose centre is inside, at
    most `params.max_px_per_polygon`; where it holds no centre, the pixel under its inner point.
    Raises: NoLabels if there is none, Cancelled.
    """
    return PlacedLabels().pixels(labels, params, report)


# --- the place of one label


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a label lies, whatever others there are."""

    pixels: NDArray[np.int32]
    """(n, 3): zone, row, column, of a polygon those that were chosen."""
    boxes: NDArray[np.int32]
    """(b, 5): zone, first row and column, stop row and column of boxes around all of its pixels."""
    parts: Tuple[ZonePolygon, ...] = ()
    """Of a polygon of which only some pixels were chosen; of all others none."""
    is_small: bool = False
    """Whether it is a polygon without any pixel's centre."""


def _area(
    parts: Tuple[ZonePolygon, ...], params: SampleParams, tick: Callable[[], None]
) -> Optional[_Place]:
    """Choose the pixels of a polygon, those with the smallest scattered numbers; None if it has none."""
    kept = np.empty((0, 3), np.int64)
    boxes = []
    total = 0
    for part in parts:
        for window in part.windows():
            tick()
            rows, cols = np.nonzero(part.mask(window))
            total += len(rows)
            zones = np.full(len(rows), part.zone)
            found = np.column_stack([zones, rows + window.row, cols + window.col])
            kept = _fewest(np.concatenate([kept, found]), params)
            boxes.append((part.zone, window.row, window.col, window.stop_row, window.stop_col))
    if not total:
        return None
    is_large = total > len(kept)
    return _Place(kept.astype(np.int32), np.array(boxes, np.int32), parts if is_large else ())


def _fewest(pixels: NDArray[np.int64], params: SampleParams) -> NDArray[np.int64]:
    limit = params.max_px_per_polygon
    if len(pixels) <= limit:
        return pixels
    chosen = np.argpartition(scattered(pixels, params.seed), limit)[:limit]
    fewest: NDArray[np.int64] = pixels[chosen]
    return fewest


def scattered(pixels: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return a number per pixel that looks random and is the same on every machine, (n,).

    Choosing by it needs neither all pixels at once nor a fixed order of them.
    Source: the finaliser of splitmix64 (Steele, Lea and Flood, 2014), a bijection of 64 bits.
    """
    zone, row, col = pixels.astype(np.uint64).T  # negative rows wrap around
    word = np.uint64(0xFFFFFFFF)
    mixed = _mixed((row & word) << np.uint64(32) | (col & word))
    result: NDArray[np.uint64] = _mixed(mixed ^ _mixed(zone + np.uint64(seed % 2**58 * 64)))
    return result


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _spots(found: Sequence[Tuple[NDArray[np.float64], bool]], crs: str) -> List[_Place]:
    """Return the places of points (n, 2), and whether they stand for a small polygon."""
    counts = [len(xy) for xy, _ in found]
    together = polygons.pixels_of_points(np.concatenate([xy for xy, _ in found]), crs)
    pixels = np.column_stack(together).astype(np.int32)
    return [
        _spot(each[each[:, ZONE] > 0], is_small=is_small)
        for each, (_, is_small) in zip(np.split(pixels, np.cumsum(counts)[:-1]), found)
    ]


def _spot(pixels: NDArray[np.int32], *, is_small: bool) -> _Place:
    zones = np.unique(pixels[:, ZONE]) if len(pixels) > 1 else pixels[:, ZONE]
    boxes = []
    for zone in zones.tolist():
        here = pixels[pixels[:, ZONE] == zone, ROW:]
        boxes.append((zone, *here.min(axis=0).tolist(), *(here.max(axis=0) + 1).tolist()))
    return _Place(pixels, np.array(boxes, np.int32).reshape(-1, 5), (), is_small)


# --- all labels


@dataclass(frozen=True, eq=False)
class _Settled:
    """Labels, and which of their claims a polygon of another class contests."""

    keys: Sequence[str]
    places: Sequence[_Place]
    class_of: NDArray[np.int64]
    claims: NDArray[np.int64]
    """(m, 4): zone, row, column, label; ascending."""
    contested: NDArray[np.bool_]
    """(m,), by a polygon that did not choose that pixel: it shows in no claim."""


class PlacedLabels:
    """Keeps where labels lie and which contest each other."""

    def __init__(self) -> None:
        self._known: Dict[Tuple[bytes, str, SampleParams], _Place] = {}
        self._settled: Optional[_Settled] = None

    def pixels(self, labels: Labels, params: SampleParams, report: Report = silent) -> LabelPixels:
        """Return the pixels of labels as `label_pixels`. Raises: NoLabels if there is none, Cancelled."""
        if not labels.items:
            raise NoLabels(labels.source)
        places = self._placed(labels, params, report)
        keys = [label.key for label in labels.items]
        class_of = np.array([label.class_id for label in labels.items])
        before = self._settled
        stays = None if before is None else _stays(before, keys, places, class_of)
        if before is None or stays is None:
            settled = _settled_anew(keys, places, class_of)
        else:
            settled = _settled_again(before, stays, keys, places, class_of)
        self._settled = settled
        return _told(settled)

    def _placed(self, labels: Labels, params: SampleParams, report: Report) -> List[_Place]:
        """Return the place of each label, looking only at those that are new."""
        wanted = [(label.wkb, labels.crs, params) for label in labels.items]
        points: Dict[Tuple[bytes, str, SampleParams], Tuple[NDArray[np.float64], bool]] = {}
        report(0.0, "Placing labels")
        for index, key in enumerate(wanted):
            if key in self._known or key in points:
                continue
            tick = functools.partial(report, 0.9 * index / len(wanted), "Placing labels")
            tick()
            if polygons.is_point(key[0]):
                points[key] = polygons.points_of(key[0]), False
                continue
            parts = polygons.zone_polygons(key[0], labels.crs)
            area = _area(parts, params, tick)
            if area is not None:
                self._known[key] = area
            else:
                inner = polygons.inner_point(key[0]) if parts else None
                points[key] = np.empty((0, 2)) if inner is None else inner, bool(parts)
        if points:
            self._known.update(zip(points, _spots(list(points.values()), labels.crs)))
        if sum(len(each.pixels) for each in self._known.values()) > MOST_KEPT_PX:
            self._known = {key: self._known[key] for key in wanted}
        return [self._known[key] for key in wanted]


def _stays(
    before: _Settled, keys: Sequence[str], places: Sequence[_Place], class_of: NDArray[np.int64]
) -> Optional[NDArray[np.int64]]:
    """Return the new index of each label of before, -1 of those that are gone or have changed.

    None where too little is as it was.
    """
    index = {key: number for number, key in enumerate(keys)}
    if len(index) < len(keys):
        return None
    found = [index.get(key, -1) for key in before.keys]
    stays = np.array(
        [
            new if new >= 0 and places[new] is place and class_of[new] == class_id else -1
            for new, place, class_id in zip(found, before.places, before.class_of.tolist())
        ],
        np.int64,
    )
    same = stays[stays >= 0]
    # of labels in another order another one may come first in a pixel
    is_other = len(keys) + len(stays) - 2 * len(same) > MOST_CHANGES or (np.diff(same) <= 0).any()
    return None if is_other else stays


def _settled_anew(
    keys: Sequence[str], places: Sequence[_Place], class_of: NDArray[np.int64]
) -> _Settled:
    claims = _claims(places, range(len(places)))
    claims = claims[np.argsort(place_numbers(*claims[:, :LABEL].T), kind="stable")]
    large = [number for number, each in enumerate(places) if each.parts]
    contested = _contested(claims, large, places, class_of)
    return _Settled(keys, places, class_of, claims, contested)


def _settled_again(
    before: _Settled,
    stays: NDArray[np.int64],
    keys: Sequence[str],
    places: Sequence[_Place],
    class_of: NDArray[np.int64],
) -> _Settled:
    """Settle what lies where labels came or went; everything else stays as it was."""
    is_new = np.ones(len(keys), bool)
    is_new[stays[stays >= 0]] = False
    new = np.flatnonzero(is_new).tolist()
    gone = np.flatnonzero(stays < 0).tolist()
    if not new and not gone:
        return before
    claims, contested = before.claims, before.contested
    label = stays[claims[:, LABEL]]
    if gone:
        is_left = label >= 0
        claims, contested, label = claims[is_left], contested[is_left], label[is_left]
    claims = np.column_stack([claims[:, :LABEL], label])
    claims, contested = _with(claims, contested, _claims(places, new))
    boxes = np.concatenate(
        [before.places[number].boxes for number in gone] + [places[number].boxes for number in new]
    )
    there = _inside(claims, boxes)
    contested[there] = _contested(claims[there], _overlapping(places, boxes), places, class_of)
    return _Settled(keys, places, class_of, claims, contested)


def _claims(places: Sequence[_Place], chosen: Sequence[int]) -> NDArray[np.int64]:
    """Return what some labels claim (m, 4), by ascending label."""
    pixels = [places[number].pixels for number in chosen]
    label = np.repeat(np.array(chosen, np.int64), [len(each) for each in pixels])
    return np.column_stack([np.concatenate([np.empty((0, 3), np.int64), *pixels]), label])


def _with(
    claims: NDArray[np.int64], contested: NDArray[np.bool_], new: NDArray[np.int64]
) -> Tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return ascending claims with more of them, which nobody contests yet."""
    places, wanted = (place_numbers(*each[:, :LABEL].T) for each in (claims, new))
    order = np.argsort(wanted, kind="stable")
    new, wanted = new[order], wanted[order]
    at = np.searchsorted(places, wanted)
    stop = np.searchsorted(places, wanted, side="right")
    while True:  # past the claims of earlier labels on the same pixel, of which there are few
        passes = np.flatnonzero(at < stop)
        passes = passes[claims[at[passes], LABEL] < new[passes, LABEL]]
        if not len(passes):
            break
        at[passes] += 1
    return np.insert(claims, at, new, axis=0), np.insert(contested, at, False)


def _inside(claims: NDArray[np.int64], boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which ascending claims lie in any of the boxes (b, 5)."""
    inside = np.zeros(len(claims), bool)
    numbers = place_numbers(*claims[:, :LABEL].T)
    zone, top, left, bottom, right = boxes.astype(np.int64).T
    far = np.full(len(boxes), -_FAR)
    first = np.searchsorted(numbers, place_numbers(zone, top, far))
    stop = np.searchsorted(numbers, place_numbers(zone, bottom, far))
    for number in range(len(boxes)):
        rows = slice(first[number], stop[number])
        col = claims[rows, COL]
        inside[rows] |= (col >= left[number]) & (col < right[number])
    return inside


def _overlapping(places: Sequence[_Place], boxes: NDArray[np.int32]) -> List[int]:
    """Return the labels of which only some pixels were chosen and that reach into one of the boxes."""
    large = [number for number, each in enumerate(places) if each.parts]
    if not large:
        return []
    theirs = [places[number].boxes for number in large]
    whose = np.repeat(large, [len(each) for each in theirs])
    zone, top, left, bottom, right = np.concatenate(theirs).T
    reaches = np.zeros(len(whose), bool)
    for its_zone, its_top, its_left, its_bottom, its_right in boxes.tolist():
        is_near = (zone == its_zone) & (top < its_bottom) & (bottom > its_top)
        reaches |= is_near & (left < its_right) & (right > its_left)
    found: List[int] = np.unique(whose[reaches]).tolist()
    return found


def _contested(
    claims: NDArray[np.int64],
    large: Sequence[int],
    places: Sequence[_Place],
    class_of: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which claims lie in a large polygon of another class that did not choose that pixel.

    The claims are in the order of zone and row.
    """
    bad = np.zeros(len(claims), bool)
    index = PixelIndex(*claims[:, :LABEL].T)
    classes = class_of[claims[:, LABEL]]
    for number in large:
        bad[index.strangers(places[number].parts, classes, int(class_of[number]))] = True
    return bad


def _told(settled: _Settled) -> LabelPixels:
    """Return each pixel once, without those that labels of several classes claim."""
    claims, places = settled.claims, settled.places
    numbers = place_numbers(*claims[:, :LABEL].T)
    is_first = np.ones(len(claims), bool)
    is_first[1:] = numbers[1:] != numbers[:-1]
    classes = settled.class_of[claims[:, LABEL]]
    is_kept, duplicates, conflicts = settle(is_first, classes, settled.contested)
    kept = claims[is_kept]
    kept = kept[np.argsort(kept[:, LABEL], kind="stable")]
    zone, row, col, label = np.ascontiguousarray(kept.T)
    large = tuple(LargeLabel(n, each.parts) for n, each in enumerate(places) if each.parts)
    return LabelPixels(
        zone, row, col, label,
        duplicate_px=duplicates,
        conflicting_px=conflicts,
        capped_polygons=len(large),
        small_polygons=sum(each.is_small for each in places),
        unplaced_labels=sum(not len(each.pixels) for each in places),
        ground=Ground.of_ordered(claims, large),
    )  # fmt: skip
