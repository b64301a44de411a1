# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is published where the map is: looked up when it stands still, drawn on it, told the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, Optional, Sequence, Tuple

from qgis.core import QgsMapLayer
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ..errors import TesseraError
from ..tasks import fetch_jobs, lookups
from ..tasks.lookups import Seen
from ..tasks.session import Session
from ..values import Extent, State, Window
from . import messages
from .map_pictures import MapPictures

if TYPE_CHECKING:
    from ..engine.coverage import Coverage

SETTLE_MS = 800
"""The map must stand still for so long before anybody is asked."""

Question = Tuple[object, ...]


class CoverageView(QObject):
    """Keeps coverage and years of what the map shows, while somebody looks at them.

    It asks on the side: a newer question takes the place of an older one, a fetch the place of all.
    """

    changed = pyqtSignal()
    """What is known, or whether somebody is asked."""
    broke = pyqtSignal(object)
    """An exception that is a bug."""

    def __init__(
        self,
        session: Session,
        pictures: MapPictures,
        extent: Callable[[], Extent],
        map_layers: Callable[[], Sequence[QgsMapLayer]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._pictures = session, pictures
        self._extent, self._map_layers = extent, map_layers
        self._lookup = lookups.Lookup(self)
        self._lookup.busy.connect(lambda _: self.changed.emit())
        pictures.legend_closed.connect(lambda: session.update(show_coverage=False))
        self._is_shown = False
        self._question: Question = ()
        self._place: Question = ()
        self._seen: Optional[Seen] = None
        self._previews: Tuple[Window, ...] = ()
        self._error: Optional[TesseraError] = None
        self._is_answered = False
        self._is_old = False
        self._years: Dict[int, State] = {}
        self._has_years = False
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._ask)

    # --- what others ask

    @property
    def coverage(self) -> Optional[Coverage]:
        """What is there, of just what is chosen and shown now; None where it is not known yet."""
        return None if self._seen is None else self._seen.coverage

    @property
    def years(self) -> Dict[int, State]:
        """Whether there is something here, by year; empty where it is not known yet."""
        return self._years

    @property
    def is_old(self) -> bool:
        """Whether what is known is of before a fetch; it is looked at anew, if it is wanted."""
        return self._is_old

    @property
    def error(self) -> Optional[TesseraError]:
        """Why it is not known, where that was said."""
        return self._error

    @property
    def is_busy(self) -> bool:
        """Whether somebody is asked."""
        return self._lookup.is_busy

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be shown."""
        return self._is_shown and self._session.settings.show_coverage

    def show(self, *, shown: bool) -> None:
        """Look and draw from now on, or not."""
        self._is_shown = shown
        self.look_again()

    def look_again(self) -> None:
        """Look anew when the map has come to rest, if it is not what was looked at last."""
        self._pictures.hide_coverage(hidden=not self.is_wanted)
        self._forget_other()
        if not self.is_wanted:
            self.give_way()
        elif not (self._is_answered and self._has_years):
            self._settle.start()
        if self._seen is not None and self._previews != self._shown_previews():
            self._draw(self._seen)

    def refresh(self) -> None:
        """Forget what is known about availability and ask anew."""
        self._is_answered = self._has_years = False
        self._ask(forget=True)

    def give_way(self) -> None:
        """Ask nobody any more."""
        self._settle.stop()
        self._lookup.cancel()

    def fetch_ended(self) -> None:
        """Believe nothing of what was known of the cache; call it before `job_ended`."""
        if not self.is_wanted:  # nobody would look anew
            self._seen = None
        self._is_old = self._seen is not None
        self._pictures.doubt_coverage()

    def job_ended(self) -> None:
        """Look what is in the cache now."""
        self._is_answered = False
        self.look_again()
        if self._is_old:  # the map has stood still, and somebody looks at it
            self._ask()

    def close_down(self) -> None:
        """End what runs."""
        self._settle.stop()
        self._lookup.close()

    # --- inside

    def _forget_other(self) -> None:
        """Forget what was found for another map or another choice."""
        question, place = self._questions()
        if question == self._question:
            return
        self._question, self._is_answered = question, False
        self._seen = self._error = None
        self._is_old = False
        self._pictures.doubt_coverage()
        if place != self._place:
            self._place, self._has_years, self._years = place, False, {}
        self._lookup.cancel()
        self.changed.emit()

    def _shown_previews(self) -> Tuple[Window, ...]:
        session = self._session
        of = fetch_jobs.preview_of(session.dataset.key, session.depth, session.settings.year)
        return fetch_jobs.preview_windows(self._map_layers(), of)

    def _questions(self) -> Tuple[Question, Question]:
        """Return what coverage and years depend on; equal ones have equal answers."""
        settings = self._session.settings
        try:
            extent: Optional[Extent] = self._extent()
        except TesseraError:
            extent = None
        place = (
            extent, settings.dataset, self._session.depth, settings.archive, settings.stores,
            settings.form, settings.offline, settings.cache_folder, settings.min_observations,
        )  # fmt: skip
        return (*place, settings.year), place

    def _ask(self, *, forget: bool = False) -> None:
        self._forget_other()
        extent = self._place[0]
        may = self.is_wanted and self._session.is_warm and not self._session.box.running
        if not may or not isinstance(extent, Extent):
            return
        if not self._is_answered:
            self._error = None
            task = lookups.coverage(self._session, extent, forget=forget)
            self._lookup.ask(task, self._answered, self._failed, self._refined)
        elif not self._has_years:
            task = lookups.years_here(self._session, extent)
            self._lookup.ask(task, self._years_answered, self._years_failed)

    def _refined(self, seen: Seen) -> None:
        self._is_old = False
        self._draw(seen)

    def _draw(self, seen: Seen) -> None:
        self._seen, self._previews = seen, self._shown_previews()
        self._pictures.show_coverage(seen, self._previews)
        if self._is_old:
            self._pictures.doubt_coverage()
        self.changed.emit()

    def _answered(self, seen: Seen) -> None:
        self._is_answered = True
        self._refined(seen)
        self._ask()  # for the years

    def _failed(self, error: Exception) -> None:
        self._is_answered = self._has_years = True  # it would fail again: no more is asked here
        self._is_old = False
        self._pictures.clear_coverage()
        self._heard(error)

    def _years_answered(self, years: Dict[int, State]) -> None:
        self._has_years, self._years = True, years
        self.changed.emit()

    def _years_failed(self, error: Exception) -> None:
        self._has_years = True
        self._heard(error)

    def _heard(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            messages.log(error)
            self._error = error
        else:
            self.broke.emit(error)
        self.changed.emit()
