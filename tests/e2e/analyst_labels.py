# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst at the Labels page: classes, tools, live map, next places, import; inside QGIS.

Each step is done by clicks and keys, and looks what became of it in the label file and on the map.
"""

import math

import popups
from evidence import LabelFile, Land, difference, screen_agreement
from person import StepFailed
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QLineEdit

NAME, LABELS_COLUMN = 2, 3
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
CTRL = Qt.KeyboardModifier.ControlModifier
DEGREE_M = 111_320.0

RENAMED = ("Other land", "Bare ground", "#b8a58c")
FIRST = "Cropland"

ANOTHER_MAP = 0.5
"""So much of the screen is other when the live map shows something else."""


class Labelling:
    """One person at the Labels page."""

    def __init__(self, person, dock, plan):
        self.person, self.dock, self.plan = person, dock, plan
        self.file = LabelFile(plan["labels"])
        self.land = Land(plan["land"], plan["names"])

    # --- classes

    def classes(self):
        """Take a ready scheme; type a class, rename, recolour, move and delete; undo a deletion."""
        person = self.person
        popups.menu(lambda: person.click("classMenuButton"), "Schemes", "scheme_ipcc")
        self._expect(len(self.file.classes()), 6, "classes of the scheme")
        before, name, color = RENAMED
        self._rename(before, name)
        popups.color(person, f"classColor{self._class_id(name)}", color)
        self._move_to_top(FIRST)
        popups.type_into(person.find("classNameEdit"), "Clouds")
        person.click("addClassButton")
        self._expect(len(self.file.classes()), 7, "classes with the one that was typed")
        person.click("removeClassButton")
        self._expect(len(self.file.classes()), 6, "classes after a deletion")
        person.click("undoButton")
        person.click("redoButton")
        found = self.file.classes()
        self._expect(found[0][0], FIRST, "first class")
        self._expect(found[-1], (name, color), "renamed and recoloured class")
        return found

    def _rename(self, before, name):
        self._select_row(before)
        table = self.person.find("classTable")
        item = table.item(self._names().index(before), NAME)
        QTest.mouseDClick(table.viewport(), LEFT, pos=table.visualItemRect(item).center())
        edit = table.findChild(QLineEdit)
        if edit is None:
            raise StepFailed("a double click does not let the name be edited")
        edit.selectAll()
        QTest.keyClicks(edit, name)
        QTest.keyClick(edit, Qt.Key.Key_Return)
        QApplication.processEvents()

    def _move_to_top(self, name):
        table = self.person.find("classTable")
        start = table.visualItemRect(table.item(self._names().index(name), NAME)).center()
        top = table.visualItemRect(table.item(0, NAME))
        popups.drag(table.viewport(), start, QPoint(start.x(), top.top() + 2))

    def _select_row(self, name):
        table = self.person.find("classTable")
        item = table.item(self._names().index(name), NAME)
        QTest.mouseClick(table.viewport(), LEFT, pos=table.visualItemRect(item).center())

    # --- tools

    def points(self):
        """Click places of each class, choosing classes by their keys."""
        person, before = self.person, self.file.counts()
        person.click("labelToolButton")
        for number, name in enumerate(self._names(), 1):
            person.key(str(number))
            for lon, lat in self.plan["points"][name]:
                person.click_canvas(lon, lat)
        wanted = {name: before.get(name, 0) + len(self.plan["points"][name])
                  for name in self._names()}  # fmt: skip
        self._expect(self.file.counts(), wanted, "points in the file")
        return wanted

    def shapes(self):
        """Draw by hand, corner by corner, and with the brush, one class each."""
        person, known = self.person, {each["key"] for each in self.file.rows()}
        freehand, cornered, brushed = self._names()[:3]
        self._choose(freehand)
        lon, lat = self.plan["roomy"][freehand]
        person.drag_canvas(_ring(lon, lat, 45, 12))
        person.click("polygonToolButton")
        self._choose(cornered)
        corners = _ring(*self.plan["roomy"][cornered], 45, 5)[:-1]
        for lon, lat in corners:
            person.click_canvas(lon, lat)
        person.click_canvas(*corners[-1], button=RIGHT)
        person.click("brushToolButton")
        self._choose(brushed)
        lon, lat = self.plan["roomy"][brushed]
        person.drag_canvas([_away(lon, lat, -40, 0), (lon, lat), _away(lon, lat, 30, 20)])
        drawn = [each for each in self.file.rows() if each["key"] not in known]
        self._expect(
            [each["class_name"] for each in drawn], [freehand, cornered, brushed], "shapes"
        )
        for each in drawn:
            middle = each["geometry"].PointOnSurface()
            self._expect(self.land.at(middle.GetX(), middle.GetY()), each["class_name"], "the land")
        self._expect({each["table"] for each in drawn}, {"label_polygons"}, "tables")
        return self._pixels()

    def similar(self):
        """Pick a pixel, change the threshold, and take the set as labels."""
        person, name = self.person, self._names()[4]
        person.click("similarToolButton")
        self._choose(name)
        person.click_canvas(*self.plan["roomy"][name])
        told, slider = person.find("similarCountLabel"), person.find("similarSlider")
        person.wait(lambda: told.isVisible() and "pixels" in told.text(), 30, "similar pixels")
        first = told.text()
        for _ in range(6):
            QTest.keyClick(slider, Qt.Key.Key_Left)
        person.wait(lambda: told.text() != first, 20, "another set for another threshold")
        QTest.qWait(300)
        self.shoot("similar")
        person.click("acceptSimilarButton")
        person.wait(lambda: self.file.counts().get(name), 20, "labels of the set")
        return [first, told.text(), self.file.counts()]

    # --- the live map

    def live(self):
        """Look at the live map in its three modes, in full colours, and compare it with the land."""
        person, mode = self.person, self.person.find("liveModeCombo")
        self._live_is_new()
        slider = person.find("liveOpacitySlider")
        usual = slider.value()
        person.click("labelToolButton")
        QTest.keyClick(slider, Qt.Key.Key_End)
        self._live_is_new()
        right = screen_agreement(person, self.plan["places"], dict(self.file.classes()))
        self.shoot("live")
        if right < self.plan["least_live"]:
            raise StepFailed(f"the live map is right at {right} of the places only")
        pictures = [person.screen()]
        for words in ("Uncertainty", "Novelty"):
            popups.key_to(mode, words)
            person.wait(
                lambda words=words: words in self.dock.legends(), 20, f"the legend of {words}"
            )
            person.wait(lambda: self._differs(pictures[-1]), 20, f"a map of {words}")
            pictures.append(person.screen())
            if words == "Uncertainty":
                self.shoot("uncertainty")
        popups.key_to(mode, "Classes")
        slider.setFocus()
        while slider.value() > usual:
            QTest.keyClick(slider, Qt.Key.Key_PageDown)
        return [right, person.find("liveState").text()]

    def _differs(self, before):
        return difference(before, self.person.screen()) > ANOTHER_MAP

    def _live_is_new(self):
        """Wait until the live map is of all labels there are."""
        state, wanted = self.person.find("liveState"), sum(self.file.counts().values())

        def is_new():
            words = state.text()
            return f"on {wanted} labels" in words and "reading" not in words

        self.person.wait(is_new, 30, f"a live map of {wanted} labels, not “{state.text()}”")
        QTest.qWait(150)

    # --- changes

    def changes(self):
        """Move, reclass and delete a label; take all of it back, and do it again."""
        person, names = self.person, self._names()
        person.click("selectToolButton")
        lon, lat = self.plan["points"][names[0]][0]
        here = _away(lon, lat, 60, 0)
        before = self.file.counts()
        person.click_canvas(lon, lat)
        person.drag_canvas([(lon, lat), here])
        moved = self.file.near(*here)
        self._expect([each["class_name"] for each in moved], [names[0]], "the moved label")
        person.key("5")
        self._expect(self.file.counts()[names[4]], before[names[4]] + 1, "reclassed labels")
        person.key(Qt.Key.Key_Delete)
        self._expect(sum(self.file.counts().values()), sum(before.values()) - 1, "labels left")
        for _ in range(3):
            person.key(Qt.Key.Key_Z, CTRL)
        self._expect(self.file.counts(), before, "labels after three undos")
        self._expect(len(self.file.near(lon, lat)), 1, "the label in its old place")
        for _ in range(3):
            person.key(Qt.Key.Key_Y, CTRL)
        self._expect(sum(self.file.counts().values()), sum(before.values()) - 1, "after redo")
        for _ in range(3):
            person.key(Qt.Key.Key_Z, CTRL)
        self._expect(self.file.counts(), before, "labels after all")
        return before

    # --- where to label next

    def next_places(self, number=6):
        """Go from place to place by the key N and by itself; say by digits what is there."""
        person = self.person
        self._live_is_new()
        person.key(Qt.Key.Key_N)
        for done in range(number):
            self._is_asked()
            place = person.find("NextPanel")._asked
            known = len(self.file.rows())
            if done == 1:
                self.shoot("next")
            name = self.land.at(place.lon, place.lat)
            person.key(str(self._names().index(name) + 1))
            self._expect(len(self.file.rows()), known + 1, "labels after an answer")
            labelled = self.file.near(place.lon, place.lat)
            self._expect([each["class_name"] for each in labelled], [name], "the answer")
            if not person.find("nextGoOnCheck").isChecked():
                person.wait(lambda: person.find("nextPlaceButton").isEnabled(), 20, "a new head")
                self._live_is_new()
                person.key(Qt.Key.Key_N)
        self._is_asked()
        person.key(Qt.Key.Key_Escape)
        state = person.find("nextState")
        person.wait(lambda: "marked pixel" not in state.text(), 5, "Esc to leave it")
        return self.file.counts()

    def _is_asked(self):
        panel, state = self.person.find("NextPanel"), self.person.find("nextState")
        self.person.wait(
            lambda: panel.is_asking and "marked pixel" in state.text(), 30, "a place to be asked"
        )

    # --- import and problems

    def import_labels(self):
        """Take labels from a GeoJSON of other words, and say what each becomes."""
        person, before = self.person, self.file.counts()
        QFileDialog.getOpenFileName = lambda *_, **__: (self.plan["survey"], "")
        self.dock.unfold("fileGroup")
        person.click("importButton")
        person.click("importBrowseButton")
        table, note = person.find("importTable"), person.find("importNoteText")
        person.wait(lambda: table.rowCount() == len(self.plan["becomes"]), 30, "the values")
        popups.key_to(person.find("importYearCombo"), self.plan["year_field"])
        bar = person.find("importBar")
        QTest.qWait(300)  # it reads the file again
        person.wait(
            lambda: not bar.isVisible() and table.rowCount() == len(self.plan["becomes"]),
            30, "the values again",
        )  # fmt: skip
        for row in range(table.rowCount()):
            becomes = self.plan["becomes"][table.item(row, 0).text()]
            combo = person.find(f"importBecomes{row}")
            if becomes not in combo.currentText():
                popups.key_to(combo, becomes)
        ok = person.find("importOkButton")
        person.wait(lambda: str(self.plan["imported"]) in ok.text(), 20, "what will happen")
        told = note.text()
        self.shoot("import", dialog=table.window())
        person.click("importOkButton")
        added = sum(self.file.counts().values()) - sum(before.values())
        self._expect(added, self.plan["imported"], "imported labels")
        return told

    def problems(self):
        """Go through the list of what needs a look: delete one, set the year of another."""
        person, before = self.person, sum(self.file.counts().values())
        toggle = person.find("problemsToggle")
        person.wait(lambda: toggle.isVisible() and "need" in toggle.text(), 30, "problems")
        told = [toggle.text()]
        person.click("problemsToggle")
        self._choose_problem("Two classes in one place")
        self.shoot("problems")
        told.append(person.find("problemsAdvice").text())
        self._delete_imported()
        self._expect(sum(self.file.counts().values()), before - 1, "labels after a deletion")
        self._choose_problem("another year")
        person.click("problemYearButton")
        years = {each["year"] for each in self.file.rows()}
        self._expect(years, {self.plan["year"]}, "years of the labels")
        person.wait(lambda: not toggle.isVisible(), 20, "no problem to be left")
        return told

    def _delete_imported(self):
        """Of two labels in one place, delete the one that came from the survey."""
        person, tree = self.person, self.person.find("problemsTree")
        group = self._problem_group("Two classes in one place")
        wrong = self.plan["conflict"]
        row = next(group.child(i) for i in range(group.childCount())
                   if group.child(i).text(0).startswith(wrong))  # fmt: skip
        QTest.mouseClick(tree.viewport(), LEFT, pos=tree.visualItemRect(row).center())
        person.click("problemDeleteButton")

    def _problem_group(self, words):
        tree = self.person.find("problemsTree")
        groups = [tree.topLevelItem(i) for i in range(tree.topLevelItemCount())]
        found = next((each for each in groups if words in each.text(0)), None)
        if found is None:
            raise StepFailed(f"no problem {words!r} in {[each.text(0) for each in groups]}")
        return found

    def _choose_problem(self, words):
        tree = self.person.find("problemsTree")
        row = self._problem_group(words).child(0)
        tree.scrollToItem(row)
        QTest.mouseClick(tree.viewport(), LEFT, pos=tree.visualItemRect(row).center())
        self.person.rendered()

    # --- inside

    def shoot(self, name, dialog=None):
        """Take a picture for the tutorial, where one is wanted."""
        self.person.shoot(name, dialog)

    def _choose(self, name):
        self.person.key(str(self._names().index(name) + 1))

    def _names(self):
        table = self.person.find("classTable")
        return [table.item(row, NAME).text() for row in range(table.rowCount())]

    def _class_id(self, name):
        table = self.person.find("classTable")
        return table.item(self._names().index(name), NAME).data(Qt.ItemDataRole.UserRole)

    def _pixels(self):
        table = self.person.find("classTable")
        return {
            table.item(row, NAME).text(): table.item(row, LABELS_COLUMN + 1).text()
            for row in range(table.rowCount())
        }

    def _expect(self, found, wanted, what):
        if found != wanted:
            raise StepFailed(f"{what}: {found}, and not {wanted}")


def _away(lon, lat, east_m, north_m):
    """Return a place so many metres away."""
    return (lon + east_m / (DEGREE_M * math.cos(math.radians(lat))), lat + north_m / DEGREE_M)


def _ring(lon, lat, radius_m, corners):
    """Return places around a place, the first one again at the end."""
    turns = [2 * math.pi * each / corners for each in range(corners + 1)]
    return [_away(lon, lat, radius_m * math.cos(a), radius_m * math.sin(a)) for a in turns]
