# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Take the private environment away; what a running program holds goes at the next start.

Deleting a gigabyte may take a minute, renaming it takes no time: so it is put aside first, and
what was put aside is nobody's any more and is deleted when there is time.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import List

from . import logs
from .lock import held
from .places import Places, size_of


def remove(places: Places) -> int:
    """Take away the environment and all that was fetched for it; return the bytes that frees.

    Ask the worker to end first, and call `sweep` after it. Raises: InstallFailed where another
    process installs.
    """
    with held(places.lock, str(places.log)):
        folders = (
            *(places.environment, places.replaced, places.staging),
            *(places.downloads, places.pythons, places.tools),
        )
        freed = sum(size_of(folder) for folder in (*folders, *_put_aside(places)))
        for folder in folders:
            put_aside(folder, places)
        with contextlib.suppress(OSError):
            places.marker.unlink()
        logs.note(places.log, f"removed, which frees {freed / 1e6:.0f} MB")
    return freed


def sweep(places: Places) -> None:
    """Delete what was put aside; what can't be deleted yet stays. Quick where there is nothing."""
    for folder in _put_aside(places):
        shutil.rmtree(folder, ignore_errors=True)


def put_aside(folder: Path, places: Places) -> None:
    """Take a folder away, for `sweep` to delete."""
    if not folder.exists():
        return
    try:
        folder.rename(places.trash.with_name(f"{places.trash.name}-{time.time_ns()}"))
    except OSError:  # a program holds it open, on Windows: what can go, goes
        shutil.rmtree(folder, ignore_errors=True)


def _put_aside(places: Places) -> List[Path]:
    return list(places.root.glob(f"{places.trash.name}-*")) if places.root.is_dir() else []
