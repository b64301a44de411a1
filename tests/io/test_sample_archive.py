# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The sample archive is what the published one is said to be, and as hard as real land."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import List, Tuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from osgeo import gdal
from pyproj import Transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from tests.archive import layout, planted
from tests.archive.ground import DEMO, pixel_lonlat
from tests.archive.layout import Tile
from tests.archive.planted import Kind
from tests.archive.sample import SampleArchive, window_of
from tests.servers import Resource

pytestmark = pytest.mark.long
"""Of what other tests are measured by; it seldom changes."""

ROOT = Path(__file__).resolve().parents[2]
CAM, OLD = "v1.1-cam", "v1"
NAME = "grid_0.15_52.15"


@pytest.fixture(scope="module")
def archive() -> SampleArchive:
    return SampleArchive()


def found(archive: SampleArchive, path: str) -> Resource:
    resource = archive.find(path)
    assert resource is not None, path
    return resource


def whole(archive: SampleArchive, path: str) -> bytes:
    resource = found(archive, path)
    return resource.read(0, resource.length)


def is_valid(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(
        np.isfinite(scales) & (scales > 0) & (scales < 1) & codes.any(axis=-1), np.bool_
    )


# -------------------------------------------------------------------------------------- the layout
def test_published_footprint_is_reproduced() -> None:
    # Transform and shape that were recorded from the real landmask of this tile.
    place = layout.footprint(Tile.parse("grid_3.35_6.45"))
    assert place.origin == pytest.approx((533169.472912544, 718493.6481086587), abs=1e-3)
    assert (place.height, place.width) == (1106, 1107)
    assert (place.row, place.col) == (-71850, 53316)


def test_tiles_of_two_zones_and_both_hemispheres(archive: SampleArchive) -> None:
    names = archive.tile_names(CAM)
    assert len(names) == 16
    assert "grid_0.25_52.25" not in names
    assert {archive.footprint(name).zone for name in names} == {30, 31, 36}
    north, south = (archive.footprint(name) for name in ("grid_32.55_0.05", "grid_32.55_-0.05"))
    # The published rounding leaves a row without data there: shapes are rounded, origins ceiled.
    assert (north.row + north.height, south.row) == (-1, 0)
    assert [Tile.parse(f"grid_32.55_{lat}").epsg for lat in ("0.05", "-0.05")] == [32636, 32736]


def test_codes_file_is_a_plain_npy_readable_at_any_range(archive: SampleArchive) -> None:
    path, _ = layout.tile_paths(CAM, 2024, NAME)
    resource = found(archive, path)
    place = archive.footprint(NAME)
    assert resource.length == 128 + place.height * place.width * 128
    head = io.BytesIO(resource.read(0, 128))
    assert np.lib.format.read_magic(head) == (1, 0)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
    assert (shape, fortran, dtype) == ((place.height, place.width, 128), False, np.dtype("int8"))
    codes, _ = archive.tile_arrays(CAM, 2024, NAME, (0, 40))
    content = resource.read(0, 128) + codes.tobytes()
    draw = np.random.Generator(np.random.PCG64(3))
    for _ in range(20):
        start, stop = sorted(draw.integers(0, len(content), 2).tolist())
        assert resource.read(start, stop) == content[start:stop]
    last, _ = archive.tile_arrays(CAM, 2024, NAME, (place.height - 1, place.height))
    assert resource.read(resource.length - last.size, resource.length) == last.tobytes()
    assert re.fullmatch(r"[0-9a-f]{32}-12", resource.etag)


def test_scales_file_is_a_plain_npy_with_its_md5(archive: SampleArchive) -> None:
    _, path = layout.tile_paths(CAM, 2024, NAME)
    data = whole(archive, path)
    assert found(archive, path).etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
    scales = np.load(io.BytesIO(data), allow_pickle=False)
    assert scales.dtype == np.dtype("float32")
    expected = archive.tile_arrays(CAM, 2024, NAME, (0, 1))[1]
    assert scales.shape == (archive.footprint(NAME).height, archive.footprint(NAME).width)
    assert scales[:1].tobytes() == expected.tobytes()
    assert found(archive, path).read(100, 300) == data[100:300]


@pytest.mark.parametrize(
    "path",
    [
        "npy/v1.1-cam/2024/grid_0.25_52.25/grid_0.25_52.25.npy",
        "npy/v1.1-cam/2022/grid_0.15_52.15/grid_0.15_52.15.npy",
        "npy/v1/2023/grid_0.15_52.15/grid_0.15_52.15.npy",
        "npy/v2/2024/grid_0.15_52.15/grid_0.15_52.15.npy",
        "npy/v1.1-cam/2024/grid_0.05_52.15/grid_0.15_52.15.npy",
        "npy/v1.1-cam/2024/grid_0.15_52.15/grid_0.15_52.150.npy",
        "npy/v2/manifest.parquet",
        "landmasks/v1.1/grid_0.25_52.25.tiff",
        "landmasks/v1.1-cam/landmasks.parquet",
        "",
    ],
)
def test_what_is_not_published_is_not_there(archive: SampleArchive, path: str) -> None:
    assert archive.find(path) is None


def test_manifest_lists_every_tile_with_its_sizes(archive: SampleArchive) -> None:
    table = pq.read_table(io.BytesIO(whole(archive, f"npy/{CAM}/manifest.parquet"))).to_pylist()
    assert len(table) == 32
    keys = [(row["version"], row["variant"], row["year"], row["lon"], row["lat"]) for row in table]
    assert keys == sorted(keys)
    assert keys[0][:3] == ("1.1", "cambridge", 2023)
    for row in table[::7]:
        name = f"grid_{row['lon']:.2f}_{row['lat']:.2f}"
        assert (row["lon_i"], row["lat_i"]) == (round(row["lon"] * 100), round(row["lat"] * 100))
        codes, scales = layout.tile_paths(CAM, row["year"], name)
        assert row["grid_path"].endswith("/tessera/tessera/" + codes)
        assert row["grid_size"] == found(archive, codes).length
        assert row["scales_size"] == found(archive, scales).length


@pytest.mark.parametrize("name", [NAME, "grid_32.55_-0.05"])
def test_landmask_is_a_small_geotiff_off_the_grid(archive: SampleArchive, name: str) -> None:
    data = whole(archive, f"landmasks/v1/{name}.tiff")
    assert 4_000 < len(data) < 100_000
    path = f"/vsimem/{name}.tiff"
    gdal.FileFromMemBuffer(path, data)
    raster = gdal.Open(path)
    mask = raster.GetRasterBand(1).ReadAsArray()
    transform, crs = raster.GetGeoTransform(), raster.GetSpatialRef()
    del raster
    gdal.Unlink(path)
    place, tile = archive.footprint(name), Tile.parse(name)
    assert mask.shape == (place.height, place.width)
    assert crs.GetAuthorityCode(None) == str(tile.epsg)
    assert transform[0] % 10 != 0
    assert (transform[0], transform[3]) == place.origin
    assert (transform[0] - place.col * 10) < 10
    water = archive.planted(place.zone, place.row, place.col, place.height, place.width) == 1
    assert water.sum() > 1000
    assert np.array_equal(mask == 0, water)


def test_landmasks_are_listed_with_their_sizes(archive: SampleArchive) -> None:
    table = pq.read_table(io.BytesIO(whole(archive, "landmasks/v1.1/landmasks.parquet")))
    assert table.column_names == ["lon", "lat", "file_size", "mtime", "lon_i", "lat_i"]
    first = table.to_pylist()[0]
    name = f"grid_{first['lon']:.2f}_{first['lat']:.2f}"
    assert first["file_size"] == found(archive, f"landmasks/v1.1/{name}.tiff").length
    assert table.num_rows == 16


# ------------------------------------------------------------------------------------- the numbers
def test_codes_follow_the_quantiser(archive: SampleArchive) -> None:
    for npy_dir, year in ((CAM, 2024), (CAM, 2023), (OLD, 2024)):
        codes, scales = archive.tile_arrays(npy_dir, year, NAME, (100, 132))
        assert codes.min() >= -127
        assert np.all(np.abs(codes.astype(np.int16)).max(axis=-1) == 127)
        assert scales.min() >= 0.046
        assert scales.max() <= 0.076


def test_embeddings_have_the_spread_of_published_ones(archive: SampleArchive) -> None:
    codes, scales = archive.tile_arrays(CAM, 2024, NAME, (0, 200))
    x = (codes * scales[..., None]).reshape(-1, 128)[::20]
    # Published: means spread by 1.73 over the bands, deviations of 1.80 on average, |x| of 27-33.
    assert 1.4 < x.mean(axis=0).std() < 2.2
    assert 1.6 < x.std(axis=0).mean() < 2.1
    assert 27 < np.linalg.norm(x, axis=1).mean() < 33


def test_bytes_follow_from_the_seed_alone(archive: SampleArchive) -> None:
    again = SampleArchive()
    rows = (500, 520)
    again.tile_arrays(CAM, 2024, NAME, (510, 512))
    for one, other in zip(
        archive.tile_arrays(CAM, 2024, NAME, rows), again.tile_arrays(CAM, 2024, NAME, rows)
    ):
        assert one.tobytes() == other.tobytes()
    path, _ = layout.tile_paths(CAM, 2024, NAME)
    other_seed = SampleArchive(seed=1)
    assert found(again, path).etag == found(archive, path).etag != found(other_seed, path).etag
    assert not np.array_equal(
        other_seed.tile_arrays(CAM, 2024, NAME, rows)[0],
        archive.tile_arrays(CAM, 2024, NAME, rows)[0],
    )


def test_tiles_overlap_with_the_same_land_and_other_noise(archive: SampleArchive) -> None:
    one, other = "grid_0.05_52.15", NAME
    first, second = archive.footprint(one), archive.footprint(other)
    row, col, stop_row, stop_col = first.overlap(second)
    rows = max(row, -578_400), max(row, -578_400) + 20
    assert stop_col - col > 20
    assert rows[1] <= stop_row
    parts = []
    for name, place in ((one, first), (other, second)):
        codes, _ = archive.tile_arrays(CAM, 2024, name, (rows[0] - place.row, rows[1] - place.row))
        parts.append(codes[:, col - place.col : stop_col - place.col].astype(np.float64))
    a, b = (part / np.linalg.norm(part, axis=-1, keepdims=True) for part in parts)
    assert (parts[0] != parts[1]).any(axis=-1).all()
    assert 0.75 < np.median((a * b).sum(axis=-1)) < 0.97


# ---------------------------------------------------------------------------------- the ground truth
def test_any_window_of_the_truth_is_the_same_land(archive: SampleArchive) -> None:
    zone, row, col, height, width = window_of(DEMO)
    all_of_it = archive.truth(zone, row, col, height, width)
    assert np.array_equal(
        archive.truth(zone, row + 77, col + 31, 140, 150), all_of_it[77:217, 31:181]
    )
    shares = np.bincount(all_of_it.ravel(), minlength=7) / all_of_it.size
    assert shares[0] == 0
    assert np.all((shares[1:] > 0.05) & (shares[1:] < 0.40))


def test_zones_agree_along_their_seam(archive: SampleArchive) -> None:
    lon = np.repeat(np.linspace(-0.004, 0.004, 40), 40)
    lat = np.tile(np.linspace(52.15, 52.16, 40), 40)
    seen = []
    for zone in (30, 31):
        to_zone = Transformer.from_crs(4326, 32600 + zone, always_xy=True)
        e, n = to_zone.transform(lon, lat)
        rows, cols = np.floor(-n / 10).astype(int), np.floor(e / 10).astype(int)
        r0, c0 = rows.min(), cols.min()
        window = archive.truth(zone, r0, c0, np.ptp(rows) + 1, np.ptp(cols) + 1)
        seen.append(window[rows - r0, cols - c0])
    assert len(set(seen[0].tolist())) >= 3
    assert (seen[0] == seen[1]).mean() > 0.93


def test_pixel_places_are_those_of_pyproj() -> None:
    lon, lat = pixel_lonlat(36, 0, 350)
    to_zone = Transformer.from_crs(4326, 32636, always_xy=True)
    e, n = to_zone.transform(lon.ravel(), lat.ravel())
    rows, cols = np.mgrid[0:128, 350 * 128 : 351 * 128] * 10.0 + 5
    assert np.abs(e - cols.ravel()).max() < 0.001
    assert np.abs(n + rows.ravel()).max() < 0.001


def test_label_points_are_right_and_well_inside(archive: SampleArchive) -> None:
    points = archive.label_points()
    assert [point.class_id for point in points] == sorted([1, 2, 3, 4, 5, 6] * 8)
    for point in points:
        assert DEMO[0] < point.lon < DEMO[2]
        assert DEMO[1] < point.lat < DEMO[3]
        row, col = layout.pixel_of(31, point.lon, point.lat)
        assert (archive.truth(31, row - 2, col - 2, 5, 5) == point.class_id).all()
    assert archive.label_points(seed=1) != points


# --------------------------------------------------------------------------------- what is planted
def tile_rows_at(
    archive: SampleArchive, name: str, lon: float, lat: float, npy_dir: str = CAM
) -> Tuple[NDArray[np.int8], np.float32]:
    place = archive.footprint(name)
    row, col = layout.pixel_of(place.zone, lon, lat)
    row, col = row - place.row, col - place.col
    codes, scales = archive.tile_arrays(npy_dir, 2024, name, (row, row + 1))
    return codes[0, col], scales[0, col]


@pytest.mark.parametrize(
    ("name", "lon", "lat"),
    [(NAME, 0.175, 52.125), ("grid_32.55_0.05", 32.56, 0.002), ("grid_32.55_-0.05", 32.56, -0.001)],
)
def test_lakes(archive: SampleArchive, name: str, lon: float, lat: float) -> None:
    codes, scale = tile_rows_at(archive, name, lon, lat)
    assert np.isnan(scale)
    assert codes.any()
    codes, scale = tile_rows_at(archive, name, lon, lat, OLD)
    assert np.isfinite(scale)
    assert not codes.any()


@pytest.mark.parametrize("name", ["grid_-0.15_52.05", "grid_0.05_52.05", "grid_0.25_52.05"])
def test_river_runs_through(archive: SampleArchive, name: str) -> None:
    place = archive.footprint(name)
    scales = archive.tile_arrays(CAM, 2024, name)[1] if name == "grid_-0.15_52.05" else None
    kind = archive.planted(place.zone, place.row, place.col, place.height, place.width)
    columns = (kind == Kind.WATER).any(axis=0)
    assert columns[20:-20].all()
    if scales is not None:
        assert np.array_equal(np.isnan(scales), kind == Kind.WATER)


def test_unwritten_empty_and_corrupt(archive: SampleArchive) -> None:
    codes, scale = tile_rows_at(archive, "grid_-0.15_52.25", -0.18, 52.23)
    assert np.isposinf(scale)
    assert not codes.any()
    codes, scale = tile_rows_at(archive, "grid_0.05_52.15", 0.075, 52.118)
    assert 0 < scale < 1
    assert not codes.any()
    place = archive.footprint("grid_0.25_52.15")
    zone, row, col = planted.corrupt_pixels()
    codes2, scales2 = archive.tile_arrays(
        CAM, 2024, "grid_0.25_52.15", (row - place.row, row - place.row + 1)
    )
    part = slice(col - place.col, col - place.col + 6)
    assert np.array_equal(scales2[0, part], np.float32(planted.CORRUPT_SCALES), equal_nan=True)
    assert codes2[0, part].any(axis=-1).all()
    assert zone == place.zone


def test_gap_is_in_the_first_tile_only(archive: SampleArchive) -> None:
    row, col, stop_row, stop_col = planted.gap_window()
    assert stop_row - row > 10
    for name, is_first in zip(planted.GAP, (True, False)):
        place = archive.footprint(name)
        codes, scales = archive.tile_arrays(
            CAM, 2024, name, (row - place.row, stop_row - place.row)
        )
        part = (slice(None), slice(col - place.col, stop_col - place.col))
        assert np.isnan(scales[part]).all() == is_first
        assert is_valid(codes[part], scales[part]).all() != is_first


def test_demo_area_is_sound(archive: SampleArchive) -> None:
    zone, row, col, height, width = window_of(DEMO)
    assert not archive.planted(zone, row, col, height, width).any()
    gap_row, gap_col, gap_stop, _ = planted.gap_window()
    assert gap_row >= row + height or gap_stop <= row or gap_col >= col + width


# ------------------------------------------------------------------------------------ how hard it is
def demo_embeddings(
    archive: SampleArchive, npy_dir: str
) -> Tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Part of the demo area that lies in one tile: embeddings (n, 128) and true classes (n,)."""
    place = archive.footprint(NAME)
    zone, row, col, height, width = window_of((0.105, 52.181, 0.145, 52.196))
    codes, scales = archive.tile_arrays(
        npy_dir, 2024, NAME, (row - place.row, row - place.row + height)
    )
    part = slice(col - place.col, col - place.col + width)
    x = codes[:, part] * scales[:, part, None]
    return x.reshape(-1, 128), archive.truth(zone, row, col, height, width).ravel()


def labelled(
    archive: SampleArchive, npy_dir: str, seed: int
) -> Tuple[NDArray[np.float32], NDArray[np.int64]]:
    x: List[NDArray[np.float32]] = []
    points = archive.label_points(seed=seed)
    for point in points:
        row, col = layout.pixel_of(31, point.lon, point.lat)
        for name in archive.tile_names(npy_dir):
            place = archive.footprint(name)
            r, c = row - place.row, col - place.col
            if place.zone == 31 and 0 <= r < place.height and 0 <= c < place.width:
                codes, scales = archive.tile_arrays(npy_dir, 2024, name, (r, r + 1))
                x.append(codes[0, c] * scales[0, c])
                break
    return np.stack(x), np.array([point.class_id for point in points])


def test_few_labels_give_a_good_map_but_no_perfect_one(archive: SampleArchive) -> None:
    x, truth = demo_embeddings(archive, CAM)
    for seed in (0, 1):
        few, classes = labelled(archive, CAM, seed)
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(few, classes)
        standard = StandardScaler().fit(few)
        mlp = MLPClassifier((64,), alpha=1e-2, max_iter=400, random_state=0)
        mlp.fit(standard.transform(few), classes)
        for head, inputs in ((lda, x), (mlp, standard.transform(x))):
            assert 0.75 < (head.predict(inputs) == truth).mean() < 0.92


def test_the_other_dataset_is_another_feature_space(archive: SampleArchive) -> None:
    few, classes = labelled(archive, CAM, 0)
    head = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(few, classes)
    x, truth = demo_embeddings(archive, OLD)
    assert (head.predict(x) == truth).mean() < 0.4


# ------------------------------------------------------------------------------------ the command
def test_command_serves_and_writes_the_truth(archive: SampleArchive, tmp_path: Path) -> None:
    truth, labels = tmp_path / "truth.tif", tmp_path / "labels.geojson"
    command = [sys.executable, "-m", "tests.archive", "--truth", str(truth), "--bbox"]
    command += ["-0.12,52.18,-0.11,52.19", "--labels", str(labels), "--per-class", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/landmasks/v1.1/{NAME}.tiff", timeout=20) as reply:
            assert reply.read() == whole(archive, f"landmasks/v1.1/{NAME}.tiff")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
    raster = gdal.Open(str(truth))
    zone, row, col, height, width = window_of((-0.12, 52.18, -0.11, 52.19))
    assert zone == 30
    assert raster.GetGeoTransform() == (col * 10, 10, 0, row * -10, 0, -10)
    assert np.array_equal(raster.ReadAsArray(), archive.truth(zone, row, col, height, width))
    assert labels.read_text(encoding="utf-8").count('"class_id"') >= 6
