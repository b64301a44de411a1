# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to label next in what the map shows: from the cache, with the head that there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

from ..errors import ExtentTooLarge, NoValidEmbeddings
from ..progress import Report, part, silent
from ..values import Access, Extent
from .embeddings import cached_source
from .grid import measure, windows_of
from .heads.base import Head
from .labels import Labels
from .near_labels import LonLat, NearLabels
from .novelty import Novelty
from .places import Candidates, Place, choose, score_of
from .samples import Samples
from .suggest import find_candidates, finder_of
from .view_cells import SomeCells

NEAR_PX = 2_000_000
"""Extents of more pixels are looked at where there is a cell in memory only."""


@dataclass(frozen=True, eq=False)
class NextRequest:
    """What to look for places with, and over what."""

    head: Head
    samples: Samples
    """What the head was trained on."""
    extent: Extent
    access: Access
    year: int
    labels: Optional[Labels] = None
    """What there is by now: near a label no other place helps much."""
    avoid: Tuple[LonLat, ...] = ()
    """Places that the person does not want to see again, nor what is near them."""
    count: int = 12
    seed: int = 0


def next_places(
    request: NextRequest, cells: Optional[SomeCells] = None, report: Report = silent
) -> Tuple[Place, ...]:
    """Return places worth a label, the most useful first; nothing is fetched.

    Of a small extent every pixel is looked at. Of a large one `cells` are: those of the map that are
    in memory.
    Raises: ExtentInvalid, ExtentTooLarge for a large one without cells, HeadMismatch, TooFewLabels
    where all labels are one, NoValidEmbeddings where nothing of it is in the cache, Cancelled.
    """
    head = request.head
    novelty = Novelty.of(request.samples, request.seed)
    windows = windows_of(request.extent)
    near = NearLabels.of(request.labels, {window.zone for window in windows}, request.avoid)
    if sum(window.pixels for window in windows) <= NEAR_PX:
        with cached_source(head.dataset, request.year, request.access, head.depth) as source:
            of_map = part(report, 0.1, 1.0)
            candidates = find_candidates(source, windows, head, novelty, near=near, report=of_map)
    elif cells is None:
        size = measure(windows, head.depth)
        raise ExtentTooLarge(size.pixels, size.bytes, NEAR_PX)
    else:
        candidates = _of_cells(cells, head, novelty, near)
    if not candidates.valid_px:
        raise NoValidEmbeddings(head.dataset, request.year, "nothing of it is in the cache")
    return choose(candidates, head, novelty, request.count)


def _of_cells(cells: SomeCells, head: Head, novelty: Novelty, near: NearLabels) -> Candidates:
    candidates = Candidates(head.depth, near)
    candidates.valid_px = len(cells.codes)
    free = ~near.covers(cells.zone, cells.row, cells.col)
    if free.any():
        codes, scales = cells.codes[free], cells.scales[free]
        uncertain, novel = finder_of(head, novelty)(codes, scales)
        at = np.column_stack([cells.zone, cells.row, cells.col])[free]
        candidates.add(codes, scales, score_of(uncertain, novel), at, novel)
    return candidates
