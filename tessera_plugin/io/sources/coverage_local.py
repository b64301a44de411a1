# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a local dataset has of windows: pixel by pixel, of large windows by where its scenes lie."""

from __future__ import annotations

import os
from typing import Callable, Dict, Iterator, List, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...progress import Report
from ...values import State, Window
from ..local.blocks import block_name
from ..local.records import Scene
from .base import Failure
from .coverage import Told
from .coverage_map import CoveragePart, cell_middles, cell_px_of
from .local_store import NOT_YET, LocalStore

Index = NDArray[np.int64]
_Rectangle = Tuple[Window, State]


def survey(
    source: LocalStore,
    windows: Sequence[Window],
    *,
    detail_px: int,
    report: Report,
    on_told: Callable[[Told], None],
) -> Told:
    """Return what there is of windows; nothing is to be fetched. First it is told by scenes.

    In windows of more than `detail_px` pixels together what is encoded is PUBLISHED: nobody looks
    at its pixels. Raises: Cancelled.
    """
    is_detailed = sum(window.pixels for window in windows) <= detail_px
    told = _outline(source, windows, 1 if is_detailed else cell_px_of(windows), report)
    on_told(told)
    if is_detailed:
        told = _detailed(source, windows, report)
        on_told(told)
    return told


def some_encoded(source: LocalStore, windows: Sequence[Window]) -> State:
    """Return PUBLISHED where a scene of the source's year meets the windows, else OUTSIDE."""
    meets = any(scene.window.intersection(w) for scene in source.scenes for w in windows)
    return State.PUBLISHED if meets else State.OUTSIDE


# --- by pixel


def _detailed(source: LocalStore, windows: Sequence[Window], report: Report) -> Told:
    parts: List[CoveragePart] = []
    counts = dict.fromkeys(State, 0)
    failed: List[Failure] = list(source.problems())
    total, done = sum(window.pixels for window in windows), 0
    for window in windows:
        states = np.full(window.shape, State.OUTSIDE, dtype=np.uint8)
        for one in window.blocks():
            report(done / total, "Looking at pixels")
            states[one.slices_in(window)], lacking = source.look(one)
            failed += [each for each in lacking if each.reason != NOT_YET]
            done += one.pixels
        parts.append(_part(window, 1, states))
        for state, count in enumerate(np.bincount(states.ravel(), minlength=len(State)).tolist()):
            counts[State(state)] += count
    return _told(parts, counts, failed)


# --- by scenes


def _outline(source: LocalStore, windows: Sequence[Window], cell_px: int, report: Report) -> Told:
    parts: List[CoveragePart] = []
    counts = dict.fromkeys(State, 0)
    for window in windows:
        found = list(_rectangles(source, window, report))
        parts.append(_part(window, cell_px, _painted(found, *cell_middles(window, cell_px))))
        rows, cols = _edges(window, [rectangle for rectangle, _ in found])
        cells = _painted(found, rows[:-1], cols[:-1])
        weights = np.diff(rows)[:, None] * np.diff(cols)
        for state in (State.OUTSIDE, State.PUBLISHED, State.UNKNOWN):
            counts[state] += int(weights[cells == state].sum())
    return _told(parts, counts, list(source.problems()))


def _rectangles(source: LocalStore, window: Window, report: Report) -> Iterator[_Rectangle]:
    """Yield what scenes have of a window; what comes later lies on what came before."""
    over = [(scene, scene.window.intersection(window)) for scene in source.scenes]
    unfinished = [(scene, part) for scene, part in over if part and not scene.finished]
    for _, part in unfinished:
        yield part, State.UNKNOWN
    for scene, part in unfinished:
        report(0.0, "Looking at scenes")
        names = _names(scene)
        for one in part.blocks():
            (block,) = one.whole_blocks()
            if block_name(block) in names:
                yield one, State.PUBLISHED
    for scene, whole in over:
        if whole and scene.finished:
            yield whole, State.PUBLISHED


def _names(scene: Scene) -> Set[str]:
    """Return the names of a scene's files."""
    try:
        with os.scandir(scene.path) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()


def _painted(found: Sequence[_Rectangle], rows: Index, cols: Index) -> NDArray[np.uint8]:
    """Return the state of the pixels at rows (R,) and columns (C,), (R, C)."""
    result = np.full((len(rows), len(cols)), State.OUTSIDE, dtype=np.uint8)
    for part, state in found:
        top, bottom = np.searchsorted(rows, (part.row, part.stop_row))
        left, right = np.searchsorted(cols, (part.col, part.stop_col))
        result[top:bottom, left:right] = state
    return result


def _edges(window: Window, parts: Sequence[Window]) -> Tuple[Index, Index]:
    """Return the rows and columns between which everything is the same, the last ones included."""
    every = (window, *parts)
    rows = np.unique([(part.row, part.stop_row) for part in every])
    cols = np.unique([(part.col, part.stop_col) for part in every])
    return rows.astype(np.int64), cols.astype(np.int64)


# --- both


def _part(window: Window, cell_px: int, states: NDArray[np.uint8]) -> CoveragePart:
    is_here = (states != State.OUTSIDE) & (states != State.UNKNOWN)
    return CoveragePart(window.zone, window.row, window.col, cell_px, states, is_here)


def _told(
    parts: Sequence[CoveragePart], counts: Dict[State, int], failed: Sequence[Failure]
) -> Told:
    is_here = (State.VALID, State.NODATA, State.PUBLISHED)
    cached = {state: counts[state] if state in is_here else 0 for state in State}
    return Told(
        parts=tuple(parts), counts=dict(counts), cached=cached, bytes_to_fetch=0,
        bytes_known=True, failed=tuple(dict.fromkeys(failed)), requests=0, bytes_asked=0,
    )  # fmt: skip
