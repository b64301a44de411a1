# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A dialog as seen from the dock: one, made when it is first asked for."""

from __future__ import annotations

from typing import Any, Callable, Optional

from qgis.PyQt.QtCore import QObject


class OneDialog(QObject):
    """Keeps a dialog that is not modal, which has a `close_down`."""

    def __init__(self, make: Callable[[], Any], parent: QObject) -> None:
        """`make` gives the dialog; it is called when the dialog is first needed."""
        super().__init__(parent)
        self._make = make
        self._dialog: Optional[Any] = None

    @property
    def is_open(self) -> bool:
        """Whether the dialog is seen."""
        return self._dialog is not None and bool(self._dialog.isVisible())

    def made(self) -> Any:  # noqa: ANN401 - whatever `make` gives
        """Return the dialog, made now if it has not been."""
        if self._dialog is None:
            self._dialog = self._make()
        return self._dialog

    def show(self, *_: object) -> None:
        """Open the dialog, or bring it up where it is open."""
        dialog = self.made()
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()

    def close_down(self) -> None:
        """Close the dialog for good."""
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.close_down()
            dialog.deleteLater()
