# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The diagnostics as a person uses them: with the private environment of the tests, and without."""

import platform
import re
from pathlib import Path

import pytest
from qgis.core import Qgis, QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QLabel, QMenu

from tessera_plugin.environment.places import Places
from tessera_plugin.gui.diagnostics_dialog import DiagnosticsDialog
from tests.servers import FOREVER, Fault

LEFT = Qt.MouseButton.LeftButton
WORKER = (
    Path(__file__).resolve().parents[2] / "build" / "private" / "environment" / "bin" / "python"
)


@pytest.fixture
def open_dialog(make_session, qtbot, server):
    """Open the diagnostics of a person whose archive is the sample."""

    def opened(**changes):
        dialog = DiagnosticsDialog(make_session(archive=server.url, **changes), "1.2.3", None)
        qtbot.addWidget(dialog)
        dialog.show()
        settled(dialog, qtbot)
        return dialog

    return opened


def settled(dialog, qtbot):
    qtbot.waitUntil(lambda: not dialog._lookup.is_busy, timeout=60_000)


def check(dialog, qtbot):
    QTest.mouseClick(dialog.checkButton, LEFT)
    assert dialog.checkFrame.isVisible()
    settled(dialog, qtbot)
    assert not dialog.checkFrame.isVisible()


def words(dialog, about):
    return dialog.findChild(QLabel, f"{about}Words").text()


def verdict(dialog, about):
    return dialog._findings[about].verdict


def test_at_a_glance_nobody_is_asked(open_dialog, server):
    dialog = open_dialog()
    assert Qgis.QGIS_VERSION in words(dialog, "system")
    assert platform.python_version() in words(dialog, "system")
    assert words(dialog, "gdal").startswith("GDAL 3.")
    assert "can be written" in words(dialog, "cache")
    assert "Not installed" in words(dialog, "add-on")
    for about in ("devices", "speed", "archive"):
        assert words(dialog, about) == "Not checked"
    assert list(server.log) == []
    assert dialog._session.compute._client is None


def test_without_the_add_on_a_check_tells_what_works(open_dialog, qtbot, server):
    dialog = open_dialog()
    check(dialog, qtbot)
    assert "None without the add-on" in words(dialog, "devices")
    assert re.search(r"classifies: [\d,]+ with numpy\.$", words(dialog, "speed"))
    assert server.url in words(dialog, "archive")
    assert "answers in" in words(dialog, "archive")
    assert verdict(dialog, "archive") == "good"
    assert verdict(dialog, "add-on") == "note"
    assert len(server.log) > 0


def test_with_a_worker_devices_and_speeds_are_measured(open_dialog, qtbot):
    if not WORKER.is_file():
        pytest.skip("there is no private environment")
    dialog = open_dialog(worker_python=str(WORKER))
    assert f"Another Python is used: {WORKER}" in words(dialog, "add-on")
    check(dialog, qtbot)
    assert "PyTorch computes on the processor" in words(dialog, "devices")
    assert re.search(r"[\d,]+ with PyTorch on the processor", words(dialog, "speed"))
    assert re.search(r"smallest encoder: [\d,]+ on the processor\.$", words(dialog, "speed"))
    assert {verdict(dialog, about) for about in ("devices", "speed")} == {"good"}


def test_what_does_not_work_says_why_and_what_to_do(open_dialog, qtbot, server, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
    broken.chmod(0o755)
    server.faults.append(Fault.status(403, path="*", count=FOREVER))
    file = tmp_path / "a-file"
    file.write_text("")
    dialog = open_dialog(worker_python=str(broken), cache_dir=str(file / "cache"))
    assert "can't be written" in words(dialog, "cache")
    assert "does not start: it is not Python" in words(dialog, "add-on")
    check(dialog, qtbot)
    assert "no luck today" in words(dialog, "devices")
    assert "403" in words(dialog, "archive")
    for about in ("cache", "add-on", "devices", "archive"):
        assert verdict(dialog, about) == "bad"


def test_a_check_is_stopped(open_dialog, qtbot, server):
    server.faults.append(Fault.stall(30, path="*", count=FOREVER))
    dialog = open_dialog()
    QTest.mouseClick(dialog.checkButton, LEFT)
    qtbot.waitUntil(lambda: "speed" in dialog._findings, timeout=10_000)
    QTest.mouseClick(dialog.checkStopButton, LEFT)
    assert not dialog.checkFrame.isVisible()
    assert words(dialog, "archive") == "Not checked"
    assert dialog.checkButton.isEnabled()


def test_the_report_has_all_of_it_and_nothing_private(open_dialog, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    dialog = open_dialog()
    places = dialog._session.add_on.places
    assert places == Places(tmp_path / "data" / "tessera-qgis")
    places.log.parent.mkdir(parents=True, exist_ok=True)
    places.log.write_text("error: https://zoe:hunter2@proxy:8080 refused\n")
    check(dialog, qtbot)
    QTest.mouseClick(dialog.copyReportButton, LEFT)
    copied = QgsApplication.clipboard().text()
    assert dialog.copyReportButton.text() == "Copied"
    assert copied.startswith("Tessera for QGIS 1.2.3, ")
    for about in ("system", "gdal", "cache", "add-on", "devices", "speed", "archive"):
        assert f"] {about}: " in copied
    assert "the end of install.log" in copied
    assert "proxy:8080 refused" in copied
    assert "hunter2" not in copied
    assert str(tmp_path) not in copied


def test_the_docks_menu_opens_each_window_once(make_dock, desktop, qtbot):
    dock = make_dock(show_coverage=False)
    menu = dock.findChild(QMenu, "tesseraMenu")
    entries = {action.text(): action for action in menu.actions()}
    assert {"Add-on…", "Diagnostics…"} <= set(entries)
    for _ in range(2):
        entries["Diagnostics…"].trigger()
        (window,) = desktop.window.findChildren(DiagnosticsDialog)
        assert window.isVisible()
        assert not window.isModal()
    settled(window, qtbot)
