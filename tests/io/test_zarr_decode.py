# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks packed by numcodecs, unpacked by GDAL; and chunks that are damaged."""

import threading

import numcodecs
import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.errors import DecoderMissing
from tessera_plugin.io.zarr import decode as module
from tessera_plugin.io.zarr.decode import check_decoder, decode
from tessera_plugin.io.zarr.metadata import ChunkCodec
from tests import builders_zarr as build

SIZE = 131_072
BLOSC = ChunkCodec("blosc", "zstd")


@pytest.fixture(autouse=True)
def nothing_left():
    """Nothing stays in GDAL's memory, and its exception mode is the host's."""
    before = gdal.GetUseExceptions()
    yield
    assert not gdal.ReadDir("/vsimem/")
    assert gdal.GetUseExceptions() == before


@pytest.fixture(params=[False, True], ids=["codes", "exceptions"])
def mode(request):
    """Both of GDAL's ways to tell of errors."""
    before = gdal.GetUseExceptions()
    (gdal.UseExceptions if request.param else gdal.DontUseExceptions)()
    yield
    (gdal.UseExceptions if before else gdal.DontUseExceptions)()


def raw(seed=0, spread=2):
    values = np.random.default_rng(seed).normal(0, spread, SIZE)
    return np.clip(values, -127, 127).astype(np.int8).tobytes()


def test_many_chunks_come_out_as_they_went_in(mode):
    wanted = [raw(seed) for seed in range(20)]
    out, damaged = decode([build.BLOSC.pack(one, 1) for one in wanted], BLOSC, SIZE)
    assert out.tobytes() == b"".join(wanted)
    assert not damaged.any()


@pytest.mark.parametrize("cname", ["zstd", "lz4", "lz4hc", "zlib", "blosclz"])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["i1", "<f4"])
def test_whatever_blosc_used(cname, shuffle, dtype):
    values = np.round(np.random.default_rng(1).normal(0, 20, 4096)).astype(dtype)
    chunk = bytes(numcodecs.Blosc(cname, 5, shuffle).encode(values))
    out, damaged = decode([chunk], ChunkCodec("blosc", cname), values.nbytes)
    assert out.tobytes() == values.tobytes()
    assert not damaged.any()


def test_what_can_not_be_packed_is_kept_plain_by_blosc():
    noise = np.random.default_rng(5).bytes(SIZE)
    chunk = build.BLOSC.pack(noise, 1)
    assert len(chunk) == SIZE + 16
    out, damaged = decode([chunk, build.BLOSC.pack(raw(), 1)], BLOSC, SIZE)
    assert out.tobytes() == noise + raw()
    assert not damaged.any()


@pytest.mark.parametrize("name", ["", "zstd", "gzip"])
@pytest.mark.parametrize("crc", [False, True])
def test_other_codecs(name, crc):
    wanted = [raw(seed) for seed in range(3)]
    packer = build.Packer(name, crc=crc)
    codec = ChunkCodec(name, crc=crc)
    out, damaged = decode([packer.pack(one, 1) for one in wanted], codec, SIZE)
    assert out.tobytes() == b"".join(wanted)
    assert not damaged.any()


def test_zeros_are_zeros():
    chunk = build.BLOSC.pack(bytes(SIZE), 1)
    out, damaged = decode([chunk, chunk], BLOSC, SIZE)
    assert not out.any()
    assert not damaged.any()


def test_zeros_that_are_not_likely_are_damage_whatever_gdal_says(monkeypatch):
    monkeypatch.setattr(
        module, "_read", lambda chunks, codec, size: np.zeros((len(chunks), size), np.uint8)
    )
    chunks = [build.BLOSC.pack(raw(), 1), build.BLOSC.pack(bytes(SIZE), 1)]
    assert decode(chunks, BLOSC, SIZE)[1].tolist() == [True, False]


def cut(chunk):
    return chunk[:-5000]


def cut_and_told(chunk):
    """Cut off, and a header that says so."""
    return chunk[:12] + (len(chunk) - 5000).to_bytes(4, "little") + chunk[16:-5000]


def zeroed(chunk):
    return chunk[:16] + bytes(len(chunk) - 16)


def noise(chunk):
    return chunk[:16] + np.random.default_rng(7).bytes(len(chunk) - 16)


def other_size(chunk):
    return chunk[:4] + (SIZE // 2).to_bytes(4, "little") + chunk[8:]


def unknown_version(chunk):
    return b"\x09" + chunk[1:]


def longer(chunk):
    return chunk + b"more"


DAMAGES = [cut, cut_and_told, zeroed, noise, other_size, unknown_version, longer,
           lambda chunk: b"", lambda chunk: chunk[:7], lambda chunk: bytes(len(chunk))]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_chunk_is_named_and_the_others_come(mode, damage):
    chunks = [build.BLOSC.pack(raw(seed), 1) for seed in range(4)]
    chunks[2] = damage(chunks[2])
    out, damaged = decode(chunks, BLOSC, SIZE)
    assert damaged.tolist() == [False, False, True, False]
    assert not out[2].any()
    assert [one.tobytes() for one in out[[0, 1, 3]]] == [raw(0), raw(1), raw(3)]


@pytest.mark.parametrize("name", ["zstd", "gzip", ""])
@pytest.mark.parametrize("damage", [cut, noise, longer, lambda chunk: b""], ids=["cut", "noise",
                         "longer", "empty"])  # fmt: skip
def test_damage_of_other_codecs(mode, name, damage):
    if (name, damage) in {("", noise), ("zstd", longer), ("gzip", longer)}:
        pytest.skip("can't be told without a checksum")
    packer, codec = build.Packer(name), ChunkCodec(name)
    out, damaged = decode([packer.pack(raw(), 1), damage(packer.pack(raw(1), 1))], codec, SIZE)
    assert damaged.tolist() == [False, True]
    assert out[0].tobytes() == raw()


def test_a_checksum_tells_what_nothing_else_would():
    packer, codec = build.Packer("", crc=True), ChunkCodec("", crc=True)
    chunk = bytearray(packer.pack(raw(), 1))
    chunk[1000] ^= 1
    assert decode([bytes(chunk)], codec, SIZE)[1].tolist() == [True]
    assert decode([b"ab"], codec, SIZE)[1].tolist() == [True]


def test_what_gdal_can_not_unpack_is_named(monkeypatch):
    monkeypatch.setattr(module, "_abilities", lambda: (("zlib", "zstd"), ()))
    with pytest.raises(DecoderMissing, match="can't unpack blosc; install the add-on"):
        decode([build.BLOSC.pack(raw(), 1)], BLOSC, SIZE)
    monkeypatch.setattr(module, "_abilities", lambda: (("blosc",), ("lz4",)))
    with pytest.raises(DecoderMissing, match="blosc/zstd"):
        check_decoder(BLOSC)
    with pytest.raises(DecoderMissing, match="zstd"):
        check_decoder(ChunkCodec("zstd"))
    check_decoder(ChunkCodec("gzip"))
    check_decoder(ChunkCodec(""))


# --- another way to unpack


class Unpacking:
    """numcodecs in this process, and what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, chunks, codec, size):
        self.asked += chunks
        out = np.zeros((len(chunks), size), np.uint8)
        for number, chunk in enumerate(chunks):
            out[number] = np.frombuffer(numcodecs.get_codec({"id": codec.name}).decode(chunk), "u1")
        return out, np.zeros(len(chunks), bool)


def test_gdal_comes_first():
    unpack = Unpacking()
    out, damaged = decode([build.BLOSC.pack(raw(), 1)], BLOSC, SIZE, unpack)
    assert out.tobytes() == raw()
    assert not damaged.any()
    assert unpack.asked == []


@pytest.mark.parametrize("name", ["blosc", "zstd", "gzip", ""])
def test_where_gdal_can_not_another_way_gets_what_is_sound(monkeypatch, name):
    monkeypatch.setattr(module, "_abilities", lambda: ((), ()))
    packer, codec, unpack = build.Packer(name, crc=True), ChunkCodec(name, crc=True), Unpacking()
    check_decoder(codec, unpack)
    chunks = [packer.pack(raw(seed), 1) for seed in range(3)]
    chunks[1] = noise(chunks[1])
    out, damaged = decode(chunks, codec, SIZE, unpack)
    assert damaged.tolist() == [False, True, False]
    assert out.tobytes() == raw(0) + bytes(SIZE) + raw(2)
    is_packed = name in ("blosc", "zstd")
    assert unpack.asked == ([chunks[0][:-4], chunks[2][:-4]] if is_packed else [])


def test_zeros_that_are_not_likely_are_damage_whoever_unpacked(monkeypatch):
    monkeypatch.setattr(module, "_abilities", lambda: (("zlib",), ()))

    def zeros(chunks, codec, size):
        return np.zeros((len(chunks), size), np.uint8), np.zeros(len(chunks), bool)

    chunks = [build.BLOSC.pack(raw(), 1), build.BLOSC.pack(bytes(SIZE), 1)]
    assert decode(chunks, BLOSC, SIZE, zeros)[1].tolist() == [True, False]


def test_threads_do_not_meddle_with_each_other():
    wanted = {seed: raw(seed) for seed in range(6)}
    wrong = []

    def work(seed):
        good = build.BLOSC.pack(wanted[seed], 1)
        for _ in range(5):
            out, damaged = decode([good, noise(good)], BLOSC, SIZE)
            if damaged.tolist() != [False, True] or out[0].tobytes() != wanted[seed]:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
