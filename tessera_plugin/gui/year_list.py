# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Years as a list to tick, and how a year that has data here is told from one that has none."""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence

from qgis.PyQt.QtCore import QCoreApplication, pyqtSignal
from qgis.PyQt.QtGui import QMouseEvent
from qgis.PyQt.QtWidgets import QMenu, QWidget

from ..values import State
from .compat import QAction

translate = QCoreApplication.translate


def year_text(year: int, states: Mapping[int, State]) -> str:
    """Return a year and, in words, whether it has data here; the year alone where nobody knows."""
    state = states.get(year, State.UNKNOWN)
    if state == State.OUTSIDE:
        return translate("Years", "{}  ·  nothing here").format(year)
    if state == State.UNKNOWN:
        return str(year)
    return translate("Years", "{}  ·  here").format(year)


class YearMenu(QMenu):
    """Years to tick; it stays open until one clicks beside it."""

    ticked = pyqtSignal(list)
    """The years that are ticked now, ascending."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("moreYearsMenu")

    def show_years(self, years: Sequence[int], chosen: int, ticked: Sequence[int]) -> None:
        """List the years; the chosen one is ticked and stays so."""
        if [each.data() for each in self.actions()] != list(reversed(years)):
            self._list(years)
        for action in self.actions():
            action.setChecked(action.data() == chosen or action.data() in ticked)
            action.setEnabled(action.data() != chosen)

    def mark(self, states: Mapping[int, State]) -> None:
        """Say which of them have data here."""
        for action in self.actions():
            action.setText(year_text(action.data(), states))

    def mouseReleaseEvent(self, event: Optional[QMouseEvent]) -> None:
        """Tick without closing: several years are wanted."""
        action: Optional[QAction] = self.activeAction()
        if action is not None and action.isEnabled():
            action.trigger()
        else:
            super().mouseReleaseEvent(event)

    def _list(self, years: Sequence[int]) -> None:
        self.clear()
        for year in reversed(years):
            action = self.addAction(str(year))
            action.setData(year)
            action.setCheckable(True)
            action.triggered.connect(self._tell)

    def _tell(self) -> None:
        years: List[int] = [
            each.data() for each in self.actions() if each.isChecked() and each.isEnabled()
        ]
        self.ticked.emit(sorted(years))
