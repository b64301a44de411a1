# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Published tiles through a real server into a real cache, and what can go wrong on the way.

What should come out is worked out from the archive's own arrays and its own georeference (pyproj),
not from the plugin's.
"""

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.engine import catalog
from tessera_plugin.errors import DiskFull, NotWritable
from tessera_plugin.io import files
from tessera_plugin.io.cache import BlockCache
from tessera_plugin.io.http import HttpClient
from tessera_plugin.io.objects import ObjectChanged
from tessera_plugin.io.sources import mishaps, pieces
from tessera_plugin.io.sources.base import NO_OPTIONS, Failure, FetchSummary
from tessera_plugin.io.sources.mirrors import Front
from tessera_plugin.io.sources.npy_tiles import NpyTiles
from tessera_plugin.io.sources.rounds import Order
from tessera_plugin.io.sources.tile_fetch import TileFetch
from tessera_plugin.io.tiling import Tile
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import Access, NetworkSettings, State, Window
from tests.archive import layout, planted
from tests.archive.sample import SampleArchive
from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
CAMBRIDGE = catalog.dataset("1.1-cambridge")
PIXEL_BYTES = 132
PROBES = 2 * 128


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


def opened(server, folder, dataset=CAMBRIDGE, year=2024, offline=False, **network):
    settings = dataclasses.replace(QUICK, **network)
    return NpyTiles(Access(str(folder), server.url, offline, settings), dataset, year)


def expected(archive, window, npy_dir="v1.1-cam", without=()):
    """Return codes and scales of a window by the rule, from the archive's own arrays."""
    codes = np.zeros((*window.shape, 128), np.int8)
    scales = np.full(window.shape, np.nan, np.float32)
    taken = np.zeros(window.shape, bool)
    for name in archive.tile_names(npy_dir):
        place = archive.footprint(name)
        tile = Window(place.zone, place.row, place.col, place.height, place.width)
        part = tile.intersection(window)
        if part is None or name in without:
            continue
        top, left = part.row - tile.row, part.col - tile.col
        rows = (top, top + part.height)
        some, factors = archive.tile_arrays(npy_dir, 2024, name, rows)
        some, factors = some[:, left:][:, : part.width], factors[:, left:][:, : part.width]
        here = part.slices_in(window)
        first = (factors > 0) & (factors < 1) & some.any(axis=-1) & ~taken[here]
        codes[here][first], scales[here][first] = some[first], factors[first]
        taken[here] |= first
    return codes, scales


def assert_same(got, wanted):
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])
    assert got[0].dtype == np.int8
    assert got[1].dtype == np.float32


def tile_window(archive, name):
    place = archive.footprint(name)
    return Window(place.zone, place.row, place.col, place.height, place.width)


def corner(archive, name, height=24, width=70):
    """A window over the corner of four tiles."""
    tile = tile_window(archive, name)
    return Window(tile.zone, tile.row - height // 2, tile.col - width // 2, height, width)


# --- bit for bit


@pytest.mark.parametrize(
    "make",
    [
        lambda a: Window(31, tile_window(a, "grid_0.15_52.15").row + 300, 30_300, 20, 200),
        lambda a: corner(a, "grid_0.15_52.15"),
        lambda a: corner(a, "grid_0.25_52.15"),
        lambda a: corner(a, "grid_0.05_52.05"),  # over the seam, at the archive's edge
        lambda a: corner(a, "grid_32.55_-0.05", 30, 300),  # over the equator, water on it
        lambda a: Window(36, 40, tile_window(a, "grid_32.55_-0.05").col + 50, 20, 60),
        lambda a: Window(31, planted.gap_window()[0] - 5, planted.gap_window()[1] - 20, 40, 70),
        lambda a: Window(31, *np.subtract(planted.corrupt_pixels()[1:], 10), 20, 30),
    ],
    ids=["inside", "corner", "edge", "seam", "equator", "south", "gap", "corrupt"],
)
def test_a_window_is_bit_for_bit_the_tiles_own_arrays(archive, server, tmp_path, make):
    window = make(archive)
    source = opened(server, tmp_path)
    summary = source.fetch([window])
    wanted = expected(archive, window)
    assert_same(source.read(window), wanted)
    assert summary.failed == () == summary.unusual
    assert summary.pixels == window.pixels
    assert summary.valid_px == np.isfinite(wanted[1]).sum()
    assert summary.bytes_fetched == server.bytes_sent
    assert summary.requests == len(server.log)
    # and a part of it, laid otherwise over the blocks
    part = Window.between(window.zone, window.row + 3, window.col + 5, window.stop_row - 1,
                          window.stop_col - 7)  # fmt: skip
    assert_same(source.read(part), [array[part.slices_in(window)] for array in wanted])


def test_both_sides_of_a_seam_are_read_as_they_are(archive, server, tmp_path):
    """A place on the seam has pixels in both zones; neither is filled from the other."""
    west = tile_window(archive, "grid_-0.05_52.15")
    east = tile_window(archive, "grid_0.05_52.15")
    windows = [
        Window(30, west.row + 500, west.stop_col - 60, 12, 80),
        Window(31, east.row + 500, east.col - 20, 12, 80),
    ]
    source = opened(server, tmp_path)
    summary = source.fetch(windows)
    for window in windows:
        assert_same(source.read(window), expected(archive, window))
    assert summary.pixels == 2 * 12 * 80 > summary.valid_px > 900
    assert summary.absent == ()


def test_water_as_zero_codes(archive, server, tmp_path):
    dataset = catalog.dataset("1.0-vultr")
    row, col = layout.pixel_of(31, *planted.LAKES[0][:2])
    window = Window(31, row - 55, col - 20, 40, 40)  # its northern shore
    source = opened(server, tmp_path, dataset)
    source.fetch([window])
    wanted = expected(archive, window, "v1")
    assert_same(source.read(window), wanted)
    assert not np.isfinite(wanted[1]).all()
    states = source.states(window)
    assert ((states == State.VALID) == np.isfinite(wanted[1])).all()
    assert (states[~np.isfinite(wanted[1])] == State.NODATA).all()


def test_states_tell_what_is_where(archive, server, tmp_path):
    source = opened(server, tmp_path)
    tile = tile_window(archive, "grid_0.25_52.15")
    edge = Window(31, tile.row + 300, tile.stop_col - 20, 10, 40)
    assert (source.states(edge) == State.UNKNOWN).any()
    source.fetch([edge])
    states = source.states(edge)
    assert (states[:, :20] == State.VALID).all()
    assert (states[:, 20:] == State.OUTSIDE).all()
    row, col = layout.pixel_of(31, *planted.LAKES[0][:2])
    shore = Window(31, row - 55, col - 20, 40, 40)
    source.fetch([shore])
    water = archive.planted(31, shore.row, shore.col, 40, 40) == planted.Kind.WATER
    assert 0 < water.sum() < shore.pixels
    np.testing.assert_array_equal(source.states(shore) == State.WATER, water)


# --- only what is needed


def test_only_the_rows_that_are_needed_are_asked_for(archive, server, tmp_path):
    tile = tile_window(archive, "grid_0.15_52.15")
    window = Window(31, tile.row + 400, tile.col + 200, 50, 100)
    source = opened(server, tmp_path)
    summary = source.fetch([window])
    assert summary.bytes_fetched == PROBES + 50 * tile.width * PIXEL_BYTES
    assert summary.cached_px == 0
    # the rows were paid for in all their width, and cost nothing now
    beside = Window(31, tile.row + 400, tile.col + 500, 50, tile.width - 500)
    again = source.fetch([window, beside])
    assert (again.bytes_fetched, again.requests) == (0, 0)
    assert again.cached_px == again.pixels == window.pixels + beside.pixels
    assert_same(source.read(beside), expected(archive, beside))
    # ten rows more cost ten rows, and no probe
    taller = Window(31, tile.row + 395, tile.col + 200, 60, 100)
    more = source.fetch([taller])
    assert more.bytes_fetched == 10 * tile.width * PIXEL_BYTES
    assert more.cached_px == 5000


def test_ranges_are_of_the_object_that_was_probed_and_not_long(archive, server, tmp_path):
    tile = tile_window(archive, "grid_0.15_52.15")
    opened(server, tmp_path).fetch([Window(31, tile.row + 300, tile.col + 200, 110, 50)])
    assert len(server.log) > 8
    for entry in server.log:
        first, last = map(int, entry.headers["range"][6:].split("-"))
        assert last - first < 2_000_000
        if first:
            assert entry.headers["if-match"] == f'"{archive.find(entry.path).etag}"'


def test_no_more_requests_at_once_than_allowed(archive, server, tmp_path):
    server.latency_s = 0.02
    window = corner(archive, "grid_0.15_52.15", 120, 100)
    opened(server, tmp_path, connections=3).fetch([window])
    assert server.most_active == 3 == server.connections


def test_a_tile_is_not_asked_where_an_earlier_one_is_valid(archive, server, tmp_path):
    """Rows that two tiles share are taken from the first; the second is not even looked up."""
    first = tile_window(archive, "grid_0.15_52.05")
    second = tile_window(archive, "grid_0.15_52.15")
    shared = Window(31, second.stop_row - 4, second.col + 30, 2, 40)
    assert shared.intersection(first) == shared == shared.intersection(second)
    source = opened(server, tmp_path)
    summary = source.fetch([shared])
    assert {entry.path.split("/")[3] for entry in server.log} == {"grid_0.15_52.05"}
    assert summary.bytes_fetched == PROBES + 2 * first.width * PIXEL_BYTES


def test_progress_is_told_in_megabytes_and_never_goes_back(archive, server, tmp_path):
    server.bandwidth = 8e6
    window = corner(archive, "grid_0.15_52.15", 80, 80)
    told = []
    summary = opened(server, tmp_path).fetch([window], lambda f, m: told.append((f, m)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == pytest.approx(1)
    total = (summary.bytes_fetched - 4 * PROBES) / 1e6
    messages = [message for _, message in told if message.startswith("Fetching")]
    assert messages[-1] == f"Fetching {total:.1f} of {total:.1f} MB"
    assert len(set(messages)) > 5


# --- scattered rows


@pytest.fixture
def kept(monkeypatch):
    """Blocks that were written, one entry per write, and when."""
    noted = []
    real = BlockCache.add

    def add(self, layout, index, pieces):
        noted.append((layout.block, index, time.monotonic()))
        real(self, layout, index, pieces)

    monkeypatch.setattr(BlockCache, "add", add)
    return noted


def scattered(archive, name, count=24, every=5):
    """Single pixels of a tile in different rows, within two rows of blocks."""
    tile = tile_window(archive, name)
    top = -(-(tile.row + 300) // 128) * 128 + 4
    draw = np.random.default_rng(2)
    return [
        Window(tile.zone, top + every * number, tile.col + int(draw.integers(100, 600)), 1, 1)
        for number in range(count)
    ]


def test_a_block_is_written_once_for_scattered_rows(archive, server, tmp_path, kept):
    windows = scattered(archive, "grid_0.15_52.15")
    tile = tile_window(archive, "grid_0.15_52.15")
    source = opened(server, tmp_path)
    summary = source.fetch(windows)
    assert summary.failed == ()
    assert summary.bytes_fetched == PROBES + len(windows) * tile.width * PIXEL_BYTES
    blocks = [block for block, _, _ in kept]
    assert len({window.row for window in windows}) == 24
    assert {block.row for block in blocks} == {
        windows[0].row // 128 * 128,
        windows[-1].row // 128 * 128,
    }
    assert len(blocks) == len(set(blocks))
    for window in windows:
        assert_same(source.read(window), expected(archive, window))
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("utm*/*.npy"))
    assert on_disk < 1.3 * summary.bytes_fetched


def test_what_has_come_does_not_wait_for_a_slow_line(archive, server, tmp_path, kept):
    windows = scattered(archive, "grid_0.15_52.15", 12)
    opened(server, tmp_path).fetch([windows[0]])  # its head is known
    kept.clear()
    server.latency_s = 0.6
    began = time.monotonic()
    source = opened(server, tmp_path, connections=1)
    assert source.fetch(windows[1:4]).failed == ()
    first = min(when for *_, when in kept) - began
    assert len({block for block, _, _ in kept}) < len(kept), "some twice: not all at the end"
    assert first < 1.2 + pieces.FLUSH_S + 0.6


def test_where_much_waits_it_is_written_at_once(archive, server, tmp_path, kept, monkeypatch):
    monkeypatch.setattr(pieces, "HELD_BYTES", 0)
    windows = scattered(archive, "grid_0.15_52.15", 10)
    source = opened(server, tmp_path)
    assert source.fetch(windows).failed == ()
    assert len(kept) > 2 * len({block for block, _, _ in kept})
    for window in windows:
        assert_same(source.read(window), expected(archive, window))


@pytest.mark.parametrize("many", [False, True])
def test_rows_that_came_are_kept_when_others_of_their_blocks_fail(archive, server, tmp_path, many):
    windows = scattered(archive, "grid_0.15_52.15", 12)
    opened(server, tmp_path).fetch([windows[0]])
    server.faults.append(Fault.status(503, path="*/grid_0.15_52.15.npy", skip=6, count=FOREVER))
    source = opened(server, tmp_path, connections=3 if many else 1)
    summary = source.fetch(windows)
    assert ["status 503" in failure.reason for failure in summary.failed] == [True]
    assert summary.cached_px == 1
    there = [w for w in windows if (source.states(w) == State.VALID).all()]
    assert len(there) >= 1 + 6
    for window in there:
        assert_same(source.read(window), expected(archive, window))


def test_rows_that_came_are_kept_when_it_is_cancelled(archive, server, tmp_path):
    windows = scattered(archive, "grid_0.15_52.15", 12)
    opened(server, tmp_path).fetch([windows[0]])
    server.log.clear()
    server.latency_s = 0.1

    def report(fraction, message):
        if sum(entry.path.endswith("15.npy") for entry in server.log) > 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        opened(server, tmp_path, connections=1).fetch(windows, report)
    states = opened(server, tmp_path, offline=True)
    assert 5 <= sum(int(states.states(window)[0, 0]) == State.VALID for window in windows) < 12


# --- what is not published


def test_absent_tiles_are_named_and_not_asked_for_again_for_a_day(archive, server, tmp_path):
    tile = tile_window(archive, "grid_0.25_52.15")
    window = Window(31, tile.row - 40, tile.col + 300, 60, 50)
    source = opened(server, tmp_path)
    summary = source.fetch([window])
    assert summary.absent == ("grid_0.25_52.25",)
    assert summary.failed == ()
    assert (source.states(window)[:20] == State.OUTSIDE).all()
    asked = len(server.log)
    assert source.fetch([window]).absent == ("grid_0.25_52.25",)
    assert len(server.log) == asked
    # a day later it is asked for again
    path = next(tmp_path.rglob("grid_0.25_52.25.json"))
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "crc": None, "checked": time.time() - 25 * 3600}))
    offline = opened(server, tmp_path, offline=True)
    assert offline.fetch([window]).failed == (), "what is known counts for ever when offline"
    assert len(server.log) == asked
    source.fetch([window])
    assert [entry.path.split("/")[-1] for entry in server.log[asked:]] == ["grid_0.25_52.25.npy"]
    source.fetch([window])
    assert len(server.log) == asked + 1


def test_a_tile_published_later_comes_in(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15")
    late = "grid_0.05_52.15"
    server.faults.append(Fault.status(404, path=f"*{late}*", count=FOREVER))
    source = opened(server, tmp_path)
    assert source.fetch([window]).absent == (late,)
    assert_same(source.read(window), expected(archive, window, without=(late,)))
    server.faults.clear()
    path = next(tmp_path.rglob(f"{late}.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "crc": None, "checked": 0}))
    assert source.fetch([window]).absent == ()
    assert_same(source.read(window), expected(archive, window))


# --- one tile fails


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.status(503), "status 503"),
        (Fault.status(403), "access refused (status 403)"),
        (Fault.drop(), "connection broke"),
        (Fault.reset(after=500), "connection broke"),
        (Fault.truncate(after=500), "bytes came|connection broke"),
        (Fault.wrong_length(-3), "were sent instead of"),
        (Fault.wrong_range(2), "were sent instead of"),
        (Fault.ignore_range(), "whole object"),
        (Fault.stall(60), "nothing came"),
        (Fault.silent_etag(), "it changes while it is read"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_failed_tile_is_named_stays_open_and_is_repaired(
    archive, server, tmp_path, fault, reason
):
    bad = "grid_0.05_52.15"
    edge = tile_window(archive, bad).stop_col
    window = Window(31, tile_window(archive, bad).row + 200, edge - 50, 8, 90)
    fault.path, fault.count = f"*/{bad}.npy", FOREVER
    fault.skip = 1  # its probe passes
    if fault.kind == "silent_etag":
        fault = NewEveryTime("silent_etag", path=fault.path, count=FOREVER)
    server.faults.append(fault)
    # a busy machine may let the sound ones wait
    timeout_s = 1 if fault.kind == "stall" else QUICK.read_timeout_s
    source = opened(server, tmp_path, read_timeout_s=timeout_s, attempts=2)
    summary = source.fetch([window])
    assert [failure.part for failure in summary.failed] == [bad]
    if reason.startswith("access"):
        assert summary.failed[0].reason == reason
    else:
        assert any(text in summary.failed[0].reason for text in reason.split("|"))
    # its part is unknown, also where a neighbour has data; the rest is right
    own = tile_window(archive, bad).intersection(window).slices_in(window)
    states = source.states(window)
    codes, scales = expected(archive, window)
    open_part = np.zeros(window.shape, bool)
    open_part[own] = True  # all of it: no other tile of the corner comes before this one
    neighbour = tile_window(archive, "grid_0.15_52.15").intersection(window)
    assert open_part[neighbour.slices_in(window)].any(), "which has data in a part of it"
    assert (states[open_part] == State.UNKNOWN).all()
    assert not (states[~open_part] == State.UNKNOWN).any()
    codes[open_part], scales[open_part] = 0, np.nan
    assert_same(source.read(window), (codes, scales))
    assert 0 < summary.valid_px == np.isfinite(scales).sum()
    # and the next fetch asks for it, and for nothing else
    server.clear()
    repaired = source.fetch([window])
    assert repaired.failed == ()
    assert {entry.path.split("/")[3] for entry in server.log} == {bad}
    assert_same(source.read(window), expected(archive, window))


class NewEveryTime(Fault):
    """Another ETag with every answer."""

    def use(self):
        super().use()
        self.etag = f"W/{self.hits}"


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429),
        Fault.status(503, retry_after=0),
        Fault.drop(),
        Fault.reset(after=500),
        Fault.truncate(after=500),
        Fault.wrong_length(1),
        Fault.wrong_range(1),
        Fault.ignore_range(),
        Fault.stall(60),
        Fault.stall_body(60, after=800),
        Fault.silent_etag(),
        Fault.changed_etag(),
    ],
    ids=lambda fault: fault.kind,
)
def test_passing_faults_leave_no_trace(archive, server, tmp_path, fault):
    window = corner(archive, "grid_0.15_52.15", 12, 20)
    fault.count, fault.skip, fault.path = 3, 6, "*.npy"
    server.faults.append(fault)
    source = opened(server, tmp_path, read_timeout_s=0.4)
    summary = source.fetch([window])
    assert fault.hits == 3
    assert summary.failed == () == summary.unusual
    assert_same(source.read(window), expected(archive, window))


def test_without_any_network_a_fetch_ends_soon(archive, server, tmp_path):
    windows = [
        Window(31, tile_window(archive, name).row + 300, tile_window(archive, name).col + 300, 9, 9)
        for name in ("grid_0.05_52.05", "grid_0.15_52.05", "grid_0.05_52.15", "grid_0.15_52.15",
                     "grid_0.25_52.05", "grid_0.25_52.15", "grid_0.05_52.25", "grid_0.15_52.25")
    ]  # fmt: skip
    server.faults.append(Fault.drop(count=FOREVER))
    source = opened(server, tmp_path, connections=2, backoff_s=0.03)
    began = time.monotonic()
    summary = source.fetch(windows)
    assert time.monotonic() - began < within(2)
    assert len(summary.failed) == 8
    assert Failure("grid_0.25_52.15", "no connection") in summary.failed
    assert summary.unreachable.startswith(server.url)
    assert len(server.log) <= 12
    server.clear()
    summary = source.fetch(windows)
    assert summary.failed == ()
    assert summary.unreachable == ""


# --- a tile changes


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


TINY = "grid_0.15_52.15"


def tiny_tile(height=40, width=30, seed=0):
    random = np.random.default_rng(seed)
    codes = random.integers(-99, 100, (height, width, 128), dtype=np.int8)
    codes[..., 5] = 127
    scales = random.uniform(0.04, 0.08, (height, width)).astype(np.float32)
    return codes, scales


def put(provider, codes, scales, name=TINY, **etags):
    stem = f"npy/v1.1-cam/2024/{name}/{name}"
    data = codes if isinstance(codes, bytes) else npy(codes)
    provider.put(f"{stem}.npy", data, etag=etags.get("codes_etag"))
    provider.put(f"{stem}_scales.npy", npy(scales), etag=etags.get("scales_etag"))


@pytest.fixture
def tiny():
    """A server with one small tile, and the window of it."""
    provider = DictProvider()
    put(provider, *tiny_tile())
    with RangeServer(provider) as running:
        running.window = Tile.parse(TINY).footprint((40, 30))
        yield running


def part_of(window, start, stop):
    return Window(window.zone, window.row + start, window.col, stop - start, window.width)


@pytest.mark.parametrize("etags", [("", ""), ("W/one", "W/two")], ids=["strong", "weak"])
@pytest.mark.parametrize("which", ["codes", "scales", "both"])
def test_a_rebuilt_tile_is_never_mixed_with_its_older_self(tiny, tmp_path, etags, which):
    old, new = tiny_tile(seed=1), tiny_tile(seed=2)
    new = (new[0] if which != "scales" else old[0], new[1] if which != "codes" else old[1])
    weak = {} if not etags[0] else {"codes_etag": 'W/"1"', "scales_etag": 'W/"1"'}
    put(tiny.provider, *old, **weak)
    source = opened(tiny, tmp_path)
    top, rest = part_of(tiny.window, 0, 20), part_of(tiny.window, 20, 40)
    source.fetch([top])
    np.testing.assert_array_equal(source.read(top)[0], old[0][:20])
    if weak:
        name = "codes_etag" if which == "codes" else "scales_etag"
        weak = dict.fromkeys(weak, 'W/"2"') if which == "both" else {**weak, name: 'W/"2"'}
    put(tiny.provider, *new, **weak)
    summary = source.fetch([rest])
    assert summary.failed == ()
    np.testing.assert_array_equal(source.read(rest)[0], new[0][20:])
    np.testing.assert_array_equal(source.read(rest)[1], new[1][20:])
    assert (source.states(top) == State.UNKNOWN).all(), "the older part is not shown beside it"
    assert not source.read(top)[0].any()
    source.fetch([tiny.window])
    assert_same(source.read(tiny.window), new)


def test_a_tile_rebuilt_while_it_is_read(tiny, tmp_path):
    """The window's own earlier part is fetched again in the same go."""
    old, new = tiny_tile(seed=1), tiny_tile(seed=2)
    put(tiny.provider, *old)
    source = opened(tiny, tmp_path)
    source.fetch([part_of(tiny.window, 0, 20)])
    put(tiny.provider, *new)
    assert source.fetch([tiny.window]).failed == ()
    assert_same(source.read(tiny.window), new)


def test_a_tile_that_another_process_has_seen_newer(tiny, tmp_path):
    """What arrives of the older self is not put beside, or over, blocks of the newer."""
    old, new = tiny_tile(seed=1), tiny_tile(seed=2)
    put(tiny.provider, *old)
    source, other = opened(tiny, tmp_path), opened(tiny, tmp_path)
    source.fetch([part_of(tiny.window, 0, 5)])
    stale = source.cache.tile(TINY)
    put(tiny.provider, *new)
    other.fetch([tiny.window])
    assert_same(other.read(tiny.window), new)
    window = part_of(tiny.window, 10, 20)
    client = HttpClient(QUICK)
    order = Order([window], silent, NO_OPTIONS)
    fetch = TileFetch(source, client, Front(client, (tiny.url,)), order)
    fetch._known._infos[Tile.parse(TINY)] = stale
    wanted = fetch._wanted(Tile.parse(TINY), np.ones(40, bool))
    late, _ = wanted.piece(10, old[0][10:20].tobytes(), old[1][10:20].tobytes())
    with pytest.raises(ObjectChanged):
        fetch._keep(wanted, [late])
    assert_same(other.read(tiny.window), new)


def test_a_tile_that_is_taken_away_is_absent(tiny, tmp_path):
    source = opened(tiny, tmp_path)
    source.fetch([part_of(tiny.window, 0, 20)])
    for path in list(tiny.provider._files):
        tiny.provider.remove(path)
    summary = source.fetch([tiny.window])
    assert TINY in summary.absent
    assert summary.valid_px == 0


# --- what is not as it should be


@pytest.mark.parametrize(
    ("codes", "scales", "reason"),
    [
        (np.asfortranarray(tiny_tile()[0]), None, "Fortran order"),
        (tiny_tile()[0].astype("i2"), None, "<i2, not int8"),
        (tiny_tile()[0][..., :64], None, "not (H, W, 128)"),
        (b"<html>not found</html>" * 20, None, "not a .npy file"),
        (npy(tiny_tile()[0])[:-5], None, "bytes where"),
        (npy(tiny_tile()[0]) + b"more", None, "bytes where"),
        (b"short", None, "only 5 bytes"),
        (None, tiny_tile()[1].astype("f8"), "<f8, not float32"),
        (None, tiny_tile(41)[1], "its scales have the shape (41, 30)"),
        (None, tiny_tile()[1].T.copy(), "its scales have the shape (30, 40)"),
    ],
)
def test_a_tile_that_is_not_what_it_should_be_is_refused_by_name(
    tiny, tmp_path, codes, scales, reason
):
    good = tiny_tile()
    put(tiny.provider, good[0] if codes is None else codes, good[1] if scales is None else scales)
    source = opened(tiny, tmp_path)
    summary = source.fetch([tiny.window])
    assert [failure.part for failure in summary.failed] == [TINY]
    assert reason in summary.failed[0].reason
    assert (source.states(tiny.window) == State.UNKNOWN).all()
    put(tiny.provider, *good)
    assert source.fetch([tiny.window]).failed == ()
    assert_same(source.read(tiny.window), good)


def test_a_tile_without_scales_is_not_absent(tiny, tmp_path):
    tiny.provider.remove(f"npy/v1.1-cam/2024/{TINY}/{TINY}_scales.npy")
    summary = opened(tiny, tmp_path).fetch([tiny.window])
    assert summary.failed == (Failure(TINY, "its scales are not published"),)
    assert TINY not in summary.absent


def test_headers_of_any_length(tiny, tmp_path):
    codes, scales = tiny_tile()
    stream = io.BytesIO()
    np.lib.format.write_array(stream, codes, version=(2, 0))
    data = stream.getvalue()
    length = 12 + int.from_bytes(data[8:12], "little")
    padded = data[12:length].rstrip() + b" " * 700 + b"\n"
    put(
        tiny.provider, data[:8] + len(padded).to_bytes(4, "little") + padded + data[length:], scales
    )
    source = opened(tiny, tmp_path)
    assert source.fetch([tiny.window]).failed == ()
    assert_same(source.read(tiny.window), (codes, scales))


def test_another_shape_than_computed_is_named(tiny, tmp_path):
    source = opened(tiny, tmp_path)
    assert source.fetch([tiny.window]).unusual == (TINY,)
    beyond = Window(31, tiny.window.row, tiny.window.col, 50, 40)
    source.fetch([beyond])
    assert (source.states(beyond)[40:] == State.OUTSIDE).all()
    assert (source.states(beyond)[:40, :30] == State.VALID).all()


def test_a_tile_that_is_larger_than_computed_is_read_all_the_same(tmp_path):
    name = "grid_0.05_83.95"
    place = Tile.parse(name).footprint()
    codes, scales = tiny_tile(place.height + 2, place.width + 3)
    provider = DictProvider()
    put(provider, codes, scales, name)
    with RangeServer(provider) as server:
        source = opened(server, tmp_path)
        end = Window.between(place.zone, place.stop_row - 9, place.stop_col - 9,
                             place.stop_row + 20, place.stop_col + 20)  # fmt: skip
        summary = source.fetch([end])
        assert summary.failed == ()
        assert summary.unusual == (name,)
        got = source.read(end)
        np.testing.assert_array_equal(got[0][:9, :9], codes[-11:-2, -12:-3])
        np.testing.assert_array_equal(got[1][:9, :9], scales[-11:-2, -12:-3])


def test_scales_of_every_band_are_read_where_they_agree(tiny, tmp_path):
    codes, scales = tiny_tile()
    scales[3, 4], scales[5, 6] = np.nan, np.inf
    put(tiny.provider, codes, np.repeat(scales[..., None], 128, axis=2))
    source = opened(tiny, tmp_path)
    assert source.fetch([tiny.window]).failed == ()
    codes[3, 4] = codes[5, 6] = 0
    scales[5, 6] = np.nan
    assert_same(source.read(tiny.window), (codes, scales))


def test_scales_of_every_band_that_differ_are_refused(tiny, tmp_path):
    codes, scales = tiny_tile()
    deep = np.repeat(scales[..., None], 128, axis=2)
    deep[20, 7, 100] *= 2
    put(tiny.provider, codes, deep)
    source = opened(tiny, tmp_path)
    summary = source.fetch([tiny.window])
    assert summary.failed == (Failure(TINY, "the scales of its bands differ"),)
    assert (source.states(tiny.window)[20] == State.UNKNOWN).all()


# --- unusual values and checksums


@pytest.mark.parametrize("kind", ["peak", "minimum"])
def test_unusual_data_are_asked_for_twice_then_kept_and_named(archive, tmp_path, kind):
    """With a tile of the computed shape, whose shape is no reason to name it."""
    name = "grid_0.05_83.95"
    place = Tile.parse(name).footprint()
    codes, scales = tiny_tile(place.height, place.width)
    codes[501, 20, 5] = 100 if kind == "peak" else 127
    codes[501, 20, 6] = 0 if kind == "peak" else -128
    codes[700:, :, 5], scales[700:] = 50, np.nan  # not valid, so no matter
    provider = DictProvider()
    put(provider, codes, scales, name, codes_etag="multi-12")
    with RangeServer(provider) as server:
        source = opened(server, tmp_path)
        above = Window(place.zone, place.row + 450, place.col, 20, place.width)
        assert source.fetch([above]).unusual == ()
        window = Window(place.zone, place.row + 490, place.col, 20, place.width)
        server.clear()
        assert source.fetch([window]).unusual == (name,)
        ranges = [entry.range for entry in server.log]
        assert len(ranges) == 2 * len(set(ranges)) == 4
        np.testing.assert_array_equal(source.read(window)[0], codes[490:510])
        assert source.fetch([window]).unusual == (name,), "also when it comes from the cache"
        below = Window(place.zone, place.row + 690, place.col, 20, place.width)
        server.clear()
        source.fetch([below])
        assert sorted(entry.status for entry in server.log) == [206, 206, 404]


def test_a_piece_that_came_wrong_is_fetched_again(tiny, tmp_path):
    tiny.faults.append(Fault.corrupt(every=128, path=f"*{TINY}.npy", skip=1))
    source = opened(tiny, tmp_path)
    summary = source.fetch([part_of(tiny.window, 0, 30)])
    assert summary.failed == ()
    assert not source.cache.tile(TINY).unusual
    np.testing.assert_array_equal(source.read(tiny.window)[0][:30], tiny_tile()[0][:30])


def test_a_piece_that_comes_different_each_time_is_refused(tiny, tmp_path):
    where = {"path": f"*{TINY}.npy"}
    tiny.faults += [
        Fault.corrupt(every=128, skip=1, **where),
        Fault.corrupt(every=256, skip=1, **where),
    ]
    source = opened(tiny, tmp_path)
    summary = source.fetch([part_of(tiny.window, 0, 30)])
    assert summary.failed == (Failure(TINY, "it comes different each time"),)
    assert summary.valid_px == 0


def quiet_corruption(**where):
    """Wrong bytes that no look at the values can find."""
    return Fault.corrupt(every=128, mask=0x01, **where)


@pytest.mark.parametrize("which", ["", "_scales"])
def test_a_wrong_checksum_of_a_whole_object_is_tried_again(tiny, tmp_path, which):
    tiny.faults.append(quiet_corruption(path=f"*{TINY}{which}.npy", skip=1))
    source = opened(tiny, tmp_path)
    summary = source.fetch([tiny.window])
    assert summary.failed == ()
    assert_same(source.read(tiny.window), tiny_tile())
    sent = sum(entry.bytes for entry in tiny.requests(f"*{TINY}*"))
    assert sent == PROBES + 2 * 40 * 30 * PIXEL_BYTES


@pytest.mark.parametrize("which", ["", "_scales"])
def test_nothing_is_kept_of_a_tile_whose_checksum_is_wrong_twice(tiny, tmp_path, which):
    tiny.faults.append(quiet_corruption(path=f"*{TINY}{which}.npy", skip=1, count=FOREVER))
    source = opened(tiny, tmp_path)
    summary = source.fetch([tiny.window])
    assert summary.failed == (Failure(TINY, "its checksum is not the published one"),)
    assert summary.valid_px == 0
    assert (source.states(tiny.window) == State.UNKNOWN).all()
    assert not list(tmp_path.rglob("utm31/*.npy"))


def test_an_etag_of_a_multipart_upload_is_no_checksum(tiny, tmp_path):
    put(tiny.provider, *tiny_tile(), codes_etag="0" * 32 + "-3", scales_etag='W/"' + "0" * 32 + '"')
    source = opened(tiny, tmp_path)
    assert source.fetch([tiny.window]).failed == ()
    assert_same(source.read(tiny.window), tiny_tile())


def test_a_checksum_is_right_in_whatever_order_the_parts_come(monkeypatch):
    data = np.random.default_rng(1).bytes(10_000)
    info = pieces.ObjectInfo('"x"', len(data), "", 100, data[:100].decode("latin-1"))
    digest = pieces._Digest(
        info, hashlib.md5(data, usedforsecurity=False).hexdigest(), lambda: None
    )
    starts = np.random.default_rng(2).permutation(np.arange(100, 10_000, 100))
    for start in starts:
        digest.add(int(start), data[start : start + 100])
    assert digest.is_right()
    assert digest._at == len(data)
    wrong = pieces._Digest(info, "0" * 32, lambda: None)
    wrong.add(100, data[100:])
    assert not wrong.is_right()


def test_parts_that_come_early_wait_and_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr(pieces, "AHEAD_BYTES", 1000)
    info = pieces.ObjectInfo('"x"', 5000, "", 0, "")
    digest = pieces._Digest(
        info, hashlib.md5(bytes(5000), usedforsecurity=False).hexdigest(), lambda: None
    )
    early = threading.Thread(target=digest.add, args=(1000, bytes(4000)))
    early.start()
    early.join(0.3)
    assert early.is_alive()
    digest.add(0, bytes(1000))
    early.join(5)
    assert not early.is_alive()
    assert digest.is_right()
    stuck = pieces._Digest(info, "0" * 32, lambda: None)
    waiting = threading.Thread(target=stuck.add, args=(1000, bytes(4000)))
    waiting.start()
    stuck.abandon()
    waiting.join(5)
    assert not waiting.is_alive()
    assert stuck.is_right(), "it can't be told"


# --- offline, cancel, kill


def test_offline_nothing_is_asked(archive, server, tmp_path):
    tile = tile_window(archive, "grid_0.15_52.15")
    window = Window(31, tile.row + 300, tile.col + 200, 30, 30)
    opened(server, tmp_path).fetch([window])
    asked = len(server.log)
    offline = opened(server, tmp_path, offline=True)
    assert offline.fetch([window]).failed == ()
    assert_same(offline.read(window), expected(archive, window))
    wider = Window(31, tile.row + 290, tile.col + 200, 60, 30)
    summary = offline.fetch([wider])
    assert summary.failed == (Failure("grid_0.15_52.15", "not in the cache"),)
    assert summary.valid_px == summary.cached_px == window.pixels
    never = Window(31, tile.row - 500, tile.col + 200, 30, 30)
    assert offline.fetch([never]).failed == (Failure("grid_0.15_52.25", "not in the cache"),)
    assert len(server.log) == asked


def missing_bytes(archive, source, window, name):
    """Return what the rows weigh that the cache lacks of one tile's window."""
    rows = (source.states(window) == State.UNKNOWN).any(axis=1)
    return int(rows.sum()) * tile_window(archive, name).width * PIXEL_BYTES


def cancel_when(condition):
    """A report that cancels, and the moments when it did and when the fetch had ended."""
    moments = []

    def report(fraction, message):
        if condition(fraction, message):
            moments.append(time.monotonic())
            raise Cancelled

    return report, moments


def test_after_cancel_only_what_is_missing_is_fetched(archive, server, tmp_path):
    name = "grid_0.15_52.15"
    tile = tile_window(archive, name)
    window = Window(31, tile.row + 300, tile.col + 200, 250, 60)
    archive.tile_arrays("v1.1-cam", 2024, name, (300, 550))  # made before the clock runs
    server.bandwidth = 20e6
    source = opened(server, tmp_path)
    report, moments = cancel_when(lambda fraction, _: fraction > 0.5)
    with pytest.raises(Cancelled):
        source.fetch([window], report)
    assert time.monotonic() - moments[0] < within(1)
    whole = window.height * tile.width * PIXEL_BYTES
    missing = missing_bytes(archive, source, window, name)
    assert 0 < missing < 0.75 * whole
    server.bandwidth = None
    server.clear()
    summary = source.fetch([window])
    assert summary.bytes_fetched == sum(entry.bytes for entry in server.log) == missing
    assert_same(source.read(window), expected(archive, window))


@pytest.mark.parametrize(
    "fault",
    [
        Fault.stall(60, path="*.npy", count=FOREVER),
        Fault.stall(60, path="*.npy", skip=2, count=FOREVER),
        Fault.stall_body(60, after=1000, path="*.npy", skip=2, count=FOREVER),
        Fault.status(503, retry_after=60, path="*.npy", count=FOREVER),
        Fault.drop(path="*.npy", count=FOREVER),
    ],
    ids=["probe", "headers", "body", "retry-after", "back-off"],
)
def test_cancel_answers_within_a_second_whatever_the_server_does(archive, server, tmp_path, fault):
    server.faults.append(fault)
    window = corner(archive, "grid_0.15_52.15", 200, 100)
    source = opened(server, tmp_path, backoff_s=5, read_timeout_s=60)
    until = time.monotonic() + 0.5
    report, moments = cancel_when(lambda *_: time.monotonic() > until)
    threads = threading.active_count()
    with pytest.raises(Cancelled):
        source.fetch([window], report)
    assert time.monotonic() - moments[0] < within(1)
    server.close_connections()
    deadline = time.monotonic() + 3
    while any(t.name == "tessera-fetch" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "the requests in flight ended as well"
        time.sleep(0.01)
    assert threads


def test_closing_ends_a_fetch_of_another_thread(archive, server, tmp_path):
    server.faults.append(Fault.stall(60, count=FOREVER))
    source = opened(server, tmp_path)
    raised = []

    def fetch():
        try:
            source.fetch([corner(archive, "grid_0.15_52.15")], silent)
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(0.3)
    source.close()
    thread.join(2)
    assert raised


def test_an_error_in_report_is_not_swallowed(archive, server, tmp_path):
    def report(fraction, message):
        if message.startswith("Fetching"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened(server, tmp_path).fetch([corner(archive, "grid_0.15_52.15")], report)


FETCH = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.io.test_npy_tiles import *
class Address: url = sys.argv[2]
window = Window(*map(int, sys.argv[4].split(",")))
source = opened(Address, sys.argv[3])
summary = source.fetch([window])
codes, scales = source.read(window)
print(hashlib.sha256(codes.tobytes() + scales.tobytes()).hexdigest(), summary.failed)
"""


def start_fetch(server, folder, window):
    text = ",".join(map(str, dataclasses.astuple(window)))
    command = [sys.executable, "-c", FETCH, str(ROOT), server.url, str(folder), text]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.long
def test_two_processes_fill_one_cache_at_once(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15", 120, 150)
    codes, scales = expected(archive, window)
    right = hashlib.sha256(codes.tobytes() + scales.tobytes()).hexdigest()
    server.bandwidth = 30e6
    running = [start_fetch(server, tmp_path, window) for _ in range(2)]
    told = [process.communicate(timeout=60)[0].strip() for process in running]
    assert told == [f"{right} ()"] * 2
    assert_same(opened(server, tmp_path).read(window), (codes, scales))


# --- the disk


def test_too_little_room_stops_before_anything_is_fetched(archive, server, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 10_000_000)
    with pytest.raises(DiskFull) as caught:
        opened(server, tmp_path).fetch([corner(archive, "grid_0.15_52.15", 80, 80)])
    assert caught.value.needed_bytes > 10_000_000
    assert all(entry.range == "bytes=0-127" for entry in server.log)


def test_a_cache_that_can_not_be_written_stops_at_once(archive, server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(NotWritable):
        opened(server, tmp_path / "cache").fetch([corner(archive, "grid_0.15_52.15")])


def test_a_corrupt_block_is_fetched_again(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15", 40, 40)
    opened(server, tmp_path).fetch([window])
    path = sorted(tmp_path.rglob("utm31/*.npy"))[3]
    data = bytearray(path.read_bytes())
    data[-30_000] ^= 4
    path.write_bytes(data)
    source = opened(server, tmp_path)
    for _ in range(2):
        summary = source.fetch([window])
        assert summary.failed == ()
        assert_same(source.read(window), expected(archive, window))


def test_a_block_that_never_stays_is_given_up_and_named(tiny, tmp_path, monkeypatch):
    source = opened(tiny, tmp_path)
    monkeypatch.setattr(source.cache, "load", lambda layout, **_: None)
    summary = source.fetch([tiny.window])
    assert summary.failed == (Failure(TINY, mishaps.NOT_KEPT),)
    assert summary.bytes_fetched < PROBES + 6 * 40 * 30 * PIXEL_BYTES


# --- summaries


def test_summaries_add_up():
    one = FetchSummary(10, 5, 2, 100, 3, ("b",), (Failure("x", "y"),), ("u",), 1.5)
    two = FetchSummary(1, 1, 1, 1, 1, ("a", "b"), (Failure("x", "y"),), (), 0.5, "url")
    assert one.merged(two) == FetchSummary(
        11, 6, 3, 101, 4, ("a", "b"), (Failure("x", "y"),), ("u",), 2.0, "url"
    )


def test_pixels_that_no_tile_covers_were_not_in_the_cache(server, tmp_path):
    gap = Window(36, -4, 45_000, 8, 10)  # row -1 is in no tile, by the published rounding
    source = NpyTiles(Access(str(tmp_path), server.url), catalog.dataset("1.1-cambridge"), 2024)
    assert source.fetch([gap]).cached_px == 0
    assert source.fetch([gap]).cached_px == 70
