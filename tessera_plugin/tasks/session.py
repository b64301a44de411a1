# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What lives from the plugin's load to its unload: settings, labels, the worker, the running task."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import Optional, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from .. import paths
from .. import settings as settings_module
from ..settings import Settings, Store
from ..values import Access, Dataset
from . import garbage, snapshot
from .base import TaskBox
from .compute import Compute
from .environment import AddOn
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
        self.add_on = AddOn(self.compute, self.box, self)
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

    @property
    def dataset(self) -> Dataset:
        """The dataset that is chosen; the default one where it is not known any more."""
        return self._known(self._settings.dataset)

    @property
    def depth(self) -> int:
        """The dimensions that are chosen, of those that the dataset offers."""
        offered = self.dataset.depths
        return self._settings.depth if self._settings.depth in offered else self.dataset.depth

    @property
    def years(self) -> Tuple[int, ...]:
        """The years that are fetched: the chosen one first, then the others that the dataset has."""
        known = self.dataset.years
        return (self._settings.year, *(y for y in self._settings.more_years if y in known))

    def access(self, *more: str, dataset: str = "", depth: int = 0) -> Access:
        """Return where embeddings come from, with what QGIS knows of the network now.

        `more` are other locations that are to be asked; dataset and depth are those that are
        chosen unless told otherwise.
        """
        settings = self._settings
        stores = (each.store for each in settings.own_stores if each.store)
        asked = snapshot.addresses(settings.archive, *stores, *more)
        access = settings.access(network_settings(settings, paths.data_dir(), asked))
        # the form that is set is a wish: many datasets are published in the other one only
        forms = self._known(dataset or settings.dataset).forms(depth or self.depth)
        return access if access.form in forms else replace(access, form="")

    def warm_up(self) -> None:
        """Import the engine on a thread of its own: on the first click it would be felt."""
        threading.Thread(target=self._import_engine, name="tessera-imports", daemon=True).start()
        self.add_on.sweep()

    def close(self) -> None:
        """End what runs, quietly; nothing that was made is lost."""
        if self._is_closed:
            return
        self._is_closed = True
        QgsProject.instance().cleared.disconnect(self._project_cleared)
        self.box.close()
        self.add_on.close()
        self.compute.stop()
        self.labels.close()

    def _known(self, key: str) -> Dataset:
        found = snapshot.datasets(self._settings)
        return next((each for each in found if each.key == key), found[0])

    def _project_cleared(self) -> None:
        self.project_generation += 1

    def _import_engine(self) -> None:
        with garbage.held_back():
            from ..engine import (  # noqa: F401, PLC0415
                brush,
                classify,
                cluster_labels,
                clusters,
                coverage,
                dpixels,
                embeddings,
                encode,
                explore,
                explore_view,
                head_comparison,
                head_library,
                instant_loop,
                label_files,
                label_places,
                label_problems,
                label_sources,
                learning_curve,
                live,
                map_areas,
                map_years,
                next_places,
                picture,
                point_years,
                similar_view,
                training,
            )

        self.is_warm = True
        with contextlib.suppress(RuntimeError):  # the plugin may have gone meanwhile
            self.warm.emit()
