# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One fetch from a Zarr store: look shards up, bring the chunks that lack.

What is fetched at once is a cell: the larger chunk of codes and scales, whole.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import OrderedDict
from typing import Dict, List, Optional, Protocol, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import AccessRefused, NetworkFailed, TesseraError
from ...values import Window
from ..cache import Layout, Piece
from ..objects import Client, ObjectChanged
from ..zarr.decode import Unpacker, check_decoder, decode
from ..zarr.shards import PIECE_BYTES, Chunk, ShardIndex, Span, cut, plan, requests_for, spare_for
from ..zarr.store import Shard, ShardInfo, StoreFiles, View, parts_of
from . import rounds
from .cells import FLUSH_S, Cell, Gathered
from .crew import Job
from .lots import Cells, Lot, ShardObject, blocks_of, lots, objects_of
from .mirrors import Front
from .room import Room
from .rounds import Order, Places, Rounds, Wanted, check_same
from .spots import BlockSet, Spot

UNUSUAL_CELLS = 3
"""So many unusual cells of a shard are fetched again to see whether they come the same."""

FLUSH_BLOCKS = 8

UNDER_WAY_BYTES = 64_000_000
"""So much of all requests together is held at once."""

REQUEST_S = 20.0
"""Ranges are cut so that one takes about this long at most: what is under way is lost on a break."""

SLOW_BYTES = 2_000_000
"""But not shorter than this."""

BROKEN_BYTES = 250_000
"""So much at least is discarded where shorter ranges help."""

UNPACKED_BYTES = 1_000_000
"""Chunks of about so many bytes are unpacked at once."""

MEASURED_BYTES = 1_000_000
"""Requests of fewer bytes say nothing of the line's speed."""

INDEXES = 8
"""Indexes of so many shards are held at once."""

DAMAGED = "damaged"
NO_CODES = "its codes are not published"

Indexes = Dict[str, ShardIndex]


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
        self._room = Room(UNDER_WAY_BYTES, client.check_cancelled)
        self._bytes_per_s = 0.0
        self._broken = 0
        """How often much had come of a range when the line broke."""

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
        self._cache.check_space(lot.gathered.blocks)
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
            lot.gathered.flush(FLUSH_S, FLUSH_BLOCKS)
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
        spans = plan(chunks, requests_for(total, hands, asked), spare_for(total, spent))
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
        return array is not shard.group.scales, distance

    def _fetch_span(self, lot: Lot, source: ShardObject, span: Span) -> None:
        """Fetch a range of an object, in parts where the line is slow or breaks."""
        for part in cut(span, self._longest()):
            broken = self._broken
            reason, came = self._fetch_part(lot, source, part)
            if reason and not came and self._broken > broken:
                # much came each time, though not all of it: less at once may come whole
                reason = self._fetch_in_small_parts(lot, source, part)
            if reason:
                self._lose_span(lot, source, part, reason)

    def _fetch_in_small_parts(self, lot: Lot, source: ShardObject, span: Span) -> str:
        for part in cut(span, SLOW_BYTES):
            reason, _ = self._fetch_part(lot, source, part)
            if reason:
                return reason
        return ""

    def _longest(self) -> int:
        """Return how many bytes may be under way in one request."""
        at_this_rate = int(self._bytes_per_s * REQUEST_S) if self._bytes_per_s else sys.maxsize
        return max(min(at_this_rate, PIECE_BYTES[-1] >> self._broken), SLOW_BYTES)

    def _fetch_part(self, lot: Lot, source: ShardObject, span: Span) -> Tuple[str, bool]:
        """Fetch a range of an object, and put its chunks into their cells.

        Returns why it failed, and whether the range came.
        """
        done: List[Cell] = []
        came = False

        def work() -> None:
            nonlocal came
            with self._room.taken(span.stop - span.start):
                data = self._bytes(source, span.start, span.stop)
                came = True
                step = max(UNPACKED_BYTES // source.array.chunk_bytes, 1)
                for at in range(0, len(span.chunks), step):
                    chunks = span.chunks[at : at + step]
                    packed = [data[c.start - span.start : c.stop - span.start] for c in chunks]
                    self._put_all(lot, source, chunks, packed, done)
                    self._finish_all(lot, done)
                    done.clear()

        reason = self._guarded(source.shard, work)
        self._finish_all(lot, done)
        if self._is_over(source.shard):
            self._drop_all(lot, self._left(lot, source, span))
        return reason, came

    def _left(self, lot: Lot, source: ShardObject, span: Span) -> List[Cell]:
        """Return the cells of a range that are neither complete nor given up."""
        cells = {source.cell_of(chunk): lot.cell(source, chunk) for chunk in span.chunks}
        return [cell for cell in cells.values() if not cell.over]

    def _lose_span(self, lot: Lot, source: ShardObject, span: Span, reason: str) -> None:
        left = self._left(lot, source, span)
        self._fail(source.shard.title, reason)
        self._lose(source.shard, [cell.place for cell in left])
        self._drop_all(lot, left)

    def _put_all(
        self,
        lot: Lot,
        source: ShardObject,
        chunks: Sequence[Chunk],
        packed: Sequence[bytes],
        done: List[Cell],
    ) -> None:
        out, damaged = self._unpacked(source, packed)
        for chunk, raw, is_damaged in zip(chunks, out, damaged):
            cell = lot.cell(source, chunk)
            sound: Optional[NDArray[np.uint8]] = raw
            if is_damaged:
                sound = self._once_more(source, chunk)
            if sound is None:
                self._fail(source.title(chunk), DAMAGED)
                self._lose(source.shard, [cell.place])
                self._drop_all(lot, [cell])
                continue
            with self._computing:
                if not cell.over:
                    cell.put(source.array, chunk, sound)
            with self._lock:
                cell.left -= 1
                if not cell.left:
                    done.append(cell)

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
        gate = self._options.gate
        pauses = gate.pauses if gate else 0
        began = time.monotonic()
        reply = self._front.get_range(path, start, stop, info.etag, self._count)
        if stop - start >= MEASURED_BYTES and pauses == (gate.pauses if gate else 0):
            rate = (stop - start) / max(time.monotonic() - began, 1e-3)
            with self._lock:
                self._bytes_per_s = (self._bytes_per_s + rate) / 2 if self._bytes_per_s else rate
        check_same(path, reply, info.length, info)
        return reply.data

    def _count(self, size: int) -> None:
        if size < -BROKEN_BYTES:
            with self._lock:
                self._broken += 1
        self._arrived(size)

    # --- cells

    def _drop_all(self, lot: Lot, cells: Sequence[Cell]) -> None:
        for cell in cells:
            if self._is_first(cell):
                cell.clear()
                lot.gathered.add(cell, None)

    def _is_first(self, cell: Cell) -> bool:
        """Whether nobody has finished a cell or given it up; from now on somebody has."""
        with self._lock:
            is_over, cell.over = cell.over, True
        return not is_over

    def _finish_all(self, lot: Lot, cells: Sequence[Cell]) -> None:
        """Hand over what is complete."""
        for cell in cells:
            if self._is_first(cell):
                piece: Optional[Piece] = None

                def work(cell: Cell = cell) -> None:
                    nonlocal piece
                    piece = self._piece(cell)

                reason = self._guarded(cell.shard, work)
                if reason:
                    self._fail(cell.title, reason)
                    self._lose(cell.shard, [cell.place])
                cell.clear()
                lot.gathered.add(cell, piece)

    def _piece(self, cell: Cell) -> Optional[Piece]:
        """Return a cell as arrays; fetched once more if it is not as it usually is.

        None where there must be codes, but the server said that there is no such object.
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
