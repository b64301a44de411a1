# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How what is written beside a map is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

from qgis.core import (
    QgsColorRampShader,
    QgsLayerTreeGroup,
    QgsProject,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsRasterShader,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtGui import QColor

from . import layers

NOVELTY_COLORS: Tuple[Tuple[float, str, str], ...] = (
    (50.0, "#00f7f7f7", "0 \u2013 50 %"),
    (100.0, "#fdd49e", "50 \u2013 100 %"),
    (150.0, "#ef6548", "100 \u2013 150 %"),
    (float("inf"), "#990000", "150 % +"),
)
"""Largest percent of the limit of a step, its colour and its name: over 100 is unlike any label."""

translate = QCoreApplication.translate


def novelty_map(file: str, name: str) -> QgsRasterLayer:
    """Return a novelty raster (percent of the limit, 255 = nodata) in steps that matter."""
    layer = layers.raster(file, name)
    colors = QgsColorRampShader(0.0, layers.MOST_NOVELTY, None, QgsColorRampShader.Type.Discrete)
    colors.setColorRampItemList(
        [
            QgsColorRampShader.ColorRampItem(most, QColor(color), words)
            for most, color, words in NOVELTY_COLORS
        ]
    )
    shader = QgsRasterShader(0.0, layers.MOST_NOVELTY)
    shader.setRasterShaderFunction(colors)
    layer.setRenderer(QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader))
    return layer


def probabilities(
    project: QgsProject, file: str, classes: Sequence[str], year: int
) -> Iterator[None]:
    """Add a layer for each band of a raster of probabilities, in a group of their own, not shown.

    A layer to each step.
    """
    title = translate("Jobs", "{} probabilities").format(year)
    group = _group(project, title)
    for band, name in enumerate(classes, 1):
        called = translate("Jobs", "{} probability {}").format(name, year)
        layer = layers.confidence_map(file, layers.free_name(project, called, file), band)
        layer.setCustomProperty(layers.ROLE, layers.PROBABILITY)
        project.addMapLayer(layer, False)
        group.addLayer(layer).setExpanded(False)
        yield


def polygon_layers(file: str, name: str) -> List[QgsVectorLayer]:
    """Return the tables of a map's polygons, drawn as the file says."""
    found = []
    sublayers = QgsProviderRegistry.instance().querySublayers(file)
    tables = [each.name() for each in sublayers if each.name() != "layer_styles"]
    for table in tables:
        called = name if len(tables) == 1 else f"{name} ({table.rpartition('_')[2]})"
        layer = QgsVectorLayer(f"{file}|layername={table}", called, "ogr")
        if not layer.isValid():
            raise OSError(f"{Path(file).name} was written but QGIS can't open it")
        found.append(layer)
    return found


def _group(project: QgsProject, title: str) -> QgsLayerTreeGroup:
    outer = layers.group_of(project)
    found = outer.findGroup(title)
    if found is not None and not found.findLayers():  # left by the layers that are replaced
        outer.removeChildNode(found)
        found = None
    if found is None:
        found = outer.insertGroup(layers.index_of(outer, layers.PROBABILITY), title)
        found.setItemVisibilityChecked(False)
        found.setExpanded(False)
    return found
