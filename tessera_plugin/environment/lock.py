# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One installation at a time on this computer: a lock that says who holds it and since when.

The operating system holds it (it ends with the process, however that ends); what the file says is
only for people.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Iterator

from ..errors import InstallFailed
from ..oslocks import lock, unlock

PATIENCE_S = 3.0
"""How long a lock may stay taken before it counts as another's."""


@contextlib.contextmanager
def held(path: Path, log: str = "") -> Iterator[None]:
    """Hold the lock. Raises: InstallFailed (`locked`) where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        _take(stream.fileno(), path, log)
        try:
            _say_owner(path.with_suffix(".owner"))
            yield
        finally:
            with contextlib.suppress(OSError):
                path.with_suffix(".owner").unlink()
            with contextlib.suppress(OSError):
                unlock(stream.fileno())


def _take(descriptor: int, path: Path, log: str) -> None:
    """Lock an open file; patient for a moment.

    A process that was killed while it started another one has left a copy of itself that holds the
    lock until that one runs: milliseconds, more on a busy computer.
    """
    patient_until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return lock(descriptor)
        except OSError:
            if time.monotonic() > patient_until:
                raise InstallFailed("locked", _owner(path), log) from None
        time.sleep(PATIENCE_S / 50)


def _say_owner(path: Path) -> None:
    path.write_text(json.dumps({"pid": os.getpid(), "since": int(time.time())}), "utf-8")


def _owner(path: Path) -> str:
    """Return who holds the lock, in a few words."""
    try:
        told = json.loads(path.with_suffix(".owner").read_text("utf-8"))
        minutes = max(int((time.time() - float(told["since"])) / 60), 0)
        return f"process {int(told['pid'])} has been at it for {minutes} min"
    except (OSError, ValueError, KeyError, TypeError):
        return "another QGIS is at it"
