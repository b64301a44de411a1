# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs side by side in daemon threads, with progress and cancel in the caller's thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable, Deque, Optional, Sequence

from ...progress import Gate

Job = Callable[[], None]

TICK_S = 0.1
GRACE_S = 0.7
"""How long cancel waits for jobs to put away what they have; they end by themselves after it."""


class Crew:
    """Does jobs in their order, at most `hands` at once; while the gate is closed none is begun."""

    def __init__(
        self,
        hands: int,
        stop: Callable[[], None],
        gate: Optional[Gate] = None,
        tick_s: float = TICK_S,
    ) -> None:
        self._hands = max(hands, 1)
        self._stop = stop
        self._gate = gate
        self._tick_s = tick_s
        self._changed = threading.Condition()
        self._queue: Deque[Job] = deque()
        self._busy = 0
        self._error: Optional[BaseException] = None

    def run(self, jobs: Sequence[Job], tick: Callable[[], None]) -> None:
        """Do all jobs; `tick` is called every `tick_s` in this thread and may raise.

        What a job or `tick` raises first ends all: `stop` is called, which must make jobs in
        flight end soon, and the error is raised here.
        """
        self._queue.extend(jobs)
        self._busy = min(self._hands, len(jobs))
        for _ in range(self._busy):
            threading.Thread(target=self._work, name="tessera-fetch", daemon=True).start()
        try:
            while self._wait(self._tick_s):
                tick()
            if self._error is None:
                tick()
        except BaseException:
            self._end()
            raise
        if self._error is not None:
            self._end()
            raise self._error

    def _wait(self, seconds: float) -> bool:
        """Wait a little; return whether there is something left to wait for."""
        with self._changed:
            if self._busy and self._error is None:
                self._changed.wait(seconds)
            return bool(self._busy) and self._error is None

    def _end(self) -> None:
        with self._changed:
            self._queue.clear()
        self._stop()
        until = time.monotonic() + GRACE_S
        with self._changed:
            while self._busy and time.monotonic() < until:
                self._changed.wait(max(until - time.monotonic(), 0.0))

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            with self._changed:
                self._error = self._error or error
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _next(self) -> Optional[Job]:
        while True:
            with self._changed:
                if self._error is not None or not self._queue:
                    return None
                if self._gate is None or not self._gate.is_paused:
                    return self._queue.popleft()
            self._gate.wait(TICK_S)
