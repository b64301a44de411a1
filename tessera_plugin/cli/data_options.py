# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that look for embeddings and bring them."""

from __future__ import annotations

import argparse

from . import commands
from .shared_options import add_common, add_dataset, add_place
from .values import file_of, years_of


def add_datasets(datasets: argparse.ArgumentParser) -> None:
    """Add the arguments of `datasets`."""
    add_common(datasets)
    datasets.set_defaults(run=commands.datasets)


def add_coverage(coverage: argparse.ArgumentParser) -> None:
    """Add the arguments of `coverage`."""
    add_common(coverage)
    add_dataset(coverage)
    add_place(coverage)
    coverage.set_defaults(run=commands.coverage)


def add_fetch(fetch: argparse.ArgumentParser) -> None:
    """Add the arguments of `fetch`."""
    add_common(fetch)
    add_dataset(fetch)
    add_place(fetch, year=years_of, metavar="YEARS")
    fetch.add_argument(
        "--out", type=file_of(".npz", ".tif"), metavar="FILE", help="of one year; else cache only"
    )
    fetch.set_defaults(run=commands.fetch)


def add_compare(compare: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    add_common(compare)
    add_dataset(compare)
    add_place(compare)
    compare.add_argument(
        "--with",
        dest="with_dataset",
        default="",
        metavar="KEY",
        help="with another dataset instead: how far the two agree",
    )
    compare.set_defaults(run=commands.compare)
