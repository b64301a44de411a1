# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many pixels at a time: found by trying, within a ceiling of memory."""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import time
from pathlib import Path
from typing import Callable, Dict

from ..job import Job
from .prepare import Inputs
from .providers import CPU, is_out_of_memory
from .session import Encoder, zeros

_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_MOST_SECONDS = 0.4
"""Of a batch: a cancel waits for it to end."""
_GOOD_ENOUGH = 0.95
_USUALLY_LEAST_PX = 32
"""In smaller batches, what is done for each of them begins to show."""


def batch_size(encoder: Encoder, s2: int, s1: int, ceiling_bytes: int, job: Job) -> int:
    """Return how many pixels to encode at a time.

    On the processor the smallest batch that is nearly as fast per pixel as the fastest that may be
    taken. Elsewhere the largest that the device takes: what is measured differs from run to run,
    and there the last bits may depend on it.
    `s2` and `s1` are the longest sequences of the scene, `ceiling_bytes` what this process may
    hold. Raises: JobCancelled, and what the first batch raises.
    """
    if encoder.provider != CPU:
        return _largest_that_fits(encoder, s2, s1, job)
    before = resident_bytes()
    rates: Dict[int, float] = {}
    for size in _SIZES:
        job.check()
        inputs = zeros(encoder.spec, size, s2, s1)
        # What is computed of a batch grows with it; the first try stays, whatever it needs.
        if rates and before + 2 * (resident_bytes() - before) > ceiling_bytes:
            break
        try:
            seconds = _seconds(encoder, inputs, job.check)
        except Exception as error:
            if not rates or not is_out_of_memory(error):
                raise
            break
        if rates and seconds > _MOST_SECONDS:
            break
        rates[size] = size / seconds
        if 2 * seconds > _MOST_SECONDS:
            break
    usual = {size: rate for size, rate in rates.items() if size >= _USUALLY_LEAST_PX}
    chosen = usual or {size: rates[size] for size in [max(rates)]}
    fastest = max(chosen.values())
    return next(size for size, rate in chosen.items() if rate >= _GOOD_ENOUGH * fastest)


def _largest_that_fits(encoder: Encoder, s2: int, s1: int, job: Job) -> int:
    for size in reversed(_SIZES):
        try:
            seconds = _seconds(encoder, zeros(encoder.spec, size, s2, s1), job.check)
        except Exception as error:
            if size == _SIZES[0] or not is_out_of_memory(error):
                raise
            continue
        if seconds <= _MOST_SECONDS:
            return size
    return _SIZES[0]


def _seconds(encoder: Encoder, inputs: Inputs, check: Callable[[], None]) -> float:
    """Return how long a batch takes once its memory is there."""
    best = float("inf")
    for _ in range(3):
        check()
        started = time.perf_counter()
        encoder.run(inputs)
        best = min(best, time.perf_counter() - started)
        if best > _MOST_SECONDS:
            break
    return best


def resident_bytes() -> int:
    """Return the memory that this process holds (macOS: has held at most)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * mmap.PAGESIZE
    if os.name == "nt":  # pragma: no cover
        return _windows_bytes()
    resource = importlib.import_module("resource")
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _windows_bytes() -> int:  # pragma: no cover
    class Counters(ctypes.Structure):
        _fields_ = [
            ("cb", ctypes.c_uint32),
            ("faults", ctypes.c_uint32),
            *((name, ctypes.c_size_t) for name in ("peak", "working_set", *"abcdef")),
        ]

    told = Counters()
    told.cb = ctypes.sizeof(told)
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
    ask(kernel.GetCurrentProcess(), ctypes.byref(told), told.cb)
    return int(told.working_set)
