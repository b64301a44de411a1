# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Scales that coverage has read ahead of a fetch: kept, and not asked for again.

    <cache>/<archive>/<dataset>/d<depth>/<form>/<year>/tiles/<hash of the object's path>.ahead

A file is a line of JSON, then the ranges as they were received. It is worth something only until the
blocks are there, so all of them together are kept small, and any may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
import zlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ...errors import DiskFull, NotWritable
from ..cache import BlockCache, ObjectInfo
from ..files import write_bytes
from ..objects import Client, Progress, RangeReply, Sink
from .mirrors import Front

FORMAT = 1
LIMIT_BYTES = 128_000_000
"""Of all files of a cache together."""

HOLES = 4
"""A range with more gaps in what is kept is asked for as a whole."""

_FILES = "*/*/d*/*/*/tiles/*.ahead"

Span = Tuple[int, int]
"""First byte and the one after the last."""


class _Part(NamedTuple):
    start: int
    stop: int
    at: int
    """Where it lies in the file, after the head."""
    crc: int


class _Kept(NamedTuple):
    path: Path
    body: int
    """Where the head ends in the file."""
    etag: str
    total: int
    last_modified: str
    parts: Tuple[_Part, ...]


class Ahead:
    """The ranges kept of a source's objects, by their path in the archive and their ETag."""

    def __init__(self, cache: BlockCache) -> None:
        self._root = cache.root
        self._folder = cache.folder / "tiles"

    def spans(self, path: str, info: ObjectInfo) -> List[Span]:
        """Return which bytes are kept of an object, merged and ascending."""
        kept = self._head(path, info.etag)
        merged: List[Span] = []
        for part in sorted(kept.parts) if kept else ():
            if merged and part.start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], part.stop)
            else:
                merged.append((part.start, part.stop))
        return merged

    def read(
        self, path: str, etag: str, start: int, stop: int
    ) -> Optional[Tuple[RangeReply, List[Span]]]:
        """Return a range with zeros where nothing is kept, and those holes; None without any of it."""
        kept = self._head(path, etag)
        if kept is None:
            return None
        data = bytearray(stop - start)
        holes: List[Span] = []
        at = start
        for part in sorted(kept.parts):
            if part.stop <= at or part.start >= stop:
                continue
            body = _body(kept, part)
            if body is None:
                continue
            if part.start > at:
                holes.append((at, part.start))
                at = part.start
            upto = min(part.stop, stop)
            data[at - start : upto - start] = body[at - part.start : upto - part.start]
            at = upto
        if at == start:
            return None
        if at < stop:
            holes.append((at, stop))
        return RangeReply(bytes(data), kept.etag, kept.total, kept.last_modified), holes

    def keep(self, path: str, info: ObjectInfo, ranges: Sequence[Tuple[int, bytes]]) -> None:
        """Keep ranges of an object beside those that are kept; where that can't be done it is not."""
        if not info.etag or not ranges:
            return
        bodies = [(start, data) for start, data in ranges if data]
        kept = self._head(path, info.etag)
        for part in kept.parts if kept else ():
            body = _body(kept, part) if kept else None
            if body and not any(s <= part.start and part.stop <= s + len(d) for s, d in bodies):
                bodies.append((part.start, body))
        head = {
            "format": FORMAT,
            "path": path,
            "etag": info.etag,
            "total": info.length,
            "last_modified": info.last_modified,
            "parts": [[start, len(data), zlib.crc32(data)] for start, data in bodies],
        }
        file = self._file(path)
        with contextlib.suppress(OSError, DiskFull, NotWritable):
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(head).encode(), b"\n", *(data for _, data in bodies)]
            write_bytes(file, b"".join(lines))
            prune(self._root)

    def _file(self, path: str) -> Path:
        return self._folder / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.ahead"

    def _head(self, path: str, etag: str) -> Optional[_Kept]:
        """Return what is kept of an object, if it is still that one."""
        file = self._file(path)
        try:
            with file.open("rb") as stream:
                line = stream.readline()
            head = json.loads(line)
            if (head["format"], head["path"], head["etag"]) != (FORMAT, path, etag) or not etag:
                return None
            return _Kept(file, len(line), etag, int(head["total"]), str(head["last_modified"]),
                         tuple(_parts(head["parts"])))  # fmt: skip
        except (OSError, ValueError, TypeError, KeyError):
            return None


class AheadFront(Front):
    """Asks for objects by their path, but not for what was read ahead.

    Nothing is given twice: who asks again wants to know whether it comes the same.
    """

    def __init__(self, client: Client, roots: Tuple[str, ...], ahead: Ahead) -> None:
        super().__init__(client, roots)
        self._ahead = ahead
        self._lock = threading.Lock()
        self._given: Dict[str, Set[Span]] = {}

    def get_range(
        self,
        path: str,
        start: int,
        stop: int,
        etag: Optional[str] = None,
        progress: Optional[Progress] = None,
        *,
        sink: Optional[Sink] = None,
    ) -> RangeReply:
        """Return a part of an object; see `Front.get_range`."""
        found = self._ahead.read(path, etag, start, stop) if etag else None
        if found is None or len(found[1]) > HOLES or not self._is_first(path, start, stop):
            return super().get_range(path, start, stop, etag, progress, sink=sink)
        reply, holes = found
        data = bytearray(reply.data)
        if progress is not None:
            progress(len(data) - sum(last - first for first, last in holes))
        for first, last in holes:
            piece = super().get_range(path, first, last, etag, progress)
            data[first - start : last - start] = piece.data
        whole = dataclasses.replace(reply, data=bytes(data))
        if sink is None:
            return whole
        head = dataclasses.replace(reply, data=b"")
        sink.begin(head)
        sink.take(0, whole.data)
        return head

    def _is_first(self, path: str, start: int, stop: int) -> bool:
        with self._lock:
            given = self._given.setdefault(path, set())
            if any(first < stop and start < last for first, last in given):
                return False
            given.add((start, stop))
            return True


def prune(root: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Delete the oldest files until at most `limit_bytes` are left."""
    found: List[Tuple[float, int, Path]] = []
    for path in root.glob(_FILES):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit_bytes:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def _parts(listed: Sequence[Sequence[int]]) -> List[_Part]:
    parts: List[_Part] = []
    at = 0
    for start, size, crc in listed:
        parts.append(_Part(int(start), int(start) + int(size), at, int(crc)))
        at += int(size)
    return parts


def _body(kept: _Kept, part: _Part) -> Optional[bytes]:
    """Return the bytes of a part; None where they are damaged."""
    try:
        with kept.path.open("rb") as stream:
            stream.seek(kept.body + part.at, os.SEEK_SET)
            data = stream.read(part.stop - part.start)
    except OSError:
        return None
    return data if len(data) == part.stop - part.start and zlib.crc32(data) == part.crc else None
