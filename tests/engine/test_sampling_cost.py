# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled points scattered over many tiles cost the rows or chunks they lie in, not the tiles."""

import numpy as np
import pytest

from tessera_plugin.engine.embeddings import open_source
from tessera_plugin.engine.samples import (
    Label,
    Labels,
    SampleParams,
    collect,
    label_pixels,
    windows_of_pixels,
)
from tessera_plugin.values import Access, LandClass, NetworkSettings
from tests.archive import layout
from tests.archive.sample import SampleArchive
from tests.builders import wkb
from tests.servers import RangeServer

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, connect_timeout_s=5, read_timeout_s=20)
NEVER = 2**64 - 1


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


def scattered(count, west, south, east, north, seed=0):
    draw = np.random.default_rng(seed)
    places = draw.uniform((west, south), (east, north), (count, 2))
    items = tuple(
        Label(wkb(f"POINT ({lon!r} {lat!r})"), 1 + number % 2, str(number))
        for number, (lon, lat) in enumerate(places.tolist())
    )
    classes = (LandClass(1, "a", "#101010"), LandClass(2, "b", "#202020"))
    return Labels("EPSG:4326", classes, items, "scattered points")


def sampled(server, folder, labels, dataset, form):
    access = Access(str(folder), server.url, network=QUICK, form=form)
    source = open_source(dataset, 2024, access)
    pixels = label_pixels(labels, SampleParams())
    summary = source.fetch(windows_of_pixels(pixels), lambda *_: None)
    assert not summary.failed
    samples = collect(labels, source, SampleParams(), pixels)
    source.close()
    assert summary.bytes_fetched == server.bytes_sent
    return pixels, samples


@pytest.mark.long
def test_points_over_many_tiles_cost_their_rows(archive, tmp_path):
    labels = scattered(60, -0.2, 52.0, 0.3, 52.3)
    with RangeServer(archive) as server:
        pixels, samples = sampled(server, tmp_path, labels, "1.1-cambridge", "npy")
        took = server.bytes_sent
    assert samples.report.pixels + samples.report.invalid_px == len(pixels.row) == 60
    # a pixel that two tiles cover may cost a row of each
    rows, whole = set(), 0
    for name in archive.tile_names("v1.1-cam"):
        place = archive.footprint(name)
        inside = (
            (pixels.zone == place.zone)
            & (pixels.row >= place.row) & (pixels.row < place.row + place.height)
            & (pixels.col >= place.col) & (pixels.col < place.col + place.width)
        )  # fmt: skip
        rows |= {(name, int(row), place.width) for row in pixels.row[inside]}
        whole += place.height * place.width * 132 if inside.any() else 0
    tiles = {name for name, _, _ in rows}
    assert len(tiles) >= 14
    row_bytes = sum(width * 132 for _, _, width in rows)
    heads = 2 * 4096 * len(archive.tile_names("v1.1-cam"))
    assert took < 1.1 * row_bytes + heads
    assert took < 0.01 * whole
    assert on_disk(tmp_path) < 1.5 * took
    # and they are the right ones
    for lon, lat, row, col in zip(*_lonlat(labels), pixels.row, pixels.col):
        zone = 30 if lon < 0 else 31
        assert (row, col) == layout.pixel_of(zone, lon, lat)


def on_disk(folder):
    """Bytes of the blocks in a cache."""
    return sum(path.stat().st_size for path in folder.rglob("utm*/*.npy"))


def _lonlat(labels):
    return np.array([np.frombuffer(label.wkb[5:21], "<f8") for label in labels.items]).T


def test_points_in_a_store_cost_their_chunks(archive, tmp_path):
    labels = scattered(40, 0.10, 52.18, 0.15, 52.22)
    store = "v1.1-dclimate"
    with RangeServer(archive) as server:
        pixels, samples = sampled(server, tmp_path, labels, "1.1-dclimate", "")
        took = server.bytes_sent
        asked = {entry.path for entry in server.log if "/c/" in entry.path}
    assert samples.report.pixels + samples.report.invalid_px == len(pixels.row) == 40
    grid = next(one for one in archive.zarr.stores[store].grids if one.zone == 31)
    chunks = {
        ((row - grid.row) // 32, (col - grid.col) // 32)
        for row, col in zip(pixels.row.tolist(), pixels.col.tolist())
    }
    needed = overhead = 0
    for name in ("embeddings", "scales"):
        for path in (one for one in asked if f"utm31/{name}/" in one):
            shard_row, shard_col = map(int, path.split("/")[-2:])
            index = _index(archive, path)
            overhead += index.nbytes + 4
            inside = [
                (r % 128, c % 128)
                for r, c in chunks
                if (r // 128, c // 128) == (shard_row, shard_col)
            ]
            needed += sum(int(index[r, c, 1]) for r, c in inside if index[r, c, 0] != NEVER)
    assert len(chunks) > 30
    metadata = archive.find(f"zarr/{store}/zarr.json").length + 10_000
    assert needed <= took < 1.1 * needed + overhead + metadata
    unpacked = len(chunks) * 32 * 32 * (128 + 7)
    assert on_disk(tmp_path) < 1.2 * unpacked


def _index(archive, path):
    """The index of a shard: offset and size of each of 128 x 128 chunks."""
    resource = archive.find(path)
    tail = resource.read(resource.length - 128 * 128 * 16 - 4, resource.length - 4)
    return np.frombuffer(tail, "<u8").reshape(128, 128, 2)
