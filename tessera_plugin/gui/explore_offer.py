# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The button that opens the Explore window: usable where the cache has something to look at."""

from __future__ import annotations

from typing import Callable, Optional, Tuple

from qgis.PyQt.QtCore import QObject
from qgis.PyQt.QtWidgets import QPushButton

from ..errors import ExtentTooLarge, TesseraError
from ..tasks import explore_jobs
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from ..values import Extent
from . import messages, text


class ExploreOffer(QObject):
    """Looks into the cache on the side; until it knows, what was known last stands."""

    def __init__(
        self, button: QPushButton, session: Session, extent: Callable[[], Extent], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._button, self._session, self._extent = button, session, extent
        self._about = button.toolTip()
        self._lookup = Lookup(self)
        self._asked: Optional[Tuple[object, ...]] = None
        self._show(self.tr("Looking what is in the cache…"))

    def look(self, *, anew: bool = False) -> None:
        """Look at what the map shows, unless that was looked at last; `anew` even then."""
        session = self._session
        if not session.is_warm:  # to import the engine here would be felt
            return
        try:
            extent = self._extent()
            access = session.access()
        except TesseraError as error:
            self._asked = None
            self._failed(error)
            return
        asked = (session.dataset.key, session.settings.year, session.depth, extent, access)
        if asked == self._asked and not anew:
            return
        self._asked = asked
        self._lookup.ask(explore_jobs.cached_here(session, extent), self._found, self._failed)

    def close_down(self) -> None:
        """End what runs."""
        self._lookup.close()

    # --- inside

    def _found(self, is_there: bool) -> None:  # noqa: FBT001 - a signal's
        lack = self.tr(
            "Nothing of {} is in the cache where the map is: fetch embeddings first, or move the "
            "map to where you have fetched them."
        )
        self._show("" if is_there else lack.format(self._session.settings.year))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ExtentTooLarge):
            self._show(self.tr("The map shows too much to be looked at: zoom in."))
        elif isinstance(error, TesseraError):
            self._show(text.join(messages.explain(error)))
        else:
            self._show("")  # let it be tried
            messages.log(error)

    def _show(self, lack: str) -> None:
        self._button.setEnabled(not lack)
        self._button.setToolTip(lack or self._about)
