# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Encode dialog as seen from the dock: one, made when it is first asked for."""

from __future__ import annotations

from typing import Callable, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject

from ..tasks.session import Session
from .encode_dialog import EncodeDialog
from .encode_run import Encoding
from .map_pictures import MapPictures


class EncodeWindow(QObject):
    """Opens the dialog; what it has begun lives here and outlasts it."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        pictures: MapPictures,
        show_add_on: Callable[[], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._iface, self._session, self._show_add_on = iface, session, show_add_on
        self.encoding = Encoding(iface, session, pictures, self)
        self._dialog: Optional[EncodeDialog] = None

    def show(self, *_: object) -> None:
        """Open the dialog, or bring it up where it is open."""
        if self._dialog is None:
            self._dialog = EncodeDialog(self._iface, self._session, self.encoding)
            self._dialog.add_on_wanted.connect(self._show_add_on)
        self._dialog.show()
        self._dialog.raise_()
        self._dialog.activateWindow()

    def close_down(self) -> None:
        """Close the dialog for good."""
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.close_down()
            dialog.deleteLater()
