# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ..errors import NoLabels
from ..io import label_export
from ..io.label_export import FORMATS
from ..progress import Report, silent
from ..values import LandClass, StoredLabel

__all__ = ["FORMATS", "export"]


def export(
    store: str,
    labels: Sequence[StoredLabel],
    classes: Sequence[LandClass],
    path: str,
    report: Report = silent,
) -> int:
    """Write labels to a file of the format that its ending says, and return how many they are.

    A GeoPackage is a copy of the whole label file `store`, which can be used as one; what ends in
    none of `FORMATS` is GeoJSON. Raises: NoLabels, NotWritable, DiskFull.
    """
    if not labels:
        raise NoLabels(store)
    report(0.0, "Writing labels")
    ending = Path(path).suffix.lower()
    if ending == ".gpkg":
        label_export.copy_store(store, path)
    elif ending == ".csv":
        label_export.write_csv(path, labels, classes)
    else:
        label_export.write_geojson(path, labels, classes)
    return len(labels)
