# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Both forms of one dataset of the sample archive, for tests of what every fetch does."""

import dataclasses
import functools
import tempfile

import numpy as np

from tessera_plugin.engine import catalog
from tessera_plugin.io.sources.npy_tiles import NpyTiles
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.values import Access, NetworkSettings, Window
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import AREAS
from tests.servers import RangeServer

QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
CAMBRIDGE = catalog.dataset("1.1-cambridge")
KINDS = {"zarr": ZarrStore, "npy": NpyTiles}


@functools.lru_cache(maxsize=1)
def archive():
    return SampleArchive()


def opened(form, location, folder, offline=False, **network):
    settings = dataclasses.replace(QUICK, **network)
    return KINDS[form](Access(str(folder), location, offline, settings), CAMBRIDGE, 2024)


@functools.lru_cache(maxsize=1)
def place():
    """A window that has data in both forms."""
    row, col, _, _ = archive().zarr.rectangle(AREAS[0])
    return Window(31, row + 20, col + 30, 260, 240)


@functools.lru_cache(maxsize=2)
def truth(form):
    """What a fetch of the place gives without any trouble; other tests say that it is right."""
    with RangeServer(archive()) as server, tempfile.TemporaryDirectory() as folder:
        source = opened(form, server.url, folder)
        assert source.fetch([place()]).failed == ()
        return source.read(place())


def assert_true(source, form):
    for got, wanted in zip(source.read(place()), truth(form)):
        np.testing.assert_array_equal(got, wanted)
