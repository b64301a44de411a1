# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""`classify` with its options as typed, against the sample archive."""

import csv
import json

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.__main__ import main
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

BOX = (0.110, 52.195, 0.126, 52.203)
DATASET = ["--dataset", "1.1-dclimate"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def server():
    with RangeServer(SampleArchive()) as running:
        yield running


@pytest.fixture
def cli(server, folder, capsys):
    def run(*arguments):
        status = main(
            [*arguments, "--archive", server.url, "--cache", str(folder / "cache"), "--json"]
        )
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        ends = [line for line in told if line["type"] != "progress"]
        return status, ends[-1] if ends else None

    return run


@pytest.fixture
def labels(folder):
    features = [
        {
            "type": "Feature",
            "properties": {"cover": f"class {point.class_id}"},
            "geometry": {"type": "Point", "coordinates": [point.lon, point.lat]},
        }
        for point in SampleArchive().label_points(BOX, 5)
    ]
    path = folder / "labels.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


@pytest.fixture
def head(cli, folder, labels):
    path = folder / "a.head"
    if not path.exists():
        status, _ = cli("train", *DATASET, "--year", "2024", "--samples", labels, "--class-field",
                        "cover", "--head", "instant", "--out", str(path))  # fmt: skip
        assert status == 0
    return str(path)


def test_everything_of_two_years_within_a_polygon(cli, folder, labels, head):
    west, south, east, north = BOX
    ring = [[west, south], [east, south], [east, north], [west, south]]
    area = folder / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    status, told = cli(
        "classify", "--head", head, "--years", "2023,2024", "--polygon", str(area), "--out",
        str(folder / "map.tif"), "--probabilities", "--margin", "--novelty", "--labels", labels,
        "--class-field", "cover", "--uncertain-below", "60", "--sieve", "0.05ha", "--majority", "3",
        "--connected", "8", "--vectorise",
    )  # fmt: skip
    assert status == 0
    assert [each["year"] for each in told["maps"]] == [2023, 2024]
    for year, each in zip((2023, 2024), told["maps"]):
        values = gdal.Open(each["maps"][0]).ReadAsArray()
        half = (values > 0).mean()
        assert 0.3 < half < 0.55  # a triangle of the rectangle
        assert sum(one["pixels"] for one in each["classes"]) == (values > 0).sum()
        assert each["classes"][-1]["name"] == "Uncertain"
        assert each["clean"]["paths"] == [str(folder / f"map_clean_{year}.tif")]
        tags = gdal.Open(each["clean"]["paths"][0]).GetMetadata()
        assert tags["TESSERA_CLEANED"] == "majority 3 x 3; sieve 5 px, 8-connected"
        novel = gdal.Open(each["novelty"]["paths"][0]).ReadAsArray()
        assert np.array_equal(novel < 255, values > 0)
        assert gdal.OpenEx(each["polygons"]).GetLayer(0).GetFeatureCount() == each["polygon_count"]
    with open(told["areas"], encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert told["areas"] == str(folder / "map_areas.csv")
    hectares = sum(
        float(row["hectares (counted pixels, not an estimate of area)"])
        for row in rows
        if (row["year"], row["map"]) == ("2024", "as classified")
    )
    assert hectares == pytest.approx((values > 0).sum() / 100)


def classified(cli, folder, head, *more):
    out = folder / "several.tif"
    return cli(
        "classify", "--head", head, "--bbox", ",".join(map(str, BOX)), "--out", str(out), *more
    )


@pytest.mark.parametrize("years", ["2024", "2023,2024"])
def test_a_table_that_can_not_be_written_loses_no_map(cli, folder, head, years):
    table = folder / f"{'a' * 252}.csv"  # longer than names may be
    status, told = classified(cli, folder, head, "--years", years, "--areas", str(table))
    assert status == 3
    assert told["areas"] is None
    assert told["areas_error"]["error"] == "NotWritable"
    maps = told["maps"] if "," in years else []
    assert len(maps) in {0, 2}
    assert (folder / ("several_2023.tif" if maps else "several.tif")).exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--areas", "/no/such/folder/a.csv"], "does not exist"),
        (["--novelty"], "--labels"),
        (["--sieve", "3m"], "neither pixels nor hectares"),
        (["--majority", "4"], "invalid choice"),
        (["--uncertain-below", "101"], "0 to 100"),
        (["--polygon", "x.gpkg"], "not allowed with"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, capsys, arguments, reason):
    place = ["--bbox", ",".join(map(str, BOX)), "--year", "2024", "--out", str(folder / "no.tif")]
    try:
        status = main(["classify", "--head", "none.head", *place, *arguments])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert reason in capsys.readouterr().err
    assert not (folder / "no.tif").exists()
