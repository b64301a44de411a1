# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How smoothly the window runs while a person works. Runs inside QGIS."""

import time
from contextlib import contextmanager

from qgis.PyQt.QtCore import Qt, QTimer


class Ticks:
    """Longest gap between 10 ms timer ticks: what a person feels as a stutter."""

    of_now = None
    """Those that count at present."""

    def __init__(self):
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start(10)
        self.restart()
        Ticks.of_now = self

    def restart(self):
        self._last, self._gaps = time.perf_counter(), []

    def longest_ms(self):
        running = time.perf_counter() - self._last  # a gap that no tick has ended yet counts too
        return round(1000 * max([*self._gaps, running]), 1)

    def tick(self):
        now = time.perf_counter()
        self._gaps.append(now - self._last)
        self._last = now

    def skip(self):
        """Begin the next gap now."""
        self._last = time.perf_counter()


@contextmanager
def not_felt():
    """Let what the test itself looks at, a file or the screen, be no stutter of the window."""
    ticks = Ticks.of_now
    if ticks is not None:
        ticks.tick()
    try:
        yield
    finally:
        if ticks is not None:
            ticks.skip()
