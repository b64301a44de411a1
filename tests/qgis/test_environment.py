# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on's window, from the offer to the removal, with real installers and a small index."""

import os
import sys
from pathlib import Path

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QMessageBox

from tessera_plugin.environment import bundles, install, toolbox
from tessera_plugin.environment.verify import Verdict
from tessera_plugin.gui.environment_dialog import EnvironmentDialog
from tessera_plugin.tasks import environment as tasks
from tessera_plugin.tasks.base import EngineTask
from tests.environment.index import Index, RefusingProxy, lend_uv, use_locks, write_locks
from tests.qgis.hands import MAP, Hands

LEFT = Qt.MouseButton.LeftButton
SYSTEM_PYTHON = "/usr/bin/python3.11"
VERSIONS = {"numpy": "1.0", "torch": "2.0"}
SOUND = Verdict("3.11.2", VERSIONS, ("CPUExecutionProvider",), ("cpu",), ("No GPU here.",), 0.1)

pytestmark = pytest.mark.skipif(
    not Path(SYSTEM_PYTHON).exists() or sys.platform != "linux",
    reason="the locks of these tests are for Python 3.11 on Linux",
)


@pytest.fixture
def index():
    running = Index(("tessera-one", "tessera-two"))
    yield running
    running.close()


@pytest.fixture
def hands(make_dock, qtbot, desktop, tmp_path, index, monkeypatch):
    """The dock of a person whose pip is set to the small index, on the Map page."""
    before = bundles.LOCKS
    use_locks(write_locks(tmp_path / "locks", index))
    monkeypatch.setattr(install, "verify", lambda *_args, **_named: SOUND)
    monkeypatch.setattr(toolbox, "BACKOFF_S", (0.1,))
    settings = {
        "PIP_INDEX_URL": index.url,
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_RETRIES": "0",
        "UV_HTTP_RETRIES": "0",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    dock = make_dock(show_coverage=False)
    hands = Hands(dock, qtbot, desktop)
    lend_uv(hands.session.add_on.places)
    hands.page(MAP)
    yield hands
    use_locks(before)


class Window:
    """The add-on's window, used by clicks."""

    def __init__(self, hands):
        self.hands, self.add_on = hands, hands.session.add_on
        hands.find("headNote").linkActivated.emit("add-on")
        self.hands.until(lambda: self.dialog.trainingLabel.text().endswith("on disk."))

    @property
    def dialog(self):
        every = self.hands.desktop.window.findChildren(EnvironmentDialog)
        (found,) = [each for each in every if each.isVisible()]
        return found

    def click(self, name):
        widget = getattr(self.dialog, name)
        assert widget.isEnabled(), name
        assert widget.isVisible(), name
        QTest.mouseClick(widget, LEFT)

    def told(self):
        return self.dialog._note.text()

    def settle(self):
        self.hands.until(lambda: not self.add_on.running, 60_000)
        QTest.qWait(20)

    def install(self):
        self.click("addOnInstallButton")
        assert self.add_on.running
        self.settle()
        return self.told()


@pytest.fixture
def window(hands):
    return Window(hands)


def mlp(hands):
    combo = hands.find("headCombo")
    return combo.model().item(combo.findData("mlp")).isEnabled()


# --- it works


def test_nothing_nags_and_nothing_is_fetched_before_it_is_asked_for(hands, index):
    assert not hands.desktop.window.findChildren(EnvironmentDialog)
    assert not mlp(hands)
    assert "needs the add-on" in hands.note("headNote")
    window = Window(hands)
    sizes = bundles.recipe("training", "linux-x86_64", "3.11")
    assert f"Download {sizes.download_bytes / 1e6:.1f} MB" in window.dialog.trainingLabel.text()
    assert window.dialog.addOnStateLabel.text() == "Nothing yet"
    assert "GPU" in window.dialog.deviceLabel.text()
    assert not window.dialog.addOnRemoveButton.isEnabled()
    assert not window.dialog.isModal()
    assert index.requests == []


def test_from_the_offer_to_an_mlp_that_can_be_chosen(window, hands, index):
    index.bytes_per_s = 800_000
    phases, labels = [], []
    window.add_on.told.connect(lambda _, message: phases.append(message))
    window.add_on.told.connect(lambda *_: labels.append(window.dialog.addOnWorkLabel.text()))
    window.click("addOnInstallButton")
    assert window.dialog.addOnWorkFrame.isVisible()
    assert not window.dialog.addOnInstallButton.isEnabled()
    assert "at work" in hands.note("headNote")
    assert not hands.find("jobFrame").isVisible()
    window.settle()
    assert any("MB" in label for label in labels)
    assert "it works" in window.told()
    assert window.dialog.addOnStateLabel.text() == "With training (PyTorch)"
    assert window.dialog.installedVersions.text() == "Python 3.11.2, numpy 1.0, torch 2.0"
    assert window.dialog.installedDevice.text().startswith("Processor.")
    assert "No GPU here." in window.dialog.installedDevice.text()
    assert window.dialog.installedPlace.text() == str(window.add_on.places.environment)
    assert window.dialog.installedSize.text().endswith("MB")
    assert window.dialog.addOnInstallButton.text() == "Repair"
    assert mlp(hands)
    assert "add-on" not in hands.note("headNote")
    assert hands.session.compute.client().python.startswith(str(window.add_on.places.environment))


def test_the_smaller_bundle_trains_nothing(window, hands):
    QTest.mouseClick(
        window.dialog.runtimeRadio, LEFT, pos=window.dialog.runtimeRadio.rect().center()
    )
    window.dialog.runtimeRadio.setChecked(True)
    assert "it works" in window.install()
    assert window.dialog.addOnStateLabel.text() == "Without training (ONNX Runtime only)"
    assert not mlp(hands)
    assert "training part" in hands.note("headNote")
    window.dialog.trainingRadio.setChecked(True)
    assert window.dialog.addOnInstallButton.text() == "Install"


def test_asked_for_again_the_window_is_the_same(window, hands):
    first = window.dialog
    hands.dock.windows.show_add_on()
    assert window.dialog is first


def test_closed_in_the_middle_it_goes_on_and_the_end_is_told(window, hands, index):
    index.bytes_per_s = 800_000
    window.click("addOnInstallButton")
    hands.until(lambda: "MB" in window.add_on.message)
    window.dialog.close()
    QApplication.processEvents()
    assert window.add_on.running
    hands.dock.windows.show_add_on()  # and back, in the middle
    assert window.dialog.addOnWorkFrame.isVisible()
    assert "MB" in window.dialog.addOnWorkLabel.text()
    window.dialog.close()
    index.bytes_per_s = None
    window.settle()
    assert window.add_on.outcome.kind == tasks.INSTALLED
    assert "installed" in hands.desktop.bar.currentItem().text()
    assert mlp(hands)


def test_a_job_that_runs_is_let_finish_before_the_swap(window, hands):
    window.install()
    before = window.add_on.state.record.made
    go_on = []

    def work(report):
        while not go_on:
            report(0.5, "busy")
            QTest.qSleep(10)

    hands.session.box.start(EngineTask("Other work", work))
    assert not window.dialog.addOnRemoveButton.isEnabled()
    window.click("addOnInstallButton")
    hands.until(lambda: window.add_on.message == "Waiting for other work")
    assert window.add_on.state.record.made == before
    go_on.append(True)
    window.settle()
    assert window.add_on.state.record.made > before
    assert "it works" in window.told()


def test_removed_the_instant_head_is_chosen_again(window, hands, monkeypatch):
    window.install()
    hands.choose("headCombo", "MLP")
    assert hands.session.settings.head_kind == "mlp"
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    window.click("addOnRemoveButton")
    assert not window.add_on.running
    window.click("addOnRemoveButton")
    window.settle()
    assert "This frees" in window.told()
    assert window.dialog.addOnStateLabel.text() == "Nothing yet"
    assert not mlp(hands)
    assert hands.find("headCombo").currentText() == "Instant"
    assert not window.add_on.places.environment.exists()
    assert hands.session.compute.client() is None


def test_the_persons_own_python_is_tried_before_it_is_used(window, hands, monkeypatch, tmp_path):
    other = tmp_path / "tool"
    other.write_text("#!/bin/sh\necho hello\n")
    other.chmod(0o755)
    chosen = iter([(str(other), ""), (SYSTEM_PYTHON, "")])
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: next(chosen))
    window.click("addOnPythonButton")
    hands.until(lambda: "not Python" in window.told())
    window.click("addOnPythonButton")
    hands.until(lambda: SYSTEM_PYTHON in window.dialog.addOnPythonLabel.text())
    assert window.told() == ""
    assert "it works" in window.install()
    assert window.add_on.state.record.base_python == SYSTEM_PYTHON
    window.click("addOnPythonButton")
    assert "found or downloaded" in window.dialog.addOnPythonLabel.text()


def test_another_python_that_is_set_is_named(hands, monkeypatch):
    hands.session.update(worker_python=SYSTEM_PYTHON)
    window = Window(hands)
    assert f"{SYSTEM_PYTHON} was set up" in window.dialog.deviceLabel.text()


# --- it does not


def test_cancel_leaves_everything_as_it_was(window, hands, index):
    index.bytes_per_s = 300_000
    window.click("addOnInstallButton")
    hands.until(lambda: "MB" in window.add_on.message)
    window.click("addOnStopButton")
    assert "Stopping" in window.dialog.addOnWorkLabel.text()
    hands.until(lambda: not window.add_on.running, 2500)
    QTest.qWait(20)
    assert window.told().startswith("Stopped.")
    assert not window.add_on.state.is_there
    assert window.dialog.addOnInstallButton.isEnabled()
    assert not window.dialog.addOnWorkFrame.isVisible()


def cut(index, monkeypatch, tmp_path, request):
    index.cut = 1_000_000


def wrong_hash(index, monkeypatch, tmp_path, request):
    use_locks(write_locks(tmp_path / "wrong", index, wrong_hash=True))


def refusing_proxy(index, monkeypatch, tmp_path, request):
    proxy = RefusingProxy(403)
    request.addfinalizer(proxy.close)
    monkeypatch.setattr(tasks, "proxies_for", lambda _: (("https://x", proxy.url),))
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.invalid/simple")


def proxy_with_login(index, monkeypatch, tmp_path, request):
    proxy = RefusingProxy(407)
    request.addfinalizer(proxy.close)
    address = proxy.url.replace("//", "//zoe:hunter2@")
    monkeypatch.setattr(tasks, "proxies_for", lambda _: (("https://x", address),))
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.invalid/simple")


@pytest.mark.parametrize(
    ("happens", "happened", "advice"),
    [
        (cut, "was cut off", "Try again"),
        (wrong_hash, "not the one that was expected", "another network"),
        (refusing_proxy, "proxy does not let", "Ask the one"),
        (proxy_with_login, "user name and a password", "Settings, Options, Network"),
    ],
    ids=["network cut", "wrong hash", "proxy refuses", "proxy wants a login"],
)
def test_why_it_failed_is_two_sentences_and_the_log_can_be_copied(
    window, hands, index, monkeypatch, tmp_path, request, happens, happened, advice
):
    monkeypatch.setenv("HOME", str(tmp_path))
    happens(index, monkeypatch, tmp_path, request)
    told = window.install()
    assert happened in told, window.add_on.log_text()
    assert advice in told
    assert not window.add_on.state.is_there
    assert "could not be installed" in hands.note("headNote")
    QTest.mouseClick(window.dialog._note._button, LEFT)
    copied = QgsApplication.clipboard().text()
    assert "uv" in copied
    assert str(tmp_path) not in copied
    assert "hunter2" not in copied


def test_a_lost_environment_is_told_and_repaired(window, hands):
    window.install()
    window.add_on.places.record.unlink()
    hands.page(0)
    hands.page(MAP)
    assert "does not work any more" in hands.note("headNote")
    window.dialog.close()
    QApplication.processEvents()
    again = Window(hands)
    assert "not complete" in again.dialog.addOnStateLabel.text()
    assert again.dialog.addOnInstallButton.text() == "Repair"
    assert "it works" in again.install()
    assert mlp(hands)


def test_a_plugin_that_goes_ends_the_installation(window, hands, index):
    index.bytes_per_s = 300_000
    window.click("addOnInstallButton")
    hands.until(lambda: "MB" in window.add_on.message)
    hands.dock.close_down()
    hands.session.close()
    assert not window.add_on.running
    assert not window.add_on.places.staging.exists()
    assert not os.path.exists(window.add_on.places.marker)
