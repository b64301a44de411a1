# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bodies of answers: of the right length, no faster than allowed, and not too slowly for ever."""

from __future__ import annotations

import contextlib
import time
from typing import Callable, Iterator, Optional

import requests

from .http_answers import BROKEN, TOO_SLOW, Retry, content_length
from .http_lines import Line
from .objects import GET_LIMIT_BYTES, ObjectUnusable, Progress
from .pace import PIECE_BYTES, Pace

DRAIN_BYTES = 1 << 16

FIRST_PIECE_BYTES = 1 << 13
QUICK_S = 0.5
"""Pieces grow while they come in this time, and become small again when they don't."""

SLOWEST_BYTES_PER_S = 256.0
"""A piece that comes more slowly than this, after the time that silence is borne, is given up."""


class Bodies:
    """Reads bodies for one client. Safe between threads."""

    def __init__(self, pace: Pace, silence_s: float, came: Callable[[int], None]) -> None:
        """`silence_s` is how long silence is borne; `came` is called with the bytes of a piece."""
        self._pace = pace
        self._silence_s = silence_s
        self._came = came

    def read(
        self,
        line: Line,
        response: requests.Response,
        length: Optional[int],
        progress: Optional[Progress],
    ) -> bytes:
        """Return a body of exactly this length; None where the server says where it ends.

        Raises: Retry, ObjectUnusable, Cancelled; and what a broken connection raises.
        """
        told = _told(response, length)
        data = bytearray()
        try:
            for piece in self._pieces(line, response, length):
                data += piece
                if progress:
                    progress(len(piece))
            if length is not None and told is None and self._piece(line, response, 1):
                raise Retry(f"more than {length:,} bytes were sent")
        except BaseException:
            if progress and data:
                progress(-len(data))
            raise
        return bytes(data)

    def hand_on(
        self,
        line: Line,
        response: requests.Response,
        length: int,
        progress: Optional[Progress],
        hand: Callable[[bytes], None],
    ) -> None:
        """Hand on a body of exactly this length as it comes; raises as `read`, and what `hand` does.

        One of which the server does not say how long it is comes at once: only its end tells
        whether it is right.
        """
        if _told(response, length) is None:
            hand(self.read(line, response, length, progress))
            return
        for piece in self._pieces(line, response, length):
            if progress:
                progress(len(piece))
            hand(piece)

    def drain(self, line: Line, response: requests.Response) -> None:
        """Read a small error page to its end, so that the connection can be used again."""
        length = content_length(response)
        if length is not None and length <= DRAIN_BYTES:
            with contextlib.suppress(*BROKEN), line.within(self._silence_s):
                self._came(len(response.raw.read(length)))

    def _pieces(
        self, line: Line, response: requests.Response, length: Optional[int]
    ) -> Iterator[bytes]:
        size = FIRST_PIECE_BYTES
        end = GET_LIMIT_BYTES + 1 if length is None else length
        came = 0
        while came < end:
            wanted = min(size, self._pace.piece_bytes, end - came)
            self._pace.take(wanted)
            began = time.monotonic()
            piece = self._piece(line, response, wanted)
            if not piece and length is None:
                return
            if not piece:
                raise Retry(f"only {came:,} of {length:,} bytes came")
            is_quick = time.monotonic() - began < QUICK_S
            size = min(2 * size, PIECE_BYTES) if is_quick else FIRST_PIECE_BYTES
            came += len(piece)
            self._came(len(piece))
            yield piece
        if length is None:
            raise ObjectUnusable(str(response.url), f"it has more than {GET_LIMIT_BYTES:,} bytes")

    def _piece(self, line: Line, response: requests.Response, size: int) -> bytes:
        """Return the next bytes of a body; fewer at its end only."""
        with line.within(self._silence_s + size / SLOWEST_BYTES_PER_S):
            piece = bytes(response.raw.read(size))
        self._pace.check()
        if line.is_late:
            raise too_slow()
        return piece


def _told(response: requests.Response, length: Optional[int]) -> Optional[int]:
    """Return the length that the server tells, which must be this one; None where it tells none."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Retry("the answer is encoded")
    told = content_length(response)
    if length is not None and told not in (None, length):
        raise Retry(f"{told:,} bytes were sent instead of {length:,}")
    return told


def too_slow() -> Retry:
    """Return what it means that a line was late: as good as silence."""
    return Retry(TOO_SLOW, is_slow=True, is_silent=True)
