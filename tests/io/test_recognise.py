# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts as they lie on people's disks, from d-pixel folders to STAC items."""

import datetime as dt
import json
import shutil

import pytest
from osgeo import gdal, osr

from tessera_plugin.io.dpixels.recognise import recognise
from tessera_plugin.io.dpixels.scenes import CODE, DN, DN_OFFSET, POWER, S2_BANDS, SCL
from tessera_plugin.progress import Cancelled
from tests.io import recognise_files as files

JUNE_12 = dt.date(2024, 6, 12)


@pytest.fixture(params=[False, True], ids=["errors", "exceptions"])
def gdal_mode(request):
    """Both of GDAL's modes: QGIS decides about them, not we."""
    modules = (gdal, osr)
    assert not any(module.GetUseExceptions() for module in modules)
    if request.param:
        for module in modules:
            module.UseExceptions()
    yield
    for module in reversed(modules):
        assert bool(module.GetUseExceptions()) == request.param, "the code switched it"
        if request.param:
            module.DontUseExceptions()


def only(scenes):
    (scene,) = scenes
    return scene


def reasons(found):
    return {each.path.rpartition("/")[2]: each.reason for each in found.unrecognised}


# --- d-pixel folders


def test_a_finished_tile_is_recognised_with_its_extent(tmp_path, gdal_mode):
    tile = files.dpixels(tmp_path / "retiled" / "600000_5699950_600040_5700000")
    found = recognise([str(tmp_path)])
    assert (found.kind, found.tiles, found.questions) == ("tile", (str(tile),), ())
    assert found.unrecognised == ()
    assert found.extent.west == pytest.approx(4.43, abs=0.02)
    assert found.extents[str(tile)] == found.extent


def test_a_tile_that_lacks_an_array_or_holds_another_one_is_refused(tmp_path):
    for name in ("half", "flat", "broken"):
        files.dpixels(tmp_path / name)
    (tmp_path / "half" / "masks.npy").unlink()
    shutil.copy(tmp_path / "flat" / "doys.npy", tmp_path / "flat" / "bands.npy")
    (tmp_path / "broken" / "sar_descending.npy").write_bytes(b"nothing of numpy")
    found = recognise([str(tmp_path)])
    assert found.kind == "nothing"
    assert reasons(found) == {
        "half": "a d-pixel folder without masks.npy",
        "flat": "bands.npy has 1 axes, not 4",
        "broken": "sar_descending.npy can't be read: it is not a .npy file",
    }


# --- upstream's intermediate files


def test_upstream_files_ask_for_nothing(tmp_path, gdal_mode):
    files.upstream(tmp_path, ("2024-06-12", "2024-06-15"),
                   (("2024-06-10", "ascending"), ("2024-06-10", "descending"), ("2024-06-11", "unknown")))  # fmt: skip
    found = recognise([str(tmp_path)])
    assert (found.kind, found.questions) == ("upstream", ())
    first, second = found.scenes.s2
    assert (first.date, second.date) == (JUNE_12, dt.date(2024, 6, 15))
    assert (first.unit, first.mask_kind) == (DN, SCL)
    assert first.mask.path.endswith("data_raw/scl/2024-06-12_mosaic.tiff")
    assert {
        band: raster.path.split("/")[-2] for band, raster in first.bands.items()
    } == files.UPSTREAM
    assert [scene.orbit for scene in found.scenes.s1] == ["ascending", "descending"]
    assert {scene.unit for scene in found.scenes.s1} == {CODE}
    assert found.scenes.s1[0].vv.path.endswith("2024-06-10_vv_ascending.tiff")
    assert found.scenes.s1[0].vh.path.endswith("2024-06-10_vh_ascending.tiff")
    unknown = "orbit direction unknown to the pipeline that made it"
    assert reasons(found) == {f"2024-06-11_{pol}_unknown.tiff": unknown for pol in ("vv", "vh")}


def test_upstream_dates_that_lack_a_band_or_vh_are_refused(tmp_path):
    files.upstream(tmp_path, sar=(("2024-06-10", "ascending"),))
    (tmp_path / "data_raw" / "nir08" / "2024-06-12_mosaic.tiff").unlink()
    (tmp_path / "data_sar_raw" / "2024-06-10_vh_ascending.tiff").unlink()
    found = recognise([str(tmp_path / "data_raw"), str(tmp_path / "data_sar_raw")])
    assert found.kind == "nothing"
    assert reasons(found) == {
        "2024-06-12_mosaic.tiff": "lacks B8A",
        "2024-06-10_vv_ascending.tiff": "VV without VH",
    }


def test_an_upstream_date_without_classes_asks_for_the_mask(tmp_path):
    files.upstream(tmp_path, ("2024-06-12", "2024-06-15"))
    (tmp_path / "data_raw" / "scl" / "2024-06-15_mosaic.tiff").unlink()
    found = recognise([str(tmp_path)])
    assert found.questions == ("mask",)
    assert found.suggestions["mask"] == "none"
    assert "1 scenes have no cloud mask" in found.suggestions["mask.why"]


# --- SAFE


def test_a_safe_folder_says_all(tmp_path):
    root = files.safe(tmp_path, suffix=".jp2")
    found = recognise([str(tmp_path)])
    assert (found.kind, found.questions, found.unrecognised) == ("safe", (), ())
    scene = only(found.scenes.s2)
    assert scene.name == "S2B_MSIL2A_20240612T105619_N0510_R094_T31UFT_20240612T134551"
    assert (scene.date, scene.baseline, scene.unit) == (JUNE_12, "05.10", DN_OFFSET)
    assert (scene.datatake, scene.tile, scene.mask_kind) == ("20240612T105619", "31UFT", SCL)
    for band in S2_BANDS:
        resolution = "10m" if band in files.GOT_10_M else "20m"
        assert scene.bands[band].path.endswith(f"_{band}_{resolution}.jp2"), "not the native one"
    assert found.extents[scene.name].north == pytest.approx(51.44, abs=0.02)
    # from any folder below, and as the single files of a project's layers
    below = root / "GRANULE"
    assert only(recognise([str(below)]).scenes.s2).baseline == "05.10"
    layers = [raster.path for raster in (*scene.bands.values(), scene.mask)]
    again = only(recognise(layers).scenes.s2)
    (root / "MTD_MSIL2A.xml").touch()
    layer = f"SENTINEL2_L2A:{root}/MTD_MSIL2A.xml:10m:EPSG_32631"
    assert only(recognise([layer]).scenes.s2) == scene
    assert (again.bands, again.baseline, again.unit) == (scene.bands, "05.10", DN_OFFSET)


def test_a_zipped_safe_folder_is_read_where_it_is(tmp_path):
    zip_path = files.zipped(files.safe(tmp_path))
    assert zip_path.name.endswith(".SAFE.zip")
    found = recognise([str(tmp_path)])
    scene = only(found.scenes.s2)
    assert (scene.unit, found.questions) == (DN_OFFSET, ())
    assert scene.bands["B04"].path.startswith(f"/vsizip/{zip_path}/")
    assert gdal.Open(scene.bands["B04"].path).ReadRaster()


def test_a_safe_folder_beside_its_zip_counts_once(tmp_path):
    files.zipped(files.safe(tmp_path))
    files.safe(tmp_path)
    found = recognise([str(tmp_path)])
    assert "/vsizip/" not in only(found.scenes.s2).bands["B04"].path
    assert "the same product as" in only(found.unrecognised).reason


def test_broken_zips_are_named(tmp_path):
    (tmp_path / f"{files.safe_name()}.SAFE.zip").write_bytes(b"PK\x03\x04 half a download")
    found = recognise([str(tmp_path)])
    assert "the zip file can't be read" in only(found.unrecognised).reason


@pytest.mark.parametrize(
    ("baseline", "offset", "metadata", "unit"),
    [
        ("0510", -1000, True, DN_OFFSET),
        ("0400", None, False, DN_OFFSET),  # by the name alone
        ("0301", None, True, DN),
        ("0214", None, False, DN),
        ("9999", -1000, True, DN_OFFSET),  # processed by the person
        ("9999", None, True, DN),
        ("9999", None, False, ""),
        ("0510", None, True, ""),  # name and metadata disagree
    ],
)
def test_trap_08_the_offset_is_that_of_the_product_not_of_its_date(
    tmp_path, baseline, offset, metadata, unit
):
    sensed = "20210612T105619"  # before the baseline came in: reprocessed products have the offset
    files.safe(tmp_path, files.safe_name(sensed, baseline), offset=offset, metadata=metadata)
    found = recognise([str(tmp_path)])
    assert only(found.scenes.s2).unit == unit
    assert ("s2_unit" in found.questions) == (unit == "")


def test_other_offsets_are_refused(tmp_path):
    files.safe(tmp_path, offset=-500)
    assert only(recognise([str(tmp_path)]).unrecognised).reason == "its offset is -500, not -1000"


def test_what_is_no_level_2a_is_refused_by_its_name(tmp_path):
    l1c = tmp_path / (files.safe_name(level="L1C") + ".SAFE") / "GRANULE" / "L1C" / "IMG_DATA"
    files.raster(l1c / "T31UFT_20240612T105619_B04.jp2")
    files.raster(tmp_path / "loose" / "T31UFT_20240615T105619_B04.jp2")
    s1 = "S1A_IW_{}_1SDV_20240601T055114_20240601T055139_054124_0694E1_BBF5.SAFE"
    for kind in ("SLC_", "GRDH"):
        name = (
            f"s1a-iw-{kind[:3].lower()}-vv-20240601t055114-20240601t055139-054124-0694e1-001.tiff"
        )
        files.raster(tmp_path / s1.format(kind) / "measurement" / name, epsg=0)
    files.safe(tmp_path, "S2A_USER_PRD_MSIL2A_PDMC_20160108T120000_T31UFT_V20160101")
    found = recognise([str(tmp_path)])
    assert found.kind == "nothing"
    told = reasons(found)
    assert "Level 1C" in told[f"{files.safe_name(level='L1C')}.SAFE"]
    assert "Level 1C" in told["T31UFT_20240615T105619_B04.jp2"]
    assert "SLC" in told[s1.format("SLC_")]
    assert "radar geometry" in told[s1.format("GRDH")]
    assert (
        "before December 2016"
        in told["S2A_USER_PRD_MSIL2A_PDMC_20160108T120000_T31UFT_V20160101.SAFE"]
    )
    assert len(told) == 5, "a product is named once, not file by file"


def test_a_product_that_lacks_a_band_is_named_with_it(tmp_path):
    files.safe(tmp_path, without=("B05", "B8A"))
    assert only(recognise([str(tmp_path)]).unrecognised).reason == "lacks B8A, B05"


def test_trap_29_of_one_datatake_the_highest_baseline_is_kept(tmp_path):
    old = files.safe_name(baseline="0214", made="20240612T150000")
    new = files.safe_name(baseline="0510", made="20250101T120000")
    files.safe(tmp_path, old, offset=None)
    files.safe(tmp_path, new)
    files.safe(tmp_path, files.safe_name(tile="31UET", baseline="0214"), offset=None)
    found = recognise([str(tmp_path)])
    assert [(s.tile, s.baseline) for s in found.scenes.s2] == [
        ("31UET", "02.14"),
        ("31UFT", "05.10"),
    ]
    left = only(found.unrecognised)
    assert old in left.path
    assert left.reason == "the same acquisition is there in a newer processing (05.10)"
    assert set(found.extents) == {scene.name for scene in found.scenes.s2}


# --- STAC items


def test_planetary_computer_items_say_all_but_files_alone_do_not(tmp_path):
    files.pc_item(tmp_path)
    files.pc_item(tmp_path, "S2A_MSIL2A_20210613T105031_R051_T31UFT_20210613T134551", "03.00",
                  "2021-06-13T10:50:31.024000Z")  # fmt: skip
    found = recognise([str(tmp_path)])
    assert (found.kind, found.questions, found.unrecognised) == ("stac", (), ())
    old, new = found.scenes.s2
    assert (old.date, old.baseline, old.unit) == (dt.date(2021, 6, 13), "03.00", DN)
    assert (new.date, new.baseline, new.unit) == (JUNE_12, "05.10", DN_OFFSET)
    assert (new.tile, new.datatake, new.mask_kind) == ("31UFT", "20240612T105619", SCL)
    assert new.bands["B04"].path.endswith("/T31UFT_20240612T105619_B04_10m.tif")
    assert old.bands["B04"].path.endswith("/T31UFT_20210613T105031_B04_10m.tif")
    for path in tmp_path.glob("*.json"):
        path.unlink()
    alone = recognise([str(tmp_path)])
    assert (alone.kind, alone.questions) == ("rasters", ("s2_unit",))
    assert [(s.date, s.datatake, s.unit) for s in alone.scenes.s2] == [
        (dt.date(2021, 6, 13), "20210613T105031", ""),
        (JUNE_12, "20240612T105619", ""),
    ]


@pytest.mark.parametrize(
    ("host", "suffix", "applied", "unit"),
    [
        (files.COGS, "tif", True, DN),
        (files.COGS, "tif", False, DN),  # the property is wrong as often as right: the host decides
        ("s3://sentinel-s2-l2a/tiles/31/U/FT/2024/6/12/0/R10m", "jp2", True, DN_OFFSET),
        ("https://example.org/mirror", "tif", True, ""),
    ],
)
def test_trap_08_the_host_of_an_item_decides_about_the_offset(
    tmp_path, host, suffix, applied, unit
):
    files.cogs_item(tmp_path, host=host, suffix=suffix, earthsearch__boa_offset_applied=applied)
    found = recognise([str(tmp_path)])
    scene = only(found.scenes.s2)
    assert (found.kind, scene.unit, scene.baseline) == ("stac", unit, "05.10")
    assert (scene.date, scene.tile, scene.datatake) == (JUNE_12, "31UFT", "20240612T105619")
    assert found.questions == (() if unit else ("s2_unit",))


def test_items_with_relative_addresses_are_told_by_their_catalogue(tmp_path):
    number = "S2B_31UFT_20240612_0_L2A"
    files.cogs_item(tmp_path, number)
    for catalogue, unit in (
        ("https://earth-search.aws.element84.com/v1", DN),
        ("https://planetarycomputer.microsoft.com/api/stac/v1", DN_OFFSET),
        ("https://example.org", ""),
    ):
        files.item(
            tmp_path / number / f"{number}.json", number, when="2024-06-12T10:58:51Z",
            collection="sentinel-2-l2a", s2__processing_baseline="05.10", links=(catalogue,),
            assets={key: f"./{band}.tif" for band, key in files.EARTH_SEARCH.items()},
        )  # fmt: skip
        assert only(recognise([str(tmp_path)]).scenes.s2).unit == unit


def test_assets_saved_under_their_keys_are_found(tmp_path):
    number = "S2B_31UFT_20240612_0_L2A"
    hrefs = {key: f"{files.COGS}/{number}/{band}.tif" for band, key in files.EARTH_SEARCH.items()}
    for key in hrefs:
        files.raster(tmp_path / "a" / f"{key}.tif")
        files.raster(tmp_path / f"{number}_{key}.tif")
    for place in ("a/item.json", f"{number}.json"):
        files.item(tmp_path / place, number, when="2024-06-12T10:58:51Z", assets=hrefs,
                   collection="sentinel-2-l2a", s2__processing_baseline="05.10")  # fmt: skip
    found = recognise([str(tmp_path)])
    assert sorted(scene.bands["B8A"].path for scene in found.scenes.s2) == [
        str(tmp_path / f"{number}_nir08.tif"), str(tmp_path / "a" / "nir08.tif")
    ]  # fmt: skip
    assert len({scene.name for scene in found.scenes.s2}) == 2


def test_the_items_of_a_search_may_be_in_one_file(tmp_path):
    files.pc_item(tmp_path)
    files.pc_item(tmp_path, "S2A_MSIL2A_20210613T105031_R051_T31UFT_20210613T134551", "03.00",
                  "2021-06-13T10:50:31.024000Z")  # fmt: skip
    items = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    for path in tmp_path.glob("*.json"):
        path.unlink()
    (tmp_path / "search.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": items})
    )
    assert [s.unit for s in recognise([str(tmp_path)]).scenes.s2] == [DN, DN_OFFSET]


def test_trap_29_two_items_of_one_datatake_are_one(tmp_path):
    files.cogs_item(tmp_path, "S2B_31UFT_20240612_0_L2A", s2__processing_baseline="05.00")
    files.cogs_item(tmp_path, "S2B_31UFT_20240612_1_L2A", s2__processing_baseline="05.11")
    found = recognise([str(tmp_path)])
    assert only(found.scenes.s2).name == "S2B_31UFT_20240612_1_L2A"
    assert "newer processing (05.11)" in only(found.unrecognised).reason


def test_trap_10_the_date_of_an_item_is_in_utc(tmp_path):
    number = "S2B_31UFT_20240612_0_L2A"
    files.cogs_item(tmp_path, number)
    path = tmp_path / number / f"{number}.json"
    text = path.read_text()
    for said, date in (
        ("2024-06-13T01:30:00+03:00", JUNE_12),
        ("2024-12-31T23:59:59.999Z", dt.date(2024, 12, 31)),
        ("2024-12-31T22:00:00-05:00", dt.date(2025, 1, 1)),
    ):
        path.write_text(text.replace("2024-06-12T10:58:51.9Z", said))
        assert only(recognise([str(tmp_path)]).scenes.s2).date == date


def test_radar_items_tell_orbit_unit_and_product(tmp_path):
    rtc = "S1A_IW_GRDH_1SDV_20240601T055114_20240601T055139_054124_0694E1_rtc"
    grd = "S1A_IW_GRDH_1SDV_20240602T172114_20240602T172139_054146_0694E1"
    for number, tail in ((rtc, ".rtc"), (grd, "")):
        for pol in ("vv", "vh"):
            files.raster(tmp_path / number / f"iw-{pol}{tail}.tiff", 0.07, dtype="float32")
        is_rtc = number == rtc
        files.item(
            tmp_path / number / "item.json", number, when="2024-06-01T05:51:26Z",
            collection="sentinel-1-rtc" if is_rtc else "sentinel-1-grd",
            assets={pol: f"{files.PC_RTC}/{number}/measurement/iw-{pol}{tail}.tiff" for pol in ("vv", "vh")},
            sat__orbit_state="descending" if is_rtc else "ASCENDING",
        )  # fmt: skip
    found = recognise([str(tmp_path)])
    by_name = {scene.name: scene for scene in found.scenes.s1}
    assert (by_name[rtc].orbit, by_name[rtc].unit, by_name[rtc].product) == (
        "descending",
        POWER,
        "rtc",
    )
    assert (by_name[grd].orbit, by_name[grd].unit, by_name[grd].product) == ("ascending", "", "grd")
    assert (found.kind, found.questions) == ("stac", ("s1_unit",))


def test_items_of_others_and_items_without_images_are_named(tmp_path):
    files.item(tmp_path / "landsat" / "i.json", "LC08_L2SP_198024_20240612_02_T1",
               when="2024-06-12T10:00:00Z", collection="landsat-c2-l2", assets={"red": "./red.tif"})  # fmt: skip
    files.raster(tmp_path / "landsat" / "red.tif")
    files.item(tmp_path / "empty" / "i.json", "S2B_31UFT_20240612_0_L2A",
               when="2024-06-12T10:00:00Z", collection="sentinel-2-l2a", assets={"red": "./red.tif"})  # fmt: skip
    (tmp_path / "package.json").write_text('{"type": "Feature", "stac_version": 1')
    found = recognise([str(tmp_path)])
    told = {each.path[len(str(tmp_path)) + 1 :]: each.reason for each in found.unrecognised}
    assert told == {
        "landsat/i.json": "Landsat; only Sentinel-1 and Sentinel-2 can be used",
        "empty/i.json": "a STAC item without its images",
    }


@pytest.mark.parametrize(
    "broken",
    [
        {"assets": {"red": {"href": None}, "nir": 3}},
        {"assets": {"red": {"href": "http://[no/B04.tif"}}, "links": 5},
        {"assets": {"red": {"href": "../../../../../../B04.tif"}}, "id": None},
        {"properties": {"datetime": [1], "s2:processing_baseline": 5.1, "grid:code": 3}},
        {"properties": {"datetime": "9999-99-99", "sat:orbit_state": 3}, "links": [3, {}]},
    ],
)
def test_broken_items_are_named_and_harm_nothing(tmp_path, broken):
    files.cogs_item(tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **broken}))
    files.safe(tmp_path)
    found = recognise([str(tmp_path)])
    assert files.safe_name() in {scene.name for scene in found.scenes.s2}
    if "properties" in broken:
        assert only(found.unrecognised).path == str(path)
        assert "no date" in only(found.unrecognised).reason


# --- places and trouble


def test_several_layouts_are_mixed_and_cancel_works(tmp_path):
    files.upstream(tmp_path / "u")
    files.safe(tmp_path)
    assert recognise([str(tmp_path)]).kind == "mixed"

    def stop(_fraction, _message=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        recognise([str(tmp_path)], stop)


def test_the_extent_unites_zones_also_over_the_antimeridian(tmp_path):
    for day, epsg, west in (("2024-06-12", 32660, 790_000), ("2024-06-15", 32601, 200_000)):
        for name in files.UPSTREAM.values():
            files.raster(tmp_path / "data_raw" / name / f"{day}_mosaic.tiff", epsg=epsg, west=west,
                         north=1_000_000, pixel=1000)  # fmt: skip
    found = recognise([str(tmp_path)])
    assert found.extent.west > 179
    assert -180 < found.extent.east < -177
    assert found.extent.crs == "EPSG:4326"


def test_missing_empty_and_unreadable_paths_are_named(tmp_path, gdal_mode):
    (tmp_path / "empty_B04.tif").touch()
    (tmp_path / "S2_20240612.tif").write_bytes(b"II*\x00 no more than that")
    (tmp_path / "notes.txt").write_text("not a word about it")
    found = recognise(
        [
            str(tmp_path),
            str(tmp_path / "gone"),
            str(tmp_path / "notes.txt"),
            "/vsizip/nowhere.zip/S2_20240612.tif",
        ]
    )
    told = reasons(found)
    assert told["empty_B04.tif"] == "the file is empty"
    assert told["gone"] == "No such file or directory"
    assert "GDAL can't" in told["S2_20240612.tif"]
    assert told["notes.txt"].startswith("no raster by its name")
    assert len(found.unrecognised) == 5
    assert (found.kind, found.extent) == ("nothing", None)


def test_links_in_a_circle_and_hidden_folders_are_no_trap(tmp_path):
    files.upstream(tmp_path)
    (tmp_path / "data_raw" / "again").symlink_to(tmp_path)
    files.upstream(tmp_path / ".trash", ("2024-01-01",))
    assert len(recognise([str(tmp_path)]).scenes.s2) == 1
