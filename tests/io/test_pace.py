# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pauses and the bandwidth limit, over a real server."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tessera_plugin.errors import NetworkFailed
from tessera_plugin.io import http_bodies
from tessera_plugin.io.http import HttpClient
from tessera_plugin.progress import Cancelled, Gate
from tessera_plugin.values import NetworkSettings
from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

DATA = np.random.default_rng(2).bytes(4_000_000)


@pytest.fixture
def server():
    with RangeServer(DictProvider({"a": DATA})) as running:
        yield running


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def opened(gate):
    made = []

    def open_(**changes):
        made.append(HttpClient(NetworkSettings(**{"backoff_s": 0.01, **changes}), gate))
        return made[-1]

    yield open_
    for client in made:
        client.close()


def begun(work):
    """Run something in a thread; returns the thread and the list its outcome comes to."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- pause


def test_while_paused_no_request_starts(server, opened, gate):
    client = opened()
    gate.pause()
    thread, outcome = begun(lambda: client.get_range(f"{server.url}/a", 0, 1000))
    time.sleep(0.4)
    assert server.log == []
    gate.resume()
    thread.join(5)
    assert outcome[0].data == DATA[:1000]


def test_while_paused_no_body_is_read_and_nothing_is_lost(server, opened, gate):
    """However long the pause is in the eyes of the timeouts."""
    client = opened(read_timeout_s=0.3)
    server.bandwidth = 4_000_000
    thread, outcome = begun(lambda: client.get_range(f"{server.url}/a", 0, len(DATA)))
    until(lambda: client.bytes_received > 400_000)
    gate.pause()
    time.sleep(0.2)
    before = client.bytes_received
    time.sleep(1.0)
    assert client.bytes_received == before < len(DATA)
    gate.resume()
    thread.join(10)
    assert outcome[0].data == DATA
    assert client.requests == 1


@pytest.mark.parametrize(
    "fault",
    [Fault.stall(0.9), Fault.stall_body(0.9, after=100_000), Fault.drip(0.005, after=180_000)],
    ids=lambda fault: fault.kind,
)
def test_what_times_out_while_paused_is_no_try(server, opened, gate, fault, monkeypatch):
    monkeypatch.setattr(http_bodies, "SLOWEST_BYTES_PER_S", 60_000.0)
    client = opened(read_timeout_s=0.2, attempts=1)
    server.faults.append(fault)
    thread, outcome = begun(lambda: client.get_range(f"{server.url}/a", 0, 200_000))
    until(lambda: server.active and (fault.kind == "stall" or client.bytes_received))
    gate.pause()
    time.sleep(1.2)
    assert thread.is_alive()
    server.faults.clear()
    gate.resume()
    thread.join(10)
    assert outcome[0].data == DATA[:200_000]


def test_what_breaks_while_paused_is_no_try(server, opened, gate):
    client = opened(attempts=1)
    server.bandwidth = 1_000_000
    thread, outcome = begun(lambda: client.get_range(f"{server.url}/a", 0, 500_000))
    until(lambda: client.bytes_received)
    gate.pause()
    server.close_connections()
    time.sleep(0.3)
    server.bandwidth = None
    gate.resume()
    thread.join(10)
    assert outcome[0].data == DATA[:500_000]
    assert len(server.log) == 2


def test_after_a_pause_tries_count_again(server, opened, gate):
    client = opened(attempts=3)
    gate.pause()
    gate.resume()
    server.faults.append(Fault.status(500, count=FOREVER))
    with pytest.raises(NetworkFailed):
        client.get_range(f"{server.url}/a", 0, 10)
    assert len(server.log) == 3


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "within"])
def test_cancel_is_heard_while_paused(server, opened, gate, is_before):
    client = opened()
    server.bandwidth = 1_000_000
    if is_before:
        gate.pause()
    thread, outcome = begun(lambda: client.get_range(f"{server.url}/a", 0, len(DATA)))
    if not is_before:
        until(lambda: client.bytes_received)
        gate.pause()
    time.sleep(0.3)
    began = time.monotonic()
    client.cancel()
    thread.join(5)
    assert time.monotonic() - began < within(0.5)
    assert isinstance(outcome[0], Cancelled)


# --- limit


@pytest.mark.parametrize("hands", [1, 6])
def test_the_limit_holds_for_all_requests_together(server, opened, hands):
    """Also with a read timeout that is much shorter than a request takes."""
    client = opened(bytes_per_s=1_000_000, read_timeout_s=0.5)
    each = 1_800_000 // hands
    began = time.monotonic()
    with ThreadPoolExecutor(hands) as pool:
        replies = list(pool.map(
            lambda at: client.get_range(f"{server.url}/a", at * each, (at + 1) * each), range(hands)
        ))  # fmt: skip
    seconds = time.monotonic() - began
    assert b"".join(reply.data for reply in replies) == DATA[: each * hands]
    assert client.requests == hands
    assert 1.4 < seconds < within(3.5)


def test_a_limited_stream_is_even(server, opened):
    client = opened(bytes_per_s=400_000)
    came = []
    client.get_range(
        f"{server.url}/a", 0, 800_000, progress=lambda size: came.append((time.monotonic(), size))
    )
    times, sizes = np.array(came).T
    assert sizes.max() <= 40_000
    halves = [sizes[(times - times[0]) // 0.5 == half].sum() for half in range(3)]
    assert all(100_000 < half < 360_000 for half in halves)  # with a burst at first


def test_what_is_not_read_is_not_sent_either(server, opened):
    """Back-pressure: the server can't send much more than the limit lets us read."""
    client = opened(bytes_per_s=100_000)
    thread, outcome = begun(lambda: client.get_range(f"{server.url}/a", 0, len(DATA)))
    time.sleep(0.7)
    assert client.bytes_received < 150_000
    (line,) = client._lines.lines()
    (_, double), *_ = line._doubles
    size = double.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert size <= 2 * (1 << 16)
    client.cancel()
    thread.join(5)
    assert isinstance(outcome[0], Cancelled)


def test_cancel_is_heard_under_a_limit(server, opened):
    client = opened(bytes_per_s=2_000)
    threads = [begun(lambda: client.get_range(f"{server.url}/a", 0, 500_000)) for _ in range(4)]
    time.sleep(0.3)
    began = time.monotonic()
    client.cancel()
    for thread, _ in threads:
        thread.join(5)
    assert time.monotonic() - began < within(0.5)
    assert all(isinstance(outcome[0], Cancelled) for _, outcome in threads)


def test_without_a_limit_nothing_waits(server, opened):
    client = opened()
    began = time.monotonic()
    for _ in range(10):
        client.get_range(f"{server.url}/a", 0, len(DATA))
    assert time.monotonic() - began < within(5)


def test_nobody_watches_when_nothing_is_asked(server, opened):
    client = opened()
    client.get_range(f"{server.url}/a", 0, 10)
    until(lambda: not client._lines._is_watched)
    client.get_range(f"{server.url}/a", 0, 10)
    assert client._lines._is_watched
