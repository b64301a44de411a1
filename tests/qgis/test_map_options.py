# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Areas, years, outputs and cleaning of maps, by clicks, against a real server."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from qgis.gui import QgsMapToolExtent, QgsRubberBand
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QMenu

from tessera_plugin.engine import training
from tessera_plugin.engine.labels import Label, Labels
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.tasks import train_jobs
from tessera_plugin.tasks.labels import NewLabel
from tessera_plugin.values import Access, LandClass
from tests.archive.ground import CLASSES
from tests.archive.sample import SampleArchive
from tests.builders import wkb
from tests.qgis.hands import MAP, Hands
from tests.qgis.test_map_area import layer
from tests.servers import RangeServer

SMALL = (0.1, 52.18, 0.12, 52.195)


@pytest.fixture(scope="module")
def server():
    with RangeServer(SampleArchive()) as running:
        yield running


@pytest.fixture(scope="module")
def head(server, tmp_path_factory):
    """A head of both years' dataset, and the cache that its labels are in."""
    folder = tmp_path_factory.mktemp("head")
    points = SampleArchive().label_points(SMALL, per_class=6)
    items = tuple(
        Label(wkb(f"POINT ({each.lon} {each.lat})"), each.class_id, str(number))
        for number, each in enumerate(points)
    )
    classes = tuple(LandClass(n, each.name, "#%06x" % (n * 2_000_000)) for n, each in
                    enumerate(CLASSES, 1))  # fmt: skip
    training.train(training.TrainRequest(
        labels=Labels("EPSG:4326", classes, items, "test"), dataset="1.1-dclimate", year=2024,
        access=Access(str(folder / "cache"), server.url), out=str(folder / "a.head"),
        params=TrainParams(test_share=0.3),
    ))  # fmt: skip
    return folder


@pytest.fixture
def hands(make_dock, qtbot, desktop, server, head):
    desktop.zoom_to(*SMALL)
    dock = make_dock(
        archive=server.url, cache_dir=str(head / "cache"), head_path=str(head / "a.head")
    )
    hands = Hands(dock, qtbot, desktop)
    hands.page(MAP)
    hands.until(lambda: hands.session.is_warm)
    return hands


def classify(hands):
    hands.until(lambda: hands.find("classifyButton").isEnabled(), 5000)
    hands.click("classifyButton")
    hands.settle()
    return hands.note("classifyNote")


def layers():
    return {each.name(): each for each in QgsProject.instance().mapLayers().values()}


def add_polygons():
    """Add two polygons as a person's layer."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326", "Parks", "memory")
    features = []
    for west in (0.102, 0.112):
        feature = QgsFeature()
        ring = f"{west} 52.182, {west + 0.006} 52.182, {west + 0.003} 52.192, {west} 52.182"
        feature.setGeometry(QgsGeometry.fromWkt(f"Polygon (({ring}))"))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_selected_polygons_with_all_that_can_be_written(hands, tmp_path):
    parks = add_polygons()
    hands.choose("mapAreaCombo", "Parks")
    assert "2 polygons" in hands.find("mapSizeLabel").text()
    parks.selectByIds([1])
    hands.until(lambda: "1 polygon within" in hands.find("mapSizeLabel").text())
    assert hands.find("mapAreaCombo").currentText() == "Selected polygons of “Parks” (1)"
    hands.find("mapOptionsGroup").setCollapsed(False)
    for name in ("uncertainCheck", "probabilitiesCheck", "marginCheck", "majorityCheck",
                 "sieveCheck", "polygonsCheck"):  # fmt: skip
        assert not hands.find(name).isChecked()
        hands.find(name).click()
    hands.find("uncertainSpin").setValue(70)
    hands.choose("sieveUnitCombo", "ha")
    assert hands.find("sieveSpin").value() == pytest.approx(0.05)
    assert hands.find("mapOptionsGroup").title() == "Outputs and cleaning (6 chosen)"

    told = classify(hands)
    assert "Uncertain:" in told
    assert "cleaned copy" in told
    assert "polygons." in told
    found = layers()
    names = [f"{each.name} probability 2024" for each in CLASSES]
    assert {"2024 land cover", "2024 cleaned map", "2024 polygons",
            "2024 confidence", "2024 margin", *names} <= set(found)  # fmt: skip
    values = gdal.Open(str(tmp_path / "land_cover_2024.tif")).ReadAsArray()
    assert 0.3 < (values > 0).mean() < 0.55  # a triangle of its rectangle
    tags = gdal.Open(str(tmp_path / "land_cover_2024_clean.tif")).GetMetadata()
    assert tags["TESSERA_CLEANED"] == "majority 3 x 3; sieve 5 px, 4-connected"

    water = found[names[1]]
    assert isinstance(water.renderer(), QgsSingleBandPseudoColorRenderer)
    assert water.renderer().band() == 2
    polygons = found["2024 polygons"]
    assert isinstance(polygons.renderer(), QgsCategorizedSymbolRenderer)
    labels = [each.label() for each in polygons.renderer().categories()]
    assert labels == [*(each.name for each in CLASSES), "Uncertain"]
    fills = [each.symbol().color().name() for each in polygons.renderer().categories()]
    assert fills[-1] == "#9e9e9e"
    root = QgsProject.instance().layerTreeRoot()
    shown = {name for name in found if root.findLayer(found[name].id()).isVisible()}
    assert {"2024 land cover", "2024 cleaned map"} <= shown
    assert not shown & {"2024 margin", "2024 polygons", *names}

    table = hands.find("areaTable")
    heads = [table.horizontalHeaderItem(n).text() for n in range(table.columnCount())]
    assert heads == ["Class", "Hectares", "Cleaned (ha)"]
    assert table.item(table.rowCount() - 1, 0).text() == "Uncertain"
    assert hands.told("areaWords") == "Hectares are counted pixels, not an estimate of area."
    hands.click("copyAreasButton")
    rows = list(csv.reader(io.StringIO(QApplication.clipboard().text()), delimiter="\t"))
    assert len(rows) == 1 + 2 * 7
    assert sum(int(row[4]) for row in rows[1:8]) == (values > 0).sum()

    # again: every layer is replaced, none is there twice
    classify(hands)
    assert set(layers()) == set(found)
    assert len(root.findLayers()) == len(found)


def test_two_years_and_their_table(hands, tmp_path, monkeypatch):
    menu = hands.dock.findChild(QMenu, "mapYearsMenu")
    (other,) = [each for each in menu.actions() if each.data() == 2023]
    assert not other.isChecked()
    other.trigger()
    assert hands.find("mapYearsButton").text() == "2023, 2024"
    assert hands.find("classifyButton").text() == "Classify 2 years"
    assert hands.find("outputPath").filePath() == str(tmp_path / "land_cover.tif")
    told = classify(hands)
    assert "2023:" in told
    assert "2024:" in told
    names = set(layers())
    assert {"2023 land cover (head of 2024)", "2024 land cover", "2023 confidence"} <= names
    table = hands.find("areaTable")
    heads = [table.horizontalHeaderItem(n).text() for n in range(table.columnCount())]
    assert heads == ["Class", "2023 (ha)", "2024 (ha)"]
    for column, year in ((1, 2023), (2, 2024)):
        values = gdal.Open(str(tmp_path / f"land_cover_{year}.tif")).ReadAsArray()
        shown = [float(table.item(row, column).text().replace(",", "")) for row in range(6)]
        assert shown == [pytest.approx((values == n).sum() / 100, abs=0.051) for n in range(1, 7)]
    with (tmp_path / "land_cover_areas.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert {row["year"] for row in csv.DictReader(stream)} == {"2023", "2024"}
    saved = tmp_path / "mine.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(saved), ""))
    hands.click("saveAreasButton")
    assert saved.read_bytes() == (tmp_path / "land_cover_areas.csv").read_bytes()


def test_a_stop_between_years_keeps_the_first(hands, tmp_path):
    menu = hands.dock.findChild(QMenu, "mapYearsMenu")
    next(each for each in menu.actions() if each.data() == 2023).trigger()
    panel = hands.dock.map.classify
    publish = panel._came

    def stop_after(*arguments):
        publish(*arguments)
        hands.session.box.cancel()

    panel._came = stop_after  # the person is quick
    hands.desktop.zoom_to(0.09, 52.17, 0.14, 52.2)
    told = classify(hands)
    if "Stopped" in told:  # else it was done before the click came
        assert told == "Stopped. The map of 2023 is done, not that of 2024."
        assert not (tmp_path / "land_cover_2024.tif").exists()
    assert (tmp_path / "land_cover_2023.tif").exists()
    assert hands.find("areaTable").isVisible()


def outline(hands):
    bands = [
        each for each in hands.desktop.canvas.scene().items() if isinstance(each, QgsRubberBand)
    ]
    boxes = [each.asGeometry().boundingBox() for each in bands if each.isVisible()]
    return [each for each in boxes if not each.isEmpty()]


def test_a_drawn_rectangle_is_outlined_and_mapped(hands, tmp_path):
    assert not outline(hands)
    hands.click("drawMapAreaButton")
    assert isinstance(hands.desktop.canvas.mapTool(), QgsMapToolExtent)
    hands.desktop.drag([(0.104, 52.184), (0.11, 52.19)])
    assert not hands.find("drawMapAreaButton").isChecked()
    assert hands.find("mapAreaCombo").currentText() == "The rectangle that was drawn"
    (box,) = outline(hands)
    assert box.width() == pytest.approx(0.006 * 111_320, rel=0.05)
    hands.page(0)
    assert not outline(hands)
    hands.page(MAP)
    assert outline(hands)
    assert "pixels classified" in classify(hands)
    raster = gdal.Open(str(tmp_path / "land_cover_2024.tif"))
    assert raster.RasterXSize * raster.RasterYSize == pytest.approx(41 * 67, rel=0.2)
    assert np.count_nonzero(raster.ReadAsArray()) > 1000
    hands.choose("mapAreaCombo", "Draw a rectangle…")
    assert hands.find("drawMapAreaButton").isChecked()
    assert hands.find("mapAreaCombo").currentText() == "The rectangle that was drawn"
    hands.click("drawMapAreaButton")
    # what was mapped can be chosen as a layer's extent; a gone layer leaves the choice
    hands.choose("mapAreaCombo", "Extent of “2024 land cover”")
    assert hands.find("classifyButton").isEnabled()
    QgsProject.instance().removeMapLayer(layers()["2024 land cover"].id())
    assert hands.find("mapAreaCombo").currentText() == "What the map shows"


def test_what_can_not_be_done_is_said(hands):
    hands.find("mapOptionsGroup").setCollapsed(False)
    hands.find("noveltyCheck").click()
    assert "there are none here" in classify(hands)
    hands.find("noveltyCheck").click()
    world = QgsVectorLayer("Polygon?crs=EPSG:4326", "World", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromWkt("Polygon ((0 0, 50 0, 50 50, 0 50, 0 0))"))
    world.dataProvider().addFeatures([feature])
    world.updateExtents()
    QgsProject.instance().addMapLayer(world)
    hands.choose("mapAreaCombo", "Extent of “World”")
    assert "too large to map at once" in hands.find("mapSizeLabel").text()
    assert not hands.find("classifyButton").isEnabled()
    assert "too large" in hands.find("classifyButton").toolTip()
    empty = QgsVectorLayer("Polygon?crs=EPSG:4326", "Empty", "memory")
    QgsProject.instance().addMapLayer(empty)
    hands.choose("mapAreaCombo", "All polygons of “Empty”")
    assert "no polygons" in hands.find("mapSizeLabel").text()


def test_a_project_closed_between_two_layers_of_a_map_gets_no_more_of_them(hands, qtbot, tmp_path):
    hands.until(lambda: hands.find("classifyButton").isEnabled(), 5000)
    if not hands.find("probabilitiesCheck").isChecked():
        hands.find("probabilitiesCheck").click()
    project, added = QgsProject.instance(), []

    def came(layer):
        added.append(layer.name())
        if len(added) == 1:
            QTimer.singleShot(0, project.clear)

    project.layerWasAdded.connect(came)
    try:
        told = classify(hands)
    finally:
        project.layerWasAdded.disconnect(came)
    assert "2024 land cover" in added
    assert len([name for name in added if "label" not in name.lower()]) == 1
    assert not {name for name in layers() if "2024" in name}
    assert (tmp_path / "land_cover_2024_probabilities.tif").exists()
    assert "Saved as" in told


def add_shapes(name, *shapes):
    QgsProject.instance().addMapLayer(layer(*shapes, name=name))


def box(west, south, edge=0.002):
    east, north = west + edge, south + edge
    ring = f"{west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}"
    return f"Polygon (({ring}))"


def test_polygons_are_not_refused_by_the_rectangle_around_them(hands):
    add_shapes("Fiji", box(179.998, -17), box(-180, -17))
    hands.choose("mapAreaCombo", "Fiji")
    size = hands.find("mapSizeLabel").text()
    assert size.startswith("2 polygons within ")
    assert "million" not in size
    assert hands.find("classifyButton").isEnabled()
    add_shapes("Far", box(0.1, 52.18), box(4.0, 56.0))
    hands.choose("mapAreaCombo", "Far")
    assert "up to 50 million pixels may lie in them" in hands.find("mapSizeLabel").text()
    assert hands.find("classifyButton").isEnabled()
    told = classify(hands)
    assert "too far apart" in told
    assert "one by one" in told
    add_shapes("World", "Polygon ((-170 -60, 170 -60, 170 70, -170 70, -170 -60))")
    hands.choose("mapAreaCombo", "World")
    assert "too far apart" in hands.find("mapSizeLabel").text()
    assert not hands.find("classifyButton").isEnabled()


def test_polygons_that_can_not_be_used_are_told(hands, tmp_path):
    flat = "Polygon ((0.1 52.18, 0.11 52.18, 0.1 52.18, 0.1 52.18))"
    add_shapes("Mixed", box(0.1, 52.18), None, flat)
    hands.choose("mapAreaCombo", "Mixed")
    told = classify(hands)
    assert "pixels classified" in told
    assert "Not mapped: 1 polygon" in told
    assert (tmp_path / "land_cover_2024.tif").exists()


def test_a_folder_is_no_name_for_a_map(hands, tmp_path):
    (tmp_path / "maps").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for typed in ("maps", "maps/", "maps/.tif", "new/"):
        hands.find("outputPath").setFilePath(f"{tmp_path}/{typed}")
        told = classify(hands)
        assert "is a folder" in told
        assert "land_cover_2024.tif" in told
    assert sorted(tmp_path.rglob("*")) == before
    assert not [name for name in layers() if "2024" in name]


def add_labels(session, year):
    """Label places of each class, true of a year."""
    store = session.labels
    ids = [each.id for each in store.add_classes([(each.name, "") for each in CLASSES])]
    store.add_labels([
        NewLabel(QgsGeometry.fromWkt(f"Point ({each.lon} {each.lat})"), ids[each.class_id - 1],
                 year(number))
        for number, each in enumerate(SampleArchive().label_points(SMALL, per_class=6))
    ])  # fmt: skip


def at_labels(session, path, year=0):
    """Return the values of a raster at the labels, or those of a year."""
    raster = gdal.Open(str(path))
    west, _, _, north, _, _ = raster.GetGeoTransform()
    values, found = raster.ReadAsArray(), []
    for label in session.labels.labels():
        geometry = QgsGeometry()
        geometry.fromWkb(label.wkb)
        lonlat = np.array([[geometry.asPoint().x(), geometry.asPoint().y()]])
        ((x, y),) = transform_points(lonlat, LONLAT, zone_crs(31))
        row, col = int((north - y) // 10), int((x - west) // 10)
        is_inside = 0 <= row < values.shape[0] and 0 <= col < values.shape[1]
        if is_inside and year in (0, label.year):
            found.append(values[row, col])
    assert len(found) > 10
    return found


def train(session, out, **settings):
    session.update(**settings)
    training.train(replace(train_jobs.request(session, None), out=str(out)))
    session.update(head_path=str(out))


def test_novelty_is_none_at_labels_of_either_year(hands, tmp_path):
    session = hands.session
    add_labels(session, lambda number: 2023 + number % 2)
    train(session, tmp_path / "own.head", train_labels='{"own_years": true}')
    session.update(map_choices='{"novelty": true, "years": [2023]}')
    classify(hands)
    for year in (2023, 2024):
        path = tmp_path / f"land_cover_novelty_{year}.tif"
        assert set(at_labels(session, path, year)) == {0}


def test_novelty_is_measured_from_the_labels_in_the_year_that_the_head_learnt_them(hands, tmp_path):
    session = hands.session
    add_labels(session, lambda _: 2024)
    train(session, tmp_path / "past.head", year=2023)
    session.update(year=2024, map_choices='{"novelty": true}')
    classify(hands)
    assert np.median(at_labels(session, tmp_path / "land_cover_2024_novelty.tif")) > 10
