# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""`labels sample` and `labels check` as typed."""

import json

import pytest

from tessera_plugin.__main__ import main
from tests.engine.test_label_sample import patches, write


@pytest.fixture
def cli(tmp_path, capsys):
    def run(*arguments):
        cache = ["--cache", str(tmp_path / "cache"), "--archive", "http://127.0.0.1:9"]
        status = main(["labels", *arguments, *cache, "--json"])
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return status, [line for line in told if line["type"] != "progress"][-1]

    return run


def test_points_of_a_map_are_chosen_and_checked(cli, tmp_path):
    raster = write(tmp_path / "map.tif", patches(), nodata=0)
    out = str(tmp_path / "points.geojson")
    status, told = cli("sample", raster, "--out", out, "--per-class", "5", "--year", "2024")
    assert status == 0
    assert [(each["value"], each["points"]) for each in told["classes"]] == [
        (1, 5), (2, 5), (3, 5), (4, 0)]  # fmt: skip
    check = ["check", out, "--class-field", "class", "--year-field", "year", "--dataset"]
    status, told = cli(*check, "1.1-cambridge", "--year", "2024")
    assert (status, told["labels"]) == (0, 15)
    assert {each["kind"] for each in told["problems"]} == {"not_fetched"}
    status, told = cli(*check, "1.1-cambridge", "--year", "2023")
    assert status == 3
    assert [each["kind"] for each in told["problems"]].count("other_year") == 15
    status, told = cli("check", out, "--class-field", "no", "--year", "2023", "--dataset", "1.1-cambridge")  # fmt: skip
    assert (status, told["error"]) == (2, "FieldMissing")


def test_what_a_check_leaves_out_is_told(cli, tmp_path):
    def feature(shape, **properties):
        return {"type": "Feature", "geometry": shape, "properties": {"year": 2024, **properties}}

    def point(lon):
        return {"type": "Point", "coordinates": [lon, 50]}

    line = {"type": "LineString", "coordinates": [[10, 50], [11, 51]]}
    bow_tie = {"type": "Polygon",
               "coordinates": [[[11, 50], [11.01, 50.01], [11.01, 50], [11, 50.01], [11, 50]]]}  # fmt: skip
    path = tmp_path / "in.geojson"

    def check(*features, fields=("--class-field", "c")):
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return cli("check", str(path), *fields, "--dataset", "1.1-cambridge", "--year", "2024")

    good = feature(point(10), c="a")
    names = ("labels", "no_class", "no_geometry", "unusable", "mended")
    for more, told in (
        ((), (1, 0, 0, 0, 0)),
        ((feature(point(10.1), c=None),), (1, 1, 0, 0, 0)),
        ((feature(None, c="a"),), (1, 0, 1, 0, 0)),
        ((feature(line, c="a"),), (1, 0, 0, 1, 0)),
        ((feature(bow_tie, c="a"),), (3, 0, 0, 0, 1)),
    ):
        status, said = check(good, *more)
        assert tuple(said[name] for name in names) == told
        assert status == (3 if any(told[1:]) else 0)
    # a misspelt field is no reason to take all labels to be of one year
    wrong = ("--class-field", "c", "--year-field", "Year")
    status, said = check(good, fields=wrong)
    assert (status, said["error"]) == (2, "FieldMissing")
