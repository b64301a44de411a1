# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every so-many-th pixel of a scene, encoded before any block: a coarse picture within seconds.

A block takes minutes with a large encoder and few processors. The pixels of a lattice are a small
share of the scene and shown at once; its blocks then encode them again, as they do all others.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import draft
from .blocks import Part, Place, npy_bytes

NAME = "preview.lattice"
"""The file's name in the folder of the run: an .npy file, called otherwise than the blocks. It is
removed when all blocks are there."""

_MOST_PX = 1 << 16
"""Of a lattice; in larger scenes its pixels lie further apart."""


_ROWS_AT_ONCE = 4
"""So that something is there within seconds: 64 pixels of a block, where every eighth is taken."""


class Preview:
    """The lattice of a scene: records `codes` int8 (depth,) and `scale` float32.

    The scale of what has no embedding, or none yet, is NaN.
    """

    def __init__(self, folder: Path, height: int, width: int, depth: int, stride: int) -> None:
        """Begin with nothing. `stride`: pixels of the scene from one to the next, or more."""
        self.path = folder / NAME
        self.stride = max(stride, math.ceil(math.sqrt(height * width / _MOST_PX)))
        self._rows = range(min(self.stride // 2, height - 1), height, self.stride)
        self._cols = range(min(self.stride // 2, width - 1), width, self.stride)
        record = np.dtype([("codes", "i1", (depth,)), ("scale", "<f4")])
        self._records = np.zeros((len(self._rows), len(self._cols)), record)
        self._records["scale"] = np.nan

    @property
    def first(self) -> Tuple[int, int]:
        """Row and column, in the scene, of the lattice's first pixel."""
        return self._rows[0], self._cols[0]

    @property
    def pixels(self) -> int:
        """How many pixels the lattice has."""
        return self._records.size

    def of(self, part: Part) -> List[Place]:
        """Return the rows and columns of the scene that the lattice has of a part, in pieces."""
        rows, cols = (
            range(*(_first_from(of, edge) for edge in (span.start, span.stop)))
            for of, span in ((self._rows, part.rows), (self._cols, part.cols))
        )
        if not cols:
            return []
        pieces = [
            rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)
        ]
        return [(_slice(self._rows, piece), _slice(self._cols, cols)) for piece in pieces]

    def put(self, place: Place, records: NDArray[Any]) -> None:
        """Take the pixels of a piece, (rows, columns)."""
        rows, cols = (
            slice(_first_from(of, span.start), _first_from(of, span.stop))
            for of, span in zip((self._rows, self._cols), place)
        )
        for name in ("codes", "scale"):
            self._records[name][rows, cols] = records[name]

    def write(self) -> None:
        """Write the lattice as it is, whole. Raises: NoRoom, OSError."""
        content, _ = npy_bytes(self._records)
        with draft(str(self.path), len(content)) as file:
            file.write(content)
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Take the file away."""
        self.path.unlink(missing_ok=True)


def _slice(of: range, places: range) -> slice:
    """Return the numbers at some places of a range, as a slice."""
    chosen = of[places.start : places.stop]
    return slice(chosen[0], chosen[-1] + 1, chosen.step)


def _first_from(of: range, at: int) -> int:
    """Return the place in a range of its first number that is not under `at`."""
    return min(max(-(-(at - of.start) // of.step), 0), len(of))
