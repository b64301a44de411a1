# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache: verified blocks of 128 x 128 px on the zone grid, and what is known of tiles.

    <cache>/<archive>/<dataset>/d<depth>/<form>/<year>/utm<zone>/<row>_<col>.npy   (block numbers)
    <cache>/<archive>/<dataset>/d<depth>/<form>/<year>/tiles/<tile>.json

A block is one record that `numpy.load(path, mmap_mode="r")` reads. It may be partial: it knows for
each pixel which of the tiles that cover it have been looked at, and which one its data come from.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import sys
import threading
import time
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple
from urllib.parse import urlsplit

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ..errors import TesseraError
from ..values import BLOCK_PX, PUBLIC_ARCHIVE, State, Window
from .files import check_space, write_error

FORMAT = 1
NO_OWNER = 255
MAX_TILES = 16
"""Bits of the field `consulted`; up to 84° of latitude a block meets fewer tiles."""

META_BYTES = 4096
TOUCH_S = 600.0
SPARE_S = 600.0
STALE_S = 3600.0

Identity = Tuple[str, str]
"""ETags of a tile's codes and scales, or what stands for them."""

_BLOCKS = "*/*/d*/*/*/utm[0-9][0-9]"
_LOCKS = 64
_LOCK_WAIT_S = 5.0
_HELD_TRIES = 40
_HELD_WAIT_S = 0.05
_LONG_ETAG = 48

_helpers: Any = npy_format
_threads = [threading.Lock() for _ in range(_LOCKS)]
_numbers = itertools.count()

# bits of the tiles before an owner; before NO_OWNER: all
_BEFORE = np.full(256, 0xFFFF, dtype=np.uint16)
_BEFORE[:MAX_TILES] = [(1 << index) - 1 for index in range(MAX_TILES)]


# --- what is known of tiles


@dataclass(frozen=True)
class ObjectInfo:
    """One published object, as it was when it was first asked for."""

    etag: str
    length: int
    last_modified: str
    offset: int
    """Where the array starts, in bytes."""
    head: str
    """The bytes before the array, as Latin-1."""

    @property
    def identity(self) -> str:
        """Tells one upload from another; short."""
        text = self.etag or f"{self.last_modified} {self.length}"
        if len(text) <= _LONG_ETAG:
            return text
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class TileInfo:
    """What is known of a published tile, or that it is not published."""

    name: str
    checked: float
    """When the server was asked, seconds since 1970."""
    shape: Tuple[int, int] = (0, 0)
    """Height and width; zeros where it is not published."""
    codes: Optional[ObjectInfo] = None
    scales: Optional[ObjectInfo] = None
    scale_bands: int = 1
    unusual: bool = False

    @property
    def absent(self) -> bool:
        """Whether the server said that there is no such tile."""
        return self.codes is None or self.scales is None

    @property
    def identity(self) -> Identity:
        """Of its codes and its scales."""
        if self.codes is None or self.scales is None:
            return ("", "")
        return (self.codes.identity, self.scales.identity)


# --- blocks


@dataclass(frozen=True)
class Layout:
    """How tiles lie over a block, in ascending (lon, lat): the order in which they win."""

    block: Window
    names: Tuple[str, ...]
    identities: Tuple[Identity, ...]
    """Empty strings where nothing is known of the tile, or it is not published."""
    parts: Tuple[Optional[Window], ...]
    """What of the block each covers; None where it is not published or does not reach."""

    def cover(self) -> NDArray[np.uint16]:
        """Return the tiles over each pixel as bits (128, 128)."""
        bits = np.zeros(self.block.shape, dtype=np.uint16)
        for index, part in enumerate(self.parts):
            if part is not None:
                bits[part.slices_in(self.block)] |= np.uint16(1 << index)
        return bits


@dataclass(frozen=True)
class Piece:
    """Rows of a tile as they arrived."""

    window: Window
    codes: NDArray[np.int8]
    """(H, W, D)"""
    scales: NDArray[np.float32]
    """(H, W), as published."""
    valid: NDArray[np.bool_]
    outside: Optional[NDArray[np.bool_]] = None
    """Where nothing was ever written, if the source knows that."""


@dataclass(frozen=True)
class Block:
    """A block's arrays: views of its record."""

    codes: NDArray[np.int8]
    """(128, 128, D), 0 where no tile is valid."""
    scales: NDArray[np.float32]
    """(128, 128); where no tile is valid NaN for water, +inf for nodata, -inf for outside."""
    owner: NDArray[np.uint8]
    """Index of the tile the data come from, or NO_OWNER."""
    consulted: NDArray[np.uint16]
    """Bits of the tiles that have been looked at."""
    sources: Mapping[str, Identity]
    """What the consulted tiles were when they were looked at."""

    def missing(self, cover: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return the tiles that must still be looked at, as bits; 0 where a pixel is resolved."""
        return cover & _BEFORE[self.owner] & ~self.consulted

    def states(self, cover: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return the `State` of every pixel."""
        states = np.full(self.owner.shape, State.NODATA, dtype=np.uint8)
        states[np.isnan(self.scales)] = State.WATER
        states[np.isneginf(self.scales)] = State.OUTSIDE
        states[cover == 0] = State.OUTSIDE
        states[self.owner != NO_OWNER] = State.VALID
        states[self.missing(cover) != 0] = State.UNKNOWN
        return states

    def consult(self, index: int, block: Window, piece: Piece) -> bool:
        """Take in what a tile says; return whether that was news."""
        part = piece.window.intersection(block)
        if part is None:
            return False
        here, there = part.slices_in(block), part.slices_in(piece.window)
        owner, consulted, scales = self.owner[here], self.consulted[here], self.scales[here]
        bit = np.uint16(1 << index)
        new = (consulted & bit) == 0
        if not new.any():
            return False
        valid, told = piece.valid[there], piece.scales[there]
        blank = new & ~valid & (owner == NO_OWNER)
        if piece.outside is None:
            scales[blank & ~np.isnan(told)] = np.inf
        else:
            outside = piece.outside[there]
            untold = blank & ((consulted == 0) | np.isneginf(scales))  # says more than outside does
            scales[blank & ~outside & ~np.isnan(told)] = np.inf
            scales[untold & ~outside & np.isnan(told)] = np.nan
            scales[untold & outside] = -np.inf
        taken = new & valid & (owner > index)
        if taken.all():
            self.codes[here] = piece.codes[there]
        else:
            self.codes[here][taken] = piece.codes[there][taken]
        scales[taken] = told[taken]
        owner[taken] = index
        consulted |= bit
        return True


def empty_block(depth: int) -> Block:
    """Return a block of which nothing is known."""
    return _block_of(_empty_record(depth), {})


class BlockCache:
    """The blocks and tiles of one archive, dataset, depth, form and year.

    Safe between threads and between processes: files are whole or not there.
    """

    def __init__(
        self, cache_dir: str, archive: str, *, dataset: str, depth: int, form: str, year: int
    ) -> None:
        self.root = Path(cache_dir)
        self.folder = self.root / archive_identity(archive) / dataset / f"d{depth}" / form
        self.folder = self.folder / str(year)
        self.depth = depth
        self._seen: Dict[str, Tuple[int, int, int]] = {}

    @property
    def block_bytes(self) -> int:
        """Size of a block's file, about."""
        return _dtype(self.depth).itemsize + 512

    def block_path(self, block: Window) -> Path:
        """Return the file of a block."""
        row, col = block.row // BLOCK_PX, block.col // BLOCK_PX
        return self.folder / f"utm{block.zone:02d}" / f"{row}_{col}.npy"

    def load(self, layout: Layout, *, trusted: bool = False) -> Optional[Block]:
        """Return a block, verified; None where there is none that can be used.

        A corrupt one is deleted. One that holds a tile's older self, or was laid out otherwise, is
        not used. With `trusted` a file that was verified before and has not changed since is not
        read again as a whole.
        """
        path = self.block_path(layout.block)
        record = self._verified(path, trusted=trusted)
        if record is None:
            return None
        sources = _sources(record, layout)
        if sources is None:
            return None
        _touch(path)
        return _block_of(record, sources)

    def add(self, layout: Layout, index: int, pieces: Sequence[Piece]) -> None:
        """Merge what arrived of the tile at `index` into a block's file.

        Raises: DiskFull, NotWritable.
        """
        path = self.block_path(layout.block)
        with self._locked(path):
            known = self.load(layout, trusted=True)
            record = _empty_record(self.depth)
            sources: Dict[str, Identity] = {}
            if known is not None:
                _copy_into(record, known)
                sources.update(known.sources)
                del known  # Windows can't replace a file that is mapped
            block = _block_of(record, sources)
            news = [block.consult(index, layout.block, piece) for piece in pieces]
            if any(news):
                sources[layout.names[index]] = layout.identities[index]
                self._write(path, record, layout.names, sources)

    def drop_tile(self, name: str, footprint: Window) -> None:
        """Delete every block that holds data of a tile."""
        for block in footprint.whole_blocks():
            path = self.block_path(block)
            with self._locked(path):
                if path.exists() and name in _meta_of_file(path).get("sources", {}):
                    _delete(path)

    def tile(self, name: str) -> Optional[TileInfo]:
        """Return what is known of a tile, or None."""
        try:
            return _tile_of(json.loads(self._tile_path(name).read_bytes()), name)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def keep_tile(self, info: TileInfo) -> None:
        """Remember what is known of a tile. Raises: DiskFull, NotWritable."""
        text = json.dumps({"format": FORMAT, **asdict(info)}, indent=1)
        _write_whole(self._tile_path(info.name), [text.encode()])

    def mark_unusual(self, name: str) -> None:
        """Remember that a tile is unusual. Raises: DiskFull, NotWritable."""
        info = self.tile(name)
        if info is not None and not info.unusual:
            self.keep_tile(replace(info, unusual=True))

    def forget_tile(self, name: str) -> None:
        """Forget a tile: its blocks are not used before it is known again."""
        _delete(self._tile_path(name))

    def check_space(self, blocks: Sequence[Window]) -> None:
        """Check that the disk has room for blocks that are not there yet. Raises: DiskFull."""
        new = sum(not self.block_path(block).exists() for block in blocks)
        if new:
            check_space(self.root, new * self.block_bytes)

    def _tile_path(self, name: str) -> Path:
        return self.folder / "tiles" / f"{name}.json"

    def _verified(self, path: Path, *, trusted: bool) -> Optional[NDArray[np.void]]:
        """Return a block's record, read-only; a corrupt file is deleted."""
        try:
            status = path.stat()
            record = _helpers.open_memmap(path, mode="r")
        except OSError:  # not there, or out of reach for now
            return None
        except ValueError:
            _delete(path)
            return None
        signature = (status.st_mtime_ns, status.st_size, status.st_ino)
        if record.dtype != _dtype(self.depth) or record.shape != (1,):
            del record
            _delete(path)
            return None
        if trusted and self._seen.get(str(path)) == signature:
            return record  # type: ignore[no-any-return]
        if int(record["crc"][0]) != _checksum(record):
            del record
            _delete(path)
            return None
        self._seen[str(path)] = signature
        return record  # type: ignore[no-any-return]

    def _write(
        self,
        path: Path,
        record: NDArray[np.void],
        names: Sequence[str],
        sources: Mapping[str, Identity],
    ) -> None:
        meta = {"format": FORMAT, "names": names, "sources": sources, "time": int(time.time())}
        text = json.dumps(meta, separators=(",", ":")).encode().ljust(META_BYTES)
        record["meta"][0] = np.frombuffer(text, dtype=np.uint8)
        record["crc"] = _checksum(record)
        _write_whole(path, [_header(self.depth), record.view(np.uint8).data])
        with contextlib.suppress(OSError):
            status = path.stat()
            self._seen[str(path)] = (status.st_mtime_ns, status.st_size, status.st_ino)

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """One writer of a block at a time, of all threads and, where it can be had, processes."""
        number = zlib.crc32(str(path).encode()) % _LOCKS
        with _threads[number], _file_lock(self.root / "locks" / f"{number:02d}"):
            yield


def archive_identity(url: str) -> str:
    """Return the folder name of an archive: `public`, or a hash of its normalised root."""
    if _normalised(url) == _normalised(PUBLIC_ARCHIVE):
        return "public"
    return hashlib.sha256(_normalised(url).encode()).hexdigest()[:12]


# --- the cache as a whole


def size(cache_dir: str) -> int:
    """Return the bytes of all blocks. Walks the whole cache: not for hot paths."""
    return sum(status.st_size for _, status in _all_blocks(Path(cache_dir)))


def evict(cache_dir: str, limit_bytes: int, spare_s: float = SPARE_S) -> int:
    """Delete the blocks used least recently until at most `limit_bytes` are left.

    Blocks used within the last `spare_s` seconds stay, since a job may be about to read them.
    Returns the bytes freed; 0 where another process is at it.
    """
    root = Path(cache_dir)
    if not root.is_dir():
        return 0
    with _file_lock(root / "locks" / "evict", wait_s=0.0) as is_mine:
        return _evict(root, limit_bytes, spare_s) if is_mine else 0


def _evict(root: Path, limit_bytes: int, spare_s: float) -> int:
    now = time.time()
    for path in root.glob(f"{_BLOCKS}/*.tmp"):  # left by a process that was killed
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < now - STALE_S:
                path.unlink()
    found = sorted(_all_blocks(root), key=lambda pair: _used(pair[1]))
    total = sum(status.st_size for _, status in found)
    freed = 0
    for path, status in found:
        if total - freed <= limit_bytes or _used(status) > now - spare_s:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            freed += status.st_size
    return freed


def _all_blocks(root: Path) -> Iterator[Tuple[Path, os.stat_result]]:
    for path in root.glob(f"{_BLOCKS}/*.npy"):
        with contextlib.suppress(OSError):
            yield path, path.stat()


def _used(status: os.stat_result) -> float:
    return max(status.st_atime, status.st_mtime)


def _touch(path: Path) -> None:
    """Note the use in the access time, for eviction; not every time."""
    with contextlib.suppress(OSError):
        status = path.stat()
        if _used(status) < time.time() - TOUCH_S:
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))


def _normalised(url: str) -> str:
    parts = urlsplit(url.strip())
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    default = {"http": 80, "https": 443}.get(scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


# --- records


def _dtype(depth: int) -> np.dtype[np.void]:
    edge = (BLOCK_PX, BLOCK_PX)
    return np.dtype(
        [
            ("codes", "i1", (*edge, depth)),
            ("scales", "<f4", edge),
            ("consulted", "<u2", edge),
            ("owner", "u1", edge),
            ("crc", "<u4"),
            ("meta", "u1", (META_BYTES,)),
        ]
    )


def _empty_record(depth: int) -> NDArray[np.void]:
    record = np.zeros(1, dtype=_dtype(depth))
    record["scales"] = np.nan
    record["owner"] = NO_OWNER
    return record


def _block_of(record: NDArray[np.void], sources: Mapping[str, Identity]) -> Block:
    # a memmap's slices are dear to make, a plain view's are not
    plain = record.view(np.ndarray)
    codes, scales, owner, consulted = (
        plain[name][0] for name in ("codes", "scales", "owner", "consulted")
    )
    return Block(codes, scales, owner, consulted, sources)


def _copy_into(record: NDArray[np.void], block: Block) -> None:
    record["codes"][0] = block.codes
    record["scales"][0] = block.scales
    record["owner"][0] = block.owner
    record["consulted"][0] = block.consulted


def _checksum(record: NDArray[np.void]) -> int:
    """Return the CRC-32 of everything but the checksum itself."""
    raw = record.view(np.ndarray).view(np.uint8).data
    fields = record.dtype.fields
    at = int(fields["crc"][1]) if fields else 0
    return zlib.crc32(raw[at + 4 :], zlib.crc32(raw[:at]))


def _header(depth: int) -> bytes:
    stream = io.BytesIO()
    described = _helpers.header_data_from_array_1_0(np.empty(1, dtype=_dtype(depth)))
    _helpers.write_array_header_1_0(stream, described)
    return stream.getvalue()


def _sources(record: NDArray[np.void], layout: Layout) -> Optional[Dict[str, Identity]]:
    """Return a block's sources, or None if they are not what the layout's tiles are now."""
    meta = _meta_of(record)
    if meta.get("format") != FORMAT or meta.get("names") != list(layout.names):
        return None
    now = dict(zip(layout.names, layout.identities))
    sources = {name: (pair[0], pair[1]) for name, pair in meta["sources"].items()}
    if any(now[name] != identity for name, identity in sources.items()):
        return None
    return sources


def _meta_of(record: NDArray[np.void]) -> Dict[str, Any]:
    try:
        meta = json.loads(bytes(record["meta"][0]))
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}


def _meta_of_file(path: Path) -> Dict[str, Any]:
    try:
        record = _helpers.open_memmap(path, mode="r")
        return _meta_of(record)
    except (OSError, ValueError, IndexError):
        return {}


def _tile_of(kept: Dict[str, Any], name: str) -> Optional[TileInfo]:
    if kept.pop("format", None) != FORMAT or kept["name"] != name:
        return None
    for part in ("codes", "scales"):
        kept[part] = ObjectInfo(**kept[part]) if kept[part] else None
    height, width = kept.pop("shape")
    return TileInfo(shape=(int(height), int(width)), **kept)


# --- files


def _write_whole(path: Path, parts: Sequence[Any]) -> None:
    """Write a file under a temporary name and rename it. Raises: DiskFull, NotWritable."""
    partial = path.with_name(f"{path.stem}.{os.getpid()}-{next(_numbers)}.tmp")
    try:
        with _opened(partial) as stream:
            stream.writelines(parts)
        _replace(partial, path)
    except OSError as error:
        _delete(partial)
        raise _told(path, error, parts) from error


def _told(path: Path, error: OSError, parts: Sequence[Any]) -> TesseraError:
    return write_error(path.parent, error, sum(len(part) for part in parts))


def _opened(partial: Path) -> IO[bytes]:
    try:
        return partial.open("xb")
    except FileNotFoundError:
        partial.parent.mkdir(parents=True, exist_ok=True)
        return partial.open("xb")


def _replace(partial: Path, path: Path) -> None:
    """Rename; on Windows a file can't be replaced for as long as somebody reads it."""
    for _ in range(_HELD_TRIES):
        if _renamed(partial, path):
            return
        time.sleep(_HELD_WAIT_S)
    partial.replace(path)


def _renamed(partial: Path, path: Path) -> bool:
    try:
        partial.replace(path)
    except PermissionError:
        if os.name != "nt":
            raise
        return False
    return True


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _file_lock(path: Path, wait_s: float = _LOCK_WAIT_S) -> Iterator[bool]:
    """Hold a lock between processes; tells whether it was got.

    Where it can't be had in time, or the file system has none, the work goes on: what is lost in
    a race is fetched again, never wrong.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError:
        yield False
        return
    with stream:
        got = _lock_in_time(stream.fileno(), wait_s)
        try:
            yield got
        finally:
            if got:
                _unlock(stream.fileno())


def _lock_in_time(descriptor: int, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while not _got(descriptor):
        if time.monotonic() >= until:
            return False
        time.sleep(0.005)
    return True


def _got(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except OSError:
        return False
    return True


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
