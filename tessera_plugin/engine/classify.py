# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From a head and an extent to a class map: streamed, staged, then published under its name."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import NetworkFailed, NotWritable, NoValidEmbeddings, TesseraError
from ..io import files, rasters
from ..io.rasters import ClassCount
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..progress import Report, part, silent
from ..values import Access, Extent, State, Window
from . import catalog
from .embeddings import provenance_tags, valid_mask, with_source
from .grid import centre_zone, check_size, windows_of
from .heads.base import Head
from .heads.storage import load
from .predict import Predict, predictor
from .unpack import by_worker
from .zones import own_pixels, strips, zone_paths

__all__ = ["ClassCount", "ClassifyRequest", "ClassifyResult", "StagedMap", "classify", "publish"]

Counts = NDArray[np.int64]

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
class StagedRaster:
    """A raster that is whole but not yet under its name."""

    folder: Path
    files: Tuple[Tuple[Path, Path], ...]
    """Staged and final, in the order they are published: zones, helper VRTs, the mosaic."""
    zones: int

    def publish(self) -> Tuple[Tuple[str, ...], Optional[str]]:
        """Rename the files; return the zones' and the mosaic's. Raises: NotWritable, DiskFull."""
        published = [str(path) for path in files.publish_all(self.files)]
        mosaic = published[-1] if self.zones > 1 else None
        return tuple(published[: self.zones]), mosaic


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
        map_target, confidence_target = _targets(request, windows, undo)
        share = _fetch_share(source, windows)
        summary = source.fetch(windows, part(report, 0.0, share))
        if not summary.valid_px:
            raise _nothing_valid(head, request, summary)
        tags = _tags(head, source, request, summary)
        with predictor(head, worker) as predict:
            run = _Run(head, source, predict, windows, map_target, confidence_target, tags)
            found, nodata_px = run.map_all(part(report, share, 1.0))
        if not found.any():  # what is valid lies beyond the seam
            raise _nothing_valid(head, request, summary)
        counts, zone = _class_counts(head, found), centre_zone(request.extent)
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


class _Target:
    """Where one raster goes: a staged and a final file per zone, and the mosaic's."""

    def __init__(self, out: str, windows: Sequence[Window]) -> None:
        self._out = Path(out).absolute()
        self._windows = windows
        self.folder = files.staging_folder(out)
        self.paths = zone_paths(self.folder / self._out.name, windows)

    def staged(
        self, zone: int, counts: Sequence[ClassCount], tags: Mapping[str, str]
    ) -> StagedRaster:
        """Return the files in the order to publish them, over a seam with the mosaic in `zone`."""
        all_files = list(self.paths)
        if len(self._windows) > 1:
            south = all(window.is_south for window in self._windows)
            vrt = self.folder / f"{self._out.stem}.vrt"
            epsg = (32700 if south else 32600) + zone
            all_files += rasters.mosaic(vrt, self.paths, epsg, counts, tags)
        pairs = tuple((path, self._out.with_name(path.name)) for path in all_files)
        return StagedRaster(self.folder, pairs, len(self._windows))


@dataclass(frozen=True)
class _Run:
    """What every strip of a map needs."""

    head: Head
    source: EmbeddingSource
    predict: Predict
    windows: Sequence[Window]
    map: _Target
    confidence: Optional[_Target]
    tags: Mapping[str, str]

    def map_all(self, report: Report) -> Tuple[Counts, int]:
        """Write every zone's rasters; return pixels per class, in the head's order, and nodata."""
        counts = np.zeros(len(self.head.classes), np.int64)
        pixels = sum(window.pixels for window in self.windows)
        done_px = nodata_px = 0
        for index, window in enumerate(self.windows):
            after_px = done_px + window.pixels
            of_zone = part(report, done_px / pixels, after_px / pixels)
            found, nodata = self._map_zone(index, window, of_zone)
            counts += found
            nodata_px += nodata
            done_px = after_px
        return counts, nodata_px

    def _map_zone(self, index: int, window: Window, report: Report) -> Tuple[Counts, int]:
        counts = np.zeros(len(self.head.classes), np.int64)
        nodata_px = 0
        with contextlib.ExitStack() as open_files:
            classes_out = open_files.enter_context(
                rasters.class_map(self.map.paths[index], window, self.head.classes, self.tags)
            )
            percent_out = self.confidence and open_files.enter_context(
                rasters.confidence(self.confidence.paths[index], window, self.tags)
            )
            for strip, of_strip in _reported(window, part(report, 0.0, 0.95)):
                classes, percent, found, nodata = self._map_strip(strip, of_strip)
                classes_out.write(strip, classes)
                if percent_out:
                    percent_out.write(strip, percent)
                counts += found
                nodata_px += nodata
            if percent_out:
                percent_out.finish(report=part(report, 0.95, 0.97))
            classes_out.finish(_class_counts(self.head, counts), part(report, 0.97, 1.0))
        return counts, nodata_px

    def _map_strip(
        self, strip: Window, report: Report
    ) -> Tuple[NDArray[Any], NDArray[np.uint8], Counts, int]:
        """Return classes and percent (H, W), pixels per class, and how many have none."""
        report(0.0, "classify")
        codes, scales = self.source.read(strip)
        own = own_pixels(strip) if len(self.windows) > 1 else np.ones(strip.shape, np.bool_)
        valid = valid_mask(codes, scales) & own
        ids = self.head.class_ids.astype(rasters.class_dtype(self.head.classes))
        classes = np.full(strip.shape, rasters.CLASS_NODATA, ids.dtype)
        percent = np.full(strip.shape, rasters.CONFIDENCE_NODATA, np.uint8)
        found = np.zeros(len(ids), np.int64)
        if valid.any():
            # where all are valid, the usual case, nothing is copied
            pixels = codes.reshape(-1, codes.shape[2]) if valid.all() else codes[valid]
            best, percent[valid] = self.predict(pixels, scales[valid], report)
            classes[valid] = ids[best]
            found = np.bincount(best, minlength=len(ids))
        return classes, percent, found, int(own.sum() - valid.sum())


def _targets(
    request: ClassifyRequest, windows: Sequence[Window], undo: contextlib.ExitStack
) -> Tuple[_Target, Optional[_Target]]:
    """Make the folders to write in, before anything is fetched; `undo` removes them."""
    outs = [request.out] + ([request.confidence_out] if request.confidence_out else [])
    if len({Path(out).absolute() for out in outs}) < len(outs):
        raise NotWritable(request.out, "the map and its confidence need a name each")
    targets = []
    for out in outs:
        targets.append(_Target(out, windows))
        undo.callback(files.remove_folder, targets[-1].folder)
    return targets[0], targets[1] if len(targets) > 1 else None


def _reported(window: Window, report: Report) -> Iterator[Tuple[Window, Report]]:
    done_px = 0
    for strip in strips(window):
        after_px = done_px + strip.pixels
        yield strip, part(report, done_px / window.pixels, after_px / window.pixels)
        done_px = after_px


def _fetch_share(source: EmbeddingSource, windows: Sequence[Window]) -> float:
    """Return the share of the whole job that fetching will take, from a look here and there."""
    all_strips = [strip for window in windows for strip in strips(window)]
    looked_at = all_strips[:: len(all_strips) // _STRIPS_LOOKED_AT + 1]
    missing = [(source.states(strip) == State.UNKNOWN).mean() for strip in looked_at]
    fetching = _FETCH_COST * float(np.mean(missing))
    return fetching / (fetching + 1.0)


def _class_counts(head: Head, counts: NDArray[np.int64]) -> Tuple[ClassCount, ...]:
    return tuple(ClassCount.of(each, int(count)) for each, count in zip(head.classes, counts))


def _nothing_valid(head: Head, request: ClassifyRequest, summary: FetchSummary) -> TesseraError:
    first = summary.failed[0] if summary.failed else None
    if summary.unreachable and not summary.cached_px:
        return NetworkFailed(summary.unreachable, first.reason if first else "no connection")
    if first:
        reason = f"{len(summary.failed)} parts failed, the first {first.part}: {first.reason}"
    elif summary.absent:
        reason = "nothing is published here, or it is all water"
    else:
        reason = "it is all water or without data"
    return NoValidEmbeddings(head.dataset, request.year, reason)


def _tags(
    head: Head, source: EmbeddingSource, request: ClassifyRequest, summary: FetchSummary
) -> Dict[str, str]:
    tags = {
        **provenance_tags(source),
        "TESSERA_TRAINED_YEARS": ",".join(str(year) for year in head.years),
        "TESSERA_HEAD_ID": head.id,
        "TESSERA_PLUGIN_VERSION": files.plugin_version(),
        "TESSERA_SOURCE": _without_credentials(source.dataset.store or request.access.archive),
    }
    if summary.failed:
        tags["TESSERA_MISSING"] = ",".join(failure.part for failure in summary.failed)
    return tags


def _without_credentials(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?")[0]
