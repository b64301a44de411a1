# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done in pieces or ahead so that nothing stutters: the dock opens with one page."""

import gc
import importlib
import sys
import threading

import pytest
from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QWidget

from tessera_plugin.gui import ahead
from tessera_plugin.gui.ahead import Ahead
from tessera_plugin.gui.dock import LABELS, MAP, TesseraDock, add_to
from tessera_plugin.gui.pieces import Pieces
from tessera_plugin.tasks import garbage
from tests.archive.ground import DEMO
from tests.qgis.hands import Hands


@pytest.fixture
def pieces():
    parent = QObject()
    yield Pieces(parent)
    parent.deleteLater()


def counting(done, name, number=3):
    for each in range(number):
        done.append(f"{name}{each}")
        yield


def test_works_are_done_in_order_with_events_between(pieces, qtbot):
    done, turns = [], []
    pieces.add(counting(done, "a"))
    pieces.add(counting(done, "b"))
    assert done == [], "nothing at once"
    assert pieces.is_busy
    while pieces.is_busy:
        before = len(done)
        QTest.qWait(1)
        turns.append(len(done) - before)
    assert done == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert max(turns) < 6, "all at one turn"
    pieces.add(counting(done, "c"))
    pieces.finish()
    assert done[6:] == ["c0", "c1", "c2"]
    assert not pieces.is_busy


def test_what_fails_or_is_stopped_holds_up_nothing(pieces):
    done = []

    def failing():
        yield
        raise ValueError

    pieces.add(failing())
    pieces.add(counting(done, "a"))
    with pytest.raises(ValueError):
        pieces.finish()
    pieces.finish()
    assert done == ["a0", "a1", "a2"]
    pieces.add(counting(done, "b"))
    pieces.stop()
    QTest.qWait(30)
    assert len(done) == 3


def test_a_piece_that_lets_events_in_is_not_entered_again(pieces):
    done = []

    def opens_a_window():
        QTest.qWait(30)
        pieces.finish()
        done.append("closed")
        yield

    pieces.add(opens_a_window())
    pieces.add(counting(done, "a", 1))
    pieces.finish()
    assert done == ["closed", "a0"]


@pytest.fixture
def open_dock(desktop, make_session, qtbot):
    """Docks as they are opened, with nothing hurried."""
    made = []

    def make(*, shown=True):
        desktop.zoom_to(*DEMO)
        dock = TesseraDock(desktop, make_session(), "0.0.1")
        made.append(dock)
        add_to(desktop, dock)
        dock.setVisible(shown)
        return dock

    yield make
    for dock in made:
        dock.close_down()
        dock.deleteLater()


def has(dock, name):
    return dock.findChild(QWidget, name) is not None


def test_the_dock_opens_with_the_area_and_makes_the_rest_by_itself(open_dock, desktop, qtbot):
    dock = open_dock()
    assert has(dock, "fetchButton")
    assert not has(dock, "classTable")
    assert not has(dock, "trainButton")
    qtbot.waitUntil(lambda: has(dock, "trainButton") and not dock._later.is_busy, timeout=20_000)
    assert dock._session.labels.path, "the label file is open"
    assert dock.labels.parentWidget() is dock._contents.pages.widget(LABELS).viewport()
    assert dock.map.parentWidget() is dock._contents.pages.widget(MAP).viewport()
    assert len(QgsProject.instance().mapLayers()) == 0, "no labels yet"
    hands = Hands(dock, qtbot, desktop)
    hands.page(LABELS)
    edit = hands.find("classNameEdit")
    qtbot.keyClicks(edit, "Water")
    hands.click("addClassButton")
    hands.until(lambda: len(QgsProject.instance().mapLayers()) == 2)


@pytest.mark.parametrize(("page", "name"), [(LABELS, "classTable"), (MAP, "trainButton")])
def test_a_page_that_is_clicked_before_it_was_made_is_whole_at_once(open_dock, page, name):
    dock = open_dock()
    dock._contents.pages.setCurrentIndex(page)
    assert dock.findChild(QWidget, name).isVisible()
    if page == LABELS:
        assert dock._session.labels.path, "the label file is open"
    dock.finish()


@pytest.mark.parametrize("number", [0, 1, 4, 12])
def test_a_dock_that_is_closed_down_while_it_is_made_leaves_nothing(
    open_dock, desktop, qtbot, number
):
    project, canvas = QgsProject.instance(), desktop.canvas
    before = [project.receivers(project.cleared), canvas.receivers(canvas.extentsChanged)]
    dock = open_dock(shown=False)
    work = dock._rest()
    for _ in range(number):
        next(work)
    dock.close_down()
    dock._session.close()
    after = [project.receivers(project.cleared), canvas.receivers(canvas.extentsChanged)]
    assert after == before
    desktop.zoom_to(*DEMO)
    QTest.qWait(20)


# --- ahead


def test_modules_are_imported_ahead_on_a_thread_and_others_wait_for_it(
    monkeypatch, tmp_path, qtbot
):
    (tmp_path / "slow_to_come.py").write_text(
        "import gc, threading, time\ntime.sleep(0.05)\nis_collecting = gc.isenabled()\n"
        "thread = threading.current_thread().name\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ahead, "START_MS", 1)
    collected = []
    monkeypatch.setattr(garbage, "collect", lambda: collected.append(threading.current_thread()))
    assert gc.isenabled()
    early = Ahead(names=("slow_to_come",))
    qtbot.waitUntil(lambda: "slow_to_come" in sys.modules)
    module = importlib.import_module("slow_to_come")
    assert module.thread == "tessera-imports-ahead"
    assert not module.is_collecting, "on that thread others' widgets would be deleted"
    qtbot.waitUntil(lambda: bool(collected))
    assert collected == [threading.main_thread()]
    assert gc.isenabled()
    early.stop()
    del sys.modules["slow_to_come"]


def test_stopped_it_imports_nothing_more(monkeypatch, tmp_path):
    for name in ("first_to_come", "last_to_come"):
        (tmp_path / f"{name}.py").write_text("import time\ntime.sleep(0.2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ahead, "START_MS", 1)
    early = Ahead(names=("first_to_come", "last_to_come"))
    QTest.qWait(60)
    early.stop()
    assert "first_to_come" in sys.modules
    assert "last_to_come" not in sys.modules
    del sys.modules["first_to_come"]


def test_what_comes_ahead_is_there():
    for name in ahead.NEEDED:
        importlib.import_module(name, ahead.__package__)


# --- garbage


def searches(work):
    """Return how often Python searched all of its objects during a work."""
    before = gc.get_stats()[2]["collections"]
    work()
    return gc.get_stats()[2]["collections"] - before


def test_no_search_for_garbage_while_it_is_held_back_also_not_after_a_failure():
    def fails():
        with garbage.held_back():
            assert not gc.isenabled()
            with garbage.held_back():
                pass
            assert not gc.isenabled(), "the outer one still holds it"
            raise ValueError

    with pytest.raises(ValueError):
        fails()
    assert gc.isenabled()


def test_garbage_is_searched_for_when_it_is_due_soon():
    assert searches(garbage.collect) == 1
    assert searches(garbage.collect_if_due) == 0
    many = [[] for _ in range(len(gc.get_objects()) // 5)]
    assert searches(garbage.collect_if_due) == 1
    assert len(many) > 0
    gc.disable()
    try:
        assert searches(garbage.collect) == 0, "somebody else has switched it off"
    finally:
        gc.enable()
