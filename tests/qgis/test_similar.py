# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pick similar, by clicks: a pixel, the slider, and what becomes labels."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from osgeo import ogr
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest
from scipy import ndimage

from tessera_plugin.engine import embeddings
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.gui.overlay import SIMILAR
from tessera_plugin.io.polygons import pixels_of_points
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tests.archive.ground import CLASSES
from tests.archive.sample import SampleArchive
from tests.qgis import fetched_place
from tests.qgis.fetched_place import DATASET, SEEN, YEAR
from tests.qgis.hands import LABELS, Hands

ENTER, ESCAPE = Qt.Key.Key_Return, Qt.Key.Key_Escape


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with fetched_place.fetched(tmp_path_factory.mktemp("cache")) as access:
        yield access


@pytest.fixture
def hands(make_dock, qtbot, desktop, place):
    dock = make_dock(archive=place.archive, cache_dir=place.cache_dir)
    desktop.zoom_to(*SEEN)
    hands = Picking(dock, qtbot, desktop)
    hands.page(LABELS)
    for each in CLASSES[:2]:
        qtbot.keyClicks(hands.find("classNameEdit"), each.name)
        hands.click("addClassButton")
    return hands


class Picking(Hands):
    """Picks similar pixels."""

    @property
    def panel(self):
        return self.dock.labels.similar

    @property
    def said(self):
        return self.find("similarNote").text()

    @property
    def count(self):
        """The words on how many pixels there are, when they are about the slider's place."""
        self.rest()
        return self.told("similarCountLabel")

    @property
    def is_drawn(self):
        overlay = self.panel._book._overlay(SIMILAR)
        return overlay is not None and not overlay.is_empty()

    @property
    def mask(self):
        return self.panel._grown.masks[0][1]

    def rest(self):
        self.qtbot.wait(20)
        panel = self.panel
        self.until(lambda: not panel._lookup.is_busy and not panel._following.is_busy)

    def take_up(self):
        self.click("similarToolButton")

    def pick(self, lon, lat, *, more=False):
        QTest.mouseClick(
            self.desktop.canvas.viewport(), Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.ShiftModifier if more else Qt.KeyboardModifier.NoModifier,
            self.desktop.pixel(lon, lat),
        )  # fmt: skip
        self.rest()

    def key(self, key):
        self.qtbot.keyClick(self.desktop.canvas, key)
        self.rest()


@pytest.fixture(scope="module")
def points():
    return fetched_place.places_of_classes()


def likeness_by_hand(place, window, lonlats, centre):
    """Return likeness (H, W) computed another way, NaN where there is nothing."""
    opened = embeddings.open_source(DATASET, YEAR, replace(place, offline=True))
    with contextlib.closing(opened) as source:
        codes, scales = source.read(window)
    valid = np.isfinite(scales)
    x = np.where(valid[..., None], codes, 1).astype(float)
    around = x / np.linalg.norm(x, axis=2, keepdims=True) - centre
    around /= np.linalg.norm(around, axis=2, keepdims=True)
    _, rows, cols = pixels_of_points(np.array(lonlats), LONLAT)
    picked = around[rows - window.row, cols - window.col]
    found = np.clip((around @ picked.T).max(axis=2), 0, 1)
    found[~valid] = np.nan
    return found, [(r - window.row, c - window.col) for r, c in zip(rows, cols)]


def middles(window, mask):
    rows, cols = np.nonzero(mask)
    metres = np.stack([10 * (window.col + cols + 0.5), -10 * (window.row + rows + 0.5)], axis=1)
    return transform_points(metres, zone_crs(window.zone), LONLAT)


def labels_in(path):
    source = ogr.Open(str(path))
    layer = source.GetLayerByName("label_polygons")
    return [(f.GetGeometryRef().Clone(), f["class_name"], f["year"]) for f in layer]


def test_a_click_the_slider_and_labels(hands, place, points, tmp_path):
    hands.take_up()
    assert hands.find("SimilarPanel").isVisible()
    assert "Click a pixel" in hands.said
    spot = points[1][0]
    hands.pick(*spot)
    assert "pixels" in hands.count
    panel, window = hands.panel, hands.panel._view.parts[0].window
    assert window == windows_of(hands.dock.area.extent())[0]
    likeness, (seed,) = likeness_by_hand(place, window, [spot], panel._view.centre)

    start = hands.find("similarSlider").value()
    sizes = []
    for value in (start + 20, start, start - 10):
        hands.find("similarSlider").setValue(value)
        told = hands.count
        assert f"{hands.mask.sum():,} pixels" in told
        assert f"{hands.mask.sum() / 100:,.1f} ha" in told
        labels, _ = ndimage.label(likeness >= value / 100)
        by_hand = labels == labels[seed]
        assert (hands.mask != by_hand).mean() < 2e-3  # likeness is kept in hundredths of a percent
        sizes.append(hands.mask.sum())
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    hands.find("similarSlider").setValue(start)
    hands.rest()
    mask = hands.mask.copy()
    truth = SampleArchive().truth(window.zone, window.row, window.col, *window.shape)
    assert (truth[mask] == 1).mean() > 0.8

    hands.until(lambda: hands.is_drawn)
    hands.key(ENTER)
    ((polygon, name, year),) = labels_in(tmp_path / "labels.gpkg")
    assert (name, year) == (CLASSES[1].name, YEAR)
    inside = [polygon.Contains(point_at(*each)) for each in middles(window, mask)]
    assert all(inside)
    outside = middles(window, ndimage.binary_dilation(mask) & ~mask)
    assert not any(polygon.Contains(point_at(*each)) for each in outside)
    assert "Added to" in hands.said
    assert not hands.is_drawn
    assert not hands.find("similarControls").isVisible()
    hands.click("undoButton")
    assert labels_in(tmp_path / "labels.gpkg") == []


def point_at(lon, lat):
    point = ogr.Geometry(ogr.wkbPoint)
    point.AddPoint_2D(float(lon), float(lat))
    return point


def test_more_references_and_all_that_is_similar(hands, place, points, tmp_path):
    hands.take_up()
    first, second = points[1][0], points[3][0]
    hands.pick(*first)
    one = hands.panel._view
    threshold = hands.find("similarSlider").value()
    hands.pick(*second, more=True)
    both = hands.panel._view
    assert hands.find("similarSlider").value() == threshold
    assert np.array_equal(one.centre, both.centre)
    assert (both.parts[0].likeness >= one.parts[0].likeness).all()
    assert len(both.parts[0].seeds) == 2
    hands.click("connectedCheck")
    hands.find("leastPatchSpin").setValue(6)
    hands.rest()
    likeness, _ = likeness_by_hand(place, both.parts[0].window, [first, second], both.centre)
    labels, _ = ndimage.label(likeness >= threshold / 100)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    by_hand = (sizes >= 6)[labels]
    assert (hands.mask != by_hand).mean() < 5e-3
    number = hands.panel._grown.patches
    assert number > 1
    assert f"Patches: {number}." in hands.count
    hands.click("acceptSimilarButton")
    hands.rest()
    assert len(labels_in(tmp_path / "labels.gpkg")) == number
    hands.click("undoButton")  # all of them in one step
    assert labels_in(tmp_path / "labels.gpkg") == []


def test_cancel_and_another_tool_leave_nothing(hands, points, tmp_path):
    hands.take_up()
    hands.pick(*points[1][0])
    scene = hands.desktop.canvas.scene()
    drawn = len(scene.items())
    hands.key(ESCAPE)
    assert len(scene.items()) < drawn
    assert hands.panel._view is None
    assert hands.find("similarToolButton").isChecked()
    hands.pick(*points[1][0])
    hands.until(lambda: hands.is_drawn)
    hands.click("labelToolButton")
    assert not hands.find("SimilarPanel").isVisible()
    assert not hands.is_drawn
    hands.take_up()
    hands.key(ESCAPE)
    assert not hands.find("similarToolButton").isChecked()
    assert hands.session.labels.counts == {}


def test_places_that_can_not_be_picked_are_told(hands, desktop, points):
    hands.take_up()
    desktop.zoom_to(0.13, 52.2, 0.14, 52.21)
    hands.pick(0.135, 52.205)
    assert "not fetched here yet" in hands.said
    assert not hands.find("similarControls").isVisible()
    desktop.zoom_to(-3, 51, 3, 53)
    hands.pick(*points[1][0])
    assert "Zoom in" in hands.said
    desktop.zoom_to(*SEEN)
    hands.pick(*points[1][0])
    assert hands.find("similarControls").isVisible()
    hands.pick(0.16, 52.23, more=True)  # beyond what is fetched: what was picked stays
    assert "not fetched" in hands.said
    assert len(hands.panel._points) == 1
    hands.session.update(year=2023)
    assert "Other embeddings" in hands.said
    assert hands.panel._view is None


def test_the_slider_is_followed_while_it_moves(hands, points):
    hands.take_up()
    hands.pick(*points[1][0])
    hands.find("connectedCheck").setChecked(False)
    hands.rest()
    slider, came = hands.find("similarSlider"), []
    grown = hands.panel._came
    hands.panel._came = lambda *facts: (came.append(facts[1].threshold_percent), grown(*facts))
    for value in range(90, 9, -1):
        slider.setValue(value)
        hands.qtbot.wait(3)
    hands.rest()
    assert came[-1] == 10  # the newest is what is shown
    assert len(came) > 5  # and those on the way were not all given up
    assert len(set(came)) == len(came)


def test_the_plugin_goes_while_it_looks(hands, points):
    hands.take_up()
    QTest.mouseClick(
        hands.desktop.canvas.viewport(), Qt.MouseButton.LeftButton,
        pos=hands.desktop.pixel(*points[1][0]) + QPoint(1, 0),
    )  # fmt: skip
    hands.dock.close_down()
    QgsApplication.processEvents()
    assert hands.panel._view is None
