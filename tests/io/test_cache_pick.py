# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Single rows and columns of blocks: the same pixels as of the whole, and much less that is read."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tessera_plugin.io import cache_records
from tessera_plugin.io.sources.blocks import block_picker, block_states, read_blocks
from tessera_plugin.values import State
from tests.cache_builders import (
    BLOCK,
    IDENTITIES,
    NAMES,
    beside,
    fill,
    forget_verified,
    layout,
    layout_at,
    new_cache,
    piece,
    rows,
)


def picked_as_the_whole(cache, layout_of, block=BLOCK, step=5):
    at = np.arange(step // 2, 128, step)
    found = block_picker(cache, cache.depth, layout_of)(block, at, at[3:9])
    places = np.ix_(at, at[3:9])
    codes, scales = read_blocks(cache, block, cache.depth, layout_of)
    assert np.array_equal(found.codes, codes[places])
    assert np.array_equal(found.scales, scales[places], equal_nan=True)
    assert np.array_equal(found.states, block_states(cache, block, cache.depth, layout_of)[places])
    return found


@pytest.mark.parametrize("step", [1, 2, 5, 31])
def test_of_a_full_block(tmp_path, step):
    cache, _ = fill(tmp_path, 1)
    for _ in range(2):  # read as a whole and verified, then by rows
        found = picked_as_the_whole(cache, layout_at, beside(0), step)
        assert (found.states == State.VALID).all()
        forget_verified()
        picked_as_the_whole(cache, layout_at, beside(0), step)


def test_of_a_partial_block(tmp_path):
    cache = new_cache(tmp_path)
    invalid = np.zeros((100, 128), bool)
    invalid[:, 40:50] = True
    cache.add(layout(), 0, [piece(rows(0, 100), invalid=[(invalid, np.nan)])])
    found = picked_as_the_whole(cache, lambda _: layout())
    assert set(np.unique(found.states)) == {State.VALID, State.UNKNOWN}
    cache.add(layout(), 1, [piece(rows(0, 20), invalid=[(invalid[:20], np.inf)])])
    picked_as_the_whole(cache, lambda _: layout())


def test_of_a_small_file(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(rows(10, 30))])
    picked_as_the_whole(cache, lambda _: layout())


def test_of_what_is_not_there(tmp_path):
    cache = new_cache(tmp_path)
    found = picked_as_the_whole(cache, layout_at)
    assert (found.states == State.UNKNOWN).all()
    found = picked_as_the_whole(cache, lambda _: None)
    assert (found.states == State.UNKNOWN).all()
    nowhere = layout(parts=(None, None, None))
    assert (picked_as_the_whole(cache, lambda _: nowhere).states == State.OUTSIDE).all()


def test_of_a_tile_that_is_another_by_now(tmp_path):
    cache, _ = fill(tmp_path, 1)
    other = layout(identities=(('"z"', '"z"'), *IDENTITIES[1:]), names=NAMES)
    cache.load(layout_at(BLOCK))
    assert (picked_as_the_whole(cache, lambda _: other).states == State.UNKNOWN).all()


EVERY_FIFTH = np.arange(2, 128, 5)
ROW_BYTES = 128 * 128


def broken_at(path, row=None, field="codes"):
    """Turn a bit over in a row of codes, or in the middle of another part of the record."""
    data = bytearray(path.read_bytes())
    dtype = cache_records.dtype_of(128)
    start = len(data) - dtype.itemsize + dtype.fields[field][1]
    data[start + (5000 if row is None else row * ROW_BYTES + 99)] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(("field", "row"), [("codes", 17), ("scales", None), ("owner", None)])
def test_a_block_that_was_damaged_meanwhile_is_not_used(tmp_path, field, row):
    cache, (path,) = fill(tmp_path, 1)
    picked_as_the_whole(cache, layout_at, beside(0))
    broken_at(path, row, field)
    found = block_picker(cache, 128, layout_at)(beside(0), EVERY_FIFTH, EVERY_FIFTH)
    assert (found.states == State.UNKNOWN).all()
    assert not found.codes.any()
    assert not path.exists()


def test_rows_that_are_sound_are_used_though_others_are_not(tmp_path):
    cache, (path,) = fill(tmp_path, 1)
    codes = cache.load(layout_at(beside(0))).codes.copy()
    broken_at(path, 18)
    found = block_picker(cache, 128, layout_at)(beside(0), EVERY_FIFTH, EVERY_FIFTH)
    assert (found.states == State.VALID).all()
    assert np.array_equal(found.codes, codes[np.ix_(EVERY_FIFTH, EVERY_FIFTH)])
    found = block_picker(cache, 128, layout_at)(beside(0), np.arange(10, 20), EVERY_FIFTH)
    assert (found.states == State.UNKNOWN).all()


@pytest.mark.parametrize("told", [None, "", 5, "AAAA", "no base64", "A" * 688])
def test_a_file_without_checks_of_its_rows_is_verified_whole(tmp_path, told):
    """As those of earlier versions are; whatever stands there instead."""
    cache, (path,) = fill(tmp_path, 1)
    record = cache_records.from_bytes(path.read_bytes(), 128)
    meta = cache_records.meta_of(record)
    del meta["rows"]
    if told is not None:
        meta["rows"] = told
    record["meta"][0] = np.frombuffer(json.dumps(meta).encode().ljust(4096), np.uint8)
    record["crc"] = cache_records.checksum(record)
    header = path.read_bytes()[: -record.dtype.itemsize]
    path.write_bytes(header + record.tobytes())
    forget_verified()
    picked_as_the_whole(cache, layout_at, beside(0))
    forget_verified()
    broken_at(path, 18)
    found = block_picker(cache, 128, layout_at)(beside(0), EVERY_FIFTH, EVERY_FIFTH)
    assert (found.states == State.UNKNOWN).all()


def test_a_block_whose_meta_is_full_is_written_without_them(tmp_path):
    cache = new_cache(tmp_path)
    names = tuple(f"grid_{'9' * 200}_{number}" for number in range(15))
    identities = (('"a"', '"b"'),) * 15
    long = layout(parts=(BLOCK,) * 15, identities=identities, names=names)
    cache.add(long, 0, [piece(BLOCK)])
    meta = cache_records.meta_of_file(cache.block_path(BLOCK))
    assert meta["names"] == list(names)
    assert "rows" not in meta
    forget_verified()
    assert (picked_as_the_whole(cache, lambda _: long).states == State.VALID).all()


@pytest.mark.parametrize("verified", [True, False])
def test_only_those_rows_are_read(tmp_path, monkeypatch, verified):
    cache, (path,) = fill(tmp_path, 1)
    if not verified:
        forget_verified()
    amounts = []
    whole = cache_records.fill

    def counting(stream, view):
        amounts.append(len(view))
        whole(stream, view)

    monkeypatch.setattr(cache_records, "fill", counting)
    at = EVERY_FIFTH
    found = block_picker(cache, 128, layout_at)(beside(0), at, at[:5])
    assert (found.states == State.VALID).all()
    tail = cache_records.TAIL_TYPE.itemsize
    row_bytes = 25 * 128 if verified else ROW_BYTES  # a row is verified as a whole
    assert sum(amounts) < tail + 1000 + len(at) * row_bytes
    assert sum(amounts) < path.stat().st_size / (8 if verified else 4)


def test_rows_side_by_side_are_read_at_once(tmp_path, monkeypatch):
    cache, _ = fill(tmp_path, 1)
    forget_verified()
    reads = []
    whole = cache_records.fill
    monkeypatch.setattr(
        cache_records, "fill", lambda stream, view: (reads.append(len(view)), whole(stream, view))
    )
    everything = np.arange(128)
    pick = block_picker(cache, 128, layout_at)
    assert np.array_equal(
        pick(beside(0), everything, everything).codes, cache.load(layout_at(beside(0))).codes
    )
    assert reads.count(128 * ROW_BYTES) == 1
    rows_wanted = np.r_[3:40, 50:60, 90]
    reads.clear()
    pick(beside(0), rows_wanted, everything)
    assert {37 * ROW_BYTES, 10 * ROW_BYTES, ROW_BYTES} <= set(reads)


def test_many_threads_pick_at_once(tmp_path):
    cache, _ = fill(tmp_path, 4)
    forget_verified()
    wanted = {n: cache.load(layout_at(beside(n))).codes[np.ix_(EVERY_FIFTH, EVERY_FIFTH)].copy()
              for n in range(4)}  # fmt: skip
    forget_verified()
    pick = block_picker(cache, 128, layout_at)

    def right(number):
        found = pick(beside(number % 4), EVERY_FIFTH, EVERY_FIFTH)
        return np.array_equal(found.codes, wanted[number % 4])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(right, range(200)))
