# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections to a label file: all of them GDAL's own, see `label_file`."""

from __future__ import annotations

import contextlib
from typing import Any, List, Tuple

from osgeo import gdal

from ..errors import LabelsUnreadable, NotWritable
from .gdal_errors import collected

BUSY_MS = 400
"""So long another program may keep the file locked; the person waits meanwhile."""

Rows = List[Tuple[Any, ...]]


def connect(path: str, mode: int) -> Any:  # noqa: ANN401 - GDAL has no types
    """Open a GeoPackage. Raises: LabelsUnreadable."""
    problems: List[str] = []
    with collected(problems):
        dataset = gdal.OpenEx(path, gdal.OF_VECTOR | mode, ["GPKG"])
    if dataset is None:
        reason = sentence(problems[0]) if problems else "it is no GeoPackage"
        raise LabelsUnreadable(path, reason)
    return dataset


def connected(path: str, mode: int) -> Any:  # noqa: ANN401 - GDAL has no types
    """Open a GeoPackage; None where that can't be done."""
    with contextlib.suppress(LabelsUnreadable):
        return connect(path, mode)
    return None


def rows(path: str, dataset: Any, sql: str) -> Rows:  # noqa: ANN401 - GDAL has no types
    """Run a statement and return its rows. Raises: NotWritable."""
    problems: List[str] = []
    found: Rows = []
    with collected(problems):
        result = dataset.ExecuteSQL(sql)
        if result is not None:
            for feature in result:
                count = feature.GetFieldCount()
                found.append(tuple(feature.GetField(index) for index in range(count)))
            dataset.ReleaseResultSet(result)
    if problems:
        # who keeps the error must not keep the file open, maybe longer than GDAL is there
        del dataset
        raise NotWritable(path, sentence(problems[0]))
    return found


def data_version(path: str, dataset: Any) -> int:  # noqa: ANN401 - GDAL has no types
    """Return a number that changes when another connection writes, or brings the log in."""
    with contextlib.suppress(NotWritable):
        return int(rows(path, dataset, "PRAGMA data_version")[0][0])
    return -1


def sentence(message: str) -> str:
    """Return what GDAL or SQLite says as part of a sentence."""
    return " ".join(message.split()).rstrip(".")
