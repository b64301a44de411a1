# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are whole or not there, whatever else happens to their folder meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import IO, Any, Sequence

from ..errors import TesseraError
from .files import write_error

_HELD_TRIES = 40
_HELD_WAIT_S = 0.05
_FOLDER_TRIES = 5

_numbers = itertools.count()


def write_whole(path: Path, parts: Sequence[Any]) -> None:
    """Write a file under a temporary name and rename it. Raises: DiskFull, NotWritable."""
    partial = temporary_name(path)
    try:
        with _opened(partial) as stream:
            stream.writelines(parts)
        replace(partial, path)
    except OSError as error:
        delete(partial)
        raise _told(path, error, parts) from error


def temporary_name(path: Path) -> Path:
    """Return a name that nobody else uses, for a file until it is whole."""
    return path.with_name(f"{path.stem}.{os.getpid()}-{next(_numbers)}.tmp")


def replace(partial: Path, path: Path) -> None:
    """Rename; on Windows a file can't be replaced for as long as somebody reads it."""
    if path.is_dir():
        drop(path)
    for _ in range(_HELD_TRIES):
        if _renamed(partial, path):
            return
        time.sleep(_HELD_WAIT_S)
    partial.replace(path)


def delete(path: Path) -> bool:
    """Delete a file; whether that could be done."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def drop(path: Path) -> None:
    """Clear a block's place of what is none, if that can be done: what is in a folder is kept."""
    if not path.is_dir() or path.is_symlink():
        delete(path)
        return
    with contextlib.suppress(OSError):
        path.rmdir()
        return
    with contextlib.suppress(OSError):
        path.rename(path.with_name(f"{path.name}.aside-{os.getpid()}-{next(_numbers)}"))


def _told(path: Path, error: OSError, parts: Sequence[Any]) -> TesseraError:
    return write_error(path.parent, error, sum(len(part) for part in parts))


def _opened(partial: Path) -> IO[bytes]:
    """Open a new file; its folder may be made or cleared away by others at the same time."""
    for _ in range(_FOLDER_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return partial.open("xb")
        partial.parent.mkdir(parents=True, exist_ok=True)
    return partial.open("xb")


def _renamed(partial: Path, path: Path) -> bool:
    try:
        partial.replace(path)
    except PermissionError:
        if os.name != "nt":
            raise
        return False
    return True
