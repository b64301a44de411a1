# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The dialog that runs ONNX models of others, by clicks, with a real worker and server."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsPalettedRasterRenderer, QgsProject, QgsSingleBandPseudoColorRenderer
from qgis.gui import QgsColorButton
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QAction, QApplication, QFileDialog, QLineEdit, QWidget

from tessera_plugin.engine.embeddings import with_source
from tessera_plugin.values import Window
from tests.compute.helpers import worker_python
from tests.qgis.hands import MAP, Hands
from tests.servers import FOREVER, Fault

LEFT = Qt.MouseButton.LeftButton
SMALL = (0.1, 52.18, 0.108, 52.186)
MAKER = Path(__file__).resolve().parents[1] / "compute" / "models" / "make_models.py"
MEAN, STD = [0.5] * 64 + [-0.5] * 64, [1.0, 2.0, 4.0, 8.0] * 32


@pytest.fixture(scope="module")
def weights():
    draw = np.random.default_rng(7)
    shapes = {"linear": (3, 128), "around": (1, 128, 3, 3), "last": (2, 128)}
    return {name: draw.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def models(tmp_path_factory, weights):
    """Return a folder of models; those in `few` take 16 numbers per pixel."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "few").mkdir()
    for where, depth in ((folder, 128), (folder / "few", 16)):
        cut = {name: value[:, :depth] for name, value in weights.items()}
        np.savez(where / "weights.npz", **cut)
        asked = [worker_python(), str(MAKER), str(where), str(where / "weights.npz")]
        subprocess.run(asked, check=True)
    (folder / "statistics.json").write_text(json.dumps({"mean": MEAN, "std": STD}))
    (folder / "other.json").write_text(json.dumps({"bands": 128}))
    return folder


class Dialog:
    """The dialog's widgets by their names, used by clicks."""

    def __init__(self, hands, monkeypatch):
        self.hands, self.qtbot, self._monkeypatch = hands, hands.qtbot, monkeypatch

    def open_by_menu(self):
        self.hands.until(lambda: self.hands.session.is_warm)
        actions = self.hands.dock.findChildren(QAction)
        (entry,) = [each for each in actions if each.text() == "Run an ONNX model…"]
        entry.trigger()
        return self

    @property
    def window(self):
        return self.hands.dock.models._dialog

    def __getattr__(self, name):
        return getattr(self.window, name)

    @property
    def told(self):
        self.qtbot.wait(30)
        return self.window.modelNextLabel.text()

    @property
    def note(self):
        return self.window._note.text()

    def click(self, name):
        widget = self.window.findChild(QWidget, name)
        self.qtbot.wait(30)
        assert widget.isEnabled(), f"{name}: {self.told} {widget.toolTip()}"
        assert widget.isVisible(), f"{name} is not to be seen"
        self.qtbot.mouseClick(widget, LEFT)
        QApplication.processEvents()

    def answer_files(self, path):
        self._monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))

    def choose(self, path):
        self.answer_files(path)
        self.click("modelChooseButton")
        self.looked()

    def looked(self):
        self.qtbot.waitUntil(lambda: not self.window._lookup.is_busy, timeout=60_000)
        self.qtbot.wait(30)

    def choose_statistics(self, path):
        self.answer_files(path)
        self.click("modelStatisticsButton")

    def rename(self, row, name):
        table = self.window.modelClassTable
        table.editItem(table.item(row, 2))
        (editor,) = table.viewport().findChildren(QLineEdit)
        editor.selectAll()
        self.qtbot.keyClicks(editor, name)
        self.qtbot.keyClick(editor, Qt.Key.Key_Return)

    def run(self):
        self.click("modelRunButton")
        self.hands.settle()
        self.qtbot.wait(30)


@pytest.fixture
def hands(make_dock, qtbot, desktop, server, monkeypatch):
    monkeypatch.setenv("TESSERA_WORKER_PYTHON", worker_python())
    dock = make_dock(archive=server.url, show_coverage=False)
    desktop.zoom_to(*SMALL)
    qtbot.wait(200)
    return Hands(dock, qtbot, desktop)


@pytest.fixture
def dialog(hands, monkeypatch):
    return Dialog(hands, monkeypatch)


def layers():
    group = QgsProject.instance().layerTreeRoot().findGroup("Tessera")
    return [node.layer() for node in group.findLayers()]


def raster(path):
    """Return the values of a raster and its window."""
    opened = gdal.Open(str(path))
    west, _, _, north, _, _ = opened.GetGeoTransform()
    values = opened.ReadAsArray()
    return values, Window(31, round(-north / 10), round(west / 10), *values.shape)


def embeddings(session, window):
    """Return what the cache has, in its real scale, and where it is valid."""
    codes, scales = with_source(
        session.dataset.key, session.settings.year, session.access(),
        lambda source, _: source.read(window), depth=128,
    )  # fmt: skip
    return codes * np.nan_to_num(scales)[..., None], np.isfinite(scales)


def test_without_the_add_on_it_is_offered(make_dock, qtbot, desktop, monkeypatch):
    dock = make_dock(show_coverage=False)
    dialog = Dialog(Hands(dock, qtbot, desktop), monkeypatch).open_by_menu()
    assert dialog.told == "Install the add-on: it runs the model."
    assert not dialog.modelRunButton.isEnabled()
    assert not dialog.modelChooseButton.isEnabled()
    dialog.click("modelAddOnButton")
    shown = [each.objectName() for each in QApplication.topLevelWidgets() if each.isVisible()]
    assert "TesseraAddOn" in shown
    dialog.click("modelCloseButton")
    assert not dialog.window.isVisible()


def test_a_map_is_made_as_the_form_says(dialog, hands, models, weights, tmp_path):
    dialog.open_by_menu()
    assert dialog.told == "Choose the model's file."
    assert not dialog.modelFormGroup.isVisible()
    dialog.choose(models / "mean.onnx")
    assert "not a score per pixel" in dialog.note
    assert dialog.told == "This model can't be used. Choose another one."
    dialog.choose(models / "few" / "around.onnx")
    assert dialog.note == ""
    assert "takes 16 numbers per pixel" in dialog.told
    assert hands.session.dataset.title in dialog.told
    assert not dialog.modelRunButton.isEnabled()

    dialog.choose(models / "around.onnx")
    assert "patches of 32 \u00d7 32 pixels of 128 numbers" in dialog.modelTakesLabel.text()
    assert (dialog.modelPatchSpin.value(), dialog.modelPatchSpin.isEnabled()) == (32, False)
    assert (dialog.modelOverlapSpin.value(), dialog.modelOverlapSpin.maximum()) == (8, 16)
    assert dialog.modelActivationCombo.currentData() == "none"
    assert dialog.modelThresholdSpin.isVisible()
    assert [each.name for each in dialog.form.form.classes] == ["not around", "around"]

    dialog.choose(models / "pixels.onnx")
    assert "single pixels of 128 numbers" in dialog.modelTakesLabel.text()
    assert not dialog.modelThresholdSpin.isVisible()
    assert dialog.modelValuesCombo.currentText() == "as they are"
    assert "must have been made for this dataset" in dialog.modelDatasetValue.text()
    told = dialog.modelAreaValue.text()  # a limit: nobody has looked what of it is here
    assert re.search(r"to fetch: up to [\d.]+ MB, less what the cache has$", told)
    dialog.choose_statistics(models / "other.json")
    assert "has no lists" in dialog.modelValuesNote.text()
    dialog.choose_statistics(models / "statistics.json")
    assert dialog.modelValuesCombo.currentText() == "standardised"
    assert dialog.modelValuesNote.text() == "Mean and standard deviation from statistics.json."
    assert dialog.form.form.mean == tuple(MEAN)

    dialog.rename(0, "high")
    assert dialog.told == "Give every class a name of its own."
    dialog.rename(0, "marsh")
    button = dialog.modelClassTable.cellWidget(0, 1).findChild(QgsColorButton)
    button.setColor(QColor("#123456"))
    assert dialog.told == "See that classes and dataset are right, then run the model."
    dialog.run()

    out = tmp_path / "pixels_2024.tif"
    assert str(out) in dialog.note
    assert "marsh: " in dialog.note
    assert dialog.told.startswith("Done: the map is in the project.")
    land_cover, confidence = layers()
    assert (land_cover.name(), confidence.name()) == ("2024 pixels", "2024 confidence")
    assert isinstance(land_cover.renderer(), QgsPalettedRasterRenderer)
    assert isinstance(confidence.renderer(), QgsSingleBandPseudoColorRenderer)
    shown = [(each.label, each.color.name()) for each in land_cover.renderer().classes()]
    assert shown[0] == ("marsh", "#123456")
    assert [name for name, _ in shown] == ["marsh", "middle", "high"]
    values, window = raster(out)
    x, valid = embeddings(hands.session, window)
    scores = ((x - MEAN) / STD) @ weights["linear"].T
    assert valid.mean() > 0.9
    assert np.array_equal(values, np.where(valid, scores.argmax(axis=2) + 1, 0))
    plain = (x @ weights["linear"].T).argmax(axis=2)
    assert (plain + 1 != values)[valid].any(), "the statistics make a difference"

    dialog.modelConfidenceCheck.setChecked(False)
    assert dialog.told == "See that classes and dataset are right, then run the model."


def test_it_is_stopped_and_the_dialog_may_be_closed(dialog, hands, models, server, desktop):
    hands.page(MAP)
    dialog.answer_files(models / "last.onnx")
    hands.click("loadHeadButton")
    dialog.looked()
    assert [each.name for each in dialog.form.form.classes] == ["land", "water"]
    assert dialog.modelPatchSpin.value() == 40
    assert "Filled in from the model file itself." in dialog.modelTakesLabel.text()

    server.faults.append(Fault.stall(30, path="*", count=FOREVER))
    dialog.click("modelRunButton")
    dialog.hands.until(dialog.modelJobFrame.isVisible)
    assert "close this window" in dialog.told
    assert not dialog.modelRunButton.isEnabled()
    with dialog.qtbot.waitSignal(hands.session.box.ended, timeout=10_000):
        dialog.click("modelCancelButton")
    assert dialog.note == "Stopped. No file was written or changed."
    assert not dialog.modelJobFrame.isVisible()
    server.faults.clear()

    dialog.modelOutput.setFilePath(str(models / "away"))
    dialog.click("modelRunButton")
    dialog.qtbot.keyClick(dialog.window, Qt.Key.Key_Escape)
    assert not dialog.window.isVisible()
    hands.settle()
    assert (models / "away.tif").is_file()
    assert desktop.bar.currentItem().title() == "The map of “last” is ready."
    assert [each.name() for each in layers()] == ["2024 last", "2024 confidence"]

    dialog.open_by_menu()
    assert "Saved as" in dialog.note
    dialog.modelPatchSpin.setValue(64)
    dialog.run()
    assert "Saved as" in dialog.note
    assert [each.name() for each in layers()] == ["2024 last", "2024 confidence"], "replaced"
