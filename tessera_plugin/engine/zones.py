# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Results zone by zone: file names, the strip a result is clipped to, parts to stream."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.projection import strip_limits
from ..values import BLOCK_PX, Window

STRIP_COLS = 16 * BLOCK_PX
"""Widest part that is held at once: 32 MB of codes."""


def zone_paths(out: Path, windows: Sequence[Window]) -> Tuple[Path, ...]:
    """Return a file per window: `out` itself, or `MAP_utm30.tif` and so on over a zone seam."""
    if len(windows) == 1:
        return (out,)
    return tuple(out.with_name(f"{out.stem}_utm{w.zone:02d}{out.suffix}") for w in windows)


def strips(window: Window, max_cols: int = STRIP_COLS) -> Iterator[Window]:
    """Yield the parts of a window that are one row of cache blocks high and bounded in width."""
    for row in _steps(window.row, window.stop_row, BLOCK_PX):
        for col in _steps(window.col, window.stop_col, max_cols):
            yield Window.between(window.zone, row[0], col[0], row[1], col[1])


def own_pixels(window: Window) -> NDArray[np.bool_]:
    """Return which pixels have their centre in the zone's own 6° strip. Shape: (H, W)."""
    first, stop = strip_limits(window)
    cols = np.arange(window.col, window.stop_col)
    inside: NDArray[np.bool_] = (cols >= first[:, None]) & (cols < stop[:, None])
    return inside


def _steps(start: int, stop: int, step: int) -> Iterator[Tuple[int, int]]:
    """Yield the parts of a range between multiples of `step`."""
    while start < stop:
        end = min((start // step + 1) * step, stop)
        yield start, end
        start = end
