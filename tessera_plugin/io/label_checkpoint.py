# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing the log of a label file into the file, so that a copy of the file alone has it all."""

from __future__ import annotations

import contextlib

from osgeo import gdal

from ..errors import NotWritable
from .label_connection import Rows, connected, data_version, rows


class Checkpoint:
    """A connection for one checkpoint, on any one thread at a time."""

    def __init__(self, path: str) -> None:
        """Connect; from now on it is seen who writes."""
        self._path = path
        self._dataset = connected(path, gdal.OF_UPDATE)
        self._before = self._version()

    def run(self) -> bool:
        """Bring the log in. Return whether all of it is; somebody who reads may be in the way."""
        if self._dataset is None:
            return False
        with contextlib.suppress(NotWritable):
            self._rows("PRAGMA busy_timeout = 0")  # the next click must not wait for this
            self._rows("PRAGMA wal_checkpoint(PASSIVE)")
            # An empty log can't be taken for that of a file which somebody puts in the place of this.
            return not any(busy for busy, *_ in self._rows("PRAGMA wal_checkpoint(TRUNCATE)"))
        return False

    def nobody_wrote(self) -> bool:
        """Return whether no other connection wrote since this one was made."""
        return self._before >= 0 and self._version() == self._before

    def close(self) -> None:
        """Disconnect."""
        self._dataset = None

    def _rows(self, sql: str) -> Rows:
        return rows(self._path, self._dataset, sql)

    def _version(self) -> int:
        return -1 if self._dataset is None else data_version(self._path, self._dataset)
