# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst looks at embeddings without any label: the Explore window; inside QGIS."""

import popups
from dock_steps import AREA
from evidence import LabelFile, difference, layer
from person import StepFailed
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QLineEdit

LEFT = Qt.MouseButton.LeftButton
COLORS, SIMILARITY, CLUSTERS, YEARS = range(4)
CLUSTER_COUNT = 5
NAMED = ("Flooded", "Dry")
"""What the person calls the first two clusters; the others are unticked."""


class Exploring:
    """One person with the Explore window."""

    def __init__(self, person, dock, plan):
        self.person, self.dock, self.plan = person, dock, plan
        self.file = LabelFile(plan["labels"])

    def colors(self):
        """Open the window; other components as colours make another picture."""
        person = self.person
        self.dock.page(AREA)
        before = person.screen()
        person.click("exploreButton")
        window = person.find("exploreTabs").window()
        person.wait(window.isVisible, 10, "the Explore window")
        window.move(20, person.window.height() - window.height() - 60)
        self._until_other(before, "colours on the map")
        before = person.screen()
        popups.key_to(person.find("redCombo"), "Component 4")
        self._until_other(before, "other colours")
        return person.find("redCombo").currentText()

    def similarity(self):
        """Click a place: the map shows what is like it."""
        person = self.person
        before = person.screen()
        self._tab(SIMILARITY)
        person.click("similarityPickButton")
        person.click_canvas(*self.plan["roomy"]["Forest land"])
        places = person.find("similarityList")
        person.wait(lambda: places.count() == 1, 10, "the place in the list")
        self._until_other(before, "a heat map")
        person.shoot("explore", whole=True)
        return places.item(0).text()

    def clusters(self):
        """Find clusters, name two, and make them classes with labels."""
        person, before = self.person, self.file.classes()
        known = len(self.file.rows())
        self._tab(CLUSTERS)
        spin = person.find("clusterCountSpin")
        spin.selectAll()
        QTest.keyClicks(spin, str(CLUSTER_COUNT))
        person.click("clusterButton")
        table = person.find("clustersTable")
        person.wait(lambda: table.rowCount() == CLUSTER_COUNT, 60, "clusters")
        if layer("lusters") is None:
            raise StepFailed("no layer of the clusters")
        for row in range(CLUSTER_COUNT):
            if row < len(NAMED):
                self._name(table, row, NAMED[row])
            else:
                self._untick(table, row)
        person.click("makeClassesButton")
        person.wait(lambda: len(self.file.rows()) > known, 30, "labels of the clusters")
        added = [name for name, _ in self.file.classes()[len(before) :]]
        if added != list(NAMED):
            raise StepFailed(f"the classes {NAMED} should be new, {added} are")
        return {name: self.file.counts()[name] for name in NAMED}

    def years(self):
        """See how like itself a place is over the years; the year that is missing is fetched."""
        person, table = self.person, self.person.find("yearsTable")
        self._tab(YEARS)
        person.click("yearsPickButton")
        person.click_canvas(*self.plan["roomy"]["Forest land"])
        person.wait(table.rowCount, 20, "the years")
        if person.find("fetchYearsButton").isEnabled():
            person.click("fetchYearsButton")
        wanted = {str(self.plan["year"]), str(self.plan["other_year"])}

        def found():
            rows = range(table.rowCount())
            return {table.item(row, 0).text() for row in rows
                    if "has an embedding" in table.item(row, 1).text()}  # fmt: skip

        person.wait(lambda: found() >= wanted, 30, f"embeddings of {wanted}")
        told = person.find("exploreNoteText").text()
        QTest.keyClick(person.find("exploreTabs").window(), Qt.Key.Key_Escape)
        return told

    # --- inside

    def _tab(self, index):
        bar = self.person.find("exploreTabs").tabBar()
        QTest.mouseClick(bar, LEFT, pos=bar.tabRect(index).center())
        QApplication.processEvents()

    def _until_other(self, before, what):
        self.person.wait(lambda: difference(before, self.person.screen()) > 0.3, 30, what)

    def _name(self, table, row, name):
        place = table.visualItemRect(table.item(row, 0)).center()
        QTest.mouseClick(table.viewport(), LEFT, pos=place)
        QTest.mouseDClick(table.viewport(), LEFT, pos=place)
        edit = table.viewport().findChild(QLineEdit)
        if edit is None:
            raise StepFailed("a double click does not let a cluster be named")
        edit.selectAll()
        QTest.keyClicks(edit, name)
        QTest.keyClick(edit, Qt.Key.Key_Return)
        QTest.qWait(20)  # the field goes

    def _untick(self, table, row):
        item = table.item(row, 0)
        table.scrollToItem(item)
        box = table.visualItemRect(item)
        QTest.mouseClick(table.viewport(), LEFT, pos=QPoint(box.left() + 10, box.center().y()))
        if item.checkState() != Qt.CheckState.Unchecked:
            raise StepFailed("a click does not untick a cluster")
