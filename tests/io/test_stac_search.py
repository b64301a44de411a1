# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Searches of both kinds of catalogue, page by page, and what is told before anything is fetched."""

import datetime as dt
import json
import time

import pytest

from tessera_plugin.errors import AccessRefused, ExtentTooLarge, NetworkFailed, NoScenes
from tessera_plugin.io.dpixels.scenes import DN, DN_OFFSET
from tessera_plugin.io.stac import search as searching
from tessera_plugin.io.stac.catalogues import EARTH_SEARCH, PLANETARY_COMPUTER
from tessera_plugin.io.stac.fetch import fetch
from tessera_plugin.io.stac.search import boxes_of, search
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Window
from tests.clock import within
from tests.servers import FOREVER, Fault
from tests.stac_server import World

WINDOW = Window(31, -569_950, 60_050, 200, 200)


@pytest.fixture(scope="module")
def world():
    """Ten images of 2023 in each catalogue, and others that must not be found."""
    made = World()
    made.s2("first", "2023-01-01T00:00:00Z")
    for number in range(2, 11):
        moment = f"2023-{number:02}-11T10:50:31.024Z"
        made.s2(f"pc{number}", moment, like="first", cloud=number * 10)
    made.s2("last", "2023-12-31T23:59:59.9Z", like="first")
    made.s2("early", "2022-12-31T23:59:59Z", like="first")
    made.s2("late", "2024-01-01T00:00:00Z", like="first")
    made.s2("old", "2023-02-11T10:50:31.024Z", like="first", baseline="04.00", cloud=20)
    far = made.s2("far", "2023-06-01T10:00:00Z", like="first")
    far["geometry"]["coordinates"] = [[[4.6, 50.0], [4.7, 50.0], [4.7, 50.1], [4.6, 50.0]]]
    made.items["planetary-computer/sentinel-2-l2a"][1]["geometry"] = {"type": "Nonsense"}
    broken = made.s2("broken", "2023-06-02T10:00:00Z", like="first")
    del broken["assets"]["B05"]
    made.s1("up", "2023-05-02T05:00:00Z", "ascending")
    made.s1("down", "2023-05-03T17:00:00Z", "descending", like="up")
    made.s1("hh", "2023-05-04T17:00:00Z", "descending", pols=("vv",))
    made.s2("public", "2023-05-01T10:50:31Z", catalogue=EARTH_SEARCH)
    for number in range(2, 6):
        made.s2(f"es{number}", f"2023-05-{number:02}T10:50:31Z", catalogue=EARTH_SEARCH,
                like="public")  # fmt: skip
    return made


@pytest.fixture
def service(world):
    with world.serving(page=4) as running:
        yield running


@pytest.fixture
def request_of(service, tmp_path):
    return lambda window=WINDOW, **changes: service.request(window, tmp_path, **changes)


def ids(items):
    return [item.id for item in items]


# --- what is found


def test_all_pages_are_read_and_all_images_of_the_time_found_once(service, request_of):
    plan = search(request_of())
    assert ids(plan.s2) == ["first", *(f"pc{n}" for n in range(2, 11)), "last"]
    assert len(service.api.provider.searches) == 4
    assert plan.s2_dates == 11
    assert dict(plan.skipped) == {"broken": "it lacks B05"}
    assert {item.unit for item in plan.s2} == {DN_OFFSET}


def test_the_other_catalogue_pages_and_names_in_its_own_way(service, request_of):
    plan = search(request_of(s2=EARTH_SEARCH))
    assert ids(plan.s2) == ["public", "es2", "es3", "es4", "es5"]
    assert len(service.api.provider.searches) == 2
    assert {item.unit for item in plan.s2} == {DN}


def test_what_is_asked_is_the_area_and_the_time(service, request_of):
    search(request_of(first=dt.date(2023, 3, 1), last=dt.date(2023, 5, 31)))
    asked = service.api.provider.searches[0]
    assert asked["collections"] == "sentinel-2-l2a"
    assert asked["datetime"] == "2023-03-01T00:00:00Z/2023-05-31T23:59:59Z"
    west, south, east, north = map(float, asked["bbox"].split(","))
    assert 4.4 < west < east < 4.5
    assert 51.4 < south < north < 51.5


def test_cloudier_images_are_left_out_and_counted(request_of):
    plan = search(request_of(max_cloud=50))
    assert ids(plan.s2) == ["first", "pc2", "pc3", "pc4", "pc5", "last"]
    assert "5 cloudier than 50 % and 1 older processings" in " ".join(plan.sentences)


def test_radar_images_without_both_polarisations_are_named(request_of):
    plan = search(request_of(s1=PLANETARY_COMPUTER))
    assert [(item.id, item.orbit) for item in plan.s1] == [
        ("up", "ascending"),
        ("down", "descending"),
    ]
    assert dict(plan.skipped)["hh"] == "it lacks vh"
    assert plan.s1_dates == 2
    assert "1 ascending, 1 descending" in " ".join(plan.sentences)


def test_only_the_wanted_orbits_are_found(request_of):
    plan = search(request_of(s1=PLANETARY_COMPUTER, orbits=("descending",)))
    assert ids(plan.s1) == ["down"]


# --- what is told


def test_what_fetching_takes_is_told_before_and_is_about_right(service, request_of):
    request = request_of(s2=EARTH_SEARCH, s1=PLANETARY_COMPUTER)
    plan = search(request)
    told = plan.sentences[-1]
    assert told.startswith("To fetch: about ")
    assert "less where it is cloudy" in told
    assert plan.files == 5 * 11 + 2 * 2
    fetched = fetch(plan)
    assert plan.bytes == pytest.approx(fetched.bytes_fetched, rel=0.3)
    assert plan.requests == pytest.approx(fetched.requests, rel=0.3)


def test_what_is_here_already_is_not_counted(request_of):
    plan = search(request_of(s2=EARTH_SEARCH))
    fetch(plan)
    again = search(request_of(s2=EARTH_SEARCH))
    assert (again.bytes, again.requests, again.files_here) == (0, 0, 55)
    assert "Everything is here already." in again.sentences


def test_sizes_are_told_also_where_no_file_can_be_looked_at(service, request_of):
    service.store.faults.append(Fault.status(404, count=FOREVER))
    plan = search(request_of())
    assert plan.bytes > 1e6
    assert plan.requests == 2 * plan.files


# --- what goes wrong


def test_nothing_found_says_what_there_is_instead(request_of):
    with pytest.raises(NoScenes, match="no Sentinel-2 image of this area from 2021-01-01"):
        search(request_of(first=dt.date(2021, 1, 1), last=dt.date(2021, 12, 31)))
    with pytest.raises(NoScenes, match="cloudier than 5 %"):
        search(request_of(max_cloud=5))
    days = {"first": dt.date(2023, 6, 2), "last": dt.date(2023, 6, 2)}
    with pytest.raises(NoScenes, match="broken: it lacks B05"):
        search(request_of(**days))


def test_a_catalogue_without_such_images_is_refused(request_of):
    with pytest.raises(NoScenes, match="Earth Search"):
        search(request_of(s1=EARTH_SEARCH))


def test_an_area_that_is_absurd_is_refused_before_anybody_is_asked(service, request_of):
    with pytest.raises(ExtentTooLarge):
        search(request_of(window=Window(31, -569_950, 60_050, 6000, 6000)))
    assert not service.api.log


def test_a_page_is_asked_for_again_when_the_server_is_busy(service, request_of):
    service.api.faults += [
        Fault.status(503, path="*/search", count=1),
        Fault.reset(after=10, path="*/search", count=1, skip=1),
        Fault.status(403, path="*/search", count=1, skip=2),
    ]
    assert len(search(request_of()).s2) == 11


def test_refusals_without_end_are_an_error(service, request_of):
    service.api.faults.append(Fault.status(403, path="*/search", count=FOREVER))
    with pytest.raises(AccessRefused):
        search(request_of())
    assert len(service.api.log) == searching.REFUSALS


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"features": 3}', b'{"features": ["x"]}', b"\xff\xfe"]
)
def test_an_answer_that_is_none_is_said_so(service, request_of, body):
    service.api.faults.append(Fault.status(200, path="*/search", count=FOREVER, body=body))
    with pytest.raises(NetworkFailed, match="not a list of images"):
        search(request_of())


def page(*links):
    features = [{"id": "x", "properties": {}}]
    return json.dumps({"features": features, "links": list(links)}).encode()


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ({"rel": "next", "href": "?again=1"}, "no end"),
        ({"rel": "next", "href": "search", "method": "POST"}, "not understood"),
        ({"rel": "next", "href": "file:///etc/passwd"}, "not understood"),
    ],
)
def test_pages_that_lead_nowhere_are_an_error(service, request_of, link, reason):
    service.api.faults.append(Fault.status(200, path="*/search", count=FOREVER, body=page(link)))
    with pytest.raises(NetworkFailed, match=reason):
        search(request_of())
    assert len(service.api.log) < 5


def test_a_search_is_cancelled_at_once(service, request_of):
    service.api.faults.append(Fault.stall(60, path="*/search", count=FOREVER))
    began = time.monotonic()

    def report(fraction, message=""):
        if time.monotonic() - began > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        search(request_of(), report)
    assert time.monotonic() - began < within(1.5)


# --- areas


def test_an_area_over_the_antimeridian_is_two_boxes():
    # 180 degrees east lies 333 km east of zone 60's middle at the equator
    (west1, south1, east1, north1), (west2, south2, east2, north2) = boxes_of(
        Window(60, -1000, 83_300, 200, 200)
    )
    assert (east1, west2) == (180.0, -180.0)
    assert 179.9 < west1 < 180
    assert -180 < east2 < -179.9
    assert (south1, north1) == (south2, north2)
    (only,) = boxes_of(Window(1, -1000, 16_700, 100, 100))
    assert -180 <= only[0] < only[2] < -179.9


def test_both_sides_of_the_antimeridian_are_asked(service, request_of):
    with pytest.raises(NoScenes):
        search(request_of(window=Window(60, -1000, 83_300, 200, 200)))
    boxes = [asked["bbox"].split(",") for asked in service.api.provider.searches]
    assert len(boxes) == 2
    assert boxes[0][2] == "180.000000"
    assert boxes[1][0] == "-180.000000"


def test_a_southern_area_is_asked_for_in_the_south():
    ((_, south, _, north),) = boxes_of(Window(31, 100_000, 50_000, 100, 100))
    assert -9.1 < south < north < -9.0
