# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that look after the cache."""

from __future__ import annotations

import argparse
import dataclasses
import time

from ..engine import cache
from .teller import OK, PARTS_MISSING, Teller
from .words import counted

MB, GB = 1_000_000, 1_000_000_000


def usage(options: argparse.Namespace, teller: Teller) -> int:
    """Say how much is kept, of what."""
    found = cache.usage(options.cache, teller.report)
    lines = [
        f"{one.dataset} {one.year}, {one.depth} dimensions, {one.form}: {one.bytes / MB:,.1f} MB in "
        f"{counted(one.blocks, 'block')}, last used {time.strftime('%Y-%m-%d', time.localtime(one.last_used))}"
        for one in found.entries
        if one.blocks  # what is known of a place without data weighs nothing
    ]
    total = f"{found.bytes / MB:,.1f} MB in {options.cache}."
    teller.result(dataclasses.asdict(found), [*lines, total])
    return OK


def clear(options: argparse.Namespace, teller: Teller) -> int:
    """Remove what is kept: all, or of a dataset, a year."""
    freed = cache.clear(
        options.cache, dataset=options.dataset, year=options.year, report=teller.report
    )
    return _freed(freed, teller)


def evict(options: argparse.Namespace, teller: Teller) -> int:
    """Remove what was used longest ago, until the rest has a size."""
    return _freed(cache.evict(options.cache, int(options.limit_gb * GB)), teller)


def move(options: argparse.Namespace, teller: Teller) -> int:
    """Move what is kept to another folder."""
    moved = cache.move(options.cache, options.target, teller.report)
    files = counted(moved.files, "file")
    lines = [f"Moved to {moved.target}: {files}, {moved.bytes / MB:,.1f} MB."]
    if moved.damaged:
        blocks = counted(moved.damaged, "damaged block")
        lines.append(f"Left out, to be fetched again: {blocks}.")
    lines += [f"Still in the old folder: {name}." for name in moved.left]
    teller.result(dataclasses.asdict(moved), lines)
    return PARTS_MISSING if moved.left else OK


def _freed(freed: int, teller: Teller) -> int:
    teller.result({"freed_bytes": freed}, [f"{freed / MB:,.1f} MB were freed."])
    return OK
