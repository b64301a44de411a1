# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that are not there, fail, or have no room: which is tried, and how it goes on.

No GPU is needed: what onnxruntime says there is here a list, and what fails is a function.
Only a processor's memory really runs out.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode import pace as pace_module
from tessera_plugin.compute.worker.encode.pace import Pace
from tessera_plugin.compute.worker.encode.providers import (
    CPU,
    PROVIDERS,
    is_out_of_memory,
    options_of,
    reason_of,
    threads_of,
    to_try,
)
from tests.compute.helpers import worker_python

SHORT = Path(__file__).with_name("short_of_memory.py")
CUDA, TENSORRT, DML = "CUDAExecutionProvider", "TensorrtExecutionProvider", "DmlExecutionProvider"
COREML, OPENVINO = "CoreMLExecutionProvider", "OpenVINOExecutionProvider"


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        ([CPU], [], [CPU]),
        ([TENSORRT, CUDA, CPU], [], [CUDA, TENSORRT, CPU]),
        ([DML, CPU], [], [DML, CPU]),
        ([COREML, "AzureExecutionProvider", CPU], [], [COREML, CPU]),
        ([OPENVINO, CPU], [], [OPENVINO, CPU]),
        ([TENSORRT, CUDA, CPU], [TENSORRT], [TENSORRT, CPU]),
        ([CUDA, CPU], [CPU], [CPU]),
        ([CUDA, CPU], [CUDA, CUDA], [CUDA, CPU]),
    ],
)
def test_the_best_that_is_there_comes_first_and_the_processor_last(there, wanted, chosen):
    assert to_try(wanted, there) == (chosen, [])


def test_what_was_asked_for_and_is_not_there_is_told():
    chosen, refused = to_try([CUDA, "AzureExecutionProvider"], ["AzureExecutionProvider", CPU])
    assert chosen == [CPU]
    assert [provider for provider, _ in refused] == [CUDA, "AzureExecutionProvider"]
    assert refused[0][1] == "it is not there"


def test_float32_is_float32_on_gpus(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert options_of(DML) == {}
    assert "NVIDIA_TF32_OVERRIDE" not in os.environ
    assert options_of(CUDA)["use_tf32"] == "0"
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    options_of(CUDA)["use_tf32"] = "1"
    assert PROVIDERS[CUDA]["use_tf32"] == "0"


def test_threads_are_bounded_by_the_processors_of_this_process():
    there = min(len(os.sched_getaffinity(0)), 16)
    assert [threads_of(wanted) for wanted in (0, -1, 1, 1000)] == [there, there, 1, there]


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), True),
        (RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9"), True),
        (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("Exception(1) tid(4) 8007000E Not enough memory resources"), True),
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered"), False),
        (ValueError("Got invalid dimensions for input"), False),
    ],
)
def test_no_room_is_told_from_other_failures(error, is_so):
    assert is_out_of_memory(error) is is_so


def test_a_reason_is_one_line():
    assert reason_of(RuntimeError("first\nsecond")) == "first"
    assert reason_of(ValueError()) == "ValueError()"


class Device:
    """Doubles numbers; has room for so many pixels, and fails after so many runs."""

    refused = ((TENSORRT, "it is not there"),)

    def __init__(self, provider, room=10**9, runs=10**9, seconds=0.0):
        self.provider, self.room, self.left, self.seconds = provider, room, runs, seconds
        self.sizes = []

    def run(self, inputs):
        count = len(inputs["a"])
        self.sizes.append(count)
        self.left -= 1
        if count > self.room:
            raise RuntimeError("out of memory\nat some line")
        if self.left < 0:
            raise RuntimeError("the device was removed\nat some line")
        Clock.now += self.seconds * count
        return inputs["a"] * 2 + inputs["b"]


class Clock:
    now = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(pace_module.time, "perf_counter", lambda: Clock.now)


def inputs(count):
    return {"a": np.arange(count), "b": np.full(count, 5)}


def right(found, count):
    return found.tolist() == (np.arange(count) * 2 + 5).tolist()


def nothing_to_open():
    raise AssertionError("the processor is not needed")


def test_without_trouble_a_batch_goes_as_it_is():
    device = Device(CUDA)
    pace = Pace(device, 256, nothing_to_open)
    assert right(pace.run(inputs(256)), 256)
    assert (device.sizes, pace.batch_px, pace.notes) == ([256], 256, [])
    assert pace.refused == [(TENSORRT, "it is not there")]


def test_a_device_without_room_gets_fewer_pixels():
    device = Device(CUDA, room=70)
    pace = Pace(device, 256, nothing_to_open)
    assert right(pace.run(inputs(250)), 250)
    assert device.sizes == [250, 125, 62, 62, 1, 62, 62, 1]
    assert pace.batch_px == 62
    assert right(pace.run(inputs(62)), 62)
    assert pace.notes == [
        f"{CUDA} had no memory for 250 pixels at a time; it goes on with 125.",
        f"{CUDA} had no memory for 125 pixels at a time; it goes on with 62.",
    ]
    assert pace.provider == CUDA


def test_a_device_without_any_room_leaves_it_to_the_processor():
    processor = Device(CPU)
    pace = Pace(Device(CUDA, room=0), 64, lambda: processor)
    assert right(pace.run(inputs(64)), 64)
    assert pace.provider == CPU
    assert pace.refused == [(TENSORRT, "it is not there"), (CUDA, "out of memory")]
    assert pace.notes[-1] == f"{CUDA} failed on the way; the rest is computed on the processor."
    assert set(processor.sizes) == {4}


def test_a_device_that_is_lost_leaves_it_to_the_processor_at_once():
    processor = Device(CPU)
    pace = Pace(Device(DML, runs=3), 64, lambda: processor)
    for _ in range(5):
        assert right(pace.run(inputs(64)), 64)
    assert processor.sizes == [64, 64]
    assert pace.refused[-1] == (DML, "the device was removed")


def test_the_processor_gets_fewer_pixels_and_then_has_nothing_to_fall_back_on():
    device = Device(CPU, room=9)
    pace = Pace(device, 32, nothing_to_open)
    assert right(pace.run(inputs(32)), 32)
    assert pace.batch_px == 8
    with pytest.raises(RuntimeError, match="out of memory"):
        Pace(Device(CPU, room=1), 32, nothing_to_open).run(inputs(32))
    with pytest.raises(RuntimeError, match="removed"):
        Pace(Device(CPU, runs=0), 32, nothing_to_open).run(inputs(32))


def test_the_processor_really_without_room_goes_on_with_fewer_pixels(models):
    """In a process that may have 94 MB more; a batch of 16 384 needs twice 98 MB."""
    done = subprocess.run(
        [worker_python(), str(SHORT), models(kind="wide")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["same"]
    assert told["notes"][0].startswith(f"{CPU} had no memory for 16384 pixels at a time")


def test_batches_that_would_keep_a_cancel_waiting_become_smaller_and_recover():
    device = Device(CPU, seconds=0.005)
    pace = Pace(device, 256, nothing_to_open)
    pace.run(inputs(256))  # 1.3 s, on a machine that became busy
    assert pace.batch_px == 128
    pace.run(inputs(128))
    assert pace.batch_px == 64
    pace.run(inputs(64))
    assert pace.batch_px == 64
    device.seconds = 0.0001
    pace.run(inputs(3))  # the rest of some block tells nothing
    assert pace.batch_px == 64
    for _ in range(5):
        pace.run(inputs(pace.batch_px))
    assert pace.batch_px == 256


def test_on_a_gpu_the_time_of_a_batch_changes_nothing():
    """There the last bits may depend on it."""
    pace = Pace(Device(CUDA, seconds=1.0), 256, nothing_to_open)
    pace.run(inputs(256))
    assert pace.batch_px == 256
