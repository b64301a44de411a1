# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is learnt: in which year, and which further label files with the person's own labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Tuple

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QListWidgetItem, QWidget

from ..errors import TesseraError
from ..tasks import train_choices, train_jobs
from ..tasks.label_files import LabelFiles
from ..tasks.session import Session
from ..tasks.train_choices import LabelFile, LearntLabels
from . import forms, label_file_dialog, messages, text
from .matrix import SPARE_PX

MOST_FILES = 4
"""So many files are seen at once; of more, the list scrolls."""


class LearntPanel(QWidget):
    """Every change is remembered at once."""

    changed = pyqtSignal()

    def __init__(self, session: Session, files: LabelFiles, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("learnt_panel", self)
        self._session, self._files = session, files
        chosen = train_jobs.learnt(session)
        self.oneYearRadio.setChecked(not chosen.own_years)
        self.ownYearsRadio.setChecked(chosen.own_years)
        self.ownYearsRadio.toggled.connect(self._keep_years)
        self.addLabelsButton.clicked.connect(self._add)
        self.dropLabelsButton.clicked.connect(self._drop)
        self.moreLabelsList.currentRowChanged.connect(lambda _: self._enable())
        files.changed.connect(self.refresh)
        self.refresh()

    @property
    def summary(self) -> str:
        """How many labels are learnt, in which years: a few words."""
        years = {**train_jobs.years_of(self._session)}
        for each, count in self._counts():
            year = each.year or self._session.settings.year
            years[year] = years.get(year, 0) + count
        if not years:
            return self.tr("no labels yet")
        total = text.labels(sum(years.values()))
        if len(years) > 1:
            return self.tr("{}, {} years").format(total, len(years))
        return self.tr("{}, {}").format(total, *years)

    @property
    def years(self) -> Tuple[int, ...]:
        """The years in which something is learnt."""
        more = (each.year or self._session.settings.year for each, _ in self._counts())
        return tuple(sorted({*train_jobs.years_of(self._session), *more}))

    def refresh(self) -> None:
        """Show it as things are now."""
        self.oneYearRadio.setText(self.tr("All labels in {}").format(self._session.settings.year))
        self._tell()
        self._list()
        self._enable()

    # --- inside

    def _keep_years(self, own_years: bool) -> None:  # noqa: FBT001 - a signal's
        self._keep(replace(train_jobs.learnt(self._session), own_years=own_years))

    def _keep(self, chosen: LearntLabels) -> None:
        self._session.update(train_labels=train_choices.to_text(chosen))
        self.refresh()
        self.changed.emit()

    def _tell(self) -> None:
        told = []
        if train_jobs.learnt(self._session).own_years:
            years = train_jobs.years_of(self._session).items()
            told = [self.tr("{}: {}").format(year, text.labels(count)) for year, count in years]
        lost = train_jobs.left_out_years(self._session)
        if lost:
            told.append(
                self.tr("left out, the dataset lacks their year: {} of {}").format(
                    text.labels(sum(lost.values())), ", ".join(str(year) for year in sorted(lost))
                )
            )
        self.learntNote.setText(" · ".join(told))
        self.learntNote.setVisible(bool(told))

    def _list(self) -> None:
        more, row = train_jobs.learnt(self._session).more, self.moreLabelsList.currentRow()
        self.moreLabelsList.clear()
        for each in more:
            item = QListWidgetItem(self._line(each))
            item.setData(Qt.ItemDataRole.UserRole, each)
            item.setToolTip(self._problem(each) or each.path)
            self.moreLabelsList.addItem(item)
        self.moreLabelsList.setCurrentRow(min(row, len(more) - 1))
        self.moreLabelsList.setVisible(bool(more))
        row_px = self.moreLabelsList.sizeHintForRow(0) if more else 0
        self.moreLabelsList.setFixedHeight(min(len(more), MOST_FILES) * row_px + SPARE_PX)

    def _line(self, file: LabelFile) -> str:
        year = file.year or self._session.settings.year
        name = file.area or Path(file.path).stem
        if self._problem(file):
            return self.tr("{}, {}: can't be read").format(name, year)
        for each, count in self._counts():
            if each == file:
                return self.tr("{}, {}: {}").format(name, year, text.labels(count))
        return self.tr("{}, {}").format(name, year)

    def _problem(self, file: LabelFile) -> str:
        try:
            self._files.labels(file)
        except TesseraError as error:
            return text.join(messages.explain(error))
        return ""

    def _counts(self) -> Tuple[Tuple[LabelFile, int], ...]:
        found = []
        for each in train_jobs.learnt(self._session).more:
            try:
                labels = self._files.labels(each)
            except TesseraError:
                continue
            if labels is not None:
                found.append((each, len(labels.items)))
        return tuple(found)

    def _add(self) -> None:
        intro = self.tr(
            "Labels of this place or another, learnt together with yours. Classes of one name are "
            "one class."
        )
        file = label_file_dialog.ask(self._session, intro, self)
        chosen = train_jobs.learnt(self._session)
        if file is not None and file not in chosen.more:
            self._keep(replace(chosen, more=(*chosen.more, file)))
            self._files.want(train_jobs.files(self._session))

    def _drop(self) -> None:
        item = self.moreLabelsList.currentItem()
        if item is None:
            return
        gone = item.data(Qt.ItemDataRole.UserRole)
        chosen = train_jobs.learnt(self._session)
        self._keep(replace(chosen, more=tuple(each for each in chosen.more if each != gone)))

    def _enable(self) -> None:
        is_marked = self.moreLabelsList.currentItem() is not None
        self.dropLabelsButton.setVisible(self.moreLabelsList.count() > 0)
        self.dropLabelsButton.setEnabled(is_marked)
        self.dropLabelsButton.setToolTip(
            self.tr("Learn the marked file no more; the file stays")
            if is_marked
            else self.tr("Mark a file in the list first")
        )
