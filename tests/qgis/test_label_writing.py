# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Many labels at once: written on the side, as one step, whatever happens meanwhile."""

import contextlib
import signal
import sqlite3
import subprocess
import sys

import pytest
from qgis.core import QgsGeometry, QgsPointXY, QgsProject, QgsRectangle

from tessera_plugin.engine.label_files import Checkpoint, LabelFile
from tessera_plugin.errors import LabelsBusy, LabelsChanged, NotWritable
from tessera_plugin.tasks import label_rest
from tessera_plugin.tasks.label_steps import MANY
from tessera_plugin.tasks.labels import LabelStore, NewLabel
from tessera_plugin.values import LabelChange, LandClass, StoredClass, StoredLabel
from tests import label_child
from tests.clock import within
from tests.qgis.test_label_history import (
    drawn_by_other_means,
    point,
    reopened,
    state,
    wait_for_rest,
)

NUMBER = MANY + 300


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "labels.gpkg")


@pytest.fixture
def store(qgis_new_project, path):
    store = LabelStore()
    store.open(path)
    yield store
    store.close()


def many(name):
    """Return what makes labels of a class, points and squares in turn."""

    def make(ids):
        for n in range(NUMBER):
            here = QgsPointXY(n / 100, n / 200)
            shape = QgsGeometry.fromPointXY(here)
            if n % 2:
                shape = QgsGeometry.fromRect(QgsRectangle(here, QgsPointXY(n / 100 + 0.1, 80)))
            yield NewLabel(shape, ids[name], 2020 + n % 3, f"it's {n}", n % 101)

    return make


def is_done(store, qtbot):
    qtbot.waitUntil(lambda: not store.is_writing, timeout=1000 * within(10))


def added(store, qtbot, name="forest", new_classes=(("Forest", "#00aa00"),)):
    store.adding(many(name), NUMBER, new_classes, "an import").start()
    is_done(store, qtbot)


def test_many_labels_are_one_step_made_on_the_side(store, path, qtbot):
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    before, told, seen = state(store), [], []
    store.writing.connect(told.append)
    store.changed.connect(lambda: seen.append(state(store)))
    writing = store.adding(many("forest"), NUMBER, [("Forest", "#00aa00"), ("water", "")], "it")
    ends = []
    writing.succeeded.connect(lambda: ends.append("succeeded"))
    writing.ended.connect(lambda: ends.append("ended"))
    writing.start()
    assert store.is_writing
    assert (store.can_undo, store.can_redo, state(store)) == (False, False, before)
    for change in (
        lambda: store.add_label(point(2, 2), water.id, 2024),
        lambda: store.rename_class(water.id, "Lake"),
        store.undo,
    ):
        with pytest.raises(LabelsBusy):
            change()
    store.refresh()  # waits
    store.select([next(iter(before[2]))])
    is_done(store, qtbot)
    qtbot.waitUntil(lambda: ends == ["succeeded", "ended"])
    after = state(store)
    assert seen == [after]
    assert told == [True, False]
    assert [each.name for each in store.classes] == ["Water", "Forest"]
    assert dict(store.counts) == {water.id: 1, 2: NUMBER}
    assert {(each.class_id, each.year, each.note, each.confidence) for each in store.labels()} >= {
        (2, 2020, "it's 3", 3), (2, 2021, "it's 301", 99)}  # fmt: skip
    assert store.undo_text == "it"
    assert reopened(path) == after
    store.undo()
    assert store.is_writing  # that is no less work
    is_done(store, qtbot)
    assert state(store) == before == reopened(path)
    store.redo()
    is_done(store, qtbot)
    assert state(store) == after == reopened(path)
    store.merge_classes([2], water.id)
    is_done(store, qtbot)
    assert dict(store.counts) == {water.id: NUMBER + 1}
    store.remove_classes([water.id])
    is_done(store, qtbot)
    assert reopened(path) == ((), frozenset(), {})
    for _ in range(2):
        store.undo()
        is_done(store, qtbot)
    assert state(store) == after == reopened(path)
    assert store.add_class("next").id == 3


def test_a_cancel_leaves_nothing_behind(store, path, qtbot):
    water = store.add_class("Water")
    before, text = state(store), store.undo_text

    def make(ids):
        for number, each in enumerate(many("forest")(ids)):
            if number == MANY + 10:
                writing.cancel()
            yield each

    writing = store.adding(make, NUMBER, [("Forest", "")], "an import")
    with qtbot.waitSignal(writing.cancelled):
        writing.start()
    assert (state(store), store.undo_text) == (before, text)
    assert reopened(path) == before
    store.add_label(point(1, 1), water.id, 2024)
    added(store, qtbot)
    whole = state(store)
    store.wrote.connect(lambda _: store.cancel_writing())  # as soon as some of it is told
    store.undo()
    is_done(store, qtbot)
    assert state(store) == reopened(path)
    assert state(store) in (whole, (before[0], before[1], {each.key: each for each in
                                    store.labels() if each.class_id == water.id}))  # fmt: skip


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_where_it_cannot_be_written_nothing_changes(store, path, qtbot):
    added(store, qtbot)
    before, text = state(store), store.undo_text
    with locked(path):
        with qtbot.waitSignal(store.not_written) as told:
            store.undo()
        assert isinstance(told.args[0], NotWritable)
        writing = store.adding(many("lake"), NUMBER, [("Lake", "")])
        with qtbot.waitSignal(writing.failed):
            writing.start()
    assert (state(store), store.undo_text, store.can_redo) == (before, text, False)
    assert reopened(path) == before
    store.undo()
    is_done(store, qtbot)
    assert reopened(path)[2] == {}


@pytest.mark.parametrize("end", ["close", "open"])
def test_the_file_is_left_when_all_of_it_is_written(store, path, tmp_path, end):
    other = str(tmp_path / "other.gpkg")
    store.add_class("Water")
    store.adding(many("forest"), NUMBER, [("Forest", "")]).start()
    if end == "close":
        store.close()
    else:
        store.open(other)
        assert store.add_class("Lake").id == 1
    assert not store.is_writing
    classes, _, labels = reopened(path)
    assert [each.name for each in classes] == ["Water", "Forest"]
    assert len(labels) == NUMBER


def test_a_kill_in_the_middle_leaves_nothing_of_it(path):
    child = subprocess.run(
        [sys.executable, label_child.__file__, path, "half"], check=False, stdout=subprocess.PIPE
    )
    assert child.returncode == -signal.SIGKILL
    assert float(child.stdout) >= 0.5
    assert reopened(path) == ((), frozenset(), {})


# --- somebody else writes at the same moment


def colleague(path, name):
    """Add a class with a label, as another QGIS at the same file does."""
    with contextlib.closing(LabelFile(path)) as file:
        there = file.read()
        made = StoredClass(LandClass(there.next_class_id, name, "#123456"))
        label = StoredLabel(name, made.land_class.id, 2024, bytes(point(50, 50).asWkb()))
        change = LabelChange(there.classes, (*there.classes, made), ((None, label),))
        file.write(change, there.next_class_id + 1)


def brought_in(path):
    """Bring the log into the file, as another QGIS does when it rests."""
    checkpoint = Checkpoint(path)
    checkpoint.run()
    checkpoint.close()


def names(store):
    """Return the names of the classes of all labels, and how many there are of each."""
    return {each.name: store.counts.get(each.id, 0) for each in store.classes}


def test_an_import_keeps_what_a_colleague_adds_meanwhile(store, path, qtbot):
    store.add_class("Water")
    calls = []

    def make(ids):
        calls.append(dict(ids))
        if len(calls) == 1:  # on the side: the file was looked at, and is not written yet
            colleague(path, "Field")
        return many("forest")(ids)

    store.adding(make, NUMBER, [("Forest", "#00aa00")], "an import").start()
    is_done(store, qtbot)
    assert calls == [{"water": 1, "forest": 2}, {"water": 1, "field": 2, "forest": 3}]
    assert names(store) == {"Water": 0, "Field": 1, "Forest": NUMBER}
    assert store.label("Field").class_id == 2
    assert state(store) == reopened(path)
    store.undo()
    is_done(store, qtbot)
    assert names(store) == {"Water": 0, "Field": 1}
    assert state(store) == reopened(path)


def test_a_log_that_is_brought_in_is_no_change(store, path, qtbot):
    water = store.add_class("Water")
    store.writing.connect(lambda on: on and brought_in(path))
    added(store, qtbot)
    store.undo()
    is_done(store, qtbot)
    store.redo()
    is_done(store, qtbot)
    with store.one_step("two labels"):
        store.add_label(point(1, 1), water.id, 2024)
        brought_in(path)
        assert store._file.is_changed  # so it seems
        store.add_label(point(2, 2), water.id, 2024)
    assert names(store) == {"Water": 2, "Forest": NUMBER}
    assert store.undo_text == "two labels"
    assert state(store) == reopened(path)


def test_a_change_of_what_was_there_is_not_made_over_what_a_colleague_did(store, path, qtbot):
    added(store, qtbot)
    began = []
    store.writing.connect(lambda on: on and began.append(colleague(path, "Field")))
    with qtbot.waitSignal(store.not_written) as told:
        store.undo()
    assert isinstance(told.args[0], LabelsChanged)
    assert (len(began), store.is_writing) == (1, False)
    assert names(store) == {"Forest": NUMBER, "Field": 1}
    assert state(store) == reopened(path)
    store.undo()  # what the colleague did: there is one way back for all of it
    assert names(store) == {"Forest": NUMBER}


def test_a_step_of_several_changes_is_not_made_over_what_a_colleague_did(store, path):
    water = store.add_class("Water")

    def add():
        with store.one_step("adding"):
            store.add_class("Forest")
            colleague(path, "Field")
            store.add_label(point(1, 1), water.id, 2024)

    with pytest.raises(LabelsChanged):
        add()
    assert names(store) == {"Water": 0, "Field": 1}
    assert state(store) == reopened(path)
    with store.one_step("adding"):
        store.add_label(point(1, 1), store.add_class("Forest").id, 2024)
    assert names(store) == {"Water": 0, "Field": 1, "Forest": 1}
    assert [each.id for each in store.classes] == [1, 2, 3]
    assert state(store) == reopened(path)


def test_a_click_at_the_same_moment_is_told(store, path, monkeypatch):
    water = store.add_class("Water")
    look = store._ready
    monkeypatch.setattr(store, "_ready", lambda: (look(), colleague(path, "Field"))[0])
    with pytest.raises(LabelsChanged):
        store.add_label(point(1, 1), water.id, 2024)
    assert names(store) == {"Water": 0, "Field": 1}
    monkeypatch.undo()
    store.add_label(point(1, 1), water.id, 2024)
    assert names(store) == {"Water": 1, "Field": 1}
    assert state(store) == reopened(path)


# --- the log is brought into the file


def test_what_others_wrote_is_seen_through_a_pause(store, path, qtbot, monkeypatch):
    monkeypatch.setattr(label_rest, "REST_MS", 20)
    water = store.add_class("Water")
    store.show_in(QgsProject.instance())
    for _ in range(2):
        store.add_label(point(1, 1), water.id, 2024)
        wait_for_rest(qtbot, path)
        qtbot.waitUntil(lambda: store._rest._thread is None)
        assert not store._file.is_changed  # else the next click would read all of it anew
    drawn_by_other_means(path, 5, 5, class_id=water.id)
    store.add_label(point(2, 2), water.id, 2024)
    assert len(store.labels()) == 4
    wait_for_rest(qtbot, path)
    qtbot.waitUntil(lambda: store._rest._thread is None)
    drawn_by_other_means(path, 6, 6, class_id=water.id)
    store._rest.start()  # what was written before the log is brought in is not forgotten either
    qtbot.waitUntil(lambda: store._rest._thread is not None)
    qtbot.waitUntil(lambda: store._rest._thread is None)
    store.add_label(point(3, 3), water.id, 2024)
    assert len(store.labels()) == 6
