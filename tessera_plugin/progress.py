# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress and cancel in one: a `Report` is called per block, per epoch, per file."""

from __future__ import annotations

import threading
from typing import Callable

Report = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a short message; raises `Cancelled` to stop the work."""


class Cancelled(Exception):
    """The person asked to stop. Not an error: never logged, never shown in red."""


def silent(fraction: float, message: str = "") -> None:
    """Report to nobody and never cancel."""


def part(report: Report, start: float, stop: float) -> Report:
    """Return a report whose 0 to 1 is the share `start` to `stop` of the whole."""

    def report_part(fraction: float, message: str = "") -> None:
        report(start + (stop - start) * min(max(fraction, 0.0), 1.0), message)

    return report_part


class Gate:
    """Holds work back while the person pauses it. Any thread may use it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.pauses = 0
        """How often it was closed: tells whether there was a pause between two moments."""

    @property
    def is_paused(self) -> bool:
        """Whether work is to wait."""
        return not self._open.is_set()

    def pause(self) -> None:
        """Let work wait from now on."""
        self.pauses += 1
        self._open.clear()

    def resume(self) -> None:
        """Let work go on."""
        self._open.set()

    def wait(self, seconds: float) -> bool:
        """Wait until work may go on, at most so long; whether it may."""
        return self._open.wait(seconds)
