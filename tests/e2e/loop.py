# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From the click of a label to the redrawn map, again and again. Runs inside QGIS."""

import random
import time

from dock_steps import LABELS, Dock
from person import Person
from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRectangle
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
    person = Person(plan.get("pictures"))
    person.new_project()
    size = _resize(person, plan["size"])
    dock = Dock(person)
    _show(person, plan, plan["metres"][0])
    dock.open()
    dock.page(LABELS)
    facts = {"size": size}
    panel = person.find("LivePanel")
    redraws = Redraws(panel, person.canvas.viewport())
    for name in CLASSES:
        edit = person.find("classNameEdit")
        QTest.mouseClick(edit, Qt.MouseButton.LeftButton)
        QTest.keyClicks(edit, name)
        person.click("addClassButton")
    person.click("labelToolButton")
    draw = random.Random(0)
    for metres in plan["metres"]:
        redraws.restart()
        started = time.perf_counter()
        _show(person, plan, metres)
        if metres == plan["metres"][0]:  # a map needs labels of two classes
            for number in range(len(CLASSES)):
                QTest.keyClick(person.canvas, str(number + 1))
                _click(person, draw)
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
    (x, y), width, height = plan["middle"], person.canvas.width(), person.canvas.height()
    half_x, half_y = width * metres / 2, height * metres / 2
    person.canvas.setExtent(QgsRectangle(x - half_x, y - half_y, x + half_x, y + half_y))
    person.canvas.refresh()
    person.rendered()
