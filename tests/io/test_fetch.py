# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What every fetch does, from tiles and from a store alike: options, places, order, pauses."""

import contextlib
import dataclasses
import shutil
import threading
import time

import numpy as np
import pytest

from tessera_plugin.io.sources import lots, mirrors, tile_fetch
from tessera_plugin.io.sources.base import FetchOptions
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.tiling import Tile
from tessera_plugin.io.zarr import store
from tessera_plugin.progress import Cancelled, Gate, silent
from tessera_plugin.values import Access, Dataset, NetworkSettings, State, Window
from tests import builders_zarr, dense_store
from tests.both_forms import KINDS, archive, assert_true, opened, place
from tests.clock import within
from tests.servers import FOREVER, Fault, RangeServer

both = pytest.mark.parametrize("form", list(KINDS))


@pytest.fixture(autouse=True)
def fresh():
    store._asked.clear()
    mirrors._failed.clear()


@pytest.fixture
def server():
    with RangeServer(archive()) as running:
        yield running


@pytest.fixture
def window():
    return place()


# --- options


@both
def test_blocks_are_told_as_they_arrive_in_the_callers_thread(server, tmp_path, window, form):
    told, threads, reporting = [], set(), []

    def report(fraction, message):
        reporting.append(fraction)

    def arrived(blocks):
        threads.add(threading.get_ident())
        told.append((len(reporting), blocks))

    server.bandwidth = 10e6
    source = opened(form, server.url, tmp_path, connections=2)
    source.fetch([window], report, FetchOptions(arrived=arrived))
    blocks = {block for _, some in told for block in some}
    assert blocks >= set(window.whole_blocks())
    assert threads == {threading.get_ident()}
    first_told_after, _ = told[0]
    assert len(told) > 1, "they come as they come, not all in the end"
    assert first_told_after < len(reporting)
    for block in blocks & set(window.whole_blocks()):
        part = block.intersection(window)
        assert (source.states(part) != State.UNKNOWN).all()
    # and those that are there from the beginning
    told.clear()
    again = source.fetch([window], silent, FetchOptions(arrived=arrived))
    assert again.requests == 0
    assert {block for _, some in told for block in some} == set(window.whole_blocks())


@both
def test_what_the_one_who_is_told_raises_ends_the_fetch(server, tmp_path, window, form):
    def arrived(blocks):
        raise ZeroDivisionError

    source = opened(form, server.url, tmp_path)
    with pytest.raises(ZeroDivisionError):
        source.fetch([window], silent, FetchOptions(arrived=arrived))


def order_of_arrival(source, window, towards):
    """Distances from a pixel to the middle of each block of a window, in the order they came."""
    told = {}
    source.fetch([window], silent, FetchOptions(
        towards=((window.zone, *towards),), arrived=lambda blocks: told.update(dict.fromkeys(blocks))
    ))  # fmt: skip
    return [np.hypot(block.row + 64 - towards[0], block.col + 64 - towards[1]) for block in told
            if block.intersection(window)]  # fmt: skip


@pytest.mark.parametrize("corner", [(0, 0), (399, 399)], ids=["first", "last"])
def test_rows_of_tiles_come_nearest_first(server, tmp_path, monkeypatch, corner):
    monkeypatch.setattr(tile_fetch, "SMALL_JOB_BYTES", 100_000)
    tile = Tile.parse("grid_0.15_52.15").footprint()
    window = Window(31, tile.row + 300, tile.col + 100, 400, 100)
    server.bandwidth = 60e6
    source = opened("npy", server.url, tmp_path, connections=1)
    point = window.row + corner[0], window.col + 50
    found = order_of_arrival(source, window, point)
    assert np.corrcoef(np.arange(len(found)), found)[0, 1] > 0.6
    assert np.argmin(found) < len(found) / 3


@pytest.mark.parametrize("corner", [(0.2, 0.1), (0.9, 0.8), (0.5, 0.5)])
def test_cells_of_a_store_come_nearest_first(tmp_path, corner):
    provider = dense_store.DenseStore()
    with RangeServer(provider) as server:
        server.bandwidth = 60e6
        window = Window(31, dense_store.ROW + 900, dense_store.COL + 700, 500, 500)
        dataset = Dataset("2.0", "dense", "", (2024,), "", zarr_dir=dense_store.NAME)
        access = Access(str(tmp_path), server.url, network=NetworkSettings(connections=1))
        point = [int(a + share * 500) for a, share in zip((window.row, window.col), corner)]
        found = order_of_arrival(ZarrStore(access, dataset, 2024), window, point)
    assert np.mean(found[: len(found) // 2]) < np.mean(found[len(found) // 2 :])
    assert np.argmin(found) < len(found) / 2


@pytest.mark.long
def test_there_is_something_to_see_before_much_has_come(tmp_path):
    """Over a slow line with ranges side by side, and the nearest to the middle first."""
    provider = dense_store.DenseStore()
    came = {}
    with RangeServer(provider) as server:
        server.bandwidth = 4_000_000
        window = Window(31, dense_store.ROW + 1024, dense_store.COL + 1024, 400, 400)
        dataset = Dataset("2.0", "dense", "", (2024,), "", zarr_dir=dense_store.NAME)
        access = Access(str(tmp_path), server.url, network=NetworkSettings(connections=6))

        def arrived(blocks):
            for block in blocks:
                came.setdefault(block, server.bytes_sent)

        options = FetchOptions(arrived=arrived)
        assert ZarrStore(access, dataset, 2024).fetch([window], silent, options).failed == ()
        total = server.bytes_sent
    assert total > 20_000_000
    assert min(came.values()) < 0.25 * total
    middle = window.row + 200, window.col + 200
    found = [np.hypot(block.row + 64 - middle[0], block.col + 64 - middle[1]) for block in came]
    quarter = len(found) // 4
    assert np.mean(found[:quarter]) < np.mean(found[-quarter:]) - 50


def test_what_came_of_a_range_is_kept_when_the_rest_does_not(tmp_path):
    provider = dense_store.DenseStore()
    window = Window(31, dense_store.ROW + 1024, dense_store.COL + 1024, 128, 128)
    dataset = Dataset("2.0", "dense", "", (2024,), "", zarr_dir=dense_store.NAME)
    with RangeServer(provider) as server:
        codes = "*/embeddings/c/*"
        server.faults += [
            Fault.truncate(after=900_000, path=codes, skip=1),
            Fault.status(503, path=codes, skip=1, count=FOREVER),
        ]
        network = NetworkSettings(attempts=2, backoff_s=0.01, connections=1)
        source = ZarrStore(Access(str(tmp_path), server.url, network=network), dataset, 2024)
        summary = source.fetch([window])
        assert [failure.reason for failure in summary.failed] == [
            "the server answers with status 503"
        ]
        known = source.states(window) != State.UNKNOWN
        assert 5 / 16 <= known.mean() < 1
        for got, wanted in zip(source.read(window), provider.truth(window)):
            np.testing.assert_array_equal(got[known], wanted[known])
        server.clear()
        assert source.fetch([window]).failed == ()
        # not again what came
        assert server.bytes_sent < provider.stored_bytes(window) * (1.3 - known.mean())
    for got, wanted in zip(source.read(window), provider.truth(window)):
        np.testing.assert_array_equal(got, wanted)


def test_lots_are_bounded_and_come_nearest_first(tmp_path, monkeypatch):
    provider = dense_store.DenseStore()
    monkeypatch.setattr(lots, "LOT_PX", 64 * 64)
    monkeypatch.setattr(lots, "SQUARE_PX", 32)
    sizes = []
    plain = lots.lots

    def watched(wanted, nearness):
        for lot in plain(wanted, nearness):
            sizes.append(sum(int(cells.sum()) for cells in lot.values()))
            yield lot

    monkeypatch.setattr("tessera_plugin.io.sources.zarr_fetch.lots", watched)
    with RangeServer(provider) as server:
        window = Window(31, dense_store.ROW + 4000, dense_store.COL + 4000, 200, 200)
        dataset = Dataset("2.0", "dense", "", (2024,), "", zarr_dir=dense_store.NAME)
        source = ZarrStore(Access(str(tmp_path), server.url), dataset, 2024)
        found = order_of_arrival(source, window, (window.row, window.col))
        for got, wanted in zip(source.read(window), provider.truth(window)):
            np.testing.assert_array_equal(got, wanted)
    assert sum(sizes) == 49
    assert max(sizes) == 4
    assert len(sizes) == 13
    assert found[0] < 150


@both
def test_a_paused_fetch_stands_still_and_goes_on(server, tmp_path, window, form):
    gate, seen = Gate(), []
    server.bandwidth = 20e6
    paused = threading.Event()

    def report(fraction, message):
        if fraction > 0.2 and not paused.is_set():
            gate.pause()
            paused.set()

    def resume():
        assert paused.wait(20)
        time.sleep(0.4)
        seen.append(len(server.log))
        time.sleep(0.6)
        seen.append(len(server.log))
        gate.resume()

    thread = threading.Thread(target=resume)
    thread.start()
    source = opened(form, server.url, tmp_path, read_timeout_s=0.5)
    summary = source.fetch([window], report, FetchOptions(gate=gate))
    thread.join()
    assert seen[0] == seen[1]
    assert summary.failed == ()
    assert_true(source, form)


@both
def test_a_paused_fetch_can_be_cancelled(server, tmp_path, window, form):
    gate = Gate()
    gate.pause()
    until = time.monotonic() + 0.4

    def report(fraction, message):
        if time.monotonic() > until:
            raise Cancelled

    with pytest.raises(Cancelled):
        opened(form, server.url, tmp_path).fetch([window], report, FetchOptions(gate=gate))
    assert time.monotonic() - until < within(1)
    assert not server.log


# --- folders, and stores outside any archive


def put(folder, objects):
    for path, data in objects.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def small_store():
    codes, scales = builders_zarr.embeddings(150, 140, seed=3)
    made = builders_zarr.StoreBuilder("tiny")
    made.group("utm31", codes, scales, row=-5003, col=3001, epsg=32631)
    return made.build(), codes, scales, Window(31, -5003, 3001, 150, 140)


@pytest.mark.parametrize("kind", ["archive", "store", "file url", "server"])
def test_a_store_in_a_folder_and_outside_any_archive(tmp_path, kind):
    objects, codes, scales, place = small_store()
    put(tmp_path / "there", objects)
    folder = tmp_path / "there"
    with contextlib.ExitStack() as stack:
        if kind == "archive":
            access = Access(str(tmp_path / "cache"), str(folder))
            dataset = Dataset("2.0", "tiny", "", (2024,), "", zarr_dir="tiny")
        else:
            inner = {path[len("zarr/tiny/") :]: data for path, data in objects.items()}
            location = {"store": str(folder / "zarr" / "tiny"),
                        "file url": (folder / "zarr" / "tiny").as_uri()}.get(kind)  # fmt: skip
            if location is None:
                from tests.servers import DictProvider

                location = stack.enter_context(RangeServer(DictProvider(inner))).url
            access = Access(str(tmp_path / "cache"), "http://127.0.0.1:9/nobody")
            dataset = Dataset("store", "mine-1", "", (2024,), "", store=location)
        source = ZarrStore(access, dataset, 2024)
        assert source.is_published() is True
        assert source.years() == (2024,)
        summary = source.fetch([place])
    assert summary.failed == ()
    assert summary.bytes_fetched > 100_000
    for got, wanted in zip(source.read(place), (codes, scales)):
        np.testing.assert_array_equal(got, wanted)
    assert source.fetch([place]).requests == 0


def test_tiles_in_a_folder(tmp_path):
    from tests.io.test_npy_tiles import TINY, npy, tiny_tile

    codes, scales = tiny_tile()
    stem = f"npy/v1.1-cam/2024/{TINY}/{TINY}"
    put(tmp_path / "there", {f"{stem}.npy": npy(codes), f"{stem}_scales.npy": npy(scales)})
    place = Tile.parse(TINY).footprint((40, 30))
    source = opened("npy", str(tmp_path / "there"), tmp_path / "cache")
    assert source.fetch([place]).failed == ()
    for got, wanted in zip(source.read(place), (codes, scales)):
        np.testing.assert_array_equal(got, wanted)


def test_a_folder_that_was_taken_away(tmp_path):
    objects, _, _, place = small_store()
    put(tmp_path / "there", objects)
    dataset = Dataset("2.0", "tiny", "", (2024,), "", zarr_dir="tiny")
    source = ZarrStore(Access(str(tmp_path / "cache"), str(tmp_path / "there")), dataset, 2024)
    half = dataclasses.replace(place, height=60)
    source.fetch([half])
    shutil.rmtree(tmp_path / "there")
    summary = source.fetch([place])
    assert "the folder is not there" in {failure.reason for failure in summary.failed}
    assert summary.unreachable
    assert summary.valid_px >= half.pixels
