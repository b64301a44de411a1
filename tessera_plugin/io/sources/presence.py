# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""That a shard or tile is there, from a single byte of it: remembered for a day.

    <cache>/<archive>/<dataset>/d<depth>/<form>/<year>/tiles/<shard or tile>.seen.json

That one is not there is kept where a fetch looks for it, see `BlockCache.tile` and `StoreFiles`.
"""

from __future__ import annotations

import contextlib
import json
import time

from ...errors import DiskFull, NotWritable
from ..cache import BlockCache
from ..files import write_bytes

SUFFIX = ".seen.json"
BELIEVED_S = 24 * 3600.0


def recalled(cache: BlockCache, name: str) -> int:
    """Return the bytes of the object that was seen; 0 where that is not known, or too long ago."""
    try:
        seen = json.loads((cache.folder / "tiles" / f"{name}{SUFFIX}").read_bytes())
        is_fresh = 0 <= time.time() - float(seen["checked"]) < BELIEVED_S
        return int(seen["length"]) if is_fresh else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def keep(cache: BlockCache, name: str, length: int) -> None:
    """Remember that an object was seen; where that can't be kept it is not."""
    path = cache.folder / "tiles" / f"{name}{SUFFIX}"
    with contextlib.suppress(OSError, DiskFull, NotWritable):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps({"checked": time.time(), "length": length}).encode())
