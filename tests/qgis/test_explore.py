# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Explore window, by clicks: colours, similarity, clusters that become classes, years."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal, ogr
from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QAction, QApplication, QFileDialog, QWidget

from tessera_plugin.engine import embeddings, similarity
from tessera_plugin.engine.class_colors import is_taken
from tessera_plugin.engine.clusters import centres_of
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.point_years import PointYears, YearState
from tessera_plugin.gui import text
from tessera_plugin.gui.overlay import EXPLORE
from tessera_plugin.io.polygons import pixels_of_points
from tessera_plugin.io.projection import LONLAT
from tessera_plugin.values import State
from tests.qgis import fetched_place
from tests.qgis.fetched_place import DATASET, SEEN, YEAR
from tests.qgis.hands import AREA, Hands

LEFT = Qt.MouseButton.LeftButton
COLORS, SIMILARITY, CLUSTERS, YEARS = range(4)
NAME, COLOR, SHARE = range(3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with fetched_place.fetched(tmp_path_factory.mktemp("cache")) as access:
        yield access


@pytest.fixture(scope="module")
def points():
    return fetched_place.places_of_classes()


class Exploring(Hands):
    """Uses the window by its widgets' names."""

    def open(self, tab):
        (entry,) = [a for a in self.dock.findChildren(QAction) if a.text() == "Explore…"]
        entry.trigger()
        self.turn(tab)

    def turn(self, tab):
        bar = self.named("exploreTabs").tabBar()
        self.qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(tab).center())
        self.rest()

    @property
    def window(self):
        return self.dock.explore._dialog

    def named(self, name):
        found = self.window.findChild(QWidget, name)
        assert found is not None, name
        return found

    def press(self, name):
        widget = self.named(name)
        assert widget.isEnabled(), f"{name}: {widget.toolTip()}"
        assert widget.isVisible(), name
        self.qtbot.mouseClick(widget, LEFT)
        QApplication.processEvents()
        self.rest()

    def rest(self):
        """Wait until nothing is asked and nothing runs."""
        self.qtbot.wait(30)
        colors, similar, _, years = self.window._parts
        parts = (colors, similar, years)
        self.until(
            lambda: (
                not any(each._lookup.is_busy for each in parts)
                and not self.session.box.running
                and not any(each._settle.isActive() for each in (colors, similar))
            )
        )
        self.qtbot.wait(30)

    def pick(self, lon, lat):
        self.desktop.click(lon, lat)
        self.rest()

    @property
    def said(self):
        return self.window._note.text()

    @property
    def image(self):
        """What is drawn over the map, (H, W, 4) as red, green, blue and alpha; None for nothing."""
        self.rest()
        overlay = self.dock.area.pictures.book._overlay(EXPLORE)
        if overlay is None or overlay._image is None:
            return None
        image = overlay._image
        bits = image.constBits()
        bits.setsize(image.sizeInBytes())
        argb = np.frombuffer(bytes(bits), np.uint8).reshape(image.height(), image.width(), 4)
        return argb[..., [2, 1, 0, 3]]

    def drawn(self):
        self.until(lambda: self.image is not None)
        return self.image


@pytest.fixture
def hands(make_dock, qtbot, desktop, place):
    dock = make_dock(archive=place.archive, cache_dir=place.cache_dir)
    desktop.zoom_to(*SEEN)
    hands = Exploring(dock, qtbot, desktop)
    hands.until(lambda: hands.session.is_warm)
    return hands


def save_as(monkeypatch, path):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))


def read(place, window):
    opened = embeddings.open_source(DATASET, YEAR, replace(place, offline=True))
    with contextlib.closing(opened) as source:
        codes, scales = source.read(window)
    return codes, scales, np.isfinite(scales)


def layer_named(name):
    (layer,) = QgsProject.instance().mapLayersByName(name)
    return layer


# --- colours


def test_colours_follow_what_is_chosen_and_are_saved_as_seen(hands, place, monkeypatch, tmp_path):
    hands.open(COLORS)
    first = hands.drawn()
    assert (first[..., 3] == 255).mean() > 0.9
    assert "(" in hands.named("redCombo").currentText()  # its share of the variance
    hands.named("redCombo").setCurrentIndex(2)
    hands.named("blueCombo").setCurrentIndex(0)
    hands.until(lambda: np.array_equal(hands.image, first[..., [2, 1, 0, 3]]))
    hands.named("gammaSpin").setValue(2.0)
    hands.until(lambda: hands.image[..., :3].mean() > first[..., :3].mean() + 10)
    hands.named("brightCutSpin").setValue(20.0)
    hands.rest()

    out = tmp_path / "colours.tif"
    save_as(monkeypatch, out)
    hands.press("saveColorsButton")
    assert str(out) in hands.said
    assert layer_named(f"{YEAR} colours").isValid()
    (window,) = windows_of(hands.dock.area.extent())
    codes, scales, valid = read(place, window)
    basis = hands.window._parts[0]._view.components.basis(hands.window._parts[0]._params(6))
    x = codes[valid] * scales[valid][:, None]
    share = ((x - basis.mean) @ basis.components - basis.low) / (basis.high - basis.low)
    wanted = 255 * np.sqrt(np.clip(share, 0, 1))
    saved = gdal.Open(str(out)).ReadAsArray()
    assert np.abs(saved[:3, valid].T - wanted).max() <= 1
    hands.press("resetColorsButton")
    hands.until(lambda: np.array_equal(hands.image, first))


def test_colours_stay_while_the_map_moves_and_go_with_the_window(hands, desktop):
    hands.open(COLORS)
    hands.drawn()
    components = hands.window._parts[0]._view.components
    desktop.zoom_to(0.105, 52.184, 0.119, 52.194)
    hands.rest()
    assert hands.window._parts[0]._view.components is components
    hands.press("fitColorsButton")
    assert hands.window._parts[0]._view.components is not components
    hands.session.update(year=2023)
    hands.rest()
    assert "2023" in hands.said
    assert not hands.named("saveColorsButton").isEnabled()
    hands.session.update(year=YEAR)
    hands.drawn()
    hands.turn(CLUSTERS)
    assert hands.image is None
    hands.turn(COLORS)
    hands.drawn()
    for change in (lambda: desktop.canvas.setMagnificationFactor(2.0),
                   lambda: desktop.canvas.setRotation(30)):  # fmt: skip
        change()
        settling = [each._settle.isActive() for each in hands.window._parts[:2]]
        assert settling == [True, True]
        hands.rest()
    hands.window.reject()
    assert hands.dock.area.pictures.book._overlay(EXPLORE).is_empty()


# --- similarity


def test_similarity_of_clicked_places(hands, place, points, desktop, monkeypatch, tmp_path):
    pan = QgsMapToolPan(desktop.canvas)
    desktop.canvas.setMapTool(pan)
    hands.open(SIMILARITY)
    assert "Pick places" in hands.said
    assert not hands.named("saveSimilarityButton").isEnabled()
    hands.press("similarityPickButton")
    picked = [points[1][0], points[3][0]]
    for spot in picked:
        hands.pick(*spot)
    assert hands.named("similarityList").count() == 2
    image = hands.drawn()
    at = desktop.pixel(*picked[0])
    bright = image[at.y(), at.x(), :3].astype(int)
    assert np.abs(bright - (253, 231, 37)).max() <= 3  # the top of the ramp

    out = tmp_path / "alike.tif"
    save_as(monkeypatch, out)
    hands.press("saveSimilarityButton")
    assert str(out) in hands.said
    assert layer_named(f"{YEAR} similarity").isValid()
    (window,) = windows_of(hands.dock.area.extent())
    codes, _, valid = read(place, window)
    view = hands.window._parts[1]._view
    _, rows, cols = pixels_of_points(np.array(picked), LONLAT)
    seeds = codes[rows - window.row, cols - window.col]
    x = similarity.unit(codes[valid]).astype(float) - view.centre
    to = similarity.unit(seeds).astype(float) - view.centre
    cosine = (x @ to.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(to, axis=1)
    wanted = 100 * np.clip(cosine.max(axis=1), 0, 1)
    saved = gdal.Open(str(out)).ReadAsArray()
    assert np.abs(saved[valid] - wanted).max() <= 0.51
    assert (saved[~valid] == 255).all()

    hands.named("similarityList").setCurrentRow(0)
    hands.press("removePlaceButton")
    assert len(hands.window._parts[1]._places) == 1
    desktop.zoom_to(0.1, 52.18, 0.14, 52.21)
    hands.pick(0.135, 52.205)
    assert "not fetched here yet" in hands.said
    assert hands.named("similarityList").count() == 1
    hands.press("clearPlacesButton")
    assert hands.image is None
    hands.press("similarityPickButton")
    assert desktop.canvas.mapTool() == pan
    desktop.canvas.unsetMapTool(pan)


# --- clusters


def test_clusters_become_classes(hands, place, tmp_path):
    hands.open(CLUSTERS)
    assert not hands.named("makeClassesButton").isEnabled()
    hands.named("clusterCountSpin").setValue(5)
    hands.press("clusterButton")
    assert "5 clusters" in hands.said
    out = tmp_path / f"clusters_5_{YEAR}.tif"
    values = gdal.Open(str(out)).ReadAsArray()
    legend = layer_named(f"{YEAR} clusters (5)").renderer().classes()
    assert [each.label for each in legend] == [f"Cluster {n}" for n in range(1, 6)]
    table = hands.named("clustersTable")
    shares = [float(table.item(row, SHARE).text().split()[0]) for row in range(5)]
    counts = np.bincount(values[values > 0], minlength=6)[1:]
    assert shares == pytest.approx(100 * counts / counts.sum(), abs=0.06)

    table.item(0, NAME).setText("Fields")
    table.item(2, NAME).setText("fields")
    table.item(1, NAME).setText("Woods")
    table.item(3, NAME).setCheckState(Qt.CheckState.Unchecked)
    table.item(4, NAME).setCheckState(Qt.CheckState.Unchecked)
    hands.named("labelsPerClusterSpin").setValue(6)
    store, taken = hands.session.labels, hands.named("clusterColor1").color().name()
    store.add_class("Meadows", taken)
    hands.press("makeClassesButton")
    assert "Classes: 2, labels: 18" in hands.said
    assert [each.name for each in store.classes] == ["Meadows", "Fields", "Woods"]
    assert not is_taken(store.classes[1].color, [taken])
    assert store.classes[2].color == hands.named("clusterColor2").color().name()
    assert {store.land_class(key).name: n for key, n in store.counts.items()} == {
        "Fields": 12, "Woods": 6,
    }  # fmt: skip
    rows = ogr.Open(str(tmp_path / "labels.gpkg"))
    layer = rows.GetLayerByName("label_points")
    lonlats = np.array([(f.GetGeometryRef().GetX(), f.GetGeometryRef().GetY()) for f in layer])
    names = [f["class_name"] for f in layer]
    (window,) = windows_of(hands.window._parts[2]._found.extent)
    _, at_rows, at_cols = pixels_of_points(lonlats, LONLAT)
    codes, scales, _ = read(place, window)
    picked = (at_rows - window.row, at_cols - window.col)
    x = codes[picked] * scales[picked][:, None]
    centres = centres_of(hands.window._parts[2]._found.head)
    nearest = np.linalg.norm(x[:, None] - centres, axis=2).argmin(axis=1)
    assert [("Fields", "Woods", "Fields")[number] for number in nearest] == names
    assert (values[picked] == nearest + 1).all()  # the map says the same
    store.undo()
    assert [each.name for each in store.classes] == ["Meadows"]
    assert not store.labels()


# --- years


def test_a_place_over_the_years(hands, place, points):
    hands.open(YEARS)
    assert "Pick a place" in hands.said
    hands.press("yearsPickButton")
    spot = points[1][0]
    hands.pick(*spot)
    table = hands.named("yearsTable")
    state = {
        table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount())
    }
    assert state[str(YEAR)] == "has an embedding"
    assert state["2023"] == "not in the cache"
    assert "2023" in hands.said
    hands.press("fetchYearsButton")
    hands.until(lambda: bool(hands.named("yearsPlot").changes))
    state = {
        table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount())
    }
    assert state["2023"] == "has an embedding"
    _, (row,), (col,) = pixels_of_points(np.array([spot]), LONLAT)
    both = [embeddings_at(place, year, row, col) for year in (2023, YEAR)]
    cosine = both[0] @ both[1] / np.linalg.norm(both[0]) / np.linalg.norm(both[1])
    shown = next(table.item(r, 2).text() for r in range(table.rowCount())
                 if table.item(r, 0).text() == str(YEAR))  # fmt: skip
    assert float(shown) == pytest.approx(cosine, abs=6e-4)
    assert hands.named("yearsPlot").changes == {YEAR: pytest.approx(1 - cosine, abs=1e-4)}
    assert f"came between 2023 and {YEAR}: cosine" in hands.said
    assert "not known" not in hands.said


def test_a_change_over_missing_years_is_of_none_of_them(hands):
    hands.open(YEARS)
    part, table = hands.window._parts[3], hands.named("yearsTable")
    years = (2017, 2018, 2020, 2024)
    missing = (State.VALID, State.UNKNOWN, State.VALID, State.VALID)
    turns = np.radians([0, 0, 10, 80])
    directions = np.column_stack([np.cos(turns), np.sin(turns)]).astype(np.float32)
    cosine = directions @ directions.T
    states = tuple(YearState(*each) for each in zip(years, missing))
    part._looked(PointYears(fetched_place.pixel(0, 0), states, directions, cosine))
    assert "came between 2020 and 2024: cosine 0.34" in hands.said
    assert "In which of these years is not known: those between have no" in hands.said
    cells = [table.item(row, 2) for row in range(4)]
    assert [each.text() for each in cells] == [text.NONE, text.NONE, "0.985 (2017)", "0.342 (2020)"]
    assert cells[2].toolTip().startswith("Between 2017 and 2020: cosine 0.985.")
    plot = hands.named("yearsPlot")
    assert list(plot.changes) == [2020, 2024]
    at = plot._area(plot._high)
    told = [plot.told_at(at.left() + (n + 0.5) * at.width() / 4) for n in range(4)]
    assert told[:2] == ["", ""]
    assert told[3].startswith("Between 2020 and 2024: cosine 0.342. The years between")
    # a missing year between can be fetched
    part._looked(PointYears(fetched_place.pixel(0, 0), states[:3], directions[:3], cosine[:3, :3]))
    assert "came between 2017 and 2020" in hands.said
    assert "not known: fetch those that are missing" in hands.said


def embeddings_at(place, year, row, col):
    opened = embeddings.open_source(DATASET, year, replace(place, offline=True))
    with contextlib.closing(opened) as source:
        codes, scales = source.read(fetched_place.pixel(row, col))
    return codes[0, 0] * scales[0, 0].astype(float)


# --- the window


def test_it_opens_from_the_area_page_and_goes_with_the_plugin(hands):
    hands.page(AREA)
    button = hands.find("exploreButton")
    hands.until(button.isEnabled)  # fetched at another time
    hands.desktop.zoom_to(0.13, 52.2, 0.14, 52.21)
    hands.until(lambda: not button.isEnabled())
    assert f"Nothing of {YEAR} is in the cache" in button.toolTip()
    assert "fetch embeddings first" in button.toolTip()
    hands.fetch()
    hands.until(lambda: hands.dock.area._coverage.coverage is not None and button.isEnabled())
    assert "colours" in button.toolTip()
    hands.choose("yearCombo", "2023")
    hands.until(lambda: "Nothing of 2023" in button.toolTip())
    hands.choose("yearCombo", str(YEAR))
    hands.until(button.isEnabled)
    hands.click("exploreButton")
    assert hands.window.isVisible()
    assert not hands.dock.area._coverage._is_shown  # it would tint what is looked at
    hands.window.reject()
    assert hands.dock.area._coverage._is_shown
    hands.click("exploreButton")
    hands.dock.close_down()
    QgsApplication.processEvents()
    assert hands.dock.explore._dialog is None


def test_a_new_project_leaves_nothing(hands, points):
    hands.open(SIMILARITY)
    hands.press("similarityPickButton")
    hands.pick(*points[1][0])
    hands.drawn()
    QgsProject.instance().clear()
    hands.rest()
    assert hands.window._parts[1]._places == []
    assert hands.image is None
