# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore, similarity: how like some clicked places everything in view is, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, QTimer
from qgis.PyQt.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent, QPalette
from qgis.PyQt.QtWidgets import QDialog, QLabel, QWidget

from ..errors import PlaceNotValid, TesseraError
from ..tasks import explore_jobs, similar_jobs
from ..tasks.layers import CONFIDENCE_COLORS
from ..tasks.lookups import Lookup
from . import note, similar_words, text, view_changes
from .explore_pick import PlacePicker
from .explore_stage import Stage
from .links import Links
from .overlay import EXPLORE

if TYPE_CHECKING:
    from ..engine.similar_map import SimilarResult
    from ..engine.similar_view import SimilarView

SETTLE_MS = 250
BAR_PX = 14


class SimilarityPart(QObject):
    """Follows the map while its tab is in sight."""

    def __init__(self, form: QDialog, stage: Stage) -> None:
        super().__init__(form)
        self._form, self._stage = form, stage
        self._links = Links()
        self._lookup = Lookup(self)
        self._places: List[Tuple[float, float]] = []
        self._view: Optional[SimilarView] = None
        self._is_shown = False
        self._is_told = False
        """Whether the note says something that is still to be read."""
        self._picker = PlacePicker(stage.canvas, form.similarityPickButton)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._look)
        form.rampLayout.addWidget(RampLegend(form))
        self._connect()
        self._list()

    def show(self, *, shown: bool) -> None:
        """Draw what the map shows from now on, or nothing."""
        self._is_shown, self._is_told = shown, False
        self._picker.mark(self._places if shown else ())
        if shown:
            self._say_next()
            self._draw()
            self._look()
        else:
            self._picker.put_away()
            self._settle.stop()
            self._lookup.cancel()
            self._stage.book.clear(EXPLORE)

    def close_down(self) -> None:
        """Let go of what lives longer than the window."""
        self._links.close()
        self._picker.close_down()
        self._settle.stop()
        self._lookup.close()

    # --- places

    def _picked(self, lon: float, lat: float) -> None:
        self._places.append((lon, lat))
        self._changed()

    def _remove(self, *_: object) -> None:
        row = self._form.similarityList.currentRow()
        del self._places[row if row >= 0 else len(self._places) - 1]
        self._changed()

    def _clear(self, *_: object) -> None:
        self._places = []
        self._changed()

    def _changed(self) -> None:
        self._is_told = False
        self._list()
        self._picker.mark(self._places)
        self._look()

    def _list(self) -> None:
        places = self._form.similarityList
        places.clear()
        places.addItems(
            [f"{text.decimal(lat, 5)}, {text.decimal(lon, 5)}" for lon, lat in self._places]
        )
        self._enable()

    # --- what the map shows

    def _look(self, *_: object) -> None:
        if not self._is_shown:
            return
        if not self._places:
            self._forget()
            self._say_next()
            return
        session, view = self._stage.session, self._view
        if view is not None and not similar_jobs.is_same_place(view, session, view.request.extent):
            view = self._view = None  # other embeddings: the centre is another one
        try:
            task = similar_jobs.look(session, self._stage.extent(), self._places, view)
        except TesseraError as error:
            self._failed(error)
            return
        self._lookup.ask(task, self._looked, self._failed)

    def _looked(self, view: SimilarView) -> None:
        self._view = view
        if not self._is_told:
            self._is_told = True
            self._stage.say(
                self.tr("Bright is like the places you clicked. Click more, or save it as a layer.")
            )
        self._draw()
        self._enable()

    def _failed(self, error: Exception) -> None:
        self._is_told = False  # what is wrong is true until the next look only
        if isinstance(error, PlaceNotValid) and (error.lon, error.lat) in self._places:
            self._is_told = True  # the place is gone, but the person is to know why
            self._places.remove((error.lon, error.lat))
            self._list()
            self._picker.mark(self._places)
        else:
            self._stage.book.clear(EXPLORE)
        similar_words.tell(self._stage.told, self._stage.iface.messageBar(), error)
        self._enable()

    def _forget(self) -> None:
        self._lookup.cancel()
        self._view = None
        self._stage.book.clear(EXPLORE)
        self._enable()

    def _say_next(self) -> None:
        if not self._places:
            self._stage.say(self.tr("Click “Pick places”, then a place on the map."))

    def _draw(self) -> None:
        view = self._view
        if view is not None and self._is_shown:
            self._stage.book.show(EXPLORE, lambda: view.heat(CONFIDENCE_COLORS), at_once=True)
            self._stage.book.set_opacity(EXPLORE, self._form.similarityOpacitySlider.value() / 100)

    # --- saving

    def _save(self, *_: object) -> None:
        view, stage = self._view, self._stage
        if view is None:
            return
        year = view.request.year
        out = stage.ask_file(self.tr("Save the similarity as"), f"similarity_{year}.tif")
        if not out:
            return
        title = self.tr("{} similarity").format(year)

        def came(result: SimilarResult, project: Optional[QgsProject]) -> None:
            if project is not None:
                explore_jobs.show_similarity(project, result, title)
            stage.say(self.tr("Saved as {}").format(out), note.SUCCESS)

        stage.start(
            lambda: explore_jobs.save_similarity(stage.session, view, stage.extent(), out), came
        )

    # --- inside

    def _enable(self) -> None:
        has_places, has_view = bool(self._places), self._view is not None
        for button in (self._form.removePlaceButton, self._form.clearPlacesButton):
            button.setEnabled(has_places)
        self._form.saveSimilarityButton.setEnabled(has_view)
        self._form.saveSimilarityButton.setToolTip(
            self.tr("Write it for what the map shows to a raster, in percent")
            if has_view
            else self.tr("Pick a place on the map first")
        )

    def _connect(self) -> None:
        form, canvas = self._form, self._stage.canvas
        self._picker.picked.connect(self._picked)
        self._picker.refused.connect(lambda words: self._stage.say(words, note.WARNING))
        view_changes.follow_with_crs(self._links, canvas, self._settle.start)
        self._links.connect(self._stage.session.settings_changed, self._settle.start)
        self._links.connect(self._stage.fetched, self._settle.start)
        self._links.connect(QgsProject.instance().cleared, self._clear)
        form.removePlaceButton.clicked.connect(self._remove)
        form.clearPlacesButton.clicked.connect(self._clear)
        form.saveSimilarityButton.clicked.connect(self._save)
        form.similarityOpacitySlider.valueChanged.connect(
            lambda value: self._stage.book.set_opacity(EXPLORE, value / 100)
        )


class RampLegend(QLabel):
    """The ramp of percents, from unlike to alike. A label: QGIS's themes give it a colour of words."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("rampLegend")
        self.ensurePolished()
        self.setFixedHeight(BAR_PX + self.fontMetrics().height() + 4)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - Qt's
        painter = QPainter(self)
        gradient = QLinearGradient(0, 0, self.width(), 0)
        for percent, color in CONFIDENCE_COLORS:
            gradient.setColorAt(percent / 100, QColor(color))
        painter.fillRect(0, 0, self.width(), BAR_PX, gradient)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        metrics = self.fontMetrics()
        for share, words in ((0, self.tr("0 %: unlike")), (1, self.tr("100 %: alike"))):
            left = share * (self.width() - metrics.horizontalAdvance(words))
            painter.drawText(int(left), BAR_PX + metrics.ascent() + 2, words)
        painter.end()
