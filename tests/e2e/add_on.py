# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on from the dock: installed for real, and failing in every way. Runs inside QGIS."""

import importlib
import os
import signal
import time
from pathlib import Path

import qgis.utils
from dock_steps import MAP
from person import StepFailed
from qgis.core import QgsNetworkAccessManager, QgsSettings
from qgis.PyQt.QtCore import QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QMenu, QMessageBox
from scenarios import at_work, wait_to_be_killed

LEFT = Qt.MouseButton.LeftButton


class Window:
    """The add-on's window as a person uses it."""

    def __init__(self, person, dock):
        self.person = person
        dock.page(MAP)
        self._click_link()
        label = person.find("trainingLabel")
        person.wait(lambda: "on disk" in label.text(), 30, "the offer")

    def _click_link(self):
        """Click along the line until the link is hit, as a person sees where it is."""
        line = self.person.find("headNote")
        self.person.wait(line.isVisible, 10, "the line on the Map page")
        for y in range(line.height() - 6, 0, -8):
            for x in range(4, line.width(), 12):
                QTest.mouseClick(line, LEFT, pos=QPoint(x, y))
                QApplication.processEvents()
                if self.is_open():
                    return
        raise StepFailed(f"there is no link in {line.text()!r}")

    def is_open(self):
        return any(
            each.objectName() == "TesseraAddOn" and each.isVisible()
            for each in QApplication.topLevelWidgets()
        )

    @property
    def state(self):
        return self.person.find("addOnStateLabel").text()

    def install(self):
        """Begin; it is at work when this returns."""
        self.person.click("addOnInstallButton")
        frame = self.person.find("addOnWorkFrame")
        self.person.wait(lambda: frame.isVisible() or self.note(), 10, "the work to begin")

    def note(self):
        note = self.person.find("addOnNote")
        return self.person.find("addOnNoteText").text() if note.isVisible() else ""

    def reached(self, share, seconds):
        bar = self.person.find("addOnBar")
        self.person.wait(lambda: bar.value() >= 1000 * share or self.note(), seconds, "progress")

    def settled(self, seconds):
        frame = self.person.find("addOnWorkFrame")
        self.person.wait(lambda: not frame.isVisible() and self.note(), seconds, "an outcome")
        return self.note()

    def remove(self):
        """Click Remove, and Yes when it is asked."""
        asked = []

        def answer():
            box = QApplication.activeModalWidget()
            if isinstance(box, QMessageBox):
                asked.append(box.text())
                QTest.mouseClick(box.button(QMessageBox.StandardButton.Yes), LEFT)
            else:
                QTimer.singleShot(50, answer)

        QTimer.singleShot(200, answer)
        self.person.click("addOnRemoveButton")
        return [*asked, self.settled(60)]

    def look(self, name):
        """Take a picture of the screen, as the window is not a part of QGIS's own."""
        look(self.person, name)

    def close(self):
        window = self.person.find("TesseraAddOn")
        window.close()
        QApplication.processEvents()


def look(person, name):
    person.pictures.mkdir(parents=True, exist_ok=True)
    QTest.qWait(250)
    person.window.screen().grabWindow(0).save(str(person.pictures / f"{name}.png"))


def part(name):
    """Return a module of the plugin, as QGIS has loaded it."""
    return importlib.import_module(f"tessera.tessera_plugin.{name}")


def session():
    return qgis.utils.plugins["tessera"].dock._session


# --- for real


def install_and_be_killed(plan):
    """Look at the offer, begin, and get killed a third of the way."""
    person, dock = at_work(plan)
    dock.page(MAP)
    person.look("add-on-1-map-page")
    window = Window(person, dock)
    window.look("add-on-2-offer")
    window.install()
    window.reached(plan["killed_at"], 120)
    if window.note():
        return {"failed": window.note()}
    window.look("add-on-3-progress")
    return wait_to_be_killed(plan, person)


def install_train_and_remove(plan):
    """Install what was cut off before, train with it, look at the diagnostics, remove it."""
    person, dock = at_work(plan)
    facts = {"opened": time.time()}
    window = Window(person, dock)
    facts["before"] = window.state
    window.look("add-on-4-cut-off")
    began = time.monotonic()
    person.ticks.restart()
    window.install()
    facts["installed"] = window.settled(240)
    facts["install_s"] = round(time.monotonic() - began, 1)
    facts["longest_gap_ms"] = person.ticks.longest_ms()
    facts["state"] = window.state
    facts["size"] = person.find("installedSize").text()
    facts["versions"] = person.find("installedVersions").text()
    facts["place"] = person.find("installedPlace").text()
    window.look("add-on-5-installed")
    window.close()
    dock.label(plan["classes"])
    facts["mlp"] = dock.train("MLP")
    facts["mlp_at"] = time.time()
    person.look("add-on-6-trained")
    facts["diagnostics"] = diagnose(person)
    action("Add-on…").trigger()
    again = person.find("TesseraAddOn")
    person.wait(again.isVisible, 10, "the add-on's window")
    facts["removed"] = window.remove()
    window.look("add-on-8-removed")
    window.close()
    facts["left"] = os.path.exists(facts["place"])
    facts["instant"] = dock.train("Instant")
    person.look("add-on-9-instant")
    return facts


def diagnose(person):
    action("Diagnostics…").trigger()
    button = person.find("checkButton")
    person.wait(button.isEnabled, 10, "the glance")
    person.click("checkButton")
    person.wait(button.isEnabled, 60, "the check")
    look(person, "add-on-7-diagnostics")
    told = {about: person.find(f"{about}Words").text() for about in part("tasks.diagnostics").ABOUT}
    person.find("TesseraDiagnostics").close()
    return told


def action(text):
    """Return an entry of the dock's menu."""
    menu = qgis.utils.plugins["tessera"].dock.findChild(QMenu, "tesseraMenu")
    return next(each for each in menu.actions() if each.text() == text)


# --- in every way that fails


def fail(plan):
    """Try to install against indexes and folders that are broken; return what was said."""
    person, dock = at_work(plan)
    part("environment.toolbox").BACKOFF_S = (0.2,)
    os.environ.update(plan["environ"])
    window = Window(person, dock)
    told = {}
    for number, trouble in enumerate(plan["troubles"], 1):
        _set_up(trouble, plan)
        window.install()
        if trouble.get("kill"):
            window.reached(0.2, 30)
            _kill_the_installer()
        told[trouble["name"]] = window.settled(60)
        window.look(f"failure-{number}-{trouble['name'].replace(' ', '-')}")
    window.close()
    person.look("failure-9-map-page")
    return {"told": told, "line": person.find("headNote").text()}


def _set_up(trouble, plan):
    bundles = part("environment.bundles")
    bundles.LOCKS = Path(trouble["locks"])
    bundles._sizes.cache_clear()
    os.environ["PIP_INDEX_URL"] = trouble["index"]
    places = session().add_on.places = part("environment.places").Places(Path(trouble["root"]))
    if trouble.get("uv", True):
        tools = places.tools / "bin"
        tools.mkdir(parents=True, exist_ok=True)
        (tools / "uv").symlink_to(plan["uv"])
    settings = QgsSettings()
    settings.setValue("proxy/proxyEnabled", bool(trouble.get("proxy")))
    settings.setValue("proxy/proxyType", "HttpProxy")
    settings.setValue("proxy/proxyHost", "127.0.0.1")
    settings.setValue("proxy/proxyPort", str(trouble.get("proxy", "")))
    QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()


def _kill_the_installer():
    """Kill the program that our QGIS has started, as the system does when memory runs out."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent == os.getpid() and b"require-hashes" in command:
            os.kill(int(folder.name), signal.SIGKILL)
            return
    raise StepFailed("there is no installer")
