# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a tile on their way into the cache: cut into jobs, checked, gathered."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import TileUnusable
from ...values import BLOCK_PX, Window
from ..cache import ObjectInfo, Piece, TileInfo
from ..objects import published_md5
from ..tiling import Tile

FLUSH_S = 1.0
"""What has arrived waits at most about this long for the rest of its block."""

HELD_BYTES = 32_000_000
"""So much may wait for the rest of its blocks; more is written at once."""

AHEAD_BYTES = 64_000_000
"""How much may wait for an earlier part of an object whose checksum is being computed."""

LOOSE_BYTES = 16_000_000
"""Objects of at most so many bytes may come in any order while their checksum is computed."""

_PEAK = 127
"""Largest |code| of every valid 128-d pixel in what has been seen of published data."""
_PEAK_DEPTH = 128


@dataclass(frozen=True)
class Part:
    """One of a tile's two objects: its codes or its scales."""

    path: str
    """In the archive."""
    info: ObjectInfo
    pixel_bytes: int


class WantedRows:
    """The rows that are wanted of a tile, and its checksums if that is all of them."""

    def __init__(
        self,
        tile: Tile,
        info: TileInfo,
        *,
        codes: Part,
        scales: Part,
        footprint: Window,
        rows: NDArray[np.bool_],
        check: Callable[[], None],
    ) -> None:
        self.tile = tile
        self.info = info
        self.codes = codes
        self.scales = scales
        self.footprint = footprint
        self.rows = rows
        is_whole = bool(rows.all())
        self._digests = [
            _digest(part.info, check) if is_whole else None for part in (codes, scales)
        ]

    @property
    def is_summed(self) -> bool:
        """Whether a checksum is computed: parts that come early wait in memory for the others."""
        return any(self._digests)

    @property
    def in_order(self) -> bool:
        """Whether its rows must come in their order, since too much would wait otherwise."""
        parts = zip(self._digests, (self.codes, self.scales))
        return any(digest and part.info.length > LOOSE_BYTES for digest, part in parts)

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.footprint.width

    @property
    def total_bytes(self) -> int:
        """What the wanted rows weigh."""
        return int(np.count_nonzero(self.rows)) * self._row_bytes

    def jobs(self, size: int) -> Iterator[Tuple[int, int]]:
        """Yield first and stop of runs of wanted rows, about `size` bytes, within a row of blocks."""
        step = max(size // self._row_bytes, 1)
        edges = np.flatnonzero(np.diff(self.rows.astype(np.int8), prepend=0, append=0))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist()):
            at = start
            while at < stop:
                next_band = (self.band(at) + 1) * BLOCK_PX - self.footprint.row
                upto = min(at + step, next_band, stop)
                yield at, upto
                at = upto

    def band(self, row: int) -> int:
        """Return the number of the row of blocks that a row of the tile lies in."""
        return (self.footprint.row + row) // BLOCK_PX

    def window(self, start: int, stop: int) -> Window:
        """Return where rows of the tile lie on the zone grid."""
        top, left = self.footprint.row, self.footprint.col
        return Window(self.footprint.zone, top + start, left, stop - start, self.width)

    def piece(self, start: int, codes: bytes, scales: bytes) -> Tuple[Piece, bool]:
        """Return rows as arrays, and whether they are as published data usually are.

        Raises: TileUnusable where the scales of a pixel's bands differ.
        """
        depth = self.codes.pixel_bytes
        pixels = np.frombuffer(codes, dtype=np.int8).reshape(-1, self.width, depth)
        factors = self._flat(np.frombuffer(scales, dtype="<f4"))
        high, low = pixels.max(axis=-1), pixels.min(axis=-1)
        valid = (factors > 0) & (factors < 1) & ((high != 0) | (low != 0))
        window = self.window(start, start + len(pixels))
        usual = ((high == _PEAK) | (low == -_PEAK)) & (low >= -_PEAK)
        is_usual = depth != _PEAK_DEPTH or not (valid & ~usual).any()
        return Piece(window, pixels, factors, valid), is_usual

    def feed(self, start: int, codes: bytes, scales: bytes) -> None:
        """Count rows in the checksums; waits where too much has come before its turn."""
        for digest, part, data in zip(self._digests, (self.codes, self.scales), (codes, scales)):
            if digest is not None:
                digest.add(part.info.offset + start * part.pixel_bytes * self.width, data)

    def abandon(self) -> None:
        """Give the checksums up: not all rows will come."""
        for digest in self._digests:
            if digest is not None:
                digest.abandon()

    def is_right(self) -> bool:
        """Whether no checksum that could be computed differs from the published one."""
        return all(digest is None or digest.is_right() for digest in self._digests)

    @property
    def _row_bytes(self) -> int:
        return (self.codes.pixel_bytes + self.scales.pixel_bytes) * self.width

    def _flat(self, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one scale per pixel."""
        bands = self.info.scale_bands
        if bands == 1:
            return scales.reshape(-1, self.width)
        all_bands = scales.reshape(-1, self.width, bands)
        first = all_bands[..., 0]
        same = all_bands == first[..., None]
        if not (same.all(axis=-1) | np.isnan(all_bands).all(axis=-1)).all():
            raise TileUnusable(self.tile.name, "the scales of its bands differ")
        return np.ascontiguousarray(first)


Keep = Callable[[Sequence[Piece]], None]
"""Puts pieces of a tile into the row of blocks that they are of."""


class Held:
    """How many bytes wait in memory for the rest of their blocks, of all tiles together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def is_much(self) -> bool:
        """Whether what comes should be put away at once."""
        return self._bytes > HELD_BYTES

    def change(self, size: int) -> None:
        """Count bytes that came, or went."""
        with self._lock:
            self._bytes += size


class Pieces:
    """Gathers what arrives of a tile for one row of blocks, so that blocks are not written for each.

    Threads add; another may flush, so that nothing waits for a request that stalls.
    """

    def __init__(self, tile: Tile, held: Held, keep: Keep) -> None:
        self.tile = tile
        self._held = held
        self._keep = keep
        self._lock = threading.Lock()
        self._pieces: List[Piece] = []
        self._since = 0.0
        self._due = 0

    def expect(self) -> None:
        """Wait for the pieces of one job more."""
        self._due += 1

    def add(self, piece: Piece) -> None:
        """Take a piece; it is put away at once where too much waits."""
        self._held.change(piece.codes.nbytes)
        with self._lock:
            if not self._pieces:
                self._since = time.monotonic()
            self._pieces.append(piece)
        if self._held.is_much:
            self.flush()

    def job_is_over(self) -> None:
        """Note that a job brings nothing more; after the last one put away what there is."""
        with self._lock:
            self._due -= 1
            is_complete = not self._due
        if is_complete:
            self.flush()

    def flush_if_due(self) -> None:
        """Put away what there is once the first of it has waited for long enough."""
        with self._lock:
            is_due = bool(self._pieces) and time.monotonic() - self._since > FLUSH_S
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Put away what there is."""
        with self._lock:
            pieces, self._pieces = self._pieces, []
        if pieces:
            try:
                self._keep(pieces)
            finally:
                self._held.change(-sum(piece.codes.nbytes for piece in pieces))


class _Digest:
    """The MD5 of an object whose parts come in any order, from several threads."""

    def __init__(self, info: ObjectInfo, expected: str, check: Callable[[], None]) -> None:
        head = info.head.encode("latin-1")
        self._expected = expected
        self._check = check
        self._md5 = hashlib.md5(head, usedforsecurity=False)
        self._at = len(head)
        self._length = info.length
        self._early: Dict[int, bytes] = {}
        self._changed = threading.Condition()
        self._is_abandoned = False

    def add(self, start: int, data: bytes) -> None:
        """Count a part; waits while too much has come before its turn."""
        with self._changed:
            if self._is_abandoned:
                return
            self._early[start] = data
            self._advance()
            while self._held() > AHEAD_BYTES and not self._is_abandoned:
                self._changed.wait(0.1)
                self._check()

    def abandon(self) -> None:
        """Let everybody go on: the object will not be complete."""
        with self._changed:
            self._is_abandoned = True
            self._early.clear()
            self._changed.notify_all()

    def is_right(self) -> bool:
        """Whether it is the expected one, or can't be told."""
        is_whole = self._at == self._length and not self._is_abandoned
        return not is_whole or self._md5.hexdigest() == self._expected

    def _advance(self) -> None:
        while self._at in self._early:
            data = self._early.pop(self._at)
            self._md5.update(data)
            self._at += len(data)
        self._changed.notify_all()

    def _held(self) -> int:
        return sum(len(data) for data in self._early.values())


def _digest(info: ObjectInfo, check: Callable[[], None]) -> Optional[_Digest]:
    """Return a digest where the ETag is the MD5 of the object, as it is after a simple upload."""
    md5 = published_md5(info.etag)
    return _Digest(info, md5, check) if md5 else None
