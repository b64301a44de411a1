# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is still to come of a byte range, over several tries and always of the same object."""

from __future__ import annotations

from typing import Dict, Optional, Tuple

import requests

from .http_answers import Retry, checked_range
from .objects import Feed, RangeReply, Sink, opaque

MUCH_BYTES = 100_000
"""A try that has brought so much for a sink has been worth it: the next begins after it."""


class Rest:
    """A range of which a sink, if there is one, has got the first bytes."""

    def __init__(self, url: str, span: Tuple[int, int], etag: str, sink: Optional[Sink]) -> None:
        self._url = url
        self._start, self._stop = span
        self._etag = etag
        self._feed = Feed(sink) if sink else None
        self._first: Optional[RangeReply] = None
        """The head of the answer that brought the first bytes."""
        self._noted = 0

    @property
    def size(self) -> int:
        """Bytes that are still to come."""
        return self._stop - self._start - self._came

    def headers(self) -> Dict[str, str]:
        """Return what asks for them, of that very object."""
        headers = {"Range": f"bytes={self._start + self._came}-{self._stop - 1}"}
        if self._etag and not self._etag.startswith("W/"):
            headers["If-Match"] = self._etag
        return headers

    def checked(self, response: requests.Response) -> RangeReply:
        """Check that an answer is that; return its head, which the sink has seen."""
        total = checked_range(self._url, response, self._start + self._came, self._stop)
        found = str(response.headers.get("ETag", ""))
        if self._etag and opaque(self._etag) != opaque(found):
            raise Retry("it has changed", changed=found or "none")
        modified = str(response.headers.get("Last-Modified", ""))
        head = RangeReply(b"", found, total, modified)
        self._check_first(head)
        if self._feed:
            self._feed.show(head)
        return head

    def hand(self, piece: bytes) -> None:
        """Give the sink what follows."""
        if self._feed:
            self._feed.hand(piece)

    def has_gone_on(self) -> bool:
        """Whether much has come since this was asked last."""
        gained = self._came - self._noted
        self._noted = self._came
        return gained >= MUCH_BYTES

    @property
    def _came(self) -> int:
        return self._feed.came if self._feed else 0

    def _check_first(self, head: RangeReply) -> None:
        """Check that an answer goes on with the object that the first bytes are of."""
        first = self._first
        if first is None or not self._came:
            self._first = head
            # the rest must be of it, also where nobody had seen it before
            self._etag = self._etag or (head.etag if self._feed else "")
            return
        is_dated = bool(first.etag) or first.last_modified == head.last_modified
        if first.total != head.total or not is_dated:
            raise Retry("it has changed", changed=f"{head.total} {head.last_modified}")
