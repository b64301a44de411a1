# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a command's embeddings come from, and what the system knows of the network."""

from __future__ import annotations

import argparse
import os
import urllib.request
from dataclasses import replace
from typing import Iterable, List, Sequence, Tuple
from urllib.parse import urlsplit

from ..engine import locations
from ..engine.catalog import DATASETS
from ..errors import LocationUnusable
from ..progress import Report
from ..values import Access, Dataset, NetworkSettings
from .teller import BadArguments

MB = 1_000_000


def access_of(options: argparse.Namespace, report: Report) -> Access:
    """Return the access that the options ask for; a person's own stores are looked at.

    Raises: LocationUnusable, NetworkFailed, AccessRefused, Cancelled.
    """
    network = NetworkSettings(
        proxies=_proxies([options.archive, *options.store]),
        ca_bundle=_authorities(),
        connections=options.connections,
        bytes_per_s=options.limit_rate * MB,
    )
    access = Access(
        cache_dir=str(options.cache),
        archive=options.archive.rstrip("/") or options.archive,
        offline=options.offline,
        network=network,
        form=options.form or "",
        min_observations=options.min_observations,
    )
    stores: List[Dataset] = []
    for location in options.store:
        found = locations.look(location, access, report)
        if not isinstance(found, locations.StoreFound):
            raise LocationUnusable(location, "it is a whole archive: give it as --archive")
        _check_new(location, found.dataset, stores)
        stores.append(found.dataset)
    return replace(access, stores=tuple(stores))


def _check_new(location: str, dataset: Dataset, others: Sequence[Dataset]) -> None:
    """Refuse a second folder of one embedding space: nobody could tell which is meant."""
    for other in others:
        if other.key == dataset.key and other != dataset:
            reason = f"it has the same embedding space and depth as {other.local or other.store}"
            raise LocationUnusable(location, f"{reason}: put the scenes into one folder")


def network_of(addresses: Iterable[str]) -> NetworkSettings:
    """Return what the system knows of the way to some addresses."""
    return NetworkSettings(proxies=_proxies(addresses), ca_bundle=_authorities())


def dataset_key(options: argparse.Namespace, access: Access) -> str:
    """Return the key of the dataset that is asked for, by name or as the only store."""
    if options.dataset:
        return str(options.dataset)
    if len(access.stores) == 1:
        return access.stores[0].key
    known = ", ".join(dataset.key for dataset in (*DATASETS, *access.stores))
    raise BadArguments(f"--dataset KEY is needed (one of {known}), or one --store.")


def _proxies(locations_: Iterable[str]) -> Tuple[Tuple[str, str], ...]:
    """Return the system's proxies; the engine asks nobody but us."""
    known = urllib.request.getproxies()
    schemes = [scheme for scheme in ("http", "https") if scheme in known]
    parts = [urlsplit(location) for location in locations_ if "://" in location]
    direct = {one.netloc for one in parts if urllib.request.proxy_bypass(one.hostname or "")}
    if not direct:
        return tuple((f"{scheme}://", known[scheme]) for scheme in schemes)
    asked = {(one.scheme, one.netloc) for one in parts if one.netloc not in direct}
    return tuple((f"{s}://{netloc}", known[s]) for s, netloc in sorted(asked) if s in known)


def _authorities() -> str:
    named = (os.environ.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    return next(filter(os.path.isfile, named), "")
