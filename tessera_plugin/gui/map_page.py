# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Map: train a head, see how good it is, classify what the map shows."""

from __future__ import annotations

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..tasks.session import Session
from . import forms
from .area_page import AreaPage
from .classify_panel import ClassifyPanel
from .compare_panel import ComparePanel
from .heads_panel import HeadsPanel
from .train_panel import TrainPanel


class MapPage(QWidget):
    """From labels to a head, from the head to a map."""

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
        self.train = TrainPanel(iface, session, self)
        self.trainPanelPlace.addWidget(self.train)
        self.compare = ComparePanel(iface, session, self.train, self)
        self.train.compareLayout.addWidget(self.compare)
        self.heads = HeadsPanel(iface, session, self)
        self.train.headsLayout.addWidget(self.heads)
        self.classify = ClassifyPanel(iface, session, area, self)
        self.classifyPanelPlace.addWidget(self.classify)
        self.train.head_changed.connect(lambda: self.classify.set_head(self.train.head))
        self.train.trained.connect(self.trained)
        self.train.trained.connect(self.heads.refresh)
        self.heads.chosen.connect(self.train.use)
        self.train.add_on_wanted.connect(self.add_on_wanted)
        self.train.model_wanted.connect(self.model_wanted)
        self.classify.mapped.connect(self.mapped)
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
        self.heads.close_down()
        self.compare.close_down()
        self.train.close_down()
        self.classify.close_down()
