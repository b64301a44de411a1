# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A block's file: one record of numpy's format with a checksum over all that decides a pixel.

A block of which less than half is known is stored as a compact record, see `cache_compact`.
Files are read into memory, not mapped: a mapped file ends the whole program when its USB stick is
pulled out or its network drive goes away, a read fails with an error that can be handled.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import json
import os
import zlib
from pathlib import Path
from typing import IO, Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ..values import BLOCK_PX, Window
from . import cache_checks
from . import cache_compact as compact
from .cache_blocks import META_BYTES, NO_OWNER, Block, Identity, Layout, Origin, Provenance

FORMAT = 1
HEADER_BYTES = 512
"""Most that the header of numpy's format takes, about."""

_LONGEST_HEADER = 4096
_MAGIC = b"\x93NUMPY\x01\x00"
_EDGE = (BLOCK_PX, BLOCK_PX)

_helpers: Any = npy_format


class Damaged(Exception):  # noqa: N818 - io-internal
    """A file that is no sound block."""


@functools.lru_cache(maxsize=8)
def dtype_of(depth: int) -> np.dtype[np.void]:
    """Return the type of a record."""
    return np.dtype([("codes", "i1", (*_EDGE, depth)), *_TAIL])


_TAIL: List[Any] = [
    ("scales", "<f4", _EDGE),
    ("consulted", "<u2", _EDGE),
    ("owner", "u1", _EDGE),
    ("crc", "<u4"),
    ("meta", "u1", (META_BYTES,)),
]
TAIL_TYPE: np.dtype[np.void] = np.dtype(_TAIL)


def empty_record(depth: int) -> NDArray[np.void]:
    """Return a record of which nothing is known."""
    return _empty(dtype_of(depth))


def empty_block(depth: int) -> Block:
    """Return a block of which nothing is known."""
    return block_of(empty_record(depth), depth, {})


def block_of(record: NDArray[np.void], depth: int, sources: Mapping[str, Identity]) -> Block:
    """Return a record's arrays; one that was read without codes gives (0, 0, D)."""
    record = full(record, depth)
    fields = record.dtype.names or ()
    codes = record["codes"][0] if "codes" in fields else np.zeros((0, 0, depth), dtype=np.int8)
    scales, owner, consulted = (record[name][0] for name in ("scales", "owner", "consulted"))
    return Block(codes, scales, owner, consulted, sources)


def full(record: NDArray[np.void], depth: int) -> NDArray[np.void]:
    """Return a record as a full one, or its end where it was read without codes."""
    if not compact.is_compact(record):
        return record
    empty = _empty(dtype_of(depth) if "codes" in (record.dtype.names or ()) else TAIL_TYPE)
    compact.expand(record, empty)
    return empty


def _empty(dtype: np.dtype[np.void]) -> NDArray[np.void]:
    record: NDArray[np.void] = np.zeros(1, dtype=dtype)
    record["scales"] = np.nan
    record["owner"] = NO_OWNER
    return record


# --- files


def file_bytes(depth: int) -> int:
    """Return the size of a full block's file, about; no block takes more."""
    return dtype_of(depth).itemsize + HEADER_BYTES


def is_full(size: int, depth: int) -> bool:
    """Whether a block's file of so many bytes is of full size: it grows no more."""
    return size > dtype_of(depth).itemsize


def most_bytes(pixels: int, blocks: int, depth: int) -> int:
    """Return what so many pixels, however they lie, take in the files of so many blocks at most."""
    # a block that is just too full to be compact takes twice as much
    return 2 * compact.most_bytes(pixels, blocks, depth)


def file_parts(record: NDArray[np.void], depth: int) -> Sequence[Any]:
    """Return what the file of a full record holds, its checksum included."""
    small = compact.compacted(record, dtype_of(depth).itemsize // 2)
    stored = record if small is None else small
    if small is None:
        _note_rows(record)
    stored["crc"] = checksum(stored)
    header = _header(depth) if small is None else compact.header_of(small.dtype)
    return [header, stored.view(np.uint8).data]


def read(stream: IO[bytes], size: int, depth: int, *, codes: bool = True) -> NDArray[np.void]:
    """Return the record of a file of `size` bytes, compact if the file is; not verified.

    Without `codes` only its end is read. Raises: Damaged, OSError.
    """
    whole = is_full(size, depth)
    dtype = (_full_type if whole else _compact_type)(stream, size, depth)
    tail = TAIL_TYPE if whole else compact.tail_of(dtype)
    if not codes:
        stream.seek(size - tail.itemsize)
    # not zeros: each page would be cleared before it is read into
    record: NDArray[np.void] = np.empty(1, dtype=dtype if codes else tail)
    fill(stream, record.view(np.uint8).data)
    if not whole and not compact.is_consistent(record):
        raise Damaged
    return record


def verify(record: NDArray[np.void]) -> None:
    """Check a whole record. Raises: Damaged."""
    if int(record["crc"][0]) != checksum(record):
        raise Damaged


def checksum(record: NDArray[np.void]) -> int:
    """Return the CRC-32 of everything but the checksum itself."""
    raw = record.view(np.uint8).data
    fields = record.dtype.fields
    at = int(fields["crc"][1]) if fields else 0
    return zlib.crc32(raw[at + 4 :], zlib.crc32(raw[:at]))


def from_bytes(data: bytes, depth: int) -> NDArray[np.void]:
    """Return the record of a file's bytes, verified. Raises: Damaged."""
    record = read(io.BytesIO(data), len(data), depth)
    verify(record)
    return record


def meta_of_file(path: Path) -> Dict[str, Any]:
    """Return what a block's record says of itself, not verified; empty where it can't be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(-META_BYTES, io.SEEK_END)
            return _parsed(stream.read(META_BYTES))
    except OSError:
        return {}


def _full_type(stream: IO[bytes], size: int, depth: int) -> np.dtype[np.void]:
    """Return the type of a full record after reading its header. Raises: Damaged, OSError."""
    dtype = dtype_of(depth)
    header_bytes = size - dtype.itemsize
    if header_bytes > _LONGEST_HEADER:
        raise Damaged
    if not _means_record(_read(stream, header_bytes), depth):
        raise Damaged
    return dtype


def _compact_type(stream: IO[bytes], size: int, depth: int) -> np.dtype[np.void]:
    """Return the type of a compact record after reading its header. Raises: Damaged, OSError."""
    dtype = compact.dtype_in(_read(stream, compact.HEADER_BYTES), depth)
    if dtype is None or size != compact.HEADER_BYTES + dtype.itemsize:
        raise Damaged
    return dtype


def _read(stream: IO[bytes], size: int) -> bytes:
    data = bytearray(size)
    fill(stream, memoryview(data))
    return bytes(data)


def fill(stream: IO[bytes], view: memoryview) -> None:
    """Fill a buffer from a file. Raises: Damaged where the file ends before, OSError."""
    at = 0
    while at < len(view):
        count = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not count:
            raise Damaged
        at += count


def _header(depth: int) -> bytes:
    stream = io.BytesIO()
    described = _helpers.header_data_from_array_1_0(np.empty(1, dtype=dtype_of(depth)))
    _helpers.write_array_header_1_0(stream, described)
    return stream.getvalue()


@functools.lru_cache(maxsize=16)
def _means_record(header: bytes, depth: int) -> bool:
    """Whether a header describes our record; its spacing depends on the version of numpy."""
    if header[:8] != _MAGIC or int.from_bytes(header[8:10], "little") != len(header) - 10:
        return False
    try:
        told = ast.literal_eval(header[10:].decode("latin1"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    described = _helpers.dtype_to_descr(dtype_of(depth))
    return bool(told == {"descr": described, "fortran_order": False, "shape": (1,)})


# --- what a record says of itself


def write_meta(record: NDArray[np.void], layout: Layout, provenance: Provenance) -> None:
    """Note in a record how tiles lie over its block, and where it comes from."""
    meta = {
        "format": FORMAT,
        "names": layout.names,
        "sources": provenance.sources,
        "time": int(provenance.time),
        "of": _of(provenance.origin),
        "at": _place(layout.block),
        "location": provenance.location,
    }
    text = _text(meta)
    if len(text) > META_BYTES:  # for people only
        text = _text({**meta, "location": ""})
    _put(record, text)


def _note_rows(record: NDArray[np.void]) -> None:
    """Add the checks of its rows to what a full record says of itself, if there is room."""
    meta = {**meta_of(record), cache_checks.KEY: cache_checks.packed_checks(record)}
    text = _text(meta)
    if len(text) <= META_BYTES:
        _put(record, text)


def sources_of(
    record: NDArray[np.void], layout: Layout, origin: Origin
) -> Optional[Dict[str, Identity]]:
    """Return a block's sources, or None if they are not what the layout's tiles are now.

    None also where the file belongs elsewhere: a block in another's place has the wrong pixels.
    """
    return sources_in(meta_of(record), layout, origin)


def sources_in(
    meta: Mapping[str, Any], layout: Layout, origin: Origin
) -> Optional[Dict[str, Identity]]:
    """As `sources_of`, of what a record says of itself."""
    if meta.get("format") != FORMAT or meta.get("names") != list(layout.names):
        return None
    if not _is_at_home(meta, layout.block, origin):
        return None
    now = dict(zip(layout.names, layout.identities))
    sources = _sources(meta)
    if any(now.get(name) != identity for name, identity in sources.items()):
        return None
    return sources


def provenance_of(record: NDArray[np.void], block: Window, origin: Origin) -> Optional[Provenance]:
    """Return where a block comes from; None where the file belongs elsewhere."""
    meta = meta_of(record)
    if meta.get("format") != FORMAT or not _is_at_home(meta, block, origin):
        return None
    return Provenance(
        origin,
        str(meta.get("location", "")),
        float(meta.get("time", 0)),
        _sources(meta),
    )


def location_in(path: Path) -> str:
    """Return the archive's address that a block's file names; empty where it names none.

    This look is no use of the block: the time of its last use stays, where it can be set.
    """
    with contextlib.suppress(OSError):
        status = path.stat()
        location = str(meta_of_file(path).get("location", ""))
        with contextlib.suppress(OSError):
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return location
    return ""


def _of(origin: Origin) -> List[Any]:
    return [origin.archive, origin.dataset, origin.depth, origin.form, origin.year]


def _is_at_home(meta: Mapping[str, Any], block: Window, origin: Origin) -> bool:
    """Whether a record lies where it was written for; blocks of earlier versions don't say."""
    place, of = _place(block), _of(origin)
    return bool(meta.get("at", place) == place and meta.get("of", of) == of)


def _place(block: Window) -> List[int]:
    return [block.zone, block.row, block.col]


def _sources(meta: Mapping[str, Any]) -> Dict[str, Identity]:
    return {name: (pair[0], pair[1]) for name, pair in meta.get("sources", {}).items()}


def meta_of(record: NDArray[np.void]) -> Dict[str, Any]:
    """Return what a record says of itself."""
    return _parsed(record["meta"][0].tobytes())


def _text(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, separators=(",", ":")).encode()


def _put(record: NDArray[np.void], text: bytes) -> None:
    record["meta"][0] = np.frombuffer(text.ljust(META_BYTES), dtype=np.uint8)


def _parsed(text: bytes) -> Dict[str, Any]:
    try:
        meta = json.loads(text)
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}
