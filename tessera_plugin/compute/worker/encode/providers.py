# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What onnxruntime may compute on: which is tried first, how, and what its errors mean."""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, Sequence, Tuple

CPU = "CPUExecutionProvider"

PROVIDERS: Mapping[str, Mapping[str, str]] = {
    # Rounding inputs of products to 10 bits is on by default; the result is to be float32.
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "TensorrtExecutionProvider": {},
    "DmlExecutionProvider": {},
    "CoreMLExecutionProvider": {},
    "OpenVINOExecutionProvider": {},
    CPU: {},
}
"""The best first, and how. TensorRT comes after CUDA, since it builds an engine for each new shape,
which takes minutes."""

_NO_TF32 = ("NVIDIA_TF32_OVERRIDE", "0")
"""For what has no option of its own: TensorRT, and the libraries below both."""

_MOST_THREADS = 16

_OUT_OF_MEMORY = (
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "e_outofmemory",
    "8007000e",
    "alloc_failed",
    "insufficient memory",
    "not enough memory",
)
"""What CUDA, cuBLAS, DirectML, Core ML, and onnxruntime's own pools say, in lower case."""

Refusals = List[Tuple[str, str]]
"""Provider and reason."""


def to_try(wanted: Sequence[str], there: Sequence[str]) -> Tuple[List[str], Refusals]:
    """Return the providers to try, in order, and why others that were asked for are not.

    `wanted` may be empty: then all that are `there`, the best first. The processor is always the
    last resort.
    """
    refused: Refusals = []
    chosen: List[str] = []
    for provider in wanted or PROVIDERS:
        if provider in chosen:
            continue
        if provider not in PROVIDERS:
            refused.append((provider, "encoders are not run on it"))
        elif provider in there:
            chosen.append(provider)
        elif wanted:
            refused.append((provider, "it is not there"))
    return [*chosen, *([CPU] if CPU not in chosen else [])], refused


def options_of(provider: str) -> Dict[str, str]:
    """Return how a provider is to compute, so that float32 is float32."""
    if provider in {"CUDAExecutionProvider", "TensorrtExecutionProvider"}:
        os.environ.setdefault(*_NO_TF32)  # read when the library is loaded
    return dict(PROVIDERS[provider])


def threads_of(wanted: int) -> int:
    """Return how many threads may compute: no more than there are processors for this process."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = min(there or 1, _MOST_THREADS)
    return min(wanted, most) if wanted > 0 else most


def reason_of(error: BaseException) -> str:
    """Return an error in one line."""
    lines = f"{error}".splitlines()
    return lines[0] if lines else repr(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had no room: then fewer pixels may go."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)
