# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How good a head is on folds: every part tested by a head that has not seen it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..progress import Report, part
from ..values import LandClass
from .accuracy import Accuracy, Share, assess
from .calibration import Calibration, HeldOut, calibrate, held_out_of, softmax
from .fitting import Fitted, Trainer, present_classes
from .folds import Folds
from .samples import Samples
from .train_params import TrainParams

FitPredict = Callable[[NDArray[np.int64], NDArray[np.int64], Report], NDArray[np.float32]]
"""Learns some rows and returns the logits (m, k) of others."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a head said of samples it had not seen; m rows."""

    rows: NDArray[np.int64]
    """The tested rows of the samples (m,)."""
    predicted: NDArray[np.int64]
    """Class ids (m,)."""

    def at(self, samples: Samples, reference: int, predicted: int) -> NDArray[np.int64]:
        """Return the rows behind a cell of the matrix; both are class ids."""
        inside = (samples.class_ids[self.rows] == reference) & (self.predicted == predicted)
        rows: NDArray[np.int64] = self.rows[inside]
        return rows

    def behind(self, samples: Samples, reference: int, predicted: int) -> Tuple[str, ...]:
        """Return the keys of the labels behind a cell of the matrix, most pixels first.

        Both are class ids.
        """
        groups, sizes = np.unique(
            samples.groups[self.at(samples, reference, predicted)], return_counts=True
        )
        return tuple(samples.keys[group] for group in groups[np.argsort(-sizes, kind="stable")])


@dataclass(frozen=True)
class PartResult:
    """How one part was answered by what the others teach."""

    name: str
    accuracy: Accuracy


@dataclass(frozen=True, eq=False)
class Validation:
    """How good a kind of head is, on labels it has not seen."""

    kind: str
    scheme: str
    parts: Tuple[PartResult, ...]
    pooled: Accuracy
    """Of all parts together: each tested label once."""
    calibration: Calibration
    seconds: float
    rows: NDArray[np.int64]
    """The tested rows of the samples (m,)."""
    predicted: NDArray[np.int64]
    """Class ids (m,)."""
    confidence: NDArray[np.float32]
    """Of the class that was chosen, 0 to 1, with the temperature (m,)."""

    @property
    def answers(self) -> Answers:
        """What was said of each row."""
        return Answers(self.rows, self.predicted)

    @property
    def mean(self) -> Share:
        """Mean overall accuracy of the parts."""
        return _mean(_overall(self.parts))

    @property
    def spread(self) -> Share:
        """Standard deviation of the parts' overall accuracy; None for one part."""
        return _spread(_overall(self.parts))

    @property
    def mean_f1(self) -> Share:
        """Mean macro F1 of the parts."""
        return _mean([p.accuracy.macro_f1 for p in self.parts if p.accuracy.macro_f1 is not None])

    def behind(self, samples: Samples, reference: int, predicted: int) -> Tuple[str, ...]:
        """Return the keys of the labels behind a cell of the pooled matrix, most pixels first.

        Both are class ids.
        """
        return self.answers.behind(samples, reference, predicted)

    def sentence(self) -> str:
        """Return it as an English sentence for the log and the command line."""
        if self.mean is None:
            return "Nothing was tested."
        if self.spread is None:
            return f"Overall accuracy {self.mean:.1%}. {self.pooled.sentence()}"
        return (
            f"Overall accuracy {self.mean:.1%} ± {self.spread:.1%} over {len(self.parts)} parts "
            f"(mean and standard deviation). All parts together: {self.pooled.sentence()}"
        )

    def to_json(self) -> Dict[str, object]:
        """Return it as JSON values, without what was said of each row."""
        return {
            "kind": self.kind,
            "scheme": self.scheme,
            "mean": self.mean,
            "spread": self.spread,
            "mean_macro_f1": self.mean_f1,
            "parts": [
                {"name": p.name, "overall": p.accuracy.overall, "macro_f1": p.accuracy.macro_f1,
                 "labels": p.accuracy.n_labels, "pixels": p.accuracy.n}
                for p in self.parts
            ],
            "calibration": self.calibration.to_json(),
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


def cross_validate(
    samples: Samples,
    params: TrainParams,
    folds: Folds,
    report: Report,
    worker: Optional[WorkerClient] = None,
) -> Tuple[Validation, Tuple[Fitted, ...]]:
    """Train on every fold and test it; returns also the trainings, one per fold.

    Raises: WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull, Cancelled.
    """
    trainer = Trainer.of(samples, params, worker)
    fitted: List[Fitted] = []

    def fit_predict(
        train: NDArray[np.int64], test: NDArray[np.int64], share: Report
    ) -> NDArray[np.float32]:
        fitted.append(trainer.fit(train, share))
        return trainer.logits(fitted[-1], test)

    return tested(samples, params.kind, folds, fit_predict, report), tuple(fitted)


def tested(
    samples: Samples, kind: str, folds: Folds, fit_predict: FitPredict, report: Report
) -> Validation:
    """Return how any classifier does on folds."""
    started = time.monotonic()
    classes, y = present_classes(samples)
    count = len(folds.items)
    said: List[NDArray[np.float32]] = []
    for number, fold in enumerate(folds.items):
        share = part(report, number / count, (number + 1) / count)
        share(0.0, f"Testing {kind}, {number + 1} of {count}")
        said.append(fit_predict(fold.train, fold.test, share))
    held = held_out_of(tuple(f.test for f in folds.items), tuple(said), y, samples.units)
    result = _result(samples, kind, classes, folds, held)
    return replace(result, seconds=time.monotonic() - started)


def _result(
    samples: Samples,
    kind: str,
    classes: Sequence[LandClass],
    folds: Folds,
    held: HeldOut,
) -> Validation:
    ids = np.array([land_class.id for land_class in classes], np.int64)
    rows = np.concatenate([fold.test for fold in folds.items])
    predicted = ids[held.logits.argmax(axis=1)]
    reference, groups, units = samples.class_ids[rows], samples.groups[rows], samples.units[rows]

    def judged(mine: NDArray[np.bool_]) -> Accuracy:
        return assess(reference[mine], predicted[mine], classes, groups[mine], units[mine])

    names = [fold.name for fold in folds.items]
    parts = []
    for name in folds.parts:
        numbers = [number for number, other in enumerate(names) if other == name]
        parts.append(PartResult(name, judged(np.isin(held.parts, numbers))))
    calibration = calibrate(held)
    highest = softmax(held.logits, calibration.temperature).max(axis=1)
    return Validation(
        kind, folds.scheme, tuple(parts), judged(np.ones(len(rows), bool)), calibration, 0.0,
        rows, predicted, highest.astype(np.float32),
    )  # fmt: skip


def _overall(parts: Sequence[PartResult]) -> List[float]:
    return [p.accuracy.overall for p in parts if p.accuracy.overall is not None]


def _mean(values: Sequence[float]) -> Share:
    return sum(values) / len(values) if values else None


def _spread(values: Sequence[float]) -> Share:
    if len(values) < 2:
        return None
    middle = sum(values) / len(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))
