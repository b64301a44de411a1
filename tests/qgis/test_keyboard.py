# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""All can be reached by the Tab key, in the order one reads it, and has a name that is read aloud."""

import pytest
from qgis.core import QgsGeometry, QgsPointXY
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QGroupBox,
    QLabel,
    QTabBar,
    QWidget,
)

from tessera_plugin.gui.cache_dialog import CacheDialog
from tessera_plugin.gui.dialogs import AboutDialog, SettingsDialog
from tessera_plugin.gui.encode_export import ExportDialog
from tessera_plugin.gui.import_dialog import ImportDialog
from tessera_plugin.gui.label_file_dialog import LabelFileDialog
from tessera_plugin.gui.note import Note
from tessera_plugin.gui.source_dialog import SourceDialog
from tessera_plugin.gui.tools.label_edit import LabelEditDialog
from tests.qgis.hands import AREA, LABELS, MAP, Hands

SMALL = (0.118, 52.196, 0.130, 52.203)


@pytest.fixture
def hands(make_dock, server, desktop, qtbot):
    dock = make_dock(archive=server.url)
    desktop.zoom_to(*SMALL)
    hands = Hands(dock, qtbot, desktop)
    hands.until(lambda: hands.session.is_warm)
    return hands


def tabbed(hands):
    """Return the names of what Tab goes through, from the tabs of the pages on."""
    hands.desktop.window.activateWindow()
    hands.find("pages").tabBar().setFocus()
    names = []
    while len(names) < 100:
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
        there = QApplication.focusWidget()
        if not hands.dock.isAncestorOf(there):
            break
        names.append(there.objectName())
    return names


def in_order(names, *wanted):
    places = [names.index(each) for each in wanted]
    assert places == sorted(places), names


def test_tab_goes_through_the_pages_as_one_reads_them(hands):
    for name in ("Water", "Wood"):
        hands.session.labels.add_class(name)
    hands.page(LABELS)
    hands.find("fileGroup").setCollapsed(False)
    names = tabbed(hands)
    in_order(names, "menuButton", "labelToolButton", "brushToolButton", "classTable", "classNameEdit",
             "liveCheck", "nextGoOnCheck", "fileGroup", "changeFileButton")  # fmt: skip
    # what is made later has its place too
    hands.dock.labels.next._answers.offer(hands.session.labels.classes)
    names = tabbed(hands)
    first = hands.session.labels.classes[0].id
    in_order(names, "nextGoOnCheck", f"answer{first}", "answerSkip", "fileGroup")
    hands.page(MAP)
    hands.find("mapOptionsGroup").setCollapsed(False)
    names = tabbed(hands)
    in_order(names, "headCombo", "testCombo", "trainButton", "loadHeadButton", "mapAreaCombo",
             "drawMapAreaButton", "uncertainCheck", "majorityCheck", "polygonsCheck")  # fmt: skip
    hands.page(AREA)
    in_order(tabbed(hands), "menuButton", "datasetCombo", "yearCombo", "coverageCheck")


# --- names


def is_part_of_a_combo(widget):
    while widget is not None:
        widget = widget.parentWidget()
        if isinstance(widget, QComboBox):
            return True
    return False


def is_read_aloud(widget, buddies):
    """Whether a screen reader has something to say about a widget."""
    if widget.accessibleName() or widget in buddies:
        return True
    if isinstance(widget, (QAbstractButton, QLabel)) and widget.text():
        return True
    if isinstance(widget, QGroupBox) and widget.title():
        return True
    return isinstance(widget, QTabBar) and all(widget.tabText(n) for n in range(widget.count()))


def nameless(root):
    buddies = [each.buddy() for each in root.findChildren(QLabel) if each.buddy() is not None]
    found = []
    for each in root.findChildren(QWidget):
        is_reached = each.focusPolicy() & Qt.FocusPolicy.TabFocus and each.focusProxy() is None
        if not is_reached or is_part_of_a_combo(each) or is_read_aloud(each, buddies):
            continue
        # what says nothing is not seen, and is read as what it says
        if isinstance(each, QLabel) or (isinstance(each.parent(), Note) and each.isHidden()):
            continue
        found.append(f"{type(root).__name__}: {type(each).__name__} {each.objectName()!r} "
                     f"in {each.parent().objectName()!r}")  # fmt: skip
    return found


def test_all_that_takes_the_focus_has_a_name(hands, qtbot):
    dock, session = hands.dock, hands.session
    water = session.labels.add_class("Water")
    place = QgsGeometry.fromPointXY(QgsPointXY(0.12, 52.2))
    session.labels.add_label(place, water.id, 2024)
    for page in (LABELS, MAP):
        hands.page(page)
    found = nameless(dock)
    dialogs = [
        *(make(session, None) for make in (SettingsDialog, CacheDialog, SourceDialog)),
        AboutDialog(session, "1", None),
        ExportDialog("/x/tessera_v1_1_aws_encoder.pt", None),
        LabelFileDialog(session, "Labels for a test", None),
        ImportDialog(hands.desktop, session, dock.area),
        LabelEditDialog(session.labels.labels(), session.labels.classes, None),
    ]
    for each in dialogs:
        qtbot.addWidget(each)
        found += nameless(each)
    found += [*nameless(dock.encode.made()), *nameless(dock.models.made())]
    found += nameless(dock.explore.made())
    dock.windows.show_add_on()
    dock.windows.show_diagnostics()
    for each in dock.windows._open.values():
        found += nameless(each)
    assert not found, "\n".join(found)
