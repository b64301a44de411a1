# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst at the Map page: tests, the matrix, maps with options; inside QGIS."""

from pathlib import Path

import numpy as np
import popups
from dock_steps import MAP
from evidence import LabelFile, Land, class_map, layer
from osgeo import gdal, ogr
from person import StepFailed
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QScrollArea
from ticks import not_felt

LEFT = Qt.MouseButton.LeftButton
BESIDE = {"confidence": 1, "margin": 1, "novelty": 1, "probabilities": 6}
"""What is written beside a map, and how many bands it has."""


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
        bare = person.screen()
        person.choose("testCombo", "Spatial blocks")
        told = person.find("blockNote")
        person.wait(lambda: "m" in told.text() and "Laying" not in told.text(), 30, "blocks")
        person.wait(lambda: person.screen() != bare, 10, "blocks on the map")
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

    def compare(self):
        """Test all kinds of heads on the same parts of the labels."""
        person = self.person
        self.dock.unfold("compareGroup")
        button = person.find("compareKindsButton")
        self._bring_into_sight(button)
        person.click("compareKindsButton")
        table, told = person.find("kindsTable"), person.find("kindsSentence")
        person.wait(lambda: told.isVisible() and "Tested by" in told.text(), 120, "a comparison")
        rows = {table.item(row, 0).text(): table.item(row, 1).text()
                for row in range(table.rowCount())}  # fmt: skip
        tried = [words for words in rows.values() if "±" in words]
        if len(tried) != self.plan["kinds"]:
            raise StepFailed(f"not all kinds were tried: {rows}")
        return [rows, told.text()]

    def learning_curve(self):
        """See whether more labels would help."""
        person = self.person
        self._bring_into_sight(person.find("moreLabelsHelpButton"))
        person.click("moreLabelsHelpButton")
        told = person.find("curveSentence")
        person.wait(lambda: told.isVisible() and "tested by" in told.text(), 120, "a curve")
        self._bring_into_sight(told)
        self.shoot("compare")
        return told.text()

    # --- maps

    def classify(self):
        """Make maps of two years, with all that can be had beside them."""
        person, plan = self.person, self.plan
        self.dock.page(MAP)
        self._click_box("showBlocksCheck", checked=False)
        popups.menu(lambda: person.click("mapYearsButton"), str(plan["other_year"]))
        group = person.find("mapOptionsGroup")
        self._bring_into_sight(group)
        self.dock.unfold("mapOptionsGroup")
        for name in ("uncertainCheck", "probabilitiesCheck", "marginCheck", "noveltyCheck",
                     "sieveCheck", "polygonsCheck"):  # fmt: skip
            self._click_box(name, checked=True)
        self._set("uncertainSpin", 40)
        person.click("classifyButton")
        told = self.dock.done("classifyNote", 120)
        person.rendered()
        self.shoot("map", whole=True)
        return [told, self._judged(), self._counted(), self._polygons()]

    @not_felt()
    def _judged(self):
        """Look at each file: bands, and of the class maps how much of the land they have right."""
        folder, years = Path(self.plan["map"]).parent, (self.plan["other_year"], self.plan["year"])
        found = {}
        for year in years:
            for kind, bands in BESIDE.items():
                raster = gdal.Open(str(folder / f"map_{kind}_{year}.tif"))
                if raster is None or raster.RasterCount != bands:
                    raise StepFailed(f"no map_{kind}_{year}.tif of {bands} bands")
            for kind in ("map", "map_clean"):
                right, pixels = self.land.agreement(str(folder / f"{kind}_{year}.tif"))
                found[f"{kind}_{year}"] = [right, pixels]
                if right < self.plan["least_map"]:
                    raise StepFailed(f"{kind}_{year} is right at {right} of its pixels only")
            if found[f"map_clean_{year}"][0] < found[f"map_{year}"][0]:
                raise StepFailed(f"the cleaned copy is worse: {found}")
            if layer(f"{year} land cover") is None:
                raise StepFailed(f"the map of {year} is not in the project")
        return found

    @not_felt()
    def _polygons(self):
        """Compare the polygons' hectares with the pixels of the cleaned copy they were made of."""
        folder, year = Path(self.plan["map"]).parent, self.plan["year"]
        source = ogr.Open(str(folder / f"map_polygons_{year}.gpkg"))
        drawn = {}
        for each in source.GetLayer(0):
            name = each.GetField("class")
            drawn[name] = drawn.get(name, 0.0) + each.GetField("hectares")
        pixels, names, _ = class_map(str(folder / f"map_clean_{year}.tif"))
        numbers, counts = np.unique(pixels, return_counts=True)
        counted = {names[number]: count / 100 for number, count in zip(numbers, counts) if number}
        # sums of decimal fractions: half a pixel is 0.005 ha
        if drawn.keys() != counted.keys() or any(
            abs(size - counted[name]) > 0.005 for name, size in drawn.items()
        ):
            raise StepFailed(f"polygons {drawn} and pixels {counted} are of different areas")
        return len(drawn)

    @not_felt()
    def _counted(self):
        """Return the hectares that the table tells of the later year: those of the map's pixels."""
        table = self.person.find("areaTable")
        rows = range(table.rowCount())
        told = {table.item(row, 0).text(): float(table.item(row, 2).text()) for row in rows}
        path = Path(self.plan["map"]).with_name(f"map_{self.plan['year']}.tif")
        pixels = int((gdal.Open(str(path)).ReadAsArray() > 0).sum())
        if abs(sum(told.values()) - pixels / 100) > 0.05 * len(told):
            raise StepFailed(f"{told} are not the hectares of {pixels} pixels")
        return told

    # --- inside

    def shoot(self, name, **how):
        """Take a picture for the tutorial, where one is wanted."""
        self.person.shoot(name, **how)

    def _click_box(self, name, *, checked):
        box = self.person.find(name)
        if box.isChecked() != checked:
            self._bring_into_sight(box)
            mark = QPoint(10, box.height() // 2)  # beside it and its words a click does nothing
            QTest.mouseClick(box, LEFT, pos=mark)
        if box.isChecked() != checked:
            raise StepFailed(f"a click does not change {name}")

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
