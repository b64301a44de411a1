# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rasters without a layout: names, headers, and what is asked where neither tells."""

import datetime as dt

import numpy as np
import pytest

from tessera_plugin.io.dpixels.recognise import recognise
from tessera_plugin.io.dpixels.scenes import (
    AMPLITUDE,
    ASCENDING,
    CLEAR,
    CLOUDY,
    CODE,
    DECIBEL,
    DESCENDING,
    DN,
    DN_OFFSET,
    POWER,
    REFLECTANCE,
    S2_BANDS,
    SCL,
    Raster,
)
from tests.io import recognise_files as files

JUNE_12 = dt.date(2024, 6, 12)
S1_RTC = "S1A_IW_GRDH_1SDV_20240601T{}_20240601T172159_054124_0694E1_rtc"


def only(scenes):
    (scene,) = scenes
    return scene


def reasons(found):
    return {each.path.rpartition("/")[2]: each.reason for each in found.unrecognised}


# --- one band per file


@pytest.mark.parametrize(
    "stem",
    [
        "T31UFT_20240612T105619_{}_10m",
        "S2_2024-06-12_{}",
        "S2B_31UFT_20240612_0_L2A/{}",
        "20240612/{}",
        "{}_20240612",
        "2024/06/12/{}",
        "{}/2024-06-12",
        "tiles/31/U/FT/2024/6/12/0/{}",
        "S2B_T31UFT_20240612T105621_L2A/{}",
        "SENTINEL2B_20240612-105621-457_L2A_T31UFT_C_V3-1_FRE_{}",
    ],
)
def test_one_band_per_file_by_name(tmp_path, stem):
    files.loose(tmp_path, stem)
    found = recognise([str(tmp_path)])
    scene = only(found.scenes.s2)
    assert (scene.date, scene.mask_kind, found.kind) == (JUNE_12, SCL, "rasters")
    assert {b: r.path for b, r in scene.bands.items()} == {
        band: str(tmp_path / (stem.format(band) + ".tif")) for band in S2_BANDS
    }
    assert scene.mask.path == str(tmp_path / (stem.format("SCL") + ".tif"))
    assert (found.questions, scene.unit) == (("s2_unit",), "")
    assert found.unrecognised == ()


def test_colours_count_as_bands_and_native_resolution_wins(tmp_path):
    for name in files.EARTH_SEARCH.values():
        files.raster(tmp_path / "20240612" / f"{name}.tif")
    for band in S2_BANDS:
        for resolution in (10, 20, 60):
            files.raster(tmp_path / f"R{resolution}m" / f"S2_20240615_{band}.tif")
    files.raster(tmp_path / "R60m" / "S2_20240615_B01.tif")
    found = recognise([str(tmp_path)])
    first, second = found.scenes.s2
    assert first.bands["B8A"].path.endswith("/nir08.tif")
    assert first.name == "20240612"
    assert second.bands["B04"].path.endswith("R10m/S2_20240615_B04.tif")
    assert second.bands["B05"].path.endswith("R20m/S2_20240615_B05.tif")


def test_missing_bands_are_named(tmp_path):
    files.loose(tmp_path / "a", "S2_20240612_{}", without=("B05", "B06", "B07"))
    for band in files.GOT_10_M:
        files.raster(tmp_path / "b" / f"S2_20240615_{band}.tif")
    found = recognise([str(tmp_path)])
    assert found.scenes.s2 == ()
    assert {each.reason for each in found.unrecognised} == {
        "lacks B05, B06, B07",
        "only B04, B02, B03, B08 of the ten bands that are needed",
    }


def test_masks_in_a_folder_of_their_own_are_given_to_their_date(tmp_path):
    for day in ("2024-06-12", "2024-06-15"):
        files.loose(tmp_path / "images", f"S2_{day}_{{}}", scl=False)
    clouds = np.zeros((files.SIZE, files.SIZE))
    clouds[:4] = 1
    files.raster(tmp_path / "masks" / "cloudmask_2024-06-12.tif", clouds, dtype="uint8")
    files.raster(tmp_path / "masks" / "cloudmask_2024-06-20.tif", clouds, dtype="uint8")
    found = recognise([str(tmp_path)])
    first, second = found.scenes.s2
    assert first.mask == Raster(str(tmp_path / "masks" / "cloudmask_2024-06-12.tif"))
    assert (first.mask_kind, second.mask, second.mask_kind) == ("", None, "")
    assert "mask" in found.questions
    assert reasons(found) == {"cloudmask_2024-06-20.tif": "a mask without the image it belongs to"}


@pytest.mark.parametrize("meaning", [CLOUDY, CLEAR])
def test_the_brighter_side_of_a_mask_is_suggested_as_cloud(tmp_path, meaning):
    ground = files.noisy(300, 600)
    ground[:4] = 6000
    files.loose(tmp_path, "S2_20240612_{}", ground, scl=False)
    is_cloud = (ground == 6000).astype("uint8")
    files.raster(tmp_path / "S2_20240612_mask.tif", is_cloud if meaning == CLOUDY else 1 - is_cloud,
                 dtype="uint8")  # fmt: skip
    found = recognise([str(tmp_path)])
    assert only(found.scenes.s2).mask_kind == "", "never guessed silently"
    assert found.suggestions["mask"] == meaning
    assert "brighter" in found.suggestions["mask.why"]


def test_a_mask_with_values_of_scene_classes_is_suggested_as_such(tmp_path):
    files.loose(tmp_path, "S2_20240612_{}", scl=False)
    values = np.arange(files.SIZE * files.SIZE).reshape(files.SIZE, files.SIZE) % 12
    files.raster(tmp_path / "S2_20240612_mask.tif", values, dtype="uint8")
    assert recognise([str(tmp_path)]).suggestions["mask"] == SCL


# --- several bands per file


def test_one_file_per_date_by_its_band_names(tmp_path):
    names = [*files.BY_WAVELENGTH, "SCL"]
    files.raster(tmp_path / "S2_2024-06-12.tif", names=names)
    found = recognise([str(tmp_path)])
    scene = only(found.scenes.s2)
    assert {band: raster.band for band, raster in scene.bands.items()} == {
        band: names.index(band) + 1 for band in S2_BANDS
    }
    assert (scene.mask.band, scene.mask_kind, scene.name) == (11, SCL, "S2_2024-06-12")
    assert found.questions == ("s2_unit",)


def test_earth_engine_exports(tmp_path):
    index = "20240612T105619_20240612T110021_T31UFT"
    folder = tmp_path / "S2_SR_HARMONIZED"
    values = np.stack([files.noisy(200, 3000, seed=i) for i in range(len(files.GEE_BANDS))])
    files.raster(folder / f"{index}.tif", values, names=files.GEE_BANDS)
    radar = "S1A_IW_GRDH_1SDV_20240601T172134_20240601T172159_054124_0694E1_BBF5"
    values = np.stack([files.noisy(-14, -8), files.noisy(-20, -14), files.noisy(35, 40)])
    files.raster(tmp_path / f"{radar}.tif", values, names=("VV", "VH", "angle"), dtype="float32")
    found = recognise([str(tmp_path)])
    scene, sar = only(found.scenes.s2), only(found.scenes.s1)
    assert (scene.date, scene.tile, scene.datatake) == (JUNE_12, "31UFT", "20240612T105619")
    assert scene.bands["B8A"].band == files.GEE_BANDS.index("B8A") + 1
    assert (scene.mask_kind, scene.mask.band) == (SCL, files.GEE_BANDS.index("SCL") + 1)
    assert (sar.vv.band, sar.vh.band, sar.product) == (1, 2, "grd")
    assert (found.questions, scene.unit, sar.unit) == (("s2_unit", "s1_unit"), "", "")
    assert (found.suggestions["s2_unit"], found.suggestions["s1_unit"]) == (DN, DECIBEL)


def test_bands_without_names_are_asked_for(tmp_path):
    for day in (12, 15):
        files.raster(tmp_path / f"S2_202406{day}.tif", np.full((10, 8, 8), 500))
    names = [f"B{number}" for number in range(1, 13)]  # their numbers, or B01 to B12 without B8A?
    files.raster(tmp_path / "other" / "S2_20240620.tif", names=names)
    found = recognise([str(tmp_path / f"S2_202406{day}.tif") for day in (12, 15)])
    assert found.scenes.s2 == ()
    assert [scene.date.day for scene in found.waiting.s2] == [12, 15]
    assert set(found.waiting.s2[0].bands) == {str(number) for number in range(1, 11)}
    assert found.questions[0] == "bands"
    assert found.suggestions["bands"].startswith("B02=1 B03=2 B04=3")
    assert "wavelength" in found.suggestions["bands.why"]
    several = recognise([str(tmp_path)])
    assert len(several.waiting.s2) == 3
    assert "bands" not in several.suggestions


def test_two_files_of_one_date_complement_each_other(tmp_path):
    rest = [band for band in S2_BANDS if band not in files.GOT_10_M]
    files.raster(tmp_path / "S2_20240612_at10.tif", names=files.GOT_10_M)
    files.raster(tmp_path / "S2_20240612_at20.tif", names=[*rest, "SCL"], pixel=20)
    scene = only(recognise([str(tmp_path)]).scenes.s2)
    assert scene.lacking == ()
    assert scene.bands["B11"] == Raster(
        str(tmp_path / "S2_20240612_at20.tif"), rest.index("B11") + 1
    )
    assert scene.mask.band == len(rest) + 1


def test_a_place_called_red_is_no_band(tmp_path):
    files.raster(tmp_path / "red_river_20240612.tif", names=files.BY_WAVELENGTH)
    assert only(recognise([str(tmp_path)]).scenes.s2).lacking == ()


def test_what_is_none_of_it_is_named_with_a_reason(tmp_path):
    files.raster(tmp_path / "pan_20240612.tif")
    files.raster(tmp_path / "ortho_20240612.tif", np.zeros((4, 9, 9)), dtype="uint8")
    files.raster(tmp_path / "S2_20240612.tif", names=files.BY_WAVELENGTH, epsg=0)
    files.raster(tmp_path / "stack.tif", names=("2024-06-12_B4", "2024-06-17_B4"))
    files.raster(tmp_path / "lidar_20240612.tif", names=("height", "intensity"))
    files.raster(tmp_path / "LC08_L2SP_198024_20240612_20240620_02_T1_SR_B4.tif")
    files.raster(tmp_path / "slc_20240612_VV.tif", dtype="complex64")
    files.raster(tmp_path / "slc_20240612_VH.tif", dtype="complex64")
    files.raster(tmp_path / "S1_20240612_HH.tif")
    files.raster(tmp_path / "grd_20240612_VV.tif", epsg=0)
    files.raster(tmp_path / "grd_20240612_VH.tif", epsg=0)
    (tmp_path / "S1_20240612.nc").write_bytes(b"CDF")
    found = recognise([str(tmp_path)])
    assert found.kind == "nothing"
    told = reasons(found)
    for name, words in (
        ("pan_20240612.tif", "one band (panchromatic?)"),
        ("ortho_20240612.tif", "4 bands without names"),
        ("S2_20240612.tif", "no coordinate system"),
        ("stack.tif", "several dates in one file"),
        ("lidar_20240612.tif", "its bands are height, intensity"),
        ("LC08_L2SP_198024_20240612_20240620_02_T1_SR_B4.tif", "Landsat"),
        ("slc_20240612_VV.tif", "SLC"),
        ("S1_20240612_HH.tif", "polarisation HH"),
        ("grd_20240612_VV.tif", "no coordinate system"),
        ("S1_20240612.nc", "nc is not read"),
    ):
        assert words in told.pop(name)
    assert told == {}


# --- dates


def test_trap_10_the_date_is_that_of_the_acquisition_not_of_the_processing(tmp_path):
    bands = files.BY_WAVELENGTH
    files.raster(
        tmp_path / "S2B_MSIL2A_20240612T105619_N0510_R094_T31UFT_20240701T134551.tif", names=bands
    )
    files.raster(tmp_path / "acquired.tif", names=bands, tags={"ACQUISITION_DATE": "2024-06-13"})
    files.raster(
        tmp_path / "tz.tif", names=bands, tags={"SENSING_TIME": "2024-06-14T01:00:00+03:00"}
    )
    files.raster(tmp_path / "two_20240612_20240701.tif", names=bands)
    files.raster(
        tmp_path / "made.tif", names=bands, tags={"TIFFTAG_DATETIME": "2024:08:01 10:00:00"}
    )
    files.raster(tmp_path / "silent.tif", names=bands)
    found = recognise([str(tmp_path)])
    assert [scene.date.isoformat() for scene in found.scenes.s2] == [
        "2024-06-12", "2024-06-13", "2024-06-13"
    ]  # fmt: skip
    assert {scene.name for scene in found.waiting.s2} == {"two_20240612_20240701", "made", "silent"}
    assert found.questions[0] == "dates"
    assert found.suggestions["dates/two_20240612_20240701"] == "2024-06-12"
    assert found.suggestions["dates/made"] == "2024-08-01"
    assert "dates/silent" not in found.suggestions


def test_trap_35_scenes_are_in_the_order_of_their_dates_over_new_year(tmp_path):
    for stem in ("a_20250103", "b_20241130", "c_20241231", "d_20250101"):
        files.raster(tmp_path / f"{stem}.tif", names=files.BY_WAVELENGTH)
        files.pair(tmp_path / "s1", f"{stem}_ascending_{{}}")
    found = recognise([str(tmp_path)])
    for scenes in (found.scenes.s2, found.scenes.s1):
        assert [scene.date.isoformat() for scene in scenes] == [
            "2024-11-30", "2024-12-31", "2025-01-01", "2025-01-03"
        ]  # fmt: skip


# --- units


def unit_of(tmp_path, low, high, day="20240612", dtype="uint16"):
    files.loose(tmp_path, f"S2_{day}_{{}}", files.noisy(low, high), dtype=dtype)
    found = recognise([str(tmp_path)])
    assert {scene.unit for scene in found.scenes.s2} == {""}, "never guessed silently"
    return found.suggestions


@pytest.mark.parametrize(
    ("low", "high", "dtype", "unit"),
    [
        (200, 3000, "uint16", DN),
        (1180, 4000, "uint16", DN_OFFSET),
        (0.02, 0.4, "float32", REFLECTANCE),
        (200, 3000, "float32", DN),
    ],
)
def test_trap_08_the_unit_is_suggested_from_the_darkest_pixels(tmp_path, low, high, dtype, unit):
    found = unit_of(tmp_path, low, high, dtype=dtype)
    assert found["s2_unit"] == unit
    assert found["s2_unit.why"]


def test_trap_08_a_baseline_change_within_the_files_is_noticed(tmp_path):
    unit_of(tmp_path / "a", 200, 3000, "20220110")
    unit_of(tmp_path / "b", 1200, 4000, "20220301")
    found = recognise([str(tmp_path)])
    assert found.suggestions["s2_unit"] == "dn, from 2022-01-26 dn+1000"
    assert "before 2022-01-25" in found.suggestions["s2_unit.why"]


def test_names_that_contradict_the_pixels_are_told(tmp_path):
    files.loose(tmp_path, "S2B_31UFT_20240612_0_L2A/{}", files.noisy(1200, 4000))
    found = recognise([str(tmp_path)])
    assert found.suggestions["s2_unit"] == DN_OFFSET
    assert "the names are those of dn data" in found.suggestions["s2_unit.why"]


@pytest.mark.parametrize(
    ("values", "dtype", "unit"),
    [
        ((0.07, 0.015), "float32", POWER),
        ((0.27, 0.13), "float32", AMPLITUDE),
        ((-11, -17), "float32", DECIBEL),
        ((5500, 3200), "int16", CODE),
        ((60_000, 30_000), "uint16", None),
    ],
)
def test_the_unit_of_radar_is_suggested_from_its_median(tmp_path, values, dtype, unit):
    files.pair(tmp_path, "20240612_asc_{}", values, dtype=dtype)
    found = recognise([str(tmp_path)])
    scene = only(found.scenes.s1)
    assert (scene.unit, scene.orbit, found.questions) == ("", ASCENDING, ("s1_unit",))
    assert found.suggestions.get("s1_unit") == unit
    assert "the median of VV is" in found.suggestions["s1_unit.why"]


def test_several_units_are_not_suggested_as_one(tmp_path):
    files.pair(tmp_path, "20240612_asc_{}", (0.07, 0.015))
    files.pair(tmp_path, "20240613_asc_{}", (-11, -17))
    files.loose(tmp_path, "S2_20240612_{}", files.noisy(200, 3000))
    files.loose(tmp_path, "S2_20240615_{}", files.noisy(0.02, 0.3), dtype="float32")
    found = recognise([str(tmp_path)]).suggestions
    assert "s1_unit" not in found
    assert "several units" in found["s1_unit.why"]
    assert "s2_unit" not in found
    assert "others digital numbers" in found["s2_unit.why"]


# --- radar


@pytest.mark.parametrize(
    ("stem", "tags", "orbit"),
    [
        ("2024-06-12_{}_descending", None, DESCENDING),
        ("ASC/20240612_{}", None, ASCENDING),
        ("{}/20240612_DESC", None, DESCENDING),
        ("20240612_{}", {"ORBIT_PASS_DIRECTION": "Ascending"}, ASCENDING),
        ("20240612_{}", None, ""),
        (S1_RTC.format("055114") + "/measurement/iw-{}.rtc", None, DESCENDING),  # 06 h in Antwerp
        (S1_RTC.format("172134") + "/measurement/iw-{}.rtc", None, ASCENDING),
        (S1_RTC.format("120000") + "_{}", None, ""),
    ],
)
def test_pairs_of_polarisations_and_their_orbit(tmp_path, stem, tags, orbit):
    files.pair(tmp_path, stem, tags=tags)
    found = recognise([str(tmp_path)])
    scene = only(found.scenes.s1)
    assert scene.orbit == orbit
    assert ("orbit" in found.questions) == (orbit == "")
    assert scene.vv.path == str(tmp_path / (stem.format("VV") + ".tif"))
    assert scene.vh.path == str(tmp_path / (stem.format("VH") + ".tif"))
    assert scene.product == ("rtc" if "rtc" in stem else "")
    assert scene.name == (stem.partition("/")[0] if "/measurement" in stem else scene.name)


def test_products_whose_names_define_the_unit_need_no_question(tmp_path):
    files.pair(tmp_path, "S1A_IW_20240612T055112_DVP_RTC20_G_gpunem_1A2B_{}")
    files.pair(tmp_path, "OPERA_L2_RTC-S1_T168-359429-IW2_20240613T172415Z_20240620T055805Z_S1A_30_v1.0_{}",
               tags={"ORBIT_PASS_DIRECTION": "ascending"})  # fmt: skip
    found = recognise([str(tmp_path)])
    assert [(s.unit, s.product, s.orbit) for s in found.scenes.s1] == [
        (POWER, "rtc", DESCENDING), (POWER, "rtc", ASCENDING)
    ]  # fmt: skip
    assert found.questions == ()


@pytest.mark.parametrize(
    ("stem", "names", "product"),
    [
        (S1_RTC.format("055114"), ("VV", "VH"), "rtc"),
        (
            "S1A_IW_GRDH_1SDV_20240601T055114_20240601T055139_054124_0694E1_BBF5",
            ("VV", "VH"),
            "grd",
        ),
        ("S1_20240601_sigma0", ("VV", "VH"), "grd"),
        ("S1_20240601", ("Sigma0_VV_db", "Sigma0_VH_db"), "grd"),
        ("S1_20240601", ("Gamma0_VV", "Gamma0_VH"), ""),
    ],
)
def test_trap_04_what_is_not_terrain_corrected_is_flagged(tmp_path, stem, names, product):
    values = np.stack([files.noisy(0.05, 0.1), files.noisy(0.01, 0.02)])
    files.raster(tmp_path / f"{stem}.tif", values, names=names, dtype="float32")
    scene = only(recognise([str(tmp_path)]).scenes.s1)
    assert (scene.product, scene.vv.band, scene.vh.band) == (product, 1, 2)


def test_one_polarisation_alone_is_refused(tmp_path):
    files.raster(tmp_path / "20240612_asc_VV.tif", dtype="float32")
    files.raster(tmp_path / "20240613_asc_VH.tif", dtype="float32")
    assert reasons(recognise([str(tmp_path)])) == {
        "20240612_asc_VV.tif": "VV without VH",
        "20240613_asc_VH.tif": "VH without VV",
    }


def test_trap_29_copies_in_a_newer_processing_replace_older_ones(tmp_path):
    for made in ("20240612T134551", "20250301T101010"):
        folder = f"S2B_MSIL2A_20240612T105619_R094_T31UFT_{made}"
        files.loose(tmp_path / folder, "T31UFT_20240612T105619_{}_10m")
    found = recognise([str(tmp_path)])
    assert "20250301T101010" in only(found.scenes.s2).bands["B04"].path
    assert "newer processing" in only(found.unrecognised).reason
