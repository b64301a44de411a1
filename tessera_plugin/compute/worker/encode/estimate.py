# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `encode_estimate`: what encoding a scene takes, from a few batches of zeros."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..encoders.spec import EncoderSpec
from ..job import Job
from .batches import batch_size
from .blocks import BLOCK_PX, TRAILER_BYTES, npy_bytes, parts, record_of
from .dpixel import Tile, open_tile
from .prepare import Prepared
from .run import depth_of
from .sampling import keys_of, lengths_of
from .session import Encoder, open_encoder, zeros

_LOOKED_AT = 32
"""Rows and columns of a tile whose observations are counted."""

CLEAR_SHARE = 0.5
"""Of the dates of Sentinel-2, where no mask tells."""


@dataclass(frozen=True)
class Params:
    """What the client asks for."""

    encoder: str
    tile: str = ""
    """The d-pixel folder; without one, `pixels` and the numbers of dates say what it will be."""
    pixels: int = 0
    s2_dates: int = 0
    s1_dates: int = 0
    """Of both orbit directions."""
    depth: int = 0
    providers: Tuple[str, ...] = ()
    threads: int = 0
    memory_bytes: int = 1_500_000_000
    near: Optional[Sequence[int]] = None
    """Changes nothing."""


@dataclass(frozen=True)
class _Group:
    """Pixels whose sequences are equally long."""

    s2: int
    s1: int
    share: float
    """Of all pixels of the scene."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Return `pixels`, `seconds`, `batch_px`, `device`, `refused` [[provider, reason]],
    `gflop_per_px` (the mean over the scene) and `bytes_out`.

    Raises: InputUnusable, EncoderUnusable, ValueError for a depth that is not allowed.
    """  # noqa: D205
    p = Params(**params)
    tile = open_tile(Path(p.tile)) if p.tile else None
    encoder = open_encoder(p.encoder, tuple(p.providers), p.threads)
    job.check()
    spec = encoder.spec
    depth = depth_of(spec, p.depth)
    groups = _seen(tile, spec) if tile else _expected(p, spec)
    pixels = tile.height * tile.width if tile else p.pixels
    draws = spec.sampling.draws
    batch_px, seconds_per_gflop = _measured(encoder, groups, p.memory_bytes, job)
    gflop = draws * sum(group.share * spec.gflop_per_px.of(group.s2, group.s1) for group in groups)
    return {
        "pixels": pixels,
        "seconds": pixels * gflop * seconds_per_gflop,
        "batch_px": batch_px,
        "device": encoder.provider,
        "refused": encoder.refused,
        "gflop_per_px": gflop,
        "bytes_out": _blocks(tile, pixels) * _block_bytes(depth),
    }


def _seen(tile: Tile, spec: EncoderSpec) -> List[_Group]:
    """Return how long the sequences of some pixels are, spread over a tile."""
    rows, cols = (
        slice(None, None, max(length // _LOOKED_AT, 1)) for length in (tile.height, tile.width)
    )
    pixels = tile.read(rows, cols)
    zero = np.zeros(pixels.count, np.intp)
    prepared = Prepared(pixels, spec, keys_of(0, zero, zero))
    return [
        _Group(*prepared.lengths(px), len(px) / pixels.count) for px in prepared.alike() if len(px)
    ]


def _expected(p: Params, spec: EncoderSpec) -> List[_Group]:
    """Return how long the sequences of a scene will be that has so many dates."""
    counts = np.array([math.ceil(p.s2_dates * CLEAR_SHARE), p.s1_dates], np.intp)
    s2, s1 = lengths_of(counts, spec.sampling)
    first = spec.sampling.lengths[0]
    return [_Group(int(s2) or first, int(s1) or first, 1.0)]


def _measured(
    encoder: Encoder, groups: Sequence[_Group], ceiling_bytes: int, job: Job
) -> Tuple[int, float]:
    """Return the batch, and seconds for 10^9 operations in it; nothing to do takes no time."""
    if not groups:
        return 0, 0.0
    longest = (max(group.s2 for group in groups), max(group.s1 for group in groups))
    batch_px = batch_size(encoder, *longest, ceiling_bytes, job)
    usual = max(groups, key=lambda group: group.share)
    inputs = zeros(encoder.spec, batch_px, usual.s2, usual.s1)
    taken = []
    for _ in range(3):
        job.check()
        began = time.perf_counter()
        encoder.run(inputs)
        taken.append(time.perf_counter() - began)
    gflop = batch_px * encoder.spec.gflop_per_px.of(usual.s2, usual.s1)
    return batch_px, sorted(taken)[1] / gflop


def _blocks(tile: Optional[Tile], pixels: int) -> int:
    """Return how many blocks a scene has at least; one that isn't there yet is a square."""
    edge = math.ceil(math.sqrt(pixels))
    height, width = (tile.height, tile.width) if tile else (edge, edge)
    return len(parts(height, width, 0, 0))


def _block_bytes(depth: int) -> int:
    one_row = len(npy_bytes(np.zeros((1, BLOCK_PX), record_of(depth)))[0])
    return one_row + (BLOCK_PX - 1) * BLOCK_PX * record_of(depth).itemsize + TRAILER_BYTES
