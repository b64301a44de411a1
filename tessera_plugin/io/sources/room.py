# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Room in memory that several threads share."""

from __future__ import annotations

import threading
from typing import Callable

_LOOK_S = 0.1


class Room:
    """Counts what is held, so that those who would add to it can wait for others to let go."""

    def __init__(self, size: int, check: Callable[[], None]) -> None:
        self._size = size
        self._check = check
        self._held = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Hold so many bytes more."""
        with self._changed:
            self._held += size

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    def wait(self, can_wait: Callable[[], bool]) -> None:
        """Wait while too much is held and one can wait; `check` is called meanwhile, and may raise."""
        with self._changed:
            while self._held > self._size and can_wait():
                self._changed.wait(_LOOK_S)
                self._check()
