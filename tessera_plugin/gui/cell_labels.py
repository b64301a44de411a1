# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The labels behind a cell of the confusion matrix: selected, and brought into sight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QCoreApplication

from ..tasks.labels import LabelStore
from ..values import PIXEL_M
from . import text

if TYPE_CHECKING:
    from ..engine.training import TrainResult

AROUND_M = 300.0
"""So much is seen around labels."""

MOST_FLASHED = 500

translate = QCoreApplication.translate


def show(result: TrainResult, reference: int, mapped: int, store: LabelStore,
         canvas: QgsMapCanvas) -> str:  # fmt: skip
    """Select the labels that are of one class and were mapped as another; return a line on them.

    Both are class ids. The map goes where they are; also to labels of other files, which can't be
    selected.
    """
    samples, answers = result.data, result.answers
    if samples is None or answers is None:
        return ""
    names = {each.id: each.name for each in result.head.classes}
    keys = answers.behind(samples, reference, mapped)
    ours = tuple(key for key in keys if store.label(key) is not None)
    store.select(ours)
    rows = answers.at(samples, reference, mapped)
    several: Dict[int, List[QgsPointXY]] = {}
    for zone, row, col in zip(
        samples.zone[rows].tolist(), samples.row[rows].tolist(), samples.col[rows].tolist()
    ):
        middle = QgsPointXY(PIXEL_M * (col + 0.5), -PIXEL_M * (row + 0.5))
        several.setdefault(zone, []).append(middle)
    _look_at(canvas, several)
    told = [_sentence(len(keys), names.get(reference, ""), names.get(mapped, ""))]
    if len(ours) < len(keys):
        told.append(
            translate("Map", "Not in your label file (any more): {}; the map shows where.").format(
                text.count(len(keys) - len(ours))
            )
        )
    if ours:
        told.append(translate("Map", "Selected on the map. Click the number again to let go."))
    return text.join(told)


def _sentence(count: int, reference: str, mapped: str) -> str:
    if count == 1:
        words = translate("Map", "1 label of {1} mapped as {2}.")
    else:
        words = translate("Map", "{0} labels of {1} mapped as {2}.")
    return words.format(text.count(count), reference, mapped)


def _look_at(canvas: QgsMapCanvas, several: Dict[int, List[QgsPointXY]]) -> None:
    """Bring places of UTM zones into sight, and let them flash."""
    crs = canvas.mapSettings().destinationCrs()
    if not crs.isValid():
        return
    extent = QgsRectangle()
    flashes = []
    for zone, points in several.items():
        utm = QgsCoordinateReferenceSystem(f"EPSG:{32600 + zone}")
        to_map = QgsCoordinateTransform(utm, crs, QgsProject.instance())
        around = QgsGeometry.fromMultiPointXY(points).boundingBox().buffered(AROUND_M)
        try:
            extent.combineExtentWith(to_map.transformBoundingBox(around))
        except QgsCsException:  # the map can't show them
            continue
        flashes.append((utm, points[:MOST_FLASHED]))
    if extent.isEmpty():
        return
    canvas.setExtent(extent)
    canvas.refresh()
    for utm, points in flashes:
        canvas.flashGeometries([QgsGeometry.fromPointXY(point) for point in points], utm)
