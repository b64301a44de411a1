# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels that need a look: told, marked, gone through by clicks, and mended."""

import time

import pytest
from osgeo import gdal, ogr
from qgis.core import QgsGeometry, QgsPointXY, QgsProject, QgsRectangle
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QApplication

from tessera_plugin.engine import label_problems
from tessera_plugin.engine.label_problems import Checked
from tessera_plugin.gui import problems_panel
from tessera_plugin.tasks.labels import NewLabel
from tests.archive.ground import DEMO
from tests.clock import within
from tests.qgis.hands import AREA, LABELS, Hands

LEFT = Qt.MouseButton.LeftButton
LAKE = (0.175, 52.125)
SHORE = (0.172, 52.118, 0.178, 52.124)
"""Both of the demo archive: the lake's southern shore."""


@pytest.fixture
def hands(make_dock, qtbot, desktop, monkeypatch):
    monkeypatch.setattr(problems_panel, "SETTLE_MS", 50)
    dock = make_dock(offline=True, show_coverage=False)
    hands = Hands(dock, qtbot, desktop)
    hands.page(LABELS)
    hands.until(lambda: hands.session.is_warm)
    return hands


def point(lon, lat):
    return QgsGeometry.fromPointXY(QgsPointXY(lon, lat))


def panel(hands):
    return hands.dock.labels.problems


def checked(hands):
    """Wait until the labels are checked as they are now."""
    shown = panel(hands)
    hands.until(lambda: not shown._settle.isActive() and not shown._lookup.is_busy)


def headline(hands):
    return hands.find("problemsToggle").text() if panel(hands).isVisibleTo(hands.dock) else ""


def titles(hands):
    """Return the groups of the list and their rows."""
    tree = hands.find("problemsTree")
    tops = [tree.topLevelItem(i) for i in range(tree.topLevelItemCount())]
    return {top.text(0): [top.child(i).text(0) for i in range(top.childCount())] for top in tops}


def click_row(hands, text):
    tree = hands.find("problemsTree")
    (item, *_) = tree.findItems(text, Qt.MatchFlag.MatchContains | Qt.MatchFlag.MatchRecursive)
    tree.scrollToItem(item)
    hands.qtbot.mouseClick(tree.viewport(), LEFT, pos=tree.visualItemRect(item).center())
    QApplication.processEvents()


def test_problems_are_told_gone_through_and_mended(hands):
    store, desktop = hands.session.labels, hands.desktop
    year = hands.session.settings.year
    forest, water = store.add_classes([("Forest", ""), ("Water", "")])
    good = NewLabel(point(0.12, 52.20), forest.id, year)
    keys = store.add_labels([good])
    checked(hands)
    # nothing is fetched here: that is no mistake, and no sign on the map
    assert headline(hands) == "1 label is not fetched yet"
    assert panel(hands)._marks.count == 0
    keys += store.add_labels(
        [
            NewLabel(point(0.13, 52.19), forest.id, year),
            NewLabel(point(0.13, 52.19), water.id, year),
            NewLabel(point(0.14, 52.21), water.id, year - 1),
            NewLabel(point(0.11, 52.21), water.id, year - 2),
            NewLabel(point(0.60, 52.60), forest.id, year - 1),
        ]
    )
    checked(hands)
    assert headline(hands) == "5 labels need a look"
    assert panel(hands)._marks.count == 4  # two of them lie on the same spot
    assert not hands.find("problemsTree").isVisible()
    hands.click("problemsToggle")
    found = titles(hands)
    assert found["Two classes in one place (2)"] == [
        "Forest, also labelled Water", "Water, also labelled Forest"]  # fmt: skip
    assert found[f"Of another year than {year} (3)"] == [
        f"Water, {year - 1}", f"Water, {year - 2}", f"Forest, {year - 1}"]  # fmt: skip
    assert "Not fetched yet (6)" in found
    # going through: selects, and moves the map only where it has to
    before = desktop.canvas.extent()
    hands.click("problemsNext")
    assert store.selected == (keys[1], keys[2])
    assert desktop.canvas.extent() == before
    hands.click("problemsPrevious")
    assert store.selected == (keys[5],)
    shown = desktop.canvas.extent()
    assert shown.width() == pytest.approx(before.width())
    assert desktop.canvas.rect().contains(desktop.pixel(0.60, 52.60))
    # the wrong one of a pair is deleted
    click_row(hands, "Water, also labelled Forest")
    assert store.selected == (keys[2], keys[1])
    assert "delete the wrong label" in hands.find("problemsAdvice").text()
    hands.click("problemDeleteButton")
    assert store.label(keys[2]) is None
    checked(hands)
    assert headline(hands) == "3 labels need a look"
    # a year is set for one, then for all
    click_row(hands, f"Water, {year - 2}")
    assert hands.find("problemYearButton").text() == f"Set year to {year}"
    hands.click("problemYearButton")
    assert store.label(keys[4]).year == year
    click_row(hands, "Of another year")
    assert hands.find("problemYearButton").text() == f"Set 2 to {year}"
    hands.click("problemYearButton")
    assert {each.year for each in store.labels()} == {year}
    checked(hands)
    assert headline(hands) == "5 labels are not fetched yet"
    store.undo()
    checked(hands)
    assert headline(hands) == "2 labels need a look"
    # what is ignored is not told again, whatever else changes
    click_row(hands, "Of another year")
    hands.click("problemIgnoreButton")
    assert headline(hands) == "5 labels are not fetched yet"
    store.add_labels([NewLabel(point(0.125, 52.205), forest.id, year)])
    checked(hands)
    assert headline(hands) == "6 labels are not fetched yet"
    click_row(hands, "Not fetched yet")
    hands.click("problemIgnoreButton")
    assert headline(hands) == ""
    # the year that is mapped decides
    hands.session.update(year=year - 1)
    checked(hands)
    assert "need a look" in headline(hands)
    QgsProject.instance().clear()
    store.remove_class(forest.id)
    store.remove_class(water.id)
    checked(hands)
    assert headline(hands) == ""


def test_what_a_check_can_not_tell_is_told(hands, monkeypatch):
    store, year = hands.session.labels, hands.session.settings.year
    first, second = store.add_classes([("Meadow", ""), ("Field", "")])
    for number in range(2):
        west = 0.12 + number / 100
        for land_class in (first, second):
            store.add_label(
                QgsGeometry.fromRect(QgsRectangle(west, 52.2, west + 0.002, 52.202)),
                land_class.id, year,
            )  # fmt: skip
    checked(hands)
    assert headline(hands) == "4 labels need a look"
    monkeypatch.setattr(label_problems, "MAX_PAIRS", 1)
    panel(hands)._settle.start()
    checked(hands)
    assert headline(hands) == "2 found, not all compared"
    hands.click("problemsToggle")
    assert "only some of them were compared" in hands.find("problemsAdvice").text()
    store.add_label(point(0.125, 52.205), first.id, year, "spoilt")
    with monkeypatch.context() as spoilt:
        spoilt.setattr(label_problems, "KINDS", ())  # what goes wrong in there is no TesseraError
        checked(hands)
        assert headline(hands) == "Labels not checked"
        assert titles(hands) == {}
        assert "log messages" in hands.find("problemsAdvice").text()
    store.remove_classes([first.id])
    checked(hands)
    assert headline(hands) == "2 labels are not fetched yet"


def test_labels_of_other_programs_that_are_of_no_use_are_told(hands):
    store = hands.session.labels
    store.add_class("Water")
    assert "not used" not in hands.find("labelsHint").text()
    dataset = gdal.OpenEx(store.path, gdal.OF_UPDATE | gdal.OF_VECTOR)
    for name, table, wkt in (
        ("NULL", "label_points", "POINT (0.12 52.2)"),
        ("'Water'", "label_points", "POINT (0.13 52.2)"),
        ("'Water'", "label_polygons", "LINESTRING (0.12 52.2,0.13 52.2)"),
        ("'Water'", "label_points", "POINT (500000 5500000)"),
    ):
        layer = dataset.GetLayerByName(table)
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(ogr.CreateGeometryFromWkt(wkt))
        if name != "NULL":
            feature["class_name"] = name.strip("'")
        layer.CreateFeature(feature)
    layer = dataset = None
    store.refresh()
    assert dict(store.counts) == {1: 1}
    hint = hands.find("labelsHint").text()
    assert "1 label in the file has no class and is not used" in hint
    assert "2 labels in the file are no points or polygons" in hint
    assert (store.no_class, store.unusable) == (1, 2)


def test_the_map_is_left_alone_where_a_label_is_seen(hands):
    store, canvas = hands.session.labels, hands.desktop.canvas
    year = hands.session.settings.year - 1
    land_class = store.add_class("Meadow")
    west, south, east, north = DEMO
    across, up = (west + east) / 2, (south + north) / 2
    boxes = {
        "seen": (across, up, across + 0.01, up + 0.01),
        "tiny": (west + 0.01, up, west + 0.01001, up + 0.00001),
        "huge": (west - 0.01, south - 0.01, east + 0.01, north + 0.01),
    }
    for name, box in boxes.items():
        shape = QgsGeometry.fromRect(QgsRectangle(*box))
        store.add_label(shape, land_class.id, year, name)
    store.add_label(point(west + 0.001, up), land_class.id, year, "point")
    checked(hands)
    hands.click("problemsToggle")
    tree = hands.find("problemsTree")
    top = tree.findItems("Of another year", Qt.MatchFlag.MatchStartsWith)[0]
    row = {store.label(top.child(i).data(0, problems_panel._PROBLEM).key).note: top.child(i)
           for i in range(top.childCount())}  # fmt: skip
    before = canvas.extent()
    for name in ("seen", "point"):  # near the edge is in view, too
        tree.setCurrentItem(row[name])
        assert canvas.extent() == before
    tree.setCurrentItem(row["tiny"])
    (corner, other) = (hands.desktop.pixel(*boxes["tiny"][i : i + 2]) for i in (0, 2))
    assert 10 < other.x() - corner.x() < canvas.width() / 4
    tree.setCurrentItem(row["huge"])
    (corner, other) = (hands.desktop.pixel(*boxes["huge"][i : i + 2]) for i in (0, 2))
    assert canvas.rect().contains(corner)
    assert canvas.rect().contains(other)
    tree.setCurrentItem(top)  # all of a kind stay chosen when the labels are looked at again
    panel(hands)._check()
    hands.until(lambda: panel(hands)._lookup.is_busy)
    checked(hands)
    assert hands.find("problemYearButton").text() == f"Set 4 to {year + 1}"
    assert tree.currentItem().text(0).startswith("Of another year")


def test_labels_on_water_are_told_once_it_is_fetched(
    make_dock, qtbot, desktop, server, monkeypatch
):
    monkeypatch.setattr(problems_panel, "SETTLE_MS", 50)
    dock = make_dock(archive=server.url, dataset="1.1-cambridge", form="npy", show_coverage=False)
    hands = Hands(dock, qtbot, desktop)
    desktop.zoom_to(*SHORE)
    store = hands.session.labels
    hands.until(lambda: hands.session.is_warm)
    hands.page(LABELS)
    land_class = store.add_class("Meadow")
    store.add_labels(
        [
            NewLabel(point(LAKE[0], 52.1235), land_class.id, 2024),
            NewLabel(point(LAKE[0], 52.1188), land_class.id, 2024),
            NewLabel(QgsGeometry.fromRect(QgsRectangle(0.1740, 52.1228, 0.1750, 52.1234)),
                     land_class.id, 2024),
        ]
    )  # fmt: skip
    checked(hands)
    assert headline(hands) == "3 labels are not fetched yet"
    hands.page(AREA)
    hands.fetch()
    assert panel(hands)._marks.count == 0  # signs are seen with the page only
    hands.page(LABELS)
    checked(hands)
    assert headline(hands) == "2 labels need a look", titles(hands)
    assert panel(hands)._marks.count == 2
    hands.click("problemsToggle")
    assert titles(hands) == {"On water, which has no embeddings (2)": ["Meadow", "Meadow"]}


def test_many_problems_do_not_hold_up_the_window(hands):
    store, year = hands.session.labels, hands.session.settings.year
    land_class = store.add_class("Meadow")
    store.add_labels(
        [
            NewLabel(point(0.1 + (i % 50) / 1000, 52.18 + i // 50 / 1000), land_class.id, year - 1)
            for i in range(2000)
        ]
    )
    checked(hands)
    assert headline(hands) == "2,000 labels need a look"
    assert panel(hands)._marks.count == 300
    assert titles(hands)[f"Of another year than {year} (2,000)"][-1] == "… and 1,900 more"
    hands.click("problemsToggle")
    before_s = time.perf_counter()
    panel(hands)._checked(Checked(panel(hands).problems))
    assert time.perf_counter() - before_s < within(0.1)  # usually 10 ms
    dock = hands.dock
    dock.labels.close_down()  # while it asks: nothing of ours is called any more
    store.add_label(point(0.2, 52.2), land_class.id, year)
