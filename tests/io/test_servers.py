# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The test server behaves as an object store does, and misbehaves exactly as told."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np
import pytest

from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer, parse_range

DATA = np.random.Generator(np.random.PCG64(1)).bytes(300_000)
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
OLD, NEW = "Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2027 00:00:00 GMT"


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer(DictProvider({"a/b c.npy": DATA, "empty": b""})) as running:
        yield running


def ask(
    server: RangeServer,
    headers: Optional[Dict[str, str]] = None,
    path: str = "/a/b%20c.npy?x=1",
    method: str = "GET",
    timeout: float = 5.0,
) -> Tuple[int, Dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(method, path, headers=headers or {})
        reply = connection.getresponse()
        told = {name.lower(): value for name, value in reply.getheaders()}
        return reply.status, told, reply.read()
    finally:
        connection.close()


def test_whole_object_has_its_md5_as_etag(server: RangeServer) -> None:
    status, headers, body = ask(server)
    assert (status, body) == (200, DATA)
    assert headers["etag"] == f'"{MD5}"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-length"] == str(len(DATA))
    assert headers["last-modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"


def test_head_tells_the_same_without_a_body(server: RangeServer) -> None:
    _, get, _ = ask(server)
    status, head, body = ask(server, method="HEAD")
    assert (status, body) == (200, b"")
    assert {k: v for k, v in head.items() if k != "date"} == {
        k: v for k, v in get.items() if k != "date"
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-99", (5, 100)),
        ("bytes=5-", (5, 300_000)),
        ("bytes=-7", (299_993, 300_000)),
        ("bytes=299999-400000", (299_999, 300_000)),
        ("bytes=-400000", (0, 300_000)),
    ],
)
def test_range_gives_206(server: RangeServer, value: str, expected: Tuple[int, int]) -> None:
    status, headers, body = ask(server, {"Range": value})
    start, stop = expected
    assert (status, body) == (206, DATA[start:stop])
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/300000"
    assert headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("value", ["bytes=300000-", "bytes=300000-300001", "bytes=-0"])
def test_range_past_the_end_gives_416(server: RangeServer, value: str) -> None:
    status, headers, _ = ask(server, {"Range": value})
    assert status == 416
    assert headers["content-range"] == "bytes */300000"


@pytest.mark.parametrize("value", ["bytes=9-5", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=x"])
def test_what_is_no_single_byte_range_is_ignored(server: RangeServer, value: str) -> None:
    assert parse_range(value, 10) is None
    assert ask(server, {"Range": value})[0] == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"If-Match": f'"{MD5}"'}, 200),
        ({"If-Match": f'"x", "{MD5}"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": '"x"', "Range": "bytes=0-1"}, 412),
        ({"If-Match": f'"{MD5}"', "Range": "bytes=0-1"}, 206),
        ({"If-None-Match": f'"{MD5}"'}, 304),
        ({"If-None-Match": f'W/"{MD5}"'}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": NEW}, 200),
        ({"If-Modified-Since": NEW}, 304),
        ({"If-Modified-Since": OLD}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Unmodified-Since": OLD}, 412),
        ({"If-Unmodified-Since": NEW}, 200),
        ({"If-Range": f'"{MD5}"', "Range": "bytes=0-1"}, 206),
        ({"If-Range": '"x"', "Range": "bytes=0-1"}, 200),
    ],
)
def test_conditions(server: RangeServer, headers: Dict[str, str], expected: int) -> None:
    status, _, body = ask(server, headers)
    assert status == expected
    if status == 304:
        assert body == b""


def test_set_etag_and_replaced_object() -> None:
    provider = DictProvider({"x": b"one"})
    provider.etags["x"] = "abc-12"
    with RangeServer(provider) as server:
        assert ask(server, path="/x")[1]["etag"] == '"abc-12"'
        provider.put("x", b"three")
        assert ask(server, {"If-Match": '"abc-12"'}, "/x")[0] == 412
        assert ask(server, path="/x")[2] == b"three"
        provider.remove("x")
        assert ask(server, path="/x")[0] == 404


def test_missing_and_empty_objects(server: RangeServer) -> None:
    assert ask(server, path="/nothing/here")[0] == 404
    assert ask(server, path="/empty")[::2] == (200, b"")
    assert ask(server, {"Range": "bytes=0-0"}, "/empty")[0] == 416


def test_connection_is_kept_and_the_log_tells_all(server: RangeServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for i in range(3):
        headers = {"Range": f"bytes={i}-{i + 9}", "User-Agent": "tester/1"}
        connection.request("GET", "/a/b%20c.npy", headers=headers)
        assert connection.getresponse().read() == DATA[i : i + 10]
        # Nothing to wait for: an entry is complete before the client has the last byte.
        assert server.log[i].bytes == 10
    connection.request("GET", "/none")
    connection.getresponse().read()
    connection.close()
    assert server.connections == 1
    assert [entry.status for entry in server.log] == [206, 206, 206, 404]
    assert [entry.range for entry in server.log[:2]] == ["bytes=0-9", "bytes=1-10"]
    assert {entry.headers["user-agent"] for entry in server.log[:3]} == {"tester/1"}
    assert server.log[0].path == "a/b c.npy"
    assert len(server.requests("a/*", "GET")) == 3
    assert server.bytes_sent == sum(entry.bytes for entry in server.log)


def test_stands_in_for_a_proxy(server: RangeServer) -> None:
    status, _, body = ask(server, path="http://archive.example/a/b%20c.npy")
    assert (status, body) == (200, DATA)
    assert server.log[0].target == "http://archive.example/a/b%20c.npy"


# ---------------------------------------------------------------------------------------- faults
RANGE = {"Range": "bytes=1000-200999"}
PART = DATA[1000:201_000]


def test_status_fault_is_limited_to_pattern_count_and_skip(server: RangeServer) -> None:
    fault = Fault.status(503, retry_after=7, path="a/*", count=2, skip=1, method="GET")
    server.faults.append(fault)
    replies = [ask(server, RANGE) for _ in range(4)]
    assert [status for status, _, _ in replies] == [206, 503, 503, 206]
    assert replies[1][1]["retry-after"] == "7"
    assert ask(server, path="/empty")[0] == 200
    assert (fault.hits, server.log[1].fault) == (2, "status")


def test_fault_with_a_status_nobody_has_heard_of(server: RangeServer) -> None:
    server.faults.append(Fault.status(525))
    assert ask(server)[0] == 525


def test_dropped_and_reset_connections(server: RangeServer) -> None:
    server.faults += [Fault.drop(), Fault.reset(after=1000)]
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        ask(server, RANGE)
    with pytest.raises(ConnectionResetError):
        ask(server, RANGE)
    assert [entry.bytes for entry in server.log] == [0, 1000]
    assert ask(server, RANGE)[2] == PART


@pytest.mark.parametrize("after", [0, 1000, 199_999])
def test_truncation_promises_more_than_it_sends(server: RangeServer, after: int) -> None:
    server.faults.append(Fault.truncate(after=after))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server, RANGE)
    assert caught.value.partial == PART[:after]
    assert caught.value.expected == len(PART) - after


@pytest.mark.parametrize("amount", [-3, 3])
def test_wrong_length_is_a_whole_answer_of_another_size(server: RangeServer, amount: int) -> None:
    server.faults.append(Fault.wrong_length(amount))
    status, headers, body = ask(server, RANGE)
    assert (status, len(body)) == (206, len(PART) + amount)
    assert headers["content-range"] == "bytes 1000-200999/300000"


def test_extra_bytes_come_behind_a_whole_answer(server: RangeServer) -> None:
    server.faults.append(Fault.extra(5))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(b"GET /a/b%20c.npy HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99\r\n\r\n")
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < 105:
            answer += sock.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: 100\r\n" in head + b"\r\n"
    assert body == DATA[:105]


@pytest.mark.parametrize("amount", [-3, 0, 3])
def test_no_length_ends_with_the_connection(server: RangeServer, amount: int) -> None:
    server.faults.append(Fault.no_length(amount))
    status, headers, body = ask(server, RANGE)
    assert (status, len(body)) == (206, len(PART) + amount)
    assert "content-length" not in headers
    assert headers["connection"] == "close"


def test_chunks_end_by_themselves_or_too_soon(server: RangeServer) -> None:
    server.faults += [Fault.chunked(), Fault.chunked(after=25_000)]
    status, headers, body = ask(server)
    assert (status, body) == (200, DATA)
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    with pytest.raises(http.client.IncompleteRead):
        ask(server)


def test_a_drip_is_slow_from_where_it_begins(server: RangeServer) -> None:
    server.faults.append(Fault.drip(0.02, piece=10, after=199_900))
    started = time.monotonic()
    assert ask(server, RANGE)[2] == PART
    assert 0.2 <= time.monotonic() - started < within(2)


def test_a_dripping_head_never_ends(server: RangeServer) -> None:
    server.faults.append(Fault.drip_head(0.01))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(b"GET /a/b%20c.npy HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while len(answer) < 50:
            answer += sock.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nX-Long: xxx")
    assert b"\r\n\r\n" not in answer


def test_a_redirect_points_elsewhere(server: RangeServer) -> None:
    server.faults.append(Fault.redirect("/other", 307))
    status, headers, _ = ask(server)
    assert (status, headers["location"]) == (307, "/other")


def test_wrong_range_says_what_it_serves(server: RangeServer) -> None:
    server.faults.append(Fault.wrong_range(5))
    _, headers, body = ask(server, RANGE)
    assert headers["content-range"] == "bytes 1005-201004/300000"
    assert body == DATA[1005:201_005]


def test_ignored_range(server: RangeServer) -> None:
    server.faults.append(Fault.ignore_range())
    status, headers, body = ask(server, RANGE)
    assert (status, body) == (200, DATA)
    assert "content-range" not in headers


def test_wrong_bytes_come_the_same_each_time(server: RangeServer) -> None:
    server.faults.append(Fault.corrupt(every=70_000, mask=0x80, count=2))
    once, twice = ask(server, RANGE)[2], ask(server, RANGE)[2]
    differs = np.flatnonzero(np.frombuffer(once, np.uint8) != np.frombuffer(PART, np.uint8))
    assert differs.tolist() == [0, 70_000, 140_000]
    assert once[0] == PART[0] ^ 0x80
    assert once == twice
    assert ask(server, RANGE)[2] == PART


def test_changed_etag(server: RangeServer) -> None:
    server.faults.append(Fault.changed_etag("new", skip=1, count=FOREVER))
    with_match = {**RANGE, "If-Match": f'"{MD5}"'}
    assert [ask(server, with_match)[0] for _ in range(3)] == [206, 412, 412]
    assert ask(server, {"If-Match": '"new"'})[1]["etag"] == '"new"'
    server.faults[:] = [Fault.silent_etag("other")]
    status, headers, body = ask(server, with_match)
    assert (status, headers["etag"], body) == (206, '"other"', PART)


@pytest.mark.parametrize("fault", [Fault.stall(0.3), Fault.stall_body(0.3, after=10)])
def test_stall_waits_and_goes_on(server: RangeServer, fault: Fault) -> None:
    server.faults.append(fault)
    started = time.monotonic()
    assert ask(server, RANGE)[2] == PART
    assert time.monotonic() - started >= 0.3


def test_stalled_client_runs_into_its_timeout(server: RangeServer) -> None:
    server.faults.append(Fault.stall_body(60, after=10))
    with pytest.raises(TimeoutError):
        ask(server, RANGE, timeout=0.2)


def test_stop_does_not_wait_for_stalled_connections() -> None:
    ended = []

    def hang(server: RangeServer) -> None:
        with suppress(OSError, http.client.HTTPException):
            ask(server, RANGE, timeout=30)
        ended.append(time.monotonic())

    with RangeServer(DictProvider({"a/b c.npy": DATA})) as server:
        server.faults += [Fault.stall(60, count=3), Fault.stall_body(60, count=3)]
        threads = [threading.Thread(target=hang, args=(server,)) for _ in range(6)]
        idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        idle.connect()
        for thread in threads:
            thread.start()
        wait_until(lambda: server.active == 6)
        left = time.monotonic()
    assert time.monotonic() - left < within(1)
    for thread in threads:
        thread.join(5)
    assert max(ended) - left < 1
    assert server.most_active == 6
    idle.close()


def test_network_gone_and_back(server: RangeServer) -> None:
    server.faults.append(Fault.drop(count=FOREVER))
    for _ in range(3):
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            ask(server)
    server.faults.clear()
    assert ask(server)[0] == 200


def test_closing_connections_cuts_what_is_under_way(server: RangeServer) -> None:
    server.faults.append(Fault.stall_body(60, after=10))
    threading.Timer(0.1, server.close_connections).start()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        ask(server, RANGE)
    assert ask(server, RANGE)[2] == PART


def test_bandwidth_and_latency(server: RangeServer) -> None:
    server.bandwidth = 1_000_000
    started = time.monotonic()
    ask(server)
    assert 0.25 < time.monotonic() - started < within(2)
    server.bandwidth, server.latency_s = None, 0.2
    started = time.monotonic()
    ask(server)
    assert 0.2 <= time.monotonic() - started < within(1)


def wait_until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
