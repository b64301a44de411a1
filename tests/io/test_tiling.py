# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import math

import pyproj
import pytest

from tessera_plugin.io.tiling import Tile, tiles_of
from tessera_plugin.values import Window


def test_the_footprint_of_a_real_tile():
    # recorded from the published landmask of grid_3.35_6.45: origin 533169.47 E, 718493.65 N
    assert Tile.parse("grid_3.35_6.45").footprint() == Window(31, -71850, 53316, 1106, 1107)


@pytest.mark.parametrize(
    ("lon", "lat", "name"),
    [
        (0.15, 52.05, "grid_0.15_52.05"),
        (0.1, 52.0, "grid_0.15_52.05"),
        (0.3, 0.7, "grid_0.35_0.75"),  # 0.3 * 10 and 0.7 * 10 are not whole in binary
        (-0.01, -0.01, "grid_-0.05_-0.05"),
        (-0.1, -0.1, "grid_-0.05_-0.05"),
        (-179.99, 12.34, "grid_-179.95_12.35"),
        (179.99, -12.34, "grid_179.95_-12.35"),
    ],
)
def test_the_tile_at_a_point(lon, lat, name):
    tile = Tile.at(lon, lat)
    assert tile.name == name
    assert Tile.parse(name) == tile


@pytest.mark.parametrize("name", ["grid_1_2", "grid_0.15_52.05.npy", "0.15_52.05", "grid_a_b"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="not the name"):
        Tile.parse(name)


@pytest.mark.parametrize(
    ("name", "epsg"),
    [
        ("grid_0.15_52.05", 32631),
        ("grid_-0.05_52.15", 32630),
        ("grid_32.55_-0.05", 32736),
        ("grid_-70.05_-33.45", 32719),
        ("grid_179.95_70.05", 32660),
        ("grid_5.95_60.05", 32631),  # Norway has no exception here
    ],
)
def test_footprints_hold_the_projected_cell_within_a_pixel(name, epsg):
    tile = Tile.parse(name)
    window = tile.footprint()
    lon, lat = tile.lon_i / 100, tile.lat_i / 100
    to_utm = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform
    corners = [to_utm(lon + a, lat + b) for a in (-0.05, 0.05) for b in (-0.05, 0.05)]
    shift = 10_000_000 if epsg > 32700 else 0
    assert window.col == math.floor(min(x for x, _ in corners) / 10)
    assert -window.row == math.ceil((max(y for _, y in corners[1::2]) - shift) / 10)
    assert abs(window.stop_col - max(x for x, _ in corners) / 10) <= 1.5
    assert abs(-window.stop_row - (min(y for _, y in corners) - shift) / 10) <= 1.5


def test_the_tiles_of_a_window_are_all_that_meet_it_in_order():
    window = Window(31, -579294, 29818, 1152, 1069)
    found = tiles_of(window)
    everywhere = [Tile(lon, lat) for lon in range(-95, 105, 10) for lat in range(5105, 5405, 10)]
    expected = [t for t in everywhere if t.zone == 31 and t.footprint().intersection(window)]
    assert list(found) == sorted(expected)
    assert len(found) == 6


def test_tiles_of_a_window_at_the_antimeridian_stay_in_their_zone():
    tiles = tiles_of(Window(1, -100, 16600, 200, 300))
    assert {tile.zone for tile in tiles} == {1}
    assert tiles[0].name == "grid_-179.95_-0.05"
