# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels without labels around the labels, for heads that learn from them too."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import EmbeddingSource
from ..progress import Report, silent
from ..values import BLOCK_PX, Window
from .embeddings import valid_mask
from .heads.background import FEWEST_PX, MAX_PX, Background
from .samples import Samples

MOST_BLOCKS = 64
"""Blocks of the cache that are looked at, of those that hold labels."""


_Pixels = Tuple[NDArray[np.int8], NDArray[np.float32]]

Kept = Dict[Window, Tuple[int, _Pixels]]
"""What was read of blocks, and how many pixels were asked for then."""


def background_of(
    source: EmbeddingSource,
    samples: Samples,
    report: Report = silent,
    seed: int = 0,
    kept: Optional[Kept] = None,
) -> Optional[Background]:
    """Return pixels around labels, from what the cache has of the blocks that hold them.

    None where it has too little. It depends on the cache: the more was fetched around the labels,
    the more is known of the place. `kept` is what was read of the same source with the same seed
    before; it is used, and added to.
    Raises: Cancelled.
    """
    known = {} if kept is None else kept
    blocks = _some_blocks(samples, seed)
    share = -(-2 * MAX_PX // max(len(blocks), 1))  # some blocks have less to give
    codes: List[NDArray[np.int8]] = []
    scales: List[NDArray[np.float32]] = []
    for number, block in enumerate(blocks):
        report(number / len(blocks), "Reading embeddings")
        if known.get(block, (0,))[0] < share:
            known[block] = share, _some_pixels(source, block, share, seed)
        found_codes, found_scales = known[block][1]
        codes.append(found_codes[:share])
        scales.append(found_scales[:share])
    if sum(map(len, codes)) < FEWEST_PX:
        return None
    return Background.of(np.concatenate(codes), np.concatenate(scales), seed)


def _some_blocks(samples: Samples, seed: int) -> List[Window]:
    _, at = np.unique(samples.blocks, return_index=True)  # ascending, as zone, row and column are
    places = np.column_stack(
        [samples.zone[at], samples.row[at] // BLOCK_PX, samples.col[at] // BLOCK_PX]
    )
    if len(places) > MOST_BLOCKS:
        some = np.random.default_rng(seed).choice(len(places), MOST_BLOCKS, replace=False)
        places = places[np.sort(some)]
    return [
        Window(zone, row * BLOCK_PX, col * BLOCK_PX, BLOCK_PX, BLOCK_PX)
        for zone, row, col in places.tolist()
    ]


def _some_pixels(
    source: EmbeddingSource, block: Window, count: int, seed: int
) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return at most `count` valid pixels of a block: codes (n, D) and scales (n,).

    Fewer are the first ones of more.
    """
    codes, scales = source.read(block)
    row, col = np.nonzero(valid_mask(codes, scales))
    # rows may be negative, seeds may not
    random = np.random.default_rng([seed, block.zone, block.row + 2**24, block.col + 2**24])
    some = random.permutation(len(row))[:count]
    row, col = row[some], col[some]
    return codes[row, col], scales[row, col].astype(np.float32)
