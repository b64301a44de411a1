# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live map shows of a pixel as a number: its class, how unsure that is, how unlike labels it is."""

from __future__ import annotations

from typing import Callable

import numpy as np
from numpy.typing import NDArray

from .heads.base import Head
from .live_colors import CLASSES, NOVELTY
from .novelty import Novelty
from .products import product
from .samples import Samples
from .suggest import uncertainty

STEP_PX, STEP_COLUMNS = 256, 8
"""Pixels and classes multiplied at once: so few stay in the processor's cache, and OpenBLAS does such
a product in one thread. To share it out over threads takes ten times as long on a busy machine."""

Values = Callable[[NDArray[np.int8], NDArray[np.float32]], NDArray[np.uint16]]
"""Gives a number from 0 on for each pixel (n,) from codes (n, D) and scales (n,)."""


class Scorer:
    """Gives pixels their numbers, by one head in one mode."""

    def __init__(self, head: Head, mode: str, values: Values) -> None:
        self._head, self._mode, self._values = head, mode, values

    def is_of(self, head: Head, mode: str) -> bool:
        """Whether it gives what this head says in this mode."""
        return self._mode == mode and self._head.id == head.id

    def __call__(self, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Return the numbers (n,); of pixels that are not valid anything."""
        return self._values(codes, scales)


def scorer_of(head: Head, samples: Samples, mode: str) -> Scorer:
    """Return what gives numbers in a mode.

    `classes`: the index of the most probable class; `uncertainty` and `novelty`: percent, as
    `suggest` gives them.
    """
    if mode == CLASSES:
        return Scorer(head, mode, _best_class(head))
    if mode == NOVELTY:
        novelty = Novelty.of(samples)
        return Scorer(head, mode, lambda codes, _: novelty.percent(codes).astype(np.uint16))
    return Scorer(head, mode, _unsure(head))


def _best_class(head: Head) -> Values:
    """Return what gives the index of the class with the largest logit: of one layer, in small steps."""
    weight = head.weights["W"] / head.std.astype(np.float64)[:, None]
    offset = (head.weights["b"] - head.mean.astype(np.float64) @ weight).astype(np.float32)
    parts = [
        (slice(start, start + STEP_COLUMNS),
         np.ascontiguousarray(weight[:, start : start + STEP_COLUMNS], np.float32))
        for start in range(0, len(offset), STEP_COLUMNS)
    ]  # fmt: skip

    def best(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.uint16]:
        found = np.empty(len(codes), np.uint16)
        values = np.empty((STEP_PX, codes.shape[1]), np.float32)
        logits = np.empty((STEP_PX, len(offset)), np.float32)
        for start in range(0, len(codes), STEP_PX):
            step = slice(start, start + STEP_PX)
            some = codes[step]
            x, z = values[: len(some)], logits[: len(some)]
            np.copyto(x, some)
            for columns, matrix in parts:
                product(x, matrix, out=z[:, columns])
            z *= scales[step, None]
            z += offset
            found[step] = z.argmax(axis=1)
        return found

    return best


def _unsure(head: Head) -> Values:
    def unsure(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.uint16]:
        known = np.nan_to_num(scales, nan=1.0)  # what is not valid is not shown
        return uncertainty(head.probabilities(codes, known)).astype(np.uint16)

    return unsure
