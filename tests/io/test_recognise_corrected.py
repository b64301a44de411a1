# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the person says becomes scenes without questions; nothing else changes."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.errors import SceneUnusable
from tessera_plugin.io.dpixels.recognise import (
    OFFSET_BY_DATE,
    Corrections,
    corrected,
    recognise,
)
from tessera_plugin.io.dpixels.scenes import (
    ASCENDING,
    CLOUDY,
    DECIBEL,
    DESCENDING,
    DN,
    DN_OFFSET,
    NO_MASK,
    POWER,
    REFLECTANCE,
    SCL,
    Raster,
)
from tests.io import recognise_files as files


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Everything that can be asked."""
    folder = tmp_path_factory.mktemp("mess")
    names = files.BY_WAVELENGTH
    for day in ("20220110", "20220125", "20220301"):
        files.raster(folder / f"S2_{day}.tif", names=names)
    files.raster(folder / "undated.tif", names=names)
    files.raster(folder / "S2_20220401.tif", np.full((11, 8, 8), 500))
    files.loose(folder, "S2_20220501_{}", scl=False)
    files.raster(folder / "S2_20220501_cloudmask.tif", 0, dtype="uint8")
    files.safe(folder)
    files.pair(folder, "20220601_{}")
    files.pair(folder, "20220602_asc_{}")
    files.raster(folder / "S1A_20220603_desc.tif", np.full((2, 8, 8), 0.07), dtype="float32")
    return recognise([str(folder)])


def scene(found, name):
    every = (*found.scenes.s2, *found.scenes.s1, *found.waiting.s2, *found.waiting.s1)
    return next(each for each in every if each.name == name)


ANSWERS = Corrections(
    s2_unit=OFFSET_BY_DATE, s1_unit=POWER, orbit=DESCENDING, mask_kind=CLOUDY,
    left_out=("S2_20220125",), dates=(("undated", "2022-02-15"),),
    bands=(*((band, n) for n, band in enumerate(files.BY_WAVELENGTH, 1)), ("SCL", 11), ("VV", 2), ("VH", 1)),
)  # fmt: skip


def test_all_questions_are_asked_and_all_answers_taken(found):
    assert found.questions == ("dates", "bands", "s2_unit", "mask", "s1_unit", "orbit")
    before = repr(found)
    done = corrected(found, ANSWERS)
    assert repr(found) == before, "corrections change nothing in place"
    assert (done.questions, done.suggestions) == ((), {})
    assert done.waiting.s2 == done.waiting.s1 == ()
    assert [(s.date.isoformat(), s.unit, s.mask_kind) for s in done.scenes.s2] == [
        ("2022-01-10", DN, NO_MASK),
        ("2022-02-15", DN_OFFSET, NO_MASK),
        ("2022-03-01", DN_OFFSET, NO_MASK),
        ("2022-04-01", DN_OFFSET, SCL),
        ("2022-05-01", DN_OFFSET, CLOUDY),
        ("2024-06-12", DN_OFFSET, SCL),
    ]
    assert [(s.date.day, s.orbit, s.unit) for s in done.scenes.s1] == [
        (1, DESCENDING, POWER),
        (2, ASCENDING, POWER),
        (3, DESCENDING, POWER),
    ]
    named = scene(done, "S2_20220401")
    assert named.lacking == ()
    assert named.mask == Raster(named.bands["B04"].path, 11)
    assert named.bands["B8A"].band == 8
    radar = scene(done, "S1A_20220603_desc")
    assert (radar.vv.band, radar.vh.band) == (2, 1)
    assert "S2_20220125" not in done.extents


def test_what_files_tell_is_not_overruled(found):
    done = corrected(found, Corrections(s2_unit=REFLECTANCE, mask_kind=NO_MASK, orbit=DESCENDING))
    safe = next(s for s in done.scenes.s2 if s.date.year == 2024)
    assert (safe.unit, safe.mask_kind) == (DN_OFFSET, SCL)
    assert scene(done, "S2_20220110").unit == REFLECTANCE
    assert scene(done, "S2_20220501").mask is None
    assert scene(done, "20220602_asc").orbit == ASCENDING


def test_single_scenes_can_be_overruled(found):
    done = corrected(
        found,
        Corrections(s2_unit=DN, s2_units=(("S2_20220301", DN_OFFSET),), orbit=DESCENDING,
                    orbits=(("20220601", ASCENDING), ("20220602_asc", DESCENDING)),
                    dates=(("S2_20220110", "2022-01-11"),)),
    )  # fmt: skip
    assert scene(done, "S2_20220110").date == dt.date(2022, 1, 11)
    assert (scene(done, "S2_20220110").unit, scene(done, "S2_20220301").unit) == (DN, DN_OFFSET)
    assert [scene(done, n).orbit for n in ("20220601", "20220602_asc")] == [ASCENDING, DESCENDING]
    assert "s2_unit" not in done.questions


def test_trap_08_a_scene_of_the_day_of_the_change_stays_asked(found):
    done = corrected(found, replace(ANSWERS, left_out=()))
    assert scene(done, "S2_20220125").unit == ""
    assert done.questions == ("s2_unit",)
    assert set(done.suggestions) <= {"s2_unit", "s2_unit.why"}
    told = replace(ANSWERS, left_out=(), s2_units=(("S2_20220125", DN_OFFSET),))
    assert corrected(found, told).questions == ()


def test_a_file_whose_bands_are_not_all_named_keeps_waiting(found):
    done = corrected(found, replace(ANSWERS, bands=(("B02", 1), ("B03", 99), ("VV", 1))))
    assert "S2_20220401" in {each.name for each in done.waiting.s2}
    assert "S1A_20220603_desc" in {each.name for each in done.waiting.s1}
    assert done.questions == ("bands",)


def test_nothing_said_changes_nothing(found):
    assert corrected(found, Corrections()) == found


@pytest.mark.parametrize(
    "by",
    [
        Corrections(left_out=("nobody",)),
        Corrections(orbits=(("nobody", ASCENDING),)),
        Corrections(dates=(("undated", "12 June"),)),
        Corrections(dates=(("undated", "1999-06-12"),)),
    ],
)
def test_corrections_of_nothing_are_told(found, by):
    with pytest.raises(SceneUnusable):
        corrected(found, by)


@pytest.mark.parametrize(
    "by", [Corrections(s2_unit="percent"), Corrections(orbit="up"), Corrections(s1_unit=CLOUDY)]
)
def test_words_that_mean_nothing_fail(found, by):
    with pytest.raises(ValueError, match="is none of"):
        corrected(found, by)


def test_corrected_scenes_can_be_corrected_again(found):
    once = corrected(found, Corrections(s1_unit=DECIBEL))
    assert "s1_unit" not in once.questions
    assert corrected(once, replace(ANSWERS, s1_unit="")).questions == ()
