# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore, colours: principal components as red, green and blue, with a stretch of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, QTimer
from qgis.PyQt.QtWidgets import QComboBox, QDialog

from ..errors import TesseraError
from ..tasks import explore_jobs
from ..tasks.lookups import Lookup
from . import note, text, view_changes
from .explore_stage import Stage
from .links import Links
from .overlay import EXPLORE

if TYPE_CHECKING:
    from ..engine.explore import PreviewResult
    from ..engine.explore_view import ColorParams, ExploreView

SETTLE_MS = 250
"""The map must stand still for so long before it is looked at anew."""

COMPONENTS = 6


class ColorsPart(QObject):
    """Follows the map while its tab is in sight."""

    def __init__(self, form: QDialog, stage: Stage) -> None:
        super().__init__(form)
        self._form, self._stage = form, stage
        self._links = Links()
        self._lookup = Lookup(self)
        self._view: Optional[ExploreView] = None
        self._of = ("", 0, 0)
        self._is_shown = False
        self._is_told = False
        """Whether the note says something that is still to be read."""
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._look)
        for number, combo in enumerate(self._combos()):
            for component in range(COMPONENTS):
                combo.addItem(self.tr("Component {}").format(component + 1), component)
            combo.setCurrentIndex(number)
        self._connect()
        self._enable()

    def show(self, *, shown: bool) -> None:
        """Draw what the map shows from now on, or nothing."""
        self._is_shown, self._is_told = shown, False
        if shown:
            self._draw()
            self._look()
        else:
            self._settle.stop()
            self._lookup.cancel()
            self._stage.book.clear(EXPLORE)

    def close_down(self) -> None:
        """Let go of what lives longer than the window."""
        self._links.close()
        self._settle.stop()
        self._lookup.close()

    # --- what the map shows

    def _look(self, *_: object) -> None:
        if not self._is_shown:
            return
        session = self._stage.session
        of = (session.dataset.key, session.settings.year, session.depth)
        if of != self._of:  # another space: no colour means the same
            self._view, self._of = None, of
        try:
            known = self._view.components if self._view is not None else None
            task = explore_jobs.components(session, self._stage.extent(), known)
        except TesseraError as error:
            self._failed(error)
            return
        self._lookup.ask(task, self._looked, self._failed)

    def _looked(self, view: ExploreView) -> None:
        is_first, self._view = self._view is None, view
        if is_first:
            self._name_components(view)
        if not self._is_told:
            self._is_told = True
            self._stage.say(
                self.tr("Places of similar colours are similar ground. The colours follow the map.")
            )
        self._draw()
        self._enable()

    def _failed(self, error: Exception) -> None:
        self._is_told = False  # what is wrong is true until the next look only
        self._stage.book.clear(EXPLORE)
        self._stage.tell(error)
        self._enable()

    def _name_components(self, view: ExploreView) -> None:
        """Say with each component how much of the variance it has."""
        shares = view.components.shares
        for combo in self._combos():
            for index in range(combo.count()):
                name = self.tr("Component {}").format(index + 1)
                if index < len(shares):
                    name = f"{name} ({text.percent(shares[index])})"
                combo.setItemText(index, name)
                combo.model().item(index).setEnabled(index < len(shares))

    def _draw(self, *_: object) -> None:
        view = self._view
        if view is None or not self._is_shown:
            return
        params = self._params(len(view.components.shares))
        self._stage.book.show(EXPLORE, lambda: view.pictures(params), at_once=True)
        self._stage.book.set_opacity(EXPLORE, self._form.colorsOpacitySlider.value() / 100)

    def _params(self, count: int) -> ColorParams:
        from ..engine.explore_view import ColorParams  # noqa: PLC0415 - light plugin load

        form = self._form
        red, green, blue = (min(combo.currentIndex(), count - 1) for combo in self._combos())
        return ColorParams(
            red, green, blue, form.darkCutSpin.value(), 100 - form.brightCutSpin.value(),
            form.gammaSpin.value(),
        )  # fmt: skip

    # --- what a person does

    def _fit(self, *_: object) -> None:
        """Find components and stretch anew, of what the map shows now."""
        self._view = None
        self._look()

    def _reset(self, *_: object) -> None:
        form = self._form
        for number, combo in enumerate(self._combos()):
            combo.setCurrentIndex(number)
        form.darkCutSpin.setValue(2.0)
        form.brightCutSpin.setValue(2.0)
        form.gammaSpin.setValue(1.0)

    def _save(self, *_: object) -> None:
        view, stage = self._view, self._stage
        if view is None:
            return
        year = stage.session.settings.year
        out = stage.ask_file(self.tr("Save the colours as"), f"colours_{year}.tif")
        if not out:
            return
        basis = view.components.basis(self._params(len(view.components.shares)))
        title = self.tr("{} colours").format(year)

        def came(result: PreviewResult, project: Optional[QgsProject]) -> None:
            if project is not None:
                explore_jobs.show_colors(project, result.paths, title)
            stage.say(self.tr("Saved as {}").format(", ".join(result.paths)), note.SUCCESS)

        stage.start(
            lambda: explore_jobs.save_colors(stage.session, stage.extent(), basis, out), came
        )

    # --- inside

    def _combos(self) -> Tuple[QComboBox, QComboBox, QComboBox]:
        form = self._form
        return form.redCombo, form.greenCombo, form.blueCombo

    def _enable(self) -> None:
        has_view = self._view is not None
        self._form.saveColorsButton.setEnabled(has_view)
        self._form.saveColorsButton.setToolTip(
            self.tr("Write these colours, pixel by pixel, to a raster of what the map shows")
            if has_view
            else self.tr("There is nothing to save: fetch embeddings on the Area page first")
        )

    def _connect(self) -> None:
        form, canvas = self._form, self._stage.canvas
        view_changes.follow_with_crs(self._links, canvas, self._settle.start)
        self._links.connect(self._stage.session.settings_changed, self._settle.start)
        self._links.connect(self._stage.fetched, self._settle.start)
        self._links.connect(QgsProject.instance().cleared, self._fit)
        for combo in self._combos():
            combo.currentIndexChanged.connect(self._draw)
        for spin in (form.darkCutSpin, form.brightCutSpin, form.gammaSpin):
            spin.valueChanged.connect(self._draw)
        form.colorsOpacitySlider.valueChanged.connect(
            lambda value: self._stage.book.set_opacity(EXPLORE, value / 100)
        )
        form.fitColorsButton.clicked.connect(self._fit)
        form.resetColorsButton.clicked.connect(self._reset)
        form.saveColorsButton.clicked.connect(self._save)
