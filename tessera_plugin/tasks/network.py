# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What QGIS knows of the network, as plain values for the engine.

Called on the GUI thread. The engine's requests then go through the proxy that the person set in
QGIS for that very address, and trust the certificate authorities that QGIS trusts.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Iterable, List, Optional, Tuple
from urllib.parse import quote, urlsplit

from qgis.core import QgsApplication, QgsAuthCertUtils, QgsNetworkAccessManager
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtNetwork import (
    QNetworkProxy,
    QNetworkProxyFactory,
    QNetworkProxyQuery,
    QSslCertificate,
)

from ..settings import Settings
from ..values import NetworkSettings

PROXY_SCHEMES = {
    QNetworkProxy.ProxyType.HttpProxy: "http",
    QNetworkProxy.ProxyType.HttpCachingProxy: "http",
    QNetworkProxy.ProxyType.Socks5Proxy: "socks5h",
}


def network_settings(settings: Settings, folder: Path, addresses: Iterable[str]) -> NetworkSettings:
    """Return proxies, certificate authorities and timeouts for all that may be asked.

    `folder` gets a file with the certificate authorities; `addresses` are roots of archives and
    stores, of which those that are no web address (folders) need nothing.
    """
    asked = [each for each in addresses if urlsplit(each).scheme in ("http", "https")]
    timeout_s = QgsNetworkAccessManager.timeout() / 1000
    return replace(
        settings.network(),
        proxies=proxies_for(asked),
        ca_bundle=ca_bundle(folder) if any(each.startswith("https:") for each in asked) else "",
        read_timeout_s=timeout_s if timeout_s >= 1 else NetworkSettings.read_timeout_s,
    )


def proxies_for(urls: Iterable[str]) -> Tuple[Tuple[str, str], ...]:
    """Return the proxy QGIS would take for each address, as pairs of its start and the proxy's URL.

    QGIS is asked for every address by itself: its list of exceptions and a PAC file of the system
    decide host by host. An address that needs none is left out.
    """
    factory = proxy_factory()
    if factory is None:
        return ()
    found = {}
    for url in urls:
        address = _proxy_for(factory, url)
        if address:
            found[_host(url)] = address
    return tuple(found.items())


def proxy_factory() -> Optional[QNetworkProxyFactory]:
    """Return what decides over QGIS's proxies: its own settings, or the system and its PAC file."""
    return QgsNetworkAccessManager.instance().proxyFactory()


def ca_bundle(folder: Path) -> str:
    """Return a PEM file of the authorities QGIS trusts; empty where it can't tell any.

    Those that `requests` carries are in it too, as some systems load theirs only when asked for
    one, except those the person told QGIS not to trust.
    """
    manager = QgsApplication.authManager()
    if manager is None or manager.isDisabled():
        return ""
    trusted = list(manager.trustedCaCerts())
    if not trusted:
        return ""
    carried = _carried_bundle()
    if carried:
        trusted += _certificates(carried)
    refused = {bytes(each.toDer()) for each in manager.untrustedCaCerts()}
    return _written(_pem(trusted, refused), folder)


def _host(url: str) -> str:
    """Return scheme, host and port: what an address and all below it have in common."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _proxy_for(factory: QNetworkProxyFactory, url: str) -> str:
    """Return the URL of the first proxy that can be used, empty for none."""
    for proxy in factory.queryProxy(QNetworkProxyQuery(QUrl(url))):
        address = _address(proxy)
        if address:
            return address
        if proxy.type() == QNetworkProxy.ProxyType.NoProxy:
            return ""
    return ""


def _address(proxy: QNetworkProxy) -> str:
    scheme = PROXY_SCHEMES.get(proxy.type())
    if scheme is None or not proxy.hostName():
        return ""
    host = f"[{proxy.hostName()}]" if ":" in proxy.hostName() else proxy.hostName()
    who = ""
    if proxy.user():
        who = f"{quote(proxy.user(), safe='')}:{quote(proxy.password(), safe='')}@"
    return f"{scheme}://{who}{host}:{proxy.port()}"


def _carried_bundle() -> Optional[str]:
    """Return the bundle that `requests` would take, without importing anything."""
    spec = importlib.util.find_spec("certifi")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("cacert.pem")
    return str(path) if path.is_file() else None


@functools.lru_cache(maxsize=1)
def _certificates(path: str) -> List[QSslCertificate]:
    """Return the certificates of a file; kept, as reading them is felt in the interface."""
    return list(QgsAuthCertUtils.certsFromFile(path))


def _pem(certificates: Iterable[QSslCertificate], refused: set[bytes]) -> bytes:
    found = {bytes(each.toDer()): bytes(each.toPem()) for each in certificates}
    return b"".join(pem for der, pem in sorted(found.items()) if der not in refused)


def _written(pem: bytes, folder: Path) -> str:
    """Write the bundle under a name that says its content, whole or not at all."""
    path = folder / f"authorities-{hashlib.sha256(pem).hexdigest()[:16]}.pem"
    if path.is_file() and path.stat().st_size == len(pem):
        return str(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        Path(temporary).replace(path)
    except OSError:  # a folder that can't be written: the authorities requests carries must do
        return ""
    return str(path)
