# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections that end when their owner goes: nothing of ours is called after an unload."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, List, Tuple


class Links:
    """Keeps what was connected, to disconnect all of it."""

    def __init__(self) -> None:
        self._pairs: List[Tuple[Any, Callable[..., Any]]] = []

    def connect(self, signal: Any, slot: Callable[..., Any]) -> None:  # noqa: ANN401 - a bound signal
        """Connect a signal of something that lives longer than the slot's owner."""
        signal.connect(slot)
        self._pairs.append((signal, slot))

    def close(self) -> None:
        """Disconnect everything."""
        pairs, self._pairs = self._pairs, []
        for signal, slot in reversed(pairs):
            with contextlib.suppress(TypeError, RuntimeError):  # the sender may be gone already
                signal.disconnect(slot)
