# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A small but real desktop: a window with a canvas and a message bar, around the plugin's parts."""

import contextlib

import pytest
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsLayerTreeMapCanvasBridge, QgsMapCanvas, QgsMessageBar
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QEvent, QPoint, QPointF, Qt
from qgis.PyQt.QtGui import QMouseEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QMainWindow, QMenu, QToolBar, QVBoxLayout, QWidget

from tessera_plugin.gui.dock import TesseraDock, add_to
from tessera_plugin.settings import MemoryStore, Settings, save
from tessera_plugin.tasks.session import Session
from tests.archive.ground import DEMO
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

LONLAT = QgsCoordinateReferenceSystem("EPSG:4326")
MERCATOR = QgsCoordinateReferenceSystem("EPSG:3857")


class Desktop:
    """What the plugin asks of QGIS's interface, with real widgets behind it."""

    def __init__(self):
        self.window = QMainWindow()
        self.window.resize(1200, 900)
        self.bar = QgsMessageBar()
        self.canvas = QgsMapCanvas()
        middle = QWidget()
        layout = QVBoxLayout(middle)
        layout.addWidget(self.bar)
        layout.addWidget(self.canvas, 1)
        self.window.setCentralWidget(middle)
        self.toolbar = QToolBar("Plugins", self.window)
        self.window.addToolBar(self.toolbar)
        self.menu = QMenu("Plugins", self.window)
        self.bridge = QgsLayerTreeMapCanvasBridge(
            QgsProject.instance().layerTreeRoot(), self.canvas, self.canvas
        )
        self.bridge.setAutoSetupOnFirstLayer(False)
        self.window.show()

    # --- as QgisInterface

    def mainWindow(self):
        return self.window

    def mapCanvas(self):
        return self.canvas

    def messageBar(self):
        return self.bar

    def addDockWidget(self, area, dock):
        self.window.addDockWidget(area, dock)
        dock.show()

    def removeDockWidget(self, dock):
        self.window.removeDockWidget(dock)

    def addToolBarIcon(self, action):
        self.toolbar.addAction(action)

    def removeToolBarIcon(self, action):
        self.toolbar.removeAction(action)

    def addPluginToMenu(self, name, action):
        self.menu.addAction(action)

    def removePluginMenu(self, name, action):
        self.menu.removeAction(action)

    # --- as a person

    def zoom_to(self, west, south, east, north, crs=MERCATOR):
        self.canvas.setDestinationCrs(crs)
        to_map = QgsCoordinateTransform(LONLAT, crs, QgsProject.instance())
        self.canvas.setExtent(to_map.transformBoundingBox(QgsRectangle(west, south, east, north)))

    def pixel(self, lon, lat):
        crs = self.canvas.mapSettings().destinationCrs()
        to_map = QgsCoordinateTransform(LONLAT, crs, QgsProject.instance())
        point = self.canvas.getCoordinateTransform().transform(
            to_map.transform(QgsPointXY(lon, lat))
        )
        return QPoint(round(point.x()), round(point.y()))

    def click(self, lon, lat):
        QTest.mouseClick(
            self.canvas.viewport(), Qt.MouseButton.LeftButton, pos=self.pixel(lon, lat)
        )

    def drag(self, lonlats):
        """Press, move, release; QTest's own moves go to the pointer, which offscreen has none."""
        pixels = [self.pixel(*each) for each in lonlats]
        self._mouse(QEvent.Type.MouseButtonPress, pixels[0])
        for start, stop in zip(pixels[:-1], pixels[1:]):
            for step in range(1, 9):
                self._mouse(QEvent.Type.MouseMove, start + (stop - start) * (step / 8))
        self._mouse(QEvent.Type.MouseButtonRelease, pixels[-1])

    def _mouse(self, kind, pixel):
        viewport, left = self.canvas.viewport(), Qt.MouseButton.LeftButton
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else left
        held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else left
        place, modifiers = QPointF(pixel), Qt.KeyboardModifier.NoModifier
        there = QPointF(viewport.mapToGlobal(pixel))
        QgsApplication.sendEvent(viewport, QMouseEvent(kind, place, there, button, held, modifiers))

    def close(self):
        self.canvas.stopRendering()
        QgsProject.instance().clear()
        QgsApplication.processEvents()
        self.window.close()
        sip.delete(self.window)


@pytest.fixture
def desktop(qgis_new_project):
    desktop = Desktop()
    yield desktop
    desktop.close()
    QgsApplication.processEvents()


@pytest.fixture(scope="session")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as server:
        yield server


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Settings of a person who keeps everything in a folder of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("TESSERA_WORKER_PYTHON", raising=False)
    store = MemoryStore()
    save(store, Settings(labels_path=str(tmp_path / "labels.gpkg")))
    return store


@pytest.fixture
def make_session(store):
    """Sessions that are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(**changes):
            session = Session(store)
            stack.callback(session.close)
            session.update(**changes)
            return session

        yield make


@pytest.fixture
def make_dock(desktop, make_session):
    """Docks of a session on the desktop, zoomed to the demo area."""
    with contextlib.ExitStack() as stack:

        def make(**changes):
            desktop.zoom_to(*DEMO)
            session = make_session(**changes)
            dock = TesseraDock(desktop, session, "0.0.1")
            stack.callback(dock.deleteLater)
            stack.callback(dock.close_down)
            add_to(desktop, dock)
            dock.setUserVisible(True)
            QTest.qWait(10)
            dock.finish()  # what is done by itself a moment later
            QTest.qWait(50)
            return dock

        yield make
