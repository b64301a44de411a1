# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import time
import tracemalloc

import numpy as np
import pytest
from osgeo import ogr

from tessera_plugin.engine import samples
from tessera_plugin.engine.samples import (
    SPOT_PX,
    Label,
    Labels,
    SampleParams,
    collect,
    label_pixels,
    load_labels,
    windows_of_pixels,
)
from tessera_plugin.errors import LabelsUnreadable, NoLabels, NoUsableLabels
from tessera_plugin.io import polygons
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import LandClass, State, Window
from tests.builders import (
    CLASSES,
    MemorySource,
    labels,
    point_in,
    square,
    wkb,
    write_label_store,
    write_layer,
)
from tests.clock import within

ROW, COL = -578_000, 50_000  # a pixel of zone 31, near 52° N 3° E
EAST, NORTH = 10 * COL, -10 * ROW


def block(rows, cols, row=ROW, col=COL):
    """WKT of the square of pixels below and right of one, edges between the centres."""
    return (
        f"POLYGON (({10 * col} {-10 * row},{10 * (col + cols)} {-10 * row},"
        f"{10 * (col + cols)} {-10 * (row + rows)},{10 * col} {-10 * (row + rows)},"
        f"{10 * col} {-10 * row}))"
    )


def pixels_of(found):
    return set(zip(found.zone.tolist(), found.row.tolist(), found.col.tolist()))


def one_class(zone, row, col):
    return np.zeros(row.shape, int)


# --- labels of files


def test_classes_are_the_values_in_order(tmp_path):
    rows = [(f"POINT ({i} 5)", {"c": c}) for i, c in enumerate(["water", "forest", "water", None])]
    found = load_labels(write_layer(tmp_path / "a.gpkg", rows, {"c": ogr.OFTString}), "c")
    assert [(c.id, c.name) for c in found.classes] == [(1, "forest"), (2, "water")]
    assert [label.class_id for label in found.items] == [2, 1, 2]
    assert len({c.color for c in found.classes}) == 2
    assert found.skipped.no_class == 1
    assert found.source.endswith("a.gpkg")


def test_numbers_are_ordered_as_numbers(tmp_path):
    rows = [(f"POINT ({i} 5)", {"c": c}) for i, c in enumerate([10, 9, 100])]
    found = load_labels(write_layer(tmp_path / "a.gpkg", rows, {"c": ogr.OFTReal}), "c")
    assert [(c.id, c.name) for c in found.classes] == [(1, "9"), (2, "10"), (3, "100")]


def test_a_label_store_keeps_its_ids_colours_and_renamed_classes(tmp_path):
    path = write_label_store(
        tmp_path / "a.gpkg",
        [(9, "sea", "#0000ff", 1), (4, "forest", "no colour", 0), (5, "unused", "#123456", 2)],
        points=[("POINT (0 52)", 9, "k1"), ("POINT (1 52)", 4, "k2"), ("POINT (2 52)", 77, "k3")],
    )
    for field in ("class_name", "class_id"):
        found = load_labels(path, field)
        assert [(c.id, c.name) for c in found.classes] == [
            (4, "forest"), (9, "sea"), (5, "unused"), (10, "77")]  # fmt: skip
        assert found.classes[1].color == "#0000ff"
        assert all(len(c.color) == 7 and c.color[0] == "#" for c in found.classes)
        assert [(label.class_id, label.key) for label in found.items] == [
            (9, "k1"), (4, "k2"), (10, "k3")]  # fmt: skip


def test_a_dissolved_class_has_its_parts_as_labels(tmp_path):
    multi = "MULTIPOLYGON (((0 5,1 5,1 6,0 5)),((3 5,4 5,4 6,3 5)))"
    rows = [
        (multi, {"c": "a"}), ("MULTIPOINT (0 5,1 5)", {"c": "b"}), ("POINT (9 5)", {"c": "b"})
    ]  # fmt: skip
    found = load_labels(write_layer(tmp_path / "a.gpkg", rows, {"c": ogr.OFTString}), "c")
    assert [(label.class_id, label.key) for label in found.items] == [
        (1, "labels/1/0"), (1, "labels/1/1"), (2, "labels/2"), (2, "labels/3")]  # fmt: skip


def test_files_without_labels_or_with_absurd_classes(tmp_path):
    path = write_layer(tmp_path / "a.gpkg", [(None, {"c": "a"})], {"c": ogr.OFTString})
    with pytest.raises(NoLabels):
        load_labels(path, "c")
    path = write_label_store(
        tmp_path / "b.gpkg", [(70_000, "far", "#000000", 0)], [("POINT (0 5)", 70_000, "a")]
    )
    with pytest.raises(LabelsUnreadable, match="70000"):
        load_labels(path, "class_id")


# --- pixels


def test_points_and_multipoints_give_the_pixels_that_hold_them():
    given = labels(
        [
            (point_in(ROW, COL), 1),
            (f"POINT ({EAST + 19.9} {NORTH - 10.1})", 2),
            (f"MULTIPOINT ({EAST + 55} {NORTH - 55},{EAST + 75} {NORTH - 55})", 3),
        ]
    )
    found = label_pixels(given, SampleParams())
    assert list(zip(found.row - ROW, found.col - COL, found.label)) == [
        (0, 0, 0), (1, 1, 1), (5, 5, 2), (5, 7, 2)]  # fmt: skip
    assert set(found.zone) == {31}
    assert (found.duplicate_px, found.conflicting_px, found.unplaced_labels) == (0, 0, 0)


def test_a_polygon_gives_the_pixels_whose_centre_is_inside():
    found = label_pixels(labels([(block(3, 4), 1)]), SampleParams())
    expected = {(31, ROW + r, COL + c) for r in range(3) for c in range(4)}
    assert pixels_of(found) == expected
    assert (found.capped_polygons, found.small_polygons) == (0, 0)


def test_a_polygon_without_a_centre_gives_the_pixel_under_it():
    thin = square(EAST + 16, NORTH - 14, 3)
    found = label_pixels(labels([(thin, 1), (thin.replace("POLYGON (", "MULTIPOLYGON ((") + ")", 1)]),
                         SampleParams())  # fmt: skip
    assert pixels_of(found) == {(31, ROW + 1, COL + 1)}
    assert found.small_polygons == 2
    assert found.duplicate_px == 1


def test_a_large_polygon_is_sampled_evenly_and_by_seed():
    given = labels([(block(300, 300), 1)])
    found = label_pixels(given, SampleParams(max_px_per_polygon=900, seed=3))
    assert len(found.row) == 900 == len(pixels_of(found))
    assert found.capped_polygons == 1
    again = label_pixels(given, SampleParams(max_px_per_polygon=900, seed=3))
    other = label_pixels(given, SampleParams(max_px_per_polygon=900, seed=4))
    assert pixels_of(found) == pixels_of(again) != pixels_of(other)
    # nine fields of 100 x 100 px get 100 each; 4.5 standard deviations are 42
    counts = np.bincount((found.row - ROW) // 100 * 3 + (found.col - COL) // 100, minlength=9)
    assert abs(counts - 100).max() < 42
    few = label_pixels(given, SampleParams(max_px_per_polygon=90, seed=3))
    assert pixels_of(few) < pixels_of(found)


def test_other_labels_and_the_strips_do_not_change_the_choice(monkeypatch):
    params = SampleParams(max_px_per_polygon=50)
    alone = label_pixels(labels([(block(100, 100), 1)]), params)
    beside = label_pixels(labels([(block(40, 40, ROW + 500), 2), (block(100, 100), 1)]), params)
    mine = beside.label == 1
    chosen = set(zip(beside.row[mine].tolist(), beside.col[mine].tolist()))
    assert {(row, col) for _, row, col in pixels_of(alone)} == chosen
    monkeypatch.setattr(polygons, "STRIP_PX", 700)
    assert pixels_of(label_pixels(labels([(block(100, 100), 1)]), params)) == pixels_of(alone)


def test_the_scatter_is_fixed_for_ever():
    # choices must be the same on every machine and in every release: these numbers may not change
    pixels = np.array([[31, -578000, 50000], [1, 0, 0], [60, 900000, 66000]])
    again = samples.scattered(pixels, 0)
    z = np.uint64

    def splitmix(value):
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    expected = [
        splitmix(splitmix((row % 2**32) << 32 | col % 2**32) ^ splitmix(zone))
        for zone, row, col in pixels.tolist()
    ]
    assert again.dtype == z
    assert again.tolist() == expected


def test_one_pixel_of_one_class_is_used_once():
    given = labels([(point_in(ROW, COL), 1), (point_in(ROW, COL), 1), (block(2, 2), 1)])
    found = label_pixels(given, SampleParams())
    assert len(found.row) == 4
    assert found.duplicate_px == 2
    assert found.conflicting_px == 0
    assert found.label.tolist() == [0, 2, 2, 2]


def test_a_pixel_of_two_classes_is_left_out():
    given = labels(
        [
            (block(2, 2), 1),
            (point_in(ROW, COL), 2),
            (point_in(ROW, COL), 1),
            (point_in(ROW, COL + 9), 2),
        ]
    )
    found = label_pixels(given, SampleParams())
    assert (31, ROW, COL) not in pixels_of(found)
    assert len(found.row) == 4
    assert (found.conflicting_px, found.duplicate_px) == (1, 0)


def test_a_point_in_a_polygon_of_another_class_conflicts_although_that_pixel_was_not_chosen():
    params = SampleParams(max_px_per_polygon=10)
    big = block(200, 200)
    chosen = pixels_of(label_pixels(labels([(big, 1)]), params))
    spare = next(c for c in range(200) if (31, ROW + 7, COL + c) not in chosen)
    given = labels([(big, 1), (point_in(ROW + 7, COL + spare), 2), (point_in(ROW - 5, COL), 2),
                    (point_in(ROW + 8, COL + spare), 1)])  # fmt: skip
    found = label_pixels(given, params)
    assert found.conflicting_px == 1
    assert (31, ROW + 7, COL + spare) not in pixels_of(found)
    assert (31, ROW - 5, COL) in pixels_of(found)
    assert (31, ROW + 8, COL + spare) in pixels_of(found)


def test_two_large_polygons_that_overlap_share_no_pixel():
    params = SampleParams(max_px_per_polygon=300)
    given = labels([(block(100, 100), 1), (block(100, 100, ROW, COL + 50), 2)])
    found = label_pixels(given, params)
    overlap = (found.col >= COL + 50) & (found.col < COL + 100)
    assert not overlap.any()
    assert found.conflicting_px > 100
    assert set(found.label) == {0, 1}


def test_labels_without_a_place_are_counted():
    given = labels([("POINT (1e300 1e300)", 1), (point_in(ROW, COL), 1)])
    found = label_pixels(given, SampleParams())
    assert found.unplaced_labels == 1
    assert len(found.row) == 1


def test_a_label_over_a_seam_has_pixels_of_both_zones():
    given = labels([(square(5.99, 50, 0.02), 1)], crs="EPSG:4326")
    found = label_pixels(given, SampleParams(max_px_per_polygon=400))
    assert set(found.zone) == {31, 32}
    assert len(found.row) == 400
    assert 120 < (found.zone == 31).sum() < 280


def test_no_labels_and_bad_parameters():
    with pytest.raises(NoLabels):
        label_pixels(Labels("EPSG:4326", CLASSES, (), "x"), SampleParams())
    with pytest.raises(ValueError, match="at least 1"):
        SampleParams(max_px_per_polygon=0)
    with pytest.raises(TypeError):
        SampleParams(max_pixels=3)


def test_a_country_is_sampled_in_bounded_memory_and_can_be_cancelled():
    # 30 km x 60 km: 18 million pixels
    given = labels([("POLYGON ((5e5 5e6,5.3e5 5e6,5.3e5 5.06e6,5e5 5.06e6,5e5 5e6))", 1)])
    tracemalloc.start()
    found = label_pixels(given, SampleParams())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.row) == 200
    assert found.capped_polygons == 1
    assert peak < 250e6
    calls = []

    def report(fraction, message=""):
        calls.append(fraction)
        if len(calls) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        label_pixels(given, SampleParams(), report)


# --- windows


def test_windows_are_the_boxes_around_the_pixels_of_each_small_square():
    random = np.random.default_rng(0)
    given = labels(
        [(point_in(ROW + int(r), COL + int(c)), 1) for r, c in random.integers(0, 600, (80, 2))]
    )
    found = label_pixels(given, SampleParams())
    windows = windows_of_pixels(found)
    expected = {}
    for zone, row, col in pixels_of(found):
        expected.setdefault((zone, row // SPOT_PX, col // SPOT_PX), []).append((row, col))
    assert len(windows) == len(expected)
    for window in windows:
        inside = expected[window.zone, window.row // SPOT_PX, window.col // SPOT_PX]
        rows, cols = zip(*inside)
        assert (window.row, window.stop_row) == (min(rows), max(rows) + 1)
        assert (window.col, window.stop_col) == (min(cols), max(cols) + 1)


# --- the matrix


def test_the_matrix_holds_what_the_source_has_at_each_pixel():
    given = labels(
        [(block(30, 30), 1), (block(30, 30, ROW, COL + 200), 2), (point_in(ROW, COL + 90), 3)]
    )
    source = MemorySource(lambda zone, row, col: row % 3)
    params = SampleParams(max_px_per_polygon=100)
    found = collect(given, source, params)
    assert len(found) == 201 == found.report.pixels
    for i in range(0, 201, 20):
        codes, scales = source.read(Window(31, int(found.row[i]), int(found.col[i]), 1, 1))
        np.testing.assert_array_equal(found.codes[i], codes[0, 0])
        assert found.scales[i] == scales[0, 0]
    assert [(c.id, c.labels, c.pixels) for c in found.report.classes] == [
        (1, 1, 100), (2, 1, 100), (3, 1, 1)]  # fmt: skip
    assert found.dataset == "1.1-cambridge"
    assert found.year == 2024
    assert len(set(zip(found.groups.tolist(), found.class_ids.tolist()))) == 3


def test_invalid_pixels_and_pixels_that_did_not_arrive_are_told_apart():
    def state(zone, row, col):
        result = np.full(row.shape, State.VALID)
        result[row == ROW] = State.WATER
        result[row == ROW + 1] = State.UNKNOWN
        return result

    given = labels([(block(4, 5), 1), (point_in(ROW, COL + 50), 2)])
    found = collect(given, MemorySource(one_class, state=state), SampleParams())
    assert (found.report.invalid_px, found.report.missing_px) == (6, 5)
    assert found.report.pixels == 10
    assert found.report.labels == 1
    assert [(c.id, c.labels, c.pixels) for c in found.report.classes] == [
        (1, 1, 10), (2, 0, 0), (3, 0, 0)]  # fmt: skip
    assert np.isfinite(found.scales).all()
    assert found.codes.any(axis=1).all()


def test_labels_without_any_embedding_say_why():
    source = MemorySource(one_class, state=lambda z, r, c: np.full(r.shape, State.OUTSIDE))
    with pytest.raises(NoUsableLabels, match=r"1 labels.*20 pixels without a valid embedding"):
        collect(labels([(block(4, 5), 1)]), source, SampleParams())
    unknown = MemorySource(one_class, state=lambda z, r, c: np.full(r.shape, State.UNKNOWN))
    with pytest.raises(NoUsableLabels, match="could not be fetched"):
        collect(labels([(block(4, 5), 1)]), unknown, SampleParams())
    both = labels([(point_in(ROW, COL), 1), (point_in(ROW, COL), 2)])
    with pytest.raises(NoUsableLabels, match="1 pixels labelled as several classes"):
        collect(both, MemorySource(one_class), SampleParams())


def test_ten_thousand_points_take_a_moment():
    random = np.random.default_rng(0)
    items = tuple(
        Label(wkb(f"POINT ({lon} {lat})"), 1, str(i))
        for i, (lon, lat) in enumerate(random.uniform((0.1, 50), (0.6, 50.3), (10_000, 2)))
    )
    given = Labels("EPSG:4326", (LandClass(1, "a", "#000000"),), items, "x")
    started = time.perf_counter()
    found = label_pixels(given, SampleParams())
    windows_of_pixels(found)
    assert len(found.row) + found.duplicate_px == 10_000
    assert time.perf_counter() - started < within(5)  # it takes 0.3 s


def test_labels_of_unknown_classes_are_never_born():
    with pytest.raises(ValueError, match=r"\[4\]"):
        labels([(point_in(ROW, COL), 4)])
