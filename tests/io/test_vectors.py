# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyproj
import pytest
from osgeo import gdal, ogr, osr

from tessera_plugin.errors import FieldMissing, LabelsUnreadable
from tessera_plugin.io import polygons
from tessera_plugin.io.polygons import pixels_of_points, zone_polygons
from tessera_plugin.io.vectors import Skipped, read_features
from tessera_plugin.values import Window
from tests.builders import square, wkb, write_label_store, write_layer

TEXT, WHOLE, REAL = ogr.OFTString, ogr.OFTInteger64, ogr.OFTReal
CLASS = {"class": TEXT}


@pytest.fixture(params=[False, True], ids=["codes", "exceptions"], autouse=True)
def _both_ways(request):
    """QGIS leaves GDAL's exceptions off, another plugin may switch them on."""
    modules = (gdal, ogr, osr)
    assert not any(module.GetUseExceptions() for module in modules)
    if request.param:
        for module in modules:
            module.UseExceptions()
    yield
    for module in modules:
        assert bool(module.GetUseExceptions()) == request.param, "the code switched it"
    if request.param:
        for module in reversed(modules):
            module.DontUseExceptions()


def wkts(features):
    return [ogr.CreateGeometryFromWkb(item.wkb).ExportToWkt() for item in features.items]


# --- reading


@pytest.mark.parametrize(
    ("driver", "name"),
    [("GPKG", "a.gpkg"), ("ESRI Shapefile", "a.shp"), ("GeoJSON", "a.geojson"),
     ("FlatGeobuf", "a.fgb"), ("GML", "a.gml")],
)  # fmt: skip
def test_any_format_gives_the_same(tmp_path, driver, name):
    rows = [("POINT (0.1 52.2)", {"class": "forest"}), ("POINT (0.2 52.1)", {"class": "Wäßer"})]
    path = write_layer(tmp_path / name, rows, CLASS, driver=driver, layer="a", kind=ogr.wkbPoint)
    found = read_features(path, "class")
    assert found.crs == "EPSG:4326"
    # FlatGeobuf keeps its features in an order of its own
    assert sorted(zip(wkts(found), (item.value for item in found.items))) == [
        ("POINT (0.1 52.2)", "forest"), ("POINT (0.2 52.1)", "Wäßer")]  # fmt: skip
    assert len({item.key for item in found.items}) == 2
    assert found.skipped == Skipped()
    assert found.classes == ()


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (WHOLE, [1, 2**40, None], [1, 2**40]),
        (ogr.OFTInteger, [0, -3, None], [0, -3]),
        (REAL, [1.5, 2.0, None], [1.5, 2.0]),
        (TEXT, [" forest ", "1", None, "", "  "], ["forest", "1"]),
    ],
)
def test_class_fields_of_numbers_and_text(tmp_path, kind, given, expected):
    rows = [("POINT (1 2)", {"c": value}) for value in given]
    found = read_features(write_layer(tmp_path / "a.gpkg", rows, {"c": kind}), "c")
    assert [item.value for item in found.items] == expected
    assert found.skipped.no_class == len(given) - len(expected)


def test_the_name_of_the_field_may_differ_in_case(tmp_path):
    path = write_layer(tmp_path / "a.gpkg", [("POINT (1 2)", {"CLASS": "a"})], {"CLASS": TEXT})
    assert read_features(path, "class").items[0].value == "a"


def test_z_m_curves_and_collections_become_plain(tmp_path):
    shapes = {
        "POINT ZM (1 2 3 4)": "POINT (1 2)",
        "MULTIPOINT Z ((1 2 3),(4 5 6))": "MULTIPOINT (1 2,4 5)",
        "POLYGON Z ((0 0 9,1 0 9,1 1 9,0 0 9))": "POLYGON ((0 0,1 0,1 1,0 0))",
        "GEOMETRYCOLLECTION (POINT (5 5),POLYGON ((0 0,1 0,1 1,0 0)),LINESTRING (0 0,3 3))":
            "MULTIPOLYGON (((0 0,1 0,1 1,0 0)))",
        "TIN (((0 0,1 0,1 1,0 0)),((0 0,1 1,0 1,0 0)))":
            "MULTIPOLYGON (((0 0,0 1,1 1,1 0,0 0)))",
    }  # fmt: skip
    path = write_layer(tmp_path / "a.gpkg", [(wkt, {"class": "a"}) for wkt in shapes], CLASS)
    found = read_features(path, "class")
    for got, expected in zip(wkts(found), shapes.values()):
        assert ogr.CreateGeometryFromWkt(got).Equals(ogr.CreateGeometryFromWkt(expected)), got
    # the faces of a surface share edges, which the parts of a multipolygon may not
    assert len(found.items) == len(shapes)
    assert found.skipped == Skipped(mended=1)


def test_a_circle_becomes_a_fine_polygon(tmp_path):
    circle = "CURVEPOLYGON (CIRCULARSTRING (-1 0,0 1,1 0,0 -1,-1 0))"
    path = write_layer(tmp_path / "a.gpkg", [(circle, {"class": "a"})], CLASS)
    (wkt,) = wkts(read_features(path, "class"))
    assert wkt.startswith("POLYGON")
    assert ogr.CreateGeometryFromWkt(wkt).GetArea() == pytest.approx(np.pi, rel=2e-3)


def test_broken_polygons_are_mended_or_counted(tmp_path):
    rows = [
        ("POLYGON ((0 0,2 2,2 0,0 2,0 0))", {"class": "bow tie"}),
        ("POLYGON ((0 0,1 1,2 2,0 0))", {"class": "no area"}),
        ("LINESTRING (0 0,1 1)", {"class": "a line"}),
        ("POINT EMPTY", {"class": "empty"}),
        (None, {"class": "nothing"}),
        ("POINT (1 2)", {"class": None}),
        ("POINT (1 2)", {"class": "good"}),
    ]
    found = read_features(write_layer(tmp_path / "a.gpkg", rows, CLASS), "class")
    assert [item.value for item in found.items] == ["bow tie", "good"]
    assert found.skipped == Skipped(no_class=1, no_geometry=2, unusable=2, mended=1)
    mended = ogr.CreateGeometryFromWkb(found.items[0].wkb)
    assert mended.IsValid()
    assert mended.GetArea() == pytest.approx(2)


def test_coordinates_that_are_no_numbers_are_unusable(tmp_path):
    path = tmp_path / "a.geojson"
    features = [
        {"type": "Feature", "properties": {"class": "a"},
         "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1e999, 0], [1, 1], [0, 0]]]}},
        {"type": "Feature", "properties": {"class": "b"},
         "geometry": {"type": "Point", "coordinates": [1, 2]}},
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = read_features(str(path), "class")
    assert [item.value for item in found.items] == ["b"]
    assert found.skipped.unusable == 1


def test_all_layers_with_the_field_are_read_in_one_crs(tmp_path):
    path = tmp_path / "a.gpkg"
    write_layer(path, [("POINT (0.1 52.2)", {"class": "a"})], CLASS, layer="first")
    write_layer(path, [("POINT (3 4)", {"other": "b"})], {"other": TEXT}, layer="second")
    x, y = pyproj.Transformer.from_crs(4326, 27700, always_xy=True).transform(0.3, 52.4)
    rows = [(f"POINT ({x} {y})", {"class": "c"})]
    write_layer(path, rows, CLASS, layer="third", crs="EPSG:27700")
    found = read_features(str(path), "class")
    assert found.crs == "EPSG:4326"
    assert [item.value for item in found.items] == ["a", "c"]
    moved = ogr.CreateGeometryFromWkb(found.items[1].wkb).GetPoint_2D()
    assert moved == pytest.approx((0.3, 52.4), abs=1e-4)
    only = read_features(str(path), "class", layer="third")
    assert [item.value for item in only.items] == ["c"]
    assert only.crs == "EPSG:27700"


def test_a_crs_of_its_own_is_kept_as_wkt(tmp_path):
    crs = "+proj=laea +lat_0=52 +lon_0=10 +ellps=bessel +units=m"
    path = write_layer(tmp_path / "a.gpkg", [("POINT (0 0)", {"class": "a"})], CLASS, crs=crs)
    found = read_features(path, "class")
    assert pyproj.CRS(found.crs).to_dict()["proj"] == "laea"


# --- what can't be read


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(LabelsUnreadable, match="no such file"):
        read_features(str(tmp_path / "absent.gpkg"), "class")
    (tmp_path / "a.gpkg").write_bytes(b"hello")
    with pytest.raises(LabelsUnreadable) as caught:
        read_features(str(tmp_path / "a.gpkg"), "class")
    assert caught.value.reason

    path = write_layer(tmp_path / "b.gpkg", [("POINT (0 0)", {"x": "a"})], {"x": TEXT, "y": TEXT})
    with pytest.raises(FieldMissing) as caught:
        read_features(path, "class")
    assert caught.value.fields == ("x", "y")
    with pytest.raises(LabelsUnreadable, match="no layer 'roads'"):
        read_features(path, "x", layer="roads")

    path = write_layer(tmp_path / "c.shp", [("POINT (0 0)", {"c": "a"})], {"c": TEXT}, crs=None,
                       driver="ESRI Shapefile", kind=ogr.wkbPoint, layer="c")  # fmt: skip
    with pytest.raises(LabelsUnreadable, match="coordinate system"):
        read_features(path, "c")

    path = write_layer(tmp_path / "d.gpkg", [(None, {"c": "a"})], {"c": TEXT}, kind=ogr.wkbNone)
    with pytest.raises(LabelsUnreadable, match="no layer with geometries"):
        read_features(path, "c")


@pytest.mark.parametrize("driver", ["GPKG", "FlatGeobuf"])
def test_a_file_that_breaks_off_is_not_taken_for_its_first_half(tmp_path, driver):
    rows = [(f"POINT ({i / 100} 5)", {"class": "forest" * 100}) for i in range(500)]
    path = tmp_path / ("a.gpkg" if driver == "GPKG" else "a.fgb")
    write_layer(path, rows, CLASS, driver=driver, kind=ogr.wkbPoint)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(LabelsUnreadable):
        read_features(str(path), "class")


# --- our label store


def test_a_label_store_brings_classes_ids_and_keys(tmp_path):
    path = write_label_store(
        tmp_path / "labels.gpkg",
        [(7, "water", "#0000ff", 1), (3, "forest", "#00ff00", 0)],
        points=[("POINT (0.1 52)", 3, "uuid-1"), ("POINT (0.2 52)", 7, "uuid-2")],
        polygons=[(square(0, 52, 0.01), 7, "uuid-3")],
    )
    for field in ("class_name", "class_id"):
        found = read_features(path, field)
        assert [(c.id, c.name, c.color) for c in found.classes] == [
            (3, "forest", "#00ff00"), (7, "water", "#0000ff")]  # fmt: skip
        assert [(i.class_id, i.key) for i in found.items] == [
            (3, "uuid-1"), (7, "uuid-2"), (7, "uuid-3")]  # fmt: skip


def test_a_label_without_the_name_of_its_class_is_known_by_its_id(tmp_path):
    classes = [(3, "forest", "#00ff00", 0)]
    path = write_label_store(
        tmp_path / "a.gpkg", classes, [("POINT (0 5)", 3, "a"), ("POINT (0 5)", 9, "b")]
    )
    found = read_features(path, "class_name")  # class 9 is not in the table: it has no name
    assert [(i.class_id, i.value) for i in found.items] == [(3, "forest"), (9, 9)]


def test_a_store_of_a_later_version_is_refused(tmp_path):
    path = write_label_store(tmp_path / "a.gpkg", [(1, "a", "#000000", 0)], version="3")
    with pytest.raises(LabelsUnreadable, match="version 3"):
        read_features(path, "class_id")


# --- points on the grid


def lonlat_of_centre(zone, row, col):
    transformer = pyproj.Transformer.from_crs(32600 + int(zone), 4326, always_xy=True)
    return transformer.transform(10 * col + 5, -(10 * row + 5))


@pytest.mark.parametrize("crs", [4326, 3857, 32631, 32731, 27700])
def test_points_fall_into_the_pixel_that_holds_them(crs):
    random = np.random.default_rng(0)
    if crs == 32731:
        lonlat = np.column_stack([random.uniform(0.1, 5.9, 200), random.uniform(-50, -1, 200)])
    else:
        lonlat = np.column_stack([random.uniform(0.1, 1.5, 200), random.uniform(50, 55, 200)])
    xy = np.column_stack(
        pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(*lonlat.T)
    )
    zone, row, col = pixels_of_points(xy, f"EPSG:{crs}")
    assert set(zone) == {31}
    to_zone = pyproj.Transformer.from_crs(crs, 32631, always_xy=True)
    east, north = to_zone.transform(*xy.T)
    off = np.hypot(east - (10 * col + 5), north + 10 * row + 5)
    if crs == 27700:  # datum grids may differ between the libraries by some metres
        assert off.max() < 5 * np.sqrt(2) + 6
    else:
        np.testing.assert_array_equal(col, np.floor(east / 10))
        np.testing.assert_array_equal(row, np.floor(-north / 10))


def test_a_point_on_the_corner_of_cells_does_not_fall_to_chance():
    corners = np.array([[500_000.0 + 10 * i, -10.0 * i] for i in range(1, 2000)])
    zone, row, col = pixels_of_points(corners, "EPSG:32631")
    np.testing.assert_array_equal(col, 50_000 + np.arange(1, 2000))
    np.testing.assert_array_equal(row, np.arange(1, 2000))
    south = corners + np.array([0, 10_000_000])  # the same places in the southern CRS
    assert [list(each) for each in pixels_of_points(south, "EPSG:32731")] == [
        list(zone), list(row), list(col)]  # fmt: skip


def test_a_point_at_a_seam_has_the_zone_of_its_longitude():
    random = np.random.default_rng(1)
    # within some metres of 0° E, where zone 30 meets zone 31
    xy = np.column_stack([random.uniform(-1e-4, 1e-4, 400), random.uniform(-60, 60, 400)])
    zone, row, col = pixels_of_points(xy, "EPSG:4326")
    np.testing.assert_array_equal(zone, np.where(xy[:, 0] < 0, 30, 31))
    # where the pixel's centre is on the other side, so is that of the neighbour's pixel
    for (lon, lat), number, r, c in zip(xy, zone, row, col):
        if (lonlat_of_centre(number, r, c)[0] < 0) != (lon < 0):
            other = 61 - number
            to_zone = pyproj.Transformer.from_crs(4326, 32600 + int(other), always_xy=True)
            east, north = to_zone.transform(lon, lat)
            centre = lonlat_of_centre(other, np.floor(-north / 10), np.floor(east / 10))
            assert (centre[0] < 0) != (other == 30)


def test_points_nowhere_have_zone_0():
    xy = np.array([[np.inf, 0], [0.5, 52.0], [np.nan, 3]])
    assert list(pixels_of_points(xy, "EPSG:4326")[0]) == [0, 31, 0]


def test_longitudes_wrap_at_the_antimeridian():
    xy = np.array([[179.99, -17.0], [180.01, -17.0], [-179.99, -17.0]])
    zone, row, col = pixels_of_points(xy, "EPSG:4326")
    assert list(zone) == [60, 1, 1]
    assert (row[1], col[1]) == (row[2], col[2])


# --- polygons on the grid


def pixels(parts):
    """All pixels of a polygon as rows of zone, row, column."""
    found = [np.empty((0, 3), int)]
    for part in parts:
        for window in part.windows():
            rows, cols = np.nonzero(part.mask(window))
            zone = np.full(len(rows), part.zone)
            found.append(np.column_stack([zone, rows + window.row, cols + window.col]))
    return np.concatenate(found)


def holds(rings, x, y):
    """Even-odd rule, plainly: the oracle for which points polygons hold."""
    inside = np.zeros(np.broadcast(x, y).shape, bool)
    for ring in rings:
        for (ax, ay), (bx, by) in zip(ring[:-1], ring[1:]):
            crosses = (ay > y) != (by > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


def star(east, north, size, seed, points=9):
    random = np.random.default_rng(seed)
    angle = np.sort(random.uniform(0, 2 * np.pi, points))
    radius = random.uniform(0.3, 1, points) * size
    ring = np.column_stack([east + radius * np.cos(angle), north + radius * np.sin(angle)])
    return np.concatenate([ring, ring[:1]])


def text(*rings):
    return "POLYGON (" + ",".join(
        "(" + ",".join(f"{x!r} {y!r}" for x, y in ring.tolist()) + ")" for ring in rings) + ")"  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("north", [5_780_000.0, -3_000_000.0, 0.0])
def test_a_polygon_holds_the_pixels_whose_centre_is_inside(seed, north):
    outer, hole = star(500_000, north, 400, seed, 25), star(500_000, north, 60, seed + 9)
    parts = zone_polygons(wkb(text(outer, hole)), "EPSG:32631")
    found = pixels(parts)
    rows, cols = np.mgrid[int(-north // 10) - 60 : int(-north // 10) + 60, 49_940:50_060]
    expected = holds([outer, hole], cols * 10.0 + 5, -(rows * 10.0 + 5))
    expected = np.column_stack([rows[expected], cols[expected]])
    assert len(expected) > 100
    assert set(map(tuple, found[:, 1:])) == set(map(tuple, expected))
    assert len(found) == len(expected)


def test_edges_are_densified_before_they_are_projected():
    # 5° along a parallel bends by kilometres in metres
    ring = np.array([[0.5, 60], [5.5, 60], [5.5, 60.01], [0.5, 60.01], [0.5, 60]], float)
    found = pixels(zone_polygons(wkb(text(ring)), "EPSG:4326"))
    lon, lat = lonlat_of_centre(31, found[:, 1], found[:, 2])
    assert (lon > 0.5 - 1e-6).all()
    assert (lon < 5.5 + 1e-6).all()
    assert (lat > 60 - 1e-6).all()
    assert (lat < 60.01 + 1e-6).all()
    # 5° of a parallel on the ellipsoid times 0.01° of a meridian; scale factors are near 1
    geod = pyproj.Geod(ellps="WGS84")
    area = abs(geod.polygon_area_perimeter(np.repeat(np.linspace(.5, 5.5, 500), 1).tolist()
                + np.linspace(5.5, .5, 500).tolist(), [60.] * 500 + [60.01] * 500)[0])  # fmt: skip
    assert len(found) * 100 == pytest.approx(area, rel=2e-3)


def test_a_polygon_over_a_seam_is_split_without_gap_or_overlap():
    west, east, south, north = 5.95, 6.05, 50.0, 50.02
    ring = np.array([[west, south], [east, south], [east, north], [west, north], [west, south]])
    parts = zone_polygons(wkb(text(ring)), "EPSG:4326")
    assert [part.zone for part in parts] == [31, 32]
    found = pixels(parts)
    for zone, (low, high) in ((31, (west, 6)), (32, (6, east))):
        mine = found[found[:, 0] == zone]
        lon, lat = lonlat_of_centre(zone, mine[:, 1], mine[:, 2])
        assert (lon >= low - 1e-9).all()
        assert (lon < high + 1e-9).all()
        # every centre of the zone's grid that lies in the polygon and the strip is there
        rows = np.arange(mine[:, 1].min() - 20, mine[:, 1].max() + 20)
        cols = np.arange(mine[:, 2].min() - 20, mine[:, 2].max() + 20)
        rows, cols = np.meshgrid(rows, cols, indexing="ij")
        lon, lat = lonlat_of_centre(zone, rows, cols)
        inside = (lon >= low) & (lon < high) & (lat > south) & (lat < north)
        # a chord of 0.01° is a centimetre or two off the parallel: a centre may lie between
        assert abs(int(inside.sum()) - len(mine)) <= 3


def test_a_polygon_over_the_antimeridian_is_split_too():
    in_degrees = wkb(
        "POLYGON ((179.99 -17.01,180.01 -17.01,180.01 -16.99,179.99 -16.99,179.99 -17.01))"
    )
    in_metres = ogr.CreateGeometryFromWkb(in_degrees)
    moved = pyproj.Transformer.from_crs(4326, 3832, always_xy=True)  # PDC Mercator, centre 150° E
    ring = np.array(in_metres.GetGeometryRef(0).GetPoints())
    ring = np.column_stack(moved.transform(*ring.T))
    for parts in (
        zone_polygons(in_degrees, "EPSG:4326"),
        zone_polygons(wkb(text(ring)), "EPSG:3832"),
    ):
        found = pixels(parts)
        assert sorted(set(found[:, 0])) == [1, 60]
        counts = [int((found[:, 0] == zone).sum()) for zone in (1, 60)]
        # 0.01° x 0.02° each, about 1064 m x 2213 m
        assert counts == pytest.approx([1064 * 2213 / 100] * 2, rel=0.02)


def test_parts_of_a_multipolygon_on_both_sides_of_the_antimeridian():
    a, b = square(179.99, -17, 0.005), square(-179.995, -17, 0.005)
    multi = "MULTIPOLYGON (" + a[len("POLYGON ") :] + "," + b[len("POLYGON ") :] + ")"
    found = pixels(zone_polygons(wkb(multi), "EPSG:4326"))
    assert sorted(set(found[:, 0])) == [1, 60]


def test_a_polygon_between_centres_holds_none_and_has_an_inner_point():
    thin = wkb(square(500_006.0, 5_000_006.0, 3.0))
    assert len(pixels(zone_polygons(thin, "EPSG:32631"))) == 0
    ((x, y),) = polygons.inner_point(thin)
    assert 500_006 < x < 500_009
    assert 5_000_006 < y < 5_000_009


def test_a_huge_polygon_comes_in_strips_of_bounded_size():
    # 100 km x 200 km: 200 million pixels
    parts = zone_polygons(
        wkb("POLYGON ((4e5 5e6,5e5 5e6,5e5 5.2e6,4e5 5.2e6,4e5 5e6))"), "EPSG:32631"
    )
    windows = list(parts[0].windows())
    assert sum(window.pixels for window in windows) == 200_000_000
    assert max(window.pixels for window in windows) <= polygons.STRIP_PX
    near = list(parts[0].windows(Window(31, -510_000, 45_000, 50, 50)))
    assert sum(window.pixels for window in near) == 2500


@pytest.mark.long
def test_absurd_polygons_come_to_an_end():
    parts = zone_polygons(wkb("POLYGON ((-30 -85,40 -85,40 85,-30 85,-30 -85))"), "EPSG:4326")
    assert [part.zone for part in parts] == list(range(26, 38))
    if not osr.GetUseExceptions():
        assert zone_polygons(wkb("POLYGON ((0 0,1e300 0,1e300 1e300,0 0))"), "EPSG:32631") == ()


def test_threads_may_rasterise_at_once():
    ring = star(500_000, 5_000_000, 500, 1, 40)
    geometry = wkb(text(ring))
    expected = pixels(zone_polygons(geometry, "EPSG:32631"))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: pixels(zone_polygons(geometry, "EPSG:32631")), range(40)):
            np.testing.assert_array_equal(found, expected)
