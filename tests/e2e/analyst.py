# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst's loop by hand, from a fetch to maps one trusts. Runs inside QGIS."""

from pathlib import Path

from analyst_explore import Exploring
from analyst_labels import Labelling
from analyst_maps import Mapping
from dock_steps import LABELS, Dock
from main_job import idle, memory
from person import Person, Steps
from qgis.PyQt.QtWidgets import QApplication, QDockWidget
from qgis.utils import iface


def analyst(plan):
    person = Analyst(plan.get("pictures"), plan.get("tutorial"))
    dock = Dock(person)
    timed = Told(person)
    person.new_project()
    person.tidy()
    person.zoom_to(*plan["bbox"])
    labelling, mapping = Labelling(person, dock, plan), Mapping(person, dock, plan)
    exploring = Exploring(person, dock, plan)
    timed("idle", lambda: idle(person))
    timed("open", dock.open)
    timed("look", lambda: dock.look_what_is_there(plan["dataset"], plan["year"]))
    person.shoot("area")
    timed("fetch", lambda: dock.fetch(plan["dataset"], plan["year"]))
    person.rendered()
    person.shoot("fetched")
    dock.page(LABELS)
    for name in ("classes", "points", "shapes", "similar", "live", "changes", "next_places",
                 "import_labels", "problems"):  # fmt: skip
        timed(name, getattr(labelling, name))
        if name == plan.get("stop"):
            return {}
    for name in ("train_at_random", "train_by_blocks", "matrix", "compare", "learning_curve", "classify"):
        timed(name, getattr(mapping, name))
    for name in ("colors", "similarity", "clusters", "years"):
        timed(name, getattr(exploring, name))
    return {"steps": timed.done, "memory": memory(), "files": dock.files()}


class Told(Steps):
    def __call__(self, name, step):
        super().__call__(name, step)
        print(name, self.done[name], flush=True)


class Analyst(Person):
    """A person who takes pictures for the tutorial on the way, where a folder is told."""

    def __init__(self, pictures=None, tutorial=None):
        super().__init__(pictures)
        self._tutorial = Path(tutorial) if tutorial else None

    def tidy(self):
        """Close what is not looked at: there is more room for the map."""
        for each in self.window.findChildren(QDockWidget, "Browser"):
            each.close()
        QApplication.processEvents()

    def shoot(self, name, dialog=None):
        """Take a picture of the screen, or of a dialog alone."""
        if self._tutorial is None:
            return
        iface.messageBar().clearWidgets()  # QGIS tells of each task that ended
        self.rendered()
        self._tutorial.mkdir(parents=True, exist_ok=True)
        screen = QApplication.primaryScreen()
        picture = dialog.grab() if dialog is not None else screen.grabWindow(0)
        picture.save(str(self._tutorial / f"{name}.png"))
