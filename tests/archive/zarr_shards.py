# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes of Zarr v3: Blosc chunks, shards in the order zarr-python writes them, CRC32C."""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, Tuple

import numpy as np
from numpy.typing import NDArray

ABSENT = 2**64 - 1
_POLYNOMIAL = 0x82F63B78


def compress(values: NDArray[Any], *, bits: bool) -> bytes:
    """Return one Blosc buffer: zstd, level 3, shuffled by bits or bytes."""
    # Imported late: an archive of tiles only is served without it.
    from numcodecs import blosc  # type: ignore[import-untyped]

    # One thread, else the order of the blocks, and so the bytes, would be left to chance.
    blosc.use_threads = False
    shuffle = blosc.BITSHUFFLE if bits else blosc.SHUFFLE
    return bytes(blosc.compress(np.ascontiguousarray(values), b"zstd", 3, shuffle, 0))


def shard(chunks: Mapping[Tuple[int, int], bytes], side: int) -> bytes:
    """Return a shard of side x side inner chunks: those given in Morton order, then the index."""
    index = np.full((side, side, 2), ABSENT, "<u8")
    parts: List[bytes] = []
    offset = 0
    for at in sorted(chunks, key=morton):
        index[at] = offset, len(chunks[at])
        parts.append(chunks[at])
        offset += len(chunks[at])
    table = index.tobytes()
    return b"".join([*parts, table, crc32c(table).to_bytes(4, "little")])


def morton(at: Tuple[int, int]) -> int:
    """Return the place of an inner chunk in a shard: bits of row and column in turn, row first."""
    row, col = at
    return sum(
        ((row >> bit & 1) << 2 * bit) | ((col >> bit & 1) << 2 * bit + 1) for bit in range(16)
    )


def read_index(data: bytes, side: int) -> NDArray[np.uint64]:
    """Return (side, side, 2) offsets and lengths from a shard's end. Raises: ValueError."""
    size = 16 * side * side
    table, crc = data[-size - 4 : -4], int.from_bytes(data[-4:], "little")
    if crc32c(table) != crc:
        raise ValueError("the shard index has a wrong CRC32C")
    return np.frombuffer(table, "<u8").reshape(side, side, 2)


def crc32c(data: bytes) -> int:
    """Return the CRC32C (Castagnoli) of the bytes."""
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _make_table() -> List[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _make_table()


def runs(places: Mapping[int, Iterable[int]]) -> List[Tuple[int, int, int]]:
    """Return (row, first column, stop column) of the runs of neighbours in {row: columns}."""
    found: List[Tuple[int, int, int]] = []
    for row in sorted(places):
        for col in sorted(set(places[row])):
            if found and found[-1][0] == row and found[-1][2] == col:
                found[-1] = row, found[-1][1], col + 1
            else:
                found.append((row, col, col + 1))
    return found
