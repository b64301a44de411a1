# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What was done to the labels, step by step, to go back and forth in it.

A step is the change itself: labels and classes as they were before and after. What somebody else
wrote to the file is a step like any other, so no step ever meets a file that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import List, Optional

from ..values import LabelChange

MOST_BYTES = 200_000_000
"""The oldest steps are forgotten beyond this."""

LABEL_BYTES = 600
"""What a label and its pair weigh about in memory, without the geometry."""


@dataclass(frozen=True)
class Step:
    """A change and what people call it."""

    text: str
    change: LabelChange

    @cached_property
    def weight_bytes(self) -> int:
        """About what it takes of the memory."""
        shapes = {
            id(each.wkb): len(each.wkb) for pair in self.change.labels for each in pair if each
        }
        return LABEL_BYTES * (1 + len(self.change.labels)) + sum(shapes.values())


class History:
    """Steps that were done, and those that were taken back."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._done: List[Step] = []
        self._undone: List[Step] = []
        self._weight_bytes = 0

    @property
    def last(self) -> Optional[Step]:
        """What undo takes back."""
        return self._done[-1] if self._done else None

    @property
    def next(self) -> Optional[Step]:
        """What redo brings back."""
        return self._undone[-1] if self._undone else None

    def add(self, step: Step) -> None:
        """Remember what was done; what had been taken back is out of reach now."""
        self._weight_bytes -= sum(each.weight_bytes for each in self._undone)
        self._undone = []
        self._done.append(step)
        self._weight_bytes += step.weight_bytes
        while self._weight_bytes > self._most_bytes and len(self._done) > 1:
            self._weight_bytes -= self._done.pop(0).weight_bytes

    def went_back(self) -> None:
        """Note that the last step was taken back."""
        self._undone.append(self._done.pop())

    def went_on(self) -> None:
        """Note that the next step was brought back."""
        self._done.append(self._undone.pop())
