# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong while a person works, in a real QGIS. Runs inside QGIS."""

import os
import signal
from pathlib import Path

import qgis.utils
from dock_steps import AREA, LABELS, MAP, Dock
from person import Person
from qgis.core import QgsProject
from qgis.PyQt.QtTest import QTest
from qgis.utils import iface


def at_work(plan):
    """Return a person who has opened the dock over the area of the plan."""
    person = Person(plan.get("pictures"))
    person.new_project()
    person.zoom_to(*plan["bbox"])
    dock = Dock(person)
    dock.open()
    return person, dock


def wait_to_be_killed(plan, person):
    Path(plan["marker"]).touch()
    person.wait(lambda: False, 600, "the end")


def label_and_wait(plan):
    person, dock = at_work(plan)
    dock.label(plan["classes"])
    wait_to_be_killed(plan, person)


def labels_again(plan):
    """A new QGIS, a project that was never saved: are the labels there?"""
    person, dock = at_work(plan)
    dock.page(LABELS)
    person.look("labels-again")
    table = person.find("classTable")
    names = [layer.name() for layer in QgsProject.instance().mapLayers().values()]
    rows = range(table.rowCount())
    return {"counts": [int(dock.text("classTable", row, 3)) for row in rows], "layers": names}


def fetch_and_wait(plan):
    person, dock = at_work(plan)
    dock.page(AREA)
    person.click("fetchButton")
    wait_to_be_killed(plan, person)


def fetch(plan):
    person, dock = at_work(plan)
    told = dock.fetch(plan["dataset"], plan["year"])
    box = person.canvas.extent()
    crs = person.canvas.mapSettings().destinationCrs().authid()
    extent = [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum(), crs]
    return {"told": told, "extent": extent}


def fetch_twice_while_the_network_goes_and_comes(plan):
    """The test's side takes the network away on `marker`, and gives it back on `marker2`."""
    person, dock = at_work(plan)
    Path(plan["marker"]).touch()
    first = dock.fetch(plan["dataset"], plan["year"])
    person.look("network-gone")
    Path(plan["marker2"]).touch()
    person.wait(lambda: Path(plan["go_on"]).exists(), 30, "the network")
    second = dock.fetch(plan["dataset"], plan["year"])
    return {"first": first, "second": second}


def worker_killed_while_training(plan):
    person, dock = at_work(plan)
    dock.label(plan["classes"])
    dock.page(MAP)
    person.choose("headCombo", "MLP")
    person.click("trainButton")
    person.wait(lambda: worker() and has_torch(worker()), 60, "the worker to load torch")
    os.kill(worker(), signal.SIGKILL)
    first = dock.done("trainNote", 60)
    person.look("worker-killed")
    return {"first": first, "second": dock.train("MLP")}


def classify_and_wait(plan):
    person, dock = at_work(plan)
    dock.label(plan["classes"])
    dock.train("Instant")
    person.click("classifyButton")
    wait_to_be_killed(plan, person)


def classify_again(plan):
    """A new QGIS: the head of the last time is there, and makes the map."""
    _, dock = at_work(plan)
    return {"told": dock.classify(), "head": dock.files()["head"]}


def worker():
    """Return the process id of our worker, or None."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent == os.getpid() and b"compute/worker" in command:
            return int(folder.name)
    return None


def has_torch(process):
    facts = (Path("/proc") / str(process) / "statm").read_text().split()
    return int(facts[1]) * 4096 > 100_000_000


def upheaval(plan):
    """Close the project, remove layers, reload the plugin, each in the middle of a job."""
    person, dock = at_work(plan)
    facts = {"counts": dock.label(plan["classes"])}

    dock.page(AREA)
    person.click("fetchButton")
    QTest.qWait(300)
    iface.newProject(False)
    person.zoom_to(*plan["bbox"])
    facts["project closed"] = finished(person)

    facts["fetch"] = dock.fetch(plan["dataset"], plan["year"])
    facts["train"] = dock.train("Instant")
    dock.page(MAP)
    person.click("classifyButton")
    QgsProject.instance().removeAllMapLayers()
    facts["layers removed"] = finished(person)
    dock.page(LABELS)
    facts["counts after"] = [dock.text("classTable", row, 3) for row in range(len(plan["classes"]))]

    dock.classify()
    facts["classify again"] = dock.classify()
    maps = [each for each in layers() if "land cover" in each.name()]
    facts["maps"] = [each.source() for each in maps]
    facts["maps are valid"] = all(each.isValid() for each in maps)

    dock.page(AREA)
    person.click("fetchButton")
    QTest.qWait(50)
    qgis.utils.reloadPlugin("tessera")
    dock.open()
    dock.page(LABELS)
    facts["counts after reload"] = [
        dock.text("classTable", row, 3) for row in range(len(plan["classes"]))
    ]
    facts["fetch after reload"] = dock.fetch(plan["dataset"], plan["year"])
    person.look("after-upheaval")
    return facts


def finished(person):
    person.wait(lambda: not person.find("jobFrame").isVisible(), 60, "the job to end")
    return True


def layers():
    return list(QgsProject.instance().mapLayers().values())
