# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Spatial blocks on the map, each in the colour of the part that it is tested with."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Dict, List, Sequence, Tuple

from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsRectangle, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QColor

from ..values import PIXEL_M
from .links import Links

if TYPE_CHECKING:
    from ..engine.folds import Block

FILL_ALPHA, LINE_PX = 70, 2


class BlockBands:
    """Rubber bands, one for each part and UTM zone."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self._canvas = canvas
        self._blocks: Tuple[Block, ...] = ()
        self._bands: List[QgsRubberBand] = []
        self._links = Links()
        self._links.connect(canvas.destinationCrsChanged, self._draw)

    @property
    def blocks(self) -> Tuple[Block, ...]:
        """The blocks that are on the map."""
        return self._blocks

    def show(self, blocks: Sequence[Block]) -> None:
        """Draw these blocks instead of those before."""
        if self._blocks != tuple(blocks):
            self._blocks = tuple(blocks)
            self._draw()

    def close_down(self) -> None:
        """Take everything off the map."""
        if not sip.isdeleted(self._canvas):  # its signals went with it
            self._links.close()
        self._blocks = ()
        self._remove()

    def _draw(self) -> None:
        self._remove()
        if sip.isdeleted(self._canvas):
            return
        several: Dict[Tuple[int, int], List[QgsRectangle]] = defaultdict(list)
        for block in self._blocks:
            several[(block.fold, block.window.zone)].append(_rectangle(block))
        for (fold, zone), rectangles in several.items():
            band = QgsRubberBand(self._canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
            color = part_color(fold)
            band.setStrokeColor(color)
            band.setWidth(LINE_PX)
            color.setAlpha(FILL_ALPHA)
            band.setFillColor(color)
            crs = QgsCoordinateReferenceSystem(f"EPSG:{32600 + zone}")
            for rectangle in rectangles:
                band.addGeometry(QgsGeometry.fromRect(rectangle), crs)
            self._bands.append(band)

    def _remove(self) -> None:
        bands, self._bands = self._bands, []
        for band in bands:
            if not sip.isdeleted(band):
                scene = band.scene()
                if scene is not None:
                    scene.removeItem(band)
                sip.delete(band)


def part_color(number: int) -> QColor:
    """Return the colour of a part; neighbours in number are far apart."""
    return QColor.fromHsvF((0.6 + number * 0.618034) % 1, 0.75, 0.9)


def _rectangle(block: Block) -> QgsRectangle:
    window = block.window
    return QgsRectangle(
        PIXEL_M * window.col, -PIXEL_M * window.stop_row,
        PIXEL_M * window.stop_col, -PIXEL_M * window.row,
    )  # fmt: skip
