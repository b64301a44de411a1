# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a brush paints, and that its polygons hold just the painted pixels."""

import numpy as np
import pytest

from tessera_plugin.engine.brush import Part, Spot, Stroke, footprint, runs, squares, zone_at
from tessera_plugin.io.polygons import zone_polygons
from tessera_plugin.io.projection import strip_limits, transform_points, zone_crs
from tessera_plugin.values import Window

NORTH = Spot(31, -578_000.5, 40_010.5)  # 52° N
SOUTH = Spot(23, 259_000.5, 61_000.5)  # 23° S
HIGH = Spot(33, -665_200.5, 50_000.5)  # 60° N


def spot_at(lon, lat):
    zone = zone_at(lon, lat)
    ((e, n),) = transform_points(np.array([[lon, lat]]), "EPSG:4326", zone_crs(zone))
    return Spot(zone, -n / 10, e / 10)


def painted(stroke):
    return {
        (part.window.zone, row, col)
        for part in stroke.parts()
        for row, col, _ in squares(part).tolist()
    }


def burnt(polygons):
    """Return the pixels that the engine takes for labels like these."""
    found = []
    for wkb in polygons:
        for part in zone_polygons(wkb, "EPSG:4326"):
            for window in part.windows():
                mask = Part(window, part.mask(window))
                found += [(window.zone, row, col) for row, col, _ in squares(mask).tolist()]
    assert len(found) == len(set(found)), "a pixel is in two polygons"
    return set(found)


def scribble(stroke, middle, seed, size_px=3):
    """Paint a crooked line, erase a bit of it, leave a hole and single pixels."""
    random = np.random.default_rng(seed)
    spots = [
        Spot(middle.zone, middle.row + row, middle.col + col)
        for row, col in random.uniform(-30, 30, (12, 2))
    ]
    for start, stop in zip(spots[:-1], spots[1:]):
        stroke.paint(start, stop, size_px)
    stroke.paint(spots[3], spots[4], 1, erase=True)
    for row, col in random.integers(-40, 40, (30, 2)):
        lone = Spot(middle.zone, middle.row + row, middle.col + col)
        stroke.paint(lone, lone, 1)


@pytest.mark.parametrize("middle", [NORTH, SOUTH, HIGH], ids=["north", "south", "at 60 north"])
@pytest.mark.parametrize("size_px", [1, 3, 9])
def test_the_polygons_hold_the_painted_pixels_and_no_others(middle, size_px):
    stroke = Stroke()
    scribble(stroke, middle, seed=size_px, size_px=size_px)
    assert stroke.pixels == len(painted(stroke)) > 100
    polygons = stroke.polygons()
    assert len(polygons) > 1
    assert burnt(polygons) == painted(stroke)


def test_a_long_stroke_is_as_exact():
    stroke = Stroke()
    stroke.paint(HIGH, Spot(33, HIGH.row + 3, HIGH.col + 3000), 5)
    assert burnt(stroke.polygons()) == painted(stroke)


@pytest.mark.parametrize(
    ("lon", "lat"), [(6.0, 52.0), (-48.0, -23.0), (180.0, -17.0), (12.0, 60.0)], ids=str
)
def test_at_a_seam_each_zone_has_its_own_pixels(lon, lat):
    stroke = Stroke()
    metre = 1 / (111_320 * np.cos(np.radians(lat)))
    west, east = spot_at(lon - 30 * metre, lat), spot_at((lon + 210 * metre + 180) % 360 - 180, lat)
    assert (east.zone - west.zone) % 60 == 1
    stroke.paint(west, west, 9)
    stroke.paint(west, east, 9)  # the way leads into the next zone
    stroke.paint(east, spot_at((lon + 10 * metre + 180) % 360 - 180, lat), 9)
    assert {zone for zone, _, _ in painted(stroke)} == {west.zone, east.zone}
    for part in stroke.parts():
        first, stop = (limit[:, None] for limit in strip_limits(part.window))
        cols = np.arange(part.window.col, part.window.stop_col)
        assert not (part.mask & ~((cols >= first) & (cols < stop))).any()
    polygons = stroke.polygons()
    assert burnt(polygons) == painted(stroke)


def test_corners_make_valid_polygons():
    """A region whose edge touches itself at a corner, and single pixels that touch by corners."""
    ring = np.array(
        [[1, 1, 1, 0, 1], [1, 0, 1, 1, 0], [1, 1, 0, 1, 1], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1]], bool
    )
    stroke = Stroke()
    for row, col in np.argwhere(ring):
        spot = Spot(31, -578_000 + row + 0.5, 40_000 + col + 0.5)
        stroke.paint(spot, spot, 1)
    from osgeo import ogr

    polygons = stroke.polygons()
    assert all(ogr.CreateGeometryFromWkb(each).IsValid() for each in polygons)
    assert burnt(polygons) == painted(stroke)
    assert len(painted(stroke)) == ring.sum()


def test_a_brush_is_a_square_around_its_pixel():
    under = footprint(Spot(31, -578_000.2, 40_000.9), 3)
    assert under.window == Window(31, -578_002, 39_999, 3, 3)
    assert under.mask.all()


def test_a_fast_stroke_has_no_gaps_and_erasing_takes_back():
    stroke = Stroke()
    start, stop = Spot(31, -578_000.5, 40_000.5), Spot(31, -577_900.5, 40_250.5)
    changed = stroke.paint(start, stop, 1)
    assert changed.mask.sum() == stroke.pixels == 251
    cells = np.array(sorted((col, row) for _, row, col in painted(stroke)))
    assert (np.abs(np.diff(cells, axis=0)) <= 1).all()
    assert stroke.paint(start, stop, 1).mask.sum() == 0  # what is painted stays so
    middle = Spot(31, -577_950.5, 40_125.5)
    erased = stroke.paint(middle, middle, 9, erase=True)
    assert stroke.pixels == 251 - erased.mask.sum() < 251 - 8
    stroke.paint(start, stop, 9, erase=True)
    assert stroke.pixels == 0
    assert stroke.polygons() == ()


def test_runs_are_the_pixels_row_by_row():
    mask = np.array([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    part = Part(Window(31, -10, 100, 3, 5), mask)
    assert runs(part).tolist() == [[-10, 101, 103], [-10, 104, 105], [-9, 100, 105]]
    assert len(squares(part)) == mask.sum()


def test_beyond_the_zones_there_are_no_pixels():
    assert zone_at(3.0, 84.5) is None
    assert zone_at(-179.9, 0.0) == 1
