# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tabs of the Explore window share: map, session, the note, jobs and files."""

from __future__ import annotations

from typing import Any, Callable, Optional

from qgis.core import QgsProject
from qgis.gui import QgisInterface, QgsMapCanvas
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtWidgets import QFileDialog, QWidget

from ..errors import TesseraError
from ..tasks import explore_jobs
from ..tasks.base import EngineTask
from ..tasks.session import Session
from ..values import Extent
from . import messages, note, view
from .area_page import AreaPage
from .note import Note
from .overlay import OverlayBook

translate = QCoreApplication.translate


class Stage:
    """One for all tabs."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, told: Note, window: QWidget
    ) -> None:
        self.iface, self.session, self.window = iface, session, window
        self._area, self._note = area, told
        self.fetched = area.fetched
        """A fetch brought something."""

    @property
    def canvas(self) -> QgsMapCanvas:
        """The map."""
        return self.iface.mapCanvas()

    @property
    def book(self) -> OverlayBook:
        """The overlays of the map."""
        return self._area.pictures.book

    @property
    def told(self) -> Note:
        """What is told in the window."""
        return self._note

    def extent(self) -> Extent:
        """Return what the map shows. Raises: ExtentInvalid."""
        return self._area.extent()

    def say(self, words: str, kind: str = note.INFO) -> None:
        """Tell something in the window."""
        self._note.say(words, kind)

    def tell(self, error: Exception) -> None:
        """Tell what went wrong."""
        note.tell(self._note, self.iface.messageBar(), error)

    def start(
        self,
        make: Callable[[], EngineTask],
        came: Callable[[Any, Optional[QgsProject]], None],
    ) -> None:
        """Start a job and tell of its end; `came` gets the result, and the project if it is the same.

        It may raise what is to be told. Nothing is started while another job runs.
        """
        box, session = self.session.box, self.session
        if box.running:
            self.say(messages.waits_for(box.running), note.WARNING)
            return
        try:
            task = make()
        except TesseraError as error:
            self.tell(error)
            return
        generation = session.project_generation

        def arrived(result: object) -> None:
            is_same = generation == session.project_generation
            try:
                with view.kept(self.canvas):
                    came(result, QgsProject.instance() if is_same else None)
            except TesseraError as error:
                self.tell(error)

        task.succeeded.connect(arrived)
        task.failed.connect(self.tell)
        task.cancelled.connect(
            lambda: self.say(translate("Explore", "Stopped. No file was written or changed."))
        )
        if box.start(task):
            self.say("")

    def ask_file(self, title: str, name: str) -> str:
        """Return a file that the person names; empty if none is."""
        path, _ = QFileDialog.getSaveFileName(
            self.window,
            title,
            explore_jobs.beside_labels(self.session, name),
            translate("Explore", "GeoTIFF (*.tif)"),
        )
        if path and not path.lower().endswith((".tif", ".tiff")):
            path = f"{path}.tif"
        return str(path)
