# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A range of an object cut into its chunks while it comes."""

from __future__ import annotations

import time
from typing import Callable, Optional, Sequence

from ..objects import RangeReply
from ..zarr.shards import Chunk, Span

WAIT_S = 0.25
"""Chunks wait about this long at most for more of them."""

BytesOf = Callable[[Chunk], bytes]

Put = Callable[[Sequence[Chunk], BytesOf], None]
"""Takes chunks, and what gives their bytes."""


class Intake:
    """A sink for a range: hands its chunks on, several at once; what lies between is let go."""

    def __init__(
        self, span: Span, several: int, put: Put, check: Callable[[RangeReply], None]
    ) -> None:
        """`check` is shown the head of every answer before its bytes are taken, and may raise."""
        self._chunks = span.chunks
        self._several = several
        self._put = put
        self._check = check
        self._data = bytearray()
        self._at = span.start
        """Where the bytes that are held start in the object."""
        self._come = 0
        """How many chunks have come."""
        self._since: Optional[float] = None
        """When the first came of those that wait."""
        self.put = 0
        """How many chunks have been handed on: the first ones of the range."""

    def begin(self, head: RangeReply) -> None:
        """See `Sink.begin`."""
        self._check(head)

    def take(self, _: int, data: bytes) -> None:
        """See `Sink.take`."""
        self._data += data
        end = self._at + len(self._data)
        while self._come < len(self._chunks) and self._chunks[self._come].stop <= end:
            self._come += 1
        waiting = self._come - self.put
        now = time.monotonic()
        if waiting and self._since is None:
            self._since = now
        is_long = self._since is not None and now - self._since >= WAIT_S
        if waiting >= self._several or is_long or self._come == len(self._chunks):
            self.flush()
        elif not waiting:
            self._let_go()

    def flush(self) -> None:
        """Hand on all chunks that have come."""
        self._since = None
        first, self.put = self.put, self._come
        for at in range(first, self._come, self._several):
            self._put(self._chunks[at : min(at + self._several, self._come)], self._bytes_of)
        self._let_go()

    def _bytes_of(self, chunk: Chunk) -> bytes:
        return bytes(self._data[chunk.start - self._at : chunk.stop - self._at])

    def _let_go(self) -> None:
        """Drop the bytes before the next chunk; chunks may share bytes, but none starts before."""
        end = self._at + len(self._data)
        is_last = self.put == len(self._chunks)
        keep = end if is_last else min(self._chunks[self.put].start, end)
        if keep > self._at:
            del self._data[: keep - self._at]
            self._at = keep
