# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Layers' polygons as the area of a map."""

import pytest
from osgeo import ogr
from qgis.core import QgsFeature, QgsGeometry, QgsVectorLayer

from tessera_plugin.errors import ExtentInvalid
from tessera_plugin.progress import silent
from tessera_plugin.tasks import map_area
from tessera_plugin.tasks.head_labels import HeadLabels
from tessera_plugin.tasks.train_choices import LabelFile
from tests.builders import write_layer

SPIKE = "POLYGON((0.1 52,0.11 52,0.11 52.01,0.11 52.02,0.11 52.01,0.1 52.01,0.1 52))"
FLAT = "POLYGON((0.1 52,0.11 52.01,0.1 52,0.1 52))"


def square(west, south=52.0, edge=0.01):
    east, north = west + edge, south + edge
    ring = f"{west} {south},{east} {south},{east} {north},{west} {north},{west} {south}"
    return f"POLYGON(({ring}))"


def layer(*shapes, crs="EPSG:4326", name="a"):
    made = QgsVectorLayer(f"MultiPolygon?crs={crs}", name, "memory")
    features = []
    for shape in shapes:
        feature = QgsFeature()
        if shape:
            feature.setGeometry(QgsGeometry.fromWkt(shape))
        features.append(feature)
    assert made.dataProvider().addFeatures(features)[0]
    made.updateExtents()
    return made


def read(made):
    return map_area.polygons_of(made).read(silent)


def test_polygons_are_mended_and_features_without_geometry_are_nothing(qgis_app):
    found = read(layer(square(0.3), None, "MULTIPOLYGON EMPTY", SPIKE))
    assert (len(found.wkbs), found.unusable) == (2, 0)
    assert len(read(layer(SPIKE)).wkbs) == 1
    assert read(layer(square(0.3), FLAT)).unusable == 1
    selected = layer(square(0.3), None)
    selected.selectAll()
    assert len(read(selected).wkbs) == 1


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [((None,), "no polygons"), ((FLAT,), "1 polygon is broken .* without an inside")],
)
def test_layers_without_a_polygon_of_use_are_refused(qgis_app, shapes, reason):
    with pytest.raises(ExtentInvalid, match=reason):
        read(layer(*shapes))


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_the_rectangle_around_goes_over_180_degrees_where_that_is_narrower(qgis_app, crs):
    shapes = [square(179.99, -17), square(-180, -17)]
    if crs != "EPSG:4326":
        shapes = [square(20_036_000, -1_920_000, 1000), square(-20_037_000, -1_920_000, 1000)]
    around = map_area.polygons_of(layer(*shapes, crs=crs)).around
    assert around.crs == "EPSG:4326"
    assert around.west > 179.9
    assert around.east < -179.9
    wide = map_area.polygons_of(layer(square(-100), square(0), square(100))).around
    assert (wide.west, wide.east) == (-100, pytest.approx(100.01))


def test_labels_of_files_are_those_that_a_head_learnt(qgis_app, tmp_path):
    files = []
    for number, year in enumerate((2023, 2022, 0)):
        path = tmp_path / f"{number}.gpkg"
        write_layer(
            path, [("POINT (0.1 52)", {"cover": f"class {number}"})], {"cover": ogr.OFTString}
        )
        files.append(LabelFile(str(path), "cover", year=year))
    sets = HeadLabels((), tuple(files)).sets((2023, 2024))
    assert [each.year for each in sets] == [2023, 0, 0]  # none learnt anything of 2022
    assert [each.labels.classes[0].name for each in sets] == ["class 0", "class 1", "class 2"]
