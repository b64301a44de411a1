# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Shard indexes, and how their chunks are asked for: sorted by offset, merged over small gaps."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from .metadata import ArrayMeta

MISSING = (1 << 64) - 1
PIECE_BYTES = (8_000_000, 12_000_000, 16_000_000, 24_000_000, 32_000_000, 48_000_000)
"""Longest range that is asked for at once: the first of these with which the requests suffice."""

ORDINARY_BYTES = PIECE_BYTES[1]
"""Gaps are closed for ranges of so many bytes at most; longer ones are for where that is too dear."""

LONG_BYTES = PIECE_BYTES[3]
"""Longest range where the requests don't suffice anyway."""

REQUESTS = 40
"""So many are enough for a window of 1000 x 1000 px, those for indexes and metadata included,
wherever it lies and as long as what may be fetched in vain allows."""

RANGE_BYTES = 4_400_000
"""What a request should bring on average of more than that."""

FEW_BYTES = 4_000_000
"""Up to so many bytes a request costs more than what is fetched in vain, so there are fewer."""

SPARE_SHARE = 0.0995
"""Share of what is wanted that may be fetched in vain to save requests, indexes included."""

SPARE_BYTES = 1 << 20
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


def requests_for(wanted: int, hands: int, asked: int = 0) -> int:
    """Return how many requests are to bring so many bytes: `hands` at once, `asked` made before."""
    few = 2 * hands
    return few if wanted < FEW_BYTES else max(few, REQUESTS - asked, wanted // RANGE_BYTES)


def spare_for(wanted: int, spent: int = 0) -> int:
    """Return how many bytes may be fetched in vain for so many, some spent already (indexes)."""
    return max(int(wanted * SPARE_SHARE) - spent, SPARE_BYTES)


def plan(
    objects: Sequence[Sequence[Chunk]],
    requests: int,
    spare: Optional[int] = None,
) -> List[List[Span]]:
    """Return, per object, the ranges to ask for; its chunks must be sorted by offset.

    Gaps are closed, the smallest of all objects first, until `requests` ranges are enough, those
    that are too long cut in parts, or until `spare` bytes are fetched in vain. No fewer requests
    can do with as few bytes: every gap saves one, whatever its size.
    """
    spans = _Gaps(objects)
    if spare is None:
        spare = spare_for(spans.wanted)
    closed = spans.first_with(requests, ORDINARY_BYTES, spare)
    fitting = (size for size in PIECE_BYTES if spans.count(closed, size) <= requests)
    size = next(fitting, LONG_BYTES)
    return [[part for span in own for part in cut(span, size)] for own in spans.at(closed)]


class _Gaps:
    """Chunks of several objects, and the gaps between them by size."""

    def __init__(self, objects: Sequence[Sequence[Chunk]]) -> None:
        self._objects = objects
        edges = np.array(
            [(chunk.start, chunk.stop) for chunks in objects for chunk in chunks], dtype=np.int64
        ).reshape(-1, 2)
        self._starts = edges[:, 0]
        firsts = np.cumsum([0, *(len(chunks) for chunks in objects)])
        self._ends = np.array(edges[:, 1])
        for first, stop in zip(firsts.tolist(), firsts[1:].tolist()):
            # chunks may share bytes: a range ends where the last of its chunks does
            self._ends[first:stop] = np.maximum.accumulate(self._ends[first:stop])
        self.wanted = int((edges[:, 1] - edges[:, 0]).sum())
        """Bytes of all chunks."""
        gaps = np.maximum(self._starts[1:] - self._ends[:-1], 0)
        is_inner = np.ones(len(gaps), dtype=np.bool_)
        is_inner[firsts[1:-1][(firsts[1:-1] > 0) & (firsts[1:-1] < len(edges))] - 1] = False
        places = np.flatnonzero(is_inner)
        order = places[np.argsort(gaps[places], kind="stable")]
        self._sizes = gaps[order]
        self._rank = np.full(len(edges), len(gaps) + 1, dtype=np.int64)
        """Of the gap before each chunk, those before an object's first are never closed."""
        self._rank[order + 1] = np.arange(len(order))

    def first_with(self, requests: int, size: int, spare: int) -> int:
        """Return how many gaps to close for so many requests of so many bytes, or all one may."""
        least = int(np.count_nonzero(self._sizes == 0))
        most = max(int(np.searchsorted(np.cumsum(self._sizes), spare, side="right")), least)
        enough = (
            closed
            for closed in range(max(least, len(self._rank) - requests), most)
            if self.count(closed, size) <= requests
        )
        return next(enough, most)

    def count(self, closed: int, size: int) -> int:
        """Return the requests it takes, of at most `size` bytes."""
        first, last = self._runs(closed)
        return int((-(-(self._ends[last] - self._starts[first]) // size)).sum())

    def at(self, closed: int) -> Iterator[Iterator[Span]]:
        """Yield, per object, its ranges."""
        is_first = self._rank >= closed
        at = 0
        for chunks in self._objects:
            yield _spans(chunks, is_first[at : at + len(chunks)].tolist())
            at += len(chunks)

    def _runs(self, closed: int) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = np.flatnonzero(self._rank >= closed)
        return first, np.append(first[1:], len(self._rank))[: len(first)] - 1


def cut(span: Span, size: int) -> List[Span]:
    """Return a range in equal parts of about at most `size` bytes, or of one chunk."""
    count = -(-(span.stop - span.start) // size)
    if count <= 1:
        return [span]
    parts: List[List[Chunk]] = [[] for _ in range(count)]
    for chunk in span.chunks:
        middle = (chunk.start + chunk.stop) // 2 - span.start
        parts[min(middle * count // (span.stop - span.start), count - 1)].append(chunk)
    return [_span(part) for part in parts if part]


def _spans(chunks: Sequence[Chunk], is_first: Sequence[bool]) -> Iterator[Span]:
    run: List[Chunk] = []
    for chunk, is_apart in zip(chunks, is_first):
        if run and is_apart:
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
