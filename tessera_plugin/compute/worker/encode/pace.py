# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Batches of as many pixels as a device takes, and takes in time; on the processor if it fails.

Whether a pixel is computed with few or with many others changes nothing about it on the processor.
On a GPU it may change its last bits: there the batch is chosen by size alone and changes only where
the device can't go on.
"""

from __future__ import annotations

import time
from typing import Callable, List, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from .prepare import Inputs
from .providers import CPU, Refusals, is_out_of_memory, reason_of

LEAST_PX = 4
"""A device that has no room for these has none for the encoder."""

_TOO_SLOW_S = 0.6
"""Of a batch: a cancel, which waits for it to end, is promised within a second."""
_FAST_S = 0.2


class Runs(Protocol):
    """An encoder on a device."""

    @property
    def provider(self) -> str:
        """What it computes on."""

    @property
    def refused(self) -> Sequence[Tuple[str, str]]:
        """Better devices, and why each was not taken."""

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return an embedding for each pixel."""


class Pace:
    """Runs batches, and knows how large the next one should be."""

    def __init__(self, encoder: Runs, batch_px: int, on_cpu: Callable[[], Runs]) -> None:
        """`on_cpu` opens the encoder again on the processor; called once at most."""
        self._encoder = encoder
        self._on_cpu = on_cpu
        self._most_px = batch_px
        self.batch_px = batch_px
        """How many pixels to give."""
        self.notes: List[str] = []
        """What had to be done to go on, a sentence each."""
        self.refused: Refusals = list(encoder.refused)
        """Better devices, and why they don't compute: some fail on the way."""

    @property
    def provider(self) -> str:
        """What computes now."""
        return self._encoder.provider

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return an embedding for each pixel, in parts where they don't go together.

        Raises: what the processor raises; there is nothing to fall back on then.
        """
        count = len(next(iter(inputs.values())))
        if count <= self.batch_px:
            began = time.perf_counter()
            try:
                found = self._encoder.run(inputs)
            except Exception as error:
                if not self._can_go_on(error, count):
                    raise
            else:
                self._keep_pace(count, time.perf_counter() - began)
                return found
        size = self.batch_px  # it may become smaller on the way
        return np.concatenate([self.run(_piece(inputs, at, size)) for at in range(0, count, size)])

    def _can_go_on(self, error: Exception, count: int) -> bool:
        """Take fewer pixels or the processor; False where neither helps."""
        provider, reason = self.provider, reason_of(error)
        if is_out_of_memory(error) and count > LEAST_PX:
            self.batch_px = self._most_px = max(count // 2, LEAST_PX)
            self.notes.append(
                f"{provider} had no memory for {count} pixels at a time; it goes on with "
                f"{self.batch_px}."
            )
            return True
        if provider == CPU:
            return False
        self._encoder = self._on_cpu()
        self.refused.append((provider, reason))
        self.notes.append(f"{provider} failed on the way; the rest is computed on the processor.")
        return True

    def _keep_pace(self, count: int, seconds: float) -> None:
        """Take fewer where a cancel would have to wait, on a machine that others keep busy too."""
        if self.provider != CPU or count < self.batch_px:
            return
        if seconds > _TOO_SLOW_S:
            self.batch_px = max(count // 2, 1)
        elif seconds < _FAST_S:
            self.batch_px = min(2 * count, self._most_px)


def _piece(inputs: Inputs, start: int, count: int) -> Inputs:
    return {name: array[start : start + count] for name, array in inputs.items()}
