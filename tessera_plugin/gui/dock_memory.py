# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A dock that was open when QGIS was closed is open again at its next start, where it was.

QGIS does that for docks that are there when it starts. Ours is not: it is made afterwards, and only
if it was open. So little is imported here: it is done at every start.
"""

from __future__ import annotations

from typing import Any, Callable

from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import QObject, QTimer

from .links import Links

KEY = "tessera/dock_open"
"""`Settings.dock_open`, read without all others."""


class DockMemory(QObject):
    """Keeps whether a dock is open, and has it shown again."""

    def __init__(
        self,
        iface: QgisInterface,
        store: Any,  # noqa: ANN401 - QgsSettings, or what has its two calls
        show: Callable[[], None],
    ) -> None:
        """`show` is called once, when QGIS is ready, if the dock was open the last time."""
        super().__init__()
        self._store = store
        self._links = Links()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(show)
        if not store.value(KEY, False, type=bool):
            return
        if iface.mainWindow().isVisible():  # the plugin was loaded anew, or enabled just now
            self._timer.start(0)
        else:
            self._links.connect(iface.initializationCompleted, self._ready)

    def watch(self, dock: QgsDockWidget) -> None:
        """Remember from now on whether a dock is open. That QGIS hides it as it ends is no answer."""
        self._links.connect(dock.opened, self._opened)
        self._links.connect(dock.closed, self._closed)

    def close_down(self) -> None:
        """Keep what is known, and show nothing any more."""
        self._timer.stop()
        self._links.close()

    # --- inside

    def _ready(self) -> None:
        self._timer.start(0)  # QGIS is shown first

    def _opened(self) -> None:
        self._store.setValue(KEY, True)

    def _closed(self) -> None:
        self._store.setValue(KEY, False)
