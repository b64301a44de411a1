# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of heads beside each other, on the same folds.

The heads are our own; logistic regression, nearest neighbours and a random forest are fitted by
scikit-learn in the worker, where its environment has it, to show whether another kind would do
better. They are not saved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import WorkerUnavailable
from ..progress import Report, part, silent
from .exchange import check_parts, exchange, needed
from .fitting import present_classes, standardisation
from .folds import Folds
from .heads.base import KINDS
from .samples import Samples
from .train_params import TrainParams
from .validation import FitPredict, Validation, cross_validate, tested

OTHERS: Dict[str, str] = {
    "logistic": "Logistic regression",
    "knn": "5 nearest neighbours",
    "forest": "Random forest (100 trees)",
}
NAMES: Dict[str, str] = {"instant": "Instant head", "mlp": "MLP", **OTHERS}

LEAST_PROBABILITY = 1e-3
"""Trees and neighbours say 0 of what they have not seen, which has no logarithm."""


@dataclass(frozen=True, eq=False)
class KindRow:
    """A row of the table."""

    kind: str
    name: str
    validation: Optional[Validation]
    """None where it could not be done."""
    missing: str = ""
    """Why, as a clause."""

    def to_json(self) -> Dict[str, object]:
        """Return it as JSON values."""
        if self.validation is None:
            return {"kind": self.kind, "missing": self.missing}
        return self.validation.to_json()


@dataclass(frozen=True)
class Reading:
    """What a comparison says, read with care."""

    best: str
    """The kind with the highest mean accuracy."""
    against: str
    """The simplest kind that was tried, or if that is best the next best one."""
    gap: float
    """By so much `best` is better than `against`."""
    spread: float
    """The larger of both kinds' spreads over the folds; of one part, half the 95 % interval."""

    @property
    def is_clear(self) -> bool:
        """Whether the gap is larger than chance makes it."""
        return self.gap > self.spread

    @property
    def is_simplest(self) -> bool:
        """Whether the best kind is also the simplest that was tried."""
        kinds = list(NAMES)
        return kinds.index(self.best) < kinds.index(self.against)

    def sentence(self) -> str:
        """Return it as an English sentence for the log and the command line."""
        best, other = NAMES[self.best], NAMES[self.against]
        figures = f"({self.gap:+.1%}, spread of the folds {self.spread:.1%})"
        if self.is_simplest:
            return f"No kind is better than {best}, the simplest; next is {other} {figures}."
        if self.is_clear:
            return f"{best} is better than {other} {figures}."
        return f"{best} is not better than {other} beyond the spread of the folds {figures}."


def reading(rows: Sequence[KindRow]) -> Optional[Reading]:
    """Return what rows say; None where fewer than two kinds could be tried."""
    done = {
        row.kind: row.validation
        for row in rows
        if row.validation is not None and row.validation.mean is not None
    }
    if len(done) < 2:
        return None
    order = sorted(done, key=lambda kind: -(done[kind].mean or 0.0))  # stable: the simpler first
    simplest = next(kind for kind in NAMES if kind in done)
    best, against = order[0], simplest if order[0] != simplest else order[1]
    gap = (done[best].mean or 0.0) - (done[against].mean or 0.0)
    return Reading(best, against, gap, max(_doubt(done[best]), _doubt(done[against])))


def _doubt(validation: Validation) -> float:
    if validation.spread is not None:
        return validation.spread
    low, high = validation.pooled.interval or (0.0, 1.0)
    return (high - low) / 2


def compare_heads(
    samples: Samples,
    params: TrainParams,
    folds: Folds,
    *,
    kinds: Sequence[str] = tuple(NAMES),
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> Tuple[KindRow, ...]:
    """Return how each kind does on the same folds; one that can't be tried says why.

    Raises: ValueError for a kind there is not; WorkerDied, WorkerFailed, NotWritable, DiskFull,
    Cancelled.
    """
    unknown = sorted(set(kinds) - set(NAMES))
    if unknown:
        raise ValueError(f"there is no kind {', '.join(unknown)}; there are {', '.join(NAMES)}")
    rows = []
    for number, kind in enumerate(kinds):
        share = part(report, number / len(kinds), (number + 1) / len(kinds))
        try:
            found = _one(samples, params, folds, kind, report=share, worker=worker)
        except WorkerUnavailable as error:
            rows.append(KindRow(kind, NAMES[kind], None, error.reason))
        else:
            rows.append(KindRow(kind, NAMES[kind], found))
    return tuple(rows)


def table(rows: Sequence[KindRow]) -> List[str]:
    """Return the comparison as lines of text."""
    lines = [f"{'':<28}{'accuracy':>18}{'macro F1':>10}{'ECE':>8}{'calibrated':>12}{'seconds':>9}"]
    for row in rows:
        done = row.validation
        if done is None or done.mean is None:
            lines.append(f"{row.name:<28}  not tried: {row.missing}")
            continue
        spread = "" if done.spread is None else f" ± {100 * done.spread:.1f}"
        lines.append(
            f"{row.name:<28}{f'{100 * done.mean:.1f}{spread} %':>18}{done.mean_f1 or 0:>10.3f}"
            f"{_error(done.calibration.ece_before):>8}{_error(done.calibration.ece_after):>12}"
            f"{done.seconds:>9.1f}"
        )
    return lines


def _error(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.2f}"


def _one(
    samples: Samples,
    params: TrainParams,
    folds: Folds,
    kind: str,
    *,
    report: Report,
    worker: Optional[WorkerClient],
) -> Validation:
    if kind in KINDS:
        return cross_validate(samples, replace(params, kind=kind), folds, report, worker)[0]
    client = needed(worker, f"{OTHERS[kind]} is fitted by scikit-learn")
    check_parts(client, "scikit-learn")
    return tested(samples, kind, folds, by_scikit_learn(samples, kind, params.seed, client), report)


def by_scikit_learn(samples: Samples, kind: str, seed: int, worker: WorkerClient) -> FitPredict:
    """Return what fits a classifier of scikit-learn in the worker and asks it."""
    classes, y = present_classes(samples)

    def fit_predict(
        train: NDArray[np.int64], test: NDArray[np.int64], report: Report
    ) -> NDArray[np.float32]:
        mean, std = standardisation(samples.codes[train], samples.scales[train])
        arrays: Dict[str, NDArray[Any]] = {
            "codes": samples.codes, "scales": samples.scales, "labels": y,
            "train_index": train, "test_index": test, "mean": mean, "std": std,
        }  # fmt: skip
        with exchange(worker, arrays, "probabilities.npy") as asked:
            asked.update(kind=kind, classes=len(classes), seed=seed)
            worker.call("sklearn_fit_predict", asked, report)
            probabilities = np.load(str(asked["out"]), allow_pickle=False)
        return np.asarray(np.log(np.maximum(probabilities, LEAST_PROBABILITY)), np.float32)

    return fit_predict
