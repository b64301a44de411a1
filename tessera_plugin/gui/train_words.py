# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of a training, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from qgis.PyQt.QtCore import QCoreApplication

from ..tasks import train_jobs
from ..tasks.session import Session
from ..tasks.train_choices import FILE
from . import text

if TYPE_CHECKING:
    from ..engine.training import TrainResult

translate = QCoreApplication.translate


def sentences(result: TrainResult, session: Session) -> List[str]:
    """Return what became of the labels; more than one sentence means there is something to heed."""
    samples = result.samples
    told = [
        translate("Map", "Trained on {} of {} in {}.").format(
            text.counted_pixels(samples.pixels),
            text.labels(samples.labels),
            text.seconds(float(str(result.head.training.get("seconds", 0)))),
        )
    ]
    left_out = samples.invalid_px + samples.missing_px
    for count, of, words in (
        (
            left_out,
            text.counted_pixels,
            translate("Map", "Left out, without a valid embedding: {}."),
        ),
        (
            samples.conflicting_px,
            text.counted_pixels,
            translate("Map", "Left out, labelled as several classes: {}."),
        ),
        (
            train_jobs.unsure_count(session),
            text.labels,
            translate("Map", "Left out, because you were less sure of them: {}."),
        ),
        (
            sum(train_jobs.left_out_years(session).values()),
            text.labels,
            translate("Map", "Left out, the dataset lacks their year: {}."),
        ),
    ):
        if count:
            told.append(words.format(of(count)))
    heeded = (*_empty_classes(result), *_untested(result), *_not_asked(result))
    return [*told, *heeded, *_other_years(session)]


def _empty_classes(result: TrainResult) -> List[str]:
    names = [each.name for each in result.samples.classes if not each.labels]
    if not names:
        return []
    told = translate("Map", "Without usable labels, so not mapped: {}.")
    return [told.format(", ".join(names))]


def _untested(result: TrainResult) -> List[str]:
    names = result.folds.untestable if result.folds is not None else ()
    if not names:
        return []
    return [translate("Map", "Learnt but not tested: {}.").format(", ".join(names))]


def _not_asked(result: TrainResult) -> List[str]:
    """Return which labels the test left out, and what they would change."""
    folds = result.folds
    if folds is None:
        return []
    told = []
    if folds.shared_labels:
        words = (
            translate("Map", "Not tested, because they lie on ground that is learnt: {}.")
            if folds.scheme == FILE
            else translate(
                "Map",
                "Not learnt for the test of an area, because they lie on its ground: {}.",
            )
        )
        told.append(words.format(text.labels(folds.shared_labels)))
    if folds.unknown_labels and result.head.accuracy is not None:
        told.append(
            translate(
                "Map",
                "Not tested, because the head knows no {}: {}. On a map such places come out wrong: "
                "counted so, the overall accuracy is {}. Label these classes and train again.",
            ).format(
                ", ".join(folds.unknown_classes),
                text.labels(folds.unknown_labels),
                text.percent(folds.overall_with_unknown(result.head.accuracy), 1),
            )
        )
    return told


def _other_years(session: Session) -> List[str]:
    if train_jobs.learnt(session).own_years:
        return []
    year = session.settings.year
    years = session.labels.years
    others = {each: count for each, count in years.items() if each not in (0, year)}
    if not others:
        return []
    return [
        translate("Map", "Made for {1}, and used for {2} as they are: {0}.").format(
            text.labels(sum(others.values())),
            ", ".join(str(each) for each in sorted(others)),
            year,
        )
    ]
