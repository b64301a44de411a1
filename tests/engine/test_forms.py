# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which form of a dataset is read, and that everything after it reads the same one."""

import json
import threading
import time

import numpy as np
import pytest

from tessera_plugin.engine import catalog, embeddings, explore, export, grid
from tessera_plugin.errors import (
    DepthNotOffered,
    ExtentTooLarge,
    FormNotOffered,
    NetworkFailed,
    StoreUnusable,
    UnknownDataset,
)
from tessera_plugin.io.sources import choice, mirrors
from tessera_plugin.io.zarr import decode
from tessera_plugin.io.zarr import store as store_files
from tessera_plugin.progress import Cancelled, Gate
from tessera_plugin.values import Access, Extent, NetworkSettings, State
from tests.archive import layout
from tests.archive.sample import SampleArchive
from tests.clock import within
from tests.servers import FOREVER, Fault, RangeServer, Resource, md5_hex

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, connect_timeout_s=5, read_timeout_s=5)
HERE = Extent(0.120, 52.190, 0.126, 52.194)  # in the store and in the tiles
BOTH, STORE_ONLY, PREFIXES = "1.1-cambridge", "1.1-dclimate", "2.0-2B-L~beta1"
ROOT = "zarr/v1.1/zarr.json"


@pytest.fixture(autouse=True)
def fresh():
    """Another session for each test."""
    store_files._asked.clear()
    mirrors._failed.clear()
    choice.forget()


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


class Changed:
    """The sample archive with some objects replaced, or taken away."""

    def __init__(self, archive):
        self._archive = archive
        self.instead = {}

    def find(self, path):
        if path not in self.instead:
            return self._archive.find(path)
        data = self.instead[path]
        return None if data is None else Resource(
            len(data), md5_hex(data), 0.0, lambda start, stop: data[start:stop])  # fmt: skip

    def edit(self, path, change):
        """Change the JSON at a path."""
        resource = self._archive.find(path)
        document = json.loads(resource.read(0, resource.length))
        change(document)
        self.instead[path] = json.dumps(document).encode()


@pytest.fixture
def changed(archive):
    return Changed(archive)


@pytest.fixture
def server(changed):
    with RangeServer(changed) as running:
        yield running


def access_of(server, folder, **changes):
    return Access(str(folder), **{"archive": server.url, "network": QUICK, **changes})


def request_of(server, folder, dataset=BOTH, extent=HERE, year=2024, depth=0, **changes):
    access = access_of(server, folder, **changes)
    return embeddings.FetchRequest(dataset, year, extent, access, depth=depth)


def expected(archive, store, window, depth=128, year=2024):
    """What the store holds by the rule of validity."""
    codes, scales = archive.zarr_window(
        store, year, window.zone, window.row, window.col, *window.shape, depth
    )
    valid = embeddings.valid_mask(codes, scales)
    return np.where(valid[..., None], codes, 0), np.where(valid, scales, np.nan)


# --- the choice


def test_the_store_is_read_where_there_are_both(archive, server, tmp_path):
    result = embeddings.fetch(request_of(server, tmp_path))
    assert (result.form, result.form_reason, result.depth) == ("zarr", "", 128)
    assert not server.requests("npy/*")
    (window,) = result.windows
    with_store = embeddings.open_source(BOTH, 2024, access_of(server, tmp_path))
    codes, scales = with_store.read(window)
    np.testing.assert_array_equal(codes, expected(archive, "v1.1", window)[0])
    np.testing.assert_array_equal(scales, expected(archive, "v1.1", window)[1])
    assert np.isfinite(scales).any()


def test_the_tiles_are_read_when_they_are_asked_for(server, tmp_path):
    result = embeddings.fetch(request_of(server, tmp_path, form="npy"))
    assert (result.form, result.form_reason) == ("npy", "")
    assert not server.requests("zarr/*")


def test_both_forms_hold_the_same(server, tmp_path):
    read = {}
    for form in ("zarr", "npy"):
        request = request_of(server, tmp_path, form=form)
        (window,) = embeddings.fetch(request).windows
        source = embeddings.open_source(BOTH, 2024, request.access)
        assert source.form == form
        read[form] = source.read(window)
        assert (source.states(window) == State.VALID).mean() > 0.9
    np.testing.assert_array_equal(read["zarr"][0], read["npy"][0])
    np.testing.assert_array_equal(read["zarr"][1], read["npy"][1])


def test_a_form_that_there_is_not(server, tmp_path):
    with pytest.raises(FormNotOffered) as caught:
        embeddings.fetch(request_of(server, tmp_path, STORE_ONLY, form="npy"))
    assert caught.value.forms == ("zarr",)
    with pytest.raises(FormNotOffered):
        embeddings.fetch(request_of(server, tmp_path, PREFIXES, depth=16, form="npy"))
    assert server.log == []


def test_the_root_is_asked_for_once_a_session(server, tmp_path):
    for _ in range(3):
        embeddings.open_source(BOTH, 2024, access_of(server, tmp_path)).close()
    assert [entry.path for entry in server.log] == [ROOT, "zarr/v1.1/utm30/time/c/0"]


def test_an_archive_without_the_store(changed, server, tmp_path):
    changed.instead[ROOT] = None
    result = embeddings.fetch(request_of(server, tmp_path))
    assert (result.form, result.form_reason) == ("npy", "the archive has no Zarr store of it")
    assert result.summary.valid_px > 0


def test_a_store_without_the_year(changed, server, tmp_path):
    # the sample's store of this dataset has 2022 to 2024
    source = embeddings.open_source(BOTH, 2021, access_of(server, tmp_path))
    assert source.form == "npy"
    result = embeddings.fetch(request_of(server, tmp_path, year=2023))
    assert result.form == "zarr"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.status(500, path=ROOT, count=FOREVER), "can't be reached"),
        (Fault.status(403, path=ROOT, count=FOREVER), "refused (status 403)"),
    ],
)
def test_a_root_that_does_not_come_leaves_the_tiles(server, tmp_path, fault, reason):
    server.faults.append(fault)
    result = embeddings.fetch(request_of(server, tmp_path))
    assert result.form == "npy"
    assert reason in result.form_reason
    assert result.summary.valid_px > 0


def test_a_root_that_does_not_come_but_is_kept_is_used(server, tmp_path):
    embeddings.fetch(request_of(server, tmp_path))
    store_files._asked.clear()
    choice.forget()
    server.faults.append(Fault.status(500, path=ROOT, count=FOREVER))
    result = embeddings.fetch(request_of(server, tmp_path))
    assert (result.form, result.summary.cached_px) == ("zarr", result.summary.pixels)


def test_a_store_that_is_not_understood(changed, server, tmp_path):
    def bitrounded(root):
        node = root["consolidated_metadata"]["metadata"]["utm30/scales"]
        node["codecs"][0]["configuration"]["codecs"].insert(1, {"name": "bitround"})

    changed.edit(ROOT, bitrounded)
    result = embeddings.fetch(request_of(server, tmp_path))
    assert result.form == "npy"
    assert "bitround" in result.form_reason
    assert result.summary.valid_px > 0


def test_a_group_that_turns_out_to_be_unusable_leaves_the_tiles_to_all(changed, server, tmp_path):
    """The first group of the store is sound, that of the extent is not."""

    def moved(root):
        attributes = root["consolidated_metadata"]["metadata"]["utm31"]["attributes"]
        attributes["spatial:transform"][2] += 3.0

    changed.edit(ROOT, moved)
    request = request_of(server, tmp_path)
    result = embeddings.fetch(request)
    assert result.form == "npy"
    assert "off the 10 m grid" in result.form_reason
    # what reads the cache afterwards finds it
    preview = explore.preview(
        explore.PreviewRequest(BOTH, 2024, HERE, request.access, str(tmp_path / "p.tif"))
    )
    assert preview.paths
    before = len(server.requests("zarr/*"))
    assert embeddings.fetch(request).summary.requests == 0
    assert len(server.requests("zarr/*")) == before


def test_without_tiles_an_unusable_store_is_said(changed, server, tmp_path):
    changed.instead["zarr/v1.1-dclimate/zarr.json"] = b"{}"
    with pytest.raises(StoreUnusable, match="version 3"):
        embeddings.fetch(request_of(server, tmp_path, STORE_ONLY))
    changed.instead[ROOT] = b"{}"
    with pytest.raises(StoreUnusable, match="version 3"):
        embeddings.fetch(request_of(server, tmp_path, form="zarr"))


def test_a_gdal_that_can_not_unpack_leaves_the_tiles(server, tmp_path, monkeypatch):
    """Nothing else tells a GDAL without Blosc from this one than what its driver says."""
    monkeypatch.setattr(decode, "_abilities", lambda: (("zlib", "gzip"), ()))
    result = embeddings.fetch(request_of(server, tmp_path))
    assert result.form == "npy"
    assert "can't unpack blosc" in result.form_reason
    export.export(result, access_of(server, tmp_path), str(tmp_path / "e.npz"))
    with np.load(tmp_path / "e.npz") as written:
        assert str(written["form"]) == "npy"
        assert np.isfinite(written["scales"]).sum() == result.summary.valid_px


def test_offline_what_is_kept_decides(server, tmp_path):
    empty = access_of(server, tmp_path / "empty", offline=True)
    assert embeddings.open_source(BOTH, 2024, empty).form == "npy"
    embeddings.fetch(request_of(server, tmp_path / "full"))
    choice.forget()
    store_files._asked.clear()
    server.clear()
    full = access_of(server, tmp_path / "full", offline=True)
    assert embeddings.open_source(BOTH, 2024, full).form == "zarr"
    assert server.log == []


def test_without_any_network_the_network_is_the_reason(server, tmp_path):
    server.faults.append(Fault.drop(count=FOREVER))
    began = time.monotonic()
    with pytest.raises(NetworkFailed):
        embeddings.fetch(request_of(server, tmp_path))
    assert time.monotonic() - began < within(5)


def test_cancel_is_heard_while_the_store_is_looked_up(server, tmp_path):
    server.faults.append(Fault.stall(30, path=ROOT, count=FOREVER))
    asked = threading.Event()

    def report(fraction, message):
        if server.log:
            asked.set()
            raise Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        embeddings.open_source(BOTH, 2024, access_of(server, tmp_path), report=report)
    assert asked.is_set()
    assert time.monotonic() - began < within(3)


# --- depth


@pytest.mark.parametrize("depth", [4, 16])
def test_a_prefix_is_fetched_and_read(archive, server, tmp_path, depth):
    result = embeddings.fetch(request_of(server, tmp_path, PREFIXES, depth=depth))
    assert (result.depth, result.form) == (depth, "zarr")
    (window,) = result.windows
    source = embeddings.open_source(PREFIXES, 2024, access_of(server, tmp_path), depth)
    codes, scales = source.read(window)
    wanted = expected(archive, "v2-2B-L~beta1", window, depth)
    np.testing.assert_array_equal(codes, wanted[0])
    np.testing.assert_array_equal(scales, wanted[1])
    files = export.export(result, access_of(server, tmp_path), str(tmp_path / "e.npz"))
    with np.load(files[0]) as written:
        np.testing.assert_array_equal(written["codes"], wanted[0])
    # the whole embedding is something else, and not in the cache
    offline = access_of(server, tmp_path, offline=True, form="zarr")
    assert (embeddings.open_source(PREFIXES, 2024, offline).states(window) == State.UNKNOWN).all()


def test_depths_that_there_are_not(server, tmp_path):
    for dataset, depth in ((BOTH, 16), (PREFIXES, 32)):
        with pytest.raises(DepthNotOffered) as caught:
            embeddings.fetch(request_of(server, tmp_path, dataset, depth=depth))
        assert (caught.value.store, caught.value.depth) == (dataset, depth)
    assert server.log == []


@pytest.mark.parametrize("depth", [4, 16, 128])
def test_what_a_store_will_take_is_told_beforehand(server, tmp_path, depth):
    extent = Extent(0.105, 52.180, 0.145, 52.215)
    windows = grid.windows_of(extent)
    told = embeddings.download_bytes(PREFIXES, windows, depth)
    request = request_of(server, tmp_path, PREFIXES, extent, depth=depth)
    took = embeddings.fetch(request).summary.bytes_fetched
    assert 0.9 * took < told < 2 * took + 2_000_000


# --- what goes with a fetch


@pytest.mark.parametrize("form", ["zarr", "npy"])
def test_blocks_are_told_as_they_come(server, tmp_path, form):
    told = []
    result = embeddings.fetch(
        request_of(server, tmp_path, form=form),
        on_blocks=lambda source, blocks: told.extend((source, block) for block in blocks),
    )
    (window,) = result.windows
    assert {block for _, block in told} >= set(window.whole_blocks())
    assert {source.form for source, _ in told} == {form}


def test_a_fetch_begins_at_the_centre_of_the_extent():
    over_a_seam = Extent(-0.004, 52.150, 0.002, 52.154)
    windows = grid.windows_of(over_a_seam)
    assert [window.zone for window in windows] == [30, 31]
    assert embeddings.towards_of(over_a_seam, windows) == tuple(
        (zone, *layout.pixel_of(zone, -0.001, 52.152)) for zone in (30, 31)
    )
    over_the_antimeridian = Extent(179.99, -17.0, -179.97, -16.9)
    (one, row, col), (sixty, other_row, other_col) = embeddings.towards_of(
        over_the_antimeridian, grid.windows_of(over_the_antimeridian)
    )
    assert (one, row, col) == (1, *layout.pixel_of(1, -179.99, -16.95))
    assert (sixty, other_row, other_col) == (60, *layout.pixel_of(60, -179.99, -16.95))


def test_a_closed_gate_holds_a_fetch_back(server, tmp_path):
    gate = Gate()
    gate.pause()
    done = []
    request = request_of(server, tmp_path, STORE_ONLY)
    thread = threading.Thread(target=lambda: done.append(embeddings.fetch(request, gate=gate)))
    thread.start()
    time.sleep(0.7)
    assert not done
    assert not server.requests("*/c/*/*")
    gate.resume()
    thread.join(30)
    assert done[0].summary.valid_px > 0
    assert not done[0].summary.failed


def test_several_years_one_after_another(server, tmp_path):
    request = request_of(server, tmp_path)
    told = []
    results = embeddings.fetch_years(
        request, (2023, 2016, 2024), lambda fraction, message="": told.append(fraction)
    )
    assert [result.year for result in results] == [2023, 2016, 2024]
    assert [result.error is None for result in results] == [True, False, True]
    assert all(result.summary.valid_px > 0 for result in (results[0], results[2]))
    assert results[1].summary.valid_px == 0
    assert told == sorted(told)
    # each of them is the year it says
    (window,) = results[0].windows
    read = [
        embeddings.open_source(BOTH, year, request.access).read(window)[0] for year in (2023, 2024)
    ]
    assert not np.array_equal(*read)


def test_what_is_wrong_with_all_years_is_raised(server, tmp_path):
    with pytest.raises(UnknownDataset):
        embeddings.fetch_years(request_of(server, tmp_path, "9.9-none"), (2023, 2024))
    with pytest.raises(ExtentTooLarge):
        embeddings.fetch_years(
            request_of(server, tmp_path, extent=Extent(-10, 40, 10, 60)), (2023, 2024)
        )
    assert server.log == []


# --- the catalogue


def test_the_global_dataset_is_the_default():
    assert catalog.DATASETS[0].key == STORE_ONLY
    assert {known.key: known.depths for known in catalog.DATASETS if len(known.depths) > 1} == {
        PREFIXES: (4, 16, 128), "2.0-2B-L~beta2": (4, 16, 128)}  # fmt: skip
    assert catalog.dataset(BOTH).forms() == ("zarr", "npy")
    assert catalog.dataset(PREFIXES).forms(16) == ("zarr",)


def test_own_stores_have_keys_of_their_own():
    one = catalog.own_store(
        "https://example.org/a/mine.zarr", "my store!", (2024, 2020), (128,), "Mine"
    )
    other = catalog.own_store(
        "https://example.org/b/mine.zarr", "my store!", (2024,), (16, 4), "Mine"
    )
    assert one.key.startswith("store-my_store-")
    assert one.key != other.key
    assert (one.years, one.depth, one.forms()) == ((2020, 2024), 128, ("zarr",))
    assert (other.depth, other.depths) == (16, (4, 16))
    assert catalog.dataset(one.key, (other, one)) is one
    with pytest.raises(UnknownDataset) as caught:
        catalog.dataset(one.key)
    assert one.key not in caught.value.known
