# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What was received of a store, kept: files with a line of JSON, its checksum, and a body."""

from __future__ import annotations

import contextlib
import json
import zlib
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ...errors import NotWritable
from ..files import write_bytes, write_error

FORMAT = 1

Head = Dict[str, Any]
Signature = Tuple[int, int, int]


class Kept:
    """Files of a cache; for as long as this lives in memory, where the cache can't be written."""

    def __init__(self) -> None:
        self._held: Dict[Path, Tuple[str, bytes]] = {}

    def head(self, path: Path) -> Optional[Head]:
        """Return a file's head; its body is not looked at."""
        try:
            if path in self._held:
                line = self._held[path][0].encode()
            else:
                with path.open("rb") as stream:
                    line = stream.readline()
            head = json.loads(line)
            return head if head.pop("format") == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def load(self, path: Path) -> Tuple[Optional[Head], bytes]:
        """Return a file's head and body; no head where there is none that is sound."""
        head = self.head(path)
        if head is None or path in self._held:
            return head, self._held.get(path, ("", b""))[1]
        try:
            body = path.read_bytes().partition(b"\n")[2]
            is_sound = head.pop("crc") == zlib.crc32(body)
        except (OSError, KeyError):
            return None, b""
        return (head, body) if is_sound else (None, b"")

    def keep(self, path: Path, head: Head, body: bytes) -> None:
        """Write a file, or hold it in memory. Raises: DiskFull."""
        line = json.dumps({"format": FORMAT, "crc": zlib.crc32(body), **head})
        try:
            _write(path, line.encode() + b"\n" + body)
        except NotWritable:
            self._held[path] = line, body
        else:
            self._held.pop(path, None)

    def delete(self, path: Path) -> None:
        """Let go of a file."""
        self._held.pop(path, None)
        with contextlib.suppress(OSError):
            path.unlink()

    def is_held(self, path: Path) -> bool:
        """Whether a file is in memory only."""
        return path in self._held


def signature(path: Path) -> Optional[Signature]:
    """Return what tells a file from an older one of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    write_bytes(path, data)
