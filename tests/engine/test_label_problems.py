# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with labels, worked out by hand on a grid of known pixels."""

import numpy as np
import pytest
from osgeo import ogr

from tessera_plugin.engine import label_places, label_problems
from tessera_plugin.engine.label_problems import Checked, CheckRequest, Kind, check, check_cached
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.values import Access, State, StoredLabel
from tests.builders import MemorySource, wkb

ZONE, ROW, COL = 31, -580_000, 30_000
"""Where the labels of the tests lie."""


def lonlat(points):
    """Return places (n, 2) in pixels from the corner as degrees."""
    east = 10 * (COL + np.array([x for x, _ in points], float))
    north = -10 * (ROW + np.array([y for _, y in points], float))
    return transform_points(np.column_stack([east, north]), zone_crs(ZONE), LONLAT)


def point(x, y):
    """A point in pixels: (2.5, 0.5) is the middle of the third pixel of the first row."""
    ((lon, lat),) = lonlat([(x, y)])
    return wkb(f"POINT ({lon!r} {lat!r})".replace("np.float64(", "").replace(")", "", 0))


def box(x, y, width, height):
    """A rectangle in pixels by its upper left corner."""
    corners = [(x, y), (x, y + height), (x + width, y + height), (x + width, y), (x, y)]
    ring = ogr.Geometry(ogr.wkbLinearRing)
    for lon, lat in lonlat(corners):
        ring.AddPoint_2D(float(lon), float(lat))
    polygon = ogr.Geometry(ogr.wkbPolygon)
    polygon.AddGeometry(ring)
    return bytes(polygon.ExportToWkb(ogr.wkbNDR))


def label(key, shape, class_id=1, year=2024):
    return StoredLabel(key, class_id, year, shape)


def told(labels, source=None, year=2024):
    """Return kind, label and the others of each problem."""
    return [(each.kind, each.key, each.others) for each in check(labels, year, source).problems]


def source(columns):
    """Embeddings whose state is told by the column, from the corner."""

    def state(_zone, _row, col):
        states = np.full(col.shape, State.VALID)
        for first, stop, what in columns:
            states[(col - COL >= first) & (col - COL < stop)] = what
        return states

    return MemorySource(lambda zone, row, col: row % 3, state=state)


def test_good_labels_have_no_problems():
    labels = [label("a", point(0.5, 0.5)), label("b", box(3, 3, 4, 4), 2), label("c", point(9, 9))]
    assert told(labels, source([])) == []
    assert check([], 2024) == Checked()


def test_labels_where_nothing_can_be_used():
    states = [(10, 20, State.WATER), (20, 30, State.NODATA), (30, 40, State.OUTSIDE),
              (40, 50, State.UNKNOWN), (50, 60, State.PUBLISHED)]  # fmt: skip
    labels = [
        label(name, point(10 * number + 5.5, 0.5))
        for number, name in enumerate(("valid", "water", "nodata", "outside", "unknown", "there"))
    ]
    assert told(labels, source(states)) == [
        (Kind.WATER, "water", ()), (Kind.NODATA, "nodata", ()), (Kind.OUTSIDE, "outside", ()),
        (Kind.NOT_FETCHED, "unknown", ())]  # fmt: skip
    found, *_ = check(labels, 2024, source(states)).problems
    ((lon, lat),) = lonlat([(15.5, 0.5)])
    assert (found.lon, found.lat) == pytest.approx((lon, lat), abs=1e-9)
    assert (found.class_id, found.year) == (1, 2024)


def test_a_polygon_is_told_where_less_than_half_of_it_can_be_used():
    half = source([(10, 20, State.WATER)])
    assert told([label("a", box(5, 0, 10, 4))], half) == []  # 20 of 40 pixels
    assert told([label("a", box(6, 0, 10, 4))], half) == [(Kind.WATER, "a", ())]  # 16 of 40
    # of what can't be used, the kind that most pixels are of is told
    both = source([(0, 6, State.NODATA), (6, 10, State.UNKNOWN)])
    assert told([label("a", box(0, 0, 12, 4))], both) == [(Kind.NODATA, "a", ())]


def test_labels_of_another_year():
    labels = [label("a", point(0.5, 0.5), 1, 2023), label("b", point(5.5, 0.5))]
    assert told(labels) == [(Kind.OTHER_YEAR, "a", ())]
    assert told(labels, year=2023) == [(Kind.OTHER_YEAR, "b", ())]


def test_two_classes_in_one_pixel():
    labels = [label("a", point(0.1, 0.1), 1), label("b", point(0.9, 0.9), 2),
              label("c", point(1.1, 0.1), 2)]  # fmt: skip
    assert told(labels) == [(Kind.CONFLICT, "a", ("b",)), (Kind.CONFLICT, "b", ("a",))]
    first, second = check(labels, 2024).problems
    assert (first.other_class, second.other_class) == (2, 1)


def test_places_change_over_the_years():
    labels = [label("a", point(0.5, 0.5), 1, 2020), label("b", point(0.5, 0.5), 2, 2024),
              label("c", box(0, 0, 3, 3), 3, 2021)]  # fmt: skip
    assert {kind for kind, *_ in told(labels)} == {Kind.OTHER_YEAR}


def test_a_point_on_a_polygon_of_another_class():
    # the polygon holds the centres of columns 0 to 2; the point lies in it, but its pixel does not
    polygon = label("p", box(0, 0, 3.4, 3), 1)
    assert told([polygon, label("a", point(3.2, 0.5), 2)]) == []
    assert told([polygon, label("a", point(2.8, 0.5), 2), label("b", point(1.5, 1.5), 1)]) == [
        (Kind.CONFLICT, "p", ("a",)), (Kind.CONFLICT, "a", ("p",))]  # fmt: skip


def test_polygons_that_share_pixels():
    first = label("p", box(0, 0, 4, 4), 1)
    assert told([first, label("q", box(4, 0, 4, 4), 2)]) == []  # they touch
    assert told([first, label("q", box(3.6, 0, 4, 4), 2)]) == []  # overlap, but no pixel's centre
    assert told([first, label("q", box(3, 3, 4, 4), 2)]) == [
        (Kind.CONFLICT, "p", ("q",)), (Kind.CONFLICT, "q", ("p",))]  # fmt: skip
    assert told([first, label("q", box(3, 3, 4, 4), 1)]) == []  # of one class


def sliver(key, x, class_id):
    """A strip one pixel wide that goes 100 pixels to the east and to the south."""
    corners = [(x, 0), (x + 100, 100), (x + 101, 100), (x + 1, 0)]
    ring = ", ".join(f"{lon!r} {lat!r}" for lon, lat in lonlat([*corners, corners[0]]).tolist())
    return label(key, wkb(f"POLYGON (({ring}))"), class_id)


def test_polygons_side_by_side_are_not_compared_pixel_by_pixel(monkeypatch):
    """Their boxes overlap all the same: comparing them all would leave nothing for the others."""
    monkeypatch.setattr(label_problems, "MAX_PAIRS", 3)
    slivers = [sliver(f"s{number}", 1.5 * number, 1 + number % 2) for number in range(12)]
    over = [label("p", box(0, 200, 4, 4), 1), label("q", box(2, 202, 4, 4), 2)]
    found = check([*slivers, *over], 2024)
    assert [each.key for each in found.problems] == ["p", "q"]
    assert found.all_compared
    monkeypatch.setattr(label_problems, "MAX_LOOKS", 10)
    assert check([*slivers, *over], 2024) == Checked((), all_compared=False)


def test_it_is_told_where_not_all_polygons_are_compared(monkeypatch):
    labels = [label(f"{n}{m}", box(10 * n + m, 0, 3, 3), 1 + m) for n in range(3) for m in range(2)]
    assert len(check(labels, 2024).problems) == 6
    monkeypatch.setattr(label_problems, "MAX_PAIRS", 2)
    found = check(labels, 2024)
    assert (len(found.problems), found.all_compared) == (4, False)
    monkeypatch.setattr(label_problems, "MAX_PAIRS", 3)
    assert check(labels, 2024).all_compared


def test_a_polygon_that_crosses_itself_is_compared_by_its_pixels():
    corners = lonlat([(0, 0), (8, 8), (0, 8), (8, 0), (0, 0)]).tolist()
    ring = ", ".join(f"{lon!r} {lat!r}" for lon, lat in corners)
    labels = [label("p", wkb(f"POLYGON (({ring}))")), label("q", box(0, 0, 8, 2), 2)]
    assert [(kind, key) for kind, key, _ in told(labels)] == [
        (Kind.CONFLICT, "p"), (Kind.CONFLICT, "q")]  # fmt: skip


def test_a_polygon_over_the_seam_of_two_zones():
    def square(lon, lat, edge):
        return wkb(f"POLYGON (({lon} {lat},{lon + edge} {lat},{lon + edge} {lat + edge},"
                   f"{lon} {lat + edge},{lon} {lat}))")  # fmt: skip

    labels = [label("p", square(5.99, 50, 0.02), 1), label("q", square(6.005, 50.005, 0.001), 2),
              label("a", wkb("POINT (5.995 50.01)"), 3)]  # fmt: skip
    assert [(kind, key) for kind, key, _ in told(labels)] == [
        (Kind.CONFLICT, "p"), (Kind.CONFLICT, "q"), (Kind.CONFLICT, "a")]  # fmt: skip


def test_polygons_smaller_than_a_pixel():
    labels = [label("a", box(0.6, 0.6, 0.3, 0.3)), label("b", box(3.3, 0.3, 0.4, 0.4))]
    assert told(labels) == [(Kind.SMALL, "a", ())]  # the other one holds a centre
    # it claims the pixel under it all the same
    labels = [label("a", box(0.6, 0.6, 0.3, 0.3)), label("b", point(0.1, 0.1), 2)]
    assert told(labels) == [
        (Kind.CONFLICT, "a", ("b",)), (Kind.CONFLICT, "b", ("a",)), (Kind.SMALL, "a", ())]  # fmt: skip


def test_what_is_said_twice():
    turned = ogr.CreateGeometryFromWkb(box(5, 5, 4, 4))
    points = turned.GetGeometryRef(0).GetPoints()[:-1]
    points = [*points[2:], *points[:2]][::-1]
    ring = ", ".join(f"{x!r} {y!r}" for x, y in (*points, points[0]))
    labels = [
        label("a", point(0.2, 0.2)), label("b", point(0.8, 0.8)), label("p", box(5, 5, 4, 4)),
        label("q", wkb(f"POLYGON (({ring}))")), label("r", box(5, 5, 4, 3)),
    ]  # fmt: skip
    assert told(labels) == [(Kind.DUPLICATE, "b", ("a",)), (Kind.DUPLICATE, "q", ("p",))]


def test_a_label_without_a_place_on_the_grids():
    labels = [label("a", wkb("POINT (0 95)")), label("b", point(0.5, 0.5))]
    assert (Kind.OUTSIDE, "a", ()) in told(labels)


def test_large_polygons_are_looked_at_evenly(monkeypatch):
    monkeypatch.setattr(label_places, "MAX_STATE_PX", 50)
    large = label("a", box(0, 0, 100, 100))
    assert told([large], source([(60, 100, State.WATER)])) == []
    assert told([large], source([(40, 100, State.WATER)])) == [(Kind.WATER, "a", ())]


def test_a_cancel_stops_the_check():
    def report(fraction, _message):
        if fraction > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check([label(str(i), point(i + 0.5, 0.5)) for i in range(9)], 2024, None, report)


def test_without_a_cache_nothing_is_fetched_and_all_of_it_is_mild(tmp_path):
    request = CheckRequest("1.1-dclimate", 2024, Access(str(tmp_path), "http://127.0.0.1:9"))
    (found,) = check_cached([label("a", point(0.5, 0.5))], request).problems
    assert found.kind == Kind.NOT_FETCHED
    unknown = CheckRequest("9-nobody", 2024, Access(str(tmp_path)))
    assert check_cached([label("a", point(0.5, 0.5))], unknown) == Checked()
