# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An encoding as the person sees it: a picture that grows, and what came of it, dialog or not."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsProject
from qgis.gui import QgisInterface, QgsMessageBar
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QPushButton

from ..errors import TesseraError
from ..settings import write_stores
from ..tasks import encode_jobs, encode_lookups, fetch_jobs
from ..tasks.encode_jobs import EncodePlan, SceneEncoded
from ..tasks.fetch_jobs import Arriving
from ..tasks.session import Session
from . import encode_words, messages, note, text, view
from .map_pictures import MapPictures


class Encoding(QObject):
    """Starts encodings and sees to what they make; it lives as long as the dock."""

    said = pyqtSignal(str, str)
    """What there is to say of the last one, and which kind of note it is."""
    done = pyqtSignal()

    def __init__(
        self, iface: QgisInterface, session: Session, pictures: MapPictures, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._iface, self._session, self._pictures = iface, session, pictures
        self._generation = 0
        self.is_running = False
        self.last: Optional[SceneEncoded] = None
        """What the last one made, as long as it is the last thing that was said."""
        self.is_watched = False
        """Whether the dialog is open, which tells what is said."""

    def start(self, plan: EncodePlan) -> bool:
        """Encode what is planned, unless a job runs already. Raises: TesseraError."""
        task = encode_jobs.encode(self._session, plan)
        task.happened.connect(self._happened)
        task.succeeded.connect(self._encoded)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._cancelled)
        task.ended.connect(self._ended)
        if not self._session.box.start(task):
            return False
        self._generation = self._session.project_generation
        self.is_running, self.last = True, None
        self.said.emit("", note.INFO)
        return True

    def use(self, done: SceneEncoded) -> None:
        """Choose what was made on the Area page, show it, and go there."""
        dataset, year = done.dataset, done.plan.year
        self._register(done)
        self._session.update(dataset=dataset.key, year=year, also_years="", depth=0)
        self._show_preview(done)
        self._go_to(done)

    def add_observations(self) -> None:
        """Add how often each pixel was seen, as a layer."""
        if self.last is None:
            return
        task = encode_lookups.observations(self._session, self.last)
        task.succeeded.connect(self._observed)
        task.failed.connect(self._failed)
        self._session.box.start(task)

    # --- inside

    def _happened(self, what: object) -> None:
        if isinstance(what, Arriving):
            self._pictures.show_arriving(what.pictures)

    def _encoded(self, done: SceneEncoded) -> None:
        self.last = done
        self._register(done)
        is_good = not done.result.warnings and done.result.encoded_px
        told = encode_words.result(done)
        if done.inputs:
            told += "\n" + self.tr("The inputs are kept in {}.").format(done.inputs)
        if self.is_watched:
            self.use(done)
            told += "\n" + self.tr("It is chosen on the Area page. Next: label some places.")
            self.said.emit(told, note.SUCCESS if is_good else note.WARNING)
        else:
            self._offer(done)
            self.said.emit(told, note.SUCCESS if is_good else note.WARNING)
        if done.preview.preview_error is not None:
            messages.show_error(self._iface.messageBar(), done.preview.preview_error)
        self.done.emit()

    def _register(self, done: SceneEncoded) -> None:
        """Put the dataset among the person's own, with the years that it has now."""
        stores = self._session.settings.own_stores
        keys = [each.key for each in stores]
        if done.dataset.key in keys:
            stores = tuple(done.dataset if d.key == done.dataset.key else d for d in stores)
        else:
            stores = (*stores, done.dataset)
        self._session.update(stores=write_stores(stores))

    def _offer(self, done: SceneEncoded) -> None:
        """Tell it to the one who works on something else: nothing is chosen for them."""
        bar: QgsMessageBar = self._iface.messageBar()
        item = QgsMessageBar.createMessage(
            self.tr("“{}” is encoded.").format(done.plan.name),
            self.tr("It is among the datasets on the Area page."),
        )
        item.setObjectName("encodedMessage")
        button = QPushButton(self.tr("Show it"), item)
        button.setObjectName("showEncodedButton")
        button.clicked.connect(lambda: self.use(done))
        button.clicked.connect(lambda: bar.popWidget(item))
        item.layout().addWidget(button)
        bar.pushWidget(item)

    def _show_preview(self, done: SceneEncoded) -> None:
        if self._generation != self._session.project_generation:
            return
        limit_px = self._session.settings.limit_px
        wanted = encode_jobs.preview_plan(done.dataset, done.plan.year, done.extent, limit_px)
        with view.kept(self._iface.mapCanvas()):
            fetch_jobs.show_preview(QgsProject.instance(), wanted, done.preview)

    def _go_to(self, done: SceneEncoded) -> None:
        """Let the map show the scene: what is on the Area page is what the map shows."""
        view.show_extent(self._iface.mapCanvas(), done.extent)

    def _observed(self, file: str) -> None:
        if self.last is not None:
            name = self.tr("{}: observations").format(self.last.plan.name)
            with view.kept(self._iface.mapCanvas()):
                encode_lookups.show_observations(QgsProject.instance(), file, name)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            messages.log(error)
            self.said.emit(text.join(messages.explain(error)), note.WARNING)
            if not self.is_watched:
                messages.show_error(self._iface.messageBar(), error)
        else:
            self.said.emit(self.tr("Unexpected error: see the message bar."), note.WARNING)
            messages.show_error(self._iface.messageBar(), error)

    def _cancelled(self) -> None:
        self.said.emit(
            self.tr("Stopped. What is encoded is kept: Start goes on from there."), note.INFO
        )

    def _ended(self) -> None:
        self.is_running = False
        self._pictures.clear_arriving()
