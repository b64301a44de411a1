# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels that come and go, move and change: what is kept of before changes no answer."""

import dataclasses

import numpy as np
import pytest

from tessera_plugin.engine import label_pixels as module
from tessera_plugin.engine.label_pixels import PlacedLabels, SampleParams, label_pixels
from tessera_plugin.engine.labels import Label, Labels
from tessera_plugin.io import polygons
from tessera_plugin.progress import Cancelled
from tests.builders import CLASSES, labels, point_in, square, wkb

ROW, COL = -578_000, 50_000
PARAMS = SampleParams(max_px_per_polygon=30)
ARRAYS = ("zone", "row", "col", "label")


def assert_same(found, wanted):
    for field in dataclasses.fields(wanted):
        mine, theirs = getattr(found, field.name), getattr(wanted, field.name)
        if field.name in ARRAYS:
            assert np.array_equal(mine, theirs), field.name
        elif field.name == "ground":
            assert np.array_equal(mine.claims, theirs.claims)
            assert mine.large == theirs.large
        else:
            assert mine == theirs, field.name


class Changes:
    """Random labels near each other, of which some come, go, move or change, now and then many."""

    def __init__(self, seed):
        self._draw = np.random.default_rng(seed)
        self.items, self._count = [], 0
        for _ in range(12):
            self.add()

    def of(self, low, high):
        return int(self._draw.integers(low, high))

    def shape(self):
        row, col = ROW + self.of(0, 40), COL + self.of(0, 40)
        kind = self.of(0, 8)
        if kind < 3:
            return point_in(row, col)
        if kind == 3:
            inner = ",".join(
                f"{10 * col + self.of(0, 90)} {-10 * row - self.of(0, 90)}" for _ in range(4)
            )
            return f"MULTIPOINT ({inner})"
        if kind == 4:
            return square(10 * col + 6, -10 * row - 4, 3)  # without a centre
        if kind == 5:
            return "POINT (1e300 1e300)"
        side = self.of(2, 14) if kind == 6 else self.of(15, 30)
        return square(10 * col + self.of(0, 10), -10 * row - self.of(0, 10), 10 * side)

    def add(self):
        self._count += 1
        label = Label(wkb(self.shape()), self.of(1, 4), f"k{self._count}")
        self.items.insert(
            self.of(0, len(self.items) + 1) if self.of(0, 3) == 0 else len(self.items), label
        )

    def change(self):
        kind, at = self.of(0, 8), self.of(0, max(len(self.items), 1))
        if kind < 3 or len(self.items) < 3:
            self.add()
        elif kind == 3:
            self.items.pop(at)
        elif kind == 4:
            self.items[at] = dataclasses.replace(self.items[at], wkb=wkb(self.shape()))
        elif kind == 5:
            self.items[at] = dataclasses.replace(self.items[at], class_id=self.of(1, 4))
        elif kind == 6:
            self._draw.shuffle(self.items)
        else:
            for _ in range(self.of(2, 6)):
                self.add()

    def labels(self):
        return Labels("EPSG:32631", CLASSES, tuple(self.items), "x")


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_changes_no_answer(seed, monkeypatch):
    monkeypatch.setattr(module, "MOST_CHANGES", 6)
    changes, kept, contested = Changes(seed), PlacedLabels(), 0
    for _ in range(30):
        changes.change()
        found = kept.pixels(changes.labels(), PARAMS)
        assert_same(found, label_pixels(changes.labels(), PARAMS))
        contested += found.conflicting_px
    assert contested > 50


def test_a_label_more_places_and_settles_only_itself(monkeypatch):
    given = [(square(10 * COL + 300 * n, -10 * ROW, 100), 1 + n % 2) for n in range(20)]
    kept = PlacedLabels()
    kept.pixels(labels(given), PARAMS)
    placed, masked = [], []
    zone_polygons, mask = polygons.zone_polygons, polygons.ZonePolygon.mask
    monkeypatch.setattr(
        polygons, "zone_polygons", lambda *args: placed.append(args) or zone_polygons(*args)
    )
    monkeypatch.setattr(
        polygons.ZonePolygon, "mask", lambda *args: masked.append(args) or mask(*args)
    )
    kept.pixels(labels([*given, (point_in(ROW - 5, COL + 34), 1)]), PARAMS)
    assert (placed, len(masked)) == ([], 1)  # the polygon of the other class that it lies in
    masked.clear()
    kept.pixels(labels([*given, (square(10 * COL, -10 * ROW + 4000, 100), 3)]), PARAMS)
    assert (len(placed), len(masked)) == (1, 1)


def test_over_a_seam_too():
    given = [(square(5.98 + 0.004 * n, 50, 0.01), 1 + n % 3) for n in range(6)]
    kept = PlacedLabels()
    for count in (4, 5, 6, 3, 6):
        some = labels(given[:count], crs="EPSG:4326")
        found = kept.pixels(some, PARAMS)
        assert_same(found, label_pixels(some, PARAMS))
    assert set(found.zone) == {31, 32}


def test_keys_that_are_there_twice_and_other_parameters_are_no_trouble():
    twice = [Label(wkb(square(10 * COL, -10 * ROW, 200)), 1, "a"),
             Label(wkb(point_in(ROW - 5, COL + 5)), 2, "a")]  # fmt: skip
    kept = PlacedLabels()
    for items in (twice, twice[:1], twice[::-1]):
        for params in (PARAMS, SampleParams()):
            given = Labels("EPSG:32631", CLASSES, tuple(items), "x")
            assert_same(kept.pixels(given, params), label_pixels(given, params))


def test_labels_that_are_gone_are_forgotten_when_there_are_many(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT_PX", 100)
    kept = PlacedLabels()
    for number in range(10):
        some = [(square(10 * COL + 300 * n, -10 * ROW, 100), 1) for n in (number, number + 1)]
        assert_same(kept.pixels(labels(some), PARAMS), label_pixels(labels(some), PARAMS))
        assert len(kept._known) <= 4


def test_what_was_given_up_is_made_good():
    given = labels([(square(10 * COL + 100 * n, -10 * ROW, 150), 1 + n % 2) for n in range(8)])
    kept, calls = PlacedLabels(), []

    def report(*_):
        calls.append(1)
        if len(calls) == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        kept.pixels(given, PARAMS, report)
    assert_same(kept.pixels(given, PARAMS), label_pixels(given, PARAMS))
