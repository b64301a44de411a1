# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job on the dock, by clicks: fetch, label, train, classify, against a real server."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, ogr
from qgis.core import (
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from tests.archive.ground import CLASSES
from tests.clock import within
from tests.qgis import hands as dock_hands
from tests.qgis.hands import AREA, LABELS, MAP
from tests.servers import Fault

SMALL = (0.1, 52.18, 0.12, 52.195)
PER_CLASS = 6


class Hands(dock_hands.Hands):
    """Does the main job."""

    def add_classes(self):
        self.page(LABELS)
        for each in CLASSES:
            self.qtbot.keyClicks(self.find("classNameEdit"), each.name)
            self.click("addClassButton")

    def label(self, points):
        if not self.find("labelToolButton").isChecked():
            self.click("labelToolButton")
        for point in points:
            self.qtbot.keyClick(self.desktop.canvas, str(point.class_id))
            self.desktop.click(point.lon, point.lat)

    def train(self):
        self.page(MAP)
        self.click("trainButton")
        self.settle()

    def classify(self):
        self.page(MAP)
        self.until(lambda: self.find("classifyButton").isEnabled(), 5000)
        self.click("classifyButton")
        self.settle()


@pytest.fixture
def hands(make_dock, qtbot, desktop, server):
    dock = make_dock(archive=server.url)
    desktop.zoom_to(*SMALL)
    return Hands(dock, qtbot, desktop)


def tessera_layers():
    group = QgsProject.instance().layerTreeRoot().findGroup("Tessera")
    return [node.layer() for node in group.findLayers()]


def test_the_main_job(hands, archive, tmp_path):
    hands.fetch()
    assert "pixels have embeddings" in hands.note("fetchNote")
    preview = tessera_layers()[-1]
    assert isinstance(preview.renderer(), QgsMultiBandColorRenderer)

    hands.add_classes()
    hands.label(archive.label_points(SMALL, per_class=PER_CLASS))
    counts = [hands.find("classTable").item(row, 3).text() for row in range(6)]
    assert counts == [str(PER_CLASS)] * 6

    hands.train()
    assert "Trained on" in hands.note("trainNote")
    assert "Overall accuracy" in hands.find("accuracyLabel").text()
    table = hands.find("accuracyTable")
    assert (table.rowCount(), table.columnCount()) == (6, 7)
    assert Path(hands.find("headPath").text()).is_file()

    hands.classify()
    out = tmp_path / "land_cover_2024.tif"
    assert str(out) in hands.note("classifyNote")
    names = [layer.name() for layer in tessera_layers()]
    assert names == [
        "Label points",
        "Label polygons",
        "2024 land cover",
        "2024 confidence",
        "2024 embeddings (preview)",
    ]
    check_map(hands, archive, out)


def check_map(hands, archive, out):
    _, _, land_cover, confidence, _ = tessera_layers()
    assert isinstance(land_cover.renderer(), QgsPalettedRasterRenderer)
    assert [each.label for each in land_cover.renderer().classes()] == [c.name for c in CLASSES]
    assert isinstance(confidence.renderer(), QgsSingleBandPseudoColorRenderer)
    root = QgsProject.instance().layerTreeRoot()
    assert not root.findLayer(confidence.id()).itemVisibilityChecked()
    raster = gdal.Open(str(out))
    values = raster.ReadAsArray()
    west, _, _, north, _, _ = raster.GetGeoTransform()
    truth = archive.truth(31, round(-north / 10), round(west / 10), *values.shape)
    valid = values > 0
    assert valid.mean() > 0.9
    assert (values[valid] == truth[valid]).mean() > 0.5
    shown = [hands.find("areaTable").item(row, 1).text() for row in range(6)]
    hectares = [np.count_nonzero(values == c.id) / 100 for c in CLASSES]
    assert [float(each.replace(",", "")) for each in shown] == pytest.approx(hectares, abs=0.06)


def test_a_loaded_map_is_replaced_in_its_place(hands, archive, tmp_path):
    hands.fetch()
    hands.add_classes()
    hands.label(archive.label_points(SMALL, per_class=PER_CLASS))
    hands.train()
    hands.classify()
    root = QgsProject.instance().layerTreeRoot()
    first = tessera_layers()[2]
    root.findLayer(first.id()).setItemVisibilityChecked(False)
    root.findGroup("Tessera").insertChildNode(0, root.findLayer(first.id()).clone())
    root.findGroup("Tessera").removeChildNode(root.findGroup("Tessera").children()[3])
    first_id = first.id()
    hands.classify()
    names = [layer.name() for layer in tessera_layers()]
    assert names.count("2024 land cover") == 1
    assert names[0] == "2024 land cover"
    assert tessera_layers()[0].id() != first_id
    assert not root.findLayer(tessera_layers()[0].id()).itemVisibilityChecked()
    assert sorted(path.name for path in tmp_path.glob("*.tif")) == [
        "land_cover_2024.tif",
        "land_cover_2024_confidence.tif",
    ]


def test_a_polygon_is_dragged_and_a_label_removed(hands, desktop, tmp_path):
    hands.add_classes()
    hands.click("labelToolButton")
    desktop.drag([(0.104, 52.184), (0.108, 52.184), (0.108, 52.188), (0.104, 52.188)])
    desktop.click(0.115, 52.19)
    assert hands.find("classTable").item(5, 3).text() == "2"
    assert hands.find("classTable").item(0, 3).text() == "0"
    polygons = read(tmp_path / "labels.gpkg", "label_polygons")
    assert [each["class_name"] for each in polygons] == ["Bare ground"]
    assert polygons[0]["area"] == pytest.approx(0.004 * 0.004, rel=0.1)
    hands.click("removeToolButton")
    assert not hands.find("labelToolButton").isChecked()
    desktop.click(0.106, 52.186)
    assert read(tmp_path / "labels.gpkg", "label_polygons") == []
    hands.click("undoButton")
    assert len(read(tmp_path / "labels.gpkg", "label_polygons")) == 1


def read(path, table):
    source = ogr.Open(str(path))
    rows = []
    for feature in source.GetLayerByName(table):
        geometry = feature.GetGeometryRef()
        rows.append({**feature.items(), "area": geometry.GetArea() if geometry else 0})
    return rows


def test_a_fetch_is_cancelled_and_goes_on(hands, server, qtbot):
    server.faults.append(Fault.stall(20, path="*/c/*", count=50))
    hands.page(AREA)
    qtbot.waitUntil(lambda: hands.find("fetchButton").isEnabled())
    hands.click("fetchButton")
    assert not hands.find("fetchButton").isEnabled()
    assert not hands.find("trainButton").isEnabled()
    assert hands.find("jobFrame").isVisible()
    qtbot.wait(300)
    hands.click("cancelButton")
    with qtbot.waitSignal(hands.dock._session.box.ended, timeout=1000 * within(2)):
        pass
    assert "Stopped" in hands.note("fetchNote")
    assert not hands.find("jobFrame").isVisible()
    server.faults.clear()
    hands.fetch()
    assert "have embeddings" in hands.note("fetchNote")


def test_a_dead_server_is_said_on_the_page(hands, server, monkeypatch):
    server.stop()
    access = hands.dock._session.access()
    impatient = replace(access, network=replace(access.network, attempts=1, backoff_s=0.01))
    monkeypatch.setattr(hands.dock._session, "access", lambda *_, **__: impatient)
    hands.page(AREA)
    hands.dock.area.measure()
    hands.click("fetchButton")
    hands.settle()
    assert "could not be read" in hands.note("fetchNote")


def test_closing_the_project_during_a_fetch_ends_quietly(hands, qtbot):
    hands.page(AREA)
    hands.dock.area.measure()
    hands.click("fetchButton")
    QgsProject.instance().clear()
    hands.settle()
    assert "have embeddings" in hands.note("fetchNote")
    assert QgsProject.instance().mapLayers() == {}


def test_too_large_an_area_is_refused(hands, desktop, qtbot):
    hands.page(AREA)
    desktop.zoom_to(-20, -20, 40, 60)
    qtbot.waitUntil(lambda: "too large" in hands.find("sizeLabel").text(), timeout=15_000)
    assert not hands.find("fetchButton").isEnabled()
    assert not hands.find("classifyButton").isEnabled()
    desktop.zoom_to(*SMALL)
    qtbot.waitUntil(lambda: "too large" not in hands.find("sizeLabel").text())
    assert hands.find("fetchButton").isEnabled()


def test_mlp_is_plainly_not_available(hands):
    hands.page(MAP)
    combo = hands.find("headCombo")
    assert not combo.model().item(combo.findData("mlp")).isEnabled()
    assert "needs the add-on" in hands.find("headNote").text()
    assert combo.currentData() == "instant"


def test_training_without_labels_says_what_to_do(hands):
    hands.page(MAP)
    hands.click("trainButton")
    assert "no labels" in hands.note("trainNote")


def test_a_head_of_another_dataset_is_refused(hands, archive):
    hands.fetch()
    hands.add_classes()
    hands.label(archive.label_points(SMALL, per_class=PER_CLASS))
    hands.train()
    hands.page(AREA)
    combo = hands.find("datasetCombo")
    combo.setCurrentIndex(combo.findData("1.0-vultr"))
    hands.classify()
    assert "1.1-dclimate" in hands.note("classifyNote")
    assert "1.0-vultr" in hands.note("classifyNote")


def test_digits_choose_a_class_but_can_be_typed(hands, qtbot):
    hands.add_classes()
    qtbot.keyClicks(hands.find("classNameEdit"), "Crop 12")
    assert hands.find("classNameEdit").text() == "Crop 12"
    assert hands.find("classTable").currentRow() == 5
    hands.find("undoButton").setFocus()
    hands.find("classTable").setFocus()
    qtbot.keyClick(hands.find("classTable"), Qt.Key.Key_2)
    assert [each.row() for each in hands.find("classTable").selectionModel().selectedRows()] == [1]
    assert hands.dock._session.settings.active_class == 2


def test_classes_are_renamed_recoloured_and_removed(hands, qtbot, tmp_path, monkeypatch):
    hands.add_classes()
    hands.click("labelToolButton")
    hands.desktop.click(0.11, 52.19)
    table = hands.find("classTable")
    table.item(5, 2).setText("Quarry")
    hands.find("classColor6").setColor(QColor("#112233"))
    (row,) = read(tmp_path / "labels.gpkg", "label_points")
    assert (row["class_name"], row["class_id"]) == ("Quarry", 6)
    colors = {each["name"]: each["color"] for each in read(tmp_path / "labels.gpkg", "classes")}
    assert colors["Quarry"] == "#112233"
    (points,) = [layer for layer in tessera_layers() if layer.name() == "Label points"]
    assert points.renderer().categories()[5].label() == "Quarry"
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    hands.click("removeClassButton")
    assert table.rowCount() == 6
    hands.click("removeClassButton")
    assert table.rowCount() == 5
    assert read(tmp_path / "labels.gpkg", "label_points") == []
    hands.click("undoButton")
    assert table.rowCount() == 6
    assert len(read(tmp_path / "labels.gpkg", "label_points")) == 1


def test_labels_are_there_again_in_another_session(hands, make_dock, archive, server, tmp_path):
    hands.add_classes()
    hands.label(archive.label_points(SMALL, per_class=1))
    hands.dock.close_down()
    hands.dock._session.close()
    QgsProject.instance().clear()
    dock = make_dock(archive=server.url)
    table = dock.findChild(QWidget, "classTable")
    assert [table.item(row, 3).text() for row in range(6)] == ["1"] * 6
    assert [layer.name() for layer in tessera_layers()] == ["Label points", "Label polygons"]


def test_a_label_file_that_cannot_be_read_does_not_stop_the_work(make_dock, tmp_path, desktop):
    (tmp_path / "labels.gpkg").write_bytes(b"broken")
    dock = make_dock()
    assert "can't be read" in desktop.bar.currentItem().title()
    assert dock.findChild(QWidget, "labelsPath").text().endswith("labels_new.gpkg")
    assert (tmp_path / "labels.gpkg").read_bytes() == b"broken"


def test_the_mlp_learns_with_a_live_curve(hands, archive, monkeypatch):
    python = (
        Path(__file__).resolve().parents[2] / "build" / "private" / "environment" / "bin" / "python"
    )
    if not python.is_file():
        pytest.skip("there is no private environment")
    hands.dock._session.update(worker_python=str(python))
    hands.fetch()
    hands.add_classes()
    hands.label(archive.label_points(SMALL, per_class=PER_CLASS))
    hands.page(MAP)
    combo = hands.find("headCombo")
    combo.setCurrentIndex(combo.findData("mlp"))
    seen = []
    hands.dock._session.box.told.connect(lambda *_: seen.append(hands.find("lossCurve").epochs))
    hands.train()
    assert hands.find("lossCurve").isVisible()
    assert hands.find("lossCurve").epochs > 5
    assert len(set(seen)) > 1
    assert "MLP" in hands.find("refitLabel").text()
    hands.classify()
    assert "pixels classified" in hands.note("classifyNote")


def test_a_worker_that_dies_is_said(hands, archive, tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
    dying.chmod(0o755)
    hands.dock._session.update(worker_python=str(dying), head_kind="mlp")
    hands.add_classes()
    hands.label(archive.label_points(SMALL, per_class=PER_CLASS))
    hands.train()
    assert "add-on is not available" in hands.note("trainNote")
    assert hands.find("trainButton").isEnabled()


def test_the_tool_before_comes_back(hands, desktop):
    pan = QgsMapToolPan(desktop.canvas)
    desktop.canvas.setMapTool(pan)
    hands.add_classes()
    hands.click("labelToolButton")
    hands.click("labelToolButton")
    assert desktop.canvas.mapTool() == pan
    hands.click("labelToolButton")
    desktop.canvas.setMapTool(pan)
    assert not hands.find("labelToolButton").isChecked()
    desktop.canvas.unsetMapTool(pan)
