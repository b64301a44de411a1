# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks that an encoder wrote: read as they are, verified once.

A block is a .npy file of 128 x 128 records: `codes` int8 (depth,), `scale` float32, and `seen`
uint16 (3,), the valid observations of Sentinel-2, ascending and descending; codes 0 and scale NaN
where there is no embedding. Its array is followed by `TESS` and the CRC-32 of all before that, little-endian.
Files are read and never mapped: they may lie on a stick, and a map of one that is pulled out ends
the process.
"""

from __future__ import annotations

import functools
import io
import os
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ...values import BLOCK_PX, Window

TRAILER = b"TESS"
TRAILER_BYTES = len(TRAILER) + 4

SEEN = ("s2", "s1_ascending", "s1_descending")
"""What is counted of each pixel."""

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER_LIMIT_BYTES = 1 << 14
_LEVELS_MOST = 512
"""Blocks whose levels are kept, 32 kB each: those of an extent that is looked at pixel by pixel."""
_VERIFIED_MOST = 200_000

Records = NDArray[Any]
Levels = NDArray[np.uint16]
"""0 where a pixel is not valid, else one more than its valid Sentinel-2 observations."""


class Missing(Exception):  # noqa: N818 - it is told as a state, not as an error
    """There is no such block yet."""


class Damaged(Exception):  # noqa: N818 - as above
    """A block that is there and can't be used; the reason is a clause."""


class Pixels(NamedTuple):
    """Rows of a block."""

    records: Records
    """(rows, 128) with the fields `codes`, `scale`, `seen`."""
    levels: Levels
    """(rows, 128)."""


class _Known(NamedTuple):
    """A file that was verified in this process."""

    signature: Tuple[int, ...]
    offset: int
    """Where its array starts, in bytes."""


_verified: Dict[str, _Known] = {}
_levels: OrderedDict[str, Tuple[Tuple[int, ...], Levels]] = OrderedDict()
_lock = threading.Lock()


@functools.lru_cache(maxsize=64)
def record_type(depth: int) -> np.dtype[Any]:
    """Return the type of a pixel's record."""
    return np.dtype([("codes", "i1", (depth,)), ("scale", "<f4"), ("seen", "<u2", (3,))])


def block_name(block: Window) -> str:
    """Return the name of a block's file: row and column of its first pixel."""
    return f"{block.row}_{block.col}.npy"


def load(path: Path, depth: int, rows: slice) -> Pixels:
    """Return rows of a block, each with all 128 columns. Raises: Missing, Damaged."""
    try:
        with path.open("rb") as stream:
            signature = _signature(os.fstat(stream.fileno()), depth)
            known = _verified.get(str(path))
            if known is None or known.signature != signature:
                whole = _verify(path, stream.read(_most_bytes(depth) + 1), depth, signature)
                levels = _keep_levels(path, signature, whole)
                return Pixels(whole[rows], levels[rows])
            records = _rows(stream, known.offset, depth, rows)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing from None
    except OSError as error:
        raise Damaged(f"it can't be read ({error.strerror or error})") from error
    kept = _kept_levels(path, signature)
    return Pixels(records, _levels_of(records) if kept is None else kept[rows])


def levels(path: Path, depth: int) -> Levels:
    """Return the levels of a whole block (128, 128). Raises: Missing, Damaged."""
    try:
        signature = _signature(path.stat(), depth)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing from None
    except OSError as error:
        raise Damaged(f"it can't be read ({error.strerror or error})") from error
    kept = _kept_levels(path, signature)
    if kept is not None:
        return kept
    pixels = load(path, depth, slice(0, BLOCK_PX))
    return _keep_levels(path, signature, pixels.records)


def forget() -> None:
    """Forget which files were verified, as a new process does not know it."""
    with _lock:
        _verified.clear()
        _levels.clear()


# --- one file


def _signature(status: os.stat_result, depth: int) -> Tuple[int, ...]:
    return status.st_mtime_ns, status.st_size, status.st_ino, depth


def _most_bytes(depth: int) -> int:
    return _HEADER_LIMIT_BYTES + BLOCK_PX**2 * record_type(depth).itemsize + TRAILER_BYTES


def _verify(path: Path, data: bytes, depth: int, signature: Tuple[int, ...]) -> Records:
    """Return the records of a whole file that is sound, and remember that. Raises: Damaged."""
    body = len(data) - TRAILER_BYTES
    if body < 0 or data[body : body + len(TRAILER)] != TRAILER:
        raise Damaged("its end is missing")
    if zlib.crc32(memoryview(data)[:body]) != int.from_bytes(data[-4:], "little"):
        raise Damaged("its checksum is wrong")
    offset = _offset(data, depth)
    if body - offset != BLOCK_PX**2 * record_type(depth).itemsize:
        raise Damaged("its length is wrong")
    with _lock:
        if len(_verified) >= _VERIFIED_MOST:
            _verified.clear()
        _verified[str(path)] = _Known(signature, offset)
    whole = np.frombuffer(data, record_type(depth), BLOCK_PX**2, offset)
    return whole.reshape(BLOCK_PX, BLOCK_PX)


def _offset(data: bytes, depth: int) -> int:
    """Return where the array of a file starts. Raises: Damaged if it is not the expected one."""
    length = 10 + int.from_bytes(data[8:10], "little")
    if not data.startswith(_MAGIC) or length > _HEADER_LIMIT_BYTES:
        raise Damaged("it is no block")
    found = _header(data[:length])
    if found is None:
        raise Damaged("it is no block")
    shape, is_fortran, kind = found
    if kind != record_type(depth):
        raise Damaged("it has another depth" if kind.names else "it is no block")
    if shape != (BLOCK_PX, BLOCK_PX) or is_fortran:
        raise Damaged("it has another shape")
    return length


@functools.lru_cache(maxsize=16)
def _header(data: bytes) -> Optional[Tuple[Any, bool, np.dtype[Any]]]:
    helpers: Any = npy_format
    stream = io.BytesIO(data)
    try:
        helpers.read_magic(stream)
        shape, is_fortran, kind = helpers.read_array_header_1_0(stream)
    except (ValueError, TypeError, SyntaxError, KeyError):
        return None
    return shape, is_fortran, kind


def _rows(stream: Any, offset: int, depth: int, rows: slice) -> Records:  # noqa: ANN401 - a file
    kind = record_type(depth)
    row_bytes = BLOCK_PX * kind.itemsize
    stream.seek(offset + rows.start * row_bytes)
    data = stream.read((rows.stop - rows.start) * row_bytes)
    if len(data) < (rows.stop - rows.start) * row_bytes:
        raise Damaged("it is cut off")
    return np.frombuffer(data, kind).reshape(-1, BLOCK_PX)


# --- levels


def _levels_of(records: Records) -> Levels:
    scales = records["scale"]
    is_valid = (scales > 0) & (scales < 1)  # NaN is neither
    is_valid &= records["codes"].any(axis=-1)
    seen = np.minimum(records["seen"][..., 0], 65_534) + np.uint16(1)
    return np.where(is_valid, seen, np.uint16(0)).astype(np.uint16)


def _kept_levels(path: Path, signature: Tuple[int, ...]) -> Optional[Levels]:
    with _lock:
        kept = _levels.get(str(path))
        if kept is None or kept[0] != signature:
            return None
        _levels.move_to_end(str(path))
        return kept[1]


def _keep_levels(path: Path, signature: Tuple[int, ...], whole: Records) -> Levels:
    found = _levels_of(whole)
    with _lock:
        _levels[str(path)] = signature, found
        while len(_levels) > _LEVELS_MOST:
            _levels.popitem(last=False)
    return found
