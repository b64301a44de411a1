# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tessera_plugin.__main__ import main
from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine.accuracy import assess
from tessera_plugin.engine.fitting import Trainer, standardisation
from tessera_plugin.engine.folds import ValidationParams, make_folds
from tessera_plugin.engine.head_comparison import NAMES, by_scikit_learn, compare_heads, table
from tessera_plugin.engine.heads import load, mlp
from tessera_plugin.engine.label_sets import LabelSet, taken
from tessera_plugin.engine.learning_curve import learning_curve
from tessera_plugin.engine.predict import InProcess, InWorker
from tessera_plugin.engine.training import TrainParams, fit, fit_on_folds, train
from tessera_plugin.errors import NoUsableLabels, WorkerFailed
from tessera_plugin.progress import silent
from tests.archive.sample import SampleArchive
from tests.builders import random_embeddings, random_head, random_weights, write_layer
from tests.builders_samples import gaussians
from tests.compute.helpers import worker_python
from tests.engine.test_training import archive_labels, request_for
from tests.servers import RangeServer


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.fixture(scope="module")
def noisy():
    return gaussians(12, 5.0, seed=2)


# --- folds through to a head


def test_folds_judge_heads_that_have_not_seen_them(noisy):
    folds = make_folds(noisy, ValidationParams("random", 4))
    head, found = fit_on_folds(noisy, TrainParams(), folds)
    by_hand, overall = np.zeros(len(noisy), int), []
    for fold in folds.items:
        alone = fit(taken(noisy, fold.train), TrainParams(test_share=0, calibrate=False))
        p = alone.probabilities(noisy.codes[fold.test], noisy.scales[fold.test])
        by_hand[fold.test] = alone.class_ids[p.argmax(axis=1)]
        overall.append((by_hand[fold.test] == noisy.class_ids[fold.test]).mean())
    pooled = assess(noisy.class_ids, by_hand, head.classes, noisy.groups)
    assert head.accuracy == found.pooled == pooled
    assert found.mean == pytest.approx(np.mean(overall))
    assert found.spread == pytest.approx(np.std(overall, ddof=1))
    assert 0.4 < found.mean < 1
    everything = fit(noisy, TrainParams(test_share=0))
    np.testing.assert_array_equal(head.weights["W"], everything.weights["W"])
    assert head.temperature == found.calibration.temperature
    told = json.loads(json.dumps(dict(head.training)))
    assert told["accuracy_from"]["scheme"] == "random"
    assert [part["labels"] for part in told["validation"]["parts"]] == [9, 9, 9, 9]
    assert "± " in found.sentence()
    # the cells of the matrix lead to the labels behind them
    for i, reference in enumerate(pooled.class_ids):
        for j, predicted in enumerate(pooled.class_ids):
            keys = found.behind(noisy, reference, predicted)
            assert len(keys) == pooled.matrix[i][j]
            rows = [noisy.keys.index(key) for key in keys]
            assert (by_hand[rows] == predicted).all()


def test_a_class_that_a_fold_does_not_learn_is_never_said():
    samples = gaussians(6, 1.0)
    trainer = Trainer.of(samples, TrainParams(), None)
    logits = trainer.logits(trainer.fit(np.flatnonzero(trainer.y != 1), silent), np.arange(18))
    assert not (logits.argmax(axis=1) == 1).any()
    assert (logits.argmax(axis=1) == trainer.y)[trainer.y != 1].mean() > 0.9


# --- the MLP's options


def test_an_average_of_networks_is_one_network():
    codes, scales = random_embeddings(300)
    mean, std = standardisation(codes, scales)
    for hidden in ((16,), (16, 8)):
        networks = [random_weights(128, hidden, 3, seed) for seed in range(3)]
        alone = [mlp.logits(mlp.layers_of(each), mean, std, codes, scales) for each in networks]
        one = mlp.logits(mlp.layers_of(mlp.averaged(networks)), mean, std, codes, scales)
        np.testing.assert_allclose(one, np.mean(alone, axis=0), atol=1e-4)


def test_ensemble_and_noise_reach_the_training(worker, noisy):
    plain = TrainParams(kind="mlp", hidden=(8,), epochs=6, refit=False)
    heard = []
    one = fit(noisy, plain, worker=worker)
    noised = fit(noisy, replace(plain, noise=0.5), worker=worker)
    assert one.id != noised.id
    assert noised.training["params"]["noise"] == 0.5
    three = fit(noisy, replace(plain, ensemble=3), worker=worker, on_epoch=heard.append)
    assert three.weights["W1"].shape == (128, 24)
    np.testing.assert_array_equal(three.weights["W1"][:, :8], one.weights["W1"])
    assert np.abs(three.weights["W1"][:, 8:16] - one.weights["W1"]).max() > 0.01
    assert len(three.training["ensemble_epochs"]) == 3
    assert len(heard) == len(three.training["loss_curve"]) == 6  # those of the first
    again = fit(noisy, replace(plain, ensemble=3, refit=True), worker=worker)
    assert again.weights["W1"].shape == (128, 24)
    assert again.accuracy == three.accuracy


def test_an_mlp_on_folds_is_refitted_for_the_epochs_in_the_middle(worker, noisy):
    folds = make_folds(noisy, ValidationParams("random", 2))
    params = TrainParams(kind="mlp", hidden=(8,), epochs=8)
    head, found = fit_on_folds(noisy, params, folds, worker=worker)
    assert len(found.parts) == 2
    assert head.accuracy.n_labels == 36
    assert 1 <= head.training["epochs"] <= 8


def test_the_worker_applies_the_temperature_too(worker):
    head = random_head((512,), temperature=3.0)
    codes, scales = random_embeddings(20_000)
    there = InWorker(head, worker)
    best, percent = there(codes, scales, silent)
    there.close()
    here, here_percent = InProcess(head)(codes, scales, silent)
    assert (best == here).mean() >= 0.9999
    assert np.abs(percent.astype(int) - here_percent).max() <= 1
    plain = InProcess(replace(head, temperature=1.0))(codes, scales, silent)[1]
    assert plain.mean() > here_percent.mean() + 5


# --- kinds beside each other


def test_the_others_are_scikit_learns_own(worker, noisy):
    folds = make_folds(noisy, ValidationParams("random", 3))
    fold, y = folds.items[0], noisy.class_ids - 1
    mean, std = standardisation(noisy.codes[fold.train], noisy.scales[fold.train])
    x = ((noisy.codes * noisy.scales[:, None] - mean) / std).astype(np.float32)
    oracles = {
        "logistic": LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"),
        "knn": KNeighborsClassifier(5),
        "forest": RandomForestClassifier(100, random_state=0),
    }
    for kind, oracle in oracles.items():
        said = by_scikit_learn(noisy, kind, 0, worker)(fold.train, fold.test, silent)
        expected = oracle.fit(x[fold.train], y[fold.train]).predict_proba(x[fold.test])
        if kind == "forest":  # another release draws other trees
            assert np.abs(np.exp(said) - expected).mean() < 0.1
        else:
            np.testing.assert_allclose(np.exp(said), expected, atol=2e-3)
    with pytest.raises(WorkerFailed, match="no classifier 'tree'"):
        by_scikit_learn(noisy, "tree", 0, worker)(fold.train, fold.test, silent)
    assert not list(worker.scratch().iterdir())


def test_kinds_are_compared_on_the_same_folds(worker, noisy):
    folds = make_folds(noisy, ValidationParams("random", 2))
    params = TrainParams(hidden=(8,), epochs=5)
    rows = compare_heads(noisy, params, folds, worker=worker)
    assert [row.kind for row in rows] == list(NAMES)
    tested = {tuple(row.validation.rows) for row in rows}
    assert len(tested) == 1
    lines = table(rows)
    assert len(lines) == 6
    assert all(" ± " in line for line in lines[1:])
    alone = compare_heads(noisy, params, folds, kinds=("instant", "mlp", "forest"))
    assert alone[0].validation.pooled == rows[0].validation.pooled
    assert [row.validation for row in alone[1:]] == [None, None]
    assert "scikit-learn" in alone[2].missing
    with pytest.raises(ValueError, match="tree"):
        compare_heads(noisy, params, folds, kinds=("tree",))


# --- more labels?


def test_the_curve_rises_and_ends_with_all_labels():
    samples = gaussians(30, 6.0, seed=4)
    folds = make_folds(samples, ValidationParams("random", 3))
    curve = learning_curve(samples, TrainParams(), folds, sizes=(1, 2, 5, 10, 500), repeats=3)
    assert [p.labels_per_class for p in curve.points] == [1, 2, 5, 10, 20]
    assert [p.labels for p in curve.points] == [3, 6, 15, 30, 60]
    assert curve.points[0].mean + 0.1 < curve.points[-1].mean
    assert curve.points[0].spread > 0
    # with all labels it is what the folds say
    _, found = fit_on_folds(samples, TrainParams(), folds)
    assert curve.points[-1].overall == (pytest.approx(found.pooled.overall),) * 3
    assert curve.points[-1].spread == pytest.approx(0)
    assert "more labels" in curve.sentence()
    again = learning_curve(samples, TrainParams(), folds, sizes=(1, 2, 5, 10, 500), repeats=3)
    assert again == curve


# --- the whole way, over a real server


def test_years_and_areas_in_one_head_and_on_the_command_line(tmp_path, capsys):
    provider = SampleArchive()
    with RangeServer(provider) as server:
        given = archive_labels(provider, 6)
        west = replace(given, items=given.items[::2], source="west")
        east = replace(given, items=given.items[1::2], source="east")
        request = request_for(
            server.url, tmp_path, west, area="west",
            more=(LabelSet(east, 2024, "east"), LabelSet(west, 2023, "west")),
            validation=ValidationParams("areas"),
        )  # fmt: skip
        result = train(request)
        head = load(result.head_path)
        assert head.years == (2023, 2024)
        assert [p.name for p in result.validation.parts] == ["west", "east"]
        assert result.samples.pixels == 18 + 18 + 18
        assert head.accuracy.n_labels == 36
        assert head.temperature == result.head.temperature != 1
        alone = train(replace(request, more=(), validation=None))
        fresh = replace(archive_labels(provider, 5, seed=9), source="others")
        test = train(replace(request, more=(), test=LabelSet(fresh, 2023)))
        assert test.folds.scheme == "file"
        assert test.head.years == (2024,)
        assert test.head.training["areas"] == []
        assert test.head.accuracy.n_labels == 30
        assert test.head.training["labels"] == 18
        # what is around labels that are never learnt tells the head nothing
        assert np.array_equal(test.head.weights["W"], alone.head.weights["W"])
        wrong = replace(west, source="wrong", items=tuple(
            replace(label, class_id=1 + label.class_id % len(west.classes)) for label in west.items
        ))  # fmt: skip
        with pytest.raises(NoUsableLabels, match="18 pixels labelled as several classes"):
            train(replace(request, more=(LabelSet(wrong, 2024, "wrong"),)))

        path = str(tmp_path / "labels.gpkg")
        names = {c.id: c.name for c in given.classes}
        places = provider.label_points(per_class=4)
        rows = [(f"POINT ({p.lon!r} {p.lat!r})", {"cover": names[p.class_id]}) for p in places]
        write_layer(tmp_path / "labels.gpkg", rows, {"cover": 4})
        common = ["--dataset", "1.1-cambridge", "--form", "npy", "--year", "2024", "--samples",
                  path, "--class-field", "cover", "--archive", server.url, "--cache",
                  str(tmp_path / "cache")]  # fmt: skip
        out = str(tmp_path / "cli.head")
        asked = ["train", *common, "--head", "instant", "--out", out]
        assert (
            main([*asked, "--validation", "random", "--folds", "2", "--option", "calibrate=no"])
            == 0
        )
        assert "± " in capsys.readouterr().out
        assert load(out).temperature == 1
        strange = provider.label_points(per_class=3, seed=7)
        others = [(f"POINT ({p.lon!r} {p.lat!r})", {"cover": names[p.class_id]}) for p in strange]
        others += [(f"POINT ({strange[0].lon + 0.001!r} {strange[0].lat!r})", {"cover": "moon"})]
        write_layer(tmp_path / "test.gpkg", [*others, rows[0]], {"cover": 4})
        assert main([*asked, "--validation", str(tmp_path / "test.gpkg")]) == 0
        told = capsys.readouterr().out
        assert "1 labels on ground that is learnt are left out" in told
        assert "1 labels of classes that the head has not are left out: moon." in told
        right = round(load(out).accuracy.overall * 18)
        assert f"counted so, the overall accuracy is {right / 19:.1%}." in told
        assert main([*asked, "--validation", "areas"]) == 1
        assert "one area" in capsys.readouterr().err
        assert main([*asked, "--validation", str(tmp_path / "none.gpkg")]) == 2
        assert "there is no file" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*asked, "--option", "layers=3"])
        assert "layers=3" in capsys.readouterr().err
        compare = ["compare-heads", *common, "--kinds", "instant", "--curve", "instant", "--json",
                   "--folds", "2", "--repeats", "2"]  # fmt: skip
        assert main(compare) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["kinds"][0]["kind"] == "instant"
        assert [p["labels_per_class"] for p in told["curves"][0]["points"]] == [1, 2]
