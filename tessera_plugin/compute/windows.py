# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The few functions of Windows's kernel32 that are needed. Imported everywhere, called there only.

Whatever the system refuses is answered with 0, False or nothing: none of it is worth a failed job.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Iterator

_QUERY_LIMITED = 0x1000
_SET_QUOTA_AND_TERMINATE = 0x0101
_STILL_ACTIVE = 259
_ACCESS_DENIED = 5
_EXTENDED_LIMITS = 9
_KILL_ON_CLOSE = 0x2000


class MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("quota_peak_paged", ctypes.c_size_t),
        ("quota_paged", ctypes.c_size_t),
        ("quota_peak_nonpaged", ctypes.c_size_t),
        ("quota_nonpaged", ctypes.c_size_t),
        ("pagefile", ctypes.c_size_t),
        ("peak_pagefile", ctypes.c_size_t),
    )


class MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total_physical", ctypes.c_uint64),
        ("available_physical", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    )


class JobLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
        ("io_counters", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


def kill_on_close() -> JobLimits:
    """Return the limits of a job whose processes all end when its last handle is closed."""
    return JobLimits(flags=_KILL_ON_CLOSE)


def _kernel() -> Any:  # noqa: ANN401 # pragma: no cover
    """Return kernel32; handles are as wide as pointers, which ctypes has to be told."""
    kernel: Any = vars(ctypes)["WinDLL"]("kernel32", use_last_error=True)
    for name in ("OpenProcess", "CreateJobObjectW"):
        getattr(kernel, name).restype = ctypes.c_void_p
    return kernel


@contextlib.contextmanager
def _process(kernel: Any, access: int, pid: int) -> Iterator[ctypes.c_void_p]:  # noqa: ANN401 # pragma: no cover
    """Give a handle of a process, null where there is none."""
    handle = ctypes.c_void_p(kernel.OpenProcess(access, 0, pid))
    try:
        yield handle
    finally:
        if handle:
            kernel.CloseHandle(handle)


def working_set(pid: int) -> int:  # pragma: no cover
    """Return the bytes of main memory of a process, mapped files included; 0 if it is not told."""
    kernel, counters = _kernel(), MemoryCounters()
    counters.cb = ctypes.sizeof(counters)
    with _process(kernel, _QUERY_LIMITED, pid) as handle:
        if not handle or not kernel.K32GetProcessMemoryInfo(
            handle, ctypes.byref(counters), counters.cb
        ):
            return 0
    return int(counters.working_set)


def machine_memory() -> int:  # pragma: no cover
    """Return the bytes of the machine's main memory; 0 if it is not told."""
    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    told = _kernel().GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total_physical) if told else 0


def is_alive(pid: int) -> bool:  # pragma: no cover
    """Whether there is a process of this number; True where that is not told."""
    kernel, status = _kernel(), ctypes.c_uint32()
    with _process(kernel, _QUERY_LIMITED, pid) as handle:
        if not handle:
            return bool(vars(ctypes)["get_last_error"]() == _ACCESS_DENIED)
        told = kernel.GetExitCodeProcess(handle, ctypes.byref(status))
        return not told or status.value == _STILL_ACTIVE


class Job:  # pragma: no cover
    """Holds a process and all it starts: they end with this object, or with this process.

    That is done by the system, so it works also where QGIS is killed and the worker is deep in
    native code.
    """

    def __init__(self, pid: int) -> None:
        self._kernel = _kernel()
        self._handle = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
        limits = kill_on_close()
        self._kernel.SetInformationJobObject(
            self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
        )
        with _process(self._kernel, _SET_QUOTA_AND_TERMINATE, pid) as process:
            self._kernel.AssignProcessToJobObject(self._handle, process)

    def close(self) -> None:
        """End all that is in it; a second time does nothing."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            self._kernel.CloseHandle(handle)
