# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Room in memory that several threads share."""

from __future__ import annotations

import contextlib
import threading
from typing import Callable, Iterator

_LOOK_S = 0.1


class Room:
    """Lets what needs memory wait until there is some left; whoever is alone may have any amount."""

    def __init__(self, size: int, check: Callable[[], None]) -> None:
        self._size = size
        self._check = check
        self._taken = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold so many bytes; `check` is called while this waits, and may raise."""
        with self._changed:
            while self._taken and self._taken + size > self._size:
                self._changed.wait(_LOOK_S)
                self._check()
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
