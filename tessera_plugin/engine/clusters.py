# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clusters of embeddings by k-means, as a head: they map, are saved and become classes like one.

The nearest of some centres is the largest of linear functions, x·c - |c|²/2, so the centres are the
weights of an instant head. Centres are found on a seeded sample of at most 20 000 pixels; of so many,
whole passes over the sample cost less than the reading of them, so there is no need of mini-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import NoValidEmbeddings
from ..io import files
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import Access, Extent, LandClass
from .class_colors import told_apart
from .classify import ClassifyRequest, StagedMap, classify_from, fetch_share, nothing_valid
from .embeddings import dequantise, over_extent
from .explore import basis_of, sample
from .grid import windows_of
from .heads.base import Head, identify
from .heads.storage import save
from .products import product

MAX_CLUSTERS = 255
STARTS = 4
"""How often k-means begins anew; the best end is taken."""

_PASSES = 100
_STILL = 1e-4
"""It ends when the centres move less than this share of the pixels' spread."""

_DARKEST, _BRIGHTEST = 35, 235


@dataclass(frozen=True, eq=False)
class Clusters:
    """Centres of clusters, the largest cluster first."""

    centres: NDArray[np.float32]
    """(k, D)."""
    shares: NDArray[np.float64]
    """(k,), of the sample's pixels."""
    inertia: float
    """Sum of the squared distances of the sample's pixels to their centres."""
    colors: Tuple[str, ...]
    """Of their place on the three principal components: alike clusters look alike."""


@dataclass(frozen=True)
class ClusterRequest:
    """What to cluster, and where to."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    out: str
    """The map's `.tif`; over a zone seam `MAP_utm30.tif` and so on are written beside it."""
    clusters: int = 8
    """How many, 2 to 255."""
    head_out: str = ""
    """Where the clusters are saved as a head, to map other places and years; not saved without it."""
    limit_px: int = 50_000_000
    depth: int = 0
    seed: int = 0
    """Of the sample and of the first centres."""

    def __post_init__(self) -> None:
        if not 2 <= self.clusters <= MAX_CLUSTERS:
            raise ValueError(f"clusters can't be {self.clusters}, but 2 to {MAX_CLUSTERS}")


def cluster(
    request: ClusterRequest, report: Report = silent, worker: Optional[WorkerClient] = None
) -> Tuple[Head, StagedMap]:
    """Return the clusters of an extent as a head, and their map; `classify.publish` gives it its name.

    Embeddings that are missing are fetched first. The map's classes are the clusters, with ids from 1.
    Raises: as `classify.classify`; NoValidEmbeddings also where fewer pixels differ than there are
    to be clusters.
    """
    return over_extent(
        request, request.depth, lambda source: cluster_from(source, request, report), report, worker
    )


def cluster_from(
    source: EmbeddingSource, request: ClusterRequest, report: Report = silent
) -> Tuple[Head, StagedMap]:
    """Do `cluster` with a source that is open."""
    windows = windows_of(request.extent)
    share = 0.8 * fetch_share(source, windows)
    summary = source.fetch(windows, part(report, 0.0, share))
    codes, scales = sample(source, windows, part(report, share, share + 0.1), request.seed)
    if not len(codes):
        raise nothing_valid(request.dataset, request.year, summary)
    try:
        x = dequantise(codes, scales)
        found = k_means(x, request.clusters, request.seed, part(report, share + 0.1, share + 0.15))
    except ValueError as error:
        raise NoValidEmbeddings(request.dataset, request.year, str(error)) from error
    head = head_of(found, source, len(codes), request.seed)
    asked = ClassifyRequest(
        head_path="", year=request.year, extent=request.extent, access=request.access,
        out=request.out, limit_px=request.limit_px,
    )  # fmt: skip
    staged = classify_from(source, head, asked, part(report, share + 0.15, 1.0))
    if request.head_out:
        try:
            save(head, request.head_out)
        except BaseException:
            staged.discard()
            raise
    return head, staged


def head_of(found: Clusters, source: EmbeddingSource, pixels: int, seed: int = 0) -> Head:
    """Return clusters as a head whose most probable class is the nearest centre's."""
    depth = found.centres.shape[1]
    centres = found.centres.astype(np.float64)
    variance = max(found.inertia / (pixels * depth), 1e-12)
    weights = {
        "W": np.ascontiguousarray(centres.T / variance, np.float32),
        "b": (-0.5 * (centres**2).sum(axis=1) / variance).astype(np.float32),
    }
    arrays = {"mean": np.zeros(depth, np.float32), "std": np.ones(depth, np.float32), **weights}
    classes = tuple(
        LandClass(number, f"Cluster {number}", color)
        for number, color in enumerate(found.colors, 1)
    )
    return Head(
        id=identify("instant", classes, source.dataset.key, arrays),
        kind="instant",
        classes=classes,
        dataset=source.dataset.key,
        depth=depth,
        years=(source.year,),
        mean=arrays["mean"],
        std=arrays["std"],
        weights=weights,
        training={"method": "k-means", "clusters": len(classes), "pixels": pixels,
                  "inertia": found.inertia, "shares": found.shares.tolist()},
        seed=seed,
        versions=_versions(),
    )  # fmt: skip


def centres_of(head: Head) -> NDArray[np.float32]:
    """Return the centres (k, D) of clusters that were made a head.

    Its weights are c / v and -|c|² / 2v for one v, so the two tell both.
    """
    weights, offsets = head.weights["W"].astype(np.float64), head.weights["b"].astype(np.float64)
    squares = (weights**2).sum(axis=0)
    variance = -2 * offsets.sum() / max(float(squares.sum()), 1e-12)
    return np.asarray(weights.T * variance, np.float32)


def _versions() -> Dict[str, str]:
    return {"plugin": files.plugin_version(), "numpy": np.__version__}


# --- k-means


def k_means(
    x: NDArray[np.float32], clusters: int, seed: int = 0, report: Report = silent
) -> Clusters:
    """Return the clusters of embeddings (n, D), the best of some starts; the same for the same seed.

    Raises: ValueError if fewer rows differ than there are to be clusters; Cancelled.
    Source: Lloyd (1982); first centres as Arthur and Vassilvitskii, k-means++ (2007), tell.
    """
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = x - mean  # of numbers around 0 squares lose fewer digits
    squares = np.einsum("nd,nd->n", centred, centred)
    ends = []
    for start in range(STARTS):
        share = part(report, start / STARTS, (start + 1) / STARTS)
        random = np.random.default_rng([seed, start])
        centres = _first_centres(centred, squares, clusters, random)
        ends.append(_settled(centred, squares, centres, share))
    inertia, centres, nearest = min(ends, key=lambda end: end[0])
    counts = np.bincount(nearest, minlength=clusters)
    order = np.argsort(-counts, kind="stable")
    ordered = centres[order] + mean
    return Clusters(ordered, counts[order] / len(x), inertia, _colors(x, ordered))


def _first_centres(
    x: NDArray[np.float32],
    squares: NDArray[np.float32],
    clusters: int,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Choose rows far apart: each with a chance that grows with its squared distance to the others."""
    chosen = [int(random.integers(len(x)))]
    distances = _distances(x, squares, x[chosen])[:, 0]
    while len(chosen) < clusters:
        total = float(distances.sum(dtype=np.float64))
        if total <= 1e-6 * max(float(squares.sum(dtype=np.float64)), 1e-12):
            raise ValueError(f"only {len(chosen)} pixels differ, too few for {clusters} clusters")
        # of some candidates the one that leaves the least
        draws = random.random(2 + int(np.log(clusters))) * total
        candidates = np.searchsorted(np.cumsum(distances, dtype=np.float64), draws)
        left = np.minimum(
            distances[:, None], _distances(x, squares, x[np.minimum(candidates, len(x) - 1)])
        )
        best = int(left.sum(axis=0, dtype=np.float64).argmin())
        chosen.append(int(min(candidates[best], len(x) - 1)))
        distances = left[:, best]
    return x[chosen].copy()


def _settled(
    x: NDArray[np.float32],
    squares: NDArray[np.float32],
    centres: NDArray[np.float32],
    report: Report,
) -> Tuple[float, NDArray[np.float32], NDArray[np.intp]]:
    """Move centres to the means of what is nearest to them until they rest."""
    still = _STILL * float(squares.mean(dtype=np.float64))
    for number in range(_PASSES):
        report(number / _PASSES, "clusters")
        distances = _distances(x, squares, centres)
        moved = _means(x, distances, len(centres))
        shift = float(((moved - centres) ** 2).sum(dtype=np.float64))
        centres = moved
        if shift <= still:
            break
    distances = _distances(x, squares, centres)
    nearest = distances.argmin(axis=1)
    inertia = float(distances[np.arange(len(x)), nearest].sum(dtype=np.float64))
    return inertia, centres, nearest


def _means(
    x: NDArray[np.float32], distances: NDArray[np.float32], clusters: int
) -> NDArray[np.float32]:
    """Return the mean of what is nearest to each centre.

    A centre that nothing is nearest to gets the row that is furthest from its own.
    """
    nearest = distances.argmin(axis=1)
    counts = np.bincount(nearest, minlength=clusters)
    is_mine = np.zeros((clusters, len(x)), np.float32)
    is_mine[nearest, np.arange(len(x))] = 1
    means: NDArray[np.float32] = product(is_mine, x) / np.maximum(counts, 1)[:, None].astype(
        np.float32
    )
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        means[empty] = x[np.argsort(-distances.min(axis=1), kind="stable")[: len(empty)]]
    return means


def _distances(
    x: NDArray[np.float32], squares: NDArray[np.float32], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return squared distances (n, k)."""
    distances = product(x, centres.T)
    distances *= -2
    distances += squares[:, None]
    distances += np.einsum("kd,kd->k", centres, centres)
    return np.maximum(distances, 0, out=distances)


def _colors(x: NDArray[np.float32], centres: NDArray[np.float32]) -> Tuple[str, ...]:
    """Return colours by the centres' places on the pixels' principal components, `#rrggbb`.

    Of centres that are alike there the first, the larger cluster's, keeps its colour.
    """
    basis = basis_of(x)
    scores = (centres - basis.mean) @ basis.components  # (k, 3)
    low, high = scores.min(axis=0), scores.max(axis=0)
    shares = (scores - low) / np.where(high > low, high - low, 1)
    levels = np.rint(_DARKEST + (_BRIGHTEST - _DARKEST) * shares).astype(int)
    return told_apart(["#" + "".join(f"{level:02x}" for level in row) for row in levels])
