# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map's engine: what the screen shows is what the head says of those pixels, whatever happens."""

import dataclasses

import numpy as np
import pytest
from osgeo import gdal, ogr

from tessera_plugin.engine import classify, view_cells
from tessera_plugin.engine.heads import save
from tessera_plugin.engine.instant_loop import InstantLoop, LivePicture, LiveState, LoopRequest
from tessera_plugin.engine.labels import Label, Labels
from tessera_plugin.engine.live_colors import CLASSES, NOVELTY, UNCERTAINTY, ramp
from tessera_plugin.engine.novelty import Novelty
from tessera_plugin.engine.samples import SampleParams, collect
from tessera_plugin.engine.suggest import uncertainty
from tessera_plugin.engine.surroundings import background_of
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.engine.training import fit, fit_at_once
from tessera_plugin.engine.view_cells import ScreenView
from tessera_plugin.errors import ExtentTooLarge, NoLabels, NoUsableLabels, TooFewLabels
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, LandClass, Window
from tests.memory_source import MemorySource

UTM = "EPSG:32631"
ROW, COL = -579_000, 40_000
CLASS_LIST = (
    LandClass(1, "A", "#102030"),
    LandClass(2, "B", "#405060"),
    LandClass(4, "C", "#708090"),
)
PLACES = ((20, 30, 1), (90, 200, 2), (50, 120, 4), (130, 60, 2), (30, 210, 1), (110, 150, 4))
"""Row and column from the corner, and class."""
WIDTH, HEIGHT = 240, 160


class Source(MemorySource):
    """Notes which blocks are picked from and which windows are read."""

    def __init__(self, **options):
        super().__init__(**options)
        self.picked, self.read_windows = [], []

    def picker(self, window):
        pick = super().picker(window)

        def noting(block, rows, cols):
            self.picked.append((block.row, block.col))
            return pick(block, rows, cols)

        return noting

    def read(self, window):
        self.read_windows.append(window)
        return super().read(window)


def point(row, col, class_id):
    ((lon, lat),) = transform_points(
        np.array([[10 * (COL + col + 0.5), -10 * (ROW + row + 0.5)]]), UTM, LONLAT
    )
    geometry = ogr.Geometry(ogr.wkbPoint)
    geometry.AddPoint_2D(lon, lat)
    return Label(bytes(geometry.ExportToWkb()), class_id, f"{row} {col}")


def labels(places=PLACES, classes=CLASS_LIST):
    return Labels(LONLAT, classes, tuple(point(*each) for each in places), "test")


def view(row=0, col=0, metres=10, width=WIDTH, height=HEIGHT):
    west, north = 10.0 * (COL + col), -10.0 * (ROW + row)
    extent = Extent(west, north - metres * height, west + metres * width, north, UTM)
    return ScreenView(extent, extent, width, height)


def request(source, **changes):
    known = {
        "dataset": source.dataset.key, "depth": source.depth, "year": 2024, "access": Access("x"),
        "labels": labels(), "view": view(),
    }  # fmt: skip
    return LoopRequest(**{**known, **changes})


class Loop:
    """A loop and what it told."""

    def __init__(self, source=None):
        self.source = source or Source()
        self.loop = InstantLoop(lambda _: self.source)
        self.news = []

    def update(self, report=lambda *_: None, **changes):
        self.news.clear()
        self.source.picked.clear()
        self.source.read_windows.clear()
        self.loop.update(request(self.source, **changes), self.news.append, report)
        return self.pictures[-1] if self.pictures else None

    @property
    def pictures(self):
        return [each for each in self.news if isinstance(each, LivePicture)]

    @property
    def states(self):
        return [each for each in self.news if isinstance(each, LiveState)]


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture(scope="module")
def first():
    """A loop that has done its first request, its picture, and its state; not to be changed."""
    loop = Loop()
    picture = loop.update()
    return loop, picture, loop.states[-1]


def argb(color):
    return 0xFF000000 | int(color[1:], 16)


def expected(source, head, rows, cols, classes=CLASS_LIST):
    """The colours of pixels of the zone by the head itself, another way round."""
    window = Window.between(31, rows[0], cols[0], rows[-1] + 1, cols[-1] + 1)
    at = np.ix_(np.array(rows) - rows[0], np.array(cols) - cols[0])
    codes, scales = (each[at] for each in MemorySource.read(source, window))
    best = head.probabilities(codes.reshape(-1, source.depth), scales.reshape(-1))
    colors = np.array(
        [argb({c.id: c for c in classes}[k.id].color) for k in head.classes], np.uint32
    )
    found = colors[np.nan_to_num(best).argmax(axis=1)].reshape(scales.shape)
    found[~np.isfinite(scales)] = 0
    return found


def test_the_screen_shows_what_classify_writes(first, tmp_path):
    loop, picture, state = first
    save(state.head, str(tmp_path / "a.head"))
    request = classify.ClassifyRequest(
        head_path=str(tmp_path / "a.head"), year=2024, extent=view().extent,
        access=Access(str(tmp_path)), out=str(tmp_path / "map.tif"),
    )  # fmt: skip
    classify.publish(classify.classify_from(loop.source, state.head, request))
    raster = gdal.Open(str(tmp_path / "map.tif")).ReadAsArray()
    colors = np.zeros(6, np.uint32)
    for each in CLASS_LIST:
        colors[each.id] = argb(each.color)
    assert len(np.unique(raster)) == 4  # nodata too
    assert np.array_equal(picture.argb, colors[raster])
    assert picture.is_whole
    assert not picture.has_gaps


def test_zoomed_out_each_screen_pixel_shows_a_pixel_under_it():
    loop = Loop()
    seen = view(metres=50, width=90, height=70)
    picture = loop.update(view=seen)
    rows = [5 * ((ROW // 5) + i) + 2 for i in range(70)]
    cols = [5 * ((COL // 5) + j) + 2 for j in range(90)]
    head = loop.states[-1].head
    assert np.array_equal(picture.argb, expected(loop.source, head, rows, cols))
    cells = loop.loop._cells.zones[31]
    assert cells.pitch == (5.0, 5.0)
    assert cells.shape[0] * cells.shape[1] < 1.4 * 90 * 70


@pytest.mark.parametrize("metres", [3.7, 10.9, 17, 33])
def test_no_pixel_is_further_off_than_half_a_screen_pixel(metres):
    """Of whatever scale: each screen pixel shows a zone pixel that lies within it, or the next one."""
    loop = Loop()
    seen = view(metres=metres, width=60, height=50)
    loop.update(view=seen)
    cells = loop.loop._cells
    some = cells.zones[31]
    rows, cols = some.pixels_of(np.arange(some.shown.size))
    at = cells._pixels - 1
    assert (at >= 0).all()
    north, west = seen.shown.north, seen.shown.west
    off_row = rows[at] + 0.5 - (np.arange(50)[:, None] + 0.5) * metres / 10 + north / 10
    off_col = cols[at] + 0.5 - (np.arange(60) + 0.5) * metres / 10 - west / 10
    most = max(metres / 20, 0.5) + 0.5
    assert np.abs(off_row).max() <= most
    assert np.abs(off_col).max() <= most


def test_a_label_costs_its_own_pixel(loop):
    loop.update()
    before = loop.states[-1].head
    more = (*PLACES, (75, 75, 4))
    picture = loop.update(labels=labels(more), revision=1)
    assert loop.source.picked == []
    assert [w.shape for w in loop.source.read_windows if w.pixels < 128 * 128] == [(1, 1)]
    state = loop.states[-1]
    assert state.samples.report.labels == 7
    assert state.revision == 1
    assert state.head.id != before.id
    shown = expected(loop.source, state.head, range(ROW, ROW + HEIGHT), range(COL, COL + WIDTH))
    assert np.array_equal(picture.argb, shown)


def polygon(row, col, size, class_id):
    corners = ((0, 0), (0, size), (size, size), (size, 0), (0, 0))
    metres = np.array([[10 * (COL + col + c), -10 * (ROW + row + r)] for r, c in corners], float)
    ring = ogr.Geometry(ogr.wkbLinearRing)
    for lon, lat in transform_points(metres, UTM, LONLAT):
        ring.AddPoint_2D(lon, lat)
    geometry = ogr.Geometry(ogr.wkbPolygon)
    geometry.AddGeometry(ring)
    return Label(bytes(geometry.ExportToWkb()), class_id, f"polygon {row} {col}")


def test_polygons_that_come_and_go_leave_the_head_that_train_gives(loop):
    draw = np.random.default_rng(0)
    items = [polygon(10 + 30 * n, 20 * n, 24, CLASS_LIST[n % 3].id) for n in range(4)]
    small = view(width=20, height=20)
    for revision in range(8):
        if revision % 3 == 2:
            items.pop(int(draw.integers(len(items) - 1)))
        row, col, size = (int(draw.integers(high)) for high in (120, 200, 20))
        items.append(polygon(row, col, 2 + size, CLASS_LIST[revision % 3].id))
        made = Labels(LONLAT, CLASS_LIST, tuple(items), "test")
        loop.update(labels=made, view=small, revision=revision)
    head, samples = loop.states[-1].head, loop.states[-1].samples
    again = collect(made, loop.source, SampleParams())
    assert np.array_equal(samples.codes, again.codes)
    assert np.array_equal(samples.groups, again.groups)
    assert samples.report == again.report
    again = dataclasses.replace(again, background=background_of(loop.source, again))
    params = TrainParams(kind="instant", test_share=0.0, calibrate=False)
    assert head.id == fit_at_once(again, params).id == fit(again, params).id


def test_a_pan_reads_what_came_into_view(loop):
    loop.update()
    head = loop.states[-1].head
    whole = sorted(loop.source.picked)
    moved = view(row=100, col=-150)
    picture = loop.update(view=moved)
    new = set(loop.source.picked)
    assert 0 < len(new) < len(whole) + 3
    assert not loop.states
    rows, cols = range(ROW + 100, ROW + 100 + HEIGHT), range(COL - 150, COL - 150 + WIDTH)
    assert np.array_equal(picture.argb, expected(loop.source, head, rows, cols))
    picture = loop.update(view=view())
    rows, cols = range(ROW, ROW + HEIGHT), range(COL, COL + WIDTH)
    assert np.array_equal(picture.argb, expected(loop.source, head, rows, cols))
    loop.update(view=view(row=3, col=3))
    assert len(loop.source.picked) < len(whole)  # those inside stayed


def test_new_colours_and_hidden_classes_cost_no_training(loop):
    loop.update()
    head = loop.states[-1].head
    other = tuple(dataclasses.replace(c, color=f"#0{c.id}0{c.id}ff", name="x") for c in CLASS_LIST)
    picture = loop.update(labels=labels(classes=other), hidden=frozenset({2}), revision=5)
    assert not loop.source.picked
    assert not loop.source.read_windows
    state = loop.states[-1]
    assert state.head.weights["W"] is head.weights["W"]
    assert [each.name for each in state.head.classes] == ["x"] * 3
    assert state.revision == 5
    shown = expected(loop.source, head, range(ROW, ROW + HEIGHT), range(COL, COL + WIDTH), other)
    shown[shown == argb(other[1].color)] = 0
    assert np.array_equal(picture.argb, shown)


def test_what_is_not_fetched_is_hatched_until_it_is_there():
    hole = Window(31, ROW, COL, HEIGHT, 100)
    water = Window(31, ROW, COL + 205, HEIGHT, 35)
    loop = Loop(Source(missing=[hole], water=[water]))
    picture = loop.update()
    assert picture.has_gaps
    gaps = picture.argb[:, :100]
    assert len(np.unique(gaps)) == 2
    alpha = gaps >> 24
    assert ((alpha > 20) & (alpha < 200)).all()
    assert not picture.argb[:, 205:].any()
    state = loop.states[-1]
    assert state.samples.report.missing_px == 2
    assert state.samples.report.invalid_px == 1
    assert state.samples.report.labels == 3
    loop.source.missing = []
    assert loop.update().has_gaps  # nobody told it
    picture = loop.update(arrived=1)
    head = loop.states[-1].head
    assert loop.states[-1].samples.report.labels == 5
    assert not picture.has_gaps
    shown = expected(loop.source, head, range(ROW, ROW + HEIGHT), range(COL, COL + WIDTH))
    assert np.array_equal(picture.argb, shown)


def test_what_is_dropped_in_the_middle_is_made_good(monkeypatch):
    """Stop the work at each of its looks, one after the other: what comes next is right."""
    loop = Loop()
    monkeypatch.setattr("tessera_plugin.engine.instant_loop.CHUNK_PX", 4096)
    picture, stop_at = None, 0
    while picture is None:
        seen = []

        def report(*_, seen=seen, stop_at=stop_at):
            seen.append(1)
            if len(seen) > stop_at:
                raise Cancelled

        try:
            loop.update(report)
            picture = loop.pictures[-1]
        except Cancelled:
            stop_at += 3
    assert stop_at > 10
    head = loop.loop._state.head
    shown = expected(loop.source, head, range(ROW, ROW + HEIGHT), range(COL, COL + WIDTH))
    assert np.array_equal(picture.argb, shown)


@pytest.mark.parametrize(("places", "error"), [
    ((), NoLabels), (PLACES[:1], TooFewLabels), ([(5, 206, 1), (7, 220, 2)], NoUsableLabels),
])  # fmt: skip
def test_without_two_classes_there_is_a_reason_and_no_picture(places, error):
    loop = Loop(Source(water=[Window(31, ROW, COL + 205, HEIGHT, 35)]))
    picture = loop.update(labels=labels(places))
    assert picture.argb is None
    assert loop.states[-1].head is None
    assert isinstance(loop.states[-1].lack, error)
    assert loop.source.picked  # read ahead: the first click finds it
    picture = loop.update(labels=labels(PLACES[:2]), revision=1)
    assert loop.states[-1].head is not None  # one label each
    assert picture.argb.any()
    assert not loop.source.picked
    assert loop.update(labels=labels(PLACES[:1]), revision=2).argb is None


@pytest.mark.parametrize("mode", [UNCERTAINTY, NOVELTY])
def test_other_modes_show_what_suggest_writes(loop, mode):
    loop.update()
    head, samples = loop.states[-1].head, loop.states[-1].samples
    picture = loop.update(mode=mode)
    codes, scales = MemorySource.read(loop.source, Window(31, ROW, COL, HEIGHT, WIDTH))
    codes, flat = codes.reshape(-1, loop.source.depth), scales.reshape(-1)
    valid = np.isfinite(flat)
    if mode == NOVELTY:
        value = Novelty.of(samples).percent(codes[valid])
    else:
        value = uncertainty(head.probabilities(codes[valid], flat[valid]))
    shown = np.zeros(len(flat), np.uint32)
    shown[valid] = ramp(mode)[value]
    assert np.array_equal(picture.argb, shown.reshape(scales.shape))
    assert loop.update(mode=CLASSES).argb is not None
    assert not loop.states


def test_over_a_zone_seam_each_side_shows_its_own():
    seen = Extent(-0.02, 52.19, 0.02, 52.21)
    both = ((-0.005, 52.2, 1), (0.01, 52.2, 2), (0.015, 52.195, 4))
    items = []
    for lon, lat, class_id in both:
        geometry = ogr.Geometry(ogr.wkbPoint)
        geometry.AddPoint_2D(lon, lat)
        items.append(Label(bytes(geometry.ExportToWkb()), class_id, str(lon)))
    loop = Loop()
    made = Labels(LONLAT, CLASS_LIST, tuple(items), "test")
    picture = loop.update(labels=made, view=ScreenView(seen, seen, 200, 150))
    cells = loop.loop._cells
    assert sorted(cells.zones) == [30, 31]
    assert (cells._pixels > 0).all()
    first_of_31 = 1 + cells.zones[30].shown.size
    is_31 = cells._pixels >= first_of_31
    assert not is_31[:, :99].any()
    assert is_31[:, 101:].all()
    assert 0.9 < (picture.argb != 0).mean() < 1  # a twentieth is invalid


def test_a_view_that_is_too_large_is_refused_and_the_head_stays(loop):
    loop.update()
    world = Extent(-5, 40, 5, 60)
    picture = loop.update(view=ScreenView(world, world, 300, 200))
    assert picture.argb is None
    assert isinstance(picture.lack, ExtentTooLarge)
    assert not loop.source.picked
    loop.update(labels=labels((*PLACES, (75, 75, 4))), view=ScreenView(world, world, 300, 200))
    assert loop.states[-1].head is not None
    assert loop.update().argb.any()


def test_a_huge_screen_takes_no_more_memory(monkeypatch):
    monkeypatch.setattr(view_cells, "MOST_BYTES", 2_000_000)
    loop = Loop()
    picture = loop.update(view=view(width=400, height=300))
    cells = loop.loop._cells.zones[31]
    assert cells.codes.nbytes <= 2_000_000
    assert cells.pitch[0] > 2
    assert picture.argb.shape == (300, 400)
    assert (picture.argb != 0).mean() > 0.85


def test_some_cells_are_those_of_the_source(first):
    loop, _, _ = first
    some = loop.loop.some_cells(500)
    assert len(some.codes) == 500
    around = Window(31, ROW - 1, COL - 1, HEIGHT + 2, WIDTH + 2)
    codes, scales = MemorySource.read(loop.source, around)
    at = some.row - around.row, some.col - around.col
    assert np.array_equal(some.codes, codes[at])
    assert np.array_equal(some.scales, scales[at])
    assert (some.zone == 31).all()
    assert Loop().loop.some_cells(5) is None


def test_some_cells_are_those_in_view():
    loop = Loop()
    loop.update(view=view(width=200, height=150))
    loop.update(view=view(20, 15, width=150, height=112))  # the room of before is kept
    some = loop.loop.some_cells(10**6)
    assert len(some.codes) > 0.9 * 150 * 112
    assert ROW + 19 <= some.row.min() < some.row.max() <= ROW + 20 + 112
    assert COL + 14 <= some.col.min() < some.col.max() <= COL + 15 + 150


def test_some_cells_over_a_seam_are_of_their_own_zone():
    seen = Extent(-0.02, 52.19, 0.02, 52.21)
    loop = Loop()
    loop.update(view=ScreenView(seen, seen, 200, 150))
    some = loop.loop.some_cells(10**6)
    for zone, side in ((30, -1), (31, 1)):
        mine = some.zone == zone
        assert mine.sum() > 5000
        metres = np.column_stack([some.col[mine] + 0.5, -(some.row[mine] + 0.5)]) * 10
        lon = transform_points(metres, f"EPSG:{32600 + zone}", LONLAT)[:, 0]
        assert (side * lon >= 0).all()


def test_another_dataset_starts_anew(loop):
    loop.update()
    loop.update(year=2023)
    assert loop.source.picked
    assert loop.source.is_closed
    loop.loop.close()
    assert not loop.loop._cells.zones
