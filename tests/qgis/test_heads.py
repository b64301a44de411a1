# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads on the Map page, by clicks: listed, named, compared, exported, brought in, deleted."""

import html
import json
import math
from pathlib import Path

import numpy as np
import pytest
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtWidgets import (
    QAction,
    QApplication,
    QDialog,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QTextBrowser,
)

from tessera_plugin.engine.accuracy import assess, from_matrix
from tessera_plugin.engine.heads import load, save
from tessera_plugin.engine.learning_curve import CurvePoint, LearningCurve
from tessera_plugin.engine.patch_models import describe_model
from tessera_plugin.gui import accuracy_plot, head_words, text
from tessera_plugin.tasks import head_jobs
from tests.builders import random_head
from tests.qgis.hands import MAP
from tests.qgis.test_training import PRIVATE, ROOT, SMALL
from tests.qgis.test_training import Hands as TrainHands

QUICK = {"train_options": json.dumps({"hidden": [8], "epochs": 2}),
         "train_test": json.dumps({"scheme": "random", "folds": 2})}  # fmt: skip


class Hands(TrainHands):
    """Uses the list of heads."""

    @property
    def tree(self):
        return self.find("headsList")

    def rows(self):
        """Return the first lines of the list."""
        items = [self.tree.topLevelItem(n) for n in range(self.tree.topLevelItemCount())]
        return [item.text(0).splitlines()[0] for item in items]

    def row(self, path):
        """Return the item of a head."""
        for number in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(number)
            if Path(item.data(0, Qt.ItemDataRole.UserRole)) == Path(path):
                return item
        raise AssertionError(f"{path} is not in the list: {self.rows()}")

    def listed(self, count):
        lookup = self.dock.map.heads._lookup
        self.until(lambda: not lookup.is_busy and self.tree.topLevelItemCount() == count)

    def mark(self, *paths):
        for number, path in enumerate(paths):
            place = self.tree.visualItemRect(self.row(path)).topLeft() + QPoint(20, 8)
            keys = Qt.KeyboardModifier.ControlModifier if number else Qt.KeyboardModifier.NoModifier
            self.qtbot.mouseClick(self.tree.viewport(), Qt.MouseButton.LeftButton, keys, place)
        QApplication.processEvents()

    def act(self, name):
        action = self.dock.findChild(QAction, name)
        assert action.isEnabled(), f"{name}: {action.toolTip()}"
        action.trigger()
        QApplication.processEvents()

    def why_not(self, name):
        action = self.dock.findChild(QAction, name)
        assert not action.isEnabled(), name
        return action.toolTip()

    def read_window(self):
        """Return the text of the window that is open, and close it."""
        (window,) = [each for each in self.dock.findChildren(QDialog) if each.isVisible()]
        assert window.objectName() == "headWindow"
        told = window.findChild(QTextBrowser, "headText").toPlainText()
        window.reject()
        QApplication.processEvents()
        return told


@pytest.fixture
def open_page(make_dock, qtbot, desktop, server, monkeypatch, tmp_path):
    """The Map page with the groups of this file unfolded."""
    monkeypatch.setenv("HOME", str(tmp_path))  # its trash is that of this folder

    def make(**changes):
        dock = make_dock(archive=server.url, **changes)
        desktop.zoom_to(*SMALL)
        hands = Hands(dock, qtbot, desktop)
        hands.page(MAP)
        for name in ("headsGroup", "compareGroup"):
            assert hands.find(name).isCollapsed()
            hands.unfold(name)
        for name in ("useHeadButton", "compareKindsButton"):
            hands.until(lambda name=name: hands.find(name).height() > 10)
        return hands

    return make


def answers(monkeypatch, owner, name, value):
    monkeypatch.setattr(owner, name, lambda *_, **__: value)


def test_heads_are_named_kept_compared_used_and_deleted(open_page, archive, tmp_path, monkeypatch):
    hands = open_page()
    assert "No heads here yet" in hands.told("headsHint")
    hands.label(archive.label_points(SMALL, per_class=4))
    hands.train()
    first = hands.session.settings.head_path
    hands.listed(1)
    item = hands.row(first)
    assert item.font(0).bold()
    assert item.text(0).startswith("Instant, ")
    assert item.text(0).endswith("2024 · 24 labels")
    tested = load(first).accuracy.overall
    assert item.text(1).splitlines() == [text.percent(tested, 1), "held out"]
    assert "TESSERA 1.1 (dClimate, global)" in item.toolTip(0)
    assert hands.find("headsGroup").title() == "Heads (1)"
    assert "Rename a head to keep it" in hands.told("headsHint")

    # a name stays in the file, and the next training leaves it alone
    hands.mark(first)
    answers(monkeypatch, QInputDialog, "getText", ("Fields <b>", True))
    hands.act("renameHeadAction")
    hands.until(lambda: hands.rows() == ["Fields <b>"])
    assert "Fields &lt;b&gt;<br>" in hands.row(first).toolTip(0)
    assert load(first).name == "Fields <b>"
    hands.choose("testCombo", "k-fold")
    hands.find("foldsSpin").setValue(2)
    hands.train()
    second = hands.session.settings.head_path
    assert Path(second).stem == f"{Path(first).stem}_2"
    assert load(first).name == "Fields <b>"
    hands.listed(2)
    assert hands.row(second).font(0).bold()
    assert not hands.row(first).font(0).bold()
    assert "±" in hands.row(second).text(1)
    hands.train()  # without a name of its own it is replaced
    hands.listed(2)
    hands.mark(second)
    hands.act("renameHeadAction")  # nobody else may have that name
    hands.until(lambda: "Fields <b> 2" in hands.rows())

    assert "two heads" in hands.why_not("compareHeadsAction")
    hands.mark(first, second)
    assert "one head" in hands.why_not("useHeadAction")
    hands.click("compareHeadsButton")
    told = hands.read_window()
    assert "Fields <b> 2" in told
    assert "different ways" in told

    hands.mark(first)
    hands.click("headDetailsButton")
    told = hands.read_window()
    head = load(first)
    assert head.id in told
    for each in head.classes:
        assert f"{each.name}\n4\n4" in told
    place = hands.tree.visualItemRect(hands.row(first)).center()
    hands.qtbot.mouseDClick(hands.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert hands.session.settings.head_path == first
    assert hands.dock.map.train.head.id == head.id
    hands.until(lambda: hands.row(first).font(0).bold())

    hands.mark(first)
    hands.act("deleteHeadAction")
    hands.listed(1)
    assert not Path(first).exists()
    assert (tmp_path / "data" / "Trash" / "files" / Path(first).name).exists()
    assert "trash" in hands.note("headsNote")
    assert hands.session.settings.head_path == ""
    assert hands.dock.map.train.head is None
    assert not hands.find("accuracyGroup").isVisible()

    monkeypatch.setattr(head_jobs, "to_trash", lambda _: False)
    hands.mark(second)
    answers(monkeypatch, QMessageBox, "question", QMessageBox.StandardButton.No)
    hands.act("deleteHeadAction")
    assert Path(second).exists()
    answers(monkeypatch, QMessageBox, "question", QMessageBox.StandardButton.Yes)
    hands.act("deleteHeadAction")
    hands.listed(0)
    assert not Path(second).exists()


def test_heads_come_in_from_elsewhere(open_page, tmp_path, monkeypatch):
    away = tmp_path / "away"
    away.mkdir()
    save(random_head(dataset="1.0-vultr", name="Theirs"), str(away / "theirs.head"))
    save(random_head(seed=4, name="Looked at"), str(away / "seen.head"))
    (away / "broken.head").write_bytes(b"nothing")
    hands = open_page()
    answers(monkeypatch, QFileDialog, "getOpenFileName", (str(away / "theirs.head"), ""))
    hands.act("importHeadAction")
    hands.listed(1)
    assert (tmp_path / "theirs.head").exists()
    assert "for TESSERA 1.0" in hands.row(tmp_path / "theirs.head").text(0)
    hands.mark(tmp_path / "theirs.head")
    assert "made for TESSERA 1.0" in hands.find("useHeadButton").toolTip()
    hands.click("useHeadButton")  # it is for another dataset: that is told where it matters
    assert hands.session.settings.head_path == str(tmp_path / "theirs.head")
    assert hands.dock.map.train.head.dataset == "1.0-vultr"
    assert "bold" in hands.told("headsHint")

    answers(monkeypatch, QFileDialog, "getOpenFileName", (str(away / "broken.head"), ""))
    hands.act("importHeadAction")
    hands.until(lambda: "broken.head" in hands.note("headsNote"))
    assert not (tmp_path / "broken.head").exists()

    answers(monkeypatch, QFileDialog, "getOpenFileName", (str(away / "seen.head"), ""))
    hands.click("loadHeadButton")  # opened where it lies, and listed from now on
    hands.listed(2)
    (tmp_path / "damaged.head").write_bytes(b"nothing")
    hands.dock.map.heads.refresh()
    hands.listed(3)
    assert "can't be used" in hands.row(tmp_path / "damaged.head").text(0)
    hands.mark(tmp_path / "damaged.head")
    assert "can't be used" in hands.why_not("useHeadAction")
    hands.click("headDetailsButton")
    assert "zip" in hands.read_window()
    assert json.loads(hands.session.settings.opened_heads) == [str(away / "seen.head")]
    hands.mark(away / "seen.head")
    assert "training part of the add-on" in hands.why_not("exportHeadAction")


def test_stories_that_make_no_sense_stop_nobody(open_page, tmp_path):
    """A head is used whatever its file tells of its training; a loss that was no number is null."""
    path = tmp_path / "odd.head"
    stories = (
        {"loss_curve": [[1, 0.7, math.nan], [2, 0.5, math.nan]]},
        {"loss_curve": [1, "x"], "calibration": {"right": "x"}, "seconds": "long", "labels": "a"},
        {"validation": {"scheme": 3, "mean": 0.5, "spread": 0.1, "parts": [1, 2]}, "params": []},
        {"validation": {"mean": 0.5, "spread": 0.1}, "areas": 5, "classes": "x", "made": []},
    )
    for number, told in enumerate(stories):
        save(random_head((4,), seed=number, training=told), str(tmp_path / f"{number}.head"))
    hands = open_page()
    hands.listed(len(stories))
    for number in range(len(stories)):
        path = tmp_path / f"{number}.head"
        hands.mark(path)
        hands.click("useHeadButton")
        head = random_head((4,), seed=number)
        assert hands.dock.map.train.head.id == head.id
        hands.dock.map.train.grab()  # painted, with its curve
        hands.click("headDetailsButton")
        assert head.id in hands.read_window()


def test_few_large_labels_and_too_few_are_told(open_page, tmp_path):
    """An interval of few polygons, and an error that nobody can know, are called so."""
    sizes = [200] * 5 + [1] * 20
    groups = np.repeat(np.arange(25), sizes)
    predicted = np.where(np.isin(groups, [0, *range(5, 17)]), 2, 1)
    accuracy = assess(np.ones(1020, int), predicted, random_head().classes, groups)
    story = {"calibration": {"confidence_after": 0.8, "right": 0.79, "ece_before": None,
                             "ece_after": None, "temperature": 1.5}}  # fmt: skip
    save(random_head(accuracy=accuracy, training=story), str(tmp_path / "polygons.head"))
    hands = open_page()
    hands.listed(1)
    hands.mark(tmp_path / "polygons.head")
    hands.click("useHeadButton")
    told = hands.told("accuracyLabel")
    low, high = (text.percent(end) for end in accuracy.interval)
    assert f"95 % interval {low} to {high}" in told
    assert f"whatever its size: {text.percent(12 / 25, 1)}" in told
    assert "A few large labels, or places labelled several times, hold most" in told
    assert f"on {text.labels(round(accuracy.n_effective))} of equal size" in told
    assert "too few to tell the calibration error" in hands.told("calibrationLabel")
    hands.click("headDetailsButton")
    assert "error: too few labels to tell, temperature 1.50" in hands.read_window()


def test_kinds_and_numbers_of_labels_are_compared(open_page, archive, tmp_path):
    hands = open_page(**QUICK)
    hands.click("compareKindsButton")
    hands.until(lambda: "label" in hands.note("compareNote"))  # there are none
    hands.label(archive.label_points(SMALL, per_class=6))
    hands.click("compareKindsButton")
    hands.settle()
    table = hands.find("kindsTable")
    names = [table.item(row, 0).text() for row in range(table.rowCount())]
    assert names == ["Instant", "MLP", "Logistic", "5-NN", "Forest"]
    assert [table.item(row, 1).text() for row in range(1, 5)] == ["not tried: needs the add-on"] * 4
    assert "Only one kind" in hands.told("kindsSentence")
    assert "k-fold, 2 parts, 36 labels" in hands.told("kindsSentence")
    table.setCurrentCell(0, 0)
    hands.qtbot.keyClick(table, Qt.Key.Key_Space)  # as a click
    assert "Instant is chosen" in hands.note("compareNote")
    header = table.horizontalHeader()
    hands.until(lambda: header.length() == table.viewport().width())
    assert table.columnWidth(0) >= table.sizeHintForColumn(0)  # the names are to be read
    assert "Click" not in hands.told("kindsSentence")  # there is nothing to choose
    assert "needs the add-on: <a" in hands.told("kindsSentence")
    wanted = []
    hands.dock.map.add_on_wanted.disconnect()
    hands.dock.map.add_on_wanted.connect(lambda: wanted.append(True))
    hands.find("kindsSentence").linkActivated.emit("add-on")
    assert len(wanted) == 1

    def press(row):
        place = table.visualItemRect(table.item(row, 0)).center()
        hands.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        return hands.note("compareNote")

    assert press(1) == "MLP can't be chosen: it needs the add-on."
    hands.click("compareNoteButton")
    assert len(wanted) == 2
    assert press(4).startswith("Random forest can't be chosen: it is for comparison only")
    assert not hands.find("compareNoteButton").isVisible()
    assert hands.session.settings.head_kind == "instant"
    assert press(0) == "Instant is chosen: click Train."
    head = hands.train()  # the same folds
    found = head.training["validation"]
    assert table.item(0, 1).text() == " ± ".join(
        text.decimal(100 * found[name], 1) for name in ("mean", "spread")
    )

    hands.click("moreLabelsHelpButton")
    hands.settle()
    plot = hands.find("accuracyPlot")
    assert plot.isVisible()
    assert [each.labels_per_class for each in plot.points] == [1, 2, 3]
    assert plot.points[-1].mean == pytest.approx(head.accuracy.overall)
    told = hands.told("curveSentence")
    assert "From 1 to 3 labels per class" in told
    assert "Instant heads, tested by k-fold" in told
    picture = plot.grab().toImage()
    blue = accuracy_plot.TRAINING.rgb()
    assert any(
        picture.pixel(x, y) == blue for x in range(picture.width()) for y in range(picture.height())
    )


def test_a_gain_within_its_spread_promises_nothing(qgis_app):
    points = (CurvePoint(2, 12, (0.70, 0.80)), CurvePoint(8, 48, (0.764, 0.764)))
    told = html.unescape(head_words.verdict(LearningCurve("instant", "blocks", points)))
    assert told.startswith("<b>Whether more labels would help can't be told.</b> ")
    assert (
        "from 2 to 8 labels per class, +1.4 %, is within the spread of the repeats (± 7.1 %)"
        in told
    )


@pytest.mark.parametrize(
    ("means", "spread", "lines"),
    [((0.72, 0.91), 0.05, [0.6, 0.7, 0.8, 0.9, 1.0]), ((0.5, 0.5), 0.0, [0.5, 0.51]),
     ((1.0, 1.0), 0.0, [0.99, 1.0]), ((0.02, 1.0), 0.1, [0.0, 0.25, 0.5, 0.75, 1.0])],
)  # fmt: skip
def test_the_axis_has_round_numbers(means, spread, lines):
    shares = [(mean - spread / 2**0.5, mean + spread / 2**0.5) for mean in means]
    points = [CurvePoint(n, n, each) for n, each in enumerate(shares, 1)]
    assert accuracy_plot.axis(points) == lines


def test_a_head_goes_out_as_onnx_and_comes_back_as_a_model(open_page, tmp_path, monkeypatch):
    head = random_head((8,), name="Mine")
    save(head, str(tmp_path / "mine.head"))
    hands = open_page(worker_python=str(PRIVATE))
    hands.listed(1)
    hands.mark(tmp_path / "mine.head")
    out = tmp_path / "mine.onnx"
    answers(monkeypatch, QFileDialog, "getSaveFileName", (str(tmp_path / "mine"), ""))
    hands.act("exportHeadAction")
    hands.settle()
    assert "same class for 4,096 of 4,096" in hands.note("headsNote")
    facts = describe_model(str(out), hands.session.compute.client())
    assert facts.form.classes == head.classes
    answers(monkeypatch, QFileDialog, "getOpenFileName", (str(out), ""))
    hands.click("loadHeadButton")
    window = hands.dock.models._dialog
    hands.until(lambda: window._facts is not None, 60_000)
    hands.until(lambda: "made for this dataset" in window.modelDatasetValue.text())
    names = [window.modelClassTable.item(row, 2).text() for row in range(len(head.classes))]
    assert names == [each.name for each in head.classes]
    hands.session.update(dataset="1.0-vultr")
    hands.until(lambda: "was made for “1.1-" in window.modelNextLabel.text())
    window.reject()

    # and as a head again, under a name of its own
    hands.act("importHeadAction")
    hands.settle()
    hands.listed(2)
    assert sorted(hands.rows()) == ["Mine", "Mine 2"]
    again = load(str(tmp_path / "mine_2.head"))
    assert (again.id, again.classes, again.name) == (head.id, head.classes, "Mine 2")
    assert "mine_2.head" in hands.note("headsNote")
    model = ROOT / "tools" / "demo_encoder" / "demo.onnx"
    answers(monkeypatch, QFileDialog, "getOpenFileName", (str(model), ""))
    hands.act("importHeadAction")
    hands.settle()
    assert "not a head that was exported from here" in hands.note("headsNote")
    assert "Encode own scenes…" in hands.note("headsNote")
    hands.session.update(worker_python="")
    hands.until(lambda: not hands.session.compute.can_train)
    hands.act("importHeadAction")
    assert "training part of the add-on" in hands.note("headsNote")
    hands.listed(2)


def test_a_long_list_is_sorted_and_what_fits_comes_first(open_page, tmp_path):
    rows = (
        ("Fields 10", (), (2024,), "1.1-dclimate", 0.7, 40),
        ("fields 2", (), (2019, 2020, 2021), "1.1-dclimate", 0.9, 30),
        ("A second round of labels in the upper valley, with hedges and orchards", (4,),
         (2017, 2019, 2022), "1.1-dclimate", 0.8, 1240),
        ("Other", (), (2025,), "1.0-vultr", 0.99, 5000),
        ("Untested", (), (2023,), "1.1-dclimate", None, 0),
    )  # fmt: skip
    for number, (name, hidden, years, dataset, share, labels) in enumerate(rows):
        folds = {"scheme": "blocks", "mean": share, "spread": 0.04, "parts": []}
        story = {"labels": labels, "made": f"2026-0{number + 1}-01T00:00:00+00:00"}
        story.update({"validation": folds} if share is not None else {})
        matrix = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 5]])
        accuracy = from_matrix([1, 2, 3], matrix, 12) if share is not None else None
        head = random_head(hidden, seed=number, name=name, years=years, dataset=dataset,
                           training=story, accuracy=accuracy)  # fmt: skip
        save(head, str(tmp_path / f"{number}.head"))
    (tmp_path / "a broken one.head").write_bytes(b"x")
    hands = open_page(head_path=str(tmp_path / "0.head"), dataset="1.1-dclimate")
    hands.listed(6)

    def order():
        return [name.split()[0] for name in hands.rows()]

    always = ["Other", "a"]  # for another dataset, and what can't be used
    newest = ["Untested", "A", "fields", "Fields", *always]
    assert order() == newest
    text_of = {name: hands.tree.topLevelItem(n).text for n, name in enumerate(order())}
    assert text_of["A"](0).splitlines()[1] == f"MLP · 3 of 2017{text.NONE}2022 · 1,240 labels"
    assert text_of["fields"](0).splitlines()[1] == f"Instant · 2019{text.NONE}2021 · 30 labels"
    assert text_of["fields"](1).splitlines() == ["90 ± 4 %", "by blocks"]
    for column, first, sorted_so in (
        (0, "A", ["A", "fields", "Fields", "Untested"]),
        (1, "fields", ["fields", "A", "Fields", "Untested"]),
    ):
        header = hands.tree.header()
        place = QPoint(header.sectionPosition(column) + 20, header.height() // 2)
        hands.qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert order() == [*sorted_so, *always], first
        assert header.isSortIndicatorShown()
    hands.qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert order() == newest
    assert not header.isSortIndicatorShown()
    hands.mark(tmp_path / "1.head")
    hands.act("sortHeadsByLabels")
    assert order() == ["A", "Fields", "fields", "Untested", *always]
    hands.act("sortHeadsByYear")
    assert order() == ["Fields", "Untested", "A", "fields", *always]
    assert [each.path for each in hands.dock.map.heads._list.marked()] == [str(tmp_path / "1.head")]
    assert hands.session.settings.heads_order == "year"
    assert hands.dock.findChild(QAction, "sortHeadsByYear").isChecked()
    wide = hands.tree.columnWidth(0)
    hands.tree.setFixedWidth(260)  # names are cut in their middle, the rest at its end
    QApplication.processEvents()
    assert hands.tree.columnWidth(0) < wide
    assert "orchards" in hands.tree.topLevelItem(2).toolTip(0)
    hands.session.update(dataset="1.0-vultr")
    hands.until(lambda: order()[0] == "Other")


@pytest.mark.long
def test_all_kinds_are_tried_where_the_add_on_is(open_page, archive):
    hands = open_page(worker_python=str(PRIVATE), **QUICK)
    hands.label(archive.label_points(SMALL, per_class=6))
    hands.click("compareKindsButton")
    hands.settle()
    table = hands.find("kindsTable")
    assert all("±" in table.item(row, 1).text() for row in range(5)), hands.note("compareNote")
    assert sum(table.item(row, 0).font().bold() for row in range(5)) == 1
    assert "Click Instant or MLP to choose it" in hands.told("kindsSentence")
    place = table.visualItemRect(table.item(1, 0)).center()
    hands.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert hands.session.settings.head_kind == "mlp"
    assert hands.find("headCombo").currentData() == "mlp"
    assert "click Train" in hands.note("compareNote")
    place = table.visualItemRect(table.item(4, 0)).center()
    hands.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert hands.session.settings.head_kind == "mlp"
    hands.session.update(train_options=json.dumps({"epochs": 100_000}))
    hands.click("compareKindsButton")
    hands.until(lambda: bool(hands.session.box.running))
    hands.session.box.cancel()
    hands.settle()
    assert hands.note("compareNote") == "Stopped."
