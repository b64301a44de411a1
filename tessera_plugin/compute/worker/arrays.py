# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arrays that client and worker exchange: .npy files, memory-mapped."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Tuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .job import NoRoom

_FULL = {errno.ENOSPC, errno.EDQUOT}


def open_npy(path: str) -> NDArray[Any]:
    """Return the array of a file, read as it is used. Raises: OSError, ValueError if it is none."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


@contextlib.contextmanager
def draft(path: str, needed_bytes: int) -> Iterator[BinaryIO]:
    """Give a file to write in order, and put it in its place when it is whole.

    What fails leaves nothing. Raises: NoRoom, OSError.
    """
    unfinished = Path(path + ".part")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise NoRoom(path, needed_bytes) from error
        raise


@contextlib.contextmanager
def npy_draft(path: str, dtype: DTypeLike, shape: Tuple[int, ...]) -> Iterator[BinaryIO]:
    """Give a file that becomes an array of this type and shape; its values are still to be written.

    They are written in order, not through a memory map: there, a full disk would kill the process.
    """
    kind = np.dtype(dtype)
    with draft(path, int(np.prod(shape)) * kind.itemsize) as file:
        header = {"descr": kind.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        yield file
