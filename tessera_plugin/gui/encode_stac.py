# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images from public catalogues: what is searched, what there is, and what it weighs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Callable, Optional

from qgis.PyQt.QtCore import QDate, QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..errors import TesseraError
from ..tasks import encode_lookups
from ..tasks.encode_lookups import Query
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from ..values import Window
from . import encode_words, messages, note
from .note import Note

if TYPE_CHECKING:
    from ..engine.stac import StacPlan

PLANETARY_COMPUTER, EARTH_SEARCH = "planetary-computer", "earth-search"


class StacPart(QObject):
    """Keeps what is searched, and the answer as long as it is to the question that is shown."""

    changed = pyqtSignal()

    def __init__(
        self, page: QWidget, session: Session, window: Callable[[], Optional[Window]]
    ) -> None:
        """`window` gives what is to be encoded, None where that is not known."""
        super().__init__(page)
        self._page, self._session, self._window = page, session, window
        self._plan: Optional[StacPlan] = None
        self._query: Optional[Query] = None
        self._is_own_choice = False
        self._lookup = Lookup(self)
        self._note = Note("stacNote", page)
        page.stacNoteLayout.addWidget(self._note)
        page.stacS2Combo.addItem(self.tr("Planetary Computer"), PLANETARY_COMPUTER)
        page.stacS2Combo.addItem(self.tr("Earth Search (AWS)"), EARTH_SEARCH)
        page.stacS1Combo.addItem(self.tr("Planetary Computer"), PLANETARY_COMPUTER)
        page.stacS1Combo.addItem(self.tr("None: Sentinel-2 only"), "")
        page.stacYearSpin.setValue(min(session.settings.year, dt.date.today().year - 1))  # noqa: DTZ011
        self._whole_year()
        self._connect()
        self._show()

    # --- what others ask

    @property
    def plan(self) -> Optional[StacPlan]:
        """What was found for just what is asked now; None where that was not searched."""
        return self._plan if self._query is not None and self._query == self._asked() else None

    @property
    def year(self) -> int:
        """The year that is searched."""
        middle = self._first() + (self._last() - self._first()) / 2
        return middle.year

    @property
    def problem(self) -> str:
        """What is to be done before this is complete; empty where it is."""
        if self._lookup.is_busy:
            return self.tr("Searching…")
        if self._first() > self._last():
            return self.tr("The first day lies after the last one.")
        if self._window() is None:
            return ""  # the area's own problem
        if self.plan is None:
            return self.tr("Search: you are told how much there is before anything is downloaded.")
        return ""

    def prefer(self, data_source: str) -> None:
        """Choose the catalogue that an encoder was trained on, unless the person chose one."""
        wanted = EARTH_SEARCH if data_source == "aws" else PLANETARY_COMPUTER
        combo = self._page.stacS2Combo
        if self._is_own_choice or combo.currentData() == wanted:
            return
        combo.blockSignals(True)
        combo.setCurrentIndex(combo.findData(wanted))
        combo.blockSignals(False)
        self._show()

    def area_changed(self) -> None:
        """See whether what was found is still of the area."""
        self._show()

    def close_down(self) -> None:
        """End what runs."""
        self._lookup.close()

    # --- inside

    def _connect(self) -> None:
        page = self._page
        page.stacYearSpin.valueChanged.connect(lambda _: self._whole_year())
        for edit in (page.stacFirstEdit, page.stacLastEdit):
            edit.dateChanged.connect(lambda _: self._show())
        page.stacS2Combo.currentIndexChanged.connect(self._source_chosen)
        page.stacS1Combo.currentIndexChanged.connect(lambda _: self._show())
        page.stacCloudSpin.valueChanged.connect(lambda _: self._show())
        page.stacSearchButton.clicked.connect(self._search)
        page.stacStopButton.clicked.connect(self._stop)
        self._lookup.busy.connect(lambda _: self._show())

    def _whole_year(self) -> None:
        page, year = self._page, self._page.stacYearSpin.value()
        page.stacFirstEdit.setDate(QDate(year, 1, 1))
        page.stacLastEdit.setDate(QDate(year, 12, 31))

    def _source_chosen(self) -> None:
        self._is_own_choice = True
        self._show()

    def _first(self) -> dt.date:
        return _date(self._page.stacFirstEdit.date())

    def _last(self) -> dt.date:
        return _date(self._page.stacLastEdit.date())

    def _asked(self) -> Optional[Query]:
        page, window = self._page, self._window()
        if window is None:
            return None
        return Query(
            window=window,
            first=self._first(),
            last=self._last(),
            s2=page.stacS2Combo.currentData(),
            s1=page.stacS1Combo.currentData(),
            max_cloud=float(page.stacCloudSpin.value()),
        )

    def _search(self) -> None:
        asked = self._asked()
        if asked is None:
            return
        self._note.say("")
        self._plan, self._query = None, None

        def answered(plan: StacPlan) -> None:
            self._plan, self._query = plan, asked
            self._show()

        try:
            task = encode_lookups.search(self._session, asked)
        except TesseraError as error:
            self._failed(error)
            return
        self._lookup.ask(task, answered, self._failed)

    def _stop(self) -> None:
        self._lookup.cancel()
        self._note.say(self.tr("Stopped."))

    def _failed(self, error: Exception) -> None:
        self._note.say(messages.words(error), note.WARNING)
        self._show()

    def _show(self) -> None:
        page, is_busy = self._page, self._lookup.is_busy
        page.stacBar.setVisible(is_busy)
        page.stacStopButton.setVisible(is_busy)
        is_offline = self._session.settings.offline
        can_search = not is_busy and self._window() is not None and self._first() <= self._last()
        page.stacSearchButton.setEnabled(can_search and not is_offline)
        if is_offline:
            page.stacSearchButton.setToolTip(
                self.tr("“Work offline” is ticked in the settings: nobody is asked")
            )
        if self.plan is not None:
            self._note.say(encode_words.found(self.plan), note.SUCCESS)
        elif self._plan is not None:
            self._note.say("")
        self.changed.emit()


def _date(found: QDate) -> dt.date:
    return dt.date(found.year(), found.month(), found.day())
