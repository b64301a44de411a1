# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache: verified blocks of 128 x 128 px on the zone grid, and what is known of tiles.

A block is one record that `numpy.load(path, mmap_mode="r")` reads. It may be partial: it knows for
each pixel which of the tiles that cover it have been looked at, and which one its data come from.
Its file is as small as what it knows, and of full size when that is about half of it.

Nothing on the way to a pixel needs a folder that can be written: notes of use, locks and the
deletion of what is damaged are left out where they can't be had. Writing itself says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
import time
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Set, Tuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ..values import BLOCK_PX, PUBLIC_ARCHIVE, Window
from . import cache_records as records
from . import cache_rows
from .cache_blocks import (
    MAX_TILES,
    NO_OWNER,
    Block,
    Identity,
    Layout,
    ObjectInfo,
    Origin,
    Piece,
    Provenance,
    TileInfo,
)
from .cache_care import evict, size
from .cache_files import delete, drop, write_whole
from .cache_records import Damaged, empty_block
from .cache_total import note_added
from .cache_walk import LOCKS
from .files import check_space
from .folder import folder_identity, is_folder
from .locks import file_lock

__all__ = [
    "MAX_TILES",
    "NO_OWNER",
    "Block",
    "BlockCache",
    "Identity",
    "Layout",
    "ObjectInfo",
    "Origin",
    "Piece",
    "Provenance",
    "TileInfo",
    "archive_identity",
    "empty_block",
    "evict",
    "size",
]

TOUCH_S = 600.0

_LOCK_COUNT = 64
_VERIFIED_MOST = 1 << 15

_Signature = Tuple[int, int, int]

_threads = [threading.Lock() for _ in range(_LOCK_COUNT)]
_verified: Dict[str, _Signature] = {}
"""Files that were verified or written by this process, as they were then."""


class BlockCache:
    """The blocks and tiles of one archive, dataset, depth, form and year.

    Safe between threads and between processes: files are whole or not there.
    """

    def __init__(
        self, cache_dir: str, archive: str, *, dataset: str, depth: int, form: str, year: int
    ) -> None:
        self.root = Path(cache_dir)
        self.origin = Origin(archive_identity(archive), dataset, depth, form, year)
        self.folder = self.root.joinpath(*self.origin.parts)
        self.depth = depth
        self._location = archive.strip() if is_folder(archive) else _normalised(archive)

    @property
    def block_bytes(self) -> int:
        """Size of a full block's file, about; those of which little is known take less."""
        return records.file_bytes(self.depth)

    def block_path(self, block: Window) -> Path:
        """Return the file of a block."""
        row, col = block.row // BLOCK_PX, block.col // BLOCK_PX
        return self.folder / f"utm{block.zone:02d}" / f"{row}_{col}.npy"

    def load(self, layout: Layout, *, trusted: bool = False, codes: bool = True) -> Optional[Block]:
        """Return a block, verified; None where there is none that can be used.

        A damaged one is deleted, if that can be done, and counts as not there. One that holds a
        tile's older self, or was laid out otherwise, is not used. With `trusted` a file that this
        process has verified, and that has not changed since, is not verified again. Without `codes`
        only the rest of such a file is read, and the block may have none.
        """
        record = self._read(self.block_path(layout.block), trusted=trusted, codes=codes)
        if record is None:
            return None
        sources = records.sources_of(record, layout, self.origin)
        if sources is None:
            return None
        return records.block_of(record, self.depth, sources)

    def pick(
        self, layout: Layout, rows: NDArray[np.intp], cols: NDArray[np.intp]
    ) -> Optional[Block]:
        """Return the pixels of a block that lie in some rows and columns, ascending ones of it.

        As `load` with `trusted`, its arrays being (n, m, D) and (n, m). Only those rows are read and
        verified, which is what zoomed out views are made of, unless the file is small or damaged.
        """
        found = self._picked(layout, rows, cols)
        if found is None:
            block = self.load(layout, trusted=True)
            if block is None:
                return None
            codes = block.codes[np.ix_(rows, cols)]
        else:
            block, codes = found
        scales = block.scales[rows][:, cols]
        owner, consulted = block.owner[rows][:, cols], block.consulted[rows][:, cols]
        return Block(codes, scales, owner, consulted, block.sources)

    def peek(self, layout: Layout) -> Optional[Block]:
        """Return a block without codes and without verifying it: to tell of it, not to use it."""
        try:
            with self.block_path(layout.block).open("rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                record = records.read(stream, size, self.depth, codes=False)
        except (Damaged, OSError):
            return None
        sources = records.sources_of(record, layout, self.origin)
        return None if sources is None else records.block_of(record, self.depth, sources)

    def numbers(self, zone: int) -> Set[Tuple[int, int]]:
        """Return row and column numbers of all blocks of a zone. Lists a folder: for many at once."""
        folder = self.block_path(Window(zone, 0, 0, BLOCK_PX, BLOCK_PX)).parent
        found: Set[Tuple[int, int]] = set()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.partition(".")
                row, _, col = stem.partition("_")
                with contextlib.suppress(ValueError):
                    if suffix == "npy":
                        found.add((int(row), int(col)))
        return found

    def provenance(self, block: Window) -> Optional[Provenance]:
        """Return where a block comes from; None where there is none that is sound."""
        record = self._read(self.block_path(block), trusted=True, codes=False)
        return None if record is None else records.provenance_of(record, block, self.origin)

    def add(self, layout: Layout, index: int, pieces: Sequence[Piece]) -> None:
        """Merge what arrived of the tile at `index` into a block's file.

        Raises: DiskFull, NotWritable.
        """
        path = self.block_path(layout.block)
        with self._locked(path):
            record, sources = self._known(path, layout)
            block = records.block_of(record, self.depth, sources)
            news = [block.consult(index, layout.block, piece) for piece in pieces]
            if any(news):
                sources[layout.names[index]] = layout.identities[index]
                self._write(path, record, layout, sources)

    def drop_tile(self, name: str, footprint: Window) -> None:
        """Delete every block that holds data of a tile; what can't be deleted stays."""
        for block in footprint.whole_blocks():
            path = self.block_path(block)
            with self._locked(path):
                if name in records.meta_of_file(path).get("sources", {}):
                    delete(path)

    def tile(self, name: str) -> Optional[TileInfo]:
        """Return what is known of a tile, or None."""
        try:
            return _tile_of(json.loads(self._tile_path(name).read_bytes()), name)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def keep_tile(self, info: TileInfo) -> None:
        """Remember what is known of a tile. Raises: DiskFull, NotWritable."""
        kept = {"format": records.FORMAT, **asdict(info)}
        text = json.dumps({**kept, "crc": _crc_of(kept)}, indent=1)
        write_whole(self._tile_path(info.name), [text.encode()])

    def mark_unusual(self, name: str) -> None:
        """Remember that a tile is unusual. Raises: DiskFull, NotWritable."""
        info = self.tile(name)
        if info is not None and not info.unusual:
            self.keep_tile(replace(info, unusual=True))

    def forget_tile(self, name: str) -> None:
        """Forget a tile, if that can be done: its blocks are not used before it is known again."""
        delete(self._tile_path(name))

    def check_space(self, blocks: Iterable[Window], pixels: Optional[int] = None) -> None:
        """Check that the disk has room for what comes into blocks, each of them once.

        `pixels` is how many that are at most, all over the blocks if left out. Raises: DiskFull.
        """
        most, held, count = 0, 0, 0
        for block in blocks:
            size = _file_bytes(self.block_path(block))
            if not records.is_full(size, self.depth):
                most += self.block_bytes - size
                held, count = held + size, count + 1
        if pixels is not None:
            # a block that grows to a full one takes at most twice what is known of it then
            most = min(most, held + records.most_bytes(pixels, count, self.depth))
        if most:
            check_space(self.root, most)

    def _tile_path(self, name: str) -> Path:
        return self.folder / "tiles" / f"{name}.json"

    def _known(self, path: Path, layout: Layout) -> Tuple[NDArray[np.void], Dict[str, Identity]]:
        """Return a full record of what is known of a block, to write into, and its sources."""
        stored = self._read(path, trusted=True, codes=True)
        sources = None
        if stored is not None:
            sources = records.sources_of(stored, layout, self.origin)
        if stored is None or sources is None:
            return records.empty_record(self.depth), {}
        return records.full(stored, self.depth), sources

    def _read(self, path: Path, *, trusted: bool, codes: bool) -> Optional[NDArray[np.void]]:
        """Return a block's record; without codes if these are not asked for nor verified."""
        try:
            with path.open("rb", buffering=0) as stream:
                status = os.fstat(stream.fileno())
                signature = _signature(status)
                is_known = _verified.get(str(path)) == signature
                skip = trusted and is_known
                record = records.read(stream, status.st_size, self.depth, codes=codes or not skip)
            if not skip:
                records.verify(record)
                _note_verified(path, signature)
        except Damaged:
            drop(path)
            return None
        except OSError:  # not there, or out of reach for now
            if path.is_dir():
                drop(path)
            return None
        _touch(path, status)
        return record

    def _picked(
        self, layout: Layout, rows: NDArray[np.intp], cols: NDArray[np.intp]
    ) -> Optional[Tuple[Block, NDArray[np.int8]]]:
        """Return a block without codes, and those of rows and columns (n, m, D).

        None where the file is to be read as a whole, or can't be used.
        """
        path = self.block_path(layout.block)
        try:
            with path.open("rb", buffering=0) as stream:
                status = os.fstat(stream.fileno())
                is_verified = _verified.get(str(path)) == _signature(status)
                found = cache_rows.read_some(
                    stream, status.st_size, self.depth, rows, cols, is_verified=is_verified
                )
        except (Damaged, OSError):
            return None
        if found is None:
            return None
        _touch(path, status)
        sources = records.sources_in(found.meta, layout, self.origin)
        if sources is None:
            return None
        return records.block_of(found.rest, self.depth, sources), found.codes

    def _write(
        self,
        path: Path,
        record: NDArray[np.void],
        layout: Layout,
        sources: Mapping[str, Identity],
    ) -> None:
        provenance = Provenance(self.origin, self._location, time.time(), sources)
        records.write_meta(record, layout, provenance)
        before = _file_bytes(path)
        parts = records.file_parts(record, self.depth)
        write_whole(path, parts)
        more = sum(map(len, parts)) - before
        if more:
            note_added(self.root, more)
        with contextlib.suppress(OSError):
            _note_verified(path, _signature(path.stat()))

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """One writer of a block at a time, of all threads and, where it can be had, processes."""
        number = zlib.crc32(str(path).encode()) % _LOCK_COUNT
        with _threads[number], file_lock(self.root / LOCKS / f"{number:02d}"):
            yield


def archive_identity(url: str) -> str:
    """Return the folder name of an archive: `public`, or a hash of its normalised root.

    A root that is a folder counts by its absolute path, however it is written.
    """
    if is_folder(url):
        return hashlib.sha256(folder_identity(url).encode()).hexdigest()[:12]
    if _normalised(url) == _normalised(PUBLIC_ARCHIVE):
        return "public"
    return hashlib.sha256(_normalised(url).encode()).hexdigest()[:12]


def _file_bytes(path: Path) -> int:
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _touch(path: Path, status: os.stat_result) -> None:
    """Note the use in the access time, for eviction; not every time, and not where it can't be."""
    if max(status.st_atime, status.st_mtime) < time.time() - TOUCH_S:
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _note_verified(path: Path, signature: _Signature) -> None:
    if len(_verified) >= _VERIFIED_MOST:
        _verified.clear()
    _verified[str(path)] = signature


def _normalised(url: str) -> str:
    parts = urlsplit(url.strip())
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    default = {"http": 80, "https": 443}.get(scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def _crc_of(kept: Dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def _tile_of(kept: Dict[str, Any], name: str) -> Optional[TileInfo]:
    crc = kept.pop("crc", None)  # files of earlier versions have none
    if crc is not None and crc != _crc_of(kept):
        return None
    if kept.pop("format", None) != records.FORMAT or kept["name"] != name:
        return None
    for part in ("codes", "scales"):
        kept[part] = ObjectInfo(**kept[part]) if kept[part] else None
    height, width = kept.pop("shape")
    return TileInfo(shape=(int(height), int(width)), **kept)
