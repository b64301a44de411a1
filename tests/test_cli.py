# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as a script would use it: a process of its own against the sample archive."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from osgeo import gdal, ogr, osr

from tests import builders_zarr as build
from tests.archive.layout import lonlat
from tests.archive.sample import SampleArchive
from tests.clock import within
from tests.compute.helpers import worker_python
from tests.servers import DictProvider, Fault, RangeServer

BBOX = "0.120,52.195,0.126,52.198"
DATASET = ["--dataset", "1.1-cambridge", "--form", "npy", "--year", "2024"]
"""Its tiles, which cover more of the sample than its store."""


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


@pytest.fixture
def cli(server, tmp_path):
    def run(*arguments, **options):
        common = [] if arguments[0] in ("datasets", "cache") else [
            "--archive", server.url, "--cache", str(tmp_path / "cache")]  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "tessera_plugin", *arguments, *common],
            capture_output=True, text=True, check=False, timeout=120, **options,
        )  # fmt: skip

    return run


def labels(path, archive, per_class=8):
    """Write labelled points where the ground truth has its classes; return their class names."""
    from tessera_plugin.engine.grid import windows_of
    from tessera_plugin.values import Extent

    (window,) = windows_of(Extent(*(float(n) for n in BBOX.split(","))))
    truth = archive.truth(window.zone, window.row, window.col, *window.shape)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(window.epsg)
    source = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = source.CreateLayer("points", reference, ogr.wkbPoint)
    layer.CreateField(ogr.FieldDefn("cover", ogr.OFTString))
    west, step, _, north, _, _ = window.transform
    choose = np.random.default_rng(5)
    names = []
    for value in np.unique(truth[truth > 0]):
        rows, cols = np.nonzero(truth == value)
        if len(rows) < 40:
            continue
        names.append(f"class {value}")
        for pick in choose.choice(len(rows), per_class, replace=False):
            feature = ogr.Feature(layer.GetLayerDefn())
            feature.SetField("cover", names[-1])
            x, y = west + (cols[pick] + 0.5) * step, north - (rows[pick] + 0.5) * step
            feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POINT ({x} {y})"))
            layer.CreateFeature(feature)
    return names


def test_datasets_are_listed(cli):
    listed = json.loads(cli("datasets", "--json").stdout)
    assert listed[0]["key"] == "1.1-dclimate"
    assert {"1.0-vultr", "1.1-cambridge", "2.0-2B-L~beta1"} < {row["key"] for row in listed}
    known = {row["key"]: row for row in listed}
    assert known["1.1-dclimate"]["forms"] == ["zarr"]
    assert known["1.1-cambridge"]["forms"] == ["zarr", "npy"]
    assert known["2.0-2B-L~beta1"]["depths"] == [4, 16, 128]
    said = cli("datasets").stdout
    assert "1.1-cambridge" in said
    assert "4, 16, 128" in said


def test_fetch_to_npz_is_what_the_archive_holds(cli, archive, tmp_path):
    out = tmp_path / "here.npz"
    done = cli("fetch", *DATASET, "--bbox", BBOX, "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(out, allow_pickle=False) as found:
        codes, scales = found["codes"], found["scales"]
        assert int(found["epsg"]) == 32631
        assert str(found["dataset"]) == "1.1-cambridge"
        assert int(found["year"]) == 2024
        west, step, _, north, _, _ = found["transform"]
    assert codes.dtype == np.int8
    assert codes.shape == (*scales.shape, 128)
    assert (west % 10, step, north % 10) == (0, 10, 0)
    assert np.isfinite(scales).any()
    assert not codes[~np.isfinite(scales)].any()


def test_fetch_to_tif_is_the_npz_dequantised(cli, tmp_path):
    for name in ("a.npz", "a.tif"):
        assert cli("fetch", *DATASET, "--bbox", BBOX, "--out", str(tmp_path / name)).returncode == 0
    raster = gdal.Open(str(tmp_path / "a.tif"))
    with np.load(tmp_path / "a.npz") as found:
        expected = found["codes"] * found["scales"][..., None]
    assert raster.RasterCount == 128
    assert np.array_equal(raster.ReadAsArray(), np.moveaxis(expected, 2, 0), equal_nan=True)


@pytest.mark.parametrize("spelled", [["--bbox", "-0.01,52.10,0.004,52.104"],
                                     ["--bbox=-0.01,52.10,0.004,52.104"]])  # fmt: skip
def test_an_extent_over_a_seam_gives_a_file_per_zone(cli, tmp_path, spelled):
    done = cli("fetch", *DATASET, *spelled, "--out", str(tmp_path / "seam.npz"))
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.glob("*.npz")} == {"seam_utm30.npz", "seam_utm31.npz"}


def test_the_south_is_written_in_its_own_crs(cli, tmp_path):
    out = tmp_path / "south.npz"
    assert (
        cli("fetch", *DATASET, "--bbox=32.55,-0.03,32.553,-0.028", "--out", str(out)).returncode
        == 0
    )
    with np.load(out) as found:
        assert int(found["epsg"]) == 32736
        assert found["transform"][3] == pytest.approx(9996900, abs=400)


@pytest.mark.parametrize(
    ("head", "dataset"),
    [
        ("instant", DATASET),
        ("mlp", DATASET),
        ("instant", ["--dataset", "1.1-dclimate", "--year", "2024"]),
        ("mlp", ["--dataset", "2.0-2B-L~beta1", "--depth", "16", "--year", "2024"]),
    ],
    ids=["tiles", "tiles-mlp", "store", "prefix-mlp"],
)
def test_from_samples_to_a_map(cli, archive, tmp_path, head, dataset):
    names = labels(tmp_path / "labels.gpkg", archive)
    assert len(names) >= 3
    made = cli("train", *dataset, "--samples", str(tmp_path / "labels.gpkg"), "--class-field", "cover",
               "--head", head, "--out", str(tmp_path / "a.head"), "--report",
               str(tmp_path / "report.json"), "--json")  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    result = json.loads(made.stdout.splitlines()[-1])
    assert result["type"] == "result"
    assert result["depth"] == (16 if "--depth" in dataset else 128)
    assert json.loads((tmp_path / "report.json").read_text())["classes"] == names
    form = ["--form", "npy"] if "npy" in dataset else []
    mapped = cli("classify", *form, "--head", str(tmp_path / "a.head"), "--year", "2024", "--bbox", BBOX,
                 "--out", str(tmp_path / "map.tif"), "--confidence", str(tmp_path / "sure.tif"))  # fmt: skip
    assert mapped.returncode == 0, mapped.stdout + mapped.stderr
    raster = gdal.Open(str(tmp_path / "map.tif"))
    assert raster.GetMetadataItem("TESSERA_DEPTH") == str(result["depth"])
    assert raster.GetMetadataItem("TESSERA_FORM") == ("npy" if form else "zarr")
    origin = _origin(raster)  # GDAL 3.6 has no category names before it has looked at its side file
    assert raster.GetRasterBand(1).GetCategoryNames()[1:] == names
    truth = archive.truth(31, *origin, raster.RasterYSize, raster.RasterXSize)
    right = raster.ReadAsArray() == np.searchsorted([int(n[6:]) for n in names], truth) + 1
    known = np.isin(truth, [int(name[6:]) for name in names]) & (raster.ReadAsArray() > 0)
    assert right[known].mean() > 0.6
    confidence = gdal.Open(str(tmp_path / "sure.tif")).ReadAsArray()
    assert ((confidence == 255) == (raster.ReadAsArray() == 0)).all()


def _origin(raster):
    west, _, _, north, _, _ = raster.GetGeoTransform()
    return round(-north / 10), round(west / 10)


def test_a_failed_part_gives_status_3_and_its_name_and_the_next_run_mends_it(cli, server, tmp_path):
    server.faults.append(Fault.status(403, path="*0.15_52.25.npy", count=-1))
    place = ["--bbox", "0.12,52.198,0.123,52.202", "--out", str(tmp_path / "part.npz")]
    broken = cli("fetch", *DATASET, *place)
    assert broken.returncode == 3
    assert "grid_0.15_52.25" in broken.stdout
    server.faults.clear()
    assert cli("fetch", *DATASET, *place).returncode == 0


def test_a_part_that_is_not_published_is_not_missing(cli, tmp_path):
    done = cli("fetch", *DATASET, "--bbox", "0.195,52.22,0.205,52.222", "--out",
               str(tmp_path / "edge.npz"))  # fmt: skip
    assert done.returncode == 0
    assert "grid_0.25_52.25" in done.stdout


def test_what_was_fetched_is_there_offline(cli, server, tmp_path):
    assert cli("fetch", *DATASET, "--bbox", BBOX, "--out", str(tmp_path / "a.npz")).returncode == 0
    before = len(server.log)
    again = cli("fetch", *DATASET, "--bbox", BBOX, "--out", str(tmp_path / "b.npz"), "--offline")
    assert again.returncode == 0
    assert len(server.log) == before
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert np.array_equal(a["codes"], b["codes"])


def test_a_head_refuses_another_dataset(cli, archive, tmp_path):
    labels(tmp_path / "labels.gpkg", archive)
    made = cli("train", *DATASET, "--samples", str(tmp_path / "labels.gpkg"), "--class-field",
               "cover", "--head", "instant", "--out", str(tmp_path / "a.head"))  # fmt: skip
    assert made.returncode == 0
    missing = cli("classify", "--head", str(tmp_path / "labels.gpkg"), "--year", "2024", "--bbox",
                  BBOX, "--out", str(tmp_path / "map.tif"))  # fmt: skip
    assert missing.returncode == 1
    assert "not a head" in missing.stderr
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fetch", "--dataset", "9.9-none", "--year", "2024", "--bbox", BBOX, "--out", "x.npz"], "9.9-none"),
        (["fetch", "--dataset", "1.0-vultr", "--year", "1999", "--bbox", BBOX, "--out", "x.npz"], "1999"),
        (["fetch", *DATASET, "--bbox", "-180,-80,180,80", "--out", "x.npz"], "limit"),
        (["fetch", *DATASET, "--bbox", "1,2,3", "--out", "x.npz"], "W,S,E,N"),
        (["fetch", *DATASET, "--bbox", BBOX, "--out", "x.csv"], ".npz or .tif"),
        (["fetch", "--year", "2024", "--bbox", BBOX], "--dataset KEY is needed"),
        (["fetch", "--dataset", "1.1-dclimate", "--year", "2024-", "--bbox", BBOX], "YEAR"),
        (["fetch", "--dataset", "1.1-dclimate", "--year", "2023,2024", "--bbox", BBOX, "--out", "x.npz"],
         "--out takes one year"),
        (["fetch", "--dataset", "1.1-dclimate", "--form", "npy", "--year", "2024", "--bbox", BBOX],
         "not published as npy"),
        (["fetch", "--dataset", "1.1-cambridge", "--depth", "16", "--year", "2024", "--bbox", BBOX],
         "does not offer embeddings of 16"),
        (["fetch", "--store", "s3://bucket/a.zarr", "--year", "2024", "--bbox", BBOX], "https://"),
        (["train", *DATASET, "--samples", "x", "--class-field", "c", "--head", "forest", "--out", "h"], "forest"),
    ],
)  # fmt: skip
def test_bad_arguments_have_status_2_and_a_sentence(cli, arguments, told):
    done = cli(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_progress_and_errors_are_json_lines_when_asked(cli, tmp_path):
    done = cli("fetch", *DATASET, "--bbox", BBOX, "--out", str(tmp_path / "a.npz"), "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["type"] for line in lines} == {"progress", "result"}
    assert lines[-1]["fetched"]["bytes_fetched"] > 0
    failed = cli(
        "fetch", "--dataset", "x", "--year", "1", "--bbox", BBOX, "--out", "x.npz", "--json"
    )
    assert json.loads(failed.stdout)["error"] == "UnknownDataset"


@pytest.mark.long
def test_the_systems_proxy_is_used_unless_the_host_is_excepted(server, tmp_path):
    place = ["--bbox", BBOX, "--out", str(tmp_path / "a.npz"), "--cache", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "tessera_plugin", "fetch", *DATASET, *place]
    direct = {k: v for k, v in os.environ.items() if k.lower() not in ("no_proxy", "http_proxy")}
    proxied = {**direct, "http_proxy": server.url}
    elsewhere = [*command, "--archive", "http://archive.invalid"]
    assert subprocess.run(elsewhere, env=proxied, capture_output=True).returncode == 0
    assert server.log[0].target.startswith("http://archive.invalid/npy/")
    nobody = {**direct, "http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    assert subprocess.run([*command, "--archive", server.url], env=nobody).returncode == 0


def test_the_global_dataset_comes_from_its_store(cli, archive, tmp_path):
    dataset = ["--dataset", "1.1-dclimate", "--year", "2024"]
    out = tmp_path / "store.npz"
    done = cli("fetch", *dataset, "--bbox", BBOX, "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(out) as found:
        west, _, _, north, _, _ = found["transform"]
        height, width = found["scales"].shape
        place = (31, round(-north / 10), round(west / 10), height, width)
        codes, scales = archive.zarr_window("v1.1-dclimate", 2024, *place)
        valid = (scales > 0) & (scales < 1) & codes.any(axis=2)
        assert np.array_equal(found["codes"], np.where(valid[..., None], codes, 0))
        assert np.array_equal(found["scales"], np.where(valid, scales, np.nan), equal_nan=True)


def test_an_archive_without_the_store_is_said(tmp_path):
    with RangeServer(DictProvider()) as empty:
        done = subprocess.run(
            [sys.executable, "-m", "tessera_plugin", "fetch", "--dataset", "1.1-dclimate", "--year",
             "2024", "--bbox", BBOX, "--out", str(tmp_path / "a.npz"), "--archive", empty.url,
             "--cache", str(tmp_path / "cache")],
            capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "v1.1-dclimate" in done.stderr


def test_without_a_file_the_cache_is_filled(cli, server, tmp_path):
    place = ["--dataset", "2.0-2B-L~beta1", "--depth", "4", "--year", "2024", "--bbox", BBOX]
    done = cli("fetch", *place, "--json", "--connections", "2")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["files"] == []
    assert (result["dataset"], result["year"], result["depth"]) == ("2.0-2B-L~beta1", 2024, 4)
    assert (result["form"], result["form_reason"], result["error"]) == ("zarr", "", None)
    assert result["fetched"]["valid_px"] > 0
    assert not list(tmp_path.glob("*.npz"))
    before = len(server.log)
    again = cli("fetch", *place, "--offline", "--out", str(tmp_path / "a.npz"))
    assert again.returncode == 0, again.stderr
    assert "Read from the Zarr store." in again.stdout
    assert len(server.log) == before
    with np.load(tmp_path / "a.npz") as written:
        assert written["codes"].shape[2] == 4


@pytest.mark.long
def test_several_years_fill_the_cache(cli, tmp_path):
    place = ["--dataset", "1.1-dclimate", "--bbox", BBOX]
    done = cli("fetch", *place, "--year", "2023-2025", "--json")
    # the sample's store lists 2025, and has nothing of it: that is all that is published
    assert done.returncode == 0, done.stderr
    years = json.loads(done.stdout.splitlines()[-1])["years"]
    assert [one["year"] for one in years] == [2023, 2024, 2025]
    assert [one["error"] and one["error"]["error"] for one in years] == [
        None, None, "NothingPublished"]  # fmt: skip
    said = cli("fetch", *place, "--year", "2023,1999").stdout
    assert "2023: " in said
    assert "1999: Dataset 1.1-dclimate has no year 1999" in said
    assert cli("fetch", *place, "--year", "2023,1999").returncode == 3


def test_tiles_that_are_read_in_place_of_the_store_are_told(cli, server):
    server.faults.append(Fault.status(404, path="zarr/v1.1/zarr.json", count=-1))
    done = cli("fetch", "--dataset", "1.1-cambridge", "--year", "2024", "--bbox", BBOX)
    assert done.returncode == 0, done.stderr
    assert "Read from the NPY tiles: the archive has no Zarr store of it." in done.stdout


def test_the_rate_can_be_limited(cli, server):
    began = time.monotonic()
    place = ["--dataset", "1.1-dclimate", "--year", "2024", "--bbox", "0.11,52.19,0.13,52.20"]
    done = cli("fetch", *place, "--json", "--limit-rate", "2")
    assert done.returncode == 0, done.stderr
    size = json.loads(done.stdout.splitlines()[-1])["fetched"]["bytes_fetched"]
    assert size > 4_000_000
    assert time.monotonic() - began > 0.7 * size / 2_000_000


def test_a_store_and_its_tiles_are_compared(cli, server):
    place = ["--dataset", "1.1-cambridge", "--year", "2024", "--bbox", BBOX]
    done = cli("compare", *place)
    assert (done.returncode, done.stderr) == (0, "")
    assert "agree on all" in done.stdout
    elsewhere = [*place[:-1], "0.14,52.19,0.146,52.193"]
    server.faults.append(Fault.status(403, path="npy/*", count=-1))
    broken = cli("compare", *elsewhere, "--json")
    assert broken.returncode == 3
    result = json.loads(broken.stdout.splitlines()[-1])
    assert (result["agrees"], result["pixels"]) == (False, 0)


def test_coverage_is_told_before_anything_is_fetched(cli, server):
    place = ["--dataset", "1.1-dclimate", "--year", "2024", "--bbox", BBOX]
    done = cli("coverage", *place, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["pixels"] == sum(result["states"].values())
    assert result["bytes_to_fetch"] > 0
    said = cli("coverage", *place)
    assert said.returncode == 0
    assert said.stdout.strip()


@pytest.mark.long
def test_the_cache_is_looked_after(cli, server, tmp_path):
    place = ["--dataset", "1.1-dclimate", "--year", "2024", "--bbox", BBOX]
    assert cli("fetch", *place).returncode == 0
    here = ["--cache", str(tmp_path / "cache"), "--json"]
    kept = json.loads(cli("cache", "usage", *here).stdout.splitlines()[-1])
    (entry,) = [one for one in kept["entries"] if one["blocks"]]
    assert (entry["dataset"], entry["year"], entry["depth"]) == ("1.1-dclimate", 2024, 128)
    assert kept["bytes"] >= entry["bytes"] > 100_000
    assert "1.1-dclimate 2024" in cli("cache", "usage", "--cache", str(tmp_path / "cache")).stdout

    moved = cli("cache", "move", str(tmp_path / "other"), *here)
    assert moved.returncode == 0, moved.stderr
    there = ["--cache", str(tmp_path / "other"), "--json"]
    after = json.loads(cli("cache", "usage", *there).stdout.splitlines()[-1])
    assert sum(one["blocks"] for one in after["entries"]) == entry["blocks"]

    cleared = cli("cache", "clear", "--dataset", "1.1-cambridge", *there)
    assert json.loads(cleared.stdout.splitlines()[-1])["freed_bytes"] == 0
    cleared = cli("cache", "clear", "--dataset", "1.1-dclimate", "--year", "2024", *there)
    assert json.loads(cleared.stdout.splitlines()[-1])["freed_bytes"] > 100_000
    assert cli("cache", "evict", "--limit-gb", "1", *there).returncode == 0


@pytest.mark.parametrize("by", ["url", "folder"])
def test_a_persons_own_store(cli, tmp_path, by):
    codes, scales = build.embeddings(256, 256, seed=3)
    row, col = -578_600, 30_300
    made = build.StoreBuilder("mine.zarr", {"title": "My own"}).group(
        "utm31", codes, scales, row=row, col=col, epsg=32631, years=(2021, 2024), time=1
    )
    files = made.build()
    west, north = lonlat(31, np.array([row + 30.0]), np.array([col + 40.0]))
    bbox = f"{west[0]},{north[0] - 0.002},{west[0] + 0.002},{north[0]}"
    with RangeServer(DictProvider(files)) as other:
        location = f"{other.url}/zarr/mine.zarr"
        if by == "folder":
            for path, data in files.items():
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(data)
            location = str(tmp_path / "zarr" / "mine.zarr")
        out = tmp_path / "own.npz"
        done = cli(
            "fetch", "--store", location, "--year", "2024", "--bbox", bbox, "--out", str(out)
        )
        assert (done.returncode, done.stderr) == (0, "")
        unknown = cli("fetch", "--store", location, "--year", "2022", "--bbox", bbox)
    assert unknown.returncode == 2
    with np.load(out) as found:
        assert str(found["dataset"]).startswith("store-mine-")
        left, _, _, top, _, _ = found["transform"]
        first, height, width = (round(-top / 10) - row, *found["scales"].shape)
        own = np.s_[first : first + height, round(left / 10) - col : round(left / 10) - col + width]
        np.testing.assert_array_equal(found["codes"], codes[own])
        np.testing.assert_array_equal(found["scales"], scales[own])


def test_nothing_published_is_said(cli, tmp_path):
    done = cli(
        "fetch", *DATASET, "--bbox", "10.0,50.0,10.002,50.002", "--out", str(tmp_path / "a.npz")
    )
    assert done.returncode == 1
    assert "no embeddings here" in done.stderr
    assert not (tmp_path / "a.npz").exists()


def test_stopping_ends_quickly_and_keeps_what_came(server, tmp_path):
    server.faults.append(Fault.stall(30, path="*.npy", count=-1))
    running = subprocess.Popen(
        [sys.executable, "-m", "tessera_plugin", "fetch", *DATASET, "--bbox", BBOX, "--out",
         str(tmp_path / "a.npz"), "--archive", server.url, "--cache", str(tmp_path / "cache")],
        stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    until = time.monotonic() + 20
    while not server.log and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, said = running.communicate(timeout=20)
    assert time.monotonic() - start < within(2.5)
    assert running.returncode == 1
    assert "Stopped" in said
    assert not list(tmp_path.glob("*.npz*"))


def test_somebodys_model_makes_a_map(cli, tmp_path):
    """One whose first output grows with the first dimension, against the plain way."""
    code = (
        "import sys,numpy as np,onnx;from onnx import helper as h,numpy_helper as n,TensorProto as t;"
        "w=np.zeros((128,2),np.float32);w[0]=[9,-9];"
        "g=h.make_graph([h.make_node('MatMul',['x','w'],['y'])],'first',"
        "[h.make_tensor_value_info('x',t.FLOAT,['n',128])],"
        "[h.make_tensor_value_info('y',t.FLOAT,['n',2])],[n.from_array(w,'w')]);"
        "onnx.save(h.make_model(g,opset_imports=[h.make_opsetid('',17)],ir_version=8),sys.argv[1])"
    )
    model, form = tmp_path / "first.onnx", tmp_path / "form.json"
    subprocess.run([worker_python(), "-c", code, str(model)], check=True)
    form.write_text(json.dumps({"classes": ["more", {"name": "less", "color": "#112233"}]}))
    place = ["--year", "2024", "--bbox", BBOX]
    asked = ["--model", str(model), "--model-form", str(form), "--dataset", "1.1-dclimate"]
    made = cli("apply-model", *asked, *place, "--out", str(tmp_path / "map.tif"))
    assert made.returncode == 0, made.stdout + made.stderr
    raster = gdal.Open(str(tmp_path / "map.tif"))
    _origin(raster)
    assert raster.GetRasterBand(1).GetCategoryNames()[1:] == ["more", "less"]
    fetched = cli("fetch", "--dataset", "1.1-dclimate", *place, "--out", str(tmp_path / "a.npz"))
    assert fetched.returncode == 0, fetched.stderr
    with np.load(tmp_path / "a.npz") as arrays:
        codes, scales = arrays["codes"], arrays["scales"]
    wanted = np.where(np.isnan(scales), 0, np.where(codes[..., 0] >= 0, 1, 2))
    assert np.array_equal(raster.ReadAsArray(), wanted)
