# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A run of somebody's model as the person sees it: its map, and what came of it, dialog or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from qgis.core import Qgis, QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..errors import TesseraError
from ..tasks import model_jobs
from ..tasks.model_jobs import ModelPlan
from ..tasks.session import Session
from . import map_words, messages, note, text, view

if TYPE_CHECKING:
    from ..engine.classify import StagedMap


class ModelRun(QObject):
    """Starts runs and adds their maps; it lives as long as the dock."""

    said = pyqtSignal(str, str)
    """What there is to say of the last one, and which kind of note it is."""
    mapped = pyqtSignal()

    def __init__(self, iface: QgisInterface, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._iface, self._session = iface, session
        self.is_running = False
        self.last: Optional[ModelPlan] = None
        """What made the last map, as long as it is the last thing that was said."""
        self.is_watched = False
        """Whether the dialog is open, which tells what is said."""

    def start(self, plan: ModelPlan) -> bool:
        """Run what is planned, unless a job runs already. Raises: TesseraError."""
        task = model_jobs.run(self._session, plan)
        generation = self._session.project_generation
        task.succeeded.connect(lambda staged: self._came(staged, plan, generation))
        task.failed.connect(self._failed)
        task.cancelled.connect(
            lambda: self.said.emit(self.tr("Stopped. No file was written or changed."), note.INFO)
        )
        task.ended.connect(self._ended)
        if not self._session.box.start(task):
            return False
        self.is_running, self.last = True, None
        self.said.emit("", note.INFO)
        return True

    # --- inside

    def _came(self, staged: StagedMap, plan: ModelPlan, generation: int) -> None:
        is_same = generation == self._session.project_generation
        project = QgsProject.instance() if is_same else None
        try:
            with view.kept(self._iface.mapCanvas()):
                result = model_jobs.publish(staged, project, plan)
        except TesseraError as error:
            self._failed(error)
            return
        self.last = plan
        told = map_words.sentences(result, plan.out, self.tr("Run it again to fill them."))
        told.insert(1, map_words.areas(result.classes))
        self.said.emit("\n".join(told), map_words.kind(result))
        if not self.is_watched:
            self._iface.messageBar().pushMessage(
                self.tr("The map of “{}” is ready.").format(plan.name),
                text.join(told[-1:]),
                Qgis.MessageLevel.Success,
            )
        self.mapped.emit()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            messages.log(error)
            self.said.emit("\n".join(messages.explain(error)), note.WARNING)
            if not self.is_watched:
                messages.show_error(self._iface.messageBar(), error)
        else:
            self.said.emit(self.tr("Unexpected error: see the message bar."), note.WARNING)
            messages.show_error(self._iface.messageBar(), error)

    def _ended(self) -> None:
        self.is_running = False
