# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Single rows and columns of blocks: the same pixels as of the whole, and much less that is read."""

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


def test_a_block_that_was_damaged_meanwhile_is_not_used(tmp_path):
    cache, (path,) = fill(tmp_path, 1)
    picked_as_the_whole(cache, layout_at, beside(0))
    data = bytearray(path.read_bytes())
    data[300_000] ^= 0xFF
    path.write_bytes(data)
    at = np.arange(2, 128, 5)
    found = block_picker(cache, 128, layout_at)(beside(0), at, at)
    assert (found.states == State.UNKNOWN).all()
    assert not found.codes.any()


def test_only_those_rows_are_read(tmp_path, monkeypatch):
    cache, (path,) = fill(tmp_path, 1)
    cache.load(layout_at(beside(0)))
    amounts = []
    whole = cache_records._fill

    def counting(stream, view):
        amounts.append(len(view))
        whole(stream, view)

    monkeypatch.setattr(cache_records, "_fill", counting)
    at = np.arange(2, 128, 5)
    block_picker(cache, 128, layout_at)(beside(0), at, at[:5])
    tail = cache_records._TAIL_TYPE.itemsize
    assert sum(amounts) < tail + 1000 + len(at) * 25 * 128
    assert sum(amounts) < path.stat().st_size / 8
