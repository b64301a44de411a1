# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks between processes. They survive nothing: the system frees them when their holder ends."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Iterator

from ..oslocks import lock, unlock

WAIT_S = 5.0


@contextlib.contextmanager
def file_lock(path: Path, wait_s: float = WAIT_S) -> Iterator[bool]:
    """Hold a lock between processes; tells whether it was got.

    Where it can't be had in time, or the file system has none, the work goes on: what is lost in
    a race is fetched again, never wrong.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError:
        yield False
        return
    with stream:
        got = _lock_in_time(stream.fileno(), wait_s)
        try:
            yield got
        finally:
            if got:
                unlock(stream.fileno())


def _lock_in_time(descriptor: int, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while not _got(descriptor):
        if time.monotonic() >= until:
            return False
        time.sleep(0.005)
    return True


def _got(descriptor: int) -> bool:
    try:
        lock(descriptor)
    except OSError:
        return False
    return True
