# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Area: which embeddings, of what the map shows; what is there; fetch them and look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, QUrl, pyqtSignal
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import QInputDialog, QMenu, QWidget

from ..errors import ExtentInvalid, ExtentTooLarge, TesseraError
from ..tasks import fetch_jobs, lookups, snapshot
from ..tasks.session import Session
from ..values import Extent, State
from . import coverage_text, forms, messages, note, text, view_changes
from .choice import EmbeddingsChoice
from .coverage_view import CoverageView
from .explore_offer import ExploreOffer
from .fetching import Fetching
from .links import Links
from .map_pictures import MapPictures
from .note import Note
from .source_dialog import SourceDialog

if TYPE_CHECKING:
    from ..engine.compare import Comparison
    from ..engine.compare_spaces import SpacesComparison

SETTLE_MS = 150
"""The map must stand still for so long before its size is computed."""

_DECIDE = (
    "archive", "stores", "form", "offline", "cache_dir", "limit_px", "dataset", "year", "also_years",
    "depth", "show_coverage", "min_observations",
)  # fmt: skip
"""Settings that decide what the page says."""


class AreaPage(QWidget):
    """Dataset, years, depth; the area, its size and what is there; and the fetch."""

    fetched = pyqtSignal()
    encode_wanted = pyqtSignal()
    """The person wants embeddings of their own."""
    explore_wanted = pyqtSignal()
    """The person wants to look at what is there."""
    measured = pyqtSignal()
    """The size of what the map shows is known anew."""

    def __init__(self, iface: QgisInterface, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("area_page", self)
        self._iface, self._session = iface, session
        self._links = Links()
        self._problem: Optional[TesseraError] = None
        self._decided: Tuple[object, ...] = ()
        self._download_bytes = 0
        self._is_shown = False
        self._fetch_tip = self.fetchButton.toolTip()
        self._note = Note("fetchNote", self)
        self.resultLayout.addWidget(self._note)
        self.fetchButton.setIcon(forms.icon("fetch"))
        self.refreshButton.setIcon(QgsApplication.getThemeIcon("/mActionRefresh.svg"))
        self._choice = EmbeddingsChoice(self, session)
        self._pictures = MapPictures(iface.mapCanvas(), self)
        map_layers = iface.mapCanvas().layers
        self._coverage = CoverageView(session, self._pictures, self.extent, map_layers, self)
        self._offer = ExploreOffer(self.exploreButton, session, self.extent, self)
        self._fetching = Fetching(iface, session, self._note, self._pictures)
        self._add_menu()
        self._connect()
        self._settings_changed()

    # --- what others ask

    @property
    def size_text(self) -> str:
        """The size of what the map shows, in words."""
        return str(self.sizeLabel.text())

    @property
    def pictures(self) -> MapPictures:
        """What draws on the map while something arrives."""
        return self._pictures

    @property
    def problem(self) -> Optional[TesseraError]:
        """Why what the map shows can't be used, if so."""
        return self._problem

    def extent(self) -> Extent:
        """Return what the map shows. Raises: ExtentInvalid."""
        if not self._iface.mapCanvas().isVisible():  # behind QGIS's welcome page
            raise ExtentInvalid("no map is open")
        shown = self._iface.mapCanvas().mapSettings()
        return snapshot.extent_of(shown.visibleExtent(), shown.destinationCrs())

    def show_coverage(self, *, shown: bool) -> None:
        """Look what is there and draw it from now on, or not: as the page is in sight."""
        self._coverage.show(shown=shown)
        self._is_shown = shown
        if shown:
            self._offer.look()

    def measure(self) -> None:
        """Say how large the area is, or why it can't be used."""
        session, self._download_bytes = self._session, 0
        if not session.is_warm:  # to import the engine here would be felt
            self.sizeLabel.setText(self.tr("Measuring…"))
            self._tell()
            return
        try:
            extent = self.extent()
            size = snapshot.measure(extent, session.settings.limit_px, session.depth)
            self._download_bytes = snapshot.download_bytes(
                session.settings, session.dataset, session.depth, extent
            )
        except TesseraError as error:
            self._problem = error
            self.sizeLabel.setText(self._refusal(error))
        else:
            self._problem = None
            self.sizeLabel.setText(
                self.tr("{} · {}").format(
                    text.area_km2(size.area_km2), text.counted_pixels(size.pixels)
                )
            )
        self._coverage.look_again()
        if self._is_shown:
            self._offer.look()
        self._tell()
        self.measured.emit()

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        self._links.close()
        self._coverage.close_down()
        self._offer.close_down()
        self._pictures.close_down()

    # --- inside

    def _add_menu(self) -> None:
        menu = QMenu(self)
        menu.setObjectName("areaMenu")
        self._compare_action = menu.addAction(self.tr("Compare the two published forms here…"))
        self._compare_action.setObjectName("compareAction")
        self._compare_action.setToolTip(
            self.tr("Read a few pixels from the Zarr store and from the NPY tiles")
        )
        self._compare_action.triggered.connect(self._compare)
        self.areaMenuButton.setMenu(menu)

    def _connect(self) -> None:
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.measure)
        iface, box = self._iface, self._session.box
        canvas = iface.mapCanvas()
        view_changes.follow_with_crs(self._links, canvas, self._settle.start)
        self._links.connect(canvas.layersChanged, self._settle.start)
        self._links.connect(self._session.settings_changed, self._settings_changed)
        self._links.connect(self._session.warm, self.measure)
        self._links.connect(box.started, self._job_started)
        self._links.connect(box.ended, self._job_ended)
        self._coverage.changed.connect(self._tell)
        self._coverage.broke.connect(lambda bug: messages.show_error(iface.messageBar(), bug))
        self._choice.other_wanted.connect(self._choose_other)
        self._fetching.fetched.connect(self.fetched)
        self._fetching.ended.connect(self._coverage.fetch_ended)
        self.exploreButton.clicked.connect(self.explore_wanted)
        self.coverageCheck.toggled.connect(self._check_changed)
        self.coverageLabel.linkActivated.connect(self._follow)
        self.refreshButton.clicked.connect(self._coverage.refresh)
        self.fetchButton.clicked.connect(self._fetch)

    def _settings_changed(self) -> None:
        decided = tuple(getattr(self._session.settings, name) for name in _DECIDE)
        if decided == self._decided:  # another class was chosen: no reason to measure
            return
        self._decided = decided
        self._choice.show()
        self.coverageCheck.blockSignals(True)
        self.coverageCheck.setChecked(self._session.settings.show_coverage)
        self.coverageCheck.blockSignals(False)
        self.measure()

    def _check_changed(self, checked: bool) -> None:  # noqa: FBT001 - Qt's signal
        self._session.update(show_coverage=checked)

    def _job_started(self, *_: object) -> None:
        self._coverage.give_way()
        self._enable()

    def _job_ended(self) -> None:
        self._coverage.job_ended()
        self._offer.look(anew=True)
        self._enable()

    # --- what is told

    def _tell(self) -> None:
        """Say what is known of the area."""
        view = self._coverage
        download = self._download()
        self.downloadLabel.setText(download)
        self.downloadLabel.setVisible(bool(download))
        there = self._what_is_there()
        self.coverageLabel.setText(there)
        self.coverageLabel.setVisible(bool(there))
        self.busyLabel.setVisible(view.is_busy)
        self._choice.mark_years(view.years)
        self._enable()

    def _download(self) -> str:
        settings, coverage = self._session.settings, self._coverage.coverage
        if settings.offline:
            told = self.tr("Offline: only what is in the cache.")
            return told if coverage is None else text.join((told, coverage_text.offline(coverage)))
        if coverage is not None and self._coverage.is_old:
            return self.tr("Looking what is left to fetch…")
        if coverage is not None:
            can_fetch = self._problem is None
            return coverage_text.download(coverage, self._session.years, can_fetch=can_fetch)
        if not self._download_bytes:
            return ""
        return self.tr("To fetch: up to {}, less what the cache has").format(
            text.size(self._download_bytes)
        )

    def _what_is_there(self) -> str:
        view = self._coverage
        if view.error is not None and not self._problem:
            return text.join(messages.explain(view.error))
        if view.coverage is None or self._session.settings.offline:
            return ""
        return coverage_text.what_is_there(view.coverage, view.years)

    def _refusal(self, error: TesseraError) -> str:
        if isinstance(error, ExtentTooLarge):
            return self.tr("{} pixels: too large to fetch, the limit is {}. Zoom in.").format(
                text.pixels(error.pixels), text.pixels(error.limit_px)
            )
        return text.join(messages.explain(error))

    def _nothing_here(self) -> str:
        """Return why there is nothing to fetch, if that is sure; else an empty text."""
        coverage, years = self._coverage.coverage, self._session.years
        if coverage is None or not coverage_text.is_nothing(coverage):
            return ""
        states = self._coverage.years
        if any(states.get(year, State.UNKNOWN) != State.OUTSIDE for year in years[1:]):
            return ""
        return self.tr("Nothing is published here for {}").format(", ".join(map(str, years)))

    def _verb(self) -> str:
        is_own = bool(self._session.dataset.local)  # there is nothing to be fetched of it
        return self.tr("Show embeddings") if is_own else self.tr("Fetch embeddings")

    def _enable(self, *_: object) -> None:
        running, nothing = self._session.box.running, self._nothing_here()
        is_known = self._session.is_warm and self._problem is None
        can_fetch = is_known and not running and not nothing
        self.fetchButton.setEnabled(can_fetch)
        problem = self._refusal(self._problem) if self._problem is not None else ""
        self.fetchButton.setToolTip(
            messages.waits_for(running) or problem or nothing or self._fetch_tip
        )
        years = len(self._session.years)
        self.fetchButton.setText(
            self.tr("Fetch {} years").format(years) if years > 1 else self._verb()
        )
        self._choice.enable(enabled=not running)
        self._note.enable(enabled=not running)
        self.refreshButton.setEnabled(
            not running and self._coverage.is_wanted and not self._session.settings.offline
        )
        has_both = len(self._session.dataset.forms(self._session.depth)) > 1
        is_own = bool(self._session.dataset.local)
        self._compare_action.setText(
            self.tr("Compare with another dataset here…")
            if is_own
            else self.tr("Compare the two published forms here…")
        )
        self._compare_action.setEnabled(can_fetch and (has_both or is_own))
        self.areaMenuButton.setVisible(has_both or is_own)

    # --- what a person does

    def _follow(self, url: str) -> None:
        if url == coverage_text.ENCODE:
            self.encode_wanted.emit()
        else:
            QDesktopServices.openUrl(QUrl(url))

    def _fetch(self) -> None:
        try:
            self._fetching.start(fetch_jobs.plan(self._session, self.extent()))
        except TesseraError as error:
            messages.show_error(self._iface.messageBar(), error)

    def _choose_other(self) -> None:
        dialog = SourceDialog(self._session, self._iface.mainWindow())
        dialog.exec()
        dialog.deleteLater()

    def _compare(self) -> None:
        is_own = bool(self._session.dataset.local)
        other = self._other_to_compare() if is_own else ""
        if other is None:
            return
        try:
            extent = self.extent()
            if is_own:
                task = lookups.compare_spaces(self._session, extent, other)
                task.succeeded.connect(self._spaces_compared)
            else:
                task = lookups.compare(self._session, extent)
                task.succeeded.connect(self._compared)
        except TesseraError as error:
            messages.show_error(self._iface.messageBar(), error)
            return
        task.failed.connect(self._compare_failed)
        task.cancelled.connect(lambda: self._note.say(self.tr("Stopped.")))
        if self._session.box.start(task):
            self._note.say("")

    def _other_to_compare(self) -> Optional[str]:
        """Return the key of the dataset that own embeddings are compared with, if one is chosen."""
        session = self._session
        others = {
            each.title: each.key
            for each in snapshot.datasets(session.settings)
            if each.key != session.dataset.key and session.settings.year in each.years
        }
        if not others:
            self._note.say(self.tr("No other dataset has {}.").format(session.settings.year))
            return None
        chosen, is_chosen = QInputDialog.getItem(
            self, self.tr("Compare"), self.tr("Compare with"), list(others), 0, False
        )
        return others[chosen] if is_chosen else None

    def _compared(self, comparison: Comparison) -> None:
        self._note.say(*coverage_text.comparison(comparison))

    def _spaces_compared(self, comparison: SpacesComparison) -> None:
        self._note.say(*coverage_text.spaces(comparison))

    def _compare_failed(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            self._note.say(text.join(messages.explain(error)), note.WARNING)
            messages.log(error)
        else:
            messages.show_error(self._iface.messageBar(), error)
