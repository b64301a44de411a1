# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands and their arguments."""

from __future__ import annotations

import argparse
from typing import Callable, List, Sequence

from .. import paths
from ..values import FORMS, PUBLIC_ARCHIVE, NetworkSettings
from . import (
    cache_commands,
    commands,
    encode_options,
    explore_options,
    head_options,
    label_options,
    map_options,
    model_commands,
)
from .values import bbox, count, file_of, positive, years_of

_DEFAULT_LIMIT_PX = 50_000_000


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="tessera_plugin", description="TESSERA embeddings to land-cover maps."
    )
    adding = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common()
    datasets = adding.add_parser("datasets", parents=[common], help="list the datasets")
    datasets.set_defaults(run=commands.datasets)

    coverage = adding.add_parser(
        "coverage", parents=[common], help="what is published of an extent, and what it costs"
    )
    _add_dataset(coverage)
    _add_place(coverage)
    coverage.set_defaults(run=commands.coverage)

    fetch = adding.add_parser(
        "fetch", parents=[common], help="embeddings of an extent into the cache, or to a file"
    )
    _add_dataset(fetch)
    _add_place(fetch, year=years_of, metavar="YEARS")
    fetch.add_argument(
        "--out", type=file_of(".npz", ".tif"), metavar="FILE", help="of one year; else cache only"
    )
    fetch.set_defaults(run=commands.fetch)

    compare = adding.add_parser(
        "compare", parents=[common], help="whether a dataset's store and its tiles agree"
    )
    _add_dataset(compare)
    _add_place(compare)
    compare.add_argument(
        "--with",
        dest="with_dataset",
        default="",
        metavar="KEY",
        help="with another dataset instead: how far the two agree",
    )
    compare.set_defaults(run=commands.compare)
    head_options.add_to(adding, common, _add_dataset)
    label_options.add_to(adding, common, _add_dataset)

    map_options.add_to(adding, common)
    _add_model(adding.add_parser("apply-model", parents=[common], help="somebody's ONNX model"))
    _add_cache(adding.add_parser("cache", help="what is kept of what was fetched"))
    explore_options.add_to(adding, common)
    encode_options.add_to(adding)
    return top


def with_joined_bbox(arguments: Sequence[str]) -> List[str]:
    """Return the arguments with `--bbox -0.2,…` as one: argparse takes it for an option else.

    So with `--at -0.2,…`.
    """
    joined: List[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--bbox", "--at"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


# --- what several commands share


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--archive",
        default=PUBLIC_ARCHIVE,
        metavar="URL",
        help="root of an archive in the published layout, or its folder",
    )
    common.add_argument(
        "--store",
        action="append",
        default=[],
        metavar="URL",
        help="a Zarr store outside any archive, its folder, or that of your own embeddings; may be "
        "given several times",
    )
    common.add_argument(
        "--min-observations",
        type=count,
        default=0,
        metavar="N",
        help="of your own embeddings: pixels seen less often by Sentinel-2 are nodata",
    )
    common.add_argument("--form", choices=FORMS, help="read only stores, or only tiles")
    _add_cache_dir(common)
    common.add_argument("--offline", action="store_true", help="ask nothing of the network")
    common.add_argument(
        "--limit-rate",
        type=positive,
        default=0.0,
        metavar="MB/s",
        help="most megabytes received per second",
    )
    common.add_argument(
        "--connections",
        type=count,
        default=NetworkSettings.connections,
        metavar="N",
        help="requests at once (default %(default)s)",
    )
    common.add_argument("--json", action="store_true", help="progress and result as JSON lines")
    common.add_argument(
        "--limit-px",
        type=int,
        default=_DEFAULT_LIMIT_PX,
        metavar="N",
        help="refuse extents of more pixels (default %(default)s)",
    )
    return common


def _add_cache_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cache", default=str(paths.cache_dir()), metavar="DIR")


def _add_dataset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", metavar="KEY", help="may be left out with one --store")
    command.add_argument(
        "--depth", type=count, default=0, metavar="N", help="first N dimensions only"
    )


def _add_place(
    command: argparse.ArgumentParser, year: Callable[[str], object] = int, metavar: str = "YEAR"
) -> None:
    command.add_argument("--year", required=True, type=year, metavar=metavar)
    command.add_argument(
        "--bbox", required=True, type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326"
    )


def _add_model(model: argparse.ArgumentParser) -> None:
    _add_dataset(model)
    model.add_argument("--model", required=True, metavar="MODEL.onnx")
    model.add_argument(
        "--model-form", default="", metavar="FORM.json", help="what its files don't tell"
    )
    model.add_argument("--describe", action="store_true", help="only say what it takes and gives")
    model.add_argument("--year", type=int, default=0)
    model.add_argument("--bbox", type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326")
    model.add_argument("--out", type=file_of(".tif"), metavar="MAP.tif")
    model.add_argument("--confidence", type=file_of(".tif"), metavar="CONF.tif")
    model.set_defaults(run=model_commands.apply_model)


def _add_cache(cache: argparse.ArgumentParser) -> None:
    common = argparse.ArgumentParser(add_help=False)
    _add_cache_dir(common)
    common.add_argument("--json", action="store_true")
    adding = cache.add_subparsers(dest="what", required=True, metavar="WHAT")
    usage = adding.add_parser("usage", parents=[common], help="how much is kept, of what")
    usage.set_defaults(run=cache_commands.usage)
    clear = adding.add_parser("clear", parents=[common], help="remove what is kept")
    clear.add_argument("--dataset", default="", metavar="KEY")
    clear.add_argument("--year", type=int, default=0)
    clear.set_defaults(run=cache_commands.clear)
    evict = adding.add_parser("evict", parents=[common], help="remove what was used longest ago")
    evict.add_argument("--limit-gb", required=True, type=positive, metavar="GB")
    evict.set_defaults(run=cache_commands.evict)
    move = adding.add_parser("move", parents=[common], help="move what is kept to another folder")
    move.add_argument("target", metavar="DIR")
    move.set_defaults(run=cache_commands.move)
