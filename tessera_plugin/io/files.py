# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are whole or not there: staging folders, renames, atomic writes, free space."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

from ..errors import DiskFull, NotWritable, TesseraError

STAGING_PREFIX = ".tessera-staging-"
STALE_S = 24 * 3600.0
"""A staging folder untouched for longer was left by a run that was killed."""

_SIDE_SUFFIXES = (".aux.xml", ".ovr", ".msk")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_WINDOWS_DISK_FULL = 112
_SAYS_FULL = ("No space left", "database or disk is full")
_LOW_DISK_BYTES = 1_000_000
"""GDAL does not always say that a disk is full, but then it is."""


@functools.lru_cache(maxsize=1)
def plugin_version() -> str:
    """Return the version in the plugin's metadata.txt, empty where there is none."""
    package = Path(__file__).resolve().parents[1]
    for path in (package.parent / "metadata.txt", package / "metadata.txt"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = re.search(r"^version\s*=\s*(\S+)", path.read_text("utf-8"), re.MULTILINE)
            if found:
                return found.group(1)
    return ""


def write_error(path: Union[str, Path], error: OSError, needed_bytes: int = 0) -> TesseraError:
    """Return the error to raise for an OSError met while writing: DiskFull or NotWritable."""
    full = error.errno in _FULL or getattr(error, "winerror", 0) == _WINDOWS_DISK_FULL
    if full:
        return DiskFull(called(path), needed_bytes)
    if isinstance(error, FileNotFoundError):
        return NotWritable(called(path), "its folder does not exist")
    return NotWritable(called(path), error.strerror or str(error))


def write_failure(path: Path, problems: Sequence[str], needed_bytes: int = 0) -> TesseraError:
    """Return the error to raise for what GDAL said of a file that it could not write."""
    said = "; ".join(dict.fromkeys(problems)).rstrip(".")
    is_full = any(each in said for each in _SAYS_FULL)
    if is_full or free_bytes(path) < _LOW_DISK_BYTES:
        return DiskFull(called(path), needed_bytes)
    return NotWritable(called(path), said)


def called(path: Union[str, Path]) -> str:
    """Return what a person calls a file that may still be in its staging folder."""
    kept = Path(path)
    if kept.parent.name.startswith(STAGING_PREFIX):
        kept = kept.parent.parent / kept.name
    return str(kept)


def free_bytes(path: Union[str, Path]) -> int:
    """Return the bytes free on the disk of a file, which need not exist yet."""
    folder = Path(path).absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(path: Union[str, Path], needed_bytes: int) -> None:
    """Check that the disk of a file has room. Raises: DiskFull."""
    if free_bytes(path) < needed_bytes:
        raise DiskFull(called(path), needed_bytes)


def staging_folder(beside: Union[str, Path]) -> Path:
    """Return a new hidden folder beside a file, on the same disk, to write it in.

    What killed runs left beside the file is removed.
    Raises: NotWritable, DiskFull.
    """
    final = Path(beside).absolute()
    try:
        remove_stale(final.parent)
        return Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=final.parent))
    except OSError as error:
        raise write_error(beside, error) from error


def remove_folder(folder: Union[str, Path]) -> None:
    """Remove a staging folder and all in it; what the system still holds stays."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale(parent: Path, older_than_s: float = STALE_S) -> None:
    """Remove what was staged in `parent` and that nobody has touched for a time."""
    limit = time.time() - older_than_s
    with os.scandir(parent) as entries:
        found = [e for e in entries if e.name.startswith(STAGING_PREFIX)]
    for entry in found:
        if not entry.is_symlink() and _newest(Path(entry.path)) < limit:
            _remove(Path(entry.path))


def publish(staged: Path, final: Path) -> Path:
    """Rename a staged file and its side files; return the name it really got.

    Where the system still holds `final` (Windows, a loaded layer) it gets the first free numbered
    name, `name_2.tif`. Side files of an older file of that name don't outlive it.
    Raises: NotWritable, DiskFull.
    """
    target = final
    try:
        try:
            staged.replace(target)
        except (PermissionError, IsADirectoryError):
            target = free_name(final)
            staged.replace(target)
        _move_side_files(staged, target)
    except OSError as error:
        raise write_error(target, error) from error
    return target


def publish_all(files: Sequence[Tuple[Path, Path]]) -> Tuple[Path, ...]:
    """Rename staged files in order, sources before the VRTs that name them.

    VRTs follow the names that their sources really got.
    Raises: NotWritable, DiskFull.
    """
    names: Dict[str, str] = {}
    published: List[Path] = []
    for staged, final in files:
        if staged.suffix == ".vrt":
            _relink(staged, names)
        published.append(publish(staged, final))
        names[staged.name] = published[-1].name
    return tuple(published)


def write_bytes(path: Union[str, Path], data: bytes) -> None:
    """Write a file in one step: it has its old content or all of the new.

    Raises: NotWritable, DiskFull.
    """
    final = Path(path).absolute()
    partial = final.with_name(f"{STAGING_PREFIX}{secrets.token_hex(6)}")
    try:
        with partial.open("xb") as stream:  # not mkstemp: its files can't be read by others
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(final)
    except OSError as error:
        raise write_error(path, error, len(data)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()  # there only if the rename failed


def write_text(path: Union[str, Path], text: str) -> None:
    """Write a UTF-8 file in one step. Raises: NotWritable, DiskFull."""
    write_bytes(path, text.encode("utf-8"))


def _remove(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _newest(folder: Path) -> float:
    times = [0.0]
    for path in (folder, *folder.glob("*")):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def free_name(final: Path) -> Path:
    """Return the first numbered name beside a file that is not taken, `name_2.tif`."""
    number = 2
    while (target := final.with_name(f"{final.stem}_{number}{final.suffix}")).exists():
        number += 1
    return target


def _move_side_files(staged: Path, target: Path) -> None:
    for suffix in _SIDE_SUFFIXES:
        source = staged.with_name(staged.name + suffix)
        side = target.with_name(target.name + suffix)
        if source.exists():
            source.replace(side)
        elif side.exists():
            side.unlink()


def _relink(vrt: Path, names: Dict[str, str]) -> None:
    changed = {old: new for old, new in names.items() if old != new}
    if not changed:
        return
    text = vrt.read_text("utf-8")
    for old, new in changed.items():
        for tag in ("SourceFilename", "SourceDataset"):
            text = text.replace(f">{_escaped(old)}</{tag}>", f">{_escaped(new)}</{tag}>")
    vrt.write_text(text, "utf-8")


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
