# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive under one address or several: the object store itself first, its gateway if need be."""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Optional, Tuple, TypeVar

from ...errors import AccessRefused, NetworkFailed
from ...progress import Gate
from ...values import PUBLIC_ARCHIVE, NetworkSettings
from ..cache import archive_identity
from ..folder import LEADS_OUT, FolderClient, folder_path, is_folder
from ..http import HttpClient
from ..objects import Client, Feed, ObjectUnusable, Progress, RangeReply, Sink, is_inside

PUBLIC_DIRECT = "https://s3.us-west-2.amazonaws.com/us-west-2.opendata.source.coop/tessera/tessera"
"""The public archive's own object store; the gateway drops requests when there are many."""

AVOID_S = 600.0
"""How long an address that failed is asked last."""

__all__ = ["Client", "Front", "is_folder", "open_client", "roots_of"]

_Reply = TypeVar("_Reply")
_failed: Dict[str, float] = {}


def roots_of(location: str) -> Tuple[str, ...]:
    """Return the addresses of an archive or store, the best one first; of a folder its path."""
    if is_folder(location):
        return (folder_path(location),)
    if archive_identity(location) == archive_identity(PUBLIC_ARCHIVE):
        return PUBLIC_DIRECT, PUBLIC_ARCHIVE
    return (location.rstrip("/"),)


def open_client(location: str, network: NetworkSettings, gate: Optional[Gate] = None) -> Client:
    """Return who can ask for the objects of an archive or store; to be closed."""
    if is_folder(location):
        return FolderClient(folder_path(location), gate)
    return HttpClient(network, gate)


class Front:
    """Asks for objects by their path in an archive. Safe between threads."""

    def __init__(self, client: Client, roots: Tuple[str, ...]) -> None:
        self._client = client
        self._roots = roots

    def get(self, path: str, known_etag: str = "") -> RangeReply:
        """Return a whole object; see `Client.get`."""
        return self._ask(path, lambda url: self._client.get(url, None, known_etag))

    def get_tail(self, path: str, size: int, progress: Optional[Progress] = None) -> RangeReply:
        """Return the end of an object; see `Client.get_tail`."""
        return self._ask(path, lambda url: self._client.get_tail(url, size, progress))

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
        """Return a part of an object; see `Client.get_range`."""
        client = self._client
        if sink is None:
            return self._ask(path, lambda url: client.get_range(url, start, stop, etag, progress))
        feed = Feed(sink)

        def ask(url: str) -> RangeReply:
            at = start + feed.came
            if feed.came and not etag:
                raise ObjectUnusable(url, "nothing tells whether it is the same everywhere")
            return client.get_range(url, at, stop, etag, progress, sink=feed)

        return self._ask(path, ask)

    def url(self, path: str) -> str:
        """Return the first address of an object."""
        return f"{self._order()[0]}/{path}"

    def _order(self) -> Tuple[str, ...]:
        now = time.monotonic()
        return tuple(sorted(self._roots, key=lambda root: _failed.get(root, 0.0) > now))

    def _ask(self, path: str, ask: Callable[[str], _Reply]) -> _Reply:
        """Ask one address after another; what the last one says is final.

        That there is no such object, or that it is not what it must be, is final at once. An
        address that refuses may do so because there is no such object, or refuse everything (a
        filter on the way): that shows when the next one has it.
        """
        if not is_inside(path):
            raise ObjectUnusable(self.url(path), LEADS_OUT)
        *others, last = self._order()
        refused: List[str] = []
        for root in others:
            if not self._client.heard_since(0.1):
                self._client.hurry()  # nothing heard yet: one try is enough to turn to the next
            try:
                return ask(f"{root}/{path}")
            except ObjectUnusable:
                raise
            except (NetworkFailed, AccessRefused) as error:
                self._client.check_cancelled()
                self._client.take_time()
                if isinstance(error, NetworkFailed):
                    _avoid(root)
                else:
                    refused.append(root)
        reply = ask(f"{last}/{path}")
        for root in refused:
            _avoid(root)
        return reply


def _avoid(root: str) -> None:
    _failed[root] = time.monotonic() + AVOID_S
