# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture that grows while blocks arrive."""

import threading

import numpy as np
import pytest

from tessera_plugin.engine import explore, live
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.live import LivePicture
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import BLOCK_PX, Extent, Window
from tests.memory_source import MemorySource, longitudes

WINDOW = Window(30, -580_123, 70_017, 300, 420)  # 4 x 4 blocks, none of them whole
SEAM = Extent(-0.02, 52.0, 0.03, 52.02)


@pytest.fixture
def source():
    return MemorySource()


def expected_picture(source, window, basis, cell_px):
    """The colours of the middle pixels, computed for the whole window at once."""
    codes, scales = source.read(window)
    shown = np.isfinite(scales)
    rgba = np.zeros((*window.shape, 4), np.uint8)
    rgba[shown, :3] = explore.colors(basis, codes[shown], scales[shown])
    rgba[shown, 3] = 255
    rows, cols = (
        np.flatnonzero(np.arange(start, start + size) % cell_px == cell_px // 2)
        for start, size in ((window.row, window.height), (window.col, window.width))
    )
    return rgba[np.ix_(rows, cols)]


def basis_of(source, window):
    codes, scales = source.read(window)
    valid = np.isfinite(scales)
    return explore.basis_of(codes[valid] * scales[valid][:, None])


def unlike(first, second):
    """The mean difference of colours that both pictures have."""
    both = (first[..., 3] > 0) & (second[..., 3] > 0)
    return np.abs(first[both].astype(int) - second[both])[:, :3].mean()


def test_in_the_end_all_is_shown(source):
    """In the space of the components of all pixels, whatever the order they came in."""
    whole = basis_of(source, WINDOW)
    blocks = list(WINDOW.whole_blocks())
    for order in (blocks, blocks[::-1]):
        growing = LivePicture([WINDOW])
        growing.add(source, order)
        (picture,) = growing.pictures()
        assert (picture.zone, picture.row, picture.col) == (30, WINDOW.row, WINDOW.col)
        assert picture.cell_px == 1
        wanted = expected_picture(source, WINDOW, growing._basis, 1)
        assert np.array_equal(picture.rgba, wanted)
        alike = np.linalg.svd(growing._basis.components.T @ whole.components)[1]
        assert alike.min() > 0.99  # one where both span the same space
        assert picture.rgba[wanted[..., 3] > 0, :3].std(axis=0).min() > 40


def test_block_by_block(source):
    """A block that came is shown whole, the rest not at all, in the colours of the first block."""
    growing = LivePicture([WINDOW])
    assert not growing.pictures()[0].rgba.any()
    came = np.zeros(WINDOW.shape, bool)
    blocks = list(WINDOW.whole_blocks())
    first = blocks[5]
    basis = basis_of(source, first.intersection(WINDOW))
    for block in (first, blocks[6], blocks[9], first):
        growing.add(source, [block])
        came[block.intersection(WINDOW).slices_in(WINDOW)] = True
        wanted = expected_picture(source, WINDOW, basis, 1)
        wanted[~came] = 0
        assert np.array_equal(growing.pictures()[0].rgba, wanted)


def test_colours_change_once(source, monkeypatch):
    asked = []

    def basis_of(sample, like=None):
        asked.append(len(sample))
        return explore.basis_of(sample, like)

    monkeypatch.setattr(live, "basis_of", basis_of)
    growing = LivePicture([WINDOW])
    looks = []
    for block in WINDOW.whole_blocks():
        growing.add(source, [block])
        looks.append(growing.pictures()[0].rgba)
    assert len(asked) == 2
    assert asked[1] == explore.SAMPLE_PX
    assert not growing._kept
    changes = [unlike(before, after) for before, after in zip(looks[:-1], looks[1:])]
    assert sum(change > 0 for change in changes) == 1
    assert max(changes) < 12  # of 255


def test_cells_of_a_large_window(source):
    growing = LivePicture([WINDOW], max_px=10_000)
    blocks = list(WINDOW.whole_blocks())
    growing.add(source, blocks)
    (picture,) = growing.pictures()
    assert picture.cell_px == 4
    assert picture.row % 4 == picture.col % 4 == 0
    assert 0 <= WINDOW.row - picture.row < 4
    assert 0 <= WINDOW.col - picture.col < 4
    # the window begins beyond the middle of its first row of cells: nobody knows their colour
    row, col = (int((start % 4) > 2) for start in (WINDOW.row, WINDOW.col))
    wanted = expected_picture(source, WINDOW, growing._basis, 4)
    shown = picture.rgba[row : row + wanted.shape[0], col : col + wanted.shape[1]]
    assert np.array_equal(shown, wanted)
    assert picture.rgba[..., 3].sum() == wanted[..., 3].sum()


def test_what_is_kept_is_bounded(source, monkeypatch):
    monkeypatch.setattr(live, "KEPT_BYTES", 132 * 40_000)
    growing, kept = LivePicture([WINDOW]), []
    for block in WINDOW.whole_blocks():
        growing.add(source, [block])
        kept.append(sum(len(cells.codes) for cells in growing._kept.values()))
    assert 20_000 < max(kept) < 40_000
    assert kept[-1] == 0
    assert (growing.pictures()[0].rgba[..., 3] > 0).mean() > 0.9


def test_a_block_that_came_in_part(source):
    """What was missing in a block is there when the block is told of again."""
    block = next(WINDOW.whole_blocks())
    hole = Window(30, block.row + 100, block.col + 100, 28, 28)
    source.missing = [hole]
    growing = LivePicture([block])
    growing.add(source, [block])
    alpha = growing.pictures()[0].rgba[..., 3]
    assert not alpha[100:, 100:].any()
    assert alpha[:100].any()
    source.missing = []
    growing.add(source, [block])
    assert growing.pictures()[0].rgba[100:, 100:, 3].mean() > 200


def test_water_first(source):
    """Blocks without a valid pixel give no colours; the first with some does."""
    blocks = list(WINDOW.whole_blocks())
    source.water = blocks[:3]
    growing = LivePicture([WINDOW])
    growing.add(source, blocks[:3])
    assert not growing.pictures()[0].rgba.any()
    growing.add(source, blocks[3:5])
    assert growing.pictures()[0].rgba.any()


def test_hardly_anything_valid(source):
    small = Window(30, -580_123, 70_017, 9, 9)
    growing = LivePicture([small])
    growing.add(source, small.whole_blocks())
    alpha = growing.pictures()[0].rgba[..., 3]
    assert (alpha == np.where(np.isfinite(source.read(small)[1]), 255, 0)).all()


def test_over_a_seam_each_zone_shows_its_own_strip(source):
    windows = windows_of(SEAM)
    growing = LivePicture(windows)
    growing.add(source, [block for window in windows for block in window.whole_blocks()])
    for window, picture in zip(windows, growing.pictures()):
        lon = longitudes(window)
        own = (lon < 0) if window.zone == 30 else (lon >= 0)
        valid = np.isfinite(source.read(window)[1])
        assert np.array_equal(picture.rgba[..., 3], np.where(own & valid, 255, 0))


def test_what_lies_beyond_is_passed_over(source):
    growing = LivePicture([WINDOW])
    growing.add(source, [Window(31, WINDOW.row // 128 * 128, WINDOW.col // 128 * 128, 128, 128),
                         Window(30, 0, 0, 128, 128)])  # fmt: skip
    assert source.largest_read_px == 0
    assert not growing.pictures()[0].rgba.any()


def test_pictures_are_told_apart_from_those_before(source):
    growing = LivePicture([WINDOW])
    blocks = list(WINDOW.whole_blocks())
    growing.add(source, blocks[:1])
    before = growing.pictures()
    kept = before[0].rgba.copy()
    assert growing.pictures() is before
    growing.add(source, blocks[1:2])
    assert growing.pictures() is not before
    assert np.array_equal(before[0].rgba, kept)


def test_only_blocks_are_read(source):
    growing = LivePicture([WINDOW])
    growing.add(source, WINDOW.whole_blocks())
    assert source.largest_read_px <= BLOCK_PX**2


def test_cancel(source):
    def cancel(fraction, message=""):
        raise Cancelled

    growing = LivePicture([WINDOW])
    with pytest.raises(Cancelled):
        growing.add(source, WINDOW.whole_blocks(), cancel)


def test_another_thread_may_look(source):
    """Whoever looks sees blocks that are there whole, never half of one."""
    growing, problems, done = LivePicture([WINDOW]), [], threading.Event()
    valid = np.isfinite(source.read(WINDOW)[1])
    blocks = [block.intersection(WINDOW) for block in WINDOW.whole_blocks()]

    def look():
        while not done.is_set():
            alpha = growing.pictures()[0].rgba[..., 3] > 0
            for block in blocks:
                part = alpha[block.slices_in(WINDOW)]
                if part.any() and not np.array_equal(part, valid[block.slices_in(WINDOW)]):
                    problems.append(block)

    thread = threading.Thread(target=look)
    thread.start()
    for block in WINDOW.whole_blocks():
        growing.add(source, [block])
    done.set()
    thread.join()
    assert not problems
