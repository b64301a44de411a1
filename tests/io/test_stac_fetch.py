# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows of images fetched from a real server: right, only what is needed, and whole or named."""

import dataclasses
import datetime as dt
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.errors import DiskFull, NetworkFailed, NoScenes, NotWritable
from tessera_plugin.io import cache_files
from tessera_plugin.io.dpixels.build import BuildPlan, build
from tessera_plugin.io.dpixels.scenes import DN, DN_OFFSET, POWER, S2_BANDS, SCL
from tessera_plugin.io.projection import transform_points
from tessera_plugin.io.stac import fetch as fetching
from tessera_plugin.io.stac.catalogues import EARTH_SEARCH, PLANETARY_COMPUTER
from tessera_plugin.io.stac.fetch import fetch
from tessera_plugin.io.stac.plan import Piece
from tessera_plugin.io.stac.search import search
from tessera_plugin.progress import Cancelled, Gate
from tessera_plugin.values import Window
from tests.clock import within
from tests.servers import FOREVER, Fault
from tests.stac_server import World, size_of, value_at

WINDOW = Window(31, -569_950, 60_050, 200, 160)
FILES = 2 * 11 + 1 + 2
"""Of both clear images, the mask of the cloudy one, and the radar's."""


@pytest.fixture(scope="module")
def world():
    made = World()
    made.s2("A", "2023-05-01T10:50:31Z", baseline="03.01")
    made.s2("cloudy", "2023-05-06T10:50:31Z", clear=0.0)
    made.s2("half", "2023-05-11T10:50:31Z", baseline="05.09", clear=0.1)
    made.s1("R", "2023-05-02T05:00:00Z", "descending")
    made.s2("E", "2023-05-01T10:50:31Z", catalogue=EARTH_SEARCH)
    return made


@pytest.fixture
def service(world):
    with world.serving() as running:
        yield running


@pytest.fixture
def plan(service, tmp_path):
    found = search(service.request(WINDOW, tmp_path, s1=PLANETARY_COMPUTER))
    service.store.clear()
    return found


def slowly(plan, **changes):
    network = dataclasses.replace(plan.request.network, **changes)
    return dataclasses.replace(plan, request=dataclasses.replace(plan.request, network=network))


def assert_true(world, raster, name, asset, window=WINDOW):
    """Check every pixel of a file against what was published, and that it holds the window."""
    dataset = gdal.Open(raster.path)
    band = dataset.GetRasterBand(1)
    kind = {gdal.GDT_UInt16: "u2", gdal.GDT_Byte: "u1", gdal.GDT_Float32: "f4"}[band.DataType]
    pixels = np.frombuffer(band.ReadRaster(), kind).reshape(band.YSize, band.XSize)
    west, size, _, north, _, _ = dataset.GetGeoTransform()
    assert size == size_of(asset)
    col, row = (west - 600_000) / size, (5_700_000 - north) / size
    assert (col, row) == (int(col), int(row))
    rows, cols = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    if asset == "SCL":
        assert np.isin(pixels, (4, 9)).all()
    else:
        expected = value_at(world.seeds[name, asset], rows + int(row), cols + int(col))
        if asset in ("vv", "vh"):
            expected = (expected / 10_000).astype(np.float32)
        assert np.array_equal(pixels, expected)
    assert west + 2 * size <= window.col * 10
    assert west + (pixels.shape[1] - 2) * size >= window.stop_col * 10
    assert north - 2 * size >= -window.row * 10
    assert north - (pixels.shape[0] - 2) * size <= -window.stop_row * 10


def nodata_of(raster):
    dataset = gdal.Open(raster.path)
    return dataset.GetRasterBand(1).GetNoDataValue()


# --- what comes


def test_scenes_have_native_pixels_of_the_window_and_its_margin(world, service, plan):
    fetched = fetch(plan)
    assert fetched.failures == ()
    assert fetched.cloudy == ("cloudy",)
    first, second = fetched.scenes.s2
    assert (first.name, first.date, first.unit) == ("A", dt.date(2023, 5, 1), DN)
    assert (second.name, second.date, second.unit) == ("half", dt.date(2023, 5, 11), DN_OFFSET)
    assert (first.baseline, first.tile) == ("03.01", "31UFT")
    assert first.datatake == "GS2A_20230501T105031_012345"
    assert first.mask_kind == SCL
    assert first.lacking == ()
    for band in S2_BANDS:
        assert_true(world, first.bands[band], "A", band)
    assert_true(world, first.mask, "A", "SCL")
    (radar,) = fetched.scenes.s1
    assert (radar.orbit, radar.unit, radar.product) == ("descending", POWER, "rtc")
    assert radar.date == dt.date(2023, 5, 2)
    assert_true(world, radar.vv, "R", "vv")
    assert_true(world, radar.vh, "R", "vh")
    assert nodata_of(radar.vv) == -32768
    assert nodata_of(first.mask) == 0


def test_masks_come_first_and_bands_only_of_what_is_clear(service, plan):
    fetch(plan)
    paths = [entry.path for entry in service.store.log]
    masks = [number for number, path in enumerate(paths) if path.endswith("SCL.tif")]
    others = [number for number, path in enumerate(paths) if not path.endswith("SCL.tif")]
    assert max(masks) < min(others)
    assert {path for path in paths if "cloudy" in path} == {"sentinel2-l2/cloudy/SCL.tif"}


def test_what_is_fetched_is_stated_as_plain_values(plan):
    facts = json.loads(json.dumps(fetch(plan).provenance))
    assert [(item["id"], item["baseline"], item["offset"]) for item in facts["s2_items"]] == [
        ("A", "03.01", "never there: baseline before 04.00"),
        ("half", "05.09", "in the files: 1000 is to be taken off"),
    ]
    assert facts["s1_items"][0]["orbit"] == "descending"
    assert facts["nothing_clear"] == ["cloudy"]
    assert facts["s2"]["collection"] == "sentinel-2-l2a"


def test_the_public_catalogue_needs_no_token(world, service, tmp_path):
    fetched = fetch(search(service.request(WINDOW, tmp_path, s2=EARTH_SEARCH)))
    (scene,) = fetched.scenes.s2
    assert scene.unit == DN
    assert fetched.provenance["s2_items"][0]["offset"] == "taken off by the publisher"
    assert_true(world, scene.bands["B8A"], "E", "B8A")
    assert not service.api.provider.every_token


def test_an_image_of_the_next_zone_is_fetched_on_its_own_grid(tmp_path):
    window = Window(31, -569_950, 81_000, 100, 100)
    corner = np.array([[810_000.0, 5_699_500.0]])
    ((east, north),) = transform_points(corner, "EPSG:32631", "EPSG:32632")
    made = World()
    there = dataclasses.replace(
        made.made, epsg=32632, west=east // 20 * 20 - 2000, north=north // 20 * 20 + 2000
    )
    made.s2("Z", "2023-05-01T10:50:31Z", tile="32ULC", made=there)
    with made.serving() as service:
        fetched = fetch(search(service.request(window, tmp_path)))
    dataset = gdal.Open(fetched.scenes.s2[0].bands["B04"].path)
    assert "32632" in dataset.GetProjection()
    west, _, _, top, _, _ = dataset.GetGeoTransform()
    pixels = np.frombuffer(dataset.GetRasterBand(1).ReadRaster(), "u2")
    rows, cols = np.mgrid[: dataset.RasterYSize, : dataset.RasterXSize]
    row, col = int((there.north - top) / 10), int((west - there.west) / 10)
    expected = value_at(made.seeds["Z", "B04"], rows + row, cols + col)
    assert np.array_equal(pixels, expected.ravel())
    assert dataset.RasterXSize < 125


def test_an_image_beside_the_window_is_none_of_it(service, plan):
    beside = Window(31, -570_050, 59_700, 40, 40)  # 3 km west of all images
    request = dataclasses.replace(plan.request, window=beside)
    with pytest.raises(NoScenes, match="of 3 Sentinel-2 images none shows the area"):
        fetch(dataclasses.replace(plan, request=request))
    assert not list(request.kept_in.rglob("*.tif"))


# --- once is enough


def test_what_is_there_is_not_asked_for_again(service, plan):
    first = fetch(plan)
    service.store.clear()
    again = fetch(plan)
    assert again.scenes == first.scenes
    assert service.store.log == []
    assert again.bytes_fetched == 0


def test_a_file_that_was_damaged_is_fetched_again(service, plan):
    first = fetch(plan)
    path = Path(first.scenes.s2[0].bands["B11"].path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    service.store.clear()
    assert fetch(plan).scenes == first.scenes
    assert {entry.path for entry in service.store.log} == {"sentinel2-l2/A/B11.tif"}
    assert path.read_bytes() == data


def test_a_fetch_that_was_cancelled_goes_on(service, plan):
    began = []

    def report(fraction, message=""):
        if len(service.store.log) > 20:
            began.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(plan, report)
    kept = list(plan.request.kept_in.rglob("*.tif"))
    assert 0 < len(kept) < FILES
    assert not list(plan.request.kept_in.rglob("*.tmp"))
    service.store.clear()
    fetched = fetch(plan)
    assert len(fetched.scenes.s2) == 2
    masks = {f"sentinel2-l2/{name}/SCL.tif" for name in ("A", "none")}
    assert masks.isdisjoint(entry.path for entry in service.store.log)


def test_another_window_has_files_of_its_own(service, plan):
    fetch(plan)
    moved = dataclasses.replace(plan.request, window=dataclasses.replace(WINDOW, col=60_100))
    fetched = fetch(dataclasses.replace(plan, request=moved))
    west = gdal.Open(fetched.scenes.s2[0].bands["B04"].path).GetGeoTransform()[0]
    assert west == 601_000 - 20


# --- what goes wrong


def test_what_fails_is_named_and_its_image_left_out(service, plan):
    service.store.faults += [
        Fault.status(404, path="*/R/iw-vh*", count=FOREVER),
        Fault.status(503, path="*/A/B1?.tif", count=FOREVER),
    ]
    fetched = fetch(plan)
    assert [scene.name for scene in fetched.scenes.s2] == ["half"]
    assert fetched.scenes.s1 == ()
    told = dict(fetched.failures)
    assert told["R"] == "vh: it is not there"
    assert told["A"] == "B11, B12: the server answers with status 503"
    assert "R is left out: vh: it is not there." in fetched.sentences
    service.store.clear()
    again = fetch(plan)
    assert [scene.name for scene in again.scenes.s2] == ["A", "half"]
    asked = {entry.path.split("/")[-1] for entry in service.store.log}
    assert asked == {"B11.tif", "B12.tif", "iw-vh.rtc.tiff"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(503, path="*.tif", count=3),
        Fault.status(429, retry_after=0, path="*.tif", count=3),
        Fault.reset(after=100, path="*.tif", count=3),
        Fault.truncate(after=100, path="*.tif", count=3),
        Fault("ignore_range", path="*.tif", count=2),
        Fault.changed_etag(path="*B04.tif", count=1, skip=1),
        Fault.silent_etag(path="*B04.tif", count=1, skip=1),
        Fault.status(403, path="*.tif", count=1, skip=3),
    ],
    ids=lambda fault: f"{fault.kind}{fault.code or ''}",
)
def test_faults_that_pass_are_not_seen_in_what_comes(world, service, plan, fault):
    service.store.faults.append(dataclasses.replace(fault))
    fetched = fetch(plan)
    assert fetched.failures == ()
    for band in S2_BANDS:
        assert_true(world, fetched.scenes.s2[0].bands[band], "A", band)


def test_a_file_that_changes_all_the_time_is_never_mixed(service, plan):
    """Every answer is of another object."""
    service.store.faults += [
        Fault.silent_etag(etag=f"{number:032x}", path="*/A/B05.tif", count=1)
        for number in range(60)
    ]
    fetched = fetch(plan)
    assert dict(fetched.failures)["A"] == "B05: it changes while it is read"
    assert not list(plan.request.kept_in.rglob("A/B05.tif"))


def test_a_damaged_file_is_asked_for_once_more_and_then_named(service, plan):
    service.store.faults.append(
        Fault("corrupt", path="*/A/B06.tif", count=FOREVER, amount=50, mask=0x55)
    )
    fetched = fetch(plan)
    assert "B06" in dict(fetched.failures)["A"]
    assert len(service.store.requests("*/A/B06.tif")) <= 2 * 2
    assert not list(plan.request.kept_in.rglob("A/B06.tif"))


def test_no_network_ends_soon_and_is_said(service, plan):
    for server in (service.store, service.api):
        server.faults.append(Fault.drop(count=FOREVER))
    with pytest.raises(NetworkFailed, match="no connection"):
        fetch(plan)
    assert len(service.store.log) + len(service.api.log) < 40


def test_images_of_which_none_comes_are_an_error_with_the_reason(service, plan):
    service.store.faults.append(Fault.status(403, path="*/SCL.tif", count=FOREVER))
    with pytest.raises(NoScenes, match=r"3 could not be had \(A: SCL: access refused"):
        fetch(plan)


def test_a_full_disk_is_told_once_and_leaves_no_half_file(service, plan, monkeypatch):
    written = []
    real = cache_files.write_whole

    def full(path, parts):
        if len(written) >= 5:
            raise DiskFull(str(path), 1)
        written.append(path)
        real(path, parts)

    monkeypatch.setattr("tessera_plugin.io.stac.windows.write_whole", full)
    with pytest.raises(DiskFull):
        fetch(plan)
    assert len(list(plan.request.kept_in.rglob("*"))) <= 5 + 4
    assert not list(plan.request.kept_in.rglob("*.tmp"))
    monkeypatch.undo()
    assert fetch(plan).failures == ()


def test_too_little_room_is_said_before_anything_is_asked_for(service, plan, monkeypatch):
    monkeypatch.setattr("tessera_plugin.io.files.free_bytes", lambda path: 1000)
    with pytest.raises(DiskFull) as full:
        fetch(plan)
    assert full.value.needed_bytes > WINDOW.pixels * 2 * 10
    assert service.store.log == []


def test_a_folder_that_can_not_be_made_is_said_before_anything_is_asked_for(service, plan):
    place = plan.request.kept_in
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file")
    with pytest.raises(NotWritable):
        fetch(plan)
    assert service.store.log == []


# --- as the person wants it


def test_cancel_ends_a_fetch_at_once(service, plan):
    service.store.faults.append(Fault.stall_body(60, after=10, count=FOREVER))
    began = time.monotonic()

    def report(fraction, message=""):
        if service.store.active >= 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(plan, report)
    assert time.monotonic() - began < within(2)


def test_several_files_come_at_once_and_no_more_than_set(service, plan):
    service.store.latency_s = 0.02
    fetch(slowly(plan, connections=3))
    assert service.store.most_active == 3


def test_nothing_is_asked_for_while_paused(service, plan):
    gate = Gate()
    gate.pause()
    done = []
    thread = threading.Thread(target=lambda: done.append(fetch(plan, gate=gate)))
    thread.start()
    time.sleep(0.3)
    assert service.store.log == []
    gate.resume()
    thread.join(60)
    assert len(done[0].scenes.s2) == 2


def test_the_limit_of_bandwidth_holds(service, plan):
    began = time.monotonic()
    fetched = fetch(slowly(plan, bytes_per_s=1_500_000))
    assert time.monotonic() - began > fetched.bytes_fetched / 1_500_000 - 0.5
    assert fetched.bytes_fetched > 1_200_000


def test_progress_is_told_from_beginning_to_end(plan):
    told = []
    fetch(plan, lambda fraction, message="": told.append((fraction, message)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "cloud masks: 3 of 3" in " ".join(message for _, message in told)


@pytest.mark.parametrize("scl", range(12))
def test_bands_are_asked_for_where_a_class_is_usable(service, plan, scl, monkeypatch):
    """Trap 6: cirrus, snow and water are usable, dark areas and shadows are not."""
    real = fetching.read_pixels

    def pixels(*arguments):
        found = real(*arguments)
        return np.full_like(found, scl) if found.dtype == np.uint8 else found

    monkeypatch.setattr(fetching, "read_pixels", pixels)
    one = dataclasses.replace(plan, s2=plan.s2[:1], s1=())
    if scl in (4, 5, 6, 7, 10, 11):
        assert len(fetch(one).scenes.s2) == 1
        return
    with pytest.raises(NoScenes, match="nothing in the area is clear in 1"):
        fetch(one)
    assert {entry.path for entry in service.store.log} == {"sentinel2-l2/A/SCL.tif"}


def test_names_of_items_never_lead_out_of_the_folder(plan):
    for name in ("../../x", "..", "/etc/passwd", "C:\\x", "a\0b", "", "x" * 300, "é"):
        item = dataclasses.replace(plan.s2[0], id=name)
        path = Piece(item, "B04").path(plan.request)
        assert path.resolve().is_relative_to(plan.request.kept_in.resolve())
        assert len(path.relative_to(plan.request.kept_in).parts) == 3


def test_a_tile_is_built_of_what_was_fetched(world, plan, tmp_path):
    """The offset is taken off once, where it is; what is on the grid already is not changed."""
    fetched = fetch(plan)
    build(BuildPlan(fetched.scenes, WINDOW, str(tmp_path / "tile")))
    bands, masks = (np.load(tmp_path / "tile" / f"{name}.npy") for name in ("bands", "masks"))
    assert list(np.load(tmp_path / "tile" / "doys.npy")) == [121, 131]
    assert bands.shape == (2, *WINDOW.shape, 10)
    rows, cols = np.mgrid[50 : 50 + WINDOW.height, 50 : 50 + WINDOW.width]
    for name, day, offset in (("A", 0, 0), ("half", 1, 1000)):
        truth = np.maximum(value_at(world.seeds[name, "B04"], rows, cols) - offset, 1)
        seen = masks[day] == 1
        assert seen.any()
        assert np.array_equal(bands[day, ..., S2_BANDS.index("B04")][seen], truth[seen])
    assert masks[0].all()
    assert not masks[1, 12:].any()
    codes = np.load(tmp_path / "tile" / "sar_descending.npy")[0, ..., 0]
    power = value_at(world.seeds["R", "vv"], rows, cols) / 10_000
    expected = np.clip(np.floor(4000 * np.log10(power) + 10_000), 0, 32767)
    assert np.abs(codes - expected).max() <= 1
