# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A range server on 127.0.0.1 that behaves like an object store, and misbehaves when asked to.

    provider = DictProvider({"a/b.npy": data})
    with RangeServer(provider) as server:
        server.faults.append(Fault.status(503, path="*.npy", count=2, retry_after=1))
        requests.get(f"{server.url}/a/b.npy", headers={"Range": "bytes=0-9"})
        assert [entry.status for entry in server.log] == [503]

HTTP/1.1 with keep-alive: HEAD, GET, one byte range (206, 416), If-Match (412), If-None-Match and
If-Modified-Since (304), If-Range, ETag, Last-Modified, Accept-Ranges, 404. A request in absolute
form (`GET http://host/path`) is served too, so the server can stand in for a proxy.
Only the standard library, so that it runs wherever a Python does.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Tuple
from urllib.parse import unquote, urlsplit

PIECE_BYTES = 1 << 18
"""How much of a body is read and sent at a time."""

CHUNK_BYTES = 10_000

FOREVER = -1
"""As a fault's count: every time."""

DEFAULT_MODIFIED = 1_767_225_600.0
"""2026-01-01, so that Last-Modified is the same in every run."""


# ------------------------------------------------------------------------------------- providers
@dataclass(frozen=True)
class Resource:
    """One object of the store."""

    length: int
    etag: str
    """Without the quotes; a weak one starts with `W/`."""
    last_modified: float
    """Seconds since 1970."""
    read: Callable[[int, int], bytes]
    """Gives exactly the bytes from start up to, not with, stop."""
    content_type: str = "application/octet-stream"


class Provider(Protocol):
    """Where the objects come from. Called from many threads.

    One that has a method `respond(request)` may answer by itself, with a status, headers and a
    body; where that gives None the object is looked for.
    """

    def find(self, path: str) -> Optional[Resource]:
        """Return the object at `path` (decoded, no slash in front, no query), or None."""


class DictProvider:
    """Objects held in memory, each with its MD5 as ETag unless told otherwise."""

    def __init__(self, files: Optional[Mapping[str, bytes]] = None) -> None:
        self._files: Dict[str, bytes] = {}
        self.etags: Dict[str, str] = {}
        self.modified: Dict[str, float] = {}
        for path, data in (files or {}).items():
            self.put(path, data)

    def put(
        self, path: str, data: bytes, etag: Optional[str] = None, modified: Optional[float] = None
    ) -> None:
        """Add or replace an object; without `etag` it gets its MD5."""
        path = path.lstrip("/")
        self._files[path] = bytes(data)
        self.etags[path] = md5_hex(data) if etag is None else etag
        self.modified[path] = DEFAULT_MODIFIED if modified is None else modified

    def remove(self, path: str) -> None:
        """Take an object away: 404 from now on."""
        del self._files[path.lstrip("/")]

    def find(self, path: str) -> Optional[Resource]:
        data = self._files.get(path)
        if data is None:
            return None
        return Resource(
            len(data),
            self.etags[path],
            self.modified[path],
            lambda start, stop: data[start:stop],
        )


def md5_hex(data: bytes) -> str:
    """Return the ETag that a store gives an object uploaded in one piece."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# ---------------------------------------------------------------------------------------- faults
@dataclass
class Fault:
    """What goes wrong, for which requests and how often. Use the class methods.

    Every one of them takes `path` (a shell pattern over the whole decoded path), `count` (how many
    requests suffer, FOREVER for all), `skip` (how many matching requests pass first) and `method`
    ("" for any). The first fault of the list that still applies is the one that happens.
    """

    kind: str
    path: str = "*"
    count: int = 1
    skip: int = 0
    method: str = ""
    code: int = 0
    headers: Dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    after: int = 0
    amount: int = 0
    mask: int = 0
    etag: str = ""
    hits: int = 0
    """How many requests have suffered it."""

    @classmethod
    def status(
        cls,
        code: int,
        retry_after: Optional[object] = None,
        body: bytes = b"fault injected\n",
        **where: Any,
    ) -> Fault:
        """Answer with this status; `retry_after` in seconds or as an HTTP date."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return cls("status", code=code, headers=headers, body=body, **where)

    @classmethod
    def drop(cls, **where: Any) -> Fault:
        """Reset the connection without a word. For all paths and FOREVER: the network is gone."""
        return cls("drop", **where)

    @classmethod
    def stall(cls, seconds: float, **where: Any) -> Fault:
        """Wait before the headers, then answer as always."""
        return cls("stall", seconds=seconds, **where)

    @classmethod
    def stall_body(cls, seconds: float, after: int = 1000, **where: Any) -> Fault:
        """Wait after `after` bytes of the body, then go on."""
        return cls("stall_body", seconds=seconds, after=after, **where)

    @classmethod
    def reset(cls, after: int = 1000, **where: Any) -> Fault:
        """Reset the connection (RST) after `after` bytes of the body."""
        return cls("reset", after=after, **where)

    @classmethod
    def truncate(cls, after: int = 1000, **where: Any) -> Fault:
        """Close the connection after `after` bytes, having promised the right Content-Length."""
        return cls("truncate", after=after, **where)

    @classmethod
    def wrong_length(cls, amount: int = -1, **where: Any) -> Fault:
        """Send a whole answer whose body is `amount` bytes longer or shorter than was asked for.

        Content-Length is that of the body, Content-Range the one asked for.
        """
        return cls("wrong_length", amount=amount, **where)

    @classmethod
    def extra(cls, amount: int = 10, **where: Any) -> Fault:
        """Send so many bytes more than Content-Length and the range say."""
        return cls("extra", amount=amount, **where)

    @classmethod
    def no_length(cls, amount: int = 0, **where: Any) -> Fault:
        """Say nothing of the length and close at the end; the body is `amount` bytes longer."""
        return cls("no_length", amount=amount, **where)

    @classmethod
    def chunked(cls, after: int = -1, **where: Any) -> Fault:
        """Send the body in chunks, without its length; close after `after` bytes if not negative."""
        return cls("chunked", after=after, **where)

    @classmethod
    def drip(cls, seconds: float, piece: int = 1, after: int = 0, **where: Any) -> Fault:
        """Send only `piece` bytes every so many seconds, from `after` bytes of the body on."""
        return cls("drip", seconds=seconds, amount=piece, after=after, **where)

    @classmethod
    def drip_head(cls, seconds: float, **where: Any) -> Fault:
        """Send a header that never ends, a byte every so many seconds."""
        return cls("drip_head", seconds=seconds, **where)

    @classmethod
    def redirect(cls, location: str, code: int = 302, **where: Any) -> Fault:
        """Point to another place."""
        return cls("status", code=code, headers={"Location": location}, **where)

    @classmethod
    def wrong_range(cls, amount: int = 1, **where: Any) -> Fault:
        """Serve a range that starts `amount` bytes later, and say so in Content-Range."""
        return cls("wrong_range", amount=amount, **where)

    @classmethod
    def ignore_range(cls, **where: Any) -> Fault:
        """Answer a range request with 200 and the whole object."""
        return cls("ignore_range", **where)

    @classmethod
    def corrupt(cls, every: int = 4096, mask: int = 0x80, **where: Any) -> Fault:
        """Flip the bits of `mask` in byte 0, `every`, 2 * `every` … of the body; same each time."""
        return cls("corrupt", amount=every, mask=mask, **where)

    @classmethod
    def changed_etag(cls, etag: str = "0" * 32, **where: Any) -> Fault:
        """Be a newer object: this ETag, and If-Match with the old one is answered with 412."""
        return cls("changed_etag", etag=etag, **where)

    @classmethod
    def silent_etag(cls, etag: str = "0" * 32, **where: Any) -> Fault:
        """Carry this ETag and pay no heed to If-Match, as a careless proxy does."""
        return cls("silent_etag", etag=etag, **where)

    def applies(self, method: str, path: str) -> bool:
        """Whether the request is of its kind; counts `skip` down."""
        if self.count == 0 or (self.method and self.method != method):
            return False
        if not fnmatch.fnmatchcase(path, self.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        return True

    def use(self) -> None:
        """Count one request that suffers it."""
        self.hits += 1
        if self.count > 0:
            self.count -= 1


# ------------------------------------------------------------------------------------------- log
@dataclass
class Request:
    """One request as the server saw it. It is in the log from its arrival, and filled as it goes."""

    method: str
    path: str
    """Decoded, no slash in front, no query."""
    target: str
    """As it stood in the request line."""
    headers: Dict[str, str]
    """Names in lower case."""
    arrived: float
    """time.monotonic()."""
    range: Optional[str] = None
    status: int = 0
    """0 while there is no answer, or none was given."""
    bytes: int = 0
    """Bytes of the body handed to the system."""
    fault: str = ""


# ---------------------------------------------------------------------------------------- server
class RangeServer:
    """Serves a provider on a free port of 127.0.0.1 for as long as the `with` block lasts.

    `bandwidth` limits all bodies together, in bytes per second; `latency_s` is waited before every
    answer; `ssl_context` makes it https. All of them, `faults` and `provider` can be changed while
    it runs. Leaving ends every connection at once, also the stalled ones.
    """

    def __init__(
        self,
        provider: Provider,
        port: int = 0,
        bandwidth: Optional[float] = None,
        latency_s: float = 0.0,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        self.provider = provider
        self.bandwidth = bandwidth
        self.latency_s = latency_s
        self.faults: List[Fault] = []
        self.log: List[Request] = []
        self.bytes_sent = 0
        """Bytes of all bodies."""
        self.connections = 0
        """How many have been opened."""
        self.active = 0
        self.most_active = 0
        """The most requests that were in work at once."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sockets: Dict[int, socket.socket] = {}
        self._send_free = 0.0
        self._server = _Server(self, port, ssl_context)
        self.port: int = self._server.server_address[1]
        scheme = "http" if ssl_context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, name="range-server", daemon=True)

    def __enter__(self) -> RangeServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to serve, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and the server. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self.close_connections()

    def close_connections(self) -> None:
        """Cut every open connection, as a network that goes away does; the server goes on."""
        with self._lock:
            sockets = list(self._sockets.values())
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def clear(self) -> None:
        """Forget the log, the counts and the faults."""
        with self._lock:
            self.log.clear()
            self.faults.clear()
            self.bytes_sent = self.connections = 0
            self.most_active = self.active

    def requests(self, pattern: str = "*", method: str = "") -> List[Request]:
        """Return the requests of the log whose path matches."""
        with self._lock:
            return [
                entry
                for entry in self.log
                if fnmatch.fnmatchcase(entry.path, pattern) and method in ("", entry.method)
            ]

    # -- what the handlers use
    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def _pause(self, seconds: float) -> None:
        if seconds > 0 and self._stopping.wait(seconds):
            raise _Hangup

    def _pick(self, method: str, path: str) -> Optional[Fault]:
        with self._lock:
            for fault in self.faults:
                if fault.applies(method, path):
                    fault.use()
                    return fault
        return None

    def _enter(self, entry: Request) -> None:
        with self._lock:
            self.log.append(entry)
            self.active += 1
            self.most_active = max(self.most_active, self.active)

    def _leave(self) -> None:
        with self._lock:
            self.active -= 1

    def _count(self, entry: Request, size: int) -> None:
        with self._lock:
            entry.bytes += size
            self.bytes_sent += size

    def _throttle(self, size: int) -> None:
        if not self.bandwidth:
            return
        with self._lock:
            self._send_free = max(time.monotonic(), self._send_free) + size / self.bandwidth
            due = self._send_free
        self._pause(due - time.monotonic())


class _Hangup(Exception):
    """The connection ends here."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self, owner: RangeServer, port: int, ssl_context: Optional[ssl.SSLContext]
    ) -> None:
        self.owner = owner
        self.ssl_context = ssl_context
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> Tuple[socket.socket, Any]:
        sock, address = super().get_request()
        if self.ssl_context is not None:
            # The handshake happens in the connection's own thread, at its first read.
            sock = self.ssl_context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False
            )
        with self.owner._lock:
            self.owner.connections += 1
            self.owner._sockets[id(sock)] = sock
        return sock, address

    def shutdown_request(self, request: Any) -> None:
        with self.owner._lock:
            self.owner._sockets.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet: a client that goes away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "RangeServer"
    disable_nagle_algorithm = True
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        """Say nothing: the log is in memory."""

    def _answer(self) -> None:
        owner = self.server.owner
        path = unquote(urlsplit(self.path).path).lstrip("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        entry = Request(
            self.command, path, self.path, headers, time.monotonic(), headers.get("range")
        )
        owner._enter(entry)
        try:
            owner._pause(owner.latency_s)
            fault = owner._pick(self.command, path)
            entry.fault = fault.kind if fault else ""
            self._reply(owner, entry, fault)
        except (_Hangup, OSError):
            self.close_connection = True
        finally:
            owner._leave()

    def _reply(self, owner: RangeServer, entry: Request, fault: Optional[Fault]) -> None:
        kind = fault.kind if fault else ""
        if fault and kind == "drop":
            self._reset()
        if fault and kind == "stall":
            owner._pause(fault.seconds)
        if fault and kind == "drip_head":
            self._drip_head(owner, fault.seconds)
        if fault and kind == "status":
            self._send_small(entry, fault.code, fault.headers, fault.body)
            return
        respond = getattr(owner.provider, "respond", None)
        answer = respond(entry) if respond else None
        if answer is not None:
            self._send_small(entry, *answer)
            return
        resource = owner.provider.find(entry.path)
        if resource is None:
            self._send_small(entry, 404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        if fault and kind in ("changed_etag", "silent_etag"):
            resource = replace(resource, etag=fault.etag)
        common = {
            "ETag": quoted(resource.etag),
            "Last-Modified": formatdate(resource.last_modified, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        refusal = 0 if kind == "silent_etag" else precondition(entry.headers, resource)
        if refusal:
            self._send_small(entry, refusal, common, b"")
            return
        wanted = None if kind == "ignore_range" else entry.range
        if not range_still_holds(entry.headers, resource):
            wanted = None
        span = parse_range(wanted, resource.length)
        if span == UNSATISFIABLE:
            extra = {"Content-Range": f"bytes */{resource.length}"}
            self._send_small(entry, 416, {**common, **extra}, b"<Error/>")
            return
        self._send_body(owner, entry, fault, resource, common, span)

    def _send_body(
        self,
        owner: RangeServer,
        entry: Request,
        fault: Optional[Fault],
        resource: Resource,
        common: Dict[str, str],
        span: Optional[Tuple[int, int]],
    ) -> None:
        start, stop = span or (0, resource.length)
        told = (start, stop)
        if fault and fault.kind == "wrong_range":
            start = min(start + fault.amount, resource.length - 1)
            stop = min(stop + fault.amount, resource.length)
            told = (start, stop)
        size = stop - start
        if fault and fault.kind in ("wrong_length", "extra", "no_length"):
            size = max(0, size + fault.amount)
        entry.status = 206 if span else 200
        self.send_response(entry.status)
        for name, value in common.items():
            self.send_header(name, value)
        self.send_header("Content-Type", resource.content_type)
        self._tell_length(size, fault)
        if span:
            self.send_header("Content-Range", f"bytes {told[0]}-{told[1] - 1}/{resource.length}")
        self.end_headers()
        if self.command != "HEAD" and fault and fault.kind == "chunked":
            self._send_chunks(owner, entry, fault, resource, start, size)
        elif self.command != "HEAD":
            self._stream(owner, entry, fault, resource, start, size)

    def _tell_length(self, size: int, fault: Optional[Fault]) -> None:
        if fault and fault.kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            return
        if fault and fault.kind == "no_length":
            self.send_header("Connection", "close")
            self.close_connection = True
            return
        told = size - fault.amount if fault and fault.kind == "extra" else size
        self.send_header("Content-Length", str(told))

    def _send_chunks(
        self,
        owner: RangeServer,
        entry: Request,
        fault: Fault,
        resource: Resource,
        start: int,
        size: int,
    ) -> None:
        sent = 0
        end = size if fault.after < 0 else fault.after
        while sent < end:
            stop = min(sent + CHUNK_BYTES, end)
            self.wfile.write(f"{stop - sent:x}\r\n".encode())
            self._write(owner, entry, self._piece(resource, start + sent, start + stop))
            self.wfile.write(b"\r\n")
            sent = stop
        if fault.after >= 0:
            raise _Hangup
        self.wfile.write(b"0\r\n\r\n")

    def _drip_head(self, owner: RangeServer, seconds: float) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            owner._pause(seconds)
            self.wfile.write(b"x")

    def _stream(
        self,
        owner: RangeServer,
        entry: Request,
        fault: Optional[Fault],
        resource: Resource,
        start: int,
        size: int,
    ) -> None:
        kind = fault.kind if fault else ""
        broken = fault if kind in ("stall_body", "reset", "truncate") else None
        sent = 0
        while sent < size:
            stop = min(sent + PIECE_BYTES, size)
            if broken and sent <= broken.after < stop:
                stop = broken.after
            piece = self._piece(resource, start + sent, start + stop)
            if fault and kind == "corrupt":
                piece = flip(piece, sent, fault.amount, fault.mask)
            if fault and kind == "drip":
                self._drip(owner, entry, fault, piece, max(fault.after - sent, 0))
            else:
                self._write(owner, entry, piece)
            sent = stop
            if broken and sent == broken.after:
                self._break(owner, broken)
                broken = None

    @staticmethod
    def _piece(resource: Resource, start: int, stop: int) -> bytes:
        """Return the bytes; past the object's end (a body that is too long) zeros."""
        inside = min(stop, resource.length)
        data = resource.read(start, inside) if inside > start else b""
        return bytes(data) + bytes(stop - start - len(data))

    def _drip(
        self, owner: RangeServer, entry: Request, fault: Fault, piece: bytes, after: int
    ) -> None:
        """Send `after` bytes at once, the others slowly."""
        self._write(owner, entry, piece[:after])
        for start in range(after, len(piece), fault.amount):
            owner._pause(fault.seconds)
            self._write(owner, entry, piece[start : start + fault.amount])

    def _break(self, owner: RangeServer, fault: Fault) -> None:
        if fault.kind == "stall_body":
            owner._pause(fault.seconds)
        elif fault.kind == "reset":
            self._reset()
        else:
            raise _Hangup

    def _write(self, owner: RangeServer, entry: Request, piece: bytes) -> None:
        owner._throttle(len(piece))
        # Counted before it goes out: a client may look at the log as soon as it has the bytes.
        owner._count(entry, len(piece))
        try:
            self.wfile.write(piece)
        except OSError:
            owner._count(entry, -len(piece))
            raise

    def _reset(self) -> None:
        """Close with RST instead of FIN: the other side sees `connection reset by peer`."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A plain close: shutdown() would send the orderly FIN first.
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        raise _Hangup

    def _send_small(
        self, entry: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        entry.status = status
        self.send_response(status, HTTPStatus(status).phrase if status in _KNOWN else "Fault")
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and body and status != 304:
            self._write(self.server.owner, entry, body)


_KNOWN = {status.value for status in HTTPStatus}

# --------------------------------------------------------------------------------- HTTP semantics
UNSATISFIABLE = (-1, -1)


def quoted(etag: str) -> str:
    """Return the ETag as it stands in a header."""
    return etag if etag.startswith(('"', 'W/"')) else f'"{etag}"'


def parse_range(header: Optional[str], length: int) -> Optional[Tuple[int, int]]:
    """Return (start, stop), None for the whole object, or UNSATISFIABLE.

    As object stores do, several ranges in one header and what is no byte range are ignored.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        size = min(int(last), length)
        return (length - size, length) if size else UNSATISFIABLE
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= length:
        return UNSATISFIABLE
    return start, (min(int(last) + 1, length) if last else length)


def precondition(headers: Mapping[str, str], resource: Resource) -> int:
    """Return 412 or 304 where a condition of the request says so, else 0."""
    if_match, if_none_match = headers.get("if-match"), headers.get("if-none-match")
    if if_match is not None:
        # If-Match compares strongly: a weak ETag never matches.
        strong = not resource.etag.startswith("W/")
        if if_match.strip() != "*" and not (strong and _listed(if_match, resource.etag)):
            return 412
    elif _since(headers.get("if-unmodified-since"), resource.last_modified) is False:
        return 412
    if if_none_match is not None:
        return 304 if if_none_match.strip() == "*" or _listed(if_none_match, resource.etag) else 0
    return 304 if _since(headers.get("if-modified-since"), resource.last_modified) else 0


def range_still_holds(headers: Mapping[str, str], resource: Resource) -> bool:
    """Whether If-Range, if given, names the object as it is."""
    value = headers.get("if-range")
    if value is None:
        return True
    if value.startswith('"'):
        return value == quoted(resource.etag)
    return _since(value, resource.last_modified) is True


def flip(piece: bytes, offset: int, every: int, mask: int) -> bytes:
    """Return the piece with bits flipped where its place in the body is a multiple of `every`."""
    data = bytearray(piece)
    for i in range(-offset % every, len(data), every):
        data[i] ^= mask
    return bytes(data)


def _listed(header: str, etag: str) -> bool:
    wanted = quoted(etag).replace("W/", "", 1)
    return wanted in [part.strip().replace("W/", "", 1) for part in header.split(",")]


def _since(date: Optional[str], modified: float) -> Optional[bool]:
    """Whether the object is not newer than the date; None where there is no such date."""
    if date is None:
        return None
    try:
        return int(modified) <= parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
