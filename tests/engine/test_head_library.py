# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads of a folder: listed, named, imported, never replaced once they have a name."""

import json
import os
import zipfile
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from tessera_plugin.engine import head_library, training
from tessera_plugin.engine.folds import ValidationParams, make_folds
from tessera_plugin.engine.head_comparison import KindRow, compare_heads, reading
from tessera_plugin.engine.heads import load, save
from tessera_plugin.engine.learning_curve import CurvePoint, LearningCurve
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.errors import HeadUnreadable, NotWritable
from tests.builders import random_embeddings, random_head
from tests.builders_samples import gaussians

FAST = TrainParams(background=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "heads").mkdir()
    return tmp_path / "heads"


def kept(folder, file, made="", **changes):
    head = random_head(seed=len(file), training={"made": made} if made else {}, **changes)
    save(head, str(folder / file))
    return str(folder / file)


def test_heads_are_listed_the_newest_first_and_broken_ones_say_why(folder, tmp_path):
    old = kept(folder, "old.head", "2023-05-01T12:00:00+00:00")
    new = kept(folder, "newer.head", "2024-05-01T12:00:00+00:00", name="Fields")
    elsewhere = kept(tmp_path, "elsewhere.head")  # of before there was a date: that of the file
    os.utime(elsewhere, (1, 1_600_000_000))
    (folder / "broken.head").write_bytes(b"nothing")
    os.utime(folder / "broken.head", (1, 1))
    (folder / "other.txt").write_text("x")
    opened = (elsewhere, str(tmp_path / "gone.head"), new)
    found = head_library.list_heads(str(folder), opened)
    assert [each.path for each in found] == [new, old, elsewhere, str(folder / "broken.head")]
    assert [each.name for each in found] == ["Fields", "", "", ""]
    assert found[1].made_s == datetime(2023, 5, 1, 12, tzinfo=timezone.utc).timestamp()
    assert found[3].head is None
    assert "zip" in found[3].problem
    assert head_library.list_heads(str(tmp_path / "not there")) == ()


def test_a_name_travels_with_the_file_and_changes_no_answer(folder, tmp_path):
    path = kept(folder, "a.head", hidden=(8,))
    before = load(path)
    head_library.rename_head(path, "  Fields\nand \x07 hedges ")
    after = load(path)
    assert after.name == "Fields and hedges"
    assert after.id == before.id
    codes, scales = random_embeddings(50)
    assert np.array_equal(after.probabilities(codes, scales), before.probabilities(codes, scales))
    copy = head_library.import_head(path, str(tmp_path))
    assert load(copy).name == "Fields and hedges"
    head_library.rename_head(path, "")
    with zipfile.ZipFile(path) as archive:
        assert "name" not in json.loads(archive.read("head.json"))
    assert len(head_library.rename_head(path, "x" * 500).name) == 80


def test_an_imported_head_gets_a_free_name_and_keeps_its_date(folder, tmp_path):
    taken = kept(folder, "a.head")
    other = kept(tmp_path, "a.head", name="Other")
    os.utime(other, (1000, 2000))
    first = head_library.import_head(other, str(folder))
    second = head_library.import_head(other, str(folder))
    assert [os.path.basename(each) for each in (first, second)] == ["a_2.head", "a_3.head"]
    assert os.stat(first).st_mtime == 2000
    assert load(taken).name == ""
    assert head_library.import_head(first, str(folder)) == first
    (tmp_path / "no.head").write_bytes(b"no")
    with pytest.raises(HeadUnreadable):
        head_library.import_head(str(tmp_path / "no.head"), str(folder))
    with pytest.raises(NotWritable):
        head_library.import_head(other, str(tmp_path / "missing"))


def test_a_training_keeps_away_from_heads_that_have_a_name(folder):
    path = str(folder / "labels_instant.head")
    assert head_library.place_for_new(path) == path
    kept(folder, "labels_instant.head")
    assert head_library.place_for_new(path) == path
    head_library.rename_head(path, "Mine")
    assert head_library.place_for_new(path) == str(folder / "labels_instant_2.head")
    kept(folder, "labels_instant_2.head", name="Mine too")
    assert head_library.place_for_new(path) == str(folder / "labels_instant_3.head")


def test_no_two_heads_have_one_title():
    assert head_library.free_title("Fields", ["Forest"]) == "Fields"
    assert head_library.free_title(" Fields ", ["Fields", "Fields 2"]) == "Fields 3"
    assert head_library.free_title("", [""]) == ""


def test_how_a_head_was_tested_is_told():
    samples = gaussians(12, 1.0)
    once = training.fit(samples, FAST)
    told = head_library.tested(once)
    assert (told.scheme, told.overall) == ("share", once.accuracy.overall)
    folds = make_folds(samples, ValidationParams(folds=3))
    head, validation = training.fit_on_folds(samples, FAST, folds)
    told = head_library.tested(head)
    assert (told.scheme, told.parts, told.labels) == ("random", 3, 36)
    assert (told.overall, told.spread) == (validation.mean, validation.spread)
    assert head_library.tested(random_head()).scheme == ""
    broken = replace(head, training={"validation": {"mean": "high"}})
    assert head_library.tested(broken).scheme == "share"
    ids = [each.id for each in head.classes]
    assert head_library.labels_per_class(head) == dict.fromkeys(ids, (12, 12))
    assert head_library.labels_per_class(replace(head, training={"classes": [{"id": "x"}]})) == {}


def test_a_training_says_when_it_was():
    before = datetime.now(timezone.utc).timestamp()
    head = training.fit(gaussians(4, 1.0), FAST)
    listed = head_library.ListedHead("x", head)
    assert before - 1 <= listed.made_s <= datetime.now(timezone.utc).timestamp()
    assert listed.labels == 12


# --- what comparisons say


def test_a_comparison_is_read_with_care():
    samples = gaussians(20, 12.0)
    folds = make_folds(samples, ValidationParams(folds=4))
    (row,) = compare_heads(samples, FAST, folds, kinds=("instant",))
    missing = KindRow("mlp", "MLP", None, "there is no worker")
    assert reading((row, missing)) is None
    same = reading((row, KindRow("mlp", "MLP", row.validation)))
    assert (same.best, same.against, same.gap) == ("instant", "mlp", 0.0)
    assert not same.is_clear
    assert "No kind is better than Instant head, the simplest" in same.sentence()

    easy = gaussians(20, 0.1)
    (better,) = compare_heads(easy, FAST, make_folds(easy, ValidationParams(folds=4)),
                              kinds=("instant",))  # fmt: skip
    found = reading((row, KindRow("forest", "Random forest", better.validation)))
    assert (found.best, found.against) == ("forest", "instant")
    assert found.gap == better.validation.mean - row.validation.mean
    assert found.spread == max(better.validation.spread, row.validation.spread)
    assert found.is_clear
    assert "Random forest (100 trees) is better than Instant head" in found.sentence()
    unclear = replace(found, gap=found.spread)
    assert "is not better than Instant head beyond the spread of the folds" in unclear.sentence()


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [(((0.5, 0.5), (0.9, 0.9)), "would"), (((0.5, 0.7), (0.6, 0.7)), "may"),
     (((0.8, 0.8), (0.8, 0.8)), "hardly"), (((0.8, 0.8),), "few")],
)  # fmt: skip
def test_the_verdict_of_a_curve_is_its_sentence(shares, verdict):
    points = tuple(CurvePoint(5 * n, 10 * n, each) for n, each in enumerate(shares, 1))
    if len(points) > 1:  # a little more than the last size tells nothing, its half does
        points = (points[0], CurvePoint(9, 18, (0.99, 0.99)), *points[1:])
    curve = LearningCurve("instant", "random", points)
    assert curve.verdict == verdict
    words = {"would": "more labels would help", "may": "within the spread of the repeats, so it can't be told", "hardly": "hardly help",
             "few": "too few labels"}  # fmt: skip
    assert words[verdict] in curve.sentence()
