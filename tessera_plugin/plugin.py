# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin as QGIS sees it: builds the parts, wires them, takes them down. No logic."""

from __future__ import annotations

import configparser
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Callable, Optional

from qgis.core import QgsSettings
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtGui import QIcon

from . import paths

if TYPE_CHECKING:
    from .gui.ahead import Ahead
    from .gui.dock import TesseraDock
    from .gui.dock_memory import DockMemory
    from .tasks.session import Session

MENU = "Tessera"

translate = QCoreApplication.translate


class TesseraPlugin:
    """One action that opens the dock; everything else is made when it is first used."""

    def __init__(self, iface: QgisInterface) -> None:
        self._iface = iface
        self._stack = ExitStack()
        self._session: Optional[Session] = None
        self._dock: Optional[TesseraDock] = None
        self._memory: Optional[DockMemory] = None
        self._ahead: Optional[Ahead] = None

    def initGui(self) -> None:  # noqa: N802 - QGIS's name
        """Add toolbar button and menu."""
        leaving = QCoreApplication.instance().aboutToQuit
        # QGIS unloads no plugin when it ends: what it deletes would be used after that
        leaving.connect(self.unload)
        self._stack.callback(leaving.disconnect, self.unload)
        icon = QIcon(str(paths.ICONS / "tessera.svg"))
        text = translate("Plugin", "Open Tessera")
        self._toggle = self._action("tesseraAction", icon, text, self.open)
        self._iface.addToolBarIcon(self._toggle)
        self._stack.callback(self._iface.removeToolBarIcon, self._toggle)
        settings = translate("Plugin", "Settings…")
        self._action("tesseraSettingsAction", QIcon(), settings, self._show_settings)
        about = translate("Plugin", "About Tessera…")
        self._action("tesseraAboutAction", QIcon(), about, self._show_about)
        self._import_ahead()
        self._remember_dock()

    def unload(self) -> None:
        """Leave nothing behind; what runs ends quietly."""
        self._stack.close()
        self._session = self._dock = self._memory = self._ahead = None

    @property
    def dock(self) -> TesseraDock:
        """The dock, made when it is first asked for."""
        if self._dock is None:
            self._make_dock()
        return self._dock  # type: ignore[return-value]

    def open(self) -> None:
        """Show the dock, or hide it where it is shown."""
        if self.dock.isUserVisible():
            self.dock.close()
        else:
            self.dock.setUserVisible(True)

    def _show_settings(self) -> None:
        self.dock.show_settings()

    def _show_about(self) -> None:
        self.dock.show_about()

    def _make_dock(self) -> None:
        from .gui.dock import TesseraDock, add_to  # noqa: PLC0415 - QGIS starts faster
        from .tasks.session import Session  # noqa: PLC0415

        self._session = Session(QgsSettings())
        self._stack.callback(self._session.deleteLater)
        self._stack.callback(self._session.close)
        dock = TesseraDock(self._iface, self._session, _version())
        self._stack.callback(dock.deleteLater)
        self._stack.callback(self._iface.removeDockWidget, dock)
        self._stack.callback(dock.close_down)
        add_to(self._iface, dock)
        self._dock = dock
        if self._memory is not None:
            self._memory.watch(dock)

    def _remember_dock(self) -> None:
        from .gui.dock_memory import DockMemory  # noqa: PLC0415

        self._memory = DockMemory(self._iface, QgsSettings(), self._open_again)
        self._stack.callback(self._memory.deleteLater)
        self._stack.callback(self._memory.close_down)

    def _open_again(self) -> None:
        """Show the dock at the start of QGIS, which would stand still for the imports."""
        if self._ahead is not None:
            self._ahead.then(self._show)

    def _show(self) -> None:
        self.dock.show()

    def _import_ahead(self) -> None:
        from .gui.ahead import Ahead  # noqa: PLC0415

        self._ahead = Ahead(lambda: self._dock is None)
        self._stack.callback(self._ahead.deleteLater)
        self._stack.callback(self._ahead.stop)

    def _action(self, name: str, icon: QIcon, text: str, slot: Callable[[], None]) -> Any:  # noqa: ANN401 - QAction's home differs
        from .gui.compat import QAction  # noqa: PLC0415

        action = QAction(icon, text, self._iface.mainWindow())
        action.setObjectName(name)
        action.triggered.connect(lambda *_: slot())
        self._stack.callback(action.deleteLater)
        self._stack.callback(action.setParent, None)  # nobody finds it until it is deleted
        self._stack.callback(action.triggered.disconnect)
        self._iface.addPluginToMenu(MENU, action)
        self._stack.callback(self._iface.removePluginMenu, MENU, action)
        return action


def _version() -> str:
    """Return the version that metadata.txt tells."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(paths.ROOT / "metadata.txt", "utf-8")
    return metadata.get("general", "version", fallback="")
