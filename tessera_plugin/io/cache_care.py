# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Care of the cache as a whole: how large it is and of what, clearing it, keeping it to a limit.

Other processes may read and write at the same time: what vanishes meanwhile is passed over, and a
block that is deleted under a job is fetched again. Where the folder can't be written, nothing is
freed and nothing is raised. Only files of the cache's own layout are counted or deleted.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

from ..progress import Report, part, silent
from .cache_blocks import Origin
from .cache_files import delete
from .cache_records import location_in
from .cache_total import Total, begin_count, end_count, total
from .cache_walk import BLOCK, LOCKS, PARTIAL, SIDE, STORE, CacheFile, walk
from .locks import file_lock

SPARE_S = 600.0
"""What was used so lately is not evicted: a job may be about to read it."""

STALE_S = 3600.0
"""An unfinished file that is older was left by a process that was killed."""

ROOM = 0.1
"""Share of the limit that is freed besides, so that not every fetch has to evict."""

_TOLD_EVERY = 64


@dataclass(frozen=True)
class CacheEntry:
    """What the cache holds of one origin."""

    archive: str
    """Identity of the archive: `public`, or a hash."""
    location: str
    """Its address, where the blocks name it."""
    dataset: str
    year: int
    depth: int
    form: str
    bytes: int
    """Blocks and what is known of their tiles or shards."""
    blocks: int
    last_used: float
    """Seconds since 1970; 0 where there are no blocks."""


@dataclass(frozen=True)
class CacheUsage:
    """What a cache holds."""

    bytes: int
    """Of all its files."""
    entries: Tuple[CacheEntry, ...]
    """By dataset, year, archive, depth and form."""
    other_bytes: int
    """Metadata of stores and unfinished files: in no entry."""


def size(cache_dir: str) -> int:
    """Return the bytes of all files. Walks the whole cache: not for hot paths."""
    return sum(file.bytes for file in walk(Path(cache_dir)))


def usage(cache_dir: str, report: Report = silent) -> CacheUsage:
    """Return what a cache holds; nothing where there is none. Raises: Cancelled."""
    groups: Dict[Origin, List[CacheFile]] = {}
    whole = other = 0
    for file in walk(Path(cache_dir), report):
        whole += file.bytes
        if file.origin is None or file.kind == PARTIAL:
            other += file.bytes
        else:
            groups.setdefault(file.origin, []).append(file)
    entries = [_entry(origin, files) for origin, files in groups.items()]
    entries.sort(key=lambda e: (e.dataset, e.year, e.archive, e.depth, e.form))
    return CacheUsage(whole, tuple(entries), other)


def clear(
    cache_dir: str, *, dataset: str = "", year: int = 0, archive: str = "", report: Report = silent
) -> int:
    """Delete what comes from a dataset, a year, an archive (its identity) or all of them.

    Whatever is left out counts as any; with nothing given the whole cache goes. A store's metadata
    go with the last of its data. Returns the bytes freed. Raises: Cancelled; what was deleted by
    then is gone.
    """

    def is_meant(file: CacheFile) -> bool:
        return (
            (not dataset or file.dataset == dataset)
            and (not archive or file.archive == archive)
            and (not year or (file.origin is not None and file.origin.year == year))
        )

    root = Path(cache_dir)
    found = list(walk(root, part(report, 0.0, 0.2)))
    remove_stale(found)
    gone = [file for file in found if file.kind != PARTIAL and is_meant(file)]
    if year:
        gone += _orphaned(found, gone, time.time())
    return _deleted(gone, part(report, 0.2, 1.0), "Clearing the cache")


def evict(
    cache_dir: str, limit_bytes: int, spare_s: float = SPARE_S, report: Report = silent
) -> int:
    """Delete what was used least recently until at most `limit_bytes` are left.

    What was used within the last `spare_s` seconds stays, since a job may be about to read it. What
    is known of tiles and shards goes when the last block of its dataset, year, depth and form has
    gone. Returns the bytes freed; 0 where another process is at it, or nothing can be written.
    Raises: Cancelled.
    """
    return _evict(Path(cache_dir), limit_bytes, limit_bytes, spare_s, report)


def evict_over(cache_dir: str, limit_bytes: int, report: Report = silent) -> int:
    """Bring a cache to a tenth under its limit if it is over it; 0 for no limit.

    For after every fetch: as long as the cache is under its limit two small files are read, and it
    is looked through only now and then. Returns the bytes freed. Raises: Cancelled.
    """
    root = Path(cache_dir)
    if limit_bytes <= 0 or not _is_due(total(root), limit_bytes):
        return 0
    return _evict(root, limit_bytes, int(limit_bytes * (1 - ROOM)), SPARE_S, report)


def is_writable(cache_dir: str) -> bool:
    """Whether blocks can be kept there: a file is made and removed, in the nearest folder."""
    folder = Path(cache_dir).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def remove_stale(files: Iterable[CacheFile]) -> None:
    """Delete the unfinished files that killed processes left."""
    before = time.time() - STALE_S
    for file in files:
        if file.kind == PARTIAL and file.mtime_ns < before * 1e9:
            delete(Path(file.path))


# --- what is evicted


def _is_due(known: Optional[Total], limit_bytes: int) -> bool:
    """Whether a cache should be looked through because of what is known of its size."""
    if known is None or known.is_old:
        return True
    if known.bytes + known.added <= limit_bytes:
        return False
    # what was spared then may not be spared now, but to look after each fetch would be dear
    was_spared = known.limit == limit_bytes and known.added < limit_bytes * ROOM
    return not was_spared or time.time() - known.counted >= SPARE_S


def _evict(root: Path, limit: int, aim: int, spare_s: float, report: Report) -> int:
    """Delete down to `aim` if there is more than `limit`; remember what is left."""
    if not root.is_dir():
        return 0
    with file_lock(root / LOCKS / "evict", wait_s=0.0) as is_mine:
        if not is_mine:
            return 0
        begin_count(root)
        found = list(walk(root, part(report, 0.0, 0.5)))
        remove_stale(found)
        whole = sum(file.bytes for file in found)
        freed = 0
        if whole > limit:
            gone = _least_used(found, whole - aim, time.time() - spare_s)
            freed = _deleted(gone, part(report, 0.5, 1.0), "Making room in the cache")
        end_count(root, whole - freed, limit)
        return freed


def _least_used(found: List[CacheFile], surplus: int, before: float) -> List[CacheFile]:
    """Return what to delete to be rid of so many bytes: nothing that was used since `before`.

    What is known of tiles stays as long as there are blocks of the same origin: without it these
    could not be used.
    """
    left = Counter(file.origin for file in found if file.kind == BLOCK)
    sides: Dict[Optional[Origin], List[CacheFile]] = {}
    for file in found:
        if file.kind == SIDE and file.used <= before:
            sides.setdefault(file.origin, []).append(file)
    candidates = [file for file in found if file.kind == BLOCK and file.used <= before]
    for origin, files in sides.items():
        if origin not in left:
            candidates += files
    gone: List[CacheFile] = []
    for file in sorted(candidates, key=lambda file: file.used):
        if surplus <= 0:
            break
        gone.append(file)
        surplus -= file.bytes
        if file.kind == BLOCK:
            left[file.origin] -= 1
            if not left[file.origin]:
                gone += sides.get(file.origin, [])
                surplus -= sum(side.bytes for side in sides.get(file.origin, []))
    return gone + _orphaned(found, gone, before)


def _orphaned(found: List[CacheFile], gone: List[CacheFile], before: float) -> List[CacheFile]:
    """Return the metadata of the stores that lose all they had."""
    going = {file.path for file in gone}
    touched = {(file.archive, file.dataset) for file in gone}
    kept = {
        (file.archive, file.dataset)
        for file in found
        if file.kind in {BLOCK, SIDE} and file.path not in going
    }
    return [
        file
        for file in found
        if file.kind == STORE
        and (file.archive, file.dataset) in touched - kept
        and file.used <= before
    ]


def _deleted(files: List[CacheFile], report: Report, message: str) -> int:
    """Delete files; return the bytes of those that could be."""
    freed = 0
    for number, file in enumerate(files):
        if number % _TOLD_EVERY == 0:
            report(number / len(files), message)
        if delete(Path(file.path)):
            freed += file.bytes
    return freed


def _entry(origin: Origin, files: List[CacheFile]) -> CacheEntry:
    blocks = [file for file in files if file.kind == BLOCK]
    newest = max(blocks, key=lambda file: file.mtime_ns, default=None)
    return CacheEntry(
        archive=origin.archive,
        location=location_in(Path(newest.path)) if newest else "",
        dataset=origin.dataset,
        year=origin.year,
        depth=origin.depth,
        form=origin.form,
        bytes=sum(file.bytes for file in files),
        blocks=len(blocks),
        last_used=max((file.used for file in blocks), default=0.0),
    )
