# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether there are embeddings of a place in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..io.sources.base import EmbeddingSource
from ..progress import Report, silent
from ..values import Access, Extent, State, Window
from .embeddings import cached_source
from .grid import check_size, windows_of

MOST_PX = 150_000_000
"""Larger extents are not looked at: there are too many blocks that may be there."""


@dataclass(frozen=True)
class CachedHereRequest:
    """What is looked for, and where."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    depth: int = 0
    limit_px: int = MOST_PX


def cached_here(request: CachedHereRequest, report: Report = silent) -> bool:
    """Whether at least one pixel of an extent has an embedding in the cache; nobody is asked.

    Raises: ExtentTooLarge, ExtentInvalid, UnknownDataset, UnknownYear, DepthNotOffered,
    FormNotOffered, LocationUnusable, Cancelled.
    """
    windows = windows_of(request.extent)
    with cached_source(request.dataset, request.year, request.access, request.depth) as source:
        check_size(windows, request.limit_px, source.depth)
        return _is_any(source, windows, report)


def _is_any(source: EmbeddingSource, windows: Sequence[Window], report: Report) -> bool:
    """Look from the middle of each window outwards: what was fetched is most likely there."""
    for number, window in enumerate(windows):
        row, col = window.row + window.height / 2, window.col + window.width / 2
        parts = sorted(
            window.blocks(),
            key=lambda each: (
                abs(each.row + each.height / 2 - row) + abs(each.col + each.width / 2 - col)
            ),
        )
        for done, each in enumerate(parts):
            report((number + done / len(parts)) / len(windows), "")
            if np.any(source.states(each) == State.VALID):
                return True
    return False
