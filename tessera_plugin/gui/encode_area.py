# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which area is encoded: all that the images cover, the map, a layer, or a drawn rectangle."""

from __future__ import annotations

from typing import Optional

from qgis.core import QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..errors import ExtentInvalid, TesseraError
from ..tasks import encode_lookups, snapshot
from ..tasks.session import Session
from ..values import Extent, Window
from . import encode_words, messages, text, view_changes
from .draw_rectangle import RectangleDrawing
from .links import Links

SCENES, MAP, DRAWN = "scenes", "map", "drawn"
SETTLE_MS = 200


class AreaPart(QObject):
    """Keeps what was chosen, and the window that it is on the grid."""

    changed = pyqtSignal()
    drawing = pyqtSignal(bool)
    """Whether a rectangle is being drawn on the map: the dialog gives way."""

    def __init__(self, page: QWidget, session: Session, iface: QgisInterface) -> None:
        super().__init__(page)
        self._page, self._session, self._iface = page, session, iface
        self._scenes: Optional[Extent] = None
        self._drawn: Optional[Extent] = None
        self._window: Optional[Window] = None
        self._problem = ""
        self._drawing = RectangleDrawing(iface, page.drawAreaButton, self)
        self._drawing.drawn.connect(self._was_drawn)
        self._drawing.drawing.connect(self.drawing)
        self._links = Links()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._map_moved)
        canvas, project = iface.mapCanvas(), QgsProject.instance()
        view_changes.follow_with_crs(self._links, canvas, self._settle.start)
        self._links.connect(project.layersAdded, self._fill)
        self._links.connect(project.layersRemoved, self._fill)
        self._links.connect(session.warm, self._measure)
        self._links.connect(session.settings_changed, self._measure)
        page.encodeAreaCombo.currentIndexChanged.connect(lambda _: self._measure())
        self._fill()

    # --- what others ask

    @property
    def window(self) -> Optional[Window]:
        """What is encoded; None where it can't be used."""
        return self._window

    @property
    def problem(self) -> str:
        """Why it can't be used; empty where it can."""
        return self._problem

    def offer_scenes(self, extent: Optional[Extent], *, offered: bool) -> None:
        """Offer all that the images cover, where there are images."""
        if (extent, offered) == (self._scenes, self._page.encodeAreaCombo.findData(SCENES) >= 0):
            return
        was_there = self._page.encodeAreaCombo.findData(SCENES) >= 0
        self._scenes = extent
        self._fill(is_offered=offered, wanted=SCENES if offered and not was_there else "")

    def close_down(self) -> None:
        """Take the map tool away."""
        self._links.close()
        self._settle.stop()
        self._drawing.stop()

    # --- inside

    def _fill(self, *_: object, is_offered: Optional[bool] = None, wanted: str = "") -> None:
        combo = self._page.encodeAreaCombo
        if is_offered is None:
            is_offered = combo.findData(SCENES) >= 0
        chosen = wanted or combo.currentData()
        combo.blockSignals(True)
        combo.clear()
        if is_offered:
            combo.addItem(self.tr("All that the images cover"), SCENES)
        combo.addItem(self.tr("What the map shows"), MAP)
        if self._drawn is not None:
            combo.addItem(self.tr("The rectangle that was drawn"), DRAWN)
        layers = QgsProject.instance().mapLayers().values()
        for layer in sorted(layers, key=lambda each: each.name().lower()):
            if layer.isSpatial():
                combo.addItem(self.tr("Extent of “{}”").format(layer.name()), layer.id())
        combo.setCurrentIndex(max(combo.findData(chosen), 0))
        combo.blockSignals(False)
        self._measure()

    def _map_moved(self) -> None:
        if self._page.encodeAreaCombo.currentData() == MAP:
            self._measure()

    def _measure(self, *_: object) -> None:
        """Say how large the area is, or why it can't be used."""
        self._window, self._problem = None, ""
        label = self._page.encodeAreaLabel
        if not self._session.is_warm:  # to import the engine here would be felt
            self._problem = self.tr("One moment…")
            label.setText(self._problem)
            self.changed.emit()
            return
        try:
            extent = self._extent()
            if extent is not None:
                window = encode_lookups.window_of(extent)
                encode_lookups.check_size(window, self._session.settings.limit_px)
                self._window = window
        except TesseraError as error:
            self._problem = text.join(messages.explain(error))
        if self._window is not None:
            label.setText(encode_words.size(self._window))
        else:
            label.setText(self._problem)
        self.changed.emit()

    def _extent(self) -> Optional[Extent]:
        """Return what is chosen. Raises: ExtentInvalid."""
        chosen = self._page.encodeAreaCombo.currentData()
        if chosen == SCENES:
            return self._scenes
        if chosen == DRAWN:
            return self._drawn
        if chosen == MAP:
            shown = self._iface.mapCanvas().mapSettings()
            return snapshot.extent_of(shown.visibleExtent(), shown.destinationCrs())
        layer = QgsProject.instance().mapLayer(chosen)
        if layer is None:
            raise ExtentInvalid("the layer is gone")
        return snapshot.extent_of(layer.extent(), layer.crs())

    def _was_drawn(self, extent: Extent) -> None:
        self._drawn = extent
        self._fill(wanted=DRAWN)
