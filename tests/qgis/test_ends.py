# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The project, the dock or the plugin goes in the middle of everything that takes a while."""

import gc
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsGeometry, QgsPointXY, QgsProject
from qgis.gui import QgsMapCanvasItem
from qgis.PyQt.QtCore import QEvent
from qgis.PyQt.QtWidgets import QApplication, QWidget

from tessera_plugin.plugin import TesseraPlugin
from tessera_plugin.settings import Settings, save
from tessera_plugin.tasks.base import EngineTask
from tessera_plugin.tasks.labels import LabelStore, NewLabel
from tests.archive.ground import CLASSES
from tests.qgis import fetched_place
from tests.qgis.fetched_place import DATASET, SEEN, YEAR
from tests.qgis.hands import LABELS, MAP, Hands
from tests.qgis.test_label_history import state

COLORS, SIMILARITY, CLUSTERS, YEARS = range(4)
WHOLE = re.compile(
    r"labels\.gpkg(-wal|-shm)?|labels_instant_[^.]*\.[^.]*\.head|labels.*\.accuracy\.json"
    r"|(map|map_confidence|clusters_\d+_\d+)\.tif(\.aux\.xml)?"
)
"""Files that may be there; all others are half of something."""

DELAYS_MS = (0, 2, 10, 40, 120)
"""After the beginning; what is in the middle then differs from machine to machine."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with fetched_place.fetched(tmp_path_factory.mktemp("cache")) as access:
        yield access


@pytest.fixture(scope="module")
def labels_path(tmp_path_factory, qgis_app):
    """A label file with four labels of each of three classes."""
    path = tmp_path_factory.mktemp("labels") / "labels.gpkg"
    store = LabelStore()
    store.open(str(path))
    made = store.add_classes([(each.name, each.color) for each in CLASSES[:3]])
    places = fetched_place.places_of_classes(4)
    store.add_labels(
        [
            NewLabel(QgsGeometry.fromPointXY(QgsPointXY(*lonlat)), each.id, YEAR)
            for each, theirs in zip(made, CLASSES)
            for lonlat in places.get(theirs.id, [])
        ]
    )
    store.close()
    return path


class Ending(Hands):
    """Begins what takes a while."""

    def __init__(self, plugin, qtbot, desktop):
        super().__init__(plugin.dock, qtbot, desktop)
        self.plugin = plugin

    @property
    def explore(self):
        return self.dock.explore._dialog

    def see(self, part):
        self.dock.explore.show()
        self.explore.exploreTabs.setCurrentIndex(part)
        QApplication.processEvents()

    def lonlat(self):
        return (SEEN[0] + SEEN[2]) / 2, (SEEN[1] + SEEN[3]) / 2

    def has_head(self):
        state = self.dock.labels.live.loop.state
        return state is not None and state.head is not None

    # --- what takes a while: what comes before it is waited for

    def live(self):
        self.desktop.canvas.zoomByFactor(0.8)
        self.session.labels.remove_label(self.session.labels.labels()[0].key)

    def similar(self):
        self.click("similarToolButton")
        self.desktop.click(*self.lonlat())

    def growing(self):
        self.similar()
        panel = self.dock.labels.similar
        self.until(lambda: panel._grown is not None and not panel._following.is_busy)
        panel.similarSlider.setValue(panel.similarSlider.value() // 2)
        panel.connectedCheck.click()
        panel._accept()

    def next(self):
        self.until(self.has_head)
        self.click("nextPlaceButton")

    def problems(self):
        self.dock.labels.problems._settle.stop()
        self.dock.labels.problems._check()

    def train(self):
        self.page(MAP)
        self.until(lambda: self.find("trainButton").isEnabled())
        self.find("trainButton").click()

    def classify(self):
        self.train()
        self.until(lambda: self.find("classifyButton").isEnabled() and not self.session.box.running)
        self.find("classifyButton").click()

    def colors(self):
        self.see(COLORS)

    def similarity(self):
        self.see(SIMILARITY)
        self.explore.similarityPickButton.click()
        self.desktop.click(*self.lonlat())

    def clusters(self):
        self.see(CLUSTERS)
        self.explore.clusterButton.click()

    def years(self):
        self.see(YEARS)
        self.explore.yearsPickButton.click()
        self.desktop.click(*self.lonlat())

    # --- how it ends

    def project(self):
        QgsProject.instance().clear()

    def unload(self):
        self.plugin.unload()

    def quit(self):
        QgsApplication.instance().aboutToQuit.emit()

    def hide(self):
        self.dock.setUserVisible(False)


BEGINNINGS = (
    "live", "similar", "growing", "next", "problems", "train", "classify", "colors", "similarity",
    "clusters", "years",
)  # fmt: skip


@pytest.fixture
def begin(desktop, store, monkeypatch, place, labels_path, tmp_path, qtbot):
    """Give a function that loads the plugin over labels, and opens its dock."""
    monkeypatch.setattr("tessera_plugin.plugin.QgsSettings", lambda: store)
    loaded, number = [], iter(range(1000))

    def make():
        path = tmp_path / f"run{next(number)}" / "labels.gpkg"
        path.parent.mkdir()
        shutil.copy(labels_path, path)
        save(
            store,
            Settings(
                labels_path=str(path), archive=place.archive, cache_dir=place.cache_dir,
                dataset=DATASET, year=YEAR, output_path=str(path.parent / "map.tif"),
            ),
        )  # fmt: skip
        desktop.zoom_to(*SEEN)
        plugin = TesseraPlugin(desktop)
        plugin.initGui()
        loaded.append(plugin)
        plugin.open()
        ending = Ending(plugin, qtbot, desktop)
        ending.until(lambda: ending.session.is_warm and bool(ending.session.labels.counts), 60_000)
        ending.page(LABELS)
        return ending

    yield make
    for plugin in loaded:
        plugin.unload()


def nothing_is_left(desktop, ending, qtbot):
    qtbot.wait(50)
    ours = [
        each.name for each in threading.enumerate()
        if each.name.startswith("tessera-") and each.name != "tessera-imports"
    ]  # fmt: skip
    assert not ours
    QgsApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    qtbot.waitUntil(lambda: QgsApplication.taskManager().countActiveTasks() == 0, timeout=20_000)
    items = [each for each in desktop.canvas.scene().items() if isinstance(each, QgsMapCanvasItem)]
    assert not [each for each in items if type(each).__module__.startswith("tessera_plugin")]
    assert [type(each).__name__ for each in items if each.isVisible()] == [
        type(each).__name__ for each in items if type(each).__name__ == "QgsMapCanvasMap"
    ]
    assert not [
        each for each in desktop.canvas.findChildren(QWidget) if "Legend" in each.objectName()
    ]


def end_in_the_middle(begin, desktop, qtbot, beginning, end, delay_ms):
    ending = begin()
    folder, path = Path(ending.session.labels_path).parent, ending.session.labels_path
    getattr(ending, beginning)()
    if delay_ms:
        qtbot.wait(delay_ms)
    before = state(ending.session.labels)
    getattr(ending, end)()
    if end in ("project", "hide"):
        qtbot.wait(20)
        ending.until(lambda: not ending.session.box.running)
        for item in desktop.bar.items():
            assert "bug" not in item.text()
        ending.plugin.unload()
    nothing_is_left(desktop, ending, qtbot)
    # what was made is whole, and no half of it lies about
    store = LabelStore()
    store.open(path)
    found = state(store)
    store.close()
    if end in ("unload", "quit"):
        assert found == before
    assert not [each.name for each in folder.iterdir() if not WHOLE.fullmatch(each.name)]


@pytest.mark.parametrize("beginning", ["live", "growing", "next", "classify", "clusters"])
def test_the_plugin_goes_in_the_middle(begin, desktop, qtbot, beginning):
    end_in_the_middle(begin, desktop, qtbot, beginning, "unload", 5)


@pytest.fixture(params=["before", "after"])
def slow(request, monkeypatch):
    """Have every task take longer, before its work or after it, when nobody can cancel it."""
    started = EngineTask.__init__

    def make(self, title, work, *args, **kwargs):
        def slowly(report):
            if request.param == "before":
                time.sleep(0.15)
            result = work(report)
            if request.param == "after":
                time.sleep(0.15)
            return result

        started(self, title, slowly, *args, **kwargs)

    monkeypatch.setattr(EngineTask, "__init__", make)


@pytest.mark.long
@pytest.mark.parametrize("end", ["project", "unload", "quit", "hide"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_all_goes_where_all_is_slow(begin, desktop, qtbot, beginning, end, slow):
    for delay_ms in (10, 100):
        end_in_the_middle(begin, desktop, qtbot, beginning, end, delay_ms)


@pytest.mark.long
@pytest.mark.parametrize("end", ["project", "unload", "quit", "hide"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_all_goes_in_the_middle(begin, desktop, qtbot, beginning, end):
    for delay_ms in DELAYS_MS:
        end_in_the_middle(begin, desktop, qtbot, beginning, end, delay_ms)
