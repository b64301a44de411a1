# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache as a whole: its size, clearing it, its limit, another folder for it."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tessera_plugin.errors import CacheFolderUnusable, DiskFull, NotWritable
from tessera_plugin.io import cache_care, cache_move, cache_total, cache_walk
from tessera_plugin.io.cache import TileInfo, archive_identity
from tessera_plugin.io.cache_care import (
    clear,
    evict,
    evict_over,
    is_writable,
    size,
    usage,
)
from tessera_plugin.io.cache_move import move
from tessera_plugin.io.files import STAGING_PREFIX
from tessera_plugin.io.locks import file_lock
from tessera_plugin.progress import Cancelled
from tests.cache_builders import (
    BLOCK,
    NAMES,
    SMALL,
    as_nobody,
    beside,
    fill,
    forget_verified,
    is_as_filled,
    layout_at,
    new_cache,
    other_disk,
    piece,
    set_writable,
    small_disk,
    stick,
    used,
)

ROOT = Path(__file__).resolve().parent.parent.parent
HOUR_S = 3600


def filled(folder, count, hours=(), **of):
    cache, paths = fill(folder, count, **{"depth": SMALL, **of})
    for path, before in zip(paths, hours):
        used(path, before)
    return cache, paths


def keep_store_file(cache, name="zarr.json"):
    """What is known of a store, as `StoreFiles` keeps it."""
    path = cache.root / cache.origin.archive / cache.origin.dataset / "zarr" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    return path


def keep_shard(cache, name="utm31_0_0_abc"):
    path = cache.folder / "tiles" / f"{name}.shard"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"y" * 1000)
    return path


def strangers_in(folder, cache):
    """Files that are not the cache's, in every place where one may lie, local datasets included."""
    places = [
        folder / "mine.npy",
        folder / "notes" / "1_2.npy",
        folder / "local" / "mine-1" / "d128" / "npy" / "2024" / "utm31" / "1_2.npy",
        cache.folder / "notes.npy",
        cache.folder.parent.parent / "local" / "2024" / "utm31" / "1_2.npy",
        cache.folder / "utm31" / "1_2.txt",
        cache.folder / "utm31" / "mine.npy",
        cache.folder / "tiles" / "mine.tif",
        cache.folder / "utm31" / "sub" / "1_2.npy",
        folder / "locks" / "mine",
    ]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
        used(path, 1000)
    return places


def files_of(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


class CancelAt:
    """A report that cancels at a call, and notes what it was told."""

    def __init__(self, number=10**9):
        self.number, self.calls = number, []

    def __call__(self, fraction, message=""):
        self.calls.append((fraction, message))
        if len(self.calls) >= self.number:
            raise Cancelled


# --- usage


def test_usage_says_what_takes_how_much(tmp_path):
    one, paths = filled(tmp_path, 3, (5, 7, 6))
    one.keep_tile(TileInfo(NAMES[0], 1.0))
    two, more = filled(tmp_path, 2, (9, 9), dataset="2.0-x", form="zarr", year=2023)
    shard, store = keep_shard(two), keep_store_file(two)
    empty, _ = filled(tmp_path, 0, dataset="2.0-x", form="zarr", year=2022)
    alone = keep_shard(empty)
    strangers_in(tmp_path, one)
    told = usage(str(tmp_path))
    tile = one._tile_path(NAMES[0])
    total = sum(p.stat().st_size for p in [*paths, *more, shard, store, alone, tile])
    assert told.bytes == total == size(str(tmp_path))
    assert told.other_bytes == store.stat().st_size
    first, bare, second = told.entries
    assert (first.dataset, first.year, first.depth, first.form) == (
        "1.1-cambridge", 2024, SMALL, "npy",
    )  # fmt: skip
    assert (first.archive, first.location) == (archive_identity("http://x/root"), "http://x/root")
    assert first.blocks == 3
    assert first.bytes == sum(path.stat().st_size for path in [*paths, tile])
    assert first.last_used == pytest.approx(time.time() - 5 * HOUR_S, abs=60)
    assert (bare.dataset, bare.year, bare.blocks, bare.bytes) == ("2.0-x", 2022, 0, 1000)
    assert (bare.location, bare.last_used) == ("", 0.0)
    assert (second.year, second.form, second.blocks) == (2023, "zarr", 2)


def test_to_look_what_is_there_is_no_use_of_it(tmp_path):
    _, paths = filled(tmp_path, 1, (30,))
    before = paths[0].stat()
    usage(str(tmp_path))
    after = paths[0].stat()
    assert (after.st_atime_ns, after.st_mtime_ns) == (before.st_atime_ns, before.st_mtime_ns)


def test_usage_of_nothing(tmp_path):
    assert usage(str(tmp_path / "nowhere")).bytes == 0
    assert usage(str(tmp_path)).entries == ()
    assert not (tmp_path / "nowhere").exists()


def test_links_are_not_followed(tmp_path):
    _, paths = filled(tmp_path / "other", 1)
    cache, _ = filled(tmp_path / "cache", 1)
    os.symlink(paths[0].parent, cache.folder / "utm30")
    os.symlink(paths[0], cache.folder / "utm31" / "7_7.npy")
    assert usage(str(tmp_path / "cache")).entries[0].blocks == 1
    clear(str(tmp_path / "cache"))
    assert paths[0].exists()


# --- clear


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({}, set()),
        ({"dataset": "a-1"}, {("b-1", 2023), ("b-1", 2024)}),
        ({"year": 2023}, {("a-1", 2024), ("b-1", 2024)}),
        ({"dataset": "a-1", "year": 2024}, {("a-1", 2023), ("b-1", 2023), ("b-1", 2024)}),
        ({"archive": archive_identity("http://y")}, {("a-1", 2023), ("a-1", 2024),
                                                     ("b-1", 2023), ("b-1", 2024)}),
        ({"archive": archive_identity("http://x/root")}, set()),
        ({"dataset": "c-1"}, {("a-1", 2023), ("a-1", 2024), ("b-1", 2023), ("b-1", 2024)}),
    ],
)  # fmt: skip
def test_clear_takes_what_is_meant_and_nothing_else(tmp_path, chosen, left):
    caches = [filled(tmp_path, 2, dataset=d, year=y) for d in ("a-1", "b-1") for y in (2023, 2024)]
    stores = {cache.origin.dataset: keep_store_file(cache) for cache, _ in caches}
    for cache, _ in caches:
        cache.keep_tile(TileInfo(NAMES[0], 1.0))
    strangers = strangers_in(tmp_path, caches[0][0])
    before = size(str(tmp_path))
    freed = clear(str(tmp_path), **chosen)
    assert freed == before - size(str(tmp_path))
    assert {(e.dataset, e.year) for e in usage(str(tmp_path)).entries} == left
    for cache, paths in caches:
        stays = (cache.origin.dataset, cache.origin.year) in left
        assert [path.exists() for path in paths] == [stays, stays]
        assert (cache.tile(NAMES[0]) is not None) == stays
    for dataset, path in stores.items():
        assert path.exists() == any(name == dataset for name, _ in left)
    assert all(path.exists() for path in strangers)


def test_the_last_year_takes_the_stores_metadata_with_it(tmp_path):
    caches = [filled(tmp_path, 1, year=year, form="zarr")[0] for year in (2023, 2024)]
    store = keep_store_file(caches[0])
    clear(str(tmp_path), year=2023)
    assert store.exists()
    clear(str(tmp_path), year=2024)
    assert not store.exists()


# --- evict


def test_the_least_recently_used_go_first(tmp_path):
    _, paths = filled(tmp_path, 5)
    one = paths[0].stat().st_size
    assert size(str(tmp_path)) == 5 * one
    now = time.time()
    for path, hours in zip(paths, (5, 1, 9, 3, 7)):
        os.utime(path, (now - hours * HOUR_S, now - 20 * HOUR_S))
    assert evict(str(tmp_path), 3 * one) == 2 * one
    assert [path.exists() for path in paths] == [True, True, False, True, False]
    assert evict(str(tmp_path), 3 * one) == 0
    assert size(str(tmp_path)) == 3 * one


def test_what_was_just_used_stays(tmp_path):
    _, paths = filled(tmp_path, 2)
    assert evict(str(tmp_path), 0) == 0
    assert evict(str(tmp_path), 0, spare_s=0) > 0
    assert not any(path.exists() for path in paths)


def test_reading_counts_as_use(tmp_path):
    cache, paths = filled(tmp_path, 2, (9, 9))
    written = paths[0].stat().st_mtime
    for trusted in (True, False):
        assert cache.load(layout_at(BLOCK), trusted=trusted) is not None
    assert paths[0].stat().st_atime > time.time() - 60
    assert paths[0].stat().st_mtime == pytest.approx(written)
    evict(str(tmp_path), 0)
    assert [path.exists() for path in paths] == [True, False]


def test_what_is_known_of_tiles_goes_with_the_last_block_and_not_before(tmp_path):
    one, old = filled(tmp_path, 2, (9, 8), form="zarr")
    two, young = filled(tmp_path, 2, (3, 2), form="zarr", year=2023)
    sides = [keep_shard(one), keep_shard(two)]
    store = keep_store_file(one)
    for path in (*sides, store):
        used(path, 10)
    block = old[0].stat().st_size
    evict(str(tmp_path), size(str(tmp_path)) - block)
    assert [path.exists() for path in (*old, *sides)] == [False, True, True, True]
    evict(str(tmp_path), size(str(tmp_path)) - block)
    assert [path.exists() for path in (old[1], *sides, store)] == [False, False, True, True]
    evict(str(tmp_path), 0)
    assert not any(path.exists() for path in (*young, *sides, store))


def test_what_is_known_of_tiles_without_blocks_has_its_turn(tmp_path):
    """Looking where something is published leaves it; it must not stay for ever."""
    looked, _ = filled(tmp_path, 0, form="zarr", year=2020)
    shards = [keep_shard(looked, f"utm31_0_{number}_abc") for number in range(2)]
    _, paths = filled(tmp_path, 1, (5,))
    used(shards[0], 9)
    used(shards[1], 2)
    evict(str(tmp_path), size(str(tmp_path)) - 1)
    assert [path.exists() for path in (*shards, *paths)] == [False, True, True]
    evict(str(tmp_path), size(str(tmp_path)) - 1)
    assert [path.exists() for path in (*shards, *paths)] == [False, True, False]


def test_only_what_is_the_caches_own_is_evicted(tmp_path):
    cache, paths = filled(tmp_path, 1, (9,))
    strangers = strangers_in(tmp_path, cache)
    evict(str(tmp_path), 0)
    assert not paths[0].exists()
    assert all(path.exists() for path in strangers)


@pytest.mark.parametrize("care", [
    lambda folder: evict(folder, 10**12),
    lambda folder: evict_over(folder, 10**12),
    lambda folder: clear(folder, dataset="none"),
    lambda folder: move(folder, folder + "-2"),
])  # fmt: skip
def test_what_killed_processes_left_goes_after_an_hour(tmp_path, care):
    folder = tmp_path / "cache"
    cache, _ = filled(folder, 1)
    store = keep_store_file(cache)
    left = []
    for place in (cache.folder / "utm31", cache.folder / "tiles", store.parent):
        place.mkdir(exist_ok=True)
        left += [place / "1_2.99-0.tmp", place / f"{STAGING_PREFIX}ab"]
    for path in left:
        path.write_bytes(b"x")
    old, young = left[::2], left[1::2]
    for path in old:
        used(path, 1.1)
    for path in young:
        used(path, 0.9)
    care(str(folder))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)


def test_only_one_evicts_at_a_time(tmp_path):
    _, paths = filled(tmp_path, 1)
    with file_lock(tmp_path / "locks" / "evict"):
        assert evict(str(tmp_path), 0, spare_s=0) == 0
    assert paths[0].exists()
    assert evict(str(tmp_path), 0, spare_s=0) > 0
    assert evict(str(tmp_path / "nowhere"), 0) == 0
    assert not (tmp_path / "nowhere").exists()


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tessera_plugin.io.locks import file_lock
with file_lock(Path(sys.argv[2])) as got:
    print(got, flush=True)
    time.sleep(60)
"""


def test_a_lock_does_not_outlive_its_holder(tmp_path):
    _, paths = filled(tmp_path, 1)
    lock = tmp_path / "locks" / "evict"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ROOT), str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline().strip() == "True"
    assert evict(str(tmp_path), 0, spare_s=0) == 0
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert evict(str(tmp_path), 0, spare_s=0) > 0
    assert not paths[0].exists()


# --- evict where it is over, without looking each time


@pytest.fixture
def walks(monkeypatch):
    """Counts how often the whole cache is looked through."""
    counted = []
    real = cache_walk.walk

    def walk(*args):
        counted.append(1)
        return real(*args)

    monkeypatch.setattr(cache_care, "walk", walk)
    return counted


def test_under_its_limit_a_cache_is_not_looked_through(tmp_path, walks):
    _, paths = filled(tmp_path, 3, (9, 9, 9))
    one = paths[0].stat().st_size
    for _ in range(5):
        assert evict_over(str(tmp_path), 10 * one) == 0
    assert len(walks) == 1
    filled(tmp_path, 6, (9,) * 6)  # three more
    assert cache_total.total(tmp_path).added == 3 * one
    assert evict_over(str(tmp_path), 10 * one) == 0
    assert len(walks) == 1
    assert evict_over(str(tmp_path), 5 * one) >= one
    assert len(walks) == 2
    assert size(str(tmp_path)) <= 5 * one
    assert evict_over(str(tmp_path), 0) == 0, "no limit"


def test_a_full_cache_is_not_looked_through_after_every_fetch(tmp_path, walks):
    limit = 20 * filled(tmp_path / "one", 1)[1][0].stat().st_size
    folder = tmp_path / "cache"
    for number in range(60):
        cache = new_cache(folder, depth=SMALL)
        cache.add(layout_at(beside(number)), 0, [piece(beside(number), depth=SMALL)])
        used(cache.block_path(beside(number)), 100 - number)
        evict_over(str(folder), limit)
        assert sum(path.stat().st_size for path in folder.rglob("*.npy")) <= limit
    assert len(walks) <= 1 + 40 / 2 + 1, "each walk makes room for a tenth of the limit, here two"


def test_what_was_spared_is_not_looked_for_again_at_once(tmp_path, walks):
    _, paths = filled(tmp_path, 30)
    one = paths[0].stat().st_size
    for _ in range(5):
        assert evict_over(str(tmp_path), 10 * one) == 0, "all of it was just used"
    assert len(walks) == 1
    evict_over(str(tmp_path), 9 * one)
    assert len(walks) == 2, "another limit is another matter"


def test_the_total_counts_what_other_processes_write(tmp_path, walks):
    _, paths = filled(tmp_path, 1, (9,))
    one = paths[0].stat().st_size
    evict_over(str(tmp_path), 100 * one)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.cache_builders import *\n"
        "cache = new_cache(sys.argv[2], depth=SMALL)\n"
        "for number in range(int(sys.argv[3]), int(sys.argv[3]) + 20):\n"
        "    cache.add(layout_at(beside(number)), 0, [piece(beside(number), depth=SMALL)])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(ROOT), str(tmp_path), str(start)])
        for start in (1, 21)
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    known = cache_total.total(tmp_path)
    assert known.bytes + known.added == size(str(tmp_path)) == 41 * one


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"bytes": "x"}', b"\xff"])
def test_a_total_that_is_not_right_costs_a_walk(tmp_path, walks, text):
    _, paths = filled(tmp_path, 1, (9,))
    evict_over(str(tmp_path), 10**9)
    (tmp_path / "locks" / "total.json").write_bytes(text)
    (tmp_path / "locks" / "added").write_bytes(b"abc")
    assert evict_over(str(tmp_path), 10**9) == 0
    assert len(walks) == 2
    assert cache_total.total(tmp_path).bytes == paths[0].stat().st_size


def test_an_old_total_is_counted_again(tmp_path, walks, monkeypatch):
    filled(tmp_path, 1)
    evict_over(str(tmp_path), 10**9)
    later = time.time() + cache_total.WALK_EVERY_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    evict_over(str(tmp_path), 10**9)
    evict_over(str(tmp_path), 10**9)
    assert len(walks) == 2


def test_a_count_that_was_cut_off_forgets_nothing(tmp_path):
    _, paths = filled(tmp_path, 1, (9,))
    one = paths[0].stat().st_size
    evict_over(str(tmp_path), 10**9)
    filled(tmp_path, 2)
    with pytest.raises(Cancelled):
        evict(str(tmp_path), 10**9, report=CancelAt(1))
    filled(tmp_path, 3)
    known = cache_total.total(tmp_path)
    assert known.bytes + known.added == 3 * one
    evict(str(tmp_path), 10**9)
    known = cache_total.total(tmp_path)
    assert (known.bytes, known.added) == (3 * one, 0)


# --- who may write


def test_is_writable(tmp_path):
    assert is_writable(str(tmp_path))
    assert is_writable(str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    assert not is_writable(str(tmp_path / "file"))


def test_care_of_a_cache_that_can_only_be_read():
    with stick() as folder:
        _, paths = filled(folder / "cache", 2, (9, 9))
        set_writable(folder, writable=False)
        cache = str(folder / "cache")

        def work():
            return [
                is_writable(cache),
                is_writable(cache + "/not/yet"),
                usage(cache).entries[0].blocks,
                evict(cache, 0),
                evict_over(cache, 1),
                clear(cache),
            ]

        assert as_nobody(work) == [False, False, 2, 0, 0, 0]
        assert all(path.exists() for path in paths)


# --- cancel


@pytest.mark.parametrize("care", [
    usage,
    lambda folder, report: clear(folder, report=report),
    lambda folder, report: evict(folder, 0, 0, report),
    lambda folder, report: move(folder, folder + "-2", report),
])  # fmt: skip
def test_all_tell_where_they_are_and_can_be_cancelled(tmp_path, care):
    folder = tmp_path / "cache"
    for year in range(2017, 2020):
        cache, _ = filled(folder, 3, (9, 9, 9), year=year)
        keep_store_file(cache)
    report = CancelAt()
    care(str(folder), report)
    fractions = [fraction for fraction, _ in report.calls]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert all(message for _, message in report.calls)
    for year in range(2017, 2020):
        filled(folder, 3, (9, 9, 9), year=year)
    for number in (1, len(fractions) // 4):
        with pytest.raises(Cancelled):
            care(str(folder), CancelAt(number))


# --- others at the same time


def test_care_while_others_write_and_read(tmp_path):
    """Nothing is raised, and whatever can be read is right."""
    folder, until, wrong = tmp_path / "cache", time.monotonic() + 3, []

    def write(first):
        cache = new_cache(folder, depth=SMALL)
        while time.monotonic() < until:
            for number in range(first, first + 6):
                cache.add(layout_at(beside(number)), 0, [piece(beside(number), number, (), SMALL)])
                if not is_as_filled(cache, number, missing=True):
                    wrong.append(number)

    def guarded(work, *args):
        try:
            work(*args)
        except BaseException as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=guarded, args=(write, first)) for first in (0, 3)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        evict(str(folder), 0, spare_s=0)
        usage(str(folder))
        clear(str(folder))
        evict_over(str(folder), 1)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not list(folder.rglob("*.tmp"))


# --- move


def whole_cache(folder):
    """A cache with everything that can be in one."""
    cache, paths = filled(folder, 4, (5, 6, 7, 8))
    cache.keep_tile(TileInfo(NAMES[0], 1.0))
    two, more = filled(folder, 2, dataset="2.0-x", form="zarr", year=2023)
    keep_shard(two)
    keep_store_file(two)
    keep_store_file(two, "utm31~zarr.json")
    return cache, [*paths, *more]


def test_a_move_within_a_disk(tmp_path):
    folder, target = tmp_path / "old", tmp_path / "new" / "place"
    whole_cache(folder)
    before = {name: (folder / name).read_bytes() for name in files_of(folder)}
    times = {name: (folder / name).stat().st_mtime_ns for name in files_of(folder)}
    whole = size(str(folder))
    result = move(str(folder), str(target))
    moved = {name for name in files_of(target) if name.parts[0] != "locks"}
    assert moved == {name for name in before if name.parts[0] != "locks"}
    assert all((target / name).read_bytes() == before[name] for name in moved)
    assert all((target / name).stat().st_mtime_ns == times[name] for name in moved)
    assert (result.files, result.bytes, result.damaged, result.left) == (len(moved), whole, 0, ())
    assert not folder.exists()
    assert all(is_as_filled(new_cache(target, depth=SMALL), number) for number in range(4))


def test_a_move_to_another_disk(tmp_path):
    folder = tmp_path / "old"
    whole_cache(folder)
    strangers = strangers_in(folder, new_cache(folder, depth=SMALL))
    before = {name: (folder / name).read_bytes() for name in files_of(folder)}
    used_before = new_cache(folder, depth=SMALL).block_path(beside(2)).stat().st_atime
    report = CancelAt()
    with other_disk(tmp_path) as disk:
        target = disk / "cache"
        result = move(str(folder), str(target), report)
        ours = {name for name in before if name.parts[0] != "locks"}
        ours -= {path.relative_to(folder) for path in strangers}
        assert {name for name in files_of(target) if name.parts[0] != "locks"} == ours
        assert all((target / name).read_bytes() == before[name] for name in ours)
        assert (result.files, result.left) == (len(ours), ())
        forget_verified()
        cache = new_cache(target, depth=SMALL)
        assert cache.block_path(beside(2)).stat().st_atime == pytest.approx(used_before, abs=1)
        assert all(is_as_filled(cache, number) for number in range(4))
    assert files_of(folder) == {path.relative_to(folder) for path in strangers}
    assert any("Moving" in message for _, message in report.calls)
    assert max(fraction for fraction, _ in report.calls) <= 1


def test_a_damaged_block_is_left_out(tmp_path):
    folder = tmp_path / "old"
    _, paths = filled(folder, 3)
    data = bytearray(paths[1].read_bytes())
    data[70_000] ^= 4
    paths[1].write_bytes(data)
    with other_disk(tmp_path) as disk:
        result = move(str(folder), str(disk / "cache"))
        assert (result.files, result.damaged, result.left) == (2, 1, ())
        forget_verified()
        cache = new_cache(disk / "cache", depth=SMALL)
        assert [is_as_filled(cache, number) for number in range(3)] == [True, False, True]
    assert not folder.exists()


def test_a_move_into_another_cache_keeps_the_fuller_blocks(tmp_path):
    folder = tmp_path / "old"
    mine, _ = filled(folder, 3)
    with other_disk(tmp_path) as disk:
        theirs, _ = filled(disk, 5)
        theirs.block_path(beside(0)).unlink()
        theirs.block_path(beside(1)).write_bytes(b"no block")
        for cache, height in ((mine, 20), (theirs, 40)):
            cache.block_path(beside(2)).unlink()
            part = beside(2)
            some = type(part)(31, part.row, part.col, height, 128)
            cache.add(layout_at(part), 0, [piece(some, height, depth=SMALL)])
        result = move(str(folder), str(disk))
        forget_verified()
        cache = new_cache(disk, depth=SMALL)
        assert [is_as_filled(cache, number) for number in (0, 1, 3, 4)] == [True] * 4
        assert (cache.load(layout_at(beside(2))).consulted[:40] == 1).all()
        assert (result.files, result.left) == (2, ())
        assert cache_total.total(disk) is None, "it is counted anew"
    assert not folder.exists()


def test_places_that_a_cache_can_not_be_moved_to(tmp_path):
    folder = tmp_path / "a" / "cache"
    _, paths = filled(folder, 1)
    full, link = tmp_path / "full", tmp_path / "link"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    link.symlink_to(folder)
    (tmp_path / "file").write_text("x")
    for target, reason in (
        (folder, cache_move.SAME),
        (link, cache_move.SAME),
        (folder / "inside", cache_move.INSIDE),
        (link / "in" / "side", cache_move.INSIDE),
        (tmp_path / "a", cache_move.AROUND),
        (full, cache_move.FOREIGN),
        (tmp_path / "file", "Not a directory"),
    ):
        with pytest.raises(CacheFolderUnusable) as caught:
            move(str(folder), str(target))
        assert caught.value.reason == reason
    with pytest.raises(NotWritable):
        move(str(folder), str(tmp_path / "file" / "below"))
    assert paths[0].exists()
    assert (full / "mine.txt").exists()


def test_a_move_waits_for_nobody_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_move, "BUSY_WAIT_S", 0.1)
    filled(tmp_path / "old", 1)
    with (
        file_lock(tmp_path / "old" / "locks" / "evict"),
        pytest.raises(CacheFolderUnusable) as caught,
    ):
        move(str(tmp_path / "old"), str(tmp_path / "new"))
    assert caught.value.reason == cache_move.BUSY


def test_moving_nothing(tmp_path):
    result = move(str(tmp_path / "nowhere"), str(tmp_path / "new"))
    assert (result.files, result.left) == (0, ())
    assert not (tmp_path / "nowhere").exists()


def test_room_is_checked_before_a_move(tmp_path):
    filled(tmp_path / "old", 25)
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(DiskFull) as caught:
            move(str(tmp_path / "old"), str(disk / "new"))
        assert caught.value.needed_bytes == size(str(tmp_path / "old"))
        assert size(str(disk / "new")) == 0
    assert all(is_as_filled(new_cache(tmp_path / "old", depth=SMALL), n) for n in range(25))


def test_a_disk_that_fills_up_on_the_way(tmp_path):
    filled(tmp_path / "old", 15)
    with small_disk(tmp_path / "disk") as disk:

        def report(fraction, message=""):
            if fraction > 0.5 and not (disk / "other").exists():
                (disk / "other").write_bytes(b"x" * 1_500_000)

        with pytest.raises(DiskFull):
            move(str(tmp_path / "old"), str(disk / "new"), report)
        assert not list(disk.rglob("*.tmp"))
        assert all(is_as_filled(new_cache(tmp_path / "old", depth=SMALL), n) for n in range(15))
        (disk / "other").unlink()
        result = move(str(tmp_path / "old"), str(disk / "new"))
        assert 0 < result.files < 15, "the others were there already"
        assert all(is_as_filled(new_cache(disk / "new", depth=SMALL), n) for n in range(15))
    assert not (tmp_path / "old").exists()


def test_what_can_not_be_deleted_is_told():
    """A file that is in use (elsewhere than on Windows: in a folder that can't be changed)."""
    with stick() as folder:
        old, new = folder / "old", folder / "new"
        _, paths = filled(old, 2)
        new.mkdir(mode=0o777)
        new.chmod(0o777)
        set_writable(old, writable=False)
        result = as_nobody(lambda: move(str(old), str(new)))
        assert set(result.left) == {str(path) for path in paths}
        assert result.files == 2
        assert all(is_as_filled(new_cache(new, depth=SMALL), number) for number in range(2))
        assert all(path.exists() for path in paths)


def test_what_is_written_meanwhile_comes_too(tmp_path):
    folder = tmp_path / "old"
    cache, _ = filled(folder, 2)
    written = []

    def report(fraction, message=""):
        if "Moving" in message and not written:
            written.append(1)
            cache.add(layout_at(beside(7)), 0, [piece(beside(7), 7, depth=SMALL)])
            cache.add(layout_at(BLOCK), 1, [piece(BLOCK, 1, depth=SMALL)])

    with other_disk(tmp_path) as disk:
        result = move(str(folder), str(disk / "new"), report)
        moved = new_cache(disk / "new", depth=SMALL)
        assert is_as_filled(moved, 7)
        assert (moved.load(layout_at(BLOCK)).consulted == 3).all(), "the newer one"
        assert (result.files, result.left) == (3, ())
    assert not folder.exists()


def test_a_move_that_is_cancelled_leaves_the_old_cache_whole_or_the_new_one(tmp_path):
    """At whatever word it is cancelled, and going on brings the rest."""
    old, new = tmp_path / "old", tmp_path / "new"
    for number in range(1, 60, 4):
        filled(old, 6)
        try:
            result = move(str(old), str(new), CancelAt(number))
        except Cancelled:
            caches = [old]
        else:
            caches = [new]
            assert len(result.left) == sum(path.suffix == ".npy" for path in files_of(old))
        for folder in caches:
            assert all(is_as_filled(new_cache(folder, depth=SMALL), each) for each in range(6))
        move(str(old), str(new))
        assert all(is_as_filled(new_cache(new, depth=SMALL), each) for each in range(6))
        assert not old.exists()
        shutil.rmtree(new)


def test_a_copy_that_went_bad_since_is_brought_again(tmp_path):
    """Same size, same time: a disk that lost what it said it had written."""
    filled(tmp_path / "old", 2)
    with other_disk(tmp_path) as disk:
        with pytest.raises(Cancelled):
            move(str(tmp_path / "old"), str(disk / "new"), stop_at(0.6))
        copy = new_cache(disk / "new", depth=SMALL).block_path(BLOCK)
        copy = copy if copy.exists() else next((disk / "new").rglob("*.npy"))
        status = copy.stat()
        copy.write_bytes(bytes(status.st_size))
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        move(str(tmp_path / "old"), str(disk / "new"))
        forget_verified()
        cache = new_cache(disk / "new", depth=SMALL)
        assert [is_as_filled(cache, number) for number in range(2)] == [True, True]


def stop_at(share):
    def report(fraction, message=""):
        if fraction >= share:
            raise Cancelled

    return report


MOVER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tessera_plugin.io.cache_move import move
print("ready", flush=True)
move(sys.argv[2], sys.argv[3], lambda *_: time.sleep(0.004))
"""


@pytest.mark.long
def test_a_move_that_is_killed_loses_nothing_and_goes_on(tmp_path):
    folder, count, kills = tmp_path / "old", 40, 0
    filled(folder, count)
    chance = random.Random(1)
    with other_disk(tmp_path) as disk:
        target = disk / "new"
        for _ in range(5):
            process = subprocess.Popen(
                [sys.executable, "-c", MOVER, str(ROOT), str(folder), str(target)],
                stdout=subprocess.PIPE,
            )
            process.stdout.readline()
            time.sleep(chance.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            process.stdout.close()
            forget_verified()
            old, new = new_cache(folder, depth=SMALL), new_cache(target, depth=SMALL)
            for number in range(count):
                assert is_as_filled(old, number) or is_as_filled(new, number)
        assert kills >= 2
        result = move(str(folder), str(target))
        forget_verified()
        new = new_cache(target, depth=SMALL)
        assert all(is_as_filled(new, number) for number in range(count))
        assert result.left == ()
    assert not folder.exists()
