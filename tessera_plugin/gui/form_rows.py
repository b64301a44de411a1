# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a form that come and go; Qt 5 leaves a gap where a row is only hidden."""

from __future__ import annotations

from typing import Collection, List, Optional, Tuple

from qgis.PyQt.QtWidgets import QFormLayout, QWidget


class FormRows:
    """The rows of a form in their order; those that are not shown are taken out."""

    def __init__(self, form: QFormLayout) -> None:
        self._form = form
        self._rows: List[Tuple[Optional[QWidget], QWidget]] = []
        while form.rowCount():
            taken = form.takeRow(0)
            label = taken.labelItem.widget() if taken.labelItem is not None else None
            self._rows.append((label, taken.fieldItem.widget()))
        self.show([field.objectName() for _, field in self._rows])

    def show(self, names: Collection[str]) -> None:
        """Show the rows whose fields have these object names."""
        while self._form.rowCount():
            self._form.takeRow(0)
        for label, field in self._rows:
            is_shown = field.objectName() in names
            if is_shown and label is not None:
                self._form.addRow(label, field)
            elif is_shown:
                self._form.addRow(field)
            for widget in (label, field):
                if widget is not None:
                    widget.setVisible(is_shown)
