# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Likeness, the set that grows, and the map of it."""

import json

import numpy as np
import pytest
from osgeo import gdal, ogr
from scipy import ndimage
from sklearn.metrics.pairwise import cosine_similarity

from tessera_plugin.engine import regions, similar_map, similarity
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.errors import ExtentInvalid, ExtentTooLarge, NotWritable, NoValidEmbeddings
from tessera_plugin.io import outlines
from tessera_plugin.io.polygons import zone_polygons
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, Window
from tests.memory_source import MemorySource, longitudes, true_classes

WINDOW = Window(30, -580_123, 70_017, 200, 260)
INLAND = Extent(700_170, 5_799_230, 702_770, 5_801_230, "EPSG:32630")
SEAM = Extent(-0.01, 52.0, 0.015, 52.008)


def embeddings(window=WINDOW):
    codes, scales = MemorySource().read(window)
    return codes, scales, np.isfinite(scales)


def references(codes, valid, places):
    rows, cols = np.array(places).T
    return similarity.References.of(codes[rows, cols], similarity.centre_of(codes[valid]))


def some_valid(valid, count, seed=0):
    chosen = np.random.default_rng(seed).choice(np.argwhere(valid), count, replace=False)
    return [tuple(place) for place in chosen.tolist()]


# --- likeness


def test_likeness_is_the_cosine_about_the_mean_direction():
    codes, _, valid = embeddings()
    places = some_valid(valid, 3)
    found = references(codes, valid, places).likeness(codes.reshape(-1, 128))

    x = codes.astype(float)
    directions = np.where(valid[..., None], x, 1)
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    around = directions - directions[valid].mean(axis=0)
    rows, cols = np.array(places).T
    wanted = cosine_similarity(around.reshape(-1, 128), around[rows, cols]).max(axis=1)
    wanted = 10_000 * np.clip(wanted, 0, 1)
    shown = valid.ravel()
    assert np.abs(found[shown] - wanted[shown]).max() <= 1
    assert (found[~shown] == similarity.NODATA).all()
    assert found.reshape(WINDOW.shape)[rows, cols] == pytest.approx(10_000, abs=1)
    assert 0 < (found[shown] == 0).mean() < 0.5  # three references are on most sides of the mean


def test_scales_do_not_matter_and_without_a_centre_it_is_the_cosine():
    codes, _, valid = embeddings()
    plain = similarity.References.of(codes[valid][:2], np.zeros(128, np.float32))
    wanted = np.clip(cosine_similarity(codes[valid], codes[valid][:2]).max(axis=1), 0, 1)
    assert np.abs(plain.likeness(codes[valid]) / 10_000 - wanted).max() < 1e-3


def test_it_finds_the_class_of_its_reference():
    codes, _, valid = embeddings()
    truth = true_classes(WINDOW)
    place = some_valid(valid, 1, seed=3)
    likeness = references(codes, valid, place).likeness(codes.reshape(-1, 128))
    likeness = likeness.reshape(WINDOW.shape)
    same = truth == truth[place[0]]
    pairs = [(likeness[valid & part]).astype(float) for part in (same, ~same)]
    assert np.median(pairs[0]) > 1.5 * np.percentile(pairs[1], 95)


def test_a_reference_is_a_valid_pixel():
    with pytest.raises(ValueError, match="valid pixel"):
        similarity.References.of(np.zeros((1, 128), np.int8), np.zeros(128, np.float32))


def test_percent():
    likeness = np.array([0, 49, 50, 149, 9_949, 9_950, 10_000, 65_535], np.uint16)
    assert similarity.to_percent(likeness).tolist() == [0, 0, 1, 1, 99, 100, 100, 255]


# --- the set that grows


def similar_pixels(count=1, seed=3):
    codes, scales, valid = embeddings()
    places = some_valid(valid, count, seed)
    seeds = [(WINDOW.row + row, WINDOW.col + col) for row, col in places]
    refs = references(codes, valid, places)
    return similarity.SimilarPixels.of(WINDOW, codes, scales, refs, seeds=seeds), places


def test_grown_set_by_threshold_and_by_what_hangs_together():
    found, places = similar_pixels(2)
    before = None
    for threshold in (90, 40, 20, 0.5, 0):
        like = (found.likeness >= 100 * threshold) & (found.likeness != similarity.NODATA)
        assert np.array_equal(found.grow(threshold, only_connected=False), like)
        labels, _ = ndimage.label(like)
        wanted = np.isin(labels, [labels[place] for place in places])
        grown = found.grow(threshold)
        assert np.array_equal(grown, wanted)
        if before is not None:
            assert not (before & ~grown).any()  # it only grows
        before = grown
    assert before.sum() > 1000


def test_references_outside_of_the_window_have_no_region():
    found, _ = similar_pixels()
    elsewhere = similarity.SimilarPixels(WINDOW, found.likeness, ((WINDOW.row - 1, WINDOW.col),))
    assert not elsewhere.grow(10).any()
    assert elsewhere.grow(10, only_connected=False).any()


@pytest.mark.parametrize("seed", range(6))
def test_regions_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 90, 2))
    mask = random.random(shape) < random.choice([0.3, 0.55, 0.62, 0.9])
    seeds = [tuple(place) for place in random.integers(0, shape, (3, 2)).tolist()]
    labels, _ = ndimage.label(mask)
    wanted = np.isin(labels, [labels[place] for place in seeds if mask[place]]) & mask
    assert np.array_equal(regions.connected(mask, seeds), wanted)


def test_regions_of_a_spiral_and_of_nothing():
    mask = np.zeros((61, 61), bool)
    row, col, step, turn = 30, 30, 2, 0
    while step < 59:
        d_row, d_col = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(step):
            mask[row, col] = True
            row, col = row + d_row, col + d_col
        step, turn = step + 1 * (turn % 2) * 2, turn + 1
    assert np.array_equal(regions.connected(mask, [(30, 30)]), mask)
    assert not regions.connected(mask, []).any()
    assert not regions.connected(np.zeros((4, 5), bool), [(1, 1)]).any()


@pytest.mark.parametrize(
    "window", [WINDOW, Window(36, 300, 50_000, 60, 70)], ids=["north", "south"]
)
def test_outlines_hold_the_pixels_they_were_made_of(window):
    mask = ndimage.binary_dilation(
        np.random.default_rng(1).random(window.shape) < 0.02, iterations=2
    )
    mask[20:30, 20:30] = True
    mask[23:26, 23:26] = False  # a hole
    found = outlines.outlines(mask, window)
    assert len(found) == ndimage.label(mask)[1]
    assert [each.pixels for each in found] == sorted((e.pixels for e in found), reverse=True)
    assert sum(each.pixels for each in found) == mask.sum()
    again = np.zeros(window.shape, bool)
    for each in found:
        (polygon,) = zone_polygons(each.wkb, zone_crs(window.zone))
        again |= polygon.mask(window)
    assert np.array_equal(again, mask)


def test_geojson_is_in_degrees_and_turns_the_right_way(tmp_path):
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    mask[4, 4] = False
    path = str(tmp_path / "a.geojson")
    outlines.write_outlines(path, outlines.outlines(mask, Window(30, -580_000, 70_000, 9, 9)))
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["properties"] == {"pixels": 24}
    outer, hole = (np.array(ring) for ring in feature["geometry"]["coordinates"])
    assert ogr_area(outer) > 0 > ogr_area(hole)
    metres = transform_points(outer, LONLAT, zone_crs(30))
    assert metres.min(axis=0) == pytest.approx([700_020, 5_799_930], abs=0.05)
    assert metres.max(axis=0) == pytest.approx([700_070, 5_799_980], abs=0.05)
    assert ogr.Open(path).GetLayer(0).GetFeatureCount() == 1


def ogr_area(ring):
    near = ring - ring[0]
    return np.sum(near[:-1, 0] * near[1:, 1] - near[1:, 0] * near[:-1, 1])


# --- the map


def point_in(window, row, col):
    metres = np.array([[(window.col + col + 0.5) * 10, -(window.row + row + 0.5) * 10]])
    ((lon, lat),) = transform_points(metres, zone_crs(window.zone), LONLAT).tolist()
    return lon, lat


def request_of(tmp_path, extent=INLAND, **changes):
    values = {"dataset": "1.1-dclimate", "year": 2024, "extent": extent,
              "access": Access(str(tmp_path / "cache")), "points": (),
              "out": str(tmp_path / "like.tif")}  # fmt: skip
    return similar_map.SimilarRequest(**{**values, **changes})


def test_map_and_areas(tmp_path):
    (window,) = windows_of(INLAND)
    codes, _, valid = embeddings(window)
    place = some_valid(valid, 1)[0]
    asked = request_of(tmp_path, points=(point_in(window, *place),), threshold_percent=30,
                       areas_out=str(tmp_path / "like.geojson"))  # fmt: skip
    result = similar_map.similar_from(MemorySource(), asked)
    (path,) = result.raster.paths
    raster = gdal.Open(path)
    refs = references(
        codes, valid, [place]
    )  # of a sample that is all of these pixels, up to 20 000
    wanted = similarity.to_percent(refs.likeness(codes.reshape(-1, 128))).reshape(window.shape)
    values = raster.ReadAsArray()
    assert np.array_equal(values == 255, ~valid)
    assert np.abs(values[valid].astype(int) - wanted[valid]).max() <= 1
    assert raster.GetRasterBand(1).GetNoDataValue() == 255
    assert raster.GetMetadataItem("TESSERA_YEAR") == "2024"
    assert raster.GetMetadataItem("TESSERA_SIMILAR_TO").startswith(f"{asked.points[0][0]:.6f},")
    assert result.valid_px == valid.sum()
    assert result.similar_px == ((values >= 30) & valid).sum()
    features = json.loads((tmp_path / "like.geojson").read_text())["features"]
    assert sum(f["properties"]["pixels"] for f in features) == result.similar_px

    few = similar_map.similar_from(
        MemorySource(), request_of(tmp_path, points=asked.points, out=None, only_connected=True,
                                   threshold_percent=30, areas_out=asked.areas_out))  # fmt: skip
    labels, _ = ndimage.label((values >= 30) & valid)
    assert few.raster is None
    assert few.similar_px == (labels == labels[place]).sum()


def test_over_a_seam_every_pixel_counts_once(tmp_path):
    west, east = windows_of(SEAM)
    _, _, valid = embeddings(west)
    row, col = some_valid(valid & (longitudes(west) < 0), 1)[0]
    result = similar_map.similar_from(
        MemorySource(), request_of(tmp_path, SEAM, points=(point_in(west, row, col),),
                                   areas_out=str(tmp_path / "a.json"), threshold_percent=40)
    )  # fmt: skip
    assert [path[-10:] for path in result.raster.paths] == ["_utm30.tif", "_utm31.tif"]
    assert result.raster.mosaic.endswith("like.vrt")
    own = 0
    for path, window, is_own in zip(
        result.raster.paths, (west, east), (longitudes(west) < 0, longitudes(east) >= 0)
    ):
        values = gdal.Open(path).ReadAsArray()
        shown = np.isfinite(MemorySource().read(window)[1]) & is_own
        assert np.array_equal(values != 255, shown)
        own += int((values[shown] >= 40).sum())
    assert result.similar_px == own


def test_a_point_without_an_embedding_is_named(tmp_path):
    (window,) = windows_of(INLAND)
    lon, lat = point_in(window, 5, 5)
    lake = Window(30, window.row, window.col, 20, 20)
    with pytest.raises(NoValidEmbeddings, match=f"the point {lon:.6f}, {lat:.6f} is water"):
        similar_map.similar_from(
            MemorySource(water=[lake]), request_of(tmp_path, points=((lon, lat),))
        )
    assert not list(tmp_path.glob("*"))


def test_refusals(tmp_path):
    with pytest.raises(ExtentInvalid, match="80° south and 84° north"):
        similar_map.similar_from(MemorySource(), request_of(tmp_path, points=((5.0, 95.0),)))
    with pytest.raises(ExtentInvalid, match="a place to compare with"):
        similar_map.similar_from(MemorySource(), request_of(tmp_path))
    with pytest.raises(ExtentTooLarge):
        similar_map.similar(request_of(tmp_path, points=((0.0, 52.0),), limit_px=10))
    with pytest.raises(NotWritable, match="folder does not exist"):
        similar_map.similar_from(
            MemorySource(),
            request_of(tmp_path, points=((0.0, 52.0),), out=str(tmp_path / "no" / "a.tif")),
        )
    assert not list(tmp_path.glob("*"))


def test_cancel_leaves_nothing(tmp_path):
    (window,) = windows_of(INLAND)
    place = some_valid(embeddings(window)[2], 1)[0]
    asked = request_of(tmp_path, points=(point_in(window, *place),))
    calls = []

    def count(fraction, message=""):
        calls.append(fraction)

    similar_map.similar_from(MemorySource(), asked, count)
    assert calls == sorted(calls)
    assert 0 <= calls[0] <= calls[-1] <= 1
    (tmp_path / "like.tif").unlink()
    for stop_at in range(0, len(calls), 5):
        left = iter(range(stop_at))

        def stop(fraction, message="", left=left):
            if next(left, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled):
            similar_map.similar_from(MemorySource(), asked, stop)
        assert not list(tmp_path.glob("*"))
