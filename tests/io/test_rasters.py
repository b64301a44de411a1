# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.errors import DiskFull, NotWritable
from tessera_plugin.io import files, raster_mosaic, rasters
from tessera_plugin.io.projection import LONLAT, strip_limits, transform_points, zone_crs
from tessera_plugin.io.raster_classes import ClassCount
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import LandClass, Window

CLASSES = (
    LandClass(1, "Water", "#1f78b4"),
    LandClass(2, "Wald & Wiese <Öl>", "#33a02c"),
    LandClass(7, "Built-up", "#e31a1c"),
)
NORTH = Window(30, -580_123, 70_017, 700, 900)  # 52° N, in zone 30
TAGS = {"TESSERA_YEAR": "2024", "TESSERA_SOURCE": "https://example.org/a?b"}


def classes_of(window, seed=0, ids=(0, 1, 2, 7)):
    return np.random.default_rng(seed).choice(np.array(ids, np.uint8), window.shape)


def counts_of(values, classes=CLASSES):
    return tuple(ClassCount.of(each, int((values == each.id).sum())) for each in classes)


def write_map(path, window, values, classes=CLASSES):
    with rasters.class_map(path, window, classes, TAGS) as writer:
        for part in window.blocks():
            writer.write(part, values[part.slices_in(window)])
        writer.finish(counts_of(values, classes))


def read(path):
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray()


@contextmanager
def files_no_larger_than(size):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# --- class maps


def test_class_map_is_all_that_was_written(tmp_path):
    values = classes_of(NORTH)
    write_map(tmp_path / "map.tif", NORTH, values)

    dataset = gdal.Open(str(tmp_path / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert np.array_equal(dataset.ReadAsArray(), values)
    assert band.DataType == gdal.GDT_Byte
    assert band.GetNoDataValue() == 0
    assert band.GetBlockSize() == [256, 256]
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == "DEFLATE"
    assert dataset.GetSpatialRef().GetAuthorityCode(None) == "32630"
    assert dataset.GetGeoTransform() == (700_170, 10, 0, 5_801_230, 0, -10)
    assert {name: dataset.GetMetadataItem(name) for name in TAGS} == TAGS


def test_class_map_has_colours_names_and_areas(tmp_path):
    values = classes_of(NORTH)
    write_map(tmp_path / "map.tif", NORTH, values)

    dataset = gdal.Open(str(tmp_path / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert band.GetColorTable().GetColorEntry(7)[:3] == (0xE3, 0x1A, 0x1C)
    assert band.GetCategoryNames() == ["", "Water", "Wald & Wiese <Öl>", "", "", "", "", "Built-up"]
    table = band.GetDefaultRAT()
    names = [table.GetNameOfCol(col) for col in range(table.GetColumnCount())]
    assert names == ["Value", "Class", "Red", "Green", "Blue", "Pixels", "Hectares"]
    rows = [[table.GetValueAsString(row, col) for col in range(6)] for row in range(3)]
    pixels = {number: int((values == number).sum()) for number in (1, 2, 7)}
    assert rows == [
        ["1", "Water", "31", "120", "180", str(pixels[1])],
        ["2", "Wald & Wiese <Öl>", "51", "160", "44", str(pixels[2])],
        ["7", "Built-up", "227", "26", "28", str(pixels[7])],
    ]
    assert table.GetValueAsDouble(0, 6) == pytest.approx(pixels[1] * 0.01)
    assert table.GetColOfUsage(gdal.GFU_PixelCount) == 5


def test_overviews_show_the_most_frequent_class_and_skip_nodata(tmp_path):
    window = Window(30, -580_000, 70_000, 512, 600)
    quarter = classes_of(Window(30, -290_000, 35_000, 256, 300), ids=(1, 2, 7))
    values = np.kron(quarter, np.ones((2, 2), np.uint8))
    values[::2, ::2] = np.random.default_rng(1).choice([0, 1, 2, 7], (256, 300))  # one of four
    values[1, 0] = values[0, 1] = values[0, 0] = 0  # three of four without data
    write_map(tmp_path / "map.tif", window, values)

    dataset = gdal.Open(str(tmp_path / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert band.GetOverviewCount() == 2
    assert np.array_equal(band.GetOverview(0).ReadAsArray(), quarter)


def test_many_classes_need_sixteen_bits(tmp_path):
    classes = (*CLASSES, LandClass(300, "Late", "#102030"))
    values = np.full(NORTH.shape, 300, np.uint16)
    values[:5] = 7
    write_map(tmp_path / "map.tif", NORTH, values, classes)

    dataset = gdal.Open(str(tmp_path / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert band.DataType == gdal.GDT_UInt16
    assert np.array_equal(dataset.ReadAsArray(), values)
    assert band.GetColorTable().GetColorEntry(300)[:3] == (0x10, 0x20, 0x30)
    assert band.GetCategoryNames()[300] == "Late"
    assert band.GetNoDataValue() == 0


@pytest.mark.parametrize("number", [0, -1, 65536])
def test_class_ids_that_no_raster_holds_are_refused(number):
    with pytest.raises(ValueError, match="1 to 65535"):
        rasters.class_dtype((*CLASSES, LandClass(number, "Odd", "#000000")))


@pytest.mark.parametrize(
    ("row", "epsg", "top"),
    [(100, 32730, 9_999_000), (-300, 32630, 3_000), (-10, 32630, 100)],
    ids=["south", "north", "over the equator"],
)
def test_hemispheres(tmp_path, row, epsg, top):
    window = Window(30, row, 50_000, 30, 40)
    values = classes_of(window)
    write_map(tmp_path / "map.tif", window, values)
    dataset = gdal.Open(str(tmp_path / "map.tif"))
    assert dataset.GetSpatialRef().GetAuthorityCode(None) == str(epsg)
    assert dataset.GetGeoTransform()[3] == top
    assert np.array_equal(dataset.ReadAsArray(), values)


# --- other rasters


def test_confidence(tmp_path):
    values = np.random.default_rng(0).integers(0, 101, NORTH.shape, np.uint8)
    values[:100] = 255
    with rasters.confidence(tmp_path / "conf.tif", NORTH, TAGS) as writer:
        writer.write(NORTH, values)
        writer.finish()
    dataset = gdal.Open(str(tmp_path / "conf.tif"))
    assert np.array_equal(dataset.ReadAsArray(), values)
    assert dataset.GetRasterBand(1).GetNoDataValue() == 255
    # the mean of the percents, never one with nodata in it
    assert dataset.GetRasterBand(1).GetOverview(0).ReadAsArray()[51:].max() <= 100


def test_picture_has_an_alpha_band(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (4, *NORTH.shape), np.uint8)
    with rasters.picture(tmp_path / "rgb.tif", NORTH, TAGS) as writer:
        for part in NORTH.blocks():
            rows, cols = part.slices_in(NORTH)
            writer.write(part, values[:, rows, cols])
        writer.finish()
    dataset = gdal.Open(str(tmp_path / "rgb.tif"))
    assert np.array_equal(dataset.ReadAsArray(), values)
    colors = [dataset.GetRasterBand(n).GetColorInterpretation() for n in (1, 2, 3, 4)]
    assert colors == [gdal.GCI_RedBand, gdal.GCI_GreenBand, gdal.GCI_BlueBand, gdal.GCI_AlphaBand]


def test_embeddings_keep_every_bit(tmp_path):
    window = Window(30, -580_123, 70_017, 300, 280)
    values = np.random.default_rng(0).normal(size=(5, *window.shape)).astype(np.float32)
    values[:, 7, 3:90] = np.nan
    with rasters.embeddings(tmp_path / "e.tif", window, 5, TAGS) as writer:
        for part in rasters.tiles(window):
            rows, cols = part.slices_in(window)
            writer.write(part, values[:, rows, cols])
        writer.finish()
    dataset = gdal.Open(str(tmp_path / "e.tif"))
    assert dataset.ReadAsArray().tobytes() == values.tobytes()
    assert np.isnan(dataset.GetRasterBand(5).GetNoDataValue())
    assert dataset.GetRasterBand(1).GetOverviewCount() == 0


def test_tiles_cover_a_window_once():
    seen = np.zeros(NORTH.shape, int)
    for tile in rasters.tiles(NORTH):
        seen[tile.slices_in(NORTH)] += 1
    assert (seen == 1).all()


def test_wrong_arrays_are_refused(tmp_path):
    with rasters.confidence(tmp_path / "conf.tif", NORTH, {}) as writer:
        with pytest.raises(ValueError, match="expected uint8"):
            writer.write(NORTH, np.zeros(NORTH.shape, np.float32))
        with pytest.raises(ValueError, match="expected uint8"):
            writer.write(NORTH, np.zeros((3, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["as read", "shuffled"])
def test_parts_in_any_order_with_some_missing(tmp_path, order):
    """What is never written is nodata."""
    values = classes_of(NORTH, ids=(1, 2, 7))
    parts = list(NORTH.blocks())
    missing = parts.pop(9)
    values[missing.slices_in(NORTH)] = 0
    if order == "shuffled":
        np.random.default_rng(0).shuffle(parts)
    with rasters.class_map(tmp_path / "map.tif", NORTH, CLASSES, {}) as writer:
        for part in parts:
            writer.write(part, values[part.slices_in(NORTH)])
        writer.finish()
    assert np.array_equal(read(tmp_path / "map.tif"), values)


def test_every_tile_is_compressed_once(tmp_path):
    """A file of whole tiles is no larger than the same raster written in one piece."""
    values = classes_of(NORTH)
    for name, parts in (("parts.tif", list(NORTH.blocks())), ("whole.tif", [NORTH])):
        with rasters.class_map(tmp_path / name, NORTH, CLASSES, {}) as writer:
            for part in parts:
                writer.write(part, values[part.slices_in(NORTH)])
            writer.finish()
    sizes = [(tmp_path / name).stat().st_size for name in ("parts.tif", "whole.tif")]
    assert sizes[0] == sizes[1]


# --- what goes wrong


def write_confidence(path, values, report=silent):
    window = Window(30, -580_000, 70_000, *values.shape)
    with rasters.confidence(path, window, {}) as writer:
        writer.write(window, values)
        writer.finish(report=report)


def noise(height, width):
    """Values that can't be compressed."""
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


def stop_in_between(path):
    with rasters.confidence(path, NORTH, {}) as writer:
        writer.write(NORTH, noise(*NORTH.shape))
        raise Cancelled


def test_an_unfinished_raster_is_removed(tmp_path):
    with pytest.raises(Cancelled):
        stop_in_between(tmp_path / "c.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("message", ["overviews", "reading back"])
def test_cancel_while_finishing(tmp_path, message):
    def cancel(_fraction, said):
        if said == message:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_confidence(tmp_path / "c.tif", noise(700, 900), cancel)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(NotWritable):
        rasters.confidence(tmp_path / "none" / "c.tif", NORTH, {})


def test_a_refused_write_is_an_error(tmp_path):
    with files_no_larger_than(100_000), pytest.raises(NotWritable):
        write_confidence(tmp_path / "c.tif", noise(700, 900))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error(small_disk):
    with pytest.raises(DiskFull) as caught:
        write_confidence(small_disk / "c.tif", noise(1500, 1500))
    assert caught.value.needed_bytes == 1500 * 1500
    assert not list(small_disk.iterdir())


def test_a_disk_that_fills_up_with_the_overviews_is_an_error(small_disk):
    with pytest.raises(DiskFull):
        write_confidence(small_disk / "c.tif", noise(950, 950))  # 0.9 of the disk's megabyte
    assert not list(small_disk.iterdir())


def test_bytes_that_changed_on_the_disk_are_found(tmp_path):
    path = tmp_path / "c.tif"

    def spoil(_fraction, said):
        if said == "reading back":
            data = bytearray(path.read_bytes())
            data[len(data) // 3] ^= 0xFF
            path.write_bytes(data)

    with pytest.raises(NotWritable):
        write_confidence(path, noise(700, 900), spoil)
    assert not path.exists()


def test_no_room_for_embeddings_is_told_before_they_are_written(small_disk):
    with pytest.raises(DiskFull) as caught:
        rasters.embeddings(small_disk / "e.tif", Window(30, 0, 0, 100, 100), 128, {})
    assert caught.value.needed_bytes == 100 * 100 * 128 * 4


def test_both_of_gdals_modes(tmp_path):
    """Another plugin may have switched GDAL's exceptions on for all of QGIS."""
    script = f"""
import numpy as np
from osgeo import gdal
from pathlib import Path
from tessera_plugin.errors import NotWritable
from tessera_plugin.io import raster_mosaic, rasters
from tessera_plugin.io.raster_classes import ClassCount
from tessera_plugin.values import LandClass, Window
gdal.UseExceptions()
folder, window = Path({str(tmp_path)!r}), Window(30, -580_000, 70_000, 600, 300)
other = Window(31, -580_000, 30_000, 600, 300)
classes = (LandClass(1, "a", "#ff0000"), LandClass(2, "b", "#00ff00"))
for name, place in (("m30.tif", window), ("m31.tif", other)):
    with rasters.class_map(folder / name, place, classes, {{}}) as writer:
        writer.write(place, np.ones(place.shape, np.uint8))
        writer.finish([ClassCount.of(each, 5) for each in classes])
raster_mosaic.mosaic(folder / "m.vrt", [folder / "m30.tif", folder / "m31.tif"], 32630)
assert gdal.Open(str(folder / "m30.tif")).ReadAsArray().min() == 1
try:
    rasters.confidence(folder / "none" / "c.tif", window, {{}})
except NotWritable as error:
    print("refused:", error.path)
assert gdal.GetUseExceptions()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused:")
    assert not done.stderr


# --- mosaics


def seam_windows():
    """Two windows over 0° at 52° N, on both sides of the seam of zones 30 and 31."""
    return Window(30, -576_700, 70_300, 400, 500), Window(31, -576_700, 29_300, 400, 500)


def clipped(window, value):
    first, stop = strip_limits(window)
    cols = np.arange(window.col, window.stop_col)
    own = (cols >= first[:, None]) & (cols < stop[:, None])
    return np.where(own, value, 0).astype(np.uint8)


def write_seam(folder, values=(1, 2)):
    windows, paths, arrays = seam_windows(), [], []
    for window, value in zip(windows, values):
        paths.append(folder / f"map_utm{window.zone}.tif")
        arrays.append(clipped(window, value))
        write_map(paths[-1], window, arrays[-1])
    return windows, paths, arrays


def test_mosaic_shows_pixels_of_both_zones(tmp_path):
    windows, paths, arrays = write_seam(tmp_path)
    made = raster_mosaic.mosaic(tmp_path / "map.vrt", paths, 32630, counts_of(arrays[0]), TAGS)

    names = ["map_utm31_seam.vrt", "map_utm31_in_utm30.vrt", "map.vrt"]
    assert [path.name for path in made] == names
    dataset = gdal.Open(str(tmp_path / "map.vrt"))
    values = dataset.ReadAsArray()
    west, _, _, north, _, _ = dataset.GetGeoTransform()
    assert dataset.GetSpatialRef().GetAuthorityCode(None) == "32630"
    assert (west % 10, north % 10) == (0, 0)
    # oracle: where every pixel of the mosaic lies, by its own longitude and nearest source pixel;
    # the nearest may be clipped, just over the seam: then it is the one beside it
    rows, cols = np.indices(values.shape)
    centres = np.column_stack([(west + 10 * cols + 5).ravel(), (north - 10 * rows - 5).ravel()])
    lon = transform_points(centres, zone_crs(30), LONLAT)[:, 0]
    expected = np.zeros(values.size, np.uint8)
    for window, array in zip(windows, arrays):
        points = transform_points(centres, zone_crs(30), zone_crs(window.zone))
        own = (lon < 0) == (window.zone == 30)
        row = np.floor(-points[:, 1] / 10).astype(int) - window.row
        nearest = np.floor(points[:, 0] / 10).astype(int) - window.col
        for col in (nearest, nearest + (1 if window.zone == 31 else -1)):
            inside = (col >= 0) & (col < window.width) & (row >= 0) & (row < window.height)
            found = np.zeros(values.size, np.uint8)
            found[inside] = array[row[inside], col[inside]]
            expected = np.where(own & (expected == 0), found, expected)
    expected, lon = expected.reshape(values.shape), lon.reshape(values.shape)
    # GDAL's approximate transformation may be an eighth of a pixel off
    inner = np.s_[2:-2, 2:-2]  # and the outer edge is cut where each zone's own is
    assert (values[inner] != expected[inner]).mean() < 0.002
    at_seam = ((np.abs(lon) < 3e-4) & (expected > 0))[inner]
    assert at_seam.sum() > 1000
    assert (values[inner][at_seam] > 0).mean() > 0.999
    assert (lon[values == 1] < 1e-4).all()
    assert (lon[values == 2] > -1e-4).all()
    assert (values == 1).sum() > 50_000
    assert (values == 2).sum() > 50_000


def test_mosaic_has_colours_names_nodata_and_tags(tmp_path):
    _, paths, arrays = write_seam(tmp_path)
    made = raster_mosaic.mosaic(tmp_path / "map.vrt", paths, 32631, counts_of(arrays[0]), TAGS)
    for path in made:
        dataset = gdal.Open(str(path))
        band = dataset.GetRasterBand(1)
        assert band.GetNoDataValue() == 0
        assert band.GetColorTable().GetColorEntry(1)[:3] == (0x1F, 0x78, 0xB4)
        assert band.GetCategoryNames()[7] == "Built-up"
        assert band.GetDefaultRAT().GetRowCount() == 3
        assert dataset.GetMetadataItem("TESSERA_YEAR") == "2024"


def test_mosaic_can_be_moved_with_its_sources(tmp_path):
    here = tmp_path / "a here"
    here.mkdir()
    _, paths, arrays = write_seam(here)
    made = raster_mosaic.mosaic(here / "map.vrt", paths, 32630, counts_of(arrays[0]))
    before = read(here / "map.vrt")
    there = tmp_path / "there"
    there.mkdir()
    files.publish_all([(path, there / path.name) for path in (*paths, *made)])
    shutil.rmtree(here)
    assert np.array_equal(read(there / "map.vrt"), before)
    assert (before == 1).any()
    assert (before == 2).any()


def test_mosaic_of_confidences(tmp_path):
    paths = []
    for window, value in zip(seam_windows(), (40, 90)):
        array = clipped(window, value)
        array[array == 0] = 255
        paths.append(tmp_path / f"conf_utm{window.zone}.tif")
        with rasters.confidence(paths[-1], window, {}) as writer:
            writer.write(window, array)
            writer.finish()
    raster_mosaic.mosaic(tmp_path / "conf.vrt", paths, 32630)
    values = read(tmp_path / "conf.vrt")
    assert set(np.unique(values)) == {40, 90, 255}


def test_mosaic_over_the_antimeridian(tmp_path):
    paths = []
    for zone, col, value in ((60, 83_300, 1), (1, 16_500, 2)):  # ±180° at 0.2° N, where zones meet
        window = Window(zone, -2200, col, 200, 300)
        paths.append(tmp_path / f"map_utm{zone:02d}.tif")
        write_map(paths[-1], window, clipped(window, value))
    made = raster_mosaic.mosaic(tmp_path / "map.vrt", paths, 32660)
    assert [path.name for path in made[:2]] == ["map_utm01_seam.vrt", "map_utm01_in_utm60.vrt"]
    dataset = gdal.Open(str(tmp_path / "map.vrt"))
    values = dataset.ReadAsArray()
    assert values.shape[1] < 800
    row = values[100]
    assert row[row > 0][0] == 1
    assert row[row > 0][-1] == 2
    assert (values == 1).sum() > 10_000
    assert (values == 2).sum() > 10_000


def test_mosaic_of_a_southern_and_a_crossing_map(tmp_path):
    south = Window(30, 20, 83_000, 100, 500)  # EPSG:32730
    crossing = Window(31, -60, 16_500, 180, 500)  # EPSG:32631
    paths = []
    for window, value in ((south, 1), (crossing, 2)):
        paths.append(tmp_path / f"map_utm{window.zone}.tif")
        write_map(paths[-1], window, clipped(window, value))
    made = raster_mosaic.mosaic(tmp_path / "map.vrt", paths, 32630)
    assert [path.name for path in made] == [
        "map_utm30_in_utm30.vrt", "map_utm31_seam.vrt", "map_utm31_in_utm30.vrt", "map.vrt"]  # fmt: skip
    dataset = gdal.Open(str(tmp_path / "map.vrt"))
    west, _, _, north, _, _ = dataset.GetGeoTransform()
    values = dataset.ReadAsArray()
    # the southern part is only shifted: bit for bit the same pixels
    row, col = int(north / 10) + south.row, south.col - int(west / 10)
    own = clipped(south, 1) == 1
    assert (values[row : row + 100, col : col + 500][own] == 1).all()
    assert (values[:row] == 2).any()


def test_mosaic_of_a_missing_source(tmp_path):
    _, paths, _ = write_seam(tmp_path)
    paths[1].unlink()
    with pytest.raises(NotWritable):
        raster_mosaic.mosaic(tmp_path / "map.vrt", paths, 32630)
