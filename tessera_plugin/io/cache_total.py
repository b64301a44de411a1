# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How large a cache is, without looking through it: the last count, and what was added since.

    <cache>/locks/total.json    what the last walk counted
    <cache>/locks/added         8 bytes per block that came or grew since, by whatever process

What is lost or counted twice in a race or a crash makes the total wrong until the next walk, which
comes after `WALK_EVERY_S` at the latest; a total that is too large only brings it earlier.
"""

from __future__ import annotations

import contextlib
import json
import struct
import time
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from ..errors import TesseraError
from .cache_files import delete, write_whole
from .cache_walk import LOCKS

WALK_EVERY_S = 3 * 24 * 3600.0

_UNIT = struct.Struct("<q")


class Total(NamedTuple):
    """What is known of a cache's size."""

    bytes: int
    """When it was last counted."""
    added: int
    """Bytes added since."""
    limit: int
    """The limit it was then held to."""
    counted: float
    """When it was last counted, seconds since 1970."""

    @property
    def is_old(self) -> bool:
        """Whether it should be counted again, whatever it is."""
        return not 0 <= time.time() - self.counted < WALK_EVERY_S


def note_added(root: Path, size: int) -> None:
    """Note that files have grown by so many bytes. Where that can't be noted it is not."""
    with contextlib.suppress(OSError), (root / LOCKS / "added").open("ab", buffering=0) as stream:
        stream.write(_UNIT.pack(size))


def total(root: Path) -> Optional[Total]:
    """Return what is known of a cache's size; None where it was never counted."""
    try:
        kept = json.loads((root / LOCKS / "total.json").read_bytes())
        counted = int(kept["bytes"]), int(kept["limit"]), float(kept["counted"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Total(counted[0], _sum(root, "added") + _sum(root, "before"), *counted[1:])


def begin_count(root: Path) -> None:
    """Begin to count anew: what is added from now on is noted apart. Under the lock of the care."""
    added, before = root / LOCKS / "added", root / LOCKS / "before"
    with contextlib.suppress(OSError):
        if before.exists():  # of a count that was cut off
            with before.open("ab") as stream:
                stream.write(added.read_bytes())
            delete(added)
        else:
            added.replace(before)


def end_count(root: Path, size: int, limit: int) -> None:
    """Remember what was counted. Where that can't be written, the next one counts again."""
    text = json.dumps({"bytes": size, "limit": limit, "counted": time.time()})
    with contextlib.suppress(TesseraError):
        write_whole(root / LOCKS / "total.json", [text.encode()])
        delete(root / LOCKS / "before")


def forget(root: Path) -> None:
    """Let the next one count, since much has changed."""
    delete(root / LOCKS / "total.json")


def _sum(root: Path, name: str) -> int:
    try:
        data = (root / LOCKS / name).read_bytes()
    except OSError:
        return 0
    whole = len(data) // _UNIT.size * _UNIT.size
    return int(np.frombuffer(data[:whole], dtype="<i8").sum())
