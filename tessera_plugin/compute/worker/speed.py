# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast torch applies a head here: one of the usual size, for a moment on each device."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping

import torch

from .job import Job

CHUNK_PX = 8192


@dataclass(frozen=True)
class Params:
    """The head, and how long each device may take."""

    depth: int
    hidden: int
    classes: int
    seconds: float


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Return pixels per second by device; a device that fails has a reason instead."""
    p = Params(**params)
    told: List[Dict[str, object]] = []
    for device in _devices():
        job.check()
        try:
            told.append({"device": device, "pixels_per_s": _speed(device, p, job), "reason": ""})
        except RuntimeError as error:
            reason = f"{error}".splitlines()[0]
            told.append({"device": device, "pixels_per_s": 0.0, "reason": reason})
    return {"speeds": told}


def _devices() -> List[str]:
    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "cpu"]


def _speed(device: str, p: Params, job: Job) -> float:
    """Return pixels per second, from codes in memory to classes in memory."""
    first = torch.randn(p.depth, p.hidden, device=device)
    second = torch.randn(p.hidden, p.classes, device=device)
    codes = torch.randint(-127, 128, (CHUNK_PX, p.depth), dtype=torch.int8)
    done, began = 0, 0.0
    with torch.inference_mode():
        _classes(codes, first, second)  # the first time loads kernels
        began = time.perf_counter()
        while time.perf_counter() - began < p.seconds:
            job.check()
            _classes(codes, first, second)
            done += CHUNK_PX
    return done / (time.perf_counter() - began)


def _classes(codes: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the classes (n,) of codes (n, D) that start and end on the processor."""
    x = codes.to(first.device).float()
    return ((x @ first).relu_() @ second).softmax(dim=1).argmax(dim=1).cpu()
