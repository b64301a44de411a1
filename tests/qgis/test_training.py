# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Training on the Map page, by clicks: options, what is learnt, how it is tested, what came of it."""

import json
from pathlib import Path

import pytest
from osgeo import ogr, osr
from qgis.core import (
    QgsCoordinateTransform,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
)
from qgis.gui import QgsRubberBand
from qgis.PyQt.QtCore import QEvent, Qt, QTimer
from qgis.PyQt.QtWidgets import QApplication, QComboBox, QDialogButtonBox, QLineEdit, QWidget

from tessera_plugin.engine.heads import load
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.gui import text, validation_panel
from tessera_plugin.tasks import train_choices
from tessera_plugin.tasks.labels import NewLabel
from tessera_plugin.tasks.train_choices import LabelFile, LearntLabels, TestPlan, TrainOptions
from tests.archive.ground import CLASSES
from tests.qgis import hands as dock_hands
from tests.qgis.conftest import LONLAT
from tests.qgis.hands import LABELS, MAP

SMALL = (0.1, 52.18, 0.12, 52.195)
OTHER = (0.12, 52.18, 0.14, 52.195)
ROOT = Path(__file__).resolve().parents[2]
PRIVATE = ROOT / "build" / "private" / "environment" / "bin" / "python"


class Hands(dock_hands.Hands):
    """Trains heads."""

    def label(self, points, year=2024, confidence=100):
        store = self.session.labels
        if not store.classes:
            store.add_classes([(each.name, each.color) for each in CLASSES])
        ids = {each.name: each.id for each in store.classes}
        names = {each.id: each.name for each in CLASSES}
        return store.add_labels(
            [
                NewLabel(
                    QgsGeometry.fromPointXY(QgsPointXY(each.lon, each.lat)),
                    ids[names[each.class_id]],
                    year,
                    confidence=confidence,
                )
                for each in points
            ]
        )

    def train(self):
        self.until(lambda: self.find("trainButton").isEnabled())
        self.click("trainButton")
        self.until(lambda: "Reading" not in self.note("trainNote"))
        self.settle()
        assert "Trained on" in self.note("trainNote"), self.note("trainNote")
        return load(self.session.settings.head_path)

    def unfold(self, name):
        self.find(name).setCollapsed(False)
        QApplication.processEvents()

    def cell(self, row, column):
        table = self.find("accuracyTable")
        place = table.visualItemRect(table.item(row, column)).center()
        self.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        QApplication.processEvents()

    def bands(self):
        items = self.desktop.canvas.scene().items()
        return [each for each in items if isinstance(each, QgsRubberBand) and each.size()]

    def answer_file_dialog(self, button, path, area="", year=""):
        """Click a button, and fill in the dialog that it opens."""

        def fill():
            dialog = QApplication.activeModalWidget()
            dialog.findChild(QWidget, "labelFilePath").setFilePath(str(path))
            fields = dialog.findChild(QComboBox, "classFieldCombo")
            self.until(lambda: fields.count() > 0)
            assert fields.currentText() == "class"
            if area:
                dialog.findChild(QLineEdit, "areaNameEdit").setText(area)
            if year:
                years = dialog.findChild(QComboBox, "labelYearCombo")
                years.setCurrentIndex(years.findText(year))
            box = dialog.findChild(QDialogButtonBox, "labelFileButtons")
            self.qtbot.mouseClick(
                box.button(QDialogButtonBox.StandardButton.Ok), Qt.MouseButton.LeftButton
            )

        QTimer.singleShot(0, fill)
        self.click(button)


@pytest.fixture
def hands(make_dock, qtbot, desktop, server, monkeypatch):
    monkeypatch.setattr(validation_panel, "SETTLE_MS", 20)
    dock = make_dock(archive=server.url)
    desktop.zoom_to(*SMALL)
    hands = Hands(dock, qtbot, desktop)
    hands.page(MAP)
    return hands


def write_points(path, points, strange=()):
    """Write points with a class as GeoJSON; the strange ones are glacier."""
    source = ogr.GetDriverByName("GeoJSON").CreateDataSource(str(path))
    lonlat = osr.SpatialReference()
    lonlat.ImportFromEPSG(4326)
    layer = source.CreateLayer("points", lonlat, ogr.wkbPoint)
    layer.CreateField(ogr.FieldDefn("class", ogr.OFTString))
    names = {each.id: each.name for each in CLASSES}
    for each in (*points, *strange):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetField("class", "glacier" if each in strange else names[each.class_id])
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POINT ({each.lon} {each.lat})"))
        layer.CreateFeature(feature)
    del layer, source


# --- options


def test_the_options_are_those_of_the_engine():
    ours, params = TrainOptions().params(), TrainParams()
    assert ours == {name: getattr(params, name) for name in ours}


@pytest.mark.parametrize(
    "remembered",
    ["", "broken", "[]", '{"folds": "many", "scheme": 3}', '{"scheme": "by luck"}',
     '{"file": {"path": 1, "class_field": "x"}}', '{"more": [{"no": "path"}, 7]}'],
)  # fmt: skip
def test_what_is_remembered_is_read_with_care(remembered):
    assert train_choices.options(remembered) == TrainOptions()
    assert train_choices.learnt(remembered) == LearntLabels()
    assert train_choices.test_plan(remembered) == TestPlan()


def test_choices_are_remembered_as_they_were_made():
    file = LabelFile("/labels/a.gpkg", "class", "points", "North", 2023)
    options = TrainOptions(hidden=(128, 64), dropout=0.0, ensemble=3)
    assert train_choices.options(train_choices.to_text(options)) == options
    learnt = LearntLabels(own_years=True, more=(file,))
    assert train_choices.learnt(train_choices.to_text(learnt)) == learnt
    plan = TestPlan("file", 7, 1280, skip_untestable=True, file=file)
    assert train_choices.test_plan(train_choices.to_text(plan)) == plan


def test_options_have_a_sentence_each_and_a_way_back(hands, make_dock, store, server):
    hands.unfold("optionsGroup")
    assert not hands.find("hiddenEdit").isVisible()  # instant has no layers
    assert hands.find("calibrateCheck").isVisible()
    assert "defaults suit" in hands.find("optionHelp").text()
    assert not hands.find("defaultsButton").isEnabled()
    names = ("hiddenEdit", "dropoutSpin", "epochsSpin", "rateSpin", "noiseSpin", "ensembleSpin",
             "weightsCheck", "backgroundCheck", "calibrateCheck", "polygonSpin", "sureSpin",
             "seedSpin")  # fmt: skip
    told = set()
    for name in names:
        QApplication.sendEvent(hands.find(name), QEvent(QEvent.Type.Enter))
        told.add(hands.find("optionHelp").text())
        assert hands.find("optionHelp").text() == hands.find(name).toolTip() != ""
    assert len(told) == len(names)

    hands.find("sureSpin").setValue(60)
    hands.find("seedSpin").setValue(7)
    hands.click("calibrateCheck")
    hands.click("backgroundCheck")
    assert json.loads(hands.session.settings.train_options) == {
        "min_confidence": 60,
        "calibrate": False,
        "background": False,
    }
    hands.dock.close_down()
    hands.dock._session.close()
    again = make_dock(archive=server.url)
    assert again.findChild(QWidget, "sureSpin").value() == 60
    assert not again.findChild(QWidget, "calibrateCheck").isChecked()
    assert not again.findChild(QWidget, "backgroundCheck").isChecked()
    other = Hands(again, hands.qtbot, hands.desktop)
    other.page(MAP)
    other.unfold("optionsGroup")
    other.click("defaultsButton")
    assert other.find("sureSpin").value() == 0
    assert other.find("seedSpin").value() == 0
    assert other.session.settings.train_options == ""
    assert not other.find("defaultsButton").isEnabled()


def test_hidden_layers_are_one_or_two_numbers(make_dock, qtbot, desktop):
    dock = make_dock()
    hands = Hands(dock, qtbot, desktop)
    hands.page(MAP)
    dock.map.train._options.show_kind("mlp")
    hands.unfold("optionsGroup")
    edit = hands.find("hiddenEdit")
    assert edit.isVisible()
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClicks(edit, "128, 32")
    assert train_choices.options(hands.session.settings.train_options).hidden == (128, 32)
    qtbot.keyClicks(edit, ", many")
    assert edit.text().replace(" ", "").startswith("128,32")
    edit.selectAll()
    qtbot.keyClick(edit, Qt.Key.Key_Delete)
    assert "In use: 128, 32" in hands.find("optionHelp").text()
    QApplication.sendEvent(edit, QEvent(QEvent.Type.FocusOut))
    assert edit.text() == "128, 32"


# --- tests


def test_blocks_are_drawn_and_then_tested(hands, archive):
    hands.label(archive.label_points(SMALL, per_class=8))
    hands.choose("testCombo", "Spatial blocks")
    hands.until(lambda: "once the embeddings" in hands.told("blockNote"))
    assert "between my labels" in hands.told("testNote")
    hands.choose("testCombo", "share")
    assert hands.told("blockNote") == ""
    hands.train()  # the labels' embeddings are in the cache now

    hands.choose("testCombo", "Spatial blocks")
    hands.until(lambda: "blocks of" in hands.told("blockNote"))
    spin = hands.find("blockSpin")
    assert spin.text() == f"Suggested: {spin.suggested_m} m"
    assert f"blocks of {spin.suggested_m} m in 5 parts" in hands.told("blockNote")
    assert len(hands.bands()) == 5
    qtbot_key(hands, spin, Qt.Key.Key_Up)
    assert spin.value() == spin.suggested_m + 100
    hands.find("foldsSpin").setValue(3)
    told = f"blocks of {spin.value()} m in 3 parts"
    hands.until(lambda: told in hands.told("blockNote"))
    squares = [band.asGeometry() for band in hands.bands()]
    assert len(squares) == 3
    count = sum(each.constGet().numGeometries() for each in squares)
    assert f"{count} blocks" in hands.told("blockNote")

    head = hands.train()
    validation = head.training["validation"]
    assert (validation["scheme"], len(validation["parts"])) == ("blocks", 3)
    table = hands.find("partsTable")
    shown = [[table.item(row, column).text() for column in range(3)] for row in range(3)]
    assert shown == [
        [f"Part {number}", text.percent(each["overall"], 1), str(each["labels"])]
        for number, each in enumerate(validation["parts"], 1)
    ]
    told = hands.told("accuracyLabel")
    mean, spread = (text.percent(validation[name], 1) for name in ("mean", "spread"))
    assert f"{mean} ± {spread} over 3 parts" in told
    assert f"All parts together, as in the matrix: {text.percent(head.accuracy.overall, 1)}" in told
    calibration = head.training["calibration"]
    assert f"right in {text.percent(calibration['right'])}" in hands.told("calibrationLabel")
    assert f"{text.decimal(calibration['ece_after'])} after" in hands.told("calibrationLabel")

    hands.click("showBlocksCheck")
    assert hands.bands() == []
    hands.click("showBlocksCheck")
    assert len(hands.bands()) == 3
    hands.page(LABELS)
    assert hands.bands() == []

    hands.page(MAP)
    assert len(hands.bands()) == 3
    hands.click("classifyButton")
    hands.settle()
    assert hands.bands() == [], "they are over a finished map"
    assert hands.find("showBlocksCheck").isChecked()
    assert "finished map" in hands.told("blockNote")
    hands.page(LABELS)
    hands.page(MAP)
    hands.qtbot.wait(600)
    assert hands.bands() == []
    hands.find("foldsSpin").setValue(4)
    hands.until(lambda: len(hands.bands()) == 4)
    assert "finished map" not in hands.told("blockNote")


def qtbot_key(hands, spin, key):
    spin.setFocus()
    hands.qtbot.keyClick(spin, key)


def test_a_cell_of_the_matrix_shows_its_labels(hands, archive, desktop):
    points = archive.label_points(SMALL, per_class=8)
    keys = hands.label(points)
    place = {key: (each.lon, each.lat) for key, each in zip(keys, points)}
    hands.find("testShareSpin").setValue(90)
    head = hands.train()
    matrix, ids = head.accuracy.matrix, head.accuracy.class_ids
    row, column = next(
        (row, column)
        for row in range(len(ids))
        for column in range(len(ids))
        if row != column and matrix[row][column] > 1
    )
    count, store = matrix[row][column], hands.session.labels
    names = [next(c.name for c in head.classes if c.id == number) for number in ids]
    tip = hands.find("accuracyTable").item(row, column).toolTip()
    assert tip.startswith(f"{count} test pixels of {names[row]} were mapped as {names[column]}")
    hands.cell(row, column)
    told = f"{count} labels of {names[row]} mapped as {names[column]}"
    assert told in hands.told("cellLabel")
    assert len(store.selected) == count
    assert {store.label(key).class_id for key in store.selected} == {ids[row]}
    crs = desktop.canvas.mapSettings().destinationCrs()
    to_map = QgsCoordinateTransform(LONLAT, crs, QgsProject.instance())
    extent = desktop.canvas.extent()
    assert all(extent.contains(to_map.transform(QgsPointXY(*place[k]))) for k in store.selected)
    first = set(store.selected)

    right = next(index for index in range(len(ids)) if matrix[index][index])
    hands.cell(right, right)
    assert len(store.selected) == matrix[right][right]
    assert first.isdisjoint(store.selected)
    hands.cell(right, right)
    assert store.selected == ()
    assert hands.told("cellLabel") == ""

    store.remove_labels(tuple(first))
    hands.cell(row, column)
    assert "Not in your label file" in hands.told("cellLabel")
    hands.dock.map.restore()  # the head from its file: nobody knows its labels any more
    hands.cell(row, column)
    assert hands.told("cellLabel") == ""


def test_years_are_learnt_apart_and_tested_against_each_other(hands, archive):
    hands.session.update(dataset="1.1-cambridge")
    points = archive.label_points(SMALL, per_class=6)
    hands.label(points[::2], 2023)
    hands.label(points[1::2], 2024)
    hands.label(points[:1], 1999)
    hands.choose("testCombo", "One year against another")
    assert not hands.find("trainButton").isEnabled()
    assert "one year" in hands.find("trainButton").toolTip()
    hands.unfold("learntGroup")
    assert hands.find("learntGroup").title().endswith(f"{len(points) + 1} labels, 2024")
    hands.click("ownYearsRadio")
    half = len(points) // 2
    assert f"2023: {half} labels · 2024: {half} labels" in hands.told("learntNote")
    assert "1 label of 1999" in hands.told("learntNote")
    head = hands.train()
    assert head.years == (2023, 2024)
    assert Path(hands.session.settings.head_path).name.endswith("_2023_2024.head")
    assert "the dataset lacks their year: 1 label." in hands.note("trainNote")
    assert [p["name"] for p in head.training["validation"]["parts"]] == ["2023", "2024"]
    assert hands.find("partsTable").item(0, 0).text() == "2023"


def test_labels_of_other_files_are_areas_and_tests(hands, archive, tmp_path):
    hands.label(archive.label_points(SMALL, per_class=5))
    north, test = tmp_path / "north.geojson", tmp_path / "test.geojson"
    others = archive.label_points(OTHER, per_class=5)
    write_points(north, others)
    *fresh, ice = archive.label_points(OTHER, per_class=4, seed=6)
    write_points(test, [*fresh, *others[:3]], [ice])
    hands.unfold("learntGroup")
    hands.answer_file_dialog("addLabelsButton", north, area="North")
    hands.until(lambda: f"{30 + len(others)} labels" in hands.find("learntGroup").title())
    assert hands.find("moreLabelsList").item(0).text() == f"North, 2024: {len(others)} labels"
    hands.choose("testCombo", "Leave one area out")
    head = hands.train()
    assert [p["name"] for p in head.training["validation"]["parts"]] == ["labels", "North"]
    assert [c.name for c in head.classes] == [c.name for c in CLASSES]

    hands.choose("testCombo", "Independent labels")
    assert not hands.find("trainButton").isEnabled()
    hands.answer_file_dialog("testFileButton", test)
    assert hands.find("testFilePath").text() == "test.geojson"
    head = hands.train()
    assert head.training["validation"]["scheme"] == "file"
    assert "95 % interval" in hands.told("accuracyLabel")
    told = hands.note("trainNote")
    assert "Not tested, because they lie on ground that is learnt: 3 labels." in told
    right = sum(head.accuracy.matrix[index][index] for index in range(6))
    counted = text.percent(right / (len(fresh) + 1), 1)
    assert "Not tested, because the head knows no glacier: 1 label. On a map such places" in told
    assert f"counted so, the overall accuracy is {counted}" in told
    assert not hands.find("partsTable").isVisible()
    hands.unfold("compareGroup")
    hands.until(lambda: hands.find("compareKindsButton").height() > 10)
    hands.click("compareKindsButton")
    hands.settle()
    assert f"1 part, {len(fresh)} labels" in hands.told("kindsSentence")
    matrix = head.accuracy.matrix
    row = next(index for index in range(6) if matrix[index][index])
    hands.cell(row, row)
    assert hands.session.labels.selected == ()
    assert "Not in your label file" in hands.told("cellLabel")

    hands.find("moreLabelsList").setCurrentRow(0)
    hands.click("dropLabelsButton")
    assert hands.find("learntGroup").title().endswith("30 labels, 2024")
    north.unlink()
    test.unlink()
    hands.click("trainButton")
    hands.until(lambda: "test.geojson" in hands.note("trainNote"))


def test_labels_of_little_confidence_can_be_left_out(hands, archive):
    points = archive.label_points(SMALL, per_class=4)
    hands.label(points[::2])
    hands.label(points[1::2], confidence=40)
    hands.unfold("optionsGroup")
    hands.find("sureSpin").setValue(50)
    assert hands.find("learntGroup").title().endswith(f"{len(points) // 2} labels, 2024")
    hands.choose("testCombo", "k-fold")
    hands.find("foldsSpin").setValue(2)
    head = hands.train()
    assert head.training["labels"] == len(points) // 2
    assert f"less sure of them: {len(points) // 2} labels" in hands.note("trainNote")


@pytest.fixture
def mlp(hands, archive):
    """Options of a small MLP, set by hand."""

    def choose(python):
        hands.session.update(worker_python=str(python))
        hands.label(archive.label_points(SMALL, per_class=5))
        combo = hands.find("headCombo")
        combo.setCurrentIndex(combo.findData("mlp"))
        hands.unfold("optionsGroup")
        hands.find("hiddenEdit").selectAll()
        hands.qtbot.keyClicks(hands.find("hiddenEdit"), "16, 8")
        hands.find("epochsSpin").setValue(3)
        hands.find("ensembleSpin").setValue(2)
        hands.find("dropoutSpin").setValue(0)
        hands.find("noiseSpin").setValue(0.1)
        hands.find("rateSpin").setValue(0.01)
        hands.click("weightsCheck")
        hands.choose("testCombo", "k-fold")
        hands.find("foldsSpin").setValue(2)

    return choose


SMALL_MLP = TrainParams(
    kind="mlp", hidden=(16, 8), epochs=3, ensemble=2, dropout=0.0, noise=0.1, learning_rate=0.01,
    class_weights=False,
)  # fmt: skip


def test_the_request_is_what_the_options_say(hands, mlp, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    mlp(python)
    request = hands.dock.map.train.request()
    assert request.params == SMALL_MLP
    assert (request.validation.scheme, request.validation.folds) == ("random", 2)
    hands.find("headCombo").setCurrentIndex(0)
    assert hands.dock.map.train.request().params.kind == "instant"


@pytest.mark.long
def test_the_mlp_learns_as_the_options_say(hands, mlp):
    if not PRIVATE.is_file():
        pytest.skip("there is no private environment")
    mlp(PRIVATE)
    head = hands.train()
    assert head.training["params"] == SMALL_MLP.told()
    assert "MLP" in hands.told("refitLabel")
    assert hands.find("lossCurve").isVisible()
