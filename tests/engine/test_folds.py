# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.engine.dealing import dealt, pinned_folds
from tessera_plugin.engine.folds import SCHEMES, ValidationParams, make_folds
from tessera_plugin.engine.independent import against
from tessera_plugin.engine.label_sets import joined, taken, with_common_classes
from tessera_plugin.engine.spacing import areas_of, blocks_of, label_places, suggested_block
from tessera_plugin.errors import ValidationImpossible
from tessera_plugin.values import LandClass
from tests.builders import labels
from tests.builders_samples import made, scattered


def check(samples, folds, every_label_once=True):
    """What holds of all folds: nothing is learnt and tested, and no label is divided."""
    for fold in folds.items:
        assert not set(fold.train) & set(fold.test)
        assert not set(samples.groups[fold.train]) & set(samples.groups[fold.test])
        assert set(samples.class_ids[fold.test]) <= set(samples.class_ids[fold.train])
    tested = np.concatenate([fold.test for fold in folds.items])
    assert len(np.unique(tested)) == len(tested)
    if every_label_once:
        assert len(tested) == len(samples)


def test_parameters_are_checked():
    for name, value in {"scheme": "clever", "folds": 1, "block_px": -1, "seed": -1}.items():
        with pytest.raises(ValueError, match=name):
            ValidationParams(**{name: value})
    with pytest.raises(TypeError):
        ValidationParams(parts=3)


def test_by_label_every_fold_has_its_share_of_every_class():
    ids = np.repeat([1, 2, 3], [50, 20, 5])
    samples = made(np.random.default_rng(0).integers(0, 999, (75, 2)), ids, size=3)
    folds = make_folds(samples, ValidationParams("random", 5))
    check(samples, folds)
    for fold in folds.items:
        counts = np.bincount(samples.class_ids[fold.test])[1:]
        assert counts.tolist() == [30, 12, 3]
    again = make_folds(samples, ValidationParams("random", 5))
    other = make_folds(samples, ValidationParams("random", 5, seed=1))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds.items, again.items))
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(folds.items, other.items))


def test_a_class_that_cant_be_tested_is_refused_by_name_or_learnt_only():
    samples = made([(0, 0), (0, 9), (9, 0), (9, 9), (5, 5)], [1, 1, 2, 2, 3])
    with pytest.raises(ValidationImpossible, match="crops can't be learnt and tested"):
        make_folds(samples, ValidationParams("random", 2))
    folds = make_folds(samples, ValidationParams("random", 2, skip_untestable=True))
    check(samples, folds, every_label_once=False)
    assert folds.untestable == ("crops",)
    assert "not tested: crops" in folds.sentence
    assert all(4 in fold.train and 4 not in fold.test for fold in folds.items)


def test_blocks_keep_neighbours_together_and_are_told_as_windows():
    samples = scattered(150, size=3)
    folds = make_folds(samples, ValidationParams("blocks", 4, block_px=100))
    check(samples, folds, every_label_once=False)
    tested = np.concatenate([fold.test for fold in folds.items])
    assert len(np.unique(samples.groups[tested])) == folds.tested_labels(samples) == 150
    fold_of = np.full(len(samples), -1)
    for number, fold in enumerate(folds.items):
        fold_of[fold.test] = number
    centres = label_places(samples, samples.class_ids - 1)
    for block in folds.blocks:
        w = block.window
        assert (w.height, w.width, w.zone) == (100, 100, 31)
        assert w.row % 100 == w.col % 100 == 0
        inside = (centres.row >= w.row) & (centres.row < w.stop_row)
        inside &= (centres.col >= w.col) & (centres.col < w.stop_col)
        assert inside.any()
        assert set(fold_of[inside[centres.of_row]]) <= {block.fold, -1}
        # nothing that is learnt reaches into it
        train = folds.items[block.fold].train
        row, col = samples.row[train], samples.col[train]
        reaches = (row >= w.row) & (row < w.stop_row) & (col >= w.col) & (col < w.stop_col)
        assert not reaches.any()
    # what reaches out of the blocks of its part is neither tested nor learnt for it
    for number, fold in enumerate(folds.items):
        own = {(b.window.row, b.window.col) for b in folds.blocks if b.fold == number}
        corners = np.column_stack([samples.row[fold.test], samples.col[fold.test]]) // 100 * 100
        assert set(map(tuple, corners.tolist())) == own
    outside = np.setdiff1d(np.arange(len(samples)), tested)
    assert 0 < len(outside) < 20
    assert len({b.window for b in folds.blocks}) == len(folds.blocks)
    sizes = [len(fold.test) for fold in folds.items]
    assert max(sizes) < 1.5 * min(sizes)


def test_a_class_in_one_block_is_refused():
    samples = made([(5, 5), (6, 60), (60, 5), (60, 60), (5, 8), (6, 7)], [1, 2, 1, 2, 3, 3])
    with pytest.raises(ValidationImpossible, match="crops .* two blocks or more"):
        make_folds(samples, ValidationParams("blocks", 3, block_px=50))
    with pytest.raises(ValidationImpossible, match="one block of 10,000 m"):
        make_folds(samples, ValidationParams("blocks", 3, block_px=1000))


def test_the_suggested_block_is_as_large_as_labels_are_alike():
    """Cells of 60 px with values of their own: labels of one class are alike within a cell only."""
    random = np.random.default_rng(3)
    places = random.integers(0, 1200, (900, 2))
    cells = random.normal(0, 1, (20, 20, 8))
    values = cells[places[:, 0] // 60, places[:, 1] // 60] + random.normal(0, 0.3, (900, 8))
    samples = made(places, 1 + np.arange(900) % 2, values=values)
    found = suggested_block(samples, label_places(samples, samples.class_ids - 1))
    assert 300 < found.range_m < 1400
    assert found.block_px * 10 >= found.range_m
    nearest = np.linalg.norm(places[:, None] - places[None], axis=2)
    nearest[np.eye(900, dtype=bool)] = np.inf
    assert found.spacing_m == pytest.approx(10 * np.median(nearest.min(axis=1)), rel=2e-3)
    alone = scattered(900, edge=1200, classes=2)
    assert suggested_block(alone, label_places(alone, alone.class_ids - 1)).range_m < 300
    few = scattered(8)
    size = suggested_block(few, label_places(few, few.class_ids - 1), folds=2)
    assert size.range_m is None
    assert (
        len(np.unique(blocks_of(label_places(few, few.class_ids - 1), size.block_px), axis=0)) >= 4
    )
    make_folds(samples, ValidationParams("blocks"))


def test_dealing_is_even_where_blocks_hold_many_classes():
    random = np.random.default_rng(1)
    units, classes = random.integers(0, 40, 600), random.integers(0, 4, 600)
    fold = dealt(units, classes, 5, 0)[units]
    table = np.zeros((5, 4))
    np.add.at(table, (fold, classes), 1)
    assert (np.abs(table / table.mean(axis=0) - 1) < 0.25).all()


def test_areas_by_name_and_by_gaps():
    here = scattered(30)
    there = scattered(30, seed=1)
    both = joined([here, there], areas=["fen", "heath"])
    folds = make_folds(both, ValidationParams("areas"))
    check(both, folds)
    assert folds.parts == ("fen", "heath")
    assert [len(f.test) for f in folds.items] == [30, 30]
    with pytest.raises(ValidationImpossible, match="one area"):
        make_folds(here, ValidationParams("areas"))
    far = replace(there, row=there.row + 5000)
    apart = joined([here, far])
    assert make_folds(apart, ValidationParams("areas")).parts == ("area 1", "area 2")
    # across the seam of two zones it is one place: 3 degrees of longitude at 52.2 degrees north
    zones = made([(0, 0), (1, 1)], [1, 2])
    zones = replace(zones, zone=np.array([30, 31]), row=np.array([-578_000] * 2),
                    col=np.array([70_500, 29_500]))  # fmt: skip
    assert areas_of(label_places(zones, np.array([0, 1]))).tolist() == [0, 0]


def test_years_test_no_place_that_was_learnt_in_another_year():
    one = scattered(40)
    two = replace(one, year=2023)
    both = joined([one, two], ["a file", "a file"])
    assert len(np.unique(both.groups)) == 40
    assert both.years == (2023, 2024)
    folds = make_folds(both, ValidationParams("years", 4))
    check(both, folds)
    assert folds.parts == ("2023", "2024")
    for fold in folds.items:
        assert {int(fold.name)} == set(both.year_of[fold.test])
        assert int(fold.name) not in both.year_of[fold.train]
    # other places in each year: nothing has to be dealt
    other = joined([one, replace(scattered(40, seed=5), year=2023)])
    folds = make_folds(other, ValidationParams("years", 4))
    check(other, folds)
    assert [len(fold.train) for fold in folds.items] == [40, 40]
    with pytest.raises(ValidationImpossible, match="all labels are of 2024"):
        make_folds(one, ValidationParams("years"))


def test_independent_labels_are_matched_by_name_and_never_on_learnt_pixels():
    train = made([(0, 0), (0, 9), (9, 0), (9, 9)], [1, 1, 2, 2])
    names = (LandClass(7, "water", "#000000"), LandClass(1, "swamp", "#111111"),
             LandClass(2, "forest", "#222222"))  # fmt: skip
    test = made([(0, 0), (20, 20), (20, 30), (40, 40)], [2, 2, 7, 1], known=names)
    both, folds = against(train, test)
    (fold,) = folds.items
    assert fold.train.tolist() == [0, 1, 2, 3]
    assert both.class_ids[fold.test].tolist() == [1, 2]  # forest and water of the first
    assert "1 labels on ground that is learnt" in folds.sentence
    assert "1 labels of classes that the head has not are left out: swamp." in folds.sentence
    assert not set(both.groups[fold.test]) & set(both.groups[fold.train])
    with pytest.raises(ValidationImpossible):
        against(train, train)


def test_sets_get_common_classes_by_name():
    mine = labels([("POINT (0 0)", 1), ("POINT (0 0)", 3)])
    other = labels([("POINT (0 0)", 1), ("POINT (0 0)", 2)],
                   classes=(LandClass(1, "crops", "#000000"), LandClass(2, "bare", "#000000")))  # fmt: skip
    first, second = with_common_classes([mine, other])
    assert [c.name for c in first.classes] == ["forest", "water", "crops", "bare"]
    assert first.classes == second.classes
    assert [label.class_id for label in first.items] == [1, 3]
    names = {c.id: c.name for c in second.classes}
    assert [names[label.class_id] for label in second.items] == ["crops", "bare"]


def test_rows_are_taken_with_their_counts():
    samples = scattered(30, size=2)
    some = taken(samples, np.arange(0, 60, 5))
    assert some.report.pixels == len(some) == 12
    assert some.report.labels == len(np.unique(some.groups)) == 12
    assert sum(row.pixels for row in some.report.classes) == 12


def test_pinned_folds_leave_lonely_classes_to_be_learnt():
    y, groups = np.array([0, 0, 0, 1, 1, 2]), np.arange(6)
    folds = pinned_folds(y, groups, np.arange(6), 5, 0)
    assert sorted(np.concatenate([f.test for f in folds]).tolist()) == [0, 1, 2, 3, 4]
    assert all(5 in fold.train for fold in folds)
    assert not pinned_folds(np.array([0, 1]), np.arange(2), np.arange(2), 5, 0)
    assert set(SCHEMES) == {"random", "blocks", "areas", "years"}
