# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import json

import numpy as np
import pytest
from sklearn import metrics

from tessera_plugin.engine.accuracy import Accuracy, assess, split, wilson
from tessera_plugin.engine.trials import effective_labels, evenness
from tessera_plugin.values import LandClass
from tests.builders import CLASSES


def expand(matrix):
    """Reference and predicted ids (1, 2, 3) of a confusion matrix."""
    pairs = [
        (r + 1, c + 1) for r, row in enumerate(matrix) for c, n in enumerate(row) for _ in range(n)
    ]
    return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)


# --- assess


def test_figures_of_a_case_computed_by_hand():
    # reference in rows: of 10 forest 8 right, 2 taken for water; …
    matrix = [[8, 2, 0], [1, 5, 0], [0, 1, 3]]
    result = assess(*expand(matrix), CLASSES)
    assert result.matrix == ((8, 2, 0), (1, 5, 0), (0, 1, 3))
    assert result.class_ids == (1, 2, 3)
    assert (result.n, result.n_labels) == (20, 20)
    assert result.overall == 16 / 20
    assert result.precision == pytest.approx((8 / 9, 5 / 8, 3 / 3))
    assert result.recall == pytest.approx((8 / 10, 5 / 6, 3 / 4))
    assert result.f1 == pytest.approx((16 / 19, 10 / 14, 6 / 7))
    assert result.macro_f1 == pytest.approx((16 / 19 + 10 / 14 + 6 / 7) / 3)
    by_chance = (10 * 9 + 6 * 8 + 4 * 3) / 400
    assert result.kappa == pytest.approx((0.8 - by_chance) / (1 - by_chance))
    # Wilson for 16 of 20: (0.8 + z²/40 ± z √(0.8·0.2/20 + z²/1600)) / (1 + z²/20)
    assert result.interval == pytest.approx((0.5839826, 0.9193423), abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed):
    random = np.random.default_rng(seed)
    ids = np.array([3, 7, 200, 40])
    classes = [LandClass(int(number), str(number), "#000000") for number in ids]
    reference = random.choice(ids, 300, p=[0.6, 0.2, 0.1, 0.1])
    predicted = np.where(random.random(300) < 0.6, reference, random.choice(ids, 300))
    result = assess(reference, predicted, classes)
    labels = ids.tolist()
    np.testing.assert_array_equal(
        result.matrix, metrics.confusion_matrix(reference, predicted, labels=labels)
    )
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        reference, predicted, labels=labels
    )
    assert result.precision == pytest.approx(precision)
    assert result.recall == pytest.approx(recall)
    assert result.f1 == pytest.approx(f1)
    assert result.macro_f1 == pytest.approx(metrics.f1_score(reference, predicted, average="macro"))
    assert result.kappa == pytest.approx(metrics.cohen_kappa_score(reference, predicted))
    assert result.overall == metrics.accuracy_score(reference, predicted)


def test_macro_f1_with_an_untested_class_is_that_of_scikit_learn():
    reference, predicted = np.array([1, 1, 2, 2]), np.array([1, 3, 2, 2])
    result = assess(reference, predicted, CLASSES)
    assert result.untested == (3,)
    assert result.recall[2] is None
    assert result.precision[2] == 0
    assert result.macro_f1 == pytest.approx(metrics.f1_score(reference, predicted, average="macro"))


def test_what_is_undefined_is_none():
    result = assess(np.array([1, 1]), np.array([1, 1]), CLASSES)
    assert result.precision == (1, None, None)
    assert result.recall == (1, None, None)
    assert result.f1 == (1, None, None)
    assert result.kappa is None  # agreement by chance is certain
    nothing = assess(np.array([], np.int64), np.array([], np.int64), CLASSES)
    assert nothing.overall is None
    assert nothing.interval is None
    assert nothing.kappa is None
    assert nothing.n == 0
    assert nothing.untested == (1, 2, 3)


def test_the_interval_counts_labels_not_pixels():
    reference, predicted = expand([[80, 20, 0], [0, 100, 0], [0, 0, 0]])
    groups = np.arange(200) // 20
    result = assess(reference, predicted, CLASSES, groups)
    assert (result.n, result.n_labels) == (200, 10)
    assert result.interval == wilson(0.9, 10)
    alone = assess(reference, predicted, CLASSES)
    assert alone.interval[0] > result.interval[0]
    assert alone.interval[1] < result.interval[1]
    assert "10 labels with 200 pixels" in result.sentence()


def labels_of(sizes, shares):
    """Sizes of labels and how many pixels of each are right."""
    sizes = np.array(sizes)
    return sizes, np.round(sizes * shares).astype(int)


def test_labels_of_one_size_count_as_many_as_there_are():
    random = np.random.default_rng(0)
    for size in (1, 7, 200):
        sizes, right = labels_of([size] * 13, random.random(13))
        assert effective_labels(sizes, right) == evenness(sizes) == 13
    assert effective_labels(np.zeros(0, int), np.zeros(0, int)) == 0


def test_a_few_large_labels_are_worth_few():
    mixed = [200] * 5 + [1] * 100
    assert evenness(np.array(mixed)) == pytest.approx(1100**2 / (5 * 200**2 + 100))
    alike = effective_labels(*labels_of(mixed, np.arange(105) % 5 > 0))
    assert alike < evenness(np.array(mixed)) < 7
    # right and wrong mixed in each polygon: each tells more, but never more than all labels
    mixture = np.where(np.array(mixed) > 1, 0.8, 1)
    assert 2 * alike < effective_labels(*labels_of(mixed, mixture)) < 105
    one = effective_labels(*labels_of([1000] + [1] * 60, 1.0))
    assert one < 1  # of one polygon alone nothing can be said of others


POLYGONS = {"50 points": ([1] * 50, 0), "10 of 200, 40 points": ([200] * 10 + [1] * 40, 1),
            "5 of 200, 100 points": ([200] * 5 + [1] * 100, 1),
            "20 of 50, 100 points": ([50] * 20 + [1] * 100, 1),
            "20 of 50 partly alike, 100 points": ([50] * 20 + [1] * 100, 1 / 3)}  # fmt: skip


@pytest.mark.parametrize("name", POLYGONS)
def test_the_interval_holds_the_true_share_as_often_as_it_says(name):
    """Labels with a chance each, of the pixels of one alike as the intraclass correlation says."""
    sizes, alike = np.array(POLYGONS[name][0]), POLYGONS[name][1]
    random = np.random.default_rng(5)
    for share in (0.6, 0.8, 0.95):
        inside, by_number, widths = 0, 0, []
        for _ in range(400):
            if 0 < alike < 1:
                chance = random.beta(*(np.array([share, 1 - share]) * (1 / alike - 1)), len(sizes))
            else:
                chance = (random.random(len(sizes)) < share).astype(float)
            right = random.binomial(sizes, chance)
            found = right.sum() / sizes.sum()
            low, high = wilson(found, effective_labels(sizes, right))
            inside += low <= share <= high
            widths.append(high - low)
            low, high = wilson(found, len(sizes))
            by_number += low <= share <= high
        assert inside / 400 > 0.925, share  # 2 standard errors of 400 draws below 0.95
        assert by_number / 400 < 0.93 or name == "50 points", share
    if alike == 1 / 3:  # not so wide as if all pixels of a polygon were one
        even = wilson(0.95, evenness(sizes))
        assert np.mean(widths) < 0.85 * (even[1] - even[0])


def test_large_labels_that_decide_are_told():
    sizes = [200] * 5 + [1] * 100
    groups = np.repeat(np.arange(105), sizes)
    is_right = (np.arange(105) % 5 > 0)[groups]
    result = assess(np.ones(1100, int), np.where(is_right, 1, 2), CLASSES, groups)
    right = np.bincount(groups, is_right)
    assert result.n_effective == effective_labels(np.array(sizes), right.astype(int))
    assert result.interval == wilson(880 / 1100, result.n_effective)
    assert result.interval[1] - result.interval[0] > 0.4
    assert result.rests_on_few
    assert not result.differs_by_label
    assert "as sure as one from 4 of equal size" in result.sentence()
    again = Accuracy.from_json(json.loads(json.dumps(result.to_json())))
    assert again == result
    # what was saved before says what it said
    older = {k: v for k, v in result.to_json().items()
             if k not in ("n_effective_labels", "overall_by_label")}  # fmt: skip
    assert Accuracy.from_json(older).interval == wilson(0.8, 105)
    assert not Accuracy.from_json(older).rests_on_few


def test_the_share_by_label_is_told_where_large_labels_do_better():
    groups = np.repeat(np.arange(14), [50] * 4 + [1] * 10)
    wrong = np.isin(groups, range(4, 9))  # half of the points
    result = assess(np.ones(210, int), np.where(wrong, 2, 1), CLASSES, groups)
    assert result.overall == pytest.approx(205 / 210)
    assert result.by_label == pytest.approx(9 / 14)
    assert result.differs_by_label
    assert "With each label counted once it is 64.3%." in result.sentence()


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (5, 5), (1, 7), (50, 100)])
def test_wilson_solves_its_own_equation(hits, trials):
    share = hits / trials
    for bound in wilson(share, trials):
        # a bound is a share from which the seen one is just 1.96 standard errors away
        assert (share - bound) ** 2 == pytest.approx(
            1.959963984540054**2 * bound * (1 - bound) / trials, abs=1e-12
        )


def test_an_unknown_class_is_no_silent_zero():
    with pytest.raises(ValueError, match="class 9"):
        assess(np.array([1, 9]), np.array([1, 1]), CLASSES)


def test_json_round_trip_and_rejection():
    result = assess(*expand([[8, 2, 0], [1, 5, 0], [0, 0, 0]]), CLASSES, np.arange(16) // 2)
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Accuracy.from_json(json.loads(text)) == result
    for name, value in [
        ("n_labels", None),
        ("n_effective_labels", "8"),
        ("n_effective_labels", 8.5),
        ("n_effective_labels", float("nan")),
        ("overall_by_label", -0.1),
        ("class_ids", [1, 2]),
        ("matrix_rows_reference_columns_predicted", [[1, 2], [3]]),
        ("matrix_rows_reference_columns_predicted", [[-1] * 3] * 3),
    ]:
        with pytest.raises((ValueError, TypeError)):
            Accuracy.from_json({**result.to_json(), name: value})
    with pytest.raises(KeyError):
        Accuracy.from_json({"class_ids": [1, 2, 3]})


# --- split


def world(seed, sizes):
    """Rows of classes with groups of random sizes, shuffled."""
    random = np.random.default_rng(seed)
    y, groups, number = [], [], 0
    for index, count in enumerate(sizes):
        for _ in range(count):
            size = int(random.integers(1, 30))
            y += [index] * size
            groups += [number * 7 % 1009] * size
            number += 1
    order = random.permutation(len(y))
    return np.array(y)[order], np.array(groups)[order]


@pytest.mark.parametrize("seed", range(4))
def test_a_group_stays_on_one_side_and_each_class_is_on_both(seed):
    y, groups = world(seed, [10, 3, 2, 40])
    train, test = split(y, groups, 0.3, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert not set(groups[train]) & set(groups[test])
    for index, count in enumerate([3, 1, 1, 12]):  # 0.3 of 10, 3, 2, 40 groups
        assert len(set(groups[test][y[test] == index])) == count


def test_a_class_with_one_group_stays_in_training():
    y, groups = world(0, [5, 1])
    train, test = split(y, groups, 0.5, 0)
    assert set(y[test]) == {0}
    assert set(y[train]) == {0, 1}


def test_the_split_follows_the_seed_only():
    y, groups = world(1, [20, 20])
    first, again, other = (split(y, groups, 0.3, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    # the order of rows decides nothing
    order = np.random.default_rng(5).permutation(len(y))
    moved = split(y[order], groups[order], 0.3, 0)[1]
    assert set(groups[order][moved]) == set(groups[first])


def test_labelling_another_class_does_not_reshuffle_the_first():
    y, groups = world(2, [20, 20])
    more_y, more_groups = np.append(y, [1] * 5), np.append(groups, [2000] * 5)
    before, after = split(y, groups, 0.3, 0)[1], split(more_y, more_groups, 0.3, 0)[1]
    assert set(groups[before][y[before] == 0]) == set(more_groups[after][more_y[after] == 0])


def test_no_test_share_leaves_all_in_training():
    y, groups = world(3, [4, 4])
    train, test = split(y, groups, 0.0, 0)
    assert len(test) == 0
    assert len(train) == len(y)
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="share"):
            split(y, groups, share, 0)
