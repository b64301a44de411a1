# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects below a folder: an archive on a stick or a network share, asked like one on a server."""

from __future__ import annotations

import contextlib
import dataclasses
import ntpath
import os
import posixpath
import re
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import IO, Callable, Iterator, Optional, Tuple
from urllib.parse import unquote, urlsplit

from ..errors import NetworkFailed
from ..progress import Gate
from .objects import (
    GET_LIMIT_BYTES,
    Feed,
    NotFound,
    NotModified,
    ObjectChanged,
    ObjectUnusable,
    Progress,
    RangeReply,
    Sink,
    SinkFailed,
    Unreachable,
    is_inside,
    opaque,
)
from .pace import Pace

READ_BYTES = 1 << 20

NOT_THERE = "the folder is not there"
LEADS_OUT = "its path leads out of the folder"
NOT_ALLOWED = "reading it is not allowed"

_DRIVE = re.compile(r"[a-zA-Z]:([\\/]|$)")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")

Span = Tuple[int, int]


# --- which folder


def is_folder(location: str) -> bool:
    """Whether a location is a folder: a file: URL, or a path of this system or of Windows."""
    text = location.strip()
    if not text:
        return False
    if _is_windows(text):
        return True
    scheme = _SCHEME.match(text)
    return scheme is None or scheme.group().lower() == "file:"


def folder_path(location: str, *, windows: bool = os.name == "nt") -> str:
    """Return the absolute, normalised path of a folder given as a path or a file: URL.

    Drive letters and shares (UNC) are understood on every system; `windows` decides what is meant
    by the other paths.
    """
    text = location.strip()
    text = _path_of_url(text) if text[:5].lower() == "file:" else os.path.expanduser(text)  # noqa: PTH111 - not Path: other systems' paths too
    if _is_windows(text) or windows:
        return ntpath.abspath(f"{text}\\" if text.endswith(":") else text)
    path = posixpath.abspath(text)
    return path[1:] if path.startswith("//") else path


def folder_identity(location: str, *, windows: bool = os.name == "nt") -> str:
    """Return what tells a folder from others: the same however its path is written."""
    path = folder_path(location, windows=windows)
    if _is_windows(path) or windows:
        path = path.replace("\\", "/").casefold()
    return f"folder:{path}"


def _is_windows(text: str) -> bool:
    """Whether a text is a path with a drive letter or a share, which no other system has."""
    return bool(_DRIVE.match(text)) or text.startswith("\\\\")


def _path_of_url(url: str) -> str:
    """Return the path in a file: URL; one with a host is a share."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc and parts.netloc.lower() != "localhost":
        return f"\\\\{parts.netloc}" + path.replace("/", "\\")
    if _DRIVE.match(path[1:]):
        return path[1:]
    return path.replace("/", "\\") if path.startswith("//") else path


# --- what lies in it


class FolderClient:
    """Asks for objects below a folder, by `<folder>/<path>`, as `HttpClient` does of servers.

    An object's ETag is made of its size and the time it was written. Nothing is tried twice: the
    system has done that. A read that the system does not end can't be cancelled, only left alone.
    """

    def __init__(self, folder: str, gate: Optional[Gate] = None) -> None:
        self._root = folder
        self._stop = threading.Event()
        self._pace = Pace(self._stop, gate)
        self._lock = threading.Lock()
        self._heard = 0.0
        self.bytes_received = 0
        """Bytes read."""
        self.requests = 0
        """How many objects or parts have been asked for."""

    def get_range(
        self,
        url: str,
        start: int,
        stop: int,
        etag: Optional[str] = None,
        progress: Optional[Progress] = None,
        *,
        sink: Optional[Sink] = None,
    ) -> RangeReply:
        """Return the bytes from `start` up to, not with, `stop`; with `etag` of that very file.

        Raises: NotFound, ObjectChanged, NetworkFailed (Unreachable), Cancelled, and what the sink
        raises.
        """

        def span(found: os.stat_result) -> Span:
            if etag and opaque(etag) != _etag(found):
                raise ObjectChanged(url)
            if stop > found.st_size:
                raise ObjectUnusable(url, f"it has only {found.st_size:,} bytes")
            return start, stop

        if sink is None:
            return self._asked(url, span, progress)
        try:
            return self._asked(url, span, progress, Feed(sink))
        except SinkFailed as failed:
            raise failed.error from failed.error.__cause__

    def get_tail(self, url: str, size: int, progress: Optional[Progress] = None) -> RangeReply:
        """Return the last `size` bytes of a file.

        Raises: NotFound, NetworkFailed (Unreachable), Cancelled.
        """

        def span(found: os.stat_result) -> Span:
            if size > found.st_size:
                raise ObjectUnusable(url, f"it has only {found.st_size:,} bytes")
            return found.st_size - size, found.st_size

        return self._asked(url, span, progress)

    def get(
        self, url: str, progress: Optional[Progress] = None, known_etag: str = ""
    ) -> RangeReply:
        """Return a whole file of at most 64 MiB.

        Raises: NotFound, NotModified, NetworkFailed (Unreachable), Cancelled.
        """

        def span(found: os.stat_result) -> Span:
            if known_etag == _etag(found):
                raise NotModified(url)
            if found.st_size > GET_LIMIT_BYTES:
                raise ObjectUnusable(url, f"it has {found.st_size:,} bytes, more than expected")
            return 0, found.st_size

        return self._asked(url, span, progress)

    def heard_since(self, moment: float) -> bool:
        """Whether the folder was there after a moment of `time.monotonic()`."""
        return self._heard >= moment

    def hurry(self) -> None:
        """Do nothing: there is but one try."""

    def take_time(self) -> None:
        """Do nothing: see `hurry`."""

    def check_cancelled(self) -> None:
        """Raise Cancelled if `cancel` was called."""
        self._pace.check()

    def cancel(self) -> None:
        """End every reading; for good."""
        self._stop.set()

    def close(self) -> None:
        """End every reading."""
        self.cancel()

    # --- one file

    def _asked(
        self,
        url: str,
        span_of: Callable[[os.stat_result], Span],
        progress: Optional[Progress],
        feed: Optional[Feed] = None,
    ) -> RangeReply:
        path = self._path(url)
        self._pace.wait_open()
        with self._lock:
            self.requests += 1
        with self._explained(url), path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            self._heard = time.monotonic()
            modified = formatdate(before.st_mtime, usegmt=True)
            head = RangeReply(b"", _etag(before), before.st_size, modified)
            span = span_of(before)
            if feed is None:
                data = self._read(url, stream, span, head.etag, progress)
                return dataclasses.replace(head, data=data)
            feed.show(head)
            for piece in self._pieces(url, stream, span, head.etag):
                if progress:
                    progress(len(piece))
                feed.hand(piece)
        return head

    def _path(self, url: str) -> Path:
        """Return the file of an address; one that leads out of the folder is refused."""
        path = url[len(self._root) + 1 :]
        if not url.startswith(f"{self._root}/") or not is_inside(path):
            raise ObjectUnusable(url, LEADS_OUT)
        return Path(self._root, *path.split("/"))

    def _read(
        self, url: str, stream: IO[bytes], span: Span, etag: str, progress: Optional[Progress]
    ) -> bytes:
        data = bytearray()
        try:
            for piece in self._pieces(url, stream, span, etag):
                data += piece
                if progress:
                    progress(len(piece))
        except BaseException:
            if progress and data:
                progress(-len(data))
            raise
        return bytes(data)

    def _pieces(self, url: str, stream: IO[bytes], span: Span, etag: str) -> Iterator[bytes]:
        """Yield a part of a file, as long as it is the same file. Raises: ObjectChanged."""
        at, stop = span
        stream.seek(at)
        while at < stop:
            self._pace.wait_open()
            piece = stream.read(min(READ_BYTES, stop - at))
            if not piece or _etag(os.fstat(stream.fileno())) != etag:
                raise ObjectChanged(url)
            at += len(piece)
            with self._lock:
                self.bytes_received += len(piece)
            yield piece

    @contextlib.contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        """Say in words what the system has against reading a file."""
        try:
            yield
        except OSError as error:
            self.check_cancelled()
            raise self._judged(url, error) from error

    def _judged(self, url: str, error: OSError) -> Exception:
        if not self._is_there():
            return Unreachable(url, NOT_THERE)
        self._heard = time.monotonic()
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return NotFound(url)
        if isinstance(error, (PermissionError, IsADirectoryError)):
            return NetworkFailed(url, NOT_ALLOWED)
        return NetworkFailed(url, f"the folder can't be read ({error.strerror or error})")

    def _is_there(self) -> bool:
        """Whether the folder is there; where a stick was taken out an empty one may be left."""
        try:
            with os.scandir(self._root) as entries:
                return next(entries, None) is not None
        except PermissionError:
            return True
        except OSError:
            return False


def _etag(found: os.stat_result) -> str:
    return f'"{found.st_size:x}-{found.st_mtime_ns:x}"'
