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
import sys
import time
from pathlib import Path
from typing import IO, Iterator

from ..errors import InstallFailed


@contextlib.contextmanager
def held(path: Path, log: str = "") -> Iterator[None]:
    """Hold the lock. Raises: InstallFailed (`locked`) where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        try:
            _lock(stream)
        except OSError:
            raise InstallFailed("locked", _owner(path), log) from None
        try:
            _say_owner(path.with_suffix(".owner"))
            yield
        finally:
            with contextlib.suppress(OSError):
                path.with_suffix(".owner").unlink()
            _unlock(stream)


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


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(stream: IO[bytes]) -> None:
        stream.seek(0)
        with contextlib.suppress(OSError):
            msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(stream: IO[bytes]) -> None:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(stream: IO[bytes]) -> None:
        fcntl.flock(stream.fileno(), fcntl.LOCK_UN)
