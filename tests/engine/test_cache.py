# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache that real fetches filled: what it says of itself, and what can be done with it."""

import dataclasses
import shutil
import time

import numpy as np
import pytest

from tessera_plugin.engine import cache, embeddings, grid
from tessera_plugin.io.sources import mirrors
from tessera_plugin.io.zarr import store
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, Extent, NetworkSettings, State
from tests.archive.sample import SampleArchive
from tests.cache_builders import as_nobody, forget_verified, set_writable, stick, used
from tests.servers import RangeServer

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, read_timeout_s=5)
HERE = Extent(0.110, 52.190, 0.114, 52.192)
FORMS = {"zarr": "1.1-dclimate", "npy": "1.1-cambridge"}


@pytest.fixture(autouse=True)
def fresh():
    store._asked.clear()
    mirrors._failed.clear()


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


def access_to(server, folder, form, offline=False):
    return Access(str(folder), server.url, offline, QUICK, form)


def fetched(server, folder, form):
    access = access_to(server, folder, form)
    result = embeddings.fetch(embeddings.FetchRequest(FORMS[form], 2024, HERE, access))
    assert result.summary.valid_px > 0
    assert not result.summary.failed
    return result


def block_path(server, folder, form, block):
    source = embeddings.open_source(FORMS[form], 2024, access_to(server, folder, form))
    source.close()
    return source.cache.block_path(block)


def read(access, form, fetch=False):
    """Codes, scales and states of the place, out of the cache."""
    (window,) = grid.windows_of(HERE)
    source = embeddings.open_source(FORMS[form], 2024, access)
    try:
        summary = source.fetch([window], silent) if fetch else None
        return (*source.read(window), source.states(window), summary)
    finally:
        source.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_fetch_leaves_what_usage_and_provenance_tell(server, tmp_path, form):
    began = int(time.time())
    result = fetched(server, tmp_path, form)
    told = cache.usage(str(tmp_path))
    (entry,) = told.entries
    assert (entry.dataset, entry.year, entry.depth, entry.form) == (FORMS[form], 2024, 128, form)
    assert (entry.archive, entry.location) == (cache.archive_identity(server.url), server.url)
    (window,) = result.windows
    assert entry.blocks >= len(list(window.whole_blocks())), "tiles come in whole rows"
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    locks = sum(path.stat().st_size for path in (tmp_path / "locks").iterdir())
    assert told.bytes == on_disk - locks, "every file but the locks is counted"
    source = embeddings.open_source(FORMS[form], 2024, access_to(server, tmp_path, form))
    provenance = source.cache.provenance(next(window.whole_blocks()))
    source.close()
    assert dataclasses.astuple(provenance.origin) == (
        entry.archive, entry.dataset, 128, form, 2024,
    )  # fmt: skip
    assert began <= provenance.time <= time.time()
    assert provenance.sources
    assert all(codes and scales for codes, scales in provenance.sources.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_cache_on_a_stick_that_can_only_be_read(server, form):
    """Offline and with a network: pixels come, and nothing is asked that is there."""
    with stick() as folder:
        place = folder / "cache"
        fetched(server, place, form)
        expected = read(access_to(server, place, form, offline=True), form)
        assert (expected[2] == State.VALID).any()
        for path in place.rglob("*.npy"):
            used(path, 30)
        set_writable(folder, writable=False)

        def offline():
            forget_verified()
            return read(access_to(server, place, form, offline=True), form, fetch=True)

        def online():
            forget_verified()
            return read(access_to(server, place, form), form, fetch=True)

        for work in (offline, online):
            codes, scales, states, summary = as_nobody(work)
            np.testing.assert_array_equal(codes, expected[0])
            np.testing.assert_array_equal(scales, expected[1])
            np.testing.assert_array_equal(states, expected[2])
            assert not summary.failed
            assert summary.cached_px == summary.pixels
        assert as_nobody(lambda: cache.is_writable(str(place))) is False
        assert as_nobody(lambda: cache.evict_over(str(place), 1)) == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_moved_cache_is_as_good(server, tmp_path, form):
    old, new = tmp_path / "old", tmp_path / "new"
    fetched(server, old, form)
    expected = read(access_to(server, old, form, offline=True), form)
    cache.move(str(old), str(new))
    assert not old.exists()
    found = read(access_to(server, new, form, offline=True), form, fetch=True)
    for mine, theirs in zip(found[:3], expected[:3]):
        np.testing.assert_array_equal(mine, theirs)
    assert not found[3].failed
    assert found[3].bytes_fetched == 0


@pytest.mark.parametrize("form", FORMS)
def test_what_was_cleared_is_fetched_again(server, tmp_path, form):
    first = fetched(server, tmp_path, form).summary
    assert cache.clear(str(tmp_path), dataset="another") == 0
    assert cache.clear(str(tmp_path), dataset=FORMS[form], year=2024) > 0
    assert cache.usage(str(tmp_path)).bytes == 0
    store._asked.clear()
    again = fetched(server, tmp_path, form).summary
    assert (again.cached_px, again.bytes_fetched) == (0, first.bytes_fetched)


@pytest.mark.parametrize("form", FORMS)
def test_an_evicted_block_is_fetched_again(server, tmp_path, form):
    result = fetched(server, tmp_path, form)
    blocks = list(tmp_path.rglob("*.npy"))
    for path in blocks:
        used(path, 30)
    # the one that is asked for goes first
    used(block_path(server, tmp_path, form, next(result.windows[0].whole_blocks())), 31)
    whole = cache.usage(str(tmp_path)).bytes
    assert cache.evict_over(str(tmp_path), whole) == 0
    assert cache.evict_over(str(tmp_path), whole - 1) > 0
    access = access_to(server, tmp_path, form)
    assert (read(access, form)[2] == State.UNKNOWN).any()
    found = read(access, form, fetch=True)
    assert not (found[2] == State.UNKNOWN).any()
    assert 0 <= found[3].cached_px < found[3].pixels
    shutil.rmtree(tmp_path)  # a folder that vanishes as a whole is an empty cache
    assert cache.evict_over(str(tmp_path), 1) == 0
    assert cache.usage(str(tmp_path)).entries == ()
