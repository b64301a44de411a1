# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Polygons as the area of a map: which are used, how much they weigh, which zones they are in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.engine import classify, map_ground
from tessera_plugin.engine.heads import save
from tessera_plugin.engine.map_ground import Polygons, check_area, gathered, ground_of
from tessera_plugin.engine.map_years import classify_years
from tessera_plugin.errors import ExtentTooLarge, PolygonsFarApart
from tessera_plugin.io.projection import LONLAT
from tessera_plugin.values import Access
from tests.builders import wkb, write_layer
from tests.engine.test_classify import head_of, opened, request_of, run
from tests.memory_source import MemorySource


def square(west, south, edge=0.005):
    east, north = round(west + edge, 9), round(south + edge, 9)
    return f"(({west} {south},{east} {south},{east} {north},{west} {north},{west} {south}))"


def polygons(*places, edge=0.005):
    return Polygons(tuple(wkb("POLYGON " + square(*each, edge)) for each in places), LONLAT)


def pixels(ground):
    return sum(int(ground.mask(each).sum()) for each in ground.windows)


# --- which are used


def test_what_can_be_mended_is_mended_and_what_can_not_is_counted():
    plain = square(0.1, 52)
    spike = "((0.11 52,0.118 52,0.118 52.008,0.118 52.011,0.118 52.008,0.11 52.008,0.11 52))"
    shapes = [
        f"POLYGON {plain}", f"POLYGON {spike}",
        f"GEOMETRYCOLLECTION (POLYGON {square(0.2, 52)}, LINESTRING (0.3 52, 0.4 52))",
        "CURVEPOLYGON (CIRCULARSTRING (0.3 52, 0.305 52.005, 0.31 52, 0.305 51.995, 0.3 52))",
        "POLYGON EMPTY", "POLYGON ((0.5 52, 0.6 52, 0.5 52, 0.5 52))",
        f"POLYGON Z {plain.replace(',', ' 7,').replace('))', ' 7))')}",
    ]  # fmt: skip
    found = gathered((wkb(each) for each in shapes), LONLAT)
    assert len(found.wkbs) == 5
    assert found.unusable == 1  # the one without an inside; an empty one is nothing that is missing
    alone = gathered([wkb(f"POLYGON {spike}")], LONLAT)
    clean = Polygons(
        (wkb("POLYGON ((0.11 52,0.118 52,0.118 52.008,0.11 52.008,0.11 52))"),), LONLAT
    )
    assert pixels(ground_of(alone)) == pixels(ground_of(clean)) > 4000


def test_polygons_of_a_file_that_can_not_be_used_are_told_with_the_map(tmp_path):
    path = tmp_path / "areas.gpkg"
    shapes = ["POLYGON " + square(0.1, 52), "POLYGON ((0.5 52, 0.6 52, 0.5 52, 0.5 52))", None]
    write_layer(path, [(each, {}) for each in shapes], {})
    area = map_ground.load_polygons(str(path))
    assert area.unusable == 1
    assert run(tmp_path, extent=area, confidence_out=None).unusable_polygons == 1


# --- how much they weigh


def test_polygons_weigh_what_is_fetched_of_them_not_the_rectangle_around():
    ground = ground_of(polygons((0.1, 52.0), (1.6, 53.2)))
    (window,) = ground.windows
    assert window.pixels > 100_000_000
    size = check_area(ground, 20_000)
    assert size.pixels == sum(each.pixels for each in ground.needed()) < 6000
    with pytest.raises(ExtentTooLarge) as refused:
        check_area(ground, 2000)
    assert refused.value.pixels == size.pixels


def test_a_raster_that_would_be_nearly_all_empty_is_refused_with_what_to_do():
    with pytest.raises(PolygonsFarApart, match="one by one") as refused:
        check_area(ground_of(polygons((0.1, 42.0), (5.8, 60.0))), 50_000_000)
    assert refused.value.pixels > map_ground.MOST_RASTER_PX
    # one polygon that fills its rectangle is too large, not far apart
    with pytest.raises(ExtentTooLarge):
        check_area(ground_of(polygons((0.1, 42.0), edge=5.5)), 50_000_000)


def test_polygons_on_both_sides_of_180_degrees_weigh_little():
    ground = ground_of(polygons((179.995, -17), (-180, -17)))
    assert [each.zone for each in ground.windows] == [1, 60]
    assert check_area(ground, 20_000).pixels < 8000


def test_maps_of_one_year_and_of_several_take_polygons_far_apart(tmp_path, monkeypatch):
    save(head_of(), str(tmp_path / "a.head"))
    area = polygons((0.1, 52.0), (0.102, 52.06), edge=0.002)
    request = replace(request_of(tmp_path, area, confidence_out=None), limit_px=2000,
                      head_path=str(tmp_path / "a.head"), access=Access(str(tmp_path / "c")))  # fmt: skip
    asked = []

    def opened_source(_dataset, _year, _access, work, **_options):
        source = MemorySource()
        source.read = lambda window: (asked.append(window), MemorySource.read(source, window))[1]
        return work(source, "")

    monkeypatch.setattr(classify, "with_source", opened_source)
    (window,) = ground_of(area).windows
    result = classify.publish(classify.classify(request))
    assert sum(each.pixels for each in result.classes) > 500
    assert sum(each.pixels for each in asked) < 0.8 * window.pixels
    came = []
    assert classify_years(request, (2023, 2024), came.append) == ()
    for each in came:
        each.discard()
    assert len(came) == 2
    with pytest.raises(ExtentTooLarge):
        classify_years(replace(request, limit_px=200), (2023, 2024), came.append)


# --- which zones they are in


def test_a_polygon_that_ends_at_a_zone_seam_is_one_map(tmp_path):
    for west in (-0.005, 0.0):
        result = run(tmp_path, extent=polygons((west, 52.0)), confidence_out=None)
        assert [Path(each).name for each in result.maps] == ["map.tif"]
        assert result.mosaic is None
        assert np.count_nonzero(opened(result.maps[0]).ReadAsArray()) > 1000
