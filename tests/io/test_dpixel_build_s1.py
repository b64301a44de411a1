# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentinel-1 scenes as tiles: the integer scale, orbit directions, mosaics, what is missing."""

import dataclasses

import numpy as np
import pytest

from tessera_plugin.errors import SceneUnusable
from tessera_plugin.io.dpixels.build import BuildPlan, build
from tessera_plugin.io.dpixels.scenes import (
    AMPLITUDE,
    ASCENDING,
    CODE,
    DECIBEL,
    DESCENDING,
    POWER,
    Scenes,
)
from tessera_plugin.io.dpixels.sentinel1 import codes_of, power_of
from tessera_plugin.values import Window
from tests.dpixel_builders import (
    provenance,
    random_bands,
    random_power,
    s1_scene,
    s2_scene,
    tile,
    transform_of,
    write_raster,
)

WINDOW = Window(31, -580_010, 50_003, 14, 18)


@pytest.fixture
def built(tmp_path):
    clear = np.full(WINDOW.shape, 4, np.uint8)
    s2 = s2_scene(tmp_path, WINDOW, "2024-05-01", random_bands(WINDOW), clear)

    def run(scenes, **plan):
        result = build(
            BuildPlan(Scenes((s2,), tuple(scenes)), WINDOW, str(tmp_path / "tile"), **plan)
        )
        return result, tile(tmp_path / "tile")

    return run


def constant(value):
    return np.full(WINDOW.shape, value, np.float32)


def codes(vv, vh):
    """The codes of linear power, by the formula in true decibels."""
    stacked = np.stack([vv, vh], axis=-1).astype(np.float64)
    return np.clip(4000 * np.log10(stacked) + 10_000, 0, 32767)


TABLE = [(-25, 0.00316, 0), (-20, 0.01, 2000), (-17.5, 0.0178, 3000), (-15, 0.0316, 4000),
         (-11.3, 0.0741, 5480), (-10, 0.1, 6000), (-5, 0.316, 8000), (0, 1.0, 10000)]  # fmt: skip


@pytest.mark.parametrize(("decibel", "power", "code"), TABLE)
def test_trap_02_the_table_of_codes(decibel, power, code):
    def one(value, unit):
        return codes_of(np.array([[value]], np.float32), unit).item()

    exact = 10 ** (decibel / 10)
    assert one(decibel, DECIBEL) == code
    assert one(code, CODE) == code
    for value, unit, tolerance in (
        (exact, POWER, 1),
        (np.sqrt(exact), AMPLITUDE, 1),
        (power, POWER, 12),
    ):  # fmt: skip  (the table's powers have three digits)
        assert abs(one(value, unit) - code) <= tolerance
    assert abs(power_of(np.array([[decibel]], np.float32), DECIBEL).item() - exact) < 1e-6
    assert one(0.1, POWER) == 6000
    assert one(0.01, POWER) == 2000
    assert one(1.0, POWER) == 10000


@pytest.mark.parametrize("unit", [POWER, AMPLITUDE, CODE])
def test_what_is_no_number_is_missing(unit):
    values = np.array([[0, -1, np.nan, np.inf, -np.inf, -32768]], np.float32)
    assert not codes_of(values, unit).any()


def test_decibels_are_missing_where_they_are_no_number():
    values = np.array([[np.nan, np.inf, -np.inf, -9999, -32768, -30, 200]], np.float32)
    assert codes_of(values, DECIBEL).tolist() == [[0, 0, 0, 0, 0, 0, 32767]]


def test_codes_are_cut_off_not_rounded():
    assert codes_of(np.array([[-10.0006, -9.9994]], np.float32), DECIBEL).tolist() == [[5999, 6000]]


def test_trap_02_in_a_tile(built, tmp_path):
    vv, vh = random_power(WINDOW, 1), random_power(WINDOW, 2) / 5
    vv[0, :3] = np.nan, 0, -1
    _, found = built([s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, vv, vh)])
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.nan_to_num(codes(vv, vh), nan=0)
    assert (np.abs(found["sar_ascending"][0] - np.floor(expected)) <= 1).all()
    assert not found["sar_ascending"][0, 0, :3, 0].any()
    assert found["sar_ascending"][0, 0, :3, 1].all()  # VH is there
    assert np.median(found["sar_ascending"][0, ..., 0]) > np.median(
        found["sar_ascending"][0, ..., 1]
    )


def test_trap_12_orbit_directions_are_kept_apart(built, tmp_path):
    scenes = [
        s1_scene(tmp_path, WINDOW, date, orbit, constant(vv), constant(vv / 10))
        for date, orbit, vv in (
            ("2024-01-08", DESCENDING, 0.1),
            ("2023-12-30", ASCENDING, 1.0),
            ("2024-01-02", DESCENDING, 0.01),
            ("2024-01-08", ASCENDING, 0.3162278),
        )
    ]
    result, found = built(scenes)
    assert (result.ascending_dates, result.descending_dates) == (2, 2)
    assert found["sar_ascending_doy"].tolist() == [364, 8]
    assert found["sar_descending_doy"].tolist() == [2, 8]
    assert found["sar_ascending"][:, 3, 4].tolist() == [[10000, 6000], [8000, 4000]]
    assert found["sar_descending"][:, 3, 4].tolist() == [[2000, 0], [6000, 2000]]
    assert found["sar_ascending_doy"].dtype == "<i2"
    told = provenance(tmp_path / "tile")["s1"]
    assert [(each["date"], each["orbit"]) for each in told] == [
        ("2023-12-30", "ascending"), ("2024-01-08", "ascending"),
        ("2024-01-02", "descending"), ("2024-01-08", "descending"),
    ]  # fmt: skip


def test_trap_14_what_is_too_dark_for_a_code_is_counted(built, tmp_path):
    vv, vh = constant(0.1), constant(0.01)
    vh[2, :5] = 0.003  # -25.2 dB
    vv[3, 3] = vh[3, 3] = 0.001
    vv[4, 4] = vh[4, 4] = np.nan
    result, found = built([s1_scene(tmp_path, WINDOW, "2024-05-02", DESCENDING, vv, vh)])
    assert found["sar_descending"][0, 2, :5].tolist() == [[6000, 0]] * 5
    assert found["sar_descending"][0, 3, 3].tolist() == [0, 0]
    dark = [warning for warning in result.warnings if "darker than -25 dB" in warning]
    assert dark
    assert dark[0].startswith("7 of ")


def test_images_of_one_pass_are_one_date_and_the_first_number_counts(built, tmp_path):
    vv_a, vh_a = constant(0.1), constant(0.01)
    vv_a[:, 9:] = vh_a[:, 9:] = 0
    vh_a[2, 2] = 0.0001  # too dark in one, there in the other
    a = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, vv_a, vh_a, name="a")
    b = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, constant(1.0), constant(0.1), name="b")
    result, found = built([b, a])
    assert result.ascending_dates == 1
    assert (found["sar_ascending"][0, :, 9:] == (10000, 6000)).all()
    assert found["sar_ascending"][0, 2, 2].tolist() == [6000, 6000]
    left = found["sar_ascending"][0, :, :9].reshape(-1, 2).tolist()
    assert left.count([6000, 2000]) == 14 * 9 - 1


def test_images_without_one_polarisation_are_dropped_and_named(built, tmp_path):
    whole = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, constant(0.1), constant(0.02))
    result, found = built(
        [
            whole,
            dataclasses.replace(whole, name="hh", vh=None, date=whole.date.replace(day=3)),
            dataclasses.replace(whole, name="vh only", vv=None, date=whole.date.replace(day=4)),
        ]
    )
    assert found["sar_ascending_doy"].tolist() == [123]
    assert result.dropped == (("hh", "no VH"), ("vh only", "no VV"))


def test_dates_that_see_nothing_are_dropped_and_named(built, tmp_path):
    away = Window(31, WINDOW.row + 500, WINDOW.col, *WINDOW.shape)
    scenes = [
        s1_scene(tmp_path, away, "2024-05-02", ASCENDING, constant(0.1), constant(0.02)),
        s1_scene(tmp_path, WINDOW, "2024-05-03", ASCENDING, constant(0.1), constant(0.02)),
    ]
    result, found = built(scenes)
    assert found["sar_ascending_doy"].tolist() == [124]
    assert result.dropped == (("S1_2024-05-02_ascending", "nothing usable here"),)


def test_decibels_of_zero_in_both_are_what_was_left_empty(built, tmp_path):
    vv, vh = constant(-10), constant(-17)
    vv[:3] = vh[:3] = 0
    vv[5, 5] = 0  # a bright target
    scene = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, vv, vh, DECIBEL)
    _, found = built([scene])
    assert not found["sar_ascending"][0, :3].any()
    assert found["sar_ascending"][0, 5, 5].tolist() == [10000, 3200]
    assert (found["sar_ascending"][0, 6:] == (6000, 3200)).all()


def test_upstreams_own_rasters_come_out_as_they_are(built, tmp_path):
    values = np.random.default_rng(0).integers(0, 9000, (*WINDOW.shape, 2)).astype(np.int16)
    scene = s1_scene(
        tmp_path, WINDOW, "2024-05-02", ASCENDING, values[..., 0], values[..., 1], CODE
    )
    for name, channel in (("vv", 0), ("vh", 1)):
        path = tmp_path / scene.name / f"{name}.tif"
        write_raster(path, values[..., channel], transform_of(WINDOW), WINDOW.epsg, nodata=0)
    _, found = built([scene])
    assert np.array_equal(found["sar_ascending"][0], values)


def test_10_m_pixels_off_the_grid_take_their_nearest_coarse_ones_are_interpolated(built, tmp_path):
    vv, vh = random_power(WINDOW, 1), random_power(WINDOW, 2)
    shifted = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, vv, vh)
    wide = transform_of(WINDOW, 30)
    columns = np.tile(np.linspace(0.1, 0.7, 7, dtype=np.float32), (6, 1))
    coarse = s1_scene(tmp_path, WINDOW, "2024-05-08", ASCENDING, vv, vh)
    for name, values in (("vv", vv), ("vh", vh)):
        write_raster(tmp_path / shifted.name / f"{name}.tif", values,
                     transform_of(WINDOW, shift_m=4.0), WINDOW.epsg)  # fmt: skip
        write_raster(tmp_path / coarse.name / f"{name}.tif", columns, wide, WINDOW.epsg)
    _, found = built([shifted, coarse])
    assert (np.abs(found["sar_ascending"][0] - codes(vv, vh)) <= 1).all()
    # columns 30 m wide, 0.1 apart: between their centres it grows by 0.1 / 3 per pixel
    power = np.clip(0.1 + (np.arange(18) - 1) * 0.1 / 3, 0.1, 0.7)
    assert (
        np.abs(found["sar_ascending"][1, ..., 0] - codes(power, power)[None, :, 0]) <= 1.5
    ).all()


def test_images_that_are_not_terrain_corrected_are_told(built, tmp_path):
    scene = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, constant(0.1), constant(0.02))
    result, _ = built([dataclasses.replace(scene, product="grd")])
    assert any("terrain" in warning for warning in result.warnings)


def test_no_sentinel_1_at_all_is_told(built):
    result, _ = built([])
    assert result.warnings == ("no Sentinel-1 images",)


@pytest.mark.parametrize("facts", [{"unit": ""}, {"orbit": ""}])
def test_what_has_to_be_asked_is_not_guessed(built, tmp_path, facts):
    scene = s1_scene(tmp_path, WINDOW, "2024-05-02", ASCENDING, constant(0.1), constant(0.02))
    with pytest.raises(SceneUnusable, match="not known"):
        built([dataclasses.replace(scene, **facts)])
