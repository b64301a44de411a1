# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job by hand: fetch, label, train, classify. Runs inside QGIS."""

import os
import time
from pathlib import Path

from dock_steps import Dock
from person import Person, Steps


def main_job(plan):
    person = Person(plan["pictures"])
    dock = Dock(person)
    timed = Steps(person)
    person.new_project()
    person.zoom_to(*plan["bbox"])
    timed("idle", lambda: idle(person))
    timed("open", dock.open)
    timed("look", lambda: dock.look_what_is_there(plan["dataset"], plan["year"]))
    timed("fetch", lambda: dock.fetch(plan["dataset"], plan["year"]))
    timed("label", lambda: dock.label(plan["classes"]))
    timed("train", lambda: dock.train(plan["head"]))
    timed("classify", dock.classify)
    return {"steps": timed.done, "memory": memory(), "files": dock.files()}


def idle(person):
    """What the same QGIS does with nothing to do: the baseline of the gaps."""
    until = time.monotonic() + 3
    person.wait(lambda: time.monotonic() > until, 10, "three seconds to pass")


def memory():
    """Peak resident memory in MB of this process and of its children, by name."""
    peaks = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        mine = int(status.parent.name) == os.getpid() or int(facts["PPid"]) == os.getpid()
        if mine and "VmHWM" in facts:
            key = "qgis" if int(status.parent.name) == os.getpid() else "worker"
            peaks[key] = max(peaks.get(key, 0), round(int(facts["VmHWM"].split()[0]) / 1024))
    return peaks
