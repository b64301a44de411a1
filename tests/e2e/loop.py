# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map again and again: from the click of a label, from a new view. Runs inside QGIS."""

import math
import random
import sys
import time

import numpy as np
from dock_steps import LABELS, Dock
from person import Person
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDockWidget

CLASSES = ("Water", "Forest", "Crops", "Town", "Meadow", "Rock")
MARGIN_PX = 20


class Redraws(QObject):
    """Tells when a live map that was just made has been painted."""

    def __init__(self, panel, viewport):
        super().__init__()
        self.painted_s, self.frame, self.is_due = 0.0, None, False
        panel.loop.drawn.connect(self._made)
        viewport.installEventFilter(self)

    def restart(self):
        self.painted_s, self.frame, self.is_due = 0.0, None, False

    def eventFilter(self, _watched, event):
        if event.type() == QEvent.Type.Paint and self.is_due:
            self.is_due = False
            QTimer.singleShot(0, self._painted)  # the paint itself comes after this
        return False

    def _made(self, frame):
        if frame.is_whole and not self.painted_s:
            self.frame, self.is_due = frame, frame.image is not None

    def _painted(self):
        self.painted_s = time.perf_counter()


def clicks(plan):
    """Label at random places of the map, at each of the plan's metres per screen pixel."""
    person, panel, facts = _opened(plan)
    redraws = Redraws(panel, person.canvas.viewport())
    draw = random.Random(0)
    for metres in plan["metres"]:
        redraws.restart()
        started = time.perf_counter()
        _show(person, plan, metres)
        if metres == plan["metres"][0]:  # a map needs labels of two classes
            _label(person, draw)
            _add_polygons(person, panel, plan, metres)
        person.wait(lambda: redraws.painted_s, 120, "the first live map")
        first_s = redraws.painted_s - started
        QTest.qWait(2000)
        facts[str(metres)] = {
            "first_s": round(first_s, 2),
            "idle_gap_ms": _idle(person, plan["clicks"]),
            **_measured(person, redraws, panel, draw, plan["clicks"]),
        }
        person.look(f"{metres} m")
    facts["told"] = person.find("liveState").text()
    return facts


def views(plan):
    """Zoom out tenfold to a view that is not known yet and pan by half a screen, again and again."""
    person, panel, facts = _opened(plan)
    pictures = Pictures(panel, person.canvas.viewport())
    draw, metres = random.Random(0), plan["views_at"]
    _show(person, plan, min(plan["metres"]))
    _label(person, draw)
    person.wait(lambda: pictures.whole_s, 120, "the first live map")
    zooms, pans = [], []
    for _ in range(plan["views"]):
        x, y = _place(plan, draw, metres)
        pictures.of(lambda x=x, y=y: _extent(person, x, y, metres / 10), 120)
        QTest.qWait(300)
        person.ticks.restart()
        zooms.append(pictures.of(lambda x=x, y=y: _extent(person, x, y, metres), 120))
        QTest.qWait(100)
        zooms[-1]["gap_ms"] = person.ticks.longest_ms()
        beside = _beside(plan, draw, metres, (x, y))
        if beside:
            QTest.qWait(300)
            person.ticks.restart()
            pans.append(pictures.of(lambda at=beside: _extent(person, *at, metres), 120))
            QTest.qWait(100)
            pans[-1]["gap_ms"] = person.ticks.longest_ms()
    person.look(f"views at {metres} m")
    return {**facts, "zooms": zooms, "pans": pans, "idle_gap_ms": _idle(person, 20)}


class Pictures(QObject):
    """When what a live map shows of a new view has been painted: enough of it, and all of it."""

    ENOUGH = 0.95
    """So much of the screen shows something."""

    def __init__(self, panel, viewport):
        super().__init__()
        self._made = []
        self.seen_s, self.whole_s = 0.0, 0.0
        panel.loop.drawn.connect(self._drawn)
        viewport.installEventFilter(self)

    def of(self, action, limit_s):
        """Return the seconds until enough and until all is painted of what an action leads to."""
        self._made, self.seen_s, self.whole_s = [], 0.0, 0.0
        began = time.perf_counter()
        action()
        while not self.whole_s:
            if time.perf_counter() > began + limit_s:
                raise TimeoutError("the live map did not come")
            QTest.qWait(5)
        return {"seen_s": self.seen_s - began, "whole_s": self.whole_s - began}

    def eventFilter(self, _watched, event):
        if event.type() == QEvent.Type.Paint and self._made:
            QTimer.singleShot(0, self._painted)  # the paint itself comes after this
        return False

    def _drawn(self, frame):
        if frame.image is not None:
            self._made.append((_share_shown(frame.image) >= self.ENOUGH, frame.is_whole))

    def _painted(self):
        now = time.perf_counter()
        for is_enough, is_whole in self._made:
            if is_enough or is_whole:
                self.seen_s = self.seen_s or now
            if is_whole:
                self.whole_s = self.whole_s or now
        self._made = []


def _share_shown(image):
    """Return how much of an image is not clear, of every fourth row and column."""
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    pixels = np.frombuffer(bits, np.uint32).reshape(image.height(), -1)
    return float((pixels[::4, ::4] != 0).mean())


def _place(plan, draw, metres):
    """Return a random middle of a view of which all is fetched."""
    west, south, east, north = plan["fetched"]
    half_x, half_y = (size * metres / 2 for size in plan["size"])
    ranges = (west + half_x, east - half_x), (south + half_y, north - half_y)
    return [draw.uniform(low, max(low, high)) for low, high in ranges]


def _beside(plan, draw, metres, at):
    """Return the middle of a view half a screen away, None where none is fetched."""
    west, south, east, north = plan["fetched"]
    half_x, half_y = (size * metres / 2 for size in plan["size"])
    around = [(at[0] + dx * half_x, at[1] + dy * half_y)
              for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]  # fmt: skip
    inside = [(x, y) for x, y in around
              if west + half_x <= x <= east - half_x and south + half_y <= y <= north - half_y]  # fmt: skip
    return draw.choice(inside) if inside else None


def _extent(person, x, y, metres):
    half_x, half_y = person.canvas.width() * metres / 2, person.canvas.height() * metres / 2
    person.canvas.setExtent(QgsRectangle(x - half_x, y - half_y, x + half_x, y + half_y))
    person.canvas.refresh()


def _opened(plan):
    """Open the dock at its Labels page with classes and no label; what is known of the map."""
    person = Person(plan.get("pictures"))
    person.new_project()
    size = _resize(person, plan["size"])
    dock = Dock(person)
    _show(person, plan, plan["metres"][0])
    dock.open()
    dock.page(LABELS)
    for name in CLASSES:
        edit = person.find("classNameEdit")
        QTest.mouseClick(edit, Qt.MouseButton.LeftButton)
        QTest.keyClicks(edit, name)
        person.click("addClassButton")
    person.click("labelToolButton")
    return person, person.find("LivePanel"), {"size": size}


def _label(person, draw):
    """Add a label of each class."""
    for number in range(len(CLASSES)):
        QTest.keyClick(person.canvas, str(number + 1))
        _click(person, draw)


def _add_polygons(person, panel, plan, metres):
    """Add squares of 20 x 20 pixels, of all classes, evenly over the map as it is, all at once."""
    count = plan["polygons"]
    if not count:
        return
    store = panel._session.labels
    new_label = sys.modules[type(store).__module__].NewLabel
    to_degrees = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem(plan["crs"]), QgsCoordinateReferenceSystem("EPSG:4326"),
        QgsProject.instance(),
    )  # fmt: skip
    x, y = plan["middle"]
    width, height = (size * metres for size in plan["size"])
    across = math.ceil(math.sqrt(count * width / height))
    down = math.ceil(count / across)
    made = []
    for number in range(count):
        west = x - width / 2 + (number % across + 0.1) * width / across
        south = y - height / 2 + (number // across + 0.1) * height / down
        square = QgsGeometry.fromRect(QgsRectangle(west, south, west + 200, south + 200))
        square.transform(to_degrees)
        land_class = store.classes[number * 7 % len(CLASSES)]
        made.append(new_label(square, land_class.id, panel._session.settings.year))
    store.add_labels(made)
    wanted = len(store.labels())
    person.wait(
        lambda: panel.loop.state and panel.loop.state.labels == wanted, 120, "the head of them all"
    )


def _measured(person, redraws, panel, draw, count):
    seconds, made, gaps, parts, cpu = [], [], [], [], []
    for number in range(count):
        labels = panel.loop.state.labels
        QTest.keyClick(person.canvas, str(number % len(CLASSES) + 1))
        QTest.qWait(300)
        redraws.restart()
        person.ticks.restart()
        started, used = time.perf_counter(), time.process_time()
        _click(person, draw)
        parts.append(time.perf_counter() - started)
        person.wait(lambda: redraws.painted_s, 20, "the map after a click")
        seconds.append(redraws.painted_s - started)
        cpu.append(time.process_time() - used)
        made.append(redraws.frame.seconds)
        QTest.qWait(200)
        gaps.append(person.ticks.longest_ms())
        person.wait(lambda before=labels: panel.loop.state.labels == before + 1, 5, "the head")
    return {"click_ms": _ms(seconds), "of_loop_ms": _ms(made), "in_click_ms": _ms(parts),
            "cpu_ms": _ms(cpu), "gaps_ms": [round(each) for each in gaps]}  # fmt: skip


def _idle(person, count):
    """Return the longest gap of each of as many waits as there are clicks, with nothing to do."""
    gaps = []
    for _ in range(count):
        person.ticks.restart()
        QTest.qWait(400)
        gaps.append(round(person.ticks.longest_ms()))
    return gaps


def _click(person, draw):
    width, height = person.canvas.width(), person.canvas.height()
    place = QPoint(draw.randrange(MARGIN_PX, width - MARGIN_PX),
                   draw.randrange(MARGIN_PX, height - MARGIN_PX))  # fmt: skip
    QTest.mouseClick(person.canvas.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QApplication.processEvents()


def _ms(seconds):
    return [round(1000 * each) for each in seconds]


def _resize(person, size):
    """Give the map its size; the window's other docks go."""
    for each in person.window.findChildren(QDockWidget):
        each.hide()
    person.canvas.setFixedSize(*size)
    QTest.qWait(300)
    return [person.canvas.width(), person.canvas.height()]


def _show(person, plan, metres):
    """Show so many metres per pixel of the screen, about the plan's middle."""
    crs = QgsCoordinateReferenceSystem(plan["crs"])
    QgsProject.instance().setCrs(crs)
    person.canvas.setDestinationCrs(crs)
    _extent(person, *plan["middle"], metres)
    person.rendered()
