# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Map: train a head, see how good it is, classify what the map shows."""

from __future__ import annotations

from typing import Any, Iterator, List, TypeVar

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QLayout, QWidget

from ..tasks.session import Session
from . import forms
from .area_page import AreaPage
from .classify_panel import ClassifyPanel
from .compare_panel import ComparePanel
from .heads_panel import HeadsPanel
from .train_panel import TrainPanel

Panel = TypeVar("Panel", bound=QWidget)
"""A part of the page with a `close_down`."""


class MapPage(QWidget):
    """From labels to a head, from the head to a map; it is whole when `pieces` is at its end."""

    trained = pyqtSignal()
    mapped = pyqtSignal()
    news = pyqtSignal(QWidget)
    """Something to look at has come into a widget of the page."""
    add_on_wanted = pyqtSignal()
    """The add-on's link was clicked."""
    model_wanted = pyqtSignal(str)
    """An ONNX model was opened instead of a head."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("map_page", self)
        self._iface, self._session, self._area = iface, session, area
        self._panels: List[Any] = []

    def pieces(self) -> Iterator[None]:
        """Make the page whole, panel by panel."""
        iface, session, train = self._iface, self._session, self._make_train()
        yield
        yield from train.pieces()
        self.compare = self._place(train.compareLayout, ComparePanel(iface, session, train, self))
        yield
        self.heads = self._place(train.headsLayout, HeadsPanel(iface, session, self))
        yield
        self.classify = self._place(
            self.classifyPanelPlace, ClassifyPanel(iface, session, self._area, self)
        )
        yield
        self._connect()

    def _make_train(self) -> TrainPanel:
        self.train = TrainPanel(self._iface, self._session, self)
        return self._place(self.trainPanelPlace, self.train)

    def _place(self, layout: QLayout, panel: Panel) -> Panel:
        """Put a panel on the page; it is closed down with the page."""
        layout.addWidget(panel)
        self._panels.append(panel)
        return panel

    def _connect(self) -> None:
        self.train.head_changed.connect(lambda: self.classify.set_head(self.train.head))
        self.train.trained.connect(self.trained)
        self.train.trained.connect(self.heads.refresh)
        self.heads.chosen.connect(self.train.use)
        self.train.add_on_wanted.connect(self.add_on_wanted)
        self.train.model_wanted.connect(self.model_wanted)
        self.classify.mapped.connect(self.mapped)
        self.classify.mapped.connect(self.train.put_blocks_away)
        for panel in (self.train, self.classify):
            panel.news.connect(self.news)

    def restore(self) -> None:
        """Go on with the head of the last time, if it is still there."""
        self.train.restore()
        self.refresh()

    def refresh(self) -> None:
        """Show what can be done as things are now."""
        self.train.refresh()
        self.classify.refresh()

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        for panel in reversed(self._panels):
            panel.close_down()
