# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system knows of processes and memory, on each system in its own way."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

from . import windows

SMALLEST_CEILING = 3 << 30
"""The libraries of a GPU alone take two to three GB."""

_SHARE = 0.6
"""How much of the machine's memory a worker may take: QGIS and what else is open need the rest."""


class MacUsage(ctypes.Structure):
    """`rusage_info_v0` of macOS's libproc.h."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("user_time", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("package_idle_wakeups", ctypes.c_uint64),
        ("interrupt_wakeups", ctypes.c_uint64),
        ("page_ins", ctypes.c_uint64),
        ("wired", ctypes.c_uint64),
        ("resident", ctypes.c_uint64),
        ("footprint", ctypes.c_uint64),
        ("start", ctypes.c_uint64),
        ("exit", ctypes.c_uint64),
    )


def memory_of(pid: int) -> int:
    """Return the bytes of main memory a process holds, 0 where that can't be told.

    Address space that is only reserved does not count (CUDA reserves as much as the machine has),
    nor, where the system can tell them apart, pages of files that are only mapped.
    """
    if sys.platform == "win32":  # pragma: no cover
        return windows.working_set(pid)
    if sys.platform == "darwin":  # pragma: no cover
        return _mac_footprint(pid)
    try:
        return status_memory(Path(f"/proc/{pid}/status").read_text("utf-8", "replace"))
    except OSError:
        return 0


def status_memory(status: str) -> int:
    """Return what Linux's /proc/PID/status tells of memory that can't just be dropped."""
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    kilobytes = [facts.get(name, "0 kB").split()[0] for name in ("RssAnon", "RssShmem")]
    return 1024 * sum(map(int, kilobytes))


def machine_memory() -> int:
    """Return the bytes of the machine's main memory, 0 where that can't be told."""
    if sys.platform == "win32":  # pragma: no cover
        return windows.machine_memory()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def memory_ceiling(machine: int) -> int:
    """Return how many bytes a worker may hold on a machine of so many; 0 is no ceiling."""
    return max(int(_SHARE * machine), SMALLEST_CEILING) if machine else 0


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    if sys.platform == "win32":  # pragma: no cover
        return windows.is_alive(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def realm() -> str:
    """Return what process numbers count in: the computer, and on Linux the container.

    Temporary folders may be shared between these, and a number means another process in each.
    """
    try:
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _mac_footprint(pid: int) -> int:  # pragma: no cover
    """Return what macOS's Activity Monitor calls the memory of a process."""
    usage = MacUsage()
    try:
        failed = ctypes.CDLL(None).proc_pid_rusage(pid, 0, ctypes.byref(usage))
    except (AttributeError, OSError):
        return 0
    return 0 if failed else int(usage.footprint)
