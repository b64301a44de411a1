# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives the dock inside a real QGIS as a person would: through Qt events on what is visible.

Runs in the QGIS process (`qgis --code`), so it uses only what QGIS ships.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QWidget
from qgis.utils import iface
from ticks import Ticks, not_felt

LONLAT = "EPSG:4326"


class StepFailed(Exception):
    """Something that a person waited for did not come."""


class Steps:
    """What a person did, how long it took, and the longest gap meanwhile."""

    def __init__(self, person, *more):
        self.person, self.done, self._more = person, {}, more

    def __call__(self, name, step):
        """Do a step, take pictures, and stop at what the plugin complains of."""
        start = time.perf_counter()
        self.person.ticks.restart()
        told = step()
        self.done[name] = {
            "seconds": round(time.perf_counter() - start, 2),
            "longest_gap_ms": self.person.ticks.longest_ms(),
            "told": told,
        }
        self.look(name)
        if self.person.complaint():
            raise StepFailed(f"at {name}: {self.person.complaint()}")

    def look(self, name):
        """Take a picture of the window, and of what else is open."""
        number = f"{len(self.done):02d}"
        self.person.look(f"{number}-{name}")
        for each in self._more:
            each.look(f"{number}-{name} (dialog)")


class Person:
    """Finds widgets by the names they have, looks whether they can be used, and uses them."""

    def __init__(self, pictures=None):
        self.window = iface.mainWindow()
        self.canvas = iface.mapCanvas()
        self.pictures = Path(pictures) if pictures else None
        self.ticks = Ticks()
        self._found = {}

    def find(self, name):
        """Return a widget by name, the dock's if it has one: QGIS has an `undoButton` too.

        It is remembered, as looking through all of QGIS takes up to 0.1 s.
        """
        found = self._found.get(name)
        if found is None or sip.isdeleted(found):
            dock = self.window.findChild(QWidget, "TesseraDock")
            found = dock.findChild(QWidget, name) if dock is not None else None
            found = self._found[name] = found or self.window.findChild(QWidget, name)
        if found is None:
            raise StepFailed(f"there is no {name}")
        return found

    def wait(self, condition, seconds, what):
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise StepFailed(f"waited {seconds} s for: {what}")
            QTest.qWait(20)

    def click(self, name):
        widget = self.find(name)
        self.wait(lambda: widget.isVisible() and widget.isEnabled(), 15, f"{name} to be usable")
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton)
        QApplication.processEvents()

    def choose(self, name, text):
        combo = self.find(name)
        index = next((i for i in range(combo.count()) if text in combo.itemText(i)), -1)
        if index < 0:
            known = [combo.itemText(i) for i in range(combo.count())]
            raise StepFailed(f"{name} has no {text!r}, only {known}")
        combo.setCurrentIndex(index)
        QApplication.processEvents()

    def new_project(self):
        iface.actionNewProject().trigger()
        QTest.qWait(200)  # a dock that is open adds its layers, and keeps the map where it is

    def zoom_to(self, west, south, east, north, crs="EPSG:3857"):
        target = QgsCoordinateReferenceSystem(crs)
        QgsProject.instance().setCrs(target)
        self.canvas.setDestinationCrs(target)
        box = self._from_lonlat().transformBoundingBox(QgsRectangle(west, south, east, north))
        for _ in range(5):  # a dock that is still adding its layers puts the map where it was
            self.canvas.setExtent(box)
            self.canvas.refresh()
            self.rendered()
            if self.canvas.extent().contains(box.center()):
                return

    def click_canvas(self, lon, lat, button=Qt.MouseButton.LeftButton):
        QTest.mouseClick(self.canvas.viewport(), button, pos=self._pixel(lon, lat))
        QApplication.processEvents()

    def drag_canvas(self, lonlats):
        """Press, move along the points, release."""
        viewport = self.canvas.viewport()
        pixels = [self._pixel(*lonlat) for lonlat in lonlats]
        QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=pixels[0])
        for start, stop in zip(pixels[:-1], pixels[1:]):
            for share in (0.25, 0.5, 0.75, 1.0):
                QTest.mouseMove(viewport, start + (stop - start) * share)
                QTest.qWait(5)
        QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=pixels[-1])
        QApplication.processEvents()

    def rendered(self, settle_ms=400):
        QTest.qWait(settle_ms)
        self.wait(lambda: not self.canvas.isDrawing(), 60, "the map to be drawn")

    def key(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        """Press a key on the map; then the window has its turn, as with any hand."""
        QTest.keyClick(self.canvas, key, modifier)
        QApplication.processEvents()

    def screen(self):
        """Return what the map shows."""
        with not_felt():
            return self.canvas.grab().toImage()

    def complaint(self):
        """Return what the plugin warns of in the message bar, or an empty text."""
        item = self.window.findChild(QWidget, "tesseraMessage")
        return f"{item.title()}: {item.text()}" if item is not None else ""

    def look(self, name):
        """Take a picture of the whole window."""
        if self.pictures is None:
            return
        self.rendered()
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.window.grab().save(str(self.pictures / f"{name}.png"))

    def _from_lonlat(self):
        return QgsCoordinateTransform(
            QgsCoordinateReferenceSystem(LONLAT),
            self.canvas.mapSettings().destinationCrs(),
            QgsProject.instance(),
        )

    def _pixel(self, lon, lat):
        point = self._from_lonlat().transform(QgsPointXY(lon, lat))
        pixel = self.canvas.getCoordinateTransform().transform(point)
        return QPoint(round(pixel.x()), round(pixel.y()))


def start():
    """Perform the scenario of the plan, `module.function`, when QGIS is ready; then leave.

    The plan is the JSON file in TESSERA_PLAN. What the scenario returns, or the traceback, goes to
    the plan's `answer`. Nothing may hang: an exception in a slot would open a modal window, so it
    ends QGIS instead.
    """
    plan = json.loads(Path(os.environ["TESSERA_PLAN"]).read_text("utf-8"))
    answer = Path(plan["answer"])
    module, _, function = plan["scenario"].partition(".")
    scenario = getattr(importlib.import_module(module), function)
    log = answer.with_suffix(".crash.log").open("w")
    faulthandler.enable(log)
    if hasattr(signal, "SIGUSR1"):  # kill -USR1 tells where it hangs
        faulthandler.register(signal.SIGUSR1, log)

    def leave(facts, status):
        answer.write_text(json.dumps(facts, indent=1), "utf-8")
        sys.stdout.flush()
        os._exit(status)

    def broken(kind, error, trace):
        leave({"error": "".join(traceback.format_exception(kind, error, trace))}, 70)

    def close():
        """Leave as a person does, so that leaving is part of every test."""
        QgsProject.instance().setDirty(False)
        QTimer.singleShot(20_000, lambda: leave({"error": "QGIS did not close"}, 76))
        iface.actionExit().trigger()

    def run():
        window = iface.mainWindow()
        window.resize(1590, 980)
        window.move(0, 0)
        QTest.qWait(500)
        try:
            facts = scenario(plan) or {}
            answer.write_text(json.dumps(facts, indent=1), "utf-8")
            close()
        except BaseException:
            faulthandler.dump_traceback(log)  # of all threads: what waits may hang
            window.grab().save(str(answer.with_suffix(".failed.png")))
            leave({"error": traceback.format_exc()}, 70)

    sys.excepthook = broken
    limit_s = plan["limit_s"]
    QTimer.singleShot(1000 * limit_s, lambda: leave({"error": f"not done in {limit_s} s"}, 75))
    iface.initializationCompleted.connect(lambda: QTimer.singleShot(500, run))
