# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Forms are loaded when they are first needed; nothing is compiled."""

from __future__ import annotations

from qgis.PyQt import uic
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QDialog, QWidget

from .. import paths
from . import letters, spoken


def load(name: str, widget: QWidget) -> None:
    """Fill a widget with a form; its named parts become attributes of the widget."""
    uic.loadUi(str(paths.UI / f"{name}.ui"), widget)
    spoken.name_parts(widget)
    if isinstance(widget, QDialog):
        letters.fit_dialog(widget)


def icon(name: str) -> QIcon:
    """Return one of our own icons."""
    return QIcon(str(paths.ICONS / f"{name}.svg"))
