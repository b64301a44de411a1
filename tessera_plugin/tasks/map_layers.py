# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A map and what was written beside it, as layers of the project with the names a person gives.

The year comes first: the panel of layers is narrow and cuts off what comes last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, List, Mapping, Optional, Sequence

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication

from ..values import LandClass
from . import layers, map_styles
from .layers import Place

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult
    from ..engine.mapping import NamedRaster

translate = QCoreApplication.translate


def show(
    project: QgsProject, result: ClassifyResult, places: Mapping[str, Place], title: str = ""
) -> None:
    """Add what there is; `places` are those of the layers that it replaces, by role."""
    for _ in one_by_one(project, result, places, title):
        pass


def one_by_one(
    project: QgsProject, result: ClassifyResult, places: Mapping[str, Place], title: str = ""
) -> Iterator[None]:
    """Do the same, a layer to each step: each costs QGIS 10 to 20 ms."""
    name = title or _title(result)
    classes = [LandClass(each.id, each.name, each.color) for each in result.classes]
    for file in _shown(result.maps, result.mosaic):
        layer = layers.class_map(file, layers.free_name(project, name, file), classes)
        layers.add(project, layer, layers.MAP, places.get(layers.MAP))
        yield
    for file in _files(result.clean):
        called = translate("Jobs", "{} cleaned map").format(result.year)
        cleaned = layers.free_name(project, called, file)
        layer = layers.class_map(file, cleaned, classes)
        layers.add(project, layer, layers.CLEANED, places.get(layers.CLEANED))
        yield
    if result.polygons is not None:
        called = translate("Jobs", "{} polygons").format(result.year)
        for vector in map_styles.polygon_layers(result.polygons, called):
            layers.add(project, vector, layers.AREAS, places.get(layers.AREAS))
            yield
    yield from _percents(project, result, places)


def _percents(
    project: QgsProject, result: ClassifyResult, places: Mapping[str, Place]
) -> Iterator[None]:
    name = translate("Jobs", "{} confidence").format(result.year)
    for file in _shown(result.confidences, result.confidence_mosaic):
        layer = layers.confidence_map(file, layers.free_name(project, name, file))
        layers.add(project, layer, layers.CONFIDENCE, places.get(layers.CONFIDENCE))
        yield
    name = translate("Jobs", "{} margin").format(result.year)
    for file in _files(result.margin):
        layer = layers.confidence_map(file, layers.free_name(project, name, file))
        layers.add(project, layer, layers.MARGIN, places.get(layers.MARGIN))
        yield
    name = translate("Jobs", "{} novelty").format(result.year)
    for file in _files(result.novelty):
        layer = map_styles.novelty_map(file, layers.free_name(project, name, file))
        layers.add(project, layer, layers.NOVELTY, places.get(layers.NOVELTY))
        yield
    for file in _files(result.probabilities):
        names: List[str] = [each.name for each in result.classes if each.id != result.uncertain_id]
        yield from map_styles.probabilities(project, file, names, result.year)


def _title(result: ClassifyResult) -> str:
    """Return what a map made by a head is called; a head of another year is told."""
    if result.trained_years == (result.year,):
        return translate("Jobs", "{} land cover").format(result.year)
    years = ", ".join(str(year) for year in result.trained_years)
    return translate("Jobs", "{} land cover (head of {})").format(result.year, years)


def _shown(files: Sequence[str], mosaic: Optional[str]) -> Sequence[str]:
    return files if mosaic is None else (mosaic,)


def _files(raster: Optional[NamedRaster]) -> Sequence[str]:
    return () if raster is None else _shown(raster.paths, raster.mosaic)
