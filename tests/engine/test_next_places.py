# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to label next in what the map shows, from a real cache."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tessera_plugin.engine import next_places as places_module
from tessera_plugin.engine.embeddings import FetchRequest, fetch, open_source
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.label_sets import LabelSet, Where, gather
from tessera_plugin.engine.labels import Label, Labels
from tessera_plugin.engine.next_places import NextRequest, next_places
from tessera_plugin.engine.novelty import Novelty
from tessera_plugin.engine.samples import SampleParams
from tessera_plugin.engine.suggest import find_places
from tessera_plugin.engine.training import TrainParams, fit
from tessera_plugin.engine.view_cells import SomeCells
from tessera_plugin.errors import ExtentTooLarge, NoValidEmbeddings
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, Extent, LandClass, NetworkSettings
from tests.archive.sample import SampleArchive
from tests.builders import wkb
from tests.servers import RangeServer

BOX = (0.118, 52.196, 0.126, 52.201)
EXTENT = Extent(*BOX)
KEY, YEAR = "1.1-cambridge", 2024


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    archive = SampleArchive()
    classes = tuple(LandClass(c.id, c.name, c.color) for c in archive.classes)
    points = archive.label_points(BOX, per_class=4)
    items = tuple(
        Label(wkb(f"POINT ({p.lon!r} {p.lat!r})"), p.class_id, str(n)) for n, p in enumerate(points)
    )
    labels = Labels("EPSG:4326", classes, items, "test")
    with RangeServer(archive) as server:
        network = NetworkSettings(connect_timeout_s=10, read_timeout_s=60)
        folder = str(tmp_path_factory.mktemp("cache"))
        access = Access(folder, server.url, network=network, form="npy")
        fetch(FetchRequest(KEY, YEAR, EXTENT, access))
        samples, _ = gather((LabelSet(labels, YEAR),), Where(KEY, access), SampleParams(), silent)
    head = fit(samples, TrainParams(test_share=0.0, calibrate=False))
    return NextRequest(head, samples, EXTENT, access, YEAR, count=5)


@pytest.fixture(scope="module")
def whole(request_):
    """All valid pixels of the extent, as cells in memory."""
    parts = []
    source = open_source(KEY, YEAR, replace(request_.access, offline=True))
    for window in windows_of(EXTENT):
        codes, scales = source.read(window)
        row, col = np.nonzero(np.isfinite(scales))
        at = np.full(len(row), window.zone), row + window.row, col + window.col
        parts.append((codes[row, col], scales[row, col], *at))
    return SomeCells(*(np.concatenate(arrays) for arrays in zip(*parts)))


def test_of_a_small_extent_every_pixel_is_looked_at(request_):
    found = next_places(request_)
    source = open_source(KEY, YEAR, replace(request_.access, offline=True))
    novelty = Novelty.of(request_.samples)
    expected = find_places(source, windows_of(EXTENT), request_.head, novelty, count=5)
    assert found == expected
    assert len({(p.row, p.col) for p in found}) == 5


def test_places_that_are_not_wanted_and_what_is_near_them_do_not_come_again(request_):
    first, second, *_ = next_places(request_)
    near = first.lon, first.lat + 20 / 111_320
    again = next_places(replace(request_, avoid=(near, (second.lon, second.lat))))
    assert len(again) == 5
    assert first not in again
    assert second not in again


@pytest.mark.parametrize("near_px", [places_module.NEAR_PX, 100])
def test_no_place_is_near_a_labelled_point_or_in_a_labelled_polygon(
    request_, whole, monkeypatch, near_px
):
    monkeypatch.setattr(places_module, "NEAR_PX", near_px)
    before = next_places(replace(request_, count=12), whole)
    half = (BOX[0] + BOX[2]) / 2
    east = wkb(f"POLYGON(({half} 52,0.2 52,0.2 52.3,{half} 52.3,{half} 52))")
    points = [each for each in before if each.lon < half]
    assert len(before) > len(points) > 2
    items = [Label(east, 1, "polygon")]
    for each in points:  # beside it
        aside = wkb(f"POINT ({each.lon + 20 / 68_000!r} {each.lat!r})")
        items.append(Label(aside, 2, str(each.lon)))
    classes = request_.samples.classes
    labels = Labels("EPSG:4326", classes, tuple(items), "test")
    found = next_places(replace(request_, count=12, labels=labels), whole)
    assert len(found) == 12
    assert all(each.lon < half for each in found)
    to_utm = partial(transform_points, source=LONLAT, target="EPSG:32631")
    at = to_utm(np.array([(each.lon, each.lat) for each in found]))
    labelled = to_utm(np.array([(each.lon + 20 / 68_000, each.lat) for each in points]))
    assert np.linalg.norm(at[:, None] - labelled[None], axis=2).min() >= 30
    # where all is labelled there is none, and that is no error
    all_of_it = wkb("POLYGON((0 52,1 52,1 53,0 53,0 52))")
    full = Labels("EPSG:4326", classes, (Label(all_of_it, 1, "all"),), "test")
    assert next_places(replace(request_, labels=full), whole) == ()


def test_of_a_large_extent_the_cells_in_memory_are_looked_at(request_, whole, monkeypatch):
    monkeypatch.setattr(places_module, "NEAR_PX", 100)
    found = next_places(request_, whole)
    probabilities = np.sort(request_.head.probabilities(whole.codes, whole.scales), axis=1)
    margin = probabilities[:, -1] - probabilities[:, -2]
    novel = np.minimum(Novelty.of(request_.samples).percent(whole.codes), 200) / 200
    worth = (np.rint(100 * (1 - margin)) / 100 + novel) / 2
    best = whole.row[worth.argmax()], whole.col[worth.argmax()]
    assert (found[0].row, found[0].col) == best
    assert len(found) == 5
    with pytest.raises(ExtentTooLarge):
        next_places(request_, None)


def test_where_nothing_is_fetched_it_says_so(request_):
    elsewhere = replace(request_, extent=Extent(0.16, 52.21, 0.165, 52.213))
    with pytest.raises(NoValidEmbeddings):
        next_places(elsewhere)
