# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import training
from tessera_plugin.engine.accuracy import assess, split
from tessera_plugin.engine.embeddings import open_source
from tessera_plugin.engine.exchange import exchange
from tessera_plugin.engine.heads import fit_instant, load
from tessera_plugin.engine.samples import (
    Label,
    Labels,
    SampleParams,
    collect,
    label_pixels,
    windows_of_pixels,
)
from tessera_plugin.engine.training import (
    TrainParams,
    TrainRequest,
    fit,
    fit_and_ask,
    standardisation,
    train,
)
from tessera_plugin.errors import (
    NetworkFailed,
    NotWritable,
    NoUsableLabels,
    TooFewLabels,
    UnknownDataset,
    UnknownYear,
    WorkerUnavailable,
)
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import Access, LandClass, NetworkSettings, Window
from tests.archive.sample import SampleArchive
from tests.builders import (
    MemorySource,
    labels,
    point_in,
    random_embeddings,
    random_head,
    wkb,
)
from tests.builders_samples import gaussians
from tests.compute.helpers import worker_python
from tests.servers import RangeServer

ROW, COL = -578_000, 50_000


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.fixture(scope="module")
def archive():
    provider = SampleArchive()
    with RangeServer(provider) as server:
        yield provider, server.url


def bands(zone, row, col):
    """The land of the tests: three classes in bands of 50 rows."""
    return (row - ROW) // 50 % 3


def block(rows, cols, row, col):
    corners = [
        (col, row),
        (col + cols, row),
        (col + cols, row + rows),
        (col, row + rows),
        (col, row),
    ]
    return "POLYGON ((" + ",".join(f"{10 * x} {-10 * y}" for x, y in corners) + "))"


def points(per_class, seed=0, classes=(1, 2, 3)):
    """Points well inside the bands of their classes."""
    random = np.random.default_rng(seed)
    rows = []
    for number in classes:
        for _ in range(per_class):
            row = ROW + 50 * (number - 1) + int(random.integers(50)) + 150 * int(random.integers(9))
            rows.append((point_in(row, COL + int(random.integers(1000))), number))
    return labels(rows)


def samples_of(given, noise=1.0, **options):
    return collect(given, MemorySource(bands, noise=noise, **options), SampleParams())


# --- parameters


def test_parameters_are_checked_at_birth_and_unknown_ones_fail():
    bad = {
        "kind": "forest", "test_share": 1.0, "seed": -1, "hidden": (1, 2, 3), "dropout": 1.0,
        "epochs": 0, "learning_rate": 0.0, "weight_decay": -1.0, "patience": 0, "batch_size": 0,
        "validation_share": 0.0,
    }  # fmt: skip
    for name, value in bad.items():
        with pytest.raises(ValueError, match=name):
            TrainParams(**{name: value})
    with pytest.raises(ValueError, match="hidden"):
        TrainParams(hidden=())
    with pytest.raises(TypeError):
        TrainParams(layers=3)


def test_standardisation_is_that_of_the_embeddings():
    codes, scales = random_embeddings(20_000, seed=4)
    codes[:, 5] = 0  # a dimension that never changes
    mean, std = standardisation(codes, scales)
    x = codes.astype(np.float64) * scales[:, None]
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-6)
    expected = x.std(axis=0)
    expected[5] = 1
    np.testing.assert_allclose(std, expected, rtol=1e-6)
    constant = standardisation(codes[:1].repeat(9, 0), scales[:1].repeat(9))
    np.testing.assert_array_equal(constant[1], 1)


# --- instant


def test_the_accuracy_is_of_labels_that_were_not_trained_on():
    samples = samples_of(points(10), noise=6.0)
    params = TrainParams(refit=False, test_share=0.3, seed=5)
    head = fit(samples, params)
    learnt, tested = split(samples.class_ids - 1, samples.groups, 0.3, 5)
    # the same by hand, on the training side alone
    x = samples.codes.astype(np.float32) * samples.scales[:, None]
    mean, std = x[learnt].mean(axis=0), x[learnt].std(axis=0)
    weights = fit_instant((x[learnt] - mean) / std, samples.class_ids[learnt] - 1)
    z = (x[tested] - mean) / std @ weights["W"] + weights["b"]
    expected = assess(
        samples.class_ids[tested], z.argmax(axis=1) + 1, head.classes, samples.groups[tested]
    )
    assert head.accuracy == expected
    assert expected.n == 9
    assert expected.overall < 1
    np.testing.assert_allclose(head.mean, mean, atol=1e-5)
    told = head.training
    assert told["refitted"] is False
    assert told["labels"] == 30
    assert told["pixels"] == 30
    assert told["accuracy_from"] == {
        "test_share": 0.3, "train_labels": 21, "train_pixels": 21, "test_labels": 9,
        "test_pixels": 9, "untested_classes": [],
    }  # fmt: skip


def test_a_refit_sees_all_labels_and_keeps_the_honest_accuracy():
    samples = samples_of(points(10), noise=6.0)
    before, after = (fit(samples, TrainParams(refit=refit)) for refit in (False, True))
    assert after.accuracy == before.accuracy
    assert after.id != before.id
    assert after.training["refitted"] is True
    np.testing.assert_array_equal(after.mean, standardisation(samples.codes, samples.scales)[0])
    everything = fit(samples, TrainParams(test_share=0.0))
    assert everything.id == after.id
    assert everything.accuracy is None
    assert everything.training["accuracy_from"] is None
    assert everything.training["refitted"] is False  # the first training had all labels already


def test_the_pixels_of_a_polygon_never_lie_on_both_sides():
    rows = [(block(8, 8, ROW + 150 * i + 50 * c + 5, COL + 30 * i), c + 1)
            for c in range(3) for i in range(4)]  # fmt: skip
    head = fit(samples_of(labels(rows)), TrainParams(test_share=0.25))
    assert head.accuracy.n_labels == 3
    assert head.accuracy.n == 3 * 64
    assert head.training["accuracy_from"]["train_pixels"] == 9 * 64
    assert head.accuracy.overall > 0.95
    assert head.accuracy.interval[0] < 0.6


def test_a_class_with_one_label_is_trained_and_reported_as_untested():
    given = points(6, classes=(1, 2))
    lonely = labels([(point_in(ROW + 120, COL), 3)])
    given = replace(given, items=given.items + lonely.items)
    head = fit(samples_of(given), TrainParams())
    assert [known.id for known in head.classes] == [1, 2, 3]
    assert head.accuracy.untested == (3,)
    assert head.training["accuracy_from"]["untested_classes"] == [3]


def test_the_labels_behind_a_cell_are_those_the_matrix_counts():
    rng = np.random.default_rng(1)  # classes at random: many are taken for another
    given = labels([(point_in(ROW + i, COL), int(rng.integers(1, 3))) for i in range(40)])
    samples = samples_of(given)
    head, answers = fit_and_ask(samples, TrainParams(test_share=0.5))
    class_of = {item.key: item.class_id for item in given.items}
    seen = []
    for row, reference in enumerate(head.accuracy.class_ids):
        for column, mapped in enumerate(head.accuracy.class_ids):
            keys = answers.behind(samples, reference, mapped)
            assert len(keys) == head.accuracy.matrix[row][column]  # a label is a pixel here
            assert {class_of[key] for key in keys} <= {reference}
            seen += keys
    assert len(set(seen)) == len(seen) == head.accuracy.n_labels
    assert min(min(row) for row in head.accuracy.matrix) > 0
    assert fit_and_ask(samples, TrainParams(test_share=0.0))[1] is None


def test_a_class_without_any_label_is_not_in_the_head():
    head = fit(samples_of(points(6, classes=(1, 3))), TrainParams())
    assert [known.id for known in head.classes] == [1, 3]
    codes, scales = MemorySource(bands).read(Window(31, ROW, COL, 150, 1))
    best = head.class_ids[head.probabilities(codes[:, 0], scales[:, 0]).argmax(axis=1)]
    assert (best[:50] == 1).mean() > 0.9
    assert (best[100:] == 3).mean() > 0.9


def test_too_few_labels_are_refused_with_their_numbers():
    for rows in ([1, 1, 1, 2], [1, 2, 3], [1, 1, 1]):
        given = labels([(point_in(ROW + 50 * (c - 1) + i, COL), c) for i, c in enumerate(rows)])
        with pytest.raises(TooFewLabels) as caught:
            fit(samples_of(given), TrainParams())
        assert dict(caught.value.counts) == {
            name: rows.count(number) for number, name in enumerate(["forest", "water", "crops"], 1)
        }


def test_the_same_request_gives_the_same_head():
    first, again = (fit(samples_of(points(8)), TrainParams(seed=3)) for _ in range(2))
    assert first.id == again.id
    assert first.accuracy == again.accuracy


def test_versions_and_story_are_plain_json():
    head = fit(samples_of(points(8)), TrainParams())
    text = json.loads(json.dumps(dict(head.training)))
    assert text["params"] == {
        "kind": "instant",
        "test_share": 0.3,
        "seed": 0,
        "refit": True,
        "background": True,
    }
    assert 0 < text["shrinkage"] < 1
    assert text["seconds"] >= 0
    assert set(head.versions) == {"tessera", "python", "numpy"}


# --- mlp, with a real worker


def test_without_a_worker_there_is_no_mlp():
    with pytest.raises(WorkerUnavailable):
        fit(samples_of(points(4)), TrainParams(kind="mlp"))


def test_an_mlp_is_trained_with_early_stopping_on_a_part_of_the_training_side(worker):
    samples = gaussians(140, 2.0)
    heard = []
    params = TrainParams(kind="mlp", refit=False, patience=10)
    head = fit(samples, params, worker=worker, on_epoch=heard.append)
    told = head.training
    assert head.kind == "mlp"
    assert set(head.weights) == {"W1", "b1", "W2", "b2"}
    assert head.weights["W1"].shape == (128, 64)
    assert head.accuracy.overall > 0.8
    assert [epoch.epoch for epoch in heard] == list(range(1, len(heard) + 1))
    assert [list(epoch) for epoch in heard] == told["loss_curve"]
    # of 140 labels a class 42 are kept for the test, and of the other 98 twenty to decide when to
    # stop
    assert told["accuracy_from"]["test_labels"] == 126
    assert told["validation_labels"] == 60
    assert told["epochs_run"] == len(heard) >= told["epochs"] > 1
    best = min(epoch.validation_loss for epoch in heard)
    assert heard[told["epochs"] - 1].validation_loss <= best + 1e-3
    assert "torch" in head.versions
    assert told["params"]["hidden"] == [64]
    assert not list(worker.scratch().iterdir())


def test_an_mlp_is_refitted_for_as_many_epochs_as_were_best(worker):
    samples = gaussians(140, 2.0)
    params = TrainParams(kind="mlp", hidden=(16, 8), epochs=25)
    heard = []
    head = fit(samples, params, worker=worker, on_epoch=heard.append)
    before = fit(samples, replace(params, refit=False), worker=worker)
    assert head.accuracy == before.accuracy
    assert head.id != before.id
    assert head.training["refitted"] is True
    assert head.training["loss_curve"] == before.training["loss_curve"]
    assert len(heard) == len(head.training["loss_curve"])  # the refit is not heard
    np.testing.assert_array_equal(head.mean, standardisation(samples.codes, samples.scales)[0])
    assert set(head.weights) == {"W1", "b1", "W2", "b2", "W3", "b3"}


def test_with_a_few_labels_a_class_nothing_is_held_back(worker):
    """Of 20 a class 14 are trained with: nine of all classes would be held back, to decide by chance."""
    samples = gaussians(20, 0.5)
    head = fit(samples, TrainParams(kind="mlp", refit=False), worker=worker)
    assert head.training["validation_labels"] == 0
    assert head.training["epochs"] == training.UNGUIDED_EPOCHS
    assert all(math.isnan(epoch[2]) for epoch in head.training["loss_curve"])


@pytest.mark.parametrize("hidden", [(64,), (32, 16)])
def test_the_worker_and_numpy_agree(worker, hidden):
    head = random_head(hidden)
    codes, scales = random_embeddings(60_000, seed=7)
    scales[::97] = np.nan
    with exchange(
        worker, {"codes": codes, "scales": scales, "mean": head.mean, "std": head.std}
    ) as asked:
        weights = str(worker.scratch() / "weights.npz")
        np.savez(weights, **head.weights)
        asked["out"] = str(worker.scratch() / "out.npy")
        worker.call("predict", {**asked, "weights": weights})
        theirs = np.load(asked["out"])
    ours = head.probabilities(codes, scales)
    np.testing.assert_array_equal(np.isnan(theirs), np.isnan(ours))
    valid = np.isfinite(scales)
    same = theirs[valid].argmax(axis=1) == ours[valid].argmax(axis=1)
    assert same.mean() >= 0.9999
    assert np.abs(theirs[valid] - ours[valid]).max() < 1e-3


def test_cancel_leaves_the_worker_usable_and_nothing_behind(worker):
    samples = samples_of(points(8))
    calls = []

    def report(fraction, message=""):
        calls.append(message)
        if message.startswith("Epoch"):
            raise Cancelled

    before = set(worker.scratch().iterdir())
    with pytest.raises(Cancelled):
        fit(samples, TrainParams(kind="mlp", epochs=5000, patience=5000), report, worker)
    assert set(worker.scratch().iterdir()) == before
    head = fit(samples, TrainParams(kind="mlp", epochs=3), worker=worker)
    assert head.training["epochs_run"] == 3


# --- the whole way, over a real server


def archive_labels(provider, per_class=8, seed=0):
    classes = tuple(LandClass(c.id, c.name, c.color) for c in provider.classes)
    items = tuple(
        Label(wkb(f"POINT ({p.lon!r} {p.lat!r})"), p.class_id, f"point {number}")
        for number, p in enumerate(provider.label_points(per_class=per_class, seed=seed))
    )
    return Labels("EPSG:4326", classes, items, "the archive's points")


def request_for(url, tmp_path, given, **changes):
    network = NetworkSettings(connect_timeout_s=2, read_timeout_s=10, attempts=2, backoff_s=0.01)
    facts = {
        "labels": given,
        "dataset": "1.1-cambridge",
        "year": 2024,
        "access": Access(str(tmp_path / "cache"), url, network=network),
        "out": str(tmp_path / "head.tessera"),
    }
    return TrainRequest(**{**facts, **changes})


@pytest.mark.parametrize("kind", ["instant", "mlp"])
def test_from_labels_to_a_saved_head(archive, tmp_path, worker, kind):
    provider, url = archive
    given = archive_labels(provider)
    counts = Counter(label.class_id for label in given.items)
    told = []
    request = request_for(url, tmp_path, given, params=TrainParams(kind=kind))
    result = train(request, lambda fraction, message="": told.append(fraction), worker)
    assert told == sorted(told)
    assert told[0] >= 0
    assert told[-1] <= 1
    assert result.samples.pixels == len(given.items)
    assert not result.fetched.failed
    assert {c.id: c.labels for c in result.samples.classes} == counts
    head = load(result.head_path)
    assert head.id == result.head.id
    assert head.accuracy == result.head.accuracy
    assert (head.dataset, head.depth, head.years) == ("1.1-cambridge", 128, (2024,))
    assert head.training["accuracy_from"]["test_labels"] == head.accuracy.n_labels
    assert head.accuracy.overall > 0.5
    # offline, from the same cache, the same head comes out
    offline = replace(request, access=replace(request.access, offline=True))
    again = train(offline, worker=worker)
    assert again.head.id == head.id
    assert again.fetched.bytes_fetched == 0
    # how good it really is, at points it has never seen
    others = archive_labels(provider, per_class=25, seed=9)
    source = open_source(request.dataset, request.year, request.access)
    pixels = label_pixels(others, SampleParams())
    source.fetch(windows_of_pixels(pixels), silent)
    fresh = collect(others, source, SampleParams(), pixels)
    best = head.class_ids[head.probabilities(fresh.codes, fresh.scales).argmax(axis=1)]
    truth = assess(fresh.class_ids, best, head.classes)
    assert truth.n > 100
    assert truth.overall > 0.7
    low, high = head.accuracy.interval
    assert low <= truth.overall <= high


def test_errors_on_the_way(archive, tmp_path):
    provider, url = archive
    given = archive_labels(provider, 3)
    good = request_for(url, tmp_path, given)
    with pytest.raises(UnknownDataset):
        train(replace(good, dataset="9.9-none"))
    with pytest.raises(UnknownYear):
        train(replace(good, year=1999))
    with pytest.raises(NotWritable, match="folder"):
        train(replace(good, out=str(tmp_path / "absent" / "head")))
    with pytest.raises(TooFewLabels):
        train(replace(good, labels=replace(given, items=given.items[:4])))
    with pytest.raises(WorkerUnavailable):
        train(replace(good, params=TrainParams(kind="mlp")))
    far = replace(given, items=tuple(replace(label, wkb=wkb(f"POINT ({50 + i} 20)"))
                                     for i, label in enumerate(given.items)))  # fmt: skip
    with pytest.raises(NoUsableLabels, match="without a valid embedding"):
        train(replace(good, labels=far))
    dead = replace(good.access, archive="http://127.0.0.1:9", cache_dir=str(tmp_path / "other"))
    with pytest.raises(NetworkFailed):
        train(replace(good, access=dead))
    assert not (tmp_path / "head.tessera").exists()
