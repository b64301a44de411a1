# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A view's embeddings on their way from the cache into memory, in a few threads."""

from __future__ import annotations

import functools
import itertools
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import EmbeddingSource, Picked, Picker
from ..io.sources.crew import Crew, Job
from ..values import State, Window
from .live_values import Scorer
from .view_cells import ViewCells
from .zone_cells import FIRST, NOT_FETCHED, NOTHING, Spot, Spots, ZoneCells

READERS = 2
"""Threads; more would take turns with the one that answers the person."""

BATCH_CELLS, BATCH_BLOCKS = 4_096, 16
"""So many cells are given their values at once, or those of one block; all that is on its way takes
10 MB at most."""

TICK_S = 0.02
"""How soon something newer is noticed."""


class ViewReading:
    """Reads what a view lacks and gives it its values, the first of it first."""

    def __init__(self, source: EmbeddingSource, cells: ViewCells, scorer: Optional[Scorer]) -> None:
        """Without a scorer it is read and shows nothing."""
        self._source, self._cells, self._scorer = source, cells, scorer
        self._turn = 0
        self._is_stopped = False
        self._pickers: Dict[Tuple[int, int], Picker] = {}
        """By thread and zone: each thread has its own."""

    def read(self, wanted: Sequence[Tuple[ZoneCells, Spots]], tick: Callable[[], None]) -> None:
        """Read spots of zones; `tick` is called often in this thread, what it raises ends the work."""
        self._turn, self._pickers = self._cells.new_turn(), {}
        Crew(READERS, self._stop, tick_s=TICK_S).run(list(self._jobs(wanted)), tick)

    def _jobs(self, wanted: Sequence[Tuple[ZoneCells, Spots]]) -> Iterator[Job]:
        for cells, spots in wanted:
            hull, rest = spots.hull, iter(spots)
            for spot in rest:
                count = min(max(BATCH_CELLS // spot.size, 1), BATCH_BLOCKS)
                batch = [spot, *itertools.islice(rest, count - 1)]
                yield functools.partial(self._do, cells, hull, batch)

    def _stop(self) -> None:
        """Let go of what is under way; a thread that waits for a disk may come back later."""
        self._is_stopped = True
        self._cells.new_turn()

    # --- on a thread of the crew

    def _do(self, cells: ZoneCells, hull: Window, batch: Sequence[Spot]) -> None:
        pick = self._picker(cells.zone, hull)
        found: List[Picked] = []
        for spot in batch:
            if self._is_stopped:
                return
            found.append(pick(spot.block, *cells.places(spot)))
        for spot, picked, shown in zip(batch, found, self._shown(found)):
            self._cells.put(self._turn, cells, spot, picked, shown)

    def _picker(self, zone: int, hull: Window) -> Picker:
        key = threading.get_ident(), zone
        if key not in self._pickers:
            self._pickers[key] = self._source.picker(hull)
        return self._pickers[key]

    def _shown(self, found: Sequence[Picked]) -> Iterator[NDArray[np.uint16]]:
        """Yield what cells show, of each spot (n, m)."""
        states = _joined([each.states.reshape(-1) for each in found])
        shown = np.where(states == State.UNKNOWN, np.uint16(NOT_FETCHED), np.uint16(NOTHING))
        valid = states == State.VALID
        if self._scorer is not None and valid.any():
            codes = _joined([each.codes.reshape(each.states.size, -1) for each in found])
            scales = _joined([each.scales.reshape(-1) for each in found])
            if valid.all():
                shown = self._scorer(codes, scales) + np.uint16(FIRST)
            else:
                shown[valid] = self._scorer(codes[valid], scales[valid]) + np.uint16(FIRST)
        start = 0
        for each in found:
            yield shown[start : start + each.states.size].reshape(each.states.shape)
            start += each.states.size


def _joined(arrays: List[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
