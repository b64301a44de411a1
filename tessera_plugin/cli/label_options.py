# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of `labels check` and `labels sample`."""

from __future__ import annotations

import argparse

from . import label_commands as commands
from .shared_options import add_common, add_dataset
from .values import bbox, count, file_of, seed


def add_labels(labels: argparse.ArgumentParser) -> None:
    """Add the arguments of `labels check` and `labels sample`."""
    kinds = labels.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_check(kinds.add_parser("check", help="which need a look"))
    _add_sample(kinds.add_parser("sample", help="points of a class map"))


def _add_check(check: argparse.ArgumentParser) -> None:
    add_common(check)
    add_dataset(check)
    check.add_argument("samples", metavar="FILE", help="any vector file")
    check.add_argument("--class-field", required=True, metavar="NAME")
    check.add_argument("--year-field", default="", metavar="NAME", help="else all are of --year")
    check.add_argument("--layer", default="", metavar="NAME")
    check.add_argument("--year", required=True, type=int, help="the year that is mapped")
    check.set_defaults(run=commands.check)


def _add_sample(sample: argparse.ArgumentParser) -> None:
    add_common(sample)
    sample.add_argument("raster", metavar="MAP", help="a class raster")
    sample.add_argument("--out", required=True, type=file_of(".geojson", ".csv"), metavar="FILE")
    sample.add_argument("--per-class", type=count, default=50, metavar="N")
    sample.add_argument(
        "--neighbourhood", type=int, choices=(1, 3, 5), default=3,
        help="edge in pixels of what must have the same class (default %(default)s)",
    )  # fmt: skip
    sample.add_argument("--bbox", type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326")
    sample.add_argument("--year", required=True, type=int, help="the year the map is true of")
    sample.add_argument("--seed", type=seed, default=0)
    sample.set_defaults(run=commands.sample)
