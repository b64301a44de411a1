# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive under several addresses, or in a folder."""

import time

import numpy as np
import pytest

from tessera_plugin.errors import AccessRefused, NetworkFailed
from tessera_plugin.io.folder import FolderClient
from tessera_plugin.io.http import HttpClient
from tessera_plugin.io.objects import NotFound, NotModified, ObjectChanged, ObjectUnusable
from tessera_plugin.io.sources import mirrors
from tessera_plugin.io.sources.mirrors import Front, is_folder, open_client, roots_of
from tessera_plugin.progress import Gate
from tessera_plugin.values import PUBLIC_ARCHIVE, NetworkSettings
from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

OBJECTS = {"zarr/a": b"0123456789" * 1000, "zarr/b": b"b" * 100}
QUICK = NetworkSettings(backoff_s=0.01, attempts=2, connect_timeout_s=2, read_timeout_s=2)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(mirrors, "_failed", {})


@pytest.fixture
def direct():
    with RangeServer(DictProvider(OBJECTS)) as server:
        yield server


@pytest.fixture
def gateway():
    with RangeServer(DictProvider(OBJECTS)) as server:
        yield server


@pytest.fixture
def front(direct, gateway):
    client = HttpClient(QUICK)
    yield Front(client, (direct.url, gateway.url))
    client.close()


def asked(server):
    return [entry.path for entry in server.log]


# --- which address


def test_the_best_address_is_asked_alone(front, direct, gateway):
    reply = front.get_range("zarr/a", 5, 25)
    assert reply.data == OBJECTS["zarr/a"][5:25]
    assert front.get_tail("zarr/a", 10).data == b"0123456789"
    assert front.get("zarr/b").data == OBJECTS["zarr/b"]
    with pytest.raises(NotModified):
        front.get("zarr/b", front.get("zarr/b").etag)
    assert front.url("zarr/a") == f"{direct.url}/zarr/a"
    assert gateway.log == []


class Bucket:
    def __init__(self):
        self.data = bytearray()

    def begin(self, head):
        pass

    def take(self, offset, data):
        assert offset == len(self.data)
        self.data += data


def test_a_sink_gets_from_the_other_address_only_the_rest(front, direct, gateway):
    data = np.random.default_rng(1).bytes(400_000)
    for server in (direct, gateway):
        server.provider.put("zarr/large", data)
    etag = front.get_range("zarr/large", 0, 1).etag
    direct.faults.append(Fault.truncate(after=150_000))
    direct.faults.append(Fault.drop(count=FOREVER))
    bucket = Bucket()
    front.get_range("zarr/large", 100, 399_900, etag, sink=bucket)
    assert bytes(bucket.data) == data[100:399_900]
    (last,) = gateway.log
    assert last.bytes < 399_800 - 50_000
    assert last.headers["if-match"] == etag


def test_what_is_not_there_is_not_asked_for_at_the_other(front, direct, gateway):
    for _ in range(3):
        with pytest.raises(NotFound):
            front.get_range("zarr/none", 0, 10)
    assert gateway.log == []
    front.get("zarr/b")
    assert gateway.log == []


def test_what_has_changed_or_is_too_short_is_so_everywhere(front, direct, gateway):
    with pytest.raises(ObjectChanged):
        front.get_range("zarr/a", 0, 10, '"another"')
    with pytest.raises(ObjectUnusable, match="only 100 bytes"):
        front.get_range("zarr/b", 0, 1000)
    with pytest.raises(ObjectUnusable, match="shorter"):
        front.get_range("zarr/b", 500, 1000)
    front.get("zarr/b")
    assert gateway.log == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(403),
        Fault.status(503),
        Fault.status(400),
        Fault.status(429, retry_after=3600),
        Fault.drop(),
        Fault.ignore_range(),
        Fault.truncate(after=5),
        Fault.redirect("ftp://elsewhere.invalid/"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code}",
)
def test_an_address_that_fails_or_refuses_is_asked_last_from_then_on(front, direct, gateway, fault):
    fault.count = FOREVER
    direct.faults.append(fault)
    assert front.get_range("zarr/a", 5, 25).data == OBJECTS["zarr/a"][5:25]
    first = len(direct.log)
    assert 1 <= first <= QUICK.attempts
    for _ in range(5):
        front.get_range("zarr/a", 5, 25)
    assert len(direct.log) == first
    assert len(gateway.log) == 6
    assert front.url("zarr/a") == f"{gateway.url}/zarr/a"


def test_an_address_that_failed_is_asked_first_again_after_a_while(
    front, direct, gateway, monkeypatch
):
    monkeypatch.setattr(mirrors, "AVOID_S", 0.2)
    direct.faults.append(Fault.status(503, count=2))
    front.get("zarr/b")
    time.sleep(0.25)
    gateway.clear()
    front.get("zarr/b")
    assert gateway.log == []


def test_a_store_that_refuses_what_is_not_there_stays_the_first(front, direct, gateway):
    """Object stores that may not list answer 403 for a key that does not exist."""
    direct.faults.append(Fault.status(403, path="zarr/none", count=FOREVER))
    for _ in range(2):
        with pytest.raises(NotFound):
            front.get_range("zarr/none", 0, 10)
    assert asked(gateway) == ["zarr/none"] * 2
    front.get("zarr/b")
    assert len(gateway.log) == 2


def test_what_both_refuse_is_refused_and_neither_is_avoided(front, direct, gateway):
    for server in (direct, gateway):
        server.faults.append(Fault.status(403, path="zarr/a", count=FOREVER))
    with pytest.raises(AccessRefused):
        front.get("zarr/a")
    front.get("zarr/b")
    assert asked(gateway) == ["zarr/a"]


def test_what_the_last_one_says_is_final(front, direct, gateway):
    for server in (direct, gateway):
        server.faults.append(Fault.status(503, count=FOREVER))
    with pytest.raises(NetworkFailed) as caught:
        front.get("zarr/a")
    assert caught.value.url == f"{gateway.url}/zarr/a"
    assert len(direct.log) + len(gateway.log) <= 2 * QUICK.attempts


def test_a_dead_address_costs_one_try_when_nothing_was_heard_yet(gateway):
    with RangeServer(DictProvider()) as gone:
        dead = gone.url
    client = HttpClient(NetworkSettings(backoff_s=5, attempts=5))
    began = time.monotonic()
    Front(client, (dead, gateway.url)).get("zarr/b")
    assert time.monotonic() - began < within(3)
    assert client.requests == 2
    client.close()


@pytest.mark.parametrize("path", ["../a", "zarr/../../a", "/etc/passwd", "zarr//a", "", "zarr/./a",
                                  "zarr\\..\\a", "C:/a", "zarr/a\0"])  # fmt: skip
def test_a_path_that_leads_out_is_refused(front, direct, gateway, path):
    with pytest.raises(ObjectUnusable, match="leads out"):
        front.get(path)
    assert direct.log == gateway.log == []


# --- which kind


def test_roots():
    assert roots_of(PUBLIC_ARCHIVE + "/") == (mirrors.PUBLIC_DIRECT, PUBLIC_ARCHIVE)
    assert roots_of("https://example.org/x/") == ("https://example.org/x",)
    assert roots_of("file:///data/tessera%20copy/") == ("/data/tessera copy",)
    assert roots_of("/data/x/../tessera/") == ("/data/tessera",)
    assert roots_of("D:\\tessera\\") == ("D:\\tessera",)


def test_the_right_client_is_opened(tmp_path):
    gate = Gate()
    for location, kind in ((str(tmp_path), FolderClient), (tmp_path.as_uri(), FolderClient),
                           ("http://127.0.0.1:1", HttpClient)):  # fmt: skip
        client = open_client(location, QUICK, gate)
        assert type(client) is kind
        assert is_folder(location) == (kind is FolderClient)
        client.close()


def test_a_front_over_a_folder(tmp_path):
    (tmp_path / "zarr").mkdir()
    for name, data in OBJECTS.items():
        (tmp_path / name).write_bytes(data)
    client = open_client(str(tmp_path), QUICK)
    front = Front(client, roots_of(str(tmp_path)))
    assert front.get_range("zarr/a", 5, 25).data == OBJECTS["zarr/a"][5:25]
    assert front.get_tail("zarr/a", 10).data == b"0123456789"
    assert front.get("zarr/b").data == OBJECTS["zarr/b"]
    with pytest.raises(NotModified):
        front.get("zarr/b", front.get("zarr/b").etag)
    with pytest.raises(NotFound):
        front.get("zarr/none")
    with pytest.raises(ObjectUnusable, match="leads out"):
        front.get("../other")
    assert front.url("zarr/a") == f"{tmp_path}/zarr/a"
    client.close()
