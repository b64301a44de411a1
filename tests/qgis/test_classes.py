# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Classes by hand: what a person clicks, drags and types in the table and its menu."""

import csv
import sqlite3
from pathlib import Path

import pytest
from qgis.core import QgsGeometry, QgsPointXY, QgsProject
from qgis.PyQt.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qgis.PyQt.QtGui import QColor, QKeySequence, QMouseEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QLineEdit, QMenu, QMessageBox

from tessera_plugin.errors import ClassListUnreadable, NotWritable
from tessera_plugin.gui import label_hints, note, text
from tessera_plugin.gui.balance import AMBER, balance, most_behind, sentence
from tessera_plugin.gui.class_table import EYE, LABELS, PIXELS
from tessera_plugin.gui.color_table import COLOR, KEY, NAME
from tessera_plugin.gui.compat import QAction
from tessera_plugin.tasks import schemes
from tessera_plugin.tasks.labels import NewLabel
from tessera_plugin.values import LandClass
from tests.qgis.hands import LABELS as LABELS_PAGE
from tests.qgis.hands import Hands

CTRL, SHIFT, ALT = (
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)


# --- lists of classes

LISTS = {
    "by hand": (b"name,color\nWater,#0000FF\nForest,\n", [("Water", "#0000ff"), ("Forest", "")]),
    "names alone": ("Wald\nÖdland\n".encode(), [("Wald", ""), ("Ödland", "")]),
    "semicolons, rgb": (b"Water;0,0,255\nTown;255, 0,0\n", [("Water", "#0000ff"), ("Town", "#ff0000")]),
    "a spreadsheet's": (
        "\ufeffCode;Name;Colour\r\n1;Wälder;#0F0\r\n\r\n2;See;0 0 255\r\n".encode(),
        [("Wälder", "#00ff00"), ("See", "#0000ff")],
    ),
    "an old one's": ("name;color\nÄcker;\n".encode("cp1252"), [("Äcker", "")]),
    "unicode text": ("name\tcolor\nFels\t888888\n".encode("utf-16"), [("Fels", "#888888")]),
    "columns of parts": (b"r,g,b,class\n1,2,3,Rock\n", [("Rock", "#010203")]),
    "unquoted rgb": (b"name,color\nRock,1,2,3\nSand,#ffeedd\n", [("Rock", "#010203"), ("Sand", "#ffeedd")]),
    "quoted": (b'1,"Mires, bogs",#8e7cc3\n2,"A ""B""","1,2,3"\n', [("Mires, bogs", "#8e7cc3"), ('A "B"', "#010203")]),
    "twice": (b"Water\nwater\n  Bare   ground \n", [("Water", ""), ("Bare ground", "")]),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_classes_are_read_as_people_write_them(tmp_path, name):
    content, expected = LISTS[name]
    path = tmp_path / "classes.csv"
    path.write_bytes(content)
    assert list(schemes.read(str(path))) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name,color\nWater,#0000ff\nForest,greenish\n", "line 3: “greenish” is no colour"),
        (b"name;color\nWater;300,0,0\n;#ffffff\n", "line 2: “300,0,0” is no colour; line 3: it has no name"),
        (b"name,color\n" + b"A,x\n" * 5, "line 4: “x” is no colour; and 2 more"),
        (b"name,color\n", "no names"),
        (b"", "no names"),
        (b"\x00\x01\x02", "no text"),
        ("\n".join(f"Place {n}" for n in range(501)).encode(), "501 names"),
        (b"x" * 1_000_001, "too large"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_classes_is_named_by_its_line(tmp_path, content, told):
    path = tmp_path / "classes.csv"
    path.write_bytes(content)
    with pytest.raises(ClassListUnreadable) as error:
        schemes.read(str(path))
    assert told in error.value.reason


def test_a_list_that_cannot_be_opened_or_written(tmp_path):
    with pytest.raises(ClassListUnreadable):
        schemes.read(str(tmp_path / "missing.csv"))
    with pytest.raises(NotWritable):
        schemes.write(str(tmp_path / "no" / "folder.csv"), [("Water", "#0000ff")])


@pytest.mark.parametrize(
    ("key", "number", "some"),
    [
        ("esa_worldcover", 11, ("Mangroves", "#00cf75")),
        ("corine_level_1", 5, ("Artificial surfaces", "#e6004d")),
        ("eunis_level_1", 10, ("Mires, bogs and fens", "#8e7cc3")),
        ("ipcc", 6, ("Settlements", "#d7301f")),
        ("dynamic_world", 9, ("Flooded vegetation", "#7a87c6")),
    ],
)
def test_the_ready_schemes(key, number, some):
    classes = schemes.ready(key)
    assert len(classes) == len({color for _, color in classes}) == number
    assert some in classes
    assert key in {each.key for each in schemes.READY}


def test_every_scheme_is_offered():
    files = {path.stem for path in schemes.SCHEMES.glob("*.csv")}
    assert files == {each.key for each in schemes.READY}


# --- balance and hints


def test_a_class_far_behind_the_others_is_found():
    classes = [LandClass(n, name, "#000000") for n, name in enumerate("ABCD", 1)]
    stand = balance([1, 2, 3, 4], {1: 3, 2: 20, 3: 19, 4: 40})
    assert [stand[n].share for n in (1, 2, 3, 4)] == [3 / 40, 0.5, 19 / 40, 1]
    assert [stand[n].is_behind for n in (1, 2, 3, 4)] == [True, False, False, False]
    assert most_behind(classes, stand) == classes[:1]
    assert sentence("Water", stand[1]) == "“Water” has 3 labels, the others about 20."
    assert sentence("Town", stand[4]) == "“Town” has 40 labels."
    assert not any(each.is_behind for each in balance([1, 2, 3], {}).values())
    assert not any(each.is_behind for each in balance([1, 2], {1: 2, 2: 6}).values())
    assert balance([1], {1: 5})[1].others == 0


def test_the_hint_says_what_to_do_next():
    water, forest = LandClass(1, "Water", "#0000ff"), LandClass(2, "Forest", "#00ff00")
    both = (water, forest)
    tool = "Click the map."
    assert "Type the name" in label_hints.hint((), {}, "").words
    assert "two classes" in label_hints.hint((water,), {1: 5}, tool).words
    assert label_hints.hint(both, {}, "").words.startswith("Choose a class, then a tool")
    assert label_hints.hint(both, {1: 3, 2: 5}, tool).words == (
        "Click the map.\nAbout 8 per class make a good start; “Water” has 3."
    )
    behind = label_hints.hint(both, {1: 3, 2: 20}, tool)
    assert "“Water” has 3 labels, the others about 20. Label more of it next." in behind.words
    assert behind.kind == note.INFO
    enough = label_hints.hint(both, {1: 8, 2: 9}, tool)
    assert "go on to the Map page" in enough.words
    assert enough.kind == note.SUCCESS


def test_numbers_in_few_letters(qgis_app):
    numbers = (0, 999, 1234, 9949, 9960, 45_400, 999_499, 999_500, 12_300_000)
    told = ["0", "999", "1.2k", "9.9k", "10k", "45k", "999k", "1.0M", "12M"]
    assert [text.short(each) for each in numbers] == told


# --- by hand


class ClassHands(Hands):
    """Uses the class table."""

    def __init__(self, dock, qtbot, desktop):
        super().__init__(dock, qtbot, desktop)
        self.page(LABELS_PAGE)
        self.table, self.store = self.find("classTable"), self.session.labels

    def add(self, *names):
        for name in names:
            QTest.keyClicks(self.find("classNameEdit"), name)
            QTest.keyClick(self.find("classNameEdit"), Qt.Key.Key_Return)

    def label(self, **numbers):
        ids = {each.name: each.id for each in self.store.classes}
        self.store.add_labels(
            [
                NewLabel(QgsGeometry.fromPointXY(QgsPointXY(0.1 + n / 1000, 52.15)), ids[name], 2024)
                for name, number in numbers.items()
                for n in range(number)
            ]
        )  # fmt: skip

    def names(self):
        return [self.cell(row, NAME) for row in range(self.table.rowCount())]

    def cell(self, row, column):
        return self.table.item(row, column).text()

    def place(self, row, column=NAME):
        return self.table.visualRect(self.table.model().index(row, column)).center()

    def press(self, row, column=NAME, modifiers=Qt.KeyboardModifier.NoModifier):
        left = Qt.MouseButton.LeftButton
        QTest.mouseClick(self.table.viewport(), left, modifiers, self.place(row, column))

    def drag(self, row, to):
        start = self.place(row)
        self._mouse(QEvent.Type.MouseButtonPress, start)
        for step in range(1, 6):
            self._mouse(QEvent.Type.MouseMove, start + (to - start) * (step / 5))
        self._mouse(QEvent.Type.MouseButtonRelease, to)

    def _mouse(self, kind, place):
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        button = none if kind == QEvent.Type.MouseMove else left
        held = none if kind == QEvent.Type.MouseButtonRelease else left
        there = QPointF(self.table.viewport().mapToGlobal(place))
        event = QMouseEvent(
            kind, QPointF(place), there, button, held, Qt.KeyboardModifier.NoModifier
        )
        QApplication.sendEvent(self.table.viewport(), event)

    def edit(self, text):
        found = self.table.viewport().findChildren(QLineEdit)
        (editor,) = [each for each in found if each.isVisible()]
        editor.selectAll()
        QTest.keyClicks(editor, text)
        QTest.keyClick(editor, Qt.Key.Key_Return)
        QApplication.processEvents()

    def menu(self, name):
        action = self.dock.findChild(QAction, name)
        assert action.isEnabled(), name
        action.trigger()

    def rows(self):
        """Return the classes as they are in the file."""
        with sqlite3.connect(self.store.path) as connection:
            cursor = connection.execute("SELECT name, color FROM classes ORDER BY position")
            return cursor.fetchall()


@pytest.fixture
def hands(make_dock, qtbot, desktop):
    return ClassHands(make_dock(), qtbot, desktop)


def test_a_class_is_renamed_where_it_stands(hands):
    hands.add("Water", "Forest", "Town")
    left = Qt.MouseButton.LeftButton
    QTest.mouseClick(hands.table.viewport(), left, pos=hands.place(1))
    QTest.mouseDClick(hands.table.viewport(), left, pos=hands.place(1))
    hands.edit("Woodland")
    assert [name for name, _ in hands.rows()] == ["Water", "Woodland", "Town"]
    QTest.keyClick(hands.table, Qt.Key.Key_F2)
    hands.edit("water")
    assert hands.names() == ["Water", "Woodland", "Town"]
    assert "There is a class “water” already" in hands.note("labelsHint")
    assert hands.table.item(1, NAME).toolTip() == "Woodland"
    QTest.keyClick(hands.table, Qt.Key.Key_Z, CTRL)
    assert hands.names() == ["Water", "Forest", "Town"]


def test_the_table_shows_what_holds_where_nothing_can_be_written(hands):
    hands.add("Water", "Pond")
    color = hands.table._button(0).color()
    Path(hands.store.path).unlink()
    hands.table._button(0).setColor(QColor("#123456"))
    assert hands.table._button(0).color() == color
    hands.table.item(0, NAME).setText("Lake")
    assert hands.names() == ["Water", "Pond"]
    hands.press(1)
    hands.find("mergeClassMenu").aboutToShow.emit()
    hands.menu("mergeInto1")
    assert hands.session.settings.active_class == 2
    assert len(hands.desktop.bar.items()) == 3


def test_a_class_is_dragged_to_another_place(hands):
    hands.add("Water", "Forest", "Town", "Bare")
    below = hands.place(2) + QPoint(0, 8)
    hands.drag(0, below)
    assert hands.names() == ["Forest", "Town", "Water", "Bare"]
    assert [name for name, _ in hands.rows()] == hands.names()
    hands.drag(3, QPoint(40, -20))
    assert hands.names() == ["Bare", "Forest", "Town", "Water"]
    hands.drag(1, hands.place(1) + QPoint(3, 8))  # nowhere else
    assert hands.names() == ["Bare", "Forest", "Town", "Water"]
    assert hands.dock.labels.classes.active().name == "Forest"
    assert hands.cell(0, KEY) == "1"
    hands.table.setFocus()
    QTest.keyClick(hands.table, Qt.Key.Key_Down, ALT)
    assert hands.names() == ["Bare", "Town", "Forest", "Water"]
    QTest.keyClick(hands.table, Qt.Key.Key_Up, ALT)
    QTest.keyClick(hands.table, Qt.Key.Key_Up, ALT)
    assert hands.names() == ["Forest", "Bare", "Town", "Water"]
    assert not hands.dock.findChild(QAction, "moveClassUpAction").isEnabled()
    for _ in range(5):
        hands.click("undoButton")
    assert hands.names() == ["Water", "Forest", "Town", "Bare"]


def test_a_drag_is_given_up_by_esc(hands):
    hands.add("Water", "Forest", "Town")
    hands._mouse(QEvent.Type.MouseButtonPress, hands.place(0))
    hands._mouse(QEvent.Type.MouseMove, hands.place(2))
    QTest.keyClick(hands.table, Qt.Key.Key_Escape)
    hands._mouse(QEvent.Type.MouseButtonRelease, hands.place(2))
    assert hands.names() == ["Water", "Forest", "Town"]


def test_the_eye_hides_and_shows_again(hands):
    hands.add("Water", "Forest")
    hands.press(0, EYE)
    assert hands.store.hidden == {1}
    assert hands.dock.labels.classes.active().name == "Forest"
    assert hands.table.item(0, EYE).toolTip() == "Show “Water” again"
    hands.press(0, EYE)
    assert hands.store.hidden == frozenset()
    hands.menu("hideClassAction")
    assert hands.store.hidden == {2}
    assert hands.dock.findChild(QAction, "hideClassAction").text() == "Show"


def test_classes_are_merged_and_removed_together(hands, monkeypatch):
    hands.add("Water", "Lake", "Forest", "Town")
    hands.label(Water=3, Lake=2, Forest=4)
    hands.press(0)
    hands.press(1, modifiers=CTRL)
    hands.find("mergeClassMenu").aboutToShow.emit()
    offered = [each.text() for each in hands.find("mergeClassMenu").actions()]
    assert offered == ["Water", "Lake", "", "Forest", "Town"]
    hands.menu("mergeInto1")
    assert hands.names() == ["Water", "Forest", "Town"]
    assert dict(hands.store.counts) == {1: 5, 3: 4}
    assert "Merged “Lake” into “Water”, with 2 labels" in hands.note("labelsHint")
    hands.click("undoButton")
    assert hands.names() == ["Water", "Lake", "Forest", "Town"]
    assert dict(hands.store.counts) == {1: 3, 2: 2, 3: 4}
    asked = []
    yes = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", lambda *told: asked.append(told[2]) or yes)
    hands.press(1)
    hands.press(2, modifiers=CTRL)
    QTest.keyClick(hands.table, Qt.Key.Key_Delete)
    assert asked == ["Remove “Lake” and “Forest” with 6 labels? Undo brings them back."]
    assert hands.names() == ["Water", "Town"]
    assert dict(hands.store.counts) == {1: 3}
    hands.click("undoButton")
    assert hands.names() == ["Water", "Lake", "Forest", "Town"]
    assert dict(hands.store.counts) == {1: 3, 2: 2, 3: 4}
    hands.press(1)
    hands.press(2, modifiers=CTRL)
    hands.menu("hideClassAction")
    assert hands.store.hidden == {2, 3}
    hands.click("undoButton")
    assert not hands.store.hidden


def test_a_scheme_adds_its_classes_in_one_step(hands):
    hands.add("Grassland")
    hands.menu("scheme_esa_worldcover")
    assert hands.table.rowCount() == 11
    told = hands.note("labelsHint")
    assert "10 classes of ESA WorldCover were added." in told
    assert "Left out, as there are classes of that name: “Grassland”." in told
    assert ("Mangroves", "#00cf75") in hands.rows()
    assert hands.dock.labels.classes.active().name == "Tree cover"
    hands.menu("scheme_esa_worldcover")
    assert "“Tree cover”, “Shrubland”, “Grassland” and 8 more" in hands.note("labelsHint")
    assert hands.table.rowCount() == 11
    assert hands.cell(8, KEY) == "9"
    assert hands.cell(9, KEY) == ""
    assert hands.table.verticalScrollBar().maximum() > 0
    hands.click("undoButton")
    assert hands.names() == ["Grassland"]
    hands.click("redoButton")
    assert hands.table.rowCount() == 11


def test_classes_go_out_as_csv_and_come_in_again(hands, tmp_path, monkeypatch):
    hands.add("Water", "Mires, bogs & fens", "Ödland")
    out = tmp_path / "out.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(out), ""))
    hands.menu("exportClassesAction")
    assert "3 classes were written" in hands.note("labelsHint")
    with out.open(encoding="utf-8-sig", newline="") as file:
        written = [tuple(row) for row in csv.reader(file)]
    assert written == [("name", "color"), *hands.rows()]
    hands.dock.labels.use_file(str(tmp_path / "other.gpkg"))
    assert hands.names() == []
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(out), ""))
    hands.menu("importClassesAction")
    assert hands.rows() == written[1:]
    hands.click("undoButton")
    assert hands.names() == []
    out.write_text("name,color\nA,#123456\nB,blau\n", "utf-8")
    hands.menu("importClassesAction")
    assert hands.names() == []
    assert "line 3: “blau” is no colour" in hands.desktop.bar.currentItem().title()


def test_imbalance_is_seen_at_a_glance(hands):
    hands.add("Water", "Forest", "Town")
    hands.label(Water=2, Forest=20, Town=18)
    assert [hands.cell(row, LABELS) for row in range(3)] == ["2", "20", "18"]
    assert [hands.cell(row, PIXELS) for row in range(3)] == ["2", "20", "18"]
    tip = hands.table.item(0, LABELS).toolTip()
    assert tip == "“Water” has 2 labels, the others about 19."
    picture = hands.table.viewport().grab().toImage()
    has_amber = []
    for row in range(3):
        cell = hands.table.visualRect(hands.table.model().index(row, LABELS))
        pixels = (picture.pixelColor(x, y) for x in range(cell.left(), cell.right())
                  for y in range(cell.top(), cell.bottom()))  # fmt: skip
        has_amber.append(any(pixel == AMBER for pixel in pixels))
    assert has_amber == [True, False, False]
    assert "Label more of it next" in hands.note("labelsHint")


def test_it_fits_a_narrow_dock(hands):
    hands.dock.labels.resize(340, 900)
    hands.add(*(f"A rather long name of class {number}" for number in range(12)))
    QApplication.processEvents()
    header = hands.table.horizontalHeader()
    assert header.length() <= hands.table.viewport().width()
    assert hands.table.columnWidth(NAME) >= 100
    assert header.visualIndex(EYE) < header.visualIndex(COLOR) < header.visualIndex(NAME)
    hands.session.update(active_class=0)
    hands.find("classTable").setFocus()
    QTest.keyClick(hands.table, Qt.Key.Key_9)
    assert hands.dock.labels.classes.active().name.endswith("class 8")


def test_undo_keys_are_ours_only_where_the_labels_are(hands, desktop):
    qgis_undo = QAction("QGIS's own", desktop.window)
    qgis_undo.setShortcut(QKeySequence(QKeySequence.StandardKey.Undo))
    desktop.window.addAction(qgis_undo)
    theirs = []
    qgis_undo.triggered.connect(lambda: theirs.append(True))
    hands.add("Water", "Forest")
    desktop.window.activateWindow()
    QApplication.setActiveWindow(desktop.window)
    name = hands.find("classNameEdit")
    name.setFocus()
    QTest.keyClicks(name, "Town")
    QTest.keyClick(name, Qt.Key.Key_Z, CTRL)
    assert (name.text(), hands.names()) == ("", ["Water", "Forest"])  # what is typed comes first
    QTest.keyClick(name, Qt.Key.Key_Z, CTRL)
    assert hands.names() == ["Water"]
    hands.table.setFocus()
    QTest.keyClick(hands.table, Qt.Key.Key_Z, CTRL | SHIFT)
    assert hands.names() == ["Water", "Forest"]
    QTest.keyClick(hands.table, Qt.Key.Key_Z, CTRL)
    QTest.keyClick(hands.table, Qt.Key.Key_Y, CTRL)
    assert hands.names() == ["Water", "Forest"]
    hands.click("labelToolButton")
    QTest.keyClick(desktop.canvas, Qt.Key.Key_Z, CTRL)
    assert hands.names() == ["Water"]
    assert theirs == []
    hands.click("labelToolButton")  # put away: the map is QGIS's again
    desktop.canvas.setFocus()
    QTest.keyClick(desktop.canvas, Qt.Key.Key_Z, CTRL)
    assert theirs == [True]
    assert hands.names() == ["Water"]


def test_the_layers_follow_and_are_not_made_anew(hands):
    hands.add("Water", "Forest")
    hands.label(Water=2)
    hands.until(lambda: bool(QgsProject.instance().mapLayersByName("Label points")))
    layers = QgsProject.instance().mapLayersByName("Label points")
    renderer = layers[0].renderer()
    hands.press(0)  # another class is active: nothing on the map changes
    hands.label(Forest=1)
    assert layers[0].renderer() is renderer
    hands.store.recolor_class(1, "#123456")
    assert QgsProject.instance().mapLayersByName("Label points") == layers
    assert layers[0].renderer().categories()[0].symbol().color().name() == "#123456"


def test_a_colour_is_chosen_from_the_menu(hands, qtbot):
    hands.add("Water", "Forest")

    def choose():
        dialog = QApplication.activeModalWidget()
        dialog.setColor(QColor("#112233"))
        dialog.accept()

    QTimer.singleShot(200, choose)
    hands.menu("recolorClassAction")
    assert ("Forest", "#112233") in hands.rows()
    hands.click("undoButton")
    assert ("Forest", "#2e7d46") in hands.rows()


def test_the_menu_opens_over_the_table(hands):
    hands.add("Water")
    hands.table.customContextMenuRequested.emit(hands.place(0))
    menu = hands.dock.findChild(QMenu, "classMenu")
    assert menu.isVisible()
    assert hands.find("classMenuButton").menu() is menu
    menu.close()
