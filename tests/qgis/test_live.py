# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map by clicks: every label redraws what the map shows, and nothing that is old stays."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtTest import QTest

from tessera_plugin.engine.embeddings import FetchRequest, cached_source, fetch
from tessera_plugin.gui.overlay import LIVE
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.tasks import train_choices, train_jobs
from tessera_plugin.values import Access, Extent, Window
from tests.qgis.hands import AREA, LABELS, MAP, Hands
from tests.servers import RangeServer

BOX = (0.118, 52.196, 0.130, 52.203)
AROUND = (0.116, 52.190, 0.132, 52.209)
"""What a map of any shape shows when it is zoomed to the box."""

FAR = (0.30, 52.30, 0.31, 52.305)
KEY, YEAR = "1.1-cambridge", 2024
RED, GREEN, BLUE = "#ff0000", "#00ff00", "#0000ff"


@pytest.fixture(scope="module")
def fetched(archive, tmp_path_factory):
    """An archive's address and a cache with the embeddings around the box."""
    cache = str(tmp_path_factory.mktemp("cache"))
    with RangeServer(archive) as server:
        access = Access(cache, server.url, form="npy")
        fetch(FetchRequest(KEY, YEAR, Extent(*AROUND), access))
        yield server.url, cache


@pytest.fixture
def hands(make_dock, fetched, desktop, qtbot):
    archive, cache = fetched
    dock = make_dock(archive=archive, cache_dir=cache, dataset=KEY, form="npy", year=YEAR)
    hands = Hands(dock, qtbot, desktop)
    desktop.zoom_to(*BOX)
    hands.page(LABELS)
    hands.until(lambda: hands.session.is_warm)
    return hands


class Live:
    """The live map as it is seen."""

    def __init__(self, hands):
        self.hands, self.panel = hands, hands.dock.labels.live
        self.loop, self.store = self.panel.loop, hands.session.labels
        self.frames = []
        self.loop.drawn.connect(self.frames.append)

    @property
    def overlay(self):
        return next((each for each in self.hands.desktop.canvas.items()
                     if getattr(each, "role", "") == LIVE), None)  # fmt: skip

    @property
    def is_seen(self):
        overlay = self.overlay
        return overlay is not None and not overlay.is_empty() and overlay.isVisible()

    def colors(self):
        """The colours of the overlay's image, as a person would see them without what is below."""
        image = self.overlay._image
        some = [image.pixelColor(x, y) for x in range(3, image.width(), 17)
                for y in range(3, image.height(), 17)]  # fmt: skip
        return {each.name() for each in some if each.alpha() == 255}

    def settled(self, action):
        """Do something, and wait for the picture that it leads to."""
        before, canvas = len(self.frames), self.hands.desktop.canvas
        action()

        def has_come():
            if len(self.frames) <= before:
                return False
            last = self.frames[-1]  # one that was on its way may still be of the view before
            is_of_view = last.rectangle in (None, canvas.mapSettings().visibleExtent())
            return last.is_whole and is_of_view

        self.hands.until(has_come)
        self.hands.qtbot.wait(20)

    def labels(self, places):
        """Add labels as somebody who imports them does: at once."""
        for (lon, lat), class_id in places:
            self.store.add_label(QgsGeometry.fromPointXY(QgsPointXY(lon, lat)), class_id, YEAR)

    def sentence(self):
        return self.hands.told("liveState")

    def right_at(self, fetched, count):
        """Of places all over the box that the canvas shows, all valid: whether their colour is their
        class's by the head, and whether it is that or one of the eight pixels' around."""
        url, cache = fetched
        (west, south, east, north), desktop = BOX, self.hands.desktop
        inner = np.linspace(0.03, 0.97, count)
        x, y = np.meshgrid(west + inner * (east - west), south + inner * (north - south))
        lonlats = np.column_stack([x.ravel(), y.ravel()])
        cells = np.floor(transform_points(lonlats, LONLAT, "EPSG:32631") / (10, -10)).astype(int)
        (col, row), (last_col, last_row) = cells.min(axis=0).tolist(), cells.max(axis=0).tolist()
        window = Window.between(31, row - 1, col - 1, last_row + 2, last_col + 2)
        with cached_source(KEY, YEAR, Access(cache, url, form="npy"), 128) as source:
            codes, scales = source.read(window)
        head, seen = self.loop.state.head, desktop.canvas.grab().toImage()
        inside = seen.rect().adjusted(2, 2, -2, -2)  # of the frame
        best = head.probabilities(codes.reshape(-1, 128), scales.ravel()).argmax(axis=1)
        colors = np.array([each.color for each in head.classes])[best].reshape(scales.shape)
        found = []
        for lonlat, (c, r) in zip(lonlats, cells - (window.col, window.row)):
            around = np.s_[r - 1 : r + 2, c - 1 : c + 2]
            pixel = desktop.pixel(*lonlat)
            if inside.contains(pixel) and np.isfinite(scales[around]).all():
                shown = seen.pixelColor(pixel).name()
                found.append((shown == colors[r, c], shown in colors[around]))
        return np.array(found)


@pytest.fixture
def live(hands):
    return Live(hands)


@pytest.fixture
def places(archive):
    """Longitude, latitude and class number of places in the box, class by class."""
    points = archive.label_points(BOX, 3)
    ids = sorted({each.class_id for each in points})
    return [((each.lon, each.lat), 1 + ids.index(each.class_id)) for each in points]


def of_class(places, number):
    return [place for place, each in places if each == number]


def add_class(hands, name, color):
    hands.find("classNameEdit").setText(name)
    hands.click("addClassButton")
    made = next(each for each in hands.session.labels.classes if each.name == name)
    hands.session.labels.recolor_class(made.id, color)


def test_every_click_redraws_the_map(live, hands, desktop, places):
    assert "Label two classes" in live.sentence()
    add_class(hands, "One", RED)
    add_class(hands, "Two", GREEN)
    hands.click("labelToolButton")
    first, second = of_class(places, 1), of_class(places, 2)
    QTest.keyClick(desktop.canvas, Qt.Key.Key_1)
    desktop.click(*first[0])
    hands.qtbot.wait(150)
    assert not live.is_seen
    assert "Label two classes" in live.sentence()
    QTest.keyClick(desktop.canvas, Qt.Key.Key_2)
    live.settled(lambda: desktop.click(*second[0]))
    assert live.is_seen
    assert live.colors() == {RED, GREEN}
    assert live.sentence().startswith("Instant head on 2 labels · ")
    heads = [live.loop.state.head.id]
    live.settled(lambda: desktop.click(*second[1]))
    heads.append(live.loop.state.head.id)
    assert live.loop.state.revision == live.store.revision
    # undo and redo lead back and forth to the very same heads
    live.settled(lambda: hands.click("undoButton"))
    heads.append(live.loop.state.head.id)
    live.settled(lambda: hands.click("redoButton"))
    heads.append(live.loop.state.head.id)
    assert heads[0] != heads[1]
    assert heads[2:] == heads[:2]
    live.settled(lambda: live.store.recolor_class(2, BLUE))
    assert live.colors() == {RED, BLUE}
    assert live.loop.state.head.id == heads[1]
    live.settled(lambda: live.store.hide_class(1, hidden=True))
    assert live.colors() == {BLUE}
    live.settled(lambda: live.store.remove_class(2))
    assert not live.is_seen
    assert "Label two classes" in live.sentence()
    live.settled(lambda: hands.click("undoButton"))
    assert live.colors() == {BLUE}


@pytest.fixture
def labelled(live, hands, places):
    for name, color in (("One", RED), ("Two", GREEN), ("Three", BLUE)):
        live.store.add_class(name, color)
    live.settled(lambda: live.labels(places[:9]))
    hands.until(lambda: live.loop.state.revision == live.store.revision)
    return live


def test_only_the_newest_is_shown(labelled, hands, places):
    before = len(labelled.frames)
    labelled.settled(
        lambda: labelled.labels([(place, 1 + n % 3) for n, (place, _) in enumerate(places)])
    )
    hands.until(lambda: labelled.loop.state.revision == labelled.store.revision)
    assert labelled.loop.state.labels == 9 + len(places)
    assert len(labelled.frames) - before < len(places)  # the others were dropped


def test_moving_the_map_and_what_is_not_fetched(labelled, hands, desktop):
    gap = hands.find("liveGapLabel")
    assert not gap.isVisible()
    head = labelled.loop.state.head
    first = labelled.frames[-1].rectangle
    labelled.settled(lambda: desktop.zoom_to(0.118, 52.206, 0.130, 52.213))
    assert labelled.frames[-1].rectangle != first
    assert labelled.frames[-1].rectangle == desktop.canvas.mapSettings().visibleExtent()
    assert gap.isVisible()
    labelled.settled(lambda: desktop.zoom_to(*FAR))
    assert labelled.colors() == set()
    assert labelled.is_seen  # the hatch
    labelled.settled(lambda: desktop.zoom_to(*BOX))
    assert labelled.colors() == {RED, GREEN, BLUE}
    assert labelled.loop.state.head is head
    labelled.settled(lambda: desktop.zoom_to(-20, 30, 20, 60))
    assert not labelled.is_seen
    assert "zoom in" in labelled.sentence()
    labelled.settled(lambda: desktop.zoom_to(*BOX))
    assert labelled.is_seen


def shown_share(frame):
    """How much of a frame's image is not clear."""
    image = frame.image
    some = [image.pixelColor(x, y).alpha() > 0 for x in range(3, image.width(), 23)
            for y in range(3, image.height(), 23)]  # fmt: skip
    return sum(some) / len(some)


def test_zooming_never_blanks_what_is_known(labelled, desktop):
    west, south, *_ = BOX
    before = shown_share(labelled.frames[-1])
    assert before > 0.5
    count = len(labelled.frames)
    labelled.settled(
        lambda: desktop.zoom_to(west + 0.004, south + 0.002, west + 0.006, south + 0.003)
    )
    zoomed = labelled.frames[count:]
    assert not zoomed[0].is_whole
    assert all(shown_share(each) > 0.5 for each in zoomed)
    assert {each.name() for each in (QColor(RED), QColor(GREEN), QColor(BLUE))} >= labelled.colors()


@pytest.mark.parametrize(
    ("crs", "degrees"), [("EPSG:4326", 0), ("EPSG:3857", 35), ("EPSG:27700", -90)]
)
def test_in_any_map_the_land_under_a_pixel_is_shown(labelled, desktop, fetched, crs, degrees):
    canvas = desktop.canvas
    try:
        canvas.setRotation(degrees)
        labelled.settled(lambda: desktop.zoom_to(*BOX, QgsCoordinateReferenceSystem(crs)))
        labelled.hands.find("liveOpacitySlider").setValue(100)
        labelled.panel._signs.hide()
        labelled.hands.qtbot.wait(50)
        for _ in range(2):
            right = labelled.right_at(fetched, 20)
            assert len(right) > 60
            assert right[:, 0].mean() > 0.8  # near an edge a screen pixel may show one beside it
            assert right[:, 1].all()
            if not degrees and canvas.magnificationFactor() == 1:  # no extentsChanged comes
                labelled.settled(lambda: canvas.setMagnificationFactor(2.0))
    finally:
        canvas.setRotation(0)
        canvas.setMagnificationFactor(1.0)


def test_another_year_shows_nothing_of_this_one(labelled, hands):
    assert labelled.is_seen
    state = labelled.loop.state
    hands.session.update(year=YEAR - 1)
    assert not labelled.is_seen  # at once, though the new map takes a moment
    hands.until(lambda: labelled.loop.state is not state)
    assert labelled.loop.state.year == YEAR - 1
    labelled.settled(lambda: hands.session.update(year=YEAR))
    assert labelled.is_seen
    # also where it is chosen on a page that has another picture
    hands.page(AREA)
    hands.session.update(year=YEAR - 1)
    hands.page(LABELS)
    assert not labelled.is_seen
    hands.session.update(year=YEAR)


def test_what_training_is_told_not_to_learn_the_live_map_does_not_learn(labelled, hands, places):
    of_three = [each.key for each in labelled.store.labels() if each.class_id == 3]
    labelled.settled(lambda: labelled.store.edit_labels(of_three, confidence=50))
    assert labelled.colors() == {RED, GREEN, BLUE}
    sure = train_choices.to_text(replace(train_choices.options(""), min_confidence=60))
    labelled.settled(lambda: hands.session.update(train_options=sure))
    assert labelled.colors() == {RED, GREEN}
    assert labelled.loop.state.labels == 9 - len(of_three)
    assert f"less sure of them (Map page, Options): {len(of_three)} labels" in labelled.sentence()
    own = train_choices.to_text(replace(train_choices.learnt(""), own_years=True))
    of_two = [each.key for each in labelled.store.labels() if each.class_id == 2]
    labelled.store.edit_labels(of_two, year=YEAR - 1)
    labelled.settled(lambda: hands.session.update(train_options="", train_labels=own))
    assert labelled.colors() == {RED, BLUE}
    assert f"(Map page, What is learnt): {len(of_two)} labels" in labelled.sentence()
    assert sorted(each.key for each in train_jobs._of_store(hands.session)[YEAR].items) == sorted(
        each.key for each in labelled.loop._labels().items
    )
    labelled.store.edit_labels(of_three, year=YEAR - 1)
    hands.until(lambda: "Label two classes" in labelled.sentence())
    assert f"{len(of_two + of_three)} labels" in labelled.sentence()
    labelled.settled(lambda: hands.session.update(train_labels=""))
    assert labelled.colors() == {RED, GREEN, BLUE}
    assert "Map page" not in labelled.sentence()


def test_modes_opacity_and_off(labelled, hands, desktop):
    for mode, legend in (("Uncertainty", "Sure"), ("Novelty", "Like a label")):
        combo = hands.find("liveModeCombo")

        def choose(combo=combo, mode=mode):
            combo.setCurrentText(mode)
            combo.activated.emit(combo.currentIndex())

        labelled.settled(choose)
        assert not labelled.colors() & {RED, GREEN, BLUE}
        assert labelled.panel._legend.rows()[0][0] == legend
        assert labelled.panel._legend.isVisible()
    labelled.settled(lambda: (combo.setCurrentIndex(0), combo.activated.emit(0)))
    assert labelled.colors() == {RED, GREEN, BLUE}
    assert not labelled.panel._legend.isVisible()
    hands.find("liveOpacitySlider").setValue(40)
    assert labelled.overlay.opacity() == pytest.approx(0.4)
    assert hands.session.settings.live_opacity == 40
    hands.click("liveCheck")
    assert not labelled.is_seen
    assert "Off" in labelled.sentence()
    hands.until(lambda: labelled.loop.view_cells(5) is None)  # the memory is given back
    count = len(labelled.frames)
    labelled.store.remove_label(labelled.store.labels()[0].key)
    hands.qtbot.wait(150)
    assert len(labelled.frames) == count
    labelled.settled(lambda: hands.click("liveCheck"))
    assert labelled.is_seen
    assert labelled.loop.state.labels == 8
    assert len(labelled.loop.view_cells(5).codes) == 5


def test_other_pages_projects_and_datasets(labelled, hands, desktop):
    hands.page(AREA)
    assert not labelled.is_seen
    labelled.settled(lambda: hands.page(LABELS))
    assert labelled.is_seen
    hands.page(MAP)
    assert not labelled.is_seen
    hands.session.update(dataset="1.1-dclimate", form="")  # nothing of it is in the cache
    hands.page(LABELS)
    hands.until(
        lambda: not labelled.is_seen and "fetch them on the Area page" in labelled.sentence()
    )
    assert labelled.loop.state.dataset == "1.1-dclimate"
    labelled.settled(lambda: hands.session.update(dataset=KEY, form="npy"))
    assert labelled.colors() == {RED, GREEN, BLUE}
    QgsProject.instance().clear()
    QgsApplication.processEvents()
    desktop.canvas.setLayers([])
    labelled.settled(lambda: desktop.zoom_to(*BOX))
    assert labelled.is_seen
    assert labelled.loop.state.labels == 9


def test_nothing_is_left_when_the_dock_goes(labelled, hands, desktop, qtbot):
    items = [each for each in desktop.canvas.items() if getattr(each, "role", "") == LIVE]
    assert items
    labelled.store.recolor_class(1, BLUE)  # something is under way
    hands.dock.close_down()
    assert not [each for each in threading.enumerate() if each.name == "tessera-live"]
    assert not [each for each in desktop.canvas.items() if getattr(each, "role", "") == LIVE]
    count = len(labelled.frames)
    desktop.zoom_to(*FAR)
    qtbot.wait(150)
    assert len(labelled.frames) == count


def test_a_bug_is_said_and_the_next_label_is_a_new_try(labelled, hands, monkeypatch, places):
    told = []
    QgsApplication.messageLog().messageReceived.connect(lambda text, *_: told.append(text))
    with monkeypatch.context() as broken:
        broken.setattr("tessera_plugin.engine.instant_loop.fit_at_once", lambda *_: 1 / 0)
        labelled.labels([(places[9][0], 3)])
        hands.until(lambda: "failed" in labelled.sentence())
    assert not labelled.is_seen
    assert any("ZeroDivisionError" in each for each in told)
    labelled.settled(lambda: labelled.labels([(places[10][0], 2)]))
    assert labelled.is_seen
    assert QColor(RED).name() in labelled.colors()


def test_labels_lie_above_the_live_map(live, hands, desktop, archive):
    store = live.store
    red, blue = store.add_class("Red", RED), store.add_class("Blue", BLUE)
    places = archive.label_points(BOX, 2)[:4]

    def label():
        for number, place in enumerate(places):
            point = QgsGeometry.fromPointXY(QgsPointXY(place.lon, place.lat))
            store.add_label(point, (red, blue)[number % 2].id, YEAR)

    live.settled(label)
    hands.find("liveOpacitySlider").setValue(100)
    hands.qtbot.wait(50)
    seen = desktop.canvas.grab().toImage()

    def at(place, right=0):
        pixel = desktop.pixel(place.lon, place.lat)
        return seen.pixelColor(pixel.x() + right, pixel.y()).name()

    assert [at(each) for each in places] == [RED, BLUE, RED, BLUE]
    assert at(places[0], 5) == "#ffffff"
    # one that goes, goes from the map; without the live map the layers show them
    store.undo()
    hands.qtbot.wait(50)
    seen = desktop.canvas.grab().toImage()
    assert at(places[-1], 5) != "#ffffff"
    hands.click("liveCheck")
    hands.qtbot.wait(50)
    assert not live.panel._signs.isVisible()
