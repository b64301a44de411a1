# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore embeddings: colours, similarity, clusters, years; a window beside the map."""

from __future__ import annotations

from typing import Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QDialog

from ..tasks.session import Session
from . import forms
from .area_page import AreaPage
from .explore_clusters import ClustersPart
from .explore_colors import ColorsPart
from .explore_similarity import SimilarityPart
from .explore_stage import Stage
from .explore_years import YearsPart
from .job_bar import JobBar
from .note import Note
from .one_dialog import OneDialog


class ExploreDialog(QDialog):
    """Not modal; only the tab in sight draws on the map, and none when it is closed."""

    opened = pyqtSignal(bool)
    """Whether it is open."""

    def __init__(self, iface: QgisInterface, session: Session, area: AreaPage) -> None:
        super().__init__(iface.mainWindow())
        forms.load("explore_window", self)
        told = Note("exploreNote", self)
        self.exploreNoteLayout.addWidget(told)
        stage = Stage(iface, session, area, told, self)
        self._note = told
        self._parts = (
            ColorsPart(self, stage),
            SimilarityPart(self, stage),
            ClustersPart(self, stage),
            YearsPart(self, stage),
        )
        self._shown: Optional[int] = None
        self._job = JobBar(
            session.box, self.exploreJobFrame, self.exploreBar, self.exploreCancelButton
        )
        self.exploreTabs.currentChanged.connect(self._turn)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._shown is None:
            self._turn(self.exploreTabs.currentIndex())
            self.opened.emit(True)

    def done(self, result: int) -> None:
        """Hide, and draw nothing any more."""
        self._turn(None)
        super().done(result)
        self.opened.emit(False)

    def close_down(self) -> None:
        """Close for good, and let no code of ours run after it."""
        self._turn(None)
        self._job.close_down()
        for part in self._parts:
            part.close_down()
        self.close()

    def _turn(self, index: Optional[int]) -> None:
        """Let another tab, or none, draw on the map."""
        before, self._shown = self._shown, index
        if before is not None:
            self._parts[before].show(shown=False)
        if index is not None and self.isVisible():
            self._note.say("")
            self._parts[index].show(shown=True)


class ExploreWindow(OneDialog):
    """The window as seen from the dock."""

    opened = pyqtSignal(bool)
    """Whether it is open."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QObject
    ) -> None:
        super().__init__(self._new, parent)
        self._iface, self._session, self._area = iface, session, area

    def _new(self) -> ExploreDialog:
        dialog = ExploreDialog(self._iface, self._session, self._area)
        dialog.opened.connect(self.opened)
        return dialog
