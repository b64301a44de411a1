# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import pyproj
import pytest

from tessera_plugin.engine.grid import centre_zone, check_size, measure, windows_of
from tessera_plugin.errors import ExtentInvalid, ExtentTooLarge
from tessera_plugin.values import Extent, Window


def bounds(window):
    west, step, _, north, _, _ = window.transform
    return west, north - step * window.height, west + step * window.width, north


def test_a_known_extent():
    # the published quickstart reads (1152, 1069) pixels of EPSG:32631 for this extent
    (window,) = windows_of(Extent(0.05, 52.15, 0.20, 52.25))
    assert (window.zone, window.shape, window.epsg) == (31, (1152, 1069), 32631)


@pytest.mark.parametrize(
    "window",
    [
        Window(31, -579294, 29818, 1152, 1069),
        Window(36, 120, 45000, 3, 5),
        Window(36, -1, 50000, 1, 1),
        Window(19, 370000, 30000, 257, 129),
    ],
)
def test_windows_come_back_from_their_own_bounds(window):
    assert windows_of(Extent(*bounds(window), f"EPSG:{window.epsg}")) == (window,)


def test_an_edge_within_half_a_pixel_changes_nothing():
    window = Window(36, 120, 45000, 30, 50)
    west, south, east, north = bounds(window)
    nudged = Extent(west + 4.9, south - 4.9, east + 4.9, north - 4.9, "EPSG:32736")
    assert windows_of(nudged) == (window,)


def test_a_point_sized_extent_has_the_pixel_under_it():
    (window,) = windows_of(Extent(450001, 5000001, 450002, 5000002, "EPSG:32631"))
    assert window == Window(31, -500001, 45000, 1, 1)


def test_an_extent_over_a_seam_has_a_window_per_zone():
    west, east = windows_of(Extent(-0.02, 52.1, 0.03, 52.12))
    assert (west.zone, east.zone) == (30, 31)
    to_30 = pyproj.Transformer.from_crs(4326, 32630, always_xy=True).transform
    to_31 = pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform
    assert west.stop_col == round(max(to_30(0, 52.1)[0], to_30(0, 52.12)[0]) / 10)
    assert east.col == round(min(to_31(0, 52.1)[0], to_31(0, 52.12)[0]) / 10)


def test_the_equator_is_no_seam():
    (window,) = windows_of(Extent(32.5, -0.01, 32.51, 0.01))
    assert window.row < 0 < window.stop_row
    assert window.epsg == 32636


def test_the_south_is_seen_in_its_own_crs():
    (window,) = windows_of(Extent(32.5, -0.02, 32.51, -0.01))
    assert window.epsg == 32736
    to_utm = pyproj.Transformer.from_crs(4326, 32736, always_xy=True).transform
    assert abs(window.transform[3] - max(to_utm(32.5, -0.01)[1], to_utm(32.51, -0.01)[1])) <= 5


def test_sizes_are_told_and_limited():
    windows = (Window(30, 0, 0, 100, 50), Window(31, 0, 0, 10, 5))
    assert (measure(windows).pixels, measure(windows).bytes) == (5050, 5050 * 132)
    assert measure(windows).area_km2 == pytest.approx(0.505)
    assert check_size(windows, 5050) == measure(windows)
    with pytest.raises(ExtentTooLarge, match="5,050 pixels"):
        check_size(windows, 5049)


def test_a_world_canvas_is_measured_without_asking_anybody():
    windows = windows_of(Extent(-2.1e7, -2.1e7, 2.1e7, 2.1e7, "EPSG:3857"))
    assert len(windows) == 60
    with pytest.raises(ExtentTooLarge):
        check_size(windows, 50_000_000)


def test_the_zone_of_the_centre():
    assert centre_zone(Extent(-0.02, 52.1, 0.03, 52.12)) == 31
    assert centre_zone(Extent(179.9, -1, -179.8, 1)) == 1


def test_a_pole_is_refused():
    with pytest.raises(ExtentInvalid):
        windows_of(Extent(-1e5, -1e5, 1e5, 1e5, "EPSG:3031"))
