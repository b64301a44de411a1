# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Care of the cache, for those who may not know io: usage, clear, evict, move."""

from __future__ import annotations

from ..io.cache import Provenance, archive_identity
from ..io.cache_care import (
    CacheEntry,
    CacheUsage,
    clear,
    evict,
    evict_over,
    is_writable,
    usage,
)
from ..io.cache_move import MoveResult, move

__all__ = [
    "CacheEntry",
    "CacheUsage",
    "MoveResult",
    "Provenance",
    "archive_identity",
    "clear",
    "evict",
    "evict_over",
    "is_writable",
    "move",
    "usage",
]
