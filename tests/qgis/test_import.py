# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels from layers, files and class maps by clicks, and out again."""

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, ogr, osr
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsMarkerSymbol,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtWidgets import QApplication, QCheckBox, QFileDialog, QWidget

from tessera_plugin.engine.labels import load_labels
from tessera_plugin.io import geometries
from tessera_plugin.tasks.label_steps import MANY
from tests.builders import square, write_layer
from tests.qgis.hands import LABELS, Hands

LEFT = Qt.MouseButton.LeftButton
TEXT, WHOLE = ogr.OFTString, ogr.OFTInteger
VALUE, NUMBER, BECOMES, NAME, COLOR = range(5)


class Importer:
    """The dialog by its widgets, and the buttons of the page."""

    def __init__(self, hands, monkeypatch):
        self.hands, self.qtbot, self._monkeypatch = hands, hands.qtbot, monkeypatch
        self.store = hands.session.labels

    @property
    def dialog(self):
        return self.hands.dock.labels.exchange._dialog

    def open(self):
        self.hands.dock.labels.fileGroup.setCollapsed(False)
        QApplication.processEvents()
        self.hands.click("importButton")
        return self

    def find(self, name):
        found = self.dialog.findChild(QWidget, name)
        assert found is not None, name
        return found

    def click(self, name):
        widget = self.find(name)
        assert widget.isEnabled(), f"{name}: {self.told} {widget.toolTip()}"
        assert widget.isVisible(), f"{name} is not to be seen"
        if isinstance(widget, QCheckBox):  # only its box and text take clicks
            self.qtbot.mouseClick(widget, LEFT, pos=QPoint(8, widget.height() // 2))
        else:
            self.qtbot.mouseClick(widget, LEFT)
        QApplication.processEvents()

    def browse(self, path):
        self._monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        self.click("importBrowseButton")
        self.looked()
        return self

    def choose(self, name, text):
        combo = self.find(name)
        combo.setCurrentIndex(combo.findText(text, Qt.MatchFlag.MatchContains))
        assert text in combo.currentText()
        self.looked()

    def looked(self):
        def idle():
            dialog = self.dialog
            lookups = dialog._lookup, dialog._planning
            source = dialog.source
            timers = source._soon, source._later, dialog._plan_soon
            return not any(each.is_busy for each in lookups) and not any(
                t.isActive() for t in timers
            )

        self.qtbot.wait(10)
        self.hands.until(idle)

    @property
    def told(self):
        return self.dialog._note.text()

    def rows(self):
        """Return value, number and what it becomes of every row."""
        table = self.find("importTable")
        found = []
        for row in range(table.rowCount()):
            combo = table.cellWidget(row, BECOMES)
            cells = table.item(row, VALUE).text(), table.item(row, NUMBER).text()
            found.append((*cells, combo.currentText(), table.item(row, NAME).text()))
        return found

    def become(self, row, text):
        self.choose(f"importBecomes{row}", text)

    def accept(self):
        self.looked()
        self.click("importOkButton")
        self.hands.until(lambda: self.dialog is None)

    def labels(self):
        """Return place, class name, year, note and confidence of all labels in the store."""
        names = {each.id: each.name for each in self.store.classes}
        return sorted(
            (geometries.fingerprint(each.wkb), names[each.class_id], each.year, each.note,
             each.confidence)
            for each in self.store.labels()
        )  # fmt: skip


@pytest.fixture
def importer(make_dock, qtbot, desktop, monkeypatch):
    dock = make_dock(offline=True, show_coverage=False)
    hands = Hands(dock, qtbot, desktop)
    hands.page(LABELS)
    hands.until(lambda: hands.session.is_warm)
    return Importer(hands, monkeypatch)


def survey(path):
    """Write points and squares of two classes in the national grid, some of them unusable."""
    rows = [
        (f"POINT ({545000 + 37 * i} {256000 + 11 * i})" if i % 3 else
         square(545000 + 400 * i, 255000, 60), {"class": "forest" if i % 2 else "Lake",
         "year": 2020 + i % 2, "note": f"no. {i}", "conf": 50 + i})
        for i in range(12)
    ]  # fmt: skip
    rows += [("POINT (545000 256000)", {"class": None})] * 3 + [(None, {"class": "Lake"})] * 2
    fields = {"class": TEXT, "year": WHOLE, "note": TEXT, "conf": WHOLE}
    return write_layer(path, rows, fields, crs="EPSG:27700")


def test_a_file_is_imported_as_the_dialog_says(importer, tmp_path):
    store = importer.store
    forest = store.add_class("Forest", "#123456")
    importer.open().browse(survey(tmp_path / "survey.gpkg"))
    assert importer.find("importClassCombo").currentText() == "class"
    assert importer.find("importYearCombo").currentText() == "year"
    assert importer.find("importNoteCombo").currentText() == "note"
    assert importer.find("importConfidenceCombo").currentText() == "conf"
    assert not importer.find("importCrsWidget").isVisible()
    assert importer.rows() == [("Lake", "6", "New class", "Lake"), ("forest", "6", "Forest", "")]
    assert importer.told == (
        "12 labels in 2 classes; 1 new class; 5 left out: 3 without a class, 2 without geometry; "
        "confidence 50 to 61 %; reprojected from EPSG:27700."
    )
    assert importer.find("importOkButton").text() == "Import 12 labels"
    importer.accept()
    assert [(each.name, each.color) for each in store.classes] == [
        ("Forest", "#123456"), ("Lake", store.classes[1].color)]  # fmt: skip
    assert store.classes[1].color in ("#4e79a7", "#4a90d9")  # as people expect of a lake
    assert store.counts == {forest.id: 6, store.classes[1].id: 6}
    labels = {each.note: each for each in store.labels()}
    assert [(labels[f"no. {i}"].year, labels[f"no. {i}"].confidence) for i in (0, 7)] == [
        (2020, 50), (2021, 57)]  # fmt: skip
    assert "12 labels imported" in importer.hands.desktop.bar.items()[0].text()
    importer.open().browse(tmp_path / "survey.gpkg")  # a second time it adds nothing
    assert importer.told.startswith("Nothing to import; 17 left out")
    assert "12 that are there already" in importer.told
    ok = importer.find("importOkButton")
    assert not ok.isEnabled()
    assert ok.toolTip()
    assert store.undo_text == "importing 12 labels"
    store.undo()
    assert not store.labels()
    assert store.classes == (forest,)


def test_another_field_is_taken_of_what_was_read(importer, tmp_path):
    importer.store.add_class("Water", "#0000ff")
    path = survey(tmp_path / "survey.gpkg")
    importer.open().browse(path)
    importer.become(0, "Water")
    importer.find("importTable").item(1, NAME).setText("Woods")
    Path(path).unlink()  # nobody reads it any more
    importer.choose("importYearCombo", "One year for all")
    importer.choose("importNoteCombo", "None")
    assert [row[2:] for row in importer.rows()] == [("Water", ""), ("New class", "Woods")]
    importer.choose("importYearCombo", "conf")
    assert [row[2:] for row in importer.rows()] == [("Water", ""), ("New class", "Woods")]
    years = importer.find("importYearCombo")
    years.setCurrentIndex(years.findData("year"))
    importer.accept()
    assert {each.note for each in importer.store.labels()} == {""}
    assert {each.year for each in importer.store.labels()} == {2020, 2021}
    assert {each.confidence for each in importer.store.labels()} == set(range(50, 62))


def test_many_labels_come_on_the_side_and_can_be_stopped(importer, tmp_path, qtbot):
    store, number = importer.store, MANY + 200
    water = store.add_class("Water", "#0000ff")
    rows = [
        (f"POINT ({0.1 + i / 1e5} {52.2 + i / 2e5})", {"kind": ("Water", "Wood")[i % 2]})
        for i in range(number)
    ]
    path = write_layer(tmp_path / "many.gpkg", rows, {"kind": TEXT}, kind=ogr.wkbPoint)
    importer.open().browse(path)
    importer.click("importOkButton")
    assert store.is_writing
    for name in ("importOkButton", "importTable", "importSourceCombo"):
        assert not importer.find(name).isEnabled()
    assert importer.find("importBar").isVisible()
    importer.dialog.reject()  # Esc, or the button
    assert importer.dialog is not None
    importer.hands.until(lambda: not store.is_writing and importer.dialog._writing is None)
    if not store.labels():  # it was not too late
        assert importer.told == "Stopped. Nothing was imported."
        assert store.classes == (water,)
        importer.click("importOkButton")
    importer.hands.until(lambda: importer.dialog is None)
    assert store.counts == {each.id: number // 2 for each in store.classes}
    assert store.undo_text == f"importing {number} labels"
    assert "700 labels imported" in importer.hands.desktop.bar.items()[0].text()
    importer.hands.click("undoButton")
    assert not importer.hands.find("undoButton").isEnabled()
    assert "being written" in importer.hands.find("undoButton").toolTip()
    importer.hands.until(lambda: not store.is_writing)
    assert (store.classes, store.labels()) == ((water,), ())
    assert importer.hands.find("redoButton").isEnabled()


def test_values_are_left_out_renamed_and_joined(importer, tmp_path):
    rows = [(f"POINT (0.1{i} 52.2)", {"code": i % 4}) for i in range(8)]
    path = write_layer(tmp_path / "a.shp", rows, {"code": WHOLE}, driver="ESRI Shapefile",
                       kind=ogr.wkbPoint)  # fmt: skip
    importer.store.add_class("Water", "#0000ff")
    importer.open().browse(path)
    assert [row[:3] for row in importer.rows()] == [(str(i), "2", "New class") for i in range(4)]
    importer.become(0, "Leave out")
    importer.become(1, "Water")
    importer.find("importTable").item(2, NAME).setText("Crops")
    importer.find("importTable").item(3, NAME).setText("crops")
    importer.looked()
    assert importer.told == "6 labels in 2 classes; 1 new class; 2 left out: 2 by your choice."
    importer.find("importYearSpin").setValue(2019)
    importer.accept()
    counts = {each.name: importer.store.counts[each.id] for each in importer.store.classes}
    assert counts == {"Water": 2, "Crops": 4}
    assert {each.year for each in importer.store.labels()} == {2019}


def memory_layer(rows, crs="EPSG:4326"):
    layer = QgsVectorLayer(f"Point?crs={crs}&field=kind:string&field=when:date", "Plots", "memory")
    features = []
    for lon, lat, kind in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(f"POINT ({lon} {lat})"))
        feature.setAttributes([kind, None])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def test_a_layer_of_the_project_with_its_names_and_colours(importer):
    layer = memory_layer([(0.1 + i / 100, 52.2, "ab"[i % 2]) for i in range(6)])
    categories = [
        QgsRendererCategory(value, QgsMarkerSymbol.createSimple({"color": color}), name)
        for value, color, name in (("a", "#ff0000", "Arable"), ("b", "#00ff00", "Bare"))
    ]
    layer.setRenderer(QgsCategorizedSymbolRenderer("kind", categories))
    QgsProject.instance().addMapLayer(layer)
    importer.open().choose("importSourceCombo", "Plots")
    assert not importer.find("importSelectedCheck").isVisible()
    assert [row[0::3] for row in importer.rows()] == [("a  Arable", "Arable"), ("b  Bare", "Bare")]
    assert importer.told == "6 labels in 2 classes; 2 new classes."
    importer.accept()
    assert [(c.name, c.color) for c in importer.store.classes] == [
        ("Arable", "#ff0000"), ("Bare", "#00ff00")]  # fmt: skip


def test_selected_features_of_a_layer_that_goes_while_the_dialog_is_open(importer):
    layer = memory_layer([(0.1 + i / 100, 52.2, "a") for i in range(6)])
    QgsProject.instance().addMapLayer(layer)
    layer.selectByIds([each.id() for each in layer.getFeatures()][:2])
    importer.open().choose("importSourceCombo", "Plots")
    assert importer.find("importSelectedCheck").text() == "Selected features only (2)"
    assert importer.told.startswith("6 labels")
    importer.click("importSelectedCheck")
    importer.looked()
    assert importer.told.startswith("2 labels")
    QgsProject.instance().removeMapLayer(layer.id())
    importer.looked()
    assert importer.told == "Choose where the labels come from."
    assert not importer.find("importOkButton").isEnabled()


def test_what_can_not_be_read_as_it_is(importer, tmp_path):
    rows = [("POINT (545000 256000)", {"class": "a"})]
    path = write_layer(tmp_path / "a.shp", rows, {"class": TEXT}, crs=None,
                       driver="ESRI Shapefile", kind=ogr.wkbPoint)  # fmt: skip
    importer.open().browse(path)
    assert "choose its coordinate system" in importer.told
    widget = importer.find("importCrsWidget")
    assert widget.isVisible()
    widget.setCrs(QgsCoordinateReferenceSystem("EPSG:27700"))
    importer.looked()
    assert importer.told.startswith("1 label in 1 class")
    (tmp_path / "bad.gpkg").write_text("this is no database")
    importer.browse(tmp_path / "bad.gpkg")
    assert "bad.gpkg can't be read" in importer.told
    rows = [(f"POINT (0.1 {50 + i / 1000})", {"text": f"value {i}"}) for i in range(300)]
    importer.browse(write_layer(tmp_path / "a.gpkg", rows, {"text": TEXT}))
    assert "300 different values: too many for classes" in importer.told
    assert not importer.find("importOkButton").isEnabled()
    importer.click("importBrowseButton")  # the same file again does no harm, nor a new layer
    entries = importer.find("importSourceCombo").count()
    QgsProject.instance().addMapLayer(memory_layer([(0.1, 52.2, "a")]))
    importer.looked()
    assert importer.find("importSourceCombo").count() == entries + 1
    assert importer.find("importSourceCombo").currentText() == "a.gpkg"


def class_map(path, west=0.10, north=52.22, size=200, step=0.00025):
    made = gdal.GetDriverByName("GTiff").Create(str(path), size, size, 1, gdal.GDT_Byte)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(4326)
    made.SetProjection(reference.ExportToWkt())
    made.SetGeoTransform((west, step, 0, north, 0, -step))
    values = np.ones((size, size), np.uint8)
    values[:, size // 2 :] = 2
    band = made.GetRasterBand(1)
    palette = gdal.ColorTable()
    palette.SetColorEntry(1, (0, 100, 0, 255))
    palette.SetColorEntry(2, (0, 0, 200, 255))
    band.SetColorTable(palette)
    band.SetCategoryNames(["", "Trees", "Water"])
    band.WriteRaster(0, 0, size, size, values.tobytes())
    del band, made
    return str(path)


def test_points_of_a_class_map(importer, tmp_path):
    path = class_map(tmp_path / "cover.tif")
    importer.open().browse(path)
    importer.find("importPerClassSpin").setValue(20)
    importer.looked()
    assert [row[1:] for row in importer.rows()] == [
        ("20", "New class", "Trees"), ("20", "New class", "Water")]  # fmt: skip
    assert importer.told.startswith("40 labels in 2 classes; 2 new classes")
    importer.find("importMapYearSpin").setValue(2021)
    importer.accept()
    assert [(c.name, c.color) for c in importer.store.classes] == [
        ("Trees", "#006400"), ("Water", "#0000c8")]  # fmt: skip
    middle = 0.10 + 100 * 0.00025
    for each in importer.store.labels():
        lon = ogr.CreateGeometryFromWkb(each.wkb).GetX()
        assert (lon < middle) == (each.class_id == importer.store.classes[0].id)
        assert each.year == 2021


def test_points_of_a_class_map_in_the_project_where_the_map_shows(importer, tmp_path):
    layer = QgsRasterLayer(class_map(tmp_path / "cover.tif"), "Cover", "gdal")
    QgsProject.instance().addMapLayer(layer)
    importer.hands.desktop.zoom_to(0.10, 52.20, 0.12, 52.22)
    importer.hands.qtbot.wait(50)
    importer.open().choose("importSourceCombo", "Cover")
    shown = importer.hands.dock.area.extent()
    assert shown.east > shown.west
    assert importer.rows()[0][0] == "1  Trees"
    importer.find("importPerClassSpin").setValue(10)
    importer.accept()
    canvas = importer.hands.desktop.canvas
    places = [canvas.rect().contains(importer.hands.desktop.pixel(*xy)) for xy in (
        ogr.CreateGeometryFromWkb(each.wkb).GetPoint_2D(0) for each in importer.store.labels())]  # fmt: skip
    assert places
    assert all(places)


@pytest.mark.parametrize(
    ("filter_text", "ending"),
    [("GeoPackage (*.gpkg)", ".gpkg"), ("GeoJSON (*.geojson)", ".geojson"),
     ("Table, CSV (*.csv)", ".csv")],
)  # fmt: skip
def test_out_and_in_again_gives_the_same_labels(
    importer, tmp_path, monkeypatch, filter_text, ending
):
    assert not importer.hands.find("exportButton").isEnabled()
    importer.open().browse(survey(tmp_path / "survey.gpkg")).accept()
    before, classes = importer.labels(), [(c.name, c.color) for c in importer.store.classes]
    out = str(tmp_path / "out")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (out, filter_text))
    importer.hands.click("exportButton")
    importer.hands.until(lambda: Path(out + ending).exists())
    importer.hands.until(lambda: not importer.hands.dock.labels.exchange._lookup.is_busy)
    importer.store.open(str(tmp_path / "other.gpkg"))
    importer.open().browse(out + ending)
    importer.accept()
    assert importer.labels() == before
    assert sorted((c.name, c.color) for c in importer.store.classes) == sorted(classes)
    field = "class_name" if ending == ".gpkg" else "class"
    if ending != ".csv":  # a table tells no CRS
        assert len(load_labels(out + ending, field).items) == len(before)
    if ending == ".geojson":
        assert len(json.loads(Path(out + ending).read_text("utf-8"))["features"]) == len(before)
