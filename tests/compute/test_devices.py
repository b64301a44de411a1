# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a real worker says it can compute on."""

from __future__ import annotations

import subprocess

import pytest

from tessera_plugin.compute.client import Device, WorkerClient
from tessera_plugin.compute.devices import best
from tessera_plugin.engine.worker import open_worker
from tests.compute.helpers import ROOT, worker_python


def has(package: str) -> bool:
    command = [worker_python(), "-c", f"import {package}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_torch_and_onnxruntime_are_tried_and_their_best_device_is_first():
    client = open_worker(worker_python())
    hello = client.start()
    found = client.devices()
    client.stop()
    torch = [device for device in found if device.framework == "torch"]
    assert torch[-1].id == "cpu" or not torch[-1].works
    assert [device.works for device in torch] == sorted((d.works for d in torch), reverse=True)
    assert "cpu" in [device.id for device in torch if device.works]
    onnx = [device.id for device in found if device.framework == "onnxruntime" and device.works]
    assert bool(onnx) == has("onnxruntime") == ("onnxruntime" in hello)
    assert "CPUExecutionProvider" in onnx or not onnx
    assert all(bool(device.reason) != device.works for device in found)


# Other installations than ours are played by packages of the same names, in a real worker.

BROKEN = "raise ImportError('DLL load failed while importing _C')"
LACKING = "import a_package_that_is_not_there"
FALLS_BACK = """
import numpy
def get_available_providers():
    return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
class InferenceSession:
    def __init__(self, model, providers):
        assert bytes(model[:2]) == b"\\x08\\x08"
    def get_providers(self):
        return ["CPUExecutionProvider"]
    def run(self, outputs, inputs):
        return [numpy.maximum(inputs["x"], 0)]
"""
NO_GPU = """
import warnings
class version: cuda = "12.6"
class cuda:
    @staticmethod
    def is_available():
        warnings.warn("CUDA initialization: The NVIDIA driver is too old (found version 9010).")
        return False
class backends:
    class mps:
        @staticmethod
        def is_available(): return False
def ones(*shape, **options): raise RuntimeError("no kernel image is available")
"""


@pytest.fixture
def worker_with(tmp_path):
    """Return a way to ask a worker for the devices of these packages."""
    clients = []

    def ask(**packages):
        for name, source in packages.items():
            (tmp_path / f"{name}.py").write_text(source)
        main = tmp_path / "main.py"
        main.write_text(
            f"import sys\nsys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
            "from tessera_plugin.compute.worker import serve\nserve.main()\n"
        )
        clients.append(WorkerClient(worker_python(), main=main))
        return clients[0].devices()

    yield ask
    for client in clients:
        client.stop()


def test_a_library_that_does_not_load_is_told_and_the_other_is_tried(worker_with):
    found = worker_with(torch=BROKEN, onnxruntime=FALLS_BACK)
    said = "ImportError: DLL load failed while importing _C"
    assert found[0] == Device("torch", "", "", 0, works=False, reason=said)
    assert best(found, "torch") == ""
    assert best(found, "onnxruntime") == "CPUExecutionProvider"


def test_a_library_that_lacks_another_is_not_taken_for_absent(worker_with):
    (torch, *_) = worker_with(torch=LACKING, onnxruntime=FALLS_BACK)
    assert "a_package_that_is_not_there" in torch.reason


def test_a_provider_that_falls_back_to_the_cpu_does_not_work(worker_with):
    """What onnxruntime does where a library of CUDA is missing: it says it is available, and runs."""
    found = worker_with(torch=BROKEN, onnxruntime=FALLS_BACK)
    onnx = {device.id: device for device in found if device.framework == "onnxruntime"}
    assert list(onnx) == ["CPUExecutionProvider", "CUDAExecutionProvider"]
    assert not onnx["CUDAExecutionProvider"].works
    assert "could not be loaded" in onnx["CUDAExecutionProvider"].reason


def test_a_torch_for_gpus_says_why_it_finds_none(worker_with):
    found = worker_with(torch=NO_GPU, onnxruntime=FALLS_BACK)
    reasons = {device.id: device.reason for device in found if device.framework == "torch"}
    assert "driver is too old" in reasons["cuda"]
    assert reasons["cpu"] == "no kernel image is available"
