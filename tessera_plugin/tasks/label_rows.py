# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The labels in memory: what is asked all the time is answered without reading the file."""

from __future__ import annotations

import itertools
import math
import struct
from collections import Counter
from typing import (
    Container,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from qgis.core import QgsGeometry, QgsPointXY, QgsRectangle, QgsWkbTypes

from ..values import PIXEL_M, POINTS, StoredLabel

EQUATOR_M, ECCENTRICITY_2 = 6_378_137.0, 0.00669437999
"""Of the ellipsoid WGS 84."""

_POINT = QgsWkbTypes.geometryType(QgsWkbTypes.Type.Point)
_POLYGON = QgsWkbTypes.geometryType(QgsWkbTypes.Type.Polygon)
_WKB_POINT = 1
_AS_KEPT = (QgsWkbTypes.Type.Point, QgsWkbTypes.Type.Polygon)

Pair = Tuple[Optional[StoredLabel], Optional[StoredLabel]]


_Place = Tuple[float, float, float, float, int]
"""West, south, east, north of a label, and its pixels: a plain tuple, as there may be many.

The garbage collector looks through all objects but such tuples, and the window stands still
meanwhile.
"""


class LabelRows:
    """Labels by key, with what is asked of them."""

    def __init__(self, labels: Iterable[StoredLabel] = ()) -> None:
        self._labels: Dict[str, StoredLabel] = {label.key: label for label in labels}
        self._places = {key: _place(label) for key, label in self._labels.items()}
        self._told: Dict[str, Mapping[int, int]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._labels

    def __iter__(self) -> Iterator[StoredLabel]:
        return iter(self._labels.values())

    def __len__(self) -> int:
        return len(self._labels)

    def get(self, key: str) -> Optional[StoredLabel]:
        """Return a label, or None."""
        return self._labels.get(key)

    def pick(self, keys: Iterable[str]) -> List[StoredLabel]:
        """Return those of the labels that are there, each once."""
        return [self._labels[key] for key in dict.fromkeys(keys) if key in self._labels]

    def after(self, pairs: Sequence[Pair]) -> LabelRows:
        """Return what `apply` would make of them, with the numbers that are asked at once.

        On any thread, as long as these stay as they are.
        """
        made = LabelRows()
        made._labels, made._places = dict(self._labels), dict(self._places)
        made.apply(pairs)
        _ = made.counts, made.years, made.pixels
        return made

    def apply(self, pairs: Sequence[Pair]) -> None:
        """Replace labels as they were before by what they are after."""
        for before, after in pairs:
            if after is not None:
                self._labels[after.key] = after
                if before is None or before.wkb != after.wkb:
                    self._places[after.key] = _place(after)
            elif before is not None:
                del self._labels[before.key], self._places[before.key]
        self._told = {}

    def differences(self, labels: Iterable[StoredLabel]) -> Tuple[Pair, ...]:
        """Return what would make these labels the others."""
        wanted = {label.key: label for label in labels}
        gone = [(label, None) for key, label in self._labels.items() if key not in wanted]
        other = [
            (self._labels.get(key), label)
            for key, label in wanted.items()
            if self._labels.get(key) != label
        ]
        return (*gone, *other)

    # --- numbers

    @property
    def counts(self) -> Mapping[int, int]:
        """Labels of each class id."""
        return self._once("counts", ((each.class_id, 1) for each in self))

    @property
    def years(self) -> Mapping[int, int]:
        """Labels made for each year."""
        return self._once("years", ((each.year, 1) for each in self))

    @property
    def pixels(self) -> Mapping[int, int]:
        """About how many pixels the labels of each class id have."""
        return self._once("pixels", ((e.class_id, self._places[e.key][4]) for e in self))

    def _once(self, name: str, numbers: Iterable[Tuple[int, int]]) -> Mapping[int, int]:
        if name not in self._told:
            total: Counter[int] = Counter()
            for key, number in numbers:
                total[key] += number
            self._told[name] = total
        return self._told[name]

    # --- places

    def keys_in(
        self, area: QgsRectangle, but: Container[int] = (), most: Optional[int] = None
    ) -> Tuple[str, ...]:
        """Return the keys of the labels that touch an area, points first, `but` some classes.

        Of more than `most` the first ones are looked for, and no others.
        """
        points = tuple(itertools.islice(self._points_in(area, but), most))
        left = None if most is None else most - len(points)
        return points + tuple(itertools.islice(self._polygons_in(area, but), left))

    def at(self, area: QgsRectangle, but: Container[int] = ()) -> Optional[Tuple[str, QgsGeometry]]:
        """Return key and geometry of the label nearest to the middle of an area, if one is in it.

        A point goes before the polygon it lies on.
        """
        middle = QgsGeometry.fromPointXY(QgsPointXY(area.center()))
        found = ((key, geometry_of(self._labels[key])) for key in self.keys_in(area, but))
        return min(
            found,
            key=lambda each: (each[1].type() != _POINT, each[1].distance(middle)),
            default=None,
        )

    def _points_in(self, area: QgsRectangle, but: Container[int]) -> Iterator[str]:
        near = self._near(area)
        return (key for key, label in near if label.table == POINTS and label.class_id not in but)

    def _polygons_in(self, area: QgsRectangle, but: Container[int]) -> Iterator[str]:
        for key, label in self._near(area):
            is_meant = label.table != POINTS and label.class_id not in but
            if is_meant and (self._is_within(key, area) or geometry_of(label).intersects(area)):
                yield key

    def _near(self, area: QgsRectangle) -> Iterator[Tuple[str, StoredLabel]]:
        """Yield the labels whose boxes touch an area."""
        west, south, east, north = (
            area.xMinimum(), area.yMinimum(), area.xMaximum(), area.yMaximum(),
        )  # fmt: skip
        for key, at in self._places.items():
            if at[0] <= east and at[2] >= west and at[1] <= north and at[3] >= south:
                yield key, self._labels[key]

    def _is_within(self, key: str, area: QgsRectangle) -> bool:
        return area.contains(QgsRectangle(*self._places[key][:4]))


def geometry_of(label: StoredLabel) -> QgsGeometry:
    """Return where a label is, in degrees."""
    geometry = QgsGeometry()
    geometry.fromWkb(label.wkb)
    return geometry


def wkb_of(geometry: QgsGeometry) -> bytes:
    """Return a point or polygon as the file keeps it.

    Raises: ValueError for anything else.
    """
    if geometry.wkbType() in _AS_KEPT and not geometry.isEmpty():
        return bytes(geometry.asWkb())
    plain = QgsGeometry(geometry)
    plain.get().dropZValue()
    plain.get().dropMValue()
    if plain.isMultipart():
        plain.convertToSingleType()
    kind = QgsWkbTypes.flatType(plain.wkbType())
    if kind not in _AS_KEPT or plain.isEmpty():
        raise ValueError(f"a label is a point or a polygon, not {geometry.asWkt(3)[:80]}")
    return bytes(plain.asWkb())


def _place(label: StoredLabel) -> _Place:
    if label.wkb[1] == _WKB_POINT:
        lon, lat = struct.unpack_from("<2d", label.wkb, 5)
        return lon, lat, lon, lat, 1
    geometry = geometry_of(label)
    box = geometry.boundingBox()
    west, south, east, north = box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()
    pixels = 1
    if geometry.type() == _POLYGON:
        square_m = geometry.area() * _square_degree_m2((south + north) / 2)
        pixels = max(1, round(square_m / PIXEL_M**2))
    return west, south, east, north, pixels


def _square_degree_m2(latitude: float) -> float:
    """Return the area of one degree by one degree around a latitude."""
    shrink = 1 - ECCENTRICITY_2 * math.sin(math.radians(latitude)) ** 2
    along = EQUATOR_M * (1 - ECCENTRICITY_2) / shrink**1.5
    across = EQUATOR_M / math.sqrt(shrink) * math.cos(math.radians(latitude))
    return along * across * math.radians(1) ** 2
