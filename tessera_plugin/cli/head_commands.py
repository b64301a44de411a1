# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Training and comparing heads on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ..engine import head_comparison as comparing
from ..engine import training, whole_files
from ..engine.folds import SCHEMES, Folds, ValidationParams, make_folds
from ..engine.label_sets import LabelSet
from ..engine.labels import load_labels
from ..engine.learning_curve import LearningCurve, learning_curve
from ..engine.train_params import TrainParams
from ..engine.validation import Validation
from ..progress import part
from .commands import fetch_status, fetched_lines
from .network import access_of, dataset_key
from .teller import BadArguments, Teller
from .worker import worker_for_command


def train(options: argparse.Namespace, teller: Teller) -> int:
    """Train a head on labelled samples."""
    params = TrainParams(
        kind=options.head, test_share=options.test_share, seed=options.seed, **dict(options.option)
    )
    request = _request(options, teller, params, options.out)
    with worker_for_command() as worker:
        trained = training.train(request, teller.report, worker)
    head, accuracy = trained.head, trained.head.accuracy
    facts = {
        "head": trained.head_path,
        "id": head.id,
        "depth": head.depth,
        "classes": [c.name for c in head.classes],
        "accuracy": accuracy.to_json() if accuracy else None,
        "temperature": head.temperature,
        "training": dict(head.training),
        "samples": dataclasses.asdict(trained.samples),
        "fetched": dataclasses.asdict(trained.fetched),
    }
    if options.report:
        whole_files.write_text(options.report, json.dumps(facts, indent=2, default=str))
    lines = [f"Wrote {trained.head_path}", *_told(trained), *fetched_lines(trained.fetched)]
    teller.result(facts, lines)
    return fetch_status(trained.fetched)


def compare_heads(options: argparse.Namespace, teller: Teller) -> int:
    """Say how kinds of heads do on the same folds, and whether more labels would help."""
    params = TrainParams(seed=options.seed, **dict(options.option))
    if not options.validation:
        options.validation = "random"
    request = _request(options, teller, params, "")
    with worker_for_command() as worker:
        samples, folds, _, fetched = training.gather_request(
            request, part(teller.report, 0.0, 0.4), worker
        )
        if folds is None:  # it was asked for
            folds = make_folds(samples, ValidationParams())
        share = part(teller.report, 0.4, 0.7 if options.curve else 1.0)
        rows = comparing.compare_heads(
            samples, params, folds, kinds=options.kinds, report=share, worker=worker
        )
        curves = []
        for number, kind in enumerate(options.curve):
            step = 0.3 / len(options.curve)
            share = part(teller.report, 0.7 + number * step, 0.7 + (number + 1) * step)
            own = dataclasses.replace(params, kind=kind)
            curves.append(
                learning_curve(
                    samples, own, folds, repeats=options.repeats, report=share, worker=worker
                )
            )
    facts: Dict[str, Any] = {
        "folds": folds.sentence,
        "kinds": [row.to_json() for row in rows],
        "curves": [curve.to_json() for curve in curves],
        "fetched": dataclasses.asdict(fetched),
    }
    found = comparing.reading(rows)
    lines = [folds.sentence, *comparing.table(rows), *([found.sentence()] if found else [])]
    teller.result(facts, [*lines, *(line for curve in curves for line in _curve_lines(curve))])
    return fetch_status(fetched)


def _request(
    options: argparse.Namespace, teller: Teller, params: TrainParams, out: str
) -> training.TrainRequest:
    access = access_of(options, teller.report)
    first, *more = _sets(options)
    test, validation = _test(options)
    return training.TrainRequest(
        labels=first.labels, dataset=dataset_key(options, access), year=first.year, access=access,
        out=out, params=params, depth=options.depth, area=first.area, more=tuple(more),
        validation=validation, test=test,
    )  # fmt: skip


def _sets(options: argparse.Namespace) -> List[LabelSet]:
    """Return the labels of every file for every year."""
    files = [(load_labels(path, options.class_field), Path(path).stem) for path in options.samples]
    has_areas = len(files) > 1
    return [
        LabelSet(labels, year, area if has_areas else "")
        for labels, area in files
        for year in options.year
    ]


def _test(options: argparse.Namespace) -> Tuple[Optional[LabelSet], Optional[ValidationParams]]:
    said = options.validation
    if not said:
        return None, None
    if said in SCHEMES:
        return None, ValidationParams(said, options.folds, options.block_px, options.seed)
    if not Path(said).exists():
        told = f"--validation is {', '.join(SCHEMES)} or a file; there is no file {said}."
        raise BadArguments(told)
    return LabelSet(load_labels(said, options.class_field), options.year[0]), None


def _told(trained: training.TrainResult) -> List[str]:
    head = trained.head
    if trained.validation is not None and trained.folds is not None:
        return [
            trained.folds.sentence,
            trained.validation.sentence(),
            *_with_unknown(trained.folds, trained.validation),
            trained.validation.calibration.sentence(),
        ]
    if head.accuracy is None:
        return ["There were too few labels to test the head."]
    return [head.accuracy.sentence()]


def _with_unknown(folds: Folds, validation: Validation) -> List[str]:
    """Return what the accuracy is where labels of classes that the head has not count too."""
    overall = folds.overall_with_unknown(validation.pooled)
    if overall is None:
        return []
    names = ", ".join(folds.unknown_classes)
    told = f"On a map the labels of {names} come out wrong: counted so, the overall accuracy is"
    return [f"{told} {overall:.1%}."]


def _curve_lines(curve: LearningCurve) -> List[str]:
    lines = [f"{comparing.NAMES[curve.kind]}: accuracy against labels per class"]
    lines += [
        f"{point.labels_per_class:>6} {100 * point.mean:6.1f} ± {100 * point.spread:.1f} %"
        for point in curve.points
    ]
    return [*lines, curve.sentence()]
