# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments as values; what can't be one is told by argparse."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from pathlib import Path
from typing import Callable, List, Tuple

from ..values import Extent


def years_of(text: str) -> Tuple[int, ...]:
    """Return the years of `2020`, `2018-2020` or `2018,2020`, each once, as they are given."""
    years: List[int] = []
    try:
        for one in text.split(","):
            first, dash, last = one.partition("-")
            years += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        years = []
    if not years or len(years) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not YEAR, FIRST-LAST or YEAR,YEAR")
    return tuple(dict.fromkeys(years))


def bbox(text: str) -> Extent:
    """Return the extent of `W,S,E,N` in degrees."""
    try:
        west, south, east, north = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not W,S,E,N in degrees") from None
    return Extent(west, south, east, north)


def day(text: str) -> dt.date:
    """Return a date."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not YYYY-MM-DD") from None


def share(text: str) -> float:
    """Return a share, 0 to less than 1."""
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError("it must be at least 0 and less than 1")
    return share


def positive(text: str) -> float:
    """Return a number of 0 or more."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("it must be 0 or more")
    return number


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def between(low: int, high: int) -> Callable[[str], int]:
    """Return what reads a whole number of a range."""

    def checked(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"it must be {low} to {high:,}")
        return number

    checked.__name__ = "whole number"  # argparse names it where it can't be read
    return checked


seed = between(0, 2**32 - 1)
"""Of random numbers, as numpy and torch take them."""


def file_of(*suffixes: str) -> Callable[[str], str]:
    """Return what checks a file to write, and gives its whole path.

    It must have one of the suffixes, if any, and its folder must be there: to be told after an hour
    of work is late.
    """

    def checked(text: str) -> str:
        path = Path(text).absolute()
        if suffixes and path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(suffixes)}")
        if os.path.isdir(path):  # noqa: PTH112 - and no error where the name is too long
            raise argparse.ArgumentTypeError(f"{text!r} is a folder, a file is needed")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(
                f"the folder {os.fspath(path.parent)!r} does not exist"
            )
        return os.fspath(path)

    return checked
