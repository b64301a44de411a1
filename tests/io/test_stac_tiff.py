# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows of GeoTIFFs from the bytes that they need, against GDAL with the whole file."""

import random
import struct

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.io.objects import ObjectChanged, ObjectUnusable, RangeReply
from tessera_plugin.io.projection import transform_points
from tessera_plugin.io.stac import cog, tiff, windows
from tessera_plugin.io.stac.cog import needed_blocks, read_blocks, read_front
from tessera_plugin.io.stac.tiff import (
    FRONT_LIMIT_BYTES,
    NeedsMore,
    NotUsable,
    merged,
    read_directory,
    small_tiff,
)
from tessera_plugin.io.stac.windows import (
    grid_of,
    read_pixels,
    read_window,
    rectangle_of,
    write_window,
)
from tessera_plugin.values import Window
from tests.stac_server import NORTH, WEST, Made, pixels_of, tiff_of

URL = "https://store.example/image.tif"

KINDS = {
    "cog": Made(),
    "cog of 512": Made(block=512),
    "big cog": Made(options=("COMPRESS=LZW", "PREDICTOR=YES", "BIGTIFF=YES")),
    "other order": Made("GTiff", 64, ("COMPRESS=DEFLATE", "PREDICTOR=2", "ENDIANNESS=BIG")),
    "big, other order": Made("GTiff", 64, ("BIGTIFF=YES", "ENDIANNESS=BIG")),
    "not packed": Made("GTiff", 64, ()),
    "strips": Made("GTiff", 0, ("BLOCKYSIZE=16", "COMPRESS=DEFLATE")),
    "one strip": Made("GTiff", 0, ("BLOCKYSIZE=500", "COMPRESS=DEFLATE")),
    "one tile": Made("GTiff", 512, ("COMPRESS=DEFLATE",)),
}


class Store:
    """A file that is asked for in ranges."""

    def __init__(self, data, etag='"a"'):
        self.data, self.etag = data, etag
        self.asked = []

    def get_range(self, url, start, stop, etag=None):
        if stop > len(self.data):
            raise ObjectUnusable(url, "it is shorter")
        if etag not in (None, self.etag):
            raise ObjectChanged(url)
        self.asked.append((start, stop))
        return RangeReply(self.data[start:stop], self.etag, len(self.data), "")

    def get(self, url):
        self.asked.append((0, len(self.data)))
        return RangeReply(self.data, self.etag, len(self.data), "")


def made_of(kind, edge=500):
    return tiff_of(pixels_of(3, edge).astype(np.uint16), 10.0, KINDS[kind])


def window_of(store, rectangle, first_bytes=400):
    front = read_front(store, URL, first_bytes)
    grid = grid_of(small_tiff(front.data, front.directory, {}))
    blocks = read_blocks(store, front, needed_blocks(front, rectangle))
    whole = small_tiff(front.data, front.directory, blocks)
    return read_pixels(whole, grid, rectangle, front.directory, tuple(blocks)), grid, front


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rectangle", [(0, 0, 1, 1), (100, 60, 200, 130), (430, 470, 70, 30)])
def test_a_window_is_what_gdal_reads_of_the_whole(kind, rectangle):
    store = Store(made_of(kind))
    pixels, grid, front = window_of(store, rectangle)
    col, row, width, height = rectangle
    assert np.array_equal(pixels, pixels_of(3, 500)[row : row + height, col : col + width])
    assert grid.transform == (WEST, 10, 0, NORTH, 0, -10)
    assert (grid.width, grid.height, grid.dtype) == (500, 500, np.uint16)
    assert "32631" in grid.crs
    touched = set(front.directory.blocks(*rectangle))
    lie_outside = [s for s in store.asked if s[0] >= len(front.data)]
    needed = sum(int(front.directory.counts[n]) for n in touched)
    assert sum(b - a for a, b in lie_outside) <= needed + cog.GAP_BYTES * max(len(touched) - 1, 0)


def test_bytes_that_are_not_needed_are_not_asked_for():
    data = tiff_of(pixels_of(3, 2000).astype(np.uint16), 10.0, Made("GTiff", 256, ()))
    store = Store(data)
    window_of(store, (1800, 1800, 20, 20), 16384)
    assert sum(stop - start for start, stop in store.asked) == 16384 + 256 * 256 * 2


def test_a_directory_longer_than_the_first_read_is_read_to_its_end():
    data = tiff_of(pixels_of(3, 1024).astype(np.uint16), 10.0, Made("GTiff", 16, ()))
    store = Store(data)
    pixels, _, front = window_of(store, (500, 500, 40, 30), 64)
    assert front.directory.stop > 4096 * 6
    assert np.array_equal(pixels, pixels_of(3, 1024)[500:530, 500:540])
    assert len(store.asked) < 20


def test_tiles_never_written_are_nodata_and_cost_nothing():
    pixels = np.zeros((512, 512), np.uint16)
    pixels[:64, :64] = 7
    made = Made("GTiff", 64, ("SPARSE_OK=TRUE", "COMPRESS=DEFLATE"))
    store = Store(tiff_of(pixels, 10.0, made))
    front = read_front(store, URL, 400)
    assert needed_blocks(front, (200, 200, 100, 100)) == ()
    found, grid, _ = window_of(store, (40, 40, 100, 100))
    assert np.array_equal(found, pixels[40:140, 40:140])
    assert grid.nodata == 0


def test_gdals_promises_about_the_file_are_not_kept_by_the_small_one():
    data = made_of("cog")
    assert b"BLOCK_LEADER" in data[:400]
    front = read_front(Store(data), URL, 1000)
    assert b"BLOCK_LEADER" not in small_tiff(front.data, front.directory, {})


def test_overviews_are_left_behind():
    data = tiff_of(pixels_of(3, 700).astype(np.uint16), 10.0, Made(block=128))
    front = read_front(Store(data), URL, 16384)
    name = "/vsimem/small.tif"
    gdal.FileFromMemBuffer(name, small_tiff(front.data, front.directory, {}))
    small = gdal.Open(name)
    assert small.GetRasterBand(1).GetOverviewCount() == 0
    small = None
    gdal.Unlink(name)


# --- files that are not what they should be


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html>no</html>" * 40, "it is not a TIFF"),
        (b"II\x2a\x00" + struct.pack("<I", 8) + struct.pack("<H", 0) + bytes(400), "no sense"),
        (b"II\x2a\x00" + struct.pack("<I", FRONT_LIMIT_BYTES) + bytes(400), "not lie at its front"),
    ],
)
def test_what_is_no_tiff_is_refused_with_the_reason(data, reason):
    with pytest.raises(NotUsable, match=reason):
        read_front(Store(data), URL, 64)


def test_a_directory_that_is_cut_off_is_refused():
    data = tiff_of(pixels_of(3, 1024).astype(np.uint16), 10.0, Made("GTiff", 16, ()))
    with pytest.raises(NotUsable, match="cut off"):
        read_front(Store(data[:3000]), URL, 64)


def test_a_directory_that_points_out_of_the_file_is_refused():
    data = made_of("not packed")
    store = Store(data[: len(data) // 2])
    front = read_front(store, URL, 400)
    with pytest.raises(NotUsable, match="out of the file"):
        needed_blocks(front, (400, 400, 90, 90))


def test_several_bands_are_refused():
    name = "/vsimem/rgb.tif"
    gdal.GetDriverByName("GTiff").Create(name, 64, 64, 3).FlushCache()
    file = gdal.VSIFOpenL(name, "rb")
    data = bytes(gdal.VSIFReadL(1, gdal.VSIStatL(name).size, file))
    gdal.VSIFCloseL(file)
    gdal.Unlink(name)
    with pytest.raises(NotUsable, match="more than one band"):
        read_front(Store(data), URL, 64)


@pytest.mark.parametrize("exceptions", [False, True])
def test_a_damaged_tile_never_comes_as_zeros(exceptions):
    data = bytearray(made_of("cog"))
    front = read_front(Store(bytes(data)), URL, 1000)
    at = int(front.directory.offsets[0])
    data[at : at + 200] = bytes(range(200))
    before = gdal.GetUseExceptions()
    (gdal.UseExceptions if exceptions else gdal.DontUseExceptions)()
    try:
        with pytest.raises(NotUsable):
            window_of(Store(bytes(data)), (0, 0, 50, 50))
    finally:
        (gdal.UseExceptions if before else gdal.DontUseExceptions)()


@pytest.mark.parametrize("kind", ["cog", "other order", "big cog"])
def test_garbage_in_the_directory_is_refused_or_harmless(kind):
    draw = random.Random(5)
    data = made_of(kind, 300)
    stop = read_front(Store(data), URL, 400).directory.stop
    refused = 0
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            broken[draw.randrange(stop)] = draw.randrange(256)
        try:
            window_of(Store(bytes(broken)), (10, 10, 60, 60))
        except (NotUsable, ObjectUnusable):
            refused += 1
    assert refused > 5


def test_a_file_that_changes_between_two_ranges_is_noticed():
    store = Store(made_of("not packed"))
    front = read_front(store, URL, 400)
    store.etag = '"b"'
    with pytest.raises(ObjectChanged):
        read_blocks(store, front, needed_blocks(front, (300, 300, 90, 90)))


def test_a_file_without_an_etag_is_told_by_its_length():
    store = Store(made_of("not packed"), etag="")
    front = read_front(store, URL, 400)
    store.data += b"more"
    with pytest.raises(ObjectChanged):
        read_blocks(store, front, needed_blocks(front, (300, 300, 90, 90)))


def test_the_directory_says_that_more_is_needed():
    with pytest.raises(NeedsMore) as more:
        read_directory(made_of("cog")[:300])
    assert more.value.stop > 300


def test_ranges_are_merged_over_small_gaps_only():
    spans = [(100, 200), (0, 50), (210, 300), (5000, 5100)]
    assert merged(spans, 10, 10_000) == ((0, 50), (100, 300), (5000, 5100))
    assert merged(spans, 50, 10_000) == ((0, 300), (5000, 5100))
    assert merged(spans, 10_000, 250) == ((0, 200), (210, 300), (5000, 5100))


# --- which pixels


def grid(epsg=32631, west=WEST, north=NORTH, size=10.0, edge=600):
    return grid_of(
        tiff_of(
            np.ones((edge, edge), np.uint8),
            size,
            Made("GTiff", 64, (), epsg=epsg, west=west, north=north),
        )
    )


def test_the_rectangle_is_the_window_and_its_margin():
    window = Window(31, -569_950, 60_050, 200, 100)
    assert rectangle_of(window, grid()) == (48, 48, 104, 204)
    assert rectangle_of(window, grid(size=20.0, edge=300)) == (23, 23, 54, 104)


def test_the_rectangle_ends_where_the_image_does():
    assert rectangle_of(Window(31, -570_050, 59_950, 100, 100), grid()) == (0, 0, 52, 52)
    assert rectangle_of(Window(31, -570_100, 59_900, 100, 100), grid()) is None
    assert rectangle_of(Window(31, -569_400, 60_600, 10, 10), grid()) is None


def test_an_image_of_the_next_zone_has_the_whole_window_too():
    window = Window(31, -569_900, 66_000, 150, 150)
    inside = np.array([(660_000 + 10 * x + 5, 5_699_000 - 10 * y - 5)
                       for x in range(150) for y in range(150)], float)  # fmt: skip
    there = transform_points(inside, "EPSG:32631", "EPSG:32632")
    other = grid(32632, there[:, 0].min() // 10 * 10 - 500, there[:, 1].max() // 10 * 10 + 500)
    col, row, width, height = rectangle_of(window, other)
    cols = (there[:, 0] - other.transform[0]) / 10
    rows = (other.transform[3] - there[:, 1]) / 10
    assert col + 1 <= cols.min()
    assert cols.max() <= col + width - 1
    assert row + 1 <= rows.min()
    assert rows.max() <= row + height - 1
    assert width < 170
    assert height < 170


def test_an_image_far_away_has_nothing():
    assert rectangle_of(Window(31, -569_900, 60_000, 10, 10), grid(32601, 500_000, 100_000)) is None


# --- windows on disk


def test_a_window_keeps_grid_values_and_nodata(tmp_path):
    path = tmp_path / "a" / "B04.tif"
    pixels = pixels_of(3, 40).astype(np.float32)[:30]
    there = windows.Grid(grid().crs, (WEST, 10, 0, NORTH, 0, -10), 600, 600, pixels.dtype, -32768.0)
    write_window(path, pixels, there, (5, 7, 40, 30), {"TESSERA_ITEM": "x"})
    found = gdal.Open(str(path))
    assert found.GetGeoTransform() == (WEST + 50, 10, 0, NORTH - 70, 0, -10)
    assert found.GetRasterBand(1).GetNoDataValue() == -32768
    assert np.array_equal(read_window(path, {"TESSERA_ITEM": "x"}), pixels)
    assert read_window(path, {"TESSERA_ITEM": "y"}) is None
    assert [each.name for each in path.parent.iterdir()] == ["B04.tif"]


def test_a_window_that_is_not_whole_counts_as_none(tmp_path):
    path = tmp_path / "B04.tif"
    pixels = pixels_of(3, 40).astype(np.uint16)
    there = windows.Grid(grid().crs, (WEST, 10, 0, NORTH, 0, -10), 600, 600, pixels.dtype, 0.0)
    write_window(path, pixels, there, (0, 0, 40, 40), {})
    data = path.read_bytes()
    for broken in (b"", data[:100], data[: len(data) // 2], data[:-300] + bytes(300)):
        path.write_bytes(broken)
        assert read_window(path, {}) is None


def test_nothing_stays_in_gdals_memory():
    before = gdal.ReadDirRecursive("/vsimem/") or []
    window_of(Store(made_of("cog")), (0, 0, 50, 50))
    with pytest.raises(NotUsable):
        grid_of(b"II\x2a\x00nothing")
    assert (gdal.ReadDirRecursive("/vsimem/") or []) == before


def test_only_tiles_of_sensible_size_are_read():
    front = read_front(Store(made_of("not packed")), URL, 400)
    assert int(front.directory.counts.max()) < tiff.BLOCK_LIMIT_BYTES
