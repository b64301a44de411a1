# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One fetch from a Zarr store: survey the cache, look shards up, bring the chunks that lack.

What is fetched at once is a cell: the larger chunk of codes and scales, whole. As with tiles it
goes in rounds: survey, fetch what the survey lacks, survey again until nothing is lacking that can
be had.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Optional, Protocol, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, NetworkFailed
from ...progress import Report
from ...values import BLOCK_PX, Access, Window
from ..cache import NO_OWNER, BlockCache, Layout, ObjectInfo, Piece
from ..http import HttpClient, NotFound, ObjectChanged, RangeReply, Unreachable
from ..zarr.decode import check_decoder, decode
from ..zarr.metadata import ArrayMeta
from ..zarr.shards import PIECE_BYTES, Chunk, IndexDamaged, ShardIndex, Span, cut, plan
from ..zarr.store import Shard, ShardInfo, StoreFiles, View, parts_of
from .base import Failure, FetchSummary
from .cells import FLUSH_S, Cell, Gathered
from .crew import Crew, Job
from .mirrors import Front

BATCH_PX = 1 << 22
"""Cells of about so many pixels are under way at once; their scales may wait for their codes."""

ROUNDS = 32
CHANGES = 3
REPEATS = 3
SILENT_PARTS = 3
"""So many parts one after another without any answer: the network is gone."""

UNUSUAL_CELLS = 3
"""So many unusual cells of a shard are fetched again to see whether they come the same."""

FLUSH_BLOCKS = 8

REQUEST_S = 10.0
"""Ranges are cut so that one takes about this long at most: what is under way is lost on a break."""

SLOW_BYTES = 2_000_000
"""But not shorter than this."""

UNPACKED_BYTES = 2_000_000
"""Chunks of about so many bytes are unpacked at once."""

MEASURED_BYTES = 200_000
"""Requests of fewer bytes say nothing of the line's speed."""

NOT_CACHED = "not in the cache"
NOT_KEPT = "it did not stay in the cache"
NO_CONNECTION = "no connection"
CHANGES_OFTEN = "it changes while it is read"
DAMAGED = "damaged"


class Store(Protocol):
    """What a fetch needs of its source."""

    access: Access
    cache: BlockCache
    files: StoreFiles
    depth: int
    year: int


@dataclass
class _Survey:
    """What the cache has of the windows, and which cells of which shards it lacks."""

    view: Optional[View]
    resolved: int = 0
    valid: int = 0
    wanted: Dict[Shard, NDArray[np.bool_]] = field(default_factory=dict)

    def want(self, shards: Sequence[Shard], part: Window, missing: NDArray[np.uint16]) -> None:
        """Note, for each pixel of a part that lacks something, the first shard it waits for."""
        first = missing & (~missing + np.uint16(1))
        if not first.any():
            return
        for index, shard in enumerate(shards):
            rows, cols = np.nonzero(first == np.uint16(1 << index))
            if not len(rows):
                continue
            if shard not in self.wanted:
                self.wanted[shard] = np.zeros(shard.cells, dtype=np.bool_)
            height, width = shard.group.cell
            at = (rows + part.row - shard.top) // height, (cols + part.col - shard.left) // width
            self.wanted[shard][at] = True


@dataclass(frozen=True)
class _Spot:
    """A block, and the parts of it that are asked for."""

    block: Window
    parts: List[Window]


@dataclass(frozen=True)
class _Source:
    """One object that is read in a batch."""

    shard: Shard
    info: ObjectInfo
    array: ArrayMeta


@dataclass(frozen=True)
class _Batch:
    """Cells that are under way at once."""

    cells: Dict[Tuple[Shard, int, int], Cell]
    gathered: Gathered

    def cell(self, source: _Source, chunk: Chunk) -> Cell:
        """Return the cell that a chunk lies in."""
        group = source.shard.group
        row = chunk.row * source.array.inner_size("y") // group.cell[0]
        col = chunk.col * source.array.inner_size("x") // group.cell[1]
        return self.cells[source.shard, row, col]


class Fetch:
    """One fetch, from the first survey to the summary."""

    def __init__(
        self,
        source: Store,
        client: HttpClient,
        front: Optional[Front],
        windows: Sequence[Window],
        report: Report,
    ) -> None:
        self._source = source
        self._files = source.files
        self._cache = source.cache
        self._client = client
        self._front_or_none = front
        self._windows = windows
        self._report = report
        self._spots = _spots(windows)
        self._lock = threading.Lock()
        # one thread computes at a time: several would keep the interpreter from the window's thread
        self._computing = threading.Lock()
        self._failed: Dict[str, Dict[str, None]] = {}
        self._lost: Dict[Shard, NDArray[np.bool_]] = {}
        self._tried: Dict[Shard, NDArray[np.uint8]] = {}
        self._unusual: Dict[str, int] = {}
        self._changes: Dict[Shard, int] = {}
        self._changed_now: Set[Shard] = set()
        self._done_bytes = 0
        self._total_bytes = 0
        self._fraction = 0.0
        self._bytes_per_s = 0.0
        self._silent_parts = 0
        self._last_silent = 0.0
        self._silent_url = ""

    @property
    def _front(self) -> Front:
        if self._front_or_none is None:
            raise ValueError("nobody may be asked")
        return self._front_or_none

    def run(self) -> FetchSummary:
        """Bring what can be had."""
        began = time.monotonic()
        self._tell("Looking in the cache")
        try:
            survey = self._prepared()
        except NetworkFailed as error:
            return self._nothing(began, error.reason, error.url)
        except AccessRefused as error:
            return self._nothing(began, _refused(error), "")
        cached = survey.resolved
        if self._front_or_none is None:
            for shard in survey.wanted:
                self._fail(shard.title, NOT_CACHED)
        else:
            survey = self._bring(survey)
        absent, unusual = self._remarks(survey.view)
        return FetchSummary(
            pixels=sum(window.pixels for window in self._windows),
            valid_px=survey.valid,
            cached_px=cached,
            bytes_fetched=self._client.bytes_received,
            requests=self._client.requests,
            absent=absent,
            failed=self._failures(),
            unusual=unusual,
            seconds=time.monotonic() - began,
            unreachable="" if self._client.heard_since(self._last_silent) else self._silent_url,
        )

    def _nothing(self, began: float, reason: str, url: str) -> FetchSummary:
        """Return the summary where the store itself can't be asked and is not kept."""
        return FetchSummary(
            pixels=sum(window.pixels for window in self._windows),
            valid_px=0,
            cached_px=0,
            bytes_fetched=self._client.bytes_received,
            requests=self._client.requests,
            failed=(Failure(self._files.store, reason),),
            seconds=time.monotonic() - began,
            unreachable=url if not self._client.heard_since(began) else "",
        )

    def _failures(self) -> Tuple[Failure, ...]:
        pairs = sorted((part, why) for part, whys in self._failed.items() for why in whys)
        return tuple(Failure(*pair) for pair in pairs)

    # --- surveys

    def _prepared(self) -> _Survey:
        """Look the store up in this thread's stead, so that cancel is heard, and survey."""
        if self._front_or_none is not None:
            problems: List[Exception] = []
            self._crew(1).run([lambda: self._look_up(problems)], lambda: self._tell("Looking up"))
            if problems:
                raise problems[0]
        return self._survey()

    def _look_up(self, problems: List[Exception]) -> None:
        try:
            self._zones(self._view())
        except (NetworkFailed, AccessRefused) as error:
            problems.append(error)

    def _zones(self, view: Optional[View]) -> None:
        for zone in sorted({window.zone for window in self._windows}):
            for group in (view.groups(zone) if view else None) or ():
                for _, array in parts_of(group):
                    check_decoder(array.codec)

    def _view(self) -> Optional[View]:
        return self._files.view(self._source.depth, self._source.year, self._front_or_none)

    def _survey(self) -> _Survey:
        survey = _Survey(self._view())
        for spot in self._spots:
            self._tell("Checking what has arrived" if self._total_bytes else "Looking in the cache")
            found = survey.view.layout(spot.block) if survey.view else None
            if found is None:
                self._fail(self._files.store, NOT_CACHED)
                continue
            self._survey_spot(survey, spot, *found)
        return survey

    def _survey_spot(
        self, survey: _Survey, spot: _Spot, layout: Layout, shards: Sequence[Shard]
    ) -> None:
        cover = layout.cover()
        block = self._cache.load(layout, trusted=True)
        missing = cover if block is None else block.missing(cover)
        for part in spot.parts:
            here = part.slices_in(spot.block)
            resolved = missing[here] == 0
            survey.resolved += int(np.count_nonzero(resolved))
            if block is not None:
                owned = block.owner[here] != NO_OWNER
                survey.valid += int(np.count_nonzero(owned & resolved))
            survey.want(shards, part, missing[here])

    def _remarks(self, view: Optional[View]) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """Return the titles of the shards where nothing is published, and of the unusual ones."""
        absent: Set[str] = set()
        unusual: Set[str] = set()
        for window in self._windows:
            for shard in (view.shards(window) if view else None) or ():
                info = view.info(shard.name) if view else None
                if info is not None and info.absent:
                    absent.add(shard.title)
                elif info is not None and (info.unusual or shard.name in self._unusual):
                    unusual.add(shard.title)
        return tuple(sorted(absent)), tuple(sorted(unusual))

    # --- rounds

    def _bring(self, survey: _Survey) -> _Survey:
        """Fetch and survey until nothing is lacking that can be had."""
        for _ in range(ROUNDS):
            wanted = self._still_wanted(survey)
            if not wanted or survey.view is None:
                return survey
            self._changed_now.clear()
            unknown = [shard for shard in wanted if survey.view.info(shard.name) is None]
            if unknown:
                self._ask_all(survey.view, unknown)
            else:
                self._fetch_all(survey.view, wanted)
            survey = self._survey()
        for shard in self._still_wanted(survey):
            self._fail(shard.title, NOT_KEPT)
        return survey

    def _still_wanted(self, survey: _Survey) -> Dict[Shard, NDArray[np.bool_]]:
        wanted: Dict[Shard, NDArray[np.bool_]] = {}
        for shard, cells in survey.wanted.items():
            lost = self._lost.get(shard)
            left = cells if lost is None else cells & ~lost
            if left.any():
                wanted[shard] = left
        return wanted

    # --- progress

    def _tell(self, message: str) -> None:
        self._report(self._fraction, message)

    def _tell_bytes(self) -> None:
        done, total = min(self._done_bytes, self._total_bytes), self._total_bytes
        # a later round adds to the total, but nobody wants to see progress go back
        self._fraction = max(self._fraction, done / total if total else 0.0)
        self._tell(f"Fetching {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    def _arrived(self, size: int) -> None:
        with self._lock:
            self._done_bytes += size

    # --- what goes wrong with one part is no reason to stop

    def _fail(self, part: str, reason: str) -> None:
        with self._lock:
            self._failed.setdefault(part, {})[reason] = None

    def _lose(self, shard: Shard, cells: Optional[Sequence[Cell]] = None) -> None:
        """Ask no more for cells of a shard, or for all of it."""
        with self._lock:
            lost = self._lost.setdefault(shard, np.zeros(shard.cells, dtype=np.bool_))
            if cells is None:
                lost[:] = True
            for cell in cells or ():
                lost[cell.row, cell.col] = True

    def _guarded(  # noqa: PLR0911 - one for each kind of mishap
        self, shard: Shard, work: Callable[[], None]
    ) -> Optional[str]:
        """Do something for a shard; return why it failed, or None."""
        if self._silent_parts >= SILENT_PARTS:
            return NO_CONNECTION
        try:
            work()
        except (ObjectChanged, NotFound):
            return self._has_changed(shard)
        except Unreachable as error:
            return self._heard_nothing(error)
        except NetworkFailed as error:
            return error.reason
        except AccessRefused as error:
            return _refused(error)
        except IndexDamaged as error:
            return str(error)
        return None

    def _is_changed(self, shard: Shard) -> bool:
        with self._lock:
            return shard in self._changed_now

    def _has_changed(self, shard: Shard) -> Optional[str]:
        """Begin anew with a shard that is no longer what it was, a few times."""
        with self._lock:
            if shard in self._changed_now:
                return None
            self._changed_now.add(shard)
            self._changes[shard] = self._changes.get(shard, 0) + 1
            self._tried.pop(shard, None)
            too_often = self._changes[shard] > CHANGES
        self._files.forget_shard(shard.name)
        self._files.ask_again()
        return CHANGES_OFTEN if too_often else None

    def _heard_nothing(self, error: Unreachable) -> str:
        """Hurry once a part got no answer at all; after a few in a row ask no more."""
        with self._lock:
            heard = self._client.heard_since(self._last_silent)
            self._silent_parts = 1 if heard else self._silent_parts + 1
            self._last_silent = time.monotonic()
            self._silent_url = error.url
        self._client.hurry()
        return error.reason

    def _crew(self, hands: int = 0) -> Crew:
        return Crew(hands or self._source.access.network.connections, self._client.cancel)

    # --- looking shards up

    def _ask_all(self, view: View, shards: Sequence[Shard]) -> None:
        jobs = [functools.partial(self._ask, view, shard) for shard in shards]
        count = f"{len(jobs)} shards" if len(jobs) > 1 else "a shard"
        self._crew().run(jobs, lambda: self._tell(f"Looking up {count}"))

    def _ask(self, view: View, shard: Shard) -> None:
        def work() -> None:
            info, raw = self._files.ask_shard(shard, view.identity, self._front)
            self._files.keep_shard(info, raw)

        reason = self._guarded(shard, work)
        if reason:
            self._fail(shard.title, reason)
            self._lose(shard)

    # --- fetching

    def _fetch_all(self, view: View, wanted: Dict[Shard, NDArray[np.bool_]]) -> None:
        for batch in _batches(wanted):
            self._fetch_batch(view, batch)

    def _fetch_batch(self, view: View, wanted: Dict[Shard, NDArray[np.bool_]]) -> None:
        objects: List[Tuple[_Source, List[Chunk]]] = []
        cells: Dict[Tuple[Shard, int, int], Cell] = {}
        for shard, mask in wanted.items():
            info = view.info(shard.name)
            indexes = self._files.indexes(shard, info) if info else None
            if info is None or indexes is None:
                self._has_changed(shard)
                continue
            self._note_repeats(shard, mask)
            objects += list(_sources(shard, info, indexes, mask))
            for row, col in np.argwhere(mask).tolist():
                cells[shard, row, col] = Cell(shard, row, col, 0)
        batch = _Batch(cells, Gathered(list(cells.values()), self._keep))
        for source, chunks in objects:
            for chunk in chunks:
                batch.cell(source, chunk).left += 1
        self._cache.check_space(batch.gathered.blocks)
        self._run(batch, objects)

    def _run(self, batch: _Batch, objects: Sequence[Tuple[_Source, List[Chunk]]]) -> None:
        hands = self._source.access.network.connections
        total = sum(chunk.stop - chunk.start for _, chunks in objects for chunk in chunks)
        spans = plan([chunks for _, chunks in objects], max(2 * hands, total // PIECE_BYTES))
        self._total_bytes += sum(span.stop - span.start for part in spans for span in part)
        jobs: List[Job] = [
            functools.partial(self._fetch_span, batch, source, span)
            for (source, _), own in zip(objects, spans)
            for span in own
        ]
        untouched = [cell for cell in batch.cells.values() if not cell.left]
        jobs += [functools.partial(self._finish_all, batch, untouched)] if untouched else []

        def tick() -> None:
            batch.gathered.flush(FLUSH_S, FLUSH_BLOCKS)
            self._tell_bytes()

        try:
            self._crew().run(jobs, tick)
        finally:
            batch.gathered.flush()

    def _note_repeats(self, shard: Shard, mask: NDArray[np.bool_]) -> None:
        """Give cells up that are wanted again and again: something takes them away."""
        tried = self._tried.setdefault(shard, np.zeros(shard.cells, dtype=np.uint8))
        tried[mask] += 1
        often = tried > REPEATS
        if often.any():
            self._fail(shard.title, NOT_KEPT)
            with self._lock:
                lost = self._lost.setdefault(shard, np.zeros(shard.cells, dtype=np.bool_))
                lost |= often

    def _fetch_span(self, batch: _Batch, source: _Source, span: Span) -> None:
        """Fetch a range of an object, in parts where the line is slow."""
        rate = self._bytes_per_s
        size = max(int(rate * REQUEST_S), SLOW_BYTES) if rate else PIECE_BYTES
        for part in cut(span, size):
            self._fetch_part(batch, source, part)

    def _fetch_part(self, batch: _Batch, source: _Source, span: Span) -> None:
        """Fetch a range of an object, and put its chunks into their cells."""
        cells = {id(cell): cell for cell in (batch.cell(source, c) for c in span.chunks)}
        done: List[Cell] = []

        def work() -> None:
            if self._is_changed(source.shard):
                return
            data = self._bytes(source, span.start, span.stop)
            step = max(UNPACKED_BYTES // source.array.chunk_bytes, 1)
            for at in range(0, len(span.chunks), step):
                chunks = span.chunks[at : at + step]
                packed = [data[c.start - span.start : c.stop - span.start] for c in chunks]
                self._put_all(batch, source, chunks, packed, done)

        reason = self._guarded(source.shard, work)
        self._finish_all(batch, done)
        left = [cell for cell in cells.values() if not cell.over]
        if reason:
            self._fail(source.shard.title, reason)
            self._lose(source.shard, None if reason == CHANGES_OFTEN else left)
        if reason or self._is_changed(source.shard):
            for cell in left:
                self._give_up(batch, cell)

    def _put_all(
        self,
        batch: _Batch,
        source: _Source,
        chunks: Sequence[Chunk],
        packed: Sequence[bytes],
        done: List[Cell],
    ) -> None:
        out, damaged = self._unpacked(source, packed)
        for chunk, raw, is_damaged in zip(chunks, out, damaged):
            cell = batch.cell(source, chunk)
            sound: Optional[NDArray[np.uint8]] = raw
            if is_damaged:
                sound = self._once_more(source, chunk)
            if sound is None:
                self._fail(_chunk_title(source, chunk), DAMAGED)
                self._lose(source.shard, [cell])
                self._give_up(batch, cell)
                continue
            with self._computing:
                if not cell.over:
                    cell.put(source.array, chunk, sound)
            with self._lock:
                cell.left -= 1
                if not cell.left:
                    done.append(cell)

    def _unpacked(
        self, source: _Source, packed: Sequence[bytes]
    ) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        with self._computing:
            return decode(packed, source.array.codec, source.array.chunk_bytes)

    def _once_more(self, source: _Source, chunk: Chunk) -> Optional[NDArray[np.uint8]]:
        """Return a chunk that came damaged, fetched again; None where it is so on the server."""
        out, damaged = self._unpacked(source, [self._bytes(source, chunk.start, chunk.stop)])
        return None if damaged[0] else out[0]

    def _bytes(self, source: _Source, start: int, stop: int) -> bytes:
        info = source.info
        path = self._files.path(source.shard.key(source.array))
        began = time.monotonic()
        reply = self._front.get_range(path, start, stop, info.etag, self._arrived)
        if stop - start >= MEASURED_BYTES:
            self._bytes_per_s = (stop - start) / max(time.monotonic() - began, 1e-3)
        _check_same(path, reply, info)
        return reply.data

    def _give_up(self, batch: _Batch, cell: Cell) -> None:
        if self._is_first(cell):
            cell.clear()
            batch.gathered.add(cell, None)

    def _is_first(self, cell: Cell) -> bool:
        """Whether nobody has finished a cell or given it up; from now on somebody has."""
        with self._lock:
            is_over, cell.over = cell.over, True
        return not is_over

    def _finish_all(self, batch: _Batch, cells: Sequence[Cell]) -> None:
        """Hand over what is complete."""
        for cell in cells:
            if self._is_first(cell):
                piece: Optional[Piece] = None

                def work(cell: Cell = cell) -> None:
                    nonlocal piece
                    piece = self._piece(cell)

                reason = self._guarded(cell.shard, work)
                if reason:
                    self._fail(_cell_title(cell), reason)
                    self._lose(cell.shard, [cell])
                cell.clear()
                batch.gathered.add(cell, piece)

    # --- cells

    def _piece(self, cell: Cell) -> Piece:
        """Return a cell as arrays; fetched once more if it is not as it usually is."""
        with self._computing:
            piece, is_usual = cell.piece()
        if is_usual or self._front_or_none is None:
            return piece
        name = cell.shard.name
        with self._lock:
            known = self._unusual.get(name, 0)
        if known < UNUSUAL_CELLS:
            again = self._fetched_again(cell)
            if not again.is_same(cell):
                piece, is_usual = again.piece()
                if not is_usual:
                    raise NetworkFailed(cell.shard.title, "it comes different each time")
                return piece
            with self._lock:
                self._unusual[name] = self._unusual.get(name, 0) + 1
            self._files.mark_unusual(name)
        return piece

    def _fetched_again(self, cell: Cell) -> Cell:
        shard = cell.shard
        info = self._files.info(shard.name)
        indexes = self._files.indexes(shard, info) if info else None
        if info is None or indexes is None:
            raise ObjectChanged(shard.title)
        mask = np.zeros(shard.cells, dtype=np.bool_)
        mask[cell.row, cell.col] = True
        again = Cell(shard, cell.row, cell.col, 0)
        for source, chunks in _sources(shard, info, indexes, mask):
            for chunk in chunks:
                raw = self._once_more(source, chunk)
                if raw is None:
                    raise NetworkFailed(shard.title, DAMAGED)
                again.put(source.array, chunk, raw)
        return again

    def _keep(self, block: Window, shard: Shard, pieces: Sequence[Piece]) -> None:
        """Put pieces of a shard into a block, if the shard is still the one that was read."""
        view = self._files.view(self._source.depth, self._source.year)
        found = view.layout(block) if view else None
        if found is None or shard.name not in found[0].names or self._is_changed(shard):
            return  # another process has seen a newer one; the next survey tells
        with self._computing:
            self._cache.add(found[0], found[0].names.index(shard.name), pieces)


def _batches(wanted: Dict[Shard, NDArray[np.bool_]]) -> Iterator[Dict[Shard, NDArray[np.bool_]]]:
    """Yield wanted cells in lots of a bounded number of pixels; rows of a shard stay together."""
    batch: Dict[Shard, NDArray[np.bool_]] = {}
    room = BATCH_PX
    for shard, mask in wanted.items():
        each = math.prod(shard.group.cell)
        rest = mask.copy()
        while rest.any():
            step = max(room // each, 1)
            places = np.flatnonzero(rest)[:step]
            own = np.zeros_like(rest)
            own.flat[places] = True
            rest &= ~own
            batch[shard] = own
            room -= len(places) * each
            if room < each:
                yield batch
                batch, room = {}, BATCH_PX
    if batch:
        yield batch


def _sources(
    shard: Shard, info: ShardInfo, indexes: Dict[str, ShardIndex], mask: NDArray[np.bool_]
) -> Iterator[Tuple[_Source, List[Chunk]]]:
    """Yield a shard's objects, scales first, each with its chunks in the wanted cells."""
    for part, array in reversed(parts_of(shard.group)):
        own: Optional[ObjectInfo] = getattr(info, part)
        if own is None or part not in indexes:
            continue
        index = indexes[part]
        times = [whole // cells for whole, cells in zip(index.starts.shape, mask.shape)]
        wanted = mask.repeat(times[0], axis=0).repeat(times[1], axis=1)
        yield _Source(shard, own, array), index.chunks(wanted)


def _spots(windows: Sequence[Window]) -> List[_Spot]:
    """Return the blocks that windows touch, each once."""
    spots: Dict[Window, _Spot] = {}
    for window in windows:
        for part in window.blocks():
            row, col = part.row // BLOCK_PX * BLOCK_PX, part.col // BLOCK_PX * BLOCK_PX
            block = Window(part.zone, row, col, BLOCK_PX, BLOCK_PX)
            spots.setdefault(block, _Spot(block, [])).parts.append(part)
    return list(spots.values())


def _chunk_title(source: _Source, chunk: Chunk) -> str:
    name = source.array.path.rsplit("/", 1)[-1]
    return f"{source.shard.title} {name} chunk {chunk.row}/{chunk.col}"


def _cell_title(cell: Cell) -> str:
    return f"{cell.shard.title} cell {cell.row}/{cell.col}"


def _refused(error: AccessRefused) -> str:
    return f"access refused (status {error.status})"


def _check_same(path: str, reply: RangeReply, info: ObjectInfo) -> None:
    """Check what an ETag does not tell, and what stands for it where there is none."""
    is_dated = bool(info.etag) or reply.last_modified == info.last_modified
    if reply.total != info.length or not is_dated:
        raise ObjectChanged(path)
