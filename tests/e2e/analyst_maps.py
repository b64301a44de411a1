# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst at the Map page: tests, the matrix, maps with options; inside QGIS."""

from pathlib import Path

import popups
from dock_steps import MAP
from evidence import LabelFile, Land, layer
from osgeo import gdal, ogr
from person import StepFailed
from qgis.gui import QgsCollapsibleGroupBoxBasic
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QScrollArea

LEFT = Qt.MouseButton.LeftButton
UNCERTAIN = "Uncertain"


class Mapping:
    """One person at the Map page."""

    def __init__(self, person, dock, plan):
        self.person, self.dock, self.plan = person, dock, plan
        self.file = LabelFile(plan["labels"])
        self.land = Land(plan["land"], plan["names"])

    # --- train and test

    def train_at_random(self):
        """Train the instant head, tested by random folds."""
        self.dock.page(MAP)
        self.person.choose("headCombo", "Instant")
        self.person.choose("testCombo", "Random: k-fold")
        return self._train()

    def train_by_blocks(self):
        """Train it again, tested by blocks of ground, which are drawn on the map before."""
        person = self.person
        bare = person.canvas.grab().toImage()
        person.choose("testCombo", "Spatial blocks")
        told = person.find("blockNote")
        person.wait(lambda: "m" in told.text() and "Laying" not in told.text(), 30, "blocks")
        person.wait(lambda: person.canvas.grab().toImage() != bare, 10, "blocks on the map")
        self.shoot("blocks")
        return [told.text(), *self._train()]

    def _train(self):
        person = self.person
        person.click("trainButton")
        told = self.dock.done("trainNote", 60)
        accuracy = person.find("accuracyLabel").text()
        if "±" not in accuracy:
            raise StepFailed(f"no mean and spread: {accuracy}")
        return [told, accuracy]

    def matrix(self):
        """Click the cell of the matrix with most errors: its labels are selected and in sight."""
        person, table = self.person, self.person.find("accuracyTable")
        cells = [(int(table.item(row, column).text()), row, column)
                 for row in range(table.rowCount()) for column in range(table.rowCount())
                 if row != column and table.item(row, column).text().isdigit()]  # fmt: skip
        if not cells:
            raise StepFailed("the head makes no errors at all")
        _, row, column = max(cells)
        before = person.canvas.extent()
        item = table.item(row, column)
        self._bring_into_sight(table)
        QTest.mouseClick(table.viewport(), LEFT, pos=table.visualItemRect(item).center())
        told = person.find("cellLabel")
        person.wait(lambda: told.isVisible() and "mapped as" in told.text(), 10, "the labels")
        if "Selected on the map" not in told.text() or person.canvas.extent() == before:
            raise StepFailed(f"the map does not show the labels: {told.text()}")
        person.rendered()
        self.shoot("matrix")
        QTest.mouseClick(table.viewport(), LEFT, pos=table.visualItemRect(item).center())
        person.zoom_to(*self.plan["bbox"])
        return told.text()

    # --- maps

    def classify(self):
        """Make maps of two years, with all that can be had beside them."""
        person, plan = self.person, self.plan
        self.dock.page(MAP)
        popups.menu(lambda: person.click("mapYearsButton"), str(plan["other_year"]))
        group = person.find("mapOptionsGroup")
        if group.isCollapsed():
            group.setCollapsed(False)
        for name in ("uncertainCheck", "probabilitiesCheck", "marginCheck", "noveltyCheck",
                     "sieveCheck", "polygonsCheck"):  # fmt: skip
            self._tick(name)
        self._set("uncertainSpin", 40)
        self._bring_into_sight(group)
        self.shoot("options")
        person.click("classifyButton")
        told = self.dock.done("classifyNote", 120)
        return [told, self._judged(), self._counted()]

    def _judged(self):
        """Compare the maps with the land, pixel by pixel."""
        found = {}
        folder = Path(self.plan["map"]).parent
        for path in sorted(folder.glob("map*.tif")):
            raster = gdal.Open(str(path))
            facts = [raster.RasterCount]
            if raster.GetRasterBand(1).GetCategoryNames():
                facts += self.land.agreement(str(path), leave_out=(UNCERTAIN,))
            found[path.name] = facts
        return found

    def _counted(self):
        """Return the hectares that are told; those of the polygons must be the same."""
        person, table = self.person, self.person.find("areaTable")
        rows = range(table.rowCount())
        return {table.item(row, 0).text(): table.item(row, 1).text() for row in rows}

    # --- inside

    def shoot(self, name, dialog=None):
        self.person.shoot(name, dialog)

    def _tick(self, name):
        box = self.person.find(name)
        if not box.isChecked():
            self._bring_into_sight(box)
            QTest.mouseClick(box, LEFT, pos=box.rect().center() * 0 + _mark(box))
        if not box.isChecked():
            raise StepFailed(f"a click does not tick {name}")

    def _set(self, name, value):
        spin = self.person.find(name)
        self._bring_into_sight(spin)
        spin.selectAll()
        QTest.keyClicks(spin, str(value))
        QTest.keyClick(spin, Qt.Key.Key_Tab)
        if spin.value() != value:
            raise StepFailed(f"{name} has {spin.value()}, not {value}")

    def _bring_into_sight(self, widget):
        """Scroll the page, as a person does by the wheel."""
        page = widget.parentWidget()
        while page is not None and not isinstance(page, QScrollArea):
            page = page.parentWidget()
        if page is not None:
            page.ensureWidgetVisible(widget, 0, 10)
        QApplication.processEvents()


def _mark(box):
    """Return the place of a check box's mark: beside it a click does nothing."""
    from qgis.PyQt.QtCore import QPoint  # noqa: PLC0415

    return QPoint(10, box.height() // 2)
