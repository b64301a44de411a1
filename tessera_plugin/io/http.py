# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Byte ranges over HTTP: verified, tried again, and ended at once when the person cancels."""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.client
import random
import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Type, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ..errors import AccessRefused, NetworkFailed
from ..progress import Cancelled
from ..values import NetworkSettings
from .files import plugin_version

Progress = Callable[[int], None]
"""Called with the bytes that came; with a negative number when they were discarded."""

READ_BYTES = 1 << 16
GET_LIMIT_BYTES = 64 << 20
DRAIN_BYTES = 1 << 16
LONGEST_WAIT_S = 120.0
LONGEST_BACKOFF_S = 30.0
REDIRECTS = 5

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REFUSED = (401, 403, 407)
_GONE = (404, 410)
_BUSY = (408, 425, 429)
_MOVED = (301, 302, 303, 307, 308)
_FINAL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)
_BROKEN = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)
_SILENT = (
    requests.exceptions.ReadTimeout,
    urllib3.exceptions.ReadTimeoutError,
    socket.timeout,
)

_Reply = TypeVar("_Reply")
_Foreign = Any
"""Objects of urllib3, which says nothing of its types before version 2."""
_Watch = Callable[[_Foreign, socket.socket], None]


class NotFound(Exception):  # noqa: N818 - an answer, not a mistake; io-internal
    """The server says that there is no such object."""

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
    """No try brought any answer: no connection, no name, or silence."""


@dataclass(frozen=True)
class RangeReply:
    """A verified part of an object, or the whole of it."""

    data: bytes
    etag: str
    """As the server wrote it, quotes included; empty if it gave none."""
    total: int
    """Length of the whole object in bytes."""
    last_modified: str


class HttpClient:
    """Asks for objects; may be used from many threads at once, and cancelled from any.

    After `cancel` every call in flight and every later one raises Cancelled. Environment variables
    don't count: proxies and authorities are those of the settings.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._lines: List[_Line] = []
        self._idle: List[_Line] = []
        self._hold_until = 0.0
        self._heard = 0.0
        self._hurried = False
        self.bytes_received = 0
        """Bytes of bodies, discarded ones included."""
        self.requests = 0
        """Tries, redirects not counted."""

    def get_range(
        self,
        url: str,
        start: int,
        stop: int,
        etag: Optional[str] = None,
        progress: Optional[Progress] = None,
    ) -> RangeReply:
        """Return the bytes from `start` up to, not with, `stop`.

        With `etag` they are those of that very object. Anything but a 206 with exactly this range
        is discarded and tried again.
        Raises: NotFound, ObjectChanged, AccessRefused, NetworkFailed (Unreachable), Cancelled.
        """
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if etag and not etag.startswith("W/"):
            headers["If-Match"] = etag

        def read(response: requests.Response) -> RangeReply:
            total = _checked_range(url, response, start, stop)
            found = str(response.headers.get("ETag", ""))
            if etag and not _same_etag(etag, found):
                raise _Retry("it has changed", changed=found or "none")
            data = self._body(response, stop - start, progress)
            return RangeReply(data, found, total, str(response.headers.get("Last-Modified", "")))

        return self._persist(url, headers, read)

    def get_tail(self, url: str, size: int, progress: Optional[Progress] = None) -> RangeReply:
        """Return the last `size` bytes of an object whose length is not known.

        Raises: NotFound, AccessRefused, NetworkFailed (Unreachable), Cancelled.
        """

        def read(response: requests.Response) -> RangeReply:
            total = _checked_tail(url, response, size)
            data = self._body(response, size, progress)
            headers = response.headers
            return RangeReply(
                data, str(headers.get("ETag", "")), total, str(headers.get("Last-Modified", ""))
            )

        return self._persist(url, {"Range": f"bytes=-{size}"}, read)

    def get(
        self, url: str, progress: Optional[Progress] = None, known_etag: str = ""
    ) -> RangeReply:
        """Return a whole object of at most 64 MiB.

        Raises: NotFound, NotModified where it still has the known ETag, AccessRefused,
        NetworkFailed (Unreachable), Cancelled.
        """

        def read(response: requests.Response) -> RangeReply:
            length = _length(response)
            if response.status_code != 200 or length is None:
                raise _Retry("the answer is not a whole object")
            if length > GET_LIMIT_BYTES:
                raise NetworkFailed(url, f"it has {length:,} bytes, more than expected")
            data = self._body(response, length, progress)
            headers = response.headers
            return RangeReply(
                data, str(headers.get("ETag", "")), length, str(headers.get("Last-Modified", ""))
            )

        return self._persist(url, {"If-None-Match": known_etag} if known_etag else {}, read)

    def heard_since(self, moment: float) -> bool:
        """Whether any server answered anything after a moment of `time.monotonic()`."""
        return self._heard >= moment

    def hurry(self) -> None:
        """Try everything but once, until a server is heard again."""
        self._hurried = True

    def take_time(self) -> None:
        """Take `hurry` back."""
        self._hurried = False

    def check_cancelled(self) -> None:
        """Raise Cancelled if `cancel` was called."""
        if self._stop.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """End every request in flight; for good."""
        self._stop.set()
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.shut()

    def close(self) -> None:
        """End what is in flight and close the connections."""
        self.cancel()
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    # --- one request, tried again

    def _persist(
        self, url: str, headers: Dict[str, str], read: Callable[[requests.Response], _Reply]
    ) -> _Reply:
        """Try until it works; raise what is final, or the last problem after all tries."""
        began = time.monotonic()
        problem: Optional[_Retry] = None
        for number in range(max(self._settings.attempts, 1)):
            if problem and self._hurried:
                break
            if problem:
                self._pause(number, problem)
            self._wait(self._hold_until - time.monotonic())
            try:
                return self._once(url, headers, read)
            except _Retry as found:
                if found.changed and problem and problem.changed == found.changed:
                    raise ObjectChanged(url) from None
                self._note_wait(url, found)
                problem = found
        raise self._failure(url, problem, began)

    def _once(
        self, url: str, headers: Dict[str, str], read: Callable[[requests.Response], _Reply]
    ) -> _Reply:
        with self._lock:
            self.requests += 1
        try:
            with self._answer(url, headers) as response:
                self._check_status(url, response)
                return read(response)
        except _BROKEN as error:
            self.check_cancelled()
            raise _judged(url, error, self._settings) from error

    @contextlib.contextmanager
    def _answer(self, url: str, headers: Dict[str, str]) -> Iterator[requests.Response]:
        line = self._take()
        try:
            response = self._follow(line, url, headers)
            try:
                yield response
            finally:
                response.close()
        finally:
            self._give_back(line)

    def _follow(self, line: _Line, url: str, headers: Dict[str, str]) -> requests.Response:
        """Send the request, and again where a redirect points, if that is safe."""
        settings = self._settings
        asked = url
        for _ in range(REDIRECTS + 1):
            response = line.session.get(
                url,
                headers={**_own_headers(), **headers},
                proxies=_proxies(settings, url),
                timeout=(settings.connect_timeout_s, settings.read_timeout_s),
                verify=settings.ca_bundle or True,
                stream=True,
                allow_redirects=False,
            )
            self._heard = time.monotonic()
            self._hurried = False
            if response.status_code not in _MOVED:
                return response
            url = _redirected(asked, url, str(response.headers.get("Location", "")))
            response.close()
        raise NetworkFailed(asked, "it redirects without end")

    def _check_status(self, url: str, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        wait = _retry_after(response.headers.get("Retry-After"))
        self._drain(response)
        if status in _GONE:
            raise NotFound(url)
        if status == 304:
            raise NotModified(url)
        if status in _REFUSED:
            raise AccessRefused(url, status)
        if status == 412:
            raise ObjectChanged(url)
        if status in _BUSY or status >= 500:
            raise _Retry(f"the server answers with status {status}", wait_s=wait)
        reason = "it is shorter than expected" if status == 416 else f"unexpected status {status}"
        raise NetworkFailed(url, reason)

    def _drain(self, response: requests.Response) -> None:
        """Read a small error page to its end, so that the connection can be used again."""
        length = _length(response)
        if length is not None and length <= DRAIN_BYTES:
            with contextlib.suppress(*_BROKEN):
                self._count(len(response.raw.read(length)))

    def _body(
        self, response: requests.Response, length: int, progress: Optional[Progress]
    ) -> bytes:
        """Read a body of exactly this length."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _Retry("the answer is encoded")
        told = _length(response)
        if told not in (None, length):
            raise _Retry(f"{told:,} bytes were sent instead of {length:,}")
        data = bytearray()
        try:
            while len(data) < length:
                piece = response.raw.read(min(READ_BYTES, length - len(data)))
                self.check_cancelled()
                if not piece:
                    raise _Retry(f"only {len(data):,} of {length:,} bytes came")
                data += piece
                self._count(len(piece))
                if progress:
                    progress(len(piece))
            if told is None and response.raw.read(1):
                raise _Retry(f"more than {length:,} bytes were sent")
        except BaseException:
            if progress and data:
                progress(-len(data))
            raise
        return bytes(data)

    def _count(self, size: int) -> None:
        with self._lock:
            self.bytes_received += size

    # --- waiting

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._stop.wait(seconds)
        self.check_cancelled()

    def _pause(self, number: int, problem: _Retry) -> None:
        """Wait before another try: doubled each time, with jitter, or as the server asked."""
        jitter = random.SystemRandom().uniform(0.75, 1.25)
        seconds = min(self._settings.backoff_s * 2 ** (number - 1), LONGEST_BACKOFF_S) * jitter
        self._wait(max(seconds, problem.wait_s))

    def _note_wait(self, url: str, problem: _Retry) -> None:
        """Hold every request back when the server asks for time; give up if it asks for long."""
        if problem.wait_s > LONGEST_WAIT_S:
            raise NetworkFailed(url, f"{problem.reason} and asks for {problem.wait_s:,.0f} s")
        with self._lock:
            self._hold_until = max(self._hold_until, time.monotonic() + problem.wait_s)

    def _failure(self, url: str, problem: Optional[_Retry], began: float) -> Exception:
        if problem is None:
            return NetworkFailed(url, "it was never tried")
        if problem.changed:
            return ObjectChanged(url)
        kind: Type[NetworkFailed] = NetworkFailed
        if problem.silent and not self.heard_since(began):
            kind = Unreachable
        return kind(url, problem.reason)

    # --- lines

    def _take(self) -> _Line:
        self.check_cancelled()
        with self._lock:
            if self._idle:
                return self._idle.pop()
            line = _Line(self._stop)
            self._lines.append(line)
            return line

    def _give_back(self, line: _Line) -> None:
        line.sweep()
        if self._stop.is_set():
            line.close()
            return
        with self._lock:
            self._idle.append(line)


class _Retry(Exception):  # noqa: N818 - never leaves this module
    """A try that failed in a way another may not."""

    def __init__(
        self, reason: str, *, wait_s: float = 0.0, changed: str = "", silent: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s
        self.changed = changed
        """The ETag found instead of the expected one."""
        self.silent = silent
        """Whether nothing was heard from the server."""


class _Line:
    """A session for one thread at a time, whose sockets another thread can shut down.

    Python can't interrupt a read, but a socket that is shut down ends it. A duplicate of the
    descriptor is kept from the moment of the TCP connection, since TLS takes the first one over.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._doubles: List[Tuple[_Foreign, socket.socket]] = []
        self.session = requests.Session()
        self.session.trust_env = False
        adapter = _Adapter(self._watch)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    def shut(self) -> None:
        """End what its sockets are waiting for."""
        with self._lock:
            for _, double in self._doubles:
                with contextlib.suppress(OSError):
                    double.shutdown(socket.SHUT_RDWR)

    def sweep(self) -> None:
        """Let go of the sockets of connections that have been closed."""
        self._release(lambda connection: getattr(connection, "sock", None) is None)

    def close(self) -> None:
        """Close its connections."""
        self.session.close()
        self._release(lambda _: True)

    def _watch(self, connection: _Foreign, sock: socket.socket) -> None:
        double = socket.fromfd(sock.fileno(), sock.family, sock.type, sock.proto)
        with self._lock:
            self._doubles.append((connection, double))
        if self._stop.is_set():
            self.shut()

    def _release(self, is_over: Callable[[_Foreign], bool]) -> None:
        with self._lock:
            over = [pair for pair in self._doubles if is_over(pair[0])]
            self._doubles = [pair for pair in self._doubles if pair not in over]
        for _, double in over:
            double.close()


class _Adapter(HTTPAdapter):  # type: ignore[misc]
    """Tells of every socket it opens, with and without a proxy."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        super().__init__(pool_connections=4, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: _Foreign, **kwargs: _Foreign) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        _watch_pools(self.poolmanager, self._watch)

    def proxy_manager_for(self, proxy: str, **kwargs: _Foreign) -> _Foreign:
        """Return the pools of the connections through a proxy."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            _watch_pools(manager, self._watch)
        return manager


def _watch_pools(manager: _Foreign, watch: _Watch) -> None:
    manager.pool_classes_by_scheme = {
        scheme: _watched_pool(pool, watch)
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _watched_pool(pool: _Foreign, watch: _Watch) -> _Foreign:
    """Return a pool class whose connections tell of their sockets; urllib3 1.26 and 2 alike."""
    plain = pool.ConnectionCls

    def new_conn(connection: _Foreign) -> _Foreign:
        sock = plain._new_conn(connection)  # noqa: SLF001 - there is no public place for it
        watch(connection, sock)
        return sock

    watched = type(plain.__name__, (plain,), {"_new_conn": new_conn})
    return type(pool.__name__, (pool,), {"ConnectionCls": watched})


# --- what answers mean


def _checked_range(url: str, response: requests.Response, start: int, stop: int) -> int:
    """Check that an answer is the asked range; return the length of the whole object."""
    if response.status_code != 206:
        raise _Retry("the whole object was sent instead of a part")
    match = _CONTENT_RANGE.fullmatch(str(response.headers.get("Content-Range", "")))
    if match is None:
        raise _Retry("the answer does not say which part it is")
    first, last, total = (int(text) for text in match.groups())
    if first == start and last + 1 == total < stop:
        raise NetworkFailed(url, f"it has only {total:,} bytes")
    if (first, last + 1) != (start, stop) or total < stop:
        raise _Retry(f"bytes {first}-{last} were sent instead of {start}-{stop - 1}")
    return total


def _checked_tail(url: str, response: requests.Response, size: int) -> int:
    """Check that an answer is the end of an object; return the length of the whole object."""
    if response.status_code != 206:
        raise _Retry("the whole object was sent instead of a part")
    match = _CONTENT_RANGE.fullmatch(str(response.headers.get("Content-Range", "")))
    if match is None:
        raise _Retry("the answer does not say which part it is")
    first, last, total = (int(text) for text in match.groups())
    if first == 0 and last + 1 == total < size:
        raise NetworkFailed(url, f"it has only {total:,} bytes")
    if (first, last + 1) != (total - size, total):
        raise _Retry(f"bytes {first}-{last} were sent instead of the last {size}")
    return total


def _same_etag(expected: str, found: str) -> bool:
    """Compare by hand: a cache on the way may weaken a strong ETag."""
    return _opaque(expected) == _opaque(found)


def _opaque(etag: str) -> str:
    return etag[2:] if etag.startswith("W/") else etag


def _length(response: requests.Response) -> Optional[int]:
    text = str(response.headers.get("Content-Length", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _retry_after(text: Optional[str]) -> float:
    """Return the seconds that a Retry-After header asks for; 0 if it can't be read."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return 0.0
    return max(moment.timestamp() - time.time(), 0.0)


def _redirected(asked: str, url: str, location: str) -> str:
    """Return where a redirect points. Raises NetworkFailed if nobody should go there."""
    target = urljoin(url, location)
    scheme = urlsplit(target).scheme
    if not location or scheme not in ("http", "https"):
        raise NetworkFailed(asked, "it redirects to something that is not HTTP")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise NetworkFailed(asked, "it redirects from a secure address to an insecure one")
    return target


def _judged(url: str, error: BaseException, settings: NetworkSettings) -> Exception:
    """Return what a broken connection means, in words without addresses and credentials."""
    if "407 Proxy Authentication" in str(error):
        return AccessRefused(url, 407)
    final = _final_reason(error, settings)
    return NetworkFailed(url, final) if final else _Retry(_reason(error, settings), silent=True)


def _final_reason(error: BaseException, settings: NetworkSettings) -> str:
    """Return why another try would be in vain; empty if it may help."""
    if isinstance(error, _FINAL):
        return "its address or its proxy's can't be used"
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY" in str(error):
        return "its certificate can't be verified"
    if type(error) is OSError and "TLS CA certificate" in str(error):
        return f"there are no certificate authorities in {settings.ca_bundle}"
    return ""


def _reason(error: BaseException, settings: NetworkSettings) -> str:
    if isinstance(error, requests.exceptions.ProxyError):
        return "its proxy can't be reached"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {settings.connect_timeout_s:g} s"
    if isinstance(_cause(error), urllib3.exceptions.NewConnectionError):
        return "no connection"
    if isinstance(error, _SILENT) or isinstance(_cause(error), _SILENT):
        return f"nothing came for {settings.read_timeout_s:g} s"
    return "the connection broke"


def _cause(error: BaseException) -> object:
    """Return the urllib3 error inside the one of requests."""
    inner = error.args[0] if error.args else error
    return getattr(inner, "reason", inner)


def _proxies(settings: NetworkSettings, url: str) -> Dict[str, str]:
    """Return the proxy of the longest prefix that fits, as requests wants it."""
    fitting = [pair for pair in settings.proxies if _is_below(url, pair[0])]
    if not fitting:
        return {}
    proxy = max(fitting, key=lambda pair: len(pair[0]))[1]
    return {"http": proxy, "https": proxy} if proxy else {}


def _is_below(url: str, prefix: str) -> bool:
    if not url.lower().startswith(prefix.lower()):
        return False
    rest = url[len(prefix) :]
    return not rest or prefix.endswith("/") or rest[0] in "/:?#"


@functools.lru_cache(maxsize=1)
def _own_headers() -> Dict[str, str]:
    # published servers refuse some libraries' default names
    return {"User-Agent": f"tessera-qgis/{plugin_version() or 0}", "Accept-Encoding": "identity"}
