# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on: the private environment made, repaired and removed, beside all other work."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

from qgis.PyQt.QtCore import QCoreApplication, QObject, pyqtSignal

from .. import paths
from ..environment import bundles, install, logs, remove, state
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
    "FAILED",
    "INCOMPLETE",
    "INSTALLED",
    "PYTHON_GONE",
    "REMOVED",
    "RUNTIME",
    "STOPPED",
    "TRAINING",
    "AddOn",
    "Choices",
    "Interpreter",
    "Offer",
    "Outcome",
    "Record",
    "State",
]

INSTALLED, REMOVED, STOPPED, FAILED = "installed", "removed", "stopped", "failed"

translate = QCoreApplication.translate


@dataclass(frozen=True)
class Choices:
    """What can be installed here, by bundle; or why nothing can."""

    offers: Dict[str, Offer]
    problems: Dict[str, TesseraError]


@dataclass(frozen=True)
class Outcome:
    """How the last job on the add-on ended."""

    kind: str
    """INSTALLED, REMOVED, STOPPED or FAILED."""
    freed_bytes: int = 0
    error: Optional[Exception] = None


class AddOn(QObject):
    """The private environment of this person, and the one job at a time that changes it."""

    changed = pyqtSignal()
    """A job on it has begun or ended."""
    told = pyqtSignal(float, str)
    """How far the job is, and what it is at."""

    def __init__(self, compute: Compute, work: TaskBox, parent: Optional[QObject] = None) -> None:
        """`work` runs the jobs that use the worker: they are let finish before a swap."""
        super().__init__(parent)
        self._compute, self._work = compute, work
        self.places: Places = default_places()
        self.outcome: Optional[Outcome] = None
        """How the last job ended; None before, and while one runs."""
        self.fraction, self.message = 0.0, ""
        """How far the job is that runs."""
        self._box = TaskBox(self)
        self._box.told.connect(self._tell)
        self._box.ended.connect(self.changed)
        self._box.ended.connect(self.sweep)

    @property
    def state(self) -> State:
        """What is installed; looks at three small files."""
        return state.state(self.places)

    @property
    def running(self) -> str:
        """Title of the job that runs; empty when none does."""
        return self._box.running

    @property
    def can_train(self) -> bool:
        """Whether MLP heads can be trained now."""
        return self._compute.can_train

    @property
    def other_python(self) -> str:
        """The Python that is used instead of the add-on, as somebody named one; else empty."""
        return "" if self._compute.is_add_on else self._compute.python

    def sweep(self) -> None:
        """Delete, on the side, what was put aside: it takes long, or a program held it."""
        threading.Thread(
            target=remove.sweep, args=(self.places,), name="tessera-sweep", daemon=True
        ).start()

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

    def proof(self, path: str, bundle: str) -> EngineTask:
        """Return the task that runs a program to see whether it will do: gives `Interpreter`."""

        def work(report: Report) -> Interpreter:
            report(0.0, "")
            return install.proof(path, bundle)

        return EngineTask(translate("AddOn", "Trying a Python"), work)

    def install(self, bundle: str, python: str = "") -> bool:
        """Install a bundle, or install it anew; whether it was begun."""
        proxy, authorities = self._network()
        request = install.InstallRequest(
            bundle, self.places, python=python, proxy=proxy, ca_bundle=authorities
        )

        def work(report: Report) -> Outcome:
            install.install(request, report, lambda: self._release(report))
            return Outcome(INSTALLED)

        return self._start(EngineTask(translate("AddOn", "Installing the add-on"), work))

    def remove(self) -> bool:
        """Remove the environment; whether it was begun."""
        places = self.places

        def work(report: Report) -> Outcome:
            self._release(report)
            return Outcome(REMOVED, freed_bytes=remove.remove(places))

        return self._start(EngineTask(translate("AddOn", "Removing the add-on"), work))

    def cancel(self) -> None:
        """Ask the job to stop; it answers within two seconds."""
        self._box.cancel()

    def log_text(self) -> str:
        """Return what the installers said last, fit to be shown to others."""
        return self.scrubbed(logs.tail(self.places.log))

    def scrubbed(self, told: str) -> str:
        """Return a text without the home folder and the proxy's credentials."""
        proxy, _ = self._network()
        return logs.scrubbed(told, str(Path.home()), (proxy,))

    def close(self) -> None:
        """End what runs; what is installed stays as it was."""
        self._box.close()

    # --- inside

    def _start(self, task: EngineTask) -> bool:
        task.succeeded.connect(self._ended)
        task.failed.connect(lambda error: self._ended(Outcome(FAILED, error=error)))
        task.cancelled.connect(lambda: self._ended(Outcome(STOPPED)))
        if not self._box.start(task):
            return False
        self.outcome = None
        self.fraction, self.message = 0.0, ""
        self.changed.emit()
        return True

    def _tell(self, fraction: float, message: str) -> None:
        self.fraction, self.message = fraction, message
        self.told.emit(fraction, message)

    def _ended(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def _release(self, report: Report) -> None:
        """Let the job that runs finish, then end the worker: it holds files of the environment."""
        while self._work.running:
            report(0.95, "Waiting for other work")
            time.sleep(0.1)
        self._compute.stop()

    def _network(self) -> Tuple[str, str]:
        """Return the proxy QGIS would take, and a file of the authorities it trusts."""
        found = proxies_for([bundles.VENDOR_INDEX])
        has_own = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT"))
        return (found[0][1] if found else ""), ("" if has_own else ca_bundle(paths.data_dir()))
