# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that explore embeddings: similar, cluster, suggest."""

from __future__ import annotations

import argparse
from typing import Any, Tuple

from . import explore_commands as commands
from .values import bbox, count, file_of


def add_to(adding: Any, common: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse keeps its type to itself
    """Add the commands to the parser's; `common` holds the arguments of all commands."""
    _add_similar(
        adding.add_parser("similar", parents=[common], help="how like some places all are")
    )
    _add_cluster(
        adding.add_parser("cluster", parents=[common], help="a map of clusters, no labels")
    )
    _add_suggest(adding.add_parser("suggest", parents=[common], help="where to label next"))


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


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--year", required=True, type=int)
    command.add_argument(
        "--bbox", required=True, type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326"
    )


def _add_dataset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", metavar="KEY", help="may be left out with one --store")
    command.add_argument(
        "--depth", type=count, default=0, metavar="N", help="first N dimensions only"
    )


def _add_similar(similar: argparse.ArgumentParser) -> None:
    _add_dataset(similar)
    _add_place(similar)
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


def _add_cluster(cluster: argparse.ArgumentParser) -> None:
    _add_dataset(cluster)
    _add_place(cluster)
    cluster.add_argument("--clusters", type=clusters, default=8, metavar="N")
    cluster.add_argument("--out", required=True, type=file_of(".tif"), metavar="MAP.tif")
    cluster.add_argument(
        "--head-out", default="", metavar="HEAD", help="the clusters as a head, for `classify`"
    )
    cluster.add_argument("--seed", type=int, default=0)
    cluster.set_defaults(run=commands.cluster)


def _add_suggest(suggest: argparse.ArgumentParser) -> None:
    _add_place(suggest)
    suggest.add_argument("--head", required=True, metavar="HEAD")
    suggest.add_argument("--samples", required=True, metavar="FILE", help="the labels there are")
    suggest.add_argument("--class-field", required=True, metavar="NAME")
    suggest.add_argument("--label-year", type=int, default=0, metavar="YEAR")
    suggest.add_argument("--count", type=count, default=20, metavar="N")
    suggest.add_argument("--uncertainty", type=file_of(".tif"), metavar="FILE.tif")
    suggest.add_argument("--novelty", type=file_of(".tif"), metavar="FILE.tif")
    suggest.add_argument("--out", type=file_of(".geojson", ".json"), metavar="PLACES.geojson")
    suggest.add_argument("--seed", type=int, default=0)
    suggest.set_defaults(run=commands.suggest)
