# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that explore embeddings: similar, cluster, suggest."""

from __future__ import annotations

import argparse
from typing import Tuple

from . import explore_commands as commands
from .shared_options import add_common, add_dataset, add_place
from .values import count, file_of, seed


def lonlat(text: str) -> Tuple[float, float]:
    """Return the point of `LON,LAT` in degrees."""
    try:
        lon, lat = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LON,LAT in degrees") from None
    return lon, lat


def percent(text: str) -> float:
    """Return a number from 0 to 100."""
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("it must be 0 to 100")
    return number


def clusters(text: str) -> int:
    """Return a number of clusters."""
    number = int(text)
    if not 2 <= number <= commands.MAX_CLUSTERS:
        raise argparse.ArgumentTypeError(f"it must be 2 to {commands.MAX_CLUSTERS}")
    return number


def add_similar(similar: argparse.ArgumentParser) -> None:
    """Add the arguments of `similar`."""
    add_common(similar)
    add_dataset(similar)
    add_place(similar)
    similar.add_argument(
        "--at", required=True, action="append", type=lonlat, metavar="LON,LAT",
        help="a place to compare with; may be given several times",
    )  # fmt: skip
    similar.add_argument("--out", type=file_of(".tif"), metavar="FILE.tif", help="percent")
    similar.add_argument(
        "--areas", type=file_of(".geojson", ".json"), metavar="FILE.geojson",
        help="outlines of what is similar enough",
    )  # fmt: skip
    similar.add_argument(
        "--threshold", type=percent, default=50.0, metavar="PERCENT",
        help="similar enough (default %(default)s)",
    )  # fmt: skip
    similar.add_argument(
        "--connected", action="store_true", help="only areas that hang together with a place"
    )
    similar.set_defaults(run=commands.similar)


def add_cluster(cluster: argparse.ArgumentParser) -> None:
    """Add the arguments of `cluster`."""
    add_common(cluster)
    add_dataset(cluster)
    add_place(cluster)
    cluster.add_argument("--clusters", type=clusters, default=8, metavar="N")
    cluster.add_argument("--out", required=True, type=file_of(".tif"), metavar="MAP.tif")
    cluster.add_argument(
        "--head-out",
        type=file_of(),
        default="",
        metavar="HEAD",
        help="the clusters as a head, for `classify`",
    )
    cluster.add_argument("--seed", type=seed, default=0)
    cluster.set_defaults(run=commands.cluster)


def add_suggest(suggest: argparse.ArgumentParser) -> None:
    """Add the arguments of `suggest`."""
    add_common(suggest)
    add_place(suggest)
    suggest.add_argument("--head", required=True, metavar="HEAD")
    suggest.add_argument("--samples", required=True, metavar="FILE", help="the labels there are")
    suggest.add_argument("--class-field", required=True, metavar="NAME")
    suggest.add_argument("--label-year", type=int, default=0, metavar="YEAR")
    suggest.add_argument("--count", type=count, default=20, metavar="N")
    suggest.add_argument("--uncertainty", type=file_of(".tif"), metavar="FILE.tif")
    suggest.add_argument("--novelty", type=file_of(".tif"), metavar="FILE.tif")
    suggest.add_argument("--out", type=file_of(".geojson", ".json"), metavar="PLACES.geojson")
    suggest.add_argument("--seed", type=seed, default=0)
    suggest.set_defaults(run=commands.suggest)
