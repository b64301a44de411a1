# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One fetch from NPY tiles: look tiles up, bring the rows that lack."""

from __future__ import annotations

import functools
from typing import Callable, Dict, List, Optional, Protocol, Sequence, Set, Tuple

import numpy as np

from ...errors import TesseraError, TileUnusable
from ...values import Window
from ..cache import Layout, Piece
from ..objects import Client, ObjectChanged
from ..tiling import Tile
from . import rounds
from .crew import Job
from .known_tiles import Known, tiles_around
from .mirrors import Front
from .mishaps import Units
from .pieces import Held, Part, Pieces, WantedRows
from .rounds import Order, Places, Rounds, Wanted, check_same
from .spots import BlockSet, Spot
from .tile_heads import ask_tile

PIECE_BYTES = 2_000_000
JOB_BYTES = 12_000_000
SMALL_JOB_BYTES = 500_000

Distance = Tuple[float, float]

WRONG_CHECKSUM = "its checksum is not the published one"


class Source(rounds.Source, Protocol):
    """What a fetch needs of its source."""

    def paths(self, tile: Tile) -> Tuple[str, str]:
        """Return the paths of a tile's codes and scales in the archive."""


class TileFetch(Rounds[Tile]):
    """One fetch of rows of tiles."""

    def __init__(self, source: Source, client: Client, front: Front, order: Order) -> None:
        super().__init__(source, client, order)
        self._source = source
        self._front = front
        self._known = Known(self._cache)
        self._unusual: Set[str] = set()
        self._mismatches: Dict[Tile, int] = {}
        self._waiting: List[Pieces] = []

    # --- tiles and their rows

    @property
    def _name(self) -> str:
        return "tiles"

    def _look_again(self) -> None:
        self._known = Known(self._cache, recheck=self._asks)

    def _layout(self, spot: Spot) -> Optional[Tuple[Layout, Sequence[Tile]]]:
        tiles = self._known.tiles(spot.block, spot.window)
        return self._known.layout(spot.block, tiles), tiles

    def _footprint(self, part: Tile) -> Window:
        return self._known.footprint(part)

    def _units(self, part: Tile) -> Tuple[int, ...]:
        return (self._known.footprint(part).height,)

    def _units_at(self, part: Tile, places: Places) -> Places:
        return (places[0] - self._known.footprint(part).row,)

    def _title(self, part: Tile) -> str:
        return part.name

    def _is_known(self, part: Tile) -> bool:
        return self._known.info(part) is not None

    def _forget(self, part: Tile) -> None:
        self._cache.forget_tile(part.name)

    def _remarks(self) -> Tuple[Set[str], Set[str]]:
        absent: Set[str] = set()
        unusual = set(self._unusual)
        for window in self._windows:
            for tile in tiles_around(window):
                info = self._known.info(tile)
                if info is None or not self._known.footprint(tile).intersection(window):
                    continue
                if info.absent:
                    absent.add(tile.name)
                elif info.unusual or info.shape != tile.footprint().shape:
                    unusual.add(tile.name)
        return absent, unusual

    # --- probing

    def _ask(self, part: Tile) -> None:
        info = ask_tile(self._front, part, self._source.paths(part), self._source.depth)
        self._cache.keep_tile(info)

    # --- fetching

    def _blocks_of(self, wanted: Wanted[Tile]) -> BlockSet:
        blocks = BlockSet()
        for tile, rows in wanted.items():
            place = self._known.footprint(tile)
            edges = np.flatnonzero(np.diff(rows.astype(np.int8), prepend=0, append=0)).tolist()
            for start, stop in zip(edges[::2], edges[1::2]):
                blocks.add(
                    Window(place.zone, place.row + start, place.col, stop - start, place.width)
                )
        return blocks

    def _fetch_all(self, wanted: Wanted[Tile]) -> None:
        """Fetch rows of tiles, the nearest first, and check those that were read whole."""
        tiles = [
            self._wanted(tile, left)
            for tile, rows in wanted.items()
            if (left := self._not_too_often(tile, rows)).any()
        ]
        total = sum(tile.total_bytes for tile in tiles)
        self._total_bytes += total
        self._run(self._jobs(tiles, _job_bytes(total, self._access.network.connections)))
        for tile in tiles:
            self._check_whole(tile)

    def _run(self, jobs: Sequence[Job]) -> None:
        """Do the jobs; what has arrived is kept, whatever happens."""
        try:
            self._crew().run(jobs, self._tick)
        except TesseraError:
            raise  # nothing can be written
        except BaseException:
            self._put_all_away()
            raise
        self._put_all_away()

    def _put_all_away(self) -> None:
        for pieces in self._waiting:
            self._put_away(pieces, pieces.flush)
        self._waiting = []
        self._hand_over()

    def _jobs(self, tiles: Sequence[WantedRows], size: int) -> List[Job]:
        """Return a job for each run of rows, by distance.

        Those of a row of blocks follow one another, so that the blocks are complete soon. Of a tile
        whose checksum is computed all do, so that little waits in memory for the rest of it.
        """
        runs: List[Tuple[Distance, Tile, Distance, int, int, WantedRows]] = []
        for wanted in tiles:
            bands: Dict[int, Distance] = {}
            near = list(wanted.jobs(size))
            for start, stop in near:
                distance = self._nearness.of_window(wanted.window(start, stop))
                band = wanted.band(start)
                bands[band] = min(bands.get(band, distance), distance)
            nearest = min(bands.values())
            for start, stop in near:
                distance = bands[wanted.band(start)]
                first = nearest if wanted.is_summed else distance
                then = (0.0, 0.0) if wanted.in_order else distance
                runs.append((first, wanted.tile, then, start, stop, wanted))
        runs.sort(key=lambda run: run[:-1])
        return self._gathered([run[-3:] for run in runs])

    def _gathered(self, runs: Sequence[Tuple[int, int, WantedRows]]) -> List[Job]:
        """Return jobs that gather what arrives for the same row of blocks of a tile."""
        held = Held()
        bands: Dict[Tuple[Tile, int], Pieces] = {}
        jobs: List[Job] = []
        for start, stop, wanted in runs:
            keep = functools.partial(self._keep, wanted)
            key = wanted.tile, wanted.band(start)
            pieces = bands.setdefault(key, Pieces(wanted.tile, held, keep))
            pieces.expect()
            jobs.append(functools.partial(self._fetch_rows, wanted, start, stop, pieces))
        self._waiting = list(bands.values())
        return jobs

    def _wanted(self, tile: Tile, rows: Units) -> WantedRows:
        info = self._known.info(tile)
        if info is None or info.codes is None or info.scales is None:
            raise ValueError(f"{tile.name} has not been looked up")
        codes_path, scales_path = self._source.paths(tile)
        return WantedRows(
            tile,
            info,
            codes=Part(codes_path, info.codes, self._source.depth),
            scales=Part(scales_path, info.scales, 4 * info.scale_bands),
            footprint=self._known.footprint(tile),
            rows=rows,
            check=self._client.check_cancelled,
        )

    def _fetch_rows(self, wanted: WantedRows, start: int, stop: int, pieces: Pieces) -> None:
        """Fetch rows of a tile; what has arrived is kept, whatever happens."""

        def work() -> None:
            window = wanted.window(start, stop)
            self._cache.check_space(window.whole_blocks(), window.pixels)
            scales = self._scales(wanted, start, stop)
            row_bytes = len(scales) // (stop - start)
            step = max(PIECE_BYTES // (wanted.codes.pixel_bytes * wanted.width), 1)
            for first in range(start, stop, step):
                last = min(first + step, stop)
                if self._is_over(wanted.tile):
                    return
                own = scales[(first - start) * row_bytes : (last - start) * row_bytes]
                pieces.add(self._piece(wanted, first, last, own))

        try:
            reason = self._guarded(wanted.tile, work)
            if reason:
                self._give_up(wanted.tile, reason)
        finally:
            if self._is_over(wanted.tile):
                wanted.abandon()
            self._put_away(pieces, pieces.job_is_over)

    def _tick(self) -> None:
        for pieces in self._waiting:
            self._put_away(pieces, pieces.flush_if_due)
        self._hand_over()
        self._tell_bytes()

    def _put_away(self, pieces: Pieces, how: Callable[[], None]) -> None:
        """Let pieces be kept, also of a tile that was given up since they came."""
        try:
            how()
        except ObjectChanged:
            self._has_changed(pieces.tile)

    def _keep(self, wanted: WantedRows, pieces: Sequence[Piece]) -> None:
        """Put pieces of a tile, all of its width, into the row of blocks they are of."""
        first = pieces[0].window
        top = min(piece.window.row for piece in pieces)
        stop = max(piece.window.stop_row for piece in pieces)
        window = Window.between(first.zone, top, first.col, stop, first.stop_col)
        known = Known(self._cache)
        info = known.info(wanted.tile)
        if info is None or info.identity != wanted.info.identity:
            raise ObjectChanged(wanted.codes.path)  # another process has seen a newer one
        for block in window.whole_blocks():
            layout = known.layout(block, known.tiles(block, window))
            if wanted.tile.name in layout.names:
                with self._computing:
                    self._cache.add(layout, layout.names.index(wanted.tile.name), pieces)
                self._note_fresh([block])

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
            reply = self._front.get_range(part.path, at, at + size, info.etag, self._arrived)
            check_same(part.path, reply, info.length, info)
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
            self._give_up(tile, WRONG_CHECKSUM)


def _job_bytes(total: int, hands: int) -> int:
    """Return how much a job should fetch: enough jobs for all hands, whole pieces if large."""
    share = total // (2 * max(hands, 1))
    if share < PIECE_BYTES:
        return max(share, SMALL_JOB_BYTES)
    return min(share // PIECE_BYTES * PIECE_BYTES, JOB_BYTES)
