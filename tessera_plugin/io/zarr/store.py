# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a store: its metadata and its shards, on disk and asked for when need be.

    <cache>/<archive>/<dataset>/zarr/<path, joined by ~>                        metadata
    <cache>/<archive>/<dataset>/d<depth>/zarr/<year>/tiles/<shard>.shard        indexes of a shard

Each file is a line of JSON with a checksum, and what was received; see `kept`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, NetworkFailed, StoreUnusable
from ...values import Dataset, Window
from ..cache import MAX_TILES, BlockCache, Identity, Layout, ObjectInfo, archive_identity
from ..objects import NotFound, NotModified, RangeReply, is_sound
from ..sources.mirrors import Front
from .decode import Unpacker, decode
from .kept import Head, Kept, Signature, signature
from .metadata import (
    ArrayMeta,
    Document,
    Group,
    Root,
    depths_of,
    parse_group,
    parse_node,
    parse_root,
    years_of,
)
from .shards import IndexDamaged, ShardIndex, parse_index

SESSION_S = 3600.0
"""How long a process believes that the root has not changed."""

ABSENT_S = 24 * 3600.0
"""How long a 404 is believed."""

NOT_PUBLISHED = "it is not published"

_asked: Dict[str, float] = {}
_parsing = threading.Lock()


class NotKept(Exception):  # noqa: N818 - io-internal
    """Something is not on disk, and nobody may be asked."""


@dataclass(frozen=True)
class Shard:
    """One shard of a group: an object of codes and one of scales."""

    group: Group
    row: int
    """Position among the group's shards."""
    col: int

    def __hash__(self) -> int:
        # of what tells it from others, not of all that is known of its arrays: it is asked for often
        return hash((self.group.identity, self.group.name, self.row, self.col))

    @functools.cached_property
    def name(self) -> str:
        """Tells it from any other, and from a later layout of the store."""
        return f"{self.group.name}_{self.row}_{self.col}_{self.group.identity}"

    @property
    def title(self) -> str:
        """As people are told: group, row and column."""
        return f"{self.group.name} {self.row}/{self.col}"

    @functools.cached_property
    def top(self) -> int:
        """First row on the zone grid."""
        return self.group.row + self.row * self.group.shard[0]

    @functools.cached_property
    def left(self) -> int:
        """First column on the zone grid."""
        return self.group.col + self.col * self.group.shard[1]

    @functools.cached_property
    def footprint(self) -> Window:
        """Its pixels, without what hangs over the edge of the arrays."""
        group = self.group
        return Window.between(
            group.zone,
            self.top,
            self.left,
            min(self.top + group.shard[0], group.row + group.shape[0]),
            min(self.left + group.shard[1], group.col + group.shape[1]),
        )

    @functools.cached_property
    def cells(self) -> Tuple[int, int]:
        """Rows and columns of cells, those over the edge included."""
        (height, width), (rows, cols) = self.group.cell, self.group.shard
        return rows // height, cols // width

    def cell_window(self, row: int, col: int) -> Window:
        """Return the whole of a cell, which may hang over the edge of the arrays."""
        height, width = self.group.cell
        place = self.top + row * height, self.left + col * width
        return Window(self.group.zone, *place, height, width)

    def key(self, array: ArrayMeta) -> str:
        """Return the path of its object of an array, in the store."""
        time_at = self.group.time // array.outer_size("time")
        return array.key(time=time_at, y=self.row, x=self.col)


@dataclass(frozen=True)
class ShardInfo:
    """What is known of a shard."""

    name: str
    checked: float
    """When the server was asked, seconds since 1970."""
    root: str
    """Identity of the root then."""
    codes: Optional[ObjectInfo]
    """None where no codes are published: all zero."""
    scales: Optional[ObjectInfo]
    """None where nothing is published."""
    unusual: bool = False

    @property
    def absent(self) -> bool:
        """Whether nothing was ever written there."""
        return self.scales is None

    @property
    def identity(self) -> Identity:
        """Of its codes and its scales."""
        if self.scales is None:
            return "", ""
        return (self.codes.identity if self.codes else "none"), self.scales.identity

    def is_stale(self, root: str) -> bool:
        """Whether the server should be asked again."""
        is_old = not 0 <= time.time() - self.checked < ABSENT_S
        return self.root != root or (is_old and (self.codes is None or self.scales is None))


class StoreFiles:
    """A store's files in the cache, and how they get there."""

    def __init__(
        self,
        cache: BlockCache,
        archive: str,
        dataset: Dataset,
        unpack: Optional[Unpacker] = None,
    ) -> None:
        self.cache = cache
        self.store = dataset.store or dataset.zarr_dir
        """As people are told."""
        self.unpack = unpack
        location = dataset.store or archive
        self.folder = cache.root / archive_identity(location) / dataset.key / "zarr"
        self._prefix = "" if dataset.store else f"zarr/{dataset.zarr_dir}/"
        self._kept = Kept()
        self._held_root: Optional[Tuple[Root, str]] = None
        self._parsed: Dict[Tuple[str, int, int], Dict[int, Tuple[Group, ...]]] = {}

    def path(self, key: str) -> str:
        """Return the path of an object in the archive."""
        return f"{self._prefix}{key}"

    def view(self, depth: int, year: int, front: Optional[Front] = None) -> Optional[View]:
        """Return what the store says of itself; None where nobody may be asked and it is not kept.

        Raises: StoreUnusable; NetworkFailed, AccessRefused where nothing is kept and nothing comes.
        """
        path = self.folder / "zarr.json"
        if front is not None:
            self._refresh(path, front)
        found = self._root(path)
        if found is None and front is not None:
            self._refresh(path, front)
            found = self._root(path)
        return View(self, *found, depth=depth, year=year, front=front) if found else None

    def _root(self, path: Path) -> Optional[Tuple[Root, str]]:
        """Return the root that is kept, and its identity; a damaged one is let go."""
        if self._kept.is_held(path):
            return self._held_root
        kept = signature(path)
        if kept is None:
            return None
        with _parsing:
            found = _root_of(self.store, path, kept)
        if found is None:
            self._kept.delete(path)
        return found

    def groups_of(self, root: str, depth: int, year: int) -> Dict[int, Tuple[Group, ...]]:
        """Return the groups that have been parsed, by zone; to be added to."""
        return self._parsed.setdefault((root, depth, year), {})

    def ask_again(self) -> None:
        """Ask for the root when it is needed next, whenever that was done last."""
        _asked.pop(str(self.folder), None)

    def _refresh(self, path: Path, front: Front) -> None:
        """Ask for the root, once a session, unless it is the one that is kept."""
        head, _ = self._kept.load(path)
        last = _asked.get(str(self.folder))
        if head is not None and last is not None and time.monotonic() - last < SESSION_S:
            return
        try:
            reply = self._whole("zarr.json", front, str(head["etag"]) if head else "")
        except NotModified:
            pass
        except NotFound as error:
            raise StoreUnusable(self.store, NOT_PUBLISHED) from error
        except (NetworkFailed, AccessRefused):
            if head is None:
                raise
            return
        else:
            root = parse_root(self.store, reply.data)
            identity = hashlib.sha256(reply.data).hexdigest()[:16]
            etag = reply.etag if is_sound(reply) else ""  # else asked for as a whole next time
            self._kept.keep(path, {"etag": etag, "root": identity}, reply.data)
            self._held_root = root, identity
        _asked[str(self.folder)] = time.monotonic()

    def document(self, path: str, root: str, front: Optional[Front]) -> Optional[bytes]:
        """Return a small object of the store; None where there is none.

        Raises: NotKept, NetworkFailed, AccessRefused.
        """
        file = self._document_path(path)
        head, data = self._kept.load(file)
        if head is not None and head.get("root") == root and not (front and _is_doubtful(head)):
            return None if head.get("absent") else data
        if front is None:
            raise NotKept(path)
        head = {"root": root, "checked": time.time()}
        try:
            reply = self._whole(path, front)
        except NotFound:
            self._kept.keep(file, {**head, "absent": True}, b"")
            return None
        self._kept.keep(file, {**head, "sound": is_sound(reply)}, reply.data)
        return reply.data

    def forget_documents(self, paths: Iterable[str]) -> None:
        """Forget small objects that make no sense: they may have come wrong."""
        for path in paths:
            self._kept.delete(self._document_path(path))

    def _document_path(self, path: str) -> Path:
        return self.folder / path.replace("/", "~")

    def _whole(self, key: str, front: Front, known_etag: str = "") -> RangeReply:
        """Ask for a small object; once more where its checksum is not the published one.

        One that comes the same again is taken: not every server's ETags are checksums.
        """
        path = self.path(key)
        reply = front.get(path, known_etag)
        if is_sound(reply):
            return reply
        again = front.get(path)
        if not is_sound(again) and again.data != reply.data:
            raise NetworkFailed(front.url(path), "it comes different each time")
        return again

    # --- shards

    def info(self, name: str) -> Optional[ShardInfo]:
        """Return what is known of a shard, or None."""
        head = self._kept.head(self._shard_path(name))
        try:
            if head is None or head["info"]["name"] != name:
                return None
            kept = head["info"]
            for part in ("codes", "scales"):
                kept[part] = ObjectInfo(**kept[part]) if kept[part] else None
            return ShardInfo(**kept)
        except (TypeError, KeyError, AttributeError):
            return None

    def indexes(self, shard: Shard, info: ShardInfo) -> Optional[Dict[str, ShardIndex]]:
        """Return a shard's indexes by `codes` and `scales`; None where they can't be used."""
        head, data = self._kept.load(self._shard_path(shard.name))
        if head is None:
            return None
        found: Dict[str, ShardIndex] = {}
        at = 0
        for part, array in parts_of(shard.group):
            own: Optional[ObjectInfo] = getattr(info, part)
            if own is None:
                continue
            raw = data[at : at + array.index_bytes]
            at += array.index_bytes
            try:
                found[part] = parse_index(raw, array, shard.group.time, own.length)
            except IndexDamaged:
                return None
        return found

    def keep_shard(self, info: ShardInfo, raw: bytes) -> None:
        """Remember a shard and its indexes. Raises: DiskFull."""
        self._kept.keep(self._shard_path(info.name), {"info": asdict(info)}, raw)

    def mark_unusual(self, name: str) -> None:
        """Remember that a shard is unusual. Raises: DiskFull."""
        head, data = self._kept.load(self._shard_path(name))
        if head is not None and not head["info"]["unusual"]:
            head["info"]["unusual"] = True
            self._kept.keep(self._shard_path(name), head, data)

    def mark_old(self, name: str) -> None:
        """Have a shard asked for again when somebody may be. Raises: DiskFull."""
        head, data = self._kept.load(self._shard_path(name))
        if head is not None:
            head["info"].update(checked=0.0, root="")
            self._kept.keep(self._shard_path(name), head, data)

    def forget_absent(self) -> None:
        """Forget which objects of the store are not there."""
        for path in self.folder.glob("*~*"):
            head, _ = self._kept.load(path)
            if head is not None and head.get("absent"):
                self._kept.delete(path)

    def forget_shard(self, name: str) -> None:
        """Forget a shard: its blocks are not used before it is known again."""
        self._kept.delete(self._shard_path(name))

    def ask_shard(self, shard: Shard, root: str, front: Front) -> Tuple[ShardInfo, bytes]:
        """Return what the server says of a shard, and its indexes as they are.

        Raises: IndexDamaged, NetworkFailed, AccessRefused.
        """
        own: Dict[str, Optional[ObjectInfo]] = {}
        raw: Dict[str, bytes] = {}
        for part, array in reversed(parts_of(shard.group)):
            try:
                reply = self._index(self.path(shard.key(array)), array, shard, front)
            except NotFound:
                own[part] = None
                if part == "scales":
                    own["codes"] = None
                    break
                continue
            own[part] = ObjectInfo(reply.etag, reply.total, reply.last_modified, 0, "")
            raw[part] = reply.data
        info = ShardInfo(shard.name, time.time(), root, own["codes"], own["scales"])
        return info, b"".join(raw[part] for part, _ in parts_of(shard.group) if part in raw)

    def _index(self, path: str, array: ArrayMeta, shard: Shard, front: Front) -> RangeReply:
        """Ask for an index; a damaged one is asked for once more."""
        for is_last in (False, True):
            if array.index_at_end:
                reply = front.get_tail(path, array.index_bytes)
            else:
                reply = front.get_range(path, 0, array.index_bytes)
            try:
                parse_index(reply.data, array, shard.group.time, reply.total)
            except IndexDamaged:
                if is_last:
                    raise
            else:
                break
        return reply

    def _shard_path(self, name: str) -> Path:
        return self.cache.folder / "tiles" / f"{name}.shard"


def parts_of(group: Group) -> Tuple[Tuple[str, ArrayMeta], ...]:
    """Return both arrays of a group with their names in a `ShardInfo`."""
    return (("codes", group.codes), ("scales", group.scales))


class View:
    """A store as its root says at one moment, for one depth and year."""

    def __init__(
        self,
        files: StoreFiles,
        root: Root,
        identity: str,
        *,
        depth: int,
        year: int,
        front: Optional[Front],
    ) -> None:
        self.files = files
        self.identity = identity
        self._root = root
        self._depth = depth
        self._year = year
        self._front = front
        self._groups = files.groups_of(identity, depth, year)
        self._infos: Dict[str, Optional[ShardInfo]] = {}
        self._used: Set[str] = set()
        """Small objects that were looked at."""

    def groups(self, zone: int) -> Optional[Tuple[Group, ...]]:
        """Return the groups of a zone that have the year; None where it is not known.

        Raises: StoreUnusable, DepthNotOffered, DecoderMissing; NetworkFailed, AccessRefused.
        """
        if zone not in self._groups:
            try:
                with self._making_sense():
                    self._groups[zone] = tuple(self._found(zone))
            except NotKept:
                return None
        return self._groups[zone]

    def years(self) -> Tuple[int, ...]:
        """Return the years of the store. Raises: NotKept, and as `groups`."""
        name = self._some_group()
        with self._making_sense():
            return years_of(self._root, name, self._lookup, self._values) if name else ()

    def depths(self) -> Tuple[int, ...]:
        """Return the depths that the store offers. Raises: NotKept, and as `groups`."""
        name = self._some_group()
        with self._making_sense():
            return tuple(sorted(depths_of(self._root, name, self._lookup))) if name else ()

    def shards(self, window: Window) -> Optional[Tuple[Shard, ...]]:
        """Return the shards that meet a window; None where the zone is not known."""
        groups = self.groups(window.zone)
        if groups is None:
            return None
        found: List[Shard] = []
        for group in groups:
            part = Window(group.zone, group.row, group.col, *group.shape).intersection(window)
            if part is not None:
                height, width = group.shard
                top, left = part.row - group.row, part.col - group.col
                rows = range(top // height, (top + part.height - 1) // height + 1)
                cols = range(left // width, (left + part.width - 1) // width + 1)
                found += [Shard(group, row, col) for row in rows for col in cols]
        return tuple(found)

    def info(self, name: str) -> Optional[ShardInfo]:
        """Return what is known of a shard, as it was when it was first looked up here."""
        if name not in self._infos:
            info = self.files.info(name)
            if info is not None and self._front is not None and info.is_stale(self.identity):
                info = None
            self._infos[name] = info
        return self._infos[name]

    def layout(self, block: Window) -> Optional[Tuple[Layout, Tuple[Shard, ...]]]:
        """Return how shards lie over a block; None where the zone is not known."""
        shards = self.shards(block)
        if shards is None:
            return None
        if len(shards) > MAX_TILES:
            raise StoreUnusable(self.files.store, "its shards are too small")
        infos = [self.info(shard.name) for shard in shards]
        layout = Layout(
            block,
            tuple(shard.name for shard in shards),
            tuple(info.identity if info else ("", "") for info in infos),
            tuple(
                None if info and info.absent else shard.footprint.intersection(block)
                for shard, info in zip(shards, infos)
            ),
        )
        return layout, shards

    # --- metadata

    def _found(self, zone: int) -> List[Group]:
        groups = [
            parse_group(
                self._root,
                name,
                zone,
                depth=self._depth,
                year=self._year,
                lookup=self._lookup,
                values=self._values,
            )
            for name in self._root.group_names(zone)
        ]
        return [group for group in groups if group is not None]

    def _some_group(self) -> Optional[str]:
        known = self._root.some_zone()
        if known is not None or self._root.nodes is not None:
            return known
        return next((groups[0].name for groups in self._groups.values() if groups), None)

    @contextlib.contextmanager
    def _making_sense(self) -> Iterator[None]:
        """Have small objects asked for again next time where they make no sense."""
        try:
            yield
        except StoreUnusable:
            self.files.forget_documents(self._used)
            raise

    def _document(self, path: str) -> Optional[bytes]:
        self._used.add(path)
        return self.files.document(path, self.identity, self._front)

    def _lookup(self, path: str) -> Optional[Document]:
        if self._root.nodes is not None:
            return self._root.nodes.get(path)
        data = self._document(f"{path}/zarr.json")
        return None if data is None else parse_node(self.files.store, path, data)

    def _values(self, array: ArrayMeta, count: int) -> NDArray[Any]:
        """Return the first values of a one-dimensional array."""
        store = self.files.store
        if array.sharded:
            raise StoreUnusable(store, f"{array.path} has shards")
        size = array.outer[0]
        values = np.full(-(-count // size) * size, array.fill, dtype=array.numpy_dtype)
        for number in range(len(values) // size):
            key = array.key(**{array.axes[0]: number})
            data = self._document(key)
            if data is None:
                continue
            out, damaged = decode([data], array.codec, array.chunk_bytes, self.files.unpack)
            if damaged[0]:
                raise StoreUnusable(store, f"{key} is damaged")
            values[number * size : (number + 1) * size] = out[0].view(array.numpy_dtype)
        return values[:count]


def _is_doubtful(head: Head) -> bool:
    """Whether a small object should be asked for again: a wrong checksum, or an old 404."""
    is_old = not 0 <= time.time() - float(head.get("checked", 0.0)) < ABSENT_S
    return not head.get("sound", True) or (bool(head.get("absent")) and is_old)


@functools.lru_cache(maxsize=4)
def _root_of(store: str, path: Path, _signature: Signature) -> Optional[Tuple[Root, str]]:
    """Return the root that is kept, and its identity; None where it is damaged."""
    head, data = Kept().load(path)
    if head is None:
        return None
    return parse_root(store, data), str(head["root"])
