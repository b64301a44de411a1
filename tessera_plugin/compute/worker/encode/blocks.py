# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of embeddings that a run leaves: whole files on the zone grid, kept after a crash.

A block is one .npy file of 128 x 128 records: `codes` int8 (depth,), `scale` float32, and `seen`
uint16 (3,), the valid observations of Sentinel-2, ascending and descending. Where there is no
embedding, codes are 0 and the scale is NaN. Blocks at the scene's edge are filled up in this way.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Mapping

import numpy as np
from numpy.typing import NDArray

from ..arrays import draft, open_npy
from .errors import OtherRun

BLOCK_PX = 128
_IDENTITY = "run.json"


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


def parts(height: int, width: int, row: int, col: int) -> List[Part]:
    """Return the parts of a scene whose first pixel lies at this row and column of the zone grid."""
    return [
        Part(f"{top}_{left}", rows, cols, row + rows.start - top, col + cols.start - left)
        for top, rows in _spans(height, row)
        for left, cols in _spans(width, col)
    ]


def _spans(length: int, start: int) -> List[Any]:
    firsts = range(start // BLOCK_PX * BLOCK_PX, start + length, BLOCK_PX)
    return [
        (first, slice(max(first - start, 0), min(first + BLOCK_PX - start, length)))
        for first in firsts
    ]


class Store:
    """The folder of a run."""

    def __init__(self, folder: Path, depth: int, identity: Mapping[str, object]) -> None:
        """Make it, or go on with it. Raises: OtherRun if it is that of another run, OSError."""
        self._folder = folder
        self._record = np.dtype(
            [("codes", "i1", (depth,)), ("scale", "<f4"), ("seen", "<u2", (3,))]
        )
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
        block = np.zeros((BLOCK_PX, BLOCK_PX), self._record)
        block["scale"] = np.nan
        return block

    def path(self, part: Part) -> Path:
        """Return the file of a block."""
        return self._folder / f"{part.name}.npy"

    def has(self, part: Part) -> bool:
        """Whether a block was finished. What a power cut left of a file doesn't count."""
        try:
            found = open_npy(str(self.path(part)))
        except (OSError, ValueError, EOFError):
            return False
        return found.shape == (BLOCK_PX, BLOCK_PX) and found.dtype == self._record

    def keep(self, part: Part, block: NDArray[Any]) -> None:
        """Put a finished block in its place. Raises: NoRoom, OSError."""
        header = {
            "descr": self._record.descr,
            "fortran_order": False,
            "shape": block.shape,
        }
        with draft(str(self.path(part)), block.nbytes) as file:
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            file.write(block.tobytes())
            file.flush()
            os.fsync(file.fileno())


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
