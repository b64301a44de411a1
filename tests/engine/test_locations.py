# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is found at a person's URL or in their folder, from real servers and real files."""

import json
import shutil
import time

import numpy as np
import pytest

from tessera_plugin.engine import catalog, embeddings
from tessera_plugin.engine.classify import ClassifyRequest, classify, publish
from tessera_plugin.engine.heads import Head, fit_instant, identify, save
from tessera_plugin.engine.locations import ArchiveFound, StoreFound, look
from tessera_plugin.errors import (
    AccessRefused,
    HeadMismatch,
    LocationUnusable,
    NetworkFailed,
    UnknownDataset,
)
from tessera_plugin.io.sources import choice, mirrors
from tessera_plugin.io.zarr import store as store_files
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, LandClass, NetworkSettings, Window
from tests import builders_zarr as build
from tests.archive.layout import lonlat
from tests.archive.sample import SampleArchive
from tests.clock import within
from tests.servers import FOREVER, DictProvider, Fault, RangeServer

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, connect_timeout_s=5, read_timeout_s=5)
ROW, COL = -578_600, 30_300


@pytest.fixture(autouse=True)
def fresh():
    """Another session for each test."""
    store_files._asked.clear()
    mirrors._failed.clear()
    choice.forget()


@pytest.fixture(scope="module")
def pixels():
    return build.embeddings(256, 256, seed=3)


def files_of(pixels, name="mine.zarr", attributes=None, consolidated=True, **group):
    facts = {"row": ROW, "col": COL, "epsg": 32631, "years": (2021, 2024), "time": 1, **group}
    said = [{"dimensions": d, "array": f"embeddings_d{d}"} for d in group.get("depths", ())]
    listed = {"geoemb:depths": said} if said else {}
    builder = build.StoreBuilder(name, {**listed, **(attributes or {})}, consolidated)
    return builder.group("utm31", *pixels, **facts).build()


def put(files, folder):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def access_of(folder, **changes):
    return Access(str(folder / "cache"), network=QUICK, **changes)


def extent_of(window):
    lon, lat = lonlat(
        window.zone,
        np.array([window.row, window.stop_row]) + 0.0,
        np.array([window.col, window.stop_col]) + 0.0,
    )
    return Extent(lon[0], lat[1], lon[1], lat[0])


# --- stores


def test_a_store_on_a_server(pixels, tmp_path):
    files = files_of(pixels, attributes={"title": "My own"}, depths=(4, 16))
    with RangeServer(DictProvider(files)) as server:
        found = look(f" {server.url}/zarr/mine.zarr/ ", access_of(tmp_path))
        assert isinstance(found, StoreFound)
        dataset = found.dataset
        assert dataset.store == f"{server.url}/zarr/mine.zarr"
        assert dataset.key.startswith("store-mine-")
        assert (dataset.title, dataset.years) == ("My own", (2021, 2024))
        assert (dataset.depth, dataset.depths) == (128, (4, 16, 128))
        assert dataset.forms() == ("zarr",)
        # however it is written, it is the same
        assert look(f"{server.url}/zarr/mine.zarr/zarr.json", access_of(tmp_path)) == found


def test_a_store_in_a_folder_is_read_bit_for_bit(pixels, tmp_path):
    place = put(files_of(pixels, depths=(16,)), tmp_path / "stick") / "zarr" / "mine.zarr"
    found = look(str(place), access_of(tmp_path, offline=True))
    assert isinstance(found, StoreFound)
    assert found.dataset.title == "mine"
    assert look(place.as_uri(), access_of(tmp_path)).dataset.key == found.dataset.key
    window = Window(31, ROW + 20, COL + 30, 90, 100)
    for depth in (16, 128):
        access = access_of(tmp_path, offline=True, stores=(found.dataset,))
        source = embeddings.open_source(found.dataset.key, 2024, access, depth)
        assert not source.fetch([window], lambda *_: None).failed
        codes, scales = source.read(window)
        np.testing.assert_array_equal(codes, pixels[0][20:110, 30:130, :depth])
        np.testing.assert_array_equal(scales, pixels[1][20:110, 30:130])


def test_own_stores_go_through_to_the_map_and_not_into_another(pixels, tmp_path):
    place = put(files_of(pixels), tmp_path / "stick") / "zarr" / "mine.zarr"
    dataset = look(str(place), access_of(tmp_path)).dataset
    access = access_of(tmp_path, stores=(dataset,))
    extent = extent_of(Window(31, ROW + 20, COL + 20, 60, 60))
    fetched = embeddings.fetch(embeddings.FetchRequest(dataset.key, 2024, extent, access))
    assert fetched.summary.valid_px == fetched.summary.pixels > 1000

    save(head_of(dataset.key, pixels), str(tmp_path / "a.head"))
    request = ClassifyRequest(
        str(tmp_path / "a.head"), 2024, extent, access, str(tmp_path / "m.tif")
    )
    result = publish(classify(request))
    assert result.dataset == dataset.key
    assert sum(each.pixels for each in result.classes) == fetched.summary.valid_px
    with pytest.raises(UnknownDataset):
        classify(ClassifyRequest(str(tmp_path / "a.head"), 2024, extent, access_of(tmp_path),
                                 str(tmp_path / "n.tif")))  # fmt: skip
    with pytest.raises(HeadMismatch):
        head_of(dataset.key, pixels).check(catalog.DATASETS[0].key, 128)


def head_of(key, pixels, depth=128):
    codes, scales = pixels[0].reshape(-1, 128)[:400, :depth], pixels[1].reshape(-1)[:400]
    x = codes * scales[:, None]
    mean, std = x.mean(axis=0).astype(np.float32), x.std(axis=0).astype(np.float32)
    weights = fit_instant((x - mean) / std, np.arange(len(x)) % 2)
    classes = (LandClass(1, "a", "#101010"), LandClass(2, "b", "#202020"))
    return Head(identify("instant", classes, key, weights), "instant", classes, key, depth, (2024,),
                mean, std, weights)  # fmt: skip


def test_what_was_seen_once_is_known_offline(pixels, tmp_path):
    with RangeServer(DictProvider(files_of(pixels))) as server:
        location = f"{server.url}/zarr/mine.zarr"
        found = look(location, access_of(tmp_path))
    assert look(location, access_of(tmp_path, offline=True)) == found
    with pytest.raises(LocationUnusable, match="offline"):
        look(location, access_of(tmp_path / "other", offline=True))


# --- archives


def test_the_sample_archive_has_what_it_has(tmp_path):
    with RangeServer(SampleArchive()) as server:
        found = look(server.url, access_of(tmp_path))
    assert found == ArchiveFound(
        server.url, ("1.1-dclimate", "1.1-cambridge", "1.0-vultr", "2.0-2B-L~beta1")
    )


def test_an_archive_in_a_folder(pixels, tmp_path):
    put(files_of(pixels, "v2-2B-L~beta2"), tmp_path / "stick")
    (tmp_path / "stick" / "npy" / "v1" / "2024").mkdir(parents=True)
    found = look(f"{tmp_path}/stick/", access_of(tmp_path))
    assert found == ArchiveFound(str(tmp_path / "stick"), ("1.0-vultr", "2.0-2B-L~beta2"))


# --- what can't be used


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", "empty"),
        ("s3://bucket/store.zarr", "https:// address"),
        ("ftp://example.org/a", "ftp:// is not known"),
    ],
)
def test_addresses_that_are_none(tmp_path, location, reason):
    with pytest.raises(LocationUnusable, match=reason):
        look(location, access_of(tmp_path))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"readme.txt": b"hello"}, "neither a Zarr store nor an archive"),
        ({".zgroup": b'{"zarr_format": 2}'}, "version 2"),
        ({"repo": b"ICE"}, "Icechunk"),
        ({"zarr.json": b"<html>"}, "zarr.json can't be read"),
        ({"zarr.json": b'{"zarr_format": 3, "node_type": "array"}'}, "not a group"),
        ({"zarr.json": b'{"zarr_format": 3, "node_type": "group"}'}, "not consolidated"),
    ],
)
@pytest.mark.parametrize("by", ["url", "folder"])
def test_what_is_there_instead_is_said(tmp_path, files, reason, by):
    with RangeServer(DictProvider(files)) as server:
        location = server.url if by == "url" else str(put(files, tmp_path / "there"))
        with pytest.raises(LocationUnusable, match=reason):
            look(location, access_of(tmp_path))


def test_a_store_that_is_not_understood(pixels, tmp_path):
    files = files_of(pixels)
    root = json.loads(files["zarr/mine.zarr/zarr.json"])
    nodes = root["consolidated_metadata"]["metadata"]
    nodes["utm31/embeddings"]["data_type"] = "int16"
    files["zarr/mine.zarr/zarr.json"] = json.dumps(root).encode()
    with (
        RangeServer(DictProvider(files)) as server,
        pytest.raises(LocationUnusable, match="int16"),
    ):
        look(f"{server.url}/zarr/mine.zarr", access_of(tmp_path))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises((LocationUnusable, NetworkFailed), match="not"):
        look(str(tmp_path / "nowhere"), access_of(tmp_path))


def test_a_server_that_refuses_or_is_not_there(tmp_path):
    with RangeServer(DictProvider()) as server:
        server.faults.append(Fault.status(403, count=FOREVER))
        with pytest.raises(AccessRefused):
            look(server.url, access_of(tmp_path))
    with pytest.raises(NetworkFailed):
        look(server.url, access_of(tmp_path))


def test_cancel_is_heard(tmp_path):
    def report(fraction, message):
        if server.log:
            raise Cancelled

    with RangeServer(DictProvider()) as server:
        server.faults.append(Fault.stall(30, count=FOREVER))
        began = time.monotonic()
        with pytest.raises(Cancelled):
            look(server.url, access_of(tmp_path), report)
        assert time.monotonic() - began < within(3)


def test_a_store_that_was_built_anew_is_read_anew(pixels, tmp_path):
    place = put(files_of(pixels), tmp_path / "stick") / "zarr" / "mine.zarr"
    first = look(str(place), access_of(tmp_path)).dataset
    shutil.rmtree(place)
    put(files_of(pixels, years=(2021, 2024, 2025), time=2), tmp_path / "stick")
    store_files._asked.clear()
    again = look(str(place), access_of(tmp_path)).dataset
    assert (first.key, first.years) == (again.key, (2021, 2024))
    assert again.years == (2021, 2024, 2025)
