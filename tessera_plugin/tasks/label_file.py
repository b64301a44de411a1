# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The label file as QGIS sees it."""

from __future__ import annotations

import os
from pathlib import Path

from qgis.core import QgsMapLayer, QgsVectorLayer
from qgis.PyQt.QtCore import QStandardPaths

from ..values import POINTS, POLYGONS

__all__ = ["POINTS", "POLYGONS", "TABLES", "default_path", "shows", "uri"]

TABLES = (POINTS, POLYGONS)


def default_path() -> str:
    """Return where labels are kept until the person chooses: the documents folder."""
    location = QStandardPaths.StandardLocation.DocumentsLocation
    folder = QStandardPaths.writableLocation(location) or str(Path.home())
    return str(Path(folder) / "Tessera" / "labels.gpkg")


def uri(path: str, table: str) -> str:
    """Return the source of a layer on a table of the file."""
    return f"{path}|layername={table}"


def shows(layer: QgsMapLayer, path: str, table: str) -> bool:
    """Return whether a layer shows a table of the file."""
    if not isinstance(layer, QgsVectorLayer):
        return False
    file, _, rest = layer.source().partition("|")
    is_same = os.path.normcase(file) == os.path.normcase(path)
    return is_same and f"layername={table}" in rest.split("|")
