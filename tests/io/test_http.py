# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ranges over HTTP against a real server that misbehaves on demand."""

import base64
import dataclasses
import email.utils
import gc
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.errors import AccessRefused, NetworkFailed
from tessera_plugin.io.http import HttpClient
from tessera_plugin.io.objects import NotFound, ObjectChanged, Unreachable
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import NetworkSettings
from tests.certificates import self_signed
from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

DATA = np.random.default_rng(0).bytes(300_000)
QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)


@pytest.fixture
def server():
    with RangeServer(DictProvider({"a.npy": DATA})) as running:
        yield running


@pytest.fixture
def client():
    made = HttpClient(QUICK)
    yield made
    made.close()


def url(server, path="a.npy"):
    return f"{server.url}/{path}"


# --- what comes


def test_a_range_is_exactly_what_was_asked(server, client):
    reply = client.get_range(url(server), 1000, 201_000)
    assert reply.data == DATA[1000:201_000]
    assert reply.total == len(DATA)
    assert reply.etag == f'"{server.provider.etags["a.npy"]}"'
    assert "2026" in reply.last_modified
    assert client.bytes_received == 200_000
    assert client.requests == 1


def test_a_whole_object(server, client):
    reply = client.get(url(server))
    assert reply.data == DATA
    assert reply.total == len(DATA)


def test_requests_say_who_asks_and_want_no_encoding(server, client):
    client.get_range(url(server), 0, 10)
    headers = server.log[0].headers
    assert headers["user-agent"].startswith("tessera-qgis/")
    assert headers["user-agent"] != "tessera-qgis/0"
    assert headers["accept-encoding"] == "identity"
    assert headers["range"] == "bytes=0-9"
    assert "if-match" not in headers


def test_one_connection_serves_many_requests_and_small_errors(server, client):
    for at in range(5):
        client.get_range(url(server), at, at + 100)
    with pytest.raises(NotFound):
        client.get_range(url(server, "none"), 0, 10)
    client.get_range(url(server), 0, 10)
    assert server.connections == 1


def test_progress_tells_of_bytes_and_takes_discarded_ones_back(server, client):
    server.faults.append(Fault.truncate(after=70_000))
    told = []
    client.get_range(url(server), 0, 200_000, progress=told.append)
    assert sum(told) == 200_000
    assert min(told) < 0
    assert client.bytes_received > 200_000


# --- what is tried again


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429),
        Fault.status(500),
        Fault.status(503, count=3),
        Fault.status(525, count=4),
        Fault.drop(),
        Fault.reset(after=100),
        Fault.truncate(after=100),
        Fault.truncate(after=0),
        Fault.wrong_length(-1),
        Fault.wrong_length(1),
        Fault.wrong_range(1),
        Fault.wrong_range(-1),
        Fault.ignore_range(),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code}-{fault.after}-{fault.amount}",
)
def test_a_passing_fault_is_overcome(server, client, fault):
    hits = fault.count
    server.faults.append(fault)
    assert client.get_range(url(server), 500, 100_500).data == DATA[500:100_500]
    assert client.requests == hits + 1 == len(server.log)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.status(503, count=FOREVER), "status 503"),
        (
            Fault.truncate(after=100, count=FOREVER),
            "100 of 1,000 bytes|connection broke",
        ),  # urllib3 1.26, 2
        (Fault.wrong_length(5, count=FOREVER), "1,005 bytes were sent instead of 1,000"),
        (Fault.wrong_range(3, count=FOREVER), "bytes 3-1002 were sent instead of 0-999"),
        (Fault.ignore_range(count=FOREVER), "whole object"),
        (Fault.reset(after=10, count=FOREVER), "connection broke"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_lasting_fault_fails_by_name(server, client, fault, reason):
    server.faults.append(fault)
    with pytest.raises(NetworkFailed, match=reason) as caught:
        client.get_range(url(server), 0, 1000)
    assert caught.value.url == url(server)
    assert not isinstance(caught.value, Unreachable)
    assert client.requests == QUICK.attempts


def test_silence_is_tried_again_after_the_timeout(server):
    client = HttpClient(NetworkSettings(backoff_s=0.01, read_timeout_s=0.2))
    server.faults.append(Fault.stall(5))
    server.faults.append(Fault.stall_body(5, after=10))
    assert client.get_range(url(server), 0, 1000).data == DATA[:1000]
    assert client.requests == 3
    server.faults.append(Fault.stall(5, count=FOREVER))
    with pytest.raises(Unreachable, match=r"nothing came for 0\.2 s"):
        client.get_range(url(server), 0, 1000)
    client.close()


def test_pauses_grow_and_differ(server):
    client = HttpClient(NetworkSettings(backoff_s=0.1, attempts=4))
    server.faults.append(Fault.status(500, count=FOREVER))
    with pytest.raises(NetworkFailed):
        client.get_range(url(server), 0, 10)
    arrived = np.array([entry.arrived for entry in server.log])
    pauses = np.diff(arrived)
    for number, pause in enumerate(pauses):
        assert 0.075 * 2**number <= pause <= 0.125 * 2**number + within(0.6)
    client.close()


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_retry_after_is_honoured(server, client, kind):
    after = 1 if kind == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    server.faults.append(Fault.status(503, retry_after=after))
    began = time.monotonic()
    client.get_range(url(server), 0, 10)
    assert 0.95 <= time.monotonic() - began < within(3)


def test_retry_after_holds_every_request_back(server, client):
    server.faults.append(Fault.status(429, retry_after=1))
    began = time.monotonic()
    first = threading.Thread(target=client.get_range, args=(url(server), 0, 10))
    first.start()
    time.sleep(0.3)
    client.get_range(url(server), 10, 20)
    assert time.monotonic() - began >= 0.95
    first.join()


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server, client):
    server.faults.append(Fault.status(503, retry_after=3600, count=FOREVER))
    began = time.monotonic()
    with pytest.raises(NetworkFailed, match="3,600 s"):
        client.get_range(url(server), 0, 10)
    assert time.monotonic() - began < within(1)
    assert client.requests == 1


# --- what is final


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(404), NotFound),
        (Fault.status(410), NotFound),
        (Fault.status(403), AccessRefused),
        (Fault.status(401), AccessRefused),
        (Fault.status(412), ObjectChanged),
        (Fault.status(400), NetworkFailed),
    ],
    ids=lambda value: str(getattr(value, "code", "")),
)
def test_final_answers_are_not_asked_for_again(server, client, fault, kind):
    server.faults.append(fault)
    with pytest.raises(kind):
        client.get_range(url(server), 0, 10)
    assert client.requests == 1


def test_refused_tells_the_status(server, client):
    server.faults.append(Fault.status(403))
    with pytest.raises(AccessRefused) as caught:
        client.get_range(url(server), 0, 10)
    assert caught.value.status == 403


def test_an_object_that_is_too_short(server, client):
    server.provider.put("short", b"only this")
    with pytest.raises(NetworkFailed, match="only 9 bytes"):
        client.get_range(url(server, "short"), 0, 128)
    with pytest.raises(NetworkFailed, match="shorter"):
        client.get_range(url(server, "short"), 100, 128)
    assert client.requests == 2


# --- one object


def test_a_strong_etag_is_demanded(server, client):
    etag = client.get_range(url(server), 0, 10).etag
    client.get_range(url(server), 10, 20, etag)
    assert server.log[1].headers["if-match"] == etag
    server.provider.put("a.npy", DATA[::-1])
    with pytest.raises(ObjectChanged):
        client.get_range(url(server), 20, 30, etag)
    assert server.log[2].status == 412


def test_a_weak_etag_is_compared_by_hand(server, client):
    server.provider.put("a.npy", DATA, etag='W/"one"')
    etag = client.get_range(url(server), 0, 10).etag
    assert etag == 'W/"one"'
    assert client.get_range(url(server), 10, 20, etag).data == DATA[10:20]
    assert "if-match" not in server.log[1].headers
    server.provider.put("a.npy", DATA[::-1], etag='W/"two"')
    with pytest.raises(ObjectChanged):
        client.get_range(url(server), 20, 30, etag)


def test_a_proxy_that_ignores_if_match_does_not_fool_us(server, client):
    etag = client.get_range(url(server), 0, 10).etag
    server.faults.append(Fault.silent_etag(etag="f" * 32))
    assert client.get_range(url(server), 10, 20, etag).data == DATA[10:20]  # a passing one
    server.faults.append(Fault.silent_etag(etag="f" * 32, count=FOREVER))
    with pytest.raises(ObjectChanged):
        client.get_range(url(server), 10, 20, etag)


# --- no network


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_nobody_listens(client):
    with pytest.raises(Unreachable, match="no connection"):
        client.get_range(f"http://127.0.0.1:{free_port()}/a", 0, 10)
    assert client.requests == QUICK.attempts


def test_a_name_that_does_not_exist(client):
    with pytest.raises(Unreachable, match="no connection"):
        client.get_range("http://no-such-host.invalid/a", 0, 10)


def test_in_a_hurry_everything_is_tried_but_once_until_somebody_answers(server, client):
    client.hurry()
    with pytest.raises(Unreachable):
        client.get_range(f"http://127.0.0.1:{free_port()}/a", 0, 10)
    assert client.requests == 1
    client.get_range(url(server), 0, 10)
    server.faults.append(Fault.status(500, count=2))
    client.get_range(url(server), 0, 10)
    assert client.requests == 5


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/a", "no address", "http://"])
def test_addresses_that_are_none(client, address):
    with pytest.raises(NetworkFailed):
        client.get_range(address, 0, 10)
    assert client.requests == 1


# --- redirects


def redirect(location, **where):
    return Fault("status", code=302, headers={"Location": location}, **where)


def test_a_redirect_is_followed_with_the_range(server, client):
    server.provider.put("b.npy", DATA[::-1])
    server.faults.append(redirect("/b.npy", path="a.npy"))
    assert client.get_range(url(server), 5, 50).data == DATA[::-1][5:50]
    assert server.log[1].range == "bytes=5-49"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://x", ""])
def test_a_redirect_away_from_http_is_not_followed(server, client, location):
    server.faults.append(redirect(location, count=FOREVER))
    with pytest.raises(NetworkFailed, match="redirects"):
        client.get_range(url(server), 0, 10)
    assert client.requests == 1


def test_a_circle_of_redirects_ends(server, client):
    server.faults.append(redirect("/a.npy", count=FOREVER))
    with pytest.raises(NetworkFailed, match="without end"):
        client.get_range(url(server), 0, 10)
    assert len(server.log) == 6


# --- proxies


def test_the_proxy_of_the_longest_prefix_is_used_with_its_credentials(server):
    port = server.port
    proxies = (
        ("http://", "http://127.0.0.1:9"),
        ("http://archive.invalid", f"http://user:p%40ss@127.0.0.1:{port}"),
        ("http://archive", "http://127.0.0.1:9"),
        ("https://archive.invalid", "http://127.0.0.1:9"),
    )
    client = HttpClient(NetworkSettings(proxies=proxies, attempts=1))
    assert client.get_range("http://archive.invalid/a.npy", 0, 10).data == DATA[:10]
    entry = server.log[0]
    assert entry.target == "http://archive.invalid/a.npy"
    given = base64.b64decode(entry.headers["proxy-authorization"].split()[1])
    assert given == b"user:p@ss"
    with pytest.raises(Unreachable, match="proxy") as caught:
        client.get_range("http://elsewhere.invalid/a.npy", 0, 10)
    assert caught.value.reason == "the proxy 127.0.0.1:9 can't be reached"
    client.close()


def test_a_prefix_without_a_proxy_means_direct(server):
    proxies = (("http://", "http://127.0.0.1:9"), ("http://127.0.0.1", ""))
    client = HttpClient(NetworkSettings(proxies=proxies, attempts=1))
    assert client.get_range(url(server), 0, 10).data == DATA[:10]
    client.close()


def test_the_environment_has_no_say(server, client, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    assert client.get_range(url(server), 0, 10).data == DATA[:10]


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(certificate):
    context = certificate.server_context()
    with RangeServer(DictProvider({"a.npy": DATA}), ssl_context=context) as running:
        yield running


def test_tls_is_verified_with_the_given_authorities(tls_server, certificate):
    client = HttpClient(NetworkSettings(ca_bundle=str(certificate.pem)))
    assert client.get_range(url(tls_server), 0, 100_000).data == DATA[:100_000]
    client.close()


def test_a_certificate_file_that_is_not_there(tls_server):
    client = HttpClient(NetworkSettings(ca_bundle="/nowhere/ca.pem"))
    with pytest.raises(NetworkFailed, match=r"/nowhere/ca\.pem"):
        client.get_range(url(tls_server), 0, 10)
    assert client.requests == 1
    client.close()


def test_no_redirect_from_tls_to_plain(tls_server, server, certificate):
    client = HttpClient(NetworkSettings(ca_bundle=str(certificate.pem)))
    tls_server.faults.append(redirect(url(server)))
    with pytest.raises(NetworkFailed, match="insecure"):
        client.get_range(url(tls_server), 0, 10)
    assert server.log == []
    client.close()


# --- cancel


def cancelled_after(client, address, delay=0.3):
    """Return how long a request took to end after cancel, and what it raised."""
    raised = []

    def ask():
        try:
            client.get_range(address, 0, 200_000)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(delay)
    assert thread.is_alive()
    began = time.monotonic()
    client.cancel()
    thread.join(10)
    assert not thread.is_alive()
    return time.monotonic() - began, raised[0]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.stall(30),
        Fault.stall_body(30, after=0),
        Fault.stall_body(30, after=70_000),
        Fault.status(503, retry_after=30, count=FOREVER),
    ],
    ids=["headers", "body-0", "body-70000", "sleep"],
)
def test_cancel_ends_a_request_at_once(server, fault):
    client = HttpClient(NetworkSettings())
    client.get_range(url(server), 0, 10)  # also on a connection that is used again
    server.faults.append(fault)
    seconds, raised = cancelled_after(client, url(server))
    assert isinstance(raised, Cancelled)
    assert seconds < within(1)
    with pytest.raises(Cancelled):
        client.get_range(url(server), 0, 10)


@pytest.mark.parametrize("fault", [Fault.stall(30), Fault.stall_body(30, after=70_000)])
def test_cancel_ends_a_tls_request_at_once(tls_server, certificate, fault):
    client = HttpClient(NetworkSettings(ca_bundle=str(certificate.pem)))
    tls_server.faults.append(fault)
    seconds, raised = cancelled_after(client, url(tls_server))
    assert isinstance(raised, Cancelled)
    assert seconds < within(1)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxied", [False, True])
def test_cancel_ends_a_connection_that_is_accepted_and_never_answered(scheme, proxied):
    """The handshake of TLS, and the tunnel through a proxy, stall too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        host = "archive.invalid" if proxied else address
        proxies = ((f"{scheme}://{host}", f"http://{address}"),) if proxied else ()
        client = HttpClient(NetworkSettings(proxies=proxies))
        seconds, raised = cancelled_after(client, f"{scheme}://{host}/a")
    assert isinstance(raised, Cancelled)
    assert seconds < within(1)


def test_no_socket_is_left_behind(server):
    """The duplicates that make cancel work are closed with their connections."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("descriptors can't be counted here")
    client = HttpClient(QUICK)
    client.get_range(url(server), 0, 10)
    before = len(list(descriptors.iterdir()))
    for _ in range(10):
        server.faults.append(Fault.reset(after=10))
        client.get_range(url(server), 0, 1000)
    deadline = time.monotonic() + 5
    while server.active and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    assert len(list(descriptors.iterdir())) <= before + 2
    client.close()
    assert all(not line._doubles for line in client._lines.lines())


# --- as it comes


class Bucket:
    """A sink that keeps everything, and sees that it comes in order and of one object."""

    def __init__(self):
        self.data = bytearray()
        self.heads = []
        self.pieces = 0

    def begin(self, head):
        assert head.data == b""
        self.heads.append((head.etag, head.total))

    def take(self, offset, data):
        assert offset == len(self.data)
        self.data += data
        self.pieces += 1


def ranges(server):
    return [entry.range for entry in server.log]


def test_a_sink_gets_the_bytes_as_they_come(server, client):
    bucket, told = Bucket(), []
    reply = client.get_range(url(server), 500, 250_500, None, told.append, sink=bucket)
    assert bytes(bucket.data) == DATA[500:250_500]
    assert bucket.pieces > 3
    assert reply.data == b""
    assert bucket.heads == [(reply.etag, len(DATA))]
    assert sum(told) == client.bytes_received == 250_000


@pytest.mark.parametrize("etag", [True, False], ids=["known", "new"])
def test_a_sink_gets_nothing_twice_when_the_line_breaks(server, client, etag):
    known = client.get_range(url(server), 0, 1).etag
    server.clear()
    server.faults.append(Fault.truncate(after=70_000))
    server.faults.append(Fault.status(503))
    bucket, told = Bucket(), []
    client.get_range(url(server), 500, 250_500, known if etag else None, told.append, sink=bucket)
    assert bytes(bucket.data) == DATA[500:250_500]
    last = server.log[-1]
    came = int(last.range[6:].split("-")[0]) - 500
    assert 8192 < came <= 70_000  # of a piece that broke off nothing is taken
    assert ranges(server) == ["bytes=500-250499", *[f"bytes={500 + came}-250499"] * 2]
    assert last.bytes == 250_000 - came
    assert last.headers["if-match"] == known
    assert sum(told) == 250_000
    assert min(told) > 0


def test_a_line_that_breaks_always_brings_everything_if_it_brings_much(server):
    client = HttpClient(dataclasses.replace(QUICK, attempts=1))
    server.faults.append(Fault.truncate(after=130_000, count=FOREVER))
    bucket = Bucket()
    client.get_range(url(server), 0, len(DATA), sink=bucket)
    assert bytes(bucket.data) == DATA
    assert len(server.log) == 3
    client.close()


def test_a_line_that_brings_little_is_given_up_and_what_came_stays(server, client):
    server.faults.append(Fault.truncate(after=20_000, count=FOREVER))
    bucket = Bucket()
    with pytest.raises(NetworkFailed):
        client.get_range(url(server), 0, len(DATA), sink=bucket)
    assert len(server.log) == QUICK.attempts
    assert 0 < len(bucket.data) <= 20_000 * QUICK.attempts
    assert bytes(bucket.data) == DATA[: len(bucket.data)]


@pytest.mark.parametrize("fault", [Fault.changed_etag, Fault.silent_etag])
def test_the_rest_of_another_object_is_not_taken(server, client, fault):
    server.faults.append(Fault.truncate(after=70_000))
    server.faults.append(fault(count=FOREVER))
    bucket = Bucket()
    with pytest.raises(ObjectChanged):
        client.get_range(url(server), 0, len(DATA), sink=bucket)
    assert 0 < len(bucket.data) <= 70_000
    assert bytes(bucket.data) == DATA[: len(bucket.data)]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.ignore_range(),
        Fault.wrong_range(5),
        Fault.wrong_length(-1),
        Fault.no_length(amount=3),
        Fault.status(500),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_sink_gets_nothing_of_a_wrong_answer(server, client, fault):
    server.faults.append(fault)
    bucket = Bucket()
    client.get_range(url(server), 0, 200_000, sink=bucket)
    assert bytes(bucket.data) == DATA[:200_000]
    assert ranges(server) == ["bytes=0-199999"] * 2


def test_what_a_sink_raises_ends_it(server, client):
    """Also what looks like a broken connection."""

    class Full(Bucket):
        def take(self, offset, data):
            raise ConnectionResetError("the disk")

    with pytest.raises(ConnectionResetError, match="the disk"):
        client.get_range(url(server), 0, 200_000, sink=Full())

    class Strict(Bucket):
        def begin(self, head):
            raise ObjectChanged("elsewhere")

    with pytest.raises(ObjectChanged, match="elsewhere"):
        client.get_range(url(server), 0, 200_000, sink=Strict())
    assert len(server.log) == 2
    assert client.get_range(url(server), 0, 10).data == DATA[:10]


def test_cancel_is_heard_while_a_sink_is_fed(server, client):
    server.bandwidth = 100_000
    bucket = Bucket()
    threading.Timer(0.3, client.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        client.get_range(url(server), 0, len(DATA), sink=bucket)
    assert time.monotonic() - began < within(1)
    assert bytes(bucket.data) == DATA[: len(bucket.data)]
