# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What other programs write into a label file is used where it can be, and else counted."""

import contextlib
import math
import struct

import pytest
from osgeo import gdal, ogr, osr

from tessera_plugin.engine import label_export, label_problems
from tessera_plugin.engine.labels import load_labels
from tessera_plugin.io.label_file import LabelFile, create
from tessera_plugin.values import LabelChange, LandClass, StoredClass, StoredLabel
from tests.builders import wkb

CLASSES = (StoredClass(LandClass(1, "Water", "#0000ff")),)
HEAD = b"GP\0\1" + struct.pack("<i", 4326)
POINTS, POLYGONS = "label_points", "label_polygons"
SQUARE = "((10 50,10.1 50,10.1 50.1,10 50.1,10 50))"


@pytest.fixture(params=[False, True], ids=["codes", "exceptions"])
def _both_ways(request):
    """QGIS leaves GDAL's exceptions off, another plugin may switch them on."""
    if request.param:
        for module in (gdal, ogr, osr):
            module.UseExceptions()
    yield
    if request.param:
        for module in (osr, ogr, gdal):
            module.DontUseExceptions()


@pytest.fixture
def path(tmp_path):
    """A label file with one label of Water."""
    path = str(tmp_path / "labels.gpkg")
    create(path)
    with contextlib.closing(LabelFile(path)) as file:
        label = StoredLabel("first", 1, 2024, wkb("POINT (10 50)"))
        file.write(LabelChange((), CLASSES, ((None, label),)), 2)
    return path


def polygon(*points):
    ring = b"".join(struct.pack("<dd", *each) for each in points)
    return struct.pack("<BIII", 1, 3, 1, len(points)) + ring


def add(path, shape, table=POINTS, **values):
    """Write a row as another GIS may, without a key."""
    blob = shape if isinstance(shape, bytes) else wkb(shape)
    values = {"class_id": "1", "year": "2024", **values}
    dataset = gdal.OpenEx(path, gdal.OF_UPDATE | gdal.OF_VECTOR)
    dataset.ExecuteSQL(
        f"INSERT INTO {table} (geom, {', '.join(values)})"
        f" VALUES (X'{(HEAD + blob).hex()}', {', '.join(values.values())})"
    )


def read(path):
    with contextlib.closing(LabelFile(path)) as file:
        return file.read()


def others(contents):
    return [each for each in contents.labels if each.key != "first"]


def rows(path, sql):
    dataset = gdal.OpenEx(path, gdal.OF_VECTOR)
    result = dataset.ExecuteSQL(sql)
    found = [tuple(each.items().values()) for each in result]
    dataset.ReleaseResultSet(result)
    return found


UNUSABLE = {
    "a line": (wkb("LINESTRING (10 50,11 51)"), POLYGONS),
    "metres": (wkb("POINT (500000 5500000)"), POINTS),
    "a polygon in metres": (polygon((0, 0), (5e5, 0), (5e5, 5e6), (0, 0)), POLYGONS),
    "no number": (struct.pack("<BIdd", 1, 1, math.nan, 50), POINTS),
    "infinite": (struct.pack("<BIdd", 1, 1, math.inf, 50), POINTS),
    "a vertex that is no number": (polygon((10, 50), (math.nan, 50), (11, 51), (10, 50)), POLYGONS),
    "an infinite vertex": (polygon((10, 50), (math.inf, 50), (11, 51), (10, 50)), POLYGONS),
    "empty": (wkb("POLYGON EMPTY"), POLYGONS),
    "no geometry": (b"xxxx1234", POLYGONS),
}


@pytest.mark.usefixtures("_both_ways")
def test_what_is_of_no_use_is_counted_and_stays(path):
    for shape, table in UNUSABLE.values():
        add(path, shape, table)
    found = read(path)
    assert [each.key for each in found.labels] == ["first"]
    assert (found.unusable, found.no_class) == (len(UNUSABLE), 0)
    held = [rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in (POINTS, POLYGONS)]
    assert sum(held) == 1 + len(UNUSABLE)


@pytest.mark.usefixtures("_both_ways")
def test_parts_become_labels_of_their_own(path, tmp_path):
    add(path, f"MULTIPOLYGON ({SQUARE},((12 50,12.1 50,12.1 50.1,12 50)))", POLYGONS, note="'it'")
    add(path, "MULTIPOINT (13 50,14 50)", confidence="70")
    found = read(path)
    assert found.unusable == 0
    assert [(each.wkb, each.note, each.confidence) for each in others(found)] == [
        (wkb("POINT (13 50)"), "", 70), (wkb("POINT (14 50)"), "", 70),
        (wkb(f"POLYGON {SQUARE}"), "it", 100),
        (wkb("POLYGON ((12 50,12.1 50,12.1 50.1,12 50))"), "it", 100)]  # fmt: skip
    # in the file too, so that one can be deleted and the others stay
    assert set(read(path).labels) == set(found.labels)
    assert rows(path, f"SELECT count(*), count(DISTINCT key) FROM {POLYGONS}") == [(2, 2)]
    for ending in (".geojson", ".csv", ".gpkg"):
        label_export.export(
            path, found.labels, [CLASSES[0].land_class], str(tmp_path / f"o{ending}")
        )
    assert len(read(str(tmp_path / "o.gpkg")).labels) == 5
    assert label_problems.check(found.labels, 2024).problems == ()


def test_curves_and_heights_are_made_flat(path):
    add(path, "CURVEPOLYGON (CIRCULARSTRING (10 50,10.1 50.1,10.2 50,10.1 49.9,10 50))", POLYGONS)
    add(path, "POINT ZM (13 50 7 8)")
    point, circle = others(read(path))
    assert point.wkb == wkb("POINT (13 50)")
    shape = ogr.CreateGeometryFromWkb(circle.wkb)
    assert shape.GetGeometryType() == ogr.wkbPolygon
    assert shape.Area() == pytest.approx(math.pi * 0.1**2, rel=0.01)


def test_a_class_may_be_told_by_its_name(path):
    for name in ("'water'", "'Forest '", "'Forest'"):
        add(path, "POINT (11 50)", class_id="NULL", class_name=name)
    add(path, "POINT (11 50)", class_id="0", class_name="'Forest'")
    add(path, "POINT (11 50)", class_id="7", class_name="'Field'")
    add(path, "POINT (11 50)", class_id="-3", class_name="'FIELD'")
    add(path, "POINT (11 50)", class_id="NULL")
    add(path, "POINT (11 50)", class_id="0", class_name="' '")
    found = read(path)
    assert [each.class_id for each in others(found)] == [1, 8, 8, 8, 7, 7]
    assert dict(found.names) == {7: "Field", 8: "Forest"}
    assert (found.next_class_id, found.no_class, found.unusable) == (9, 2, 0)
    told = [each for (each,) in rows(path, f"SELECT class_id FROM {POINTS} ORDER BY fid")]
    assert told == [1, 1, 8, 8, 8, 7, 7, None, 0]
    assert read(path).labels == found.labels


def test_no_class_has_the_number_that_maps_have_where_there_is_nothing(path):
    """Earlier versions took it over."""
    dataset = gdal.OpenEx(path, gdal.OF_UPDATE | gdal.OF_VECTOR)
    dataset.ExecuteSQL("INSERT INTO classes (class_id, name, color, position) VALUES (0, 'Zero', '#111111', 1)")  # fmt: skip
    dataset = None
    add(path, "POINT (11 50)", class_id="0", class_name="'Zero'")
    add(path, "POINT (12 50)", class_id="0")
    found = read(path)
    assert [each.land_class for each in found.classes] == [
        LandClass(1, "Water", "#0000ff"), LandClass(2, "Zero", "#111111")]  # fmt: skip
    assert [each.class_id for each in others(found)] == [2, 2]
    assert (dict(found.names), found.next_class_id) == ({}, 3)
    assert [each.class_id for each in load_labels(path, "class_id").items] == [1, 2, 2]
