# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that look after the cache."""

from __future__ import annotations

import argparse

from . import cache_commands
from .shared_options import add_cache_dir
from .values import positive


def add_cache(cache: argparse.ArgumentParser) -> None:
    """Add the arguments of `cache usage`, `clear`, `evict` and `move`."""
    common = argparse.ArgumentParser(add_help=False)
    add_cache_dir(common)
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
