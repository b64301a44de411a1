# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Byte ranges over HTTP: verified, tried again, and ended at once when the person cancels."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import random
import threading
import time
from typing import Callable, Dict, Iterator, Optional, Tuple, Type, TypeVar
from urllib.parse import urlsplit

import requests

from ..errors import NetworkFailed, ProxyLoginNeeded
from ..progress import Gate
from ..values import NetworkSettings
from .files import plugin_version
from .http_answers import (
    BROKEN,
    MOVED,
    Retry,
    check_status,
    checked_tail,
    checked_whole,
    problem_of,
    redirected,
)
from .http_bodies import Bodies, too_slow
from .http_lines import Line, Lines
from .http_proxies import (
    alone_at_first,
    check_open,
    for_requests,
    note_closed,
    note_status,
    proxy_of,
)
from .http_ranges import Rest
from .objects import (
    NotFound,
    NotModified,
    ObjectChanged,
    Progress,
    RangeReply,
    Sink,
    SinkFailed,
    Unreachable,
)
from .pace import Pace

LONGEST_WAIT_S = 120.0
LONGEST_BACKOFF_S = 30.0
REDIRECTS = 5

SLOW_TRIES = 2
"""A server that is too slow is asked but once more."""

VAIN = 3
"""So many objects one after another that a server could not send, in all their tries: from then on
each is tried but once, until one comes."""

_Reply = TypeVar("_Reply")


class HttpClient:
    """Asks for objects; may be used from many threads at once, and cancelled from any.

    After `cancel` every call in flight and every later one raises Cancelled. While the gate is
    closed no request starts and no body is read; what breaks meanwhile is asked for again and is
    no try. Environment variables don't count: proxies and authorities are those of the settings.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        gate: Optional[Gate] = None,
        sent_as: Callable[[str], str] = str,
    ) -> None:
        """`sent_as` makes of an address what is really sent, with a token: no message tells it."""
        self._settings = settings
        self._sent_as = sent_as
        self._stop = threading.Event()
        self._pace = Pace(self._stop, gate, settings.bytes_per_s)
        self._lines = Lines(self._stop, self._pace, settings.bytes_per_s)
        self._bodies = Bodies(self._pace, settings.read_timeout_s, self._note_bytes)
        self._lock = threading.Lock()
        self._holds: Dict[str, Tuple[float, str]] = {}
        """Per server: until when it wants to be left alone, and in which words."""
        self._heard = 0.0
        self._hurried = False
        self._vain = 0
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
        *,
        sink: Optional[Sink] = None,
    ) -> RangeReply:
        """Return the bytes from `start` up to, not with, `stop`.

        With `etag` they are those of that very object. Anything but a 206 with exactly this range
        is discarded and tried again; of what a sink has got nothing is asked for again, and a try
        in which much has come is not counted.
        Raises: NotFound, ObjectChanged, AccessRefused, NetworkFailed (Unreachable), Cancelled, and
        what the sink raises.
        """
        rest = Rest(url, (start, stop), etag or "", sink)

        def read(line: Line, response: requests.Response) -> RangeReply:
            head = rest.checked(response)
            if sink is None:
                data = self._bodies.read(line, response, rest.size, progress)
                return dataclasses.replace(head, data=data)
            self._bodies.hand_on(line, response, rest.size, progress, rest.hand)
            return head

        try:
            return self._persist(url, rest.headers, read, rest.has_gone_on)
        except SinkFailed as failed:
            raise failed.error from failed.error.__cause__

    def get_tail(self, url: str, size: int, progress: Optional[Progress] = None) -> RangeReply:
        """Return the last `size` bytes of an object whose length is not known.

        Raises: NotFound, AccessRefused, NetworkFailed (Unreachable), Cancelled.
        """

        def read(line: Line, response: requests.Response) -> RangeReply:
            total = checked_tail(url, response, size)
            return self._reply(line, response, size, total, progress)

        return self._persist(url, lambda: {"Range": f"bytes=-{size}"}, read)

    def get(
        self, url: str, progress: Optional[Progress] = None, known_etag: str = ""
    ) -> RangeReply:
        """Return a whole object of at most 64 MiB.

        Raises: NotFound, NotModified where it still has the known ETag, AccessRefused,
        NetworkFailed (Unreachable), Cancelled.
        """

        def read(line: Line, response: requests.Response) -> RangeReply:
            length = checked_whole(url, response)
            return self._reply(line, response, length, length, progress)

        headers = {"If-None-Match": known_etag} if known_etag else {}
        return self._persist(url, lambda: headers, read)

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
        self._pace.check()

    def cancel(self) -> None:
        """End every request in flight; for good."""
        self._stop.set()
        self._lines.shut()

    def close(self) -> None:
        """End what is in flight and close the connections."""
        self.cancel()
        self._lines.close()

    # --- one object, tried again

    def _persist(
        self,
        url: str,
        headers: Callable[[], Dict[str, str]],
        read: Callable[[Line, requests.Response], _Reply],
        has_gone_on: Callable[[], bool] = bool,
    ) -> _Reply:
        """Try until it works; raise what is final, or the last problem after all tries.

        `has_gone_on` tells whether the last try has brought something that stays.
        """
        began = time.monotonic()
        problem: Optional[Retry] = None
        tries = slow = 0
        while self._may_try(tries, slow):
            if problem:
                self._back_off(max(tries, 1), problem)
            self._hold(url)
            pauses = self._pace.pauses
            try:
                reply = self._once(url, headers(), read)
            except Retry as found:
                if self._pace.is_paused or self._pace.pauses != pauses:
                    continue  # while the person pauses nothing counts
                if found.changed and problem and problem.changed == found.changed:
                    raise ObjectChanged(url) from None
                self._note_wait(url, found)
                problem = found
                if has_gone_on():
                    tries = slow = 0
                    continue
                tries += 1
                slow += found.is_slow
            except (NotFound, NotModified, ObjectChanged):
                self._vain = 0
                raise
            else:
                self._vain = 0
                return reply
        raise self._failure(url, problem, began)

    def _may_try(self, tries: int, slow: int) -> bool:
        if not tries:
            return True
        if self._hurried or self._vain >= VAIN or slow >= SLOW_TRIES:
            return False
        return tries < self._settings.attempts

    def _once(
        self,
        url: str,
        headers: Dict[str, str],
        read: Callable[[Line, requests.Response], _Reply],
    ) -> _Reply:
        check_open(url, proxy_of(self._settings, url))
        with self._lock:
            self.requests += 1
        sent = self._sent_as(url)
        with self._lines.use() as line, self._answer(line, url, sent, headers) as response:
            is_heard = True
            try:
                self._check_status(url, line, response)
                return read(line, response)
            except BROKEN as error:
                problem = self._problem(line, url, error, url, has_answered=True)
                is_heard = not (isinstance(problem, Retry) and problem.is_silent)
                raise problem from error
            except Retry as found:
                is_heard = not found.is_silent
                raise
            finally:
                if is_heard:
                    self._note_heard()

    @contextlib.contextmanager
    def _answer(
        self, line: Line, asked: str, sent: str, headers: Dict[str, str]
    ) -> Iterator[requests.Response]:
        """Send a request, and again where a redirect points, if that is safe."""
        url = sent
        for _ in range(REDIRECTS + 1):
            response = self._send(line, asked, url, headers)
            try:
                if response.status_code not in MOVED:
                    yield response
                    return
                url = redirected(asked, url, str(response.headers.get("Location", "")))
            finally:
                response.close()
        raise NetworkFailed(asked, "it redirects without end")

    def _send(self, line: Line, asked: str, url: str, headers: Dict[str, str]) -> requests.Response:
        settings = self._settings
        proxy = proxy_of(settings, url)
        patience = settings.connect_timeout_s, settings.read_timeout_s
        with alone_at_first(asked, proxy, self._pace.check):
            try:
                with line.within(2 * sum(patience)):
                    response = line.session.get(
                        url,
                        headers={**_own_headers(), **headers},
                        proxies=for_requests(proxy),
                        timeout=patience,
                        verify=settings.ca_bundle or True,
                        stream=True,
                        allow_redirects=False,
                    )
            except BROKEN as error:
                raise self._problem(line, asked, error, url, has_answered=False) from error
            note_status(proxy, response.status_code)
        if line.is_late:  # a head that breaks off looks like a short one
            response.close()
            raise too_slow()
        return response

    def _problem(
        self, line: Line, asked: str, error: BaseException, url: str, *, has_answered: bool
    ) -> Exception:
        """Return what it means that asking `url` for the object `asked` broke."""
        self.check_cancelled()
        if line.is_late:
            return too_slow()
        proxy = proxy_of(self._settings, url)
        problem = problem_of(asked, error, self._settings, proxy=proxy, has_answered=has_answered)
        if isinstance(problem, ProxyLoginNeeded):
            note_closed(proxy)
        return problem

    def _check_status(self, url: str, line: Line, response: requests.Response) -> None:
        proxy = proxy_of(self._settings, str(response.url))
        try:
            check_status(url, response, proxy)
        except Exception:
            self._bodies.drain(line, response)
            raise

    def _reply(
        self,
        line: Line,
        response: requests.Response,
        length: Optional[int],
        total: Optional[int],
        progress: Optional[Progress],
    ) -> RangeReply:
        """Return a body of exactly this length, of an object of so many bytes in total."""
        data = self._bodies.read(line, response, length, progress)
        etag = str(response.headers.get("ETag", ""))
        modified = str(response.headers.get("Last-Modified", ""))
        return RangeReply(data, etag, len(data) if total is None else total, modified)

    def _note_bytes(self, size: int) -> None:
        with self._lock:
            self.bytes_received += size
        self._note_heard()

    def _note_heard(self) -> None:
        self._heard = time.monotonic()
        self._hurried = False

    # --- waiting

    def _hold(self, url: str) -> None:
        """Wait until the server wants to be asked again, and while paused."""
        until, reason = self._holds.get(urlsplit(url).netloc, (0.0, ""))
        seconds = until - time.monotonic()
        if seconds > 0 and self._vain >= VAIN:
            raise NetworkFailed(url, reason)
        self._pace.sleep(seconds)
        self._pace.wait_open()

    def _back_off(self, tries: int, problem: Retry) -> None:
        """Wait before another try: doubled each time, with jitter, or as the server asked."""
        jitter = random.SystemRandom().uniform(0.75, 1.25)
        seconds = min(self._settings.backoff_s * 2 ** (tries - 1), LONGEST_BACKOFF_S) * jitter
        self._pace.sleep(max(seconds, problem.wait_s))

    def _note_wait(self, url: str, problem: Retry) -> None:
        """Hold every request to a server back when it asks for time; give up if it asks for long."""
        if problem.wait_s > LONGEST_WAIT_S:
            raise NetworkFailed(url, f"{problem.reason} and asks for {problem.wait_s:,.0f} s")
        if problem.wait_s:
            with self._lock:
                until = time.monotonic() + problem.wait_s
                self._holds[urlsplit(url).netloc] = until, problem.reason

    def _failure(self, url: str, problem: Optional[Retry], began: float) -> Exception:
        if problem is None:
            return NetworkFailed(url, "it was never tried")
        if problem.changed:
            return ObjectChanged(url)
        if problem.is_busy or problem.is_silent:
            with self._lock:
                self._vain += 1
        kind: Type[NetworkFailed] = NetworkFailed
        if problem.is_silent and not self.heard_since(began):
            kind = Unreachable
        return kind(url, problem.reason)


@functools.lru_cache(maxsize=1)
def _own_headers() -> Dict[str, str]:
    # published servers refuse some libraries' default names
    return {"User-Agent": f"tessera-qgis/{plugin_version() or 0}", "Accept-Encoding": "identity"}
