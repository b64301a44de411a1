# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The proxy that QGIS takes for each address, as a PAC file decides it: host by host."""

from urllib.parse import urlsplit

import pytest
from qgis.PyQt.QtNetwork import QNetworkProxy, QNetworkProxyFactory

from tessera_plugin.engine import embeddings
from tessera_plugin.settings import write_stores
from tessera_plugin.tasks import network
from tessera_plugin.values import Dataset, Extent

HERE = Extent(0.110, 52.185, 0.115, 52.188)
DIRECT = "https://s3.us-west-2.amazonaws.com"
GATEWAY = "https://data.source.coop"


class Pac(QNetworkProxyFactory):
    """Answers as the system does when a PAC file is set: by the host that is asked for."""

    def __init__(self, hosts):
        super().__init__()
        self._hosts, self.asked = hosts, []

    def queryProxy(self, query):
        host = query.url().host()
        self.asked.append(query.url().toString())
        port = self._hosts.get(host)
        if port is None:
            return [QNetworkProxy(QNetworkProxy.ProxyType.NoProxy)]
        return [QNetworkProxy(QNetworkProxy.ProxyType.HttpProxy, "127.0.0.1", port)]


@pytest.fixture
def pac(monkeypatch):
    def set_up(**hosts):
        factory = Pac({host.replace("_", "."): port for host, port in hosts.items()})
        monkeypatch.setattr(network, "proxy_factory", lambda: factory)
        return factory

    return set_up


def _host(url):
    return urlsplit(url).hostname


def test_every_address_is_decided_by_itself(pac, make_session):
    factory = pac(data_source_coop=8080, my_store=8081)
    mine = Dataset("store", "mine", "", (2024,), "Mine", store="http://my.store/a.zarr")
    session = make_session(stores=write_stores([mine]))
    assert session.access().network.proxies == (
        (GATEWAY, "http://127.0.0.1:8080"),
        ("http://my.store", "http://127.0.0.1:8081"),
    )
    asked = {_host(url) for url in factory.asked}
    assert asked == {*map(_host, (DIRECT, GATEWAY)), "my.store"}


def test_folders_need_no_proxy(pac, tmp_path):
    factory = pac()
    assert network.proxies_for([]) == ()
    assert factory.asked == []


def test_a_fetch_goes_through_the_proxy_of_its_host(pac, make_session, server):
    pac(archive_invalid=urlsplit(server.url).port)
    session = make_session(archive="http://archive.invalid")
    access = session.access()
    result = embeddings.fetch(embeddings.FetchRequest("1.1-dclimate", 2024, HERE, access))
    assert result.summary.valid_px == result.summary.pixels
    assert server.log
    session.update(archive=server.url)
    assert session.access().network.proxies == ()
