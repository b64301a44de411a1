# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to label next: rasters of uncertainty and novelty, and a list of places."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..io import outlines
from ..io.outlines import GeoPoint
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..progress import Report, part, silent
from ..values import Access, Extent, Window
from . import catalog
from .classify import fetch_share, nothing_valid, source_tags
from .embeddings import with_source
from .grid import centre_zone, check_size, windows_of
from .heads.base import Head
from .heads.storage import load
from .label_novelty import novelty_of, samples_of
from .map_outputs import margin
from .near_labels import NearLabels
from .novelty import Novelty
from .percent_maps import Finder, NamedRaster, outs_of, published, scan, write
from .places import Candidates, Place, choose
from .samples import Labels
from .unpack import by_worker

__all__ = [
    "Place",
    "SuggestRequest",
    "SuggestResult",
    "find_places",
    "samples_of",
    "suggest",
    "uncertainty",
]

_LABELS_SHARE = 0.1


@dataclass(frozen=True)
class SuggestRequest:
    """What to look for places with, over what, and where to write what is found."""

    head_path: str
    labels: Labels
    """What there is already: places like these are no news, and none of them is near one."""
    year: int
    extent: Extent
    access: Access
    uncertainty_out: Optional[str] = None
    """uint8: 100 percent minus the margin between the two most probable classes, 255 = nodata."""
    novelty_out: Optional[str] = None
    """uint8: distance to the labels in percent of the limit (over 100 is novel), 255 = nodata."""
    places_out: Optional[str] = None
    """GeoJSON of the places; none is written without it."""
    count: int = 20
    label_year: int = 0
    """The year whose embeddings the labels are looked up in; 0 for `year`."""
    limit_px: int = 50_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count can't be {self.count}")


@dataclass(frozen=True)
class SuggestResult:
    """The places, the most useful first, and the rasters."""

    places: Tuple[Place, ...]
    uncertainty: Optional[NamedRaster]
    novelty: Optional[NamedRaster]
    places_path: Optional[str]
    valid_px: int
    novel_limit: float
    """Dissimilarity index that novelty is measured by."""
    fetched: FetchSummary


def suggest(
    request: SuggestRequest, report: Report = silent, worker: Optional[WorkerClient] = None
) -> SuggestResult:
    """Write where a head is uncertain and what is novel, and list places worth a label.

    Embeddings that are missing are fetched first.
    Raises: HeadUnreadable, HeadMismatch, UnknownDataset, UnknownYear, DepthNotOffered,
    FormNotOffered, ExtentInvalid, ExtentTooLarge, NoLabels, NoUsableLabels, TooFewLabels where there
    is one usable label only, NoValidEmbeddings, StoreUnusable, DecoderMissing, NetworkFailed,
    DiskFull, NotWritable, Cancelled.
    """
    head = load(request.head_path)
    dataset = catalog.dataset(head.dataset, request.access.stores)
    label_year = request.label_year or request.year
    for year in (request.year, label_year):
        catalog.check_year(dataset, year)
    check_size(windows_of(request.extent), request.limit_px, head.depth)
    of_labels = part(report, 0.0, _LABELS_SHARE)
    unpack = by_worker(worker)
    novelty = novelty_of(
        request.labels, dataset.key, label_year, request.access, head.depth, seed=request.seed,
        report=of_labels, unpack=unpack,
    )  # fmt: skip
    return with_source(
        dataset.key, request.year, request.access,
        lambda source, _: suggest_from(
            source, head, novelty, request, part(report, _LABELS_SHARE, 1.0)
        ),
        depth=head.depth, report=report, unpack=unpack,
    )  # fmt: skip


def suggest_from(
    source: EmbeddingSource,
    head: Head,
    novelty: Novelty,
    request: SuggestRequest,
    report: Report = silent,
) -> SuggestResult:
    """Do `suggest` with a source that is open and labels that are looked up."""
    head.check(source.dataset.key, source.depth)
    windows = windows_of(request.extent)
    with contextlib.ExitStack() as undo:
        outs = outs_of([request.uncertainty_out, request.novelty_out], windows, undo)
        share = fetch_share(source, windows)
        summary = source.fetch(windows, part(report, 0.0, share))
        if not summary.valid_px:
            raise nothing_valid(head.dataset, request.year, summary)
        tags = {**source_tags(source, request.access, summary), "TESSERA_HEAD_ID": head.id,
                "TESSERA_NOVELTY_LIMIT": f"{novelty.limit:.6f}"}  # fmt: skip
        near = NearLabels.of(request.labels, {window.zone for window in windows})
        candidates = Candidates(source.depth, near)
        valid_px = write(
            source, outs, finder_of(head, novelty), tags, part(report, share, 1.0),
            names=["uncertainty, percent", "novelty, percent of the limit"], listener=candidates,
        )  # fmt: skip
        places = choose(candidates, head, novelty, request.count)
        if request.places_out:
            outlines.write_points(request.places_out, [_point(each) for each in places])
        uncertain, novel = (published(s) for s in outs.staged(centre_zone(request.extent), tags))
    return SuggestResult(
        places, uncertain, novel, request.places_out, valid_px, novelty.limit, summary
    )


def find_places(
    source: EmbeddingSource,
    windows: Sequence[Window],
    head: Head,
    novelty: Novelty,
    *,
    count: int,
    near: Optional[NearLabels] = None,
    report: Report = silent,
) -> Tuple[Place, ...]:
    """Return places worth a label from what is in the cache; nothing is fetched or written.

    None of them is where `near` says. Raises: HeadMismatch, Cancelled.
    """
    candidates = find_candidates(source, windows, head, novelty, near=near, report=report)
    return choose(candidates, head, novelty, count)


def find_candidates(
    source: EmbeddingSource,
    windows: Sequence[Window],
    head: Head,
    novelty: Novelty,
    *,
    near: Optional[NearLabels] = None,
    report: Report = silent,
) -> Candidates:
    """Return what places can be chosen from: of what is in the cache, not what is near labels.

    Raises: HeadMismatch, Cancelled.
    """
    head.check(source.dataset.key, source.depth)
    candidates = Candidates(source.depth, near or NearLabels())
    finder = finder_of(head, novelty)
    for number, window in enumerate(windows):
        of_zone = part(report, number / len(windows), (number + 1) / len(windows))
        for strip in scan(source, window, finder, of_zone, clip=len(windows) > 1):
            candidates(strip)
    return candidates


def finder_of(head: Head, novelty: Novelty) -> Finder:
    """Return what finds uncertainty and novelty of pixels, each in percent (n,)."""

    def find(
        codes: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> Tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return uncertainty(head.probabilities(codes, scales)), novelty.percent(codes)

    return find


def uncertainty(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 100 percent minus the margin between the two most probable classes.

    Shapes: probabilities (n, k), k >= 2; result (n,).
    """
    return np.asarray(np.rint(100 * (1 - margin(probabilities))), np.uint8)


def _point(place: Place) -> GeoPoint:
    return GeoPoint(place.lon, place.lat, {
        "uncertainty": round(place.uncertainty, 4),
        "novelty": round(place.novelty, 4),
        "best": place.best.name,
        "second": place.second.name,
        "reasons": " ".join(place.reasons()),
    })  # fmt: skip
