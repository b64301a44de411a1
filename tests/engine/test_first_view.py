# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the live map shows of a view that is new: something right at once, all of it soon, nothing wrong."""

import threading

import numpy as np
import pytest

from tessera_plugin.engine import catalog
from tessera_plugin.engine.view_cells import ViewCells
from tessera_plugin.engine.zone_cells import FIRST, NOT_FETCHED, NOTHING, ZoneCells
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.io.sources.base import Picked
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import BLOCK_PX, Extent, State, Window
from tests.engine.test_instant_loop import (
    CLASS_LIST,
    COL,
    ROW,
    UTM,
    Loop,
    ScreenView,
    argb,
    labels,
    view,
)

PATCH = 16
PLACES = ((8, 8, 1), (8, 24, 2), (24, 24, 4), (40, 8, 4), (24, 8, 2), (40, 24, 1))
"""Row and column from the corner, and class: one or two of each kind of patch."""


class Patches:
    """Land in squares of three classes, at once wherever one looks; it notes what is picked."""

    def __init__(self, missing=()):
        self.dataset = catalog.DATASETS[0]
        self.depth, self.year, self.form = 128, 2024, "zarr"
        self.missing = list(missing)
        self.picked, self.threads, self.read_windows = [], set(), []
        self.breaks = False
        self._vectors = np.random.default_rng(0).integers(-127, 128, (3, 128)).astype(np.int8)

    def kinds(self, rows, cols):
        """The class's number, 0 to 2, of the pixels in rows and columns of the zone."""
        rows, cols = np.asarray(rows)[:, None], np.asarray(cols)[None]
        return ((rows - ROW) // PATCH + (cols - COL) // PATCH) % 3

    def _pick(self, rows, cols):
        kinds = self.kinds(rows, cols)
        states = np.full(kinds.shape, State.VALID, np.uint8)
        codes, scales = self._vectors[kinds], np.full(kinds.shape, 0.01, np.float32)
        for hole in self.missing:
            inside = np.ix_((rows >= hole.row) & (rows < hole.stop_row),
                            (cols >= hole.col) & (cols < hole.stop_col))  # fmt: skip
            codes[inside], scales[inside], states[inside] = 0, np.nan, State.UNKNOWN
        return Picked(codes, scales, states)

    def picker(self, window):
        def pick(block, rows, cols):
            assert rows.size
            assert 0 <= rows[0] <= rows[-1] < BLOCK_PX
            if self.breaks:
                raise ZeroDivisionError
            self.picked.append((block.row, block.col))
            self.threads.add(threading.get_ident())
            return self._pick(block.row + rows, block.col + cols)

        return pick

    def read(self, window):
        found = self._pick(np.arange(window.row, window.stop_row),
                           np.arange(window.col, window.stop_col))  # fmt: skip
        return found.codes, found.scales

    def close(self):
        pass


@pytest.fixture
def loop():
    return Loop(Patches())


def colors_of(source, rows, cols):
    """What the map is to show of pixels in rows and columns of the zone."""
    return np.array([argb(each.color) for each in CLASS_LIST], np.uint32)[source.kinds(rows, cols)]


def pixels(seen, metres):
    """Rows and columns of the zone that the pixels of a view from the corner show."""
    pitch = metres // 10
    return [
        pitch * (start // pitch + np.arange(count)) + pitch // 2
        for start, count in ((ROW, seen.height), (COL, seen.width))
    ]


def far(metres=50):
    """A view of some sixty blocks."""
    return view(metres=metres, width=190, height=150)


def update(loop, **changes):
    return loop.update(**{"labels": labels(PLACES), "view": far(), **changes})


def test_a_few_cells_of_all_of_it_come_first(loop):
    final = update(loop)
    start, coarse = loop.pictures[:2]
    assert not start.argb.any()
    assert [start.is_whole, coarse.is_whole, final.is_whole] == [False, False, True]
    rows, cols = pixels(far(), 50)
    assert np.array_equal(final.argb, colors_of(loop.source, rows, cols))
    # each cell shows what the middle one of eight by eight does, of those that are in view
    near = []
    for start_px, count in ((ROW, 150), (COL, 190)):
        inside = np.arange((start_px - 1) // 5, (start_px + 5 * count) // 5 + 1)
        some = inside[inside % 8 == 4]
        cells = start_px // 5 + np.arange(count)
        near.append((cells // 8 * 8 + 4).clip(some[0], some[-1]) * 5 + 2)
    assert np.array_equal(coarse.argb, colors_of(loop.source, *near))
    assert len(loop.source.picked) == 2 * len(set(loop.source.picked))
    assert threading.get_ident() not in loop.source.threads


def test_a_view_that_is_read_soon_is_read_once(loop):
    picture = update(loop, view=view(width=200, height=100))
    assert picture.is_whole
    assert len(loop.source.picked) == len(set(loop.source.picked))


def test_zooming_in_shows_the_old_picture_until_it_is_finer(loop):
    update(loop)
    near = view(row=30, col=40, metres=10, width=120, height=90)
    final = update(loop, view=near)
    first = loop.pictures[0]
    assert not first.is_whole
    rows, cols = ROW + 30 + np.arange(90), COL + 40 + np.arange(120)
    known = [each // 5 * 5 + 2 for each in (rows, cols)]
    assert np.array_equal(first.argb, colors_of(loop.source, *known))
    assert np.array_equal(final.argb, colors_of(loop.source, rows, cols))


def test_zooming_out_keeps_what_was_known(loop):
    update(loop, view=view(metres=10, width=100, height=100))
    final = update(loop)
    first = loop.pictures[0]
    rows, cols = pixels(far(), 50)
    wanted = colors_of(loop.source, rows, cols)
    # whose middle pixel the other view had
    assert np.array_equal(first.argb[:20, :20], wanted[:20, :20])
    assert not first.argb[22:, 22:].any()
    assert np.array_equal(final.argb, wanted)


def test_a_pan_reads_the_other_half_only(loop):
    update(loop)
    before = set(loop.source.picked)
    moved = view(col=95 * 5, metres=50, width=190, height=150)
    update(loop, view=moved)
    assert np.array_equal(
        loop.pictures[0].argb[:, :95], colors_of(loop.source, *pixels(moved, 50))[:, 95:]
    )
    shared = before & set(loop.source.picked)
    assert len(shared) < len(before) / 5  # the blocks on the edge


class Stop:
    """Ends the work once so many blocks are picked."""

    def __init__(self, source, count):
        self.source, self.count = source, count

    def __call__(self, *_):
        if len(self.source.picked) >= self.count:
            raise Cancelled


@pytest.mark.parametrize("count", [1, 40, 70, 110])
def test_what_is_dropped_while_it_is_read_is_made_good(loop, count):
    """Stopped in the first look or after it; then another head comes, whose values are other ones."""
    with pytest.raises(Cancelled):
        update(loop, report=Stop(loop.source, count))
    swapped = [(row, col, {1: 2, 2: 1}.get(number, number)) for row, col, number in PLACES]
    other = tuple(CLASS_LIST[i] for i in (1, 0, 2))
    picture = update(loop, labels=labels(swapped), revision=1)
    rows, cols = pixels(far(), 50)
    colors = np.array([argb(each.color) for each in other], np.uint32)
    assert np.array_equal(picture.argb, colors[loop.source.kinds(rows, cols)])
    # nothing that the head before had said is seen in between
    for each in loop.pictures:
        shown = each.argb != 0
        assert set(np.unique(each.argb[shown])) <= set(colors)


def test_what_is_not_fetched_stays_hatched_however_one_zooms():
    source = Patches(missing=[Window(31, ROW, COL, 160, 240)])
    loop = Loop(source)
    labelled = labels([(row + 200, col + 300, number) for row, col, number in PLACES])
    picture = update(loop, labels=labelled)
    assert picture.has_gaps
    seen = (picture.argb >> 24) == 255
    assert not seen[:31, :47].any()
    assert seen[33:, 49:].all()
    near = view(metres=10, width=120, height=90)
    update(loop, labels=labelled, view=near)
    assert all(each.has_gaps and not ((each.argb >> 24) == 255).any() for each in loop.pictures)
    source.missing = []
    picture = update(loop, labels=labelled, view=near, arrived=1)
    assert not picture.has_gaps
    assert ((picture.argb >> 24) == 255).all()


@pytest.mark.parametrize("focus", [(0.1, 0.9), (0.95, 0.02), None])
def test_what_lies_under_the_pointer_comes_first(loop, focus, monkeypatch):
    monkeypatch.setattr("tessera_plugin.engine.view_reading.READERS", 1)  # two take turns
    update(loop, focus=focus)
    x, y = focus or (0.5, 0.5)
    row, col = ROW + int(y * 150) * 5 + 2, COL + int(x * 190) * 5 + 2
    away = [np.hypot(r + 64 - row, c + 64 - col) for r, c in loop.source.picked]
    count = len(away) // 2
    assert away[0] <= 64 * 2**0.5
    assert away == sorted(away[:count]) + sorted(away[count:])


def test_a_reader_that_fails_is_told_and_the_next_try_is_whole(loop):
    loop.source.breaks = True
    with pytest.raises(ZeroDivisionError):
        update(loop)
    loop.source.breaks = False
    rows, cols = pixels(far(), 50)
    assert np.array_equal(update(loop).argb, colors_of(loop.source, rows, cols))


def test_what_comes_too_late_is_dropped():
    cells = ViewCells(4)
    seen = view(width=40, height=30)
    cells.look(seen)
    ((zone, spots),) = cells.unread()
    spot = next(iter(spots))
    shape = len(spot.rows), len(spot.cols)
    picked = Picked(np.ones((*shape, 4), np.int8), np.ones(shape, np.float32),
                    np.full(shape, State.VALID, np.uint8))  # fmt: skip
    shown = np.full(shape, FIRST, np.uint16)
    turn = cells.new_turn()
    cells.new_turn()
    cells.put(turn, zone, spot, picked, shown)
    assert not zone.is_read.any()
    cells.put(cells.new_turn(), zone, spot, picked, shown)
    assert zone.is_read.any()


def test_zooming_takes_no_new_memory(loop):
    update(loop)
    before = loop.loop._cells.zones[31]
    memory = before._memory
    update(loop, view=view(metres=20, width=190, height=150))
    after = loop.loop._cells.zones[31]
    assert after is not before
    assert after._memory is memory
    assert before.codes.size == 0


def test_a_wrapped_view_is_guessed_as_one_that_is_not():
    """Wherever the arrays begin, cells take over what those at their places showed."""
    random = np.random.default_rng(0)
    for origin in ((0, 0), (-7, 13), (5, -3)):
        old = ZoneCells(31, (2.0, 2.0), 1, (40, 50))
        old.move(origin, (36, 44))
        old.shown[:] = random.integers(FIRST, 9, old.shape)
        old.is_read[:] = random.random(old.shape) < 0.5
        new = ZoneCells(31, (1.0, 1.0), 1, (41, 43))
        start = 2 * origin[0] + 9, 2 * origin[1] + 3
        new.move(start, (39, 40))
        new.take_over(old)
        for row, col in random.integers(0, 39, (50, 2)) + start:
            at = row % 41, col % 43
            there = row // 2 % 40, col // 2 % 50
            assert new.is_guessed[at] == old.is_read[there]
            assert new.shown[at] == (old.shown[there] if old.is_read[there] else NOTHING)
        new.shown[3, 3] = NOT_FETCHED
        new.forget_guesses()
        assert new.shown[3, 3] == NOT_FETCHED
        assert (new.shown == NOTHING).sum() == new.shown.size - 1


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "EPSG:3035"])
def test_in_another_crs_each_pixel_of_the_screen_shows_the_land_under_it(loop, crs):
    corner = np.array([[10 * (COL + 20), -10 * (ROW + 20)], [10 * (COL + 900), -10 * (ROW + 700)]])
    (west, north), (east, south) = transform_points(corner, UTM, crs)
    seen = Extent(west, south, east, north, crs)
    if crs == LONLAT:
        assert east - west < 1
    width, height = 150, 110
    picture = update(loop, view=ScreenView(seen, seen, width, height))
    x = west + (np.arange(width) + 0.5) / width * (east - west)
    y = north - (np.arange(height) + 0.5) / height * (north - south)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    metres = transform_points(places, crs, UTM)
    rows, cols = np.floor(-metres[:, 1] / 10), np.floor(metres[:, 0] / 10)
    kinds = ((rows - ROW) // PATCH + (cols - COL) // PATCH).astype(int) % 3
    colors = np.array([argb(each.color) for each in CLASS_LIST], np.uint32)
    right = picture.argb.reshape(-1) == colors[kinds]
    # a screen pixel is six of the zone, so it may show the patch beside it, as near as half of that
    off = [
        np.minimum((v + 0.5) % PATCH, PATCH - (v + 0.5) % PATCH) for v in (rows - ROW, cols - COL)
    ]
    assert right[(np.minimum(*off) > 4.5)].all()
    assert right.mean() > 0.6
