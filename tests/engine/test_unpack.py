# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A GDAL without blosc and zstd: a real worker unpacks instead, and all else stays the same."""

import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import unpack
from tessera_plugin.engine.unpack import by_worker
from tessera_plugin.errors import DecoderMissing, DiskFull
from tessera_plugin.io import files
from tessera_plugin.io.sources.zarr_store import ZarrStore
from tessera_plugin.io.zarr import decode
from tessera_plugin.io.zarr.metadata import ChunkCodec
from tessera_plugin.values import Access, Dataset, Window
from tests import builders_zarr as build
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import AREAS
from tests.compute.helpers import worker_python
from tests.servers import DictProvider, RangeServer

SIZE = 131_072
BLOSC = ChunkCodec("blosc", "zstd")


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.fixture
def bare(monkeypatch):
    """GDAL says that it has no codecs, and is not asked to unpack."""
    monkeypatch.setattr(decode, "_abilities", lambda: ((), ()))

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(decode, "_by_gdal", never)


def raw(seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.int8).tobytes()


PACKERS = {
    **{f"blosc/{name}": ("blosc", name) for name in ("zstd", "lz4", "lz4hc", "blosclz", "zlib")},
    "zstd": ("zstd", ""),
    "gzip": ("gzip", ""),
    "none": ("", ""),
}


@pytest.mark.parametrize("crc", [False, True], ids=["", "crc"])
@pytest.mark.parametrize("kind", PACKERS)
def test_every_codec_of_the_metadata(bare, worker, kind, crc):
    name, cname = PACKERS[kind]
    packer, codec = build.Packer(name, cname, crc), ChunkCodec(name, cname, crc=crc)
    chunks = [packer.pack(raw(seed), 1) for seed in range(4)]
    chunks[2] = chunks[2][:-100]
    out, damaged = decode.decode(chunks, codec, SIZE, by_worker(worker))
    assert damaged.tolist() == [False, False, True, False]
    assert out.tobytes() == raw(0) + raw(1) + bytes(SIZE) + raw(3)


def test_much_goes_in_calls_of_a_bounded_size(bare, worker, monkeypatch):
    monkeypatch.setattr(unpack, "CALL_BYTES", 3 * SIZE)
    calls = []
    call = worker.call

    def counted(method, params):
        calls.append(len(np.load(params["stops"])))
        return call(method, params)

    monkeypatch.setattr(worker, "call", counted)
    wanted = [raw(seed) for seed in range(8)]
    chunks = [build.BLOSC.pack(one, 1) for one in wanted]
    out, damaged = by_worker(worker)(chunks, BLOSC, SIZE)
    assert out.tobytes() == b"".join(wanted)
    assert not damaged.any()
    assert calls == [3, 3, 2]


def test_no_files_stay(bare, worker):
    before = set(worker.scratch().iterdir())
    ask = by_worker(worker)
    ask([build.BLOSC.pack(raw(), 1)], BLOSC, SIZE)
    with pytest.raises(DecoderMissing):
        ask([b"any"], ChunkCodec("blosc", "snappy"), SIZE)
    assert set(worker.scratch().iterdir()) == before


def test_threads_take_turns(bare, worker):
    ask, wrong = by_worker(worker), []

    def work(seed):
        chunks = [build.BLOSC.pack(raw(seed + 10 * number), 1) for number in range(5)]
        for _ in range(4):
            out, damaged = decode.decode(chunks, BLOSC, SIZE, ask)
            if damaged.any() or out[1].tobytes() != raw(seed + 10):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- a whole fetch


def fetched(archive_url, folder, window, name, depth=128, ask=None):
    dataset = Dataset("2.0", name, "", (2024,), "A store", zarr_dir=name)
    source = ZarrStore(Access(str(folder), archive_url), dataset, 2024, depth, ask)
    with contextlib.closing(source):
        summary = source.fetch([window])
        return summary, source.read(window), source.states(window)


@pytest.mark.parametrize("name", ["v1.1", "v1.1-dclimate-b"])
def test_a_fetch_through_the_worker_is_the_one_through_gdal(worker, tmp_path, monkeypatch, name):
    archive = SampleArchive()
    row, col, _, _ = archive.zarr.rectangle(AREAS[0])
    window = Window(31, row - 9, col - 9, 300, 290)
    with RangeServer(archive) as server:
        summary, own, states = fetched(server.url, tmp_path / "gdal", window, name)
        with monkeypatch.context() as patch:
            patch.setattr(decode, "_abilities", lambda: ((), ()))
            patch.setattr(decode, "_by_gdal", None)
            by_other, other, other_states = fetched(
                server.url, tmp_path / "worker", window, name, ask=by_worker(worker)
            )
    assert summary.failed == by_other.failed == ()
    assert summary.valid_px == by_other.valid_px > 50_000
    assert summary.bytes_fetched == by_other.bytes_fetched
    for mine, theirs in zip((*own, states), (*other, other_states)):
        np.testing.assert_array_equal(mine, theirs)


def test_damage_is_named_through_the_worker_too(bare, worker, tmp_path):
    codes, scales = build.embeddings(128, 128, seed=8)
    codes = np.clip(codes, -3, 3)
    codes[..., 0] = 127

    def damage(path, _shard, at, data):
        hit = path.endswith("embeddings") and at[-2:] == (1, 2)
        return data[:16] + bytes(len(data) - 16) if hit else data

    made = build.StoreBuilder("tiny").group(
        "utm31", codes, scales, row=-5003, col=3001, epsg=32631, damage=damage
    )
    window = Window(31, -5003, 3001, 128, 128)
    with RangeServer(DictProvider(made.build())) as server:
        summary, (got, _), _ = fetched(server.url, tmp_path, window, "tiny", ask=by_worker(worker))
    assert [failure.reason for failure in summary.failed] == ["damaged"]
    bad = np.zeros((128, 128), bool)
    bad[32:64, 64:96] = True
    assert summary.valid_px == (~bad).sum()
    np.testing.assert_array_equal(got, np.where(bad[..., None], 0, codes))


# --- a worker that can't


def test_no_worker_is_no_unpacker():
    assert by_worker(None) is None


def test_a_worker_without_numcodecs_is_named(bare, tmp_path):
    system = Path("/usr/bin/python3")
    client = WorkerClient(str(system))
    with pytest.raises(
        DecoderMissing, match=r"can't unpack blosc, .*No module named 'numcodecs'\.$"
    ):
        decode.decode([build.BLOSC.pack(raw(), 1)], BLOSC, SIZE, by_worker(client))
    client.stop()


def test_a_worker_that_can_not_be_started_is_named(bare, tmp_path):
    client = WorkerClient(str(tmp_path / "no python"))
    with pytest.raises(DecoderMissing, match="not available"):
        decode.decode([build.BLOSC.pack(raw(), 1)], BLOSC, SIZE, by_worker(client))
    client.stop()


def test_a_full_disk_is_said(bare, worker, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskFull):
        by_worker(worker)([build.BLOSC.pack(raw(), 1)], BLOSC, SIZE)
