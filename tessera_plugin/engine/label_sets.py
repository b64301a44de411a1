# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels of several years and areas as one training set: fetched, with common classes, joined."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Dict, Hashable, List, Optional, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import NetworkFailed, NoUsableLabels
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..io.vectors import Skipped
from ..progress import Report, part
from ..values import Access, LandClass
from . import embeddings
from .ground import Ground, PixelIndex, settle
from .heads.background import Background
from .labels import Labels
from .samples import (
    ClassSamples,
    SampleParams,
    SampleReport,
    Samples,
    collect,
    label_pixels,
    windows_of_pixels,
)
from .surroundings import background_of
from .unpack import by_worker


@dataclass(frozen=True)
class LabelSet:
    """Labels, and the year they are true of."""

    labels: Labels
    year: int
    area: str = ""
    """What the place is called; sets of one area have one name."""


@dataclass(frozen=True)
class Where:
    """Where the embeddings of labels come from."""

    dataset: str
    """Key, as `1.1-dclimate`."""
    access: Access
    depth: int = 0
    """Dimensions, where the dataset is published in several; 0 for all of them."""


def gather(
    sets: Sequence[LabelSet],
    where: Where,
    sampling: SampleParams,
    report: Report,
    worker: Optional[WorkerClient] = None,
    *,
    with_background: bool = True,
) -> Tuple[Samples, FetchSummary]:
    """Fetch the embeddings of the labels' pixels; sets after the first are joined to it.

    What is only tested needs no background, and must not tell a head anything of its surroundings.

    A label that occurs in several sets of one file (for several years) stays one label, so that no
    split divides it. Classes are those of all sets, matched by name.
    Raises: as `embeddings.open_source`; NoLabels, NoUsableLabels, NetworkFailed, DiskFull,
    NotWritable, Cancelled.
    """
    labels = with_common_classes([each.labels for each in sets])
    found = []
    for number, (each, its_labels) in enumerate(zip(sets, labels)):
        share = part(report, number / len(sets), (number + 1) / len(sets))
        samples, fetched = _fetched(
            its_labels, each.year, where, sampling, report=share, worker=worker,
            with_background=with_background,
        )  # fmt: skip
        found.append((samples, fetched))
    summary = found[0][1]
    for _, more in found[1:]:
        summary = summary.merged(more)
    if len(sets) == 1:
        return found[0][0], summary
    sources = [each.labels.source for each in sets]
    together = joined([samples for samples, _ in found], sources, [s.area for s in sets])
    if not len(together):
        reason = f"{together.report.conflicting_px} pixels labelled as several classes"
        raise NoUsableLabels(sum(len(each.labels.items) for each in sets), reason)
    return together, summary


def with_common_classes(labels: Sequence[Labels]) -> List[Labels]:
    """Return labels whose classes are those of all, with the ids of the first that has a name."""
    common = tuple(_merged(tuple(each.classes for each in labels)))
    return [_with_classes(each, common) for each in labels]


def with_classes_of(samples: Samples, other: Samples) -> Samples:
    """Return samples whose classes have the ids that the other's have by name, and new ones else."""
    common = tuple(_merged((other.classes, samples.classes)))
    number = _numbers(samples.classes, common)
    ids = np.array([number[old] for old in samples.class_ids.tolist()], np.int64)
    return replace(samples, class_ids=ids, classes=common)


def joined(
    parts: Sequence[Samples],
    sources: Sequence[Hashable] = (),
    areas: Sequence[str] = (),
) -> Samples:
    """Return the rows of several samples as one; their classes have common ids already.

    Labels with one key are one where their sources are one; without sources all are different. A
    pixel that several of them label in one year is used once, and left out where they name
    different classes: the report counts both.
    Raises: ValueError for embeddings of different datasets or depths.
    """
    whole = concatenated(parts, sources, areas)
    contested = _contested(parts, whole)
    order = np.lexsort(
        (whole.col, whole.row, whole.zone, whole.year_of)
    )  # stable: first comes first
    place, year = whole.places[order], whole.year_of[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (place[1:] != place[:-1]) | (year[1:] != year[:-1])
    is_kept, duplicates, conflicts = settle(is_first, whole.class_ids[order], contested[order])
    kept = whole if is_kept.all() else taken(whole, np.sort(order[is_kept]))
    told = replace(
        kept.report,
        duplicate_px=kept.report.duplicate_px + duplicates,
        conflicting_px=kept.report.conflicting_px + conflicts,
    )
    return replace(kept, report=told)


def concatenated(
    parts: Sequence[Samples],
    sources: Sequence[Hashable] = (),
    areas: Sequence[str] = (),
) -> Samples:
    """Return all rows of several samples one after the other: `joined` without settling anything.

    Raises: ValueError for embeddings of different datasets or depths.
    """
    first = parts[0]
    if len({(each.dataset, each.codes.shape[1]) for each in parts}) > 1:
        raise ValueError("embeddings of different datasets or depths don't go together")
    names = sources or range(len(parts))
    known: Dict[Tuple[Hashable, str], int] = {}
    numbers: List[NDArray[np.int64]] = []
    for source, each in zip(names, parts):
        keys = each.keys or tuple(map(str, range(int(each.groups.max(initial=-1)) + 1)))
        number = [known.setdefault((source, key), len(known)) for key in keys]
        numbers.append(np.array(number, np.int64))
    together = np.concatenate([number[each.groups] for each, number in zip(parts, numbers)])
    class_ids = np.concatenate([each.class_ids for each in parts])
    classes = tuple(_merged(tuple(each.classes for each in parts)))
    backgrounds = [each.background for each in parts if each.background is not None]
    area_names = tuple(dict.fromkeys(areas)) if any(areas) else ()
    return Samples(
        codes=np.concatenate([each.codes for each in parts]),
        scales=np.concatenate([each.scales for each in parts]),
        class_ids=class_ids,
        groups=together,
        zone=np.concatenate([each.zone for each in parts]),
        row=np.concatenate([each.row for each in parts]),
        col=np.concatenate([each.col for each in parts]),
        classes=classes,
        report=_summed([each.report for each in parts], classes, class_ids, together),
        dataset=first.dataset,
        year=first.year,
        keys=tuple(key for _, key in known),
        row_years=np.concatenate([each.year_of for each in parts]),
        row_areas=_area_rows(parts, areas, area_names),
        areas=area_names,
        background=Background.joined(backgrounds) if backgrounds else None,
        ground=Ground.joined([(p.present_ground, number) for p, number in zip(parts, numbers)]),
    )


def taken(samples: Samples, rows: NDArray[np.int64]) -> Samples:
    """Return some rows of samples; their labels keep their numbers."""
    per_row = (
        "codes",
        "scales",
        "class_ids",
        "groups",
        "zone",
        "row",
        "col",
        "row_years",
        "row_areas",
    )
    values = {name: getattr(samples, name) for name in per_row}
    changes = {name: array[rows] for name, array in values.items() if array is not None}
    report = _summed([samples.report], samples.classes, changes["class_ids"], changes["groups"])
    return replace(samples, **changes, report=report)


def _fetched(
    labels: Labels, year: int, where: Where, sampling: SampleParams, *, report: Report,
    worker: Optional[WorkerClient], with_background: bool,
) -> Tuple[Samples, FetchSummary]:  # fmt: skip
    def work(source: EmbeddingSource, _reason: str) -> Tuple[Samples, FetchSummary]:
        pixels = label_pixels(labels, sampling, part(report, 0.0, 0.1))
        fetched = source.fetch(windows_of_pixels(pixels), part(report, 0.1, 0.9))
        try:
            samples = collect(labels, source, sampling, pixels, part(report, 0.9, 0.97))
        except NoUsableLabels as error:
            if not fetched.failed:
                raise
            failure = fetched.failed[0]
            if fetched.unreachable:
                raise NetworkFailed(fetched.unreachable, failure.reason) from error
            reason = f"{error.reason} ({failure.part}: {failure.reason})"
            raise NoUsableLabels(error.labels, reason) from error
        if not with_background:
            return samples, fetched
        around = background_of(source, samples, part(report, 0.97, 1.0))
        return replace(samples, background=around), fetched

    return embeddings.with_source(
        where.dataset, year, where.access, work, depth=where.depth, report=report,
        unpack=by_worker(worker),
    )  # fmt: skip


def _contested(parts: Sequence[Samples], whole: Samples) -> NDArray[np.bool_]:
    """Return which rows of the whole lie in a polygon of another class, of the same year.

    Such a polygon need not have chosen that pixel. Within a part that is settled already.
    """
    bad = np.zeros(len(whole), bool)
    known = [
        (
            each.present_ground.large,
            _per_label(each, each.year_of),
            _per_label(each, each.class_ids),
        )
        for each in parts
    ]
    for year in np.unique(whole.year_of):
        if sum((year_of == year).any() for _, year_of, _ in known) < 2:
            continue
        rows = np.flatnonzero(whole.year_of == year)
        rows = rows[np.lexsort((whole.row[rows], whole.zone[rows]))]
        index = PixelIndex(whole.zone[rows], whole.row[rows], whole.col[rows])
        classes = whole.class_ids[rows]
        for large, year_of, class_of in known:
            for each in large:
                if year_of[each.label] == year:
                    own = int(class_of[each.label])
                    bad[rows[index.strangers(each.parts, classes, own)]] = True
    return bad


def _per_label(samples: Samples, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the value of each label (labels,) of those of its rows (n,); -1 without rows."""
    result = np.full(int(samples.groups.max(initial=-1)) + 1, -1)
    result[samples.groups] = values
    return result


def _area_rows(
    parts: Sequence[Samples], areas: Sequence[str], names: Sequence[str]
) -> Optional[NDArray[np.int64]]:
    if not names:
        return None
    numbers = np.array([names.index(area) for area in areas], np.int64)
    return np.repeat(numbers, [len(each) for each in parts])


def _merged(several: Sequence[Sequence[LandClass]]) -> List[LandClass]:
    """Return the classes of all, each name once; an id that is taken becomes the next free one."""
    classes: Dict[str, LandClass] = {}
    taken: Set[int] = set()
    for one in several:
        for land_class in one:
            if land_class.name in classes:
                continue
            free = land_class.id if land_class.id not in taken else max(taken) + 1
            classes[land_class.name] = replace(land_class, id=free)
            taken.add(free)
    return list(classes.values())


def _numbers(old: Sequence[LandClass], new: Sequence[LandClass]) -> Dict[int, int]:
    by_name = {land_class.name: land_class.id for land_class in new}
    return {land_class.id: by_name[land_class.name] for land_class in old}


def _with_classes(labels: Labels, classes: Tuple[LandClass, ...]) -> Labels:
    number = _numbers(labels.classes, classes)
    items = tuple(replace(label, class_id=number[label.class_id]) for label in labels.items)
    return replace(labels, classes=classes, items=items)


def _summed(
    reports: Sequence[SampleReport],
    classes: Sequence[LandClass],
    class_ids: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> SampleReport:
    def total(name: str) -> int:
        return sum(getattr(each, name) for each in reports)

    counts = ("invalid_px", "missing_px", "duplicate_px", "conflicting_px", "capped_polygons",
              "small_polygons", "unplaced_labels")  # fmt: skip
    per_class = tuple(
        ClassSamples(
            land_class.id, land_class.name,
            len(np.unique(groups[class_ids == land_class.id])),
            int((class_ids == land_class.id).sum()),
        )
        for land_class in classes
    )  # fmt: skip
    skipped = Skipped(
        **{
            each.name: sum(getattr(report.skipped, each.name) for report in reports)
            for each in fields(Skipped)
        }
    )
    return SampleReport(
        labels=len(np.unique(groups)), pixels=len(groups), classes=per_class, skipped=skipped,
        **{name: total(name) for name in counts},
    )  # fmt: skip
