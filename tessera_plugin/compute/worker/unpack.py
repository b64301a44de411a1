# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks of a published store unpacked by numcodecs, for a QGIS whose GDAL can't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping

import numcodecs
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from .arrays import npy_draft, open_npy
from .job import Job

Decode = Callable[[NDArray[np.uint8], NDArray[np.uint8]], object]
"""Unpacks its first argument into its second."""


@dataclass(frozen=True)
class Params:
    """What the client asks for; n chunks. Paths are .npy files."""

    packed: str
    """uint8 (bytes,): the chunks one behind the other, each as its own header says."""
    stops: str
    """int64 (n,): where each chunk ends, ascending."""
    codec: str
    """`blosc` or `zstd`."""
    cname: str
    """Blosc's own compressor, or empty where it is not told."""
    size: int
    """Bytes of an unpacked chunk."""
    out: str
    """uint8 (n, size), zeros where a chunk is damaged."""
    damaged: str
    """bool (n,)."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the unpacked chunks, whole or not at all.

    Raises: ValueError for a codec that numcodecs lacks, or ends that don't fit; NoRoom.
    """
    p = Params(**params)
    decode = _decoder(p.codec, p.cname)
    packed, stops = open_npy(p.packed), open_npy(p.stops)
    ends = np.append(0, stops)
    if (np.diff(ends) < 0).any() or ends[-1] != len(packed):
        raise ValueError(f"{len(stops)} chunks don't fill {len(packed)} bytes")
    damaged: List[bool] = []
    with npy_draft(p.out, np.uint8, (len(stops), p.size)) as file:
        for start, stop in zip(ends, stops):
            job.check()
            plain = np.zeros(p.size, np.uint8)
            is_sound = _unpack(decode, np.array(packed[start:stop]), plain)
            file.write(plain.tobytes() if is_sound else bytes(p.size))
            damaged.append(not is_sound)
        with npy_draft(p.damaged, np.bool_, (len(stops),)) as second:
            second.write(np.array(damaged, np.bool_).tobytes())
    return {"out": p.out, "damaged": p.damaged}


def _unpack(decode: Decode, chunk: NDArray[np.uint8], plain: NDArray[np.uint8]) -> bool:
    """Unpack a chunk into all of an array; return whether that could be done."""
    try:
        decode(chunk, plain)
    except (RuntimeError, ValueError):  # what numcodecs raises for damage, and for another size
        return False
    return True


def _decoder(codec: str, cname: str) -> Decode:
    if codec == "zstd":
        return _zstd
    if codec != "blosc":
        raise ValueError(f"there is no way to unpack {codec!r}")
    if cname and cname not in blosc.list_compressors():
        raise ValueError(f"numcodecs {numcodecs.__version__} has no blosc/{cname}")
    return _blosc


def _blosc(chunk: NDArray[np.uint8], plain: NDArray[np.uint8]) -> None:
    # The header decides how much is read and written: it must be right before anything is.
    if (_number(chunk, 4, 4), _number(chunk, 12, 4)) != (len(plain), len(chunk)):
        raise ValueError("another size than its header says")
    blosc.decompress(chunk, plain)


def _zstd(chunk: NDArray[np.uint8], plain: NDArray[np.uint8]) -> None:
    # What comes out shorter would go unnoticed; a frame that tells no size is refused by numcodecs.
    if _zstd_size(chunk) != len(plain):
        raise ValueError("another size than its header says")
    numcodecs.Zstd().decode(chunk, plain)


def _zstd_size(chunk: NDArray[np.uint8]) -> int:
    """Return the unpacked size that a frame's header tells (RFC 8878, 3.1.1.1); 0 for none."""
    described = _number(chunk, 4, 1)
    is_single, kind = described >> 5 & 1, described >> 6
    start = 5 + (1 - is_single) + (0, 1, 2, 4)[described & 3]
    return _number(chunk, start, (is_single, 2, 4, 8)[kind]) + (256 if kind == 1 else 0)


def _number(chunk: NDArray[np.uint8], start: int, size: int) -> int:
    return int.from_bytes(chunk[start : start + size].tobytes(), "little")
