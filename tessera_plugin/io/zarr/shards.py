# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Shard indexes, and how their chunks are asked for: sorted by offset, merged over small gaps."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from .metadata import ArrayMeta

MISSING = (1 << 64) - 1
PIECE_BYTES = 12_000_000
"""Longest range that is asked for at once."""

SPARE_SHARE = 0.08
"""Share of what is wanted that may be fetched in vain to save requests; with the indexes of four
shards this stays under a tenth for a window of 1000 x 1000 px."""

SPARE_BYTES = 1 << 19
"""So much may always be fetched in vain."""

_POLYNOMIAL = 0x82F63B78
_LANES = 512


class IndexDamaged(Exception):  # noqa: N818 - io-internal
    """A shard's index is not what it should be."""


class Chunk(NamedTuple):
    """A chunk of a shard: its position among the shard's chunks, and its bytes."""

    row: int
    col: int
    start: int
    stop: int


@dataclass(frozen=True)
class ShardIndex:
    """Where the chunks of one time of a shard lie."""

    starts: NDArray[np.int64]
    """(rows, cols) of chunks, -1 where there is none."""
    stops: NDArray[np.int64]

    def chunks(self, wanted: NDArray[np.bool_]) -> List[Chunk]:
        """Return the chunks there are among those wanted (rows, cols), by their offset."""
        rows, cols = np.nonzero(wanted & (self.starts >= 0))
        starts, stops = self.starts[rows, cols], self.stops[rows, cols]
        order = np.argsort(starts, kind="stable")
        listed = (array[order].tolist() for array in (rows, cols, starts, stops))
        return [Chunk(*chunk) for chunk in zip(*listed)]


@dataclass(frozen=True)
class Span:
    """A range of bytes of one object, and the chunks in it."""

    start: int
    stop: int
    chunks: Tuple[Chunk, ...]


def parse_index(data: bytes, array: ArrayMeta, time: int, total: int) -> ShardIndex:
    """Return the index of a shard of `total` bytes, for the time at this position of the array.

    Raises: IndexDamaged where its checksum is wrong or it points out of the shard.
    """
    if len(data) != array.index_bytes:
        raise IndexDamaged(f"the index has {len(data):,} bytes instead of {array.index_bytes:,}")
    if array.index_crc and crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise IndexDamaged("the checksum of the index is wrong")
    body = data[:-4] if array.index_crc else data
    entries = np.frombuffer(body, dtype="<u8").reshape(*array.inner_grid, 2)
    axes = array.axes
    order = [axes.index(axis) for axis in ("time", "band", "y", "x") if axis in axes]
    entries = entries.transpose(*order, len(axes))[time % array.outer_size("time")]
    entries = entries.reshape(*entries.shape[-3:])  # of one chunk along the bands
    here = entries[..., 0] != MISSING
    first, last = (0, total - len(data)) if array.index_at_end else (len(data), total)
    starts, sizes = entries[..., 0][here], entries[..., 1][here]
    bad = (starts < first) | (starts > last) | (sizes > np.uint64(max(last - first, 0)))
    if bad.any() or (starts + sizes > last).any():
        raise IndexDamaged("the index points out of the shard")
    all_starts = np.full(here.shape, -1, dtype=np.int64)
    all_stops = np.full(here.shape, -1, dtype=np.int64)
    all_starts[here], all_stops[here] = starts, starts + sizes
    return ShardIndex(all_starts, all_stops)


def plan(objects: Sequence[Sequence[Chunk]], requests: int) -> List[List[Span]]:
    """Return, per object, the ranges to ask for; its chunks must be sorted by offset.

    Gaps are closed, the smallest of all objects first, until about `requests` ranges are left or
    the share that may be fetched in vain is used up.
    """
    gaps: List[Tuple[int, int, int]] = []
    wanted = 0
    for number, chunks in enumerate(objects):
        wanted += sum(chunk.stop - chunk.start for chunk in chunks)
        gaps += [
            (max(after.start - before.stop, 0), number, place)
            for place, (before, after) in enumerate(zip(chunks, chunks[1:]))
        ]
    gaps.sort()
    spare = max(int(wanted * SPARE_SHARE), SPARE_BYTES)
    left = sum(map(bool, objects)) + len(gaps)
    closed = set()
    for gap, number, place in gaps:
        if gap and (left <= requests or gap > spare):
            break
        spare -= gap
        left -= 1
        closed.add((number, place))
    return [list(_spans(chunks, number, closed)) for number, chunks in enumerate(objects)]


def cut(span: Span, size: int) -> List[Span]:
    """Return a range in parts of at most `size` bytes, or of one chunk."""
    parts: List[List[Chunk]] = []
    for chunk in span.chunks:
        if not parts or chunk.stop - parts[-1][0].start > size:
            parts.append([])
        parts[-1].append(chunk)
    return [_span(part) for part in parts]


def _spans(chunks: Sequence[Chunk], number: int, closed: set[Tuple[int, int]]) -> Iterator[Span]:
    run: List[Chunk] = []
    for place, chunk in enumerate(chunks):
        is_apart = bool(run) and (number, place - 1) not in closed
        if is_apart or (run and chunk.stop - run[0].start > PIECE_BYTES):
            yield _span(run)
            run = []
        run.append(chunk)
    if run:
        yield _span(run)


def _span(run: Sequence[Chunk]) -> Span:
    return Span(run[0].start, max(chunk.stop for chunk in run), tuple(run))


# --- CRC-32C (Castagnoli), which Python's standard library does not have


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes: 512 lanes side by side, then put together."""
    if len(data) < 4 * _LANES:
        return _crc_of_few(data)
    raw = bytearray(data)
    raw[:4] = bytes(byte ^ 0xFF for byte in raw[:4])  # the same as starting from all ones
    width = -(-len(raw) // _LANES)
    padded = np.zeros(_LANES * width, dtype=np.uint8)
    padded[-len(raw) :] = raw  # zeros in front change nothing when starting from zero
    columns = np.ascontiguousarray(padded.reshape(_LANES, width).T)
    table = _table()
    crcs = np.zeros(_LANES, dtype=np.uint32)
    for column in columns:
        crcs = table[(crcs ^ column) & 0xFF] ^ (crcs >> np.uint32(8))
    t0, t1, t2, t3 = _after_zeros(width)
    crc = 0
    for lane in crcs.tolist():
        crc = t0[crc & 255] ^ t1[crc >> 8 & 255] ^ t2[crc >> 16 & 255] ^ t3[crc >> 24] ^ lane
    return crc ^ 0xFFFFFFFF


def _crc_of_few(data: bytes) -> int:
    table = _table().tolist()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@functools.lru_cache(maxsize=1)
def _table() -> NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> np.uint32(1) ^ np.uint32(_POLYNOMIAL),
                          values >> np.uint32(1)).astype(np.uint32)  # fmt: skip
    return values


@functools.lru_cache(maxsize=16)
def _after_zeros(count: int) -> List[List[int]]:
    """Return what `count` zero bytes make of each byte of a CRC, as four tables."""
    table = _table()
    crcs = np.arange(256, dtype=np.uint32)[None, :] << np.array([[0], [8], [16], [24]], np.uint32)
    for _ in range(count):
        crcs = table[crcs & 0xFF] ^ (crcs >> np.uint32(8))
    return [[int(value) for value in row] for row in crcs]
