# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to label next, by keys and clicks: go there, say what it is, go on."""

import pytest
from qgis.core import QgsGeometry, QgsPointXY
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication

from tests.qgis.hands import LABELS, Hands

SMALL = (0.118, 52.196, 0.130, 52.203)


@pytest.fixture
def hands(make_dock, server, desktop, qtbot, tmp_path, archive):
    """Hands on the Labels page, over a place with two labels of three classes each."""
    dock = make_dock(
        archive=server.url, cache_dir=str(tmp_path / "cache"), dataset="1.1-cambridge", form="npy"
    )
    hands = Hands(dock, qtbot, desktop)
    desktop.zoom_to(*SMALL)
    hands.fetch()
    hands.page(LABELS)
    store = hands.session.labels
    assert not hands.find("nextPlaceButton").isEnabled()
    assert "two classes" in hands.told("nextState")
    classes = [store.add_class(name) for name in ("Crops", "Grass", "Wood")]
    for point in archive.label_points(SMALL, 2):
        if point.class_id <= 3:
            place = QgsGeometry.fromPointXY(QgsPointXY(point.lon, point.lat))
            store.add_label(place, classes[point.class_id - 1].id, 2024)
    hands.until(lambda: hands.find("nextPlaceButton").isEnabled())
    assert "asks for its class" in hands.told("nextState")
    return hands


def newest(hands):
    return hands.session.labels.labels()[-1]


def press(hands, key):
    QTest.keyClick(hands.desktop.canvas, key)
    QApplication.processEvents()


def asks(hands):
    return hands.dock.labels.next.is_asking


def test_one_key_goes_there_another_answers_and_the_map_learns(hands, desktop):
    store, before = hands.session.labels, dict(hands.session.labels.counts)
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    assert "What is in the marked pixel?" in hands.told("nextState")
    first = hands.dock.labels.next._asked
    inside = desktop.canvas.rect().contains(desktop.pixel(first.lon, first.lat))
    assert inside
    assert hands.find("nextList").count() > 3
    press(hands, Qt.Key.Key_2)
    made = newest(hands)
    assert store.land_class(made.class_id).name == "Grass"
    point = QgsGeometry()
    point.fromWkb(made.wkb)
    assert point.asPoint().distance(first.lon, first.lat) < 1e-9
    # it goes on by itself, with the head that has learnt it
    hands.until(lambda: asks(hands) and hands.dock.labels.next._asked is not first)
    second = hands.dock.labels.next._asked
    assert (second.row, second.col) != (first.row, first.col)
    # N leaves it out
    press(hands, Qt.Key.Key_N)
    hands.until(lambda: asks(hands) and hands.dock.labels.next._asked is not second)
    assert sum(store.counts.values()) == sum(before.values()) + 1
    # Esc ends it: keys choose classes again
    press(hands, Qt.Key.Key_Escape)
    assert not asks(hands)
    assert not hands.find("labelToolButton").isChecked()
    # a label that is undone leaves its place free; what was skipped is so in its year only
    panel = hands.dock.labels.next
    assert [(second.lon, second.lat)] == sorted(panel._skipped_here)
    store.undo()
    hands.until(lambda: hands.dock.labels.live.loop.state.revision == store.revision)
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    listed = {(each.row, each.col) for each in panel._places}
    assert (first.row, first.col) in listed
    assert (second.row, second.col) not in listed
    hands.session.update(year=2023)
    assert not panel._skipped_here


def test_a_place_of_the_list_and_a_class_by_click(hands):
    before = hands.session.labels.counts
    hands.find("nextGoOnCheck").setChecked(False)
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    listed = hands.find("nextList")
    third = hands.dock.labels.next._places[2]
    box = listed.visualItemRect(listed.item(2))
    hands.qtbot.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=box.center())
    assert hands.dock.labels.next._asked is third
    wood = hands.session.labels.classes[2]
    hands.until(lambda: hands.find(f"answer{wood.id}").isVisible())
    hands.click(f"answer{wood.id}")
    assert newest(hands).class_id == wood.id
    assert not asks(hands)
    hands.session.labels.undo()
    assert hands.session.labels.counts == before


def test_zoomed_out_it_zooms_to_the_place(hands, desktop):
    desktop.zoom_to(0.0, 52.1, 0.25, 52.3)
    hands.qtbot.wait(300)
    hands.until(lambda: hands.find("nextPlaceButton").isEnabled())
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    place = hands.dock.labels.next._asked
    assert desktop.canvas.mapUnitsPerPixel() < 10
    assert desktop.canvas.rect().contains(desktop.pixel(place.lon, place.lat))


def test_the_live_map_is_switched_off_before_it_has_learnt(hands):
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    second = hands.dock.labels.next._places[1]
    press(hands, Qt.Key.Key_1)
    assert "Learning" in hands.told("nextState")
    hands.find("liveCheck").setChecked(False)  # before what it has learnt comes
    hands.until(lambda: asks(hands))
    assert hands.dock.labels.next._asked is second
    assert "What is in the marked pixel?" in hands.told("nextState")


def test_it_goes_on_with_the_places_it_has_where_the_live_map_is_off(hands):
    hands.click("liveCheck")
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    second = hands.dock.labels.next._places[1]
    press(hands, Qt.Key.Key_1)
    hands.until(lambda: asks(hands))
    assert hands.dock.labels.next._asked is second
    assert "What is in the marked pixel?" in hands.told("nextState")


def test_with_the_live_map_off_nothing_is_asked_about_another_year_or_classes(hands):
    store, find = hands.session.labels, hands.find
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    hands.click("liveCheck")
    assert asks(hands)
    before = dict(store.counts)
    hands.session.update(year=2023)
    assert not asks(hands)
    assert find("nextList").count() == 0
    assert not find("nextPlaceButton").isEnabled()
    assert "has not learnt these labels in 2023: switch it on" in hands.told("nextState")
    press(hands, Qt.Key.Key_1)  # no answer
    assert store.counts == before
    hands.session.update(year=2024)  # the head is of this year
    hands.click("nextPlaceButton")
    hands.until(lambda: asks(hands))
    store.remove_classes([each.id for each in store.classes])
    assert not asks(hands)
    assert not find("nextPlaceButton").isEnabled()
    assert "label two classes and switch it on" in hands.told("nextState")
