# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetches on full and read-only disks, over lines that break, killed, and several at once."""

import dataclasses
import errno
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.errors import DiskFull
from tessera_plugin.io import cache_files, files
from tessera_plugin.io.sources import lots, mirrors, tile_fetch
from tessera_plugin.io.sources.base import FetchOptions
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.zarr import store
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, Dataset, State, Window
from tests import dense_store
from tests.both_forms import KINDS, QUICK, archive, assert_true, opened, place, truth
from tests.servers import FOREVER, Fault, RangeServer

NOBODY = 65534

both = pytest.mark.parametrize("form", list(KINDS))


@pytest.fixture(autouse=True)
def fresh():
    store._asked.clear()
    mirrors._failed.clear()


@pytest.fixture
def server():
    with RangeServer(archive()) as running:
        yield running


@pytest.fixture
def window():
    return place()


# --- the disk


@pytest.fixture
def open_folder():
    """A folder that other users may look into, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-test-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def lock_up(folder):
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.skipif(os.name == "nt", reason="folders are made read-only by other means there")
def test_years_are_told_where_nothing_can_be_kept(tmp_path):
    """In memory instead, and asked for once."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    with RangeServer(archive()) as server:
        source = opened("zarr", server.url, tmp_path / "cache")
        assert source.is_published() is True
        assert 2024 in source.years()
        assert source.depths() == (128,)
        assert len(server.requests("*/zarr.json")) == 1


@both
def test_a_disk_that_runs_full_stops_once_and_keeps_what_came(
    server, tmp_path, window, form, monkeypatch
):
    server.bandwidth = 30e6
    source = opened(form, server.url, tmp_path, connections=3)
    plain, refused = cache_files.replace, []

    def replace(partial, path):
        # not after so many blocks: where tiles overlap, one of the later tile alone settles nothing
        if path.suffix == ".npy" and (source.states(window) != State.UNKNOWN).any():
            refused.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(partial, path)

    monkeypatch.setattr(cache_files, "replace", replace)
    monkeypatch.setattr(tile_fetch, "SMALL_JOB_BYTES", 100_000)
    told = []
    with pytest.raises(DiskFull):
        source.fetch([window], silent, FetchOptions(arrived=told.extend))
    assert 1 <= len(refused) <= 3, "no more than those that were at it"
    asked = len(server.log)
    time.sleep(0.3)
    assert len(server.log) == asked
    monkeypatch.undo()
    known = source.states(window) != State.UNKNOWN
    assert 0 < known.mean() < 1
    codes, scales = source.read(window)
    np.testing.assert_array_equal(codes[known], truth(form)[0][known])
    np.testing.assert_array_equal(scales[known], truth(form)[1][known])
    assert not list(tmp_path.rglob("*.tmp"))
    server.bandwidth = None
    assert source.fetch([window]).failed == ()
    assert_true(source, form)


@both
def test_the_whole_need_is_checked_before_any_data_are_asked_for(
    server, tmp_path, window, form, monkeypatch
):
    """Of all lots together, though one would find room."""
    monkeypatch.setattr(lots, "LOT_PX", 64 * 64)
    monkeypatch.setattr(lots, "SQUARE_PX", 64)
    source = opened(form, server.url, tmp_path)
    blocks = len(list(window.whole_blocks()))
    monkeypatch.setattr(files, "free_bytes", lambda path: (blocks - 1) * source.cache.block_bytes)
    with pytest.raises(DiskFull) as caught:
        source.fetch([window])
    assert caught.value.needed_bytes >= blocks * source.cache.block_bytes
    sent = sum(entry.bytes for entry in server.requests("*/c/*") + server.requests("*.npy"))
    assert sent < 1_200_000, "indexes and heads"


@both
def test_room_that_is_gone_on_the_way_stops_the_rest(server, tmp_path, window, form, monkeypatch):
    monkeypatch.setattr(lots, "LOT_PX", 64 * 64)
    monkeypatch.setattr(lots, "SQUARE_PX", 64)
    monkeypatch.setattr(tile_fetch, "SMALL_JOB_BYTES", 100_000)
    source = opened(form, server.url, tmp_path, connections=1)
    written = []
    monkeypatch.setattr(
        files, "free_bytes", lambda path: 0 if (source.states(window) > 0).any() else 10**12
    )
    with pytest.raises(DiskFull):
        source.fetch([window], silent, FetchOptions(arrived=written.extend))
    known = (source.states(window) != State.UNKNOWN).mean()
    assert 0 < known < 0.7


# --- a line that breaks


def test_ranges_that_break_again_and_again_come_in_smaller_ones(tmp_path):
    provider = dense_store.DenseStore()
    window = Window(31, dense_store.ROW + 1024, dense_store.COL + 1024, 384, 384)
    dataset = Dataset("2.0", "dense", "", (2024,), "", zarr_dir=dense_store.NAME)
    with RangeServer(provider) as server:
        server.faults.append(
            Fault.reset(after=2_500_000, path="*/embeddings/c/*", skip=1, count=FOREVER)
        )
        network = dataclasses.replace(QUICK, attempts=2, connections=2)
        source = ZarrStore(Access(str(tmp_path), server.url, network=network), dataset, 2024)
        summary = source.fetch([window])
    assert summary.failed == ()
    for got, wanted in zip(source.read(window), provider.truth(window)):
        np.testing.assert_array_equal(got, wanted)
