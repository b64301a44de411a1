# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The dialog of ONNX models as seen from the dock."""

from __future__ import annotations

from typing import Callable

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject

from ..tasks.session import Session
from .area_page import AreaPage
from .model_dialog import ModelDialog
from .model_run import ModelRun
from .one_dialog import OneDialog


class ModelWindow(OneDialog):
    """Opens the dialog; what it has begun lives here and outlasts it."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        area: AreaPage,
        show_add_on: Callable[[], None],
        parent: QObject,
    ) -> None:
        super().__init__(self._new, parent)
        self._iface, self._session, self._area = iface, session, area
        self._show_add_on = show_add_on
        self.running = ModelRun(iface, session, self)

    def open_model(self, path: str) -> None:
        """Open the dialog with a model."""
        self.made().open_model(path)
        self.show()

    def _new(self) -> ModelDialog:
        dialog = ModelDialog(self._iface, self._session, self._area, self.running)
        dialog.add_on_wanted.connect(self._show_add_on)
        return dialog
