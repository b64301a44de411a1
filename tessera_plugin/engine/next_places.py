# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to label next in what the map shows: from the cache, with the head that there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from ..errors import ExtentTooLarge, NoValidEmbeddings
from ..progress import Report, part, silent
from ..values import Access, Extent
from .embeddings import cached_source
from .grid import measure, windows_of
from .heads.base import Head
from .novelty import Novelty
from .places import Candidates, Place, choose, score_of
from .samples import Samples
from .spacing import in_space
from .suggest import find_places, finder_of
from .view_cells import SomeCells

NEAR_PX = 2_000_000
"""Extents of more pixels are looked at where there is a cell in memory only."""

APART_M = 30.0
"""Closer to a place that is not wanted, another one isn't either."""

LonLat = Tuple[float, float]


@dataclass(frozen=True, eq=False)
class NextRequest:
    """What to look for places with, and over what."""

    head: Head
    samples: Samples
    """What the head was trained on."""
    extent: Extent
    access: Access
    year: int
    avoid: Tuple[LonLat, ...] = ()
    """Places that the person does not want to see again."""
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
    wanted = request.count + len(request.avoid)
    if sum(window.pixels for window in windows) <= NEAR_PX:
        with cached_source(head.dataset, request.year, request.access, head.depth) as source:
            found = find_places(
                source, windows, head, novelty, count=wanted, report=part(report, 0.1, 1.0)
            )
    elif cells is None:
        size = measure(windows, head.depth)
        raise ExtentTooLarge(size.pixels, size.bytes, NEAR_PX)
    else:
        found = _of_cells(cells, head, novelty, wanted)
    if not found:
        raise NoValidEmbeddings(head.dataset, request.year, "nothing of it is in the cache")
    return _away_from(request.avoid, found)[: request.count]


def _of_cells(cells: SomeCells, head: Head, novelty: Novelty, count: int) -> Tuple[Place, ...]:
    if not len(cells.codes):
        return ()
    uncertain, novel = finder_of(head, novelty)(cells.codes, cells.scales)
    candidates = Candidates(head.depth)
    at = np.column_stack([cells.zone, cells.row, cells.col])
    candidates.add(cells.codes, cells.scales, score_of(uncertain, novel), at, novel)
    return choose(candidates, head, novelty, count)


def _away_from(others: Sequence[LonLat], places: Sequence[Place]) -> Tuple[Place, ...]:
    """Return the places that are not near any of the others."""
    if not others:
        return tuple(places)
    here = in_space(np.array([(place.lon, place.lat) for place in places]))
    there = in_space(np.array(others))
    apart_m = np.linalg.norm(here[:, None] - there[None], axis=2).min(axis=1)
    return tuple(place for place, metres in zip(places, apart_m) if metres >= APART_M)
