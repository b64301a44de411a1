# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A forward proxy on 127.0.0.1, as companies have them: tunnels, a login, names of its own.

with Proxy({"archive.example:443": server.port}, login="ann:secret") as proxy:
    requests.get("https://archive.example/a", proxies={"https": proxy.url_with("ann:secret")})
    assert proxy.log == ["CONNECT archive.example:443"]
"""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, List, Mapping
from urllib.parse import urlsplit


class Proxy:
    """Forwards `GET http://…` and CONNECT to ports of 127.0.0.1, by the host and port asked for.

    What it has no port for is answered with 502; without the right `login` (user:password), if one
    is set, everything with 407. A login is compared in Latin-1 and UTF-8. `refusal` is a status that everything else is answered with.
    """

    def __init__(self, ports: Mapping[str, int], login: str = "", refusal: int = 0) -> None:
        self.ports = dict(ports)
        self.login = login
        self.refusal = refusal
        self.log: List[str] = []
        """The request lines, without the protocol."""
        self.lock = threading.Lock()
        self.sockets: List[socket.socket] = []
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self.lock:
            sockets = list(self.sockets)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def url_with(self, login: str) -> str:
        """Return its URL with a login (user:password, already quoted)."""
        return f"http://{login}@127.0.0.1:{self.port}"

    def status_for(self, authorization: str) -> int:
        """Return the status that ends a request here, 0 where it may go on."""
        given = base64.b64decode(authorization.rpartition(" ")[2])
        ways = [self.login.encode(), self.login.encode("latin-1", "replace")]
        if self.login and given not in ways:
            return 407
        return self.refusal

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: Proxy) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet: a client that goes away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_CONNECT(self) -> None:
        target = self._opened(self.path)
        if target is not None:
            self.send_response(200, "Connection established")
            self.end_headers()
            self._join(target)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        target = self._opened(f"{parts.hostname}:{parts.port or 80}")
        if target is not None:
            # as it came: the servers here take absolute addresses, and the connection is kept
            head = [self.requestline, *(f"{name}: {text}" for name, text in self.headers.items())]
            target.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
            self._join(target)

    def log_message(self, *args: object) -> None:
        """Say nothing: the log is in memory."""

    def _opened(self, address: str) -> socket.socket | None:
        """Return a connection to where an address leads; None after an answer of its own."""
        owner = self.server.owner
        with owner.lock:
            owner.log.append(f"{self.command} {self.path}")
        status = owner.status_for(self.headers.get("Proxy-Authorization", ""))
        port = owner.ports.get(address)
        if status or port is None:
            self.send_response(status or 502)
            if status == 407:
                self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        target = socket.create_connection(("127.0.0.1", port))
        with owner.lock:
            owner.sockets += [target, self.connection]
        return target

    def _join(self, target: socket.socket) -> None:
        """Carry bytes both ways until one side ends."""
        self.close_connection = True
        there = threading.Thread(target=_carry, args=(self.connection, target), daemon=True)
        there.start()
        _carry(target, self.connection)
        target.close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
