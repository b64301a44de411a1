# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many requests and bytes a window of 10 x 10 km takes of full shards, wherever it lies.

Shards in Morton order, as zarr-python writes them. Both bounds (40 requests; 1.1 times the stored
bytes of the chunks it touches, indexes included) can't be kept everywhere: where chunks lie in too
many places, closing the gaps costs more than a tenth. There the bytes are kept, and the requests are
the fewest possible but for ranges that are too long for one.
"""

import numpy as np
import pytest

from tessera_plugin.io.sources import mirrors
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.zarr import store
from tessera_plugin.io.zarr.shards import PIECE_BYTES, Chunk, plan, requests_for, spare_for
from tessera_plugin.values import Access, Dataset, NetworkSettings, Window
from tests.dense_store import (
    CHUNK_PX,
    COL,
    NAME,
    ROW,
    SHARD_PX,
    SIDE,
    ZONE,
    DenseStore,
    morton_order,
)
from tests.servers import RangeServer

EDGE = 1000
INDEX_BYTES = 2 * (SIDE * SIDE * 16 + 4)
"""Of a shard's codes and scales."""
HANDS = NetworkSettings().connections


class Table:
    """Where the chunks of a full shard lie that weigh `low` to `high` bytes."""

    def __init__(self, low, high):
        sizes = np.random.default_rng(low).integers(low, high, SIDE * SIDE)
        stops = np.cumsum(sizes)
        self.starts, self.stops = np.empty((SIDE, SIDE), np.int64), np.empty((SIDE, SIDE), np.int64)
        rows, cols = morton_order(SIDE)
        self.starts[rows, cols], self.stops[rows, cols] = stops - sizes, stops

    def chunks(self, rows, cols):
        here = np.s_[rows.start : rows.stop, cols.start : cols.stop]
        pairs = sorted(zip(self.starts[here].ravel().tolist(), self.stops[here].ravel().tolist()))
        return [Chunk(0, number, *pair) for number, pair in enumerate(pairs)]


CODES, SCALES = Table(110_000, 125_000), Table(3_400, 4_100)


def spans_of(first, size):
    """The chunks along one axis that pixels touch, per shard."""
    chunks = range(first // CHUNK_PX, (first + size - 1) // CHUNK_PX + 1)
    return [
        range(max(chunks.start - at, 0), min(chunks.stop - at, SIDE))
        for at in range(0, 2 * SIDE, SIDE)
        if chunks.start < at + SIDE and chunks.stop > at
    ]


def taken(row, col):
    """Shards, requests, fewest requests possible and bytes of a window, of an empty cache."""
    places = [(rows, cols) for rows in spans_of(row, EDGE) for cols in spans_of(col, EDGE)]
    objects = [table.chunks(*place) for place in places for table in (SCALES, CODES)]
    wanted = sum(chunk.stop - chunk.start for chunks in objects for chunk in chunks)
    indexes = INDEX_BYTES * len(places)
    known = 2 * len(places) + 1  # the indexes and the root
    allowed = requests_for(wanted, HANDS, known)
    spans = [span for part in plan(objects, allowed, spare_for(wanted, indexes)) for span in part]
    assert max(span.stop - span.start for span in spans) <= PIECE_BYTES[-1] + 125_000
    found = sorted(chunk for span in spans for chunk in span.chunks)
    assert found == sorted(chunk for chunks in objects for chunk in chunks)
    asked = sum(span.stop - span.start for span in spans) + indexes
    gaps = sorted(b.start - a.stop for chunks in objects for a, b in zip(chunks, chunks[1:]))
    closed = int(np.searchsorted(np.cumsum(gaps), 0.1 * wanted - indexes, side="right"))
    fewest = known + sum(map(len, objects)) - closed
    return len(places), len(spans) + known, fewest, asked / wanted


@pytest.mark.long
def test_requests_and_bytes_of_windows_wherever_they_lie():
    draw = np.random.default_rng(5)
    ends = [0, 31, 32, 1000, 3096, 3097, 3500, 3600, 4080, 4095]
    rows = [*ends, *draw.integers(0, SHARD_PX, 7).tolist()]
    cols = [*ends, *draw.integers(0, SHARD_PX, 7).tolist()]
    results = [taken(row, col) for row in rows for col in cols]
    for shards, requests, fewest, share in results:
        assert share <= 1.1
        # where 40 are not enough they can't be, unless some ranges were endless
        assert requests <= 40 or fewest > 36
        assert requests <= {1: 46, 2: 50, 4: 58}[shards]
    assert {shards for shards, *_ in results} == {1, 2, 4}
    of_one = [requests for shards, requests, *_ in results if shards == 1]
    assert np.mean([requests <= 40 for requests in of_one]) > 0.75


# --- over a server


@pytest.fixture(autouse=True)
def fresh():
    store._asked.clear()
    mirrors._failed.clear()


@pytest.fixture(scope="module")
def server():
    with RangeServer(DenseStore()) as running:
        yield running


def opened(server, folder):
    dataset = Dataset("2.0", NAME, "", (2024,), "A store", zarr_dir=NAME)
    return ZarrStore(Access(str(folder), server.url), dataset, 2024)


@pytest.mark.long
@pytest.mark.parametrize(("row", "col"), [(1024, 2048), (1040, 40)], ids=["even", "odd"])
def test_a_window_within_a_shard(server, tmp_path, row, col):
    server.clear()
    window = Window(ZONE, ROW + row, COL + col, EDGE, EDGE)
    source = opened(server, tmp_path)
    summary = source.fetch([window])
    assert summary.failed == ()
    assert summary.requests == len(server.log) <= 40
    root = sum(entry.bytes for entry in server.requests("*.json"))
    stored = server.provider.stored_bytes(window)
    assert stored < summary.bytes_fetched - root <= 1.1 * stored
    part = Window(ZONE, window.row + 300, window.col + 500, 200, 300)
    for got, wanted in zip(source.read(part), server.provider.truth(part)):
        np.testing.assert_array_equal(got, wanted)
    assert summary.valid_px == window.pixels


def test_a_window_over_the_corner_of_four_shards_at_the_speed_of_a_good_line(server, tmp_path):
    """Ranges are not cut any further where each of six connections has its share of 100 Mbit/s."""
    server.clear()
    window = Window(ZONE, ROW + SHARD_PX - 128, COL + SHARD_PX - 512, 1000, 300)
    source = opened(server, tmp_path)
    server.bandwidth = 12_500_000
    summary = source.fetch([window])
    server.bandwidth = None
    assert summary.failed == ()
    root = sum(entry.bytes for entry in server.requests("*.json"))
    assert summary.requests <= 40
    assert summary.bytes_fetched - root <= 1.1 * server.provider.stored_bytes(window) + 1_100_000
    for got, wanted in zip(source.read(window), server.provider.truth(window)):
        np.testing.assert_array_equal(got, wanted)
