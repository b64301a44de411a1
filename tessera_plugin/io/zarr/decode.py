# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks unpacked by the GDAL that QGIS ships, through a Zarr version 2 array in memory.

Where that GDAL was built without the codec, somebody else may do it: an `Unpacker`.

GDAL's exception mode belongs to the host program. With it off, GDAL gives zeros for a chunk that
it can't unpack, so what it says is looked at after every read, and zeros must be likely.
"""

from __future__ import annotations

import contextlib
import functools
import json
import uuid
import zlib
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ...errors import DecoderMissing
from .metadata import ChunkCodec
from .shards import crc32c

Unpacker = Callable[[Sequence[bytes], ChunkCodec, int], Tuple[NDArray[np.uint8], NDArray[np.bool_]]]
"""Gives unpacked chunks (n, size) and which of them are damaged (n,), those as zeros.

The chunks are without their CRC. Called from several threads. Raises: DecoderMissing."""

_HEAD = 16
_MEMCPYED = 0x02
_FORMATS = {0: "blosclz", 1: "lz4", 2: "snappy", 3: "zlib", 4: "zstd"}
_ZERO_SHARE = 64
"""All zeros are packed at least this many times smaller."""


def decode(
    chunks: Sequence[bytes], codec: ChunkCodec, size: int, unpack: Optional[Unpacker] = None
) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return unpacked chunks (n, size) and which of them are damaged (n,); those are zeros.

    `unpack` is asked where this GDAL lacks what is needed. Raises: DecoderMissing where there is
    none, and what it raises.
    """
    out = np.zeros((len(chunks), size), dtype=np.uint8)
    damaged = np.zeros(len(chunks), dtype=np.bool_)
    packed: List[Tuple[int, bytes]] = []
    for number, chunk in enumerate(chunks):
        body = _without_crc(chunk) if codec.crc else chunk
        plain = None if body is None else _unpacked_here(body, codec, size)
        if plain is not None:
            out[number] = np.frombuffer(plain, dtype=np.uint8)
        elif body is None or not _is_sound(body, codec, size):
            damaged[number] = True
        else:
            packed.append((number, body))
    if packed:
        numbers = [number for number, _ in packed]
        bodies = [body for _, body in packed]
        out[numbers], damaged[numbers] = _unpacked(bodies, codec, size, unpack)
    return out, damaged


def check_decoder(codec: ChunkCodec, unpack: Optional[Unpacker] = None) -> None:
    """Check that there is a way to unpack chunks of a codec. Raises: DecoderMissing."""
    if unpack is None and _lacking(codec):
        raise missing(codec)


def of_this_gdal() -> Tuple[str, Tuple[str, ...]]:
    """Return GDAL's version, and what of the packings in use for embeddings it can't unpack."""
    in_use = (ChunkCodec("blosc", "zstd"), ChunkCodec("zstd"))
    return gdal.__version__, tuple(filter(None, map(_lacking, in_use)))


def missing(codec: ChunkCodec, reason: str = "") -> DecoderMissing:
    """Return the error that a codec can't be unpacked; `reason`: why the worker could not either."""
    return DecoderMissing(_lacking(codec) or codec.name, gdal.__version__, reason)


def _unpacked(
    chunks: Sequence[bytes], codec: ChunkCodec, size: int, unpack: Optional[Unpacker]
) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    check_decoder(codec, unpack)
    if unpack is None or not _lacking(codec):
        out, damaged = _by_gdal(chunks, codec, size)
    else:
        out, damaged = unpack(chunks, codec, size)
    sizes = np.array([len(chunk) for chunk in chunks])
    unlikely = sizes > 2 * _HEAD + 32 + size / _ZERO_SHARE
    return out, damaged | (unlikely & ~out.any(axis=1))


def _lacking(codec: ChunkCodec) -> str:
    """Return the name of what this GDAL can't unpack of a codec; empty where it can."""
    if codec.name not in ("blosc", "zstd"):
        return ""
    packers, inner = _abilities()
    if codec.name not in packers:
        return codec.name
    if codec.name == "blosc" and codec.cname and codec.cname not in inner:
        return f"blosc/{codec.cname}"
    return ""


@functools.lru_cache(maxsize=1)
def _abilities() -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """Return the compressors of GDAL's Zarr driver, and those within Blosc."""
    driver = gdal.GetDriverByName("Zarr")
    if driver is None:
        return (), ()
    listed = (driver.GetMetadataItem(name) for name in ("COMPRESSORS", "BLOSC_COMPRESSORS"))
    packers, inner = (tuple(str(text or "").split(",")) for text in listed)
    return packers, inner


# --- what needs no GDAL


def _without_crc(chunk: bytes) -> Optional[bytes]:
    body, crc = chunk[:-4], chunk[-4:]
    return body if len(crc) == 4 and crc32c(body) == int.from_bytes(crc, "little") else None


def _unpacked_here(chunk: bytes, codec: ChunkCodec, size: int) -> Optional[bytes]:
    """Return what can be unpacked without GDAL, if it is sound."""
    if codec.name == "":
        return chunk if len(chunk) == size else None
    if codec.name == "gzip":
        with contextlib.suppress(zlib.error):
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(chunk, size)
            rest = unpacker.decompress(unpacker.unconsumed_tail, 1)
            return data if len(data) == size and not rest and unpacker.eof else None
        return None
    if codec.name == "blosc" and _is_sound(chunk, codec, size) and chunk[2] & _MEMCPYED:
        return chunk[_HEAD:]
    return None


def _is_sound(chunk: bytes, codec: ChunkCodec, size: int) -> bool:
    """Whether a chunk is what its own header says, and that is what it should be."""
    if codec.name != "blosc":
        return codec.name == "zstd" and len(chunk) > 4
    if len(chunk) < _HEAD:
        return False
    unpacked, block, packed = (
        int.from_bytes(chunk[at : at + 4], "little") for at in range(4, _HEAD, 4)
    )
    if chunk[0] not in (1, 2) or (unpacked, packed) != (size, len(chunk)):
        return False
    if chunk[2] & _MEMCPYED:
        return packed == size + _HEAD
    return block > 0 and _FORMATS.get(chunk[2] >> 5, "") != ""


# --- GDAL


def _by_gdal(
    chunks: Sequence[bytes], codec: ChunkCodec, size: int
) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Unpack all at once, and one by one only where something is wrong."""
    out = _read(chunks, codec, size)
    if out is None:
        if len(chunks) == 1:
            return np.zeros((1, size), dtype=np.uint8), np.ones(1, dtype=np.bool_)
        parts = [_by_gdal([chunk], codec, size) for chunk in chunks]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    return out, np.zeros(len(chunks), dtype=np.bool_)


def _read(chunks: Sequence[bytes], codec: ChunkCodec, size: int) -> Optional[NDArray[np.uint8]]:
    """Return unpacked chunks (n, size), or None if GDAL complains of anything."""
    with _array_of(chunks, codec, size) as path, _quiet():
        try:
            dataset = gdal.OpenEx(f'ZARR:"{path}"', gdal.OF_MULTIDIM_RASTER)
            group = dataset.GetRootGroup()
            array = group.OpenMDArray(group.GetMDArrayNames()[0])
            gdal.ErrorReset()
            values = array.ReadAsArray()
        except (RuntimeError, AttributeError, TypeError, IndexError):
            return None
        if values is None or gdal.GetLastErrorType() >= gdal.CE_Failure:
            return None
        found = np.asarray(values, dtype=np.uint8)
        return found.reshape(len(chunks), size) if found.size == len(chunks) * size else None


@contextlib.contextmanager
def _array_of(chunks: Sequence[bytes], codec: ChunkCodec, size: int) -> Iterator[str]:
    """Give the path of a one-dimensional array in memory with these chunks."""
    path = f"/vsimem/tessera-{uuid.uuid4().hex}.zarr"
    compressor = {"id": codec.name}
    if codec.name == "blosc":
        # what was used is told by each chunk's own header
        compressor.update(cname=codec.cname or "zstd", clevel=3, shuffle=2, blocksize=0)  # type: ignore[call-overload]
    described = {
        "zarr_format": 2,
        "shape": [len(chunks) * size],
        "chunks": [size],
        "dtype": "|u1",
        "compressor": compressor,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    names = [f"{path}/.zarray"]
    try:
        gdal.FileFromMemBuffer(names[0], json.dumps(described).encode())
        for number, chunk in enumerate(chunks):
            names.append(f"{path}/{number}")
            gdal.FileFromMemBuffer(names[-1], chunk)
        yield path
    finally:
        with _quiet():
            for name in names:
                _remove(gdal.Unlink, name)
            _remove(gdal.RmdirRecursive, path)  # there only where GDAL makes folders by itself


def _remove(remove: Callable[[str], object], name: str) -> None:
    with contextlib.suppress(RuntimeError):
        remove(name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        yield
    finally:
        gdal.PopErrorHandler()
