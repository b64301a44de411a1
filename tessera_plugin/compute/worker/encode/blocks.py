# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of embeddings that a run leaves: whole files on the zone grid, kept after a crash.

A block is one .npy file of 128 x 128 records: `codes` int8 (depth,), `scale` float32, and `seen`
uint16 (3,), the valid observations of Sentinel-2, ascending and descending. Where there is no
embedding, codes are 0 and the scale is NaN. Blocks at the scene's edge are filled up in this way.
Behind the records stand 8 bytes that readers of .npy files leave alone: "TESS" and the CRC-32 of
all bytes before, as a little-endian unsigned integer.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import draft
from .errors import OtherRun

BLOCK_PX = 128
TRAILER = b"TESS"
TRAILER_BYTES = len(TRAILER) + 4
_IDENTITY = "run.json"

Place = Tuple[slice, slice]
"""Rows and columns of a scene, perhaps not all of them."""


@dataclass(frozen=True)
class Part:
    """What a scene has of a block."""

    name: str
    """Row and column of the block's first pixel on the zone grid."""
    rows: slice
    """Of the scene."""
    cols: slice
    row: int
    """Of the part's first pixel within the block."""
    col: int

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.rows.stop - self.rows.start)

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.cols.stop - self.cols.start)

    @property
    def pixels(self) -> int:
        """How many pixels of the scene."""
        return self.height * self.width

    def within(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return what a block has of the scene: (height, width)."""
        rows = slice(self.row, self.row + self.height)
        return block[rows, self.col : self.col + self.width]

    def distance(self, row: float, col: float) -> float:
        """Return how far (squared) the nearest of its pixels is from a place of the scene."""
        apart = [
            max(span.start - at, at - (span.stop - 1), 0.0)
            for span, at in ((self.rows, row), (self.cols, col))
        ]
        return float(apart[0] ** 2 + apart[1] ** 2)


def parts(height: int, width: int, row: int, col: int) -> List[Part]:
    """Return the parts of a scene whose first pixel lies at this row and column of the zone grid."""
    return [
        Part(f"{top}_{left}", rows, cols, row + rows.start - top, col + cols.start - left)
        for top, rows in _spans(height, row)
        for left, cols in _spans(width, col)
    ]


def nearest_first(some: List[Part], row: float, col: float) -> List[Part]:
    """Return parts ordered by how far they are from a place of the scene; as they were where equal.

    One that holds the place is the first.
    """
    return sorted(some, key=lambda part: part.distance(row, col))


def _spans(length: int, start: int) -> List[Any]:
    firsts = range(start // BLOCK_PX * BLOCK_PX, start + length, BLOCK_PX)
    return [
        (first, slice(max(first - start, 0), min(first + BLOCK_PX - start, length)))
        for first in firsts
    ]


def record_of(depth: int) -> np.dtype[Any]:
    """Return the type of a pixel's record."""
    return np.dtype([("codes", "i1", (depth,)), ("scale", "<f4"), ("seen", "<u2", (3,))])


class Store:
    """The folder of a run."""

    def __init__(self, folder: Path, depth: int, identity: Mapping[str, object]) -> None:
        """Make it, or go on with it. Raises: OtherRun if it is that of another run, OSError."""
        self.folder = folder
        self.record = record_of(depth)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _IDENTITY
        if path.exists():
            _expect_same(path, identity)
            return
        text = json.dumps(identity).encode()
        with draft(str(path), len(text)) as file:
            file.write(text)
            os.fsync(file.fileno())

    def empty(self) -> NDArray[Any]:
        """Return a block without any embedding."""
        block = np.zeros((BLOCK_PX, BLOCK_PX), self.record)
        block["scale"] = np.nan
        return block

    def path(self, part: Part) -> Path:
        """Return the file of a block."""
        return self.folder / f"{part.name}.npy"

    def read(self, part: Part) -> Optional[NDArray[Any]]:
        """Return a block that was finished, or None. Every byte of its file is checked: what a
        power cut or a failing disk has left of it doesn't count.
        """  # noqa: D205
        try:
            raw = self.path(part).read_bytes()
        except OSError:
            return None
        if raw[-TRAILER_BYTES:] != trailer(zlib.crc32(memoryview(raw)[:-TRAILER_BYTES])):
            return None
        try:
            found = np.load(io.BytesIO(raw), allow_pickle=False)
        except (ValueError, EOFError):
            return None
        is_whole = found.shape == (BLOCK_PX, BLOCK_PX) and found.dtype == self.record
        return np.asarray(found) if is_whole else None

    def has(self, part: Part) -> bool:
        """Whether a block was finished, and is still as it was written."""
        return self.read(part) is not None

    def keep(self, part: Part, block: NDArray[Any]) -> None:
        """Put a finished block in its place. Raises: NoRoom, OSError."""
        content, checksum = npy_bytes(block)
        with draft(str(self.path(part)), len(content)) as file:
            file.write(content)
            file.write(trailer(checksum))
            file.flush()
            os.fsync(file.fileno())


def npy_bytes(records: NDArray[Any]) -> Tuple[bytes, int]:
    """Return what a .npy file of records holds, and its CRC-32."""
    header = {"descr": records.dtype.descr, "fortran_order": False, "shape": records.shape}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
    content = file.getvalue() + records.tobytes()
    return content, zlib.crc32(content)


def trailer(checksum: int) -> bytes:
    """Return what stands behind the records of a block."""
    return TRAILER + checksum.to_bytes(4, "little")


def _expect_same(path: Path, identity: Mapping[str, object]) -> None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    wanted = json.loads(json.dumps(identity))
    if not isinstance(found, dict):
        raise OtherRun(str(path.parent), _IDENTITY)
    differs = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differs:
        raise OtherRun(str(path.parent), ", ".join(differs))
