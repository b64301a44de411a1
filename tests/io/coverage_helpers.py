# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coverage of single windows, and what tests ask of its result and of the server's log."""

import re
from collections import defaultdict

import numpy as np

from tessera_plugin.io.sources.coverage import Survey
from tessera_plugin.io.sources.coverage_npy import TilesGround
from tessera_plugin.io.sources.coverage_zarr import StoreGround
from tessera_plugin.io.sources.spots import Nearness
from tessera_plugin.progress import silent
from tessera_plugin.values import State


def look(source, *windows, detail_px=5_000_000, index_bytes=64_000_000, report=silent, steps=None):
    """Return what coverage tells of windows in the end; each step goes to `steps`."""
    near = Nearness(windows)
    ground = (StoreGround if source.form == "zarr" else TilesGround)(source, windows, near)
    told = Survey(ground, windows, near, detail_px=detail_px, index_bytes=index_bytes,
                  report=report, on_told=[].append if steps is None else steps.append).run()  # fmt: skip
    assert_whole(told, windows)
    return told


def assert_whole(told, windows):
    """Counts sum up to the pixels, and pictures of single pixels say the same as the counts."""
    assert sum(told.counts.values()) == sum(window.pixels for window in windows)
    assert len(told.parts) == len(windows)
    if all(part.cell_px == 1 for part in told.parts):
        assert counted(*(part.states for part in told.parts)) == told.counts
        assert counted(*(part.states[part.cached] for part in told.parts)) == told.cached
    for part, window in zip(told.parts, windows):
        assert (part.zone, part.row, part.col) == (window.zone, window.row, window.col)
        assert part.states.shape == tuple(-(-size // part.cell_px) for size in window.shape)


def counted(*states):
    """Return the pixels of each state."""
    flat = np.concatenate([one.ravel() for one in states])
    return {state: int((flat == state).sum()) for state in State}


def asked_bytes(server, pattern="*"):
    """Return which bytes of which object were sent, as (path, start, stop)."""
    spans = []
    for entry in server.requests(pattern):
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", entry.range or "")
        if entry.status != 206 or not match:
            continue
        if not match.group(1):
            total = server.provider.find(entry.path).length
            spans.append((entry.path, total - int(match.group(2)), total))
        else:
            spans.append((entry.path, int(match.group(1)), int(match.group(2)) + 1))
    return spans


def twice(spans, shortest=2):
    """Return the paths of which some bytes were sent more than once, single ones aside."""
    by_path = defaultdict(list)
    for path, start, stop in spans:
        if stop - start >= shortest:
            by_path[path].append((start, stop))
    return {
        path
        for path, own in by_path.items()
        for (_, stop), (start, _) in zip(sorted(own), sorted(own)[1:])
        if start < stop
    }
