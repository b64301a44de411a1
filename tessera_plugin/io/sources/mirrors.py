# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive under one address or several: the object store itself first, its gateway if need be."""

from __future__ import annotations

import time
from typing import Callable, Dict, Optional, Tuple, TypeVar

from ...errors import AccessRefused, NetworkFailed
from ...values import PUBLIC_ARCHIVE
from ..cache import archive_identity
from ..http import HttpClient, Progress, RangeReply

PUBLIC_DIRECT = "https://s3.us-west-2.amazonaws.com/us-west-2.opendata.source.coop/tessera/tessera"
"""The public archive's own object store; the gateway drops requests when there are many."""

AVOID_S = 600.0
"""How long an address that failed is asked last."""

_Reply = TypeVar("_Reply")
_failed: Dict[str, float] = {}


def roots_of(archive: str) -> Tuple[str, ...]:
    """Return the addresses of an archive, the best one first."""
    if archive_identity(archive) == archive_identity(PUBLIC_ARCHIVE):
        return PUBLIC_DIRECT, PUBLIC_ARCHIVE
    return (archive.rstrip("/"),)


class Front:
    """Asks for objects by their path in an archive. Safe between threads."""

    def __init__(self, client: HttpClient, roots: Tuple[str, ...]) -> None:
        self._client = client
        self._roots = roots

    def get(self, path: str, known_etag: str = "") -> RangeReply:
        """Return a whole object; see `HttpClient.get`."""
        return self._ask(path, lambda url: self._client.get(url, None, known_etag))

    def get_tail(self, path: str, size: int, progress: Optional[Progress] = None) -> RangeReply:
        """Return the end of an object; see `HttpClient.get_tail`."""
        return self._ask(path, lambda url: self._client.get_tail(url, size, progress))

    def get_range(
        self,
        path: str,
        start: int,
        stop: int,
        etag: Optional[str] = None,
        progress: Optional[Progress] = None,
    ) -> RangeReply:
        """Return a part of an object; see `HttpClient.get_range`."""
        return self._ask(path, lambda url: self._client.get_range(url, start, stop, etag, progress))

    def url(self, path: str) -> str:
        """Return the first address of an object."""
        return f"{self._order()[0]}/{path}"

    def _order(self) -> Tuple[str, ...]:
        now = time.monotonic()
        return tuple(sorted(self._roots, key=lambda root: _failed.get(root, 0.0) > now))

    def _ask(self, path: str, ask: Callable[[str], _Reply]) -> _Reply:
        """Ask one address after another; what the last one says is final."""
        *others, last = self._order()
        for root in others:
            if not self._client.heard_since(0.1):
                self._client.hurry()  # nothing heard yet: one try is enough to turn to the next
            try:
                return ask(f"{root}/{path}")
            except (NetworkFailed, AccessRefused) as error:
                self._client.check_cancelled()
                self._client.take_time()
                if isinstance(error, NetworkFailed):
                    _failed[root] = time.monotonic() + AVOID_S
        return ask(f"{last}/{path}")
