# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Take the private environment away; what a running program holds goes at the next start."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import List

from ..progress import Report, silent
from . import logs
from .lock import held
from .places import Places, size_of


def remove(places: Places, report: Report = silent) -> int:
    """Remove the environment and all that was fetched for it; return the bytes freed.

    Ask the worker to end first. Raises: InstallFailed where another process installs.
    """
    with held(places.lock, str(places.log)):
        before = _size(places)
        report(0.1, "Removing")
        for folder in (places.environment, places.staging):
            discard(folder, places)
        report(0.7, "Removing")
        for folder in (places.downloads, places.pythons, places.tools):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            places.marker.unlink()
        _sweep(places)
        freed = before - _size(places)
        logs.note(places.log, f"removed, {freed / 1e6:.0f} MB freed")
    return freed


def sweep(places: Places) -> None:
    """Remove what could not be removed before. Quiet, and quick where there is nothing."""
    if any(_leftovers(places)):
        with contextlib.suppress(Exception), held(places.lock):
            _sweep(places)


def discard(folder: Path, places: Places) -> None:
    """Remove a folder; what can't be removed is put aside for the next start."""
    if not folder.exists():
        return
    aside = folder
    if not folder.name.startswith(places.trash.name):
        aside = places.trash.with_name(f"{places.trash.name}-{time.time_ns()}")
        try:
            folder.rename(aside)
        except OSError:
            aside = folder
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(places: Places) -> None:
    for folder in _leftovers(places):
        shutil.rmtree(folder, ignore_errors=True)


def _leftovers(places: Places) -> List[Path]:
    return list(places.root.glob(f"{places.trash.name}-*")) if places.root.is_dir() else []


def _size(places: Places) -> int:
    folders = (
        *(places.environment, places.staging, places.downloads, places.pythons, places.tools),
        *_leftovers(places),
    )
    return sum(size_of(folder) for folder in folders)
