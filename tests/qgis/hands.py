# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person's hands on the dock and its dialogs: widgets by their names, by clicks."""

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QApplication, QWidget

AREA, LABELS, MAP = range(3)


class Hands:
    """Uses the dock's widgets by their names, as a driver does."""

    def __init__(self, dock, qtbot, desktop):
        self.dock, self.qtbot, self.desktop = dock, qtbot, desktop

    @property
    def session(self):
        return self.dock._session

    def find(self, name):
        found = self.dock.findChild(QWidget, name)
        assert found is not None, name
        return found

    def click(self, name):
        widget = self.find(name)
        self.until(lambda: self.session.is_warm)  # within a second of the dock's opening
        assert widget.isEnabled(), f"{name} is not enabled: {widget.toolTip()}"
        assert widget.isVisible(), f"{name} is not to be seen"
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)
        QApplication.processEvents()

    def page(self, index):
        bar = self.find("pages").tabBar()
        self.qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(index).center())
        assert self.find("pages").currentIndex() == index

    def choose(self, name, text):
        """Choose the entry that has the text in it."""
        combo = self.find(name)
        entries = [combo.itemText(index) for index in range(combo.count())]
        combo.setCurrentIndex(next(i for i, entry in enumerate(entries) if text in entry))
        QApplication.processEvents()

    def until(self, condition, timeout=20_000):
        self.qtbot.waitUntil(condition, timeout=timeout)

    def settle(self):
        """Wait until no job runs."""
        classify = self.dock.map.classify
        self.until(lambda: not (self.session.box.running or classify.is_showing), 60_000)
        self.qtbot.wait(20)

    def looked(self):
        """Wait until what is here, and in which years, is known of just what the map shows."""
        self.qtbot.wait(200)
        view = self.dock.area._coverage
        self.until(lambda: view._is_answered and view._has_years and not view.is_busy)
        self.qtbot.wait(20)

    def fetch(self):
        self.page(AREA)
        self.until(lambda: self.find("fetchButton").isEnabled(), 5000)
        self.click("fetchButton")
        self.settle()

    def note(self, name):
        return self.find(name).text()

    def told(self, name):
        """Return what a label says; empty where it is not to be seen."""
        label = self.find(name)
        return label.text() if label.isVisibleTo(self.dock) else ""
