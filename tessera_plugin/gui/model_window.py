# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The dialog of ONNX models as seen from the dock: one, made when it is first asked for."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject

from ..tasks.session import Session
from .area_page import AreaPage
from .model_dialog import ModelDialog
from .model_run import ModelRun


class ModelWindow(QObject):
    """Opens the dialog; what it has begun lives here and outlasts it."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        area: AreaPage,
        show_add_on: Callable[[], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._iface, self._session, self._area = iface, session, area
        self._show_add_on = show_add_on
        self.running = ModelRun(iface, session, self)
        self._dialog: Optional[ModelDialog] = None

    def show(self, *_: object) -> None:
        """Open the dialog, or bring it up where it is open."""
        dialog = self._opened()
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()

    def open_model(self, path: str) -> None:
        """Open the dialog with a model."""
        self._opened().open_model(path)
        self.show()

    def close_down(self) -> None:
        """Close the dialog for good."""
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.close_down()
            dialog.deleteLater()

    # --- inside

    def _opened(self) -> ModelDialog:
        if self._dialog is None:
            self._dialog = ModelDialog(self._iface, self._session, self._area, self.running)
            self._dialog.add_on_wanted.connect(self._show_add_on)
        return self._dialog
