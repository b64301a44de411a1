# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""`similar`, `cluster` and `suggest` as typed, against the sample archive."""

import json

import numpy as np
import pytest
from osgeo import gdal
from sklearn.metrics import adjusted_rand_score

from tessera_plugin.__main__ import main
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

BOX = (0.110, 52.195, 0.126, 52.203)
PLACE = ["--year", "2024", "--bbox", ",".join(map(str, BOX)), "--form", "npy"]
DATASET = ["--dataset", "1.1-cambridge"]


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cli(archive, cache, capsys):
    def run(*arguments):
        status = main([*arguments, "--archive", server.url, "--cache", cache, "--json"])
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return status, [line for line in told if line["type"] != "progress"][-1]

    with RangeServer(archive) as server:
        yield run


def truth_of(archive, raster):
    west, _, _, north, _, _ = raster.GetGeoTransform()
    shape = raster.RasterYSize, raster.RasterXSize
    return archive.truth(31, round(-north / 10), round(west / 10), *shape)


@pytest.fixture(scope="module")
def labels(archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.geojson"
    features = [
        {
            "type": "Feature",
            "properties": {"cover": f"class {point.class_id}"},
            "geometry": {"type": "Point", "coordinates": [point.lon, point.lat]},
        }
        for point in archive.label_points(BOX, 5)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def test_similar(cli, archive, tmp_path):
    points = [p for p in archive.label_points(BOX, 6) if p.class_id == 1][:4]
    at = [argument for p in points for argument in ("--at", f"{p.lon},{p.lat}")]
    out, areas = str(tmp_path / "like.tif"), str(tmp_path / "like.geojson")
    status, told = cli(
        "similar", *DATASET, *PLACE, *at, "--out", out, "--areas", areas, "--threshold", "40"
    )
    assert status == 0
    raster = gdal.Open(told["raster"]["paths"][0])
    values = raster.ReadAsArray()
    assert told["similar_px"] == ((values >= 40) & (values != 255)).sum() > 50
    same = truth_of(archive, raster) == 1
    assert (values[same].mean()) > 1.5 * values[~same & (values != 255)].mean()
    features = json.loads((tmp_path / "like.geojson").read_text())["features"]
    assert sum(f["properties"]["pixels"] for f in features) == told["similar_px"]


def test_cluster_and_map_its_head(cli, archive, tmp_path):
    out, head = str(tmp_path / "k.tif"), str(tmp_path / "k.head")
    status, told = cli(
        "cluster", *DATASET, *PLACE, "--clusters", "5", "--out", out, "--head-out", head
    )
    assert status == 0
    assert [c["name"] for c in told["classes"]] == [f"Cluster {n}" for n in range(1, 6)]
    raster = gdal.Open(out)
    values = raster.ReadAsArray()
    assert adjusted_rand_score(truth_of(archive, raster)[values > 0], values[values > 0]) > 0.2
    status, _ = cli("classify", *PLACE, "--head", head, "--out", str(tmp_path / "again.tif"))
    assert status == 0
    assert np.array_equal(gdal.Open(str(tmp_path / "again.tif")).ReadAsArray(), values)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["cluster", "--out", "k.tif", "--seed", "-1"], "0 to 4,294,967,295"),
        (["cluster", "--out", "k.tif", "--seed", "x"], "invalid whole number value"),
        (["cluster", "--out", "k.tif", "--head-out", "no_such_folder/k.head"], "does not exist"),
        (
            ["compare-heads", "--samples", "a.gpkg", "--class-field", "c", "--folds", "400"],
            "2 to 100",
        ),
    ],
)
def test_what_can_not_be_is_told_before_any_work(capsys, arguments, reason):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, *DATASET, *PLACE])
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err


def test_suggest(cli, labels, tmp_path):
    head, out = str(tmp_path / "a.head"), str(tmp_path / "places.geojson")
    samples = ["--samples", labels, "--class-field", "cover"]
    status, _ = cli(
        "train", *DATASET, *samples, "--head", "instant", "--out", head, "--year", "2024",
        "--form", "npy",
    )  # fmt: skip
    assert status == 0
    rasters = {name: str(tmp_path / f"{name}.tif") for name in ("uncertainty", "novelty")}
    status, told = cli(
        "suggest", *PLACE, *samples, "--head", head, "--out", out, "--count", "5",
        "--uncertainty", rasters["uncertainty"], "--novelty", rasters["novelty"],
    )  # fmt: skip
    assert status == 0
    assert len(told["places"]) == 5
    assert all(place["reasons"] for place in told["places"])
    points = json.loads((tmp_path / "places.geojson").read_text())["features"]
    assert [p["geometry"]["coordinates"] for p in points] == [
        [pytest.approx(p["lon"], abs=1e-6), pytest.approx(p["lat"], abs=1e-6)] for p in told["places"]]  # fmt: skip
    for place in told["places"]:
        # the window is the box around a slanted one
        assert BOX[0] - 1e-3 <= place["lon"] <= BOX[2] + 1e-3
        assert BOX[1] - 1e-3 <= place["lat"] <= BOX[3] + 1e-3
    for name, path in rasters.items():
        raster = gdal.Open(path)
        assert raster.GetRasterBand(1).GetNoDataValue() == 255
        assert raster.GetRasterBand(1).GetDescription().startswith(name)


def test_refusals(cli, tmp_path, capsys):
    status, told = cli("similar", *DATASET, *PLACE, "--at", "0.12,52.2")
    assert (status, told["error"]) == (2, "BadArguments")
    status, told = cli(
        "similar", *DATASET, *PLACE, "--at", "-0.12,89", "--out", str(tmp_path / "a.tif")
    )
    assert (status, told["error"]) == (2, "ExtentInvalid")
    for wrong in (["--at", "here"], ["--at", "0.12,52.2", "--threshold", "101"]):
        with pytest.raises(SystemExit):
            main(["similar", *DATASET, *PLACE, *wrong, "--out", "a.tif"])
    with pytest.raises(SystemExit):
        main(["cluster", *DATASET, *PLACE, "--clusters", "1", "--out", "a.tif"])
    assert "it must be 2 to 255" in capsys.readouterr().err
