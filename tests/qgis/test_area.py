# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Area page before a fetch: what is chosen, what is there, what it costs."""

import re

import pytest
from qgis.core import QgsProject
from qgis.PyQt.QtCore import Qt, QUrl
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import QToolButton, QWidget

from tessera_plugin.gui import coverage_text, coverage_view
from tessera_plugin.gui.overlay import CanvasOverlay
from tessera_plugin.values import PUBLIC_ARCHIVE, State
from tests.qgis.hands import AREA, LABELS, Hands
from tests.servers import FOREVER, Fault

SMALL = (0.1, 52.18, 0.12, 52.195)
EDGE = (0.07, 52.15, 0.13, 52.2)
"""Over the edge of what the sample's stores hold."""
LEFT = Qt.MouseButton.LeftButton
COUNTRY = (-2, 50, 4, 54)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(coverage_view, "SETTLE_MS", 100)


@pytest.fixture
def hands(make_dock, qtbot, desktop, server):
    dock = make_dock(archive=server.url)
    desktop.zoom_to(*SMALL)
    return Hands(dock, qtbot, desktop)


def size_mb(told):
    number, unit = re.search(r"([\d.]+) ([kMG])B", told).groups()
    return float(number) * {"k": 1e-3, "M": 1.0, "G": 1e3}[unit]


def overlays(desktop):
    return [i for i in desktop.canvas.scene().items() if isinstance(i, CanvasOverlay)]


def coverage_image(desktop):
    """Return the image of the coverage that is drawn now."""
    (overlay,) = [each for each in overlays(desktop) if each.role == "coverage"]
    return overlay._image if overlay.isVisible() else None


# --- what is there


def test_what_is_there_and_what_it_costs_is_told_before_a_fetch(hands, server, desktop):
    hands.looked()
    assert hands.told("sizeLabel") == "2.8 km² · 27,520 pixels"
    told = size_mb(hands.told("downloadLabel"))
    before = server.bytes_sent
    said = []
    hands.session.box.ended.connect(lambda: said.append(hands.told("downloadLabel")))
    hands.fetch()
    assert said
    assert "To fetch" not in said[-1], "it has just been fetched"
    assert "Looking" in said[-1]
    fetched = size_mb(hands.note("fetchNote").split("Fetched ")[1])
    assert told == pytest.approx(fetched, rel=0.02)
    assert (server.bytes_sent - before) / 1e6 == pytest.approx(told, rel=0.02)
    hands.looked()
    assert "Nothing to fetch" in hands.told("downloadLabel")
    before = server.bytes_sent
    desktop.zoom_to(0.11, 52.18, 0.13, 52.195)
    hands.looked()
    share = int(
        re.search(r"\((\d+) % of the area is in the cache\)", hands.told("downloadLabel"))[1]
    )
    assert 30 < share < 80
    assert size_mb(hands.told("downloadLabel")) < told


def test_coverage_is_drawn_with_a_legend_while_one_looks_at_the_page(hands, desktop):
    desktop.zoom_to(*EDGE)
    hands.looked()
    hands.until(lambda: overlays(desktop) and coverage_image(desktop) is not None)

    def colors():
        image = coverage_image(desktop)
        return {image.pixelColor(x, y).name()
                for x in range(0, image.width(), 20) for y in range(0, image.height(), 20)}  # fmt: skip

    hands.until(lambda: len(colors()) == 2)  # the last picture may still be on its way
    legend = desktop.window.findChild(QWidget, "TesseraLegend")
    shares = dict(legend.rows())
    counts = hands.dock.area._coverage.coverage.counts
    pixels = sum(counts.values())
    assert shares["To fetch"] == f"{100 * counts[State.VALID] / pixels:.0f} %"
    assert shares["Nothing published"] == f"{100 * counts[State.OUTSIDE] / pixels:.0f} %"
    assert "30 % has embeddings, 70 % is not published" in hands.told("coverageLabel")
    assert legend.isVisible()
    hands.page(LABELS)
    assert not legend.isVisible()
    assert coverage_image(desktop) is None
    hands.page(AREA)
    assert legend.isVisible()
    assert coverage_image(desktop) is not None


def test_nobody_is_asked_unless_one_looks_at_the_page(hands, server, desktop, qtbot):
    hands.page(LABELS)
    server.log.clear()
    desktop.zoom_to(*EDGE)
    qtbot.wait(400)
    assert server.log == []
    hands.page(AREA)
    hands.looked()
    assert server.log


def test_the_map_that_stands_still_is_asked_for_once(hands, server, desktop, qtbot):
    hands.looked()
    asked = len(server.log)
    hands.page(LABELS)
    hands.page(AREA)
    QgsProject.instance().setTitle("something else")
    hands.dock.area.measure()
    qtbot.wait(400)
    assert len(server.log) == asked


def test_the_box_is_remembered_and_stops_the_asking(hands, server, desktop, qtbot, store):
    hands.looked()
    hands.click("coverageCheck")
    assert store["tessera/show_coverage"] is False
    assert coverage_image(desktop) is None
    server.log.clear()
    desktop.zoom_to(*EDGE)
    qtbot.wait(400)
    assert server.log == []
    assert "up to" in hands.told("downloadLabel")
    assert not hands.find("refreshButton").isEnabled()
    hands.click("coverageCheck")
    hands.looked()
    assert "up to" not in hands.told("downloadLabel")
    legend = desktop.window.findChild(QWidget, "TesseraLegend")
    qtbot.mouseClick(legend.findChild(QToolButton, "legendClose"), LEFT)
    assert not hands.find("coverageCheck").isChecked()


def test_a_newer_map_takes_the_place_of_an_older_one(hands, server, desktop, qtbot):
    server.latency_s = 0.3
    desktop.zoom_to(*EDGE)
    hands.until(lambda: hands.dock.area._coverage.is_busy)
    assert hands.find("busyLabel").isVisible()
    assert hands.find("fetchButton").isEnabled()
    desktop.zoom_to(*SMALL)
    server.latency_s = 0.0
    hands.looked()
    assert hands.dock.area._coverage.coverage.pixels == 27_520
    assert not hands.find("busyLabel").isVisible()


def test_a_fetch_takes_the_place_of_the_looking(hands, server, desktop):
    server.latency_s = 0.3
    desktop.zoom_to(*EDGE)
    view = hands.dock.area._coverage
    hands.until(lambda: view.is_busy)
    hands.click("fetchButton")
    assert not view.is_busy
    server.latency_s = 0.0
    hands.settle()
    hands.looked()
    assert "Nothing to fetch" in hands.told("downloadLabel")


def test_a_country_gets_its_coverage_although_it_is_too_large_to_fetch(hands, desktop):
    desktop.zoom_to(*COUNTRY)
    hands.looked()
    assert "too large to fetch, the limit is 50 million" in hands.told("sizeLabel")
    assert "published" in hands.told("coverageLabel")
    assert "weighs" in hands.told("downloadLabel")
    assert not hands.find("fetchButton").isEnabled()
    assert "too large" in hands.find("fetchButton").toolTip()
    years = hands.find("yearCombo")
    assert not any("nothing" in years.itemText(index) for index in range(years.count()))


def test_where_nothing_is_published_it_says_so_and_links_to_the_request_form(
    hands, desktop, monkeypatch
):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url) or True)
    hands.choose("yearCombo", "2025")
    hands.looked()
    told = hands.told("coverageLabel")
    assert "Nothing is published here for 2025. There is for 2023, 2024." in told
    assert not hands.find("fetchButton").isEnabled()
    assert hands.find("fetchButton").toolTip() == "Nothing is published here for 2025"
    assert opened == []
    hands.find("coverageLabel").linkActivated.emit(re.search('href="([^"]+)"', told)[1])
    assert opened == [QUrl(coverage_text.REQUEST_URL)]
    assert "template=embedding-request.yml" in coverage_text.REQUEST_URL


def test_years_with_data_here_are_marked(hands, desktop):
    hands.looked()
    combo = hands.find("yearCombo")
    texts = {combo.itemData(i): combo.itemText(i) for i in range(combo.count())}
    assert {year for year, text in texts.items() if text.endswith("·  here")} == {2023, 2024}
    assert all("nothing here" in text for year, text in texts.items() if year not in (2023, 2024))
    desktop.zoom_to(20, 10, 20.02, 10.02)
    hands.until(lambda: combo.currentText() == "2024")
    hands.looked()
    assert "nothing here" in combo.itemText(combo.findData(2023))


def test_refresh_asks_anew(hands, server, archive, qtbot):
    hands.looked()
    asked = len(server.log)
    hands.click("refreshButton")
    hands.looked()
    assert len(server.log) > asked
    assert size_mb(hands.told("downloadLabel")) > 0


def test_a_server_that_does_not_answer_is_said_and_the_page_can_be_used(hands, server, desktop):
    server.faults.append(Fault.status(403, path="*", count=FOREVER))
    desktop.zoom_to(*EDGE)
    hands.looked()
    assert "403" in hands.told("coverageLabel")
    assert hands.find("fetchButton").isEnabled()


def test_offline_nobody_is_asked(hands, server, desktop, qtbot):
    hands.fetch()
    hands.session.update(offline=True)
    server.log.clear()
    desktop.zoom_to(0.11, 52.18, 0.13, 52.195)
    hands.looked()
    told = hands.told("downloadLabel")
    assert told.startswith("Offline: only what is in the cache. ")
    assert 30 < int(re.search(r"(\d+) % of the area", told)[1]) < 80
    assert not hands.find("refreshButton").isEnabled()
    hands.fetch()
    assert server.log == []


# --- what is chosen


def test_depth_is_a_choice_only_where_there_is_one(hands):
    assert not hands.find("depthCombo").isVisible()
    hands.choose("datasetCombo", "2.0 beta 1")
    assert hands.find("depthCombo").isVisible()
    entries = [hands.find("depthCombo").itemData(i) for i in range(3)]
    assert entries == [128, 16, 4]
    hands.looked()
    whole = size_mb(hands.told("downloadLabel"))
    hands.choose("depthCombo", "16 numbers")
    assert hands.session.depth == 16
    hands.looked()
    assert size_mb(hands.told("downloadLabel")) < whole / 3
    hands.fetch()
    assert "have embeddings" in hands.note("fetchNote")
    hands.choose("datasetCombo", "TESSERA 1.0")
    assert hands.session.settings.depth == 0


def test_another_archive_is_told_with_a_way_back(hands, server):
    assert server.url.split("//")[1] in hands.told("archiveLabel")
    hands.find("archiveLabel").linkActivated.emit("#published")
    assert hands.session.settings.archive == PUBLIC_ARCHIVE
    assert hands.told("archiveLabel") == ""


def test_more_years_are_ticked_in_a_list_that_stays_open(hands, qtbot):
    hands.looked()
    menu = hands.find("moreYearsButton").menu()
    menu.popup(hands.find("moreYearsButton").mapToGlobal(hands.find("moreYearsButton").pos()))
    by_year = {action.data(): action for action in menu.actions()}
    assert by_year[2024].isChecked()
    assert not by_year[2024].isEnabled()
    assert "nothing here" in by_year[2022].text()
    for year in (2023, 2022):
        qtbot.mouseMove(menu, menu.actionGeometry(by_year[year]).center())
        menu.setActiveAction(by_year[year])
        qtbot.mouseClick(menu, LEFT, pos=menu.actionGeometry(by_year[year]).center())
        assert menu.isVisible()
    menu.close()
    assert hands.session.years == (2024, 2023, 2022)
    assert hands.find("moreYearsButton").text() == "+ 2 more"
    assert hands.find("fetchButton").text() == "Fetch 3 years"


def test_the_two_published_forms_are_compared(hands):
    assert not hands.find("areaMenuButton").isVisible()  # of the global dataset there is one form
    hands.choose("datasetCombo", "Cambridge")
    assert hands.find("areaMenuButton").isVisible()
    hands.looked()
    (action,) = hands.find("areaMenuButton").menu().actions()
    action.trigger()
    hands.settle()
    assert re.search(r"agree on all \d+ pixels", hands.note("fetchNote"))
