# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Tab key goes through a window in the order in which one reads it.

Qt goes by the order in which widgets were made, and parts of the pages are made late.
"""

from __future__ import annotations

from typing import Iterator, List, Tuple

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QFormLayout, QGridLayout, QLayout, QTabWidget, QWidget


def arrange(root: QWidget) -> None:
    """Put all that is in a widget in the order of its layouts, whether it is seen now or not."""
    reached = [each for each in _inside(root) if _is_reached(each)]
    for before, after in zip(reached, reached[1:]):
        QWidget.setTabOrder(before, after)


def _is_reached(widget: QWidget) -> bool:
    takes_tab = widget.focusPolicy() & Qt.FocusPolicy.TabFocus == Qt.FocusPolicy.TabFocus
    return takes_tab and widget.focusProxy() is None


def _inside(widget: QWidget) -> Iterator[QWidget]:
    """Go through a widget and what is in it: first what is its own (as the fold of a group)."""
    yield widget
    layout = widget.layout()
    placed = _placed(layout) if layout is not None else []
    known = {id(each) for each in placed}
    own = [
        each
        for each in widget.children()
        if isinstance(each, QWidget) and not each.isWindow() and id(each) not in known
    ]
    if isinstance(widget, QTabWidget):  # the tabs, what is beside them, and then the pages
        own.sort(key=lambda each: (each is not widget.tabBar(), each is not widget.cornerWidget()))
    for each in (*own, *placed):
        yield from _inside(each)


def _placed(layout: QLayout) -> List[QWidget]:
    """Return the widgets of a layout, row by row."""
    indexes = sorted(range(layout.count()), key=lambda index: _place(layout, index))
    found: List[QWidget] = []
    for index in indexes:
        item = layout.itemAt(index)
        if item.widget() is not None:
            found.append(item.widget())
        elif item.layout() is not None:
            found += _placed(item.layout())
    return found


def _place(layout: QLayout, index: int) -> Tuple[int, ...]:
    if isinstance(layout, QGridLayout):
        return tuple(layout.getItemPosition(index)[:2])
    if isinstance(layout, QFormLayout):
        row, role = layout.getItemPosition(index)
        return (row, int(role == QFormLayout.ItemRole.FieldRole))
    return (index,)
