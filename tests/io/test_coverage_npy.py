# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coverage of published tiles through a real server: before and after a fetch, and what it costs.

What is true is worked out from the archive's own arrays and its own georeference (pyproj).
"""

import dataclasses
import io

import numpy as np
import pytest

from tessera_plugin.engine import catalog
from tessera_plugin.errors import ExtentTooLarge
from tessera_plugin.io.sources import availability, coverage_npy
from tessera_plugin.io.sources.base import Failure
from tessera_plugin.io.sources.npy_tiles import NpyTiles
from tessera_plugin.io.tiling import Tile, tiles_of
from tessera_plugin.values import Access, NetworkSettings, State, Window
from tests.archive import layout, planted
from tests.archive.sample import SampleArchive
from tests.io.coverage_helpers import asked_bytes, counted, look, twice
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
CAMBRIDGE = catalog.dataset("1.1-cambridge")


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


def opened(server, folder, offline=False, **network):
    settings = dataclasses.replace(QUICK, **network)
    return NpyTiles(Access(str(folder), server.url, offline, settings), CAMBRIDGE, 2024)


def expected(archive, window, *, scales_only):
    """Return the state of each pixel from all tiles over it: valid, nodata, water, nothing."""
    best = np.zeros(window.shape, np.int64)
    for name in archive.tile_names("v1.1-cam"):
        place = archive.footprint(name)
        tile = Window(place.zone, place.row, place.col, place.height, place.width)
        part = tile.intersection(window)
        if part is None:
            continue
        top, left = part.row - tile.row, part.col - tile.col
        codes, scales = archive.tile_arrays("v1.1-cam", 2024, name, (top, top + part.height))
        codes, scales = codes[:, left:][:, : part.width], scales[:, left:][:, : part.width]
        rank = np.where(np.isnan(scales), 1, 2)
        rank[(scales > 0) & (scales < 1) & (scales_only | codes.any(axis=-1))] = 3
        here = part.slices_in(window)
        best[here] = np.maximum(best[here], rank)
    return np.array([State.OUTSIDE, State.WATER, State.NODATA, State.VALID])[best]


def tile_window(archive, name):
    place = archive.footprint(name)
    return Window(place.zone, place.row, place.col, place.height, place.width)


def corner(archive, name, height=24, width=70):
    """A window over the corner of four tiles."""
    tile = tile_window(archive, name)
    return Window(tile.zone, tile.row - height // 2, tile.col - width // 2, height, width)


PLACES = {
    "corner": lambda a: corner(a, "grid_0.15_52.15"),
    "seam": lambda a: corner(a, "grid_0.05_52.05"),
    "equator": lambda a: corner(a, "grid_32.55_-0.05", 30, 300),
    "gap": lambda a: Window(31, planted.gap_window()[0] - 5, planted.gap_window()[1] - 20, 40, 70),
    "corrupt": lambda a: Window(31, *np.subtract(planted.corrupt_pixels()[1:], 10), 20, 30),
    "edge of what is published": lambda a: corner(a, "grid_0.25_52.15"),
}


@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
def test_before_and_after_a_fetch(archive, server, tmp_path, make):
    window = make(archive)
    source = opened(server, tmp_path)
    steps = []
    told = look(source, window, steps=steps)
    np.testing.assert_array_equal(told.parts[0].states, expected(archive, window, scales_only=True))
    assert (told.failed, sum(told.cached.values()), told.bytes_known) == ((), 0, True)
    assert (told.requests, told.bytes_asked) == (len(server.log), server.bytes_sent)
    assert steps[0].requests == 0
    assert steps[0].counts[State.OUTSIDE] + steps[0].counts[State.UNKNOWN] == window.pixels
    first = asked_bytes(server)
    server.clear()
    summary = source.fetch([window])
    assert not twice([*first, *asked_bytes(server)]), "neither headers nor scales come again"
    assert summary.bytes_fetched == told.bytes_to_fetch, "to the byte"
    server.clear()
    after = look(source, window)
    assert not server.log
    np.testing.assert_array_equal(after.parts[0].states, source.states(window))
    np.testing.assert_array_equal(
        after.parts[0].states, expected(archive, window, scales_only=False)
    )
    assert (after.bytes_to_fetch, after.bytes_known) == (0, True)
    assert (after.parts[0].cached == (after.parts[0].states != State.OUTSIDE)).all()


def test_zero_codes_show_only_after_a_fetch(archive, server, tmp_path):
    west, south, _, north = planted.EMPTY
    row, col = layout.pixel_of(31, west, (south + north) / 2)
    window = Window(31, row, col - 10, 4, 40)
    source = opened(server, tmp_path)
    assert look(source, window).counts[State.VALID] == window.pixels
    source.fetch([window])
    after = look(source, window)
    assert after.counts[State.NODATA] > 0
    np.testing.assert_array_equal(after.parts[0].states, source.states(window))


def test_large_windows_are_told_by_tile(archive, server, tmp_path):
    tile = tile_window(archive, "grid_0.25_52.15")  # north of it nothing is published
    window = Window(31, tile.row - 300, tile.col + 60, 700, 500)
    source = opened(server, tmp_path)
    told = look(source, window, detail_px=1000)
    over = [t for t in tiles_of(window) if t.name in archive.tile_names("v1.1-cam")]
    published = np.zeros(window.shape, bool)
    for one in over:
        published[one.footprint().intersection(window).slices_in(window)] = True
    assert told.counts == counted(np.where(published, State.PUBLISHED, State.OUTSIDE))
    assert not [s for s in asked_bytes(server) if s[2] - s[1] > 128]
    part = Window(31, tile.row + 20, tile.col + 70, 9, 60)
    source.fetch([part])
    states = source.states(window)
    after = look(source, window, detail_px=1000)
    known = (states != State.UNKNOWN) & published
    wanted = np.where(published, State.PUBLISHED, State.OUTSIDE)
    wanted[known] = states[known]
    assert after.counts == counted(wanted)
    assert after.cached == counted(states[known])
    assert known.sum() > part.pixels


def test_many_tiles_are_asked_whether_they_are_there(archive, server, tmp_path, monkeypatch):
    monkeypatch.setattr(coverage_npy, "HEADS", 2)
    west, east = tile_window(archive, "grid_0.05_52.05"), tile_window(archive, "grid_0.25_52.15")
    window = Window(31, east.row - 1500, west.col - 10, 3600, 2300)
    source = opened(server, tmp_path, connections=1)
    told = look(source, window, detail_px=10)
    tiles = tiles_of(window)
    single = [entry for entry in server.log if entry.range == "bytes=0-0"]
    assert len(single) == len(tiles)
    assert len(server.log) <= len(tiles) + 4
    there = set(archive.tile_names("v1.1-cam"))
    published = np.zeros(window.shape, bool)
    for one in tiles:
        if one.name in there:
            published[one.footprint().intersection(window).slices_in(window)] = True
    assert told.counts == counted(np.where(published, State.PUBLISHED, State.OUTSIDE))
    assert not told.bytes_known
    server.clear()
    monkeypatch.setattr(coverage_npy, "HEADS", 0)
    assert look(opened(server, tmp_path), window, detail_px=10).counts == told.counts
    assert not server.log, "what was seen is remembered for a day"


def test_what_is_absurd_is_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(ExtentTooLarge):
        look(opened(server, tmp_path), Window(31, -600_000, 0, 100_000, 80_000))
    assert not server.log


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def hand_made(tile, shape, **scales):
    """Objects of one tile of this shape."""
    codes = np.full((*shape, 128), 127, np.int8)
    factors = scales.get("scales", np.full(shape, 0.06, np.float32))
    folder = f"npy/v1.1-cam/2024/{tile.name}/{tile.name}"
    return {f"{folder}.npy": npy(codes), f"{folder}_scales.npy": npy(factors)}


@pytest.mark.parametrize("more", [(0, 0), (-7, 3)], ids=["as computed", "of another shape"])
def test_a_tile_of_its_own_shape(tmp_path, more):
    tile = Tile.parse("grid_10.05_83.75")
    shape = tuple(np.add(tile.footprint().shape, more).tolist())
    made = tile.footprint(shape)
    window = Window(made.zone, made.stop_row - 20, made.stop_col - 30, 40, 60)
    with RangeServer(DictProvider(hand_made(tile, shape))) as server:
        source = opened(server, tmp_path)
        told = look(source, window)
        source.fetch([window])
    assert told.counts[State.VALID] == 20 * 30
    np.testing.assert_array_equal(told.parts[0].states, source.states(window))


def test_scales_of_every_band_are_not_read_for_a_look(tmp_path):
    tile = Tile.parse("grid_10.05_83.75")
    shape = tile.footprint().shape
    scales = np.broadcast_to(np.float32(0.06), (*shape, 128))
    place = tile.footprint()
    window = Window(place.zone, place.row + 5, place.col + 5, 10, 10)
    with RangeServer(DictProvider(hand_made(tile, shape, scales=scales))) as server:
        source = opened(server, tmp_path)
        told = look(source, window)
        assert told.counts[State.PUBLISHED] == window.pixels
        assert server.bytes_sent < 6000
        summary = source.fetch([window])
    assert summary.bytes_fetched == told.bytes_to_fetch


def test_a_tile_without_scales_is_a_failure_not_nothing(tmp_path):
    tile = Tile.parse("grid_10.05_83.75")
    made = hand_made(tile, tile.footprint().shape)
    del made[next(path for path in made if "_scales" in path)]
    place = tile.footprint()
    window = Window(place.zone, place.row + 20, place.col + 20, 10, 10)
    with RangeServer(DictProvider(made)) as server:
        told = look(opened(server, tmp_path), window)
    assert told.failed == (Failure(tile.name, "its scales are not published"),)
    assert told.counts[State.UNKNOWN] == window.pixels


def test_a_tile_that_is_refused_is_named(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15", 80, 160)
    server.faults.append(Fault.status(403, path="*grid_0.15_52.15*", count=FOREVER))
    told = look(opened(server, tmp_path), window)
    assert told.failed == (Failure("grid_0.15_52.15", "access refused (status 403)"),)
    over, only = np.zeros((2, *window.shape), bool)
    for tile in tiles_of(window):
        here = tile.footprint().intersection(window).slices_in(window)
        (only if tile.name == "grid_0.15_52.15" else over)[here] = True
    np.testing.assert_array_equal(told.parts[0].states == State.UNKNOWN, only & ~over)
    assert (told.parts[0].states[~only] == State.VALID).all()


def test_offline_what_is_kept_is_told(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15")
    before = look(opened(server, tmp_path), window)
    server.clear()
    told = look(opened(server, tmp_path, offline=True), window)
    assert not server.log
    np.testing.assert_array_equal(told.parts[0].states, before.parts[0].states)
    nothing = look(opened(server, tmp_path / "empty", offline=True), window)
    assert nothing.counts[State.UNKNOWN] == window.pixels
    assert nothing.bytes_to_fetch > 0


def test_refresh_forgets_availability_and_not_the_data(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15")
    source = opened(server, tmp_path)
    source.fetch([window])
    states = source.states(window)
    availability.forget(source.access, source.dataset)
    np.testing.assert_array_equal(opened(server, tmp_path, offline=True).states(window), states)
    server.clear()
    again = opened(server, tmp_path).fetch([window])
    assert again.failed == ()
    assert server.log
    assert all(stop <= 128 for _, _, stop in asked_bytes(server)), "headers only"
    np.testing.assert_array_equal(source.states(window), states)


def test_where_nothing_can_be_kept_it_is_told_all_the_same(archive, server, tmp_path):
    window = corner(archive, "grid_0.15_52.15")
    wanted = look(opened(server, tmp_path / "cache"), window)
    (tmp_path / "file").write_text("a file where the folder should be")
    server.clear()
    told = look(opened(server, tmp_path / "file"), window)
    assert (told.failed, told.counts) == ((), wanted.counts)
    assert not twice(asked_bytes(server))
