# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Training and prediction in a real worker."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.errors import WorkerDied, WorkerFailed
from tessera_plugin.progress import Cancelled
from tests.clock import within
from tests.compute.helpers import (
    NAUGHTY_MAIN,
    Blobs,
    Stopper,
    blobs,
    forward,
    worker_python,
    write_samples,
)


@pytest.fixture(scope="module")
def client():
    client = WorkerClient(worker_python(), main=NAUGHTY_MAIN)
    yield client
    client.stop()


def accuracy(folder: Path, data: Blobs) -> float:
    """Return the share of samples whose class is right, by the plain forward pass."""
    paths = [folder / name for name in ("weights.npz", "mean.npy", "std.npy")]
    return float((forward(*paths, data.codes, data.scales).argmax(axis=1) == data.labels).mean())


def load(path: object) -> dict:
    with np.load(str(path)) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("n", [30, 48, 600])
def test_separable_classes_are_learnt_and_training_stops_early(client, tmp_path, n):
    params = write_samples(tmp_path, blobs(n))
    seen = []
    result = client.call("train_mlp", params, on_event=seen.append)
    assert result["weights"] == params["out"]
    assert accuracy(tmp_path, blobs(2000, seed=5)) > 0.98
    assert result["epochs_run"] == len(seen)
    assert len(seen) < 100 or n < 600
    assert [facts["epoch"] for facts in seen] == list(range(1, len(seen) + 1))
    losses = [facts["validation_loss"] for facts in seen]
    assert result["best_loss"] == losses[result["best_epoch"] - 1]
    assert result["best_loss"] <= min(losses) + 1e-3
    assert losses[-1] < 0.5 * losses[0]
    assert seen[-1]["train_loss"] < 0.5 * seen[0]["train_loss"]


def test_what_is_saved_is_the_best_epoch_and_not_the_last(client, tmp_path):
    """With noise for labels the held-out loss soon rises; the saved weights must have its lowest."""
    data = blobs(120, noise=3.0)
    data = data._replace(labels=np.random.default_rng(3).integers(0, 6, 120))
    params = write_samples(tmp_path, data)
    seen = []
    params.update(patience=20, dropout=0.0, class_weights=False)
    result = client.call("train_mlp", params, on_event=seen.append)
    assert result["epochs_run"] == result["best_epoch"] + 20
    assert seen[-1]["validation_loss"] > result["best_loss"] + 0.05
    held_out = np.load(params["validation_index"])
    paths = [tmp_path / name for name in ("weights.npz", "mean.npy", "std.npy")]
    probabilities = forward(*paths, data.codes[held_out], data.scales[held_out])
    chosen = probabilities[np.arange(len(held_out)), data.labels[held_out]]
    assert -np.log(chosen).mean() == pytest.approx(result["best_loss"], rel=1e-4)


def test_weights_have_the_names_and_shapes_of_a_head(client, tmp_path):
    params = {**write_samples(tmp_path, blobs(48, classes=3)), "epochs": 2}
    client.call("train_mlp", {**params, "hidden": [16]})
    assert {name: array.shape for name, array in load(params["out"]).items()} == {
        "W1": (128, 16),
        "b1": (16,),
        "W2": (16, 3),
        "b2": (3,),
    }
    client.call("train_mlp", {**params, "hidden": [32, 16]})
    weights = load(params["out"])
    assert {name: array.shape for name, array in weights.items()} == {
        "W1": (128, 32),
        "b1": (32,),
        "W2": (32, 16),
        "b2": (16,),
        "W3": (16, 3),
        "b3": (3,),
    }
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    assert not list(tmp_path.glob("*.part"))


def test_the_same_seed_gives_the_same_weights_in_another_process_too(client, tmp_path):
    params = {**write_samples(tmp_path, blobs(300, noise=2.0)), "epochs": 6}
    outs = {name: str(tmp_path / f"{name}.npz") for name in ("first", "again", "fresh", "other")}
    fresh = WorkerClient(worker_python())
    results = [
        client.call("train_mlp", {**params, "out": outs["first"], "seed": 3}),
        client.call("train_mlp", {**params, "out": outs["again"], "seed": 3}),
        fresh.call("train_mlp", {**params, "out": outs["fresh"], "seed": 3}),
        client.call("train_mlp", {**params, "out": outs["other"], "seed": 4}),
    ]
    fresh.stop()
    first, again, new, other = (load(out) for out in outs.values())
    for name in first:
        assert first[name].tobytes() == again[name].tobytes() == new[name].tobytes()
    assert first["W1"].tobytes() != other["W1"].tobytes()
    assert results[0]["best_loss"] == results[1]["best_loss"] == results[2]["best_loss"]


def test_a_refit_runs_its_epochs_on_all_samples_and_holds_nothing_out(client, tmp_path):
    data = blobs(60)
    params = write_samples(tmp_path, data)
    np.save(params["train_index"], np.arange(60))
    seen = []
    del params["validation_index"]
    params.update(validation_index="/not/read.npy", fixed_epochs=17, patience=1)
    result = client.call("train_mlp", params, on_event=seen.append)
    assert result["epochs_run"] == result["best_epoch"] == len(seen) == 17
    assert math.isnan(result["best_loss"])
    assert accuracy(tmp_path, blobs(1000, seed=5)) > 0.98


def test_with_nothing_to_hold_out_all_epochs_are_run(client, tmp_path):
    params = {**write_samples(tmp_path, blobs(12), held_out=0.0), "epochs": 40}
    np.save(params["validation_index"], np.array([]))  # float64, as an empty list becomes
    result = client.call("train_mlp", params)
    assert result["epochs_run"] == 40
    assert accuracy(tmp_path, blobs(1000, seed=5)) > 0.9


def test_class_weights_let_a_rare_class_be_found(client, tmp_path):
    """Two classes that overlap, 40 to 1: unweighted, nearly all is called the common one."""

    def overlapping(n, share, seed):
        rng = np.random.default_rng(seed)
        labels = (rng.random(n) < share).astype(np.int64)
        values = rng.normal(size=(n, 128))
        values[:, 0] += 1.5 * labels
        scales = (np.abs(values).max(axis=1) / 127).astype(np.float32)
        return Blobs(np.rint(values / scales[:, None]).astype(np.int8), scales, labels)

    params = write_samples(tmp_path, overlapping(3000, 0.025, 0))
    paths = [tmp_path / name for name in ("weights.npz", "mean.npy", "std.npy")]
    rare = overlapping(2000, 1.0, 1)
    recall = {}
    for weighted in (True, False):
        client.call("train_mlp", {**params, "class_weights": weighted, "epochs": 30})
        recall[weighted] = forward(*paths, rare.codes, rare.scales).argmax(axis=1).mean()
    assert recall[True] > recall[False] + 0.2


def ground_of(folder, data, answers, share):
    """Return the parameters that let answers for pixels without labels be learnt too."""
    arrays = {"ground_codes": data.codes, "ground_scales": data.scales, "ground_answers": answers}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {**{name: str(folder / f"{name}.npy") for name in arrays}, "ground_share": share}


def test_answers_for_pixels_without_labels_are_learnt_as_far_as_they_count(client, tmp_path):
    """Two classes, and answers that are the opposite of what the labels say."""
    data, fresh = blobs(60, classes=2), blobs(400, classes=2, seed=5)
    params = {**write_samples(tmp_path, data), "epochs": 30}
    around = blobs(500, classes=2, seed=8)
    opposite = np.eye(2, dtype=np.float32)[1 - around.labels] * 0.8 + 0.1
    right = {}
    for share in (0.0, 0.1, 0.9):
        client.call("train_mlp", {**params, **ground_of(tmp_path, around, opposite, share)})
        right[share] = accuracy(tmp_path, fresh)
    assert right[0.0] > 0.98
    assert right[0.1] > 0.95
    assert right[0.9] < 0.05


def test_pixels_that_do_not_count_change_nothing_and_those_that_do_the_same_by_seed(
    client, tmp_path
):
    data, around = blobs(48), blobs(300, seed=8)
    params = {**write_samples(tmp_path, data), "epochs": 4}
    answers = np.full((300, 6), 1 / 6, np.float32)
    seen = {}
    for name, share in (("without", None), ("none", 0.0), ("half", 0.5), ("again", 0.5)):
        told = {} if share is None else ground_of(tmp_path, around, answers, share)
        client.call("train_mlp", {**params, **told})
        seen[name] = load(params["out"])["W1"].tobytes()
    assert seen["without"] == seen["none"] != seen["half"] == seen["again"]


def test_when_to_stop_is_decided_by_pixels_without_labels_as_far_as_they_count(client, tmp_path):
    """The loss that is told is that of both together."""
    data, around = blobs(60, noise=2.0), blobs(300, seed=8)
    params = {**write_samples(tmp_path, data), "epochs": 1, "class_weights": False}
    answers = np.random.default_rng(0).dirichlet(np.ones(6), 300).astype(np.float32)
    result = client.call("train_mlp", {**params, **ground_of(tmp_path, around, answers, 0.25)})
    paths = [tmp_path / name for name in ("weights.npz", "mean.npy", "std.npy")]
    held_out = np.load(params["validation_index"])
    said = forward(*paths, data.codes[held_out], data.scales[held_out])
    of_labels = -np.log(said[np.arange(len(held_out)), data.labels[held_out]]).mean()
    of_pixels = -(answers * np.log(forward(*paths, around.codes, around.scales))).sum(axis=1).mean()
    assert result["best_loss"] == pytest.approx(0.75 * of_labels + 0.25 * of_pixels, rel=1e-4)


def test_answers_that_do_not_fit_are_refused(client, tmp_path):
    params = write_samples(tmp_path, blobs(48))
    answers = np.full((20, 6), 1 / 6, np.float32)
    for wrong in (answers[:19], answers[:, :5], np.full_like(answers, np.nan)):
        with pytest.raises(WorkerFailed, match="ground_answers must be 20 rows of 6"):
            client.call("train_mlp", {**params, **ground_of(tmp_path, blobs(20), wrong, 0.5)})
    with pytest.raises(WorkerFailed, match="ground_share"):
        client.call("train_mlp", {**params, **ground_of(tmp_path, blobs(20), answers, 1.0)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": []}, "hidden"),
        ({"hidden": [1, 2, 3]}, "hidden"),
        ({"classes": 5}, "class indices must be 0 to 4"),
        ({"fixed_epochs": 0}, "epochs"),
        ({"learning_rate": 1e30}, "diverged"),
        ({"learning_rate": 1e30, "fixed_epochs": 2}, "diverged"),
        ({"optimiser": "sgd"}, "optimiser"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(client, tmp_path, change, message):
    params = {**write_samples(tmp_path, blobs(48)), **change}
    with pytest.raises(WorkerFailed, match=message):
        client.call("train_mlp", params)
    assert not Path(params["out"]).exists()


def test_samples_without_a_valid_embedding_are_refused(client, tmp_path):
    data = blobs(48)
    data.scales[5] = np.nan
    with pytest.raises(WorkerFailed, match="no valid embedding"):
        client.call(
            "train_mlp",
            write_samples(tmp_path, data)
            | {"mean": _npy(tmp_path, 0.0), "std": _npy(tmp_path, 1.0)},
        )


def _npy(folder: Path, value: float) -> str:
    path = folder / f"all_{value}.npy"
    np.save(path, np.full(128, value, np.float32))
    return str(path)


def test_a_file_with_pickled_objects_is_refused(client, tmp_path):
    params = write_samples(tmp_path, blobs(48))
    np.save(params["labels"], np.array([{"a": 1}] * 48, dtype=object), allow_pickle=True)
    with pytest.raises(WorkerFailed, match="ValueError"):
        client.call("train_mlp", params)


def test_training_is_cancelled_within_a_second(client, tmp_path):
    params = write_samples(tmp_path, blobs(20_000, noise=8.0))
    params.update(epochs=100_000, patience=100_000, batch_size=32)
    client.start()
    pid, stopper, running = client.pid, Stopper(), threading.Event()

    def on_event(facts):
        if not running.is_set():
            running.set()
            stopper.press_in(0.3)

    with pytest.raises(Cancelled):
        client.call("train_mlp", params, stopper, on_event)
    assert time.monotonic() - stopper.pressed < within(1)
    assert client.pid == pid
    assert not Path(params["out"]).exists()


def test_a_worker_killed_in_training_is_told_and_the_next_training_works(client, tmp_path):
    params = write_samples(tmp_path, blobs(2_000, noise=8.0))
    with pytest.raises(WorkerDied, match="killed by SIGKILL"):
        client.call(
            "train_mlp",
            {**params, "epochs": 100_000, "patience": 100_000},
            on_event=lambda facts: os.kill(client.pid, signal.SIGKILL),
        )
    assert client.call("train_mlp", {**params, "epochs": 2})["epochs_run"] == 2


@pytest.mark.parametrize("hidden", [(64,), (48, 24)])
@pytest.mark.parametrize("n", [1, 8192, 20_001])
def test_predict_is_the_plain_forward_pass(client, tmp_path, hidden, n):
    params = write_samples(tmp_path, blobs(200, noise=3.0))
    client.call("train_mlp", {**params, "hidden": hidden, "epochs": 15})
    data = blobs(n, noise=3.0, seed=9)
    invalid = np.random.default_rng(2).random(n) < 0.1
    data.codes[invalid], data.scales[invalid] = 0, np.nan
    probabilities = predict(client, tmp_path, data, params)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (n, 6)
    expected = forward(
        *(Path(str(params[name])) for name in ("out", "mean", "std")), data.codes, data.scales
    )
    np.testing.assert_array_equal(np.isnan(probabilities).all(axis=1), invalid)
    np.testing.assert_array_equal(np.isnan(probabilities).any(axis=1), invalid)
    np.testing.assert_allclose(probabilities[~invalid], expected[~invalid], atol=2e-5)
    agree = probabilities[~invalid].argmax(axis=1) == expected[~invalid].argmax(axis=1)
    assert n == 1 or agree.mean() >= 0.9999


def predict(client, folder, data, trained, **changed):
    np.save(folder / "block_codes.npy", data.codes)
    np.save(folder / "block_scales.npy", data.scales)
    params = {
        "weights": trained["out"],
        "mean": trained["mean"],
        "std": trained["std"],
        "codes": folder / "block_codes.npy",
        "scales": folder / "block_scales.npy",
        "out": folder / "probabilities.npy",
    }
    return np.load(client.call("predict", {**params, **changed})["out"])


def test_an_infinite_scale_is_not_valid_either(client, tmp_path):
    params = write_samples(tmp_path, blobs(48))
    client.call("train_mlp", {**params, "epochs": 2})
    data = blobs(3)
    data.scales[1] = np.inf
    rows = np.isnan(predict(client, tmp_path, data, params)).all(axis=1)
    assert rows.tolist() == [False, True, False]


def test_pixels_of_another_depth_are_refused(client, tmp_path):
    params = write_samples(tmp_path, blobs(48))
    client.call("train_mlp", {**params, "epochs": 1})
    with pytest.raises(WorkerFailed, match="depth 128"):
        predict(client, tmp_path, blobs(10, depth=64), params)


def test_prediction_is_cancelled_within_a_second(client, tmp_path):
    params = write_samples(tmp_path, blobs(48))
    client.call("train_mlp", {**params, "epochs": 1})
    few = blobs(1000)
    big = Blobs(*(np.concatenate([array] * 1000) for array in few))
    stopper = Stopper()

    class Cancelling:
        def call(self, method, values):
            return client.call(method, values, self.report)

        def report(self, fraction, message=""):
            stopper(fraction, message)
            if fraction > 0:
                stopper.press()

    with pytest.raises(Cancelled):
        predict(Cancelling(), tmp_path, big, params)
    assert time.monotonic() - stopper.pressed < within(1)
    assert stopper.last[0] < 0.9
    assert not list(tmp_path.glob("probabilities*"))
    assert client.call("echo", {})


def test_a_disk_that_is_full_is_an_error_and_not_a_crash(tmp_path):
    client = WorkerClient(worker_python(), main=NAUGHTY_MAIN)
    params = write_samples(tmp_path, blobs(48))
    client.call("train_mlp", {**params, "epochs": 1})
    pid = client.pid
    client.call("small_disk", {"bytes": 100_000})
    with pytest.raises(WorkerFailed) as caught:
        predict(client, tmp_path, blobs(20_000), params)
    assert caught.value.kind == "OSError"
    assert not list(tmp_path.glob("probabilities*"))
    assert client.call("echo", {})
    assert client.pid == pid
    client.stop()
