# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import contextlib
import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine.heads import Head, mlp
from tessera_plugin.engine.predict import (
    PREDICT_PX,
    TURNS,
    InProcess,
    InWorker,
    Quicker,
    chosen,
    predictor,
)
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import LandClass
from tests.compute.helpers import worker_python

CLASSES = tuple(LandClass(number, f"class {number}", "#102030") for number in (5, 2, 9, 1, 7, 3))


def mlp_head(hidden=(256, 128), depth=128, classes=CLASSES, temperature=1.0):
    random = np.random.default_rng(0)
    weights = network(random, (depth, *hidden, len(classes)))
    mean = random.normal(0, 0.5, depth).astype(np.float32)
    std = random.uniform(0.5, 2, depth).astype(np.float32)
    return Head("test", "mlp", classes, "1.1-cambridge", depth, (2024,), mean, std, weights,
                temperature=temperature)  # fmt: skip


def network(random, widths):
    weights = {}
    for number, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:]), 1):
        weights[f"W{number}"] = random.normal(0, 1.5 / inputs**0.5, (inputs, outputs))
        weights[f"b{number}"] = random.normal(0, 0.1, outputs)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def ensemble(hidden):
    """A head whose network is the mean of three."""
    random = np.random.default_rng(4)
    networks = [network(random, (128, *hidden, len(CLASSES))) for _ in range(3)]
    return replace(mlp_head(hidden), weights=mlp.averaged(networks))


def pixels(n=50_000, depth=128):
    random = np.random.default_rng(1)
    codes = random.integers(-127, 128, (n, depth), np.int8)
    return codes, random.uniform(0.01, 0.05, n).astype(np.float32)


def everything(probabilities):
    return (probabilities,)


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


MANY = tuple(LandClass(number, f"class {number}", "#102030") for number in range(1, 301))


@pytest.mark.parametrize(
    ("head", "n"),
    [
        (mlp_head((64,)), 20_001),
        (mlp_head((256, 128)), 2 * 8192),
        (mlp_head((8,), depth=8), 2049),
        (mlp_head((24, 16), depth=16), 5000),
        (mlp_head((64,), temperature=2.5), 5000),
        (mlp_head((32,), temperature=0.4), 5000),
        (mlp_head((32,), classes=MANY), 3000),
        (ensemble((64,)), 5000),
        (ensemble((32, 16)), 5000),
        (mlp_head((64,)), 1),
    ],
    ids=[
        "one layer", "two layers", "8 dimensions", "16 dimensions", "warm", "cold", "300 classes",
        "ensemble", "ensemble of two layers", "one pixel",
    ],
)  # fmt: skip
def test_the_worker_gives_the_same_answer(worker, head, n):
    codes, scales = pixels(n, head.depth)
    here, here_percent = InProcess(head)(codes, scales, silent)
    with contextlib.closing(InWorker(head, worker)) as predict:
        there, there_percent = predict(codes, scales, silent)
        (probabilities,) = predict(codes, scales, silent, everything)
    assert (there.dtype, there_percent.dtype) == (here.dtype, here_percent.dtype)
    assert there.shape == there_percent.shape == (n,)
    assert (here == there).mean() >= 0.9999
    assert np.abs(here_percent.astype(int) - there_percent).max() <= 1
    expected = head.probabilities(codes, scales)
    assert probabilities.shape == expected.shape
    assert np.abs(probabilities - expected).max() < 1e-3
    assert n == 1 or len(np.unique(here)) > len(head.classes) / 2


def test_what_is_kept_of_the_worker_is_what_is_asked_for(worker):
    head, (codes, scales) = mlp_head((64,)), pixels(20_000)

    def sums(probabilities):
        assert len(probabilities) <= PREDICT_PX
        return probabilities.sum(axis=1), np.sort(probabilities, axis=1)[:, -2]

    with contextlib.closing(InWorker(head, worker)) as predict:
        found = predict(codes, scales, silent, sums)
    for ours, theirs in zip(InProcess(head)(codes, scales, silent, sums), found):
        assert np.abs(ours - theirs).max() < 1e-3


def test_files_are_used_again_by_calls_of_any_length(worker):
    """Also by shorter ones, whose files are longer than what is written into them."""
    head, before = mlp_head((64,)), set(worker.scratch().iterdir())
    with contextlib.closing(InWorker(head, worker)) as predict:
        (folder,) = set(worker.scratch().iterdir()) - before
        for n in (9000, 1000, 2049, 12_000, 1):
            codes, scales = pixels(n)
            codes = np.ascontiguousarray(codes[::-1])
            assert np.array_equal(
                predict(codes, scales, silent)[0], InProcess(head)(codes, scales, silent)[0]
            )
            assert sorted(path.stem for path in folder.iterdir()) == [
                "codes", "mean", "scales", "std", "weights",
            ]  # fmt: skip
    assert set(worker.scratch().iterdir()) == before


def test_pixels_need_not_lie_one_after_the_other(worker):
    head, (codes, scales) = mlp_head((64,)), pixels(6000)
    with contextlib.closing(InWorker(head, worker)) as predict:
        found, _ = predict(codes[::3], scales[::3], silent)
    assert np.array_equal(found, InProcess(head)(codes[::3].copy(), scales[::3], silent)[0])


def test_a_worker_that_died_between_two_calls_is_started_again(worker):
    head, (codes, scales) = mlp_head((64,)), pixels(3000)
    with contextlib.closing(InWorker(head, worker)) as predict:
        before = predict(codes, scales, silent)
        pid = worker.pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        after = predict(codes, scales, silent)
        assert worker.pid not in {pid, None}
    assert np.array_equal(before, after)


def test_a_call_after_a_cancelled_one_is_not_of_its_pixels(worker):
    def cancel(fraction, message=""):
        raise Cancelled

    head, (codes, scales) = mlp_head((64,)), pixels(3000)
    with contextlib.closing(InWorker(head, worker)) as predict:
        with pytest.raises(Cancelled):
            predict(codes, scales, cancel)
        found, _ = predict(codes[::-1].copy(), scales[::-1].copy(), silent)
    assert np.array_equal(found, InProcess(head)(codes, scales, silent)[0][::-1])


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


def test_numpy_answers_where_the_worker_has_no_onnx_runtime():
    """As with an add-on of which only a part was installed: this Python has numpy alone."""
    head, (codes, scales) = mlp_head((64,)), pixels(1000)
    client = WorkerClient(sys.executable)
    assert "onnxruntime" not in client.start()
    with contextlib.closing(InWorker(head, client)) as predict:
        best, _ = predict(codes, scales, silent)
    client.stop()
    assert np.array_equal(best, InProcess(head)(codes, scales, silent)[0])


def test_a_worker_is_not_started_for_few_pixels(worker):
    for hidden, n, way in [
        ((64,), 1_000_000, InProcess),
        ((64,), 16_000_000, Quicker),
        ((256, 128), 100_000, InProcess),
        ((256, 128), 1_000_000, Quicker),
    ]:
        with predictor(mlp_head(hidden), worker, n) as predict:
            assert isinstance(predict, way), (hidden, n)


class Slowed:
    """Predicts as another, after a pause; counts its blocks."""

    def __init__(self, predict, pause_s):
        self._predict, self._pause_s, self.blocks = predict, pause_s, 0

    def __call__(self, codes, scales, report, reduce=chosen):
        self.blocks += 1
        time.sleep(self._pause_s)
        return self._predict(codes, scales, report, reduce)


@pytest.mark.parametrize(("here_s", "there_s"), [(0, 0.1), (0.1, 0)], ids=["here", "there"])
def test_the_quicker_way_is_taken_after_a_few_turns_each(here_s, there_s):
    head, (codes, scales) = mlp_head((8,), depth=8), pixels(PREDICT_PX, 8)
    here, there = (Slowed(InProcess(head), pause_s) for pause_s in (here_s, there_s))
    quicker, expected = Quicker(here, there), InProcess(head)(codes, scales, silent)
    for _ in range(2 * TURNS + 1 + 6):
        assert np.array_equal(quicker(codes, scales, silent), expected)
    won, lost = (there, here) if here_s else (here, there)
    assert lost.blocks <= TURNS + 1
    assert won.blocks >= TURNS + 6
    quicker(codes[:-1], scales[:-1], silent)  # too small to be worth a hand-over
    assert here.blocks + there.blocks == 2 * TURNS + 1 + 7
    assert here.blocks == (TURNS + 1 if won is there else TURNS + 7)


def test_instant_heads_need_no_worker(worker):
    random = np.random.default_rng(0)
    head = Head("test", "instant", CLASSES, "1.1-cambridge", 128, (2024,),
                np.zeros(128, "f4"), np.ones(128, "f4"),
                {"W": random.normal(size=(128, 6)).astype("f4"), "b": np.zeros(6, "f4")})  # fmt: skip
    with predictor(head, worker) as predict:
        assert isinstance(predict, InProcess)
