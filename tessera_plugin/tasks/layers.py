# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From results to styled layers of the project, grouped. On the GUI thread.

A layer is known by a role (a custom property) and by its file; nothing here holds on to one, as the
person may remove it at any time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Container, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsColorRampShader,
    QgsFillSymbol,
    QgsGradientColorRamp,
    QgsGradientStop,
    QgsLayerTreeGroup,
    QgsLayerTreeLayer,
    QgsMapLayer,
    QgsMarkerSymbol,
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsRasterShader,
    QgsRendererCategory,
    QgsSingleBandPseudoColorRenderer,
    QgsSymbol,
)
from qgis.PyQt.QtGui import QColor

from ..values import LandClass
from .label_file import POINTS, POLYGONS

GROUP = "Tessera"
ROLE = "tessera/role"

MAP, CONFIDENCE, OBSERVATIONS, PREVIEW = "map", "confidence", "observations", "preview"
SIMILARITY, COLORS = "similarity", "colors"
AREAS, CLEANED = "areas", "cleaned"
PROBABILITY, MARGIN, NOVELTY = "probability", "margin", "novelty"
ORDER = (
    *(POINTS, POLYGONS, AREAS, CLEANED, MAP, CONFIDENCE, MARGIN, NOVELTY, PROBABILITY),
    *(OBSERVATIONS, SIMILARITY, COLORS, PREVIEW),
)
"""Roles from top to bottom of the group."""

QUIET = (CONFIDENCE, MARGIN, NOVELTY, PROBABILITY, AREAS)
"""Roles whose layers are not shown at first."""

MOST_NOVELTY = 254.0

CONFIDENCE_COLORS: Tuple[Tuple[float, str], ...] = (
    (0.0, "#440154"),
    (25.0, "#3b528b"),
    (50.0, "#21918c"),
    (75.0, "#5ec962"),
    (100.0, "#fde725"),
)
"""Percent and colour (viridis: even to the eye, also without colour vision)."""


OBSERVATION_COLORS: Tuple[Tuple[float, str, str], ...] = (
    (0.0, "#5e2129", "0"),
    (14.0, "#e08a3c", "1 \u2013 14"),
    (29.0, "#b8de8f", "15 \u2013 29"),
    (float("inf"), "#2b8a57", "30 +"),
)
"""Largest number of a step, its colour and its name; under 15 embeddings are to be trusted less."""


@dataclass(frozen=True)
class Place:
    """Where a layer was in the layer tree, to put its successor there."""

    group: QgsLayerTreeGroup
    index: int
    visible: bool
    expanded: bool


# --- the group


def add(project: QgsProject, layer: QgsMapLayer, role: str, place: Optional[Place] = None) -> str:
    """Add a layer to its place in the group, or to a place it is to take; return its id."""
    layer.setCustomProperty(ROLE, role)
    project.addMapLayer(layer, False)
    if place is not None and _is_in(project, place.group):
        node = place.group.insertLayer(place.index, layer)
        node.setItemVisibilityChecked(place.visible)
        node.setExpanded(place.expanded)
    else:
        group = group_of(project)
        node = group.insertLayer(index_of(group, role), layer)
        node.setItemVisibilityChecked(role not in QUIET)
        node.setExpanded(role in (POINTS, MAP))
    return str(layer.id())


def with_role(project: QgsProject, role: str) -> List[QgsMapLayer]:
    """Return the project's layers of a role."""
    layers = project.mapLayers().values()
    return [each for each in layers if each.customProperty(ROLE) == role]


def release(project: QgsProject, files: Iterable[str]) -> Mapping[str, Place]:
    """Remove the layers that show one of the files, so that it can be replaced.

    Returns their places by role.
    """
    wanted = {_normal(file) for file in files}
    places = {}
    for layer in list(project.mapLayers().values()):
        if _normal(file_of(layer)) in wanted:
            place = _place(project, layer)
            if place is not None:
                places[str(layer.customProperty(ROLE) or MAP)] = place
            project.removeMapLayer(layer.id())
    return places


def remove(project: QgsProject, gone: Sequence[QgsMapLayer]) -> Mapping[str, Place]:
    """Remove layers; return the places by role that they had together."""
    places = {str(each.customProperty(ROLE)): _place(project, each) for each in gone}
    project.removeMapLayers([each.id() for each in gone])
    return {role: place for role, place in places.items() if place is not None}


def file_of(layer: QgsMapLayer) -> str:
    """Return the file a layer shows; empty if it shows none."""
    parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    return str(parts.get("path") or "")


def free_name(project: QgsProject, name: str, file: str) -> str:
    """Return a layer name; with the file's name behind it where the plain one is taken."""
    taken: Set[str] = {layer.name() for layer in project.mapLayers().values()}
    return name if name not in taken else f"{name} ({Path(file).stem})"


# --- layers and their styles


def class_map(file: str, name: str, classes: Sequence[LandClass]) -> QgsRasterLayer:
    """Return a class raster (0 = nodata) in the colours of its classes."""
    layer = raster(file, name)
    entries = [
        QgsPalettedRasterRenderer.Class(float(each.id), QColor(each.color), each.name)
        for each in classes
    ]
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, entries))
    return layer


def confidence_map(file: str, name: str, band: int = 1) -> QgsRasterLayer:
    """Return a band of a raster (percent, 255 = nodata) in a ramp that all can read."""
    layer = raster(file, name)
    first, *between, last = CONFIDENCE_COLORS
    ramp = QgsGradientColorRamp(
        QColor(first[1]),
        QColor(last[1]),
        False,
        [QgsGradientStop(percent / 100, QColor(color)) for percent, color in between],
    )
    colors = QgsColorRampShader(0.0, 100.0, ramp)
    colors.setColorRampItemList(
        [
            QgsColorRampShader.ColorRampItem(percent, QColor(color), f"{percent:.0f} %")
            for percent, color in CONFIDENCE_COLORS
        ]
    )
    shader = QgsRasterShader(0.0, 100.0)
    shader.setRasterShaderFunction(colors)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), band, shader)
    renderer.setClassificationMin(0.0)
    renderer.setClassificationMax(100.0)
    layer.setRenderer(renderer)
    return layer


def observations_map(file: str, name: str) -> QgsRasterLayer:
    """Return how often each pixel was seen by Sentinel-2, in steps that matter."""
    layer = raster(file, name)
    colors = QgsColorRampShader(0.0, 30.0, None, QgsColorRampShader.Type.Discrete)
    colors.setColorRampItemList(
        [
            QgsColorRampShader.ColorRampItem(most, QColor(color), words)
            for most, color, words in OBSERVATION_COLORS
        ]
    )
    shader = QgsRasterShader(0.0, 30.0)
    shader.setRasterShaderFunction(colors)
    layer.setRenderer(QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader))
    return layer


def preview_map(file: str, name: str) -> QgsRasterLayer:
    """Return a preview (red, green, blue, alpha) as it is, without another stretch."""
    layer = raster(file, name)
    renderer = QgsMultiBandColorRenderer(layer.dataProvider(), 1, 2, 3)
    renderer.setAlphaBand(4)
    layer.setRenderer(renderer)
    return layer


def label_renderer(
    role: str, classes: Sequence[LandClass], hidden: Container[int] = ()
) -> QgsCategorizedSymbolRenderer:
    """Return how labels are drawn: in the colours of their classes, seen on any background."""
    categories = [
        QgsRendererCategory(each.id, _symbol(role, each.color), each.name, each.id not in hidden)
        for each in classes
    ]
    return QgsCategorizedSymbolRenderer("class_id", categories)


def _symbol(role: str, color: str) -> QgsSymbol:
    if role == POINTS:
        return QgsMarkerSymbol.createSimple(
            {
                "name": "circle",
                "color": color,
                "size": "3.2",
                "outline_color": "#ffffff",
                "outline_width": "0.5",
            }
        )
    red, green, blue, _ = QColor(color).getRgb()
    return QgsFillSymbol.createSimple(
        {
            "color": f"{red},{green},{blue},70",
            "outline_color": color,
            "outline_width": "0.7",
        }
    )


def raster(file: str, name: str) -> QgsRasterLayer:
    """Return the layer of a raster file, without a style of its own."""
    options = QgsRasterLayer.LayerOptions(loadDefaultStyle=False)
    layer = QgsRasterLayer(file, name, "gdal", options)
    if not layer.isValid():
        raise OSError(f"{file} was written but QGIS can't open it")
    return layer


# --- the layer tree


def group_of(project: QgsProject) -> QgsLayerTreeGroup:
    """Return the group that all layers are in; it is made where there is none."""
    root = project.layerTreeRoot()
    return root.findGroup(GROUP) or root.insertGroup(0, GROUP)


def index_of(group: QgsLayerTreeGroup, role: str) -> int:
    """Return where a layer of that role goes: above those of the same role.

    A group within the group counts as its first layer.
    """
    for index, node in enumerate(group.children()):
        inner = [node] if isinstance(node, QgsLayerTreeLayer) else node.findLayers()
        layer = inner[0].layer() if inner else None
        other = layer.customProperty(ROLE) if layer is not None else None
        if other in ORDER and ORDER.index(other) >= ORDER.index(role):
            return index
    return len(group.children())


def _place(project: QgsProject, layer: QgsMapLayer) -> Optional[Place]:
    node = project.layerTreeRoot().findLayer(layer.id())
    if node is None:
        return None
    group = node.parent()
    index = group.children().index(node)
    return Place(group, index, node.itemVisibilityChecked(), node.isExpanded())


def _is_in(project: QgsProject, group: QgsLayerTreeGroup) -> bool:
    root = project.layerTreeRoot()
    return group is root or group in root.findGroups(True)


def _normal(file: str) -> str:
    return os.path.normcase(os.path.abspath(file)) if file else ""  # noqa: PTH100 - keeps links
