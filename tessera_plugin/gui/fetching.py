# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A fetch as the person sees it: a picture that grows, previews, and what came in words."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..errors import TesseraError
from ..tasks import fetch_jobs
from ..tasks.fetch_jobs import Arriving, Fetched, FetchPlan, YearFetched
from ..tasks.session import Session
from . import fetch_note, messages, note, text, view
from .map_pictures import MapPictures
from .note import Note


class Fetching(QObject):
    """Starts fetches and tells of them in a note; what was missing can be tried again there."""

    fetched = pyqtSignal()
    ended = pyqtSignal()
    """A fetch is over, however it ended; the box of jobs says so after this."""

    def __init__(
        self, iface: QgisInterface, session: Session, told: Note, pictures: MapPictures
    ) -> None:
        super().__init__(told)
        self._iface, self._session, self._note, self._pictures = iface, session, told, pictures
        self._plan: Optional[FetchPlan] = None
        self._generation = 0
        told.acted.connect(self._again)

    def start(self, plan: FetchPlan) -> None:
        """Fetch what is planned, unless a job runs already. Raises: TesseraError."""
        task = fetch_jobs.fetch(self._session, plan)
        task.happened.connect(self._happened)
        task.succeeded.connect(self._came)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._cancelled)
        task.ended.connect(self._ended)
        if self._session.box.start(task):
            self._plan, self._generation = plan, self._session.project_generation
            self._note.say("")

    # --- inside

    def _again(self) -> None:
        if self._plan is None:
            return
        try:
            self.start(self._plan)
        except TesseraError as error:
            self._failed(error)

    def _happened(self, what: object) -> None:
        if isinstance(what, Arriving):
            self._pictures.show_arriving(what.pictures)
        elif isinstance(what, YearFetched):
            self._show_preview(what)

    def _show_preview(self, fetched: YearFetched) -> None:
        if self._plan is None or self._generation != self._session.project_generation:
            return
        with view.kept(self._iface.mapCanvas()):
            fetch_jobs.show_preview(QgsProject.instance(), self._plan, fetched)
        if fetched.preview_error is not None:
            messages.show_error(self._iface.messageBar(), fetched.preview_error)

    def _came(self, fetched: Fetched) -> None:
        told = fetch_note.tell(fetched)
        words = told.text
        if not told.is_missing and not self._session.labels.counts:
            words = f"{words}\n{self.tr('Next: label some places on the Labels page.')}"
        self._say(words, told.kind, is_missing=told.is_missing)
        self.fetched.emit()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            words = text.join(messages.explain(error))
            self._say(words, note.WARNING, is_missing=isinstance(error, fetch_note.TRY_AGAIN))
            messages.log(error)
        else:
            messages.show_error(self._iface.messageBar(), error)

    def _cancelled(self) -> None:
        self._say(
            self.tr("Stopped. What has arrived is kept; fetching again goes on from there."),
            note.INFO,
            is_missing=False,
        )

    def _say(self, words: str, kind: str, *, is_missing: bool) -> None:
        self._note.say(words, kind, self.tr("Try the missing again") if is_missing else "")

    def _ended(self) -> None:
        self._pictures.clear_arriving()
        self.ended.emit()
