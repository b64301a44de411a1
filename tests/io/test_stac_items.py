# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Items of catalogues as facts; offsets, baselines and doubles are where others went wrong."""

import copy
import datetime as dt

import pytest

from tessera_plugin.io.dpixels.scenes import DN, DN_OFFSET, S2_BANDS
from tessera_plugin.io.stac.catalogues import (
    CATALOGUES,
    EARTH_SEARCH,
    PLANETARY_COMPUTER,
    addresses,
)
from tessera_plugin.io.stac.items import (
    Unfit,
    baseline_of,
    moment_of,
    s1_item,
    s2_item,
    unit_of,
    without_doubles,
)

PC = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/31/U/FT/x/B04.tif"
COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/31/U/FT/x/B04.tif"
PATH_STYLE = "https://s3.us-west-2.amazonaws.com/sentinel-cogs/sentinel-s2-l2a-cogs/31/B04.tif"
ORIGINAL = "https://sentinel-s2-l2a.s3.eu-central-1.amazonaws.com/tiles/31/U/FT/B04.tif"


def feature(catalogue=PLANETARY_COMPUTER, root=PC, **properties):
    names = CATALOGUES[catalogue].assets
    return {
        "id": "S2A_X",
        "properties": {
            "datetime": "2023-07-01T10:46:30.262000Z",
            "s2:datatake_id": "GS2A_20230701T103631_041904_N05.09",
            "s2:datastrip_id": "S2A_OPER_MSI_L2A_DS_2APS_20230701T200058_S20230701T104159_N05.09",
            "s2:mgrs_tile": "31UFU",
            "eo:cloud_cover": 12,
            **properties,
        },
        "assets": {names[name]: {"href": root.replace("B04", name)} for name in ("SCL", *S2_BANDS)},
    }


def read(found, catalogue=PLANETARY_COMPUTER):
    return s2_item(found, CATALOGUES[catalogue], catalogue)


# --- offsets (trap 8: never twice, never not)


@pytest.mark.parametrize(
    ("url", "baseline", "unit"),
    [
        (PC, "03.01", DN),
        (PC, "02.12", DN),
        (PC, "04.00", DN_OFFSET),
        (PC, "05.11", DN_OFFSET),
        (COGS, "05.11", DN),
        (COGS, "03.01", DN),
        (COGS, "", DN),
        (PATH_STYLE, "05.09", DN),
        (ORIGINAL, "05.09", DN_OFFSET),
        (ORIGINAL, "03.01", DN),
    ],
)
def test_the_offset_is_judged_by_the_bucket_then_by_the_baseline(url, baseline, unit):
    assert unit_of(url, baseline) == unit


@pytest.mark.parametrize("baseline", ["", "99.99"])
def test_a_file_of_unknown_baseline_is_not_guessed_at(baseline):
    with pytest.raises(Unfit, match="baseline"):
        unit_of(PC, baseline)


@pytest.mark.parametrize("said", [True, False])
def test_what_the_item_says_of_the_offset_does_not_count(said):
    there = feature(EARTH_SEARCH, COGS, **{"earthsearch:boa_offset_applied": said})
    assert read(there, EARTH_SEARCH).unit == DN
    there = feature(EARTH_SEARCH, ORIGINAL, **{"earthsearch:boa_offset_applied": said})
    assert read(there, EARTH_SEARCH).unit == DN_OFFSET


def test_bands_of_two_kinds_are_refused():
    there = feature(EARTH_SEARCH, COGS)
    there["assets"]["red"]["href"] = ORIGINAL
    with pytest.raises(Unfit, match="offset"):
        read(there, EARTH_SEARCH)


# --- facts


@pytest.mark.parametrize(
    ("facts", "baseline"),
    [
        ({"s2:datatake_id": "GS2A_20230701T103631_041904_N05.09"}, "05.09"),
        ({"s2:product_uri": "S2A_MSIL2A_20230108T105321_N0400_R051_T31UFT_20.SAFE"}, "04.00"),
        ({"s2:processing_baseline": "5.09"}, "05.09"),
        ({"s2:processing_baseline": 5.1}, "05.10"),
        ({"s2:datatake_id": "GS2A_20170126T105321_008342_N00.01"}, "00.01"),
        ({}, ""),
    ],
)
def test_the_baseline_is_found_wherever_it_is_told(facts, baseline):
    assert baseline_of(facts) == baseline


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2023-12-31T23:59:59.999Z", dt.date(2023, 12, 31)),
        ("2023-12-31T23:59:59-02:00", dt.date(2024, 1, 1)),
        ("2024-01-01T00:30:00+01:00", dt.date(2023, 12, 31)),
        ("2024-02-29T10:00:00", dt.date(2024, 2, 29)),
    ],
)
def test_the_date_is_that_of_utc(text, day):
    assert moment_of({"datetime": text}).date() == day


def test_an_image_without_a_moment_of_its_own_has_that_of_its_start():
    facts = {"datetime": None, "start_datetime": "2023-05-01T10:00:00Z"}
    assert moment_of(facts).isoformat() == "2023-05-01T10:00:00+00:00"
    with pytest.raises(Unfit):
        moment_of({"datetime": "yesterday"})
    with pytest.raises(Unfit):
        moment_of({"datetime": "2023-02-30T10:00:00Z"})


def test_an_item_has_what_an_image_needs():
    item = read(feature())
    assert (item.id, item.tile, item.baseline) == ("S2A_X", "31UFU", "05.09")
    assert item.datatake == "GS2A_20230701T103631_041904"
    assert item.strip == "20230701T104159"
    assert (item.unit, item.cloud) == (DN_OFFSET, 12.0)
    assert set(item.files) == {"SCL", *S2_BANDS}
    assert item.files["B8A"].endswith("/B8A.tif")


@pytest.mark.parametrize(
    "facts",
    [{"grid:code": "MGRS-1CCV"}, {"s2:mgrs_tile": "01CCV"},
     {"mgrs:utm_zone": 1, "mgrs:latitude_band": "C", "mgrs:grid_square": "CV"}],
)  # fmt: skip
def test_a_tile_has_one_name(facts):
    assert read(feature(**{"s2:mgrs_tile": None, **facts})).tile == "01CCV"


def test_bands_are_told_apart_in_both_catalogues():
    pc, search = CATALOGUES[PLANETARY_COMPUTER].assets, CATALOGUES[EARTH_SEARCH].assets
    assert [pc[name] for name in S2_BANDS] == list(S2_BANDS)
    assert [search[name] for name in S2_BANDS] == [
        "red", "blue", "green", "nir", "nir08",
        "rededge1", "rededge2", "rededge3", "swir16", "swir22",
    ]  # fmt: skip
    assert search["SCL"] == "scl"


def test_what_lacks_something_is_named():
    there = feature()
    del there["assets"]["B8A"]
    with pytest.raises(Unfit, match="it lacks B8A"):
        read(there)
    there = feature(root="s3://sentinel-s2-l2a/tiles/B04.jp2")
    with pytest.raises(Unfit, match="HTTP"):
        read(there)
    for broken in ({}, {"id": "x"}, {"id": "x", "properties": []}, {"id": 3, "properties": {}}):
        with pytest.raises(Unfit):
            read(broken)


def radar(**changes):
    assets = {"vv": {"href": PC}, "vh": {"href": PC}}
    facts = {"datetime": "2023-05-02T05:00:00Z", "sat:orbit_state": "Descending"}
    return {"id": "S1A", "properties": facts, "assets": assets, **changes}


def test_a_radar_item_needs_both_polarisations_and_its_orbit():
    catalogue = CATALOGUES[PLANETARY_COMPUTER]
    assert s1_item(radar(), catalogue, PLANETARY_COMPUTER).orbit == "descending"
    with pytest.raises(Unfit, match="it lacks vv, vh"):
        s1_item(radar(assets={"hh": {"href": PC}}), catalogue, PLANETARY_COMPUTER)
    with pytest.raises(Unfit, match="it lacks vh"):
        s1_item(radar(assets={"vv": {"href": PC}}), catalogue, PLANETARY_COMPUTER)
    facts = {"datetime": "2023-05-02T05:00:00Z"}
    with pytest.raises(Unfit, match="orbit"):
        s1_item(radar(properties=facts), catalogue, PLANETARY_COMPUTER)


# --- doubles (trap 29)


def processed(name, baseline, made="2023-07-01T20:00:00Z", strip="20230701T104159", **changes):
    facts = {
        "s2:datatake_id": f"GS2A_20230701T103631_041904_N{baseline}",
        "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_20230701T200058_S{strip}_N{baseline}",
        "s2:generation_time": made,
        **changes,
    }
    found = copy.deepcopy(feature(**facts))
    found["id"] = name
    return read(found)


def names(items):
    return sorted(item.id for item in items)


def test_of_several_processings_only_the_highest_baseline_counts():
    items = [processed("a", "04.00"), processed("b", "05.10"), processed("c", "02.14")]
    used, older = without_doubles(items)
    assert names(used) == ["b"]
    assert names(older) == ["a", "c"]


def test_of_the_same_baseline_the_latest_counts():
    items = [processed("a", "05.10", "2023-08-02T00:00:00Z"), processed("b", "05.10")]
    assert names(without_doubles(items)[0]) == ["a"]


def test_an_older_processing_of_another_strip_is_a_double_too():
    items = [processed("a", "04.00", strip="20230701T104100"), processed("b", "05.10")]
    assert names(without_doubles(items)[0]) == ["b"]


def test_other_tiles_and_datatakes_are_no_doubles():
    items = [
        processed("a", "05.10"),
        processed("b", "04.00", **{"s2:mgrs_tile": "31UFT"}),
        processed("c", "04.00", **{"s2:datatake_id": "GS2B_20230701T103631_041904_N04.00"}),
    ]
    used, older = without_doubles(items)
    assert (names(used), older) == (["a", "b", "c"], [])


def test_strips_that_meet_in_a_tile_complete_each_other():
    used, _ = without_doubles(
        [processed("a", "05.10"), processed("b", "05.10", strip="20230701T104500")]
    )
    assert names(used) == ["a", "b"]
    assert len({item.datatake for item in used}) == 2


def test_items_that_do_not_tell_their_datatake_stay():
    items = [processed(name, "05.10", **{"s2:datatake_id": "", "s2:processing_baseline": "05.10"})
             for name in "ab"]  # fmt: skip
    assert names(without_doubles(items)[0]) == ["a", "b"]


def test_all_addresses_are_told():
    told = addresses()
    assert len(told) == 6
    assert all(each.startswith("https://") for each in told)
