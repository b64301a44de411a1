# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels on the same ground: of several files and years, as polygons, and for a test by a file."""

from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.engine.calibration import HeldOut, calibrate, fit_temperature, softmax
from tessera_plugin.engine.dealing import divided, pinned_folds
from tessera_plugin.engine.folds import ValidationParams, make_folds
from tessera_plugin.engine.ground import Ground, units_of
from tessera_plugin.engine.independent import against
from tessera_plugin.engine.label_sets import joined
from tessera_plugin.engine.samples import SampleParams, collect
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.engine.training import fit_and_ask, fit_on_folds
from tessera_plugin.errors import ValidationImpossible
from tessera_plugin.values import LandClass
from tests.builders import CLASSES, MemorySource, labels, point_in, square
from tests.builders_samples import COL, ROW, made

FEW = SampleParams(max_px_per_polygon=20)


def field(row, col, edge=20):
    """A polygon of edge x edge pixels."""
    return square(10 * (COL + col), -10 * (ROW + row + edge), 10 * edge)


def spot(row, col):
    return point_in(ROW + row, COL + col)


def world(rows, source="file", params=FEW):
    source_of = MemorySource(lambda zone, row, col: (row - ROW) // 20 % 3, depth=8)
    return collect(replace(labels(rows), source=source), source_of, params)


def surveys(count=90, seed=1, classes=None):
    """The same places in two years, labelled anew: noise that has nothing to do with the class."""
    random = np.random.default_rng(seed)
    places = random.permutation(1000 * 1000)[:count]
    places = np.column_stack([places // 1000, places % 1000])
    ids = random.permutation(1 + np.arange(count) % 3) if classes is None else classes
    values = random.normal(0, 1, (count, 64))
    later = values + 0.1 * random.normal(0, 1, values.shape)
    first = made(places, ids, year=2022, values=values)
    second = made(places, ids, year=2023, values=later)
    return first, replace(second, keys=tuple(f"again {key}" for key in second.keys))


def places_of(samples, rows):
    return set(zip(samples.zone[rows], samples.row[rows], samples.col[rows]))


# --- one pixel of several files


def test_a_pixel_of_two_files_is_used_once_and_not_at_all_where_they_differ():
    first = made([(0, 0), (0, 9), (9, 0), (9, 9)], [1, 1, 2, 2])
    second = made([(0, 0), (0, 9), (40, 40)], [1, 3, 3])
    both = joined([first, second], ["a", "b"])
    assert (both.report.duplicate_px, both.report.conflicting_px) == (1, 1)
    assert both.class_ids.tolist() == [1, 2, 2, 3]
    assert both.groups.tolist() == [0, 2, 3, 6]
    assert (both.report.labels, both.report.pixels) == (4, 4)
    # in another year the same place may be another class
    later = joined([first, replace(second, year=2023)], ["a", "b"])
    assert len(later) == 7
    assert (later.report.duplicate_px, later.report.conflicting_px) == (0, 0)


def test_a_point_in_a_large_polygon_of_another_file_is_contested():
    one = world([(field(0, 0), 1), (field(40, 0), 2)], "a")
    assert one.report.capped_polygons == 2
    chosen = places_of(one, np.arange(len(one)))
    row, col = next(
        (row, col)
        for row in range(20)
        for col in range(20)
        if (31, ROW + row, COL + col) not in chosen
    )
    two = world([(spot(row, col), 3), (spot(80, 0), 3)], "b")
    for parts in ([one, two], [two, one]):
        both = joined(parts, ["x", "y"])
        assert both.report.conflicting_px == 1
        assert (both.class_ids == 3).sum() == 1
    alike = joined([one, world([(spot(row, col), 1)], "b")], ["x", "y"])
    assert alike.report.conflicting_px == 0
    assert alike.units[-1] == alike.units[0]


# --- units


def test_labels_on_the_same_ground_are_one_unit():
    found = world([
        (field(0, 0), 1), (spot(7, 7), 1), (spot(30, 30), 1),
        (field(60, 0), 2), (field(60, 10), 2), (field(60, 29), 2),
        (field(100, 0), 2),
    ], params=SampleParams(max_px_per_polygon=400))  # fmt: skip
    unit = dict(zip(found.groups.tolist(), found.units.tolist()))
    # the point's own pixel went to the polygon: it has no row. Of the third field a column of 20 is
    # shared, a sliver
    assert unit == {0: 0, 2: 2, 3: 3, 4: 3, 5: 5, 6: 6}
    # of a large polygon 20 of its 400 pixels are chosen, and it covers all
    spots = [(spot(row, 7), 1) for row in range(0, 20, 4)]
    capped = world([(field(0, 0), 1), *spots, (spot(30, 30), 1)])
    unit = dict(zip(capped.groups.tolist(), capped.units.tolist()))
    assert len(unit) > 4
    assert unit.pop(6) == 6
    assert set(unit.values()) == {0}


def test_units_are_what_hangs_together():
    random = np.random.default_rng(0)
    count = 400
    label, place = np.arange(count).repeat(2), random.integers(0, 900, 2 * count)
    zeros = np.zeros_like(place)
    found = units_of(Ground.of(np.column_stack([zeros, place, zeros, label])), count)
    expected = np.arange(count)
    for _ in range(count):  # spread the smallest number along shared places
        at = np.full(900, count)
        np.minimum.at(at, place, expected[label])
        after = expected.copy()
        np.minimum.at(after, label, at[place])
        if np.array_equal(after, expected):
            break
        expected = after
    assert found.tolist() == expected.tolist()
    assert 1 < len(np.unique(found)) < count - 50


# --- the schemes


@pytest.mark.parametrize("scheme", ["random", "blocks", "years"])
@pytest.mark.parametrize("sources", [["a", "a"], ["a", "b"]])
def test_no_place_is_learnt_and_tested_whatever_file_and_year_names_it(scheme, sources):
    both = joined(surveys(), sources)
    folds = make_folds(both, ValidationParams(scheme, 5))
    for fold in folds.items:
        assert not places_of(both, fold.train) & places_of(both, fold.test)
    head, found = fit_on_folds(both, TrainParams(background=False), folds)
    assert found.pooled.overall < 0.55  # chance is 0.33; with a place on both sides it is 0.9
    assert "90 labels stay with another one on the same ground" in folds.sentence
    assert found.pooled.n_labels == folds.tested_labels(both) == 180
    assert found.pooled.n_effective == pytest.approx(
        90
    )  # places: what is said of one holds for both
    assert head.training["labels"] == 180


def test_a_share_is_drawn_by_ground_too():
    both = joined(surveys(), ["a", "b"])
    head, answers = fit_and_ask(both, TrainParams(background=False))
    tested = places_of(both, answers.rows)
    assert len(answers.rows) == 2 * len(tested)
    assert head.accuracy.overall < 0.6
    assert head.temperature > 1.5  # what says how sure it is has not seen them either


def test_slivers_are_not_learnt_where_they_are_tested():
    """Two fields of two years overlap by a column of pixels: they are two units."""
    early = world([(field(0, 0), 1), (field(40, 0), 2), (field(80, 0), 1), (field(120, 0), 2)],
                  "a", SampleParams(max_px_per_polygon=400))  # fmt: skip
    late = world([(field(0, 19), 1), (field(40, 40), 2), (field(80, 40), 1), (field(120, 40), 2)],
                 "b", SampleParams(max_px_per_polygon=400))  # fmt: skip
    both = joined([early, replace(late, year=2023)], ["a", "b"])
    assert len(np.unique(both.units)) == 8
    folds = make_folds(both, ValidationParams("random", 4))
    cut = 0
    for fold in folds.items:
        assert not places_of(both, fold.train) & places_of(both, fold.test)
        cut += len(both) - len(fold.train) - len(fold.test)
    assert cut in {0, 40}  # not learnt beside either; none where both are tested at once
    assert len(folds.learnt) == len(both)


def test_an_area_is_not_tested_by_labels_of_its_own_ground():
    first, _ = surveys(30)
    own = made(np.column_stack([5000 + np.arange(12), np.arange(12)]), 1 + np.arange(12) % 3,
               year=2022, values=np.random.default_rng(3).normal(0, 1, (12, 64)))  # fmt: skip
    # ten of the first, labelled again a year later
    again = made(np.column_stack([first.row[:10] - ROW, first.col[:10] - COL]),
                 first.class_ids[:10], year=2023,
                 values=np.random.default_rng(3).normal(0, 1, (10, 64)))  # fmt: skip
    both = joined([first, own, again], ["a", "b", "b2"], ["fen", "heath", "heath"])
    folds = make_folds(both, ValidationParams("areas"))
    assert folds.parts == ("fen", "heath")
    for fold in folds.items:
        assert not places_of(both, fold.train) & places_of(both, fold.test)
    assert [len(fold.test) for fold in folds.items] == [30, 22]
    assert [len(fold.train) for fold in folds.items] == [12, 20]
    assert folds.shared_labels == 20
    assert "20 labels on ground of the tested area are not learnt for it" in folds.sentence
    assert len(folds.learnt) == len(both) == 52  # the final head learns all
    one_ground = joined(surveys(30), ["a", "b"], ["fen", "heath"])
    with pytest.raises(ValidationImpossible, match="on the ground of those of"):
        make_folds(one_ground, ValidationParams("areas"))
    twice = joined([first, first], ["a", "b"], ["fen", "heath"])
    with pytest.raises(ValidationImpossible, match="one area, fen: those of the others"):
        make_folds(twice, ValidationParams("areas"))


def test_what_cant_be_tested_is_not_learnt_from_ground_that_is_held_out():
    places = [(0, 5 * i) for i in range(4)] + [(0, 3000 + 5 * i) for i in range(6)]
    samples = made(places, [1, 2, 1, 2, 1, 2, 1, 2, 3, 3])
    folds = make_folds(samples, ValidationParams("areas", skip_untestable=True))
    assert folds.untestable == ("crops",)
    assert [fold.train.tolist() for fold in folds.items] == [list(range(4, 10)), [0, 1, 2, 3]]
    assert [fold.test.tolist() for fold in folds.items] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(folds.learnt) == 10


def test_every_class_is_learnt_though_it_shares_all_its_ground():
    """A place that is forest in one year and was felled in the next."""
    units = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    y = np.array([0, 2, 0, 2, 0, 1, 1, 1])
    for seed in range(6):
        train, test = divided(y, units, 0.4, seed)
        assert set(y[test]) <= set(y[train])
        assert not set(units[test]) & set(units[train])
        for fold in pinned_folds(y, units, np.arange(8), 3, seed):
            assert set(y[fold.test]) <= set(y[fold.train])


# --- a file for the test


def test_independent_labels_don_t_stand_in_learnt_polygons():
    learnt = world([(field(40 * i, 0), 1 + i % 3) for i in range(6)], "a")
    inside = [(spot(40 * i + 3, 4), 1 + i % 3) for i in range(6)]
    outside = [(spot(40 * i + 30, 4), 1 + i % 3) for i in range(6)]
    with pytest.raises(ValidationImpossible, match="on ground that is not learnt"):
        against(learnt, world(inside, "b"))
    half_in = (field(10, 10), 2)  # a polygon that reaches into a learnt one
    both, folds = against(learnt, world([*inside, *outside, half_in], "b"))
    assert folds.shared_labels == 7
    assert folds.tested_labels(both) == 6
    assert "7 labels on ground that is learnt are left out" in folds.sentence
    assert folds.learnt.tolist() == list(range(len(learnt)))
    # and the other way round: what is learnt lies in a polygon of the file
    learnt = world([(spot(5, 5), 1), (spot(100, 5), 2), (spot(200, 5), 3)], "a")
    _, folds = against(learnt, world([(field(0, 0), 1), (field(60, 0), 2)], "b"))
    assert folds.shared_labels == 1


def test_a_head_is_what_it_learnt_and_not_what_it_is_tested_on():
    rows = np.arange(30)
    train = made(np.column_stack([rows, rows]), 1 + rows % 3, year=2022)
    train = joined([train], areas=["fen"])
    known = (*CLASSES, LandClass(9, "glacier", "#ffffff"))
    ids = np.where(rows % 5 == 0, 9, 1 + rows % 3)
    test = made(np.column_stack([rows + 500, rows]), ids, year=2023, known=known)
    both, folds = against(train, test)
    head, found = fit_on_folds(both, TrainParams(background=False), folds)
    assert head.years == (2022,)
    assert [known.name for known in head.classes] == ["forest", "water", "crops"]
    assert head.training["areas"] == ["fen"]
    assert head.training["labels"] == 30
    assert (folds.unknown_labels, folds.unknown_px, folds.unknown_classes) == (6, 6, ("glacier",))
    right = found.pooled.overall * 24
    assert folds.overall_with_unknown(found.pooled) == pytest.approx(right / 30)
    assert head.training["accuracy_from"]["unknown_labels"] == 6
    assert head.training["accuracy_from"]["test_labels"] == folds.tested_labels(both) == 24
    _, folds = against(train, replace(test, row=test.row + 500, class_ids=1 + rows % 3))
    assert folds.overall_with_unknown(found.pooled) is None


# --- calibration


def test_no_ground_is_judged_by_a_temperature_that_it_helped_to_find():
    """Parts 0 and 1 hold the same places, and parts 2 and 3 do."""
    random = np.random.default_rng(0)
    groups = np.concatenate([np.arange(20), np.arange(20), np.arange(20, 40), np.arange(20, 40)])
    parts = np.repeat([0, 1, 2, 3], 20)
    y = random.integers(0, 3, 80)
    logits = random.normal(0, 2, (80, 3)).astype(np.float32)
    logits[40:][np.arange(40), y[40:]] += 6  # they would have another temperature
    found = calibrate(HeldOut(logits, y, groups, parts))
    after = np.empty((80, 3))
    for mine in (slice(0, 40), slice(40, 80)):
        others = np.ones(80, bool)
        others[mine] = False
        after[mine] = softmax(
            logits[mine], fit_temperature(logits[others], y[others], np.full(40, 0.5))
        )
    assert found.confidence_after == pytest.approx(float(after.max(axis=1).mean()))
