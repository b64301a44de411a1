# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which proxy an address is asked through, and what a proxy says that does not let us through."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable, Dict, Iterator, Set
from urllib.parse import quote, unquote, urlsplit

from ..errors import ProxyLoginNeeded
from ..values import NetworkSettings

LOGIN = 407
"""The proxy wants one."""

CLOSED_S = 60.0
"""How long a proxy that refused a login is not asked with the same one: wrong ones lock accounts."""

_closed: Dict[str, float] = {}
"""By the proxy's URL, login included: until when."""

_open: Set[str] = set()
"""Proxies, login included, that have let something through."""
_first = threading.Lock()


def proxy_of(settings: NetworkSettings, url: str) -> str:
    """Return the URL of the proxy for an address, of the longest prefix that fits; or nothing."""
    fitting = [pair for pair in settings.proxies if _is_below(url, pair[0])]
    return max(fitting, key=lambda pair: len(pair[0]))[1] if fitting else ""


def proxy_name(proxy: str) -> str:
    """Return host and port of a proxy's URL, without credentials."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def for_requests(proxy: str) -> Dict[str, str]:
    """Return a proxy as requests wants it.

    Requests can send a login in Latin-1 only; one with other letters goes as UTF-8.
    """
    if not proxy:
        return {}
    parts = urlsplit(proxy)
    login, at, host = parts.netloc.rpartition("@")
    plain = unquote(login)
    if any(ord(letter) > 0xFF for letter in plain):
        login = ":".join(quote(unquote(each).encode().decode("latin-1"), safe="")
                         for each in login.split(":", 1))  # fmt: skip
        proxy = parts._replace(netloc=f"{login}{at}{host}").geturl()
    return {"http": proxy, "https": proxy}


def login_needed(url: str, proxy: str) -> ProxyLoginNeeded:
    """Return the error of a proxy that wants a login, or another one."""
    return ProxyLoginNeeded(url, LOGIN, proxy_name(proxy), "@" in proxy)


def check_open(url: str, proxy: str) -> None:
    """Raise ProxyLoginNeeded if the proxy has just refused this login, or the lack of one."""
    if _closed.get(proxy, 0.0) > time.monotonic():
        raise login_needed(url, proxy)


def note_closed(proxy: str) -> None:
    """Remember that a proxy refused a login, or the lack of one."""
    _open.discard(proxy)
    _closed[proxy] = time.monotonic() + CLOSED_S


def note_status(proxy: str, status: int) -> None:
    """Remember whether a proxy lets us through, from what was answered."""
    if status == LOGIN:
        note_closed(proxy)
    else:
        _open.add(proxy)


@contextlib.contextmanager
def alone_at_first(url: str, proxy: str, check: Callable[[], None]) -> Iterator[None]:
    """Let one request at a time try a login that was not yet taken: several are several wrong ones.

    `check` is called while this waits, and may raise. Raises: ProxyLoginNeeded.
    """
    if "@" not in proxy or proxy in _open:
        yield
        return
    while not _first.acquire(timeout=0.1):
        check()
    try:
        check_open(url, proxy)
        yield
    finally:
        _first.release()


def _is_below(url: str, prefix: str) -> bool:
    if not url.lower().startswith(prefix.lower()):
        return False
    rest = url[len(prefix) :]
    return not rest or prefix.endswith("/") or rest[0] in "/:?#"
