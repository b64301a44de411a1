# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the first click needs is imported before it, on a thread: done by the click it would be felt."""

from __future__ import annotations

import importlib
import threading
from typing import Callable, Optional, Sequence

from qgis.PyQt.QtCore import QObject, QTimer

from ..tasks import garbage

NEEDED = (
    *("..tasks.session", ".dock", ".labels_page", ".map_page"),
    *(".dialogs", ".encode_dialog", ".model_dialog"),
)
"""In the order in which they are needed; with them comes what they import, which is not the engine."""

START_MS = 1000
"""So long after the plugin's load QGIS has time again, as a rule."""

LOOK_MS = 100
STOP_S = 2.0


class Ahead(QObject):
    """Imports modules, one after the other, while the person does something else."""

    def __init__(
        self, has_time: Callable[[], bool] = lambda: True, names: Sequence[str] = NEEDED
    ) -> None:
        """`has_time` tells whether nobody works with what is imported; names are relative."""
        super().__init__()
        self._has_time, self._names = has_time, names
        self._is_wanted = True
        self._then: Optional[Callable[[], None]] = None
        self._thread: Optional[threading.Thread] = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(START_MS)

    def then(self, call: Callable[[], None]) -> None:
        """Import now, and call when all is there."""
        self._then = call
        self._timer.start(0)

    def stop(self) -> None:
        """Import nothing more: after this no code of ours runs."""
        self._is_wanted = False
        self._timer.stop()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _look(self) -> None:
        if self._thread is None:
            self._timer.setInterval(LOOK_MS)
            self._thread = threading.Thread(
                target=self._import, name="tessera-imports-ahead", daemon=True
            )
            self._thread.start()
        elif not self._thread.is_alive():
            self._timer.stop()
            if self._has_time():
                garbage.collect()
            if self._then is not None:
                self._then()

    def _import(self) -> None:
        with garbage.held_back():
            for name in self._names:
                if self._is_wanted:
                    importlib.import_module(name, __package__)
