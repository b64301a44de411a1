# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A handful of typical places of each cluster, to begin labelling with.

Of every cell of the area the pixel nearest to each cluster's centre is a candidate; of the nearer half
of the candidates those are taken that lie far apart, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.projection import LONLAT, transform_points, zone_crs
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import BLOCK_PX, PIXEL_M, Access, Extent, Window
from .clusters import centres_of
from .embeddings import cached_source, dequantise, valid_mask
from .grid import check_size, windows_of
from .heads.base import Head
from .products import product
from .zones import own_pixels, strips

CELLS_PER_LABEL = 25
"""The area has about so many cells for each label of a cluster."""

LEAST_CELL_PX = 4
_CHUNK_PX = 16_384


@dataclass(frozen=True)
class ClusterLabelRequest:
    """Of which clusters places are wanted, and where."""

    year: int
    extent: Extent
    access: Access
    clusters: Tuple[int, ...]
    """Ids of the clusters, as in the head."""
    per_cluster: int = 20
    limit_px: int = 50_000_000

    def __post_init__(self) -> None:
        if self.per_cluster < 1:
            raise ValueError(f"per_cluster can't be {self.per_cluster}")


class ClusterPlace(NamedTuple):
    """A pixel that is typical of a cluster."""

    cluster: int
    lon: float
    """Of its middle."""
    lat: float
    zone: int
    row: int
    col: int


def cluster_labels(
    head: Head, request: ClusterLabelRequest, report: Report = silent
) -> Tuple[ClusterPlace, ...]:
    """Return typical places of clusters, nothing is fetched; fewer where a cluster is small.

    The head is that of `clusters.cluster`; the places come cluster by cluster, in the order wanted.
    Raises: ExtentInvalid, ExtentTooLarge, UnknownDataset, UnknownYear, DepthNotOffered,
    FormNotOffered, Cancelled.
    """
    windows = windows_of(request.extent)
    with cached_source(head.dataset, request.year, request.access, head.depth) as source:
        check_size(windows, request.limit_px, head.depth)
        return cluster_labels_from(source, windows, head, request, report)


def cluster_labels_from(
    source: EmbeddingSource,
    windows: Sequence[Window],
    head: Head,
    request: ClusterLabelRequest,
    report: Report = silent,
) -> Tuple[ClusterPlace, ...]:
    """Do `cluster_labels` with a source that is open."""
    head.check(source.dataset.key, source.depth)
    centres = centres_of(head)
    pixels = sum(window.pixels for window in windows)
    cell_px = _cell_px(pixels, request.per_cluster)
    found: List[_Candidates] = []
    for number, window in enumerate(windows):
        of_zone = part(report, number / len(windows), (number + 1) / len(windows))
        for strip in strips(window):
            of_zone((strip.row - window.row) / window.height, "clusters")
            found.append(_candidates(source, strip, centres, cell_px, clip=len(windows) > 1))
    candidates = _Candidates(*(np.concatenate(each) for each in zip(*found)))
    numbers = {each.id: number for number, each in enumerate(head.classes)}
    places: List[ClusterPlace] = []
    for cluster in request.clusters:
        mine = candidates.only(candidates.cluster == numbers[cluster])
        places += _places(cluster, mine, request.per_cluster)
    return tuple(places)


class _Candidates(NamedTuple):
    """Pixels, an array (n,) each."""

    cluster: NDArray[np.intp]
    """Number of the nearest centre."""
    distance: NDArray[np.float32]
    """Squared, to that centre."""
    zone: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]

    def only(self, which: NDArray[np.generic]) -> _Candidates:
        return _Candidates(*(each[which] for each in self))


def _cell_px(pixels: int, per_cluster: int) -> int:
    """Return the edge of cells, a power of two up to that of a block: no strip divides one."""
    wanted = (pixels / (CELLS_PER_LABEL * per_cluster)) ** 0.5
    cell_px = LEAST_CELL_PX
    while cell_px < BLOCK_PX and 2 * cell_px <= wanted:
        cell_px *= 2
    return cell_px


def _candidates(
    source: EmbeddingSource,
    strip: Window,
    centres: NDArray[np.float32],
    cell_px: int,
    *,
    clip: bool,
) -> _Candidates:
    """Return of each cell of a strip the pixel nearest to each centre, of those it is nearest to."""
    codes, scales = source.read(strip)
    valid = valid_mask(codes, scales)
    if clip:
        valid &= own_pixels(strip)
    rows, cols = np.nonzero(valid)
    cluster, distance = _nearest(codes[valid], scales[valid], centres)
    rows, cols = rows + strip.row, cols + strip.col
    cells = strip.width // cell_px + 2
    key = ((rows // cell_px) * cells + cols // cell_px - strip.col // cell_px) * len(centres)
    key += cluster
    order = np.lexsort((distance, key))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = key[order][1:] != key[order][:-1]
    best = order[is_first]
    zone = np.full(len(best), strip.zone, np.int64)
    return _Candidates(cluster[best], distance[best], zone, rows[best], cols[best])


def _nearest(
    codes: NDArray[np.int8], scales: NDArray[np.float32], centres: NDArray[np.float32]
) -> Tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the nearest centre of pixels (n, D), and their squared distance to it."""
    cluster = np.empty(len(codes), np.intp)
    distance = np.empty(len(codes), np.float32)
    squares = np.einsum("kd,kd->k", centres, centres)
    for start in range(0, len(codes), _CHUNK_PX):
        chunk = slice(start, start + _CHUNK_PX)
        x = dequantise(codes[chunk], scales[chunk])
        all_of_them = np.einsum("nd,nd->n", x, x)[:, None] - 2 * product(x, centres.T) + squares
        cluster[chunk] = all_of_them.argmin(axis=1)
        distance[chunk] = np.maximum(all_of_them.min(axis=1), 0)
    return cluster, distance


def _places(cluster: int, candidates: _Candidates, count: int) -> List[ClusterPlace]:
    """Return the places of one cluster: near to its centre, and spread out."""
    by_distance = np.argsort(candidates.distance, kind="stable")
    near = candidates.only(by_distance[: max(2 * count, (len(by_distance) + 1) // 2)])
    if not len(near.row):
        return []
    lonlat = _lonlat(near)
    chosen = _far_apart(lonlat, count)
    return [
        ClusterPlace(cluster, float(lonlat[i, 0]), float(lonlat[i, 1]),
                     int(near.zone[i]), int(near.row[i]), int(near.col[i]))
        for i in chosen
    ]  # fmt: skip


def _far_apart(lonlat: NDArray[np.float64], count: int) -> List[int]:
    """Return indices of points: the first, then always the one that is furthest from those chosen."""
    flat = lonlat * (np.cos(np.radians(lonlat[:, 1].mean())), 1.0)
    chosen = [0]
    apart = ((flat - flat[0]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(flat)):
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, ((flat - flat[chosen[-1]]) ** 2).sum(axis=1))
    return chosen


def _lonlat(candidates: _Candidates) -> NDArray[np.float64]:
    result = np.empty((len(candidates.row), 2))
    for zone in np.unique(candidates.zone):
        mine = candidates.zone == zone
        metres = np.stack(
            [PIXEL_M * (candidates.col[mine] + 0.5), -PIXEL_M * (candidates.row[mine] + 0.5)],
            axis=1,
        )
        result[mine] = transform_points(metres, zone_crs(int(zone)), LONLAT)
    return result
