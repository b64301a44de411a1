# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of an extent, from a real archive: what is fetched, and what is said when it fails."""

import socket

import numpy as np
import pytest

from tessera_plugin.engine import embeddings, grid
from tessera_plugin.errors import (
    ExtentTooLarge,
    NetworkFailed,
    NothingPublished,
    UnknownDataset,
    UnknownYear,
)
from tessera_plugin.io import tiling
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, NetworkSettings, State, Window
from tests.archive import layout, planted
from tests.archive.sample import SampleArchive
from tests.servers import FOREVER, Fault, RangeServer

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, read_timeout_s=5)
SEAM = Extent(-0.003, 52.150, 0.004, 52.153)
SEA = Extent(4.001, 52.501, 4.004, 52.503)


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


def request_for(server, folder, extent=SEAM, offline=False, form="npy", **changes):
    """The tiles of 1.1-cambridge: its store in the sample covers less."""
    access = Access(str(folder), server.url, offline, QUICK, form)
    facts = {"dataset": "1.1-cambridge", "year": 2024, "extent": extent, "access": access}
    return embeddings.FetchRequest(**{**facts, **changes})


def own_pixels(archive, window):
    """Return codes and scales of a window inside one tile, from the archive's own arrays."""
    for name in archive.tile_names("v1.1-cam"):
        place = archive.footprint(name)
        tile = Window(place.zone, place.row, place.col, place.height, place.width)
        if tile.intersection(window) == window:
            rows = (window.row - tile.row, window.stop_row - tile.row)
            codes, scales = archive.tile_arrays("v1.1-cam", 2024, name, rows)
            here = slice(window.col - tile.col, window.stop_col - tile.col)
            return codes[:, here], scales[:, here]
    raise AssertionError(f"{window} lies in no tile")


def test_an_extent_over_a_seam_is_fetched_and_read_bit_for_bit(archive, server, tmp_path):
    request = request_for(server, tmp_path)
    result = embeddings.fetch(request)
    assert [window.zone for window in result.windows] == [30, 31]
    assert result.windows == grid.windows_of(SEAM)
    assert (result.dataset, result.year) == ("1.1-cambridge", 2024)
    pixels = sum(window.pixels for window in result.windows)
    assert result.summary.pixels == result.summary.valid_px == pixels
    assert result.summary.failed == ()
    source = embeddings.open_source("1.1-cambridge", 2024, request.access)
    for window in result.windows:
        codes, scales = source.read(window)
        own_codes, own_scales = own_pixels(archive, window)
        np.testing.assert_array_equal(codes, own_codes)
        np.testing.assert_array_equal(scales, own_scales)
        values = embeddings.dequantise(codes, scales)
        np.testing.assert_array_equal(values, own_codes * own_scales[..., None])
    source.close()
    again = embeddings.fetch(request_for(server, tmp_path, offline=True))
    assert again.summary.cached_px == pixels
    assert again.summary.requests == 0


def test_dequantised_pixels_are_nan_where_they_are_not_valid():
    codes = np.full((7, 4), 3, np.int8)
    codes[6] = 0
    scales = np.array([0.5, np.nan, np.inf, 0.0, 1.0, -0.1, 0.5], np.float32)
    valid = embeddings.valid_mask(codes, scales)
    assert valid.tolist() == [True] + 6 * [False]
    values = embeddings.dequantise(codes, scales)
    assert values.dtype == np.float32
    assert values.shape == (7, 4)
    np.testing.assert_array_equal(values[0], 1.5)
    assert np.isnan(values[1:]).all()
    cube = embeddings.dequantise(codes.reshape(7, 1, 4), scales.reshape(7, 1))
    np.testing.assert_array_equal(cube.reshape(7, 4), values)


def test_where_nothing_is_published_it_is_said(server, tmp_path):
    with pytest.raises(NothingPublished) as caught:
        embeddings.fetch(request_for(server, tmp_path, SEA))
    assert (caught.value.dataset, caught.value.year) == ("1.1-cambridge", 2024)
    asked = len(server.log)
    with pytest.raises(NothingPublished):  # and known now
        embeddings.fetch(request_for(server, tmp_path, SEA))
    assert len(server.log) == asked


def test_a_year_that_is_not_published_here(server, tmp_path):
    with pytest.raises(NothingPublished):
        embeddings.fetch(request_for(server, tmp_path, year=2016))


def test_water_all_over_is_not_unpublished(server, tmp_path):
    lon, lat = planted.LAKES[0][:2]
    extent = Extent(lon - 0.001, lat - 0.0005, lon + 0.001, lat + 0.0005)
    result = embeddings.fetch(request_for(server, tmp_path, extent))
    assert result.summary.valid_px == 0
    assert result.summary.failed == ()
    row, col = layout.pixel_of(31, lon, lat)
    source = embeddings.open_source("1.1-cambridge", 2024, request_for(server, tmp_path).access)
    assert source.states(Window(31, row, col, 1, 1))[0, 0] == State.WATER


def test_without_a_network_and_a_cache_it_is_the_network(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{sock.getsockname()[1]}"  # bound, and nobody listens

        class Nobody:
            url = address

        with pytest.raises(NetworkFailed, match="no connection") as caught:
            embeddings.fetch(request_for(Nobody, tmp_path))
        assert caught.value.url.startswith(address)


def test_without_a_network_what_is_cached_is_given(server, tmp_path):
    embeddings.fetch(request_for(server, tmp_path))
    server.faults.append(Fault.drop(count=FOREVER))
    wider = Extent(-0.003, 52.149, 0.004, 52.154)
    result = embeddings.fetch(request_for(server, tmp_path, wider))
    assert result.summary.cached_px == result.summary.valid_px > 0
    assert {failure.part for failure in result.summary.failed} == {
        "grid_-0.05_52.15",
        "grid_0.05_52.15",
    }


def test_offline_and_nothing_in_the_cache_is_a_failed_part(server, tmp_path):
    result = embeddings.fetch(request_for(server, tmp_path, offline=True))
    assert {failure.reason for failure in result.summary.failed} == {"not in the cache"}
    assert server.log == []


def test_a_refused_tile_is_a_failed_part(server, tmp_path):
    server.faults.append(Fault.status(403, count=FOREVER))
    result = embeddings.fetch(request_for(server, tmp_path))
    assert {failure.reason for failure in result.summary.failed} == {"access refused (status 403)"}


def test_an_extent_that_is_too_large_is_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(ExtentTooLarge) as caught:
        embeddings.fetch(request_for(server, tmp_path, limit_px=100))
    assert caught.value.pixels > 100
    assert caught.value.bytes == caught.value.pixels * 132
    with pytest.raises(ExtentTooLarge):
        embeddings.fetch(request_for(server, tmp_path, Extent(-10, 40, 10, 60)))
    assert server.log == []


def test_unknown_datasets_and_years(server, tmp_path):
    with pytest.raises(UnknownDataset):
        embeddings.fetch(request_for(server, tmp_path, dataset="9.9-nowhere"))
    with pytest.raises(UnknownYear):
        embeddings.fetch(request_for(server, tmp_path, year=1999))
    assert server.log == []


def test_cancel_goes_through(server, tmp_path):
    def report(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        embeddings.fetch(request_for(server, tmp_path), report)
    assert server.log == []


@pytest.mark.parametrize(
    "extent",
    [
        Extent(0.120, 52.190, 0.130, 52.195),  # inside one tile
        Extent(0.095, 52.190, 0.115, 52.206),  # where four tiles meet
        SEAM,
    ],
)
def test_what_a_fetch_will_take_is_told_beforehand(server, tmp_path, extent):
    told = embeddings.download_bytes("1.1-cambridge", grid.windows_of(extent), form="npy")
    took = embeddings.fetch(request_for(server, tmp_path, extent)).summary.bytes_fetched
    assert 0.9 * took < told < 1.25 * took


def test_a_small_extent_costs_whole_rows_of_its_tile():
    window = Window(31, -578800, 30200, 10, 10)
    (width,) = {tile.footprint().width for tile in tiling.rows_to_read(window)}
    told = embeddings.download_bytes("1.1-cambridge", [window], form="npy")
    assert told == 10 * width * 132


def test_a_dataset_without_tiles_comes_from_its_store(archive, server, tmp_path):
    extent = Extent(0.120, 52.190, 0.126, 52.194)
    request = request_for(server, tmp_path, extent, dataset="1.1-dclimate", form="")
    result = embeddings.fetch(request)
    (window,) = result.windows
    place = (window.zone, window.row, window.col, *window.shape)
    own_codes, own_scales = archive.zarr_window("v1.1-dclimate", 2024, *place)
    codes, scales = embeddings.open_source("1.1-dclimate", 2024, request.access).read(window)
    valid = embeddings.valid_mask(own_codes, own_scales)
    np.testing.assert_array_equal(codes, np.where(valid[..., None], own_codes, 0))
    np.testing.assert_array_equal(scales, np.where(valid, own_scales, np.nan))
    assert valid.mean() > 0.9
    told = embeddings.download_bytes("1.1-dclimate", result.windows)
    assert told > 0.8 * result.summary.bytes_fetched
