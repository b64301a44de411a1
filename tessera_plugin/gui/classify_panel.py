# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Classify: from a head to maps of an area, for one year or several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Optional, Sequence

from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgisInterface, QgsFileWidget
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QHideEvent, QShowEvent
from qgis.PyQt.QtWidgets import QWidget

from ..errors import TesseraError
from ..tasks import map_jobs
from ..tasks.session import Session
from . import forms, map_words, messages, note, view
from .area_page import AreaPage
from .area_table import AreaTable
from .links import Links
from .map_extent import MapExtent
from .map_options import MapOptions
from .note import Note
from .pieces import Pieces
from .year_list import YearMenu

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult, StagedMap
    from ..engine.heads import Head
    from ..engine.map_years import YearFailed
    from ..tasks.map_jobs import MapPlan, Published

PROPOSED = "land_cover"


class ClassifyPanel(QWidget):
    """From a head to maps."""

    mapped = pyqtSignal()
    news = pyqtSignal(QWidget)
    """Something to look at has come into a widget of the panel."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("classify_panel", self)
        self._iface, self._session = iface, session
        self._links = Links()
        self._head: Optional[Head] = None
        self._proposed = ""
        self._is_closed = False
        self._results: List[ClassifyResult] = []
        self._failures: List[Exception] = []
        self._later = Pieces(self)
        self._note = Note("classifyNote", self)
        self.classifyNoteLayout.addWidget(self._note)
        self._areas = AreaTable(self)
        self.areaTableLayout.addWidget(self._areas)
        self._options = MapOptions(session, self)
        self.mapOptionsPlace.addWidget(self._options)
        self._menu = YearMenu(self.mapYearsButton)
        self._menu.setObjectName("mapYearsMenu")
        self.mapYearsButton.setMenu(self._menu)
        self._extent = MapExtent(iface, session, area, self.mapAreaCombo, self.drawMapAreaButton)
        self._dress()
        self._connect()
        self._measured()

    # --- what the page asks

    @property
    def is_showing(self) -> bool:
        """Whether layers of a map are still being added: they come one after the other."""
        return self._later.is_busy

    def set_head(self, head: Optional[Head]) -> None:
        """Map with this head, whose file is `settings.head_path`, from now on."""
        self._head = head
        self._enable()

    def refresh(self) -> None:
        """Show what can be done as things are now."""
        self._show_years()
        self._show_extras()
        self._propose_output()
        self._enable()

    def close_down(self) -> None:
        """Let go of what lives longer than the panel."""
        self._is_closed = True
        self._later.stop()
        self._links.close()
        self._extent.close_down()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Outline on the map what is mapped."""
        super().showEvent(event)
        self._extent.show(shown=True)

    def hideEvent(self, event: Optional[QHideEvent]) -> None:
        """Take the outline from the map."""
        super().hideEvent(event)
        if not self._is_closed:
            self._extent.show(shown=False)

    # --- options

    def _dress(self) -> None:
        self.classifyButton.setIcon(forms.icon("classify"))
        self.drawMapAreaButton.setIcon(QgsApplication.getThemeIcon("/mActionRectangleExtent.svg"))
        self.confidenceCheck.setChecked(self._session.settings.confidence)
        self.outputPath.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.outputPath.setFilter(self.tr("GeoTIFF (*.tif)"))
        self.outputPath.setDialogTitle(self.tr("Save the map as"))

    def _connect(self) -> None:
        session = self._session
        self._links.connect(session.box.started, self._enable)
        self._links.connect(session.box.ended, self._enable)
        self._links.connect(session.settings_changed, self.refresh)
        self._extent.changed.connect(self._measured)
        self._menu.ticked.connect(self._years_ticked)
        self._areas.failed.connect(self._failed)
        self._areas.saved.connect(lambda path: self._note.say(self.tr("Saved as {}").format(path)))
        self.confidenceCheck.toggled.connect(lambda on: session.update(confidence=on))
        self.classifyButton.clicked.connect(self._classify)

    def _show_years(self) -> None:
        session = self._session
        years = map_jobs.years(session)
        self._menu.show_years(session.dataset.years, session.settings.year, years)
        self.mapYearsButton.setText(", ".join(str(each) for each in years))

    def _years_ticked(self, years: Sequence[int]) -> None:
        map_jobs.keep_years(self._session, years)

    def _show_extras(self) -> None:
        extras = map_jobs.choices(self._session).extras
        title = self.tr("Outputs and cleaning")
        self.mapOptionsGroup.setTitle(
            title if not extras else self.tr("{} ({} chosen)").format(title, extras)
        )

    def _propose_output(self) -> None:
        """Propose a file beside the labels, as long as the person has not chosen another."""
        if self.outputPath.filePath() not in ("", self._proposed):
            return
        folder = Path(self._session.labels_path).parent
        name = self._name()
        self._proposed = self._session.settings.output_path or str(folder / name)
        if Path(self._proposed).name.startswith(PROPOSED):
            self._proposed = str(Path(self._proposed).with_name(name))
        self.outputPath.setFilePath(self._proposed)

    def _name(self) -> str:
        """Return the name that is proposed for the map's file."""
        years = map_jobs.years(self._session)
        return f"{PROPOSED}_{years[0]}.tif" if len(years) == 1 else f"{PROPOSED}.tif"

    def _measured(self) -> None:
        self.mapSizeLabel.setText(self._extent.size_text)
        self._enable()

    def _enable(self, *_: object) -> None:
        running = self._session.box.running
        ready = self._head is not None and self._extent.problem is None
        self.classifyButton.setEnabled(ready and not running)
        self.classifyButton.setToolTip(messages.waits_for(running) or self._why_not())
        years = len(map_jobs.years(self._session))
        self.classifyButton.setText(
            self.tr("Classify {} years").format(years) if years > 1 else self.tr("Classify")
        )
        for widget in (self.mapAreaCombo, self.drawMapAreaButton, self.mapYearsButton):
            widget.setEnabled(not running)

    def _why_not(self) -> str:
        if self._head is None:
            return self.tr("Train or load a head first")
        if self._extent.problem is not None:
            return self._extent.size_text
        return self.tr("Write the class of every pixel of the area to a raster")

    # --- classify

    def _classify(self) -> None:
        self._later.finish()
        out = self._output()
        if not out:
            return
        try:
            self._check_head()
            plan = map_jobs.plan(self._session, self._extent.area(), out)
            task = map_jobs.classify(self._session, plan)
        except TesseraError as error:
            self._failed(error)
            return
        generation = self._session.project_generation
        task.happened.connect(lambda staged: self._came(staged, plan, generation))
        task.succeeded.connect(lambda failed: self._ended(plan, failed))
        task.failed.connect(self._failed)
        task.cancelled.connect(lambda: self._stopped(plan))
        if self._session.box.start(task):
            self._results, self._failures = [], []
            self._note.say("")
            self._areas.hide()

    def _output(self) -> str:
        """Return the file to write, with its ending; tell why there is none and return nothing."""
        out = self.outputPath.filePath().strip()
        if not out:
            self._note.say(self.tr("Choose a file for the map first."), note.WARNING)
            return ""
        is_whole = out.lower().endswith((".tif", ".tiff"))
        is_nameless = is_whole and Path(out).stem.lower() in (".tif", ".tiff")
        if is_nameless or out.endswith(("/", "\\")) or Path(out).is_dir():
            folder = Path(out).parent if is_nameless else Path(out)
            told = self.tr("“{}” is a folder: give the map a file name in it, such as {}")
            self._note.say(told.format(folder, self._name()), note.WARNING)
            return ""
        if not is_whole:
            out = f"{out}.tif"
            self.outputPath.setFilePath(out)
        return out

    def _check_head(self) -> None:
        """Check that the head and the dataset chosen on the Area page belong together."""
        chosen = self._session.dataset
        if self._head is not None:
            is_offered = self._head.depth in chosen.depths
            self._head.check(chosen.key, self._head.depth if is_offered else chosen.depth)

    def _came(self, staged: StagedMap, plan: MapPlan, generation: int) -> None:
        """Publish a map, the only one or that of one year."""
        if self._is_closed:
            staged.discard()
            return
        try:
            published = map_jobs.name(staged)
        except TesseraError as error:
            self._failures.append(error)
        else:
            self._results.append(published.result)
            self._later.add(self._shown(published, generation))
            self._later.add(self._counted(tuple(self._results), plan))

    def _shown(self, published: Published, generation: int) -> Iterator[None]:
        """Add the layers of a map to the project that it was made in, while that is open."""
        yield
        steps = map_jobs.shown(published, QgsProject.instance())
        is_left = True
        while is_left and generation == self._session.project_generation:
            with view.kept(self._iface.mapCanvas()):
                is_left = next(steps, self) is None
            yield

    def _counted(self, results: Sequence[ClassifyResult], plan: MapPlan) -> Iterator[None]:
        """Tell the hectares of what is done."""
        try:
            if len(plan.years) > 1:
                map_jobs.save_areas(map_jobs.areas_path(plan.out), results)
                yield
        except TesseraError as error:
            self._failures.append(error)
        else:
            self._areas.show_results(results, plan.out)

    def _ended(self, plan: MapPlan, failed: Sequence[YearFailed]) -> None:
        self._later.add(self._told(plan, failed))

    def _told(self, plan: MapPlan, failed: Sequence[YearFailed]) -> Iterator[None]:
        """Say what became of it, once the maps are shown."""
        yield
        if self._failures:
            self._failed(self._failures[0])
            return
        self._session.update(output_path=plan.out)
        again = self.tr("Classify again to fill them.")
        told = map_words.maps(self._results, failed, plan.out, again)
        self._note.say("\n".join(told), map_words.kind_of(self._results, failed))
        self.news.emit(self._areas)
        self.mapped.emit()

    def _stopped(self, plan: MapPlan) -> None:
        done = sorted(each.year for each in self._results)
        if not done:
            self._note.say(self.tr("Stopped. No file was written or changed."))
            return
        left = [year for year in plan.years if year not in done]
        self._note.say(
            self.tr("Stopped. The map of {} is done, not that of {}.").format(
                map_words.listed(done), map_words.listed(left)
            )
        )

    def _failed(self, error: Exception) -> None:
        note.tell(self._note, self._iface.messageBar(), error)
