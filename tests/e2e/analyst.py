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
from qgis.PyQt.QtCore import QPoint, QRect
from qgis.PyQt.QtWidgets import QApplication, QDockWidget
from qgis.utils import iface

WINDOW_PX = 1280, 900
"""Of a laptop: all has to have room there."""


def analyst(plan):
    person = Analyst(plan.get("pictures"), plan.get("tutorial"))
    dock = Dock(person)
    timed = Steps(person)
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
    for name in ("classes", "similar", "points", "shapes", "live", "changes", "next_places",
                 "import_labels", "problems"):  # fmt: skip
        timed(name, getattr(labelling, name))
    for name in (
        "train_at_random",
        "train_by_blocks",
        "matrix",
        "compare",
        "learning_curve",
        "classify",
    ):
        timed(name, getattr(mapping, name))
    for name in ("colors", "similarity", "clusters", "years"):
        timed(name, getattr(exploring, name))
    return {"steps": timed.done, "memory": memory(), "files": dock.files()}


class Analyst(Person):
    """A person who takes pictures for the tutorial on the way, where a folder is told."""

    def __init__(self, pictures=None, tutorial=None):
        super().__init__(pictures)
        self._tutorial = Path(tutorial) if tutorial else None

    def tidy(self):
        """Work in a small window, and close what is not looked at."""
        self.window.resize(*WINDOW_PX)
        for each in self.window.findChildren(QDockWidget, "Browser"):
            each.close()
        QApplication.processEvents()

    def shoot(self, name, dialog=None, *, whole=False):
        """Take a picture of map and dock, of the whole window, or of a dialog."""
        if self._tutorial is None:
            return
        iface.messageBar().clearWidgets()  # QGIS tells of each task that ended
        self.rendered()
        self._tutorial.mkdir(parents=True, exist_ok=True)
        dock = self.find("TesseraDock")
        part = QRect(dock.mapTo(self.window, QPoint(0, 0)), dock.size())
        part.setLeft(self.canvas.mapTo(self.window, QPoint(0, 0)).x())
        screen = QApplication.primaryScreen().grabWindow(0)
        if dialog is not None:
            picture = dialog.grab()
        else:
            picture = screen.copy(self.window.rect()) if whole else screen.copy(part)
        picture.save(str(self._tutorial / f"{name}.png"))
