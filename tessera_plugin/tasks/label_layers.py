# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers of a project that show the label file. On the GUI thread."""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, List, Optional, Sequence, Set

from qgis.core import (
    QgsFeatureRenderer,
    QgsMapLayer,
    QgsProject,
    QgsReadWriteContext,
    QgsVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtXml import QDomDocument

from ..values import POINTS, LandClass
from . import layers
from .label_file import TABLES, shows, uri

STYLE = "tessera/style"
"""Custom property of a layer: the classes it is drawn by."""

NEW_FIELD = "note"
"""A layer that was made on a file of version 1 does not know it."""


class LabelLayers:
    """Keeps the layers as the labels are, doing no more than is due: it is done at every click."""

    def __init__(self, edited: Callable[[], None]) -> None:
        """`edited` is called when a person saved edits of a layer."""
        self._edited = edited
        self._path = ""
        self._project: Optional[QgsProject] = None
        self._known: Set[str] = set()
        self._to_draw: Set[str] = set()
        self._to_count: Set[str] = set()
        self._selected: Dict[str, List[int]] = {}
        self._places: Dict[str, layers.Place] = {}
        """Where the layers of the file before were, by table."""

    def use(self, path: str) -> None:
        """Show another file from now on: its layers take the place of those of the one before.

        Layers that the person added stay, and those with edits that are not saved.
        """
        project = self._project
        if project is not None and not sip.isdeleted(project) and path != self._path:
            dirty = project.isDirty()
            self._places.update(layers.remove(project, self._ours()))
            project.setDirty(dirty)
        self._path, self._known = path, set()
        self._to_draw, self._to_count = set(TABLES), set(TABLES)

    def touch(self, tables: Sequence[str]) -> None:
        """Say that tables have other rows than before."""
        self._to_draw |= set(tables)
        self._to_count |= set(tables)

    def show(
        self, project: QgsProject, classes: Sequence[LandClass], hidden: FrozenSet[int]
    ) -> None:
        """Have a project show the labels."""
        self._project = project
        dirty = project.isDirty()
        for table in TABLES:
            self._show(project, table, classes, hidden)
        project.setDirty(dirty)  # all is in the label file: nothing to save

    def are_in(self, project: QgsProject) -> bool:
        """Whether each table has a layer in a project."""
        shown = project.mapLayers().values()
        return all(any(shows(each, self._path, table) for each in shown) for table in TABLES)

    def select(self, feature_ids: Dict[str, List[int]]) -> None:
        """Select labels on the layers that show them."""
        self._selected = feature_ids
        for table in TABLES:
            for layer in self._shown(table):
                self._select_on(layer, table)

    def count(self) -> None:
        """Have the layers count their rows anew; it costs more than a click may."""
        for table in sorted(self._to_count):
            for layer in self._shown(table):
                if not layer.isEditable():
                    _reload(layer)
                    layer.updateExtents(True)
        self._to_count = set()

    # --- inside

    def _show(
        self,
        project: QgsProject,
        table: str,
        classes: Sequence[LandClass],
        hidden: FrozenSet[int],
    ) -> None:
        self._project = project
        if not self._shown(table):
            layer = QgsVectorLayer(uri(self._path, table), _layer_name(table), "ogr")
            layers.add(project, layer, table, self._places.pop(table, None))
        style = repr((tuple(classes), sorted(hidden)))
        for layer in self._shown(table):
            is_new = layer.id() not in self._known
            if is_new:
                self._meet(layer)
            is_styled = layer.customProperty(STYLE) == style
            if not is_styled:  # a new renderer folds the legend anew
                layer.setRenderer(layers.label_renderer(table, classes, hidden))
                layer.setCustomProperty(STYLE, style)
            if is_new or not is_styled or table in self._to_draw:
                self._select_on(layer, table)
                layer.triggerRepaint()
        self._to_draw.discard(table)

    def _meet(self, layer: QgsVectorLayer) -> None:
        """Bring a layer up to date that was opened before the file was in use."""
        self._known.add(layer.id())
        layer.afterCommitChanges.connect(self._edited)
        if not layer.isEditable():
            _reload(layer)

    def _ours(self) -> List[QgsVectorLayer]:
        """Return the layers that were added here and can go."""
        found = (each for table in TABLES for each in self._shown(table))
        return [
            each for each in found if each.customProperty(layers.ROLE) and not each.isModified()
        ]

    def _shown(self, table: str) -> List[QgsVectorLayer]:
        if self._project is None or sip.isdeleted(self._project):
            return []
        return [
            each for each in self._project.mapLayers().values() if shows(each, self._path, table)
        ]

    def _select_on(self, layer: QgsVectorLayer, table: str) -> None:
        wanted = self._selected.get(table, [])
        if wanted or layer.selectedFeatureCount():
            layer.selectByIds(wanted)


def _reload(layer: QgsVectorLayer) -> None:
    """Have a layer read its file anew, also one that it could not read or that has other fields."""
    if layer.isValid() and layer.fields().lookupField(NEW_FIELD) >= 0:
        layer.dataProvider().reloadData()
    else:
        layer.setDataSource(layer.source(), layer.name(), "ogr")


def default_styles(classes: Sequence[LandClass], hidden: FrozenSet[int]) -> Dict[str, str]:
    """Return how each table is drawn where somebody opens the file by itself, as QML."""
    return {
        table: _qml(layers.label_renderer(table, classes, hidden), kind)
        for table, kind in zip(TABLES, ("Point", "Polygon"))
    }


def _qml(renderer: QgsFeatureRenderer, kind: str) -> str:
    layer = QgsVectorLayer(f"{kind}?crs=EPSG:4326&field=class_id:integer", "", "memory")
    layer.setRenderer(renderer)
    document = QDomDocument()
    categories = QgsMapLayer.StyleCategory.Symbology
    layer.exportNamedStyle(document, QgsReadWriteContext(), categories)
    return str(document.toString(0))


def _layer_name(table: str) -> str:
    if table == POINTS:
        return QCoreApplication.translate("Labels", "Label points")
    return QCoreApplication.translate("Labels", "Label polygons")
