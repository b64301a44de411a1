# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What decides how a head is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Dict, Tuple

from .heads.base import KINDS


@dataclass(frozen=True)
class TrainParams:
    """What decides how a head is trained."""

    kind: str = "instant"
    """`instant` (linear, needs nothing installed) or `mlp` (torch, in the worker)."""
    test_share: float = 0.3
    """Share of each class's labels that are kept aside to judge the head; 0 for no judgement. Not
    used where folds say what is tested."""
    seed: int = 0
    """Of the split into training and test, and of the MLP's beginnings."""
    refit: bool = True
    """Whether the head that is saved is trained again on all labels, once it has been judged."""
    calibrate: bool = True
    """Whether held-out labels decide how sure the head may be of itself (its temperature)."""
    background: bool = True
    """Whether pixels without labels, around the labels, are learnt from: an instant head learns from
    them how far classes spread, and an MLP what an instant head of the same labels says of them, the
    less the more labels there are. A few labels then go much further."""
    hidden: Tuple[int, ...] = (64,)
    """MLP: width of each hidden layer, one or two."""
    dropout: float = 0.2
    """MLP: share of the hidden units that are left out at random in every step."""
    epochs: int = 200
    """MLP: how often it sees all samples, at most."""
    learning_rate: float = 1e-3
    """MLP: length of a step."""
    weight_decay: float = 1e-2
    """MLP: how strongly weights are drawn towards 0."""
    patience: int = 20
    """MLP: epochs without a better loss on the part held back before it stops."""
    batch_size: int = 256
    """MLP: samples per step."""
    validation_share: float = 0.2
    """MLP: share of each class's training labels held back to decide when to stop. Where that would be
    a few dozen, which would decide by chance, none are, and it sees all of them 60 times."""
    class_weights: bool = True
    """MLP: whether a class with few samples counts as much as one with many."""
    noise: float = 0.0
    """MLP: random change of every embedding in every step, in standard deviations of a dimension;
    it makes few labels stand for more."""
    ensemble: int = 1
    """MLP: how many networks are trained from different beginnings and averaged into one head."""

    def __post_init__(self) -> None:
        checks = {
            "kind": self.kind in KINDS,
            "test_share": 0 <= self.test_share < 1,
            "seed": self.seed >= 0,
            "hidden": 1 <= len(self.hidden) <= 2 and min(self.hidden) >= 1,
            "dropout": 0 <= self.dropout < 1,
            "epochs": self.epochs >= 1,
            "learning_rate": 0 < self.learning_rate < 1,
            "weight_decay": 0 <= self.weight_decay < 1,
            "patience": self.patience >= 1,
            "batch_size": self.batch_size >= 1,
            "validation_share": 0 < self.validation_share < 1,
            "noise": 0 <= self.noise < 10,
            "ensemble": 1 <= self.ensemble <= 100,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise ValueError(f"{name} can't be {getattr(self, name)!r}")

    def told(self) -> Dict[str, object]:
        """Return, as JSON values, the parameters that mean something for this kind of head."""
        values = {**asdict(self), "hidden": list(self.hidden)}
        common = ("kind", "test_share", "seed", "refit", "background")
        return {name: values[name] for name in (values if self.kind == "mlp" else common)}
