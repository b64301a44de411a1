# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks packed here, unpacked by numcodecs in a real worker."""

import time

import numcodecs
import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.errors import WorkerFailed
from tessera_plugin.progress import Cancelled
from tests.clock import within
from tests.compute.helpers import Stopper, worker_python

SIZE = 131_072
KINDS = {
    "blosc-zstd": numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE),
    "blosc-lz4": numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE),
    "blosc-lz4hc": numcodecs.Blosc("lz4hc", 5, numcodecs.Blosc.NOSHUFFLE),
    "blosc-blosclz": numcodecs.Blosc("blosclz", 5, numcodecs.Blosc.BITSHUFFLE),
    "blosc-zlib": numcodecs.Blosc("zlib", 3, numcodecs.Blosc.BITSHUFFLE),
    "zstd-": numcodecs.Zstd(3),
}


@pytest.fixture(scope="module")
def client():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


def raw(seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.int8).tobytes()


def packed(kind, data):
    return bytes(KINDS[kind].encode(np.frombuffer(data, "u1")))


def params(folder, kind, chunks, size=SIZE):
    codec, _, cname = kind.partition("-")
    np.save(folder / "packed.npy", np.frombuffer(b"".join(chunks), np.uint8))
    np.save(folder / "stops.npy", np.cumsum([len(chunk) for chunk in chunks]))
    paths = {name: str(folder / f"{name}.npy") for name in ("packed", "stops", "out", "damaged")}
    return {**paths, "codec": codec, "cname": cname, "size": size}


def unpacked(client, folder, kind, chunks, size=SIZE):
    told = client.call("unpack", params(folder, kind, chunks, size))
    return np.load(told["out"]), np.load(told["damaged"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 300, 4096, SIZE])
def test_chunks_come_out_as_they_went_in(client, tmp_path, kind, size):
    wanted = [raw(seed, size) for seed in range(5)] + [bytes(size)]
    out, damaged = unpacked(client, tmp_path, kind, [packed(kind, one) for one in wanted], size)
    assert (out.dtype, out.shape) == (np.uint8, (6, size))
    assert out.tobytes() == b"".join(wanted)
    assert damaged.tolist() == [False] * 6
    assert not list(tmp_path.glob("*.part"))


def cut(chunk):
    return chunk[: len(chunk) // 2]


def empty(chunk):
    return b""


def noise(chunk):
    return chunk[:16] + np.random.default_rng(7).bytes(len(chunk) - 16)


def zeroed(chunk):
    return chunk[:16] + bytes(len(chunk) - 16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [cut, empty, noise, zeroed], ids=lambda d: d.__name__)
def test_a_damaged_chunk_is_told_and_the_others_come(client, tmp_path, kind, damage):
    if (kind, damage) in {("blosc-blosclz", zeroed), ("blosc-blosclz", noise), ("blosc-lz4", noise),
                          ("blosc-lz4hc", noise)}:  # fmt: skip
        pytest.skip("may be what such a compressor would have written")
    chunks = [packed(kind, raw(seed)) for seed in range(3)]
    chunks[1] = damage(chunks[1])
    out, damaged = unpacked(client, tmp_path, kind, chunks)
    assert damaged.tolist() == [False, True, False]
    assert not out[1].any()
    assert [out[0].tobytes(), out[2].tobytes()] == [raw(0), raw(2)]


@pytest.mark.parametrize("kind", ["blosc-zstd", "zstd-"])
@pytest.mark.parametrize("other", [SIZE // 2, SIZE + 1])
def test_a_chunk_of_another_size_is_damaged(client, tmp_path, kind, other):
    chunks = [packed(kind, raw()), packed(kind, raw(1, other))]
    assert unpacked(client, tmp_path, kind, chunks)[1].tolist() == [False, True]


def test_a_header_that_lies_reads_nothing_beyond_the_chunk(client, tmp_path):
    chunk = packed("blosc-zstd", raw())
    longer = chunk[:12] + (len(chunk) + 1_000_000_000).to_bytes(4, "little") + chunk[16:]
    assert unpacked(client, tmp_path, "blosc-zstd", [longer])[1].tolist() == [True]
    assert client.start(), "the worker lives on"


@pytest.mark.parametrize(("kind", "said"), [("lzma-", "'lzma'"), ("blosc-snappy", "blosc/snappy")])
def test_what_numcodecs_lacks_is_named(client, tmp_path, kind, said):
    with pytest.raises(WorkerFailed, match=said):
        client.call("unpack", params(tmp_path, kind, [b"any"]))


def test_chunks_that_do_not_fill_their_file_are_refused(client, tmp_path):
    asked = params(tmp_path, "zstd-", [packed("zstd-", raw())])
    np.save(tmp_path / "stops.npy", np.array([10, 5]))
    with pytest.raises(WorkerFailed, match="don't fill"):
        client.call("unpack", asked)


def test_a_cancel_is_heard_at_the_next_chunk_and_leaves_nothing(client, tmp_path):
    chunk = packed("blosc-zlib", raw())
    asked = params(tmp_path, "blosc-zlib", [chunk] * 4000)
    client.start()
    stopper, pid = Stopper(), client.pid
    stopper.press_in(0.3)
    with pytest.raises(Cancelled):
        client.call("unpack", asked, stopper)
    assert time.monotonic() - stopper.pressed < within(1.0)
    assert client.pid == pid, "the worker had not to be killed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed.npy", "stops.npy"]
