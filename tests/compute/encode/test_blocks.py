# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of blocks: their checksum, their order; and the lattice of a preview."""

import zlib

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.blocks import Store, nearest_first, parts, record_of
from tessera_plugin.compute.worker.encode.counts import Counts
from tessera_plugin.compute.worker.encode.preview import Preview


@pytest.fixture
def kept(tmp_path):
    """Return a folder with one finished block, and the block."""
    store = Store(tmp_path, 16, {})
    (part,) = parts(20, 30, 0, 0)
    block = store.empty()
    inner = part.within(block)
    inner["codes"] = np.random.default_rng(0).integers(-127, 128, (20, 30, 16))
    inner["scale"], inner["seen"] = 0.01, 20
    store.keep(part, block)
    return store, part, block


def test_a_block_ends_with_its_checksum_and_is_a_plain_npy_file(kept):
    store, part, block = kept
    raw = store.path(part).read_bytes()
    assert raw[-8:-4] == b"TESS"
    assert int.from_bytes(raw[-4:], "little") == zlib.crc32(raw[:-8])
    for mode in (None, "r"):
        found = np.load(store.path(part), mmap_mode=mode)
        assert found.tobytes() == block.tobytes()
    assert store.has(part)
    assert store.read(part).tobytes() == block.tobytes()


def test_a_flipped_bit_is_found_wherever_it_is(kept):
    store, part, _ = kept
    path = store.path(part)
    raw = path.read_bytes()
    for at in (3, 60, 200, len(raw) // 2, len(raw) - 9, len(raw) - 8, len(raw) - 5, len(raw) - 1):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert not store.has(part), at
    path.write_bytes(raw)
    assert store.has(part)


def test_what_a_power_cut_leaves_is_no_block(kept):
    store, part, _ = kept
    path = store.path(part)
    raw = path.read_bytes()
    for length in (0, 5, 100, len(raw) // 2, len(raw) - 8, len(raw) - 1):
        path.write_bytes(raw[:length])
        assert not store.has(part)
        path.write_bytes(raw[:length] + bytes(len(raw) - length))  # the length was written first
        assert not store.has(part)
    path.unlink()
    assert not store.has(part)


def test_a_block_of_another_depth_is_none(kept):
    store, part, _ = kept
    assert not Store(store.folder, 8, {}).has(part)


def test_blocks_nearest_to_a_place_come_first():
    every = parts(300, 400, -60, 100)  # rows -60 to 239, columns 100 to 499
    assert len(every) == 3 * 4
    first = [part.name for part in nearest_first(every, 150, 200)]
    assert first[0] == "0_256"  # holds row 90, column 300
    assert sorted(first) == sorted(part.name for part in every)
    assert set(first[-2:]) == {"-128_0", "128_0"} or first[-1].endswith("_0")
    corner = nearest_first(every, 0, 0)
    assert corner[0].name == "-128_0"
    assert corner[-1].name == "128_384"
    outside = nearest_first(every, 10_000, 10_000)
    assert outside[0].name == "128_384"


@pytest.mark.parametrize("size", [(300, 400), (1, 1), (5, 130), (129, 3)])
@pytest.mark.parametrize("stride", [1, 8, 64])
def test_a_preview_takes_every_pixel_of_its_lattice_once(tmp_path, size, stride):
    height, width = size
    preview = Preview(tmp_path, height, width, 4, stride)
    scale = np.random.default_rng(0).random(size).astype(np.float32)
    for part in parts(height, width, -60, 100):
        for rows, cols in preview.of(part):
            assert part.rows.start <= rows.start < part.rows.stop
            assert part.cols.start <= cols.start < part.cols.stop
            taken = scale[rows, cols]
            records = np.zeros(taken.shape, record_of(4))
            records["scale"] = taken
            preview.put((rows, cols), records)
    preview.write()
    found = np.load(preview.path)
    row, col = preview.first
    step = preview.stride
    assert step == (stride if stride > 1 or height * width < 65_536 else 2)
    assert found["scale"].tolist() == scale[row::step, col::step].tolist()
    assert found.shape == found["codes"].shape[:2]
    assert preview.pixels == found.size
    preview.remove()
    assert not list(tmp_path.iterdir())


def test_a_preview_of_a_large_scene_is_no_larger(tmp_path):
    preview = Preview(tmp_path, 10_000, 20_000, 128, 8)
    assert preview.stride == 56
    assert preview.pixels <= 65_536


def test_pixels_are_counted_by_what_was_seen_of_them():
    records = np.zeros((1, 6), record_of(4))
    records["seen"] = [(0, 9, 9), (0, 0, 0), (1, 6, 5), (14, 0, 12), (15, 6, 6), (70, 5, 6)]
    records["scale"] = [np.nan, np.nan, 0.1, 0.1, 0.1, 0.1]
    counts = Counts()
    counts.add(records)
    counts.add(records[:, :1])
    assert vars(counts) == {"no_s2": 3, "few_s2": 2, "few_s1": 2, "encoded": 4}
