# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The sample's Zarr stores are laid out as the published ones, and hold what the tiles hold.

That the real zarr library reads them is checked by tools/check_with_zarr.sh.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.archive import planted, zarr_shards
from tests.archive.layout import Tile
from tests.archive.planted import Kind
from tests.archive.sample import SampleArchive, window_of
from tests.archive.zarr_stores import Area
from tests.servers import Resource

pytestmark = pytest.mark.long
"""Of what other tests are measured by; it seldom changes."""

numcodecs = pytest.importorskip("numcodecs")

CAM, V2, SPLIT = "v1.1", "v2-2B-L~beta1", "v1.1-dclimate-b"

AREAS = (
    Area(30, -0.010, 52.060, 0.003, 52.066),
    Area(31, -0.010, 52.060, 0.003, 52.066),
    Area(31, 0.0690, 52.1140, 0.0715, 52.1160),
    Area(31, 0.2290, 52.1490, 0.2315, 52.1510),
    Area(31, 0.1450, 52.0985, 0.1560, 52.1015),
    Area(36, 32.572, -0.002, 32.578, 0.003),
)
"""Smaller than those that are served by default, so that this is quick."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> SampleArchive:
    return SampleArchive(zarr_areas=AREAS, zarr_folder=tmp_path_factory.mktemp("shards"))


def found(archive: SampleArchive, path: str) -> Resource:
    resource = archive.find(path)
    assert resource is not None, path
    return resource


def whole(archive: SampleArchive, path: str) -> bytes:
    resource = found(archive, path)
    return resource.read(0, resource.length)


def root(archive: SampleArchive, store: str) -> Dict[str, Any]:
    return dict(json.loads(whole(archive, f"zarr/{store}/zarr.json")))


def nodes(archive: SampleArchive, store: str) -> Dict[str, Any]:
    return dict(root(archive, store)["consolidated_metadata"]["metadata"])


def read(
    archive: SampleArchive, store: str, group: str, name: str, time: int, window: Tuple[int, ...]
) -> NDArray[Any]:
    """Read a window of the zone grid from the files alone: metadata, index, chunks. Bands last."""
    known = nodes(archive, store)
    node, attributes = known[f"{group}/{name}"], known[group]["attributes"]
    transform, names = attributes["spatial:transform"], node["dimension_names"]
    epsg = int(attributes["proj:code"].split(":")[1])
    top = transform[5] - (10_000_000 if epsg > 32700 else 0)
    row, col, height, width = window
    row, col = row + round(top / 10), col - round(transform[2] / 10)
    across = next(at for at, one in enumerate(names) if one in ("x", "easting"))
    band = next((at for at, one in enumerate(names) if one.startswith("band")), None)
    shards = node["chunk_grid"]["configuration"]["chunk_shape"]
    inner_shape = node["codecs"][0]["configuration"]["chunk_shape"]
    shard, inner = shards[across], inner_shape[across]
    depth = (node["shape"][band],) if band else ()
    out = np.full((height, width, *depth), 0 if band else np.inf, np.int8 if band else np.float32)
    for r in range(row // inner, (row + height - 1) // inner + 1):
        for c in range(col // inner, (col + width - 1) // inner + 1):
            key = [time, r * inner // shard, c * inner // shard]
            if band:
                key.insert(band, 0)
            path = f"zarr/{store}/{group}/{name}/c/{'/'.join(map(str, key))}"
            resource = archive.find(path)
            if resource is None:
                continue
            side = shard // inner
            index = zarr_shards.read_index(
                resource.read(resource.length - 16 * side**2 - 4, resource.length), side
            )
            offset, size = (int(number) for number in index[r % side, c % side])
            if offset == zarr_shards.ABSENT:
                continue
            raw = numcodecs.Blosc().decode(resource.read(offset, offset + size))
            chunk = np.frombuffer(raw, out.dtype).reshape(inner_shape)[0]
            if band == 1:
                chunk = chunk.transpose(1, 2, 0)
            a, b = max(row, r * inner), min(row + height, (r + 1) * inner)
            d, e = max(col, c * inner), min(col + width, (c + 1) * inner)
            out[a - row : b - row, d - col : e - col] = chunk[
                a - r * inner : b - r * inner, d - c * inner : e - c * inner
            ]
    return out


def merged(
    archive: SampleArchive, year: int, zone: int, window: Tuple[int, ...]
) -> Tuple[Any, Any]:
    """Merge the tiles pixel by pixel, as the rule is written: the first valid one wins."""
    row, col, height, width = window
    codes = np.zeros((height, width, 128), np.int8)
    scales = np.full((height, width), np.nan, np.float32)
    names = sorted(
        archive.tile_names("v1.1-cam"), key=lambda n: (Tile.parse(n).lon_i, Tile.parse(n).lat_i)
    )
    for name in reversed(names):
        place = archive.footprint(name)
        a, b = max(row, place.row), min(row + height, place.row + place.height)
        c, d = max(col, place.col), min(col + width, place.col + place.width)
        if place.zone != zone or a >= b or c >= d:
            continue
        tile_codes, tile_scales = archive.tile_arrays(
            "v1.1-cam", year, name, (a - place.row, b - place.row)
        )
        tile_codes = tile_codes[:, c - place.col : d - place.col]
        tile_scales = tile_scales[:, c - place.col : d - place.col]
        with np.errstate(invalid="ignore"):
            valid = (tile_scales > 0) & (tile_scales < 1) & tile_codes.any(axis=-1)
        here = slice(a - row, b - row), slice(c - col, d - col)
        codes[here][valid] = tile_codes[valid]
        scales[here][valid] = tile_scales[valid]
    return codes, scales


def windows(archive: SampleArchive) -> Iterator[Tuple[int, Tuple[int, int, int, int]]]:
    for area in AREAS:
        yield area.zone, archive.zarr.rectangle(area)


# -------------------------------------------------------------------------------------- the layout
def test_metadata_of_layout_a(archive: SampleArchive) -> None:
    top = root(archive, CAM)
    assert top["attributes"]["geoemb:dimensions"] == 128
    assert top["attributes"]["geoemb:quantization"]["scale"]["nodata"] == "+inf"
    assert "geoemb:depths" not in top["attributes"]
    known = nodes(archive, CAM)
    group, codes, scales = (known[f"utm31{name}"] for name in ("", "/embeddings", "/scales"))
    assert group["attributes"]["proj:code"] == "EPSG:32631"
    height, width = group["attributes"]["spatial:shape"]
    assert (height % 4096, width % 4096) == (0, 0)
    assert codes["shape"] == [3, 128, height, width]
    assert scales["shape"] == [3, height, width]
    assert scales["fill_value"] == "Infinity"
    sharding = codes["codecs"][0]
    assert codes["chunk_grid"]["configuration"]["chunk_shape"] == [1, 128, 4096, 4096]
    assert sharding["configuration"]["chunk_shape"] == [1, 128, 32, 32]
    assert sharding["configuration"]["codecs"][1]["configuration"] == {
        "typesize": 1,
        "cname": "zstd",
        "clevel": 3,
        "shuffle": "bitshuffle",
        "blocksize": 0,
    }
    assert sharding["configuration"]["index_location"] == "end"
    assert json.loads(whole(archive, f"zarr/{CAM}/utm31/embeddings/zarr.json")) == codes


def test_production_window_shows_cambridge(archive: SampleArchive) -> None:
    transform = nodes(archive, CAM)["utm31"]["attributes"]["spatial:transform"]
    row, col = 355_104 - round(transform[5] / 10), 13_728 + round(transform[2] / 10)
    _, place_row, place_col, _, _ = window_of((0.1274, 52.2021, 0.1276, 52.2023))
    assert row < place_row < row + 320
    assert col < place_col < col + 320


def test_second_version_has_prefixes(archive: SampleArchive) -> None:
    attributes = root(archive, V2)["attributes"]
    assert attributes["geoemb:depths"] == [
        {"dimensions": 4, "array": "embeddings_d4"},
        {"dimensions": 16, "array": "embeddings_d16"},
        {"dimensions": 128, "array": "embeddings"},
    ]
    assert attributes["geoemb:landmask"] is False
    known = nodes(archive, V2)
    for depth, inner in ((4, 128), (16, 64)):
        sharding = known[f"utm36/embeddings_d{depth}"]["codecs"][0]["configuration"]
        assert sharding["chunk_shape"] == [1, depth, inner, inner]


def test_split_layout_has_hemispheres(archive: SampleArchive) -> None:
    known = nodes(archive, SPLIT)
    assert known["36S"]["attributes"]["proj:code"] == "EPSG:32736"
    assert known["36S"]["attributes"]["spatial:transform"][5] > 10_000_000
    codes = known["36S/embeddings"]
    assert codes["dimension_names"] == ["time", "northing", "easting", "band"]
    assert codes["chunk_grid"]["configuration"]["chunk_shape"] == [1, 2048, 2048, 128]
    assert codes["codecs"][0]["configuration"]["chunk_shape"] == [1, 256, 256, 128]


def test_whole_world_store_has_sixty_groups(archive: SampleArchive) -> None:
    known = nodes(archive, "v1.1-dclimate")
    assert sum(node["node_type"] == "group" for node in known.values()) == 60
    assert archive.find("zarr/v1.1-dclimate/utm01/scales/c/0/100/3") is None
    assert archive.find("zarr/v1.1-dclimate/utm01/y/c/15") is not None


@pytest.mark.parametrize("store", [CAM, "v1.1-dclimate", V2, SPLIT])
def test_times_are_coordinates_and_one_year_is_empty(archive: SampleArchive, store: str) -> None:
    group, name = ("30N", "<i8") if store == SPLIT else ("utm30", "<i4")
    raw = numcodecs.Blosc().decode(whole(archive, f"zarr/{store}/{group}/time/c/0"))
    times = np.frombuffer(raw, name).tolist()
    assert len(times) == 3
    assert set(times) > {2023, 2024}
    empty = next(at for at, year in enumerate(times) if year not in (2023, 2024))
    window = archive.zarr.rectangle(AREAS[0])
    for at, year in enumerate(times):
        scales = read(archive, store, group, "scales", at, window)
        assert np.isposinf(scales).all() == (at == empty)
        truth = archive.zarr_window(store, year, 30, *window)[1]
        assert scales.tobytes() == truth.tobytes()


@pytest.mark.parametrize(
    "path",
    [
        "zarr/v1.1",
        "zarr/v1.1/",
        "zarr/v1.0/zarr.json",
        "zarr/v1.1/.zgroup",
        "zarr/v1.1/utm01/zarr.json",
        "zarr/v1.1/utm31/embeddings/c/1/0/0/0",
        "zarr/v1.1/utm31/embeddings/c/0/0/87/3",
        "zarr/v1.1/utm31/embeddings/c/1/1/87/3",
        "zarr/v1.1/utm31/embeddings/c/3/0/87/3",
        "zarr/v1.1/utm31/embeddings/c/1/0/087/3",
        "zarr/v1.1/utm31/scales/c/1/0/87/3",
        "zarr/v1.1/utm31/embeddings_d4/c/1/0/87/3",
        "zarr/v1.1/utm31/stretch_sample/c/0/0/0",
        "zarr/v1.1/utm31/y/c/16",
    ],
)
def test_what_was_not_written_is_not_there(archive: SampleArchive, path: str) -> None:
    assert archive.find(path) is None


# -------------------------------------------------------------------------------------- the numbers
@pytest.mark.parametrize("year", [2023, 2024])
def test_truth_is_the_merged_tiles(archive: SampleArchive, year: int) -> None:
    for zone, window in windows(archive):
        codes, scales = archive.zarr_window(CAM, year, zone, *window)
        want_codes, want_scales = merged(archive, year, zone, window)
        valid = np.isfinite(scales) & codes.any(axis=-1)
        assert valid.sum() > 0.3 * valid.size
        assert np.array_equal(valid, np.isfinite(want_scales))
        assert scales[valid].tobytes() == want_scales[valid].tobytes()
        assert np.array_equal(codes[valid], want_codes[valid])
        assert not codes[np.isposinf(scales)].any()


@pytest.mark.parametrize("store", [CAM, SPLIT])
def test_files_hold_the_truth(archive: SampleArchive, store: str) -> None:
    time = list(archive.zarr.stores[store].times).index(2024)
    for zone, (row, col, height, width) in windows(archive):
        for grid in archive.zarr.stores[store].grids:
            first, stop = max(row - 9, grid.rows[0]), min(row + height + 9, grid.rows[1])
            if grid.zone != zone or first >= stop:
                continue
            window = (first, col - 9, stop - first, width + 18)
            codes, scales = archive.zarr_window(store, 2024, zone, *window)
            got = read(archive, store, grid.group, "scales", time, window)
            assert got.tobytes() == scales.tobytes()
            assert np.isposinf(got[:, 0]).all()
            assert np.array_equal(
                read(archive, store, grid.group, "embeddings", time, window), codes
            )


def test_prefixes_are_the_first_bands(archive: SampleArchive) -> None:
    window = archive.zarr.rectangle(AREAS[5])
    full, scales = archive.zarr_window(V2, 2024, 36, *window)
    for depth in (4, 16):
        codes, same = archive.zarr_window(V2, 2024, 36, *window, depth=depth)
        assert codes.shape[2] == depth
        assert np.array_equal(codes, full[..., :depth])
        assert same.tobytes() == scales.tobytes()
        name = f"embeddings_d{depth}"
        assert np.array_equal(read(archive, V2, "utm36", name, 1, window), codes)
    with pytest.raises(ValueError, match="depth"):
        archive.zarr_window(CAM, 2024, 36, *window, depth=16)


def test_every_trap_is_in_it(archive: SampleArchive) -> None:
    # Water is NaN with ordinary codes, and so are the corrupt scales.
    window = archive.zarr.rectangle(AREAS[1])
    codes, scales = archive.zarr_window(CAM, 2024, 31, *window)
    water = archive.planted(31, *window) == Kind.WATER
    written = ~np.isposinf(scales)
    assert (water & written).sum() > 200
    assert np.isnan(scales[water & written]).all()
    assert codes[water & written].any(axis=-1).all()
    # Some 50 px west of the seam the tiles of this zone end.
    assert np.isposinf(scales[:, 0]).all()
    # Codes that are all zero under a valid scale.
    codes, scales = archive.zarr_window(CAM, 2024, 31, *archive.zarr.rectangle(AREAS[2]))
    assert (np.isfinite(scales) & ~codes.any(axis=-1)).sum() > 50
    zone, row, col = planted.corrupt_pixels()
    codes, scales = archive.zarr_window(CAM, 2024, zone, row, col, 1, len(planted.CORRUPT_SCALES))
    assert np.isnan(scales).all()
    # The gap of the first tile is filled by the second.
    row, col, stop_row, stop_col = planted.gap_window()
    area = archive.zarr.rectangle(AREAS[4])
    assert area[0] < row < stop_row < area[0] + area[2]
    assert area[1] < col < stop_col < area[1] + area[3]
    window = (row, col, stop_row - row, stop_col - col)
    assert np.isfinite(archive.zarr_window(CAM, 2024, 31, *window)[1]).all()
    # Both sides of the equator, in four shards; the row that the tiles leave out is NaN or inf.
    scales = archive.zarr_window(CAM, 2024, 36, *archive.zarr.rectangle(AREAS[5]))[1]
    row = archive.zarr.rectangle(AREAS[5])[0]
    assert row < -10
    assert np.isposinf(scales[-1 - row]).all()
    assert np.isfinite(scales[-row:]).any()
    for key in ("168/6", "168/7", "169/6", "169/7"):
        assert archive.find(f"zarr/{CAM}/utm36/scales/c/1/{key}") is not None, key


# ------------------------------------------------------------------------------------------- shards
def test_shard_lies_in_morton_order_with_a_checked_index(archive: SampleArchive) -> None:
    data = whole(archive, f"zarr/{CAM}/utm31/embeddings/c/1/0/87/3")
    index = zarr_shards.read_index(data, 128)
    there = np.argwhere(index[..., 0] != zarr_shards.ABSENT)
    assert 10 < len(there) < 500
    offsets, sizes = index[tuple(there.T)].T.astype(np.int64)
    order = np.argsort(offsets)
    assert np.array_equal(offsets[order][1:], (offsets + sizes)[order][:-1])
    assert (offsets[order][-1] + sizes[order][-1]) == len(data) - 16 * 128**2 - 4
    # Not in the order of the index, but in that of interleaved bits, row first.
    assert not np.array_equal(order, np.arange(len(order)))
    morton = [int(f"{c:b}", 4) * 2 + int(f"{r:b}", 4) for r, c in there[order]]
    assert morton == sorted(morton)
    damaged = bytearray(data)
    damaged[-100] ^= 1
    with pytest.raises(ValueError, match="CRC32C"):
        zarr_shards.read_index(bytes(damaged), 128)


def test_crc32c_is_the_published_one() -> None:
    # RFC 3720, B.4
    assert zarr_shards.crc32c(b"123456789") == 0xE3069283
    assert zarr_shards.crc32c(bytes(32)) == 0x8A9136AA


def test_any_range_of_a_shard_and_again_from_the_folder(
    archive: SampleArchive, tmp_path: Path
) -> None:
    path = f"zarr/{CAM}/utm30/scales/c/1/23/13"
    data = whole(archive, path)
    draw = np.random.Generator(np.random.PCG64(3))
    for _ in range(20):
        start, stop = sorted(draw.integers(0, len(data), 2).tolist())
        assert found(archive, path).read(start, stop) == data[start:stop]
    again = SampleArchive(zarr_areas=AREAS, zarr_folder=tmp_path)
    resource = found(again, path)
    assert resource.etag == found(archive, path).etag
    for kept in tmp_path.glob("*.shard"):
        kept.unlink()
    assert resource.read(0, resource.length) == data
    other = SampleArchive(seed=1, zarr_areas=AREAS, zarr_folder=tmp_path)
    assert found(other, path).etag != resource.etag
