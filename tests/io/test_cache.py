# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks on disk: what wins, what is missing, and what happens to files that are not right."""

import itertools
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.errors import DiskFull, NotWritable
from tessera_plugin.io import cache as cache_module
from tessera_plugin.io import cache_compact
from tessera_plugin.io.cache import (
    NO_OWNER,
    BlockCache,
    Layout,
    ObjectInfo,
    Origin,
    Piece,
    TileInfo,
    archive_identity,
    empty_block,
)
from tessera_plugin.io.sources.blocks import block_states, read_blocks
from tessera_plugin.values import PUBLIC_ARCHIVE, State, Window
from tests.cache_builders import (
    BLOCK,
    IDENTITIES,
    NAMES,
    SMALL,
    as_nobody,
    beside,
    fill,
    forget_verified,
    layout,
    layout_at,
    new_cache,
    piece,
    rows,
    set_writable,
    small_disk,
    stick,
    used,
)

ROOT = Path(__file__).resolve().parent.parent.parent

_damages = itertools.count(1)


# --- who wins


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_first_valid_tile_wins_in_whatever_order_they_come(tmp_path, order):
    random = np.random.default_rng(5)
    pieces = []
    for number in range(3):
        mask = random.random((128, 128)) < 0.4
        pieces.append(piece(BLOCK, number, [(mask, np.nan)]))
    cache = new_cache(tmp_path)
    for number in order:
        cache.add(layout(), number, [pieces[number]])
    block = cache.load(layout())
    codes = np.zeros((128, 128, 128), np.int8)
    scales = np.full((128, 128), np.nan, np.float32)
    owner = np.full((128, 128), NO_OWNER)
    for number in (2, 1, 0):  # painted over from the last to the first
        valid = pieces[number].valid
        codes[valid], scales[valid] = pieces[number].codes[valid], pieces[number].scales[valid]
        owner[valid] = number
    np.testing.assert_array_equal(block.codes, codes)
    np.testing.assert_array_equal(block.scales, scales)
    np.testing.assert_array_equal(block.owner, owner)
    assert not block.missing(layout().cover()).any()
    assert block.sources == dict(zip(NAMES, IDENTITIES))


def test_a_tile_that_was_not_looked_at_leaves_its_part_open(tmp_path):
    cache = new_cache(tmp_path)
    parts = (rows(0, 50), rows(40, 128), None)
    cache.add(layout(parts), 1, [piece(rows(40, 128))])
    block = cache.load(layout(parts))
    missing = block.missing(layout(parts).cover())
    assert (missing[:50] == 0b001).all()
    assert (missing[50:] == 0).all()
    states = block.states(layout(parts).cover())
    assert (states[:50] == State.UNKNOWN).all()
    assert (states[50:] == State.VALID).all()
    assert (block.owner[40:50] == 1).all(), "what the neighbour has there is kept"
    # then the first comes, with a hole that the second fills
    hole = np.zeros((50, 128), bool)
    hole[45:, 7] = True
    cache.add(layout(parts), 0, [piece(rows(0, 50), 3, [(hole, np.nan)])])
    block = cache.load(layout(parts))
    assert (block.states(layout(parts).cover()) == State.VALID).all()
    assert (block.owner[45:50, 7] == 1).all()
    assert (block.owner[40:50, 8] == 0).all()


def test_a_later_tile_is_not_needed_where_an_earlier_one_is_valid(tmp_path):
    cache = new_cache(tmp_path)
    hole = np.zeros((128, 128), bool)
    hole[3, 4] = True
    cache.add(layout(), 0, [piece(BLOCK, 1, [(hole, np.inf)])])
    missing = cache.load(layout()).missing(layout().cover())
    assert missing[3, 4] == 0b110
    assert np.count_nonzero(missing) == 1


def test_states_tell_water_from_other_nodata(tmp_path):
    cache = new_cache(tmp_path)
    masks = np.zeros((4, 128, 128), bool)
    for number in range(4):
        masks[number, number] = True
    told = [
        (masks[0], np.nan),
        (masks[1], np.inf),
        (masks[2], -161685.0),
        (masks[3], 0.05),  # an ordinary scale and codes that are all zero
    ]
    parts = (Window(31, BLOCK.row, BLOCK.col, 128, 100), None, None)
    cache.add(layout(parts), 0, [piece(BLOCK, 0, told)])
    states = cache.load(layout(parts)).states(layout(parts).cover())
    assert (states[0, :100] == State.WATER).all()
    assert (states[1:4, :100] == State.NODATA).all()
    assert (states[4:, :100] == State.VALID).all()
    assert (states[:4, 100:] != State.VALID).all()


def test_where_nothing_is_published_is_outside():
    cover = layout((None, None, None)).cover()
    assert (empty_block(128).states(cover) == State.OUTSIDE).all()
    assert (empty_block(128).states(layout().cover()) == State.UNKNOWN).all()


# --- the file


def test_a_block_is_an_npy_file_that_numpy_maps(tmp_path):
    cache = new_cache(tmp_path)
    arrived = piece(rows(10, 90, 5, 120), 2)
    cache.add(layout(), 1, [arrived])
    path = cache.block_path(BLOCK)
    assert path.relative_to(tmp_path).parts[1:] == (
        "1.1-cambridge", "d128", "npy", "2024", "utm31", "-4523_239.npy",
    )  # fmt: skip
    record = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(record, np.memmap)
    np.testing.assert_array_equal(record["codes"][0][10:90, 5:125], arrived.codes)
    np.testing.assert_array_equal(record["consulted"][0][10:90, 5:125], 0b010)
    assert b"grid_0.15_52.05" in bytes(record["meta"][0])
    assert [p.name for p in path.parent.iterdir()] == [path.name], "nothing temporary is left"
    assert abs(cache.block_bytes - path.stat().st_size) < 1024


def test_pieces_add_up_over_several_writes(tmp_path):
    cache = new_cache(tmp_path)
    whole = piece(BLOCK)
    for start in range(0, 128, 32):
        part = Piece(
            rows(start, start + 32),
            whole.codes[start : start + 32],
            whole.scales[start : start + 32],
            whole.valid[start : start + 32],
        )
        cache.add(layout(), 0, [part])
    np.testing.assert_array_equal(cache.load(layout()).codes, whole.codes)


def test_what_is_known_already_is_not_written_again(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    before = cache.block_path(BLOCK).stat()
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.block_path(BLOCK).stat().st_ino == before.st_ino


# --- files of blocks of which little is known


FIELDS = ("codes", "scales", "owner", "consulted")


def bits(block, fields=FIELDS):
    return [getattr(block, name).tobytes() for name in fields]


def scattered(random, share):
    """Pieces of three tiles: pixels here and there, some of them nodata of every kind."""
    pieces = []
    for number in range(3):
        places = np.argwhere(random.random((128, 128)) < share).tolist()
        for row, col in places:
            told = random.choice([0.05, np.nan, np.inf, -3.0])
            mask = np.full((1, 1), told != 0.05)
            one = piece(rows(row, row + 1, col, 1), row, [(mask, told)], SMALL)
            pieces.append((number, one))
    return pieces


@pytest.mark.parametrize("share", [0, 0.002, 0.02])
def test_what_little_is_known_comes_back_bit_by_bit_from_a_small_file(tmp_path, share):
    random = np.random.default_rng(int(share * 1000))
    cache = new_cache(tmp_path, depth=SMALL)
    wanted = empty_block(SMALL)
    arrived = [(1, piece(rows(37, 38, 9, 1), 1, depth=SMALL)), *scattered(random, share)]
    for number, one in arrived:
        wanted.consult(number, BLOCK, one)
    for number in (2, 0, 1):
        cache.add(layout(), number, [one for own, one in arrived if own == number])
    path = cache.block_path(BLOCK)
    known = np.count_nonzero(wanted.consulted)
    assert path.stat().st_size < 8000 + known * (SMALL + 7)
    rest = FIELDS[1:]
    for _ in range(2):
        assert bits(cache.load(layout())) == bits(wanted)
        assert bits(cache.load(layout(), trusted=True, codes=False), rest) == bits(wanted, rest)
        assert bits(cache.peek(layout()), rest) == bits(wanted, rest)
        forget_verified()
    assert cache.load(layout(), trusted=True, codes=False) is not None
    assert cache.load(layout(), trusted=True, codes=False).codes.shape == (0, 0, SMALL)
    assert set(cache.provenance(BLOCK).sources) == {NAMES[number] for number, _ in arrived}
    assert cache.numbers(BLOCK.zone) == {(-4523, 239)}
    cache.drop_tile(NAMES[1], BLOCK)
    assert not path.exists()


def test_water_takes_no_room_for_codes(tmp_path):
    cache = new_cache(tmp_path)
    water = np.ones((128, 128), bool)
    cache.add(layout(), 0, [piece(BLOCK, 0, [(water, np.nan)])])
    assert cache.block_path(BLOCK).stat().st_size < 0.06 * cache.block_bytes
    assert (cache.load(layout()).states(layout((BLOCK, None, None)).cover()) == State.WATER).all()


def test_a_small_file_is_one_that_numpy_reads(tmp_path):
    cache = new_cache(tmp_path)
    arrived = piece(rows(10, 13, 5, 100), 2)
    cache.add(layout(), 1, [arrived])
    record = np.load(cache.block_path(BLOCK), mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(record["codes"][0], arrived.codes.reshape(-1, 128))
    known = np.unpackbits(record["known"][0]).reshape(128, 128)
    assert known[10:13, 5:105].all()
    assert known.sum() == 300


def test_a_file_grows_with_what_is_known_until_it_is_full(tmp_path):
    cache = new_cache(tmp_path)
    path = cache.block_path(BLOCK)
    whole = piece(BLOCK)
    sizes = []
    for start in range(0, 128, 8):
        part = slice(start, start + 8)
        one = Piece(
            rows(start, start + 8), whole.codes[part], whole.scales[part], whole.valid[part]
        )
        cache.add(layout(), 0, [one])
        sizes.append(path.stat().st_size)
        np.testing.assert_array_equal(
            cache.load(layout()).codes[: start + 8], whole.codes[: start + 8]
        )
        known = (start + 8) * 128 * 135
        assert sizes[-1] <= 2 * (known + 7000)
    full = sizes[-1]
    assert abs(full - cache.block_bytes) < 1024
    assert sizes[:7] == sorted(set(sizes[:7]))
    assert sizes[6] < full / 2
    assert set(sizes[7:]) == {full}
    # the total has not lost count on the way
    added = (tmp_path / "locks" / "added").read_bytes()
    assert np.frombuffer(added, "<i8").sum() == full


def test_a_full_file_of_which_little_is_known_can_be_read_and_shrinks(tmp_path, monkeypatch):
    """As earlier versions wrote them."""
    cache = new_cache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache_compact, "compacted", lambda *_: None)
        cache.add(layout(), 0, [piece(rows(3, 9), 1)])
    path = cache.block_path(BLOCK)
    assert abs(cache.block_bytes - path.stat().st_size) < 1024
    forget_verified()
    before = bits(cache.load(layout()))
    cache.add(layout(), 0, [piece(rows(3, 9), 2)])
    assert bits(cache.load(layout())) == before
    cache.add(layout(), 0, [piece(rows(20, 21), 2)])
    assert path.stat().st_size < 0.1 * cache.block_bytes
    np.testing.assert_array_equal(cache.load(layout()).codes[3:9], piece(rows(3, 9), 1).codes)
    np.testing.assert_array_equal(cache.load(layout()).codes[20], piece(rows(20, 21), 2).codes[0])
    assert int(np.frombuffer((tmp_path / "locks" / "added").read_bytes(), "<i8").sum()) == (
        path.stat().st_size
    )


# --- damage


def damage(path, data):
    """Write other bytes in a file's place, as a bad disk or another program would."""
    path.write_bytes(data)
    later = time.time_ns() + next(_damages) * 1_000_000  # the clock of some disks is coarse
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("at", [0, 7, 100, 5000, 2_000_000, 2_150_000, -4000, -1])
def test_a_flipped_bit_drops_the_block(tmp_path, at):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    path = cache.block_path(BLOCK)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    damage(path, data)
    for trusted in (True, False):
        assert new_cache(tmp_path).load(layout(), trusted=trusted) is None
    assert not path.exists()


@pytest.mark.parametrize("height", [128, 2])
def test_random_flips_are_found_or_harmless(tmp_path, height):
    """Anywhere in the file, and half of them where it is not pixels: header, masks, metadata."""
    random = np.random.default_rng(3)
    cache = new_cache(tmp_path, depth=SMALL)
    cache.add(layout(), 0, [piece(rows(0, height), depth=SMALL)])
    path = cache.block_path(BLOCK)
    sound = path.read_bytes()
    expected = cache.load(layout_at(BLOCK))
    header = len(sound) - np.load(path, mmap_mode="r").nbytes
    found = 0
    for number in range(400):
        data = bytearray(sound)
        places = [header, len(sound), len(sound)]
        at = int(random.integers(places[number % 3]))
        at = at if number % 3 < 2 else len(sound) - 1 - at % 4200
        for bit in random.integers(8, size=random.integers(1, 4)):
            data[at] ^= 1 << int(bit)
        damage(path, data)
        forget_verified()
        codes, scales = read_blocks(cache, BLOCK, SMALL, layout_at)
        peeked = cache.peek(layout_at(BLOCK))
        assert peeked is None or peeked.codes.shape == (0, 0, SMALL), "it is not verified"
        if data == sound or cache.load(layout_at(BLOCK)) is not None:
            np.testing.assert_array_equal(codes, expected.codes)
            np.testing.assert_array_equal(scales, expected.scales)
        else:
            assert not codes.any()
            assert np.isnan(scales).all()
            assert not path.exists(), "it is dropped"
            found += 1
    assert found > 300


@pytest.mark.parametrize("size", [0, 3, 100, 1000, 2_000_000, -1])
def test_a_block_that_is_cut_off_is_dropped(tmp_path, size):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    path = cache.block_path(BLOCK)
    damage(path, path.read_bytes()[:size])
    assert cache.load(layout(), trusted=True) is None
    assert not path.exists()
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.load(layout()) is not None


@pytest.mark.parametrize("height", [128, 1])
def test_garbage_and_appended_bytes_are_dropped(tmp_path, height):
    cache = new_cache(tmp_path, depth=SMALL)
    cache.add(layout(), 0, [piece(rows(0, height), depth=SMALL)])
    path = cache.block_path(BLOCK)
    sound = path.read_bytes()
    random = np.random.default_rng(0)
    cut = [sound[:size] for size in (0, 3, 511, 512, 3000, len(sound) - 1)]
    others = [sound + b"x", sound + sound, random.bytes(len(sound)), bytes(len(sound))]
    for data in cut + others:
        damage(path, data)
        assert cache.load(layout_at(BLOCK), trusted=True) is None
        assert not path.exists()


def test_another_array_in_a_blocks_place_is_dropped(tmp_path):
    cache = new_cache(tmp_path)
    path = cache.block_path(BLOCK)
    path.parent.mkdir(parents=True)
    for stranger in (np.zeros(3), np.zeros((1,), [("codes", "i1", (2,))])):
        np.save(path, stranger)
        assert cache.load(layout()) is None
        assert not path.exists()


@pytest.mark.parametrize("inside", [None, "mine.txt"])
def test_a_folder_in_a_blocks_place_gives_way(tmp_path, inside):
    cache = new_cache(tmp_path, depth=SMALL)
    path = cache.block_path(BLOCK)
    path.mkdir(parents=True)
    if inside:
        (path / inside).write_text("mine")
    assert cache.load(layout_at(BLOCK)) is None
    cache.add(layout_at(BLOCK), 0, [piece(BLOCK, depth=SMALL)])
    assert cache.load(layout_at(BLOCK)) is not None
    kept = [each.name for each in path.parent.rglob("*.txt")]
    assert kept == ([inside] if inside else []), "what is in it is not ours to delete"


def test_a_folder_that_appears_in_a_blocks_place_gives_way_to_a_write(tmp_path):
    cache = new_cache(tmp_path)
    path = cache._tile_path(NAMES[0])
    path.mkdir(parents=True)
    assert cache.tile(NAMES[0]) is None
    cache.keep_tile(TileInfo(NAMES[0], 1.0))
    assert cache.tile(NAMES[0]).absent


def test_a_block_in_anothers_place_is_not_used(tmp_path):
    """It would be sound, and have the pixels of another place, year or archive."""
    cache, paths = fill(tmp_path, 2, depth=SMALL)
    paths[1].write_bytes(paths[0].read_bytes())
    assert cache.load(layout_at(beside(1))) is None
    assert cache.provenance(beside(1)) is None
    others = (
        {"year": 2023},
        {"dataset": "1.1-dclimate"},
        {"archive": "http://y"},
        {"form": "zarr"},
    )
    for other in others:
        stranger = new_cache(tmp_path, **{"depth": SMALL, **other})
        stranger.block_path(BLOCK).parent.mkdir(parents=True)
        stranger.block_path(BLOCK).write_bytes(paths[0].read_bytes())
        assert stranger.load(layout_at(BLOCK)) is None
        stranger.add(layout_at(BLOCK), 0, [piece(BLOCK, 5, depth=SMALL)])
        assert stranger.load(layout_at(BLOCK)) is not None


# --- verified once


def test_a_trusted_block_is_verified_again_when_it_has_changed(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.load(layout(), trusted=True) is not None
    path = cache.block_path(BLOCK)
    data = bytearray(path.read_bytes())
    data[1_000_000] ^= 0x10
    damage(path, data)
    assert new_cache(tmp_path).load(layout(), trusted=True) is None


def test_a_process_verifies_a_block_before_it_trusts_it(tmp_path):
    cache, (path,) = fill(tmp_path, 1, depth=SMALL)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[40_000] ^= 0x10
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rot on the disk would
    assert cache.load(layout_at(BLOCK), trusted=True) is not None, "it was verified before that"
    forget_verified()
    assert cache.load(layout_at(BLOCK), trusted=True, codes=False) is None


def test_without_codes_the_rest_is_the_same(tmp_path):
    cache, _ = fill(tmp_path, 1, depth=SMALL)
    whole = cache.load(layout_at(BLOCK))
    rest = cache.load(layout_at(BLOCK), trusted=True, codes=False)
    assert rest.codes.shape == (0, 0, SMALL)
    assert rest.sources == whole.sources
    for name in ("scales", "owner", "consulted"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name))


# --- windows out of blocks


def test_a_window_over_sound_missing_and_open_blocks(tmp_path):
    cache, _ = fill(tmp_path, 3, depth=SMALL)
    open_part = Layout(beside(3), NAMES, IDENTITIES, (beside(3),) * 3)
    cache.add(open_part, 1, [piece(beside(3), 3, depth=SMALL)])  # the first tile may win there yet
    cache.block_path(beside(1)).unlink()
    hole = np.zeros((128, 128), bool)
    hole[5, 6] = True
    for index in range(3):
        cache.add(layout_at(beside(4)), index, [piece(beside(4), 4, [(hole, np.inf)], SMALL)])
    window = Window(31, BLOCK.row + 3, BLOCK.col + 7, 100, 5 * 128 - 20)
    codes, scales = read_blocks(cache, window, SMALL, layout_at)
    for number in range(5):
        part = beside(number).intersection(window)
        here, there = part.slices_in(beside(number)), part.slices_in(window)
        wanted = piece(beside(number), number, depth=SMALL)
        known = np.full((128, 128), number in {0, 2, 4})
        if number == 4:
            known &= ~hole
        np.testing.assert_array_equal(
            codes[there], np.where(known[..., None], wanted.codes, 0)[here]
        )
        np.testing.assert_array_equal(scales[there], np.where(known, wanted.scales, np.nan)[here])
    states = block_states(cache, window, SMALL, layout_at)
    assert np.count_nonzero(states == State.NODATA) == 1
    assert (states[:, 128 - 7 : 256 - 7] == State.UNKNOWN).all()
    assert (states[:, 384 - 7 : 512 - 7] == State.UNKNOWN).all()


# --- where a block comes from


def test_a_block_says_where_it_comes_from(tmp_path):
    cache = new_cache(
        tmp_path, archive="https://me:secret@Host.org:443/a/b/", form="zarr", depth=SMALL
    )
    began = int(time.time())
    assert cache.provenance(BLOCK) is None
    for index in (0, 2):
        cache.add(layout(), index, [piece(rows(index * 10, index * 10 + 10), depth=SMALL)])
    told = cache.provenance(BLOCK)
    identity = archive_identity("https://host.org/a/b")
    assert told.origin == Origin(identity, "1.1-cambridge", SMALL, "zarr", 2024)
    assert told.location == "https://host.org/a/b", "and no password"
    assert began <= told.time <= time.time()
    assert told.sources == {NAMES[0]: IDENTITIES[0], NAMES[2]: IDENTITIES[2]}
    assert b"secret" not in cache.block_path(BLOCK).read_bytes()


def test_a_block_of_before_it_said_so_can_be_read(tmp_path):
    cache, (path,) = fill(tmp_path, 1, depth=SMALL)
    expected = cache.load(layout_at(BLOCK)).codes.copy()
    record = np.load(path)
    meta = json.loads(record["meta"][0].tobytes())
    for key in ("of", "at", "location"):
        del meta[key]
    record["meta"][0] = np.frombuffer(json.dumps(meta).encode().ljust(4096), np.uint8)
    raw = record.tobytes()
    at = len(raw) - 4096 - 4
    record["crc"] = zlib.crc32(raw[at + 4 :], zlib.crc32(raw[:at]))
    np.save(path, record)
    forget_verified()
    block = new_cache(tmp_path, depth=SMALL).load(layout_at(BLOCK))
    np.testing.assert_array_equal(block.codes, expected)
    told = cache.provenance(BLOCK)
    assert (told.origin, told.location) == (cache.origin, "")
    assert told.sources == {NAMES[0]: IDENTITIES[0]}


def test_long_names_leave_no_room_for_the_address_and_nothing_breaks(tmp_path):
    names = tuple(f"utm{number:02d}_group_{'x' * 40}" for number in range(16))
    identities = (("e" * 48, "f" * 48),) * 16
    whole = Layout(BLOCK, names, identities, (BLOCK,) * 16)
    cache = new_cache(tmp_path, archive="/data/" + "y" * 2500, depth=SMALL)
    for index in range(16):
        cache.add(whole, index, [piece(rows(index, index + 1), depth=SMALL)])
    told = cache.provenance(BLOCK)
    assert told.location == ""
    assert len(told.sources) == 16


# --- where nothing can be written


def is_refused(write):
    try:
        write()
    except NotWritable:
        return True
    return False


def looked_at_read_only(folder):
    """What somebody who may not write gets of a cache of three blocks, the middle one damaged."""
    forget_verified()
    mine = new_cache(folder, depth=SMALL)
    window = Window(31, BLOCK.row, BLOCK.col, 128, 3 * 128)
    codes, scales = read_blocks(mine, window, SMALL, layout_at)
    states = block_states(mine, window, SMALL, layout_at)
    told = [
        mine.tile(NAMES[0]) is not None,
        mine.provenance(BLOCK) is not None,
        mine.load(layout_at(beside(1))) is None,
        int(np.count_nonzero(states == State.VALID)),
    ]
    mine.forget_tile(NAMES[0])
    mine.drop_tile(NAMES[0], BLOCK)
    refused = [
        is_refused(lambda: mine.add(layout_at(beside(1)), 0, [piece(beside(1), depth=SMALL)])),
        is_refused(lambda: mine.keep_tile(TileInfo(NAMES[1], 1.0))),
        is_refused(lambda: mine.mark_unusual(NAMES[0])),
    ]
    return codes, scales, told, refused


def test_a_cache_that_can_only_be_read_gives_its_pixels():
    """What is damaged can't be deleted there, and counts as not there all the same."""
    with stick() as folder:
        cache, paths = fill(folder, 3, depth=SMALL)
        cache.keep_tile(TileInfo(NAMES[0], 1.0))
        used(paths[0], 20)
        damage(paths[1], b"no block")
        set_writable(folder, writable=False)
        kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        codes, scales, told, refused = as_nobody(lambda: looked_at_read_only(folder))
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == kept
    for number in (0, 2):
        wanted = piece(beside(number), number, depth=SMALL)
        here = slice(128 * number, 128 * number + 128)
        np.testing.assert_array_equal(codes[:, here], wanted.codes)
        np.testing.assert_array_equal(scales[:, here], wanted.scales)
    assert np.isnan(scales[:, 128:256]).all()
    assert told == [True, True, True, 2 * 128 * 128]
    assert refused == [True, True, True]


# --- never mixed


def test_a_block_with_a_tiles_older_self_is_not_used_and_replaced_as_a_whole(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(rows(0, 64))])
    cache.add(layout(), 1, [piece(rows(64, 128))])
    rebuilt = layout(identities=(('"new"', '"a2"'), *IDENTITIES[1:]))
    assert cache.load(layout()) is not None
    assert cache.load(rebuilt) is None
    cache.add(rebuilt, 0, [piece(rows(0, 10), 9)])
    block = cache.load(rebuilt)
    assert (block.consulted[:10] == 1).all()
    assert not block.consulted[10:].any(), "nothing of the older block is left"
    assert cache.load(layout()) is None


def test_a_block_of_tiles_that_nothing_is_known_of_any_more_is_not_used(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.load(layout(identities=(("", ""), *IDENTITIES[1:]))) is None
    assert cache.load(layout(identities=(IDENTITIES[0], ("", ""), ("", "")))) is not None


def test_a_block_laid_out_otherwise_is_not_used(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.load(layout(BLOCK and (BLOCK,) * 2, IDENTITIES[:2], NAMES[:2])) is None


def test_drop_tile_takes_only_blocks_that_hold_it(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    cache.drop_tile(NAMES[1], BLOCK)
    assert cache.load(layout()) is not None
    cache.drop_tile(NAMES[0], BLOCK)
    assert cache.load(layout()) is None


def test_archives_do_not_mix():
    assert archive_identity(PUBLIC_ARCHIVE) == "public"
    assert (
        archive_identity(PUBLIC_ARCHIVE.upper().replace("/TESSERA", "/tessera") + "/") == "public"
    )
    one = archive_identity("http://127.0.0.1:8000/a")
    assert one == archive_identity("HTTP://127.0.0.1:8000/a//")
    assert archive_identity("http://h/a") == archive_identity("http://h:80/a")
    assert len({one, archive_identity("http://127.0.0.1:8000/A"), "public",
                archive_identity("http://127.0.0.1:8001/a")}) == 4  # fmt: skip
    assert one.isalnum()


# --- tiles


def object_info(etag='"x"'):
    return ObjectInfo(etag, 1000, "Thu, 01 Jan 2026 00:00:00 GMT", 128, "\x93NUMPY\x01\x00v\x00")


def test_what_is_known_of_a_tile_comes_back(tmp_path):
    cache = new_cache(tmp_path)
    info = TileInfo(NAMES[0], 123.5, (1113, 687), object_info(), object_info('W/"y"'), 1)
    assert cache.tile(NAMES[0]) is None
    cache.keep_tile(info)
    assert cache.tile(NAMES[0]) == info
    assert info.identity == ('"x"', 'W/"y"')
    cache.mark_unusual(NAMES[0])
    assert cache.tile(NAMES[0]).unusual
    cache.forget_tile(NAMES[0])
    assert cache.tile(NAMES[0]) is None
    absent = TileInfo(NAMES[1], 5.0)
    cache.keep_tile(absent)
    assert cache.tile(NAMES[1]).absent


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99}'])
def test_a_tile_file_that_is_not_right_counts_as_not_there(tmp_path, text):
    cache = new_cache(tmp_path)
    cache.keep_tile(TileInfo(NAMES[0], 1.0))
    path = next(tmp_path.rglob("*.json"))
    path.write_text(text)
    assert cache.tile(NAMES[0]) is None


def test_flips_in_a_tile_file_are_found_or_harmless(tmp_path):
    """A shape or an offset that is not right would fetch other bytes than the tile's."""
    cache = new_cache(tmp_path)
    info = TileInfo(NAMES[0], 123.5, (1113, 687), object_info(), object_info('W/"y"'), 1)
    cache.keep_tile(info)
    path = cache._tile_path(NAMES[0])
    sound = path.read_bytes()
    found = 0
    for at in range(len(sound)):
        for bit in (0, 3, 5):
            data = bytearray(sound)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            assert cache.tile(NAMES[0]) in {None, info}
            found += cache.tile(NAMES[0]) is None
    assert found > len(sound)


def test_a_tile_file_of_before_there_were_checksums_can_be_read(tmp_path):
    cache = new_cache(tmp_path)
    info = TileInfo(NAMES[0], 123.5, (1113, 687), object_info(), object_info('W/"y"'), 1)
    cache.keep_tile(info)
    path = cache._tile_path(NAMES[0])
    kept = json.loads(path.read_bytes())
    del kept["crc"]
    path.write_text(json.dumps(kept))
    assert cache.tile(NAMES[0]) == info


def test_without_an_etag_the_date_and_the_length_stand_for_it():
    info = object_info("")
    assert info.identity == "Thu, 01 Jan 2026 00:00:00 GMT 1000"
    assert len(object_info('"' + "x" * 500 + '"').identity) == 32


def test_names_are_safe_on_windows(tmp_path):
    cache = BlockCache(
        str(tmp_path), "https://h:8000/a?b", dataset="2.0-2B-L~beta1", depth=128, form="npy",
        year=2024,
    )  # fmt: skip
    cache.add(layout(), 0, [piece(BLOCK)])
    cache.keep_tile(TileInfo("grid_-0.15_-52.05", 1.0))
    for path in tmp_path.rglob("*"):
        assert not set(path.name) & set('<>:"/\\|?*')
        assert not path.name.endswith((".", " "))
        assert len(str(path.relative_to(tmp_path))) < 80


# --- disks


@pytest.fixture(name="small_disk")
def mounted(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk_is_told_and_leaves_the_old_blocks(small_disk):
    cache = new_cache(small_disk)
    cache.add(layout(), 0, [piece(BLOCK)])
    other = Window(31, BLOCK.row, BLOCK.col + 128, 128, 128)
    beside = Layout(other, NAMES, IDENTITIES, (other,) * 3)
    with pytest.raises(DiskFull) as caught:
        cache.add(beside, 0, [piece(other)])
    assert caught.value.needed_bytes > 2_000_000
    assert cache.load(layout()) is not None
    assert not list(small_disk.rglob("*.tmp"))


def test_room_is_checked_beforehand(small_disk):
    cache = new_cache(small_disk)
    cache.check_space([BLOCK])
    more = [Window(31, BLOCK.row, BLOCK.col + 128 * number, 128, 128) for number in range(3)]
    with pytest.raises(DiskFull):
        cache.check_space(more)
    cache.add(layout(), 0, [piece(BLOCK)])
    cache.check_space([BLOCK])  # is there, so needs no room of its own
    cache.check_space(more, 3000)  # in small files
    with pytest.raises(DiskFull):
        cache.check_space(more, 3 * 128 * 128)


def test_the_room_that_is_checked_is_enough(tmp_path, monkeypatch):
    """Whatever lies in a block already, and however full it becomes."""
    asked = []
    monkeypatch.setattr(cache_module, "check_space", lambda _, size: asked.append(size))
    random = np.random.default_rng(1)
    for number in range(12):
        cache = new_cache(tmp_path / str(number), depth=SMALL)
        steps = np.unique(random.integers(1, 128, 4))
        for top, stop in zip([0, *steps], [*steps, 128]):
            before = sum(path.stat().st_size for path in cache.root.rglob("*.npy"))
            asked.clear()
            cache.check_space([BLOCK], int(stop - top) * 128)
            cache.add(layout(), 0, [piece(rows(top, stop), depth=SMALL)])
            grown = cache.block_path(BLOCK).stat().st_size - before
            assert grown <= sum(asked)


def test_a_disk_that_can_only_be_read(small_disk):
    cache = new_cache(small_disk)
    cache.add(layout(), 0, [piece(rows(0, 5))])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert cache.load(layout()) is not None
    with pytest.raises(NotWritable):
        cache.add(layout(), 1, [piece(BLOCK)])
    with pytest.raises(NotWritable):
        cache.keep_tile(TileInfo(NAMES[0], 1.0))


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(NotWritable):
        new_cache(tmp_path / "cache").add(layout(), 0, [piece(BLOCK)])


# --- several at once


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.cache_builders import *
cache, mine = new_cache(Path(sys.argv[2])), int(sys.argv[3])
for start in range(mine, 128, 4):
    cache.add(layout(), 0, [piece(rows(start, start + 1), start)])
"""


def test_several_processes_write_one_block(tmp_path):
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(ROOT), str(tmp_path), str(number)])
        for number in range(4)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    block = new_cache(tmp_path).load(layout())
    assert (block.consulted == 1).all()
    for start in range(128):
        expected = piece(rows(start, start + 1), start)
        np.testing.assert_array_equal(block.codes[start : start + 1], expected.codes)
