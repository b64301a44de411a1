# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A fetch on the dock: it grows on the map, is paused, is tried again, goes over several years."""

import os
from pathlib import Path

import pytest
from qgis.core import QgsProject

from tessera_plugin.gui.overlay import CanvasOverlay
from tests.clock import within
from tests.qgis.hands import AREA, Hands
from tests.servers import FOREVER, Fault

SMALL = (0.1, 52.18, 0.12, 52.195)


@pytest.fixture
def hands(make_dock, qtbot, desktop, server):
    dock = make_dock(archive=server.url, show_coverage=False)
    desktop.zoom_to(*SMALL)
    hands = Hands(dock, qtbot, desktop)
    hands.page(AREA)
    hands.until(lambda: "27,520" in hands.told("sizeLabel"))
    return hands


def growing(desktop):
    """Return how many sampled screen pixels the picture of what arrives has covered."""
    found = [
        each
        for each in desktop.canvas.scene().items()
        if isinstance(each, CanvasOverlay) and each.role == "fetch" and each._image is not None
    ]
    if not found:
        return 0
    image = found[0]._image
    return sum(
        image.pixelColor(x, y).alpha() > 0
        for x in range(0, image.width(), 8)
        for y in range(0, image.height(), 8)
    )


def previews():
    layers = QgsProject.instance().mapLayers().values()
    return sorted(layer.name() for layer in layers if "preview" in layer.name())


def test_the_picture_grows_while_blocks_come_and_gives_way_to_the_preview(hands, server, desktop):
    server.bandwidth = 2_000_000
    hands.click("fetchButton")
    seen = []
    while hands.session.box.running:
        hands.qtbot.wait(100)
        if hands.session.box.running:
            seen.append(growing(desktop))
    assert len({each for each in seen if each}) > 1, seen
    hands.qtbot.wait(100)
    assert growing(desktop) == 0
    assert previews() == ["2024 embeddings (preview)"]


def test_it_is_paused_and_goes_on(hands, server, qtbot):
    server.bandwidth = 2_000_000
    hands.click("fetchButton")
    assert hands.find("pauseButton").isVisible()
    qtbot.wait(700)
    hands.click("pauseButton")
    assert hands.find("pauseButton").text() == "Resume"
    assert "Paused" in hands.told("jobLabel")
    qtbot.wait(700)  # what was on its way
    asked = len(server.log)
    qtbot.wait(800)
    assert len(server.log) == asked
    assert "Paused" in hands.told("jobLabel")
    hands.click("pauseButton")
    assert hands.find("pauseButton").text() == "Pause"
    server.bandwidth = None
    hands.settle()
    assert "27,520 of 27,520 pixels have embeddings" in hands.note("fetchNote")


def test_a_paused_fetch_is_cancelled_at_once(hands, server, qtbot):
    server.bandwidth = 1_000_000
    hands.click("fetchButton")
    qtbot.wait(300)
    hands.click("pauseButton")
    qtbot.wait(100)
    with qtbot.waitSignal(hands.session.box.ended, timeout=1000 * within(2)):
        hands.click("cancelButton")
    assert "Stopped" in hands.note("fetchNote")


def test_only_fetches_can_be_paused(hands):
    hands.choose("datasetCombo", "Cambridge")
    (action,) = hands.find("areaMenuButton").menu().actions()
    action.trigger()
    assert hands.find("jobFrame").isVisible()
    assert not hands.find("pauseButton").isVisible()
    hands.settle()


def test_what_is_missing_is_named_with_its_reason_and_tried_again(hands, server):
    server.faults.append(Fault.status(403, path="*embeddings/c/*", count=FOREVER))
    hands.click("fetchButton")
    hands.settle()
    told = hands.told("fetchNoteText")
    assert "Did not arrive" in told
    assert "refuses it (status 403)" in told
    server.faults.clear()
    assert hands.find("fetchNoteButton").text() == "Try the missing again"
    hands.click("fetchNoteButton")
    hands.settle()
    assert "27,520 of 27,520 pixels have embeddings" in hands.told("fetchNoteText")
    assert not hands.find("fetchNoteButton").isVisible()


def test_trying_again_is_about_the_same_area_wherever_the_map_is_by_then(hands, server, desktop):
    server.faults.append(Fault.status(403, path="*embeddings/c/*", count=FOREVER))
    hands.click("fetchButton")
    hands.settle()
    server.faults.clear()
    desktop.zoom_to(0.3, 52.3, 0.31, 52.31)
    hands.choose("yearCombo", "2023")
    hands.click("fetchNoteButton")
    hands.settle()
    assert "27,520 of 27,520 pixels have embeddings" in hands.told("fetchNoteText")
    assert previews() == ["2024 embeddings (preview)"]


def test_several_years_one_after_another(hands, qtbot):
    hands.session.update(also_years="2023,2025")
    said = []
    hands.session.box.told.connect(lambda _, message: said.append(message))
    hands.click("fetchButton")
    hands.settle()
    lines = hands.told("fetchNoteText").splitlines()
    assert [line[:5] for line in lines[:3]] == ["2024:", "2025:", "2023:"]
    assert "27,520 of 27,520" in lines[0]
    assert "Nothing is published here" in lines[1]
    assert "27,520 of 27,520" in lines[2]
    assert previews() == ["2023 embeddings (preview)", "2024 embeddings (preview)"]
    assert any(message.startswith("2024 (1 of 3)") for message in said)
    assert any(message.startswith("2023 (3 of 3)") for message in said)
    assert not hands.find("fetchNoteButton").isVisible()


def test_what_one_year_lacks_does_not_hide_what_another_has(hands, server):
    hands.fetch()
    server.faults.append(Fault.status(403, path="*/c/*", count=FOREVER))
    hands.session.update(also_years="2023")
    hands.click("fetchButton")
    hands.settle()
    first, second = hands.told("fetchNoteText").splitlines()
    assert first == "2024: All 27,520 pixels were in the cache: nothing to fetch."
    assert second.startswith("2023: ")
    assert "403" in second
    assert hands.find("fetchNoteButton").isVisible()


def test_the_cache_is_kept_below_its_limit(hands, desktop, qtbot):
    hands.fetch()
    folder = Path(hands.session.settings.cache_folder)
    blocks = [each for each in folder.rglob("*") if each.is_file()]
    for each in blocks:  # as if all of it had been used long ago
        os.utime(each, (1_700_000_000, 1_700_000_000))
    before = sum(each.stat().st_size for each in blocks)
    hands.session.update(cache_limit_gb=before / 1e9)
    desktop.zoom_to(0.13, 52.2, 0.15, 52.215)
    hands.until(lambda: "27,520" not in hands.told("sizeLabel"))
    hands.fetch()
    assert "over its limit" in hands.told("fetchNoteText")
    left = [each for each in blocks if each.suffix == ".npy" and each.exists()]
    assert all(each.stat().st_mtime > 1_700_000_001 for each in left)  # used by the second fetch
