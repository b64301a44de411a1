# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A block of which little is known, stored small: what was looked at, codes where they are valid.

Such a file is a record of numpy's format too. Its pixels follow one another row by row, those that
the bits of `known` name; its codes are those of the pixels that have an owner. Whatever else a block
has is what an empty one has, so that it comes back bit by bit.
"""

from __future__ import annotations

import re
from typing import Any, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..values import BLOCK_PX
from .cache_blocks import META_BYTES, NO_OWNER

HEADER_BYTES = 512

_PIXELS = BLOCK_PX * BLOCK_PX
_PIXEL_BYTES = 7
"""Of a pixel that is known, beside its codes."""

_NUMBERS = re.compile(rb"'\|i1', \((\d{1,5}), \d{1,5}\)\).+'<f4', \((\d{1,5}),\)\)")


def most_bytes(pixels: int, blocks: int, depth: int) -> int:
    """Return what so many pixels take in so many compact files at most."""
    return blocks * (HEADER_BYTES + dtype_of(depth, 0, 0).itemsize) + pixels * (
        depth + _PIXEL_BYTES
    )


def dtype_of(depth: int, owned: int, known: int) -> np.dtype[np.void]:
    """Return the type of a record with so many valid and known pixels."""
    return np.dtype([("codes", "i1", (owned, depth)), *_tail(known)])


def tail_of(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """Return the type of a record's end, without codes."""
    return np.dtype(_tail(dtype["scales"].shape[0]))


def is_compact(record: NDArray[np.void]) -> bool:
    """Whether a record is one of these."""
    return "known" in (record.dtype.names or ())


def compacted(record: NDArray[np.void], most: int) -> Optional[NDArray[np.void]]:
    """Return a full record as a compact one; None where that has more than `most` bytes."""
    codes, scales, owner, consulted = _flat(record)
    known, owned = np.flatnonzero(consulted), np.flatnonzero(owner != NO_OWNER)
    dtype = dtype_of(codes.shape[1], len(owned), len(known))
    if dtype.itemsize > most:
        return None
    small: NDArray[np.void] = np.zeros(1, dtype=dtype)
    small["codes"][0] = codes[owned]
    small["known"][0] = np.packbits(consulted != 0)
    small["scales"][0] = scales[known]
    small["consulted"][0] = consulted[known]
    small["owner"][0] = owner[known]
    small["meta"] = record["meta"]
    return small


def expand(record: NDArray[np.void], empty: NDArray[np.void]) -> None:
    """Fill a full record of which nothing is known, or the end of one, from a compact one."""
    codes, scales, owner, consulted = _flat(empty)
    known = np.flatnonzero(np.unpackbits(record["known"][0]))
    scales[known] = record["scales"][0]
    consulted[known] = record["consulted"][0]
    owner[known] = owners = record["owner"][0]
    if codes.size:
        codes[known[owners != NO_OWNER]] = record["codes"][0]
    empty["meta"] = record["meta"]


def is_consistent(record: NDArray[np.void]) -> bool:
    """Whether its parts have the lengths that they say of one another."""
    if np.count_nonzero(np.unpackbits(record["known"][0])) != record["scales"].shape[1]:
        return False
    if "codes" not in (record.dtype.names or ()):
        return True
    return bool(np.count_nonzero(record["owner"][0] != NO_OWNER) == record["codes"].shape[1])


# --- the header


def header_of(dtype: np.dtype[np.void]) -> bytes:
    """Return the header of a record's file; always the same for a type, whatever numpy there is."""
    described = f"{{'descr': {dtype.descr!r}, 'fortran_order': False, 'shape': (1,), }}"
    text = described.encode().ljust(HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def dtype_in(header: bytes, depth: int) -> Optional[np.dtype[np.void]]:
    """Return the type that a header tells; None where it is none of ours."""
    numbers = _NUMBERS.search(header)
    if numbers is None:
        return None
    owned, known = map(int, numbers.groups())
    if not owned <= known <= _PIXELS:
        return None
    dtype = dtype_of(depth, owned, known)
    return dtype if header_of(dtype) == header else None


def _tail(known: int) -> List[Any]:
    return [
        ("known", "u1", (_PIXELS // 8,)),
        ("scales", "<f4", (known,)),
        ("consulted", "<u2", (known,)),
        ("owner", "u1", (known,)),
        ("crc", "<u4"),
        ("meta", "u1", (META_BYTES,)),
    ]


def _flat(
    record: NDArray[np.void],
) -> Tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint16]]:
    """Return views of a full record's arrays by pixel; codes (0, 0) where it has none."""
    codes = np.zeros((0, 0), dtype=np.int8)
    if "codes" in (record.dtype.names or ()):
        codes = record["codes"][0].reshape(_PIXELS, -1)
    scales, owner, consulted = (record[n][0].reshape(-1) for n in ("scales", "owner", "consulted"))
    return codes, scales, owner, consulted
