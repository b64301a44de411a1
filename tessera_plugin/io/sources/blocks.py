# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows out of the cache's blocks, the same for every source."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ...values import BLOCK_PX, State, Window
from ..cache import BlockCache, Layout, empty_block
from .base import EmbeddingSource, Picked, Picker

LayoutOf = Callable[[Window], Optional[Layout]]
"""How a source's tiles or shards lie over a block; None where that is not known."""


def read_blocks(
    cache: BlockCache, window: Window, depth: int, layout_of: LayoutOf
) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return codes (H, W, D) and scales (H, W) from the cache.

    Nodata: codes 0 and scale NaN, also where nothing is known.
    """
    # not zeros: each page would be cleared before it is filled
    codes = np.empty((*window.shape, depth), dtype=np.int8)
    scales = np.empty(window.shape, dtype=np.float32)
    for part in window.blocks():
        there = part.slices_in(window)
        layout = layout_of(block_of(part))
        block = cache.load(layout, trusted=True) if layout else None
        if layout is None or block is None:
            codes[there], scales[there] = 0, np.nan
            continue
        here = part.slices_in(layout.block)
        codes[there], scales[there] = block.codes[here], block.scales[here]
        is_valid = block.is_valid(layout.cover())[here]
        if not is_valid.all():
            codes[there][~is_valid], scales[there][~is_valid] = 0, np.nan
    return codes, scales


def block_states(
    cache: BlockCache, window: Window, depth: int, layout_of: LayoutOf
) -> NDArray[np.uint8]:
    """Return the `State` of every pixel (H, W), from the cache."""
    states = np.full(window.shape, State.UNKNOWN, dtype=np.uint8)
    nothing = empty_block(depth)
    for part in window.blocks():
        layout = layout_of(block_of(part))
        if layout is None:
            continue
        block = cache.load(layout, trusted=True, codes=False) or nothing
        here = part.slices_in(layout.block)
        states[part.slices_in(window)] = block.states(layout.cover())[here]
    return states


def block_picker(cache: BlockCache, depth: int, layout_of: LayoutOf) -> Picker:
    """Return what reads single rows and columns of blocks from the cache."""

    def pick(block: Window, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Picked:
        shape = len(rows), len(cols)
        layout = layout_of(block)
        found = cache.pick(layout, rows, cols) if layout else None
        if layout is None or found is None:
            states = np.full(shape, State.UNKNOWN, np.uint8)
            if layout is not None:  # it may be known that nothing is published
                states = empty_block(depth).states(layout.cover())[np.ix_(rows, cols)]
            return Picked(
                np.zeros((*shape, depth), np.int8), np.full(shape, np.nan, np.float32), states
            )
        if not found.owner.any():  # the usual case: the first tile is valid all over
            states = np.full(shape, State.VALID, np.uint8)
            return Picked(found.codes, found.scales, states)
        cover = layout.cover()[np.ix_(rows, cols)]
        is_valid = found.is_valid(cover)
        codes, scales = found.codes, found.scales
        states = found.states(cover)
        if not is_valid.all():
            codes[~is_valid], scales[~is_valid] = 0, np.nan
        return Picked(codes, scales, states)

    return pick


def thinning_picker(source: EmbeddingSource) -> Picker:
    """Return what reads whole blocks of a source and keeps of them what is asked for."""

    def pick(block: Window, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Picked:
        places = np.ix_(rows, cols)
        codes, scales = source.read(block)
        return Picked(codes[places], scales[places], source.states(block)[places])

    return pick


def block_of(part: Window) -> Window:
    """Return the block that holds a window's first pixel."""
    row, col = part.row // BLOCK_PX * BLOCK_PX, part.col // BLOCK_PX * BLOCK_PX
    return Window(part.zone, row, col, BLOCK_PX, BLOCK_PX)
