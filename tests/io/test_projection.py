# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pyproj
import pytest
from osgeo import osr

from tessera_plugin.errors import ExtentInvalid
from tessera_plugin.io.projection import strip_limits, transform_points, zone_bounds, zone_of
from tessera_plugin.values import Extent, Window


def lonlat_of_centres(window):
    rows, cols = np.mgrid[window.row : window.stop_row, window.col : window.stop_col]
    to_lonlat = pyproj.Transformer.from_crs(32600 + window.zone, 4326, always_xy=True)
    return to_lonlat.transform((cols + 0.5) * 10, -(rows + 0.5) * 10)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:27700", "EPSG:32630", "EPSG:32731"])
def test_points_agree_with_pyproj(crs):
    lonlat = np.array([[0.12, 52.2], [-1.5, 51.0], [0.0, 53.3]])
    expected = np.column_stack(
        pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(*lonlat.T)
    )
    # without grid files GDAL and pyproj may choose different national shifts
    limit_m = 3.0 if crs == "EPSG:27700" else 1e-4
    assert np.abs(transform_points(lonlat, "EPSG:4326", crs) - expected).max() < limit_m


@pytest.mark.parametrize("exceptions", [False, True])
def test_a_point_without_a_place_is_infinite_whatever_the_host_asked_of_gdal(exceptions):
    used = bool(osr.GetUseExceptions())
    (osr.UseExceptions if exceptions else osr.DontUseExceptions)()
    try:
        found = transform_points(np.array([[0.0, 95.0], [3.0, 0.0]]), "EPSG:4326", "EPSG:32631")
    finally:
        (osr.UseExceptions if used else osr.DontUseExceptions)()
    assert np.isinf(found[0]).all()
    assert found[1] == pytest.approx([500_000, 0], abs=1e-3)


def test_an_unknown_crs_is_named():
    with pytest.raises(ExtentInvalid, match="EPSG:999999"):
        transform_points(np.zeros((1, 2)), "EPSG:999999", "EPSG:4326")


@pytest.mark.parametrize(
    ("lon", "zone"), [(-180, 1), (-174.0001, 1), (-174, 2), (-0.0001, 30), (0, 31), (180, 60)]
)
def test_zone_of_a_longitude(lon, zone):
    assert zone_of(lon) == zone


@pytest.mark.parametrize(
    "window",
    [
        Window(31, -578800, 29380, 40, 300),  # the seam at 0°, its western edge
        Window(30, -578800, 70480, 40, 300),  # the same seam from the other side
        Window(60, 199980, 83300, 30, 300),  # the antimeridian, in the south
        Window(36, -20, 50000, 40, 50),  # across the equator, far from a seam
    ],
)
def test_strip_limits_are_where_the_centres_longitudes_say(window):
    lon, _ = lonlat_of_centres(window)
    west = 6 * window.zone - 186
    inside = ((lon - west) % 360) < 6
    first, stop = strip_limits(window)
    cols = np.arange(window.col, window.stop_col)
    assert np.array_equal((cols >= first[:, None]) & (cols < stop[:, None]), inside)


def test_an_extent_over_the_antimeridian_has_two_zones():
    assert sorted(zone_bounds(Extent(179.9, -1, -179.9, 1))) == [1, 60]


def test_a_projected_extent_over_the_antimeridian_has_two_zones():
    # EPSG:3832 is centred on 150° E: its x runs on over 180°
    to_pacific = pyproj.Transformer.from_crs(4326, 3832, always_xy=True)
    west, south = to_pacific.transform(179.9, -17)
    east, north = to_pacific.transform(-179.9, -16)
    bounds = zone_bounds(Extent(west, south, east, north, "EPSG:3832"))
    assert sorted(bounds) == [1, 60]


def test_edges_are_densified():
    # the northern edge of a wide extent bulges over its corners in UTM
    (bounds,) = zone_bounds(Extent(0.5, 50, 5.5, 60)).values()
    middle = pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform(3, 50)
    corner = pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform(0.5, 50)
    assert corner[1] - middle[1] > 1000
    assert bounds[1] == pytest.approx(middle[1], abs=0.1)


@pytest.mark.parametrize(
    ("extent", "reason"),
    [
        (Extent(1, 2, 1, 3), "no area"),
        (Extent(float("nan"), 0, 1, 1), "not all numbers"),
        (Extent(0, 85, 1, 89), "84° north"),
        (Extent(-1e6, -1e6, 1e6, 1e6, "EPSG:3413"), "pole"),
    ],
)
def test_impossible_extents_are_refused_with_a_reason(extent, reason):
    with pytest.raises(ExtentInvalid, match=reason):
        zone_bounds(extent)
