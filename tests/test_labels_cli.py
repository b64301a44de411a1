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
