# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person who does anything at any time, by a seeded generator, and what must hold all the while."""

import contextlib
import random
from dataclasses import dataclass
from pathlib import Path

from osgeo import ogr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
)
from qgis.PyQt.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qgis.PyQt.QtGui import QColor, QKeyEvent, QMouseEvent
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox, QWidget

from tessera_plugin.gui.choice import OTHER
from tessera_plugin.gui.class_table import LABELS as LABELS_COLUMN
from tessera_plugin.gui.color_table import NAME
from tessera_plugin.gui.compat import QAction
from tessera_plugin.gui.overlay import LIVE
from tessera_plugin.io.label_file import copy
from tessera_plugin.tasks.label_file import shows
from tests.qgis.fetched_place import DATASET, FETCHED, SEEN, YEAR
from tests.qgis.hands import AREA, LABELS, MAP, Hands
from tests.qgis.test_label_history import without_rights

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
PLAIN, SHIFT, CTRL = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
)
CRSS = ("EPSG:3857", "EPSG:4326", "EPSG:32631", "EPSG:27700", "EPSG:3035")
TROUBLED = (
    "add_class", "rename_class", "recolor_class", "drag_class", "merge_classes", "hide_classes",
    "remove_classes", "label", "paint", "pick_similar", "select_and_change", "remove_one", "undo",
    "redo", "answer", "page", "eye", "problem",
)  # fmt: skip
"""What is tried while the label file is in trouble."""
HATCH = {0x8C3F3F3F, 0x30282828}
TOOLS = (
    "labelToolButton", "polygonToolButton", "brushToolButton", "similarToolButton",
    "selectToolButton", "removeToolButton",
)  # fmt: skip
KEYS = {
    Qt.Key.Key_1: "1", Qt.Key.Key_2: "2", Qt.Key.Key_3: "3", Qt.Key.Key_9: "9",
    Qt.Key.Key_N: "n", Qt.Key.Key_BracketLeft: "[", Qt.Key.Key_BracketRight: "]",
    Qt.Key.Key_Escape: "", Qt.Key.Key_Return: "", Qt.Key.Key_Backspace: "", Qt.Key.Key_Delete: "",
}  # fmt: skip
TABLES = ("label_points", "label_polygons")


@dataclass(frozen=True)
class State:
    """All that undo must bring back."""

    classes: tuple
    hidden: frozenset
    labels: dict


def state_of(store):
    return State(store.classes, store.hidden, {each.key: each for each in store.labels()})


def state_in_file(path):
    """Return what OGR reads of a label file: classes in their order, and labels by key."""
    source = ogr.Open(path)
    rows = sorted((each.items() for each in source.GetLayerByName("classes")),
                  key=lambda each: each["position"])  # fmt: skip
    classes = [(e["class_id"], e["name"], e["color"], bool(e["hidden"])) for e in rows]
    labels = {}
    for table in TABLES:
        for each in source.GetLayerByName(table):
            row = each.items()
            labels[row["key"]] = (
                table, row["class_id"], row["class_name"], row["year"], row["note"] or "",
                100 if row["confidence"] is None else row["confidence"],
                bytes(each.GetGeometryRef().ExportToWkb(ogr.wkbNDR)),
            )  # fmt: skip
    return classes, labels


class Monkey(Hands):
    """Does one thing after the other, all of it as a person would: by mouse, keys and widgets."""

    def __init__(self, dock, qtbot, desktop, seed, folder):
        super().__init__(dock, qtbot, desktop)
        self.random, self.folder, self.done = random.Random(seed), Path(folder), []
        self.store, self.canvas = self.session.labels, desktop.canvas
        self.table = self.find("classTable")
        self.made, self.is_in_trouble = 0, False
        self.trail = {0: state_of(self.store)}
        """What there was after so many steps of undo."""
        self.depth, self.path = 0, self.store.path
        self.store.changed.connect(self._changed)
        self.actions = self._all_actions()

    # --- the walk

    def walk(self, steps, check_every=3):
        for number in range(steps):
            self.step()
            if number % check_every == 0:
                self.check()
        self.check()

    def step(self):
        names, weights = zip(*((name, weight) for name, weight in self.actions.items()))
        (name,) = self.random.choices(names, weights)
        self.done.append(name)
        getattr(self, name)()
        QApplication.processEvents()
        if self.random.random() < 0.3:
            self.qtbot.wait(self.random.choice((1, 20, 150)))

    def _all_actions(self):
        return {
            "add_class": 4, "rename_class": 2, "recolor_class": 2, "drag_class": 2,
            "merge_classes": 1, "hide_classes": 2, "remove_classes": 1, "eye": 2, "row": 2,
            "scheme": 0.3, "home": 4, "label": 8, "paint": 3, "corners": 3, "pick_similar": 4,
            "select_and_change": 5, "remove_one": 2, "ask_and_answer": 4,
            "tool": 10, "click_map": 12, "drag_map": 6, "right_click": 2, "double_click": 1,
            "key": 10, "slide": 4, "accept": 2, "drop_similar": 1,
            "undo": 4, "redo": 3, "next_place": 3, "answer": 3,
            "pan": 2, "zoom": 2, "change_crs": 0.7, "rotate": 0.3,
            "live_mode": 2, "opacity": 1, "live_switch": 1, "page": 3,
            "problem": 2, "carry": 1, "edit_selected": 1,
            "new_project": 0.3, "remove_layers": 0.7, "change_year": 0.7, "change_dataset": 0.4,
            "other_file": 0.5, "outside_edit": 1.5, "file_trouble": 1.2, "edit_layer": 0.7, "remove_canvas_tool": 0.5,
        }  # fmt: skip

    # --- what must hold

    def check(self):
        self.no_complaints()
        self.file_is_memory()
        self.table_is_store()
        self.buttons_are_right()

    def no_complaints(self):
        for item in self.desktop.bar.items():
            assert "bug" not in item.text().lower(), item.text()
        for label in self.dock.findChildren(QLabel):
            assert "bug of" not in label.text(), label.text()

    def file_is_memory(self):
        store = self.store
        if not Path(store.path).exists():
            assert not store.classes
            return
        store.refresh()  # what somebody else wrote is known by the next change at the latest
        classes, labels = state_in_file(store.path)
        assert classes == [(e.id, e.name, e.color, e.id in store.hidden) for e in store.classes]
        assert {key: (each[0], each[1], *each[3:]) for key, each in labels.items()} == {
            each.key: (each.table, each.class_id, each.year, each.note, each.confidence, each.wkb)
            for each in store.labels()
        }
        names = {each.id: each.name for each in store.classes}
        for _, class_id, name, *_ in labels.values():  # others may leave it out
            assert name in (None, names[class_id])
        assert all(key in labels for key in store.selected)
        counts = {}
        for each in store.labels():
            counts[each.class_id] = counts.get(each.class_id, 0) + 1
        assert {key: number for key, number in store.counts.items() if number} == counts

    def table_is_store(self):
        store, table = self.store, self.table
        shown = [
            (table.item(row, NAME).text(), table._button(row).color().name(),
             table.item(row, LABELS_COLUMN).text())
            for row in range(table.rowCount())
        ]  # fmt: skip
        assert shown == [
            (e.name, QColor(e.color).name(), f"{store.counts.get(e.id, 0):,}")
            for e in store.classes
        ]
        active = self.session.settings.active_class
        if store.classes:
            assert store.land_class(active) is not None
        bold = [r for r in range(table.rowCount()) if table.item(r, NAME).font().bold()]
        assert [store.classes[row].id for row in bold] == ([active] if store.classes else [])

    def buttons_are_right(self):
        store, tool = self.store, self.canvas.mapTool()
        assert self.find("undoButton").isEnabled() == store.can_undo
        assert self.find("redoButton").isEnabled() == store.can_redo
        for name in TOOLS:
            button, entry = self.find(name), self.dock.labels.tools._entries[name]
            assert button.isChecked() == (tool is entry.tool or tool == entry.tool), name
            needs = bool(store.labels()) if entry.needs_labels else bool(store.classes)
            assert button.isEnabled() == (needs or button.isChecked()), (name, button.toolTip())
        is_picking = self.find("similarToolButton").isChecked()
        assert self.dock.labels.similar.isHidden() != is_picking
        if self.dock.labels.next.is_asking:
            answers = [each.objectName() for each in self.dock.labels.next._answers.buttons]
            assert answers == [*(f"answer{each.id}" for each in store.classes), "answerSkip"]

    def live_map_is_of_shown_classes(self):
        """Wait until the live map is up to date, and look at its colours."""
        panel, store = self.dock.labels.live, self.store
        book = panel._book
        if not self.find("liveCheck").isChecked() or not panel.isVisible():
            return
        if panel.mode != "classes":
            return
        shown = {
            0xFF000000 | int(each.color[1:], 16)
            for each in store.classes
            if each.id not in store.hidden
        }

        def colors():
            overlay = book._overlay(LIVE)
            if overlay is None or overlay.is_empty():
                return set()
            image = overlay._image
            bits = image.constBits()
            bits.setsize(image.sizeInBytes())
            found = memoryview(bits).cast("I")
            return {each for each in set(found[::17]) if each >> 24} - HATCH

        self.until(lambda: colors() <= shown)
        self.qtbot.wait(150)  # nothing that was on its way may change that
        self.until(lambda: colors() <= shown)

    def all_can_be_undone(self):
        """Take back everything since the file was opened, and bring it back."""
        store = self.store
        if Path(store.path).exists():
            store.refresh()
        end, steps, trail = state_of(store), self._depth(), dict(self.trail)
        self.page(LABELS)
        for depth in reversed(range(steps)):
            text = store.undo_text
            self.find("undoButton").click()
            assert state_of(store) == trail[depth], (depth, text)
        assert not store.can_undo
        self.check()
        while store.can_redo:
            text = store.redo_text
            self.find("redoButton").click()
            assert state_of(store) == trail[self._depth()], (self._depth(), text)
        assert state_of(store) == end or self._depth() > steps
        self.check()

    def _depth(self):
        return len(self.store._history._done)

    def _changed(self):
        depth, now = self._depth(), state_of(self.store)
        if self.store.can_redo or (depth == self.depth and self.store.path == self.path):
            assert now == self.trail[depth], (depth, self.store.redo_text)
        self.trail[depth], self.depth, self.path = now, depth, self.store.path

    # --- classes

    def add_class(self):
        self._labels()
        if len(self.store.classes) > 7:
            return
        edit = self.find("classNameEdit")
        edit.clear()
        edit.setText(self.random.choice(("Water", "water", "Ödland", "it's", "", "a & b", "1")) +
                     self.random.choice(("", "", str(self.random.randrange(40)))))  # fmt: skip
        self.find("addClassButton").click()

    def rename_class(self):
        row = self._row()
        if row is not None:
            text = self.random.choice((f"renamed {self.random.randrange(30)}", "", "  "))
            self.table.item(row, NAME).setText(text)

    def recolor_class(self):
        row = self._row()
        if row is not None:
            color = QColor(f"#{self.random.randrange(2**24):06x}")
            self.table._button(row).setColor(color)

    def drag_class(self):
        row, to = self._row(), self._row()
        if row is None:
            return
        place, there = self._row_place(row), self._row_place(to)
        self._mouse_on(self.table.viewport(), [place, (place + there) / 2, there, there])

    def hide_classes(self):
        self._select_rows()
        self._menu("hideClassAction")

    def merge_classes(self):
        self._select_rows()
        menu = self.find("mergeClassMenu")
        menu.aboutToShow.emit()
        offered = [each for each in menu.actions() if each.objectName()]
        if offered:
            self.random.choice(offered).trigger()

    def remove_classes(self):
        self._select_rows()
        self._menu(self.random.choice(("removeClassAction", "removeClassAction")))

    def eye(self):
        row = self._row()
        if row is not None:
            rect = self.table.visualRect(self.table.model().index(row, 5))
            self._mouse_on(self.table.viewport(), [rect.center()])

    def row(self):
        row = self._row()
        if row is not None:
            keys = self.random.choice((PLAIN, PLAIN, CTRL, SHIFT))
            self._mouse_on(self.table.viewport(), [self._row_place(row)], keys=keys)

    def scheme(self):
        if len(self.store.classes) < 3:
            self._menu("scheme_ipcc")

    # --- what is done with a purpose

    def home(self):
        self.canvas.setRotation(0)
        self.desktop.zoom_to(*SEEN)

    def label(self):
        if self._take("labelToolButton"):
            for _ in range(self.random.randint(1, 3)):
                self.click_map()
                if self.random.random() < 0.3:
                    self.drag_map()

    def paint(self):
        if self._take("brushToolButton"):
            self.drag_map()

    def corners(self):
        if self._take("polygonToolButton"):
            for _ in range(self.random.randint(1, 4)):
                self.click_map()
            self._press_key(self.random.choice((Qt.Key.Key_Return, Qt.Key.Key_Escape)))

    def pick_similar(self):
        if not self._take("similarToolButton"):
            return
        panel = self.dock.labels.similar
        self.click_map()
        if self.random.random() < 0.8:
            self.until(lambda: not panel._lookup.is_busy and not panel._following.is_busy)
        self.slide()
        if self.random.random() < 0.5:
            self._press_key(Qt.Key.Key_Return)
        else:
            self.accept()
        if self.random.random() < 0.8:
            self.until(lambda: not panel._lookup.is_busy and not panel._following.is_busy)

    def select_and_change(self):
        if not self._take("selectToolButton"):
            return
        self.click_map()
        if self.random.random() < 0.5:
            self.drag_map()
        if self.random.random() < 0.7:
            self._press_key(self.random.choice((Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_Delete)))

    def remove_one(self):
        if self._take("removeToolButton"):
            self.click_map()

    def ask_and_answer(self):
        panel = self.dock.labels.next
        self.next_place()
        if self.random.random() < 0.8:
            self.until(lambda: not panel._lookup.is_busy)
        for _ in range(self.random.randint(0, 3)):
            self.random.choice((self.answer, self.key, self.next_place))()
            self.qtbot.wait(self.random.choice((1, 100)))

    # --- tools and the map

    def tool(self):
        self._labels()
        self._take(self.random.choice(TOOLS))

    def _take(self, name):
        button = self.find(name)
        if button.isEnabled() and not button.isChecked():
            button.click()
        return button.isChecked()

    def click_map(self):
        keys = self.random.choice((PLAIN, PLAIN, PLAIN, SHIFT, CTRL))
        self._mouse_on(self.canvas.viewport(), [self._place()], keys=keys)

    def double_click(self):
        place = self._place()
        self._mouse_on(self.canvas.viewport(), [place])
        self._send(self.canvas.viewport(), QEvent.Type.MouseButtonDblClick, place, LEFT, LEFT)
        self._send(self.canvas.viewport(), QEvent.Type.MouseButtonRelease, place, LEFT)

    def drag_map(self):
        corners = [self._place() for _ in range(self.random.randint(2, 5))]
        keys = self.random.choice((PLAIN, PLAIN, SHIFT, CTRL))
        steps = [a + (b - a) * (n / 4) for a, b in zip(corners[:-1], corners[1:]) for n in range(5)]
        self._mouse_on(self.canvas.viewport(), steps, keys=keys, busy=self.random.random() < 0.2)

    def right_click(self):
        self._mouse_on(self.canvas.viewport(), [self._place()], button=RIGHT)
        popup = QApplication.activePopupWidget()
        if popup is None:
            return
        entries = [each for each in popup.actions() if each.text() in ("Delete\tDel", "Zoom to")]
        if entries and self.random.random() < 0.6:
            self.random.choice(entries).trigger()
        popup.close()

    def key(self):
        self._press_key(self.random.choice(tuple(KEYS)))

    def _press_key(self, key):
        text = KEYS[key]
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            QApplication.sendEvent(self.canvas, QKeyEvent(kind, key, PLAIN, text))

    def slide(self):
        if self.find("similarSlider").isVisible():
            for _ in range(self.random.randint(1, 4)):
                self.find("similarSlider").setValue(self.random.randint(0, 100))
                if self.random.random() < 0.3:
                    self.find("connectedCheck").click()

    def accept(self):
        button = self.find("acceptSimilarButton")
        if button.isVisible() and button.isEnabled():
            button.click()

    def drop_similar(self):
        button = self.find("dropSimilarButton")
        if button.isVisible():
            button.click()

    def carry(self):
        """Change what new labels carry."""
        self.find("newNoteEdit").setText(self.random.choice(("", "it's 'ä'", "from the bus")))
        self.find("newConfidenceCombo").setCurrentIndex(self.random.randrange(3))

    def edit_selected(self):
        menu = self.dock.labels.tools._menu
        if not self.store.selected:
            return

        def fill():
            dialog = menu._dialog
            if dialog is not None:
                dialog.findChild(QWidget, "labelYearSpin").setValue(self.random.randint(2017, 2024))
                (dialog.accept if self.random.random() < 0.7 else dialog.reject)()

        QTimer.singleShot(0, fill)
        menu.edit()

    def undo(self):
        self._press_if("undoButton")

    def redo(self):
        self._press_if("redoButton")

    def next_place(self):
        if self.find("nextPlaceButton").isVisible():
            self._press_if("nextPlaceButton")

    def answer(self):
        panel = self.dock.labels.next
        if not panel.is_asking:
            return
        if panel._places and self.random.random() < 0.2:
            panel.nextList.itemClicked.emit(panel.nextList.item(0))
        self.random.choice(panel._answers.buttons).click()

    # --- the view

    def pan(self):
        extent = self.canvas.extent()
        center = extent.center()
        center.setX(center.x() + self.random.uniform(-0.5, 0.5) * extent.width())
        center.setY(center.y() + self.random.uniform(-0.5, 0.5) * extent.height())
        self.canvas.setCenter(center)
        self.canvas.refresh()

    def zoom(self):
        if self.random.random() < 0.4:
            self.desktop.zoom_to(*self.random.choice((SEEN, FETCHED)), crs=self._crs())
        else:
            self.canvas.zoomByFactor(self.random.choice((0.3, 0.5, 2, 4)))

    def change_crs(self):
        crs = QgsCoordinateReferenceSystem(self.random.choice(CRSS))
        self.canvas.setDestinationCrs(crs)
        if self.random.random() < 0.8:
            self.desktop.zoom_to(*SEEN, crs=crs)

    def rotate(self):
        self.canvas.setRotation(self.random.choice((0, 0, 30, 90)))

    def page(self, index=None):
        super().page(self.random.choice((AREA, LABELS, LABELS, MAP)) if index is None else index)

    # --- the live map, problems

    def live_mode(self):
        combo = self.find("liveModeCombo")
        if combo.isEnabled():
            combo.setCurrentIndex(self.random.choice((0, 0, 1, 2)))
            combo.activated.emit(combo.currentIndex())

    def opacity(self):
        slider = self.find("liveOpacitySlider")
        slider.setValue(self.random.randint(slider.minimum(), slider.maximum()))

    def live_switch(self):
        if not self.find("liveCheck").isChecked() or self.random.random() < 0.3:
            self.find("liveCheck").click()

    def problem(self):
        names = ("problemsToggle", "problemsNext", "problemsPrevious", "problemDeleteButton",
                 "problemYearButton", "problemIgnoreButton")  # fmt: skip
        button = self.find(self.random.choice(names))
        if button.isVisible() and button.isEnabled():
            button.click()

    # --- around it

    def new_project(self):
        QgsProject.instance().clear()
        QApplication.processEvents()
        self.desktop.zoom_to(*SEEN, crs=self._crs())

    def remove_layers(self):
        ours = [each.id() for each in QgsProject.instance().mapLayers().values()]
        if ours:
            QgsProject.instance().removeMapLayers(self.random.sample(ours, 1))

    def change_year(self):
        combo = self.find("yearCombo")
        wanted = combo.findData(YEAR) if self.random.random() < 0.6 else 0
        combo.setCurrentIndex(wanted)

    def change_dataset(self):
        combo = self.find("datasetCombo")
        others = [
            each for each in range(combo.count())
            if combo.itemData(each) not in (None, OTHER, DATASET)
        ]  # fmt: skip
        if combo.currentData() == DATASET:
            combo.setCurrentIndex(self.random.choice(others))
            self.qtbot.wait(self.random.choice((0, 30, 200)))
        combo.setCurrentIndex(combo.findData(DATASET))
        self.find("yearCombo").setCurrentIndex(self.find("yearCombo").findData(YEAR))

    def other_file(self):
        path = self.folder / self.random.choice(("labels.gpkg", "other.gpkg", "third.gpkg"))
        self.dock.labels.use_file(str(path))
        assert self.store.path == str(path)

    def outside_edit(self):
        """Another program writes to the label file."""
        path = self.store.path
        if not Path(path).exists():
            return
        source = ogr.Open(path, 1)
        points, classes = source.GetLayerByName("label_points"), source.GetLayerByName("classes")
        feature = self.random.choice([None, *points])
        kind = self.random.choice(("draw", "draw", "unknown", "delete", "change", "class"))
        if kind in ("draw", "unknown"):
            made = ogr.Feature(points.GetLayerDefn())
            ids = [each.id for each in self.store.classes]
            is_known = kind == "draw" and ids
            made["class_id"] = self.random.choice(ids) if is_known else 60 + self.made
            self.made += 1
            made["year"] = 2024
            lon, lat = self._lonlat()
            made.SetGeometry(ogr.CreateGeometryFromWkt(f"POINT ({lon} {lat})"))
            points.CreateFeature(made)
        elif kind == "class":
            for each in classes:
                each["name"] = f"outside {self.random.randrange(1000)}"
                each["color"] = f"#{self.random.randrange(2**24):06x}"
                classes.SetFeature(each)
                for table in TABLES:
                    source.ExecuteSQL(
                        f"UPDATE {table} SET class_name = '{each['name']}'"
                        f" WHERE class_id = {each['class_id']}"
                    )
                break
        elif feature is not None and kind == "delete":
            points.DeleteFeature(feature.GetFID())
        elif feature is not None:
            feature["note"] = "from outside"
            points.SetFeature(feature)
        del feature, points, classes, source

    def file_trouble(self):
        """The label file is locked, read-only, gone, spoilt or replaced for a while."""
        path = Path(self.store.path)
        if not path.exists() or self.is_in_trouble:
            return
        self.is_in_trouble = True
        kind = self.random.choice(("locked", "read-only", "gone", "spoilt", "foreign", "older"))
        self.done.append(kind)
        with getattr(self, f"_{kind.replace('-', '_')}")(path):
            for _ in range(self.random.randint(1, 6)):
                name = self.random.choice(TROUBLED)
                self.done.append(f"{kind}: {name}")
                getattr(self, name)()
                QApplication.processEvents()
                self.no_complaints()
                self.table_is_store()
                self.qtbot.wait(self.random.choice((1, 20)))
        self.is_in_trouble = False
        self.store.refresh()

    @contextlib.contextmanager
    def _locked(self, path):
        other = ogr.Open(str(path), 1)
        other.ExecuteSQL("BEGIN IMMEDIATE")
        yield
        other.ExecuteSQL("ROLLBACK")

    @contextlib.contextmanager
    def _read_only(self, path):
        folders = list(path.parents)[:3]  # pytest's own
        for each in folders:
            each.chmod(0o711)
        path.chmod(0o444)
        with without_rights():
            yield
        path.chmod(0o644)
        for each in folders:
            each.chmod(0o700)

    @contextlib.contextmanager
    def _gone(self, path):
        saved = path.with_name("saved.gpkg")
        saved.unlink(missing_ok=True)
        copy(str(path), str(saved))
        for each in ("", "-wal", "-shm"):
            Path(f"{path}{each}").unlink(missing_ok=True)
        yield
        saved.replace(path)

    @contextlib.contextmanager
    def _spoilt(self, path):
        with self._gone(path):
            path.write_bytes(b"spoilt" * 1000)
            yield
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _foreign(self, path):
        with self._gone(path):
            ogr.GetDriverByName("GPKG").CreateDataSource(str(path)).CreateLayer("other")
            yield
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _older(self, path):
        """Something like a synchronised folder puts an older state in its place, for good."""
        older = path.with_name("older.gpkg")
        older.unlink(missing_ok=True)
        copy(str(path), str(older))
        self.label()
        for each in ("-wal", "-shm"):
            Path(f"{path}{each}").unlink(missing_ok=True)
        older.replace(path)
        yield

    def edit_layer(self):
        """Edit the layer of the project with QGIS's own tools."""
        layers = [
            each for each in QgsProject.instance().mapLayers().values()
            if shows(each, self.store.path, "label_points")
        ]  # fmt: skip
        if not layers or not self.store.classes:
            return
        (layer,) = layers
        layer.startEditing()
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(*self._lonlat())))
        feature["class_id"] = self.random.choice(self.store.classes).id
        feature["year"] = 2024
        layer.addFeature(feature)
        if self.random.random() < 0.7:
            assert layer.commitChanges(), layer.commitErrors()
        else:
            layer.rollBack()

    def remove_canvas_tool(self):
        """Another tool of QGIS is taken."""
        self.canvas.unsetMapTool(self.canvas.mapTool())

    # --- inside

    def _labels(self):
        if self.find("pages").currentIndex() != LABELS and self.random.random() < 0.8:
            self.page(LABELS)

    def _row(self):
        rows = self.table.rowCount()
        return self.random.randrange(rows) if rows else None

    def _row_place(self, row):
        return self.table.visualRect(self.table.model().index(row, NAME)).center()

    def _select_rows(self):
        for _ in range(self.random.randint(1, 2)):
            row = self._row()
            if row is not None:
                keys = self.random.choice((PLAIN, CTRL))
                self._mouse_on(self.table.viewport(), [self._row_place(row)], keys=keys)

    def _menu(self, name):
        action = self.dock.findChild(QAction, name)
        if action.isEnabled():
            action.trigger()

    def _press_if(self, name):
        if self.find(name).isEnabled():
            self.find(name).click()

    def _crs(self):
        return self.canvas.mapSettings().destinationCrs()

    def _place(self):
        if self.random.random() < 0.4 and self.store.labels():  # where something is
            label = self.random.choice(self.store.labels())
            point = self.store.geometry(label.key).pointOnSurface().asPoint()
            pixel = self.desktop.pixel(point.x(), point.y())
            if self.canvas.rect().contains(pixel):
                return pixel
        return QPoint(self.random.randrange(10, self.canvas.width() - 10),
                      self.random.randrange(10, self.canvas.height() - 10))  # fmt: skip

    def _lonlat(self):
        west, south, east, north = SEEN
        return self.random.uniform(west, east), self.random.uniform(south, north)

    def _mouse_on(self, widget, places, button=LEFT, keys=PLAIN, *, busy=False):
        self._send(widget, QEvent.Type.MouseButtonPress, places[0], button, button, keys)
        for place in places[1:]:
            self._send(widget, QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton, button, keys)
        if busy:  # something else happens in the middle of the drag
            self.random.choice((self.undo, self.key, self.page, self.pan, self.new_project))()
        self._send(widget, QEvent.Type.MouseButtonRelease, places[-1], button, keys=keys)

    def _send(self, widget, kind, place, button, held=Qt.MouseButton.NoButton, keys=PLAIN):
        there = QPointF(widget.mapToGlobal(place))
        QApplication.sendEvent(widget, QMouseEvent(kind, QPointF(place), there, button, held, keys))


@contextlib.contextmanager
def answering_dialogs(monkeypatch, seed):
    """Answer the questions that stop a person."""
    answers = random.Random(seed)
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.choice((yes, yes, no)))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: ("", ""))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: ("", ""))
    yield
