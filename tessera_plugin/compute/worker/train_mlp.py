# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Train the small network that maps an embedding to a class."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .arrays import draft, open_npy
from .job import Job

_STEPS_PER_EPOCH = 8
"""Fewer samples than this many batches make smaller batches: 30 labels learn in the same epochs."""

_LEAST_GAIN = 1e-3
"""A held-out loss that sinks by less is not better: what is separable would train for ever."""

_GROUND_BATCH = 128
"""Pixels without labels per step."""


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, n samples, k classes, u pixels without labels.

    Paths are .npy files.
    """

    codes: str
    """int8 (n, D)."""
    scales: str
    """float32 (n,); the embedding is codes * scales."""
    labels: str
    """Integer (n,), index of the class, 0 to k - 1."""
    train_index: str
    """Integer (t,), the samples that are learnt."""
    validation_index: str
    """Integer (v,), the samples that decide when to stop. Empty: all epochs are run."""
    mean: str
    """float32 (D,) of the embeddings."""
    std: str
    """float32 (D,), all above 0."""
    classes: int
    out: str
    """weights.npz: W1 (D, h), b1 (h,), W2 (h, k), b2 (k,), and W3, b3 with two hidden layers."""
    hidden: Sequence[int] = (64,)
    """Width of each hidden layer, one or two."""
    dropout: float = 0.2
    epochs: int = 200
    """At most."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    patience: int = 20
    """Epochs without a better held-out loss before it stops."""
    batch_size: int = 256
    class_weights: bool = True
    """Whether a rare class weighs as much as a common one."""
    noise: float = 0.0
    """Standard deviation of what is added at random to a standardised embedding in every step."""
    seed: int = 0
    fixed_epochs: Optional[int] = None
    """Refit: so many epochs, with nothing held out, and the last weights are kept."""
    ground_codes: str = ""
    """int8 (u, D): pixels without labels, for which somebody else's answers are learnt."""
    ground_scales: str = ""
    """float32 (u,)."""
    ground_answers: str = ""
    """float32 (u, k): probabilities."""
    ground_share: float = 0.0
    """How much these answers count in the loss, labels counting the rest. 0: they are not read."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.hidden) <= 2:
            raise ValueError(f"one or two hidden layers, got {len(self.hidden)}")
        if self.classes < 2:
            raise ValueError(f"two classes or more, got {self.classes}")
        if self.most_epochs < 1 or self.batch_size < 1:
            raise ValueError("epochs and batch_size are 1 or more")
        if not 0 <= self.ground_share < 1:
            raise ValueError(f"ground_share is at least 0 and below 1, got {self.ground_share}")

    @property
    def most_epochs(self) -> int:
        """How many epochs it may take."""
        return self.epochs if self.fixed_epochs is None else self.fixed_epochs


class Samples(NamedTuple):
    """Standardised embeddings (n, D) float32 and class indices (n,) int64."""

    x: torch.Tensor
    y: torch.Tensor


class Ground(NamedTuple):
    """Pixels without labels (u, D) float32, what they are to be called (u, k), how much they count."""

    x: torch.Tensor
    answers: torch.Tensor
    share: float

    def some(self) -> Ground:
        """Return a few of them, drawn at random."""
        rows = torch.randint(len(self.x), (_GROUND_BATCH,))
        return self._replace(x=self.x[rows], answers=self.answers[rows])

    def added(self, loss: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Return a loss of labels together with that of what is said of these pixels (u, k)."""
        mine = nn.functional.cross_entropy(said, self.answers)
        return (1 - self.share) * loss + self.share * mine


class Fit(NamedTuple):
    """How a training went; the loss is NaN where nothing was held out."""

    epochs_run: int
    best_epoch: int
    best_loss: float


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Train and save the weights; one event per epoch.

    The same parameters and files give the same weights. Raises: ValueError for samples that can't
    be learnt from, and for a training that diverged.
    """
    started = time.monotonic()
    p = Params(**params)
    # Batches are small: more threads would cost more than they give, and the result would depend on
    # how many there are.
    torch.set_num_threads(1)
    torch.manual_seed(p.seed)
    train = _load(p, p.train_index)
    if not len(train.y):
        raise ValueError("there are no samples to train with")
    held_out = _load(p, p.validation_index) if p.fixed_epochs is None else None
    if held_out is not None and not len(held_out.y):
        held_out = None  # labels so few that none could be spared: all epochs, as in a refit
    ground = _load_ground(p) if p.ground_share else None
    model = build(train.x.shape[1], p.hidden, p.classes, p.dropout)
    fit = _fit(model, train, held_out, ground, p=p, job=job)
    _save(model, p.out)
    return {"weights": p.out, "seconds": time.monotonic() - started, **fit._asdict()}


def _fit(
    model: nn.Sequential,
    train: Samples,
    held_out: Optional[Samples],
    ground: Optional[Ground],
    *,
    p: Params,
    job: Job,
) -> Fit:
    """Train in place and leave the best weights in the model (the last, where nothing is held out).

    Pixels without labels count in what decides when to stop as they count in what is learnt: a
    handful of held-out labels alone would decide by chance.
    """
    weights = _class_weights(train.y, p.classes) if p.class_weights else None
    loss_of = nn.CrossEntropyLoss(weights)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=p.learning_rate, weight_decay=p.weight_decay
    )
    n = len(train.y)
    batch_size = min(p.batch_size, max(1, math.ceil(n / _STEPS_PER_EPOCH)))
    best, best_state = Fit(0, 0, math.inf), None
    for epoch in range(1, p.most_epochs + 1):
        # learn every sample once, in a new order
        model.train()
        sum_of_losses = 0.0
        for rows in torch.randperm(n).split(batch_size):
            job.check()
            x = train.x[rows]  # (b, D)
            if p.noise:
                x = x + p.noise * torch.randn_like(x)
            some = ground.some() if ground is not None else None
            said = model(x if some is None else torch.cat([x, some.x]))  # one pass, half the time
            loss = loss_of(said[: len(rows)], train.y[rows])  # (b, k) -> ()
            if some is not None:
                loss = some.added(loss, said[len(rows) :])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sum_of_losses += loss.item() * len(rows)

        # look at the samples it has not learnt
        held_out_loss = math.nan
        if held_out is not None:
            model.eval()
            with torch.no_grad():
                loss = loss_of(model(held_out.x), held_out.y)
                if ground is not None:
                    loss = ground.added(loss, model(ground.x))
                held_out_loss = loss.item()

        # tell
        train_loss = sum_of_losses / n
        facts = {"epoch": epoch, "train_loss": train_loss, "validation_loss": held_out_loss}
        job.event(facts)
        job.report(epoch / p.most_epochs, f"Epoch {epoch}")

        # keep the best, or the latest where nothing is held out; stop when it is long ago
        if held_out is None or held_out_loss < best.best_loss - _LEAST_GAIN:
            best, best_state = Fit(epoch, epoch, held_out_loss), copy.deepcopy(model.state_dict())
        elif epoch - best.best_epoch >= p.patience:
            break
    if best_state is None:
        raise ValueError("the training diverged; lower the learning rate")
    model.load_state_dict(best_state)
    return best._replace(epochs_run=epoch)


def build(depth: int, hidden: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    """Return the network: (n, depth) -> (n, classes), logits."""
    layers: List[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(depth, width), nn.ReLU(), nn.Dropout(dropout)]
        depth = width
    return nn.Sequential(*layers, nn.Linear(depth, classes))


def _load(p: Params, index_path: str) -> Samples:
    """Read the samples of an index; only these rows become float32."""
    index = open_npy(index_path)
    if not index.size:
        index = index.astype(np.intp)  # an empty list becomes float64
    x = _standardised(open_npy(p.codes)[index], open_npy(p.scales)[index], p)
    y = open_npy(p.labels)[index].astype(np.int64)
    if len(y) and (y.min() < 0 or y.max() >= p.classes):
        raise ValueError(f"class indices must be 0 to {p.classes - 1}")
    return Samples(x, torch.from_numpy(y))


def _load_ground(p: Params) -> Ground:
    """Read pixels without labels and the answers for them."""
    x = _standardised(open_npy(p.ground_codes), open_npy(p.ground_scales), p)
    answers = open_npy(p.ground_answers).astype(np.float32)
    if answers.shape != (len(x), p.classes) or not np.isfinite(answers).all():
        raise ValueError(f"ground_answers must be {len(x)} rows of {p.classes} probabilities")
    return Ground(x, torch.from_numpy(answers), p.ground_share)


def _standardised(codes: NDArray[np.int8], scales: NDArray[np.float32], p: Params) -> torch.Tensor:
    """Return what the network is given (n, D). Raises: ValueError for a pixel that is not valid."""
    mean, std = open_npy(p.mean), open_npy(p.std)
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError("mean and std must be finite, and std above 0")
    x = (codes.astype(np.float32) * scales[:, None] - mean) / std
    if not np.isfinite(x).all():
        raise ValueError("some samples have no valid embedding")
    return torch.from_numpy(x.astype(np.float32, copy=False))


def _class_weights(y: torch.Tensor, classes: int) -> torch.Tensor:
    """Return weights (k,) under which every class that has samples counts the same."""
    counts = torch.bincount(y, minlength=classes).float()
    present = counts > 0
    weights = len(y) / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weights, 1.0)  # a class that is only held out


def _save(model: nn.Sequential, path: str) -> None:
    """Write the weights, whole or not at all. Raises: ValueError if they are no numbers, NoRoom."""
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    arrays: Dict[str, NDArray[np.float32]] = {}
    for number, linear in enumerate(linears, start=1):
        arrays[f"W{number}"] = linear.weight.detach().numpy().T.copy()  # (in, out)
        arrays[f"b{number}"] = linear.bias.detach().numpy()
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("the training diverged; lower the learning rate")
    with draft(path, sum(array.nbytes for array in arrays.values())) as file:
        np.savez(file, **arrays)
