# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What names tell, and what they must not be taken to tell."""

import datetime as dt

import pytest

from tessera_plugin.io.dpixels import recognise_names as names
from tessera_plugin.io.dpixels.scenes import AMPLITUDE, DECIBEL, POWER

JUNE_12 = dt.date(2024, 6, 12)


@pytest.mark.parametrize(
    "name",
    [
        "S2B_MSIL2A_20240612T105619_N0510_R094_T31UFT_20240701T134551.SAFE",  # processed in July
        "S2B_MSIL2A_20240612T105619_R094_T31UFT_20250112T134551",
        "T31UFT_20240612T105619_B04_10m",
        "L2A_T31UFT_20240612T105619_B04_10m",
        "20240612T105619_20240613T010203_T31UFT",  # Earth Engine
        "S2B_31UFT_20240612_0_L2A",
        "S2B_T31UFT_20240612T105621_L2A",
        "SENTINEL2B_20240612-105621-457_L2A_T31UFT_C_V3-1",
        "S2B2A_20240612_094_31UFT_BOA_10",
        "S1A_IW_GRDH_1SDV_20240612T235955_20240613T000020_054124_0694E1_BBF5",
        "s1a-iw-grd-vv-20240612t235955-20240613t000020-054124-0694e1-001",
        "OPERA_L2_RTC-S1_T168-359429-IW2_20240612T052415Z_20240620T055805Z_S1A_30_v1.0_VV",
        "S1A_IW_20240612T055112_DVP_RTC20_G_gpunem_1A2B_VV",
    ],
)
def test_trap_10_product_names_give_the_day_of_acquisition(name):
    assert names.product(name).date == JUNE_12


def test_product_names_give_their_parts():
    found = names.product("S2B_MSIL2A_20240612T105619_N0510_R094_T31UFT_20240701T134551")
    assert (found.tile, found.baseline, found.datatake) == ("31UFT", "05.10", "20240612T105619")
    assert found.processed == dt.datetime(2024, 7, 1, 13, 45, 51, tzinfo=dt.timezone.utc)
    assert names.product("S2A_5QKB_20200101_0_L2A").tile == "05QKB"
    for name, level, unit in (
        ("OPERA_L2_RTC-S1_T168-359429-IW2_20240612T052415Z_20240620T055805Z_S1A_30_v1.0", "rtc", POWER),
        ("S1A_IW_20240612T055112_DVP_RTC20_G_gpunem_1A2B", "rtc", POWER),
        ("S1A_IW_20240612T055112_DVP_RTC20_G_gaunem_1A2B", "rtc", AMPLITUDE),
        ("S1A_IW_20240612T055112_DVP_RTC20_G_sdunem_1A2B", "grd", DECIBEL),  # sigma-nought
        ("S1A_IW_GRDH_1SDV_20240601T055114_20240601T055139_054124_0694E1_BBF5", "grd", ""),
        ("S1A_IW_GRDH_1SDV_20240601T055114_20240601T055139_054124_0694E1_rtc", "rtc", ""),
        ("S1A_IW_SLC__1SDV_20240601T055114_20240601T055139_054124_0694E1_BBF5", "slc", ""),
    ):  # fmt: skip
        assert (names.product(name).level, names.product(name).unit) == (level, unit)
    assert names.product("field_survey_20240612") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-06-12_mosaic", [JUNE_12]),
        ("S2_20240612_clip", [JUNE_12]),
        ("s2.2024.06.12.v2", [JUNE_12]),
        ("data/2024/06/12", [JUNE_12]),
        ("31/U/FT/2024/6/12/0", [JUNE_12]),
        ("20240612105619", [JUNE_12]),
        ("20240612T105619", [JUNE_12]),
        ("2024-06-12_to_2024-07-01", [JUNE_12, dt.date(2024, 7, 1)]),
        ("20240612_20240612", [JUNE_12]),
        ("20240230", []),  # no such day
        ("19990612", []),  # before any Sentinel
        ("29990612", []),
        ("tile_120240612_9", []),  # a longer number
        ("2024-06_12", []),
    ],
)
def test_dates_in_names(text, expected):
    assert list(names.dates(text)) == expected


def test_times_are_read_as_utc():
    for text, expected in (
        ("2024-06-12T23:30:00-02:00", (13, 1, 30)),
        ("2024-06-12T10:56:19.024000Z", (12, 10, 56)),
        ("2024-06-12T10:56:19.1234567Z", (12, 10, 56)),
        ("20240612T105619Z", (12, 10, 56)),
        ("2024-06-12", (12, 0, 0)),
    ):
        found = names.moment(text)
        assert (found.day, found.hour, found.minute) == expected
        assert found.utcoffset() == dt.timedelta(0)
    for text in ("", "yesterday", "2024-13-12", "20241312T000000"):
        assert names.moment(text) is None


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B04", "B04"), ("b4", "B04"), ("red", "B04"), ("T31UFT_20240612T105619_B8A_20m", "B8A"),
        ("Red edge 1", "B05"), ("REDEDGE_2", "B06"), ("re3", "B07"), ("nir08", "B8A"),
        ("Narrow NIR", "B8A"), ("nir", "B08"), ("SWIR 1", "B11"), ("swir22", "B12"),
        ("B4, central wavelength 665 nm", "B04"), ("infrared", ""), ("NIR_20240612", "B08"), ("red_20240612_2", "B04"), ("nir_20m", "B08"),
        ("swir_1_20240612", "B11"), ("swir_16", "B11"), ("nir_08", "B8A"), ("red_edge_1", "B05"), ("B1", ""), ("B4 B3", ""),
    ],
)  # fmt: skip
def test_bands_by_their_names(text, band):
    assert names.band(text) == band


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("LC08_L2SP_198024_20240612_20240620_02_T1_SR_B4.TIF", "Landsat"),
        ("LE07_L1TP_198024_20240612_SR_B3.tif", "Landsat"),
        ("HLS.S30.T31UFT.2024164T105619.v2.0.B04.tif", "HLS"),
        ("MOD09GA.A2024164.tif", "MODIS"),
        ("S2B_MSIL1C_20240612T105619_N0510_R094_T31UFT_20240612T134551.tif", "Level 1C"),
        ("S1A_IW_SLC__1SDV_20240601T055114_20240601T055139_054124_0694E1_BBF5.tif", "SLC"),
        ("S2B_31UFT_20240612_0_L1C.tif", "Level 1C"),
        ("T31UFT_20240612T105619_B04_10m.tif", ""),
        ("ml04_20240612_B04.tif", ""),
    ],
)
def test_what_can_not_be_used_is_told_by_its_name(name, word):
    reason = names.refusal(name, names.product(name))
    assert word in reason
    assert bool(word) == bool(reason)
