# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From labels to a head with an honest accuracy.

The labels are split once, or dealt to folds. The head is trained on the one side and judged on the
other, which nothing else ever sees: early stopping holds back a part of the training side. Only
then, and said so, it may be trained again on all labels; the accuracy stays that of labels that were
not trained on.
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import NotWritable, TooFewLabels
from ..io import files
from ..io.sources.base import FetchSummary
from ..progress import Report, part, silent
from ..values import Access
from .accuracy import Accuracy, assess
from .calibration import Calibration, HeldOut, calibrate, held_out_of
from .dealing import Fold, divided, pinned_folds, without_tested_ground
from .exchange import needed
from .fitting import BY_TORCH, UNGUIDED_EPOCHS, Epoch, Fitted, OnEpoch, Trainer, standardisation
from .folds import Folds, ValidationParams, make_folds
from .heads.base import Head, identify
from .heads.storage import save
from .independent import against
from .label_sets import LabelSet, Where, gather, with_common_classes
from .labels import Labels
from .samples import SampleParams, SampleReport, Samples
from .train_params import TrainParams
from .validation import Answers, Validation, cross_validate

__all__ = [
    "MIN_LABELS",
    "UNGUIDED_EPOCHS",
    "Epoch",
    "OnEpoch",
    "TrainParams",
    "TrainRequest",
    "TrainResult",
    "check_counts",
    "fit",
    "fit_and_ask",
    "fit_at_once",
    "fit_on_folds",
    "gather_request",
    "standardisation",
    "train",
]

MIN_LABELS = 2
"""Labels that at least two classes need: one to learn from and one to be judged by."""

LEAST_CLASSES = 2

CALIBRATION_FOLDS = 5
"""Trainings whose answers on what they have not seen say how sure an instant head may be."""


@dataclass(frozen=True)
class TrainRequest:
    """What to train a head from, and where to."""

    labels: Labels
    dataset: str
    """Key, as `1.1-dclimate`."""
    year: int
    access: Access
    out: str
    """Path of the head."""
    params: TrainParams = field(default_factory=TrainParams)
    sampling: SampleParams = field(default_factory=SampleParams)
    depth: int = 0
    """Dimensions, where the dataset is published in several; 0 for all of them."""
    area: str = ""
    """What the place of the labels is called, where there are several."""
    more: Tuple[LabelSet, ...] = ()
    """Labels of other years and areas, learnt together with the first."""
    validation: Optional[ValidationParams] = None
    """How the head is tested on folds; None: on `params.test_share` of the labels, once."""
    test: Optional[LabelSet] = None
    """Labels that the head is tested on and never learns; then there are no folds."""

    @property
    def sets(self) -> Tuple[LabelSet, ...]:
        """All labels that are learnt."""
        return (LabelSet(self.labels, self.year, self.area), *self.more)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained head and what became of the labels."""

    head: Head
    head_path: str
    samples: SampleReport
    fetched: FetchSummary
    validation: Optional[Validation] = None
    """What the folds gave, where there were any."""
    folds: Optional[Folds] = None
    data: Optional[Samples] = None
    """The rows that `validation` and `answers` speak of."""
    answers: Optional[Answers] = None
    """What was said of the tested rows, once each; None where nothing was tested."""


def train(
    request: TrainRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    on_epoch: Optional[OnEpoch] = None,
) -> TrainResult:
    """Fetch the embeddings of the labels, train a head on them and save it.

    Raises: NoLabels, TooFewLabels, NoUsableLabels, ValidationImpossible, UnknownDataset,
    UnknownYear, DepthNotOffered, FormNotOffered, StoreUnusable, DecoderMissing, NetworkFailed,
    WorkerUnavailable, WorkerDied, WorkerFailed, ProtocolMismatch, NotWritable, DiskFull, Cancelled.
    """
    check_counts(_counts_of([each.labels for each in request.sets]))
    if request.params.kind == "mlp":
        needed(worker, BY_TORCH)
    if not Path(request.out).absolute().parent.is_dir():
        raise NotWritable(request.out, "its folder does not exist")
    samples, folds, learnt, fetched = gather_request(request, part(report, 0.0, 0.55), worker)
    share = part(report, 0.55, 1.0)
    if folds is None:
        head, answers = fit_and_ask(samples, request.params, share, worker, on_epoch)
        save(head, request.out)
        return TrainResult(
            head, request.out, samples.report, fetched, data=samples, answers=answers
        )
    head, validation = fit_on_folds(samples, request.params, folds, share, worker)
    save(head, request.out)
    return TrainResult(
        head, request.out, learnt, fetched, validation, folds, samples, validation.answers
    )


def gather_request(
    request: TrainRequest, report: Report = silent, worker: Optional[WorkerClient] = None
) -> Tuple[Samples, Optional[Folds], SampleReport, FetchSummary]:
    """Fetch what a request needs.

    Returns the rows, how they are tested (None: once, by share), what became of the labels that are
    learnt, and what was fetched.
    Raises: as `train`, but nothing of the worker that it is not needed for.
    """
    where = Where(request.dataset, request.access, request.depth)
    share = 0.6 if request.test else 1.0
    samples, fetched = gather(request.sets, where, request.sampling, part(report, 0, share), worker)
    learnt = samples.report
    check_counts([(row.name, row.labels) for row in learnt.classes])
    if request.test is not None:
        rest = part(report, share, 1.0)
        test, more = gather(
            (request.test,), where, request.sampling, rest, worker, with_background=False
        )
        samples, folds = against(samples, test)
        return samples, folds, learnt, fetched.merged(more)
    if request.validation is None:
        return samples, None, learnt, fetched
    return samples, make_folds(samples, request.validation), learnt, fetched


def fit(
    samples: Samples,
    params: TrainParams,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    on_epoch: Optional[OnEpoch] = None,
) -> Head:
    """Return a head trained and judged on samples; nothing is fetched and nothing saved.

    Raises: TooFewLabels, WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull.
    """
    return fit_and_ask(samples, params, report, worker, on_epoch)[0]


def fit_at_once(samples: Samples, params: TrainParams, report: Report = silent) -> Head:
    """Return an instant head of all rows that nobody judges: for a map that changes with each label.

    One label in two classes is enough. Raises: TooFewLabels.
    """
    trainer = Trainer.of(samples, params, None)
    if len(trainer.classes) < LEAST_CLASSES:
        raise TooFewLabels(tuple((row.name, row.labels) for row in samples.report.classes), 1)
    everything = np.arange(len(samples))
    fitted = trainer.fit(everything, report)
    return _head(trainer, fitted, everything, {"refitted": False, "accuracy_from": None})


def fit_and_ask(
    samples: Samples,
    params: TrainParams,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    on_epoch: Optional[OnEpoch] = None,
) -> Tuple[Head, Optional[Answers]]:
    """Do `fit`, and return also what was said of the rows held out; None where none were.

    Raises: as `fit`.
    """
    started = time.monotonic()
    check_counts([(row.name, row.labels) for row in samples.report.classes])
    trainer = Trainer.of(samples, params, worker)
    train_rows, test_rows = divided(trainer.y, samples.units, params.test_share, params.seed)
    train_rows = without_tested_ground(samples, Fold("share", train_rows, test_rows)).train
    refits = params.refit and len(test_rows) > 0
    fitted = trainer.fit(train_rows, part(report, 0.0, 0.6 if refits else 1.0), on_epoch)
    answers = _asked(trainer, fitted, test_rows) if len(test_rows) else None
    held_out = _held_out(trainer, fitted, train_rows, test_rows)
    learnt = np.arange(len(trainer.y)) if refits else train_rows
    if refits:
        fitted = trainer.refit(fitted, learnt, part(report, 0.6, 1.0))
    calibration = calibrate(held_out, params.seed) if held_out is not None else None
    story = {
        "refitted": refits,
        "accuracy_from": _origin(trainer, train_rows, test_rows),
        "seconds": round(time.monotonic() - started, 3),
    }
    accuracy = _judged(trainer, answers) if answers is not None else None
    head = _head(trainer, fitted, learnt, story, accuracy=accuracy, calibration=calibration)
    return head, answers


def fit_on_folds(
    samples: Samples,
    params: TrainParams,
    folds: Folds,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> Tuple[Head, Validation]:
    """Return a head of all that is learnt, and how heads of its kind do on the folds.

    The head's accuracy is that of all tested labels together, each by a head that had not seen it.
    Raises: WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull, Cancelled.
    """
    started = time.monotonic()
    trainer = Trainer.of(samples, params, worker)
    validation, fits = cross_validate(samples, params, folds, part(report, 0.0, 0.8), worker)
    rows = folds.learnt
    fitted = trainer.refit(_typical(fits), rows, part(report, 0.8, 1.0))
    story = {
        "labels": len(np.unique(samples.groups[rows])),
        "pixels": len(rows),
        "classes": _counted(trainer, rows),
        "refitted": len(folds.items) > 1,
        "accuracy_from": _origin_of_folds(trainer, folds),
        "validation": {**validation.to_json(), "told": folds.sentence},
        "seconds": round(time.monotonic() - started, 3),
    }
    calibration = validation.calibration if params.calibrate else None
    head = _head(trainer, fitted, rows, story, accuracy=validation.pooled, calibration=calibration)
    return head, validation


def check_counts(counts: Sequence[Tuple[str, int]]) -> None:
    """Check that a head can be trained of so many labels per class. Raises: TooFewLabels."""
    if sum(count >= MIN_LABELS for _, count in counts) < 2:
        raise TooFewLabels(tuple(counts), MIN_LABELS)


# --- parts of a training


def _typical(fits: Sequence[Fitted]) -> Fitted:
    """Return the first training, with the epochs that were best in the middle of all."""
    first = fits[0]
    if not first.epochs:
        return first
    epochs = [round(statistics.median(column)) for column in zip(*(fit.epochs for fit in fits))]
    story = {**first.story, "epochs": epochs[0]}
    return replace(first, epochs=tuple(epochs), story=story)


def _held_out(
    trainer: Trainer,
    fitted: Fitted,
    train_rows: NDArray[np.int64],
    test_rows: NDArray[np.int64],
) -> Optional[HeldOut]:
    """Return what a head says of labels it has not seen, None where there are none.

    An instant head is trained in milliseconds: a few more trainings make every label one that was
    not seen. An MLP has the test labels for it.
    """
    params, samples = trainer.params, trainer.samples
    if not params.calibrate:
        return None
    if params.kind != "instant":
        if not len(test_rows):
            return None
        said = trainer.logits(fitted, test_rows)
        return held_out_of((test_rows,), (said,), trainer.y, samples.units)
    rows = np.arange(len(trainer.y)) if params.refit else train_rows
    folds = pinned_folds(trainer.y, samples.units, rows, CALIBRATION_FOLDS, params.seed)
    if not folds:
        return None
    said_by = tuple(trainer.logits(trainer.fit(f.train, silent), f.test) for f in folds)
    return held_out_of(tuple(f.test for f in folds), said_by, trainer.y, samples.units)


def _head(
    trainer: Trainer,
    fitted: Fitted,
    learnt: NDArray[np.int64],
    story: Mapping[str, object],
    *,
    accuracy: Optional[Accuracy] = None,
    calibration: Optional[Calibration] = None,
) -> Head:
    """Return the head of a training; what it says of its years and areas is what it learnt."""
    params, samples = trainer.params, trainer.samples
    arrays = {"mean": fitted.mean, "std": fitted.std, **fitted.weights}
    temperature = calibration.temperature if calibration else 1.0
    report = samples.report
    told = {
        "params": params.told(),
        "labels": report.labels,
        "pixels": report.pixels,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "classes": [dataclasses.asdict(row) for row in report.classes],
        "areas": _areas_of(samples, learnt),
    }
    return Head(
        id=identify(params.kind, trainer.classes, samples.dataset, arrays, temperature),
        kind=params.kind,
        classes=trainer.classes,
        dataset=samples.dataset,
        depth=samples.codes.shape[1],
        years=tuple(np.unique(samples.year_of[learnt]).tolist()),
        mean=fitted.mean,
        std=fitted.std,
        weights=fitted.weights,
        training={
            **fitted.story, **told, **story,
            "calibration": calibration.to_json() if calibration else None,
        },
        accuracy=accuracy,
        seed=params.seed,
        versions=_versions(trainer),
        temperature=temperature,
    )  # fmt: skip


def _areas_of(samples: Samples, rows: NDArray[np.int64]) -> List[str]:
    """Return the names of the areas that rows lie in."""
    if samples.row_areas is None:
        return []
    return [samples.areas[index] for index in np.unique(samples.row_areas[rows]) if index >= 0]


def _asked(trainer: Trainer, fitted: Fitted, rows: NDArray[np.int64]) -> Answers:
    """Return what a head says of rows it has not seen."""
    ids = np.array([land_class.id for land_class in trainer.classes], np.int64)
    return Answers(rows, ids[trainer.logits(fitted, rows).argmax(axis=1)])


def _judged(trainer: Trainer, answers: Answers) -> Accuracy:
    samples, rows = trainer.samples, answers.rows
    reference, groups, units = samples.class_ids[rows], samples.groups[rows], samples.units[rows]
    return assess(reference, answers.predicted, trainer.classes, groups, units)


def _origin(
    trainer: Trainer, train_rows: NDArray[np.int64], test_rows: NDArray[np.int64]
) -> Optional[Dict[str, object]]:
    """Return on what the accuracy was measured, None where nothing was."""
    if not len(test_rows):
        return None
    groups = trainer.samples.groups
    return {
        "test_share": trainer.params.test_share,
        "train_labels": len(np.unique(groups[train_rows])),
        "train_pixels": len(train_rows),
        "test_labels": len(np.unique(groups[test_rows])),
        "test_pixels": len(test_rows),
        "untested_classes": _untested(trainer, test_rows),
    }


def _counted(trainer: Trainer, rows: NDArray[np.int64]) -> List[Dict[str, object]]:
    """Return how many labels and pixels of each class are among rows."""
    groups, y = trainer.samples.groups[rows], trainer.y[rows]
    return [
        {"id": c.id, "name": c.name, "labels": len(np.unique(groups[y == index])),
         "pixels": int((y == index).sum())}
        for index, c in enumerate(trainer.classes)
    ]  # fmt: skip


def _origin_of_folds(trainer: Trainer, folds: Folds) -> Dict[str, object]:
    rows = folds.tested
    return {
        "scheme": folds.scheme,
        "folds": len(folds.items),
        "test_labels": folds.tested_labels(trainer.samples),
        "test_pixels": len(rows),
        "untested_classes": _untested(trainer, rows),
        "shared_labels": folds.shared_labels,
        "unknown_labels": folds.unknown_labels,
        "unknown_pixels": folds.unknown_px,
        "unknown_classes": list(folds.unknown_classes),
    }


def _untested(trainer: Trainer, rows: NDArray[np.int64]) -> List[int]:
    missing = sorted(set(range(len(trainer.classes))) - set(trainer.y[rows].tolist()))
    return [trainer.classes[index].id for index in missing]


def _versions(trainer: Trainer) -> Dict[str, str]:
    ours = {"tessera": files.plugin_version()}
    if trainer.worker is not None and trainer.params.kind == "mlp":
        return {**ours, **trainer.worker.versions}
    return {**ours, "python": platform.python_version(), "numpy": np.__version__}


def _counts_of(several: Sequence[Labels]) -> List[Tuple[str, int]]:
    common = with_common_classes(several)
    counts = Counter(label.class_id for labels in common for label in labels.items)
    return [(known.name, counts[known.id]) for known in common[0].classes]
