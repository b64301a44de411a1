# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers of published .npy arrays: parsed, never assumed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Tuple

import numpy as np
from numpy.lib import format as npy_format

from ..errors import TileUnusable

PROBE_BYTES = 128
"""What numpy writes in front of an array of few dimensions."""

HEADER_LIMIT_BYTES = 1 << 16
CODES_DTYPE = "|i1"
SCALES_DTYPE = "<f4"

_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Header:
    """What a .npy file says of its array."""

    shape: Tuple[int, ...]
    dtype: str
    """As numpy writes it, with the byte order: `|i1`, `<f4`."""
    offset: int
    """Where the array starts, in bytes."""

    @property
    def total_bytes(self) -> int:
        """Length of a whole file with this header."""
        items = 1
        for edge in self.shape:
            items *= edge
        return self.offset + items * np.dtype(self.dtype).itemsize


def header_bytes(start: bytes, tile: str) -> int:
    """Return how long the header is, from the first 12 bytes or more of a file.

    Raises: TileUnusable if it is no .npy file of version 1 to 3.
    """
    if len(start) < 12 or not start.startswith(_MAGIC):
        raise TileUnusable(tile, "it is not a .npy file")
    major, minor = start[6], start[7]
    if major not in (1, 2, 3) or minor != 0:
        raise TileUnusable(tile, f"it has .npy version {major}.{minor}")
    if major == 1:
        length = 10 + int.from_bytes(start[8:10], "little")
    else:
        length = 12 + int.from_bytes(start[8:12], "little")
    if length > HEADER_LIMIT_BYTES:
        raise TileUnusable(tile, f"its header has {length:,} bytes")
    return length


def parse_header(data: bytes, tile: str) -> Header:
    """Return the header that `data` starts with; C order only.

    Raises: TileUnusable if it can't be read, is cut off, or the array is in Fortran order.
    """
    length = header_bytes(data, tile)
    if len(data) < length:
        raise TileUnusable(tile, "its header is cut off")
    if data[6] == 3:  # differs from 2 only by names of fields that are not ASCII, and we have none
        data = data[:6] + b"\x02" + data[7:]
    stream = io.BytesIO(data[:length])
    try:
        shape, is_fortran, dtype = _read_header(stream)
    except (ValueError, TypeError, SyntaxError, KeyError) as error:
        raise TileUnusable(tile, "its header can't be read") from error
    if is_fortran:
        raise TileUnusable(tile, "its array is in Fortran order")
    return Header(tuple(int(edge) for edge in shape), str(dtype.str), length)


def check_codes(header: Header, depth: int, tile: str) -> Tuple[int, int]:
    """Return height and width of an array of codes: int8 (H, W, depth).

    Raises: TileUnusable.
    """
    if header.dtype != CODES_DTYPE:
        raise TileUnusable(tile, f"its codes have the type {header.dtype}, not int8")
    if len(header.shape) != 3 or header.shape[2] != depth or min(header.shape) < 1:
        raise TileUnusable(tile, f"its codes have the shape {header.shape}, not (H, W, {depth})")
    return header.shape[0], header.shape[1]


def check_scales(header: Header, shape: Tuple[int, int], depth: int, tile: str) -> int:
    """Return the scales per pixel, 1 or `depth`, of an array that fits codes of (H, W, depth).

    Raises: TileUnusable.
    """
    if header.dtype != SCALES_DTYPE:
        raise TileUnusable(tile, f"its scales have the type {header.dtype}, not float32")
    if header.shape == shape:
        return 1
    if header.shape == (*shape, depth):
        return depth
    raise TileUnusable(tile, f"its scales have the shape {header.shape}, its codes {shape}")


def _read_header(stream: io.BytesIO) -> Any:  # noqa: ANN401 - numpy does not say
    helpers: Any = npy_format
    if helpers.read_magic(stream) == (1, 0):
        return helpers.read_array_header_1_0(stream)
    return helpers.read_array_header_2_0(stream)
