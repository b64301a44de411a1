# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tile folders of the upstream pipeline, read block by block.

bands.npy (T, H, W, 10) uint16, masks.npy (T, H, W) uint8, doys.npy (T,), and for each orbit
direction sar_*.npy (T, H, W, 2) int16 with sar_*_doy.npy (T,). Row 0 is in the north; the
observations are in the order of their dates, which the days of year alone don't tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, Tuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import open_npy
from .errors import InputUnusable

BANDS = ("B04", "B02", "B03", "B08", "B8A", "B05", "B06", "B07", "B11", "B12")
"""Channels of bands.npy. Not by wavelength: every encoder was trained with this order."""

POLARISATIONS = ("VV", "VH")

_LAST_DOY = 366


@dataclass(frozen=True)
class Pixels:
    """The observations of n pixels: T of Sentinel-2, Ta and Td of the two orbit directions."""

    bands: NDArray[np.uint16]
    """(T, n, 10), reflectance times 10 000 without offset."""
    is_clear: NDArray[np.bool_]
    """(T, n), False under cloud, in shadow, and where nothing was seen."""
    s2_doys: NDArray[np.int32]
    """(T,), 1 January is 1."""
    ascending: NDArray[np.int16]
    """(Ta, n, 2), 400 dB + 10 000; both 0 where nothing was seen."""
    ascending_doys: NDArray[np.int32]
    """(Ta,)."""
    descending: NDArray[np.int16]
    """(Td, n, 2)."""
    descending_doys: NDArray[np.int32]
    """(Td,)."""

    @property
    def count(self) -> int:
        """How many pixels these are."""
        return self.bands.shape[1]


def _go_on() -> None:
    """Nobody wants it to end."""


@dataclass(frozen=True)
class Tile:
    """A tile folder whose files fit together; the pixels stay on disk."""

    folder: Path
    height: int
    width: int
    s2_doys: NDArray[np.int32]
    ascending_doys: NDArray[np.int32]
    descending_doys: NDArray[np.int32]

    @property
    def most_s1(self) -> int:
        """How many Sentinel-1 observations a pixel may have."""
        return len(self.ascending_doys) + len(self.descending_doys)

    def read(self, rows: slice, cols: slice, check: Callable[[], None] = _go_on) -> Pixels:
        """Return the pixels of a part, row by row from the north-west; `check` may end it.

        Raises: InputUnusable if a file is no longer there.
        """
        bands = _read(self.folder / "bands.npy", rows, cols, check)
        return Pixels(
            bands=bands.astype(np.uint16, copy=False),
            # Any number but 0 is clear: some writers store 255.
            is_clear=_read(self.folder / "masks.npy", rows, cols, check) != 0,
            s2_doys=self.s2_doys,
            ascending=self._orbit("sar_ascending", rows, cols, bands.shape[1], check),
            ascending_doys=self.ascending_doys,
            descending=self._orbit("sar_descending", rows, cols, bands.shape[1], check),
            descending_doys=self.descending_doys,
        )

    def _orbit(
        self, name: str, rows: slice, cols: slice, count: int, check: Callable[[], None]
    ) -> NDArray[np.int16]:
        codes = _read(self.folder / f"{name}.npy", rows, cols, check)
        if not len(codes):
            return np.zeros((0, count, len(POLARISATIONS)), np.int16)
        return codes.astype(np.int16, copy=False)

    def fingerprint(self) -> List[Tuple[str, int, int]]:
        """Return name, bytes and time of change (ns) of each file: what tells two scenes apart."""
        paths = sorted(self.folder / f"{name}.npy" for name in _FILES)
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


_FILES = (
    *("bands", "masks", "doys"),
    *("sar_ascending", "sar_ascending_doy", "sar_descending", "sar_descending_doy"),
)


def open_tile(folder: Path) -> Tile:
    """Return the tile of a folder. All of its seven files have to be there: without its mask or an
    orbit a scene would still be encoded, and be wrong.

    Raises: InputUnusable.
    """  # noqa: D205
    bands, masks = _open(folder / "bands.npy"), _open(folder / "masks.npy")
    _expect(folder / "bands.npy", bands, (None, None, None, len(BANDS)), "u2")
    if not bands.size:
        raise InputUnusable(str(folder / "bands.npy"), "pixels and dates", f"shape {bands.shape}")
    count, height, width = bands.shape[:3]
    _expect(folder / "masks.npy", masks, (count, height, width), "u1 b1")
    orbits = [
        _open_orbit(folder, name, height, width) for name in ("sar_ascending", "sar_descending")
    ]
    return Tile(folder, height, width, _open_doys(folder / "doys.npy", count), *orbits)


def _open_orbit(folder: Path, name: str, height: int, width: int) -> NDArray[np.int32]:
    """Return the days of an orbit direction."""
    codes = _open(folder / f"{name}.npy")
    # Height and width of an orbit without a date mean nothing: upstream invents them.
    size = (height, width) if codes.shape[:1] != (0,) else (None, None)
    _expect(folder / f"{name}.npy", codes, (None, *size, len(POLARISATIONS)), "i2")
    return _open_doys(folder / f"{name}_doy.npy", len(codes))


def _open_doys(path: Path, count: int) -> NDArray[np.int32]:
    """Return days of year in the order of the file, which is that of the dates."""
    found = _open(path)
    _expect(path, found, (count,), "u1 u2 u4 u8 i2 i4 i8")
    if count and not (found.min() >= 1 and found.max() <= _LAST_DOY):
        raise InputUnusable(
            str(path), f"days of year, 1 to {_LAST_DOY}", f"{found.min()} to {found.max()}"
        )
    return found.astype(np.int32)


def _read(path: Path, rows: slice, cols: slice, check: Callable[[], None]) -> NDArray[Any]:
    """Return (T, n) or (T, n, channels) of a part.

    Each date is mapped for itself: pages around those that were read count as memory of this
    process as long as their map is there, and a whole strip of the scene would pile up.
    """
    whole = _open(path)  # never read itself
    height, width = whole[:0, rows, cols].shape[1:3]
    found = np.empty((len(whole), height, width, *whole.shape[3:]), whole.dtype)
    for date in range(len(whole)):
        check()
        found[date] = _open(path)[date, rows, cols]
    return found.reshape(len(whole), height * width, *whole.shape[3:])


def _open(path: Path) -> NDArray[Any]:
    try:
        return open_npy(str(path))
    except FileNotFoundError as error:
        raise InputUnusable(str(path), "a file", "none") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputUnusable(str(path), "a whole .npy file", str(error)) from error


def _expect(path: Path, array: NDArray[Any], shape: Tuple[object, ...], kinds: str) -> None:
    """Raise InputUnusable unless an array has this shape (None: any number) and one of the types."""
    fits = len(array.shape) == len(shape) and all(
        wanted is None or wanted == length for wanted, length in zip(shape, array.shape)
    )
    if not fits:
        told = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
        raise InputUnusable(str(path), f"shape ({told})", f"{array.shape}")
    if array.dtype.str[1:] not in kinds.split():
        raise InputUnusable(str(path), f"numbers of type {kinds}", f"{array.dtype}")
