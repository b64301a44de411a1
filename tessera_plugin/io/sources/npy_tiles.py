# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The published NPY tiles: only the rows that are needed, verified, into the cache.

A pixel that several tiles cover belongs to the first valid one in ascending (lon, lat). A tile is
asked for a pixel only when those before it have nothing there, so a fetch goes in rounds: survey
the cache, fetch what the survey lacks, survey again until nothing is lacking that can be had.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, ExtentInvalid, NetworkFailed, TileUnusable
from ...progress import Report, silent
from ...values import BLOCK_PX, Access, Dataset, Window
from ..cache import (
    MAX_TILES,
    NO_OWNER,
    BlockCache,
    Layout,
    ObjectInfo,
    Piece,
    TileInfo,
)
from ..http import HttpClient, NotFound, ObjectChanged, RangeReply, Unreachable
from ..npy import PROBE_BYTES, Header, check_codes, check_scales, header_bytes, parse_header
from ..tiling import Tile, tiles_of
from .base import Failure, FetchSummary
from .blocks import LayoutOf, block_of, block_states, read_blocks
from .crew import Crew, Job
from .pieces import Part, Pieces, WantedRows

ABSENT_S = 24 * 3600.0
"""How long a 404 is believed."""

PIECE_BYTES = 2_000_000
JOB_BYTES = 12_000_000
SMALL_JOB_BYTES = 500_000
ROUNDS = 32
CHANGES = 3
SILENT_TILES = 3
"""So many tiles one after another without any answer: the network is gone."""

REPEATS = 3

NOT_CACHED = "not in the cache"
NOT_KEPT = "it did not stay in the cache"
NO_CONNECTION = "no connection"


class NpyTiles:
    """Embeddings of a dataset and year from its published NPY tiles. Safe between threads."""

    def __init__(self, access: Access, dataset: Dataset, year: int) -> None:
        self.dataset = dataset
        self.year = year
        self.depth = dataset.depth
        self.access = access
        self.cache = BlockCache(
            access.cache_dir,
            access.archive,
            dataset=dataset.key,
            depth=dataset.depth,
            form="npy",
            year=year,
        )
        self._clients: Set[HttpClient] = set()

    def fetch(self, windows: Sequence[Window], report: Report = silent) -> FetchSummary:
        """Bring what the cache lacks of the windows; parts that fail are named, not raised.

        Raises: Cancelled, DiskFull, NotWritable; what had arrived is kept.
        """
        client = HttpClient(self.access.network)
        self._clients.add(client)
        try:
            return _Fetch(self, client, windows, report).run()
        finally:
            self._clients.discard(client)
            client.close()

    def read(self, window: Window) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return codes (H, W, D) and scales (H, W) from the cache; asks nobody.

        Nodata: codes 0 and scale NaN, also where nothing is known.
        """
        return read_blocks(self.cache, window, self.depth, self._layouts(window))

    def states(self, window: Window) -> NDArray[np.uint8]:
        """Return the `State` of every pixel (H, W), from the cache."""
        return block_states(self.cache, window, self.depth, self._layouts(window))

    def close(self) -> None:
        """End what is being fetched."""
        for client in list(self._clients):
            client.cancel()

    def _layouts(self, window: Window) -> LayoutOf:
        known, tiles = _Known(self.cache), _tiles_around(window)
        return lambda block: known.layout(block, tiles)

    def urls(self, tile: Tile) -> Tuple[str, str]:
        """Return the addresses of a tile's codes and scales."""
        root = self.access.archive.rstrip("/")
        folder = f"{root}/npy/{self.dataset.npy_dir}/{self.year}/{tile.name}"
        return f"{folder}/{tile.name}.npy", f"{folder}/{tile.name}_scales.npy"


class _Known:
    """What the cache knows of tiles, as it was when each was first looked up here."""

    def __init__(self, cache: BlockCache, *, recheck: bool = False) -> None:
        self._cache = cache
        self._recheck = recheck
        self._infos: Dict[Tile, Optional[TileInfo]] = {}

    def info(self, tile: Tile) -> Optional[TileInfo]:
        if tile not in self._infos:
            info = self._cache.tile(tile.name)
            if info is not None and info.absent and self._recheck and _is_stale(info):
                info = None
            self._infos[tile] = info
        return self._infos[tile]

    def footprint(self, tile: Tile) -> Window:
        """Return the pixels of a tile, of its own shape where that is known."""
        info = self.info(tile)
        return tile.footprint(info.shape if info is not None and not info.absent else None)

    def layout(self, block: Window, tiles: Sequence[Tile]) -> Layout:
        """Return how tiles lie over a block; `tiles` are all that may meet it, ascending."""
        over = [tile for tile in tiles if tile.footprint().intersection(block)]
        if len(over) > MAX_TILES:
            raise ExtentInvalid("it is too near to a pole")
        infos = [self.info(tile) for tile in over]
        return Layout(
            block,
            tuple(tile.name for tile in over),
            tuple(info.identity if info else ("", "") for info in infos),
            tuple(
                None if info and info.absent else self.footprint(tile).intersection(block)
                for tile, info in zip(over, infos)
            ),
        )


@dataclass
class _Survey:
    """What the cache has of the windows, and which rows of which tiles it lacks."""

    known: _Known
    resolved: int = 0
    valid: int = 0
    wanted: Dict[Tile, NDArray[np.bool_]] = field(default_factory=dict)
    """Per tile: which of its rows (H,) are needed."""

    def want(self, layout: Layout, part: Window, missing: NDArray[np.uint16]) -> None:
        """Note, for each pixel of a part that lacks something, the first tile it waits for."""
        first = missing & (~missing + np.uint16(1))
        for index, name in enumerate(layout.names):
            rows = np.flatnonzero((first & np.uint16(1 << index)).any(axis=1))
            if not len(rows):
                continue
            tile = Tile.parse(name)
            footprint = self.known.footprint(tile)
            if tile not in self.wanted:
                self.wanted[tile] = np.zeros(footprint.height, dtype=np.bool_)
            self.wanted[tile][rows + part.row - footprint.row] = True


@dataclass(frozen=True)
class _Spot:
    """A block, the parts of it that are asked for, and the tiles that may lie there."""

    block: Window
    parts: List[Window]
    tiles: Tuple[Tile, ...]


class _Fetch:
    """One fetch, from the first survey to the summary."""

    def __init__(
        self, source: NpyTiles, client: HttpClient, windows: Sequence[Window], report: Report
    ) -> None:
        self._source = source
        self._cache = source.cache
        self._client = client
        self._windows = windows
        self._report = report
        self._spots = _spots(windows)
        self._lock = threading.Lock()
        # one thread computes at a time: several would keep the interpreter from the window's thread
        self._computing = threading.Lock()
        self._failed: Dict[str, str] = {}
        self._unusual: Set[str] = set()
        self._changes: Dict[Tile, int] = {}
        self._mismatches: Dict[Tile, int] = {}
        self._changed_now: Set[Tile] = set()
        self._fetched: Dict[Tile, NDArray[np.bool_]] = {}
        self._repeats: Dict[Tile, int] = {}
        self._waiting: Set[Pieces] = set()
        self._done_bytes = 0
        self._total_bytes = 0
        self._fraction = 0.0
        self._silent_tiles = 0
        self._last_silent = 0.0
        self._silent_url = ""

    def run(self) -> FetchSummary:
        began = time.monotonic()
        survey = self._survey()
        cached = survey.resolved
        if self._source.access.offline:
            for tile in survey.wanted:
                self._fail(tile, NOT_CACHED)
        else:
            survey = self._bring(survey)
        absent, unusual = self._remarks(survey.known)
        return FetchSummary(
            pixels=sum(window.pixels for window in self._windows),
            valid_px=survey.valid,
            cached_px=cached,
            bytes_fetched=self._client.bytes_received,
            requests=self._client.requests,
            absent=absent,
            failed=tuple(Failure(*pair) for pair in sorted(self._failed.items())),
            unusual=unusual,
            seconds=time.monotonic() - began,
            unreachable="" if self._client.heard_since(self._last_silent) else self._silent_url,
        )

    def _bring(self, survey: _Survey) -> _Survey:
        """Fetch and survey until nothing is lacking that can be had."""
        for _ in range(ROUNDS):
            wanted = self._still_wanted(survey)
            if not wanted:
                return survey
            self._changed_now.clear()
            unknown = [tile for tile in wanted if survey.known.info(tile) is None]
            if unknown:
                self._probe_all(unknown)
            else:
                self._fetch_all(survey.known, wanted)
            survey = self._survey()
        for tile in self._still_wanted(survey):
            self._fail(tile, NOT_KEPT)
        return survey

    def _still_wanted(self, survey: _Survey) -> Dict[Tile, NDArray[np.bool_]]:
        return {tile: rows for tile, rows in survey.wanted.items() if tile.name not in self._failed}

    def _survey(self) -> _Survey:
        known = _Known(self._cache, recheck=not self._source.access.offline)
        survey = _Survey(known)
        for spot in self._spots:
            self._tell("Checking what has arrived" if self._total_bytes else "Looking in the cache")
            layout = known.layout(spot.block, spot.tiles)
            cover = layout.cover()
            block = self._cache.load(layout, trusted=True)
            missing = cover if block is None else block.missing(cover)
            for part in spot.parts:
                here = part.slices_in(spot.block)
                resolved = missing[here] == 0
                # where no tile lies there is nothing that could have been kept
                survey.resolved += int(np.count_nonzero(resolved & (cover[here] != 0)))
                if block is not None:
                    owned = block.owner[here] != NO_OWNER
                    survey.valid += int(np.count_nonzero(owned & resolved))
                survey.want(layout, part, missing[here])
        return survey

    def _remarks(self, known: _Known) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """Return the names of the tiles that are not published, and of the unusual ones."""
        absent: Set[str] = set()
        unusual = set(self._unusual)
        for tile in {tile for spot in self._spots for tile in spot.tiles}:
            info = known.info(tile)
            if info is None or not any(map(known.footprint(tile).intersection, self._windows)):
                continue
            if info.absent:
                absent.add(tile.name)
            elif info.unusual or info.shape != tile.footprint().shape:
                unusual.add(tile.name)
        return tuple(sorted(absent)), tuple(sorted(unusual))

    # --- progress

    def _tell(self, message: str) -> None:
        self._report(self._fraction, message)

    def _tell_bytes(self) -> None:
        done, total = min(self._done_bytes, self._total_bytes), self._total_bytes
        # a later round adds to the total, but nobody wants to see progress go back
        self._fraction = max(self._fraction, done / total if total else 0.0)
        self._tell(f"Fetching {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    def _tick(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for pieces in waiting:
            self._guarded(pieces.tile, pieces.flush_if_due)
        self._tell_bytes()

    def _arrived(self, size: int) -> None:
        with self._lock:
            self._done_bytes += size

    # --- what goes wrong with one tile is no reason to stop

    def _fail(self, tile: Tile, reason: str) -> None:
        with self._lock:
            self._failed.setdefault(tile.name, reason)

    def _guarded(self, tile: Tile, work: Callable[[], None]) -> None:
        """Do something for a tile; what can go wrong with it is noted."""
        if self._is_over(tile):
            return
        if self._silent_tiles >= SILENT_TILES:
            self._fail(tile, NO_CONNECTION)
            return
        try:
            work()
        except (ObjectChanged, NotFound):
            self._has_changed(tile)
        except Unreachable as error:
            self._heard_nothing(tile, error)
        except NetworkFailed as error:
            self._fail(tile, error.reason)
        except AccessRefused as error:
            self._fail(tile, f"access refused (status {error.status})")
        except TileUnusable as error:
            self._fail(tile, error.reason)

    def _is_over(self, tile: Tile) -> bool:
        """Whether there is nothing more to do for a tile in this round."""
        with self._lock:
            return tile.name in self._failed or tile in self._changed_now

    def _has_changed(self, tile: Tile) -> None:
        """Begin anew with a tile that is no longer what it was, a few times."""
        with self._lock:
            if tile in self._changed_now:
                return
            self._changed_now.add(tile)
            self._changes[tile] = self._changes.get(tile, 0) + 1
            too_often = self._changes[tile] > CHANGES
        self._cache.forget_tile(tile.name)
        if too_often:
            self._fail(tile, "it changes while it is read")

    def _heard_nothing(self, tile: Tile, error: Unreachable) -> None:
        """Hurry once a tile got no answer at all; after a few in a row ask no more."""
        self._fail(tile, error.reason)
        with self._lock:
            heard = self._client.heard_since(self._last_silent)
            self._silent_tiles = 1 if heard else self._silent_tiles + 1
            self._last_silent = time.monotonic()
            self._silent_url = error.url
        self._client.hurry()

    # --- probing

    def _probe_all(self, tiles: Sequence[Tile]) -> None:
        jobs = [functools.partial(self._probe, tile) for tile in sorted(tiles)]
        count = f"{len(jobs)} tiles" if len(jobs) > 1 else "a tile"
        self._crew().run(jobs, lambda: self._tell(f"Looking up {count}"))

    def _crew(self) -> Crew:
        return Crew(self._source.access.network.connections, self._client.cancel)

    def _probe(self, tile: Tile) -> None:
        self._guarded(tile, lambda: self._cache.keep_tile(self._asked(tile)))

    def _asked(self, tile: Tile) -> TileInfo:
        """Return what the server says of a tile."""
        name = tile.name
        codes_url, scales_url = self._source.urls(tile)
        try:
            codes, header = self._head(codes_url, name)
        except NotFound:
            return TileInfo(name, time.time())
        depth = self._source.depth
        shape = check_codes(header, depth, name)
        try:
            scales, header = self._head(scales_url, name)
        except NotFound as error:
            raise TileUnusable(name, "its scales are not published") from error
        bands = check_scales(header, shape, depth, name)
        return TileInfo(name, time.time(), shape, codes, scales, bands)

    def _head(self, url: str, name: str) -> Tuple[ObjectInfo, Header]:
        reply = self._client.get_range(url, 0, PROBE_BYTES)
        length = header_bytes(reply.data, name)
        data = reply.data[:length]
        if length > len(data):
            rest = self._client.get_range(url, len(data), length, reply.etag)
            _check_same(url, rest, reply.total, reply)
            data += rest.data
        header = parse_header(data, name)
        if header.total_bytes != reply.total:
            raise TileUnusable(
                name, f"it has {reply.total:,} bytes where {header.total_bytes:,} are due"
            )
        head = data.decode("latin-1")
        return ObjectInfo(reply.etag, reply.total, reply.last_modified, length, head), header

    # --- fetching

    def _fetch_all(self, known: _Known, wanted: Dict[Tile, NDArray[np.bool_]]) -> None:
        """Fetch rows of tiles, and check those that were read whole."""
        tiles = [self._wanted(known, tile, rows) for tile, rows in sorted(wanted.items())]
        total = sum(tile.total_bytes for tile in tiles)
        self._total_bytes += total
        for tile in tiles:
            self._note_repeat(tile)
        size = _job_bytes(total, self._source.access.network.connections)
        jobs: List[Job] = []
        blocks: Dict[Window, None] = {}
        for tile in tiles:
            for start, stop in tile.jobs(size):
                jobs.append(functools.partial(self._fetch_rows, tile, start, stop))
                blocks.update(dict.fromkeys(tile.window(start, stop).whole_blocks()))
        self._cache.check_space(list(blocks))
        self._crew().run(jobs, self._tick)
        for tile in tiles:
            self._check_whole(tile)

    def _note_repeat(self, wanted: WantedRows) -> None:
        """Give a tile up whose rows are wanted again and again: something takes them away."""
        tile = wanted.tile
        before = self._fetched.get(tile)
        if before is None or before.shape != wanted.rows.shape:
            self._fetched[tile] = wanted.rows.copy()
            return
        if (before & wanted.rows).any():
            self._repeats[tile] = self._repeats.get(tile, 0) + 1
            if self._repeats[tile] > REPEATS:
                self._fail(tile, NOT_KEPT)
        before |= wanted.rows

    def _wanted(self, known: _Known, tile: Tile, rows: NDArray[np.bool_]) -> WantedRows:
        info = known.info(tile)
        if info is None or info.codes is None or info.scales is None:
            raise ValueError(f"{tile.name} has not been looked up")
        return WantedRows(
            tile,
            info,
            codes=Part(self._source.urls(tile)[0], info.codes, self._source.depth),
            scales=Part(self._source.urls(tile)[1], info.scales, 4 * info.scale_bands),
            footprint=known.footprint(tile),
            rows=rows,
            check=self._client.check_cancelled,
        )

    def _fetch_rows(self, wanted: WantedRows, start: int, stop: int) -> None:
        """Fetch rows of a tile; what has arrived is kept, whatever happens."""

        def work() -> None:
            scales = self._scales(wanted, start, stop)
            row_bytes = len(scales) // (stop - start)
            step = max(PIECE_BYTES // (wanted.codes.pixel_bytes * wanted.width), 1)
            with self._keeping(wanted) as pieces:
                for first in range(start, stop, step):
                    last = min(first + step, stop)
                    if self._is_over(wanted.tile):
                        return
                    own = scales[(first - start) * row_bytes : (last - start) * row_bytes]
                    pieces.add(self._piece(wanted, first, last, own))

        try:
            self._guarded(wanted.tile, work)
        finally:
            if self._is_over(wanted.tile):
                wanted.abandon()

    @contextlib.contextmanager
    def _keeping(self, wanted: WantedRows) -> Iterator[Pieces]:
        pieces = Pieces(wanted.tile, lambda arrived: self._keep(wanted, arrived))
        with self._lock:
            self._waiting.add(pieces)
        try:
            yield pieces
        finally:
            with self._lock:
                self._waiting.discard(pieces)
            pieces.flush()

    def _keep(self, wanted: WantedRows, pieces: Sequence[Piece]) -> None:
        """Put pieces of a tile, all of its width, into the blocks they touch."""
        first, last = pieces[0].window, pieces[-1].window
        window = Window.between(first.zone, first.row, first.col, last.stop_row, first.stop_col)
        known, tiles = _Known(self._cache), _tiles_around(window)
        info = known.info(wanted.tile)
        if info is None or info.identity != wanted.info.identity:
            raise ObjectChanged(wanted.codes.url)  # another process has seen a newer one
        for block in window.whole_blocks():
            layout = known.layout(block, tiles)
            if wanted.tile.name in layout.names:
                with self._computing:
                    self._cache.add(layout, layout.names.index(wanted.tile.name), pieces)

    def _piece(self, wanted: WantedRows, start: int, stop: int, scales: bytes) -> Piece:
        """Return rows of a tile, fetched once more if they are not as they usually are."""
        codes = self._codes(wanted, start, stop)
        piece, is_usual = self._parsed(wanted, start, codes, scales)
        if not is_usual:
            first = codes, scales
            codes = self._codes(wanted, start, stop)
            scales = self._scales(wanted, start, stop)
            piece, is_usual = self._parsed(wanted, start, codes, scales)
            if not is_usual and first != (codes, scales):
                raise TileUnusable(wanted.tile.name, "it comes different each time")
            if not is_usual:
                self._is_unusual(wanted.tile)
        wanted.feed(start, codes, scales)
        return piece

    def _parsed(
        self, wanted: WantedRows, start: int, codes: bytes, scales: bytes
    ) -> Tuple[Piece, bool]:
        with self._computing:
            return wanted.piece(start, codes, scales)

    def _is_unusual(self, tile: Tile) -> None:
        with self._lock:
            is_known = tile.name in self._unusual
            self._unusual.add(tile.name)
        if not is_known:
            self._cache.mark_unusual(tile.name)

    def _codes(self, wanted: WantedRows, start: int, stop: int) -> bytes:
        return self._bytes(wanted.codes, wanted.width, start, stop)

    def _scales(self, wanted: WantedRows, start: int, stop: int) -> bytes:
        return self._bytes(wanted.scales, wanted.width, start, stop)

    def _bytes(self, part: Part, width: int, start: int, stop: int) -> bytes:
        """Return rows of an object, in ranges that are not too long."""
        info, row_bytes = part.info, part.pixel_bytes * width
        at, end = info.offset + start * row_bytes, info.offset + stop * row_bytes
        data: List[bytes] = []
        while at < end:
            size = min(end - at, max(PIECE_BYTES, row_bytes))
            reply = self._client.get_range(part.url, at, at + size, info.etag, self._arrived)
            _check_same(part.url, reply, info.length, info)
            data.append(reply.data)
            at += size
        return data[0] if len(data) == 1 else b"".join(data)

    def _check_whole(self, wanted: WantedRows) -> None:
        """Compare the checksums of a tile's objects that were read whole."""
        if wanted.is_right():
            return
        tile = wanted.tile
        self._cache.drop_tile(tile.name, wanted.footprint)
        self._mismatches[tile] = self._mismatches.get(tile, 0) + 1
        if self._mismatches[tile] > 1:
            self._fail(tile, "its checksum is not the published one")


def _spots(windows: Sequence[Window]) -> List[_Spot]:
    """Return the blocks that windows touch, each once."""
    spots: Dict[Window, _Spot] = {}
    for window in windows:
        tiles = _tiles_around(window)
        for part in window.blocks():
            block = block_of(part)
            if block not in spots:
                over = tuple(tile for tile in tiles if tile.footprint().intersection(block))
                spots[block] = _Spot(block, [], over)
            spots[block].parts.append(part)
    return list(spots.values())


@functools.lru_cache(maxsize=256)
def _tiles_around(window: Window) -> Tuple[Tile, ...]:
    """Return the tiles of all blocks that a window touches, by ascending (lon, lat)."""
    first = block_of(window)
    last_row, last_col = (window.stop_row - 1) // BLOCK_PX, (window.stop_col - 1) // BLOCK_PX
    stop = (last_row + 1) * BLOCK_PX, (last_col + 1) * BLOCK_PX
    return tiles_of(Window.between(window.zone, first.row, first.col, *stop))


def _job_bytes(total: int, hands: int) -> int:
    """Return how much a job should fetch: enough jobs for all hands, whole pieces if large."""
    share = total // (2 * max(hands, 1))
    if share < PIECE_BYTES:
        return max(share, SMALL_JOB_BYTES)
    return min(share // PIECE_BYTES * PIECE_BYTES, JOB_BYTES)


def _is_stale(info: TileInfo) -> bool:
    return not 0 <= time.time() - info.checked < ABSENT_S


def _check_same(
    url: str, reply: RangeReply, length: int, first: Union[RangeReply, ObjectInfo]
) -> None:
    """Check what an ETag does not tell, and what stands for it where there is none."""
    is_dated = bool(first.etag) or reply.last_modified == first.last_modified
    if reply.total != length or not is_dated:
        raise ObjectChanged(url)
