# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the command that makes maps."""

from __future__ import annotations

import argparse

from ..engine.map_cleanup import sieve_px_of
from . import map_commands as commands
from .shared_options import add_common
from .values import bbox, file_of, positive, years_of

_HECTARES = "ha"


def add_classify(classify: argparse.ArgumentParser) -> None:
    """Add the arguments of `classify`."""
    add_common(classify)
    classify.add_argument(
        "--year", "--years", required=True, type=years_of, metavar="YEARS",
        help="of several a map each, MAP_2020.tif and so on, and MAP_areas.csv",
    )  # fmt: skip
    place = classify.add_mutually_exclusive_group(required=True)
    place.add_argument("--bbox", type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326")
    place.add_argument("--polygon", metavar="FILE", help="the inside of its polygons")
    classify.add_argument("--head", required=True, metavar="HEAD")
    classify.add_argument("--out", required=True, type=file_of(".tif"), metavar="MAP.tif")
    _add_outputs(classify)
    _add_clean_up(classify)
    classify.set_defaults(run=commands.classify)


def sieve(text: str) -> int:
    """Return the pixels of `5` or `0.5ha`."""
    try:
        if text.endswith(_HECTARES):
            return sieve_px_of(positive(text[: -len(_HECTARES)]))
        pixels = int(text)
    except ValueError:
        pixels = -1
    if pixels < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither pixels nor hectares, as 5 or 0.5ha")
    return pixels


def percent(text: str) -> int:
    """Return a whole number from 0 to 100."""
    number = int(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("it must be 0 to 100")
    return number


def _add_outputs(classify: argparse.ArgumentParser) -> None:
    classify.add_argument("--confidence", type=file_of(".tif"), metavar="CONF.tif")
    classify.add_argument(
        "--probabilities", action="store_true",
        help="also MAP_probabilities.tif: percent, a band per class",
    )  # fmt: skip
    classify.add_argument(
        "--margin", action="store_true",
        help="also MAP_margin.tif: percent between the two most probable classes",
    )  # fmt: skip
    classify.add_argument(
        "--novelty", action="store_true",
        help="also MAP_novelty.tif: how unlike the labels a pixel is, over 100 is novel",
    )  # fmt: skip
    classify.add_argument("--labels", metavar="FILE", help="what novelty is measured from")
    classify.add_argument("--class-field", default="", metavar="NAME", help="of the labels")
    classify.add_argument(
        "--label-year", type=int, default=0, metavar="YEAR",
        help="the labels are true of (default: the years of the head)",
    )  # fmt: skip
    classify.add_argument(
        "--uncertain-below", type=percent, default=0, metavar="PERCENT",
        help="less probable pixels are of a class Uncertain",
    )  # fmt: skip
    classify.add_argument(
        "--areas", type=file_of(".csv"), metavar="FILE.csv",
        help="hectares per class: counted pixels, not an estimate of area",
    )  # fmt: skip


def _add_clean_up(classify: argparse.ArgumentParser) -> None:
    classify.add_argument(
        "--majority", type=int, choices=(0, 3, 5), default=0, metavar="3|5",
        help="MAP_clean.tif: each pixel the most frequent class of a window of so many pixels",
    )  # fmt: skip
    classify.add_argument(
        "--sieve", type=sieve, default=0, metavar="N|HAha",
        help="MAP_clean.tif: smaller areas get the class of their largest neighbour",
    )  # fmt: skip
    classify.add_argument(
        "--connected", type=int, choices=(4, 8), default=4,
        help="whether areas hang together by edges or by corners too (default %(default)s)",
    )  # fmt: skip
    classify.add_argument(
        "--vectorise", action="store_true",
        help="MAP_polygons.gpkg: the areas of the map, of the cleaned one if there is one",
    )  # fmt: skip
