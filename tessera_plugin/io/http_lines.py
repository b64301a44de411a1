# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The connections of an HTTP client: each for one thread at a time, ended from any."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Tuple

import requests
import urllib3
from requests.adapters import HTTPAdapter

from .pace import Pace

WATCH_S = 0.25
"""How often it is looked whether a line is late."""

RECEIVE_S = 0.5
RECEIVE_BYTES = (1 << 16, 1 << 22)
"""Under a limit the system may keep what comes in half a second, within these bounds: more would
be received although nobody reads it."""

Foreign = Any
"""Objects of urllib3, which says nothing of its types before version 2."""
_Watch = Callable[[Foreign, socket.socket], None]


class Line:
    """A session for one thread at a time, whose sockets another thread can shut down.

    Python can't interrupt a read, but a socket that is shut down ends it. A duplicate of the
    descriptor is kept from the moment of the TCP connection, since TLS takes the first one over.
    """

    def __init__(self, stop: threading.Event, receive_bytes: int) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._doubles: List[Tuple[Foreign, socket.socket]] = []
        self._due: Optional[float] = None
        self.is_late = False
        """Whether it was shut down because something took too long."""
        self.session = requests.Session()
        self.session.trust_env = False
        adapter = _Adapter(self._keep_double, receive_bytes)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Shut the line down when what is done here takes longer; pauses don't count."""
        self._expect(time.monotonic() + seconds)
        try:
            yield
        finally:
            self._expect(None)

    def look(self, now: float, spare_s: float) -> None:
        """Shut the line down if it is late; `spare_s` seconds don't count."""
        with self._lock:
            if self._due is not None:
                self._due += spare_s
            self.is_late = self.is_late or (self._due is not None and now > self._due)
            is_over = self.is_late and self._due is not None
        if is_over:
            self.shut()

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

    def _expect(self, due: Optional[float]) -> None:
        with self._lock:
            self._due = due

    def _keep_double(self, connection: Foreign, sock: socket.socket) -> None:
        double = socket.fromfd(sock.fileno(), sock.family, sock.type, sock.proto)
        with self._lock:
            self._doubles.append((connection, double))
        if self._stop.is_set():
            self.shut()

    def _release(self, is_over: Callable[[Foreign], bool]) -> None:
        with self._lock:
            over = [pair for pair in self._doubles if is_over(pair[0])]
            self._doubles = [pair for pair in self._doubles if pair not in over]
        for _, double in over:
            double.close()


class Lines:
    """All lines of a client. A thread watches those in use for ones that are late."""

    def __init__(self, stop: threading.Event, pace: Pace, bytes_per_s: float = 0.0) -> None:
        self._stop = stop
        self._pace = pace
        low, high = RECEIVE_BYTES
        self._receive_bytes = (
            min(max(int(bytes_per_s * RECEIVE_S), low), high) if bytes_per_s else 0
        )
        self._lock = threading.Lock()
        self._idle: List[Line] = []
        self._used: List[Line] = []
        self._is_watched = False

    @contextlib.contextmanager
    def use(self) -> Iterator[Line]:
        """Lend a line to the thread that asks. Raises: Cancelled."""
        self._pace.check()
        with self._lock:
            line = self._idle.pop() if self._idle else Line(self._stop, self._receive_bytes)
            line.is_late = False
            self._used.append(line)
            is_watched, self._is_watched = self._is_watched, True
        if not is_watched:
            threading.Thread(target=self._watch, name="tessera-watch", daemon=True).start()
        try:
            yield line
        finally:
            self._give_back(line)

    def shut(self) -> None:
        """End what every line is waiting for."""
        for line in self.lines():
            line.shut()

    def close(self) -> None:
        """Close the lines that nobody uses; those in use close when they are given back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def lines(self) -> List[Line]:
        """Return all lines that are open."""
        with self._lock:
            return [*self._used, *self._idle]

    def _give_back(self, line: Line) -> None:
        line.sweep()
        with self._lock:
            self._used.remove(line)
            if not self._stop.is_set():
                self._idle.append(line)
                return
        line.close()

    def _watch(self) -> None:
        """Look for late lines, as long as any is in use."""
        last = time.monotonic()
        while not self._stop.wait(WATCH_S):
            with self._lock:
                used = list(self._used)
                if not used:
                    self._is_watched = False
                    return
            now = time.monotonic()
            spare_s = now - last if self._pace.is_paused else 0.0
            for line in used:
                line.look(now, spare_s)
            last = now


class _Adapter(HTTPAdapter):  # type: ignore[misc]
    """Tells of every socket it opens, with and without a proxy."""

    def __init__(self, watch: _Watch, receive_bytes: int) -> None:
        self._watch = watch
        self._pool = _socket_options(receive_bytes)
        super().__init__(pool_connections=4, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Foreign, **kwargs: Foreign) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **{**self._pool, **kwargs})
        _watch_pools(self.poolmanager, self._watch)

    def proxy_manager_for(self, proxy: str, **kwargs: Foreign) -> Foreign:
        """Return the pools of the connections through a proxy."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **{**self._pool, **kwargs})
        if not known:
            _watch_pools(manager, self._watch)
        return manager


def _socket_options(receive_bytes: int) -> Foreign:
    """Return how pools are to open sockets: with a receive buffer of a set size, if any."""
    if not receive_bytes:
        return {}
    usual = urllib3.connection.HTTPConnection.default_socket_options
    size = (socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    return {"socket_options": [*usual, size]}


def _watch_pools(manager: Foreign, watch: _Watch) -> None:
    manager.pool_classes_by_scheme = {
        scheme: _watched_pool(pool, watch)
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _watched_pool(pool: Foreign, watch: _Watch) -> Foreign:
    """Return a pool class whose connections tell of their sockets; urllib3 1.26 and 2 alike."""
    plain = pool.ConnectionCls

    def new_conn(connection: Foreign) -> Foreign:
        sock = plain._new_conn(connection)  # noqa: SLF001 - there is no public place for it
        watch(connection, sock)
        return sock

    watched = type(plain.__name__, (plain,), {"_new_conn": new_conn})
    return type(pool.__name__, (pool,), {"ConnectionCls": watched})
