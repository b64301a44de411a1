# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of the features of any layer: values, parts, years, confidence, and what is left out."""

import json
from pathlib import Path

import pytest
from osgeo import gdal, ogr

from tessera_plugin.engine import label_export, label_guess, label_sources
from tessera_plugin.engine.label_mapping import Columns, Target, fingerprint, gather, plan, year_of
from tessera_plugin.engine.labels import load_labels
from tessera_plugin.errors import LabelsUnreadable, NoLabels, NotWritable
from tessera_plugin.io import geometries
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.values import LandClass, StoredLabel
from tests.builders import square, wkb, write_label_store, write_layer

TEXT, WHOLE, REAL = ogr.OFTString, ogr.OFTInteger, ogr.OFTReal
CLASSES = (LandClass(1, "Wälder", "#2e7d46"), LandClass(7, 'Water, "deep"', "#4e79a7"))
LABELS = (
    StoredLabel("a", 1, 2024, wkb("POINT (0.1234567 52.25)"), "first, with comma", 80),
    StoredLabel("b", 7, 2023, wkb("POINT (-70.5 -10.25)")),
    StoredLabel(
        "c", 1, 2024, wkb("POLYGON ((0 0,0 1,1 1,1 0,0 0),(.2 .2,.4 .2,.4 .4,.2 .2))"), "", 55
    ),
)


def found_in(path, columns, layers=None, crs="", report=lambda *_: None):
    facts = label_sources.peek(str(path))
    wanted = [each for each in facts.layers if layers is None or each.name in layers]
    crs_of = {each.name: each.crs or crs for each in wanted}
    rows = label_sources.read(str(path), list(crs_of), columns.names)
    return gather(rows, crs_of, facts.colors, report)


def test_a_polygon_over_the_antimeridian_is_two_places_and_none_around_the_globe(tmp_path):
    """A square of 200 m in UTM 60N, with a hole, on both sides of 180 degrees."""
    hole = "833980 100080,833980 100120,834020 100120,834020 100080,833980 100080"
    across = square(833900, 100000, 200).replace("))", f"),({hole}))")
    path = write_layer(tmp_path / "a.gpkg", [(across, {"k": "A"})], {"k": TEXT}, crs="EPSG:32660")
    found = found_in(path, Columns("k", "", "", ""))
    boxes = []
    hectares = 0.0
    for place in found.places:
        shape = ogr.CreateGeometryFromWkb(place.wkb)
        boxes.append(shape.GetEnvelope())
        assert shape.IsValid()
        metres = 111_320 * (111_320 * 0.9997)  # of a degree of each, near the equator
        hectares += shape.GetArea() * metres / 10_000
    (in_the_west, in_the_east) = sorted(boxes)
    assert in_the_west[0] == -180.0
    assert in_the_west[1] < -179.99
    assert in_the_east[0] > 179.99
    assert in_the_east[1] == 180.0
    assert hectares == pytest.approx(4.0 - 0.16, rel=0.01)


def test_features_become_places_and_what_cannot_is_counted(tmp_path):
    rows = [
        (square(530000, 240000, 100), {"klasse": "Wald", "jahr": 2021, "sicher": 90}),
        ("POINT (530000 240000)", {"klasse": "Wald ", "jahr": None, "sicher": None}),
        ("POINT (530001 240000)", {"klasse": "See", "jahr": 2022, "sicher": 20}),
        ("POINT (530002 240000)", {"klasse": None, "jahr": 2022, "sicher": 20}),
        ("POINT (530002 240000)", {"klasse": "  ", "jahr": 2022, "sicher": 20}),
        (None, {"klasse": "See", "jahr": 2022, "sicher": 20}),
        ("LINESTRING (530000 240000, 530100 240000)", {"klasse": "See", "jahr": 1, "sicher": 1}),
        ("POLYGON ((530000 240000,530100 240100,530100 240000,530000 240100,530000 240000))",
         {"klasse": "See", "jahr": 2022, "sicher": 20}),
    ]  # fmt: skip
    fields = {"klasse": TEXT, "jahr": WHOLE, "sicher": WHOLE}
    path = write_layer(tmp_path / "a.gpkg", rows, fields, crs="EPSG:27700")
    found = found_in(path, Columns("klasse", "jahr", "", "sicher"))
    assert (found.no_class, found.no_geometry, found.unusable, found.mended) == (2, 1, 1, 1)
    # the bow tie is mended: two triangles, so two places of one feature
    assert [(v.value, v.features, v.places) for v in found.values] == [
        ("See", 2, 3),
        ("Wald", 2, 2),
    ]
    assert [(p.year, p.confidence) for p in found.places[:3]] == [(2021, 90), (0, 100), (2022, 20)]
    ((lon, lat),) = transform_points([[530000.0, 240000.0]], "EPSG:27700", LONLAT)
    x, y = ogr.CreateGeometryFromWkb(found.places[1].wkb).GetPoint_2D(0)
    assert (x, y) == pytest.approx((lon, lat), abs=1e-9)


def test_numbers_are_classes_and_come_by_size(tmp_path):
    rows = [(f"POINT ({i} 1)", {"code": code}) for i, code in enumerate([10.0, 2.0, 2.0, 1.5])]
    path = write_layer(tmp_path / "a.gpkg", rows, {"code": REAL})
    found = found_in(path, Columns("code"))
    assert [(v.value, v.places) for v in found.values] == [("1.5", 1), ("2", 2), ("10", 1)]


def test_a_dissolved_layer_gives_a_label_of_every_part(tmp_path):
    parts = [
        (square(0, 0, 1), square(2, 0, 1)),
        (square(4, 0, 1), square(6, 0, 1), square(8, 0, 1)),
    ]
    rows = [
        ("MULTIPOLYGON (" + ",".join(p[len("POLYGON ") :] for p in part) + ")", {"class": name})
        for part, name in zip(parts, ("a", "b"))
    ]
    path = write_layer(tmp_path / "a.shp", rows, {"class": TEXT}, driver="ESRI Shapefile",
                       kind=ogr.wkbPolygon)  # fmt: skip
    found = found_in(path, Columns("class"))
    assert [(v.value, v.features, v.places) for v in found.values] == [("a", 1, 2), ("b", 1, 3)]
    as_training_does = load_labels(path, "class").items
    assert {geometries.fingerprint(each.wkb) for each in as_training_does} == {
        geometries.fingerprint(each.wkb) for each in found.places
    }


@pytest.mark.parametrize(
    ("told", "percent"),
    [([0.5, 1, 0.25], [50, 100, 25]), ([1, 50, 100], [1, 50, 100]), ([0, 1, 1], [0, 100, 100]),
     ([1.0, 1.0], [100, 100]), ([1, 2], [1, 2]), (["1 %", "0.5 %"], [1, 0]),
     (["80 %", "sure", "-3"], [80, 100, 100])],
)  # fmt: skip
def test_confidence_is_percent_or_a_share(tmp_path, told, percent):
    kind = TEXT if isinstance(told[0], str) else REAL
    rows = [(f"POINT ({i} 1)", {"class": "a", "conf": each}) for i, each in enumerate(told)]
    path = write_layer(tmp_path / "a.gpkg", rows, {"class": TEXT, "conf": kind})
    found = found_in(path, Columns("class", confidence_field="conf"))
    assert [each.confidence for each in found.places] == percent


def test_years_of_numbers_texts_and_dates():
    told = [
        2024,
        "2021",
        "2019-05-01",
        "2018/06/01 10:00",
        2017.0,
        "20240101",
        "ab",
        99999,
        None,
        0,
    ]
    assert [year_of(each) for each in told] == [2024, 2021, 2019, 2018, 2017, 0, 0, 0, 0, 0]


def test_a_layer_without_crs_gets_the_one_that_is_told(tmp_path):
    rows = [("POINT (530000 240000)", {"class": "a"})]
    path = write_layer(tmp_path / "a.shp", rows, {"class": TEXT}, crs=None,
                       driver="ESRI Shapefile", kind=ogr.wkbPoint)  # fmt: skip
    assert label_sources.peek(path).layers[0].crs == ""
    (place,) = found_in(path, Columns("class"), crs="EPSG:27700").places
    assert ogr.CreateGeometryFromWkb(place.wkb).GetY() == pytest.approx(52.04, abs=0.01)
    # in degrees these numbers are nowhere
    assert found_in(path, Columns("class"), crs="EPSG:4326").unusable == 1


def test_the_plan_says_what_will_happen(tmp_path):
    values = ["Wald", "Wald", "See", "See", "Feld", "Moor", "Wald"]
    rows = [
        (f"POINT ({i % 6} 1)", {"class": value, "year": 2020 if i % 2 else None})
        for i, value in enumerate(values)
    ]
    path = write_layer(tmp_path / "a.gpkg", rows, {"class": TEXT, "year": WHOLE})
    found = found_in(path, Columns("class", "year"))
    targets = {
        "Wald": Target(3, "Forest"),
        "See": Target(0, "Water", "#0000ff"),
        "Feld": Target(),
        "Moor": Target(0, "water"),
    }
    there = frozenset([fingerprint(wkb("POINT (1 1)"), 2020, "FOREST")])
    told = plan(found, targets, 2024, there)
    # "Wald" at (0, 1) twice without a year, at (1, 1) it is there already
    assert [(p.class_id, p.class_name, p.year) for p in told.labels] == [
        (3, "Forest", 2024), (0, "Water", 2024), (0, "Water", 2020), (0, "water", 2020)]  # fmt: skip
    assert told.new_classes == (("water", ""),)  # of one name, the first by its value
    assert (told.classes, told.not_wanted, told.there_already, told.without_year) == (2, 1, 2, 2)
    assert told.left_out == 3


def test_a_cancel_stops_reading(tmp_path):
    rows = [(f"POINT ({i % 90} 1)", {"class": "a"}) for i in range(1200)]
    path = write_layer(tmp_path / "a.gpkg", rows, {"class": TEXT})

    def report(fraction, _message):
        if fraction > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found_in(path, Columns("class"), report=report)


def test_what_is_no_layer_is_told(tmp_path):
    (tmp_path / "a.gpkg").write_text("no database")
    with pytest.raises(LabelsUnreadable, match=r"a\.gpkg can't be read"):
        label_sources.peek(str(tmp_path / "a.gpkg"))
    with pytest.raises(LabelsUnreadable, match="no such file"):
        label_sources.peek(str(tmp_path / "b.gpkg"))


@pytest.mark.parametrize(
    ("fields", "rows", "chosen"),
    [
        ({"fid_2": WHOLE, "Klasse": TEXT, "jahr": WHOLE, "note": TEXT}, ["a", "b"], "Klasse"),
        ({"owner": TEXT, "landcover": TEXT, "id": WHOLE}, ["x", "y"], "landcover"),
        ({"class_id": WHOLE, "class_name": TEXT, "year": WHOLE}, ["x", "y"], "class_name"),
        ({"gridcode": WHOLE, "Shape_Area": REAL}, None, "gridcode"),
    ],
)
def test_the_class_field_is_guessed(tmp_path, fields, rows, chosen):
    features = []
    for i in range(40):
        values = {
            name: (rows[i % 2] if name == chosen else f"{name} {i}") if kind == TEXT
            else i % 3 if name in (chosen, "class_id") else i * 1.5
            for name, kind in fields.items()
        }  # fmt: skip
        features.append((f"POINT ({i} 1)", values))
    path = write_layer(tmp_path / "a.gpkg", features, fields)
    facts = label_sources.peek(path).layers[0].fields
    assert label_guess.class_field(facts) == chosen
    assert label_guess.year_field(facts) == next((n for n in fields if n in ("jahr", "year")), "")


def test_the_class_field_is_guessed_by_names_alone():
    assert label_guess.class_name(["fid", "year", "name", "landcover"]) == "landcover"
    assert label_guess.class_name(["fid", "what_it_is"]) == "what_it_is"
    assert label_guess.class_name([]) == ""


# --- out and in again


def again(path, **columns):
    names = {"year_field": "year", "note_field": "note", "confidence_field": "confidence"}
    return found_in(path, Columns("class", color_field="color", **names))


@pytest.mark.parametrize("ending", [".geojson", ".csv"])
def test_what_goes_out_comes_in_again(tmp_path, ending):
    path = str(tmp_path / f"labels{ending}")
    assert label_export.export("", LABELS, CLASSES, path) == 3
    found = again(path)
    names = {each.id: each.name for each in CLASSES}
    assert [
        (geometries.fingerprint(p.wkb), p.value, p.year, p.note, p.confidence) for p in found.places
    ] == [
        (
            geometries.fingerprint(each.wkb),
            names[each.class_id],
            each.year,
            each.note,
            each.confidence,
        )
        for each in LABELS
    ]
    assert {v.value: v.color for v in found.values} == {each.name: each.color for each in CLASSES}


def test_a_geopackage_is_a_copy_of_the_label_file(tmp_path):
    classes = [(1, "forest", "#1b7837", 0), (2, "water", "#4a90d9", 1)]
    store = write_label_store(tmp_path / "s.gpkg", classes, [("POINT (1 2)", 1, "p")],
                              [(square(0, 0, 1), 2, "q")])  # fmt: skip
    out = str(tmp_path / "copy.gpkg")
    label_export.export(store, LABELS, CLASSES, out)
    assert load_labels(out, "class_id").items == load_labels(store, "class_id").items
    found = found_in(out, Columns("class_name", "year"))
    assert {(v.value, v.color) for v in found.values} == {
        ("forest", "#1b7837"),
        ("water", "#4a90d9"),
    }
    with pytest.raises(NotWritable, match="in use"):
        label_export.export(store, LABELS, CLASSES, store)


def test_geojson_is_as_rfc_7946_wants_it(tmp_path):
    path = str(tmp_path / "labels.geojson")
    label_export.export("", LABELS, CLASSES, path)
    layer = (source := ogr.Open(path)).GetLayer(0)
    assert source.GetDriver().GetName() == "GeoJSON"
    assert layer.GetSpatialRef().GetAuthorityCode(None) == "4326"
    features = list(layer)
    assert [f.GetField("class") for f in features] == ["Wälder", 'Water, "deep"', "Wälder"]
    rings = json.loads(Path(path).read_text("utf-8"))["features"][2]["geometry"]["coordinates"]
    assert rings == [
        [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]],  # to the left
        [[0.2, 0.2], [0.4, 0.4], [0.4, 0.2], [0.2, 0.2]],  # holes to the right
    ]
    assert features[0].GetField("key") == "a"


def test_a_table_is_read_by_others(tmp_path):
    path = str(tmp_path / "labels.csv")
    label_export.export("", LABELS, CLASSES, path)
    rows = list((source := gdal.OpenEx(path, gdal.OF_VECTOR)).GetLayer(0))
    assert source.GetDriver().ShortName == "CSV"
    assert [(r.GetField("lon"), r.GetField("lat")) for r in rows] == [
        ("0.1234567", "52.25"), ("-70.5", "-10.25"), ("", "")]  # fmt: skip
    assert rows[2].GetGeometryRef().Equals(ogr.CreateGeometryFromWkb(LABELS[2].wkb))
    with pytest.raises(NoLabels):
        label_export.export("", (), CLASSES, path)
