# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of `labels check` and `labels sample`."""

from __future__ import annotations

import argparse
from typing import Any, Callable

from . import label_commands as commands
from .values import bbox, count, file_of


def add_to(
    adding: Any,  # noqa: ANN401 - argparse keeps its type to itself
    common: argparse.ArgumentParser,
    add_dataset: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the commands to the parser's; `common` holds the arguments of all commands."""
    labels = adding.add_parser("labels", help="check labels, or choose some from a class map")
    kinds = labels.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_check(kinds.add_parser("check", parents=[common], help="which need a look"), add_dataset)
    _add_sample(kinds.add_parser("sample", parents=[common], help="points of a class map"))


def _add_check(
    check: argparse.ArgumentParser, add_dataset: Callable[[argparse.ArgumentParser], None]
) -> None:
    add_dataset(check)
    check.add_argument("samples", metavar="FILE", help="any vector file")
    check.add_argument("--class-field", required=True, metavar="NAME")
    check.add_argument("--year-field", default="", metavar="NAME", help="else all are of --year")
    check.add_argument("--layer", default="", metavar="NAME")
    check.add_argument("--year", required=True, type=int, help="the year that is mapped")
    check.set_defaults(run=commands.check)


def _add_sample(sample: argparse.ArgumentParser) -> None:
    sample.add_argument("raster", metavar="MAP", help="a class raster")
    sample.add_argument("--out", required=True, type=file_of(".geojson", ".csv"), metavar="FILE")
    sample.add_argument("--per-class", type=count, default=50, metavar="N")
    sample.add_argument(
        "--neighbourhood", type=int, choices=(1, 3, 5), default=3,
        help="edge in pixels of what must have the same class (default %(default)s)",
    )  # fmt: skip
    sample.add_argument("--bbox", type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326")
    sample.add_argument("--year", required=True, type=int, help="the year the map is true of")
    sample.add_argument("--seed", type=int, default=0)
    sample.set_defaults(run=commands.sample)
