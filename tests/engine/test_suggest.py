# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Novelty, uncertainty, and the places to label next."""

import json
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from tessera_plugin.engine import novelty, suggest
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.heads import Head, fit_instant, save
from tessera_plugin.engine.places import score_of
from tessera_plugin.engine.samples import Label, Labels, SampleParams, collect
from tessera_plugin.errors import HeadMismatch, NotWritable, NoUsableLabels, TooFewLabels
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, LandClass
from tests.builders import wkb
from tests.memory_source import MemorySource, longitudes, prototypes, true_classes

EXTENT = Extent(700_170, 5_799_230, 703_170, 5_801_830, "EPSG:32630")
SEAM = Extent(-0.01, 52.0, 0.015, 52.008)
CLASSES = tuple(LandClass(n, name, f"#0000{n:02x}") for n, name in enumerate("abcd", 1))


def labels_of(window, classes=(1, 2, 3, 4), per_class=5, seed=0):
    """Label points in the middle of pixels, by the truth."""
    truth = true_classes(window) + 1
    valid = np.isfinite(MemorySource().read(window)[1])
    random = np.random.default_rng(seed)
    items = []
    for number in classes:
        for row, col in random.choice(
            np.argwhere(valid & (truth == number)), per_class, replace=False
        ):
            x, y = 10 * (window.col + col + 0.5), -10 * (window.row + row + 0.5)
            items.append(Label(wkb(f"POINT ({x} {y})"), number, f"{number}/{len(items)}"))
    return Labels(zone_crs(window.zone), CLASSES, tuple(items), "test")


def samples_of(window, **changes):
    return collect(labels_of(window, **changes), MemorySource(), SampleParams())


def head_of(samples):
    x = (samples.codes * samples.scales[:, None]).astype(np.float32)
    ids = np.unique(samples.class_ids)
    mean, std = x.mean(axis=0), x.std(axis=0)
    weights = fit_instant((x - mean) / std, np.searchsorted(ids, samples.class_ids))
    classes = tuple(c for c in CLASSES if c.id in ids)
    return Head("h", "instant", classes, samples.dataset, 128, (2024,), mean, std, weights)


@pytest.fixture(scope="module")
def window():
    return windows_of(EXTENT)[0]


@pytest.fixture(scope="module")
def three(window):
    """Samples of three classes; the fourth is unknown to them."""
    return samples_of(window, classes=(1, 2, 3))


# --- novelty


def test_index_is_the_distance_to_the_nearest_label_over_their_mean_distance(window, three):
    found = novelty.Novelty.of(three)
    codes, scales = MemorySource().read(window)
    pixels = codes[np.isfinite(scales)][:5000]
    labelled = normalize(three.codes.astype(float))
    apart, _ = (
        NearestNeighbors(n_neighbors=1).fit(labelled).kneighbors(normalize(pixels.astype(float)))
    )
    pairs = np.linalg.norm(labelled[:, None] - labelled[None], axis=2)
    mean = pairs[np.triu_indices(len(labelled), 1)].mean()
    assert found.mean_distance == pytest.approx(mean, rel=1e-5)
    assert found.index(pixels) == pytest.approx(apart[:, 0] / mean, abs=2e-3)
    assert found.index(three.codes) == pytest.approx(0, abs=2e-3)
    percent = found.percent(pixels)
    assert np.abs(percent - np.minimum(100 * apart[:, 0] / mean / found.limit, 254)).max() <= 1


def test_limit_is_the_upper_whisker_of_the_distances_to_other_folds(three):
    found = novelty.Novelty.of(three, seed=3)
    folds = novelty._folds(three.groups, 3)
    assert len(np.unique(folds)) == 5
    labelled = normalize(three.codes.astype(float))
    nearest = np.empty(len(labelled))
    for fold in range(5):
        others = NearestNeighbors(n_neighbors=1).fit(labelled[folds != fold])
        nearest[folds == fold] = others.kneighbors(labelled[folds == fold])[0][:, 0]
    nearest /= found.mean_distance
    low, high = np.percentile(nearest, (25, 75))
    assert found.limit == pytest.approx(min(nearest.max(), high + 1.5 * (high - low)), rel=1e-4)


def test_pixels_of_a_label_stay_in_one_fold():
    groups = np.repeat(np.arange(7), 9)
    folds = novelty._folds(groups, 0)
    assert all(len(np.unique(folds[groups == group])) == 1 for group in range(7))


def test_the_class_without_labels_is_novel(window, three):
    codes, scales = MemorySource().read(window)
    valid = np.isfinite(scales)
    is_new = true_classes(window)[valid] == 3
    percent = novelty.Novelty.of(three).percent(codes[valid])
    assert roc_auc_score(is_new, percent) > 0.95
    assert (percent[~is_new] > 100).mean() < 0.2
    assert (percent[is_new] > 100).mean() > 0.9


def test_many_labelled_pixels_take_turns(three):
    sizes = [600, 40, 3]
    groups = np.repeat(np.arange(3), sizes)
    of_one_class = np.zeros(643, int)
    kept = groups[novelty._evenly(of_one_class, groups, 0)]
    assert len(kept) == novelty.MAX_REFERENCES
    assert np.bincount(kept).tolist() == [novelty.MAX_REFERENCES - 43, 40, 3]
    assert len(np.unique(novelty._evenly(of_one_class, groups, 0))) == len(kept)


def test_classes_take_turns_before_labels():
    class_ids = np.repeat([1, 2, 3], [1000, 30, 1000])
    groups = np.arange(2030) // 2  # two pixels each
    kept = novelty._evenly(class_ids, groups, 0)
    assert len(np.unique(kept)) == novelty.MAX_REFERENCES
    assert np.bincount(class_ids[kept]).tolist() == [0, 241, 30, 241]
    assert np.bincount(groups[kept]).max() == 2  # of class 2
    assert np.bincount(groups[kept][class_ids[kept] == 1]).max() == 1
    many = np.arange(2 * novelty.MAX_REFERENCES)
    assert len(novelty._evenly(many, many, 0)) == len(many)  # one of each class at least


def test_a_class_with_few_labels_among_many_is_known(three):
    sizes = (1000, 1000, 5)
    rng = np.random.default_rng(0)
    vectors = np.concatenate([
        prototypes()[k] + rng.normal(0, 0.7, (size, 128)) for k, size in enumerate(sizes)
    ])  # fmt: skip
    codes = np.rint(127 * vectors / np.abs(vectors).max(axis=1, keepdims=True)).astype(np.int8)
    numbers = np.arange(len(codes))
    rare = numbers >= 2000
    samples = replace(
        three, codes=codes, scales=np.ones(len(codes), np.float32), groups=numbers,
        class_ids=np.repeat([1, 2, 3], sizes), zone=numbers, row=numbers, col=numbers, ground=None,
    )  # fmt: skip
    found = novelty.Novelty.of(samples)
    assert len(found.references) == novelty.MAX_REFERENCES
    assert found.percent(codes[rare]).max() < 100


def test_one_label_is_too_few(three):
    first = three.groups == three.groups[0]
    arrays = ("codes", "scales", "class_ids", "groups", "zone", "row", "col")
    one = replace(three, **{name: getattr(three, name)[first] for name in arrays})
    with pytest.raises(TooFewLabels):
        novelty.Novelty.of(one)


def test_labels_that_are_all_alike(three):
    alike = replace(three, codes=np.repeat(three.codes[:1], len(three), axis=0))
    found = novelty.Novelty.of(alike)
    assert found.percent(alike.codes).max() <= 254
    assert (found.percent(three.codes[1:]) == 254).all()


# --- uncertainty


def test_uncertainty_is_one_minus_the_margin():
    rows = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.5, 0.3], [0.34, 0.33, 0.33]], np.float32)
    assert suggest.uncertainty(rows).tolist() == [0, 100, 80, 99]


def test_score_weighs_both_alike():
    percent = np.array([[0, 100, 0, 100]], np.uint8)
    novel = np.array([[0, 0, 200, 254]], np.uint8)
    assert score_of(percent, novel).tolist() == [[0, 0.5, 0.5, 1]]


# --- the job


def request_of(tmp_path, labels, extent=EXTENT, **changes):
    values = {"head_path": "", "labels": labels, "year": 2024, "extent": extent,
              "access": Access(str(tmp_path / "cache")), "uncertainty_out": str(tmp_path / "u.tif"),
              "novelty_out": str(tmp_path / "n.tif"), "places_out": str(tmp_path / "p.geojson"),
              "count": 12}  # fmt: skip
    return suggest.SuggestRequest(**{**values, **changes})


def run(tmp_path, window, samples, source=None, report=lambda *_: None, **changes):
    asked = request_of(tmp_path, labels_of(window), **changes)
    return suggest.suggest_from(
        source or MemorySource(), head_of(samples), novelty.Novelty.of(samples), asked, report
    )


def test_rasters_and_places(tmp_path, window, three):
    result = run(tmp_path, window, three)
    codes, scales = MemorySource().read(window)
    valid = np.isfinite(scales)
    head, known = head_of(three), novelty.Novelty.of(three)
    wanted = {"u": suggest.uncertainty(head.probabilities(codes[valid], scales[valid])),
              "n": known.percent(codes[valid])}  # fmt: skip
    for name, raster in (("u", result.uncertainty), ("n", result.novelty)):
        values = gdal.Open(raster.paths[0]).ReadAsArray()
        assert np.array_equal(values == 255, ~valid)
        assert np.abs(values[valid].astype(int) - wanted[name]).max() <= 1
    assert result.valid_px == valid.sum()

    assert len(result.places) == 12
    truth = true_classes(window)
    at = np.array([(p.row - window.row, p.col - window.col) for p in result.places])
    assert valid[tuple(at.T)].all()
    # most are of the class that nobody labelled
    assert (truth[tuple(at.T)] == 3).mean() > 0.5
    for place, (row, col) in zip(result.places, at):
        first, second = np.sort(
            head.probabilities(codes[row, col][None], scales[row, col][None])[0]
        )[:-3:-1]
        assert place.uncertainty == pytest.approx(1 - (first - second), abs=1e-5)
        assert place.novelty == pytest.approx(
            known.index(codes[row, col][None])[0] / known.limit, rel=1e-4
        )
        assert place.best != place.second
        assert place.reasons()
        assert (place.novelty > 1) == any("unlike every label" in told for told in place.reasons())
        ((x, y),) = transform_points(np.array([[place.lon, place.lat]]), LONLAT, zone_crs(30))
        assert (x, y) == pytest.approx(
            (10 * (place.col + 0.5), -10 * (place.row + 0.5)), abs=0.01)  # fmt: skip
    points = json.loads((tmp_path / "p.geojson").read_text())["features"]
    assert [f["geometry"]["coordinates"] for f in points] == [
        [pytest.approx(p.lon, abs=1e-6), pytest.approx(p.lat, abs=1e-6)] for p in result.places]  # fmt: skip
    assert points[0]["properties"]["best"] == result.places[0].best.name


def test_places_are_spread_and_the_same_without_writing(tmp_path, window, three):
    result = run(tmp_path, window, three)
    at = np.array([(p.row, p.col) for p in result.places])
    apart = np.hypot(*(at[:, None] - at[None]).T)
    apart[np.diag_indices(len(at))] = np.inf
    # twelve of the highest scores would lie in a few patches of 16 pixels
    assert apart.min() >= 16
    assert apart.min(axis=1).mean() > 0.4 * np.sqrt(window.pixels / len(at))
    found = suggest.find_places(
        MemorySource(), [window], head_of(three), novelty.Novelty.of(three), count=12
    )
    assert found == result.places


def test_what_is_labelled_is_not_suggested_again(tmp_path, window, three):
    first = run(tmp_path, window, three)
    half = window.col + window.width // 2
    west, east = 10 * window.col, 10 * half
    north, south = -10 * window.row, -10 * window.stop_row
    crs = zone_crs(window.zone)
    ring = f"{west} {south},{east} {south},{east} {north},{west} {north},{west} {south}"
    points = [wkb(f"POINT ({10 * each.col} {-10 * each.row})") for each in first.places]
    items = [Label(each, 2, str(number)) for number, each in enumerate(points)]
    items.append(Label(wkb(f"POLYGON(({ring}))"), 1, "west"))
    labels = Labels(crs, CLASSES, tuple(items), "test")
    asked = replace(request_of(tmp_path, labels), uncertainty_out=None, novelty_out=None)
    result = suggest.suggest_from(MemorySource(), head_of(three), novelty.Novelty.of(three), asked)
    assert len(result.places) == 12
    assert min(each.col for each in result.places) >= half
    centres = np.array([(p.row + 0.5, p.col + 0.5) for p in result.places])
    labelled = np.array([(p.row, p.col) for p in first.places])
    assert np.linalg.norm(centres[:, None] - labelled[None], axis=2).min() >= 3


def test_a_few_suggestions_bring_the_classes_that_have_no_label(window):
    first = labels_of(window, classes=(1, 2), per_class=2)
    samples = collect(first, MemorySource(), SampleParams())
    places = suggest.find_places(
        MemorySource(), [window], head_of(samples), novelty.Novelty.of(samples), count=6
    )
    truth = true_classes(window)
    brought = {int(truth[p.row - window.row, p.col - window.col]) for p in places}
    assert {2, 3} <= brought


def test_over_a_seam_places_are_of_their_own_zone(tmp_path, three):
    west, east = windows_of(SEAM)
    result = run(tmp_path, west, samples_of(west, classes=(1, 2)), extent=SEAM, count=20)
    assert len(result.uncertainty.paths) == 2
    zones = {place.zone for place in result.places}
    assert zones == {30, 31}
    for place in result.places:
        assert (place.lon < 0) == (place.zone == 30)
    own = sum(
        int((np.isfinite(MemorySource().read(w)[1]) & is_own).sum())
        for w, is_own in ((west, longitudes(west) < 0), (east, longitudes(east) >= 0))
    )
    assert result.valid_px == own


def test_refusals_and_cancel_leave_nothing(tmp_path, window, three):
    head = replace(head_of(three), dataset="1.0-vultr")
    with pytest.raises(HeadMismatch):
        suggest.suggest_from(MemorySource(), head, novelty.Novelty.of(three),
                             request_of(tmp_path, labels_of(window)))  # fmt: skip
    with pytest.raises(NotWritable, match="a name of its own"):
        run(tmp_path, window, three, novelty_out=str(tmp_path / "u.tif"))
    fractions = []
    for stop_at in (0.05, 0.5, 0.96):

        def stop(fraction, message="", stop_at=stop_at):
            fractions.append(fraction)
            if fraction >= stop_at:
                raise Cancelled

        with pytest.raises(Cancelled):
            run(tmp_path, window, three, report=stop)
    assert max(fractions) <= 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="count"):
        request_of(tmp_path, labels_of(window), count=0)


def test_labels_that_fall_on_nothing(tmp_path, window, three):
    with pytest.raises(NoUsableLabels):
        suggest.samples_of(MemorySource(water=[window]), labels_of(window))
    save(head_of(three), str(tmp_path / "a.head"))
    assert len(suggest.samples_of(MemorySource(), labels_of(window))) == 20
