# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From which size of a head on the worker predicts faster than numpy here (the baseline)."""

import os
import time
from pathlib import Path

import numpy as np

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
PIXELS, STRIP, ROUNDS = 524_288, 131_072, 3


def head(hidden):
    random = np.random.default_rng(1)
    widths, weights = [128, *hidden, len(CLASSES)], {}
    for number, shape in enumerate(zip(widths, widths[1:]), 1):
        weights[f"W{number}"] = (random.normal(size=shape) / shape[0] ** 0.5).astype(np.float32)
        weights[f"b{number}"] = np.zeros(shape[1], np.float32)
    zeros, ones = np.zeros(128, np.float32), np.ones(128, np.float32)
    return Head("bench", "mlp", CLASSES, "1.1-cambridge", 128, (2024,), zeros, ones, weights)


def seconds(predict, codes, scales):
    began = time.perf_counter()
    for start in range(0, PIXELS, STRIP):
        predict(codes[start : start + STRIP], scales[start : start + STRIP], silent)
    return time.perf_counter() - began


def main():
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (PIXELS, 128), np.int8)
    scales = random.uniform(0.01, 0.1, PIXELS).astype(np.float32)
    client = WorkerClient(WORKER)
    print(f"{'hidden':<12}{'weights':>9}{'numpy Mpx/s':>13}{'worker Mpx/s':>14}{'x numpy':>9}")
    for hidden in ((64,), (128,), (256,), (256, 128)):
        one = head(hidden)
        here, there = InProcess(one), InWorker(one, client)
        seconds(there, codes, scales)
        pairs = [
            (seconds(here, codes, scales), seconds(there, codes, scales)) for _ in range(ROUNDS)
        ]
        a, b = np.median(pairs, axis=0)
        size = sum(each.size for each in one.weights.values())
        rates = f"{PIXELS / a / 1e6:>13.2f}{PIXELS / b / 1e6:>14.2f}{a / b:>9.2f}"
        print(f"{'-'.join(map(str, hidden)):<12}{size:>9}{rates}")
        there.close()
    client.stop()


if __name__ == "__main__":
    main()
