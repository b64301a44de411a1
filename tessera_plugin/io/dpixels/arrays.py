# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arrays of a tile, written date by date and part by part: .npy files that are never in memory.

They are written, not mapped: a disk that fills up is then an error and not the end of the program.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple, Type

import numpy as np
from numpy.typing import NDArray

from ...values import Window
from .. import files
from .scenes import ASCENDING, DESCENDING, ORBITS, S2_BANDS

BANDS, MASKS, DAYS = "bands", "masks", "doys"
S1_ARRAYS: Dict[str, str] = {orbit: f"sar_{orbit}" for orbit in ORBITS}
S1_DAYS: Dict[str, str] = {orbit: f"sar_{orbit}_doy" for orbit in ORBITS}

LAYERS: Dict[str, Tuple[str, Tuple[int, ...]]] = {
    BANDS: ("<u2", (len(S2_BANDS),)),
    MASKS: ("|u1", ()),
    S1_ARRAYS[ASCENDING]: ("<i2", (2,)),
    S1_ARRAYS[DESCENDING]: ("<i2", (2,)),
}
"""Type, and axes after (date, row, column)."""

DAY_LISTS: Dict[str, str] = {
    DAYS: "<u2",
    S1_DAYS[ASCENDING]: "<i2",
    S1_DAYS[DESCENDING]: "<i2",
}

_HEADER_BYTES = 128


def array_file(folder: Path, name: str) -> Path:
    """Return the file of an array."""
    return folder / f"{name}.npy"


def layer_bytes(name: str, pixels: int, dates: int) -> int:
    """Return how long the file of a layer is."""
    dtype, rest = LAYERS[name]
    return _HEADER_BYTES + dates * pixels * np.dtype(dtype).itemsize * int(np.prod(rest, dtype=int))


class Layer:
    """One array of a tile: (dates, H, W, ...), open for writing. A context manager.

    What was written is an array once `finish` has told how many dates there are. Raises in every
    method: DiskFull, NotWritable.
    """

    def __init__(self, folder: Path, name: str, window: Window) -> None:
        self.path = array_file(folder, name)
        dtype, rest = LAYERS[name]
        self._dtype, self._rest = np.dtype(dtype), rest
        self._window = window
        self._pixel_bytes = layer_bytes(name, 1, 1) - _HEADER_BYTES
        try:
            self._stream = self.path.open("r+b" if self.path.exists() else "x+b")
        except OSError as error:
            raise files.write_error(self.path, error) from error

    def __enter__(self) -> Layer:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self._stream.close()
        except OSError as failure:  # what was still to be written; said already where it matters
            if error is None:
                raise files.write_error(self.path, failure) from failure

    def holds(self, dates: int) -> bool:
        """Return whether the file has the pixels of so many dates."""
        return self.path.stat().st_size >= self._end(dates) or not dates

    def write(self, slot: int, place: Window, values: NDArray[Any]) -> None:
        """Write a part of a date, the `slot`-th of the array. Shape: (H, W, ...) of the place."""
        if values.shape != (*place.shape, *self._rest):
            raise ValueError(f"expected {(*place.shape, *self._rest)}, got {values.shape}")
        values = np.ascontiguousarray(values, self._dtype)
        rows, cols = place.slices_in(self._window)
        height, width = self._window.shape
        runs = [values] if place.width == width else values
        try:
            for number, run in enumerate(runs):
                pixel = (slot * height + rows.start + number) * width + cols.start
                self._stream.seek(_HEADER_BYTES + pixel * self._pixel_bytes)
                self._stream.write(run.data)
        except OSError as error:
            raise files.write_error(self.path, error, values.nbytes) from error

    def keep(self) -> None:
        """See that what was written is on the disk."""
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise files.write_error(self.path, error) from error

    def finish(self, dates: int) -> None:
        """Make it an array of so many dates."""
        shape = (dates, *self._window.shape, *self._rest)
        try:
            self._stream.seek(0)
            self._stream.write(_header(self._dtype.str, shape))
            self._stream.truncate(self._end(dates))
        except OSError as error:
            raise files.write_error(self.path, error) from error
        self.keep()

    def _end(self, dates: int) -> int:
        return _HEADER_BYTES + dates * self._window.pixels * self._pixel_bytes


def write_days(folder: Path, name: str, days: List[int]) -> None:
    """Write days of year. Raises: DiskFull, NotWritable."""
    array = np.array(days, DAY_LISTS[name])
    files.write_bytes(
        array_file(folder, name), _header(DAY_LISTS[name], array.shape) + array.tobytes()
    )


def _header(dtype: str, shape: Tuple[int, ...]) -> bytes:
    """Return a header of version 1.0, of one length for any number of dates."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    size = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode() + b"\n"
