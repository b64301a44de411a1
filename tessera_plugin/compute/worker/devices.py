# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What torch and onnxruntime can compute on here: each device is tried, none is believed."""

from __future__ import annotations

import importlib
import platform
import warnings
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from .job import Job

_PROVIDERS: Mapping[str, str] = {
    "CUDAExecutionProvider": "NVIDIA GPU",
    "DmlExecutionProvider": "GPU (DirectML)",
    "CoreMLExecutionProvider": "Core ML",
    "CPUExecutionProvider": platform.machine(),
}
"""Providers of onnxruntime that count, the best first, and what to call them."""

_RELU = bytes.fromhex(
    "08083a330a0c0a0178120179220452656c751201675a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
"""y = relu(x) for one number, as ONNX (opset 13)."""

Told = Dict[str, object]


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:  # noqa: ARG001
    """Return the devices of each framework that is installed, its best first."""
    told: List[Told] = []
    for name, devices in (("torch", _torch_devices), ("onnxruntime", _onnx_devices)):
        job.stop_if_cancelled()
        job.loading(is_done=False)
        try:
            framework = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                told.append(_device(name, "", "", str(error)))
            continue
        except Exception as error:  # noqa: BLE001 - a library that does not load is an answer
            told.append(_device(name, "", "", f"{type(error).__name__}: {error}"))
            continue
        finally:
            job.loading(is_done=True)
        told += devices(framework)
    return {"devices": told}


def _torch_devices(torch: Any) -> List[Told]:  # noqa: ANN401
    told: List[Told] = []
    count, reason = _cuda(torch)
    for number in range(count):
        facts = torch.cuda.get_device_properties(number)
        memory = int(facts.total_memory)
        told.append(_tried_by_torch(torch, f"cuda:{number}", facts.name, memory))
    if reason:
        told.append(_device("torch", "cuda", "", reason))
    if torch.backends.mps.is_available():
        told.append(_tried_by_torch(torch, "mps", platform.machine(), 0))
    told.append(_tried_by_torch(torch, "cpu", platform.machine(), 0))
    return sorted(told, key=lambda each: each["works"] is False)


def _cuda(torch: Any) -> Tuple[int, str]:  # noqa: ANN401
    """Return how many GPUs there are, and why none for a torch that could use them."""
    if torch.version.cuda is None:
        return 0, ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return int(torch.cuda.device_count()), ""
    words = [str(each.message).strip().splitlines()[0] for each in said]
    return 0, words[-1] if words else f"no GPU that CUDA {torch.version.cuda} can use"


def _tried_by_torch(torch: Any, key: str, name: str, memory_bytes: int) -> Told:  # noqa: ANN401
    """Multiply two matrices and learn from it."""
    try:
        x = torch.ones(8, 8, device=key, requires_grad=True)
        total = (x @ x).sum()
        total.backward()
        right = total.item() == 512 and bool((x.grad == 16).all())
    except Exception as error:  # noqa: BLE001 - whatever a driver does, it is the answer
        return _device("torch", key, name, f"{error}".splitlines()[0], memory_bytes)
    return _device("torch", key, name, "" if right else "it computes something else", memory_bytes)


def _onnx_devices(onnxruntime: Any) -> List[Told]:  # noqa: ANN401
    there = onnxruntime.get_available_providers()
    told = [
        _device("onnxruntime", provider, name, _onnx_problem(onnxruntime, provider))
        for provider, name in _PROVIDERS.items()
        if provider in there
    ]
    return sorted(told, key=lambda each: each["works"] is False)


def _onnx_problem(onnxruntime: Any, provider: str) -> str:  # noqa: ANN401
    """Run a model on a provider; return why that did not work."""
    try:
        session = onnxruntime.InferenceSession(_RELU, providers=[provider])
        if provider not in session.get_providers():  # it takes the CPU instead, and says nothing
            return "its libraries or its driver could not be loaded"
        values = [session.run(None, {"x": np.array([x], np.float32)})[0][0] for x in (-3.0, 5.0)]
    except Exception as error:  # noqa: BLE001 - whatever a driver does, it is the answer
        return f"{error}".splitlines()[0]
    return "" if values == [0.0, 5.0] else "it computes something else"


def _device(framework: str, key: str, name: str, problem: str, memory_bytes: int = 0) -> Told:
    return {
        "framework": framework,
        "id": key,
        "name": name,
        "memory_bytes": memory_bytes,
        "works": not problem,
        "reason": problem,
    }
