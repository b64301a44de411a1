# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Typical places of clusters: near to the centres, far from one another."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tessera_plugin.engine import cluster_labels, clusters
from tessera_plugin.engine.cluster_labels import ClusterLabelRequest
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.errors import HeadMismatch
from tessera_plugin.io.polygons import pixels_of_points
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, Window
from tests.memory_source import MemorySource

WINDOW = Window(30, -580_123, 70_017, 200, 260)
SEAM = Extent(-0.01, 52.0, 0.015, 52.008)
K, PER = 4, 10


def head_of(x, k=K):
    found = clusters.k_means(x, k)
    return clusters.head_of(found, MemorySource(), len(x)), found.centres


def embeddings(window=WINDOW):
    codes, scales = MemorySource().read(window)
    valid = np.isfinite(scales)
    return codes[valid] * scales[valid][:, None], valid


def request_for(ids, per=PER, extent=SEAM):
    return ClusterLabelRequest(2024, extent, Access("/nowhere"), tuple(ids), per)


@pytest.fixture(scope="module")
def made():
    x, valid = embeddings()
    head, centres = head_of(x)
    return head, centres, x, valid


def test_centres_are_told_by_the_head(made):
    head, centres, *_ = made
    assert clusters.centres_of(head) == pytest.approx(centres, rel=1e-3, abs=1e-4)


def test_places_are_typical_and_apart(made):
    head, centres, x, valid = made
    ids = [each.id for each in head.classes]
    places = cluster_labels.cluster_labels_from(MemorySource(), [WINDOW], head, request_for(ids))
    assert [each.cluster for each in places] == sorted(each.cluster for each in places)

    distances = cdist(x, centres)
    nearest = np.full(valid.shape, -1)
    nearest[valid] = distances.argmin(axis=1)
    far = np.full(valid.shape, np.nan)
    far[valid] = distances.min(axis=1)
    for number, cluster in enumerate(ids):
        mine = [each for each in places if each.cluster == cluster]
        assert len(mine) == PER
        rows = np.array([each.row - WINDOW.row for each in mine])
        cols = np.array([each.col - WINDOW.col for each in mine])
        assert (nearest[rows, cols] == number).all()
        usual = np.median(far[nearest == number])
        assert (far[rows, cols] < usual).mean() >= 0.9  # nearer than most of the cluster
        apart = cdist(*[np.stack([rows, cols], axis=1)] * 2)[np.triu_indices(PER, 1)]
        at = np.argwhere(nearest == number)
        drawn = np.random.default_rng(0).permutation(len(at))[:PER]
        chance = cdist(at[drawn], at[drawn])[np.triu_indices(PER, 1)]
        assert apart.min() > chance.min()
        _, there, across = pixels_of_points(np.array([e[1:3] for e in mine]), "EPSG:4326")
        assert np.array_equal(there, [each.row for each in mine])
        assert np.array_equal(across, [each.col for each in mine])


def test_some_clusters_and_few_pixels(made):
    head, *_ = made
    small = Window(30, WINDOW.row, WINDOW.col, 6, 7)
    every = [each.id for each in head.classes]
    places = cluster_labels.cluster_labels_from(MemorySource(), [small], head, request_for(every))
    assert 0 < len(places) < PER * K
    assert len({(each.row, each.col) for each in places}) == len(places)
    one = places[-1].cluster
    only = cluster_labels.cluster_labels_from(MemorySource(), [small], head, request_for([one]))
    assert only == tuple(each for each in places if each.cluster == one)


def test_over_a_seam_places_lie_in_their_own_zone(made):
    head, *_ = made
    windows = windows_of(SEAM)
    ids = [each.id for each in head.classes]
    places = cluster_labels.cluster_labels_from(MemorySource(), windows, head, request_for(ids))
    assert {each.zone for each in places} == {30, 31}
    assert all((each.lon < 0) == (each.zone == 30) for each in places)


def test_refusals_and_cancel(made):
    head, *_ = made
    other = MemorySource()
    other.depth = 16
    with pytest.raises(HeadMismatch):
        cluster_labels.cluster_labels_from(other, [WINDOW], head, request_for([1]))
    with pytest.raises(ValueError, match="per_cluster"):
        request_for([1], per=0)

    def stop(fraction, message=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        cluster_labels.cluster_labels_from(MemorySource(), [WINDOW], head, request_for([1]), stop)
