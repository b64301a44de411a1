# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast bodies may be read: not at all while paused, no faster than a limit, never after cancel."""

from __future__ import annotations

import threading
import time
from typing import Optional

from ..progress import Cancelled, Gate

PIECE_BYTES = 1 << 16
"""Most that is read at a time."""

SMALLEST_PIECE_BYTES = 1 << 10
PIECE_S = 0.1
"""A piece is not more than a limit lets through in this time, so that many readers go on evenly."""

BURST_S = 0.25
"""What a limit allowed in this time and nobody took may be taken later."""

LOOK_S = 0.2
"""How often a reader that is held back looks for cancel."""


class Pace:
    """Paces the readers of one client together. Safe between threads."""

    def __init__(
        self, stop: threading.Event, gate: Optional[Gate] = None, bytes_per_s: float = 0.0
    ) -> None:
        """`stop` is cancel: whoever waits when it is set raises Cancelled."""
        self._stop = stop
        self._gate = gate
        self._rate = max(bytes_per_s, 0.0)
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def piece_bytes(self) -> int:
        """Most that is to be read at a time."""
        if not self._rate:
            return PIECE_BYTES
        return min(max(int(self._rate * PIECE_S), SMALLEST_PIECE_BYTES), PIECE_BYTES)

    @property
    def is_paused(self) -> bool:
        """Whether nothing is to be read now."""
        return self._gate is not None and self._gate.is_paused

    @property
    def pauses(self) -> int:
        """How often there has been a pause."""
        return 0 if self._gate is None else self._gate.pauses

    def check(self) -> None:
        """Raise Cancelled if that is so."""
        if self._stop.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait; raises Cancelled as soon as that is so."""
        if seconds > 0:
            self._stop.wait(seconds)
        self.check()

    def wait_open(self) -> None:
        """Wait while paused; raises Cancelled."""
        while self._gate is not None and not self._gate.wait(LOOK_S):
            self.check()
        self.check()

    def take(self, size: int) -> None:
        """Wait until so many bytes may be read; raises Cancelled.

        Who comes first is served first: each reserves its time, then waits for it.
        """
        self.wait_open()
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(self._free_at, now - BURST_S)
            self._free_at = turn + size / self._rate
        self.sleep(turn - now)
        self.wait_open()
