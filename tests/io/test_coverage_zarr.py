# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coverage of stores through a real server: what it says before and after a fetch, and what it costs.

What is true comes from the sample archive's own arrays (`zarr_window`) and from small stores written
by hand.
"""

import dataclasses
import os
import shutil
import threading
import tracemalloc

import numpy as np
import pytest

from tessera_plugin.errors import ExtentTooLarge
from tessera_plugin.io.sources import availability, coverage, coverage_map, mirrors
from tessera_plugin.io.sources.base import Failure
from tessera_plugin.io.sources.coverage_zarr import StoreGround
from tessera_plugin.io.sources.spots import Nearness
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.zarr import store
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Dataset, NetworkSettings, State, Window
from tests import builders_zarr as build
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import AREAS
from tests.cache_builders import as_nobody, set_writable, stick
from tests.io.coverage_helpers import asked_bytes, counted, look, twice
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
DEMO, SEAM_30, SEAM_31, ZEROS, CORRUPT, GAP, EQUATOR = range(7)


def dataset(name="tiny"):
    key = name.replace("~", "-")
    return Dataset("2.0", key, "", (2023, 2024), "A store", zarr_dir=name, depths=(4, 16, 128))


@pytest.fixture(autouse=True)
def fresh():
    store._asked.clear()
    mirrors._failed.clear()


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


def opened(server, folder, name="tiny", depth=128, year=2024, offline=False, **network):
    settings = dataclasses.replace(QUICK, **network)
    return ZarrStore(Access(str(folder), server.url, offline, settings), dataset(name), year, depth)


def place(archive, number, height=110, width=130, margin=20):
    """A window over the corner of one of the sample's areas, and around it."""
    row, col, full_height, full_width = archive.zarr.rectangle(AREAS[number])
    height, width = min(height, full_height), min(width, full_width)
    return Window(AREAS[number].zone, row - margin, col - margin, height + 2 * margin,
                  width + 2 * margin)  # fmt: skip


def by_scales(scales, nan=State.WATER):
    """What scales alone say of pixels."""
    states = np.full(scales.shape, State.NODATA)
    states[np.isnan(scales)] = nan
    states[np.isposinf(scales)] = State.OUTSIDE
    states[(scales > 0) & (scales < 1)] = State.VALID
    return states


AREA_NAMES = ("demo", "seam-30", "seam-31", "zeros", "corrupt", "gap", "equator")
CASES = [
    *(("v1.1", 128, number) for number in range(7)),
    ("v1.1-dclimate-b", 128, DEMO),
    ("v1.1-dclimate-b", 128, EQUATOR),
    ("v2-2B-L~beta1", 16, DEMO),
    ("v2-2B-L~beta1", 4, SEAM_31),
]


@pytest.mark.parametrize(
    ("name", "depth", "number"), CASES, ids=[f"{n}-{d}-{AREA_NAMES[i]}" for n, d, i in CASES]
)
def test_before_and_after_a_fetch(archive, server, tmp_path, name, depth, number):
    window = place(archive, number)
    source = opened(server, tmp_path, name, depth)
    steps = []
    told = look(source, window, steps=steps)
    codes, scales = archive.zarr_window(
        name, 2024, window.zone, window.row, window.col, *window.shape, depth
    )
    nan = State.NODATA if name == "v1.1-dclimate-b" else State.WATER
    told_before = told.parts[0].states
    # codes that are all zero can't be seen in scales, unless their chunk was never written
    is_zero = ~codes.any(axis=-1)
    says_zero = (told_before == State.NODATA) & is_zero
    np.testing.assert_array_equal(np.where(says_zero, by_scales(scales, nan), told_before),
                                  by_scales(scales, nan))  # fmt: skip
    assert told.counts[State.VALID] > 0
    assert (told.failed, sum(told.cached.values())) == ((), 0)
    assert (told.requests, told.bytes_asked) == (len(server.log), server.bytes_sent)
    # the first step is told before anything is asked
    assert steps[0].requests == 0
    assert steps[0].counts[State.UNKNOWN] == window.pixels
    assert not steps[0].bytes_known

    first = asked_bytes(server)
    server.clear()
    summary = source.fetch([window])
    assert summary.failed == ()
    assert not twice([*first, *asked_bytes(server)]), "neither indexes nor scales come again"
    assert told.bytes_known
    assert told.bytes_to_fetch <= summary.bytes_fetched
    assert summary.bytes_fetched <= 1.1 * told.bytes_to_fetch + 600_000
    server.clear()
    after = look(source, window)
    assert not server.log
    np.testing.assert_array_equal(after.parts[0].states, source.states(window))
    assert (after.bytes_to_fetch, after.bytes_known) == (0, True)
    assert ((after.parts[0].states == State.OUTSIDE) | after.parts[0].cached).all()


def test_offline_what_is_kept_is_told(archive, server, tmp_path):
    window = place(archive, DEMO)
    source = opened(server, tmp_path, "v1.1")
    before = look(source, window)
    left = Window(window.zone, window.row, window.col, window.height, 100)
    source.fetch([left])
    server.clear()
    told = look(opened(server, tmp_path, "v1.1", offline=True), window)
    assert not server.log
    np.testing.assert_array_equal(told.parts[0].states[:, :100], source.states(left))
    assert told.parts[0].cached[:, :100].all()
    assert not told.parts[0].cached[:, 260:].any()
    np.testing.assert_array_equal(told.parts[0].states, before.parts[0].states)
    assert 0 < told.bytes_to_fetch < before.bytes_to_fetch
    nothing = look(opened(server, tmp_path / "empty", "v1.1", offline=True), window)
    assert nothing.counts[State.UNKNOWN] == window.pixels
    assert nothing.bytes_to_fetch == window.pixels * 132


def test_windows_of_two_zones(archive, server, tmp_path):
    windows = place(archive, SEAM_30, 60, 60), place(archive, SEAM_31, 60, 60)
    told = look(opened(server, tmp_path, "v1.1"), *windows)
    wanted = [by_scales(archive.zarr_window("v1.1", 2024, w.zone, w.row, w.col, *w.shape)[1])
              for w in windows]  # fmt: skip
    assert told.counts == counted(*wanted)


def test_part_of_a_block_is_enough_to_be_told_apart(archive, server, tmp_path):
    """A block of which a fetch brought but a part tells of that part only."""
    window = place(archive, DEMO)
    source = opened(server, tmp_path, "v1.1")
    look(source, window)
    some = Window(window.zone, window.row + 50, window.col + 60, 5, 7)
    source.fetch([some])
    told = look(source, window)
    states = source.states(window)
    known = states != State.UNKNOWN
    assert known.any()
    assert not known.all()
    np.testing.assert_array_equal(told.parts[0].states[known], states[known])
    np.testing.assert_array_equal(told.parts[0].cached, known)
    rest = source.fetch([window])
    assert told.bytes_to_fetch <= rest.bytes_fetched <= 1.1 * told.bytes_to_fetch + 600_000


# --- larger than can be looked at pixel by pixel


def chunk_states(archive, name, window, chunk=32):
    """What the index of `v1.1` says: chunks in which nothing was ever written are outside."""
    row0, col0 = archive.zarr.stores[name].grids[1].row, archive.zarr.stores[name].grids[1].col
    top, left = (
        (window.row - row0) // chunk * chunk + row0,
        (window.col - col0) // chunk * chunk + col0,
    )
    rows = -(-(window.stop_row - top) // chunk)
    cols = -(-(window.stop_col - left) // chunk)
    _, scales = archive.zarr_window(
        name, 2024, window.zone, top, left, rows * chunk, cols * chunk, 128
    )
    written = ~np.isposinf(scales).reshape(rows, chunk, cols, chunk).all(axis=(1, 3))
    full = written.repeat(chunk, axis=0).repeat(chunk, axis=1)
    full = full[window.row - top :, window.col - left :][: window.height, : window.width]
    return np.where(full, State.PUBLISHED, State.OUTSIDE)


@pytest.mark.long
def test_large_windows_are_told_by_chunk(archive, server, tmp_path):
    window = place(archive, DEMO, 130, 150, margin=140)
    assert archive.zarr.stores["v1.1"].grids[1].zone == window.zone
    source = opened(server, tmp_path, "v1.1")
    told = look(source, window, detail_px=1000)
    wanted = chunk_states(archive, "v1.1", window)
    assert told.counts == counted(wanted)
    assert told.parts[0].cell_px == 32
    assert told.bytes_known
    assert len(server.requests("*/c/*/*/*")) == 2, "the indexes, no chunk"
    middle = np.minimum(np.arange(0, window.height, 32) + 16, window.height - 1)
    across = np.minimum(np.arange(0, window.width, 32) + 16, window.width - 1)
    np.testing.assert_array_equal(told.parts[0].states, wanted[np.ix_(middle, across)])
    # what a fetch brought is told by pixel
    part = Window(window.zone, window.row + 150, window.col + 150, 60, 70)
    source.fetch([part])
    states = source.states(window)
    wanted[states != State.UNKNOWN] = states[states != State.UNKNOWN]
    after = look(source, window, detail_px=1000)
    assert after.counts == counted(wanted)
    assert after.cached == counted(states[states != State.UNKNOWN])
    rest = source.fetch([window])
    assert after.bytes_to_fetch <= rest.bytes_fetched <= 1.1 * after.bytes_to_fetch + 600_000
    assert look(source, window, detail_px=1000).counts == counted(source.states(window))


def test_more_shards_than_indexes_are_asked_whether_they_are_there(archive, server, tmp_path):
    row, col, _, _ = archive.zarr.rectangle(AREAS[DEMO])
    window = Window(31, row - 9000, col - 2000, 20_000, 12_000)
    source = opened(server, tmp_path, "v1.1", connections=1)
    steps = []
    told = look(source, window, index_bytes=600_000, steps=steps)
    shards = source.files.view(128, 2024).shards(window)
    single = [entry for entry in server.log if entry.range == "bytes=0-0"]
    assert len(single) == len(shards)
    assert len(asked_bytes(server, "*/c/*")) <= len(shards) + 2
    near = Nearness([window])
    order = sorted(shards, key=lambda shard: near.of_window(shard.footprint))
    assert [entry.path for entry in single] == [
        source.files.path(shard.key(shard.group.scales)) for shard in order
    ], "the nearest first"
    assert told.counts[State.PUBLISHED] > 0
    assert told.counts[State.UNKNOWN] == 0
    assert not told.bytes_known
    assert len(steps) >= 3
    server.clear()
    again = look(opened(server, tmp_path, "v1.1"), window, index_bytes=0)
    assert not server.log, "what was seen is remembered for a day"
    assert again.counts == told.counts


@pytest.mark.long
def test_a_country(archive, server, tmp_path):
    """10^10 pixels: bounded requests, a picture of at most a million cells, counts that sum up."""
    windows = (Window(31, -581_000, 20_000, 90_000, 60_000), Window(30, -581_000, 20_000, 90_000,
               60_000))  # fmt: skip
    source = opened(server, tmp_path, "v1.1")
    tracemalloc.start()
    told = look(source, *windows, index_bytes=2_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    shards = sum(len(source.files.view(128, 2024).shards(window)) for window in windows)
    assert told.requests <= shards + 2 * 4 + 2
    assert sum(part.states.size for part in told.parts) <= coverage_map.PICTURE_CELLS
    assert told.counts[State.PUBLISHED] > 0
    assert told.counts[State.OUTSIDE] > told.counts[State.PUBLISHED]
    assert peak < 30e6


def test_what_is_absurd_is_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(ExtentTooLarge):
        look(opened(server, tmp_path, "v1.1"), Window(31, -900_000, 0, 900_000, 100_000))
    assert not server.log


def test_small_shards_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "UNITS", 3)
    monkeypatch.setattr(StoreGround, "unit_px", 10**9)
    codes, scales = build.embeddings(300, 300)
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631)
    with RangeServer(DictProvider(made.build())) as server, pytest.raises(ExtentTooLarge):
        look(opened(server, tmp_path), Window(31, 0, 0, 300, 300))


# --- stores that differ


def tiny(height=200, width=180, seed=0):
    codes, scales = build.embeddings(height, width, 128, seed)
    scales[5:9], codes[5:9] = np.nan, 0
    scales[100:110, 0] = 1.5
    scales[40:120, 60:130], codes[40:120, 60:130] = np.inf, 0
    codes[160:195, 100:140] = 0
    return codes, scales


LAYOUTS = {
    "x before y": {"order": ("time", "band", "x", "y")},
    "index first": {"at_end": False},
    "large chunks": {"shard_px": 512, "inner": 256, "scales_inner": 256},
    "small chunks": {"shard_px": 64, "inner": 16, "scales_inner": 8},
    "scales of larger chunks": {"inner": 16, "scales_inner": 64},
    "codes of larger chunks": {"inner": 64, "scales_inner": 16},
    "gzip": {"packer": build.Packer("gzip")},
}


@pytest.mark.parametrize("detail_px", [10**6, 10], ids=["pixels", "chunks"])
@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_whatever_the_metadata_say(tmp_path, options, detail_px):
    codes, scales = tiny()
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631,
                                      **options)  # fmt: skip
    window = Window(31, -5013, 2991, 220, 200)
    with RangeServer(DictProvider(made.build())) as server:
        source = opened(server, tmp_path)
        told = look(source, window, detail_px=detail_px)
        first = asked_bytes(server)
        server.clear()
        summary = source.fetch([window])
        assert not twice([*first, *asked_bytes(server)])
        assert told.bytes_known
        assert told.bytes_to_fetch <= summary.bytes_fetched
        after = look(source, window, detail_px=detail_px)
    assert after.counts == counted(source.states(window))
    if detail_px > 10:
        before, now = told.parts[0].states, after.parts[0].states
        zero = np.zeros(window.shape, bool)
        zero[10:210, 10:190] = ~codes.any(axis=-1)
        np.testing.assert_array_equal(before[~zero], now[~zero])
        assert set(np.unique(before[zero & (now == State.NODATA)])) <= {State.VALID, State.NODATA}
    else:
        assert told.counts[State.PUBLISHED] >= after.counts[State.VALID]


def test_codes_that_were_never_written_are_not_valid(tmp_path):
    codes, scales = build.embeddings(128, 128)
    codes[32:64, 64:96] = 0  # a whole chunk, which is left out
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631)
    window = Window(31, 0, 0, 128, 128)
    with RangeServer(DictProvider(made.build())) as server:
        source = opened(server, tmp_path)
        told = look(source, window)
        source.fetch([window])
    np.testing.assert_array_equal(told.parts[0].states, source.states(window))
    assert told.counts[State.NODATA] == 32 * 32


@pytest.mark.parametrize("detail_px", [10**6, 10], ids=["pixels", "chunks"])
def test_where_hemispheres_overlap_the_better_one_counts(tmp_path, detail_px):
    north, scales = build.embeddings(70, 40, seed=1)
    south, others = build.embeddings(70, 40, seed=2)
    scales[:10], scales[10:20], scales[20:25] = np.inf, np.nan, np.inf
    others[5:25] = np.nan
    others[12:15] = np.inf
    made = build.StoreBuilder()
    made.group("36N", north, scales, row=-20, col=3001, epsg=32636)
    made.group("36S", south, others, row=-27, col=2990, epsg=32736)
    window = Window(36, -30, 2980, 90, 70)
    with RangeServer(DictProvider(made.build())) as server:
        source = opened(server, tmp_path)
        told = look(source, window, detail_px=detail_px)
        source.fetch([window])
        after = look(source, window, detail_px=detail_px)
    assert after.counts == counted(source.states(window))
    if detail_px > 10:
        np.testing.assert_array_equal(told.parts[0].states, source.states(window))


def test_a_year_that_the_store_does_not_have_is_outside(server, archive, tmp_path):
    window = place(archive, DEMO, 20, 20)
    told = look(opened(server, tmp_path, "v1.1", year=2019), window)
    assert told.counts[State.OUTSIDE] == window.pixels
    assert (told.bytes_to_fetch, told.bytes_known) == (0, True)


# --- what can go wrong


def test_one_shard_that_fails_is_named_and_the_rest_is_told(tmp_path):
    codes, scales = build.embeddings(256, 128)
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631)
    with RangeServer(DictProvider(made.build())) as server:
        server.faults.append(Fault.status(403, path="*/scales/c/0/1/0", count=FOREVER))
        told = look(opened(server, tmp_path), Window(31, 0, 0, 256, 128))
    assert told.failed == (Failure("utm31 1/0", "access refused (status 403)"),)
    assert told.counts == counted(np.repeat([[State.VALID], [State.UNKNOWN]], 128 * 128, axis=1))
    assert not told.bytes_known


FAULTS = {
    "503 twice": Fault.status(503, path="*/c/*", count=2),
    "index damaged once": Fault.corrupt(every=64, path="*/scales/c/*", count=1),
    "reset": Fault.reset(after=300, path="*/scales/c/*", count=2),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_passes_leaves_nothing_behind(tmp_path, fault):
    codes, scales = tiny()
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631)
    with RangeServer(DictProvider(made.build())) as server:
        server.faults.append(dataclasses.replace(fault))
        told = look(opened(server, tmp_path), Window(31, 0, 0, 128, 128))
    assert told.failed == ()
    assert told.counts[State.UNKNOWN] == told.counts[State.PUBLISHED] == 0


@pytest.mark.parametrize("count", [1, FOREVER], ids=["once", "always"])
def test_chunks_that_come_damaged_are_not_kept_for_the_fetch(tmp_path, count):
    codes, scales = tiny()
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631)
    window = Window(31, 0, 0, 128, 128)
    with RangeServer(DictProvider(made.build())) as server:
        # the first request is for the index
        server.faults.append(
            Fault.corrupt(every=512, mask=0xFF, path="*/scales/c/*", count=count, skip=1)
        )
        source = opened(server, tmp_path)
        told = look(source, window)
        assert (told.counts[State.PUBLISHED] > 0) == (count == FOREVER)
        server.clear()
        assert source.fetch([window]).failed == ()
    assert (source.states(window) != State.UNKNOWN).all()


def test_a_shard_that_changes_meanwhile_is_forgotten(tmp_path):
    codes, scales = build.embeddings(128, 128)
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631)
    window = Window(31, 0, 0, 128, 128)
    with RangeServer(DictProvider(made.build())) as server:
        server.faults.append(Fault.changed_etag(path="*/scales/c/*", count=FOREVER, skip=1))
        source = opened(server, tmp_path)
        told = look(source, window)
        assert told.failed == (Failure("utm31 0/0", coverage.CHANGED),)
        assert told.counts[State.UNKNOWN] == window.pixels
        server.clear()
        assert look(source, window).counts[State.VALID] == window.pixels


def test_a_network_that_is_gone_does_not_hold_up_for_long(archive, server, tmp_path):
    window = place(archive, DEMO)
    look(opened(server, tmp_path, "v1.1"), Window(31, window.row, window.col, 3, 3))
    server.clear()
    server.faults.append(Fault.drop(count=FOREVER))
    wide = Window(31, window.row - 20_000, window.col - 12_000, 40_000, 24_000)
    told = look(opened(server, tmp_path, "v1.1", attempts=2), wide, detail_px=10)
    assert len(server.log) < 30
    assert told.counts[State.UNKNOWN] > 0
    assert told.counts[State.OUTSIDE] > 0, "what is kept is told"
    assert coverage.NO_CONNECTION in {failure.reason for failure in told.failed}


def test_a_store_that_can_not_be_asked_is_unknown(server, archive, tmp_path):
    window = place(archive, DEMO, 20, 20)
    server.faults.append(Fault.status(403, count=FOREVER))
    told = look(opened(server, tmp_path, "v1.1"), window)
    assert told.counts[State.UNKNOWN] == window.pixels
    assert [failure.part for failure in told.failed] == ["v1.1"]
    server.clear()
    gone = look(opened(server, tmp_path, "v9"), window)
    assert gone.counts[State.UNKNOWN] == window.pixels
    assert gone.failed == (Failure("v9", "it is not published"),)


def test_cancel_is_heard_and_what_came_is_kept(archive, server, tmp_path):
    window = place(archive, DEMO)
    server.latency_s = 0.3
    calls = []

    def report(fraction, message):
        calls.append((fraction, threading.get_ident()))
        if server.requests("*/c/*"):
            raise Cancelled

    with pytest.raises(Cancelled):
        look(opened(server, tmp_path, "v1.1"), window, report=report)
    assert {ident for _, ident in calls} == {threading.get_ident()}
    fractions = [fraction for fraction, _ in calls]
    assert fractions == sorted(fractions)
    assert (tmp_path / "locks").exists() or list(tmp_path.rglob("zarr.json"))


@pytest.mark.skipif(os.name == "nt", reason="folders are made read-only by other means there")
def test_a_cache_that_can_only_be_read_tells_what_it_has(archive, server):
    window = place(archive, DEMO)
    with stick() as folder:
        source = opened(server, folder, "v1.1")
        source.fetch([window])
        wanted = counted(source.states(window))
        set_writable(folder, writable=False)
        told = as_nobody(lambda: look(opened(server, folder, "v1.1"), window))
    assert (told.failed, told.counts) == ((), wanted)
    assert told.bytes_to_fetch == 0


def test_where_nothing_can_be_kept_it_is_told_all_the_same(archive, server, tmp_path):
    window = place(archive, DEMO)
    wanted = look(opened(server, tmp_path / "cache", "v1.1"), window)
    (tmp_path / "file").write_text("a file where the folder should be")
    server.clear()
    told = look(opened(server, tmp_path / "file", "v1.1"), window)
    assert (told.failed, told.counts) == ((), wanted.counts)
    assert not twice(asked_bytes(server))


# --- refreshed


def test_refresh_forgets_availability_and_not_the_data(archive, server, tmp_path):
    window = place(archive, DEMO, 100, 100)
    source = opened(server, tmp_path, "v1.1")
    look(source, window)
    source.fetch([window])
    states = source.states(window)
    availability.forget(source.access, source.dataset)
    offline = opened(server, tmp_path, "v1.1", offline=True)
    np.testing.assert_array_equal(offline.states(window), states)
    assert look(offline, window).cached == counted(states)
    server.clear()
    again = opened(server, tmp_path, "v1.1").fetch([window])
    assert (again.failed, again.valid_px) == ((), int((states == State.VALID).sum()))
    index = {start for _, start, _ in asked_bytes(server, "*/c/*")}
    shard = source.files.view(128, 2024).shards(window)[0]
    sizes = {stop - start for _, start, stop in asked_bytes(server, "*/c/*")}
    assert sizes <= {shard.group.codes.index_bytes, shard.group.scales.index_bytes}
    assert index
    assert server.requests("*zarr.json")


def test_what_is_published_later_is_found_after_a_refresh(tmp_path):
    codes, scales = build.embeddings(128, 128)
    files = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631).build()
    shards = {path: files.pop(path) for path in list(files) if "/c/0/0" in path}
    provider = DictProvider(files)
    window = Window(31, 0, 0, 128, 128)
    with RangeServer(provider) as server:
        source = opened(server, tmp_path)
        assert look(source, window).counts[State.OUTSIDE] == window.pixels
        for path, data in shards.items():
            provider.put(path, data)
        server.clear()
        assert look(source, window).counts[State.OUTSIDE] == window.pixels, "a 404 is believed"
        assert not server.requests("*/c/*")
        availability.forget(source.access, source.dataset)
        assert look(source, window).counts[State.VALID] == window.pixels


def test_the_cache_can_be_thrown_away_at_any_time(archive, server, tmp_path):
    window = place(archive, DEMO, 60, 60)
    source = opened(server, tmp_path, "v1.1")
    first = look(source, window)
    shutil.rmtree(tmp_path)
    second = look(opened(server, tmp_path, "v1.1"), window)
    assert first.counts == second.counts
