# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""No label is ever lost: undo and redo of everything, crashes, other programs at the same file."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from osgeo import gdal, ogr
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)

from tessera_plugin.engine.label_files import LabelFile, create
from tessera_plugin.errors import NotWritable
from tessera_plugin.io.label_export import copy_store
from tessera_plugin.tasks import label_rest
from tessera_plugin.tasks.label_history import History, Step
from tessera_plugin.tasks.labels import LabelStore, NewLabel
from tessera_plugin.values import LabelChange, LandClass, StoredClass, StoredLabel
from tests import label_child
from tests.builders import write_label_store
from tests.clock import within


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "labels.gpkg")


@pytest.fixture
def store(qgis_new_project, path):
    store = LabelStore()
    store.open(path)
    yield store
    store.close()


def point(x, y):
    return QgsGeometry.fromPointXY(QgsPointXY(x, y))


def square(x, y, size=0.001):
    return QgsGeometry.fromRect(QgsRectangle(x, y, x + size, y + size))


def state(store):
    """Everything that undo has to bring back."""
    return store.classes, store.hidden, {label.key: label for label in store.labels()}


def reopened(path):
    """What a QGIS reads that is started now."""
    store = LabelStore()
    store.open(path)
    found = state(store)
    store.close()
    return found


def rows(path, table):
    """Read a table with OGR alone."""
    source = ogr.Open(path)
    return [feature.items() for feature in source.GetLayerByName(table)]


def drawn_by_other_means(path, x, y, **values):
    layer = QgsVectorLayer(f"{path}|layername=label_points", "x", "ogr")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(point(x, y))
    for name, value in values.items():
        feature[name] = value
    assert layer.dataProvider().addFeatures([feature])[0]


# --- undo and redo


def some_change(store, rng):
    """Do one of everything that can be done; return whether it was a step."""
    ids = [each.id for each in store.classes]
    keys = [label.key for label in store.labels()]
    some = rng.sample(keys, min(len(keys), rng.randint(1, 4)))
    if len(ids) < 2:
        return store.add_class(f"class {rng.random()}")
    one, other = rng.sample(ids, 2)
    x, y = rng.uniform(-170, 170), rng.uniform(-80, 80)
    many = [NewLabel(point(x, y + n / 10), one, 2020 + n, f"it's {n}", 90 - n) for n in range(5)]
    return rng.choice(
        [
            lambda: store.add_label(point(x, y), one, 2024),
            lambda: store.add_label(square(x, y), other, 2023, "ä'\"", 50),
            lambda: store.add_labels(many),
            lambda: store.remove_labels(some),
            lambda: store.reclass_labels(some, one),
            lambda: store.move_label(some[0], square(y, x / 3)) if some else None,
            lambda: store.edit_labels(some, year=2019, note=str(x), confidence=int(abs(y))),
            lambda: store.add_class(f"class {x}"),
            lambda: store.add_classes([(f"a {x}", "#123456"), (f"b {x}", "")]),
            lambda: store.rename_class(one, f"renamed {x}"),
            lambda: store.recolor_class(one, f"#{rng.randrange(2**24):06x}"),
            lambda: store.move_class(one, rng.randrange(len(ids))),
            lambda: store.hide_class(one, rng.random() < 0.5),
            lambda: store.merge_classes([one], other) if rng.random() < 0.3 else None,
            lambda: store.remove_class(one) if rng.random() < 0.3 else None,
            lambda: store.hide_classes([one, other], rng.random() < 0.5),
            lambda: joined_changes(store, f"class {y}", some, x),
        ]
    )()


def joined_changes(store, name, keys, x):
    """Do as one step what touches the same class and labels several times."""
    with store.one_step("many things"):
        (made,) = store.add_classes([(name, "")])
        store.add_label(point(x, 1), made.id, 2024)
        store.reclass_labels(keys, made.id)
        store.remove_labels(keys[:1])
        store.edit_labels(keys, note="joined")
        store.rename_class(made.id, f"{name} renamed")


def test_all_of_it_can_be_taken_back_and_brought_back(store, path):
    rng = random.Random(7)
    store.add_class("first")
    states = [((), frozenset(), {}), state(store)]
    while len(states) < 350:
        some_change(store, rng)
        if state(store) != states[-1]:
            states.append(state(store))
    assert reopened(path) == states[-1]
    texts = []
    for wanted in reversed(states[:-1]):
        texts.append(store.undo_text)
        store.undo()
        assert state(store) == wanted
    assert not store.can_undo
    assert all(texts)
    for wanted in states[1:]:
        assert store.redo_text == texts.pop()
        store.redo()
        assert state(store) == wanted
    assert not store.can_redo
    assert reopened(path) == states[-1]
    for _ in range(100):
        store.undo()
    assert reopened(path) == states[-101]
    # the names that other programs see are those of the classes
    names = {each.id: each.name for each in store.classes}
    for table in ("label_points", "label_polygons"):
        for row in rows(path, table):
            assert row["class_name"] == names[row["class_id"]]


def test_a_new_change_ends_redo(store):
    store.add_class("a")
    store.add_class("b")
    store.undo()
    assert store.can_redo
    assert store.redo_text == "adding the class b"
    assert store.add_class("c").id == 3  # 2 was given already
    assert not store.can_redo
    store.undo()
    assert store.add_class("d").id == 4


def test_ids_are_not_given_again_after_a_restart(store, path):
    store.add_class("a")
    store.add_class("b")
    store.undo()
    store.close()
    store.open(path)
    assert not store.can_undo
    assert store.add_class("c").id == 3


def test_what_changes_nothing_is_no_step(store):
    a = store.add_class("a", "#111111")
    revision = store.revision
    store.rename_class(a.id, "a")
    store.recolor_class(a.id, "#111111")
    store.move_class(a.id, 0)
    store.hide_class(a.id, False)
    store.remove_labels(["nobody"])
    assert store.add_classes([("A", "")]) == ()
    assert store.revision == revision
    assert store.undo_text == "adding the class a"


def test_undo_says_what_it_takes_back(store):
    water = store.add_class("Water")
    keys = store.add_labels([NewLabel(point(n, n), water.id, 2024) for n in range(3)])
    assert store.undo_text == "3 labels of Water"
    store.remove_label(keys[0])
    assert store.undo_text == "removing a label of Water"
    store.undo()
    assert (store.undo_text, store.redo_text) == ("3 labels of Water", "removing a label of Water")


def test_several_changes_are_one_step(store, path):
    a = store.add_class("a")
    before, told = state(store), store.undo_text
    seen = []
    store.changed.connect(lambda: seen.append(state(store)))

    def in_vain():
        with store.one_step("nothing"):
            store.add_label(point(1, 1), store.add_class("b").id, 2024)
            store.rename_class(999, "c")

    with pytest.raises(NotWritable):
        in_vain()
    assert (state(store), store.undo_text, seen) == (before, told, [])
    assert reopened(path) == before
    with store.one_step("b with a label"):
        b = store.add_class("b")
        key = store.add_label(point(1, 1), b.id, 2024)
        store.move_label(key, square(2, 2))
        store.add_label(point(3, 3), a.id, 2024)
        assert reopened(path) == before  # it is one transaction
    after = state(store)
    assert dict(store.counts) == {a.id: 1, b.id: 1}
    assert seen == [after]
    assert reopened(path) == after
    assert store.undo_text == "b with a label"
    store.undo()
    assert state(store) == before
    assert reopened(path) == before
    store.redo()
    assert reopened(path) == after
    with store.one_step("nothing"):
        store.remove_label(store.add_label(point(1, 1), b.id, 2024))
    assert store.undo_text == "b with a label"


def test_merged_classes_come_back_where_they_were(store):
    a, b, c = store.add_classes([("a", "#aa0000"), ("b", "#00bb00"), ("c", "#0000cc")])
    key = store.add_label(point(1, 1), a.id, 2024)
    other = store.add_label(square(1, 1), c.id, 2024)
    store.merge_classes([a.id, c.id], b.id)
    assert store.classes == (b,)
    assert dict(store.counts) == {b.id: 2}
    store.undo()
    assert store.classes == (a, b, c)
    assert (store.label(key).class_id, store.label(other).class_id) == (a.id, c.id)


def test_undo_lasts_over_saving_and_reopening_the_project(store, path, tmp_path):
    project = QgsProject.instance()
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    store.show_in(project)
    assert project.write(str(tmp_path / "p.qgz"))
    project.clear()
    assert project.read(str(tmp_path / "p.qgz"))
    store.open(path)
    store.show_in(project)
    store.undo()
    (layer,) = project.mapLayersByName("Label points")
    assert list(layer.getFeatures()) == []
    store.redo()
    assert len(list(layer.getFeatures())) == 1


def test_the_oldest_steps_go_when_memory_runs_out():
    history = History(most_bytes=100_000)
    for number in range(100):
        label = StoredLabel(str(number), 1, 2024, bytes(10_000))
        history.add(Step(str(number), LabelChange((), (), ((None, label),))))
    steps = []
    while history.last:
        steps.append(history.last.text)
        history.went_back()
    assert steps == [str(number) for number in range(99, 99 - len(steps), -1)]
    assert 5 < len(steps) < 10


# --- other programs at the same file


def test_what_others_wrote_is_a_step_too(store, path):
    water = store.add_class("Water")
    key = store.add_label(point(1, 1), water.id, 2024)
    before = state(store)
    drawn_by_other_means(path, 5, 5, class_id=7, class_name="Drawn")
    store.rename_class(water.id, "Lake")  # the drawn one is taken over before
    assert store.land_class(7).name == "Drawn"
    assert dict(store.counts) == {water.id: 1, 7: 1}
    store.undo()
    assert store.undo_text == "changes made elsewhere"
    store.undo()
    assert state(store) == before == reopened(path)
    store.redo()
    assert dict(store.counts) == {water.id: 1, 7: 1}
    store.undo()
    store.undo()
    assert store.label(key) is None


def test_undo_does_not_take_back_what_nobody_saw(store, path):
    water = store.add_class("Water")
    key = store.add_label(point(1, 1), water.id, 2024)
    drawn_by_other_means(path, 5, 5, class_id=water.id)
    store.undo()
    assert dict(store.counts) == {water.id: 2}
    assert store.undo_text == "changes made elsewhere"
    store.undo()
    assert [label.key for label in store.labels()] == [key]


def test_labels_drawn_on_the_layers_of_the_project(store):
    project = QgsProject.instance()
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    store.show_in(project)
    (layer,) = project.mapLayersByName("Label points")
    layer.startEditing()
    feature = QgsFeature(layer.fields())
    feature.setGeometry(point(2, 2))
    feature["class_id"] = water.id
    layer.addFeature(feature)
    second = store.add_label(point(3, 3), water.id, 2024)  # while the edit is open
    assert layer.commitChanges()
    assert dict(store.counts) == {water.id: 3}
    store.undo()
    store.undo()
    assert store.label(second) is None
    assert dict(store.counts) == {water.id: 1}


def test_a_copied_label_gets_a_key_of_its_own(store, path):
    water = store.add_class("Water")
    key = store.add_label(point(1, 1), water.id, 2024)
    drawn_by_other_means(path, 5, 5, class_id=water.id, key=key)
    store.refresh()
    assert dict(store.counts) == {water.id: 2}
    assert set(reopened(path)[2]) == {label.key for label in store.labels()}


def test_columns_of_others_come_back(store, path):
    water = store.add_class("Water")
    key = store.add_label(point(1, 1), water.id, 2024)
    other = gdal.OpenEx(path, gdal.OF_VECTOR | gdal.OF_UPDATE)
    other.ExecuteSQL('ALTER TABLE label_points ADD COLUMN "my photo" TEXT')
    other.ExecuteSQL("ALTER TABLE label_points ADD COLUMN height REAL")
    other.ExecuteSQL("""UPDATE label_points SET "my photo" = 'it''s.jpg', height = 1.5""")
    other = None
    store.remove_label(key)
    store.undo()
    (row,) = rows(path, "label_points")
    assert (row["key"], row["my photo"], row["height"]) == (key, "it's.jpg", 1.5)


def test_a_copy_is_whole_at_any_time(store, path, tmp_path):
    water = store.add_class("Water")
    store.add_labels([NewLabel(point(n, 1), water.id, 2024) for n in range(20)])
    copy = str(tmp_path / "copy's.gpkg")
    copy_store(path, copy)
    assert reopened(copy) == state(store)
    with pytest.raises(NotWritable):
        copy_store(path, path)
    store.undo()
    assert dict(store.counts) == {}


def test_a_file_put_in_its_place_is_taken_over(store, path, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(label_rest, "REST_MS", 50)
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    wait_for_rest(qtbot, path)
    old = shutil.copy(path, tmp_path / "old.gpkg")
    store.add_label(point(2, 2), water.id, 2024)
    before = state(store)
    wait_for_rest(qtbot, path)
    os.replace(old, path)
    store.add_label(point(3, 3), water.id, 2024)
    assert len(reopened(path)[2]) == 2
    store.undo()
    store.undo()
    assert state(store) == before


def test_a_file_put_in_its_place_while_others_have_the_one_before(store, path, tmp_path):
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    project = QgsProject.instance()
    store.show_in(project)
    layers = project.mapLayers().values()
    assert sum(len(list(each.getFeatures())) for each in layers) == 1
    other = ogr.Open(path, 1)
    assert other.GetLayerByName("label_points").GetFeatureCount() == 1
    copy_store(path, str(tmp_path / "copy.gpkg"))
    os.replace(tmp_path / "copy.gpkg", path)
    store.add_label(point(2, 2), water.id, 2024)
    assert sum(len(list(each.getFeatures())) for each in layers) == 2
    project.removeAllMapLayers()
    del other
    store.add_label(point(3, 3), water.id, 2024)
    child = [sys.executable, "-c", COUNT, path]
    assert subprocess.check_output(child, text=True).split() == ["ok", "3"]
    assert len(reopened(path)[2]) == 3


COUNT = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1])
print(*file.execute("PRAGMA integrity_check").fetchone())
print(*file.execute("SELECT count(*) FROM label_points").fetchone())
"""


def test_labels_in_memory_survive_a_file_that_is_spoilt_for_a_while(store, path, tmp_path):
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    before = state(store)
    store.show_in(QgsProject.instance())
    copy_store(path, str(tmp_path / "copy.gpkg"))
    for each in ("-wal", "-shm"):
        Path(f"{path}{each}").unlink()
    Path(path).unlink()
    Path(path).write_bytes(b"spoilt" * 1000)
    for change in (lambda: store.add_class("Forest"), store.undo):
        with pytest.raises(NotWritable):
            change()
    Path(path).unlink()
    with pytest.raises(NotWritable, match="gone"):
        store.add_class("Forest")
    assert state(store) == before
    for layer in QgsProject.instance().mapLayers().values():
        layer.dataProvider().reloadData()  # as when it is drawn meanwhile
        layer.updateFields()
    os.replace(tmp_path / "copy.gpkg", path)
    store.add_label(point(2, 2), water.id, 2024)
    assert len(reopened(path)[2]) == 2
    layers = QgsProject.instance().mapLayers().values()
    assert sum(len(list(each.getFeatures())) for each in layers) == 2
    store.undo()
    assert state(store) == before
    store.undo()
    assert not store.labels()


def wait_for_rest(qtbot, path):
    log = Path(f"{path}-wal")
    qtbot.waitUntil(lambda: log.stat().st_size == 0, timeout=1000 * within(8))


# --- a file that can't be written


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def full(path, store):
    """A disk that has no room, as SQLite tells it."""
    file = store._file
    (pages,) = file._rows("PRAGMA page_count")[0]
    file._rows(f"PRAGMA max_page_count = {pages}")
    yield
    file._rows("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("trouble", ["locked", "full"])
def test_where_it_cannot_be_written_nothing_changes(store, path, trouble):
    a, b = store.add_classes([("a", ""), ("b", "")])
    store.add_label(point(1, 1), a.id, 2024)
    before, text = state(store), store.undo_text
    many = [NewLabel(square(n / 100, n / 100), b.id, 2024, "note" * 50) for n in range(1500)]
    changes = [lambda: store.add_labels(many)]
    if trouble == "locked":
        changes += [
            lambda: store.merge_classes([a.id], b.id),
            lambda: store.remove_classes([a.id, b.id]),
            lambda: joined_changes(store, "c", list(before[2]), 1),
            store.undo,
        ]
    with locked(path) if trouble == "locked" else full(path, store):
        for change in changes:
            with pytest.raises(NotWritable, match=trouble):
                change()
            assert state(store) == before
            assert (store.undo_text, store.can_redo) == (text, False)
    assert reopened(path) == before
    store.add_labels(many)
    assert len(reopened(path)[2]) == 1501


@contextlib.contextmanager
def without_rights():
    """Whoever may write anything, may not for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("folder_mode", [0o777, 0o555])
def test_a_read_only_file_can_be_looked_at(qgis_new_project, version, folder_mode):
    folder = Path(tempfile.mkdtemp())
    path = folder / "labels.gpkg"
    make_v1(path) if version == 1 else create(str(path))
    path.chmod(0o444)
    folder.chmod(folder_mode)
    before = path.read_bytes()
    store = LabelStore()
    with without_rights():
        store.open(str(path))
        with pytest.raises(NotWritable, match="read-only"):
            store.add_class("new")
        assert len(store.labels()) == (2 if version == 1 else 0)
        store.close()
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]
    folder.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
def test_a_folder_that_cannot_be_reached_any_more(store, path):
    """As when a drive of the network is gone."""
    water = store.add_class("Water")
    folder = Path(path).parent  # of whoever runs this, like all folders of pytest
    folder.chmod(0)
    with without_rights():
        with pytest.raises(NotWritable, match="gone"):
            store.add_label(point(1, 1), water.id, 2024)
        assert store.classes == (water,)
        other = LabelStore()
        other.open(path)
        with pytest.raises(NotWritable):
            other.add_class("Forest")
        other.close()
    folder.chmod(0o700)
    store.add_label(point(1, 1), water.id, 2024)
    assert len(reopened(path)[2]) == 1


# --- files of version 1


def make_v1(path):
    return write_label_store(
        Path(path),
        [(2, "Forest", "#00ff00", 0), (1, "Water", "#0000ff", 1)],
        points=[("POINT (1 2)", 1, "one")],
        polygons=[("POLYGON ((0 0, 1 0, 1 1, 0 0))", 2, "two")],
    )


def test_a_file_of_version_1_is_brought_up_to_date(qgis_new_project, path):
    make_v1(path)
    project = QgsProject.instance()
    old = QgsVectorLayer(f"{path}|layername=label_points", "Label points", "ogr")
    project.addMapLayer(old)
    store = LabelStore()
    store.open(path)
    assert [each.id for each in store.classes] == [2, 1]
    label = store.label("one")
    assert (label.class_id, label.year, label.note, label.confidence) == (1, 2024, "", 100)
    store.edit_labels(["one"], note="seen", confidence=70)
    store.hide_class(1, True)
    assert store.add_class("third").id == 3
    store.show_in(project)
    (feature,) = old.getFeatures()
    assert (feature["note"], feature["confidence"]) == ("seen", 70)
    store.close()
    project.clear()
    classes, hidden, labels = reopened(path)
    assert [each.name for each in classes] == ["Forest", "Water", "third"]
    assert hidden == {1}
    assert (labels["one"].note, labels["two"].confidence) == ("seen", 100)
    with contextlib.closing(sqlite3.connect(path)) as known:
        rows = dict(known.execute("SELECT name, value FROM tessera_meta"))
        assert known.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert rows["schema_version"] == "2"


# --- crashes


@pytest.mark.parametrize(
    "kills", [6, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_a_kill_in_the_middle_leaves_whole_steps(path, kills):
    create(path)
    rng = random.Random(kills)
    steps = 0
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, label_child.__file__, path], stdout=subprocess.PIPE
        )
        first = int(child.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        file = LabelFile(path)
        found = file.read()
        (name,) = [each.land_class.name for each in found.classes]
        last = int(name.split()[1])
        count = Counter(int(each.note) for each in found.labels)
        assert count == {n: label_child.BATCH for n in (last - 1, last) if n > 0}
        assert file._rows("PRAGMA integrity_check") == [("ok",)]
        assert file._rows("SELECT count(*) FROM rtree_label_points_geom") == [(len(found.labels),)]
        assert file._rows("SELECT DISTINCT class_name FROM label_points") == [(name,)]
        file.close()
        assert first == steps + 1 <= last
        steps = last


# --- many labels


def test_thousands_of_labels(store, path):
    water = store.add_class("Water")
    many = [NewLabel(point(n / 100, n / 200), water.id, 2024) for n in range(5000)]
    started = time.monotonic()
    keys = store.add_labels(many)
    assert time.monotonic() - started < within(10)
    assert len(set(keys)) == 5000
    started = time.monotonic()
    found = reopened(path)
    assert time.monotonic() - started < within(5)
    assert list(found[2]) == list(keys)
    assert found == state(store)
    assert store.keys_in(QgsRectangle(10, 5, 10.2, 5.1)) == keys[1000:1021]
    Path(path).unlink()  # what is asked is answered without the file
    assert store.at(QgsRectangle(9.996, 4.9, 10.004, 5.1))[0] == keys[1000]
    assert (dict(store.counts), dict(store.years)) == ({water.id: 5000}, {2024: 5000})


def test_about_how_many_pixels(store):
    a, b = store.add_classes([("a", ""), ("b", "")])
    store.add_label(point(10, 50), a.id, 2024)
    store.add_label(point(10, 51), a.id, 2024)
    # on the ellipsoid 0.01 degrees at 50 degrees north are 716.96 m by 1112.29 m
    store.add_label(square(10, 49.995, 0.01), b.id, 2024)
    assert store.pixels[a.id] == 2
    assert store.pixels[b.id] == pytest.approx(716.96 * 1112.29 / 100, rel=1e-3)


def test_only_points_and_polygons_are_labels(store):
    water = store.add_class("Water")
    with pytest.raises(ValueError, match="a point or a polygon"):
        store.add_label(QgsGeometry.fromWkt("LINESTRING (0 0, 1 1)"), water.id, 2024)
    key = store.add_label(QgsGeometry.fromWkt("MULTIPOINTZ ((1 2 3))"), water.id, 2024)
    assert store.geometry(key).asWkt() == "Point (1 2)"
    assert StoredClass(LandClass(1, "Water", water.color)).land_class == water
