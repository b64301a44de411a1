# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job in a real window, from the zip; and what may go wrong on the way."""

import shutil
import time

import pytest
from osgeo import gdal, ogr

from tessera_plugin.engine.embeddings import FetchRequest
from tessera_plugin.engine.embeddings import fetch as engine_fetch
from tessera_plugin.values import Access, Extent
from tests.archive.sample import SampleArchive
from tests.servers import FOREVER, Fault, RangeServer
from tools import demo, desktop
from tools.qgis_profile import ROOT

DATASET, KEY, YEAR = "TESSERA 1.1 (dClimate", "1.1-dclimate", 2024
BBOX = (0.11, 52.185, 0.14, 52.205)


@pytest.fixture
def tmp_path(request):
    """A folder a person would keep: QGIS asks before it leaves layers in the system's own one."""
    folder = ROOT / "build" / "e2e" / request.node.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


@pytest.fixture
def place(tmp_path, archive, server):
    """Plan and settings of a person's folder; classes with five places each."""
    classes = [{**each, "points": each["points"][:5]} for each in demo.classes(archive, BBOX)]
    plan = {"bbox": BBOX, "dataset": DATASET, "year": YEAR, "classes": classes}
    settings = {
        "archive": server.url,
        "cache_dir": tmp_path / "cache",
        "labels_path": tmp_path / "labels.gpkg",
        "output_path": tmp_path / "map.tif",
    }
    plan.update({name: str(tmp_path / name) for name in ("marker", "marker2", "go_on")})
    return tmp_path, plan, settings


def perform(place, scenario):
    folder, plan, settings = place
    facts = desktop.perform(folder, f"scenarios.{scenario}", plan, settings)
    assert "error" not in facts, facts["error"]
    return facts


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_main_job_by_hand(tmp_path):
    summary = demo.run(tmp_path)
    assert "error" not in summary, summary["error"]
    assert demo.missing(tmp_path) == []
    assert 0.6 < summary["accuracy_against_truth"] < 0.99
    assert summary["classified_pixels"] > 100_000
    idle = summary["steps"]["idle"]["longest_gap_ms"]
    told = {name: step["longest_gap_ms"] - idle for name, step in summary["steps"].items()}
    assert set(told) >= {"fetch", "train", "classify"}


def test_killed_after_a_click_every_label_is_there(place):
    folder, plan, settings = place
    with desktop.running(folder, "scenarios.label_and_wait", plan, settings) as process:
        wait_for((folder / "marker").exists)
        desktop.kill(process)
    source = ogr.Open(str(folder / "labels.gpkg"))
    wanted = [len(each["points"]) for each in plan["classes"]]
    assert source.GetLayerByName("label_points").GetFeatureCount() == sum(wanted)
    source = None
    again = perform(place, "labels_again")
    assert again["counts"] == wanted
    assert "Label points" in again["layers"]


def test_killed_in_the_middle_of_a_fetch_it_goes_on_where_it_was(place, server, tmp_path):
    folder, plan, settings = place
    plan["bbox"] = (0.09, 52.175, 0.16, 52.225)  # about 50 MB
    server.bandwidth = 12_000_000
    with desktop.running(folder, "scenarios.fetch_and_wait", plan, settings) as process:
        wait_for(lambda: server.bytes_sent > 28_000_000)
        desktop.kill(process)
    first = server.bytes_sent
    server.bandwidth = None
    facts = perform(place, "fetch")
    second = server.bytes_sent - first
    whole = Extent(*facts["extent"])
    fresh = Access(cache_dir=str(tmp_path / "fresh"), archive=server.url)
    needed = engine_fetch(FetchRequest(KEY, YEAR, whole, fresh)).summary.bytes_fetched
    in_flight = 6 * 2_000_000 + 12_000_000  # what was on the way, and a second of what had come
    assert second < needed
    assert first + second < needed + in_flight


def test_killed_while_classifying_the_next_one_goes_on_with_the_same_head(place):
    folder, plan, settings = place
    with desktop.running(folder, "scenarios.classify_and_wait", plan, settings) as process:
        wait_for((folder / "marker").exists)
        desktop.kill(process)
    again = perform(place, "classify_again")
    assert "pixels classified" in again["told"]
    assert again["head"].endswith("labels_instant_1.1-dclimate_2024.head")
    assert gdal.Open(str(folder / "map.tif")).ReadAsArray().all()
    maps = {path.name for path in folder.glob("map*")}
    assert maps <= {
        "map.tif",
        "map_confidence.tif",
        "map.tif.aux.xml",
        "map_confidence.tif.aux.xml",
    }


def test_without_a_network_it_says_so_and_goes_on_later(place, server):
    folder, plan, settings = place
    server.bandwidth = 12_000_000
    scenario = "scenarios.fetch_twice_while_the_network_goes_and_comes"
    with desktop.running(folder, scenario, plan, settings) as process:
        wait_for(lambda: server.bytes_sent > 8_000_000)
        server.faults.append(Fault.drop(count=FOREVER))
        server.close_connections()
        wait_for((folder / "marker2").exists, 120)
        server.faults.clear()
        (folder / "go_on").touch()
        process.wait(120)
    facts = desktop.answer_of(folder)
    assert "error" not in facts, facts["error"]
    assert facts["first"] != facts["second"]
    assert "Did not arrive" in facts["first"] or "could not be" in facts["first"], facts
    assert "Did not arrive" not in facts["second"]


def test_a_killed_worker_is_said_and_the_next_training_works(place):
    facts = perform(place, "worker_killed_while_training")
    assert "Trained on" not in facts["first"]
    assert "ended by itself" in facts["first"]
    assert "Trained on" in facts["second"][0]


def test_project_closed_layers_removed_plugin_reloaded_in_the_middle_of_jobs(place):
    folder, plan, _ = place
    facts = perform(place, "upheaval")
    wanted = [str(len(each["points"])) for each in plan["classes"]]
    assert facts["counts"] == wanted
    assert facts["counts after"] == wanted
    assert facts["counts after reload"] == wanted
    assert "Trained on" in facts["train"][0]
    assert facts["maps"] == [str(folder / "map.tif")]
    assert facts["maps are valid"]
    assert "pixels" in facts["fetch after reload"]
