# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast a head of the usual size is here, and the smallest encoder: in numpy, in the worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, List, Mapping, Tuple

import numpy as np

from ..compute.client import WorkerClient
from ..progress import Report, silent
from .heads import mlp

DEPTH, HIDDEN, CLASSES = 128, 256, 10
"""An MLP as it is trained for ten classes."""

SECONDS = 0.7
"""How long each way is tried."""


@dataclass(frozen=True)
class Speed:
    """How fast one way is."""

    device: str
    """`numpy`, one of torch's (`cpu`, `cuda`, `mps`), or a provider of ONNX Runtime."""
    pixels_per_s: float
    reason: str = ""
    """Why it could not be measured."""


def in_numpy(report: Report = silent) -> Speed:
    """Return how fast numpy is, in this process."""
    random = np.random.default_rng(0)
    sizes = ((DEPTH, HIDDEN), (HIDDEN, CLASSES))
    layers: List[mlp.Layer] = [
        (random.standard_normal(size).astype(np.float32), np.zeros(size[1], np.float32))
        for size in sizes
    ]
    mean, std = np.zeros(DEPTH, np.float32), np.ones(DEPTH, np.float32)
    codes = random.integers(-127, 128, (mlp.CHUNK_PX, DEPTH), dtype=np.int8)
    scales = np.full(len(codes), 0.01, np.float32)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        report(0.0, "")
        mlp.forward(layers, mean, std, codes, scales)
        done += len(codes)
    return Speed("numpy", done / (time.perf_counter() - began))


def in_worker(worker: WorkerClient, report: Report = silent) -> Tuple[Speed, ...]:
    """Return how fast torch is on each of its devices. Raises: as `WorkerClient.call`."""
    asked = {"depth": DEPTH, "hidden": HIDDEN, "classes": CLASSES, "seconds": SECONDS}
    told: Any = worker.call("speed", asked, report)["speeds"]
    found: List[Mapping[str, Any]] = list(told)
    return tuple(Speed(**each) for each in found)


def of_encoder(worker: WorkerClient, report: Report = silent) -> Tuple[Speed, ...]:
    """Return how fast ONNX Runtime runs an encoder of the smallest published size.

    Its weights are random: what it gives is not looked at. Raises: as `WorkerClient.call`.
    """
    told: Any = worker.call("encoder_speed", {"seconds": SECONDS}, report)["speeds"]
    found: List[Mapping[str, Any]] = list(told)
    return tuple(Speed(**each) for each in found)
