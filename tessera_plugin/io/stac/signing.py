# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tokens that some stores want with every request: asked for once, renewed in time, never told.

An address goes through messages, logs and files without its token; only what is really sent has it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import re
import threading
import time
from typing import Callable, Dict, Iterable, Optional, Tuple, TypeVar
from urllib.parse import urlsplit

from ...errors import AccessRefused, NetworkFailed
from ...progress import Gate
from ...values import NetworkSettings
from ..http import HttpClient
from ..objects import NotFound, RangeReply
from .catalogues import Catalogue

EARLY_S = 120.0
"""A token that expires so soon is renewed before it is used."""

SHORTEST_S = 60.0
"""A token counts for at least so long, whatever this computer's clock says of its expiry."""

_REFUSED = (401, 403)
_TOKEN = re.compile(r"[!-~]+")

_Reply = TypeVar("_Reply")


class _Blank(logging.Filter):
    """Takes tokens out of what the HTTP library writes into a log, where somebody asked for one."""

    _query = re.compile(r"\?[^\s\"']*\bsig=[^\s\"']*")

    def filter(self, record: logging.LogRecord) -> bool:
        """Blank queries with a signature; let every record pass."""
        if "sig=" in (said := record.getMessage()):
            record.msg, record.args = self._query.sub("?…", said), ()
        return True


_blank = _Blank()


class Signer:
    """Knows which addresses want a token, and the tokens. Safe between threads."""

    def __init__(self, catalogues: Iterable[Catalogue]) -> None:
        self._catalogues = tuple(one for one in catalogues if one.sign)
        self._ask: Callable[[str], RangeReply] = _nobody
        self._lock = threading.Lock()
        self._tokens: Dict[str, Tuple[str, float, float]] = {}
        """By the URL that gives it: the token, when it was asked for, and until when it counts."""
        self._refusals: Dict[str, int] = {}
        """Statuses of those that give none."""
        for name in ("urllib3.connectionpool", "urllib3.util.retry"):
            logging.getLogger(name).addFilter(_blank)

    def ask_through(self, ask: Callable[[str], RangeReply]) -> None:
        """Say who gets the answers of token addresses."""
        self._ask = ask

    def sent_as(self, url: str) -> str:
        """Return an address with its token, if it wants one.

        Raises: NetworkFailed, AccessRefused, Cancelled where there is no token to be had.
        """
        source = self._source_of(url)
        if not source:
            return url
        joint = "&" if urlsplit(url).query else "?"
        return f"{url}{joint}{self._token(source)}"

    def renews(self, url: str, began: float) -> bool:
        """Whether asking again may help after a refusal of what was begun at a `time.monotonic()`.

        The token that was used is forgotten then.
        """
        source = self._source_of(url)
        with self._lock:
            if not source or source in self._refusals:
                return False
            known = self._tokens.get(source)
            if known and known[1] <= began:
                del self._tokens[source]
            return True

    def _source_of(self, url: str) -> str:
        """Return the URL that gives the token for an address; empty where it needs none."""
        parts = urlsplit(url)
        container = parts.path.lstrip("/").split("/")[0]
        account = (parts.hostname or "").split(".")[0]
        for catalogue in self._catalogues:
            # a token goes where it is meant to, and as safely as it came
            is_safe = parts.scheme == urlsplit(catalogue.sign).scheme
            if is_safe and container and parts.netloc.lower().endswith(catalogue.signed):
                return f"{catalogue.sign}/{account}/{container}"
        return ""

    def _token(self, source: str) -> str:
        with self._lock:  # one asks, the others wait for what it gets
            if source in self._refusals:
                raise AccessRefused(source, self._refusals[source])
            known = self._tokens.get(source)
            if known and known[2] > time.monotonic():
                return known[0]
            began = time.monotonic()
            try:
                token, seconds = _understood(source, self._ask(source).data)
            except AccessRefused as error:
                self._refusals[source] = error.status
                raise
            except NotFound:
                raise NetworkFailed(source, "there is no token for it") from None
            self._tokens[source] = token, began, began + seconds
            return token


class SignedClient:
    """Asks for files of which some want a token; once more where one has expired."""

    def __init__(self, client: HttpClient, signer: Signer) -> None:
        self._client = client
        self._signer = signer

    def get_range(self, url: str, start: int, stop: int, etag: Optional[str] = None) -> RangeReply:
        """See `Client.get_range`."""
        return self._asked(url, lambda: self._client.get_range(url, start, stop, etag))

    def get(self, url: str) -> RangeReply:
        """See `Client.get`."""
        return self._asked(url, lambda: self._client.get(url))

    def _asked(self, url: str, ask: Callable[[], _Reply]) -> _Reply:
        began = time.monotonic()
        try:
            return ask()
        except AccessRefused as error:
            if error.status not in _REFUSED or not self._signer.renews(url, began):
                raise
        return ask()


def open_signed(
    catalogues: Iterable[Catalogue], network: NetworkSettings, gate: Optional[Gate] = None
) -> Tuple[HttpClient, SignedClient]:
    """Return a client, to be closed, and who asks for files through it."""
    signer = Signer(catalogues)
    client = HttpClient(network, gate, signer.sent_as)
    signer.ask_through(client.get)
    return client, SignedClient(client, signer)


def _understood(source: str, data: bytes) -> Tuple[str, float]:
    """Return a token and the seconds that it counts. Raises: NetworkFailed."""
    try:
        answer = json.loads(data)
        token, expiry = answer["token"], answer.get("msft:expiry", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NetworkFailed(source, "the answer is not a token") from None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise NetworkFailed(source, "the answer is not a token")
    return token.lstrip("?"), max(_seconds_until(expiry) - EARLY_S, SHORTEST_S)


def _seconds_until(expiry: object) -> float:
    with contextlib.suppress(ValueError, TypeError):
        moment = dt.datetime.strptime(str(expiry)[:19], "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - made UTC below
        return moment.replace(tzinfo=dt.timezone.utc).timestamp() - time.time()
    return 0.0


def _nobody(url: str) -> RangeReply:
    raise NetworkFailed(url, "nobody asks for tokens")
