# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether more labels would help: accuracy against the number of labels per class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..progress import Report, part, silent
from .accuracy import majority
from .fitting import Trainer
from .folds import Folds
from .samples import Samples
from .train_params import TrainParams

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Labels per class that are tried, as far as there are so many."""

WORTH = 0.01
"""A gain in accuracy below this from the last doubling is none that pays for labelling."""


@dataclass(frozen=True)
class CurvePoint:
    """How heads of so many labels per class do."""

    labels_per_class: int
    labels: int
    """Of all classes together, on average; a class with fewer labels gives all it has."""
    overall: Tuple[float, ...]
    """Overall accuracy of each repeat, over all folds."""

    @property
    def mean(self) -> float:
        """Mean over the repeats."""
        return sum(self.overall) / len(self.overall)

    @property
    def spread(self) -> float:
        """Standard deviation over the repeats; 0 for one."""
        if len(self.overall) < 2:
            return 0.0
        square = sum((value - self.mean) ** 2 for value in self.overall)
        return math.sqrt(square / (len(self.overall) - 1))


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy against labels, on the folds of one scheme."""

    kind: str
    scheme: str
    points: Tuple[CurvePoint, ...]

    @property
    def ends(self) -> Tuple[CurvePoint, CurvePoint]:
        """The last point, and before it the last one of at most half its labels."""
        last = self.points[-1]
        halves = [p for p in self.points if 2 * p.labels_per_class <= last.labels_per_class]
        return (halves[-1] if halves else self.points[0]), last

    @property
    def gain(self) -> float:
        """What the last doubling of the labels brought, in accuracy."""
        before, last = self.ends
        return last.mean - before.mean

    @property
    def doubt(self) -> float:
        """Spread between the repeats at both ends of that."""
        return max(point.spread for point in self.ends)

    @property
    def verdict(self) -> str:
        """Whether more labels `would`, `may` or would `hardly` help; `few`: nobody can tell.

        They `may` where the gain is within its spread, so that nobody can tell either.
        """
        if len(self.points) < 2:
            return "few"
        if self.gain > max(WORTH, self.doubt):
            return "would"
        return "may" if self.gain > WORTH else "hardly"

    def sentence(self) -> str:
        """Return whether more labels would help, as an English sentence."""
        if self.verdict == "few":
            return "There are too few labels to see whether more would help."
        before, last = self.ends
        ends = {
            "would": "more labels would help.",
            "may": "that is within the spread of the repeats, so it can't be told whether more "
            "labels would help.",
            "hardly": "more labels of this kind would hardly help.",
        }
        return (
            f"From {before.labels_per_class} to {last.labels_per_class} labels per class the "
            f"accuracy changed by {self.gain:+.1%} (± {self.doubt:.1%} between "
            f"repeats): {ends[self.verdict]}"
        )

    def to_json(self) -> Dict[str, object]:
        """Return it as JSON values."""
        points = [
            {"labels_per_class": p.labels_per_class, "labels": p.labels, "mean": p.mean,
             "spread": p.spread, "overall": list(p.overall)}
            for p in self.points
        ]  # fmt: skip
        return {"kind": self.kind, "scheme": self.scheme, "points": points}


def learning_curve(
    samples: Samples,
    params: TrainParams,
    folds: Folds,
    *,
    sizes: Sequence[int] = SIZES,
    repeats: int = 5,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> LearningCurve:
    """Train on so many labels of each class, drawn from what a fold learns, and test the fold.

    Sizes beyond what the second largest class has are left out, but the largest number there is
    ends the curve. What is drawn for a size holds what was drawn for a smaller one.
    Raises: WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull, Cancelled.
    """
    trainer = Trainer.of(samples, params, worker)
    tried = _sizes(trainer, folds, sizes)
    hits = np.zeros((len(tried), repeats))
    labels = np.zeros((len(tried), repeats))
    steps, done = len(tried) * repeats * len(folds.items), 0
    for repeat in range(repeats):
        for number, fold in enumerate(folds.items):
            ranks = _ranks(trainer, fold.train, [params.seed, repeat, number])
            for index, size in enumerate(tried):
                rows = fold.train[ranks < size]
                share = part(report, done / steps, (done + 1) / steps)
                share(0.0, f"Learning curve, {size} labels per class")
                logits = trainer.logits(trainer.fit(rows, share), fold.test)
                hits[index, repeat] += (logits.argmax(axis=1) == trainer.y[fold.test]).sum()
                labels[index, repeat] += len(np.unique(samples.groups[rows])) / len(folds.items)
                done += 1
    total = sum(len(fold.test) for fold in folds.items)
    points = [
        CurvePoint(size, round(labels[index].mean()), tuple((hits[index] / total).tolist()))
        for index, size in enumerate(tried)
    ]
    return LearningCurve(params.kind, folds.scheme, tuple(points))


def _sizes(trainer: Trainer, folds: Folds, sizes: Sequence[int]) -> List[int]:
    """Return the sizes that differ from each other, and all that there is as the last one."""
    most = min(_second_largest(trainer, fold.train) for fold in folds.items)
    return sorted({size for size in sizes if size < most} | {most})


def _second_largest(trainer: Trainer, rows: NDArray[np.int64]) -> int:
    _, class_of = _labels(trainer, rows)
    counts = np.sort(np.bincount(class_of))
    return int(counts[-2:].min())


def _ranks(trainer: Trainer, rows: NDArray[np.int64], seed: Sequence[int]) -> NDArray[np.int64]:
    """Return when a row's label is drawn among those of its class: 0 is the first (m,)."""
    inverse, class_of = _labels(trainer, rows)
    rank = np.zeros(len(class_of), np.int64)
    for index in np.unique(class_of):
        mine = np.flatnonzero(class_of == index)
        random = np.random.default_rng([*seed, int(index)])
        rank[random.permutation(mine)] = np.arange(len(mine))
    return np.asarray(rank[inverse], np.int64)


def _labels(
    trainer: Trainer, rows: NDArray[np.int64]
) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which label a row is of, and the class of each label."""
    names, inverse = np.unique(trainer.samples.groups[rows], return_inverse=True)
    return inverse, majority(trainer.y[rows], inverse, len(names))
