# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What needs more than a click: menus and dialogs that hold things up, drags, lists by keys.

Runs inside QGIS.
"""

from person import StepFailed
from qgis.PyQt.QtCore import QEvent, QPointF, Qt, QTimer
from qgis.PyQt.QtGui import QMouseEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDialog, QLineEdit, QMenu, QPushButton, QWidget

OPENS_MS, MOST_TRIES = 50, 100
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton


def menu(opens, *entries, shown=None):
    """Open a menu by calling `opens`, and click entries: each by name or words, a submenu's after it.

    A menu holds up what opened it, so its entries are clicked from a timer. `shown` is called when
    the last entry is about to be clicked. A menu that stays open is closed with Esc.
    """
    _from_a_timer(QApplication.activePopupWidget, lambda found: _walk(found, entries, shown))
    opens()
    QApplication.processEvents()


def color(person, button, html):
    """Click a button with a colour, type another one, and close the dialog with OK."""
    _from_a_timer(QApplication.activeModalWidget, lambda dialog: _type_color(dialog, html))
    person.click(button)


def type_into(edit, words):
    """Put words in the place of what a field holds."""
    QTest.mouseClick(edit, LEFT)
    edit.selectAll()
    QTest.keyClicks(edit, words)
    QApplication.processEvents()


def drag(widget, start, stop):
    """Press, move and release; Qt's own helper moves no mouse whose button is down."""
    QTest.mousePress(widget, LEFT, pos=start)
    for share in (0.3, 0.6, 1.0):
        here = QPointF(start + (stop - start) * share)
        kind = QEvent.Type.MouseMove
        moved = QMouseEvent(kind, here, NONE, LEFT, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(widget, moved)
    QTest.mouseRelease(widget, LEFT, pos=stop)
    QApplication.processEvents()


def key_to(combo, words, key=Qt.Key.Key_Down):
    """Go down a list by the keyboard until the entry has these words in it."""
    QTest.keyClick(combo, Qt.Key.Key_Home)
    for _ in range(combo.count()):
        if words in combo.currentText():
            return combo.currentText()
        QTest.keyClick(combo, key)
    raise StepFailed(f"{combo.objectName()} has no {words!r}")


def _from_a_timer(find, then, tries=MOST_TRIES):
    def look():
        found = find()
        if found is not None:
            then(found)
        elif tries:
            _from_a_timer(find, then, tries - 1)
        else:
            raise StepFailed("nothing opened")

    QTimer.singleShot(OPENS_MS, look)


def _walk(popup, entries, shown):
    entry, *rest = entries
    actions = {each.objectName() or each.text(): each for each in popup.actions()}
    chosen = actions.get(entry) or next(
        (each for words, each in actions.items() if entry in words), None
    )
    if chosen is None or not chosen.isEnabled():
        _close_all()
        raise StepFailed(f"the menu has no {entry!r} to click, only {sorted(actions)}")
    place = popup.actionGeometry(chosen).center()
    QTest.mouseMove(popup, place)
    if not rest and shown is not None:
        shown()
    QTest.mouseClick(popup, LEFT, pos=place)
    if rest:
        submenu = chosen.menu()
        _from_a_timer(
            lambda: submenu if submenu.isVisible() else None,
            lambda found: _walk(found, rest, shown),
        )
    else:
        _close_all()


def _close_all():
    """Close what is still open; menus of lists to tick stay until they are left."""
    for _ in range(5):
        popup = QApplication.activePopupWidget()
        if not isinstance(popup, QMenu):
            return
        QTest.keyClick(popup, Qt.Key.Key_Escape)


def _type_color(dialog, html):
    field = dialog.findChild(QWidget, "mColorText").findChild(QLineEdit)
    type_into(field, html)
    QTest.keyClick(field, Qt.Key.Key_Return)
    if isinstance(dialog, QDialog) and dialog.isVisible():
        ok = next(each for each in dialog.findChildren(QPushButton) if "OK" in each.text())
        QTest.mouseClick(ok, LEFT)
