# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files of a folder are the cache's.

    <cache>/<archive>/<dataset>/d<depth>/<form>/<year>/utm<zone>/<row>_<col>.npy   (block numbers)
    <cache>/<archive>/<dataset>/d<depth>/<form>/<year>/tiles/<tile>.json  <shard>.shard  <hash>.ahead
    <cache>/<archive>/<dataset>/zarr/<path, joined by ~>
    <cache>/locks/

Whatever else lies in the folder is not ours: nothing here counts it, moves it or deletes it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..progress import Report, silent
from ..values import FORMS
from .cache_blocks import Origin
from .files import STAGING_PREFIX

LOCKS = "locks"
BLOCK, SIDE, STORE, PARTIAL = "block", "side", "store", "partial"
"""Kinds of files: blocks; what is known of a tile or shard; a store's metadata; unfinished ones."""

LOCK_NAME = re.compile(r"\d\d|evict|total\.json|added|before|probe.*\.tmp")
"""Files in the folder of the locks."""

_ARCHIVE = re.compile(r"public|[0-9a-f]{12}")
_DEPTH = re.compile(r"d(\d{1,4})")
_YEAR = re.compile(r"\d{4}")
_ZONE = re.compile(r"utm\d\d")
_NAMES = {
    BLOCK: re.compile(r"-?\d+_-?\d+\.npy"),
    SIDE: re.compile(r".+\.(json|shard|ahead)"),
    STORE: re.compile(r"zarr\.json|.+~.+"),
    PARTIAL: re.compile(rf".+\.tmp|{re.escape(STAGING_PREFIX)}.+"),
}

_TOLD_EVERY = 256


class CacheFile(NamedTuple):
    """A file of the cache."""

    path: str
    kind: str
    """One of `BLOCK`, `SIDE`, `STORE`, `PARTIAL`."""
    archive: str
    dataset: str
    origin: Optional[Origin]
    """What it is part of; None for a store's metadata."""
    bytes: int
    mtime_ns: int
    used: float
    """When it was last read or written, as far as is known; seconds since 1970."""


def walk(root: Path, report: Report = silent) -> Iterator[CacheFile]:
    """Yield every file of ours below a cache folder. Not for hot paths. Raises: Cancelled.

    Links to folders are not followed; what can't be read or vanishes meanwhile is left out.
    """
    folders = [
        (archive, dataset)
        for archive in _folders(root, _ARCHIVE)
        for dataset in _folders(Path(archive.path))
    ]
    for number, (archive, dataset) in enumerate(folders):
        report(number / len(folders), "Looking through the cache")
        for place in _places(archive.name, Path(dataset.path)):
            for count, file in enumerate(_files(place)):
                if count % _TOLD_EVERY == 0:
                    report(number / len(folders), "Looking through the cache")
                yield file


def archive_folders(root: Path) -> List[Path]:
    """Return the folders of the archives in a cache."""
    return [Path(entry.path) for entry in _folders(root, _ARCHIVE)]


def is_cache(folder: Path) -> bool:
    """Whether a folder holds nothing but a cache, or nothing at all. Raises: OSError."""
    with os.scandir(folder) as entries:
        return all(
            entry.is_dir(follow_symlinks=False)
            and (entry.name == LOCKS or _ARCHIVE.fullmatch(entry.name))
            for entry in entries
        )


class _Place(NamedTuple):
    """A folder that holds files of ours."""

    path: Path
    archive: str
    dataset: str
    origin: Optional[Origin]
    kinds: Tuple[str, ...]


def _places(archive: str, dataset: Path) -> Iterator[_Place]:
    """Yield the folders of a dataset that hold files."""
    yield _Place(dataset / "zarr", archive, dataset.name, None, (PARTIAL, STORE))
    for depth in _folders(dataset, _DEPTH):
        for form in FORMS:
            for year in _folders(Path(depth.path) / form, _YEAR):
                of = Origin(archive, dataset.name, int(depth.name[1:]), form, int(year.name))
                tiles = Path(year.path) / "tiles"
                yield _Place(tiles, archive, dataset.name, of, (PARTIAL, SIDE))
                for zone in _folders(Path(year.path), _ZONE):
                    yield _Place(Path(zone.path), archive, dataset.name, of, (PARTIAL, BLOCK))


def _folders(parent: Path, name: Optional[re.Pattern[str]] = None) -> List[os.DirEntry[str]]:
    try:
        with os.scandir(parent) as entries:
            found = [
                entry
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and (not name or name.fullmatch(entry.name))
            ]
    except OSError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _files(place: _Place) -> Iterator[CacheFile]:
    try:
        with os.scandir(place.path) as entries:
            for entry in entries:
                file = _file(entry, place)
                if file is not None:
                    yield file
    except OSError:
        return


def _file(entry: os.DirEntry[str], place: _Place) -> Optional[CacheFile]:
    kind = next((kind for kind in place.kinds if _NAMES[kind].fullmatch(entry.name)), "")
    try:
        if not kind or not entry.is_file(follow_symlinks=False):
            return None
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    return CacheFile(
        entry.path,
        kind,
        place.archive,
        place.dataset,
        place.origin,
        status.st_size,
        status.st_mtime_ns,
        max(status.st_atime, status.st_mtime),
    )
