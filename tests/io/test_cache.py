# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks on disk: what wins, what is missing, and what happens to files that are not right."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.errors import DiskFull, NotWritable
from tessera_plugin.io import cache as cache_module
from tessera_plugin.io.cache import (
    NO_OWNER,
    BlockCache,
    Layout,
    ObjectInfo,
    Piece,
    TileInfo,
    archive_identity,
    empty_block,
    evict,
    size,
)
from tessera_plugin.values import PUBLIC_ARCHIVE, State, Window

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = Window(31, -4523 * 128, 239 * 128, 128, 128)
NAMES = ("grid_0.05_52.15", "grid_0.15_52.05", "grid_0.15_52.15")
IDENTITIES = (('"a1"', '"a2"'), ('"b1"', '"b2"'), ('"c1"', '"c2"'))


def new_cache(folder):
    return BlockCache(
        str(folder), "http://x/root", dataset="1.1-cambridge", depth=128, form="npy", year=2024
    )


def layout(parts=(BLOCK, BLOCK, BLOCK), identities=IDENTITIES, names=NAMES):
    return Layout(BLOCK, names, identities, parts)


def rows(start, stop, left=0, width=128):
    return Window(31, BLOCK.row + start, BLOCK.col + left, stop - start, width)


def piece(window, seed=0, invalid=()):
    """Rows as they arrive; `invalid` are pairs of a boolean mask and the scale there."""
    random = np.random.default_rng([seed, window.height, window.width])
    codes = random.integers(-127, 128, (*window.shape, 128), dtype=np.int8)
    codes[..., 0] = 127
    scales = random.uniform(0.04, 0.08, window.shape).astype(np.float32)
    valid = np.ones(window.shape, bool)
    for mask, scale in invalid:
        scales[mask] = scale
        valid[mask] = False
    return Piece(window, codes, scales, valid)


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
    arrived = piece(rows(10, 20, 5, 100), 2)
    cache.add(layout(), 1, [arrived])
    path = cache.block_path(BLOCK)
    assert path.relative_to(tmp_path).parts[1:] == (
        "1.1-cambridge", "d128", "npy", "2024", "utm31", "-4523_239.npy",
    )  # fmt: skip
    record = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(record, np.memmap)
    np.testing.assert_array_equal(record["codes"][0][10:20, 5:105], arrived.codes)
    np.testing.assert_array_equal(record["consulted"][0][10:20, 5:105], 0b010)
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


@pytest.mark.parametrize("at", [0, 7, 100, 5000, 2_000_000, 2_150_000, -4000, -1])
def test_a_flipped_bit_drops_the_block(tmp_path, at):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    path = cache.block_path(BLOCK)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)
    for trusted in (True, False):
        assert new_cache(tmp_path).load(layout(), trusted=trusted) is None
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 3, 100, 1000, 2_000_000])
def test_a_block_that_is_cut_off_is_dropped(tmp_path, size):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    path = cache.block_path(BLOCK)
    path.write_bytes(path.read_bytes()[:size])
    assert cache.load(layout()) is None
    assert not path.exists()
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.load(layout()) is not None


def test_another_array_in_a_blocks_place_is_dropped(tmp_path):
    cache = new_cache(tmp_path)
    path = cache.block_path(BLOCK)
    path.parent.mkdir(parents=True)
    for stranger in (np.zeros(3), np.zeros((1,), [("codes", "i1", (2,))])):
        np.save(path, stranger)
        assert cache.load(layout()) is None
        assert not path.exists()


def test_a_trusted_block_is_verified_again_when_it_has_changed(tmp_path):
    cache = new_cache(tmp_path)
    cache.add(layout(), 0, [piece(BLOCK)])
    assert cache.load(layout(), trusted=True) is not None
    path = cache.block_path(BLOCK)
    data = bytearray(path.read_bytes())
    data[1_000_000] ^= 0x10
    path.write_bytes(data)
    assert cache.load(layout(), trusted=True) is None


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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("a file system of its own can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


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
from tests.io.test_cache import *
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


# --- eviction


def fill(folder, count):
    cache = new_cache(folder)
    paths = []
    for number in range(count):
        window = Window(31, BLOCK.row, BLOCK.col + 128 * number, 128, 128)
        cache.add(Layout(window, NAMES, IDENTITIES, (window,) * 3), 0, [piece(window)])
        paths.append(cache.block_path(window))
    return cache, paths


def test_the_least_recently_used_go_first(tmp_path):
    _, paths = fill(tmp_path, 5)
    one = paths[0].stat().st_size
    assert size(str(tmp_path)) == 5 * one
    now = time.time()
    for path, hours in zip(paths, (5, 1, 9, 3, 7)):
        os.utime(path, (now - hours * 3600, now - 20 * 3600))
    assert evict(str(tmp_path), 3 * one) == 2 * one
    assert [path.exists() for path in paths] == [True, True, False, True, False]
    assert evict(str(tmp_path), 3 * one) == 0
    assert size(str(tmp_path)) == 3 * one


def test_what_was_just_used_stays(tmp_path):
    _, paths = fill(tmp_path, 2)
    assert evict(str(tmp_path), 0) == 0
    assert evict(str(tmp_path), 0, spare_s=0) > 0
    assert not any(path.exists() for path in paths)


def test_reading_counts_as_use(tmp_path):
    cache, paths = fill(tmp_path, 1)
    long_ago = time.time() - 9 * 3600
    os.utime(paths[0], (long_ago, long_ago))
    assert cache.load(layout()) is not None
    assert paths[0].stat().st_atime > time.time() - 60
    assert paths[0].stat().st_mtime == pytest.approx(long_ago)


def test_only_blocks_are_evicted_and_what_killed_writers_left(tmp_path):
    cache, paths = fill(tmp_path, 1)
    cache.keep_tile(TileInfo(NAMES[0], 1.0))
    strangers = [tmp_path / "mine.npy", tmp_path / "a" / "b" / "mine.npy",
                 paths[0].parent.parent / "notes.npy"]  # fmt: skip
    for stranger in strangers:
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"mine")
    old, young = paths[0].with_name("1_2.99-0.tmp"), paths[0].with_name("1_2.99-1.tmp")
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (1e9, 1e9))
    evict(str(tmp_path), 0, spare_s=0)
    assert not paths[0].exists()
    assert not old.exists()
    assert young.exists()
    assert all(stranger.exists() for stranger in strangers)
    assert cache.tile(NAMES[0]) is not None


def test_only_one_evicts_at_a_time(tmp_path):
    _, paths = fill(tmp_path, 1)
    with cache_module._file_lock(tmp_path / "locks" / "evict"):
        assert evict(str(tmp_path), 0, spare_s=0) == 0
    assert paths[0].exists()
    assert evict(str(tmp_path), 0, spare_s=0) > 0
    assert evict(str(tmp_path / "nowhere"), 0) == 0
