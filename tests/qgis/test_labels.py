# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The label store: on disk the moment it is made, and there again."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from osgeo import ogr
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize

from tessera_plugin.engine.class_colors import is_taken
from tessera_plugin.engine.label_files import LabelFile, create
from tessera_plugin.engine.samples import load_labels
from tessera_plugin.errors import LabelsUnreadable, NotWritable
from tessera_plugin.tasks import label_rest, schemes, snapshot
from tessera_plugin.tasks.label_core import with_colors
from tessera_plugin.tasks.labels import LabelStore
from tests.clock import within

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "new folder" / "labels ä.gpkg")


@pytest.fixture
def store(qgis_new_project, path):
    store = LabelStore()
    store.open(path)
    yield store
    store.close()


def point(x, y):
    return QgsGeometry.fromPointXY(QgsPointXY(x, y))


def square(x, y, size=0.01):
    return QgsGeometry.fromRect(QgsRectangle(x, y, x + size, y + size))


def rows(path, table):
    """Read a table with OGR alone."""
    source = ogr.Open(str(path))
    layer = source.GetLayerByName(table)
    return [feature.items() for feature in layer]


def test_nothing_is_made_before_the_first_class(store, path):
    assert store.classes == ()
    assert not Path(path).exists()
    store.add_class("Water")
    assert Path(path).exists()


def test_each_of_forty_classes_has_a_colour_of_its_own(store, tmp_path):
    """One by one, and as a list of names; what a list says later is kept clear of, too."""
    for number in range(20):
        store.add_class(f"Species {number + 1}")
    names = tmp_path / "names.csv"
    names.write_text("name,color\n" + "".join(f"Kind {number},\n" for number in range(20)))
    (next_one,) = with_colors([""], store.classes)
    store.add_classes([*schemes.read(str(names)), ("Lake", next_one)])
    colors = [each.color for each in store.classes]
    assert colors[-1] == next_one
    assert not any(is_taken(color, colors[:at]) for at, color in enumerate(colors))


def test_the_schema(store, path):
    water = store.add_class("Water", "#0000ff")
    store.add_label(point(1, 2), water.id, 2024)
    store.add_label(square(1, 2), water.id, 2023)
    assert rows(path, "tessera_meta")[0] == {"name": "schema_version", "value": "2"}
    assert rows(path, "classes") == [
        {"class_id": 1, "name": "Water", "color": "#0000ff", "position": 0, "hidden": 0}
    ]
    (made,) = rows(path, "label_points")
    assert (made["class_id"], made["class_name"], made["year"]) == (1, "Water", 2024)
    assert len(made["key"]) == 36
    assert made["created"].endswith("+00:00")
    source = ogr.Open(path)
    for table, kind in (("label_points", ogr.wkbPoint), ("label_polygons", ogr.wkbPolygon)):
        layer = source.GetLayerByName(table)
        assert layer.GetGeomType() == kind
        assert layer.GetSpatialRef().GetAuthorityCode(None) == "4326"


def test_soon_every_click_is_in_the_file_alone(store, path, tmp_path, qtbot, monkeypatch):
    """Also without the write-ahead log beside it, as when somebody copies the file."""
    monkeypatch.setattr(label_rest, "REST_MS", 50)
    water = store.add_class("Water")
    store.show_in(QgsProject.instance())
    for number in range(1, 6):
        store.add_label(point(number, number), water.id, 2024)

    def is_whole():
        copy = shutil.copy(path, tmp_path / "copy.gpkg")
        with (
            contextlib.closing(sqlite3.connect(copy)) as file,
            contextlib.suppress(
                sqlite3.DatabaseError  # copied while it was written
            ),
        ):
            return file.execute("SELECT count(*) FROM label_points").fetchone() == (5,)
        return False

    qtbot.waitUntil(is_whole, timeout=1000 * within(8))


def test_a_killed_qgis_loses_nothing(path):
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from qgis.core import QgsApplication, QgsGeometry, QgsPointXY, QgsProject
        app = QgsApplication([], True)
        app.initQgis()
        from tessera_plugin.tasks.labels import LabelStore
        store = LabelStore()
        store.open({path!r})
        water = store.add_class("Water")
        store.show_in(QgsProject.instance())
        for number in range(7):
            store.add_label(QgsGeometry.fromPointXY(QgsPointXY(number, 1)), water.id, 2024)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(rows(path, "label_points")) == 7
    again = LabelStore()
    again.open(path)
    assert dict(again.counts) == {1: 7}
    again.close()


def test_there_again_after_a_restart(store, path):
    water, forest = store.add_class("Water"), store.add_class("Forest", "#00ff00")
    key = store.add_label(point(1, 1), water.id, 2024)
    store.add_label(square(2, 2), forest.id, 2024)
    store.close()
    again = LabelStore()
    again.open(path)
    assert again.classes == (water, forest)
    assert dict(again.counts) == {1: 1, 2: 1}
    assert key in [label.key for label in again.labels()]
    again.close()
    assert [p.name for p in Path(path).parent.iterdir()] == [Path(path).name]


def test_ids_stay_and_are_never_given_again(store, path):
    water, forest = store.add_class("Water"), store.add_class("Forest")
    store.add_label(point(1, 1), forest.id, 2024)
    store.rename_class(forest.id, "Woodland")
    store.recolor_class(forest.id, "#123456")
    assert rows(path, "label_points")[0]["class_name"] == "Woodland"
    assert rows(path, "classes")[1] == {
        "class_id": forest.id, "name": "Woodland", "color": "#123456", "position": 1, "hidden": 0,
    }  # fmt: skip
    store.remove_class(forest.id)
    assert rows(path, "label_points") == []
    assert store.add_class("Town").id == forest.id + 1
    assert [each.id for each in store.classes] == [water.id, forest.id + 1]


def test_undo_takes_back_one_thing_after_the_other(store, path):
    water, forest = store.add_class("Water"), store.add_class("Forest")
    first = store.add_label(point(1, 1), water.id, 2024)
    store.add_label(square(5, 5), forest.id, 2023)
    store.remove_label(first)
    store.remove_class(forest.id)
    assert dict(store.counts) == {}
    store.undo()
    assert store.classes == (water, forest)
    assert [row["year"] for row in rows(path, "label_polygons")] == [2023]
    store.undo()
    assert [row["key"] for row in rows(path, "label_points")] == [first]
    store.undo()
    store.undo()
    assert dict(store.counts) == {}
    assert rows(path, "label_points") == rows(path, "label_polygons") == []
    store.undo()
    store.undo()
    assert store.classes == ()
    assert not store.can_undo


def test_the_label_under_the_pointer(store):
    water = store.add_class("Water")
    polygon = store.add_label(square(0, 0, 1), water.id, 2024)
    dot = store.add_label(point(0.5, 0.5), water.id, 2024)
    assert store.at(QgsRectangle(0.49, 0.49, 0.51, 0.51))[0] == dot
    assert store.at(QgsRectangle(0.2, 0.2, 0.21, 0.21))[0] == polygon
    assert store.at(QgsRectangle(3, 3, 3.1, 3.1)) is None


def test_shown_once_in_the_colours_of_the_classes(store):
    project = QgsProject.instance()
    water = store.add_class("Water", "#0000ff")
    store.show_in(project)
    store.show_in(project)
    layers = {layer.name(): layer for layer in project.mapLayers().values()}
    assert sorted(layers) == ["Label points", "Label polygons"]
    store.recolor_class(water.id, "#00ffff")
    store.add_label(point(1, 1), water.id, 2024)
    store.show_in(project)
    renderer = layers["Label points"].renderer()
    assert isinstance(renderer, QgsCategorizedSymbolRenderer)
    (category,) = renderer.categories()
    assert (category.value(), category.label()) == (1, "Water")
    assert category.symbol().color().name() == "#00ffff"
    assert len(list(layers["Label points"].getFeatures())) == 1
    assert not project.isDirty()


def drawn(project, x, y):
    """Return the colour that a place has on the map, of the labels alone."""
    settings = QgsMapSettings()
    settings.setLayers(list(project.mapLayers().values()))
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    settings.setExtent(QgsRectangle(x - 1, y - 1, x + 1, y + 1))
    settings.setOutputSize(QSize(40, 40))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage().pixelColor(20, 20).name()


def test_each_label_is_drawn_and_hidden_ones_are_not(store):
    project = QgsProject.instance()
    water, forest = store.add_classes([("Water", "#0000ff"), ("Forest", "#00ff00")])
    store.show_in(project)
    assert drawn(project, 1, 1) == "#ffffff"
    for x, land_class in ((1, water), (5, forest)):
        store.add_label(point(x, 1), land_class.id, 2024)
        store.show_in(project)
        assert drawn(project, x, 1) == land_class.color
    store.hide_class(water.id, True)
    store.show_in(project)
    assert (drawn(project, 1, 1), drawn(project, 5, 1)) == ("#ffffff", forest.color)
    assert (store.classes, store.hidden) == ((water, forest), {water.id})
    assert store.at(QgsRectangle(0.9, 0.9, 1.1, 1.1)) is None
    assert len(store.labels()) == 2  # it is learnt all the same
    store.undo()
    store.show_in(project)
    assert drawn(project, 1, 1) == water.color


def test_only_what_changed_is_drawn_anew(store):
    project = QgsProject.instance()
    water = store.add_class("Water")
    store.show_in(project)
    redrawn = []
    for name in ("Label points", "Label polygons"):
        (layer,) = project.mapLayersByName(name)
        layer.repaintRequested.connect(lambda *_, name=name: redrawn.append(name))
    store.show_in(project)
    assert redrawn == []
    store.add_label(point(1, 1), water.id, 2024)
    store.show_in(project)
    assert redrawn == ["Label points"]
    store.recolor_class(water.id, "#123456")
    store.show_in(project)
    assert set(redrawn[1:]) == {"Label points", "Label polygons"}


def test_the_layers_of_a_project_opened_before_the_file(store, path, tmp_path):
    """QGIS reads a file without locks that nobody writes to, and can't any more when we do."""
    project = QgsProject.instance()
    water = store.add_class("Water", "#0000ff")
    store.add_label(point(1, 1), water.id, 2024)
    store.show_in(project)
    assert project.write(str(tmp_path / "p.qgz"))
    project.clear()
    store.close()
    assert project.read(str(tmp_path / "p.qgz"))
    assert drawn(project, 1, 1) == "#0000ff"
    store.open(path)
    store.show_in(project)
    assert drawn(project, 1, 1) == "#0000ff"
    store.add_label(point(5, 1), water.id, 2024)
    store.show_in(project)
    assert drawn(project, 5, 1) == "#0000ff"


def test_selected_labels_are_selected_on_the_layers(store, path, qtbot):
    project = QgsProject.instance()
    water = store.add_class("Water")
    one = store.add_label(point(1, 1), water.id, 2024)
    two = store.add_label(square(2, 2), water.id, 2024)
    store.show_in(project)

    def chosen():
        layers = project.mapLayers().values()
        return {each["key"] for layer in layers for each in layer.selectedFeatures()}

    before, revision = Path(f"{path}-wal").stat().st_mtime_ns, store.revision
    with qtbot.waitSignal(store.selection_changed):
        store.select([two, one, "nobody"])
    assert store.selected == (two, one)
    assert chosen() == {one, two}
    assert (Path(f"{path}-wal").stat().st_mtime_ns, store.revision) == (before, revision)
    with qtbot.waitSignal(store.selection_changed):
        store.remove_label(one)
    assert store.selected == (two,)
    project.removeAllMapLayers()
    store.show_in(project)
    assert chosen() == {two}
    store.select([])
    assert chosen() == set()


def test_other_programs_see_the_colours_too(store, path, qtbot, monkeypatch):
    monkeypatch.setattr(label_rest, "REST_MS", 20)
    water, forest = store.add_classes([("Water", "#0000ff"), ("Forest", "#00ff00")])
    store.hide_class(forest.id, True)
    store.add_label(point(1, 1), water.id, 2024)

    def is_styled():
        layer = QgsVectorLayer(f"{path}|layername=label_points", "x", "ogr")
        renderer = layer.renderer()
        return isinstance(renderer, QgsCategorizedSymbolRenderer) and [
            (int(each.value()), each.label(), each.symbol().color().name(), each.renderState())
            for each in renderer.categories()
        ] == [(1, "Water", "#0000ff", True), (2, "Forest", "#00ff00", False)]

    qtbot.waitUntil(is_styled, timeout=1000 * within(8))
    qtbot.waitUntil(lambda: Path(f"{path}-wal").stat().st_size == 0, timeout=1000 * within(8))


def test_layers_count_anew_when_there_is_time(store, qtbot, monkeypatch):
    monkeypatch.setattr(label_rest, "REST_MS", 20)
    project = QgsProject.instance()
    water = store.add_class("Water")
    store.show_in(project)
    store.add_label(point(3, 4), water.id, 2024)
    store.show_in(project)
    (layer,) = project.mapLayersByName("Label points")
    qtbot.waitUntil(lambda: layer.featureCount() == 1, timeout=1000 * within(8))
    assert layer.extent().center() == QgsPointXY(3, 4)


def test_it_works_on_when_the_project_goes(store, path):
    project = QgsProject.instance()
    water = store.add_class("Water")
    store.show_in(project)
    project.clear()
    store.add_label(point(1, 1), water.id, 2024)
    assert len(rows(path, "label_points")) == 1
    store.show_in(project)
    assert len(project.mapLayers()) == 2
    project.removeAllMapLayers()
    store.add_label(point(2, 2), water.id, 2024)
    assert dict(store.counts) == {1: 2}


def test_a_saved_project_does_not_get_the_layers_twice(store, tmp_path):
    project = QgsProject.instance()
    store.add_class("Water")
    store.show_in(project)
    assert project.write(str(tmp_path / "p.qgz"))
    project.clear()
    assert project.read(str(tmp_path / "p.qgz"))
    store.show_in(project)
    assert len(project.mapLayers()) == 2


def test_the_layers_of_another_file_come_in_place_of_those_before(store, path, tmp_path):
    project = QgsProject.instance()
    water = store.add_class("Water")
    store.add_label(point(1, 1), water.id, 2024)
    store.show_in(project)
    by_hand = QgsVectorLayer(f"{path}|layername=label_points", "By hand", "ogr")
    project.addMapLayer(by_hand)
    group = project.layerTreeRoot().findGroup("Tessera")
    shown = [node.layer() for node in group.findLayers()]
    project.layerTreeRoot().findLayer(shown[1].id()).setItemVisibilityChecked(False)
    other = str(tmp_path / "other.gpkg")
    project.setDirty(False)
    store.open(other)
    assert group.findLayers() == []
    store.add_class("Forest")
    store.show_in(project)
    assert not project.isDirty()
    assert [node.name() for node in group.findLayers()] == ["Label points", "Label polygons"]
    assert all(node.layer().source().startswith(other) for node in group.findLayers())
    assert [node.itemVisibilityChecked() for node in group.findLayers()] == [True, False]
    assert project.mapLayer(by_hand.id()) is by_hand
    # edits that are not saved are not lost with a layer
    edited = group.findLayers()[0].layer()
    edited.startEditing()
    edited.addFeature(QgsFeature(edited.fields()))
    store.open(path)
    store.show_in(project)  # the points are shown by hand
    assert [node.name() for node in group.findLayers()] == ["Label points", "Label polygons"]
    assert group.findLayers()[0].layer() is edited
    assert edited.rollBack()


def test_corners_of_a_polygon_moved_by_other_tools(store, path):
    project = QgsProject.instance()
    water = store.add_class("Water")
    key = store.add_label(square(1, 1), water.id, 2024)
    store.show_in(project)
    (layer,) = project.mapLayersByName("Label polygons")
    seen = []
    store.changed.connect(lambda: seen.append(store.geometry(key).boundingBox().xMinimum()))
    before = store.label(key)
    layer.startEditing()
    (feature,) = layer.getFeatures()
    assert layer.moveVertex(0.5, 1, feature.id(), 0)  # as QGIS's vertex tool does
    assert seen == []
    assert layer.commitChanges()
    assert seen == [0.5]
    assert store.pixels[water.id] > 1
    assert store.undo_text == "changes made elsewhere"
    store.undo()
    assert store.label(key) == before
    (feature,) = layer.getFeatures()
    assert feature.geometry().boundingBox().xMinimum() == 1
    store.redo()
    assert seen == [0.5, 1, 0.5]


def test_what_somebody_else_draws_is_taken(store, path):
    store.add_class("Water")
    layer = QgsVectorLayer(f"{path}|layername=label_points", "x", "ogr")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(point(3, 3))
    feature["class_id"], feature["class_name"] = 9, "Drawn"
    layer.dataProvider().addFeatures([feature])
    store.refresh()
    assert dict(store.counts) == {9: 1}
    assert store.land_class(9).name == "Drawn"
    assert rows(path, "label_points")[0]["key"]
    assert [row["name"] for row in rows(path, "classes")] == ["Water", "Drawn"]
    assert store.add_class("Next").id == 10


def test_the_engine_reads_what_the_store_wrote(store, path):
    water, forest = store.add_class("Water", "#0000ff"), store.add_class("Forest", "#00ff00")
    store.add_label(point(1, 2), water.id, 2024)
    store.add_label(square(3, 4), forest.id, 2024)
    ours, theirs = snapshot.LabelsNow(store)(), load_labels(path, "class_name")
    assert theirs.classes == ours.classes == (water, forest)
    assert ours.crs == "EPSG:4326"
    found = sorted((each.key, each.class_id) for each in ours.items)
    assert sorted((each.key, each.class_id) for each in theirs.items) == found


@pytest.mark.parametrize("content", [b"", b"no database", None])
def test_another_file_is_refused_and_the_old_one_stays(store, path, tmp_path, content):
    store.add_class("Water")
    other = tmp_path / "other.gpkg"
    if content is None:
        driver = ogr.GetDriverByName("GPKG")
        driver.CreateDataSource(str(other)).CreateLayer("roads", geom_type=ogr.wkbPoint)
    else:
        other.write_bytes(content)
    before = other.read_bytes()
    with pytest.raises(LabelsUnreadable):
        store.open(str(other))
    assert store.path == path
    assert len(store.classes) == 1
    assert other.read_bytes() == before


def test_a_newer_file_is_refused(store, path, tmp_path):
    create(str(tmp_path / "newer.gpkg"))
    with sqlite3.connect(tmp_path / "newer.gpkg") as connection:
        connection.execute("UPDATE tessera_meta SET value = '3' WHERE name = 'schema_version'")
    with pytest.raises(LabelsUnreadable, match="version 3"):
        store.open(str(tmp_path / "newer.gpkg"))


def test_a_file_that_went_away_is_said(store, path):
    water = store.add_class("Water")
    Path(path).unlink()
    with pytest.raises(NotWritable, match="gone"):
        store.add_label(point(1, 1), water.id, 2024)


def test_a_folder_that_takes_no_files_is_said(qgis_new_project, tmp_path):
    (tmp_path / "file").write_text("")
    store = LabelStore()
    store.open(str(tmp_path / "file" / "labels.gpkg"))
    with pytest.raises(NotWritable):
        store.add_class("Water")


def test_a_file_is_whole_although_others_look_at_it_while_it_is_made(qgis_new_project, tmp_path):
    """As QGIS's browser does, which opens what appears in a folder."""
    done = threading.Event()
    held = []

    def look():
        while not done.is_set():
            for path in tmp_path.glob(".*.gpkg"):
                with contextlib.suppress(sqlite3.Error):
                    looking = sqlite3.connect(path, check_same_thread=False)
                    looking.execute("SELECT count(*) FROM tessera_meta").fetchall()
                    held.append(looking)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(20):
            path = str(tmp_path / f"labels{number}.gpkg")
            create(path)
            made = LabelFile(path)
            assert made.is_writable
            made.close()
            assert not Path(f"{path}-wal").exists()
            if held:
                break
    finally:
        done.set()
        thread.join()
        for each in held:
            each.close()
    assert held
