# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks unpacked by the GDAL that QGIS ships, through a Zarr version 2 array in memory.

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

_HEAD = 16
_MEMCPYED = 0x02
_FORMATS = {0: "blosclz", 1: "lz4", 2: "snappy", 3: "zlib", 4: "zstd"}
_ZERO_SHARE = 64
"""All zeros are packed at least this many times smaller."""


def decode(
    chunks: Sequence[bytes], codec: ChunkCodec, size: int
) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return unpacked chunks (n, size) and which of them are damaged (n,); those are zeros.

    Raises: DecoderMissing where this GDAL lacks what is needed.
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
        check_decoder(codec)
        numbers = [number for number, _ in packed]
        bodies = [body for _, body in packed]
        out[numbers], damaged[numbers] = _by_gdal(bodies, codec, size)
    return out, damaged


def check_decoder(codec: ChunkCodec) -> None:
    """Check that chunks of a codec can be unpacked. Raises: DecoderMissing."""
    if codec.name not in ("blosc", "zstd"):
        return
    packers, inner = _abilities()
    if codec.name not in packers:
        raise DecoderMissing(codec.name, gdal.__version__)
    if codec.name == "blosc" and codec.cname and codec.cname not in inner:
        raise DecoderMissing(f"blosc/{codec.cname}", gdal.__version__)


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
    sizes = np.array([len(chunk) for chunk in chunks])
    unlikely = sizes > 2 * _HEAD + 32 + size / _ZERO_SHARE
    damaged = unlikely & ~out.any(axis=1)
    return out, damaged


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
