# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Published objects and how they are asked for, wherever they lie: what a server and a folder share."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

from ..errors import NetworkFailed

Progress = Callable[[int], None]
"""Called with the bytes that came; with a negative number when they were discarded."""

GET_LIMIT_BYTES = 64 << 20
"""Larger objects are never asked for as a whole."""

_MD5 = re.compile(r'"?([0-9a-fA-F]{32})"?')


class NotFound(Exception):  # noqa: N818 - an answer, not a mistake; io-internal
    """There is no such object."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} does not exist")
        self.url = url


class ObjectChanged(Exception):  # noqa: N818 - see NotFound
    """The object is no longer the one that was read before."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} has changed")
        self.url = url


class NotModified(Exception):  # noqa: N818 - see NotFound
    """The object is still the one that is known."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} has not changed")
        self.url = url


class Unreachable(NetworkFailed):
    """No try brought any answer: no connection, no name, no folder, or silence."""


class ObjectUnusable(NetworkFailed):
    """The object is there but not what it must be; asking elsewhere would not help."""


@dataclass(frozen=True)
class RangeReply:
    """A verified part of an object, or the whole of it."""

    data: bytes
    etag: str
    """As the server wrote it, quotes included; empty if it gave none."""
    total: int
    """Length of the whole object in bytes."""
    last_modified: str


class Sink(Protocol):
    """Takes the bytes of a range as they come, each once and in their order, in the asker's thread.

    What it raises ends the asking, and is raised there.
    """

    def begin(self, head: RangeReply) -> None:
        """See of which object the bytes will be (`head` has none); before the first of each try."""

    def take(self, offset: int, data: bytes) -> None:
        """Take bytes that lie `offset` bytes after the start of the range."""


class SinkFailed(Exception):  # noqa: N818 - never leaves a client
    """Carries what a sink has raised past those who would take it for a broken connection."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Feed:
    """Hands bytes to a sink, those of a part of its range; knows how many have come."""

    def __init__(self, sink: Sink, offset: int = 0) -> None:
        self._sink = sink
        self._offset = offset
        self.came = 0

    def begin(self, head: RangeReply) -> None:
        """See `Sink.begin`."""
        self._sink.begin(head)

    def take(self, _: int, data: bytes) -> None:
        """Hand on what follows; wherever it lies in what was asked for last."""
        self._sink.take(self._offset + self.came, data)
        self.came += len(data)

    def hand(self, data: bytes) -> None:
        """Hand on what follows. Raises: SinkFailed."""
        try:
            self.take(0, data)
        except BaseException as error:
            raise SinkFailed(error) from error

    def show(self, head: RangeReply) -> None:
        """Tell of which object it will be. Raises: SinkFailed."""
        try:
            self.begin(head)
        except BaseException as error:
            raise SinkFailed(error) from error


class Client(Protocol):
    """Asks for objects by their address; may be used from many threads, and cancelled from any.

    After `cancel` every call in flight and every later one raises Cancelled.
    """

    bytes_received: int
    """Bytes of bodies, discarded ones included."""
    requests: int
    """Tries."""

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
        """Return the bytes from `start` up to, not with, `stop`; with `etag` of that very object.

        A sink gets them as they come, and then the reply has none; what it got before an error
        stays good. Raises: NotFound, ObjectChanged, AccessRefused, NetworkFailed (Unreachable),
        Cancelled, and what the sink raises.
        """

    def get_tail(self, url: str, size: int, progress: Optional[Progress] = None) -> RangeReply:
        """Return the last `size` bytes of an object whose length is not known.

        Raises: NotFound, AccessRefused, NetworkFailed (Unreachable), Cancelled.
        """

    def get(
        self, url: str, progress: Optional[Progress] = None, known_etag: str = ""
    ) -> RangeReply:
        """Return a whole object of at most 64 MiB.

        Raises: NotFound, NotModified where it still has the known ETag, AccessRefused,
        NetworkFailed (Unreachable), Cancelled.
        """

    def heard_since(self, moment: float) -> bool:
        """Whether anything was answered after a moment of `time.monotonic()`."""

    def hurry(self) -> None:
        """Try everything but once, until something is heard again."""

    def take_time(self) -> None:
        """Take `hurry` back."""

    def check_cancelled(self) -> None:
        """Raise Cancelled if `cancel` was called."""

    def cancel(self) -> None:
        """End everything in flight; for good."""

    def close(self) -> None:
        """End what is in flight and let go of everything."""


def opaque(etag: str) -> str:
    """Return an ETag for comparing by hand: a cache on the way may weaken a strong one."""
    return etag[2:] if etag.startswith("W/") else etag


def published_md5(etag: str) -> str:
    """Return the MD5 of an object where its ETag is that, as after a simple upload; else nothing."""
    match = _MD5.fullmatch(etag)
    return match.group(1).lower() if match else ""


def is_sound(reply: RangeReply) -> bool:
    """Whether a whole object has the published checksum, or none is published."""
    md5 = published_md5(reply.etag)
    return not md5 or hashlib.md5(reply.data, usedforsecurity=False).hexdigest() == md5


def is_inside(path: str) -> bool:
    """Whether the path of an object stays below the root it is put after, on every system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") or set(part) & set("\\:\0") for part in parts)
