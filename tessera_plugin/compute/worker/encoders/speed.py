# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast ONNX Runtime runs an encoder here: one of the smallest published size, random weights."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping

import numpy as np
import onnxruntime as ort
import torch

from ..job import Job
from .architectures import S1_BANDS, S2_BANDS, Encoder, plain_student
from .builder import INPUTS
from .graph import to_onnx

NANO = plain_student(latent=36, layers=2, heads=4, feedforward=384, output=128)
"""The size of the smallest student of version 2."""

BATCH_PX = 256
OBSERVATIONS = (40, 64)
"""Of Sentinel-2 and of Sentinel-1: about what a year has."""

PROVIDERS = ("CUDAExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider",
             "CPUExecutionProvider")  # fmt: skip


@dataclass(frozen=True)
class Params:
    """How long each provider may take."""

    seconds: float


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Return pixels per second by provider; one that fails has a reason instead."""
    p = Params(**params)
    torch.manual_seed(0)
    model = to_onnx(Encoder(NANO).eval()).SerializeToString()
    there = ort.get_available_providers()
    told: List[Dict[str, object]] = []
    for provider in (each for each in PROVIDERS if each in there):
        job.check()
        try:
            speed, reason = _speed(model, provider, p, job), ""
        except Exception as error:  # noqa: BLE001 - each provider fails in its own way
            speed, reason = 0.0, f"{error}".splitlines()[0]
        told.append({"device": provider, "pixels_per_s": speed, "reason": reason})
    return {"speeds": told}


def _speed(model: bytes, provider: str, p: Params, job: Job) -> float:
    """Return pixels per second, from observations in memory to embeddings in memory."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"{provider} could not be used")
    random = np.random.default_rng(0)
    sizes = [
        (BATCH_PX, time_, bands + 1) for time_, bands in zip(OBSERVATIONS, (S2_BANDS, S1_BANDS))
    ]
    feeds = {
        name: random.standard_normal(size).astype(np.float32) for name, size in zip(INPUTS, sizes)
    }
    session.run(None, feeds)  # the first time makes room and loads kernels
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < p.seconds:
        job.check()
        session.run(None, feeds)
        done += BATCH_PX
    return done / (time.perf_counter() - began)
