# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checksums, shard indexes and the plan of requests."""

import time

import numpy as np
import pytest

from tessera_plugin.io.zarr import shards
from tessera_plugin.io.zarr.decode import decode
from tessera_plugin.io.zarr.metadata import parse_array
from tessera_plugin.io.zarr.shards import Chunk, IndexDamaged, crc32c, parse_index, plan
from tests import builders_zarr as build
from tests.clock import within

# RFC 3720, B.4: bytes and their CRC-32C
KNOWN = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


@pytest.mark.parametrize(("data", "crc"), KNOWN)
def test_the_checksum_of_the_standard(data, crc):
    assert crc32c(data) == crc


@pytest.mark.parametrize("size", [1, 3, 2047, 2048, 2049, 4096, 16_384, 65_539, 262_144])
def test_the_checksum_side_by_side_is_the_one_byte_by_byte(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == build.crc32c(data)
    flipped = bytearray(data)
    flipped[size // 2] ^= 1
    assert crc32c(bytes(flipped)) != crc32c(data)


def test_the_checksum_of_an_index_takes_milliseconds():
    data = bytes(262_144)
    crc32c(data)
    began = time.perf_counter()
    crc32c(data)
    assert time.perf_counter() - began < within(0.1)


# --- indexes


def stored(at_end=True, order=("time", "band", "y", "x")):
    """A shard of 4 x 4 chunks of which one is missing, its array, and the codes in it."""
    codes, _ = build.embeddings(128, 128)
    codes[32:64, 64:96] = 0
    shape = {"time": 1, "band": 128, "y": 128, "x": 128}
    inner = {**shape, "y": 32, "x": 32}
    node = build.array_node([shape[a] for a in order], [shape[a] for a in order],
                            [inner[a] for a in order], "int8", 0, order, build.BLOSC, at_end)  # fmt: skip
    values = codes[None].transpose([("time", "y", "x", "band").index(a) for a in order])
    data = build.shard(values, [inner[a] for a in order], build.BLOSC, 0, at_end)
    return data, parse_array("tiny", "utm31/embeddings", node)


def index_of(data, array):
    size = array.index_bytes
    return data[-size:] if array.index_at_end else data[:size]


@pytest.mark.parametrize("order", [("time", "band", "y", "x"), ("time", "y", "x", "band"),
                                   ("x", "time", "band", "y")])  # fmt: skip
@pytest.mark.parametrize("at_end", [True, False])
def test_an_index_tells_where_the_chunks_lie(at_end, order):
    data, array = stored(at_end, order)
    index = parse_index(index_of(data, array), array, 0, len(data))
    assert index.starts.shape == (4, 4)
    assert np.argwhere(index.starts < 0).tolist() == [[1, 2]]
    chunks = index.chunks(np.ones((4, 4), bool))
    if order == ("time", "band", "y", "x"):
        assert [(c.row, c.col) for c in chunks[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({(c.row, c.col) for c in chunks}) == 15
    for chunk in chunks:  # what lies there is that chunk
        out, _ = decode([data[chunk.start : chunk.stop]], array.codec, array.chunk_bytes)
        axes = [array.axes.index(axis) for axis in ("time", "y", "x", "band")]
        part = out[0].view(np.int8).reshape(array.inner).transpose(axes)[0]
        wanted = build.embeddings(128, 128)[0]
        rows, cols = (
            slice(32 * chunk.row, 32 * chunk.row + 32),
            slice(32 * chunk.col, 32 * chunk.col + 32),
        )
        np.testing.assert_array_equal(part, wanted[rows, cols])
    first = 0 if at_end else array.index_bytes
    assert chunks[0].start == first
    assert all(a.stop == b.start for a, b in zip(chunks, chunks[1:]))
    assert chunks[-1].stop == len(data) - (array.index_bytes if at_end else 0)


def test_only_what_is_wanted_is_listed():
    data, array = stored()
    index = parse_index(index_of(data, array), array, 0, len(data))
    wanted = np.zeros((4, 4), bool)
    wanted[1, 2] = wanted[3, 0] = wanted[0, 1] = True
    assert [(c.row, c.col) for c in index.chunks(wanted)] == [(0, 1), (3, 0)]


@pytest.mark.parametrize("at", [0, 100, 255, -1])
def test_a_flipped_bit_of_the_index_is_noticed(at):
    data, array = stored()
    index = bytearray(index_of(data, array))
    index[at] ^= 1
    with pytest.raises(IndexDamaged, match="checksum"):
        parse_index(bytes(index), array, 0, len(data))


def test_an_index_of_another_length_is_refused():
    data, array = stored()
    with pytest.raises(IndexDamaged, match="bytes instead of"):
        parse_index(index_of(data, array)[1:], array, 0, len(data))


@pytest.mark.parametrize("entry", [(10**9, 10), (0, 10**9), (2**63, 2**63), (2**64 - 2, 5)])
def test_an_index_that_points_out_of_its_shard_is_refused(entry):
    data, array = stored()
    body = np.frombuffer(index_of(data, array)[:-4], "<u8").copy()
    body[:2] = entry
    raw = body.tobytes()
    raw += build.crc32c(raw).to_bytes(4, "little")
    with pytest.raises(IndexDamaged, match="out of the shard"):
        parse_index(raw, array, 0, len(data))


# --- requests


def chunks(*pairs):
    return [Chunk(0, number, start, stop) for number, (start, stop) in enumerate(pairs)]


def edges(spans):
    return [[(span.start, span.stop) for span in part] for part in spans]


def test_neighbours_are_asked_for_at_once():
    assert edges(plan([chunks((0, 10), (10, 20), (20, 25))], 1)) == [[(0, 25)]]


def test_there_are_no_requests_for_nothing():
    assert plan([[], chunks((5, 6))], 1)[0] == []


def test_the_smallest_gaps_are_closed_first_over_all_objects():
    one, other = chunks((0, 10), (60, 70), (75, 80)), chunks((0, 10), (50, 60))
    assert edges(plan([one, other], 5, 60)) == [[(0, 10), (60, 70), (75, 80)], [(0, 10), (50, 60)]]
    assert edges(plan([one, other], 4, 60)) == [[(0, 10), (60, 80)], [(0, 10), (50, 60)]]
    assert edges(plan([one, other], 3, 60)) == [[(0, 10), (60, 80)], [(0, 60)]]
    too_much = plan([one, other], 1, 60)  # 50 more would be
    assert edges(too_much) == [[(0, 10), (60, 80)], [(0, 60)]]


def test_only_a_share_is_fetched_in_vain():
    draw = np.random.default_rng(3)
    starts = np.cumsum(draw.integers(100_000, 400_000, 500))
    many = [Chunk(0, n, int(s), int(s) + 100_000) for n, s in enumerate(starts)]
    spans = plan([many], 1)[0]
    asked = sum(span.stop - span.start for span in spans)
    assert 500 * 100_000 < asked <= 500 * 100_000 * (1 + shards.SPARE_SHARE)
    assert [c for span in spans for c in span.chunks] == many


@pytest.mark.parametrize(
    ("requests", "longest"), [(100, 8e6), (6, 12e6), (3, 24e6), (2, 32e6), (1, 24e6)]
)
def test_ranges_are_as_short_as_the_requests_allow_and_cut_between_chunks(requests, longest):
    many = [Chunk(0, n, n * 100_000, (n + 1) * 100_000) for n in range(500)]
    spans = plan([many], requests)[0]
    assert len(spans) == -(-50_000_000 // longest)
    lengths = [span.stop - span.start for span in spans]
    assert max(lengths) - min(lengths) <= 100_000
    assert all(a.stop == b.start for a, b in zip(spans, spans[1:]))
    assert (spans[0].start, spans[-1].stop) == (0, 50_000_000)


def test_a_range_is_cut_for_a_slow_line():
    span = plan([chunks(*((n * 100, n * 100 + 90) for n in range(10)))], 1)[0][0]
    parts = shards.cut(span, 300)
    assert [(part.start, part.stop) for part in parts] == [
        (0, 290),
        (300, 490),
        (500, 690),
        (700, 990),
    ]
    assert [c for part in parts for c in part.chunks] == list(span.chunks)
    assert len(shards.cut(span, 1)) == 10
    assert shards.cut(span, 10_000) == [span]


def test_chunks_that_share_bytes_are_no_trouble():
    assert edges(plan([chunks((0, 100), (50, 80), (90, 120))], 1)) == [[(0, 120)]]
    spans = plan([chunks((0, 100), (50, 80), (200, 220))], 5, 0)
    assert edges(spans) == [[(0, 100), (200, 220)]]
