# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Making the name of a GeoPackage free for another one.

SQLite knows a log or a journal by its name alone: one that is left beside a file is taken for that of
the file which comes in its place, whose content it then overwrites.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from osgeo import gdal

from ..errors import NotWritable
from .files import write_error
from .gdal_errors import collected
from .label_connection import BUSY_MS, connected, rows

_LOG = "-wal"
_BESIDE = (_LOG, "-shm", "-journal")


def vacate(path: str) -> None:
    """Let nothing of a GeoPackage stay beside it that would be taken for that of another file.

    The file itself, if there is one, stays, with all that the log had. To be called right before
    another file gets its name. Raises: NotWritable where somebody who has it open has not brought
    all of it into the file, or where it can't be told.
    """
    beside = [found for each in _BESIDE if (found := Path(f"{path}{each}")).exists()]
    if not beside:
        return
    if Path(path).exists() and not _has_let_go(path) and any(_has_content(e) for e in beside):
        raise NotWritable(
            path,
            "changes made to the file of that name are not in it yet; a program or a layer of a "
            "project has it open, or it is damaged",
        )
    try:
        for each in beside:
            each.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def _has_content(path: Path) -> bool:
    """Return whether something is in a log or journal; what is shared in memory does not count."""
    return not path.name.endswith("-shm") and path.exists() and path.stat().st_size > 0


def _has_let_go(path: str) -> bool:
    """Bring log and journal into a file; return whether nobody else has it open or writes to it."""
    dataset = connected(path, gdal.OF_UPDATE)
    if dataset is None:
        return False
    try:
        rows(path, dataset, f"PRAGMA busy_timeout = {BUSY_MS}")
        # out of this mode only the last one gets who has it open
        if rows(path, dataset, "PRAGMA journal_mode = DELETE") != [("delete",)]:
            return False
        problems: List[str] = []
        with collected(problems):
            dataset.StartTransaction()
            rows(path, dataset, "UPDATE gpkg_contents SET last_change = last_change")  # its lock
            dataset.RollbackTransaction()
    except NotWritable:
        return False
    return not problems
