# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A small area of the sample archive, fetched once for all tests of a module."""

import contextlib

from tessera_plugin.engine import embeddings
from tessera_plugin.values import Access, Extent, Window
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

DATASET, YEAR = "1.1-dclimate", 2024
FETCHED = (0.1, 52.18, 0.12, 52.195)
SEEN = (0.103, 52.182, 0.117, 52.193)
"""Within what is fetched."""


@contextlib.contextmanager
def fetched(cache):
    """Yield the access to a server of the archive, and to a cache that has the area."""
    with RangeServer(SampleArchive()) as server:
        access = Access(str(cache), server.url)
        embeddings.fetch(embeddings.FetchRequest(DATASET, YEAR, Extent(*FETCHED), access))
        yield access


def places_of_classes(per_class=2):
    """Return places well inside parcels: class id, then longitudes and latitudes."""
    found = {}
    for point in SampleArchive().label_points(SEEN, per_class=per_class):
        found.setdefault(point.class_id, []).append((point.lon, point.lat))
    return found


def pixel(row, col):
    """Return a pixel of the area's zone."""
    return Window(31, int(row), int(col), 1, 1)
