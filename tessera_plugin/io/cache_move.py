# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving a cache to another folder: first all of it arrives, then the old files go.

Each file arrives under a temporary name, is read back from the disk, and only then gets its own
name; an old file is deleted only when its copy is there. So the old cache stays whole until the new
one is, and a move that was interrupted goes on where it stopped when it is started again.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

import numpy as np

from ..errors import CacheFolderUnusable, DiskFull, NotWritable
from ..progress import Cancelled, Report, part, silent
from . import cache_records as records
from .cache_care import is_writable, remove_stale
from .cache_files import delete, replace, temporary_name
from .cache_records import Damaged
from .cache_total import forget
from .cache_walk import BLOCK, LOCK_NAME, LOCKS, PARTIAL, CacheFile, archive_folders, is_cache, walk
from .files import check_space, write_error
from .locks import file_lock

ROUNDS = 3
"""So often what other processes have written meanwhile is brought after the rest."""

INSIDE = "it lies inside the cache"
AROUND = "the cache lies inside it"
SAME = "the cache is there already"
FOREIGN = "it holds other files"
BUSY = "another process is clearing up there"
READ_ONLY = "it is read-only"
GARBLED = "what was written does not come back as it was"

CHUNK_BYTES = 1 << 18
BUSY_WAIT_S = 2.0

LATER = 0.98
"""Share of the progress that the first round takes."""


@dataclass(frozen=True)
class MoveResult:
    """What a move did."""

    target: str
    files: int
    """That are in the new folder now and were not before."""
    bytes: int
    damaged: int
    """Blocks that were not sound any more: they were left out and are fetched again."""
    left: Tuple[str, ...] = ()
    """Files that are in the old folder still: they were in use, can't be read or deleted, or the
    move was cancelled when everything had arrived."""


def move(cache_dir: str, target: str, report: Report = silent) -> MoveResult:
    """Move a cache to a folder that does not exist, is empty, or is a cache itself.

    Where both have a block, the fuller one stays. What is in the old folder and not of the cache
    stays there, and with it the folder.
    Raises: CacheFolderUnusable, DiskFull, NotWritable, Cancelled; then the old cache is still
    whole, and the same call goes on with the move.
    """
    source, goal = Path(cache_dir).absolute(), Path(target).absolute()
    _check(source, goal)
    try:
        goal.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(goal, error) from error
    with _alone(source), _alone(goal):
        result = _Move(source, goal).run(report)
        forget(goal)
    if not result.left:
        _remove_folders(source)
    return result


def _check(source: Path, goal: Path) -> None:
    """Check that a cache may be moved there. Raises: CacheFolderUnusable, NotWritable."""
    old, new = source.resolve(), goal.resolve()
    reason = ""
    try:
        if _is_same(old, new):
            reason = SAME
        elif any(_is_same(old, parent) for parent in new.parents):
            reason = INSIDE
        elif any(_is_same(new, parent) for parent in old.parents):
            reason = AROUND
        elif goal.exists() and not is_cache(goal):
            reason = FOREIGN
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise CacheFolderUnusable(str(goal), reason)
    if not is_writable(str(goal)):
        raise NotWritable(str(goal), READ_ONLY)


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one folder, also where upper and lower case are not told apart."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep others from evicting meanwhile. Raises: CacheFolderUnusable."""
    if not (root.is_dir() and is_writable(str(root))):
        yield
        return
    with file_lock(root / LOCKS / "evict", BUSY_WAIT_S) as got:
        if not got:
            raise CacheFolderUnusable(str(root), BUSY)
        yield


class _Unreadable(Exception):  # noqa: N818 - io-internal
    """A file that can't be read now, or has vanished."""


class _State(NamedTuple):
    """Tells whether a file is what it was."""

    bytes: int
    mtime_ns: int


class _Move:
    """One move, from the first look to what is left."""

    def __init__(self, source: Path, goal: Path) -> None:
        self._source = source
        self._goal = goal
        self._brought: Dict[str, _State] = {}  # old files with a copy, as they were copied
        self._new: Set[str] = set()
        self._damaged: Set[str] = set()
        self._bytes = 0
        self._can_link = False
        self._done_bytes = 0
        self._all_bytes = 1

    def run(self, report: Report) -> MoveResult:
        """Bring everything, then delete what was brought; again for what has come meanwhile."""
        found = self._found(part(report, 0.0, 0.0))
        self._bring(found, part(report, 0.0, LATER))
        # now the new cache is whole: what stops the rest is told as files that are left
        with contextlib.suppress(Cancelled, DiskFull, NotWritable):
            for _ in range(ROUNDS):
                self._delete(found, part(report, LATER, LATER))
                found = self._found(part(report, LATER, LATER))
                if not found:
                    break
                self._bring(found, part(report, LATER, 1.0))
        left = tuple(file.path for file in self._found(silent))
        return MoveResult(str(self._goal), len(self._new), self._bytes, len(self._damaged), left)

    def _found(self, report: Report) -> List[CacheFile]:
        """Return the old files that are to be moved."""
        found = list(walk(self._source, report))
        remove_stale(found)
        return [file for file in found if file.kind != PARTIAL]

    # --- bring

    def _bring(self, found: List[CacheFile], report: Report) -> None:
        """Let every file arrive. Raises: DiskFull, NotWritable, Cancelled."""
        waiting = [file for file in found if self._brought.get(file.path) != _state(file.path)]
        self._done_bytes, self._all_bytes = 0, max(sum(file.bytes for file in waiting), 1)
        self._can_link = bool(waiting) and self._could_link(waiting[0])
        if not self._can_link:
            new = [file for file in waiting if not self._goal_of(file.path).exists()]
            check_space(self._goal, sum(file.bytes for file in new))
        for file in waiting:
            before = self._done_bytes
            self._tell(report)
            with contextlib.suppress(_Unreadable):
                self._bring_one(file, report)
            self._done_bytes = before + file.bytes
        self._sync()

    def _could_link(self, file: CacheFile) -> bool:
        """Whether a file can have names in both folders: on one disk, of some kinds."""
        partial = temporary_name(self._goal / LOCKS / "probe")
        try:
            os.link(file.path, partial)
        except (OSError, NotImplementedError):
            return False
        return delete(partial)

    def _bring_one(self, file: CacheFile, report: Report) -> None:
        """Let a file arrive, unless a better one is in its place."""
        goal = self._goal_of(file.path)
        state = _state(file.path)
        if state is None:
            raise _Unreadable
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            if self._is_wanted(file, state, goal):
                if not self._linked(file, goal):
                    self._copy(file, state, goal, report)
                if file.path not in self._new:
                    self._new.add(file.path)
                    self._bytes += file.bytes
        except Damaged:
            self._damaged.add(file.path)
        except OSError as error:
            raise write_error(goal, error, file.bytes) from error
        self._brought[file.path] = state

    def _is_wanted(self, file: CacheFile, state: _State, goal: Path) -> bool:
        """Whether a file is better than what is in its place. Raises: Damaged where it is not sound."""
        theirs = _state(goal)
        if theirs is None or not goal.is_file():
            return True
        if goal.samefile(file.path):
            return False
        if file.kind != BLOCK:
            is_newer = state.mtime_ns >= theirs.mtime_ns
            return is_newer and goal.read_bytes() != _content(file.path)
        try:
            others = _pixels(goal.read_bytes(), file)
        except Damaged:
            return True
        if theirs == state:  # of a move that was cut off
            return False
        return (_pixels(_content(file.path), file), state.mtime_ns) > (others, theirs.mtime_ns)

    def _linked(self, file: CacheFile, goal: Path) -> bool:
        """Give a file a second name, which costs nothing."""
        if not self._can_link:
            return False
        partial = temporary_name(goal)
        try:
            os.link(file.path, partial)
        except OSError:
            return False
        replace(partial, goal)
        return True

    def _copy(self, file: CacheFile, state: _State, goal: Path, report: Report) -> None:
        """Copy a file and read the copy back. Raises: Damaged where the old one is not sound."""
        data = _content(file.path)
        if file.kind == BLOCK:
            _pixels(data, file)
        partial = temporary_name(goal)
        try:
            with partial.open("xb") as stream:
                for at in range(0, len(data), CHUNK_BYTES):
                    stream.write(data[at : at + CHUNK_BYTES])
                    self._done_bytes += len(data[at : at + CHUNK_BYTES])
                    self._tell(report)
                stream.flush()
                os.fsync(stream.fileno())
                _forget_pages(stream.fileno())
            if partial.read_bytes() != data:
                raise NotWritable(str(goal), GARBLED)
            os.utime(partial, ns=(int(file.used * 1e9), state.mtime_ns))
            replace(partial, goal)
        finally:
            delete(partial)  # there only if something went wrong

    # --- delete

    def _sync(self) -> None:
        """See to it that the new names are on the disk before the old ones go."""
        for folder in {self._goal_of(path).parent for path in self._brought}:
            with contextlib.suppress(OSError):  # Windows can't, and need not
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _delete(self, found: List[CacheFile], report: Report) -> None:
        """Delete the old files that have been brought, unless they have changed since."""
        for file in found:
            self._tell(report)
            if self._brought.get(file.path, _GONE) == _state(file.path):
                delete(Path(file.path))

    def _goal_of(self, path: str) -> Path:
        return self._goal / Path(path).relative_to(self._source)

    def _tell(self, report: Report) -> None:
        done = min(self._done_bytes, self._all_bytes)
        message = f"Moving {done / 1e6:.1f} of {self._all_bytes / 1e6:.1f} MB"
        report(done / self._all_bytes, message)


# --- files


_GONE = _State(-1, -1)


def _state(path: Union[str, Path]) -> Optional[_State]:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return _State(status.st_size, status.st_mtime_ns)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _Unreadable from error


def _pixels(data: bytes, file: CacheFile) -> int:
    """Return of how many pixels a block knows something. Raises: Damaged."""
    record = records.from_bytes(data, file.origin.depth if file.origin else 0)
    return int(np.count_nonzero(record["consulted"]))


def _forget_pages(descriptor: int) -> None:
    """Let what was written be read back from the disk, not from memory, where that can be asked."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _remove_folders(root: Path) -> None:
    """Remove what is left of a cache without files: its locks and its empty folders."""
    for path in _lock_files(root):
        delete(path)
    for archive in archive_folders(root):
        for folder, _, _ in os.walk(archive, topdown=False):
            _remove_if_empty(Path(folder))
    _remove_if_empty(root / LOCKS)
    _remove_if_empty(root)


def _lock_files(root: Path) -> List[Path]:
    return [path for path in (root / LOCKS).glob("*") if LOCK_NAME.fullmatch(path.name)]


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
