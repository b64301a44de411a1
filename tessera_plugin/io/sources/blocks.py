# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows out of the cache's blocks, the same for every source."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ...values import BLOCK_PX, State, Window
from ..cache import NO_OWNER, BlockCache, Layout, empty_block

LayoutOf = Callable[[Window], Optional[Layout]]
"""How a source's tiles or shards lie over a block; None where that is not known."""


def read_blocks(
    cache: BlockCache, window: Window, depth: int, layout_of: LayoutOf
) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return codes (H, W, D) and scales (H, W) from the cache.

    Nodata: codes 0 and scale NaN, also where nothing is known.
    """
    codes = np.zeros((*window.shape, depth), dtype=np.int8)
    scales = np.full(window.shape, np.nan, dtype=np.float32)
    for part in window.blocks():
        layout = layout_of(block_of(part))
        block = cache.load(layout) if layout else None
        if layout is None or block is None:
            continue
        here, there = part.slices_in(layout.block), part.slices_in(window)
        is_valid = (block.owner != NO_OWNER) & (block.missing(layout.cover()) == 0)
        is_valid = is_valid[here]
        if is_valid.all():
            codes[there], scales[there] = block.codes[here], block.scales[here]
        else:
            codes[there][is_valid] = block.codes[here][is_valid]
            scales[there][is_valid] = block.scales[here][is_valid]
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
        block = cache.load(layout) or nothing
        here = part.slices_in(layout.block)
        states[part.slices_in(window)] = block.states(layout.cover())[here]
    return states


def block_of(part: Window) -> Window:
    """Return the block that holds a window's first pixel."""
    row, col = part.row // BLOCK_PX * BLOCK_PX, part.col // BLOCK_PX * BLOCK_PX
    return Window(part.zone, row, col, BLOCK_PX, BLOCK_PX)
