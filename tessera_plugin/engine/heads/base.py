# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head: what turns embeddings of one dataset into classes, and all that is known of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import HeadMismatch
from ...values import LandClass
from ..accuracy import Accuracy
from . import instant, mlp

KINDS = ("instant", "mlp")
MAX_CLASS_ID = 65_535
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 1000.0


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head. It predicts in numpy, with nothing installed."""

    id: str
    """Computed from what decides its predictions: two heads with one id give the same map."""
    kind: str
    """`instant` or `mlp`."""
    classes: Tuple[LandClass, ...]
    """In the order of the columns of its probabilities."""
    dataset: str
    """Key of the dataset it was trained on, the only one it may be used with."""
    depth: int
    """Dimensions of an embedding."""
    years: Tuple[int, ...]
    """The years it was trained on; another year is allowed and said so on the map."""
    mean: NDArray[np.float32]
    """(D,), subtracted from an embedding before all else."""
    std: NDArray[np.float32]
    """(D,), what the difference is divided by."""
    weights: Mapping[str, NDArray[np.float32]]
    """instant: W (D, k), b (k,). mlp: W1, b1, W2, b2 [, W3, b3], inputs before outputs."""
    training: Mapping[str, object] = field(default_factory=dict)
    """How it came about, as JSON values: parameters, labels, pixels, epochs, seconds, refitted."""
    accuracy: Optional[Accuracy] = None
    """On labels kept aside, before any refit; None where none could be."""
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the software that trained it."""
    temperature: float = 1.0
    """What the last layer's outputs are divided by before the softmax, found on labels that were
    held out: above 1 for a head that was too sure of itself. It changes no class."""
    name: str = ""
    """What the person calls it; empty where nobody has named it."""

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values.shape != (self.depth,):
                raise ValueError(f"{name} has the shape {values.shape}, not ({self.depth},)")
        if not (self.std > 0).all():
            raise ValueError("a standard deviation is not above 0")
        for name, values in {"mean": self.mean, "std": self.std, **self.weights}.items():
            if values.dtype != np.float32 or not np.isfinite(values).all():
                raise ValueError(f"{name} is not all finite float32 numbers")
        if not LEAST_TEMPERATURE <= self.temperature <= MOST_TEMPERATURE:
            raise ValueError(f"a temperature of {self.temperature} is out of reason")
        mlp.check_layers(self._layers(), self.depth, len(self.classes))

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """The classes' ids (k,): what the argmax of a row of probabilities stands for."""
        return np.array([land_class.id for land_class in self.classes], np.int64)

    def check(self, dataset: str, depth: int) -> None:
        """Raise HeadMismatch unless embeddings of this dataset and depth may be given to it."""
        if (dataset, depth) != (self.dataset, self.depth):
            raise HeadMismatch(self.dataset, self.depth, dataset, depth)

    def probabilities(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the probability of each class.

        Shapes: codes (n, D); scales (n,); result (n, k), float32, rows sum to 1.
        Nodata: a pixel whose scale is not finite gives a row of NaN.
        Raises: HeadMismatch if the embeddings have another depth.
        """
        layers = self._checked(codes)
        return mlp.forward(layers, self.mean, self.std, codes, scales)

    def best(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Return the index of the most probable class and its probability in percent.

        What `probabilities` says, in half the time. Shapes: codes (n, D); scales (n,); both results
        (n,). All pixels are valid.
        Raises: HeadMismatch if the embeddings have another depth.
        """
        return mlp.best(self._checked(codes), self.mean, self.std, codes, scales)

    def logits(self, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the last layer's outputs (n, k) as they were trained, without the temperature."""
        return mlp.logits(self._layers(), self.mean, self.std, codes, scales)

    def tempered_weights(self) -> Dict[str, NDArray[np.float32]]:
        """Return the weights with the temperature worked into the last layer.

        They are what is to be handed to anybody else that predicts: the worker, an ONNX file.
        """
        weights = dict(self.weights)
        last = "" if self.kind == "instant" else str(len(weights) // 2)
        weight, bias = mlp.tempered(self._layers(), self.temperature)[-1]
        return {**weights, f"W{last}": weight, f"b{last}": bias}

    def _checked(self, codes: NDArray[np.int8]) -> List[mlp.Layer]:
        """Return the layers for codes, if they are of the head's depth."""
        if codes.ndim != 2 or codes.shape[1] != self.depth:
            raise HeadMismatch(self.dataset, self.depth, self.dataset, codes.shape[-1])
        return mlp.tempered(self._layers(), self.temperature)

    def _layers(self) -> List[mlp.Layer]:
        if self.kind == "instant":
            return instant.layers_of(self.weights)
        if self.kind == "mlp":
            return mlp.layers_of(self.weights)
        raise ValueError(f"there is no kind of head {self.kind!r}; there are: {', '.join(KINDS)}")


def identify(
    kind: str,
    classes: Sequence[LandClass],
    dataset: str,
    arrays: Mapping[str, NDArray[np.float32]],
    temperature: float = 1.0,
) -> str:
    """Return the id of a head: 16 hex digits of what decides its predictions."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((kind, [land_class.id for land_class in classes], dataset)).encode())
    for name in sorted(arrays):
        digest.update(repr((name, arrays[name].shape)).encode())
        digest.update(arrays[name].astype("<f4").tobytes())
    if temperature != 1:  # without one the id is what it was before there were any
        digest.update(repr(("temperature", float(temperature))).encode())
    return digest.hexdigest()


def _check_classes(classes: Sequence[LandClass]) -> None:
    ids = [land_class.id for land_class in classes]
    if len(ids) < 2 or len(set(ids)) < len(ids):
        raise ValueError(f"two classes or more with different ids are needed, got {ids}")
    if not all(1 <= number <= MAX_CLASS_ID for number in ids):
        raise ValueError(f"class ids are 1 to {MAX_CLASS_ID}, got {ids}")
