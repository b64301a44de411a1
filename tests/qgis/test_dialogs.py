# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings, the cache, and other stores and archives, as a person uses them."""

import os
from pathlib import Path

import pytest
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QFileDialog, QMessageBox, QPushButton

from tessera_plugin.gui import area_page
from tessera_plugin.gui.cache_dialog import CacheDialog
from tessera_plugin.gui.dialogs import SettingsDialog
from tessera_plugin.gui.source_dialog import SourceDialog
from tests.qgis.hands import Hands
from tests.servers import FOREVER, Fault

SMALL = (0.1, 52.18, 0.12, 52.195)
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def hands(make_dock, qtbot, desktop, server):
    dock = make_dock(archive=server.url, show_coverage=False)
    desktop.zoom_to(*SMALL)
    hands = Hands(dock, qtbot, desktop)
    hands.until(lambda: "27,520" in hands.told("sizeLabel"))
    return hands


# --- settings


def test_the_network_settings_are_chosen_and_remembered(make_session, store, qtbot):
    session = make_session()
    dialog = SettingsDialog(session, None)
    qtbot.addWidget(dialog)
    assert dialog.bandwidthSpin.text() == "No limit"
    dialog.bandwidthSpin.setValue(1.5)
    dialog.offlineCheck.click()
    dialog.formCombo.setCurrentIndex(2)
    dialog.accept()
    assert store["tessera/max_mb_per_s"] == 1.5
    assert store["tessera/offline"] is True
    assert session.access().network.bytes_per_s == 1_500_000
    assert session.access().offline
    assert session.access().form == ""  # the dataset has no tiles
    session.update(dataset="1.1-cambridge")
    assert session.access().form == "npy"
    assert session.access(dataset="1.1-dclimate").form == ""


# --- the cache


@pytest.fixture
def cache(hands, qtbot):
    """The dialog of a cache that has something in it."""
    hands.fetch()
    hands.session.update(year=2023)
    hands.fetch()
    dialog = CacheDialog(hands.session, None)
    qtbot.addWidget(dialog)
    dialog.show()
    measured(dialog, qtbot)
    return dialog


def measured(dialog, qtbot):
    session = dialog._session
    qtbot.waitUntil(lambda: not session.box.running and not dialog._lookup.is_busy, timeout=20_000)
    qtbot.wait(20)


def rows(dialog):
    table = dialog.entriesTable
    return [
        [table.item(row, column).text() for column in range(3)] for row in range(table.rowCount())
    ]


def bytes_of(folder):
    return sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())


def test_the_cache_tells_what_it_holds_and_is_cleared_by_year(cache, qtbot):
    folder = cache._session.settings.cache_folder
    assert cache.folderEdit.text() == folder
    assert rows(cache) == [
        ["1.1-dclimate", "2023", "128, Zarr store"],
        ["1.1-dclimate", "2024", "128, Zarr store"],
    ]
    before = bytes_of(folder)
    assert f"{before / 1e6:.1f} MB in use" == cache.sizeLabel.text() or before > 10e6
    assert not cache.clearSelectedButton.isEnabled()
    cache.entriesTable.selectRow(0)
    qtbot.mouseClick(cache.clearSelectedButton, LEFT)
    measured(cache, qtbot)
    assert [row[1] for row in rows(cache)] == ["2024"]
    assert bytes_of(folder) < 0.6 * before
    assert "were removed" in cache._note.text()


def test_clearing_all_asks_first(cache, qtbot, monkeypatch):
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    qtbot.mouseClick(cache.clearAllButton, LEFT)
    assert len(rows(cache)) == 2
    qtbot.mouseClick(cache.clearAllButton, LEFT)
    measured(cache, qtbot)
    assert rows(cache) == []
    assert not cache.clearAllButton.isEnabled()


def test_the_cache_moves_and_the_new_folder_is_used(cache, qtbot, tmp_path, monkeypatch, server):
    target = tmp_path / "stick"
    target.mkdir()
    old, size = cache._session.settings.cache_folder, bytes_of(cache._session.settings.cache_folder)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(target))
    qtbot.mouseClick(cache.moveButton, LEFT)
    measured(cache, qtbot)
    assert "were moved to" in cache._note.text()
    assert Path(cache._session.settings.cache_folder) == target
    assert bytes_of(target) > 0.9 * size
    assert bytes_of(old) < 0.1 * size
    assert len(rows(cache)) == 2
    assert cache.folderEdit.text() == str(target)


def test_what_was_used_just_now_is_not_evicted_but_older_is(cache, qtbot):
    cache.limitSpin.setValue(0.1)
    qtbot.mouseClick(cache.evictButton, LEFT)
    measured(cache, qtbot)
    assert len(rows(cache)) == 2
    assert cache._session.settings.cache_limit_gb == 0.1
    for each in Path(cache._session.settings.cache_folder).rglob("*"):
        os.utime(each, (1_700_000_000, 1_700_000_000))
    cache._session.update(cache_limit_gb=0.001)
    cache.limitSpin.setDecimals(3)
    cache.limitSpin.setValue(0.001)
    qtbot.mouseClick(cache.evictButton, LEFT)
    measured(cache, qtbot)
    assert "were removed" in cache._note.text()
    assert bytes_of(cache._session.settings.cache_folder) <= 1_000_000


def test_a_folder_that_cannot_be_written_is_said(cache, qtbot, monkeypatch):
    monkeypatch.setattr("tessera_plugin.engine.cache.is_writable", lambda _: False)
    cache._measure()
    measured(cache, qtbot)
    assert "can't be written" in cache._note.text()
    for button in (cache.clearAllButton, cache.evictButton):
        assert not button.isEnabled()


def test_while_a_job_runs_the_cache_is_left_alone(cache, hands, server, qtbot):
    server.faults.append(Fault.stall(20, path="*/c/*", count=FOREVER))
    hands.choose("datasetCombo", "2.0 beta 1")
    hands.click("fetchButton")
    assert not cache.clearAllButton.isEnabled()
    assert not cache.moveButton.isEnabled()
    assert "Fetching embeddings" in cache.moveButton.toolTip()
    hands.click("cancelButton")
    hands.settle()
    measured(cache, qtbot)
    assert cache.moveButton.isEnabled()


# --- another store or archive


@pytest.fixture
def source(hands, qtbot):
    dialog = SourceDialog(hands.session, None)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def look(dialog, location, qtbot):
    dialog.locationEdit.setText(location)
    qtbot.mouseClick(dialog.checkButton, LEFT)
    qtbot.waitUntil(lambda: not dialog._lookup.is_busy, timeout=20_000)
    qtbot.wait(20)
    return dialog._note.text()


def use_it(dialog):
    (button,) = [b for b in dialog.findChildren(QPushButton) if b.text() == "Use it"]
    return button


def test_a_store_is_looked_at_added_fetched_from_and_removed(hands, source, server, qtbot):
    assert not use_it(source).isEnabled()
    told = look(source, f"{server.url}/zarr/v1.1-dclimate-b/", qtbot)
    assert "Zarr store" in told
    assert "2023 to 2025" in told
    qtbot.mouseClick(use_it(source), LEFT)
    (store,) = hands.session.settings.own_stores
    assert hands.find("datasetCombo").currentData() == store.key
    assert "v1.1-dclimate-b" in hands.find("datasetCombo").currentText()
    hands.choose("yearCombo", "2024")
    hands.fetch()
    assert "27,520 of 27,520 pixels have embeddings" in hands.note("fetchNote")
    again = SourceDialog(hands.session, None)
    qtbot.addWidget(again)
    again.show()
    assert again.storesList.count() == 1
    again.storesList.setCurrentRow(0)
    qtbot.mouseClick(again.removeStoreButton, LEFT)
    assert hands.session.settings.own_stores == ()
    assert hands.session.settings.dataset == "1.1-dclimate"
    assert hands.find("datasetCombo").findData(store.key) < 0
    again.reject()


def test_an_archive_becomes_the_archive(hands, source, server, qtbot):
    hands.session.update(archive="http://127.0.0.1:9")
    told = look(source, server.url, qtbot)
    assert told.startswith("An archive with 1.1-dclimate")
    qtbot.mouseClick(use_it(source), LEFT)
    assert hands.session.settings.archive == server.url
    assert hands.session.settings.dataset == "1.1-dclimate"


def test_what_is_neither_is_said_and_not_used(source, server, tmp_path, qtbot):
    (tmp_path / "holiday.jpg").write_bytes(b"...")
    for location in (f"{server.url}/nothing", str(tmp_path), "s3://bucket/x"):
        assert "can't be used" in look(source, location, qtbot)
        assert not use_it(source).isEnabled()


def test_another_text_is_another_question(source, server, qtbot):
    look(source, f"{server.url}/zarr/v1.1-dclimate-b", qtbot)
    assert use_it(source).isEnabled()
    qtbot.keyClicks(source.locationEdit, "x")
    assert not use_it(source).isEnabled()
    assert source._note.text() == ""


def test_looking_is_stopped(source, server, qtbot):
    server.faults.append(Fault.stall(30, path="*", count=FOREVER))
    source.locationEdit.setText(f"{server.url}/zarr/v1.1-dclimate-b")
    qtbot.mouseClick(source.checkButton, LEFT)
    qtbot.waitUntil(source.lookFrame.isVisible)
    qtbot.mouseClick(source.stopButton, LEFT)
    assert not source.lookFrame.isVisible()
    assert source._note.text() == "Stopped."


def test_the_last_entry_of_the_datasets_opens_it(hands, qtbot, monkeypatch):
    opened = []

    class Asked(SourceDialog):
        def exec(self):
            opened.append(self)

    monkeypatch.setattr(area_page, "SourceDialog", Asked)
    combo = hands.find("datasetCombo")
    assert combo.itemText(combo.count() - 1) == "Another store or archive…"
    hands.choose("datasetCombo", "Another store")
    hands.until(lambda: len(opened) == 1)
    assert combo.currentData() == "1.1-dclimate"
