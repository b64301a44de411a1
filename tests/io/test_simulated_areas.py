# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated areas on disk: recognised, built, and what comes out is the land that went in."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.io.dpixels.build import BuildPlan, build
from tessera_plugin.io.dpixels.recognise import Corrections, corrected, recognise
from tessera_plugin.io.dpixels.scenes import DN, DN_OFFSET
from tessera_plugin.values import Window
from tests.scenes import areas, pixels, spectra


def small(area):
    # the dates of a land follow from its seed and their number
    return replace(area, height=30, width=34, s1_count=3)


@pytest.fixture(scope="module", params=areas.AREAS, ids=lambda area: area.name)
def written(request, tmp_path_factory):
    return areas.write_area(tmp_path_factory.mktemp("areas"), small(request.param))


@pytest.fixture(scope="module")
def recognised(written):
    found = recognise([str(written.images)])
    if found.questions:
        assert found.questions == ("s2_unit",)
        found = corrected(found, Corrections(s2_unit=found.suggestions["s2_unit"]))
    assert not found.questions
    return found


def test_all_images_are_recognised(written, recognised):
    assert not recognised.unrecognised
    assert sorted(scene.date for scene in recognised.scenes.s2) == list(written.s2_dates)
    for orbit in ("ascending", "descending"):
        found = [scene.date for scene in recognised.scenes.s1 if scene.orbit == orbit]
        assert sorted(found) == list(getattr(written, orbit))


def test_the_offset_comes_in_the_year(written, recognised):
    units = [scene.unit for scene in sorted(recognised.scenes.s2, key=lambda each: each.date)]
    early = sum(date < dt.date(2022, 1, 25) for date in written.s2_dates)
    assert early >= 4
    # of the items' early images the last was processed again, later
    plain = early - 1 if written.area.layout == areas.ITEMS else early
    assert units == [DN] * plain + [DN_OFFSET] * (len(units) - plain)


def test_a_tile_of_it_is_what_the_land_shows(written, recognised, tmp_path):
    area = written.area
    window = Window(area.zone, area.row, area.col, area.height, area.width)
    built = build(BuildPlan(recognised.scenes, window, str(tmp_path / "tile")))
    land = areas.landscape(area)
    wanted = pixels.arrays(land)
    top, left = area.row % 2 + 4, area.col % 2 + 4  # images begin at even rows and columns
    inner = np.s_[:, top : top + area.height, left : left + area.width]
    masks = wanted["masks"][inner]
    kept = masks.any(axis=(1, 2))
    assert built.s2_dates == kept.sum() < len(kept)  # some dates are all cloud
    found = {name: np.load(tmp_path / "tile" / f"{name}.npy") for name in wanted}
    assert (found["doys"] == wanted["doys"][kept]).all()
    assert (found["masks"] == masks[kept]).all()
    usable = found["masks"] > 0
    assert usable.mean() > 0.3
    tens = [spectra.TILE_ORDER.index(spectra.BANDS.index(b)) for b in ("B02", "B03", "B04", "B08")]
    difference = found["bands"].astype(int) - wanted["bands"][inner][kept]
    assert (difference[..., tens][usable] == 0).all()
    if area.layout == areas.ITEMS:  # 20 m bands at 20 m: interpolated, then rounded
        away_from_swath_edges = np.abs(difference[usable])
        assert np.quantile(away_from_swath_edges, 0.99) <= 1
    for orbit in ("ascending", "descending"):
        # a code is cut to an integer: the last bit of a logarithm may decide
        codes = found[f"sar_{orbit}"].astype(int) - wanted[f"sar_{orbit}"][inner]
        assert np.abs(codes).max() <= 1
        assert (codes == 0).mean() > 0.99
        assert (found[f"sar_{orbit}_doy"] == wanted[f"sar_{orbit}_doy"]).all()


def test_the_truth_lies_where_the_points_are(written):
    raster = gdal.Open(str(written.truth))
    classes = raster.ReadAsArray()
    west, size, _, north, _, _ = raster.GetGeoTransform()
    area = written.area
    assert (west, north, size) == (10 * area.col, -10 * area.row, 10)
    assert classes.shape == (area.height, area.width)
    points = areas.label_points(area, per_class=3)
    assert len(points) >= 8
    back = areas.to_utm(area)
    for lon, lat, class_id in points:
        east, up, _ = back.TransformPoint(lon, lat)
        assert classes[int((north - up) // 10), int((east - west) // 10)] == class_id
