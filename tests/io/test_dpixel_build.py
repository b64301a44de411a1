# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentinel-2 scenes as tiles: order, units, masks, dates, grids. Expectations by other means."""

import dataclasses

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.compute.worker.encode.dpixel import open_tile
from tessera_plugin.errors import ExtentInvalid, NoScenes, SceneUnusable
from tessera_plugin.io.dpixels import inside, rasters_on_grid
from tessera_plugin.io.dpixels.build import BuildPlan, build
from tessera_plugin.io.dpixels.place import place
from tessera_plugin.io.dpixels.scenes import (
    CLEAR,
    CLOUDY,
    DN,
    DN_OFFSET,
    REFLECTANCE,
    S2_BANDS,
    SCL,
    Raster,
    Scenes,
)
from tessera_plugin.io.dpixels.sentinel2 import harmonised_from
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.values import Window
from tests.dpixel_builders import (
    BANDS_10_M,
    coarse,
    provenance,
    random_bands,
    s2_scene,
    tile,
    transform_of,
    write_raster,
)

WINDOW = Window(31, -580_010, 50_003, 14, 18)
"""Neither square nor as long as any series of dates."""
SOUTH = Window(33, 620_001, 40_007, 14, 18)
CLEAR_SKY = 4


def built(tmp_path, scenes, window=WINDOW, **plan):
    result = build(BuildPlan(Scenes(s2=tuple(scenes)), window, str(tmp_path / "tile"), **plan))
    return result, tile(tmp_path / "tile")


def scl_of(window=WINDOW, value=CLEAR_SKY):
    return np.full(window.shape, value, np.uint8)


def bilinear(values, rows, cols):
    """Interpolate between pixel centres, one pixel after the other; 0 has no weight.

    `rows`, `cols`: where, counted in pixels from the upper left edge of `values`.
    """
    found = np.zeros((len(rows), len(cols)))
    height, width = values.shape
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            if not (0 <= row < height and 0 <= col < width) or values[int(row), int(col)] == 0:
                continue
            total = weight = 0.0
            for r in (int(np.floor(row - 0.5)), int(np.floor(row - 0.5)) + 1):
                for c in (int(np.floor(col - 0.5)), int(np.floor(col - 0.5)) + 1):
                    if 0 <= r < height and 0 <= c < width and values[r, c] != 0:
                        share = (1 - abs(row - 0.5 - r)) * (1 - abs(col - 0.5 - c))
                        total += share * values[r, c]
                        weight += share
            found[i, j] = total / weight
    return found


def with_coarse_bands(folder, scene, window, bands):
    """Write the scene's bands that are of 20 m once more, as such."""
    for index, band in enumerate(S2_BANDS):
        if band not in BANDS_10_M:
            path = folder / scene.name / f"{band}.tif"
            write_raster(path, coarse(bands[..., index]), transform_of(window, 20), window.epsg)


# --- order and units


def test_trap_01_bands_are_in_the_documented_order(tmp_path):
    values = {"B04": 1, "B02": 2, "B03": 3, "B08": 4, "B8A": 5, "B05": 6, "B06": 7, "B07": 8,
              "B11": 9, "B12": 10}  # fmt: skip
    bands = np.zeros((*WINDOW.shape, 10), np.uint16)
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", bands, scl_of())
    for band in sorted(values):  # written, and named in the scene, in another order
        path = tmp_path / scene.name / f"{band}.tif"
        raster = np.full(WINDOW.shape, 100 * values[band], np.uint16)
        write_raster(path, raster, transform_of(WINDOW), WINDOW.epsg)
    scene = dataclasses.replace(scene, bands={band: scene.bands[band] for band in sorted(values)})
    _, found = built(tmp_path, [scene])
    assert found["bands"][0, 3, 5].tolist() == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]


OFFSETS = [(0, 0), (1, 1), (500, 1), (1000, 1), (1001, 1), (1002, 2), (2500, 1500), (65535, 64535)]


@pytest.mark.parametrize(("raw", "expected"), OFFSETS)
def test_trap_08_the_offset_is_taken_off_once(raw, expected):
    found = harmonised_from(DN_OFFSET)(np.array([[raw]], np.float32))
    assert found.item() == expected
    assert harmonised_from(DN)(np.array([[raw]], np.float32)).item() == raw


def test_trap_08_per_file_on_its_own_pixels_before_mosaicking(tmp_path):
    """A file with the offset and its copy without make the same tile, interpolated or not."""
    plain = np.random.default_rng(1).integers(1, 400, (*WINDOW.shape, 10)).astype(np.uint16)
    plain[3, 4] = 0
    with_offset = np.where(plain == 0, 0, plain + 1000).astype(np.uint16)
    left, right = scl_of(), scl_of()
    left[:, 9:], right[:, :9] = 8, 8

    def scene(name, values, classes, **facts):
        found = s2_scene(tmp_path, WINDOW, "2022-01-20", values, classes, name=name, **facts)
        with_coarse_bands(tmp_path, found, WINDOW, values)
        return found

    alone = scene("alone", plain, scl_of())
    old = scene("old", plain, left, baseline="03.01")
    new = scene("new", with_offset, right, baseline="04.00", unit=DN_OFFSET)
    (tmp_path / "two").mkdir()
    _, first = built(tmp_path, [alone])
    _, second = built(tmp_path / "two", [old, new])
    assert np.array_equal(first["bands"], second["bands"])
    assert 0 < first["bands"].max() < 400
    told = provenance(tmp_path / "two" / "tile")
    assert [(s["name"], s["unit"]) for s in told["s2"][0]["scenes"]] == [
        ("new", "dn+1000"), ("old", "dn")
    ]  # fmt: skip
    assert "max(DN - 1000, 1)" in told["rules"]["offset"]


def test_trap_09_no_number_falls_below_zero_and_starts_again_from_above(tmp_path):
    raw = np.arange(WINDOW.pixels * 10).reshape(*WINDOW.shape, 10).astype(np.uint16)
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", raw, scl_of(), unit=DN_OFFSET)
    _, found = built(tmp_path, [scene])
    assert (found["bands"][0] <= raw).all()
    expected = np.where(raw == 0, 0, np.maximum(raw.astype(int) - 1000, 1))
    seen = raw.all(axis=-1)  # a pixel that lacks a band is not used
    assert np.array_equal(found["bands"][0][seen], expected[seen])
    assert not found["bands"][0][~seen].any()
    assert not found["masks"][0][~seen].any()


def test_an_offset_taken_off_files_without_it_is_told(tmp_path):
    bands = np.random.default_rng(0).integers(200, 3000, (*WINDOW.shape, 10)).astype(np.uint16)
    with_it = s2_scene(tmp_path, WINDOW, "2024-05-01", bands + 1000, scl_of(), unit=DN_OFFSET)
    without = s2_scene(tmp_path, WINDOW, "2024-05-02", bands, scl_of(), unit=DN_OFFSET)
    right, _ = built(tmp_path, [with_it])
    assert not any("offset" in warning for warning in right.warnings)
    (tmp_path / "b").mkdir()
    wrong, _ = built(tmp_path / "b", [without])
    assert any("darker than the offset" in warning for warning in wrong.warnings)


def test_reflectances(tmp_path):
    values = np.array([0.0, np.nan, -9999.0, 0.00001, 0.1234, 0.12346, 1.0, 7.0], np.float32)
    found = np.rint(harmonised_from(REFLECTANCE)(values[None]))
    assert found[0].tolist() == [0, 0, 0, 1, 1234, 1235, 10000, 65535]


# --- what is usable


@pytest.mark.parametrize("scl", range(12))
def test_trap_06_classes_of_scl(tmp_path, scl):
    classes = scl_of(value=scl)
    classes[0, 0], classes[0, 1] = 4, 9
    bands = random_bands(WINDOW)
    _, found = built(tmp_path, [s2_scene(tmp_path, WINDOW, "2024-05-01", bands, classes)])
    usable = np.full(WINDOW.shape, scl in (4, 5, 6, 7, 10, 11))
    usable[0, :2] = True, False
    assert np.array_equal(found["masks"][0], usable)
    assert np.array_equal(found["bands"][0], np.where(usable[..., None], bands, 0))


@pytest.mark.parametrize(
    ("kind", "nodata", "usable"),
    [
        (CLEAR, None, [0, 1, 1, 1]),
        (CLEAR, 255, [0, 1, 1, 0]),
        (CLOUDY, None, [1, 0, 0, 0]),
        (CLOUDY, 0, [1, 0, 0, 0]),  # written with 0 as nodata, and 0 is what is clear
        (CLOUDY, 255, [1, 0, 0, 0]),
        (SCL, 7, [0, 0, 0, 0]),
    ],
)
def test_masks_that_are_given(tmp_path, kind, nodata, usable):
    mask = np.zeros(WINDOW.shape, np.uint8)
    mask[0, :4] = (0, 1, 7, 255)
    mask[1:] = 1 if kind == CLOUDY else 0
    mask[13, 17] = {CLEAR: 1, CLOUDY: 0, SCL: 4}[kind]  # so that the date is kept
    mask[0, 4:] = mask[1, 0]
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), mask, mask_kind=kind)
    raster = write_raster(tmp_path / "mask.tif", mask, transform_of(WINDOW), WINDOW.epsg, nodata)
    _, found = built(tmp_path, [dataclasses.replace(scene, mask=raster)])
    assert found["masks"][0, 0, :4].tolist() == usable
    assert found["masks"].sum() == sum(usable) + 1


def test_without_a_mask_all_that_has_numbers_is_usable_and_the_tile_says_so(tmp_path):
    bands = random_bands(WINDOW)
    bands[2, 3] = 0
    bands[2, 4, 6] = 0  # one band lacks there
    result, found = built(tmp_path, [s2_scene(tmp_path, WINDOW, "2024-05-01", bands)])
    assert found["masks"][0].sum() == WINDOW.pixels - 2
    assert not found["masks"][0, 2, 3:5].any()
    assert any("no cloud mask" in warning for warning in result.warnings)
    assert provenance(tmp_path / "tile")["s2"][0]["scenes"][0]["mask_kind"] == "none"


def test_nodata_of_a_file_is_no_number(tmp_path):
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of())
    values = np.full(WINDOW.shape, 5000, np.uint16)
    values[4, 4] = 65000
    path = tmp_path / "B11.tif"
    raster = write_raster(path, values, transform_of(WINDOW), WINDOW.epsg, nodata=65000)
    _, found = built(tmp_path, [dataclasses.replace(scene, bands={**scene.bands, "B11": raster})])
    assert found["masks"][0].sum() == WINDOW.pixels - 1
    assert found["masks"][0, 4, 4] == 0
    assert set(np.unique(found["bands"][0, ..., 8])) == {0, 5000}


# --- dates


def test_trap_10_days_of_year_begin_with_1_and_leap_years_have_366(tmp_path):
    dates = ["2024-12-31", "2024-01-01", "2023-12-31", "2024-02-29", "2024-03-01"]
    bands = random_bands(WINDOW)
    scenes = [s2_scene(tmp_path, WINDOW, date, bands, scl_of()) for date in dates]
    _, found = built(tmp_path, scenes)
    assert found["doys"].tolist() == [365, 1, 60, 61, 366]
    assert found["doys"].dtype == "<u2"


def test_trap_35_a_winter_is_in_the_order_of_its_dates(tmp_path):
    dates = ["2024-01-03", "2023-11-20", "2024-02-10", "2023-12-25"]
    scenes = [
        s2_scene(tmp_path, WINDOW, date, np.full((*WINDOW.shape, 10), 100 + i, np.uint16), scl_of())
        for i, date in enumerate(dates)
    ]
    result, found = built(tmp_path, scenes)
    assert found["doys"].tolist() == [324, 359, 3, 41]
    assert found["bands"][:, 0, 0, 0].tolist() == [101, 103, 100, 102]
    told = provenance(result.folder)
    assert (told["first_date"], told["last_date"]) == ("2023-11-20", "2024-02-10")
    assert [each["date"] for each in told["s2"]] == sorted(dates)


def test_trap_29_two_items_of_one_acquisition_are_one_date(tmp_path):
    bands = random_bands(WINDOW)
    facts = {"datatake": "S2A_20240501T105031_R051", "tile": "31UFS"}
    old, new, other = (
        s2_scene(tmp_path, WINDOW, "2024-05-01", bands + add, scl_of(), name=name, baseline=baseline,
                 **{**facts, "tile": mgrs})
        for add, name, baseline, mgrs in (
            (1, "a-old", "05.09", "31UFS"), (2, "b-new", "05.10", "31UFS"), (3, "c", "05.09", "31UFT")
        )
    )  # fmt: skip
    result, found = built(tmp_path, [old, new, other])
    assert result.s2_dates == 1
    assert found["bands"].shape[0] == found["doys"].shape[0] == 1
    assert np.array_equal(found["bands"][0], bands + 2)  # 05.10 is newer than 05.09
    assert result.dropped == (("a-old", "there is a newer processing of it"),)


def test_a_date_is_mosaicked_by_what_is_usable(tmp_path):
    first, second = scl_of(), scl_of()
    first[:, 6:], second[:5] = 9, 3
    a = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW, 1), first, name="a")
    b = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW, 2), second, name="b")
    _, found = built(tmp_path, [b, a])  # in a stable order, not in that of the list
    from_a = np.arange(18)[None] < 6
    from_b = ~from_a & (np.arange(14)[:, None] >= 5)
    bands = np.where(from_a[..., None], random_bands(WINDOW, 1), random_bands(WINDOW, 2))
    assert np.array_equal(found["masks"][0], from_a | from_b)
    assert np.array_equal(found["bands"][0], np.where((from_a | from_b)[..., None], bands, 0))
    told = provenance(tmp_path / "tile")["s2"][0]["scenes"]
    assert [(s["name"], s["pixels"]) for s in told] == [("a", 84), ("b", int(from_b.sum()))]


def test_a_band_that_lacks_pixels_leaves_them_to_the_next_scene(tmp_path):
    bands = random_bands(WINDOW, 1)
    bands[5, 5, 3] = 0
    a = s2_scene(tmp_path, WINDOW, "2024-05-01", bands, scl_of(), name="a")
    b = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW, 2), scl_of(), name="b")
    _, found = built(tmp_path, [a, b])
    assert found["masks"].all()
    assert np.array_equal(found["bands"][0, 5, 5], random_bands(WINDOW, 2)[5, 5])


def test_dates_that_see_nothing_are_dropped_and_named(tmp_path):
    spoilt = scl_of(value=9)
    spoilt[0, :3] = 4
    scenes = [
        s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of(value=9)),
        s2_scene(tmp_path, WINDOW, "2024-05-03", random_bands(WINDOW), spoilt),
        s2_scene(tmp_path, WINDOW, "2024-05-05", random_bands(WINDOW), scl_of()),
    ]
    lacking = dataclasses.replace(scenes[2], name="poor", bands={"B04": scenes[2].bands["B04"]})
    result, found = built(tmp_path, [*scenes, lacking], min_cover=0.02)
    assert found["doys"].tolist() == [126]
    reasons = dict(result.dropped)
    assert list(reasons) == ["poor", "S2_2024-05-01", "S2_2024-05-03"]
    assert reasons["S2_2024-05-01"] == "nothing usable here"
    assert reasons["S2_2024-05-03"] == "only 3 usable pixels here"
    assert "B05" in reasons["poor"]
    assert "B04" not in reasons["poor"]


def test_nothing_to_build_of(tmp_path):
    with pytest.raises(NoScenes):
        built(tmp_path, [])
    cloudy = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of(value=9))
    with pytest.raises(NoScenes, match="none of 1 Sentinel-2 dates"):
        built(tmp_path, [cloudy])
    assert not list(tmp_path.glob("tile*"))


@pytest.mark.parametrize("facts", [{"unit": ""}, {"mask_kind": "maybe"}])
def test_what_has_to_be_asked_is_not_guessed(tmp_path, facts):
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of())
    with pytest.raises(SceneUnusable, match="not known"):
        built(tmp_path, [dataclasses.replace(scene, **facts)])


# --- grids


def test_trap_26_a_raster_on_the_grid_comes_out_as_it_is(tmp_path):
    bands = random_bands(WINDOW)
    result, found = built(tmp_path, [s2_scene(tmp_path, WINDOW, "2024-05-01", bands, scl_of())])
    assert np.array_equal(found["bands"][0], bands)
    roi = gdal.Open(str(tmp_path / "tile" / "roi.tiff"))
    assert roi.GetGeoTransform() == (500_030.0, 10.0, 0.0, 5_800_100.0, 0.0, -10.0)
    assert roi.GetSpatialRef().GetAuthorityCode(None) == "32631"
    assert roi.GetRasterBand(1).GetBlockSize() == [256, 256]
    assert roi.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == "LZW"
    assert (roi.ReadAsArray() == 1).all()
    assert place(result.folder, str(tmp_path / "moved")).window == WINDOW


def test_trap_26_a_larger_raster_is_cut_and_a_smaller_one_leaves_nothing_around_it(tmp_path):
    around = Window(31, WINDOW.row - 9, WINDOW.col - 4, 40, 30)
    within = Window(31, WINDOW.row + 2, WINDOW.col + 3, 5, 6)
    large, small = random_bands(around, 1), random_bands(within, 2)
    scenes = [
        s2_scene(tmp_path, around, "2024-05-01", large, scl_of(around)),
        s2_scene(tmp_path, within, "2024-05-02", small, scl_of(within)),
    ]
    _, found = built(tmp_path, scenes)
    assert np.array_equal(found["bands"][0], large[9:23, 4:22])
    expected = np.zeros((*WINDOW.shape, 10), np.uint16)
    expected[2:7, 3:9] = small
    assert np.array_equal(found["bands"][1], expected)
    assert found["masks"][1].sum() == 30


def test_trap_26_a_shifted_raster_is_interpolated_by_its_shift(tmp_path):
    wide = Window(31, WINDOW.row - 3, WINDOW.col - 3, 20, 24)
    bands = random_bands(wide)
    scene = s2_scene(tmp_path, wide, "2024-05-01", bands, scl_of(wide))
    for band in S2_BANDS:
        path = tmp_path / scene.name / f"{band}.tif"
        values = bands[..., S2_BANDS.index(band)]
        write_raster(path, values, transform_of(wide, shift_m=2.5), wide.epsg)
    _, found = built(tmp_path, [scene])
    # a pixel's centre is a quarter of a pixel left of and above that of the raster's
    rows, cols = np.arange(14) + 3.5 - 0.25, np.arange(18) + 3.5 - 0.25
    for index in range(10):
        expected = bilinear(bands[..., index].astype(float), rows, cols)
        assert np.abs(found["bands"][0, ..., index] - expected).max() <= 0.5001


def test_trap_27_bands_of_20_m_are_interpolated_and_classes_never(tmp_path):
    wide = Window(31, WINDOW.row - 4, WINDOW.col - 6, 24, 32)
    bands = random_bands(wide)
    classes = np.random.default_rng(3).choice(np.arange(12, dtype=np.uint8), wide.shape)
    bands[6, 8:12] = bands[7, 8:12] = 0  # nodata has no weight
    scene = s2_scene(tmp_path, wide, "2024-05-01", bands, classes)
    with_coarse_bands(tmp_path, scene, wide, bands)
    write_raster(tmp_path / scene.name / "SCL.tif", coarse(classes), transform_of(wide, 20),
                 wide.epsg)  # fmt: skip
    _, found = built(tmp_path, [scene])
    nearest = np.kron(coarse(classes), np.ones((2, 2), np.uint8))[4:18, 6:24]
    expected = np.zeros((*WINDOW.shape, 10))
    rows, cols = np.arange(14) / 2 + 2.25, np.arange(18) / 2 + 3.25
    for index, band in enumerate(S2_BANDS):
        if band in BANDS_10_M:
            expected[..., index] = bands[4:18, 6:24, index]
        else:
            expected[..., index] = bilinear(coarse(bands[..., index]).astype(float), rows, cols)
    usable = np.isin(nearest, (4, 5, 6, 7, 10, 11)) & expected.all(axis=-1)
    assert np.array_equal(found["masks"][0], usable)
    apart = np.abs(found["bands"][0] - np.where(usable[..., None], expected, 0))
    assert apart.max() <= 0.5001
    blocky = found["bands"][0, ..., S2_BANDS.index("B11")][usable]
    assert len(np.unique(blocky)) > usable.sum() / 2


def test_trap_31_every_axis_has_its_place(tmp_path):
    scenes = [
        s2_scene(tmp_path, WINDOW, f"2024-05-0{day}", random_bands(WINDOW, day), scl_of())
        for day in (1, 2, 3)
    ]
    _, found = built(tmp_path, scenes)
    assert {name: (array.dtype.str, array.shape) for name, array in found.items()} == {
        "bands": ("<u2", (3, 14, 18, 10)),
        "masks": ("|u1", (3, 14, 18)),
        "doys": ("<u2", (3,)),
        "sar_ascending": ("<i2", (0, 14, 18, 2)),
        "sar_ascending_doy": ("<i2", (0,)),
        "sar_descending": ("<i2", (0, 14, 18, 2)),
        "sar_descending_doy": ("<i2", (0,)),
    }
    for index in range(3):
        assert np.array_equal(found["bands"][index], random_bands(WINDOW, index + 1))
        assert found["bands"].flags.c_contiguous
    read = open_tile(tmp_path / "tile")  # the worker agrees
    assert (read.height, read.width, read.s2_doys.tolist()) == (14, 18, [122, 123, 124])


def test_south_of_the_equator_both_ways_of_counting_are_one(tmp_path):
    bands = random_bands(SOUTH)
    scene = s2_scene(tmp_path, SOUTH, "2024-05-01", bands, scl_of(SOUTH))
    west, _, _, north, _, _ = SOUTH.transform
    negative = (west, 10.0, 0.0, north - 10_000_000, 0.0, -10.0)
    raster = write_raster(tmp_path / "n.tif", bands[..., 0], negative, 32633)
    scene = dataclasses.replace(scene, bands={**scene.bands, "B04": raster})
    result, found = built(tmp_path, [scene], SOUTH)
    assert np.array_equal(found["bands"][0], bands)
    roi = gdal.Open(str(tmp_path / "tile" / "roi.tiff"))
    assert roi.GetSpatialRef().GetAuthorityCode(None) == "32733"
    assert roi.GetGeoTransform()[3] == 10_000_000 - 10 * SOUTH.row
    assert place(result.folder, "unused").window == SOUTH


def smooth(east, north, window):
    """A field without corners, of places on the window's zone grid."""
    x, y = (east - 10 * window.col) / 10, (-north - 10 * window.row) / 10
    return 3000 + 31 * x - 17 * y + 4 * np.sin(x / 5)


def field_on(window, crs, transform, shape):
    """The field as the raster of another grid has it at its pixel centres."""
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    west, a, b, north, c, d = transform
    xy = np.column_stack(
        [(west + a * cols + b * rows).ravel(), (north + c * cols + d * rows).ravel()]
    )
    metres = transform_points(xy, crs, f"EPSG:{32600 + window.zone}")
    return smooth(metres[:, 0], metres[:, 1], window).reshape(shape)


def other_grid(tmp_path, window, epsg, transform, shape, name="other"):
    """A scene on any grid, the same field in all bands."""
    values = np.rint(field_on(window, f"EPSG:{epsg}", transform, shape)).astype(np.uint16)
    scene = s2_scene(
        tmp_path, window, "2024-05-01", random_bands(window), scl_of(window), name=name
    )
    raster = write_raster(tmp_path / name / "any.tif", values, transform, epsg)
    scl = write_raster(
        tmp_path / name / "scl_any.tif", np.full(shape, 4, np.uint8), transform, epsg
    )
    return dataclasses.replace(scene, bands=dict.fromkeys(S2_BANDS, raster), mask=scl)


def own_field(window):
    east = 10 * (window.col + np.arange(window.width) + 0.5)
    north = -10 * (window.row + np.arange(window.height) + 0.5)
    return smooth(east[None], north[:, None], window)


SEAM = Window(31, -580_000, 29_600, 60, 70)
"""At 52.3° north, three degrees east: the western edge of zone 31, where zone 30 still reaches."""


def test_a_scene_of_the_neighbouring_zone_is_warped_onto_the_grid(tmp_path):
    middle = np.array([[10.0 * (SEAM.col + 35), -10.0 * (SEAM.row + 30)]])
    x, y = transform_points(middle, "EPSG:32631", "EPSG:32630")[0]
    transform = (round(x / 10) * 10 - 700.0, 10.0, 0.0, round(y / 10) * 10 + 700.0, 0.0, -10.0)
    scene = other_grid(tmp_path, SEAM, 32630, transform, (140, 140))
    _, found = built(tmp_path, [scene], SEAM)
    assert found["masks"].all()
    assert np.abs(found["bands"][0, ..., 4] - own_field(SEAM)).max() < 1.5


def test_at_a_seam_the_zones_own_granules_come_first(tmp_path):
    own = s2_scene(tmp_path, SEAM, "2024-05-01", random_bands(SEAM), scl_of(SEAM), name="z",
                   tile="31UCT")  # fmt: skip
    other = s2_scene(tmp_path, SEAM, "2024-05-01", random_bands(SEAM, 1), scl_of(SEAM), name="a",
                     tile="30UYC")  # fmt: skip
    _, found = built(tmp_path, [other, own], SEAM)
    assert np.array_equal(found["bands"][0], random_bands(SEAM))


def test_a_rotated_raster_is_turned(tmp_path):
    cos, sin = 10 * np.cos(np.radians(30)), 10 * np.sin(np.radians(30))
    west, north = 10.0 * WINDOW.col - 300, -10.0 * WINDOW.row + 100
    transform = (west, cos, sin, north, sin, -cos)
    scene = other_grid(tmp_path, WINDOW, 32631, transform, (80, 90))
    _, found = built(tmp_path, [scene])
    assert found["masks"].all()
    assert np.abs(found["bands"][0, ..., 4] - own_field(WINDOW)).max() < 1.5


def test_a_raster_in_degrees_is_warped(tmp_path):
    corner = np.array([[10.0 * WINDOW.col - 100, -10.0 * WINDOW.row + 100]])
    lon, lat = transform_points(corner, "EPSG:32631", LONLAT)[0]
    transform = (lon, 0.00014, 0.0, lat, 0.0, -0.00009)
    scene = other_grid(tmp_path, WINDOW, 4326, transform, (60, 70))
    _, found = built(tmp_path, [scene])
    assert found["masks"].all()
    assert np.abs(found["bands"][0, ..., 4] - own_field(WINDOW)).max() < 1.5


def test_how_a_window_is_cut_into_parts_changes_nothing(tmp_path, monkeypatch):
    wide = Window(31, WINDOW.row - 4, WINDOW.col - 6, 24, 32)
    bands = random_bands(wide)
    a = s2_scene(tmp_path, wide, "2024-05-01", bands, scl_of(wide))
    with_coarse_bands(tmp_path, a, wide, bands)
    raster = write_raster(tmp_path / "shifted.tif", bands[..., 0], transform_of(wide, shift_m=3.3),
                          wide.epsg)  # fmt: skip
    a = dataclasses.replace(a, bands={**a.bands, "B12": raster})
    corner = transform_points(np.array([[10.0 * WINDOW.col - 100, -10.0 * WINDOW.row + 100]]),
                              "EPSG:32631", LONLAT)[0]  # fmt: skip
    b = other_grid(tmp_path, WINDOW, 4326, (corner[0], 0.00014, 0.0, corner[1], 0.0, -0.00009),
                   (60, 70))  # fmt: skip
    scenes = [a, dataclasses.replace(b, date=b.date.replace(day=2))]
    _, whole = built(tmp_path, scenes)
    monkeypatch.setattr(inside, "PART_PX", 5)
    monkeypatch.setattr(rasters_on_grid, "_MOST_OPEN", 3)
    (tmp_path / "cut").mkdir()
    _, cut = built(tmp_path / "cut", scenes)
    assert all(np.array_equal(whole[name], cut[name]) for name in whole)


def test_polygons_leave_nothing_outside(tmp_path):
    corners = [(10.0 * (WINDOW.col + 3), -10.0 * (WINDOW.row + 12)),
               (10.0 * (WINDOW.col + 15), -10.0 * (WINDOW.row + 2))]  # fmt: skip
    (west, south), (east, north) = transform_points(np.array(corners), "EPSG:32631", LONLAT)
    roi = f"POLYGON (({west} {south},{east} {south},{east} {north},{west} {north},{west} {south}))"
    bands = random_bands(WINDOW)
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", bands, scl_of())
    _, found = built(tmp_path, [scene], roi=roi)
    centres = [
        (10.0 * (WINDOW.col + c) + 5, -10.0 * (WINDOW.row + r) - 5)
        for r in range(14)
        for c in range(18)
    ]
    lon, lat = transform_points(np.array(centres), "EPSG:32631", LONLAT).T
    wanted = ((lon > west) & (lon < east) & (lat > south) & (lat < north)).reshape(14, 18)
    assert 100 < wanted.sum() < 130
    assert np.array_equal(found["masks"][0], wanted)
    assert np.array_equal(found["bands"][0], np.where(wanted[..., None], bands, 0))
    assert np.array_equal(gdal.Open(str(tmp_path / "tile" / "roi.tiff")).ReadAsArray(), wanted)


@pytest.mark.parametrize("roi", ["POLYGON ((0 0,1 0,1 1,0 0))", "POINT (3 52)", "nonsense", ""])
def test_polygons_that_hold_nothing_of_the_window(tmp_path, roi):
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of())
    with pytest.raises(ExtentInvalid):
        built(tmp_path, [scene], roi=roi)


# --- files that can't be used


def spoil_not_there(path):
    path.unlink()


def spoil_no_raster(path):
    path.write_bytes(b"not a raster")


def spoil_cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def spoil_no_place(path):
    write_raster(path, np.ones((14, 18), np.uint16), (0, 1, 0, 0, 0, 1), None)


@pytest.fixture(params=[False, True], ids=["codes", "exceptions"])
def gdal_mode(request):
    was = gdal.GetUseExceptions()
    (gdal.UseExceptions if request.param else gdal.DontUseExceptions)()
    yield
    (gdal.UseExceptions if was else gdal.DontUseExceptions)()


@pytest.mark.parametrize("spoil", [spoil_not_there, spoil_no_raster, spoil_cut_off, spoil_no_place])
@pytest.mark.usefixtures("gdal_mode")
def test_what_can_not_be_read_is_named_and_never_zeros(tmp_path, spoil):
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of())
    broken = tmp_path / scene.name / "B07.tif"
    spoil(broken)
    with pytest.raises(SceneUnusable) as raised:
        built(tmp_path, [scene])
    assert raised.value.path == str(broken)
    assert not (tmp_path / "tile").exists()


def test_a_band_number_that_a_file_does_not_have(tmp_path):
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), scl_of())
    bands = {**scene.bands, "B03": Raster(scene.bands["B03"].path, 2)}
    with pytest.raises(SceneUnusable, match="no such band"):
        built(tmp_path, [dataclasses.replace(scene, bands=bands)])


def test_one_file_with_all_bands(tmp_path):
    bands = random_bands(WINDOW)
    order = ["B11", "B12", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A"]
    stack = np.stack([bands[..., S2_BANDS.index(band)] for band in order] + [scl_of()])
    path = tmp_path / "all.tif"
    raster = write_raster(path, stack.astype(np.uint16), transform_of(WINDOW), WINDOW.epsg)
    scene = s2_scene(tmp_path, WINDOW, "2024-05-01", bands, scl_of())
    numbered = {band: Raster(raster.path, number) for number, band in enumerate(order, 1)}
    scene = dataclasses.replace(scene, bands=numbered, mask=Raster(raster.path, 11))
    _, found = built(tmp_path, [scene])
    assert np.array_equal(found["bands"][0], bands)
