# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder of arrays that a client and its worker exchange, and those of clients that died."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import weakref
from pathlib import Path

from . import protocol
from .system import is_alive, realm

_OWNER = "owner"
_YOUNG_S = 60.0
"""A folder is left alone for so long: it may have been made a moment ago, and not yet be signed."""
_UNSIGNED_S = 86_400.0


class PrivateFolder:
    """A folder that only this person may read, removed with the client that made it."""

    def __init__(self) -> None:
        """Make it, and clear away beside it what clients left that were killed."""
        self.path = Path(tempfile.mkdtemp(prefix=protocol.FOLDER_PREFIX))
        (self.path / _OWNER).write_text(f"{os.getpid()} {realm()}", "utf-8")
        (self.path / "scratch").mkdir()
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        threading.Thread(target=sweep, args=(self.path.parent,), daemon=True).start()


def sweep(parent: Path) -> None:
    """Remove the private folders of processes that are no more."""
    for folder in parent.glob(protocol.FOLDER_PREFIX + "*"):
        if is_left_over(folder, time.time()):
            shutil.rmtree(folder, ignore_errors=True)


def is_left_over(folder: Path, now: float) -> bool:
    """Whether a private folder is ours and its owner is gone for certain."""
    try:
        facts = folder.lstat()
        if folder.is_symlink() or facts.st_uid != _user() or now - facts.st_mtime < _YOUNG_S:
            return False
        pid, _, where = (folder / _OWNER).read_text("utf-8").partition(" ")
        return where == realm() and not is_alive(int(pid))
    except FileNotFoundError:  # never signed, or half removed
        return now - facts.st_mtime > _UNSIGNED_S if folder.exists() else False
    except (OSError, ValueError):
        return False


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0  # on Windows, st_uid is 0
