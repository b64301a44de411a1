# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a screen reader says of the parts of QGIS's widgets, which have no names of their own."""

from __future__ import annotations

from qgis.gui import QgsCollapsibleGroupBoxBasic, QgsFileWidget, QgsProjectionSelectionWidget
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtWidgets import QComboBox, QLabel, QToolButton, QWidget

translate = QCoreApplication.translate


def name_parts(form: QWidget) -> None:
    """Name what takes the focus within a form's widgets of QGIS."""
    for group in form.findChildren(QgsCollapsibleGroupBoxBasic):
        fold = group.findChild(QToolButton, "collapseButton")
        if fold is not None:  # the group's title is read with it
            fold.setAccessibleName(translate("Spoken", "Fold or unfold"))
    labels = form.findChildren(QLabel)
    for kind, field in ((QgsFileWidget, _path), (QgsProjectionSelectionWidget, _combo)):
        for each in form.findChildren(kind):
            beside = [label.text() for label in labels if label.buddy() is each]
            name = each.accessibleName() or "".join(beside).replace("&", "")
            field(each).setAccessibleName(name)
            for button in each.findChildren(QToolButton):
                button.setAccessibleName(translate("Spoken", "{}: choose").format(name))


def _path(widget: QgsFileWidget) -> QWidget:
    return widget.lineEdit()


def _combo(widget: QgsProjectionSelectionWidget) -> QWidget:
    return widget.findChild(QComboBox)
