# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The add-on as seen from the dock: its windows, one of each, and a line that says how it is."""

from __future__ import annotations

from typing import Callable, Dict, Union

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QCoreApplication, QObject, Qt

from ..tasks.environment import FAILED, INSTALLED, AddOn
from ..tasks.session import Session
from .diagnostics_dialog import DiagnosticsDialog
from .environment_dialog import EnvironmentDialog
from .links import Links

translate = QCoreApplication.translate

Window = Union[EnvironmentDialog, DiagnosticsDialog]


class AddOnWindows(QObject):
    """The windows of the add-on; none is modal, and asked for again an open one comes up."""

    def __init__(
        self, iface: QgisInterface, session: Session, version: str, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._iface, self._session, self._version = iface, session, version
        self._open: Dict[str, Window] = {}
        self._links = Links()
        self._links.connect(session.add_on.changed, self._changed)

    def show_add_on(self, *_: object) -> None:
        """Open the add-on's window."""
        self._show("add-on", lambda: EnvironmentDialog(self._session, self._iface.mainWindow()))

    def show_diagnostics(self, *_: object) -> None:
        """Open the diagnostics."""
        self._show("diagnostics", self._diagnostics)

    def close_down(self) -> None:
        """Close the windows."""
        self._links.close()
        for window in list(self._open.values()):
            window.close_down()

    def _show(self, name: str, make: Callable[[], Window]) -> None:
        window = self._open.get(name)
        if window is None:
            window = self._open[name] = make()
            window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            window.finished.connect(lambda _: self._open.pop(name, None))
            window.show()
        window.raise_()
        window.activateWindow()

    def _diagnostics(self) -> DiagnosticsDialog:
        return DiagnosticsDialog(self._session, self._version, self._iface.mainWindow())

    def _changed(self) -> None:
        """Tell the end of an installation to the one who has closed its window."""
        outcome = self._session.add_on.outcome
        if outcome is None or "add-on" in self._open:
            return
        if outcome.kind == INSTALLED:
            self._iface.messageBar().pushSuccess(
                "Tessera", translate("AddOn", "The add-on is installed.")
            )
        elif outcome.kind == FAILED:
            self._iface.messageBar().pushWarning(
                "Tessera",
                translate("AddOn", "The add-on could not be installed: open it to see why."),
            )


def line(add_on: AddOn) -> str:
    """Return why MLP can't be chosen, as one sentence with a link; empty where it can."""
    if add_on.running:
        told = translate("AddOn", "The add-on is at work ({} %):").format(
            round(100 * add_on.fraction)
        )
        return _linked(told, translate("AddOn", "show…"))
    if add_on.can_train:
        return ""
    found, outcome = add_on.state, add_on.outcome
    if outcome is not None and outcome.kind == FAILED:
        told = translate("AddOn", "The add-on for MLP could not be installed:")
        return _linked(told, translate("AddOn", "see why…"))
    if found.problem:
        told = translate("AddOn", "The add-on for MLP does not work any more:")
        return _linked(told, translate("AddOn", "repair it…"))
    if found.record is not None:
        told = translate("AddOn", "MLP needs the training part of the add-on:")
        return _linked(told, translate("AddOn", "install it…"))
    told = translate("AddOn", "MLP, a small neural network, needs the add-on:")
    return _linked(told, translate("AddOn", "install it…"))


def _linked(told: str, action: str) -> str:
    return f'{told} <a href="add-on">{action}</a>'
