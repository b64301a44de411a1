# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What `render` shows against every pixel transformed by itself."""

import math
import types

import numpy as np
import pytest
from osgeo import osr

from tessera_plugin.engine import picture
from tessera_plugin.engine.coverage import CoveragePart
from tessera_plugin.engine.lattice import Screen
from tessera_plugin.engine.picture import COVERAGE_COLORS, Look, Picture
from tessera_plugin.errors import ExtentInvalid
from tessera_plugin.values import Extent, State

OFF_PX = 0.26
"""A quarter of a pixel, and a hair for short floats."""


def confetti(zone, row, col, cell_px, rows, cols, seed=0, holes=0.2):
    random = np.random.default_rng([seed, zone])
    rgba = random.integers(0, 256, (rows, cols, 4), dtype=np.uint8)
    rgba[..., 3] = np.where(random.random((rows, cols)) < holes, 0, 1 + rgba[..., 3] // 2)
    return Picture(zone, row, col, cell_px, rgba)


def transform(xy, source, target):
    references = []
    for crs in (source, target):
        reference = osr.SpatialReference()
        assert reference.SetFromUserInput(crs) == 0
        reference.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        references.append(reference)
    points = osr.CoordinateTransformation(*references).TransformPoints(xy.tolist())
    return np.array(points)[:, :2]


def around(lon, lat, crs, width, height, unit):
    """An extent of width x height pixels of `unit` around a place."""
    x, y = transform(np.array([(lon, lat)]), "EPSG:4326", crs)[0]
    return Extent(x - width * unit / 2, y - height * unit / 2,
                  x + width * unit / 2, y + height * unit / 2, crs)  # fmt: skip


def place(lon, lat, zone):
    """Row and column of a place on a zone's grid."""
    east, north = transform(np.array([(lon, lat)]), "EPSG:4326", f"EPSG:{32600 + zone}")[0]
    return math.floor(-north / 10), math.floor(east / 10)


def exact(pictures, extent, width, height, rows, cols):
    """The colours at places of the screen, each looked up with its own transform."""
    x = extent.west + cols * (extent.east - extent.west) / width
    y = extent.north - rows * (extent.north - extent.south) / height
    places = np.column_stack([x, y])
    lon = transform(places, extent.crs, "EPSG:4326")[:, 0]
    strip = np.floor((lon + 180) / 6).astype(int) % 60 + 1
    result = np.zeros((len(places), 4), np.uint8)
    zones = sorted({each.zone for each in pictures})
    found = {zone: colors_in(pictures, zone, places, extent.crs) for zone in zones}
    for zone in zones:  # whoever has something
        result = np.where(found[zone][:, 3:] > 0, found[zone], result)
    for zone in zones:  # but before all the one whose strip it is
        own = (strip == zone) & (found[zone][:, 3] > 0)
        result[own] = found[zone][own]
    return visible(result)


def colors_in(pictures, zone, places, crs):
    metres = transform(places, crs, f"EPSG:{32600 + zone}")
    result = np.zeros((len(places), 4), np.uint8)
    for each in pictures:
        if each.zone != zone:
            continue
        i = np.floor((np.floor(-metres[:, 1] / 10) - each.row) / each.cell_px)
        j = np.floor((np.floor(metres[:, 0] / 10) - each.col) / each.cell_px)
        rows, cols = each.rgba.shape[:2]
        inside = (i >= 0) & (i < rows) & (j >= 0) & (j < cols)
        value = np.zeros_like(result)
        value[inside] = each.rgba[i[inside].astype(int), j[inside].astype(int)]
        result = np.where(value[:, 3:] > 0, value, result)
    return result


def visible(rgba):
    """Colours as numbers, all that can't be seen alike."""
    numbers = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]
    return np.where(rgba[..., 3] > 0, numbers, 0)


def check(pictures, extent, width=150, height=110):
    """Every pixel shows what lies at most a quarter of a pixel away, most what lies at its centre."""
    shown = visible(picture.render(pictures, extent, width, height))
    rows, cols = (axis.ravel() + 0.5 for axis in np.indices((height, width)))
    wrong = np.arange(rows.size)
    for reach in (0, 1, 0.5, 0.75, 0.25):  # a cell's corner may reach in between others
        for off_row in (-reach * OFF_PX, 0, reach * OFF_PX):
            for off_col in (-reach * OFF_PX, 0, reach * OFF_PX):
                near = (rows[wrong] + off_row, cols[wrong] + off_col)
                wrong = wrong[exact(pictures, extent, width, height, *near) != shown.flat[wrong]]
                if not wrong.size:
                    return shown
        assert wrong.size < 0.1 * shown.size
    raise AssertionError(f"{wrong.size} pixels show what is not there")


MERCATOR, LONLAT = "EPSG:3857", "EPSG:4326"


@pytest.mark.parametrize(
    ("lon", "lat", "zone", "crs", "unit"),
    [
        (0.2, 52.2, 31, MERCATOR, 40.0),
        (0.2, 52.2, 31, MERCATOR, 1.5),
        (0.2, 52.2, 31, LONLAT, 0.0004),
        (0.2, 52.2, 31, "EPSG:32631", 30.0),
        (0.2, 52.2, 31, "EPSG:27700", 30.0),
        (-61.0, -3.1, 20, MERCATOR, 30.0),
        (-61.0, -3.1, 20, LONLAT, 0.0003),
        (-61.0, -3.1, 20, "EPSG:32720", 25.0),
        (117.0, 0.0, 50, MERCATOR, 30.0),  # over the equator
        (25.0, 71.0, 35, "EPSG:3035", 60.0),
        (15.5, 78.2, 33, "EPSG:3995", 60.0),
        (-68.0, -71.0, 19, "EPSG:3031", 60.0),
    ],
)
def test_one_zone(lon, lat, zone, crs, unit):
    row, col = place(lon, lat, zone)
    parts = [
        confetti(zone, row - 300, col - 250, 16, 25, 30, seed=1),
        confetti(zone, row - 60, col - 200, 5, 60, 90, seed=2),  # on top
        confetti(zone, row + 37, col + 41, 64, 5, 4, seed=3, holes=0.0),
    ]
    shown = check(parts, around(lon, lat, crs, 150, 110, unit))
    assert (shown != 0).mean() > 0.2


@pytest.mark.parametrize("crs", [MERCATOR, LONLAT, "EPSG:32630", "EPSG:3035", "EPSG:3832"])
@pytest.mark.parametrize("lat", [52.0, -33.0])
def test_a_seam(crs, lat):
    """Both zones have cells on both sides; where one has a hole, the other's is shown."""
    if crs in ("EPSG:3035", "EPSG:32630") and lat < 0:
        crs = "EPSG:32730"
    parts = []
    for zone in (30, 31):
        row, col = place(0.0, lat, zone)
        parts.append(confetti(zone, row - 200, col - 240, 8, 50, 60, seed=zone))
    unit = 0.0003 if crs == LONLAT else 30.0
    shown = check(parts, around(0.0, lat, crs, 150, 110, unit))
    assert (shown != 0).mean() > 0.4
    assert (visible(picture.render(parts[::-1], around(0.0, lat, crs, 150, 110, unit), 150, 110))
            == shown).all()  # fmt: skip


def test_the_antimeridian():
    """The same pixels, however the extent's longitudes are told."""
    parts = []
    for zone, lon in ((60, 180.0), (1, -180.0)):
        row, col = place(lon, -17.0, zone)
        parts.append(confetti(zone, row - 300, col - 300, 10, 60, 60, seed=zone))
    over = Extent(179.97, -17.02, 180.03, -16.98, LONLAT)
    shown = check(parts, over)
    assert (shown != 0).mean() > 0.5
    for west, east in ((179.97, -179.97), (-180.03, -179.97)):
        again = picture.render(parts, Extent(west, -17.02, east, -16.98, LONLAT), 150, 110)
        # a turn of the world changes the last digits: not more than some pixels on cells' edges
        assert (visible(again) == shown).mean() > 0.99


@pytest.mark.parametrize("crs", [MERCATOR, "EPSG:3832"])
def test_a_map_beyond_the_antimeridian(crs):
    row, col = place(-179.9, 52.0, 1)
    part = confetti(1, row - 300, col - 300, 10, 60, 60)
    usual = around(-179.9, 52.0, crs, 150, 110, 40.0)
    world = 2 * math.pi * 6378137
    shown = check([part], usual)
    for turn in (-world, world):
        extent = Extent(usual.west + turn, usual.south, usual.east + turn, usual.north, crs)
        again = visible(picture.render([part], extent, 150, 110))
        assert (again == shown).mean() > 0.99
    assert not picture.render([part], around(0.0, 52.0, crs, 150, 110, 40.0), 150, 110).any()


def test_the_world_and_the_other_side_of_it():
    row, col = place(20.0, 10.0, 34)
    big = confetti(34, row - 20_000, col - 20_000, 4000, 10, 10, holes=0.0)
    shown = check([big], Extent(-180, -90, 180, 90, LONLAT), 360, 180)
    assert 8 < (shown != 0).sum() < 30
    half = Extent(-6.4e6, -6.4e6, 6.4e6, 6.4e6, "+proj=ortho +lat_0=0 +lon_0=20 +R=6378137")
    assert picture.render([big], half, 300, 300).any()
    away = Extent(-6.4e6, -6.4e6, 6.4e6, 6.4e6, "+proj=ortho +lat_0=0 +lon_0=-160 +R=6378137")
    assert not picture.render([big], away, 300, 300).any()


@pytest.mark.parametrize("unit", [300.0, 3000.0])
def test_a_map_that_bends_the_grid(unit):
    """Near the pole meridians fan out over the screen: the lattice must be as fine as that needs."""
    row, col = place(15.0, 83.0, 33)
    parts = [confetti(33, row - 40_000, col - 40_000, round(unit), 80_000 // round(unit),
                      80_000 // round(unit))]  # fmt: skip
    check(parts, around(15.0, 83.0, "EPSG:3857", 250, 250, 2 * unit), 250, 250)
    check(parts, around(15.0, 83.0, "EPSG:3995", 250, 250, 2 * unit), 250, 250)


def test_inside_one_cell():
    row, col = place(9.003, 48.0, 32)
    cell = Picture(32, row - 50, col - 50, 100, np.full((1, 1, 4), 77, np.uint8))
    shown = picture.render([cell], around(9.003, 48.0, MERCATOR, 500, 300, 0.01), 500, 300)
    assert (shown == 77).all()


def test_sizes_of_one_pixel_and_none():
    row, col = place(9.003, 48.0, 32)
    part = confetti(32, row - 50, col - 50, 10, 10, 10, holes=0.0)
    extent = around(9.003, 48.0, MERCATOR, 1, 1, 1.0)
    assert (picture.render([part], extent, 1, 1)[0, 0] == part.rgba[5, 5]).all()
    for width, height in ((1, 400), (400, 1), (64, 64), (65, 129)):
        check([part], around(9.003, 48.0, MERCATOR, width, height, 2.0), width, height)
    empty = Picture(32, row, col, 10, np.zeros((0, 5, 4), np.uint8))
    assert not picture.render([empty], extent, 3, 2).any()
    assert picture.render([], extent, 3, 2).shape == (2, 3, 4)


def test_an_unknown_crs_is_refused():
    with pytest.raises(ExtentInvalid):
        picture.render([], Extent(0, 0, 1, 1, "EPSG:999999"), 10, 10)


def test_a_map_that_does_not_repeat_has_no_period():
    for crs in ("EPSG:32631", "EPSG:3035", "EPSG:27700", "EPSG:3031"):
        assert Screen.of(around(2.0, -75.0 if crs == "EPSG:3031" else 50.0, crs, 9, 9, 100), 9, 9
                         ).period == 0  # fmt: skip
    assert Screen.of(Extent(0, 0, 1000, 1000, MERCATOR), 9, 9).period == pytest.approx(
        2 * math.pi * 6378137
    )


# --- coverage


def coverage(states, cached, cell_px=8, counts=None):
    states = np.array(states, np.uint8)
    part = CoveragePart(31, 5, -7, cell_px, states, np.array(cached, bool))
    if counts is None:
        counts = {s: int((states == s).sum()) * cell_px**2 for s in State}
    return types.SimpleNamespace(parts=(part,), counts=counts, pixels=sum(counts.values()))


def test_coverage_in_colour():
    known = coverage([list(State)] * 2, [[False] * 6, [True] * 6])
    (shown,) = picture.of_coverage(known)
    assert (shown.zone, shown.row, shown.col, shown.cell_px) == (31, 5, -7, 8)
    looks = [Look.UNKNOWN, Look.TO_FETCH, Look.WATER, Look.NODATA, Look.OUTSIDE, Look.PUBLISHED]
    assert [tuple(c) for c in shown.rgba[0]] == [COVERAGE_COLORS[look] for look in looks]
    looks[1] = looks[5] = Look.CACHED
    assert [tuple(c) for c in shown.rgba[1]] == [COVERAGE_COLORS[look] for look in looks]


def test_shares_of_the_extent():
    valid, water = State.VALID, State.WATER
    known = types.SimpleNamespace(
        pixels=1000,
        counts={valid: 600, water: 350, State.OUTSIDE: 50, State.UNKNOWN: 0},
        cached={valid: 150, water: 70, State.OUTSIDE: 50, State.UNKNOWN: 0},
    )
    assert picture.shares(known) == pytest.approx(
        {Look.CACHED: 0.15, Look.TO_FETCH: 0.45, Look.WATER: 0.35, Look.OUTSIDE: 0.05}
    )


DEFICIENCIES = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}  # fmt: skip


def lab(srgb):
    """CIE L*a*b* (D65) of linear RGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                    [0.0193, 0.1192, 0.9505]]) @ srgb / (0.9505, 1.0, 1.089)  # fmt: skip
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", DEFICIENCIES)
@pytest.mark.parametrize("below", [(255, 255, 255), (200, 200, 195), (95, 105, 80)])
def test_tints_are_told_apart(eyes, below):
    """Three times the difference that is just noticed between areas side by side (2.3)."""
    seen = {}
    for look, (*rgb, alpha) in COVERAGE_COLORS.items():
        share = alpha / 255
        mixed = (share * np.array(rgb) + (1 - share) * np.array(below)) / 255
        linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)
        seen[look] = lab(np.clip(DEFICIENCIES[eyes] @ linear, 0, 1))
    looks = list(seen)
    closest = min(
        (np.linalg.norm(seen[a] - seen[b]), a.value, b.value)
        for i, a in enumerate(looks)
        for b in looks[:i]
    )
    assert closest[0] > 3 * 2.3, closest
