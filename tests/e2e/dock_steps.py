# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of the main job on the dock, each by clicks and keys; inside QGIS."""

from person import StepFailed
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QAction, QApplication, QLabel, QWidget

AREA, LABELS, MAP = range(3)


class Dock:
    """The dock as a person uses it."""

    def __init__(self, person):
        self.person = person

    def open(self):
        """Click the button in the toolbar, unless it is open as it was the last time."""
        window = self.person.window
        if any(each.isVisible() for each in window.findChildren(QWidget, "TesseraDock")):
            return
        action = next((a for a in window.findChildren(QAction, "tesseraAction")), None)
        if action is None:
            raise StepFailed("the plugin has no button")
        for widget in action.associatedWidgets():
            button = getattr(widget, "widgetForAction", lambda _: None)(action)
            if button is not None and button.isVisible():
                QTest.mouseClick(button, Qt.MouseButton.LeftButton)
                break
        else:
            action.trigger()
        self.person.wait(lambda: self.person.find("pages").isVisible(), 10, "the dock to open")

    def page(self, index):
        bar = self.person.find("pages").tabBar()
        QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(index).center())
        QApplication.processEvents()

    def look_what_is_there(self, dataset, year, seconds=30):
        """Choose, and wait until the map shows what is published and the page what it costs."""
        self.page(AREA)
        self.person.choose("datasetCombo", dataset)
        self.person.choose("yearCombo", str(year))
        download = self.person.find("downloadLabel")

        def is_known():
            told = download.text()
            return "To fetch:" in told and "up to" not in told and self.legends()

        self.person.wait(is_known, seconds, "coverage")
        years = self.person.find("yearCombo")
        self.person.wait(lambda: "here" in years.currentText(), seconds, "the years with data")
        return [download.text(), years.currentText()]

    def unfold(self, name):
        """Click the title of a group that is folded."""
        group = self.person.find(name)
        if group.isCollapsed():
            button = group.findChild(QWidget, "collapseButton")
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
            QApplication.processEvents()
        if group.isCollapsed():
            raise StepFailed(f"{name} does not unfold by a click")

    def legends(self):
        """Return the titles of what explains the map, as far as it is seen."""
        titles = self.person.canvas.findChildren(QLabel, "legendTitle")
        return [each.text() for each in titles if each.isVisible()]

    def fetch(self, dataset, year, seconds=90):
        self.page(AREA)
        self.person.choose("datasetCombo", dataset)
        self.person.choose("yearCombo", str(year))
        self.person.click("fetchButton")
        return self.done("fetchNote", seconds)

    def label(self, classes):
        """Add the classes, then click their places, choosing classes by the keys 1 to 9."""
        self.page(LABELS)
        for each in classes:
            edit = self.person.find("classNameEdit")
            QTest.mouseClick(edit, Qt.MouseButton.LeftButton)
            QTest.keyClicks(edit, each["name"])
            self.person.click("addClassButton")
        tool = self.person.find("labelToolButton")
        if not tool.isChecked():
            self.person.click("labelToolButton")
        for number, each in enumerate(classes, 1):
            self.person.key(str(number))
            for lon, lat in each["points"]:
                self.person.click_canvas(lon, lat)
        counts = [self.text("classTable", row, 3) for row in range(len(classes))]
        wanted = [str(len(each["points"])) for each in classes]
        if counts != wanted:
            raise StepFailed(f"the classes should have {wanted} labels, they have {counts}")
        return counts

    def train(self, head, seconds=120):
        self.page(MAP)
        self.person.choose("headCombo", head)
        self.person.click("trainButton")
        told = self.done("trainNote", seconds)
        return [told, self.person.find("accuracyLabel").text()]

    def classify(self, seconds=120):
        self.page(MAP)
        self.person.click("classifyButton")
        return self.done("classifyNote", seconds)

    def done(self, note, seconds):
        """Wait until nothing runs and the note says something; return what it says."""
        frame = self.person.find("jobFrame")
        text = self.person.find(f"{note}Text")
        QTest.qWait(100)
        self.person.wait(lambda: not frame.isVisible() and text.text(), seconds, f"{note} to speak")
        return text.text()

    def text(self, table, row, column):
        item = self.person.find(table).item(row, column)
        return item.text() if item else ""

    def files(self):
        return {
            "head": self.person.find("headPath").text(),
            "labels": self.person.find("labelsPath").text(),
        }
