# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Some rows of a block's file, verified without the rest of it: what zoomed out views are made of."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from typing import IO, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..values import BLOCK_PX
from . import cache_checks as checks
from . import cache_records as records

_WAITED_S = 0.0003
"""A read that takes longer has waited for the disk."""

_CAN_FORETELL = hasattr(os, "posix_fadvise")

_kept = threading.local()


class SomeRows(NamedTuple):
    """What was read of a full record."""

    rest: NDArray[np.void]
    """All of it but its codes."""
    meta: Dict[str, Any]
    codes: NDArray[np.int8]
    """(n, m, D)."""


def read_some(
    stream: IO[bytes],
    size: int,
    depth: int,
    rows: NDArray[np.intp],
    cols: NDArray[np.intp],
    *,
    is_verified: bool,
) -> Optional[SomeRows]:
    """Return the codes of some rows and columns, ascending ones, of a file of `size` bytes.

    Unless it is verified, what is read of it is. None where the file is to be read as a whole: it is
    small, of an earlier version, or damaged. Raises: Damaged, OSError.
    """
    if not records.is_full(size, depth):
        return None
    began_s = time.perf_counter()
    rest: NDArray[np.void] = np.empty(1, records.TAIL_TYPE)
    stream.seek(size - rest.nbytes)
    records.fill(stream, rest.view(np.uint8).data)
    has_waited = time.perf_counter() - began_s > _WAITED_S
    meta = records.meta_of(rest)
    known = None if is_verified else checks.checks_of(rest, meta)
    if known is None and not is_verified:
        return None
    left, right = (int(cols[0]), int(cols[-1]) + 1) if is_verified else (0, BLOCK_PX)
    is_all = len(cols) == right - left
    codes = (_fresh if is_all else _scratch)((len(rows), right - left, depth))
    start = size - records.dtype_of(depth).itemsize + left * depth  # codes come first in a record
    _read(stream, start, rows.tolist(), codes, foretell=has_waited)
    if known is not None and not checks.are_sound(_bytes_of(codes), rows, known):
        return None
    return SomeRows(rest, meta, codes if is_all else codes.take(cols - left, axis=1))


def _read(
    stream: IO[bytes], start: int, rows: Sequence[int], codes: NDArray[np.int8], *, foretell: bool
) -> None:
    """Fill codes (n, m, D) of rows; `start` is where those of the first row begin."""
    _, width, depth = codes.shape
    buffer, step = _bytes_of(codes), width * depth
    runs = [
        (start + rows[first] * BLOCK_PX * depth, first * step, stop * step)
        for first, stop in _runs(rows, joined=width == BLOCK_PX)
    ]
    if foretell:
        _foretell(stream, runs)
    for at, begin, end in runs:
        stream.seek(at)
        records.fill(stream, buffer[begin:end])


def _foretell(stream: IO[bytes], runs: Sequence[Tuple[int, int, int]]) -> None:
    """Tell the system what will be read: a disk has it sooner if it knows of all at once."""
    if _CAN_FORETELL and len(runs) > 1:
        descriptor = stream.fileno()
        with contextlib.suppress(OSError):
            for at, begin, end in runs:
                os.posix_fadvise(descriptor, at, end - begin, os.POSIX_FADV_WILLNEED)


def _bytes_of(codes: NDArray[np.int8]) -> memoryview:
    return codes.reshape(-1).view(np.uint8).data


def _fresh(shape: Tuple[int, int, int]) -> NDArray[np.int8]:
    return np.empty(shape, np.int8)


def _scratch(shape: Tuple[int, int, int]) -> NDArray[np.int8]:
    """Return memory to use until this thread asks again: new one costs more than what is read into it."""
    count = math.prod(shape)
    if len(getattr(_kept, "codes", b"")) < count:
        _kept.codes = np.empty(count, np.int8)
    found: NDArray[np.int8] = _kept.codes[:count].reshape(shape)
    return found


def _runs(rows: Sequence[int], *, joined: bool) -> List[Tuple[int, int]]:
    """Return where runs of rows that follow one another start and stop; each for itself if not joined."""
    edges = [0, *(i for i in range(1, len(rows)) if not joined or rows[i] != rows[i - 1] + 1)]
    return list(zip(edges, [*edges[1:], len(rows)]))
