# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores through a real server into a real cache, and what can go wrong on the way.

The sample's stores say what should come out (`zarr_window`); small ones written by hand differ where
the sample does not.
"""

import dataclasses
import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.errors import (
    DecoderMissing,
    DepthNotOffered,
    DiskFull,
    NotWritable,
    StoreUnusable,
)
from tessera_plugin.io import files
from tessera_plugin.io.sources import mirrors, mishaps
from tessera_plugin.io.sources.base import Failure
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.zarr import decode, store
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Dataset, NetworkSettings, State, Window
from tests import builders_zarr as build
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import AREAS
from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
DEMO, SEAM_30, SEAM_31, ZEROS, CORRUPT, GAP, EQUATOR = range(7)


def dataset(name="tiny"):
    return Dataset("2.0", name.replace("~", "-"), "", (2024,), "A store", zarr_dir=name)


@pytest.fixture(autouse=True)
def fresh():
    """Another session for each test, which leaves nothing in GDAL's memory."""
    store._asked.clear()
    mirrors._failed.clear()
    yield
    assert not gdal.ReadDir("/vsimem/")


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


def place(archive, number, height=120, width=130, margin=5):
    """A window over the corner of one of the sample's areas."""
    row, col, full_height, full_width = archive.zarr.rectangle(AREAS[number])
    height, width = min(height, full_height), min(width, full_width)
    return Window(AREAS[number].zone, row - margin, col - margin, height + 2 * margin,
                  width + 2 * margin)  # fmt: skip


def ruled(codes, scales):
    """Return arrays as the rule of validity leaves them, and which pixels are valid."""
    valid = (scales > 0) & (scales < 1) & (codes != 0).any(axis=-1)
    return np.where(valid[..., None], codes, 0), np.where(valid, scales, np.nan), valid


def states_of(codes, scales, nan=State.WATER):
    _, _, valid = ruled(codes, scales)
    states = np.full(scales.shape, State.NODATA)
    states[np.isnan(scales)] = nan
    states[np.isposinf(scales)] = State.OUTSIDE
    states[valid] = State.VALID
    return states


def assert_same(got, wanted):
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])
    assert got[0].dtype == np.int8
    assert got[1].dtype == np.float32


# --- bit for bit


STORES = [("v1.1", 128), ("v1.1-dclimate", 128), ("v1.1-dclimate-b", 128),
          ("v2-2B-L~beta1", 128), ("v2-2B-L~beta1", 16), ("v2-2B-L~beta1", 4)]  # fmt: skip


@pytest.mark.parametrize(("name", "depth"), STORES)
@pytest.mark.parametrize("number", range(7), ids=["demo", "seam-30", "seam-31", "zeros", "corrupt",
                         "gap", "equator"])  # fmt: skip
def test_a_window_is_bit_for_bit_what_the_store_holds(
    archive, server, tmp_path, name, depth, number
):
    window = place(archive, number)
    source = opened(server, tmp_path, name, depth)
    summary = source.fetch([window])
    held = archive.zarr_window(
        name, 2024, window.zone, window.row, window.col, *window.shape, depth
    )
    codes, scales, valid = ruled(*held)
    assert_same(source.read(window), (codes, scales))
    assert summary.failed == () == summary.unusual
    assert summary.valid_px == valid.sum() > 0
    assert summary.pixels == window.pixels
    assert summary.bytes_fetched == server.bytes_sent
    assert summary.requests == len(server.log)
    nan = State.NODATA if name == "v1.1-dclimate-b" else State.WATER
    np.testing.assert_array_equal(source.states(window), states_of(*held, nan))
    part = Window.between(window.zone, window.row + 3, window.col + 5, window.stop_row - 1,
                          window.stop_col - 7)  # fmt: skip
    assert_same(source.read(part), [array[part.slices_in(window)] for array in (codes, scales)])
    again = source.fetch([window])
    assert (again.requests, again.bytes_fetched) == (0, 0)
    assert again.cached_px == window.pixels


def test_an_empty_year_and_one_that_is_not_listed_are_outside(archive, server, tmp_path):
    window = place(archive, DEMO, 20, 20)
    for year in (2022, 1999):
        source = opened(server, tmp_path, "v1.1", year=year)
        summary = source.fetch([window])
        assert summary.valid_px == 0
        assert summary.failed == ()
        assert (source.states(window) == State.OUTSIDE).all()
    assert source.years() == (2022, 2023, 2024)


def test_a_zone_without_a_group_is_outside(server, tmp_path):
    window = Window(12, -500_000, 30_000, 20, 20)
    source = opened(server, tmp_path, "v1.1")
    assert source.fetch([window]).valid_px == 0
    assert (source.states(window) == State.OUTSIDE).all()


def test_depths_that_are_offered(server, tmp_path):
    assert opened(server, tmp_path, "v2-2B-L~beta1").depths() == (4, 16, 128)
    assert opened(server, tmp_path, "v1.1").depths() == (128,)
    with pytest.raises(DepthNotOffered) as caught:
        opened(server, tmp_path, "v1.1", 16).fetch([Window(31, -578_800, 30_250, 5, 5)])
    assert caught.value.depths == (128,)


# --- small stores that differ


def served(files):
    return RangeServer(DictProvider(files))


def tiny(height=200, width=180, seed=0, depth=128):
    """Codes and scales with water, nodata, and a part that was never written."""
    codes, scales = build.embeddings(height, width, depth, seed)
    scales[5:9], codes[5:9] = np.nan, 0
    scales[100:110, 0] = 1.5
    scales[40:120, 60:130], codes[40:120, 60:130] = np.inf, 0
    codes[20, 20] = 0
    return codes, scales


LAYOUTS = {
    "as published": {},
    "bands last": {"order": ("time", "y", "x", "band")},
    "x before y": {"order": ("time", "band", "x", "y")},
    "index first": {"at_end": False},
    "large chunks": {"shard_px": 512, "inner": 256, "scales_inner": 256},
    "small chunks": {"shard_px": 64, "inner": 16, "scales_inner": 8},
    "scales of larger chunks": {"inner": 16, "scales_inner": 64},
    "codes of larger chunks": {"inner": 64, "scales_inner": 16},
    "zstd": {"packer": build.Packer("zstd")},
    "gzip": {"packer": build.Packer("gzip")},
    "plain with checksums": {"packer": build.Packer("", crc=True)},
    "lz4": {"packer": build.Packer("blosc", "lz4")},
    "coordinates only": {"transform": False},
    "several years": {"years": (2017, 2024, 2025), "time": 1},
}


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_whatever_the_metadata_say(tmp_path, options):
    codes, scales = tiny()
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631,
                                      **options)  # fmt: skip
    window = Window(31, -5003, 3001, 200, 180)
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        summary = source.fetch([window])
    assert summary.failed == () == summary.unusual
    assert_same(source.read(window), ruled(codes, scales)[:2])
    np.testing.assert_array_equal(source.states(window), states_of(codes, scales))
    wide = Window(31, -5013, 2991, 220, 200)
    assert (source.states(wide)[:10] == State.OUTSIDE).all()


def test_metadata_that_are_not_consolidated(tmp_path):
    codes, scales = tiny()
    made = build.StoreBuilder(consolidated=False)
    made.group("31N", codes, scales, row=-5003, col=3001, epsg=32631)
    window = Window(31, -4990, 3011, 30, 40)
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        assert source.fetch([window]).failed == ()
        server.clear()
        other = opened(server, tmp_path)
        other.fetch([Window(31, -4970, 3041, 30, 40)])
        assert not server.requests("*.json"), "they are kept"
        assert other.years() == (2024,)
    inside = window.slices_in(Window(31, -5003, 3001, 200, 180))
    wanted = [array[inside] for array in ruled(codes, scales)[:2]]
    assert_same(opened(server, tmp_path, offline=True).read(window), wanted)


def test_both_hemispheres_meet_at_the_equator(tmp_path):
    codes, scales = build.embeddings(100, 90)
    made = build.StoreBuilder()
    made.group("36N", codes[:60], scales[:60], row=-60, col=3001, epsg=32636)
    made.group("36S", codes[60:], scales[60:], row=0, col=3001, epsg=32736)
    window = Window(36, -60, 3001, 100, 90)
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        assert source.fetch([window]).failed == ()
    assert_same(source.read(window), (codes, scales))


def test_where_hemispheres_overlap_the_first_valid_one_wins_and_water_beats_outside(tmp_path):
    north, scales = build.embeddings(40, 40, seed=1)
    south, others = build.embeddings(40, 40, seed=2)
    scales[:10], scales[10:20], scales[20:25] = np.inf, np.nan, np.inf
    others[5:25] = np.nan
    others[12:15] = np.inf
    made = build.StoreBuilder()
    made.group("36N", north, scales, row=-20, col=3001, epsg=32636)
    made.group("36S", south, others, row=-20, col=3001, epsg=32736)
    window = Window(36, -20, 3001, 40, 40)
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        source.fetch([window])
    codes, factors = source.read(window)
    np.testing.assert_array_equal(codes[:5], south[:5])
    assert not codes[5:25].any()
    np.testing.assert_array_equal(codes[25:], north[25:])
    np.testing.assert_array_equal(factors[25:], scales[25:])
    assert (source.states(window)[5:25] == State.WATER).all()


def test_a_store_off_the_grid_is_refused(tmp_path):
    codes, scales = tiny(40, 40)
    made = build.StoreBuilder().group("utm31", codes, scales, row=0, col=0, epsg=32631,
        attributes={"spatial:transform": [10, 0, 533_169.47, 0, -10, 718_493.6]})  # fmt: skip
    with served(made.build()) as server, pytest.raises(StoreUnusable, match="10 m grid"):
        opened(server, tmp_path).fetch([Window(31, 0, 0, 5, 5)])


def test_what_can_not_be_unpacked_is_said_before_anything_is_fetched(
    archive, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(decode, "_abilities", lambda: ((), ()))
    with pytest.raises(DecoderMissing, match="blosc"):
        opened(server, tmp_path, "v1.1").fetch([place(archive, DEMO)])
    assert not server.requests("*/c/*/*/*")


def test_a_store_that_is_not_there(server, tmp_path):
    source = opened(server, tmp_path, "v9")
    assert source.is_published() is False
    with pytest.raises(StoreUnusable, match="not published"):
        source.fetch([Window(31, 0, 0, 5, 5)])
    assert opened(server, tmp_path, "v1.1").is_published() is True


# --- nothing twice


def test_no_more_than_the_chunks_is_fetched_and_nothing_twice(tmp_path):
    """Chunks larger than blocks, an origin between blocks: all that was unpacked is kept."""
    codes, scales = build.embeddings(512, 512, seed=4)
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631,
                                      shard_px=512, inner=256, scales_inner=256)  # fmt: skip
    whole = Window(31, -5003, 3001, 512, 512)
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        one = source.fetch([Window(31, -4990, 3010, 1, 1)])
        assert one.valid_px == 1
        assert source.states(whole)[:256, :256].all()
        assert not source.states(whole)[256:].any()
        server.clear()
        assert source.fetch([Window(31, -5003, 3001, 256, 256)]).requests == 0
        source.fetch([whole])
        told = sum(entry.bytes for entry in server.log)
        ranges = [entry.range for entry in server.log]
    assert_same(source.read(whole), (codes, scales))
    sizes = [len(made.files[f"zarr/tiny/utm31/{name}"]) for name in ("embeddings/c/0/0/0/0",
             "scales/c/0/0/0")]  # fmt: skip
    assert told < 0.76 * sum(sizes)
    assert len(set(ranges)) == len(ranges)


def test_few_requests_and_little_in_vain(archive, server, tmp_path):
    row, col, height, width = archive.zarr.rectangle(AREAS[DEMO])
    window = Window(31, row + 10, col + 10, height - 20, width - 20)
    source = opened(server, tmp_path, "v1.1")
    summary = source.fetch([window])
    chunks = ((height - 20) // 32 + 2) * ((width - 20) // 32 + 2)
    assert summary.bytes_fetched < 1.1 * (chunks * 33 * 4096 + 3 * 262_148)
    assert summary.requests <= 40
    assert summary.valid_px == window.pixels


def test_the_root_is_asked_for_once_a_session_and_then_only_whether_it_changed(
    archive, server, tmp_path
):
    window = place(archive, DEMO, 20, 20)
    for _ in range(2):
        opened(server, tmp_path, "v1.1").fetch([window])
    assert len(server.requests("*/v1.1/zarr.json")) == 1
    store._asked.clear()
    opened(server, tmp_path, "v1.1").fetch([window])
    asked = server.requests("*/v1.1/zarr.json")
    assert [entry.status for entry in asked] == [200, 304]
    assert len(server.log) == len(asked) + len(server.requests("*/c/*"))


# --- a store that changes


def changing(seed, version="1", years=(2024,)):
    codes, scales = build.embeddings(150, 150, seed=seed)
    made = build.StoreBuilder(attributes={"geoemb:build_version": version})
    made.group("utm31", codes, scales, row=-5003, col=3001, epsg=32631, years=years)
    return made.build(), codes, scales


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_rebuilt_store_is_not_mixed_with_its_older_self(tmp_path, version):
    old, _, _ = changing(0)
    new, codes, scales = changing(1, version, (2024, 2025))
    left, both = Window(31, -5000, 3005, 100, 60), Window(31, -5000, 3005, 140, 140)
    with served(old) as server:
        opened(server, tmp_path).fetch([left])
        server.provider.files.clear() if hasattr(server.provider, "files") else None
        for path, data in new.items():
            server.provider.put(path, data)
        store._asked.clear()
        source = opened(server, tmp_path)
        assert source.fetch([both]).failed == ()
        inside = both.slices_in(Window(31, -5003, 3001, 150, 150))
        assert_same(source.read(both), (codes[inside], scales[inside]))


def test_a_shard_that_is_replaced_while_it_is_read_is_begun_anew(tmp_path):
    old, _, _ = changing(0)
    new, codes, scales = changing(1)
    left, both = Window(31, -5000, 3005, 100, 60), Window(31, -5000, 3005, 140, 140)
    with served(old) as server:
        source = opened(server, tmp_path)
        source.fetch([left])
        for path, data in new.items():
            server.provider.put(path, data)
        assert source.fetch([both]).failed == ()
    inside = both.slices_in(Window(31, -5003, 3001, 150, 150))
    assert_same(source.read(both), (codes[inside], scales[inside]))


class Restless(DictProvider):
    """Its objects are others each time."""

    count = 0

    def find(self, path):
        found = super().find(path)
        self.count += 1
        return found and dataclasses.replace(found, etag=f"{self.count:032x}")


def test_a_store_that_never_rests_is_given_up(tmp_path):
    data, _, _ = changing(0)
    window = Window(31, -5003, 3001, 100, 100)
    with RangeServer(Restless(data)) as server:
        summary = opened(server, tmp_path).fetch([window])
        assert summary.failed == (Failure("utm31 0/0", "it changes while it is read"),)
        assert summary.valid_px == 0
        assert len(server.log) < 100


def test_years_that_are_added_cost_no_chunk_again(tmp_path):
    old, codes, scales = changing(0)
    new, _, _ = changing(0, years=(2024, 2025))
    window = Window(31, -5003, 3001, 150, 150)
    with served(old) as server:
        opened(server, tmp_path).fetch([window])
        for path, data in new.items():
            server.provider.put(path, data)
        store._asked.clear()
        server.clear()
        source = opened(server, tmp_path)
        assert source.fetch([window]).failed == ()
        assert source.years() == (2024, 2025)
        tails = {entry.range for entry in server.requests("*/c/0/*")}
    assert tails == {f"bytes=-{16 * 16 + 4}"}, "only the indexes"
    assert_same(source.read(window), (codes, scales))


# --- damage


def small():
    codes, scales = build.embeddings(128, 128, seed=8)
    return codes, scales, Window(31, -5003, 3001, 128, 128)


def with_damage(damage, packer=build.BLOSC):
    codes, scales, window = small()
    codes = np.clip(codes, -3, 3)
    codes[..., 0] = 127  # packs well, and is still as published data are
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631,
                                      packer=packer, damage=damage)  # fmt: skip
    return made.build(), codes, scales, window


def only(name, at_chunk, change):
    def damage(path, _shard, at, data):
        return change(data) if path.endswith(name) and at[-2:] == at_chunk else data

    return damage


@pytest.mark.parametrize("name", ["embeddings", "scales"])
@pytest.mark.parametrize("change", [lambda d: d[:-20], lambda d: bytes(len(d)),
                         lambda d: d[:16] + bytes(len(d) - 16)], ids=["cut", "zeros",
                         "zeros after the header"])  # fmt: skip
def test_a_damaged_chunk_is_named_and_all_else_comes(tmp_path, name, change):
    data, codes, scales, window = with_damage(only(name, (1, 2), change))
    with served(data) as server:
        source = opened(server, tmp_path)
        summary = source.fetch([window])
        assert summary.failed == (Failure(f"utm31 0/0 {name} chunk 1/2", "damaged"),)
        again = source.fetch([window])
        assert again.failed == summary.failed
    bad = np.zeros((128, 128), bool)
    bad[32:64, 64:96] = True
    assert summary.valid_px == (~bad).sum()
    np.testing.assert_array_equal(source.states(window) == State.UNKNOWN, bad)
    codes[bad], scales[bad] = 0, np.nan
    assert_same(source.read(window), (codes, scales))


def test_a_chunk_that_was_damaged_on_the_way_is_fetched_again(tmp_path):
    data, codes, scales, window = with_damage(None)
    with served(data) as server:
        server.faults.append(Fault.corrupt(every=50, path="*/embeddings/c/*", skip=1, count=1))
        source = opened(server, tmp_path)
        summary = source.fetch([window])
    assert summary.failed == ()
    assert_same(source.read(window), (codes, scales))


def test_codes_that_are_not_as_usual_are_fetched_again_and_kept_with_a_remark(tmp_path):
    codes, scales, window = small()
    codes[40, 40] = 3
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631)
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        summary = source.fetch([window])
        assert summary.unusual == ("utm31 0/0",)
        assert summary.failed == ()
        assert_same(source.read(window), (codes, scales))
        assert source.fetch([window]).unusual == ("utm31 0/0",)


def test_wrong_bytes_that_nothing_tells_are_made_visible_by_the_rule_of_127(tmp_path):
    codes, scales, window = small()
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631,
                                      packer=build.Packer(""))  # fmt: skip
    with served(made.build()) as server:
        server.faults.append(Fault.corrupt(every=4096, mask=0xFF, path="*/embeddings/c/*", skip=1,
                                           count=1))  # fmt: skip
        source = opened(server, tmp_path)
        source.fetch([window])
    got, _ = source.read(window)
    peak = np.abs(got.astype(int)).max(axis=-1)
    assert (peak == 127).mean() > 0.99


def test_an_index_with_a_wrong_checksum_fails_its_shard(tmp_path):
    codes, scales = build.embeddings(128, 256, seed=8)
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631)
    data = made.build()
    path = "zarr/tiny/utm31/embeddings/c/0/0/0/1"
    data[path] = data[path][:-100] + bytes([data[path][-100] ^ 1]) + data[path][-99:]
    window = Window(31, -5003, 3001, 128, 256)
    with served(data) as server:
        source = opened(server, tmp_path)
        summary = source.fetch([window])
        assert len(server.requests("*/0/1")) >= 2, "once more, it might have been the line"
    assert summary.failed == (Failure("utm31 0/1", "the checksum of the index is wrong"),)
    assert summary.valid_px == 128 * 128
    assert (source.states(window)[:, 128:] == State.UNKNOWN).all()


def test_an_index_that_was_damaged_on_the_way_is_fetched_again(tmp_path):
    data, codes, scales, window = with_damage(None)
    with served(data) as server:
        server.faults.append(Fault.corrupt(every=50, path="*/embeddings/c/*", count=1))
        source = opened(server, tmp_path)
        assert source.fetch([window]).failed == ()
    assert_same(source.read(window), (codes, scales))


def test_absent_shards_and_water_without_codes(tmp_path):
    codes, scales = build.embeddings(128, 384, seed=8)
    scales[:, 128:256] = np.inf
    scales[:, 256:] = np.nan
    codes[:, 128:] = 0  # neither shard of codes is written
    made = build.StoreBuilder().group("utm31", codes, scales, row=-5003, col=3001, epsg=32631)
    window = Window(31, -5003, 3001, 128, 384)
    assert "zarr/tiny/utm31/embeddings/c/0/0/0/2" not in made.files
    with served(made.build()) as server:
        source = opened(server, tmp_path)
        summary = source.fetch([window])
        assert summary.absent == ("utm31 0/1",)
        assert summary.failed == ()
        np.testing.assert_array_equal(source.states(window), states_of(codes, scales))
        server.clear()
        assert source.fetch([window]).requests == 0


def test_a_damaged_file_of_the_cache_is_fetched_again(archive, server, tmp_path):
    window = place(archive, DEMO, 30, 30)
    opened(server, tmp_path, "v1.1").fetch([window])
    held = archive.zarr_window("v1.1", 2024, 31, window.row, window.col, *window.shape)
    for pattern in ("zarr/zarr.json", "*.shard", "utm31/*.npy"):
        path = sorted(tmp_path.rglob(pattern.split("/")[-1]))[0]
        data = bytearray(path.read_bytes())
        data[-300] ^= 4
        path.write_bytes(data)
        source = opened(server, tmp_path, "v1.1")
        assert source.fetch([window]).failed == ()
        assert_same(source.read(window), ruled(*held)[:2])


# --- the network


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(503, path="*", count=2),
        Fault.status(525, path="*", count=2),
        Fault.status(429, path="*", count=2, retry_after=0),
        Fault.drop(path="*", count=2),
        Fault.reset(path="*", count=2),
        Fault.truncate(path="*", count=2),
        Fault.ignore_range(path="*/c/0/*", count=2),
        Fault.wrong_range(path="*/c/0/*", count=2),
        Fault.changed_etag(path="*/c/0/*", skip=3, count=1),
    ],
    ids=lambda fault: fault.kind if hasattr(fault, "kind") else None,
)
@pytest.mark.parametrize("skip", [0, 2, 5])
def test_what_passes_is_tried_again(tmp_path, fault, skip):
    data, codes, scales, window = with_damage(None)
    with served(data) as server:
        server.faults.append(dataclasses.replace(fault, skip=max(skip, fault.skip)))
        source = opened(server, tmp_path)
        summary = source.fetch([window])
    assert summary.failed == ()
    assert_same(source.read(window), (codes, scales))


def test_what_does_not_pass_is_named(tmp_path):
    data, codes, scales, window = with_damage(None)
    with served(data) as server:
        server.faults.append(Fault.status(503, path="*/embeddings/c/*", skip=1, count=FOREVER))
        source = opened(server, tmp_path)
        summary = source.fetch([window])
        assert summary.failed == (Failure("utm31 0/0", "the server answers with status 503"),)
        assert summary.valid_px == 0
        server.faults.clear()
        server.clear()
        assert source.fetch([window]).failed == ()
        assert not server.requests("*.json")
    assert_same(source.read(window), (codes, scales))


def test_a_store_that_is_refused_and_one_that_can_not_be_reached(tmp_path):
    data, _, _, window = with_damage(None)
    with served(data) as server:
        server.faults.append(Fault.status(403, path="*", count=FOREVER))
        summary = opened(server, tmp_path).fetch([window])
        assert summary.failed == (Failure("tiny", "access refused (status 403)"),)
        source = opened(server, tmp_path, attempts=2)
    summary = source.fetch([window])
    assert summary.failed == (Failure("tiny", "no connection"),)
    assert summary.unreachable.endswith("/zarr/tiny/zarr.json")
    assert (source.states(window) == State.UNKNOWN).all()


def test_the_second_address_is_asked_where_the_first_one_fails(tmp_path, monkeypatch):
    data, codes, scales, window = with_damage(None)
    with served({}) as closed:
        dead = closed.url
    with served(data) as first, served(data) as second:
        for roots in ((first.url, second.url), (dead, second.url)):
            monkeypatch.setattr(mirrors, "PUBLIC_DIRECT", roots[0])
            monkeypatch.setattr(mirrors, "PUBLIC_ARCHIVE", roots[1])
            store._asked.clear()
            folder = tmp_path / roots[0][-4:]
            source = opened(second, folder)
            assert source.fetch([window]).failed == ()
            assert_same(source.read(window), (codes, scales))
            if roots[0] == first.url:
                assert not second.log
        first.faults.append(Fault.status(503, path="*/embeddings/c/*", skip=1, count=FOREVER))
        monkeypatch.setattr(mirrors, "PUBLIC_DIRECT", first.url)
        mirrors._failed.clear()
        store._asked.clear()
        second.clear()
        source = opened(second, tmp_path / "third", attempts=2)
        assert source.fetch([window]).failed == ()
        assert {entry.path.rsplit("/c/")[0][-10:] for entry in second.log} == {"embeddings"}


def test_the_public_archive_has_two_addresses():
    assert mirrors.roots_of(mirrors.PUBLIC_ARCHIVE + "/") == (
        mirrors.PUBLIC_DIRECT, mirrors.PUBLIC_ARCHIVE)  # fmt: skip
    assert mirrors.roots_of("https://example.org/x/") == ("https://example.org/x",)


# --- offline, cancel, kill


def test_offline_nothing_is_asked(archive, server, tmp_path):
    window = place(archive, DEMO, 30, 30)
    never = opened(server, tmp_path, "v1.1", offline=True)
    assert never.fetch([window]).failed == (Failure("v1.1", "not in the cache"),)
    assert never.years() == ()
    assert never.is_published() is False
    opened(server, tmp_path, "v1.1").fetch([window])
    asked = len(server.log)
    offline = opened(server, tmp_path, "v1.1", offline=True)
    assert offline.fetch([window]).failed == ()
    wider = place(archive, DEMO, 80, 80)
    summary = offline.fetch([wider])
    assert [failure.reason for failure in summary.failed] == ["not in the cache"]
    assert 0 < summary.valid_px < wider.pixels
    assert len(server.log) == asked


def cancel_when(condition):
    """A report that cancels, and the moments when it did."""
    moments = []

    def report(fraction, message):
        if condition(fraction, message):
            moments.append(time.monotonic())
            raise Cancelled

    return report, moments


@pytest.mark.long
def test_after_cancel_only_what_is_missing_is_fetched(archive, server, tmp_path):
    window = place(archive, DEMO, 400, 400, 0)
    held = archive.zarr_window("v1.1", 2024, 31, window.row, window.col, *window.shape)
    server.bandwidth = 20e6
    source = opened(server, tmp_path, "v1.1")
    report, moments = cancel_when(lambda fraction, _: fraction > 0.6)
    with pytest.raises(Cancelled):
        source.fetch([window], report)
    assert time.monotonic() - moments[0] < within(1)
    known = (source.states(window) != State.UNKNOWN).mean()
    assert 0.05 < known < 0.95
    server.bandwidth = None
    server.clear()
    summary = source.fetch([window])
    assert summary.failed == ()
    assert summary.bytes_fetched < (1.1 - known) * window.pixels * 132 + 1_500_000
    assert_same(source.read(window), ruled(*held)[:2])


@pytest.mark.parametrize(
    "fault",
    [
        Fault.stall(60, count=FOREVER),
        Fault.stall(60, path="*/c/*", count=FOREVER),
        Fault.stall_body(60, after=1000, path="*/c/*", skip=3, count=FOREVER),
        Fault.status(503, retry_after=60, path="*/c/*", count=FOREVER),
        Fault.drop(path="*/c/*", count=FOREVER),
    ],
    ids=["root", "index", "body", "retry-after", "back-off"],
)
def test_cancel_answers_within_a_second_whatever_the_server_does(archive, server, tmp_path, fault):
    server.faults.append(fault)
    source = opened(server, tmp_path, "v1.1", backoff_s=5, read_timeout_s=60)
    until = time.monotonic() + 0.5
    report, moments = cancel_when(lambda *_: time.monotonic() > until)
    with pytest.raises(Cancelled):
        source.fetch([place(archive, DEMO, 200, 100)], report)
    assert time.monotonic() - moments[0] < within(1)
    server.close_connections()


FETCH = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.io.test_zarr_store import *
class Address: url = sys.argv[2]
window = Window(*map(int, sys.argv[4].split(",")))
source = opened(Address, sys.argv[3], "v1.1")
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
    window = place(archive, DEMO, 200, 200)
    held = archive.zarr_window("v1.1", 2024, 31, window.row, window.col, *window.shape)
    codes, scales, _ = ruled(*held)
    right = hashlib.sha256(codes.tobytes() + scales.tobytes()).hexdigest()
    running = [start_fetch(server, tmp_path, window) for _ in range(2)]
    told = [process.communicate(timeout=60)[0].strip() for process in running]
    assert told == [f"{right} ()"] * 2


def test_closing_ends_a_fetch_of_another_thread(archive, server, tmp_path):
    server.faults.append(Fault.stall(60, path="*/c/*", count=FOREVER))
    source = opened(server, tmp_path, "v1.1")
    raised = []

    def fetch():
        try:
            source.fetch([place(archive, DEMO)])
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(0.4)
    source.close()
    thread.join(2)
    assert raised


def test_progress_is_told_in_bytes_and_does_not_go_back(archive, server, tmp_path):
    told = []
    server.bandwidth = 40e6
    source = opened(server, tmp_path, "v1.1")
    source.fetch([place(archive, DEMO, 200, 200)], lambda *pair: told.append(pair))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any(message.startswith("Fetching") and message.endswith("MB") for _, message in told)


# --- the disk


def test_too_little_room_stops_before_anything_is_fetched(archive, server, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1_000_000)
    with pytest.raises(DiskFull):
        opened(server, tmp_path, "v1.1").fetch([place(archive, DEMO)])
    assert all(entry.range.startswith("bytes=-") for entry in server.requests("*/c/*/*/*"))


def test_a_cache_that_can_not_be_written_stops_at_once(archive, server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(NotWritable):
        opened(server, tmp_path / "cache", "v1.1").fetch([place(archive, DEMO)])


def test_a_block_that_never_stays_is_given_up_and_named(tmp_path, monkeypatch):
    data, _, _, window = with_damage(None)
    with served(data) as server:
        source = opened(server, tmp_path)
        monkeypatch.setattr(source.cache, "load", lambda layout, **_: None)
        summary = source.fetch([window])
    assert summary.failed == (Failure("utm31 0/0", mishaps.NOT_KEPT),)
