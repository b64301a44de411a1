# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin's life: loaded, unloaded, loaded again, also in the middle of a job."""

import functools
import gc
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsProject
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QDockWidget, QWidget

from tessera_plugin import settings
from tessera_plugin.gui import dock_memory
from tessera_plugin.plugin import TesseraPlugin
from tessera_plugin.tasks.base import EngineTask

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def load(desktop, store, monkeypatch):
    monkeypatch.setattr("tessera_plugin.plugin.QgsSettings", lambda: store)
    loaded = []

    def make():
        plugin = TesseraPlugin(desktop)
        plugin.initGui()
        loaded.append(plugin)
        return plugin

    yield make
    for plugin in loaded:
        plugin.unload()


def what_is_there(desktop):
    QgsApplication.sendPostedEvents(None, 52)  # DeferredDelete
    QgsApplication.processEvents()
    gc.collect()
    docks = [dock.objectName() for dock in desktop.window.findChildren(QDockWidget)]
    project = QgsProject.instance()
    return (
        [action.text() for action in desktop.toolbar.actions()],
        [action.text() for action in desktop.menu.actions()],
        docks,
        len(desktop.canvas.children()),
        project.receivers(project.cleared),
        project.receivers(project.readProject),
        desktop.canvas.receivers(desktop.canvas.extentsChanged),
        desktop.canvas.receivers(desktop.canvas.mapToolSet),
        desktop.canvas.receivers(desktop.canvas.layersChanged),
    )


def test_load_unload_load_leaves_nothing_behind(desktop, load, qtbot):
    before = what_is_there(desktop)
    for _ in range(2):
        plugin = load()
        assert len(desktop.toolbar.actions()) == 1
        assert len(desktop.menu.actions()) == 3
        desktop.toolbar.actions()[0].trigger()
        qtbot.wait(50)
        assert plugin.dock.isVisible()
        find = functools.partial(plugin.dock.findChild, QWidget, "labelToolButton")
        qtbot.waitUntil(lambda find=find: find() is not None)  # its page is made in a moment
        button = find()
        button.setEnabled(True)
        button.click()
        plugin.unload()
        assert what_is_there(desktop) == before
        assert desktop.canvas.mapTool() is None


def test_it_takes_itself_down_when_qgis_ends_which_unloads_no_plugin(desktop, load, qtbot):
    before = what_is_there(desktop)
    plugin = load()
    desktop.toolbar.actions()[0].trigger()
    qtbot.wait(50)
    legend = plugin.dock.area._pictures._legend
    QgsApplication.instance().aboutToQuit.emit()
    assert what_is_there(desktop) == before
    legend.setVisible(True)  # what is deleted is not touched any more


def test_the_action_shows_and_hides_the_dock(desktop, load, qtbot):
    plugin = load()
    action = desktop.toolbar.actions()[0]
    assert action.objectName() == "tesseraAction"
    for visible in (True, False, True):
        action.trigger()
        qtbot.wait(20)
        assert plugin.dock.isVisible() == visible


def test_it_is_open_again_where_it_was_open(desktop, load, store, qtbot):
    plugin = load()
    qtbot.wait(50)
    assert plugin._dock is None, "nobody has opened it"
    plugin.open()
    dock = plugin.dock
    desktop.window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    state = desktop.window.saveState()
    plugin.unload()  # as QGIS ends
    assert store["tessera/dock_open"] is True
    desktop.window.restoreState(state)  # as QGIS starts
    again = load()
    qtbot.waitUntil(lambda: again._dock is not None and again._dock.isVisible())
    area = desktop.window.dockWidgetArea(again.dock)
    assert area == Qt.DockWidgetArea.LeftDockWidgetArea
    again.dock.close()
    again.unload()
    assert store["tessera/dock_open"] is False
    third = load()
    qtbot.wait(50)
    assert third._dock is None


def test_the_action_that_hides_it_is_remembered_too(desktop, load, store):
    plugin = load()
    for is_open in (True, False, True):
        plugin.open()
        assert store["tessera/dock_open"] is is_open
    assert settings.load(store).dock_open, dock_memory.KEY


def test_behind_the_welcome_page_nothing_is_added_to_the_project(desktop, load, store, qtbot):
    desktop.canvas.hide()
    plugin = load()
    plugin.open()
    qtbot.wait(50)
    plugin.dock.finish()
    plugin.dock._session.labels.add_class("Wood")
    qtbot.wait(50)
    assert QgsProject.instance().mapLayers() == {}
    desktop.canvas.show()
    QgsProject.instance().clear()  # as a new project
    qtbot.waitUntil(lambda: len(QgsProject.instance().mapLayers()) == 2)


def test_loading_makes_nothing_yet(desktop, load):
    load()
    assert desktop.window.findChild(QDockWidget, "TesseraDock") is None


def test_unloading_during_a_job_ends_it_quietly(desktop, load, qtbot):
    plugin = load()
    desktop.toolbar.actions()[0].trigger()
    qtbot.wait(20)
    began, ended, told = threading.Event(), threading.Event(), []

    def work(report):
        began.set()
        try:
            while True:
                report(0.5, "working")
                time.sleep(0.01)
        finally:
            ended.set()

    task = EngineTask("endless", work)
    task.cancelled.connect(lambda: told.append("cancelled"))
    task.failed.connect(told.append)
    assert plugin.dock._session.box.start(task)
    assert began.wait(2)
    plugin.unload()
    assert ended.is_set()
    qtbot.wait(100)
    assert told == []


def test_nothing_heavy_is_loaded():
    """In a process of its own, as others import much: after load, the dock and a look around."""
    script = """
        import sys
        from qgis.core import QgsApplication
        app = QgsApplication([], True)
        app.initQgis()
        sys.path.insert(0, {root!r})
        import importlib.util
        spec = importlib.util.spec_from_file_location(
            "tessera", {root!r} + "/__init__.py", submodule_search_locations=[{root!r}])
        package = importlib.util.module_from_spec(spec)
        sys.modules["tessera"] = package
        spec.loader.exec_module(package)
        assert not [name for name in sys.modules if name.startswith("tessera.")]
        from tests.qgis.conftest import Desktop
        for name in [n for n in sys.modules if n.startswith("tessera_plugin")]:
            del sys.modules[name]
        for name in ("numpy", "requests", "osgeo"):
            sys.modules.pop(name, None)
        desktop = Desktop()
        plugin = package.classFactory(desktop)
        plugin.initGui()
        light = {{"numpy", "requests", "osgeo"}} & set(sys.modules)
        assert not light, light
        desktop.toolbar.actions()[0].trigger()
        import time
        until = time.monotonic() + 3
        while time.monotonic() < until:
            app.processEvents()
            if "tessera.tessera_plugin.engine.training" in sys.modules:
                break
        foreign = {{"torch", "onnxruntime", "sklearn", "rasterio", "scipy"}} & set(sys.modules)
        assert not foreign, foreign
        plugin.unload()
        print("all is well")
        sys.stdout.flush()
        import os
        os._exit(0)
    """
    code = textwrap.dedent(script.format(root=str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert "all is well" in done.stdout, done.stderr
