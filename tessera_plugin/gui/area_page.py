# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Area: which embeddings, of what the map shows; fetch them and look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional

from qgis.core import QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..errors import ExtentInvalid, ExtentTooLarge, TesseraError
from ..tasks import jobs, snapshot
from ..tasks.session import Session
from ..values import Dataset, Extent
from . import forms, messages, note, text, view
from .links import Links
from .note import Note

if TYPE_CHECKING:
    from ..engine.embeddings import FetchSummary

SETTLE_MS = 150
"""The map must stand still for so long before its size is computed."""

NAMED_PARTS = 3
"""So many parts that failed are named; of more only the number is told."""


class AreaPage(QWidget):
    """Dataset, year, the area and its size, and the fetch."""

    fetched = pyqtSignal()
    measured = pyqtSignal()
    """The size of what the map shows is known anew."""

    def __init__(self, iface: QgisInterface, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("area_page", self)
        self._iface, self._session = iface, session
        self._links = Links()
        self._problem: Optional[TesseraError] = None
        self._fetch_tip = self.fetchButton.toolTip()
        self._result = Note("fetchNote", self)
        self.resultLayout.addWidget(self._result)
        self.fetchButton.setIcon(forms.icon("fetch"))
        self._fill_datasets()
        self._connect()
        self.measure()

    # --- what others ask

    @property
    def size_text(self) -> str:
        """The size of what the map shows, in words."""
        return str(self.sizeLabel.text())

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

    def measure(self) -> None:
        """Say how large the area is, or why it can't be used."""
        try:
            size = snapshot.measure(self.extent(), self._session.settings.limit_px, self._depth())
        except TesseraError as error:
            self._problem = error
            self.sizeLabel.setText(self._refusal(error))
            self.downloadLabel.hide()
        else:
            self._problem = None
            self.sizeLabel.setText(
                self.tr("{} · {} pixels · about {}").format(
                    text.area_km2(size.area_km2), text.count(size.pixels), text.size(size.bytes)
                )
            )
            self._tell_download()
        self._enable()
        self.measured.emit()

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        self._links.close()

    # --- inside

    def _connect(self) -> None:
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.measure)
        canvas, box = self._iface.mapCanvas(), self._session.box
        self._links.connect(canvas.extentsChanged, self._settle.start)
        self._links.connect(canvas.destinationCrsChanged, self._settle.start)
        self._links.connect(canvas.layersChanged, self._settle.start)
        self._links.connect(self._session.settings_changed, self._settle.start)
        self._links.connect(self._session.warm, self.measure)
        self._links.connect(box.started, self._enable)
        self._links.connect(box.ended, self._enable)
        self.datasetCombo.currentIndexChanged.connect(self._dataset_chosen)
        self.yearCombo.currentIndexChanged.connect(self._year_chosen)
        self.fetchButton.clicked.connect(self._fetch)

    def _tell_download(self) -> None:
        self.downloadLabel.setVisible(self._session.is_warm)
        if self._session.is_warm:
            amount = snapshot.download_bytes(self._dataset().key, self.extent())
            self.downloadLabel.setText(
                self.tr("To fetch: up to {}, less what the cache has.").format(text.size(amount))
            )

    def _fill_datasets(self) -> None:
        datasets = snapshot.datasets()
        for each in datasets:
            self.datasetCombo.addItem(each.title, each.key)
        chosen = self.datasetCombo.findData(self._session.settings.dataset)
        self.datasetCombo.setCurrentIndex(max(chosen, 0))
        self._fill_years(self._session.settings.year)

    def _fill_years(self, wanted: int) -> None:
        years = self._dataset().years
        self.yearCombo.blockSignals(True)
        self.yearCombo.clear()
        for year in reversed(years):
            self.yearCombo.addItem(str(year), year)
        nearest = min(years, key=lambda year: abs(year - wanted))
        self.yearCombo.setCurrentIndex(self.yearCombo.findData(nearest))
        self.yearCombo.blockSignals(False)
        self._session.update(dataset=self._dataset().key, year=nearest)

    def _dataset(self) -> Dataset:
        return snapshot.datasets()[self.datasetCombo.currentIndex()]

    def _depth(self) -> int:
        return self._dataset().depth

    def _dataset_chosen(self) -> None:
        self._fill_years(self._session.settings.year)

    def _year_chosen(self) -> None:
        self._session.update(year=self.yearCombo.currentData())

    def _refusal(self, error: TesseraError) -> str:
        if isinstance(error, ExtentTooLarge):
            return self.tr(
                "{} pixels, about {}: too large, the limit is {} pixels. Zoom in."
            ).format(text.count(error.pixels), text.size(error.bytes), text.count(error.limit_px))
        return " ".join(messages.explain(error))

    def _enable(self, *_: object) -> None:
        running = self._session.box.running
        self.fetchButton.setEnabled(not running and self._problem is None)
        self.fetchButton.setToolTip(messages.waits_for(running) or self._fetch_tip)
        for widget in (self.datasetCombo, self.yearCombo):
            widget.setEnabled(not running)

    def _fetch(self) -> None:
        try:
            task = jobs.fetch(self._session, self.extent())
        except TesseraError as error:
            messages.show_error(self._iface.messageBar(), error)
            return
        generation = self._session.project_generation
        task.succeeded.connect(lambda result: self._came(result, generation))
        task.failed.connect(self._failed)
        task.cancelled.connect(self._cancelled)
        if self._session.box.start(task):
            self._result.say("")

    def _came(self, fetched: jobs.Fetched, generation: int) -> None:
        summary = fetched.result.summary
        kind = note.WARNING if summary.failed or not summary.valid_px else note.SUCCESS
        told = self._sentences(summary)
        if not summary.failed and not self._session.labels.counts:
            told.append(self.tr("Next: label some places on the Labels page."))
        self._result.say("\n".join(told), kind)
        if generation == self._session.project_generation:
            with view.kept(self._iface.mapCanvas()):
                jobs.show_preview(QgsProject.instance(), fetched)
        if fetched.preview_error is not None:
            messages.show_error(self._iface.messageBar(), fetched.preview_error)
        self.fetched.emit()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TesseraError):
            self._result.say("\n".join(messages.explain(error)), note.WARNING)
            messages.log(error)
        else:
            messages.show_error(self._iface.messageBar(), error)

    def _cancelled(self) -> None:
        self._result.say(
            self.tr("Stopped. What has arrived is kept; fetching again goes on from there.")
        )

    def _sentences(self, summary: FetchSummary) -> List[str]:
        told = [self._arrival(summary)]
        invalid_px = summary.pixels - summary.valid_px
        if not summary.failed and invalid_px:
            told.append(
                self.tr("Without embeddings (water, gaps): {} pixels.").format(
                    text.count(invalid_px)
                )
            )
        if summary.absent:
            told.append(self.tr("Tiles that are not published: {}.").format(_named(summary.absent)))
        if summary.unusual:
            told.append(
                self.tr("Unusual values, kept as published: {}.").format(_named(summary.unusual))
            )
        if summary.failed:
            parts = [f"{each.part} ({each.reason})" for each in summary.failed]
            told.append(
                self.tr("Did not arrive: {}. Fetch again to go on from there.").format(
                    _named(parts)
                )
            )
        return told

    def _arrival(self, summary: FetchSummary) -> str:
        if summary.bytes_fetched == 0 and not summary.failed:
            return self.tr("All {} pixels were in the cache: nothing to fetch.").format(
                text.count(summary.pixels)
            )
        told = self.tr("{} of {} pixels have embeddings. Fetched {} in {}.").format(
            text.count(summary.valid_px),
            text.count(summary.pixels),
            text.size(summary.bytes_fetched),
            text.seconds(summary.seconds),
        )
        if not summary.cached_px:
            return told
        here = self.tr("{} were in the cache already.").format(text.count(summary.cached_px))
        return f"{told} {here}"


def _named(parts: Any) -> str:  # noqa: ANN401 - a tuple or a list of texts
    """Return the first parts by name and how many more there are."""
    more = f" +{len(parts) - NAMED_PARTS}" if len(parts) > NAMED_PARTS else ""
    return ", ".join(parts[:NAMED_PARTS]) + more
