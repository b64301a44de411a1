# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels per second from codes to classes: our numpy (the baseline) against the worker and scikit-learn.

    ./dev bench predict

All start from the same codes and scales, and the worker's time has the handing over in it. The
network's weights are scikit-learn's own, trained on made-up classes, so that both give the same
answers and the margins are those of a trained network. `x numpy` is the median of the ratios within
each round, in which all take turns: what else the machine does then weighs on both alike. `largest`
is the largest difference of any probability from numpy's; at most 0.001 is what is promised, and the
same class on 99.99 % of the pixels.
"""

import json
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine.heads import Head
from tessera_plugin.engine.predict import InProcess, InWorker
from tessera_plugin.progress import silent
from tessera_plugin.values import LandClass

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get(
    "TESSERA_WORKER_PYTHON", str(ROOT / "build" / "private" / "environment" / "bin" / "python")
)
CLASSES = tuple(LandClass(i, f"class {i}", "#000000") for i in range(1, 7))
PIXELS, SLOW_PIXELS, CHUNK, ROUNDS = 262_144, 16_384, 16_384, 9
REST_S = 0.2
"""Until threads that wait for work no longer turn in circles: else one way slows the next down."""
NUMPY = "numpy (ours)"
LABELS = 3_000
"""Rows that are learnt: a few hundred pixels of each class, as a handful of polygons give."""


def ground(count, seed):
    """Codes, scales and classes of made-up land: classes overlap, as they do."""
    shape, random = np.random.default_rng(7), np.random.default_rng(seed)
    centres = shape.normal(0, 14, (len(CLASSES), 128))
    y = random.integers(0, len(CLASSES), count)
    x = centres[y] + random.normal(0, 45, (count, 128))
    scales = random.uniform(0.04, 0.06, count).astype(np.float32)
    return np.clip(np.rint(x), -127, 127).astype(np.int8), scales, y


def floats(codes, scales):
    return codes.astype(np.float32) * scales[:, None]


def head_of(model):
    weights = {}
    for number, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_), 1):
        weights[f"W{number}"], weights[f"b{number}"] = (
            np.asarray(each, np.float32) for each in (weight, bias)
        )
    zeros, ones = np.zeros(128, np.float32), np.ones(128, np.float32)
    return Head("bench", "mlp", CLASSES, "1.1-cambridge", 128, (2024,), zeros, ones, weights)


def chunked(classify):
    """From codes to classes with a model that wants floats, in the same chunks as ours."""

    def run(codes, scales):
        return np.concatenate([
            classify(floats(codes[start : start + CHUNK], scales[start : start + CHUNK]))
            for start in range(0, len(codes), CHUNK)
        ])  # fmt: skip

    return run


def timed(runs, codes, scales):
    """Return the seconds of each, of rounds in which they take turns; shape (ROUNDS,)."""
    seconds = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            time.sleep(REST_S)
            began = time.perf_counter()
            run(codes, scales)
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(each) for name, each in seconds.items()}


def peak():
    """Return the float32 products that the machine manages, in operations per second."""
    size, best = 2048, np.inf
    a = np.random.default_rng(0).random((size, size), np.float32)
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def integer(head, codes, scales, expected):
    """Return what the child tells: integer first layers, without handing over."""
    arrays = {"codes": codes, "scales": scales, "probabilities": expected}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in arrays.items():
            np.save(Path(folder) / f"{name}.npy", values)
        np.savez(Path(folder) / "weights.npz", **head.weights)
        child = Path(__file__).with_name("_integer_child.py")
        done = subprocess.run([WORKER, child, folder], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def all_probabilities(probabilities):
    return (probabilities,)


def compare(hidden, client):
    codes, scales, _ = ground(PIXELS, 1)
    few_codes, few_scales, few_y = ground(LABELS, 2)
    x = floats(few_codes, few_scales)
    mlp = MLPClassifier(hidden, max_iter=300, random_state=0).fit(x, few_y)
    head = head_of(mlp)
    here, there = InProcess(head), InWorker(head, client)
    runs = {
        NUMPY: lambda c, s: here(c, s, silent)[0],
        "worker, float32": lambda c, s: there(c, s, silent)[0],
        "scikit-learn MLP": chunked(mlp.predict),
    }
    expected = here(codes, scales, silent, all_probabilities)[0]
    theirs = {
        "worker, float32": there(codes, scales, silent, all_probabilities)[0],
        "scikit-learn MLP": chunked(mlp.predict_proba)(codes, scales),
    }
    best = expected.argmax(axis=1)
    same = {name: (run(codes, scales) == best).mean() for name, run in runs.items()}
    found = timed(runs, codes, scales)
    there.close()
    base = found[NUMPY]
    print(f"\nhidden {hidden}: {PIXELS:,} px")
    print(f"{'':<38}{'Mpx/s':>8}{'x numpy':>9}{'same class':>12}{'largest':>10}")
    for name, seconds in found.items():
        off = np.abs(theirs[name] - expected).max() if name in theirs else 0.0
        line(name, np.median(seconds), np.median(base / seconds), same[name], off)
        print()
    if len(hidden) == 1:
        print("without handing over, in a process of its own:")
        told = integer(head, codes, scales, expected)
        for name, one in told.items():
            label = name if name == "float32" else f"integer first layer, {name}"
            more = f"   ({one['rechecked']:.0%} rechecked)" if one["rechecked"] else ""
            ratio = told["float32"]["seconds"] / one["seconds"]
            more += f"   {ratio:.2f} x float32 there"
            ratio = np.median(base) / one["seconds"]
            line(label, one["seconds"], ratio, one["agreement"], one["difference"])
            print(more)
        slow(x, few_y, codes[:SLOW_PIXELS], scales[:SLOW_PIXELS], runs[NUMPY])
    work = 2 * PIXELS * sum(each.size for name, each in head.weights.items() if name[0] == "W")
    highest = peak()
    shares = {name: work / np.median(found[name]) / highest for name in (NUMPY, "worker, float32")}
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    print(f"share of the machine's float32 peak ({highest / 1e9:.0f} Gop/s): {told}")


def line(name, seconds, ratio, same, off):
    rate = PIXELS / seconds / 1e6
    print(f"{name:<38}{rate:>8.2f}{ratio:>9.2f}{same:>12.4%}{off:>10.1e}", end="")


def slow(x, y, codes, scales, ours):
    models = {
        "random forest (100)": RandomForestClassifier(100, random_state=0, n_jobs=-1),
        "5-NN": KNeighborsClassifier(5, n_jobs=-1),
    }
    runs = {name: chunked(model.fit(x, y).predict) for name, model in models.items()}
    found = timed({NUMPY: ours, **runs}, codes, scales)
    base = np.median(found.pop(NUMPY))
    for name, seconds in found.items():
        rate, ratio = len(codes) / np.median(seconds), base / np.median(seconds)
        print(
            f"{name:<38}{rate / 1e6:>8.3f}{ratio:>9.3f}   (numpy is {1 / ratio:.0f} x, same block of {SLOW_PIXELS:,})"
        )


def main():
    warnings.filterwarnings("ignore")
    client = WorkerClient(WORKER)
    for hidden in ((64,), (256,), (256, 128)):
        compare(hidden, client)
    client.stop()


if __name__ == "__main__":
    main()
