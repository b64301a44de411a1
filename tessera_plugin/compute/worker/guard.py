# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A second, tiny process that ends the worker when its client is gone, and what the worker started.

The worker hears of that itself, unless native code holds the interpreter: then none of its threads
can run, and it would go on for as long as that code does. On Windows a job object does this.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time

_LOOK_S = 0.5
_DESCRIPTORS = 256


def start(private_folder: str) -> None:
    """Start the guard. Call it first: a fork is safe only while there is one thread."""
    if sys.platform == "win32":  # pragma: no cover
        return
    client, worker = os.getppid(), os.getpid()
    if os.fork():
        return
    try:
        # An open copy of a pipe would hide the worker's end from the client.
        os.closerange(0, _DESCRIPTORS)
        os.chdir("/")
        _watch(client, worker, private_folder)
    finally:
        os._exit(0)


def _watch(client: int, worker: int, private_folder: str) -> None:
    """Wait until one of the two is gone."""
    is_group = os.getpgrp() == worker
    while os.getppid() == worker:
        if not _is_alive(client):
            os.kill(worker, signal.SIGKILL)
            if private_folder:
                shutil.rmtree(private_folder, ignore_errors=True)
            break
        time.sleep(_LOOK_S)
    if is_group:  # what the worker had started, and this process
        os.killpg(0, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return False
