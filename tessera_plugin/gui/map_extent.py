# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is mapped: what the map shows, a layer's extent or its polygons, or a drawn rectangle."""

from __future__ import annotations

import contextlib
from typing import Optional, Tuple

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsMapLayer,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.gui import QgisInterface, QgsRubberBand
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QAbstractButton, QComboBox

from ..errors import ExtentInvalid, ExtentTooLarge, TesseraError
from ..tasks import map_area, snapshot
from ..tasks.map_area import MapArea
from ..tasks.session import Session
from ..values import Extent
from . import messages, text
from .area_page import AreaPage
from .draw_rectangle import RectangleDrawing
from .links import Links

SHOWN, DRAW, DRAWN = "shown", "draw", "drawn"
EXTENT, POLYGONS = "extent", "polygons"
SETTLE_MS = 150
OUTLINE = QColor(214, 69, 69, 220)

Choice = Tuple[str, str]
"""What kind of area, and the id of its layer."""


class MapExtent(QObject):
    """Keeps what was chosen, tells its size, and outlines it on the map while it is in sight."""

    changed = pyqtSignal()

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage,
        combo: QComboBox, button: QAbstractButton,
    ) -> None:  # fmt: skip
        super().__init__(combo)
        self._iface, self._session, self._page = iface, session, area
        self._combo, self._button = combo, button
        self._last: Choice = (SHOWN, "")
        self._drawn: Optional[Extent] = None
        self._problem: Optional[TesseraError] = None
        self._text = ""
        self._is_in_sight = False
        self._watched: Optional[QgsVectorLayer] = None
        self._outline = QgsRubberBand(iface.mapCanvas(), _POLYGON)
        self._outline.setStrokeColor(OUTLINE)
        self._outline.setFillColor(QColor(0, 0, 0, 0))
        self._outline.setWidth(2)
        self._drawing = RectangleDrawing(iface, button, self)
        self._drawing.drawn.connect(self._was_drawn)
        self._links = Links()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.measure)
        project = QgsProject.instance()
        self._links.connect(project.layersAdded, self._fill)
        self._links.connect(project.layersRemoved, self._fill)
        self._links.connect(session.warm, self.measure)
        self._links.connect(session.settings_changed, self.measure)
        self._links.connect(iface.mapCanvas().destinationCrsChanged, self._show_outline)
        area.measured.connect(self._page_measured)
        combo.currentIndexChanged.connect(self._choice_changed)
        self._fill()

    # --- what others ask

    @property
    def problem(self) -> Optional[TesseraError]:
        """Why what is chosen can't be used, if so."""
        return self._problem

    @property
    def size_text(self) -> str:
        """The size of what is chosen, in words, or why it can't be used."""
        return self._text

    def area(self) -> MapArea:
        """Return what is chosen. Raises: ExtentInvalid."""
        kind, layer_id = self._chosen()
        if kind == SHOWN:
            return self._page.extent()
        if kind == DRAWN and self._drawn is not None:
            return self._drawn
        layer = QgsProject.instance().mapLayer(layer_id)
        if layer is None:
            raise ExtentInvalid("the layer is gone")
        if kind == POLYGONS:
            return map_area.polygons_of(layer)
        return snapshot.extent_of(layer.extent(), layer.crs())

    def show(self, *, shown: bool) -> None:
        """Outline the area on the map from now on, or not: as the page is in sight."""
        self._is_in_sight = shown
        if shown:
            self._name_polygons()
        self._show_outline()

    def measure(self, *_: object) -> None:
        """Say how large the area is, or why it can't be used."""
        self._watch()
        self._problem = None
        if self._chosen()[0] == SHOWN:
            self._text, self._problem = self._page.size_text, self._page.problem
        elif not self._session.is_warm:  # to import the engine here would be felt
            self._text = self.tr("Measuring…")
        else:
            try:
                self._text = self._measured(self.area())
            except TesseraError as error:
                self._problem = error
                self._text = self._refusal(error)
        self._show_outline()
        self.changed.emit()

    def close_down(self) -> None:
        """Take the outline and the tool from the map."""
        self._links.close()
        self._settle.stop()
        self._unwatch()
        self._drawing.stop()
        with contextlib.suppress(RuntimeError):  # the canvas went before
            self._iface.mapCanvas().scene().removeItem(self._outline)

    # --- inside

    def _chosen(self) -> Choice:
        return self._last

    def _choice_changed(self, *_: object) -> None:
        chosen: Choice = self._combo.currentData() or (SHOWN, "")
        if chosen[0] == DRAW:
            self._fill()  # it is chosen when it is drawn
            self._button.setChecked(True)
            return
        self._last = chosen
        self.measure()

    def _fill(self, *_: object, wanted: Optional[Choice] = None) -> None:
        chosen = wanted or self._last
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItem(self.tr("What the map shows"), (SHOWN, ""))
        if self._drawn is not None:
            self._combo.addItem(self.tr("The rectangle that was drawn"), (DRAWN, ""))
        self._combo.addItem(self.tr("Draw a rectangle…"), (DRAW, ""))
        layers = sorted(QgsProject.instance().mapLayers().values(), key=lambda e: e.name().lower())
        for layer in layers:
            if _has_polygons(layer):
                self._combo.addItem(self._polygons_text(layer), (POLYGONS, layer.id()))
        for layer in layers:
            if layer.isSpatial():
                told = self.tr("Extent of “{}”").format(layer.name())
                self._combo.addItem(told, (EXTENT, layer.id()))
        places = [self._combo.itemData(index) for index in range(self._combo.count())]
        self._last = chosen if chosen in places else (SHOWN, "")
        self._combo.setCurrentIndex(places.index(self._last))
        self._combo.blockSignals(False)
        self.measure()

    def _polygons_text(self, layer: QgsVectorLayer) -> str:
        selected = layer.selectedFeatureCount()
        if selected:
            return self.tr("Selected polygons of “{}” ({})").format(
                layer.name(), text.count(selected)
            )
        return self.tr("All polygons of “{}”").format(layer.name())

    def _name_polygons(self) -> None:
        """Say anew of which layers polygons are selected."""
        for index in range(self._combo.count()):
            kind, layer_id = self._combo.itemData(index)
            layer = QgsProject.instance().mapLayer(layer_id) if kind == POLYGONS else None
            if layer is not None:
                self._combo.setItemText(index, self._polygons_text(layer))

    def _page_measured(self) -> None:
        if self._chosen()[0] == SHOWN:
            self.measure()

    def _measured(self, area: MapArea) -> str:
        limit, depth = self._session.settings.limit_px, self._session.depth
        if not isinstance(area, map_area.LayerPolygons):
            size = snapshot.measure(area, limit, depth)
            return self.tr("{} · {}").format(
                text.area_km2(size.area_km2), text.counted_pixels(size.pixels)
            )
        size = area.measured(depth)
        around = text.area_km2(size.area_km2)
        if size.pixels <= limit:
            told = self.tr("{} within {} · at most {}")
            polygons, pixels = text.polygons(area.count), text.counted_pixels(size.pixels)
            return told.format(polygons, around, pixels)
        return text.counted(
            area.count,
            self.tr("{} polygon within {} · up to {} pixels may lie in it"),
            self.tr("{} polygons within {} · up to {} pixels may lie in them"),
            around,
            text.pixels(limit),
        )

    def _refusal(self, error: TesseraError) -> str:
        if isinstance(error, ExtentTooLarge):
            return self.tr("{} pixels: too large to map at once, the limit is {}.").format(
                text.pixels(error.pixels), text.pixels(error.limit_px)
            )
        return text.join(messages.explain(error))

    def _was_drawn(self, extent: Extent) -> None:
        self._drawn = extent
        self._fill(wanted=(DRAWN, ""))

    # --- a layer whose selection counts

    def _watch(self) -> None:
        """Follow the selection of the layer whose polygons are mapped."""
        self._unwatch()
        kind, layer_id = self._chosen()
        layer = QgsProject.instance().mapLayer(layer_id) if kind == POLYGONS else None
        if layer is not None:
            self._watched = layer
            layer.selectionChanged.connect(self._selected)

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            with contextlib.suppress(RuntimeError, TypeError):  # the layer may be gone
                watched.selectionChanged.disconnect(self._selected)

    def _selected(self, *_: object) -> None:
        self._name_polygons()
        self._settle.start()

    # --- the outline

    def _show_outline(self, *_: object) -> None:
        self._outline.reset(_POLYGON)
        is_plain = self._chosen()[0] == SHOWN
        if not self._is_in_sight or is_plain or self._problem is not None:
            return
        with contextlib.suppress(TesseraError, QgsCsException):  # the map can't show it
            area = self.area()
            extent = area.around if isinstance(area, map_area.LayerPolygons) else area
            crs = QgsCoordinateReferenceSystem(extent.crs)
            rectangle = QgsRectangle(extent.west, extent.south, extent.east, extent.north)
            if extent.west > extent.east:
                return  # across the antimeridian
            shape = QgsGeometry.fromRect(rectangle).densifyByCount(20)
            to_map = QgsCoordinateTransform(
                crs, self._iface.mapCanvas().mapSettings().destinationCrs(), QgsProject.instance()
            )
            shape.transform(to_map)
            self._outline.setToGeometry(shape)


_POLYGON = QgsWkbTypes.GeometryType.PolygonGeometry


def _has_polygons(layer: QgsMapLayer) -> bool:
    return isinstance(layer, QgsVectorLayer) and layer.geometryType() == _POLYGON
