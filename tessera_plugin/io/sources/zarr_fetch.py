# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One fetch from a Zarr store: look shards up, bring the chunks that lack.

What is fetched at once is a cell: the larger chunk of codes and scales, whole.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Dict, List, NamedTuple, Optional, Protocol, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, NetworkFailed, TesseraError
from ...values import Window
from ..cache import Layout, Piece
from ..objects import Client, ObjectChanged
from ..zarr.decode import Unpacker, check_decoder, decode
from ..zarr.shards import Chunk, ShardIndex, Span, requests_for, spare_for
from ..zarr.store import Shard, ShardInfo, StoreFiles, View, parts_of
from . import rounds
from .cells import Cell, Gathered
from .crew import Job
from .intake import BytesOf, Intake
from .lots import Cells, Lot, ShardObject, blocks_of, lots, objects_of, ranges
from .mirrors import Front
from .room import Room
from .rounds import Order, Places, Rounds, Wanted, check_same
from .spots import BlockSet, Spot

UNUSUAL_CELLS = 3
"""So many unusual cells of a shard are fetched again to see whether they come the same."""

FLUSH_BLOCKS = 8
BUSY_S = 0.1

HELD_BYTES = 64_000_000
"""Codes that wait for their scales; while they are more no other such codes are taken in."""

UNPACKED_BYTES = 1_000_000
"""Chunks of about so many bytes are unpacked at once."""

INDEXES = 8
"""Indexes of so many shards are held at once."""

DAMAGED = "damaged"
NO_CODES = "its codes are not published"

Indexes = Dict[str, ShardIndex]


class _Unusual(Exception):  # noqa: N818 - never leaves this file
    """A cell is to be fetched once more, later."""


class Late(NamedTuple):
    """What of a range is asked for again when all of it has come."""

    chunks: List[Chunk]
    """Damaged."""
    cells: List[Cell]
    """Unusual."""


class Source(rounds.Source, Protocol):
    """What a fetch needs of its source."""

    files: StoreFiles
    unpack: Optional[Unpacker]


class ShardFetch(Rounds[Shard]):
    """One fetch of cells of shards."""

    def __init__(self, source: Source, client: Client, front: Front, order: Order) -> None:
        super().__init__(source, client, order)
        self._source = source
        self._files = source.files
        self._front = front
        self._view: Optional[View] = None
        self._indexes: OrderedDict[Shard, Tuple[ShardInfo, Indexes]] = OrderedDict()
        self._unusual: Dict[str, int] = {}
        self._asked = 0
        self._index_bytes = 0
        self._room = Room(HELD_BYTES, client.check_cancelled)

    # --- shards and their cells

    @property
    def _name(self) -> str:
        return self._files.store

    def _look_again(self) -> None:
        if not self._asks:
            self._view = self._files.view(self._source.depth, self._source.year)
            return
        problems: List[TesseraError] = []
        # in this thread's stead, so that cancel is heard
        self._crew(1).run([lambda: self._look_up(problems)], lambda: self._tell("Looking up"))
        if problems and self._view is None:
            raise problems[0]

    def _look_up(self, problems: List[TesseraError]) -> None:
        try:
            view = self._files.view(self._source.depth, self._source.year, self._front)
            for zone in sorted({window.zone for window in self._windows}):
                for group in (view.groups(zone) if view else None) or ():
                    for _, array in parts_of(group):
                        check_decoder(array.codec, self._source.unpack)
            self._view = view
        except (NetworkFailed, AccessRefused) as error:
            problems.append(error)

    def _layout(self, spot: Spot) -> Optional[Tuple[Layout, Sequence[Shard]]]:
        return self._view.layout(spot.block) if self._view else None

    def _footprint(self, part: Shard) -> Window:
        return part.footprint

    def _units(self, part: Shard) -> Tuple[int, ...]:
        return part.cells

    def _units_at(self, part: Shard, places: Places) -> Places:
        (height, width), (rows, cols) = part.group.cell, places
        return (rows - part.top) // height, (cols - part.left) // width

    def _title(self, part: Shard) -> str:
        return part.title

    def _is_known(self, part: Shard) -> bool:
        return self._view is not None and self._view.info(part.name) is not None

    def _ask(self, part: Shard) -> None:
        if self._view is None:
            raise ValueError("the store has not been looked up")
        info, raw = self._files.ask_shard(part, self._view.identity, self._front)
        self._files.keep_shard(info, raw)
        with self._lock:
            self._index_bytes += len(raw)

    def _forget(self, part: Shard) -> None:
        with self._lock:
            self._indexes.pop(part, None)
        self._files.forget_shard(part.name)
        self._files.ask_again()

    def _remarks(self) -> Tuple[Set[str], Set[str]]:
        absent: Set[str] = set()
        unusual: Set[str] = set()
        for window in self._windows:
            for shard in (self._view.shards(window) if self._view else None) or ():
                info = self._view.info(shard.name) if self._view else None
                if info is not None and info.absent:
                    absent.add(shard.title)
                elif info is not None and (info.unusual or shard.name in self._unusual):
                    unusual.add(shard.title)
        return absent, unusual

    # --- fetching

    def _blocks_of(self, wanted: Wanted[Shard]) -> BlockSet:
        return blocks_of(wanted)

    def _fetch_all(self, wanted: Wanted[Shard]) -> None:
        for lot in lots(wanted, self._nearness):
            self._fetch_lot(lot)

    def _fetch_lot(self, wanted: Dict[Shard, Cells]) -> None:
        objects: List[Tuple[ShardObject, List[Chunk]]] = []
        cells: Dict[Tuple[Shard, int, int], Cell] = {}
        for shard, mask in wanted.items():
            known = self._known(shard)
            if known is None:
                self._has_changed(shard)
                continue
            left = self._not_too_often(shard, mask)
            objects += list(objects_of(shard, *known, left))
            for row, col in np.argwhere(left).tolist():
                cells[shard, row, col] = Cell(shard, row, col, 0)
        lot = Lot(cells, Gathered(list(cells.values()), self._keep))
        for source, chunks in objects:
            for chunk in chunks:
                lot.cell(source, chunk).left += 1
        pixels = sum(cell.part.pixels for cell in lot.cells.values())
        self._cache.check_space(lot.gathered.blocks, pixels)
        self._run(lot, objects)

    def _known(self, shard: Shard) -> Optional[Tuple[ShardInfo, Indexes]]:
        """Return what is known of a shard, and its indexes; None where it is to be asked again."""
        info = self._view.info(shard.name) if self._view else None
        with self._lock:
            held = self._indexes.get(shard)
        if info is None or (held and held[0] == info):
            return held if info else None
        indexes = self._files.indexes(shard, info)
        if indexes is None:
            return None
        with self._lock:
            self._indexes[shard] = info, indexes
            while len(self._indexes) > INDEXES:
                self._indexes.popitem(last=False)
        return info, indexes

    def _run(self, lot: Lot, objects: Sequence[Tuple[ShardObject, List[Chunk]]]) -> None:
        jobs = self._jobs(lot, objects)
        untouched = [cell for cell in lot.cells.values() if not cell.left]
        jobs += [functools.partial(self._finish_all, lot, untouched)] if untouched else []

        def tick() -> None:
            if self._computing.acquire(timeout=BUSY_S):  # else blocks are written all the time
                try:
                    lot.gathered.flush_due(FLUSH_BLOCKS)
                finally:
                    self._computing.release()
            self._hand_over()
            self._tell_bytes()

        try:
            self._crew().run(jobs, tick)
        except TesseraError:
            raise  # nothing can be written
        except BaseException:
            lot.gathered.flush()
            raise
        lot.gathered.flush()
        self._hand_over()

    def _jobs(self, lot: Lot, objects: Sequence[Tuple[ShardObject, List[Chunk]]]) -> List[Job]:
        """Return a job for each range: scales, which are few, then codes, the nearest first."""
        hands = self._access.network.connections
        total = sum(chunk.stop - chunk.start for _, chunks in objects for chunk in chunks)
        asked, self._asked = self._client.requests - self._asked, self._client.requests
        spent, self._index_bytes = self._index_bytes, 0
        chunks = [own for _, own in objects]
        allowed = requests_for(total, hands, asked)
        spans = ranges(chunks, allowed, spare_for(total, spent))
        self._total_bytes += sum(span.stop - span.start for own in spans for span in own)
        pairs = [(source, span) for (source, _), own in zip(objects, spans) for span in own]
        pairs.sort(key=lambda pair: self._turn(*pair))
        return [functools.partial(self._fetch_span, lot, *pair) for pair in pairs]

    def _turn(self, source: ShardObject, span: Span) -> Tuple[bool, float]:
        shard, array = source.shard, source.array
        height, width = array.inner_size("y"), array.inner_size("x")
        rows = [shard.top + (chunk.row + 0.5) * height for chunk in span.chunks]
        cols = [shard.left + (chunk.col + 0.5) * width for chunk in span.chunks]
        distance = self._nearness.of_places(shard.group.zone, rows, cols)
        return not source.are_scales, distance

    def _fetch_span(self, lot: Lot, source: ShardObject, span: Span) -> None:
        """Fetch a range of an object, and put its chunks into their cells as they come."""
        shard, info = source.shard, source.info
        path = self._files.path(shard.key(source.array))
        several = max(UNPACKED_BYTES // source.array.chunk_bytes, 1)
        late = Late([], [])
        intake = Intake(
            span,
            several,
            functools.partial(self._put_all, lot, source, late),
            lambda head: check_same(path, head, info.length, info),
        )

        def ask() -> None:
            self._front.get_range(
                path, span.start, span.stop, info.etag, self._arrived, sink=intake
            )

        try:
            reason = self._guarded(shard, ask)
        finally:
            if not self._is_over(shard):
                intake.flush()  # what had come when it broke off or was cancelled
        self._finish_all(lot, late.cells)
        reason = reason or self._guarded(shard, lambda: self._put_late(lot, source, late))
        missing = [*late.chunks, *span.chunks[intake.put :]]
        if self._is_over(shard):
            self._drop_all(lot, self._left(lot, source, span.chunks))
        elif missing:
            self._lose_chunks(lot, source, missing, reason)

    def _left(self, lot: Lot, source: ShardObject, chunks: Sequence[Chunk]) -> List[Cell]:
        """Return the cells of chunks that are neither complete nor given up."""
        cells = {source.cell_of(chunk): lot.cell(source, chunk) for chunk in chunks}
        return [cell for cell in cells.values() if not cell.over]

    def _lose_chunks(
        self, lot: Lot, source: ShardObject, chunks: Sequence[Chunk], reason: str
    ) -> None:
        left = self._left(lot, source, chunks)
        self._fail(source.shard.title, reason)
        self._lose(source.shard, [cell.place for cell in left])
        self._drop_all(lot, left)

    def _put_all(
        self,
        lot: Lot,
        source: ShardObject,
        late: Late,
        chunks: Sequence[Chunk],
        bytes_of: BytesOf,
    ) -> None:
        """Put chunks into their cells, but those that are damaged, and hand the cells over."""
        if not source.are_scales:
            cells = [lot.cell(source, chunk) for chunk in chunks]
            self._room.wait(lambda: any(cell.scales_left and not cell.over for cell in cells))
        with self._computing:  # for all of it: who waits in between would hold what is unpacked
            out, damaged = self._unpacked(source, [bytes_of(chunk) for chunk in chunks])
            done: List[Cell] = []
            for chunk, raw, is_damaged in zip(chunks, out, damaged):
                if is_damaged:
                    late.chunks.append(chunk)
                else:
                    self._put(lot, source, chunk, raw, done)
            self._finish_all(lot, done, late)

    def _put(
        self,
        lot: Lot,
        source: ShardObject,
        chunk: Chunk,
        raw: NDArray[np.uint8],
        done: List[Cell],
    ) -> None:
        cell = lot.cell(source, chunk)
        with self._computing:
            if not cell.over:
                before = cell.held_bytes
                cell.put(source.array, chunk, raw)
                self._room.take(cell.held_bytes - before)
        with self._lock:
            cell.left -= 1
            cell.scales_left -= source.are_scales
            if not cell.left:
                done.append(cell)

    def _put_late(self, lot: Lot, source: ShardObject, late: Late) -> None:
        """Ask once more for the chunks that came damaged; those that are left could not be had."""
        while late.chunks:
            done: List[Cell] = []
            chunk = late.chunks[-1]
            raw = self._once_more(source, chunk)
            if raw is None:
                self._fail(source.title(chunk), DAMAGED)
                cell = lot.cell(source, chunk)
                self._lose(source.shard, [cell.place])
                self._drop_all(lot, [cell])
            else:
                self._put(lot, source, chunk, raw, done)
            late.chunks.pop()
            self._finish_all(lot, done)

    def _unpacked(
        self, source: ShardObject, packed: Sequence[bytes]
    ) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        array = source.array
        with self._computing:
            return decode(packed, array.codec, array.chunk_bytes, self._source.unpack)

    def _once_more(self, source: ShardObject, chunk: Chunk) -> Optional[NDArray[np.uint8]]:
        """Return a chunk that came damaged, fetched again; None where it is so on the server."""
        out, damaged = self._unpacked(source, [self._bytes(source, chunk.start, chunk.stop)])
        return None if damaged[0] else out[0]

    def _bytes(self, source: ShardObject, start: int, stop: int) -> bytes:
        info = source.info
        path = self._files.path(source.shard.key(source.array))
        reply = self._front.get_range(path, start, stop, info.etag, self._arrived)
        check_same(path, reply, info.length, info)
        return reply.data

    # --- cells

    def _drop_all(self, lot: Lot, cells: Sequence[Cell]) -> None:
        for cell in cells:
            if self._is_first(cell):
                self._clear(cell)
                lot.gathered.add(cell, None)

    def _is_first(self, cell: Cell) -> bool:
        """Whether nobody has finished a cell or given it up; from now on somebody has."""
        with self._lock:
            is_over, cell.over = cell.over, True
        return not is_over

    def _clear(self, cell: Cell) -> None:
        with self._computing:
            self._room.give_back(cell.held_bytes)
            cell.clear()

    def _finish_all(self, lot: Lot, cells: Sequence[Cell], late: Optional[Late] = None) -> None:
        """Hand over what is complete; with `late` those are put off that must be asked for again."""
        for cell in cells:
            if self._is_first(cell):
                piece: Optional[Piece] = None

                def work(cell: Cell = cell) -> None:
                    nonlocal piece
                    piece = self._piece(cell, may_ask=late is None)

                try:
                    reason = self._guarded(cell.shard, work)
                except _Unusual:
                    cell.over = False
                    if late is not None:
                        late.cells.append(cell)
                    continue
                if reason:
                    self._fail(cell.title, reason)
                    self._lose(cell.shard, [cell.place])
                self._clear(cell)
                lot.gathered.add(cell, piece)

    def _piece(self, cell: Cell, *, may_ask: bool) -> Optional[Piece]:
        """Return a cell as arrays; fetched once more if it is not as it usually is.

        None where there must be codes, but the server said that there is no such object.
        Raises: _Unusual where it must be fetched once more but nobody may be asked now.
        """
        if cell.is_embedded and self._is_without_codes(cell.shard):
            self._forget(cell.shard)
            self._give_up(cell.shard, NO_CODES)
            return None
        with self._computing:
            piece, is_usual = cell.piece()
        if is_usual:
            return piece
        name = cell.shard.name
        with self._lock:
            known = self._unusual.get(name, 0)
        if known < UNUSUAL_CELLS:
            if not may_ask:
                raise _Unusual
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

    def _is_without_codes(self, shard: Shard) -> bool:
        info = self._view.info(shard.name) if self._view else None
        return info is not None and info.codes is None

    def _fetched_again(self, cell: Cell) -> Cell:
        shard = cell.shard
        known = self._known(shard)
        if known is None:
            raise ObjectChanged(shard.title)
        mask = np.zeros(shard.cells, dtype=np.bool_)
        mask[cell.place] = True
        again = Cell(shard, cell.row, cell.col, 0)
        for source, chunks in objects_of(shard, *known, mask):
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
        if found is None or shard.name not in found[0].names or self._is_over(shard):
            return  # another process has seen a newer one; the next survey tells
        with self._computing:
            self._cache.add(found[0], found[0].names.index(shard.name), pieces)
        self._note_fresh([block])
