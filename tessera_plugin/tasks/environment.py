# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on: the private environment made, repaired and removed, beside all other work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

from qgis.PyQt.QtCore import QCoreApplication, QObject, pyqtSignal

from .. import paths
from ..environment import bundles, install, interpreters, logs, remove, state
from ..environment.bundles import RUNTIME, TRAINING
from ..environment.install import Offer
from ..environment.interpreters import Interpreter
from ..environment.places import Places, default_places
from ..environment.state import INCOMPLETE, PYTHON_GONE, Record, State
from ..errors import TesseraError
from ..progress import Report
from .base import EngineTask, TaskBox
from .compute import Compute
from .network import ca_bundle, proxies_for

__all__ = [
    "INCOMPLETE",
    "PYTHON_GONE",
    "RUNTIME",
    "TRAINING",
    "AddOn",
    "Choices",
    "Interpreter",
    "Offer",
    "Record",
    "State",
]

translate = QCoreApplication.translate


@dataclass(frozen=True)
class Choices:
    """What can be installed here, by bundle; or why nothing can."""

    offers: Dict[str, Offer]
    problems: Dict[str, TesseraError]


class AddOn(QObject):
    """The private environment of this person, and the one job at a time that changes it."""

    changed = pyqtSignal()
    """Something was installed or removed."""

    def __init__(self, compute: Compute, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._compute = compute
        self.places: Places = default_places()
        self.box = TaskBox(self)
        self.last: Optional[EngineTask] = None
        """The job that was begun last."""

    @property
    def state(self) -> State:
        """What is installed; looks at three small files."""
        return state.state(self.places)

    def sweep(self) -> None:
        """Remove what a running program held when it was to be removed. Quick if there is nothing."""
        remove.sweep(self.places)

    def choices(self) -> EngineTask:
        """Return the task that tells what can be installed: gives `Choices`."""
        places = self.places

        def work(report: Report) -> Choices:
            offers: Dict[str, Offer] = {}
            problems: Dict[str, TesseraError] = {}
            for bundle in bundles.BUNDLES:
                report(0.0, "")
                try:
                    offers[bundle] = install.offer(bundle, places)
                except TesseraError as error:
                    problems[bundle] = error
            return Choices(offers, problems)

        return EngineTask(translate("AddOn", "Looking what can be installed"), work)

    def proof(self, path: str) -> EngineTask:
        """Return the task that runs a program to see whether it is Python: gives `Interpreter`."""

        def work(report: Report) -> Interpreter:
            report(0.0, "")
            return interpreters.prove(path)

        return EngineTask(translate("AddOn", "Trying a Python"), work)

    def install(self, bundle: str, python: str = "") -> bool:
        """Install a bundle, or install it anew; whether it was begun. `box` tells the rest."""
        proxy, authorities = self._network()
        request = install.InstallRequest(
            bundle, self.places, python=python, proxy=proxy, ca_bundle=authorities
        )
        self._compute.stop()  # it may hold files of the environment that is replaced

        def work(report: Report) -> State:
            return install.install(request, report)

        return self._start(EngineTask(translate("AddOn", "Installing the add-on"), work))

    def remove(self) -> bool:
        """Remove the environment; whether it was begun."""
        self._compute.stop()
        places = self.places

        def work(report: Report) -> int:
            return remove.remove(places, report)

        return self._start(EngineTask(translate("AddOn", "Removing the add-on"), work))

    def log_text(self) -> str:
        """Return what the installers said last, fit to be shown to others."""
        proxy, _ = self._network()
        return logs.scrubbed(logs.tail(self.places.log), str(Path.home()), (proxy,))

    def close(self) -> None:
        """End what runs; what is installed stays as it was."""
        self.box.close()

    def _start(self, task: EngineTask) -> bool:
        task.succeeded.connect(lambda _: self.changed.emit())
        self.last = task
        return self.box.start(task)

    def _network(self) -> Tuple[str, str]:
        """Return the proxy QGIS would take, and a file of the authorities it trusts."""
        found = proxies_for([bundles.VENDOR_INDEX])
        has_own = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT"))
        return (found[0][1] if found else ""), ("" if has_own else ca_bundle(paths.data_dir()))
