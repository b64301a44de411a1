# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From a head and an extent to a class map: streamed, staged, then published under its name."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..compute.client import WorkerClient
from ..errors import (
    LabelsNeeded,
    NetworkFailed,
    NoValidEmbeddings,
    TesseraError,
)
from ..io import files
from ..io.raster_classes import ClassCount
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..progress import Report, part, silent
from ..values import Access, Extent, LandClass, State, Window
from . import catalog
from .embeddings import provenance_tags, valid_mask, with_source
from .heads.base import Head
from .heads.storage import load
from .label_sets import LabelSet, Where, gather
from .map_cleanup import Cleaner
from .map_ground import Ground, check_area, ground_of
from .map_outputs import MARGIN, NOVELTY, PROBABILITIES, Outputs, placed
from .map_polygons import draw
from .map_values import CLEAN, ClassifyRequest, ClassifyResult, StagedMap, beside, publish
from .mapping import (
    NO_CLASS,
    Beside,
    Mapped,
    Mapper,
    MapWriter,
    Target,
    class_counts,
    targets_of,
)
from .novelty import Novelty
from .predict import Predict, predictor
from .samples import SampleParams
from .unpack import by_worker
from .zones import strips

__all__ = [
    "ClassCount",
    "ClassifyRequest",
    "ClassifyResult",
    "StagedMap",
    "beside",
    "classify",
    "publish",
]

_FETCH_COST = 15.0
"""What fetching a pixel takes, in times of predicting one; for the progress only."""


_STRIPS_LOOKED_AT = 20
_LABELS_SHARE = 0.05
_POLYGONS_SHARE = 0.02


def classify(
    request: ClassifyRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    *,
    ground: Optional[Ground] = None,
    novelty: Optional[Novelty] = None,
) -> StagedMap:
    """Return a map of an extent, written but not yet under its name.

    Embeddings that are missing are fetched first. Parts that can't be had are nodata and are named
    in `result.fetched`. With a worker, heads of kind `mlp` predict in it, with the same answer.
    Embeddings are those of the head's depth. `ground` is the extent on the grids and `novelty` what the
    labels give, where they are known.
    Raises: HeadUnreadable, HeadMismatch, UnknownDataset, UnknownYear, DepthNotOffered,
    FormNotOffered, StoreUnusable, DecoderMissing, ExtentInvalid, ExtentTooLarge,
    PolygonsFarApart, NoValidEmbeddings, NetworkFailed, DiskFull, NotWritable, WorkerDied,
    WorkerFailed, Cancelled; with labels also NoLabels, NoUsableLabels, TooFewLabels.
    """
    head = load(request.head_path)
    dataset = catalog.dataset(head.dataset, request.access.stores)
    catalog.check_year(dataset, request.year)
    start = 0.0
    if ground is None:
        start = 0.0 if isinstance(request.extent, Extent) else _POLYGONS_SHARE
        ground = ground_of(request.extent, part(report, 0.0, start / 2))
    check_area(ground, request.limit_px, head.depth, part(report, start / 2, start))
    if request.novelty_out and novelty is None:
        of_labels = part(report, start, start + _LABELS_SHARE)
        start += _LABELS_SHARE
        novelty = novelty_from(request, head, of_labels, worker)
    return with_source(
        dataset.key, request.year, request.access,
        lambda source, _: classify_from(
            source, head, request, part(report, start, 1.0), worker, ground=ground, novelty=novelty
        ),
        depth=head.depth, report=report, unpack=by_worker(worker),
    )  # fmt: skip


def novelty_from(
    request: ClassifyRequest, head: Head, report: Report, worker: Optional[WorkerClient] = None
) -> Novelty:
    """Return how unlike its labels a head finds pixels. Raises: LabelsNeeded, as `classify`."""
    if request.labels is None:
        raise LabelsNeeded
    dataset = catalog.dataset(head.dataset, request.access.stores)
    sets = _dated(request.label_sets, head.years)
    for each in sets:
        catalog.check_year(dataset, each.year)
    where = Where(dataset.key, request.access, head.depth)
    samples, _ = gather(sets, where, SampleParams(), report, worker, with_background=False)
    return Novelty.of(samples)


def _dated(sets: Sequence[LabelSet], years: Sequence[int]) -> Tuple[LabelSet, ...]:
    """Return labels with the years they are looked up in, those of no year in all that are left."""
    said = {each.year for each in sets}
    left = [year for year in years if year not in said] or list(years)
    return tuple(
        replace(each, year=year) for each in sets for year in ([each.year] if each.year else left)
    )


def classify_from(
    source: EmbeddingSource,
    head: Head,
    request: ClassifyRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    *,
    ground: Optional[Ground] = None,
    novelty: Optional[Novelty] = None,
) -> StagedMap:
    """Do `classify` with a head and a source that are open."""
    started = time.monotonic()
    head.check(source.dataset.key, source.depth)
    ground = ground or ground_of(request.extent)
    outputs, outs = _outputs(head, request, novelty)
    with contextlib.ExitStack() as undo:
        paths = {"map": request.out, "confidence": request.confidence_out,
                 CLEAN: request.clean_path, **outs}  # fmt: skip
        targets = targets_of(paths, ground.windows, undo)
        target, confidence = targets["map"], targets.get("confidence")
        needed = ground.needed()
        share = fetch_share(source, needed)
        summary = source.fetch(needed, part(report, 0.0, share))
        if not summary.valid_px:
            raise nothing_valid(head.dataset, request.year, summary)
        after = share + (1.0 - share) * (1.0 - _cleaning_share(request))
        tags = _tags(head, source, request, summary)
        others = {kind: targets[kind] for kind in outputs.kinds}
        beside_it = [Beside(each, outputs.bands(kind)) for kind, each in others.items()]
        with predictor(head, worker, sum(each.pixels for each in needed)) as predict:
            writer = MapWriter(outputs.map_classes, ground.windows, target, confidence, tags,
                               beside_it, ground.mask)  # fmt: skip
            mapper = _by(predict, source, outputs, ground)
            found, nodata_px = writer.write(mapper, part(report, share, after))
        if not found.any():  # what is valid lies beyond the seam
            raise nothing_valid(head.dataset, request.year, summary)
        counts = class_counts(outputs.map_classes, found)
        staged = StagedMap(
            target.staged(ground.zone, counts, tags),
            confidence.staged(ground.zone, (), tags) if confidence else None,
            ClassifyResult(
                maps=(), mosaic=None, confidences=(), confidence_mosaic=None, classes=counts,
                nodata_px=nodata_px, fetched=summary, head_id=head.id, dataset=head.dataset,
                year=request.year, trained_years=tuple(head.years), seconds=0.0,
                uncertain_id=counts[-1].id if request.uncertain_below else 0,
                unusable_polygons=ground.unusable,
            ),
            tuple((kind, each.staged(ground.zone, (), tags)) for kind, each in others.items()),
        )  # fmt: skip
        finish = _Finish(request, outputs.map_classes, ground, targets, undo)
        staged = finish.of(staged, tags, part(report, after, 1.0))
        undo.pop_all()
    seconds = round(time.monotonic() - started, 3)
    return replace(staged, result=replace(staged.result, seconds=seconds))


# --- one run


def _outputs(
    head: Head, request: ClassifyRequest, novelty: Optional[Novelty]
) -> Tuple[Outputs, Dict[str, str]]:
    """Return what is kept of each pixel, and where the rasters of its kinds go."""
    wanted = {
        PROBABILITIES: request.probabilities_out,
        MARGIN: request.margin_out,
        NOVELTY: request.novelty_out,
    }
    outs = {kind: path for kind, path in wanted.items() if path}
    outputs = Outputs(head.classes, request.uncertain_below, tuple(outs), novelty)
    return outputs, outs


def _cleaning_share(request: ClassifyRequest) -> float:
    """Return the share of the work, fetching apart, that comes after the map."""
    return (0.1 if request.clean_up else 0.0) + (0.2 if request.polygons_out else 0.0)


@dataclass(frozen=True, eq=False)
class _Finish:
    """What comes after the map: its cleaned copy and its polygons, as far as they are asked for."""

    request: ClassifyRequest
    classes: Tuple[LandClass, ...]
    ground: Ground
    targets: Mapping[str, Target]
    undo: contextlib.ExitStack

    def of(self, staged: StagedMap, tags: Mapping[str, str], report: Report) -> StagedMap:
        """Return the map with them."""
        share = (1.0 if not self.request.polygons_out else 0.4) if self.request.clean_up else 0.0
        shown = self.targets["map"]
        if self.request.clean_up:
            shown = self.targets[CLEAN]
            tags = {**tags, "TESSERA_CLEANED": self.request.clean_up.sentence(),
                    "TESSERA_CLEANED_FROM": Path(self.request.out).name}  # fmt: skip
            staged = self._cleaned(staged, tags, part(report, 0.0, share))
        if self.request.polygons_out:
            of_polygons = part(report, share, 1.0)
            staged = self._drawn(staged, self.request.polygons_out, shown, tags, of_polygons)
        return staged

    def _cleaned(self, staged: StagedMap, tags: Mapping[str, str], report: Report) -> StagedMap:
        cleaner = Cleaner(self.request.clean_up, self.classes, self.ground.windows, tags)
        found, changed = cleaner.clean(self.targets["map"], self.targets[CLEAN], report)
        counts = class_counts(self.classes, found)
        raster = self.targets[CLEAN].staged(self.ground.zone, counts, tags)
        result = replace(staged.result, clean_classes=counts, changed_px=changed)
        return replace(staged, result=result, others=(*staged.others, (CLEAN, raster)))

    def _drawn(
        self, staged: StagedMap, out: str, shown: Target, tags: Mapping[str, str], report: Report
    ) -> StagedMap:
        folder = files.staging_folder(out)
        self.undo.callback(files.remove_folder, folder)
        drawn = draw(out, folder, shown, self.classes, tags, report=report)
        if drawn.polygons is None:
            files.remove_folder(folder)
        count = drawn.polygons.count if drawn.polygons else 0
        result = replace(staged.result, polygon_count=count, polygons_refused=drawn.refusal)
        return replace(staged, result=result, polygons=drawn.polygons)


def _by(predict: Predict, source: EmbeddingSource, outputs: Outputs, ground: Ground) -> Mapper:
    """Return the mapper that predicts pixel by pixel, in strips."""

    def mapped(window: Window, report: Report) -> Iterator[Mapped]:
        for strip, of_strip in _reported(window, report):
            of_strip(0.0, "classify")
            best = np.full(strip.shape, NO_CLASS, np.intp)
            percent = np.zeros(strip.shape, np.uint8)
            others = [outputs.nothing(kind, strip) for kind in outputs.kinds]
            inside = None if ground.clip is None else ground.clip.mask(strip)
            if inside is not None and not inside.any():  # between polygons that lie far apart
                yield Mapped(strip, best, percent, tuple(others))
                continue
            codes, scales = source.read(strip)
            valid = valid_mask(codes, scales)
            if inside is not None:
                valid &= inside
            if valid.any():
                # where all are valid, the usual case, nothing is copied
                pixels = codes.reshape(-1, codes.shape[2]) if valid.all() else codes[valid]
                kept = predict(pixels, scales[valid], of_strip, outputs.reduce)
                best[valid], percent[valid], *rest = kept
                rest += outputs.novel(pixels, of_strip)
                others = [placed(values, valid) for values in rest]
            yield Mapped(strip, best, percent, tuple(others))

    return mapped


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
        **({"TESSERA_UNCERTAIN_BELOW": f"{request.uncertain_below} percent"}
           if request.uncertain_below else {}),
    }  # fmt: skip


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
