# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which embeddings: dataset, years and depth, on the widgets of the Area page."""

from __future__ import annotations

from html import escape
from typing import Dict, List, Mapping, Sequence, Tuple

from qgis.PyQt.QtCore import QObject, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QBrush, QColor, QPalette
from qgis.PyQt.QtWidgets import QComboBox, QWidget

from ..tasks import snapshot
from ..tasks.session import Session
from ..values import PUBLIC_ARCHIVE, Dataset, State
from . import text
from .no_wheel import NoWheel
from .year_list import YearMenu, year_text

PALE_ALPHA = 150

OTHER = "other"
"""What stands for another store or archive in the list of datasets."""


class EmbeddingsChoice(QObject):
    """Shows what the settings say is chosen, and changes them when a person chooses."""

    other_wanted = pyqtSignal()
    """Another store or archive is to be chosen."""

    def __init__(self, page: QWidget, session: Session) -> None:
        super().__init__(page)
        self._page, self._session = page, session
        self._shown: Tuple[object, ...] = ()
        self._states: Dict[int, State] = {}
        self._more = YearMenu(page)
        page.moreYearsButton.setMenu(self._more)
        self._no_wheel = NoWheel(self, page.datasetCombo, page.yearCombo, page.depthCombo)
        page.datasetCombo.currentIndexChanged.connect(self._dataset_chosen)
        page.yearCombo.currentIndexChanged.connect(self._year_chosen)
        page.depthCombo.currentIndexChanged.connect(self._depth_chosen)
        page.archiveLabel.linkActivated.connect(self._back_to_published)
        self._more.ticked.connect(self._years_ticked)
        self.show()

    def show(self) -> None:
        """Show what is chosen now."""
        self._settle()
        settings, page = self._session.settings, self._page
        datasets, chosen = snapshot.datasets(settings), self._session.dataset
        shown = (datasets, chosen, settings.year, settings.more_years, self._session.depth)
        if shown != self._shown:
            self._shown = shown
            self._fill(page.datasetCombo, [(each.title, each.key) for each in datasets], chosen.key)
            self._add_other(datasets)
            self._tell_facts(chosen)
            self._show_years(chosen)
            self._show_depths(chosen)
        is_public = settings.archive == PUBLIC_ARCHIVE or bool(chosen.local)
        page.archiveLabel.setVisible(not is_public)
        if not is_public:
            page.archiveLabel.setText(
                self.tr("From {}. {}").format(
                    escape(text.place(settings.archive)),
                    f'<a href="#published">{self.tr("Back to the published archive")}</a>',
                )
            )
            page.archiveLabel.setToolTip(settings.archive)

    def mark_years(self, states: Mapping[int, State]) -> None:
        """Say which years have data in the area that the map shows."""
        if states == self._states:
            return
        self._states = dict(states)
        combo = self._page.yearCombo
        for index in range(combo.count()):
            combo.setItemText(index, year_text(combo.itemData(index), states))
        self._shade_years()
        self._more.mark(states)

    def enable(self, *, enabled: bool) -> None:
        """Let a person choose, or not while a job runs."""
        page = self._page
        for widget in (page.datasetCombo, page.yearCombo, page.moreYearsButton, page.depthCombo):
            widget.setEnabled(enabled)
        page.archiveLabel.setEnabled(enabled)

    # --- inside

    def _settle(self) -> None:
        """See that what is chosen exists: a store may have been removed, a year is of another."""
        chosen, settings = self._session.dataset, self._session.settings
        if (chosen.key, _nearest(chosen, settings.year)) != (settings.dataset, settings.year):
            self._session.update(dataset=chosen.key, year=_nearest(chosen, settings.year))

    @staticmethod
    def _fill(combo: QComboBox, items: Sequence[Tuple[str, object]], chosen: object) -> None:
        combo.blockSignals(True)
        combo.clear()
        for name, data in items:
            combo.addItem(name, data)
        combo.setCurrentIndex(max(combo.findData(chosen), 0))
        combo.blockSignals(False)

    def _add_other(self, datasets: Tuple[Dataset, ...]) -> None:
        combo = self._page.datasetCombo
        combo.blockSignals(True)
        for index, each in enumerate(datasets):
            combo.setItemData(index, self._facts(each), Qt.ItemDataRole.ToolTipRole)
        combo.insertSeparator(combo.count())
        combo.addItem(self.tr("Another store or archive…"), OTHER)
        combo.blockSignals(False)

    def _tell_facts(self, chosen: Dataset) -> None:
        advice = self.tr(
            "Each dataset is a feature space of its own: labels can be used with all, a trained "
            "head only with the one it was trained on."
        )
        self._page.datasetCombo.setToolTip(f"{self._facts(chosen)}\n{advice}")

    def _facts(self, dataset: Dataset) -> str:
        first, last = dataset.years[0], dataset.years[-1]
        years = str(first) if first == last else self.tr("{} to {}").format(first, last)
        depths = ", ".join(str(each) for each in reversed(dataset.depths))
        if dataset.local:
            facts = self.tr("{} · {} · {} numbers per pixel · made on this computer").format(
                dataset.space or dataset.key, years, depths
            )
            return f"{facts}\n{dataset.local}"
        forms = self.tr(" and ").join(text.form(each) for each in dataset.forms())
        facts = self.tr("{} · {} · {} numbers per pixel · published as {}").format(
            dataset.key, years, depths, forms
        )
        return f"{facts}\n{dataset.store}" if dataset.store else facts

    def _show_years(self, dataset: Dataset) -> None:
        settings = self._session.settings
        items = [(year_text(each, self._states), each) for each in reversed(dataset.years)]
        self._fill(self._page.yearCombo, items, settings.year)
        self._shade_years()
        more = self._session.years[1:]
        self._more.show_years(dataset.years, settings.year, more)
        self._more.mark(self._states)
        self._page.moreYearsButton.setText(
            self.tr("+ {} more").format(len(more)) if more else self.tr("More…")
        )

    def _show_depths(self, dataset: Dataset) -> None:
        for widget in (self._page.depthLabel, self._page.depthCombo):
            widget.setVisible(len(dataset.depths) > 1)
        items = [(self._depth_text(dataset, each), each) for each in reversed(dataset.depths)]
        self._fill(self._page.depthCombo, items, self._session.depth)

    def _depth_text(self, dataset: Dataset, depth: int) -> str:
        if depth == dataset.depth:
            return self.tr("{} numbers per pixel (all)").format(depth)
        return self.tr("{} numbers per pixel").format(depth)

    def _shade_years(self) -> None:
        """Years without data here are paler, besides what is said of them."""
        combo = self._page.yearCombo
        combo.view().ensurePolished()  # the theme's colours
        pale = QColor(combo.view().palette().color(QPalette.ColorRole.Text))
        pale.setAlpha(PALE_ALPHA)
        for index in range(combo.count()):
            is_empty = self._states.get(combo.itemData(index)) == State.OUTSIDE
            ink = QBrush(pale) if is_empty else None
            combo.setItemData(index, ink, Qt.ItemDataRole.ForegroundRole)

    # --- what a person does

    def _dataset_chosen(self) -> None:
        key = self._page.datasetCombo.currentData()
        if key == OTHER:
            self._shown = ()
            self.show()  # what is chosen stays chosen
            QTimer.singleShot(0, self.other_wanted.emit)  # the list closes first
            return
        dataset = next(d for d in snapshot.datasets(self._session.settings) if d.key == key)
        self.choose(dataset)

    def choose(self, dataset: Dataset) -> None:
        """Choose a dataset, with the year nearest to the chosen one."""
        settings = self._session.settings
        self._states = {}
        self._session.update(
            dataset=dataset.key,
            year=_nearest(dataset, settings.year),
            depth=settings.depth if settings.depth in dataset.depths else 0,
        )

    def _year_chosen(self) -> None:
        self._session.update(year=self._page.yearCombo.currentData())

    def _depth_chosen(self) -> None:
        depth = self._page.depthCombo.currentData()
        self._session.update(depth=0 if depth == self._session.dataset.depth else depth)

    def _years_ticked(self, years: List[int]) -> None:
        self._session.update(also_years=",".join(str(each) for each in years))

    def _back_to_published(self, *_: object) -> None:
        self._session.update(archive=PUBLIC_ARCHIVE)


def _nearest(dataset: Dataset, wanted: int) -> int:
    return min(dataset.years, key=lambda year: abs(year - wanted))
