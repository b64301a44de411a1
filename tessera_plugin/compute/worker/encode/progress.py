# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many pixels are done, and how long the rest will take."""

from __future__ import annotations

import time

from ..job import Job

_REPORT_S = 0.25


class Progress:
    """Tells it now and then, and hears a cancel."""

    def __init__(self, job: Job, total: int, missing: int) -> None:
        """`total` are the pixels of the scene, `missing` those that no earlier run has encoded."""
        self.job = job
        self._total, self._missing, self._done = total, missing, 0
        self._began = self._blocks_began = time.monotonic()
        self._told = 0.0

    @property
    def seconds(self) -> float:
        """Since the first pixel."""
        return time.monotonic() - self._began

    def begin_blocks(self) -> None:
        """Leave what was done so far out of the time that pixels take."""
        self._blocks_began = time.monotonic()

    def tell(self, text: str) -> None:
        """Say something else, and check for a cancel."""
        self.job.report(self._before / max(self._total, 1), text)

    def add(self, pixels: int) -> None:
        """Count pixels, check for a cancel, and tell now and then."""
        self._done += pixels
        now = time.monotonic()
        if now - self._told < _REPORT_S and self._done < self._missing:
            self.job.check()
            return
        self._told = now
        left = self._missing - self._done
        seconds = (now - self._blocks_began) / max(self._done, 1) * left
        done = self._before + self._done
        text = f"{done:,} of {self._total:,} pixels"
        if left:
            text += f", {seconds:.0f} s left"
        self.job.report(done / self._total, text)

    @property
    def _before(self) -> int:
        return self._total - self._missing
