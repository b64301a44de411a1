# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels out of local datasets: as they were written, by the scene that wins, and what is damaged."""

import dataclasses
import shutil
import threading
import zlib

import numpy as np
import pytest

from tessera_plugin.errors import LocationUnusable
from tessera_plugin.io import local
from tessera_plugin.io.local import blocks
from tessera_plugin.io.sources.base import FetchOptions
from tessera_plugin.io.sources.local_store import GONE, NOT_YET, LocalStore
from tessera_plugin.progress import Cancelled, Gate
from tessera_plugin.values import Access, State, Window
from tests.local_builders import (
    AREA,
    block_bytes,
    planted,
    record_type,
    tree,
    write_block,
    write_dataset,
    write_scene,
)

AROUND = Window(30, AREA.row - 40, AREA.col - 150, AREA.height + 60, AREA.width + 200)
FIRST = next(AREA.whole_blocks())
PAIR = Window(30, -580_090, 70_050, 60, 120)
"""In two blocks."""
LEFT = next(PAIR.whole_blocks())


@pytest.fixture(autouse=True)
def fresh():
    """Another process for each test."""
    blocks.forget()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("own"))


def opened(folder, year=2021, **access):
    return LocalStore(Access("nowhere", **access), local.dataset_of(folder), year)


def fetched(source, windows, options=FetchOptions()):  # noqa: B008 - frozen
    return source.fetch(windows, lambda *_: None, options)


def expected(window, scenes, minimum=0):
    """What a window holds, worked out pixel by pixel from (window, planted) in the order of winning."""
    codes = np.zeros((*window.shape, 128), np.int8)
    scales = np.full(window.shape, np.nan, np.float32)
    states = np.full(window.shape, State.OUTSIDE, np.uint8)
    for area, (of_codes, of_scales, of_seen) in reversed(scenes):
        inside = area.intersection(window)
        if inside is None:
            continue
        here, there = inside.slices_in(area), inside.slices_in(window)
        valid = np.isfinite(of_scales[here]) & (of_seen[here][..., 0] >= minimum)
        states[there][states[there] == State.OUTSIDE] = State.NODATA
        states[there][valid] = State.VALID
        codes[there][valid], scales[there][valid] = of_codes[here][valid], of_scales[here][valid]
    return codes, scales, states


def check(source, window, scenes, minimum=0):
    codes, scales, states = expected(window, scenes, minimum)
    found = source.read(window)
    np.testing.assert_array_equal(found[0], codes)
    np.testing.assert_array_equal(found[1], scales)
    assert (found[0].dtype, found[1].dtype) == (np.int8, np.float32)
    np.testing.assert_array_equal(source.states(window), states)
    return states


# --- reading


@pytest.mark.parametrize(
    "window",
    [AREA, AROUND, Window(30, -580_000, 70_100, 1, 1), Window(30, -579_970, 70_120, 60, 70),
     Window(30, -500_000, 70_000, 3, 4), Window(31, AREA.row, AREA.col, 5, 5)],
)  # fmt: skip
def test_pixels_are_as_they_were_written(dataset, window):
    source = opened(dataset)
    assert (source.form, source.depth, source.year) == ("local", 128, 2021)
    for _ in range(2):  # the second time from a file that was verified
        states = check(source, window, [(AREA, planted(AREA))])
    if window is AROUND:
        assert {State.VALID, State.NODATA, State.OUTSIDE} == set(np.unique(states))


def test_nothing_is_written_and_no_network_is_named(dataset):
    before = tree(dataset)
    source = opened(dataset, offline=True)
    assert fetched(source, [AREA]).bytes_fetched == 0
    source.close()
    assert tree(dataset) == before


def test_counts_are_those_of_the_worker(dataset):
    counts = opened(dataset).counts(AROUND)
    assert counts.dtype == np.uint16
    whole = np.zeros((*AROUND.shape, 3), np.uint16)
    whole[AREA.slices_in(AROUND)] = planted(AREA)[2]
    np.testing.assert_array_equal(counts, whole)


@pytest.mark.parametrize("minimum", [1, 15, 44, 45])
def test_few_observations_can_be_masked(dataset, minimum):
    source = opened(dataset, min_observations=minimum)
    states = check(source, AREA, [(AREA, planted(AREA))], minimum)
    valid = int((states == State.VALID).sum())
    assert {1: valid > 75_000, 15: 50_000 < valid < 70_000, 44: 0 < valid < 5000, 45: valid == 0}[
        minimum
    ]
    # what is masked still tells how often it was seen
    np.testing.assert_array_equal(source.counts(AREA), planted(AREA)[2])
    assert source.provenance()["TESSERA_MIN_OBSERVATIONS"] == str(minimum)


def test_what_is_not_valid_by_the_published_rule_leaves_as_nodata(tmp_path):
    codes, scales, seen = planted(PAIR)
    scales[0, 0], scales[0, 1], scales[0, 2], scales[0, 3] = 1.0, 0.0, -0.1, np.inf
    codes[0, 4] = 0
    scales[0, 5] = 0.5
    folder = write_dataset(tmp_path, window=PAIR, pixels=(codes, scales, seen))
    row = Window(30, PAIR.row, PAIR.col, 1, 6)
    found_codes, found_scales = opened(folder).read(row)
    assert not found_codes[0, :5].any()
    assert np.isnan(found_scales[0, :5]).all()
    assert found_scales[0, 5] == 0.5
    assert opened(folder).states(row).tolist() == [[State.NODATA] * 5 + [State.VALID]]


def test_what_the_worker_writes_is_what_is_read(tmp_path):
    from tessera_plugin.compute.worker.encode import blocks as written

    pixels = planted(PAIR, 16)
    folder = write_dataset(tmp_path, window=PAIR, pixels=pixels, depth=16)
    (path,) = [each for each in folder.iterdir() if each.is_dir()]
    before = {file.name: file.read_bytes() for file in path.glob("*.npy")}
    (path / "run.json").unlink()
    store = written.Store(path, 16, {"depth": 16})
    for part in written.parts(PAIR.height, PAIR.width, PAIR.row, PAIR.col):
        block = store.empty()
        inner = block[part.row : part.row + part.height, part.col : part.col + part.width]
        for name, values in zip(("codes", "scale", "seen"), pixels):
            inner[name] = values[part.rows, part.cols]
        store.keep(part, block)
    assert {file.name: file.read_bytes() for file in path.glob("*.npy")} == before
    source = opened(folder)
    np.testing.assert_array_equal(source.read(PAIR)[0], pixels[0])
    np.testing.assert_array_equal(source.counts(PAIR), pixels[2])


# --- scenes over scenes


def test_the_newest_finished_scene_wins_where_it_is_valid(tmp_path):
    east = Window(30, AREA.row + 37, AREA.col + 100, 200, 260)
    older, newer = planted(AREA), planted(east, times=2)
    newer[1][60:90] = np.nan
    newer[0][60:90] = 0
    folder = write_dataset(tmp_path, created="2026-01-01T00:00:00+00:00")
    write_scene(folder, east, newer, name="east", created="2026-01-02T00:00:00+00:00")
    source = opened(folder)
    window = Window(30, AREA.row, AREA.col, 300, 400)
    check(source, window, [(east, newer), (AREA, older)])
    assert fetched(source, [window]).failed == ()
    # removed, what lay under it is there again
    local.remove_scene(local.scenes(folder)[0].path)
    check(opened(folder), window, [(AREA, older)])


def test_an_unfinished_scene_only_fills_what_no_finished_one_has(tmp_path):
    folder = write_dataset(tmp_path, created="2026-01-01T00:00:00+00:00")
    wide = Window(30, AREA.row, AREA.col, 300, 420)
    newer = planted(wide, times=2)
    write_scene(folder, wide, newer, name="running", finished=False,
                created="2026-01-02T00:00:00+00:00")  # fmt: skip
    check(opened(folder), wide, [(AREA, planted(AREA)), (wide, newer)])


@pytest.mark.parametrize("finished", [True, False])
def test_what_a_running_scene_has_not_reached_yet_is_unknown_not_nodata(tmp_path, finished):
    folder = write_dataset(tmp_path, window=PAIR, created="2026-01-01T00:00:00+00:00",
                           finished=finished)  # fmt: skip
    write_scene(folder, PAIR, name="running", finished=False, only=lambda _: False)
    valid = np.isfinite(planted(PAIR)[1])
    source = opened(folder)
    np.testing.assert_array_equal(source.states(PAIR), np.where(valid, State.VALID, State.UNKNOWN))
    np.testing.assert_array_equal(source.read(PAIR)[1], planted(PAIR)[1])
    assert {failure.reason for failure in fetched(source, [PAIR]).failed} == {NOT_YET}


def test_years_are_kept_apart(tmp_path):
    folder = write_dataset(tmp_path, window=PAIR)
    north = Window(30, PAIR.row, PAIR.col, 50, 60)
    write_scene(folder, north, planted(north, times=2), year=2022)
    check(opened(folder, 2022), PAIR, [(north, planted(north, times=2))])
    check(opened(folder, 2021), PAIR, [(PAIR, planted(PAIR))])
    assert (opened(folder, 2020).states(PAIR) == State.OUTSIDE).all()


# --- while it is encoded


def test_blocks_are_there_as_soon_as_they_are_written(tmp_path):
    folder = write_dataset(tmp_path, finished=False, only=lambda block: block == FIRST)
    (path,) = [each for each in folder.iterdir() if each.is_dir()]
    source = opened(folder)
    first = FIRST.intersection(AREA)
    states = source.states(AREA)
    assert (states[first.slices_in(AREA)] != State.UNKNOWN).all()
    rest = states.copy()
    rest[first.slices_in(AREA)] = State.UNKNOWN
    assert (rest == State.UNKNOWN).all()
    codes, scales = source.read(AREA)
    assert not codes[states == State.UNKNOWN].any()
    assert np.isfinite(scales).sum() == (states == State.VALID).sum() > 0

    arrived = []
    summary = fetched(source, [AREA], FetchOptions(arrived=arrived.extend))
    assert arrived == [FIRST]
    others = [block for block in AREA.whole_blocks() if block != FIRST]
    assert {failure.part: failure.reason for failure in summary.failed} == {
        f"field {block.row}_{block.col}": NOT_YET for block in others
    }
    assert summary.valid_px == (states == State.VALID).sum()
    assert summary.cached_px == first.pixels

    for block in others:
        write_block(path, block, AREA, planted(AREA))
    check(source, AREA, [(AREA, planted(AREA))])
    assert fetched(source, [AREA]).failed == ()


def test_a_fetch_can_be_held_back_and_cancelled(dataset):
    source, gate = opened(dataset), Gate()
    gate.pause()
    threading.Timer(0.1, gate.resume).start()
    assert fetched(source, [AREA], FetchOptions(gate=gate)).valid_px > 0
    gate.pause()

    def cancel(*_):
        raise Cancelled

    with pytest.raises(Cancelled):
        source.fetch([AREA], cancel, FetchOptions(gate=gate))


# --- what is damaged


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def resealed(data):
    """With the right checksum over what is wrong."""
    return data[:-4] + zlib.crc32(data[:-8]).to_bytes(4, "little")


def other_records(depth=128, shape=(128, 128)):
    return block_bytes(np.zeros(shape, record_type(depth)))


DAMAGES = {
    "a bit in the codes": (lambda data: flip(data, 5000), "checksum"),
    "a bit in the header": (lambda data: flip(data, 30), "checksum"),
    "a bit in the checksum": (lambda data: flip(data, len(data) - 1), "checksum"),
    "cut off": (lambda data: data[:-100], "end is missing"),
    "cut off before the trailer": (lambda data: data[:-8], "end is missing"),
    "empty": (lambda _: b"", "end is missing"),
    "zeros": (lambda data: bytes(len(data)), "end is missing"),
    "too long": (lambda data: data + bytes(40_000), "end is missing"),
    "no .npy file": (lambda data: resealed(b"\0" * 10 + data[10:]), "no block"),
    "no array of records": (
        lambda _: block_bytes_of_plain(),
        "no block",
    ),
    "another depth": (lambda _: other_records(64), "another depth"),
    "another shape": (lambda _: other_records(shape=(64, 256)), "another shape"),
}


def block_bytes_of_plain():
    plain = np.zeros((128, 128), np.int8)
    data = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|i1', 'fortran_order': False, 'shape': (128, 128), }".ljust(117) + b"\n"  # fmt: skip
    data += plain.tobytes() + b"TESS"
    return data + zlib.crc32(data[:-4]).to_bytes(4, "little")


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_block_is_named_and_unknown(tmp_path, kind):
    damage, reason = DAMAGES[kind]
    folder = write_dataset(tmp_path, window=PAIR)
    (path,) = [each for each in folder.iterdir() if each.is_dir()]
    file = path / f"{LEFT.row}_{LEFT.col}.npy"
    if kind == "a bit in the codes":  # also where it was sound before, in the same process
        assert not fetched(opened(folder), [PAIR]).failed
    file.write_bytes(damage(file.read_bytes()))

    source = opened(folder)
    codes, scales, states = expected(PAIR, [(PAIR, planted(PAIR))])
    there = LEFT.intersection(PAIR).slices_in(PAIR)
    codes[there], scales[there], states[there] = 0, np.nan, State.UNKNOWN
    np.testing.assert_array_equal(source.states(PAIR), states)
    np.testing.assert_array_equal(source.read(PAIR)[0], codes)
    np.testing.assert_array_equal(source.read(PAIR)[1], scales)
    (failure,) = fetched(source, [PAIR]).failed
    assert failure.part == f"field {LEFT.row}_{LEFT.col}"
    assert failure.reason.startswith("damaged: ")
    assert reason in failure.reason


def test_a_damaged_block_is_not_filled_from_an_older_scene(tmp_path):
    folder = write_dataset(tmp_path, window=PAIR, created="2026-01-01T00:00:00+00:00")
    path = write_scene(folder, PAIR, planted(PAIR, times=2), name="newer")
    file = path / f"{LEFT.row}_{LEFT.col}.npy"
    file.write_bytes(flip(file.read_bytes(), 5000))
    there = LEFT.intersection(PAIR).slices_in(PAIR)
    assert (opened(folder).states(PAIR)[there] == State.UNKNOWN).all()
    file.unlink()
    assert (opened(folder).states(PAIR)[there] == State.UNKNOWN).all()
    (failure,) = fetched(opened(folder), [PAIR]).failed
    assert failure.reason == "its file is missing"


def test_a_block_is_verified_once_and_again_when_it_was_written_anew(dataset, monkeypatch):
    sums = []
    crc32 = zlib.crc32
    monkeypatch.setattr(blocks.zlib, "crc32", lambda data: sums.append(len(data)) or crc32(data))
    for _ in range(3):
        source = opened(dataset)
        source.states(AREA)
        source.read(AREA)
        source.counts(AREA)
    assert len(sums) == len(list(AREA.whole_blocks())) == 12
    (path,) = [each for each in dataset.iterdir() if each.is_dir()]
    write_block(path, FIRST, AREA, planted(AREA))
    sums.clear()
    opened(dataset).read(AREA)
    assert len(sums) == 1


def test_a_scene_that_can_not_be_read_is_named_in_every_fetch(tmp_path):
    folder = write_dataset(tmp_path, window=PAIR)
    bad = write_scene(folder, PAIR, year=2022)
    (bad / "scene.json").write_text('{"schema": 9}')
    (failure,) = fetched(opened(folder), [PAIR]).failed
    assert failure.part == bad.name
    assert "newer version" in failure.reason


def test_a_stick_that_is_pulled_out(tmp_path):
    folder = write_dataset(tmp_path, window=PAIR)
    source = opened(folder)
    shutil.rmtree(folder)
    assert (source.states(PAIR) == State.UNKNOWN).all()
    assert {failure.reason for failure in fetched(source, [PAIR]).failed} == {GONE}
    with pytest.raises(LocationUnusable):
        LocalStore(source.access, source.dataset, 2021)


def test_another_dataset_in_the_same_folder_is_refused(tmp_path):
    folder = write_dataset(tmp_path, window=PAIR)
    known = local.dataset_of(folder)
    other = write_dataset(tmp_path / "other", window=PAIR, space="another")
    shutil.rmtree(folder)
    shutil.move(other, folder)
    with pytest.raises(LocationUnusable, match=f"now, not {known.key}"):
        LocalStore(Access("nowhere"), known, 2021)
    assert dataclasses.replace(known, local=str(folder)) == known
