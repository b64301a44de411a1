# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that train and compare heads."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Dict, Tuple

from ..engine.folds import MOST_FOLDS, SCHEMES
from ..engine.head_comparison import NAMES
from ..engine.heads.base import KINDS
from ..engine.train_params import TrainParams
from . import head_commands as commands
from .shared_options import add_common, add_dataset
from .values import between, count, file_of, seed, share, years_of

_OWN = ("kind", "seed", "test_share")
"""Parameters with an argument of their own."""


def add_train(train: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    add_common(train)
    add_dataset(train)
    _add_labels(train)
    train.add_argument("--head", required=True, choices=KINDS)
    train.add_argument("--out", required=True, type=file_of(), metavar="HEAD")
    train.add_argument("--test-share", type=share, default=TrainParams.test_share)
    train.add_argument("--report", type=file_of(), metavar="FILE.json")
    train.set_defaults(run=commands.train)


def add_compare(compare: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare-heads`."""
    add_common(compare)
    add_dataset(compare)
    _add_labels(compare)
    compare.add_argument("--kinds", type=kinds, default=tuple(NAMES), metavar="KIND,KIND",
                         help=f"of {', '.join(NAMES)} (default all)")  # fmt: skip
    compare.add_argument("--curve", type=own_kinds, default=(), metavar="KIND,KIND",
                         help="also: accuracy against the number of labels")  # fmt: skip
    compare.add_argument("--repeats", type=count, default=5, metavar="N", help="of the curve")
    compare.set_defaults(run=commands.compare_heads)


def kinds(text: str) -> Tuple[str, ...]:
    """Return the kinds of `instant,mlp`."""
    found = tuple(text.split(","))
    unknown = [kind for kind in found if kind not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no kind {', '.join(unknown)}; there are {', '.join(NAMES)}"
        )
    return found


def own_kinds(text: str) -> Tuple[str, ...]:
    """Return the kinds of `instant,mlp`, of our own heads."""
    found = kinds(text)
    if set(found) - set(KINDS):
        raise argparse.ArgumentTypeError(f"the curve is drawn for {' and '.join(KINDS)}")
    return found


def option(text: str) -> Tuple[str, object]:
    """Return name and value of a parameter of training, `dropout=0.3`, `hidden=64,32`."""
    name, equals, value = text.partition("=")
    known = {f.name: f.default for f in dataclasses.fields(TrainParams) if f.name not in _OWN}
    if not equals or name not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE of {', '.join(known)}")
    try:
        read = _typed(value, known[name])
        TrainParams(**{name: read})  # type: ignore[arg-type]  # it checks the range
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    return name, read


def _typed(text: str, default: object) -> object:
    if isinstance(default, bool):
        words: Dict[str, bool] = {"yes": True, "true": True, "no": False, "false": False}
        if text.lower() not in words:
            raise ValueError("yes or no is needed")
        return words[text.lower()]
    if isinstance(default, tuple):
        return tuple(int(number) for number in text.split(","))
    return type(default)(text)  # type: ignore[call-arg]


def _add_labels(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--year", required=True, type=years_of, metavar="YEARS",
        help="the labels are true of; of several, the head learns them all",
    )  # fmt: skip
    command.add_argument(
        "--samples", required=True, action="append", metavar="FILE",
        help="labels; may be given several times, each file is an area",
    )  # fmt: skip
    command.add_argument("--class-field", required=True, metavar="NAME")
    command.add_argument("--seed", type=seed, default=0)
    command.add_argument(
        "--validation", default="", metavar="|".join((*SCHEMES, "FILE")),
        help="how the head is tested; FILE: labels that are never learnt, of the first year",
    )  # fmt: skip
    command.add_argument("--folds", type=between(2, MOST_FOLDS), default=5, metavar="K")
    command.add_argument(
        "--block-px", type=count, default=0, metavar="PX",
        help="edge of the blocks (default: by the labels' spacing)",
    )  # fmt: skip
    command.add_argument(
        "--option", type=option, action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of training, as dropout=0.3, hidden=64,32, ensemble=5",
    )  # fmt: skip
