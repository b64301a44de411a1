# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From a head and an extent to a class map: streamed, staged, then published under its name."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple

import numpy as np

from ..compute.client import WorkerClient
from ..errors import NetworkFailed, NotWritable, NoValidEmbeddings, TesseraError
from ..io import files
from ..io.rasters import ClassCount
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..progress import Report, part, silent
from ..values import Access, Extent, State, Window
from . import catalog
from .embeddings import provenance_tags, valid_mask, with_source
from .grid import centre_zone, check_size, windows_of
from .heads.base import Head
from .heads.storage import load
from .mapping import NO_CLASS, Mapped, Mapper, MapWriter, StagedRaster, Target, class_counts
from .predict import Predict, predictor
from .unpack import by_worker
from .zones import strips

__all__ = ["ClassCount", "ClassifyRequest", "ClassifyResult", "StagedMap", "classify", "publish"]

_FETCH_COST = 15.0
"""What fetching a pixel takes, in times of predicting one; for the progress only."""


_STRIPS_LOOKED_AT = 20


@dataclass(frozen=True)
class ClassifyRequest:
    """What to classify, with what, and where to."""

    head_path: str
    year: int
    extent: Extent
    access: Access
    out: str
    """The map's `.tif`; over a zone seam `MAP_utm30.tif` and so on are written beside it."""
    confidence_out: Optional[str] = None
    """The confidence's `.tif`; none is written without it."""
    limit_px: int = 50_000_000
    """An extent of more pixels is refused."""


@dataclass(frozen=True)
class ClassifyResult:
    """A map and what is to say of it."""

    maps: Tuple[str, ...]
    """One GeoTIFF per zone, by ascending zone."""
    mosaic: Optional[str]
    """The VRT over the zones' maps; none where there is one zone only."""
    confidences: Tuple[str, ...]
    confidence_mosaic: Optional[str]
    classes: Tuple[ClassCount, ...]
    """Every class of the head, in its order."""
    nodata_px: int
    """Pixels of the map that have no class."""
    fetched: FetchSummary
    head_id: str
    dataset: str
    year: int
    trained_years: Tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class StagedMap:
    """A map that is whole but not yet under its name; `publish` or `discard` it."""

    map: StagedRaster
    confidence: Optional[StagedRaster]
    result: ClassifyResult
    """As it will be, still without the files."""

    @property
    def targets(self) -> Tuple[str, ...]:
        """The names that publishing will take: layers that hold them should be released first."""
        return tuple(str(final) for raster in self._rasters() for _, final in raster.files)

    def discard(self) -> None:
        """Remove what is staged."""
        for raster in self._rasters():
            files.remove_folder(raster.folder)

    def _rasters(self) -> Tuple[StagedRaster, ...]:
        return (self.map,) if self.confidence is None else (self.map, self.confidence)


def classify(
    request: ClassifyRequest, report: Report = silent, worker: Optional[WorkerClient] = None
) -> StagedMap:
    """Return a map of an extent, written but not yet under its name.

    Embeddings that are missing are fetched first. Parts that can't be had are nodata and are named
    in `result.fetched`. With a worker, heads of kind `mlp` predict in it, with the same answer.
    Embeddings are those of the head's depth.
    Raises: HeadUnreadable, HeadMismatch, UnknownDataset, UnknownYear, DepthNotOffered,
    FormNotOffered, StoreUnusable, DecoderMissing, ExtentInvalid, ExtentTooLarge,
    NoValidEmbeddings, NetworkFailed, DiskFull, NotWritable, WorkerDied, WorkerFailed, Cancelled.
    """
    head = load(request.head_path)
    dataset = catalog.dataset(head.dataset, request.access.stores)
    catalog.check_year(dataset, request.year)
    check_size(windows_of(request.extent), request.limit_px, head.depth)
    return with_source(
        dataset.key, request.year, request.access,
        lambda source, _: classify_from(source, head, request, report, worker),
        depth=head.depth, report=report, unpack=by_worker(worker),
    )  # fmt: skip


def classify_from(
    source: EmbeddingSource,
    head: Head,
    request: ClassifyRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> StagedMap:
    """Do `classify` with a head and a source that are open."""
    started = time.monotonic()
    head.check(source.dataset.key, source.depth)
    windows = windows_of(request.extent)
    with contextlib.ExitStack() as undo:
        map_target, confidence_target = targets_of(
            request.out, request.confidence_out, windows, undo
        )
        share = fetch_share(source, windows)
        summary = source.fetch(windows, part(report, 0.0, share))
        if not summary.valid_px:
            raise nothing_valid(head.dataset, request.year, summary)
        tags = _tags(head, source, request, summary)
        with predictor(head, worker) as predict:
            writer = MapWriter(head.classes, windows, map_target, confidence_target, tags)
            found, nodata_px = writer.write(_by(predict, source), part(report, share, 1.0))
        if not found.any():  # what is valid lies beyond the seam
            raise nothing_valid(head.dataset, request.year, summary)
        counts, zone = class_counts(head.classes, found), centre_zone(request.extent)
        staged_map = map_target.staged(zone, counts, tags)
        staged_confidence = confidence_target.staged(zone, (), tags) if confidence_target else None
        undo.pop_all()
    return StagedMap(staged_map, staged_confidence, ClassifyResult(
        maps=(), mosaic=None, confidences=(), confidence_mosaic=None, classes=counts,
        nodata_px=nodata_px, fetched=summary, head_id=head.id, dataset=head.dataset,
        year=request.year, trained_years=tuple(head.years),
        seconds=round(time.monotonic() - started, 3),
    ))  # fmt: skip


def publish(staged: StagedMap) -> ClassifyResult:
    """Give a staged map its name, and return it.

    A file that the system still holds stays, and the new one gets a numbered name.
    Raises: NotWritable, DiskFull.
    """
    try:
        maps, mosaic = staged.map.publish()
        confidences, confidence_mosaic = (
            staged.confidence.publish() if staged.confidence else ((), None)
        )
    finally:
        staged.discard()
    return replace(staged.result, maps=maps, mosaic=mosaic, confidences=confidences,
                   confidence_mosaic=confidence_mosaic)  # fmt: skip


# --- one run


def _by(predict: Predict, source: EmbeddingSource) -> Mapper:
    """Return the mapper that predicts pixel by pixel, in strips."""

    def mapped(window: Window, report: Report) -> Iterator[Mapped]:
        for strip, of_strip in _reported(window, report):
            of_strip(0.0, "classify")
            codes, scales = source.read(strip)
            valid = valid_mask(codes, scales)
            best = np.full(strip.shape, NO_CLASS, np.intp)
            percent = np.zeros(strip.shape, np.uint8)
            if valid.any():
                # where all are valid, the usual case, nothing is copied
                pixels = codes.reshape(-1, codes.shape[2]) if valid.all() else codes[valid]
                best[valid], percent[valid] = predict(pixels, scales[valid], of_strip)
            yield Mapped(strip, best, percent)

    return mapped


def targets_of(
    out: str, confidence_out: Optional[str], windows: Sequence[Window], undo: contextlib.ExitStack
) -> Tuple[Target, Optional[Target]]:
    """Make the folders to write a map in, before anything is fetched; `undo` removes them.

    Raises: NotWritable, DiskFull.
    """
    outs = [out] + ([confidence_out] if confidence_out else [])
    if len({Path(each).absolute() for each in outs}) < len(outs):
        raise NotWritable(out, "the map and its confidence need a name each")
    targets = []
    for each in outs:
        targets.append(Target(each, windows))
        undo.callback(files.remove_folder, targets[-1].folder)
    return targets[0], targets[1] if len(targets) > 1 else None


def _reported(window: Window, report: Report) -> Iterator[Tuple[Window, Report]]:
    done_px = 0
    for strip in strips(window):
        after_px = done_px + strip.pixels
        yield strip, part(report, done_px / window.pixels, after_px / window.pixels)
        done_px = after_px


def fetch_share(source: EmbeddingSource, windows: Sequence[Window]) -> float:
    """Return the share of the whole job that fetching will take, from a look here and there."""
    all_strips = [strip for window in windows for strip in strips(window)]
    looked_at = all_strips[:: len(all_strips) // _STRIPS_LOOKED_AT + 1]
    missing = [(source.states(strip) == State.UNKNOWN).mean() for strip in looked_at]
    fetching = _FETCH_COST * float(np.mean(missing))
    return fetching / (fetching + 1.0)


def nothing_valid(dataset: str, year: int, summary: FetchSummary) -> TesseraError:
    """Return the error to raise where a fetch brought no valid pixel."""
    first = summary.failed[0] if summary.failed else None
    if summary.unreachable and not summary.cached_px:
        return NetworkFailed(summary.unreachable, first.reason if first else "no connection")
    if first:
        reason = f"{len(summary.failed)} parts failed, the first {first.part}: {first.reason}"
    elif summary.absent:
        reason = "nothing is published here, or it is all water"
    else:
        reason = "it is all water or without data"
    return NoValidEmbeddings(dataset, year, reason)


def _tags(
    head: Head, source: EmbeddingSource, request: ClassifyRequest, summary: FetchSummary
) -> Dict[str, str]:
    return {
        **source_tags(source, request.access, summary),
        "TESSERA_TRAINED_YEARS": ",".join(str(year) for year in head.years),
        "TESSERA_HEAD_ID": head.id,
    }


def source_tags(source: EmbeddingSource, access: Access, summary: FetchSummary) -> Dict[str, str]:
    """Return what a map's file says of the embeddings it was made of."""
    tags = {
        **provenance_tags(source),
        "TESSERA_PLUGIN_VERSION": files.plugin_version(),
        "TESSERA_SOURCE": _without_credentials(
            source.dataset.local or source.dataset.store or access.archive
        ),
    }
    if summary.failed:
        tags["TESSERA_MISSING"] = ",".join(failure.part for failure in summary.failed)
    return tags


def _without_credentials(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?")[0]
