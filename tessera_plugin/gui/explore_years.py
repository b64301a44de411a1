# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore, years: the embedding of a clicked place over the years, and when it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, Qt
from qgis.PyQt.QtWidgets import QDialog, QHeaderView, QTableWidget, QTableWidgetItem

from ..errors import TesseraError
from ..tasks import explore_jobs
from ..tasks.lookups import Lookup
from ..values import State
from . import messages, note, text
from .explore_pick import PlacePicker
from .explore_stage import Stage
from .links import Links
from .years_plot import Change, YearsPlot, is_gap
from .years_plot import words as words_of

if TYPE_CHECKING:
    from ..engine.point_years import PointYears, YearState

YEAR, STATE, ALIKE = range(3)


class YearsPart(QObject):
    """A table and a plot of one place."""

    def __init__(self, form: QDialog, stage: Stage) -> None:
        super().__init__(form)
        self._form, self._stage = form, stage
        self._links = Links()
        self._lookup = Lookup(self)
        self._place: Optional[Tuple[float, float]] = None
        self._missing: Tuple[int, ...] = ()
        self._is_shown = False
        self._picker = PlacePicker(stage.canvas, form.yearsPickButton)
        self._plot = YearsPlot(form)
        form.yearsPlotLayout.addWidget(self._plot)
        self._table: QTableWidget = form.yearsTable
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(STATE, QHeaderView.ResizeMode.Stretch)
        header.setToolTip(
            self.tr(
                "Cosine: how alike to the last year before it that has an embedding (in brackets, "
                "where that is not the year before), 1 is the same direction"
            )
        )
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(form.fontMetrics().height() + 6)
        self._connect()
        self._enable()

    def show(self, *, shown: bool) -> None:
        """Mark the place, or not."""
        self._is_shown = shown
        self._picker.mark([self._place] if shown and self._place else ())
        if shown and self._place is None:
            self._stage.say(self.tr("Click “Pick a place”, then a place on the map."))
        elif shown:
            self._look()
        else:
            self._picker.put_away()
            self._lookup.cancel()

    def close_down(self) -> None:
        """Let go of what lives longer than the window."""
        self._links.close()
        self._picker.close_down()
        self._lookup.close()

    # --- the place

    def _picked(self, lon: float, lat: float) -> None:
        self._place = lon, lat
        self._picker.mark([self._place])
        self._form.yearsPlaceLabel.setText(f"{text.decimal(lat, 5)}, {text.decimal(lon, 5)}")
        self._look()

    def _look(self, *_: object) -> None:
        if self._place is None or not self._is_shown:
            return
        try:
            task = explore_jobs.years(self._stage.session, *self._place)
        except TesseraError as error:
            self._stage.tell(error)
            return
        self._lookup.ask(task, self._looked, self._stage.tell)

    def _looked(self, found: PointYears) -> None:
        self._missing = tuple(each.year for each in found.years if each.state == State.UNKNOWN)
        changes = found.changes()
        self._fill(found.years, changes)
        self._plot.show_years([each.year for each in found.years], changes)
        self._say(found, changes)
        self._enable()

    def _say(self, found: PointYears, changes: Sequence[Change]) -> None:
        told = []
        if changes:
            largest = min(changes, key=lambda each: each[2])
            earlier, later, cosine = largest
            told.append(
                self.tr("The largest change came between {} and {}: cosine {}.").format(
                    earlier, later, text.decimal(cosine)
                )
            )
            if is_gap(largest):
                told.append(self._when(earlier, later))
        elif found.valid_years:
            told.append(self.tr("One year only is here: nothing to compare it with."))
        if self._missing:
            years = ", ".join(map(str, self._missing))
            told.append(self.tr("Not in the cache: {}.").format(years))
        self._stage.say("\n".join(told))

    def _when(self, earlier: int, later: int) -> str:
        """Say that nobody knows in which of some years it changed, and what would help."""
        between = [year for year in self._missing if earlier < year < later]
        if between:
            return self.tr("In which of these years is not known: fetch those that are missing.")
        return self.tr("In which of these years is not known: those between have no embedding.")

    def _fill(self, years: Tuple[YearState, ...], changes: Sequence[Change]) -> None:
        self._table.setRowCount(len(years))
        up_to = {each[1]: each for each in changes}
        for row, each in enumerate(years):
            change = up_to.get(each.year)
            shown = self._alike(change) if change is not None else text.NONE
            cells = (str(each.year), self._state(each), shown)
            for column, words in enumerate(cells):
                item = QTableWidgetItem(words)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled)
                if column == ALIKE:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                    item.setToolTip(words_of(change) if change is not None else "")
                if column == STATE and each.error is not None:
                    item.setToolTip(text.join(messages.explain(each.error)))
                self._table.setItem(row, column, item)

    def _alike(self, change: Change) -> str:
        earlier, _, cosine = change
        told = text.decimal(cosine, 3)
        return self.tr("{} ({})").format(told, earlier) if is_gap(change) else told

    def _state(self, year: YearState) -> str:
        return {
            State.VALID: self.tr("has an embedding"),
            State.WATER: self.tr("water"),
            State.NODATA: self.tr("no data"),
            State.OUTSIDE: self.tr("nothing published"),
        }.get(year.state, self.tr("not in the cache"))

    def _fetch(self, *_: object) -> None:
        if self._place is None or not self._missing:
            return
        place, missing, session = self._place, self._missing, self._stage.session
        self._stage.start(
            lambda: explore_jobs.years(session, *place, missing, fetch=True), self._fetched
        )

    def _fetched(self, found: PointYears, _: Optional[QgsProject]) -> None:
        errors = [each for each in found.years if each.error is not None]
        self._look()
        if errors and errors[0].error is not None:
            self._stage.tell(errors[0].error)

    # --- inside

    def _forget(self) -> None:
        self._place, self._missing = None, ()
        self._picker.mark(())
        self._table.setRowCount(0)
        self._plot.show_years([], [])
        self._form.yearsPlaceLabel.clear()
        self._enable()

    def _enable(self, *_: object) -> None:
        button, session = self._form.fetchYearsButton, self._stage.session
        running = session.box.running
        can_fetch = bool(self._missing) and not running and not session.settings.offline
        button.setEnabled(can_fetch)
        if running:
            why = messages.waits_for(running)
        elif not self._missing:
            why = self.tr("No year is missing, or no place is picked")
        elif session.settings.offline:
            why = self.tr("Offline: switch it off in the settings to fetch")
        else:
            why = self.tr("Fetch the years that are not in the cache, at this place only")
        button.setToolTip(why)

    def _connect(self) -> None:
        session = self._stage.session
        self._picker.picked.connect(self._picked)
        self._picker.refused.connect(lambda words: self._stage.say(words, note.WARNING))
        self._links.connect(session.box.started, self._enable)
        self._links.connect(session.box.ended, self._enable)
        self._links.connect(session.settings_changed, self._look)
        self._links.connect(QgsProject.instance().cleared, self._forget)
        self._form.fetchYearsButton.clicked.connect(self._fetch)
