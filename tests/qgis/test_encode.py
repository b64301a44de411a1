# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Encode dialog, from a folder of images to embeddings on the map, as a person does it."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QAction,
    QApplication,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QPushButton,
    QWidget,
)

from tessera_plugin.engine import dpixels, local
from tessera_plugin.engine.stac import CATALOGUES
from tessera_plugin.gui.dialogs import SettingsDialog
from tessera_plugin.gui.encode_export import ExportDialog
from tessera_plugin.gui.encode_own_scenes import OwnScenesDialog
from tessera_plugin.gui.overlay import CanvasOverlay
from tessera_plugin.gui.source_dialog import SourceDialog
from tessera_plugin.io.sources.local_store import LocalStore
from tessera_plugin.settings import write_stores
from tessera_plugin.tasks import encode_jobs, encode_lookups
from tessera_plugin.values import Window
from tests.compute.helpers import worker_python
from tests.qgis import encode_scenes
from tests.qgis.conftest import LONLAT
from tests.qgis.hands import AREA, Hands
from tests.servers import FOREVER, Fault
from tests.stac_server import World

LEFT = Qt.MouseButton.LeftButton
MODEL, INPUT, START = range(3)
CRS = QgsCoordinateReferenceSystem(f"EPSG:{encode_scenes.EPSG}")
SMALL = QgsRectangle(300_060, 5_789_760, 300_300, 5_789_940)
"""24 x 18 pixels within the images, in EPSG:32631."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The add-on's Python, an encoder file and a folder of images."""
    folder = tmp_path_factory.mktemp("encode")
    encode_scenes.encoder(folder / "small.onnx")
    encode_scenes.encoder(folder / "slow.onnx", kind="slow")
    encode_scenes.images(folder / "fields north")
    (folder / "broken.onnx").write_bytes(b"no encoder")
    return Made(folder, worker_python())


@pytest.fixture(scope="module")
def world():
    """Two dates of Sentinel-2 and one of Sentinel-1 in 2023, in a catalogue."""
    world = World()
    world.s2("first", "2023-04-11T10:50:31Z", cloud=20)
    world.s2("second", "2023-08-11T10:50:31Z", like="first", cloud=20)
    world.s1("up", "2023-05-02T05:00:00Z", "ascending")
    return world


@pytest.fixture
def service(world, monkeypatch, tmp_path):
    with world.serving() as running:
        known = running.request(Window(31, -569_950, 60_050, 9, 9), tmp_path).catalogues
        for key, catalogue in known.items():
            monkeypatch.setitem(CATALOGUES, key, catalogue)
        yield running


class Made(NamedTuple):
    folder: Path
    python: str

    @property
    def images(self):
        return self.folder / "fields north"


THERE = QgsRectangle(600_500, 5_699_300, 600_800, 5_699_500)
"""30 x 20 pixels within the images of the catalogue."""


class Dialog:
    """The dialog's widgets by their names, used by clicks."""

    def __init__(self, hands):
        self.hands, self.qtbot = hands, hands.qtbot
        hands.until(lambda: hands.session.is_warm)
        (entry,) = [a for a in hands.dock.findChildren(QAction) if a.text() == "Encode own scenes…"]
        entry.trigger()
        self.settle()

    @property
    def window(self):
        return self.hands.dock.encode._dialog

    def __getattr__(self, name):
        return getattr(self.window, name)

    @property
    def told(self):
        self.qtbot.wait(20)
        return self.window.nextLabel.text()

    @property
    def note(self):
        return self.window._note.text()

    def named(self, name):
        return self.window.findChild(QWidget, name)

    def settle(self):
        """Wait until nobody is asked anything."""
        window = self.window
        parts = (window.model, window.input.dated, window.input.tile, window.start)
        self.qtbot.wait(20)
        self.qtbot.waitUntil(lambda: not any(p._lookup.is_busy for p in parts), timeout=60_000)
        self.qtbot.wait(20)

    def click(self, name):
        widget = self.named(name)
        self.qtbot.wait(20)
        assert widget.isEnabled(), f"{name}: {self.told} {widget.toolTip()}"
        assert widget.isVisible(), f"{name} is not to be seen"
        self.qtbot.mouseClick(widget, LEFT)
        QApplication.processEvents()

    def choose(self, name, words):
        combo = getattr(self.window, name)
        entries = [combo.itemText(index) for index in range(combo.count())]
        combo.setCurrentIndex(next(i for i, entry in enumerate(entries) if words in entry))
        self.qtbot.wait(20)

    def add_encoder(self, path, monkeypatch):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        self.click("addEncoderButton")
        self.settle()

    def add_folder(self, path, monkeypatch):
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(path))
        self.click("addFolderButton")
        self.settle()

    def answer(self):
        self.choose("s2UnitCombo", "without offset")
        self.choose("s1UnitCombo", "linear power")

    def to_start(self, made, monkeypatch, encoder):
        """Do the first two steps, over a part of the images."""
        self.add_encoder(made.folder / encoder, monkeypatch)
        self.click("encodeMainButton")
        self.add_folder(made.images, monkeypatch)
        self.answer()
        self.choose("encodeAreaCombo", "map shows")
        self.click("encodeMainButton")
        self.estimated()

    def estimated(self):
        self.qtbot.waitUntil(lambda: "embeddings" in self.estimateLabel.text(), timeout=60_000)

    def run(self):
        self.click("encodeMainButton")
        self.hands.settle()
        self.qtbot.wait(50)


@pytest.fixture
def hands(made, make_dock, qtbot, desktop, monkeypatch):
    monkeypatch.setenv("TESSERA_WORKER_PYTHON", made.python)
    dock = make_dock(show_coverage=False, archive="http://127.0.0.1:9")
    desktop.canvas.setDestinationCrs(CRS)
    desktop.canvas.setExtent(SMALL)
    return Hands(dock, qtbot, desktop)


@pytest.fixture
def dialog(hands):
    return Dialog(hands)


@pytest.fixture
def inputs(make_dock, qtbot, desktop):
    """The dialog on its second page, where there is no add-on: nothing here needs it."""
    dialog = Dialog(Hands(make_dock(show_coverage=False), qtbot, desktop))
    desktop.canvas.setDestinationCrs(CRS)
    desktop.canvas.setExtent(SMALL)
    dialog.encodeTabs.setCurrentIndex(INPUT)
    return dialog


def test_without_the_add_on_it_is_offered(make_dock, qtbot, desktop):
    dock = make_dock(show_coverage=False)
    dialog = Dialog(Hands(dock, qtbot, desktop))
    assert dialog.told == "Install the add-on: it runs the encoders."
    assert dialog.encodeAddOnFrame.isVisible()
    assert not dialog.encodeMainButton.isEnabled()
    dialog.click("encodeCloseButton")
    assert not dialog.window.isVisible()
    dialog.hands.find("coverageLabel").linkActivated.emit("encode")  # where nothing is published
    assert dialog.window.isVisible()
    dialog.click("encodeAddOnButton")
    assert any(
        each.objectName() == "TesseraAddOn" and each.isVisible()
        for each in QApplication.topLevelWidgets()
    )


def test_from_images_to_embeddings_on_the_map(dialog, made, monkeypatch, hands, desktop, service):
    assert dialog.told.startswith("Add an encoder")
    dialog.add_encoder(made.folder / "broken.onnx", monkeypatch)
    assert "broken.onnx can't be used" in dialog.window.model._note.text()
    assert not dialog.encodeMainButton.isEnabled()
    dialog.add_encoder(made.folder / "small.onnx", monkeypatch)
    assert dialog.spaceValue.text().startswith("test")
    assert dialog.keptCombo.currentText() == "16 (all)"
    assert dialog.told == "Next: choose the images."

    dialog.click("encodeMainButton")
    assert dialog.told == "Add the folder of your Sentinel images."
    dialog.add_folder(made.images, monkeypatch)
    assert dialog.datedSummary.text().startswith("Sentinel-2: 6 dates, 2021-")
    assert dialog.told == "Say what no file tells: “Sentinel-2 values are”"
    suggested = [dialog.s2UnitCombo.itemText(number) for number in range(4)]
    assert "without offset — suggested: values go down to" in suggested[1]
    dialog.answer()
    assert dialog.told == "Next: name it and see how long it takes."
    dialog.choose("encodeAreaCombo", "map shows")
    window = dialog.input.window
    assert dialog.encodeAreaLabel.text().startswith(f"{window.width} \u00d7 {window.height} = ")

    dialog.click("encodeMainButton")
    assert dialog.sceneNameEdit.text() == "fields north"
    assert dialog.sceneYearSpin.value() == 2021
    assert "Processor" in dialog.deviceCombo.currentText()
    dialog.estimated()
    assert "on the processor" in dialog.estimateLabel.text()

    dialog.run()
    assert f"of {window.pixels:,} pixels are encoded" in dialog.note
    assert dialog.told == "Done. Label some places, or encode something else."
    (own,) = hands.session.settings.own_stores
    assert own.space == "test"
    assert own.years == (2021,)
    assert hands.session.dataset == own
    assert hands.session.settings.year == 2021
    hands.page(AREA)
    assert hands.find("datasetCombo").currentText() == own.title
    store = LocalStore(hands.session.access(), own, 2021)
    _, scales = store.read(window)
    assert (scales > 0).sum() > 0.9 * window.pixels
    layers = [each.name() for each in QgsProject.instance().mapLayers().values()]
    assert layers == ["2021 embeddings (preview)"]
    assert desktop.canvas.extent().intersects(SMALL)
    assert not list(encode_jobs.inputs_root().glob("*/bands.npy")), "what was built is gone"

    dialog.click("encodeNoteButton")
    hands.settle()
    counted = QgsProject.instance().mapLayersByName("fields north: observations")
    assert counted[0].bandCount() == 3
    place = SMALL.center()
    seen = store.counts(Window(31, -round(place.y() / 10), round(place.x() / 10) - 1, 1, 1))[0, 0]
    assert counted[0].dataProvider().sample(QgsPointXY(place.x() - 5, place.y() - 5), 1) == (
        float(seen[0]), True,
    )  # fmt: skip
    assert 0 < seen[0] <= 6

    few_are_left_out_and_others_compared(hands, own, store, window, monkeypatch)
    forget_and_delete(hands, own, monkeypatch)
    download_and_encode(dialog, hands, desktop)


def download_and_encode(dialog, hands, desktop):
    """Take images of a catalogue for another area, with the same encoder."""
    dialog.encodeTabs.setCurrentIndex(INPUT)
    dialog.stacRadio.setChecked(True)
    desktop.canvas.setDestinationCrs(CRS)
    desktop.canvas.setExtent(THERE)
    dialog.stacYearSpin.setValue(2023)
    dialog.qtbot.wait(300)
    search(dialog)
    dialog.click("encodeMainButton")
    assert dialog.sceneNameEdit.text() == "Area 2023"
    dialog.sceneNameEdit.selectAll()
    dialog.qtbot.keyClicks(dialog.sceneNameEdit, "Elsewhere")
    assert dialog.sceneYearSpin.value() == 2023
    assert dialog.encodeMainButton.text() == "Download and encode"
    dialog.keepInputsCheck.setChecked(True)
    dialog.estimated()
    dialog.run()
    window = dialog.window.input.window
    assert f"of {window.pixels:,} pixels are encoded" in dialog.note
    assert "The inputs are kept in" in dialog.note
    assert len(list(encode_jobs.inputs_root().glob("elsewhere-*/bands.npy"))) == 1
    (own,) = hands.session.settings.own_stores
    assert own.years == (2023,)


def few_are_left_out_and_others_compared(hands, own, store, window, monkeypatch):
    """Ask for more observations in the settings, and compare with a copy of another space."""
    settings = SettingsDialog(hands.session, None)
    hands.qtbot.addWidget(settings)
    settings.observationsSpin.setValue(6)
    settings.accept()
    strict = LocalStore(hands.session.access(), own, own.years[0])
    seen = store.counts(window)[..., 0]
    assert ((strict.read(window)[1] > 0) == (seen >= 6)).all()
    hands.session.update(min_observations=0)
    hands.until(lambda: hands.find("fetchButton").isEnabled())
    assert hands.find("fetchButton").text() == "Show embeddings"
    (compare,) = hands.find("areaMenuButton").menu().actions()
    other = Path(own.local).with_name("copy")
    shutil.copytree(own.local, other)
    record = (other / "dataset.json").read_text().replace('"space": "test"', '"space": "other"')
    (other / "dataset.json").write_text(record.replace("own scenes", "copied"))
    copied = local.dataset_of(other)
    assert copied.key != own.key
    hands.session.update(stores=write_stores([own, copied]))
    monkeypatch.setattr(
        QInputDialog, "getItem", lambda *given: (copied.title, copied.title in given[3])
    )
    compare.trigger()
    hands.settle()
    assert "the median cosine is 1.000" in hands.note("fetchNote")
    assert "They look like one embedding space." in hands.note("fetchNote")
    hands.session.update(stores=write_stores([own]))


def forget_and_delete(hands, own, monkeypatch):
    """Take the dataset off the list, back on it, and delete its only scene."""
    scene = Path(encode_lookups.own_scenes(own).scenes[0].path)
    source = open_source(hands)
    source.storesList.setCurrentRow(0)
    hands.qtbot.mouseClick(source.removeStoreButton, LEFT)
    assert hands.session.settings.own_stores == ()
    assert hands.find("datasetCombo").findData(own.key) < 0
    assert scene.is_dir(), "taking it off the list deletes nothing"
    source.locationEdit.setText(own.local)
    hands.qtbot.mouseClick(source.checkButton, LEFT)
    hands.until(lambda: not source._lookup.is_busy)
    assert source._note.text().startswith("Your own embeddings, “")
    source.accept()
    assert hands.session.dataset == own

    source = open_source(hands)
    source.storesList.setCurrentRow(0)
    assert source.scenesButton.isEnabled()
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    scenes = OwnScenesDialog(hands.session, own, source)
    hands.qtbot.addWidget(scenes)
    scenes.show()
    scenes._tree.setCurrentItem(scenes._tree.topLevelItem(0))
    assert scenes._tree.topLevelItem(0).text(0) == "fields north"
    hands.qtbot.mouseClick(scenes._delete, LEFT)
    assert scene.is_dir()
    hands.qtbot.mouseClick(scenes._delete, LEFT)
    assert not scene.exists()
    assert hands.session.settings.own_stores == ()
    assert "Deleted" in scenes._note.text()
    source.reject()


def open_source(hands):
    source = SourceDialog(hands.session, None)
    hands.qtbot.addWidget(source)
    source.show()
    return source


def has_picture(desktop):
    """Whether something of what is being encoded is on the map."""
    return any(
        isinstance(each, CanvasOverlay) and each.role == "fetch" and not each.is_empty()
        for each in desktop.canvas.scene().items()
    )


def test_it_is_cancelled_and_goes_on_and_the_dialog_may_be_closed(
    dialog, made, monkeypatch, hands, desktop
):
    dialog.to_start(made, monkeypatch, "slow.onnx")
    before = hands.session.dataset
    dialog.click("encodeMainButton")
    hands.until(lambda: "left" in dialog.encodeBar.format(), 60_000)
    hands.until(lambda: has_picture(desktop), 10_000)
    assert "close this window" in dialog.told
    assert not dialog.encodeMainButton.isEnabled()
    with dialog.qtbot.waitSignal(hands.session.box.ended, timeout=10_000):
        dialog.click("encodeCancelButton")
    assert dialog.note == "Stopped. What is encoded is kept: Start goes on from there."
    assert list(encode_jobs.inputs_root().glob("*/bands.npy")), "what was built is kept"

    dialog.click("encodeMainButton")
    dialog.qtbot.keyClick(dialog.window, Qt.Key.Key_Escape)
    assert not dialog.window.isVisible()
    assert hands.find("jobFrame").isVisible()
    hands.settle()
    assert hands.session.dataset == before, "nothing is chosen for one who does something else"
    (button,) = desktop.bar.findChildren(QPushButton, "showEncodedButton")
    dialog.qtbot.mouseClick(button, LEFT)
    (own,) = hands.session.settings.own_stores
    assert hands.session.dataset == own
    dialog.window.show()
    assert "pixels are encoded" in dialog.note


def test_images_are_corrected_in_the_table(inputs, made, monkeypatch):
    dialog = inputs
    dialog.add_folder(made.images, monkeypatch)
    table = dialog.window.input.dated._table
    assert dialog.unrecognisedTree.topLevelItemCount() == 1
    assert "height" in dialog.unrecognisedTree.topLevelItem(0).text(1)
    rows = [[table.index(row, column).data() for column in range(1, 8)] for row in range(12)]
    radar = next(row for row in range(12) if rows[row][0] == "Sentinel-1")
    optical = next(row for row in range(12) if rows[row][0] == "Sentinel-2")
    assert rows[optical][3:5] == ["all", "SCL"]
    assert rows[radar][3] == "VV, VH"

    table.setData(table.index(optical, 0), Qt.CheckState.Unchecked, Qt.ItemDataRole.CheckStateRole)
    table.setData(table.index(optical, 2), "2021-01-30")
    assert not table.setData(table.index(radar, 2), "yesterday")
    other = "descending" if rows[radar][2] == "ascending" else "ascending"
    table.setData(table.index(radar, 3), other)
    dialog.answer()
    scenes = dialog.window.input.scenes
    assert len(scenes.s2) == 5
    changed = next(each for each in scenes.s1 if each.name == rows[radar][6])
    assert changed.orbit == other
    again = next(row for row in range(12) if table.index(row, 7).data() == rows[optical][6])
    assert table.index(again, 2).data() == "2021-01-30"
    assert dialog.datedSummary.text().startswith("Sentinel-2: 5 dates")
    dialog.scenesTable.selectRow(again)
    dialog.scenesTable.setFocus()
    dialog.qtbot.keyClick(dialog.scenesTable, Qt.Key.Key_Space)
    assert len(dialog.window.input.scenes.s2) == 6

    dialog.hands.desktop.zoom_to(-60, -40, 60, 40)
    dialog.choose("encodeAreaCombo", "map shows")
    dialog.qtbot.wait(300)
    assert "too large" in dialog.encodeAreaLabel.text()
    assert dialog.told == dialog.encodeAreaLabel.text()


def test_a_rectangle_is_drawn_while_the_dialog_gives_way(inputs, desktop):
    dialog = inputs
    dialog.stacRadio.setChecked(True)
    dialog.click("drawAreaButton")
    assert not dialog.window.isVisible()
    to_lonlat = QgsCoordinateTransform(CRS, LONLAT, QgsProject.instance())
    corners = [to_lonlat.transform(*each) for each in ((300_100, 5_789_900), (300_300, 5_789_800))]
    desktop.drag([(each.x(), each.y()) for each in corners])
    assert dialog.window.isVisible()
    assert dialog.encodeAreaCombo.currentText() == "The rectangle that was drawn"
    window = dialog.window.input.window
    assert abs(window.width - 20) <= 3
    assert abs(window.height - 10) <= 3


def test_finished_inputs_are_taken_where_they_are(inputs, made, monkeypatch, tmp_path):
    dialog = inputs
    found = dpixels.recognise([str(made.images)])
    said = dpixels.Corrections(s2_unit="dn", s1_unit="power")
    plan = dpixels.BuildPlan(
        dpixels.corrected(found, said).scenes, Window(31, -578_996, 30_003, 20, 30),
        str(tmp_path / "tile"),
    )  # fmt: skip
    dpixels.build(plan)
    dialog.add_folder(tmp_path / "tile", monkeypatch)
    dialog.settle()
    assert dialog.tileRadio.isChecked()
    assert "UTM zone 31: 30 \u00d7 20 = 600 pixels" in dialog.window.input.tile._note.text()
    assert not dialog.encodeAreaGroup.isVisible()
    assert not dialog.window.input.problem
    assert dialog.window.input.year == 2021


def test_only_checkpoints_that_come_in_two_are_asked_for_their_source(qtbot):
    both = ExportDialog("/x/tessera_v1_1_aws_encoder.pt", None)
    unnamed = ExportDialog("/x/v1.1.pt", None)
    one = ExportDialog("/x/student_nano.pt", None)
    for each in (both, unnamed, one):
        qtbot.addWidget(each)
    assert (both.source, both._ok.isEnabled()) == ("aws", True)
    assert not unnamed._ok.isEnabled()
    assert (one.source, one.precision, one._ok.isEnabled()) == ("unstated", "float32", True)


def test_a_search_is_of_what_is_shown_and_a_silent_catalogue_is_told(inputs, service):
    dialog, part = inputs, inputs.window.input.stac
    dialog.stacRadio.setChecked(True)
    assert dialog.told.startswith("Search: ")
    dialog.hands.desktop.canvas.setExtent(THERE)
    dialog.stacYearSpin.setValue(2023)
    dialog.qtbot.wait(300)
    search(dialog)
    assert "2 Sentinel-2 images of 2 days" in part._note.text()
    assert not dialog.window.input.problem
    dialog.stacCloudSpin.setValue(10)
    assert part.plan is None
    assert "Search" in dialog.window.input.problem
    dialog.stacCloudSpin.setValue(100)
    assert part.plan is not None, "what was found before is of the same question"
    service.api.faults.append(Fault.status(404, path="*search*", count=FOREVER))
    search(dialog)
    assert "there is no such catalogue" in part._note.text()
    assert dialog.window.input.problem


def search(dialog):
    dialog.click("stacSearchButton")
    part = dialog.window.input.stac
    dialog.qtbot.waitUntil(lambda: not part._lookup.is_busy, timeout=60_000)
    dialog.qtbot.wait(20)
