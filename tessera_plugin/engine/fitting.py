# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One training of a head, on some rows of the samples: the instant one here, an MLP in the worker."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..progress import Report, part
from ..values import LandClass
from .dealing import divided
from .exchange import exchange, needed
from .heads import mlp
from .heads.background import Background
from .heads.instant import Rows, fit_instant_codes, layers_of
from .heads.moments import moments
from .samples import Samples
from .train_params import TrainParams

UNGUIDED_EPOCHS = 60
"""How long an MLP is trained where there are too few labels to hold some back."""

FEWEST_HELD_BACK = 60
"""Fewer labels would decide by chance when an MLP stops, and are better learnt."""

NEVER = -1e6
"""Logit of a class that was not learnt."""

BY_TORCH = "an MLP is trained by torch"

WORTH_LABELS = 5.0
"""What the instant head says of pixels without labels counts as much as so many labels per class when
an MLP is trained; the square of it against the square of theirs, so that many labels soon decide
alone."""


class Epoch(NamedTuple):
    """How a training stands after an epoch."""

    epoch: int
    train_loss: float
    validation_loss: float
    """NaN where nothing could be held back."""


OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a training gives."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    weights: Mapping[str, NDArray[np.float32]]
    story: Dict[str, object]
    """What is to be told of it, as JSON values."""
    epochs: Tuple[int, ...] = ()
    """MLP: after how many each network of the ensemble was best."""


@dataclass(frozen=True, eq=False)
class Trainer:
    """Samples, how to train on them, and who does it."""

    samples: Samples
    params: TrainParams
    worker: Optional[WorkerClient]
    classes: Tuple[LandClass, ...]
    """Those that occur in the samples."""
    y: NDArray[np.int64]
    """Index of a row's class in `classes`, (n,)."""

    @classmethod
    def of(cls, samples: Samples, params: TrainParams, worker: Optional[WorkerClient]) -> Trainer:
        """Return the trainer for samples. Raises: WorkerUnavailable if it needs a worker."""
        if params.kind == "mlp":
            needed(worker, BY_TORCH)
        classes, y = present_classes(samples)
        return cls(samples, params, worker, classes, y)

    def fit(
        self, rows: NDArray[np.int64], report: Report, on_epoch: Optional[OnEpoch] = None
    ) -> Fitted:
        """Train on some rows; of many an MLP holds back a part to decide when to stop.

        Every class needs a row. Raises: WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable,
        DiskFull, Cancelled.
        """
        if self.params.kind == "instant":
            return self._fit_instant(rows)
        learnt, held_back = divided(
            self.y[rows], self.samples.units[rows], self.params.validation_share, self.params.seed
        )
        unguided = None
        if len(np.unique(self.samples.groups[rows[held_back]])) < FEWEST_HELD_BACK:
            unguided = min(self.params.epochs, UNGUIDED_EPOCHS)
            learnt, held_back = np.arange(len(rows)), held_back[:0]
        fixed = [unguided] * self.params.ensemble
        return self._fit_mlp(rows[learnt], rows[held_back], fixed, report, on_epoch)

    def refit(self, first: Fitted, rows: NDArray[np.int64], report: Report) -> Fitted:
        """Train on more rows, as long as was best the first time."""
        if self.params.kind == "instant":
            return self._fit_instant(rows)
        again = self._fit_mlp(rows, rows[:0], list(first.epochs), report, None)
        # the curve that decided is the one to show
        share = again.story["background_share"]
        return replace(again, story={**first.story, "background_share": share})

    def logits(self, fitted: Fitted, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of rows (m, k)."""
        weights = fitted.weights
        layers = layers_of(weights) if self.params.kind == "instant" else mlp.layers_of(weights)
        codes, scales = self.samples.codes[rows], self.samples.scales[rows]
        return mlp.logits(layers, fitted.mean, fitted.std, codes, scales)

    def _fit_instant(self, rows: NDArray[np.int64]) -> Fitted:
        ground = self._ground
        mean, std = self._standardisation(rows)
        y = self.y[rows]
        is_present = np.bincount(y, minlength=len(self.classes)) > 0
        present = np.flatnonzero(is_present)
        weights, shrinkage = fit_instant_codes(
            Rows(self.samples.codes, self.samples.scales, rows, mean, std),
            (np.cumsum(is_present) - 1)[y],
            ground,
        )
        weights = _spread_out(weights, present, len(self.classes))
        story: Dict[str, object] = {
            "shrinkage": round(shrinkage, 6),
            "background_pixels": len(ground) if ground else 0,
            "epochs": 0,
            "loss_curve": [],
        }
        return Fitted(mean, std, weights, story)

    @property
    def _ground(self) -> Optional[Background]:
        """Return the pixels without labels that are learnt from, if any."""
        return self.samples.background if self.params.background else None

    def _standardisation(
        self, rows: NDArray[np.int64]
    ) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and deviation (D,): of pixels without labels, of which there are more, or rows."""
        ground = self._ground
        if ground is not None:
            return ground.mean, ground.std
        return standardisation(self.samples.codes[rows], self.samples.scales[rows])

    def _taught(self, rows: NDArray[np.int64]) -> Dict[str, NDArray[Any]]:
        """Return pixels without labels, and what an instant head of these very rows says of them."""
        ground = self._ground
        if ground is None:
            return {}
        head = self._fit_instant(rows)
        layers = layers_of(head.weights)
        said = mlp.forward(layers, head.mean, head.std, ground.codes, ground.scales)
        return {
            "ground_codes": ground.codes, "ground_scales": ground.scales, "ground_answers": said,
        }  # fmt: skip

    def _ground_share(self, rows: NDArray[np.int64]) -> float:
        """Return how much pixels without labels count beside labels: the less the more there are."""
        if self._ground is None:
            return 0.0
        y, groups = self.y[rows], self.samples.groups[rows]
        labels = np.array([len(np.unique(groups[y == index])) for index in np.unique(y)])
        return float((WORTH_LABELS**2 / (WORTH_LABELS**2 + labels**2)).mean())

    def _fit_mlp(
        self,
        learnt: NDArray[np.int64],
        held_back: NDArray[np.int64],
        fixed_epochs: List[Optional[int]],
        report: Report,
        on_epoch: Optional[OnEpoch],
    ) -> Fitted:
        """Train the networks of the ensemble, for fixed epochs where they are given."""
        mean, std = self._standardisation(learnt)
        ground_share = self._ground_share(learnt)
        arrays: Dict[str, NDArray[Any]] = {
            "codes": self.samples.codes, "scales": self.samples.scales, "labels": self.y,
            "train_index": learnt, "validation_index": held_back, "mean": mean, "std": std,
            **self._taught(learnt),
        }  # fmt: skip
        curves: List[List[Epoch]] = []
        networks: List[Mapping[str, NDArray[np.float32]]] = []
        epochs: List[int] = []
        worker = needed(self.worker, BY_TORCH)
        count = len(fixed_epochs)
        with exchange(worker, arrays) as asked:
            for number, fixed in enumerate(fixed_epochs):
                asked.update(self._network(), fixed_epochs=fixed, seed=self.params.seed + number)
                asked.update(ground_share=ground_share)
                # the curve that is shown while it grows is that of the first network
                curve, hear = _listener(None if number else on_epoch)
                share = part(report, number / count, (number + 1) / count)
                answer = worker.call("train_mlp", asked, share, hear)
                networks.append(_weights(str(asked["out"])))
                epochs.append(int(str(answer["best_epoch"])))
                curves.append(curve)
        story: Dict[str, object] = {
            "epochs": epochs[0],
            "epochs_run": len(curves[0]),
            "validation_labels": len(np.unique(self.samples.groups[held_back])),
            "background_pixels": len(self._ground) if self._ground else 0,
            "background_share": round(ground_share, 4),
            "loss_curve": [list(epoch) for epoch in curves[0]],
        }
        if count > 1:
            story["ensemble_epochs"] = epochs
        return Fitted(mean, std, mlp.averaged(networks), story, tuple(epochs))

    def _network(self) -> Dict[str, object]:
        p = self.params
        return {
            "classes": len(self.classes), "hidden": list(p.hidden), "dropout": p.dropout,
            "epochs": p.epochs, "learning_rate": p.learning_rate, "weight_decay": p.weight_decay,
            "patience": p.patience, "batch_size": p.batch_size, "class_weights": p.class_weights,
            "noise": p.noise,
        }  # fmt: skip


def present_classes(samples: Samples) -> Tuple[Tuple[LandClass, ...], NDArray[np.int64]]:
    """Return the classes that have rows, and the index among them of each row's class (n,)."""
    present = set(np.unique(samples.class_ids).tolist())
    classes = tuple(known for known in samples.classes if known.id in present)
    index = np.full(max(present, default=0) + 1, -1)
    index[[known.id for known in classes]] = np.arange(len(classes))
    return classes, index[samples.class_ids]


def _spread_out(
    weights: Mapping[str, NDArray[np.float32]], present: NDArray[np.int64], classes: int
) -> Dict[str, NDArray[np.float32]]:
    """Return the weights for all classes, of which those that were not learnt are never chosen.

    A fold may lack a class that it does not test either.
    """
    if len(present) == classes:
        return dict(weights)
    weight = np.zeros((len(weights["W"]), classes), np.float32)
    bias = np.full(classes, NEVER, np.float32)
    weight[:, present], bias[present] = weights["W"], weights["b"]
    return {"W": weight, "b": bias}


def standardisation(
    codes: NDArray[np.int8], scales: NDArray[np.float32]
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `moments` as heads keep them. Shapes: codes (n, D); scales (n,); results (D,)."""
    mean, std = moments(codes, scales)
    return mean.astype(np.float32), std.astype(np.float32)


def _listener(
    on_epoch: Optional[OnEpoch],
) -> Tuple[List[Epoch], Callable[[Mapping[str, object]], None]]:
    """Return a loss curve and what the worker's events are to be given to so that it grows."""
    curve: List[Epoch] = []

    def hear(facts: Mapping[str, object]) -> None:
        curve.append(_epoch(facts))
        if on_epoch is not None:
            on_epoch(curve[-1])

    return curve, hear


def _weights(path: str) -> Dict[str, NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def _epoch(facts: Mapping[str, object]) -> Epoch:
    losses = (facts["train_loss"], facts["validation_loss"])
    # what is no number crosses JSON as null
    told = (math.nan if loss is None else float(str(loss)) for loss in losses)
    return Epoch(int(str(facts["epoch"])), *told)
