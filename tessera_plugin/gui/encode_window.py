# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Encode dialog as seen from the dock."""

from __future__ import annotations

from typing import Callable

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject

from ..tasks.session import Session
from .encode_dialog import EncodeDialog
from .encode_run import Encoding
from .map_pictures import MapPictures
from .one_dialog import OneDialog


class EncodeWindow(OneDialog):
    """Opens the dialog; what it has begun lives here and outlasts it."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        pictures: MapPictures,
        show_add_on: Callable[[], None],
        parent: QObject,
    ) -> None:
        super().__init__(self._new, parent)
        self._iface, self._session, self._show_add_on = iface, session, show_add_on
        self.encoding = Encoding(iface, session, pictures, self)

    def _new(self) -> EncodeDialog:
        dialog = EncodeDialog(self._iface, self._session, self.encoding)
        dialog.add_on_wanted.connect(self._show_add_on)
        return dialog
