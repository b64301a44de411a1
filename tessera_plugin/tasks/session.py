# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What lives from the plugin's load to its unload: settings, labels, the worker, the running task."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import Optional

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from .. import paths
from .. import settings as settings_module
from ..settings import Settings, Store
from ..values import Access
from .base import TaskBox
from .compute import Compute
from .labels import LabelStore, default_path
from .network import network_settings


class Session(QObject):
    """The parts that the pages of the dock share."""

    settings_changed = pyqtSignal()
    warm = pyqtSignal()
    """The engine is imported."""

    def __init__(self, store: Store, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._store = store
        self._settings = settings_module.load(store)
        self._is_closed = False
        self.is_warm = False
        """Whether the engine is imported."""
        self.box = TaskBox(self)
        self.labels = LabelStore(self)
        self.project_generation = 0
        """Counts the projects: a result belongs to the one it was asked for in."""
        self.compute = Compute()
        QgsProject.instance().cleared.connect(self._project_cleared)
        self.compute.use(self._settings.worker_python)

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return self._settings

    def update(self, **changes: object) -> None:
        """Change settings by name, remember them, and tell."""
        before = self._settings
        self._settings = replace(before, **changes)  # type: ignore[arg-type]
        if self._settings != before:
            settings_module.save(self._store, self._settings, before)
            self.compute.use(self._settings.worker_python)
            self.settings_changed.emit()

    @property
    def labels_path(self) -> str:
        """The label file to use: the person's choice, else the default."""
        return self._settings.labels_path or default_path()

    def access(self) -> Access:
        """Return where embeddings come from, with what QGIS knows of the network now."""
        network = network_settings(self._settings, paths.data_dir())
        return self._settings.access(network)

    def warm_up(self) -> None:
        """Import the engine on a thread of its own: on the first click it would be felt."""
        threading.Thread(target=self._import_engine, name="tessera-imports", daemon=True).start()

    def close(self) -> None:
        """End what runs, quietly; nothing that was made is lost."""
        if self._is_closed:
            return
        self._is_closed = True
        QgsProject.instance().cleared.disconnect(self._project_cleared)
        self.box.close()
        self.compute.stop()
        self.labels.close()

    def _project_cleared(self) -> None:
        self.project_generation += 1

    def _import_engine(self) -> None:
        from ..engine import classify, embeddings, explore, training  # noqa: F401, PLC0415

        self.is_warm = True
        with contextlib.suppress(RuntimeError):  # the plugin may have gone meanwhile
            self.warm.emit()
