# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tokens for files: asked for once, renewed in time and on refusal, told nobody."""

import dataclasses
import logging
import threading
import time

import pytest

from tessera_plugin.errors import AccessRefused, NetworkFailed
from tessera_plugin.io.objects import NotFound
from tessera_plugin.io.stac import signing
from tessera_plugin.io.stac.catalogues import CATALOGUES, PLANETARY_COMPUTER
from tessera_plugin.io.stac.fetch import fetch
from tessera_plugin.io.stac.search import search
from tessera_plugin.io.stac.signing import Signer, open_signed
from tessera_plugin.values import Window
from tests.servers import FOREVER, Fault
from tests.stac_server import QUICK, STORE_S1, STORE_S2, World

WINDOW = Window(31, -569_950, 60_050, 100, 100)


@pytest.fixture(scope="module")
def world():
    made = World()
    made.s2("A", "2023-05-01T10:50:31Z")
    made.s2("B", "2023-05-06T10:50:31Z")
    made.s1("R", "2023-05-02T05:00:00Z")
    for container in (STORE_S2, STORE_S1, "public"):
        made.files.put(f"{container}/x.bin", b"0123456789")
    return made


@pytest.fixture
def service(world):
    with world.serving() as running:
        yield running


@pytest.fixture
def asker(service):
    request = service.request(WINDOW, "x")
    client, found = open_signed(request.catalogues.values(), QUICK)
    yield found
    client.close()


def url(service, container=STORE_S2, name="x.bin"):
    return f"{service.store.url}/{container}/{name}"


def tokens(service):
    return service.api.provider.every_token


def test_one_token_is_enough_for_many_files_and_threads(service, asker):
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(asker.get_range(url(service), 2, 5).data))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [b"234"] * 8
    assert len(tokens(service)) == 1
    asker.get(url(service, STORE_S1))
    assert len(tokens(service)) == 2


def test_a_token_is_renewed_shortly_before_it_expires(service, asker, monkeypatch):
    monkeypatch.setattr(signing, "SHORTEST_S", 0.2)
    service.api.provider.token_s = signing.EARLY_S + 0.1
    asker.get(url(service))
    time.sleep(0.25)
    service.api.provider.token_s = 3600
    asker.get(url(service))
    asker.get(url(service))
    assert len(tokens(service)) == 2
    assert [entry.status for entry in service.store.log] == [200] * 3


def test_a_clock_that_is_wrong_costs_no_token_per_request(service, asker):
    service.api.provider.token_s = -7200
    for _ in range(5):
        asker.get(url(service))
    assert len(tokens(service)) == 1


def test_a_token_that_was_taken_back_is_renewed(service, asker):
    asker.get(url(service))
    service.api.provider.expire()
    assert asker.get(url(service)).data == b"0123456789"
    assert len(tokens(service)) == 2
    assert [entry.status for entry in service.store.log] == [200, 403, 200]


def test_a_refusal_that_a_new_token_does_not_change_is_final(service, asker):
    service.store.faults.append(Fault.status(403, count=FOREVER))
    with pytest.raises(AccessRefused):
        asker.get(url(service))
    assert len(service.store.log) == 2


def test_no_token_to_be_had_is_asked_for_once(service, asker):
    service.api.provider.refuses_tokens = True
    for _ in range(5):
        with pytest.raises(AccessRefused) as refused:
            asker.get(url(service))
        assert "/sas/v1/token/" in refused.value.url
    assert len(service.api.log) == 1
    assert not service.store.log


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"token": 3}', b'{"token": "a b\\n"}', b"[]"])
def test_what_is_no_token_is_said_so(service, asker, body):
    service.api.faults.append(Fault.status(200, count=FOREVER, body=body))
    with pytest.raises(NetworkFailed, match="not a token"):
        asker.get(url(service))


# --- nobody else gets it


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/sentinel2-l2/x.tif",
        "https://blob.core.windows.net.evil.example/sentinel2-l2/x.tif",
        "http://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif",
        "https://evilblob.core.windows.net@evil.example/x/y.tif",
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/x.tif",
        "https://planetarycomputer.microsoft.com/api/stac/v1/search",
    ],
)
def test_only_the_stores_of_a_catalogue_get_a_token(address):
    signer = Signer(CATALOGUES.values())
    signer.ask_through(lambda _: pytest.fail("a token was asked for"))
    assert signer.sent_as(address) == address
    assert not signer.renews(address, time.monotonic())


def test_the_token_is_that_of_the_account_and_the_container():
    asked = []
    signer = Signer(CATALOGUES.values())

    def ask(address):
        asked.append(address)
        raise NotFound(address)

    signer.ask_through(ask)
    with pytest.raises(NetworkFailed):
        signer.sent_as("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/31/U/x.tif")
    home = CATALOGUES[PLANETARY_COMPUTER].sign
    assert asked == [f"{home}/sentinel2l2a01/sentinel2-l2"]


def secrets_in(service, text):
    return [each for each in tokens(service) if each in text]


def texts_below(folder):
    return "".join(
        f"{path}\n" + (path.read_bytes().decode("latin-1") if path.is_file() else "")
        for path in folder.rglob("*")
    )


def test_no_token_is_in_any_message_file_result_or_log(service, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    request = service.request(WINDOW, tmp_path, s1=PLANETARY_COMPUTER)
    said = []

    def report(fraction, message=""):
        said.append(message)

    service.store.faults += [
        Fault.status(404, path="*/A/B03.tif", count=FOREVER),
        Fault.reset(after=10, path="*/A/B04.tif", count=FOREVER),
        Fault.status(418, path="*/R/*", count=FOREVER),
    ]
    plan = search(request, report)
    fetched = fetch(plan, report)
    assert len(fetched.failures) == 2
    service.store.faults.clear()
    again = fetch(plan, report)
    assert len(again.scenes.s2) == 2
    everything = repr((said, plan, fetched, again)) + texts_below(tmp_path) + caplog.text
    assert "GET /sentinel2-l2/A/SCL.tif?…" in caplog.text
    assert len(tokens(service)) >= 4
    assert secrets_in(service, everything) == []


@pytest.mark.parametrize(
    "fault",
    [Fault.status(404), Fault.status(403), Fault.status(409), Fault.drop(), Fault.truncate(after=3),
     Fault.status(302, body=b"")],
)  # fmt: skip
def test_no_token_is_in_any_error_nor_behind_it(service, asker, fault):
    service.store.faults.append(dataclasses.replace(fault, count=FOREVER))
    with pytest.raises((NetworkFailed, AccessRefused, NotFound)) as raised:
        asker.get_range(url(service), 0, 5)
    chain = [raised.value]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    assert secrets_in(service, repr([(each, each.args, str(each)) for each in chain])) == []
