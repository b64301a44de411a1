# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A job as its method sees it."""

from __future__ import annotations

import threading
from typing import Any, Callable, Mapping

from .. import protocol


class JobCancelled(Exception):  # noqa: N818 - not an error
    """The client asked to end the job."""


class NoRoom(Exception):  # noqa: N818 - told as DiskFull
    """The disk has no room for a file of the job."""

    def __init__(self, path: str, needed_bytes: int) -> None:
        super().__init__(path)
        self.path = path
        self.needed_bytes = needed_bytes


class Job:
    """What a method needs of the outside: a way to tell how far it is, and to hear a cancel.

    A method that has passed one check promises more: if it then stands still for minutes, it is
    taken for dead and its process ended.
    """

    def __init__(
        self,
        request: protocol.Message,
        send: Callable[[Mapping[str, object]], None],
    ) -> None:
        self.id: int = request["id"]
        self.method: str = request["method"]
        self.params: Mapping[str, Any] = request["params"]
        self.steps = 0
        """How many checks its method has passed."""
        self._send = send
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Make the next `check` raise; called by the reading thread."""
        self._cancelled.set()

    def stop_if_cancelled(self) -> None:
        """Raise JobCancelled if the client asked for it."""
        if self._cancelled.is_set():
            raise JobCancelled

    def check(self) -> None:
        """Raise JobCancelled if the client asked for it; called at every batch or block."""
        self.steps += 1
        self.stop_if_cancelled()

    def report(self, fraction: float, message: str = "") -> None:
        """Tell progress, 0 to 1, and check."""
        self.check()
        self._send(protocol.progress(self.id, fraction, message))

    def event(self, facts: Mapping[str, object]) -> None:
        """Tell something that happened, at once."""
        self._send(protocol.event(self.id, facts))

    def loading(self, *, is_done: bool) -> None:
        """Tell that libraries are being imported, or that this is done."""
        self._send(protocol.loading(self.id, is_done=is_done))
