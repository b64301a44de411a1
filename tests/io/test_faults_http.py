# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that can go wrong between a server and us, one by one, over real connections.

In each case: the right bytes, or a reason that a person understands; and a bounded number of
requests.
"""

import email.utils
import socket
import threading
import time
from urllib.parse import quote

import numpy as np
import pytest

from tessera_plugin.errors import AccessRefused, NetworkFailed, ProxyLoginNeeded
from tessera_plugin.io import http, http_bodies, http_proxies
from tessera_plugin.io.http import HttpClient
from tessera_plugin.io.objects import NotFound, ObjectChanged, ObjectUnusable, Unreachable
from tessera_plugin.values import NetworkSettings
from tests import certificates
from tests.clock import within
from tests.proxies import Proxy
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

DATA = np.random.default_rng(1).bytes(300_000)
SPAN = (1000, 101_000)
PART = DATA[slice(*SPAN)]
TRIES = 3
HOST = "archive.invalid"
"""A name that no system knows: only a proxy can lead there."""


def settings(**changes):
    usual = {"backoff_s": 0.01, "connect_timeout_s": 2, "read_timeout_s": 2, "attempts": TRIES}
    return NetworkSettings(**{**usual, **changes})


@pytest.fixture
def opened():
    """Open clients that are closed in the end."""
    made = []

    def open_(**changes):
        made.append(HttpClient(settings(**changes)))
        return made[-1]

    yield open_
    for client in made:
        client.close()


@pytest.fixture
def server():
    with RangeServer(DictProvider({"a.npy": DATA})) as running:
        yield running


def url(server, path="a.npy"):
    return f"{server.url}/{path}"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# --- faults that pass


def passing():
    date = email.utils.formatdate(time.time() + 2, usegmt=True)
    return {
        **{f"status {code}": Fault.status(code) for code in (408, 429, 500, 502, 503, 504, 525)},
        "429, seconds": Fault.status(429, retry_after=1),
        "429, date": Fault.status(429, retry_after=date),
        "429, nonsense": Fault.status(429, retry_after="soon"),
        "503, past": Fault.status(503, retry_after="Thu, 01 Jan 2015 00:00:00 GMT"),
        "no word": Fault.drop(),
        "reset": Fault.reset(after=20_000),
        "stall before": Fault.stall(60),
        "stall within": Fault.stall_body(60, after=20_000),
        "truncated": Fault.truncate(after=20_000),
        "wrong length, less": Fault.wrong_length(-5),
        "wrong length, more": Fault.wrong_length(5),
        "no length, less": Fault.no_length(-5),
        "no length, more": Fault.no_length(5),
        "other range": Fault.wrong_range(5),
        "range ignored": Fault.ignore_range(),
        "other object": Fault.silent_etag(),
    }


@pytest.mark.parametrize("name", passing())
def test_a_fault_that_passes_is_overcome(server, opened, name):
    client = opened(read_timeout_s=0.3)
    etag = client.get_range(url(server), 0, 10).etag
    fault = passing()[name]
    server.faults.append(fault)
    told = []
    assert client.get_range(url(server), *SPAN, etag, told.append).data == PART
    assert sum(told) == len(PART)
    assert (fault.hits, len(server.log)) == (1, 3)


@pytest.mark.parametrize("fault", [Fault.extra(9), Fault.no_length()], ids=["extra", "no length"])
def test_a_fault_that_does_no_harm_costs_nothing(server, opened, fault):
    """Bytes behind the end are not part of this answer, nor of the next one."""
    client = opened()
    server.faults.append(fault)
    assert client.get_range(url(server), *SPAN).data == PART
    assert client.get_range(url(server), 5, 50).data == DATA[5:50]
    assert len(server.log) == 2


def test_a_whole_object_without_its_length_is_read_to_the_end_that_is_marked(server, opened):
    """As gateways send what they make up themselves; without a marked end nobody could tell."""
    client = opened()
    server.faults += [Fault.chunked(after=25_000), Fault.no_length(-5), Fault.chunked()]
    told = []
    reply = client.get(url(server), told.append)
    assert (reply.data, reply.total) == (DATA, len(DATA))
    assert sum(told) == len(DATA)
    assert len(server.log) == 3
    client.get_range(url(server), 0, 10)
    assert server.connections == 3
    server.faults.append(Fault.chunked())
    assert client.get_range(url(server), *SPAN).data == PART


def test_a_whole_object_without_its_length_is_not_read_for_ever(server, opened, monkeypatch):
    monkeypatch.setattr(http_bodies, "GET_LIMIT_BYTES", 100_000)
    client = opened()
    server.faults.append(Fault.chunked())
    with pytest.raises(ObjectUnusable, match="more than 100,000 bytes"):
        client.get(url(server))
    assert client.bytes_received == 100_001


# --- faults that last


def lasting():
    return {
        **{
            f"status {code}": (Fault.status(code), f"the server answers with status {code}")
            for code in (408, 429, 500, 502, 503, 525)
        },
        "no word": (Fault.drop(), "the connection broke"),
        "reset": (Fault.reset(after=20_000), "the connection broke"),
        "stall before": (Fault.stall(60), "nothing came for 0.2 s"),
        "stall within": (Fault.stall_body(60, after=20_000), "nothing came for 0.2 s"),
        "truncated": (
            Fault.truncate(after=20_000),
            ("only 20,000 of 100,000 bytes came", "the connection broke, only a part came"),
        ),  # urllib3 1.26, 2
        "less": (Fault.wrong_length(-5), "99,995 bytes were sent instead of 100,000"),
        "more": (Fault.wrong_length(5), "100,005 bytes were sent instead of 100,000"),
        "no length": (Fault.no_length(-5), "only 99,995 of 100,000 bytes came"),
        "other range": (
            Fault.wrong_range(5),
            "bytes 1005-101004 were sent instead of 1000-100999",
        ),
        "range ignored": (Fault.ignore_range(), "the whole object was sent instead of a part"),
    }


@pytest.mark.parametrize("name", lasting())
def test_a_fault_that_lasts_is_named(server, opened, name):
    client = opened(read_timeout_s=0.2)
    fault, reason = lasting()[name]
    fault.count = FOREVER
    server.faults.append(fault)
    told = []
    with pytest.raises(NetworkFailed) as caught:
        client.get_range(url(server), *SPAN, progress=told.append)
    assert caught.value.reason in ((reason,) if isinstance(reason, str) else reason)
    assert caught.value.url == url(server)
    assert isinstance(caught.value, Unreachable) == (name in ("no word", "stall before"))
    assert sum(told) == 0
    assert len(server.log) == TRIES == client.requests


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault.status(403), AccessRefused, "status 403"),
        (Fault.status(404), NotFound, "does not exist"),
        (Fault.status(416), ObjectUnusable, "it is shorter than expected"),
        (Fault.status(412), ObjectChanged, "has changed"),
        (Fault.status(418), NetworkFailed, "unexpected status 418"),
        (Fault.status(429, retry_after=3600), NetworkFailed, "429 and asks for 3,600 s"),
        (Fault.changed_etag(), ObjectChanged, "has changed"),
    ],
    ids=lambda value: str(getattr(value, "code", "") or getattr(value, "kind", "")),
)
def test_what_is_final_is_asked_for_once(server, opened, fault, kind, words):
    client = opened()
    etag = client.get_range(url(server), 0, 10).etag
    server.faults.append(fault)
    with pytest.raises(kind, match=words):
        client.get_range(url(server), 10, 20, etag)
    assert len(server.log) == 2


def test_a_lasting_other_etag_is_another_object(server, opened):
    client = opened()
    etag = client.get_range(url(server), 0, 10).etag
    server.faults.append(Fault.silent_etag(count=FOREVER))
    with pytest.raises(ObjectChanged):
        client.get_range(url(server), 10, 20, etag)
    assert len(server.log) == 3


def test_a_server_that_can_not_is_not_asked_for_each_of_a_thousand_objects(server, opened):
    client = opened(attempts=5)
    server.faults.append(Fault.status(503, count=FOREVER))
    for _ in range(100):
        with pytest.raises(NetworkFailed, match="status 503"):
            client.get_range(url(server), 0, 10)
    assert len(server.log) == http.VAIN * 5 + 100 - http.VAIN
    server.clear()
    client.get_range(url(server), 0, 10)
    server.faults.append(Fault.status(503, count=4))
    client.get_range(url(server), 0, 10)  # it can again, so there is patience again
    assert len(server.log) == 1 + 5


def test_a_server_that_wants_to_be_left_alone_is(server, opened):
    client = opened(attempts=1)
    server.faults.append(Fault.status(429, retry_after=60, count=FOREVER))
    with pytest.raises(NetworkFailed, match="429"):
        client.get_range(url(server), 0, 10)
    client._holds.clear()
    for _ in range(http.VAIN - 1):
        client._holds.clear()
        with pytest.raises(NetworkFailed, match="429"):
            client.get_range(url(server), 0, 10)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(NetworkFailed, match="429"):
            client.get_range(url(server), 0, 10)
    assert time.monotonic() - began < within(1)
    assert len(server.log) == http.VAIN


def test_one_server_that_wants_time_does_not_hold_another_back(server, opened):
    client = opened(attempts=2)
    with RangeServer(DictProvider({"a.npy": DATA})) as busy:
        busy.faults.append(Fault.status(503, retry_after=2, count=FOREVER))
        thread = threading.Thread(target=asked, args=(client, url(busy)))
        thread.start()
        time.sleep(0.3)
        began = time.monotonic()
        client.get_range(url(server), 0, 10)
        assert time.monotonic() - began < within(1)
        client.cancel()
        thread.join(5)


def asked(client, address):
    try:
        return client.get_range(address, *SPAN)
    except Exception as error:
        return error


# --- slowness


@pytest.fixture
def impatient(monkeypatch):
    """Bear less slowness, so that the tests are quick."""
    monkeypatch.setattr(http_bodies, "SLOWEST_BYTES_PER_S", 50_000.0)


@pytest.mark.parametrize("after", [0, 50_000])
def test_a_drip_is_asked_for_again(server, opened, impatient, after):
    client = opened(read_timeout_s=0.3)
    server.faults.append(Fault.drip(0.02, piece=4, after=after))
    began = time.monotonic()
    assert client.get_range(url(server), *SPAN).data == PART
    assert 0.3 < time.monotonic() - began < within(6)
    assert len(server.log) == 2


@pytest.mark.parametrize(
    "fault", [Fault.drip(0.02, piece=4, count=FOREVER), Fault.drip_head(0.02, count=FOREVER)]
)
def test_a_drip_that_lasts_is_named_and_does_not_count_as_an_answer(
    server, opened, impatient, fault
):
    client = opened(read_timeout_s=0.2, connect_timeout_s=0.1)
    server.faults.append(fault)
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        client.get_range(url(server), *SPAN)
    assert caught.value.reason == "it comes too slowly"
    assert time.monotonic() - began < within(8)
    assert len(server.log) == http.SLOW_TRIES
    server.faults.clear()
    assert client.get_range(url(server), *SPAN).data == PART


def test_a_slow_line_is_no_fault(server, opened, impatient):
    """Twice the least rate, for much longer than silence is borne."""
    client = opened(read_timeout_s=0.2)
    server.faults.append(Fault.drip(0.01, piece=1000))
    assert client.get_range(url(server), *SPAN).data == PART
    assert len(server.log) == 1


# --- no way to the server


def test_nobody_listens(opened):
    client = opened()
    with pytest.raises(Unreachable) as caught:
        client.get_range(f"http://127.0.0.1:{free_port()}/a", 0, 10)
    assert caught.value.reason == "no connection"
    assert client.requests == TRIES


def test_a_name_that_nobody_knows(opened):
    client = opened()
    with pytest.raises(Unreachable) as caught:
        client.get_range(f"http://{HOST}/a", 0, 10)
    assert caught.value.reason == "no connection: its name is not known"
    assert client.requests == TRIES


# --- redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_is_followed(server, opened, code):
    client = opened()
    with RangeServer(DictProvider({"b/a.npy": DATA})) as other:
        server.faults.append(Fault.redirect(f"{other.url}/b/a.npy", code, count=FOREVER))
        assert client.get_range(url(server), *SPAN).data == PART
        assert [entry.range for entry in other.log] == ["bytes=1000-100999"]
    assert client.requests == 1


def test_a_broken_target_of_a_redirect_is_told_by_the_address_that_was_asked(server, opened):
    client = opened(attempts=1)
    server.faults.append(Fault.redirect(f"http://127.0.0.1:{free_port()}/b", count=FOREVER))
    with pytest.raises(NetworkFailed, match="no connection") as caught:
        client.get_range(url(server), *SPAN)
    assert caught.value.url == url(server)


# --- TLS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return certificates.authority(folder)


def tls_server(certificate):
    return RangeServer(DictProvider({"a.npy": DATA}), ssl_context=certificate.server_context())


@pytest.mark.parametrize(
    ("name", "days", "reason"),
    [
        ("DNS:elsewhere.invalid", 2, "its certificate is for another name"),
        ("IP:127.0.0.2", 2, "its certificate is for another name"),
        ("IP:127.0.0.1", -1, "its certificate has expired, or this computer's clock is wrong"),
    ],
)
def test_a_wrong_certificate_is_named_at_once(folder, authority, opened, name, days, reason):
    certificate = certificates.signed(folder, authority, name, days=days)
    client = opened(ca_bundle=str(authority.pem))
    with tls_server(certificate) as running, pytest.raises(NetworkFailed) as caught:
        client.get_range(url(running), 0, 10)
    assert caught.value.reason == reason
    assert client.requests == 1
    assert running.log == []


def test_a_certificate_that_nobody_signed_is_named_at_once(folder, authority, opened):
    own = certificates.self_signed(folder)
    other = certificates.signed(folder, authority, "IP:127.0.0.1")
    for certificate, bundle in ((own, ""), (own, str(authority.pem)), (other, "")):
        client = opened(ca_bundle=bundle)
        with tls_server(certificate) as running, pytest.raises(NetworkFailed) as caught:
            client.get_range(url(running), 0, 10)
        assert caught.value.reason == (
            "its certificate is not trusted: nobody whom QGIS trusts has signed it"
        )
        assert client.requests == 1


def test_a_server_that_speaks_no_tls(server, opened):
    client = opened()
    with pytest.raises(NetworkFailed) as caught:
        client.get_range(url(server).replace("http:", "https:"), 0, 10)
    assert caught.value.reason == "no secure connection could be made"
    assert client.requests == TRIES


# --- proxies


def through(proxy, scheme="http", **changes):
    return {"proxies": ((f"{scheme}://{HOST}", proxy),), **changes}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["", "ann:wrong"])
def test_a_proxy_that_wants_a_login_is_named_and_asked_once(opened, scheme, login, monkeypatch):
    with Proxy({}, login="ann:secret") as proxy:
        address = proxy.url_with(login) if login else proxy.url
        client = opened(**through(address, scheme))
        for _ in range(3):
            with pytest.raises(ProxyLoginNeeded) as caught:
                client.get_range(f"{scheme}://{HOST}/a.npy", 0, 10)
            client = opened(**through(address, scheme))
        assert len(proxy.log) == 1  # wrong passwords lock accounts
        monkeypatch.setattr(http_proxies, "_closed", {})  # a minute later
        with pytest.raises(ProxyLoginNeeded):
            client.get_range(f"{scheme}://{HOST}/a.npy", 0, 10)
        assert len(proxy.log) == 2
    error = caught.value
    assert (error.proxy, error.status, error.given) == (f"127.0.0.1:{proxy.port}", 407, bool(login))
    words = "refused the user name and password" if login else "wants a user name and a password"
    assert error.reason == f"the proxy 127.0.0.1:{proxy.port} {words}"
    assert "wrong" not in f"{error!r} {error}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["ann:s@cr:t", "jürgen:geheim", "Łucja:тайна"])
def test_a_proxy_with_the_right_login_works(folder, authority, server, opened, scheme, login):
    certificate = certificates.signed(folder, authority, f"DNS:{HOST}")
    with tls_server(certificate) as secure:
        ports = {f"{HOST}:80": server.port, f"{HOST}:443": secure.port}
        with Proxy(ports, login=login) as proxy:
            who, _, password = login.partition(":")
            address = proxy.url_with(f"{quote(who, safe='')}:{quote(password, safe='')}")
            client = opened(**through(address, scheme, ca_bundle=str(authority.pem)))
            assert client.get_range(f"{scheme}://{HOST}/a.npy", *SPAN).data == PART
            assert client.get_range(f"{scheme}://{HOST}/a.npy", 5, 50).data == DATA[5:50]
            assert client.requests == 2


def test_a_proxy_that_looks_into_the_traffic_works_if_its_authority_is_trusted(
    folder, authority, opened
):
    """As companies do: the proxy shows a certificate of its own for every server."""
    certificate = certificates.signed(folder, authority, f"DNS:{HOST}")
    with tls_server(certificate) as inspector, Proxy({f"{HOST}:443": inspector.port}) as proxy:
        client = opened(**through(proxy.url, "https", ca_bundle=str(authority.pem)))
        assert client.get_range(f"https://{HOST}/a.npy", *SPAN).data == PART
        distrustful = opened(**through(proxy.url, "https"))
        with pytest.raises(NetworkFailed, match="certificate is not trusted"):
            distrustful.get_range(f"https://{HOST}/a.npy", *SPAN)
        assert distrustful.requests == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(opened, scheme):
    address = f"127.0.0.1:{free_port()}"
    client = opened(**through(f"http://ann:secret@{address}", scheme))
    with pytest.raises(Unreachable) as caught:
        client.get_range(f"{scheme}://{HOST}/a.npy", 0, 10)
    assert caught.value.reason == f"the proxy {address} can't be reached"
    assert client.requests == TRIES


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_never_answers(opened, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        client = opened(**through(f"http://{address}", scheme, read_timeout_s=0.3,
                                  connect_timeout_s=0.3, attempts=2))  # fmt: skip
        with pytest.raises(Unreachable, match=r"nothing came|proxy"):
            client.get_range(f"{scheme}://{HOST}/a.npy", 0, 10)
    assert client.requests == 2


@pytest.mark.parametrize(
    ("refusal", "tries", "kind"),
    [(403, 1, (AccessRefused, NetworkFailed)), (502, TRIES, NetworkFailed)],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_let_through(opened, scheme, refusal, tries, kind):
    with Proxy({}, refusal=refusal) as proxy:
        client = opened(**through(proxy.url, scheme))
        with pytest.raises(kind, match=str(refusal)) as caught:
            client.get_range(f"{scheme}://{HOST}/a.npy", 0, 10)
        if scheme == "https":
            said = f"the proxy 127.0.0.1:{proxy.port} answers with status {refusal}"
            assert caught.value.reason == said
        assert len(proxy.log) == tries


def test_a_socks_proxy_without_its_module_is_named(opened, monkeypatch):
    import requests.adapters

    def missing(*args, **kwargs):
        raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", missing)
    client = opened(**through("socks5h://127.0.0.1:9"))
    with pytest.raises(NetworkFailed, match="SOCKS proxy"):
        client.get_range(f"http://{HOST}/a.npy", 0, 10)
    assert client.requests == 1
