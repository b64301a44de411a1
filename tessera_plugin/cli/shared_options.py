# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from typing import Callable

from .. import paths
from ..values import FORMS, PUBLIC_ARCHIVE, NetworkSettings
from .values import bbox, count, positive

_DEFAULT_LIMIT_PX = 50_000_000


def add_common(command: argparse.ArgumentParser) -> None:
    """Add what all commands take that read embeddings."""
    command.add_argument(
        "--archive",
        default=PUBLIC_ARCHIVE,
        metavar="URL",
        help="root of an archive in the published layout, or its folder",
    )
    command.add_argument(
        "--store",
        action="append",
        default=[],
        metavar="URL",
        help="a Zarr store outside any archive, its folder, or that of your own embeddings; may be "
        "given several times",
    )
    command.add_argument(
        "--min-observations",
        type=count,
        default=0,
        metavar="N",
        help="of your own embeddings: pixels seen less often by Sentinel-2 are nodata",
    )
    command.add_argument("--form", choices=FORMS, help="read only stores, or only tiles")
    add_cache_dir(command)
    command.add_argument("--offline", action="store_true", help="ask nothing of the network")
    command.add_argument(
        "--limit-rate",
        type=positive,
        default=0.0,
        metavar="MB/s",
        help="most megabytes received per second",
    )
    command.add_argument(
        "--connections",
        type=count,
        default=NetworkSettings.connections,
        metavar="N",
        help="requests at once (default %(default)s)",
    )
    add_json(command)
    command.add_argument(
        "--limit-px",
        type=int,
        default=_DEFAULT_LIMIT_PX,
        metavar="N",
        help="refuse extents of more pixels (default %(default)s)",
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the form of what is said."""
    command.add_argument("--json", action="store_true", help="progress and result as JSON lines")


def add_cache_dir(command: argparse.ArgumentParser) -> None:
    """Add the folder of the cache."""
    command.add_argument("--cache", default=str(paths.cache_dir()), metavar="DIR")


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Add dataset and depth."""
    command.add_argument("--dataset", metavar="KEY", help="may be left out with one --store")
    command.add_argument(
        "--depth", type=count, default=0, metavar="N", help="first N dimensions only"
    )


def add_place(
    command: argparse.ArgumentParser, year: Callable[[str], object] = int, metavar: str = "YEAR"
) -> None:
    """Add the year, or years, and the rectangle."""
    command.add_argument("--year", required=True, type=year, metavar=metavar)
    command.add_argument(
        "--bbox", required=True, type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326"
    )
