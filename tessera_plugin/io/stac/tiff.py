# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory at the front of a cloud-optimised GeoTIFF, and a small TIFF of some of its tiles.

Decoding stays GDAL's. What is done here is to know for certain which bytes of a file are needed,
and to make of them a file that is whole: front, directory and the tiles that were fetched. Nothing
in it can be read as zeros because it was not fetched, except tiles that nobody asks it for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

FRONT_LIMIT_BYTES = 16 << 20
"""A directory that reaches further into the file is not at its front."""

BLOCK_LIMIT_BYTES = 64 << 20
TAGS_LIMIT = 4096

_WIDTH, _HEIGHT, _SAMPLES, _ROWS_PER_STRIP = 256, 257, 277, 278
_STRIP_OFFSETS, _STRIP_COUNTS = 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
               16: 8, 17: 8, 18: 8}  # fmt: skip
_WHOLE = {3: "u2", 4: "u4", 16: "u8"}
"""Types of numbers that say where and how large things are."""

_GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE="


class NeedsMore(Exception):  # noqa: N818 - never leaves this package
    """The directory reaches beyond the bytes at hand."""

    def __init__(self, stop: int) -> None:
        super().__init__(f"{stop} bytes are needed")
        self.stop = stop


class NotUsable(Exception):  # noqa: N818 - never leaves this package
    """The file is not a TIFF that can be read in parts; the text says why in a few words."""


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    at: int
    """Where its values begin in the file."""


@dataclass(frozen=True)
class Directory:
    """Where a TIFF's tiles lie; of one in strips, a strip is a tile as wide as the image."""

    order: str
    """`<` or `>`."""
    width: int
    height: int
    block_width: int
    block_height: int
    offsets: NDArray[np.uint64]
    """By block, row by row; shape (down * across,)."""
    counts: NDArray[np.uint64]
    """Bytes of each; 0 for one that was never written and is nodata."""
    next_at: Tuple[int, int]
    """Place and size of the pointer to the next directory."""
    tables: Tuple[_Entry, _Entry]
    """Of the offsets and of the counts."""
    stop: int
    """End of all that belongs to it."""

    @property
    def across(self) -> int:
        """Blocks side by side."""
        return -(-self.width // self.block_width)

    def blocks(self, col: int, row: int, width: int, height: int) -> Tuple[int, ...]:
        """Return the numbers of the blocks that a rectangle of pixels touches, row by row."""
        return tuple(
            down * self.across + right
            for down in range(row // self.block_height, (row + height - 1) // self.block_height + 1)
            for right in range(col // self.block_width, (col + width - 1) // self.block_width + 1)
        )


def read_directory(front: bytes) -> Directory:
    """Return the first directory of a TIFF from the bytes at its front.

    Classic and BigTIFF, both byte orders. Raises: NeedsMore, NotUsable.
    """
    return _Reader(front).directory()


def small_tiff(front: bytes, directory: Directory, blocks: Mapping[int, bytes]) -> bytes:
    """Return a whole TIFF with these blocks of a larger one; all others are sparse.

    `front` are the bytes from the file's start to the end of its directory, at least.
    """
    out = bytearray(front[: directory.stop])
    _forget_promises(out)
    at, size = directory.next_at
    out[at : at + size] = bytes(size)  # overviews and masks stay behind
    offsets, counts = np.zeros_like(directory.offsets), np.zeros_like(directory.counts)
    for number, data in sorted(blocks.items()):
        offsets[number], counts[number] = len(out), len(data)
        out += data
    for entry, values in zip(directory.tables, (offsets, counts)):
        kind = np.dtype(f"{directory.order}{_WHOLE[entry.kind]}")
        if values.size and int(values.max()) > np.iinfo(kind).max:
            raise NotUsable("its directory has no room for larger numbers")
        out[entry.at : entry.at + kind.itemsize * entry.count] = values.astype(kind).tobytes()
    return bytes(out)


def _forget_promises(front: bytearray) -> None:
    """Blank GDAL's promises of how tiles lie in the file, for they lie otherwise now."""
    at = front.find(_GHOST, 0, 64)
    if at < 0:
        return
    told = bytes(front[at + len(_GHOST) : at + len(_GHOST) + 6])
    if not told.isdigit():
        return
    end = min(at + len(_GHOST) + len(b"000000 bytes\n") + int(told), len(front))
    front[at:end] = bytes(end - at)


class _Reader:
    """Reads numbers of a TIFF's front, and never behind what is there."""

    def __init__(self, front: bytes) -> None:
        self._front = front
        orders = {b"II": "<", b"MM": ">"}
        self._order = orders.get(front[:2], "")
        if not self._order:
            raise NotUsable("it is not a TIFF")
        version = self._number(2, 2)
        if version not in (42, 43):
            raise NotUsable("it is not a TIFF")
        self._big = version == 43
        self._word = 8 if self._big else 4

    def directory(self) -> Directory:
        """Return the first directory. Raises: NeedsMore, NotUsable."""
        start = self._number(8 if self._big else 4, self._word)
        head, entry = (8, 20) if self._big else (2, 12)
        count = self._number(start, head)
        if not 1 <= count <= TAGS_LIMIT:
            raise NotUsable("its directory makes no sense")
        next_at = start + head + entry * count
        stop = self._reached(next_at + self._word)
        entries: Dict[int, _Entry] = {}
        for at in range(start + head, next_at, entry):
            tag, found = self._entry(at)
            entries[tag] = found
            stop = max(stop, self._reached(found.at + self._bytes_of(found)))
        if stop > len(self._front):
            raise NeedsMore(stop)
        return self._understood(entries, (next_at, self._word), stop)

    def _understood(
        self, entries: Mapping[int, _Entry], next_at: Tuple[int, int], stop: int
    ) -> Directory:
        if self._one(entries, _SAMPLES, 1) != 1:
            raise NotUsable("it has more than one band")
        width, height = self._one(entries, _WIDTH), self._one(entries, _HEIGHT)
        if _TILE_OFFSETS in entries:
            block = self._one(entries, _TILE_WIDTH), self._one(entries, _TILE_HEIGHT)
            tables = _TILE_OFFSETS, _TILE_COUNTS
        else:
            rows = min(self._one(entries, _ROWS_PER_STRIP, height), height)
            block = width, rows
            tables = _STRIP_OFFSETS, _STRIP_COUNTS
        if min(width, height, *block) < 1:
            raise NotUsable("its directory makes no sense")
        if not all(table in entries for table in tables):
            raise NotUsable("its directory does not tell where its pixels lie")
        places, sizes = entries[tables[0]], entries[tables[1]]
        blocks = -(-width // block[0]) * -(-height // block[1])
        if (places.count, sizes.count) != (blocks, blocks):
            raise NotUsable("its directory does not tell where its pixels lie")
        counts = self._all(sizes)
        if int(counts.max()) > BLOCK_LIMIT_BYTES:
            raise NotUsable("its tiles are too large")
        return Directory(
            self._order, width, height, *block, self._all(places), counts, next_at,
            (places, sizes), stop,
        )  # fmt: skip

    def _entry(self, at: int) -> Tuple[int, _Entry]:
        tag, kind = self._number(at, 2), self._number(at + 2, 2)
        count = self._number(at + 4, self._word)
        value_at = at + 4 + self._word
        size = _TYPE_BYTES.get(kind, 0) * count
        is_inline = size <= self._word
        return tag, _Entry(
            kind, count, value_at if is_inline else self._number(value_at, self._word)
        )

    def _bytes_of(self, entry: _Entry) -> int:
        return _TYPE_BYTES.get(entry.kind, 0) * entry.count

    def _one(self, entries: Mapping[int, _Entry], tag: int, default: int = 0) -> int:
        entry = entries.get(tag)
        if entry is None:
            return default
        values = self._all(entry)
        if values.size < 1:
            raise NotUsable("its directory makes no sense")
        return int(values[0])

    def _all(self, entry: _Entry) -> NDArray[np.uint64]:
        if entry.kind not in _WHOLE:
            raise NotUsable("its directory makes no sense")
        kind = np.dtype(f"{self._order}{_WHOLE[entry.kind]}")
        found = np.frombuffer(self._front, kind, entry.count, entry.at)
        return found.astype(np.uint64)

    def _number(self, at: int, size: int) -> int:
        if self._reached(at + size) > len(self._front):
            raise NeedsMore(at + size)
        letter = {2: "H", 4: "I", 8: "Q"}[size]
        return int(struct.unpack_from(f"{self._order}{letter}", self._front, at)[0])

    def _reached(self, stop: int) -> int:
        if stop > FRONT_LIMIT_BYTES:
            raise NotUsable("its directory does not lie at its front")
        return stop


def merged(spans: Sequence[Tuple[int, int]], gap: int, longest: int) -> Tuple[Tuple[int, int], ...]:
    """Return ranges that hold all spans: over gaps up to `gap` bytes, up to `longest` bytes long."""
    out: List[Tuple[int, int]] = []
    for start, stop in sorted(spans):
        if out and start - out[-1][1] <= gap and stop - out[-1][0] <= longest:
            out[-1] = out[-1][0], max(out[-1][1], stop)
        else:
            out.append((start, stop))
    return tuple(out)
