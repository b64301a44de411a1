# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest
from osgeo import gdal
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from tessera_plugin.engine import classify, clusters
from tessera_plugin.engine.class_colors import is_taken
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.heads import load
from tessera_plugin.errors import NotWritable, NoValidEmbeddings
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent
from tests.memory_source import MemorySource, sample, true_classes

EXTENT = Extent(700_170, 5_799_230, 702_770, 5_801_230, "EPSG:32630")


def test_as_tight_as_those_of_scikit_learn():
    x, _ = sample(1000)
    for count in (2, 7):
        found = clusters.k_means(x, count)
        oracle = KMeans(count, n_init=4, random_state=0).fit(x)
        assert found.inertia <= 1.01 * oracle.inertia_
        nearest = ((x[:, None] - found.centres[None]) ** 2).sum(axis=2)
        assert found.inertia == pytest.approx(nearest.min(axis=1).sum(), rel=1e-4)
        shares = np.bincount(nearest.argmin(axis=1), minlength=count) / len(x)
        assert found.shares == pytest.approx(shares)
        assert sorted(found.shares, reverse=True) == list(found.shares)
        assert len(set(found.colors)) == count


def test_clusters_have_colours_that_are_told_apart():
    random = np.random.default_rng(5)
    x = random.normal(size=(2000, 16)).astype(np.float32)
    colors = clusters.k_means(x, 30).colors
    assert not any(is_taken(color, colors[:at]) for at, color in enumerate(colors))


def test_planted_clusters_are_found_with_any_seed():
    x, truth = sample(800)
    for seed in range(3):
        found = clusters.k_means(x, 4, seed)
        nearest = ((x[:, None] - found.centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        assert adjusted_rand_score(truth, nearest) > 0.98


def test_same_seed_same_clusters():
    x, _ = sample(500)
    first, again = (clusters.k_means(x, 6, seed=4) for _ in range(2))
    assert np.array_equal(first.centres, again.centres)
    assert first.colors == again.colors


def test_more_clusters_than_pixels_that_differ():
    x = np.repeat(sample(3)[0], 50, axis=0)
    assert clusters.k_means(x, 3).inertia < 1
    with pytest.raises(ValueError, match="only 3 pixels differ, too few for 4"):
        clusters.k_means(x, 4)


def request_of(tmp_path, **changes):
    values = {"dataset": "1.1-dclimate", "year": 2024, "extent": EXTENT,
              "access": Access(str(tmp_path / "cache")), "out": str(tmp_path / "map.tif"),
              "clusters": 4, "head_out": str(tmp_path / "k.head")}  # fmt: skip
    return clusters.ClusterRequest(**{**values, **changes})


def test_a_head_that_can_not_be_saved_leaves_no_map_half_there(tmp_path):
    asked = request_of(tmp_path, head_out=str(tmp_path / "gone" / "k.head"))
    with pytest.raises(NotWritable, match="its folder does not exist"):
        clusters.cluster_from(MemorySource(), asked)
    assert not list(tmp_path.iterdir())


def test_map_is_the_nearest_centres_and_classes_of_its_head(tmp_path):
    source = MemorySource()
    head, staged = clusters.cluster_from(source, request_of(tmp_path))
    result = classify.publish(staged)
    (window,) = windows_of(EXTENT)
    codes, scales = source.read(window)
    valid = np.isfinite(scales)
    x = codes[valid] * scales[valid][:, None]
    variance = head.training["inertia"] / 20_000 / 128
    centres = head.weights["W"].T * variance
    nearest = ((x[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    values = gdal.Open(result.maps[0]).ReadAsArray()
    assert (values[valid] == nearest + 1).mean() > 0.9999
    assert (values[~valid] == 0).all()
    assert adjusted_rand_score(true_classes(window)[valid], values[valid]) > 0.98
    assert [c.name for c in result.classes] == [f"Cluster {n}" for n in (1, 2, 3, 4)]
    assert len({c.color for c in result.classes}) == 4

    # the head maps another place the same way
    again = load(str(tmp_path / "k.head"))
    assert again.id == head.id
    assert again.training["method"] == "k-means"
    asked = classify.ClassifyRequest("", 2024, EXTENT, Access(""), str(tmp_path / "b.tif"))
    other = classify.publish(classify.classify_from(source, again, asked))
    assert np.array_equal(gdal.Open(other.maps[0]).ReadAsArray(), values)


def test_nothing_valid_and_cancel_leave_nothing(tmp_path):
    with pytest.raises(NoValidEmbeddings):
        clusters.cluster_from(MemorySource(water=windows_of(EXTENT)), request_of(tmp_path))

    def stop(fraction, message=""):
        if message == "clusters":
            raise Cancelled

    with pytest.raises(Cancelled):
        clusters.cluster_from(MemorySource(), request_of(tmp_path), stop)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="2 to 255"):
        request_of(tmp_path, clusters=1)
