# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are told of an extent before they fetch it, of both forms, and which years there are."""

import json
import threading

import numpy as np
import pytest

from tessera_plugin.engine import coverage, embeddings, grid
from tessera_plugin.engine.coverage import CoverageRequest
from tessera_plugin.errors import (
    DepthNotOffered,
    ExtentInvalid,
    ExtentTooLarge,
    UnknownDataset,
    UnknownYear,
)
from tessera_plugin.io.sources import choice, mirrors
from tessera_plugin.io.zarr import store
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import Access, Dataset, Extent, NetworkSettings, State
from tests.archive.sample import SampleArchive
from tests.servers import FOREVER, Fault, RangeServer

QUICK = NetworkSettings(backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
CAMBRIDGE = "1.1-cambridge"
PARK = Extent(0.112, 52.200, 0.132, 52.210)
SEAM = Extent(-0.004, 52.060, 0.004, 52.066)
NOWHERE = Extent(0.6, 52.0, 0.61, 52.01)
FORMS = ["zarr", "npy"]


@pytest.fixture(autouse=True)
def fresh():
    store._asked.clear()
    mirrors._failed.clear()
    choice.forget()


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


@pytest.fixture
def server(archive):
    with RangeServer(archive) as running:
        yield running


def access(server, folder, form="", **more):
    return Access(str(folder), server.url, network=QUICK, form=form, **more)


def asked(server, folder, extent=PARK, dataset=CAMBRIDGE, year=2024, form="", **more):
    return CoverageRequest(dataset, year, extent, access(server, folder, form), **more)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("extent", [PARK, SEAM], ids=["park", "seam"])
def test_before_during_and_after_a_fetch(server, tmp_path, form, extent):
    request = asked(server, tmp_path, extent, form=form)
    steps, threads = [], set()

    def on_refined(step):
        steps.append(step)
        threads.add(threading.get_ident())

    before = coverage.coverage(request, on_refined=on_refined)
    assert threads == {threading.get_ident()}
    assert steps[0].requests == 0
    assert [step.requests for step in steps] == sorted(step.requests for step in steps)
    assert steps[-1].counts == before.counts
    assert before.windows == grid.windows_of(extent)
    assert (before.dataset, before.year, before.depth, before.form) == (CAMBRIDGE, 2024, 128, form)
    assert sum(before.counts.values()) == before.pixels == sum(w.pixels for w in before.windows)
    assert before.counts[State.VALID] > 0
    assert not before.nothing_published
    assert before.bytes_known
    server.clear()
    result = embeddings.fetch(embeddings.FetchRequest(CAMBRIDGE, 2024, extent, request.access))
    assert before.bytes_to_fetch <= server.bytes_sent <= 1.1 * before.bytes_to_fetch + 600_000
    after = coverage.coverage(request)
    with_states = embeddings.open_source(CAMBRIDGE, 2024, request.access)
    for window, part in zip(result.windows, after.parts):
        np.testing.assert_array_equal(part.states, with_states.states(window))
    assert after.bytes_to_fetch == 0
    assert after.counts[State.VALID] == result.summary.valid_px == after.cached_px


def test_sentences_and_numbers(server, tmp_path):
    before = coverage.coverage(asked(server, tmp_path, SEAM))
    (line,) = before.sentences()
    assert line.startswith(f"{before.pixels:,} pixels: ")
    assert " % valid" in line
    assert " % water" in line
    assert "; 0 % in the cache; " in line
    assert line.endswith(f"{before.bytes_to_fetch / 1e6:,.1f} MB to come.")
    numbers = json.loads(json.dumps(before.to_json()))
    assert numbers["states"] == {s.name.lower(): n for s, n in before.counts.items()}
    assert sum(numbers["states"].values()) == numbers["pixels"]
    assert numbers["bytes_to_fetch"] == before.bytes_to_fetch
    assert [w["epsg"] for w in numbers["windows"]] == [32630, 32631]


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_is_published(server, tmp_path, form):
    told = coverage.coverage(asked(server, tmp_path, NOWHERE, form=form))
    assert told.nothing_published
    assert told.bytes_to_fetch == 0
    assert told.sentences() == (f"{told.pixels:,} pixels: nothing is published here for 2024.",)


def test_failures_are_named(server, tmp_path):
    coverage.coverage(asked(server, tmp_path, Extent(0.112, 52.200, 0.1121, 52.2001), year=2023))
    server.faults.append(Fault.status(403, path="*/c/*/*/*", count=FOREVER))
    told = coverage.coverage(asked(server, tmp_path))
    assert told.counts[State.UNKNOWN] == told.pixels
    assert not told.nothing_published
    assert told.sentences()[1] == (
        f"Could not be asked: {told.failed[0].part}: access refused (status 403)."
    )


@pytest.mark.parametrize("depth", [4, 16])
def test_less_depth_costs_less(server, tmp_path, depth):
    few = coverage.coverage(asked(server, tmp_path, dataset="2.0-2B-L~beta1", depth=depth))
    all_of_it = coverage.coverage(asked(server, tmp_path, dataset="2.0-2B-L~beta1"))
    assert few.depth == depth
    assert few.counts == all_of_it.counts
    assert few.bytes_to_fetch < all_of_it.bytes_to_fetch * (depth + 8) / 128


def test_a_store_outside_any_archive(server, archive, tmp_path):
    own = Dataset(
        "store", "b", "", (2023, 2024, 2025), "Own", store=f"{server.url}/zarr/v1.1-dclimate-b"
    )
    request = CoverageRequest(own.key, 2024, PARK, access(server, tmp_path, stores=(own,)))
    told = coverage.coverage(request)
    (window,) = told.windows
    _, scales = archive.zarr_window(
        "v1.1-dclimate-b", 2024, window.zone, window.row, window.col, *window.shape
    )
    assert told.counts[State.VALID] == ((scales > 0) & (scales < 1)).sum() > 0
    assert coverage.years_here(own.key, PARK, request.access) == {
        2023: State.PUBLISHED,
        2024: State.PUBLISHED,
        2025: State.OUTSIDE,
    }


def test_what_is_wrong_with_the_request_is_raised(server, tmp_path):
    with pytest.raises(UnknownDataset):
        coverage.coverage(asked(server, tmp_path, dataset="x"))
    with pytest.raises(UnknownYear):
        coverage.coverage(asked(server, tmp_path, year=1999))
    with pytest.raises(DepthNotOffered):
        coverage.coverage(asked(server, tmp_path, depth=7))
    with pytest.raises(ExtentInvalid):
        coverage.coverage(asked(server, tmp_path, Extent(0, 86, 1, 87)))
    for form in FORMS:
        with pytest.raises(ExtentTooLarge):
            coverage.coverage(asked(server, tmp_path, Extent(-170, -60, 170, 80), form=form))
    assert not server.requests("*/c/*/*/*")
    assert not server.requests("npy/*")


def test_cancel_is_heard(server, tmp_path):
    def report(fraction, message):
        if server.log:
            raise Cancelled

    server.latency_s = 5.0
    with pytest.raises(Cancelled):
        coverage.coverage(asked(server, tmp_path), report)
    with pytest.raises(Cancelled):
        coverage.years_here(CAMBRIDGE, PARK, access(server, tmp_path), report)


# --- years


@pytest.mark.parametrize("form", FORMS)
def test_the_years_that_have_data_here(server, tmp_path, form):
    where = access(server, tmp_path, form)
    fractions = []

    def report(fraction, message):
        fractions.append(fraction)

    years = coverage.years_here(CAMBRIDGE, PARK, where, report)
    there = {year for year, state in years.items() if state == State.PUBLISHED}
    assert there == {2023, 2024}
    assert all(state == State.OUTSIDE for year, state in years.items() if year not in there)
    assert fractions == sorted(fractions)
    assert len(server.requests("*/c/*/*/*") + server.requests("npy/*")) <= 4 * len(years)
    server.clear()
    assert coverage.years_here(CAMBRIDGE, PARK, where) == years
    assert not server.log, "remembered for a day"
    coverage.refresh(CAMBRIDGE, where)
    assert coverage.years_here(CAMBRIDGE, PARK, where) == years
    assert server.log


def test_years_that_can_not_be_asked_are_not_known(server, tmp_path):
    server.faults.append(Fault.status(403, path="npy/v1.1-cam/2024/*", count=FOREVER))
    years = coverage.years_here(CAMBRIDGE, PARK, access(server, tmp_path, "npy"))
    assert (years[2023], years[2024]) == (State.PUBLISHED, State.UNKNOWN)
    offline = Access(str(tmp_path / "other"), server.url, offline=True, form="zarr")
    assert set(coverage.years_here(CAMBRIDGE, PARK, offline).values()) == {State.UNKNOWN}


def test_the_years_of_a_whole_country_cost_no_more(server, tmp_path):
    years = coverage.years_here(CAMBRIDGE, Extent(-6, 48, 6, 56), access(server, tmp_path), silent)
    assert len(server.log) <= 4 * len(years) + 4


# --- refreshed


@pytest.mark.parametrize("form", FORMS)
def test_refresh_keeps_the_data(server, tmp_path, form):
    where = access(server, tmp_path, form)
    request = embeddings.FetchRequest(CAMBRIDGE, 2024, SEAM, where)
    first = embeddings.fetch(request)
    coverage.refresh(CAMBRIDGE, where)
    server.clear()
    again = embeddings.fetch(request)
    assert again.summary.valid_px == first.summary.valid_px
    data = [entry for entry in server.log if not entry.path.endswith((".json", "/time/c/0"))]
    assert data
    assert all(entry.range.startswith(("bytes=-", "bytes=0-127")) for entry in data), "no pixels"
