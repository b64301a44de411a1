# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine.heads import Head
from tessera_plugin.engine.predict import InProcess, chosen, predictor
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import LandClass
from tests.compute.helpers import worker_python

CLASSES = tuple(LandClass(number, f"class {number}", "#102030") for number in (5, 2, 9, 1, 7, 3))


def mlp_head(hidden=(256, 128)):
    random = np.random.default_rng(0)
    widths = (128, *hidden, len(CLASSES))
    weights = {}
    for number, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:]), 1):
        weights[f"W{number}"] = random.normal(0, 1.5 / inputs**0.5, (inputs, outputs))
        weights[f"b{number}"] = random.normal(0, 0.1, outputs)
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    mean = random.normal(0, 0.5, 128).astype(np.float32)
    std = random.uniform(0.5, 2, 128).astype(np.float32)
    return Head("test", "mlp", CLASSES, "1.1-cambridge", 128, (2024,), mean, std, weights)


def pixels(n=50_000):
    random = np.random.default_rng(1)
    codes = random.integers(-127, 128, (n, 128), np.int8)
    return codes, random.uniform(0.01, 0.05, n).astype(np.float32)


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


def test_chosen_is_the_most_probable_in_rounded_percent():
    probabilities = np.array([[0.2, 0.494, 0.306], [0.996, 0.004, 0.0], [0.1, 0.345, 0.555]], "f4")
    best, percent = chosen(probabilities)
    assert best.tolist() == [1, 0, 2]
    assert percent.tolist() == [49, 100, 56]


def test_in_chunks_as_in_one_go():
    head, (codes, scales) = mlp_head(), pixels()
    best, percent = InProcess(head)(codes, scales, silent)
    all_best, all_percent = chosen(head.probabilities(codes, scales))
    assert np.array_equal(best, all_best)
    assert np.abs(percent.astype(int) - all_percent).max() <= 1


@pytest.mark.parametrize("hidden", [(512,), (256, 128)], ids=["one layer", "two layers"])
def test_the_worker_gives_the_same_answer(worker, hidden):
    head, (codes, scales) = mlp_head(hidden), pixels()
    here, here_percent = InProcess(head)(codes, scales, silent)
    with predictor(head, worker) as predict:
        there, there_percent = predict(codes, scales, silent)
    assert (here == there).mean() >= 0.9999
    assert np.abs(here_percent.astype(int) - there_percent).max() <= 1
    assert len(np.unique(here)) == len(CLASSES)


def test_the_worker_keeps_no_files(worker):
    codes, scales = pixels(1000)
    before = set(worker.scratch().iterdir())
    with predictor(mlp_head(), worker) as predict:
        for _ in range(3):
            predict(codes, scales, silent)
        (folder,) = set(worker.scratch().iterdir()) - before
        assert sorted(p.name for p in folder.iterdir()) == ["mean.npy", "std.npy", "weights.npz"]
    assert set(worker.scratch().iterdir()) == before


def test_cancel_in_the_worker(worker):
    def cancel(fraction, message=""):
        raise Cancelled

    codes, scales = pixels()
    with predictor(mlp_head(), worker) as predict, pytest.raises(Cancelled):
        predict(codes, scales, cancel)


def test_numpy_answers_where_the_worker_can_not_be_started(tmp_path):
    head, (codes, scales) = mlp_head(), pixels(1000)
    client = WorkerClient(str(tmp_path / "no python"))
    with predictor(head, client) as predict:
        best, _ = predict(codes, scales, silent)
    client.stop()
    assert np.array_equal(best, InProcess(head)(codes, scales, silent)[0])


def test_small_heads_are_faster_here(worker):
    with predictor(mlp_head((64,)), worker) as predict:
        assert isinstance(predict, InProcess)


def test_instant_heads_need_no_worker(worker):
    random = np.random.default_rng(0)
    head = Head("test", "instant", CLASSES, "1.1-cambridge", 128, (2024,),
                np.zeros(128, "f4"), np.ones(128, "f4"),
                {"W": random.normal(size=(128, 6)).astype("f4"), "b": np.zeros(6, "f4")})  # fmt: skip
    with predictor(head, worker) as predict:
        assert isinstance(predict, InProcess)
