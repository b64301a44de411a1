# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge: work on another thread, one answer on this one."""

import gc
import threading
import time

import pytest

from tessera_plugin.progress import part
from tessera_plugin.tasks.base import EngineTask, TaskBox
from tests.clock import within


class Ear:
    """Hears everything a task says."""

    def __init__(self, task):
        self.heard, self.threads, self.told, self.happened = [], [], [], []
        task.succeeded.connect(lambda result: self._hear("succeeded", result))
        task.failed.connect(lambda error: self._hear("failed", error))
        task.cancelled.connect(lambda: self._hear("cancelled", None))
        task.ended.connect(lambda: self._hear("ended", None))
        task.told.connect(lambda fraction, message: self.told.append((fraction, message)))
        task.happened.connect(self.happened.append)

    def _hear(self, what, value):
        self.heard.append((what, value))
        self.threads.append(threading.current_thread())

    def wait(self, qtbot):
        qtbot.waitUntil(lambda: ("ended", None) in self.heard, timeout=15_000)
        qtbot.wait(30)


@pytest.fixture
def box():
    box = TaskBox()
    yield box
    box.close()


def test_success_comes_once_on_the_gui_thread(qgis_app, qtbot):
    where = []

    def work(report):
        where.append(threading.current_thread())
        part(report, 0.5, 1.0)(0.5, "half of the second half")
        task.happened.emit({"epoch": 1})
        return 42

    task = EngineTask("answer", work)
    ear = Ear(task)
    task.start()
    ear.wait(qtbot)
    assert ear.heard == [("succeeded", 42), ("ended", None)]
    assert set(ear.threads) == {threading.main_thread()}
    assert where[0] is not threading.main_thread()
    assert ear.told == [(0.75, "half of the second half")]
    assert ear.happened == [{"epoch": 1}]


def test_an_error_comes_as_it_is(qgis_app, qtbot):
    error = ValueError("no")

    def work(report):
        raise error

    task = EngineTask("fails", work)
    ear = Ear(task)
    task.start()
    ear.wait(qtbot)
    assert ear.heard == [("failed", error), ("ended", None)]


def test_cancel_is_no_error(qgis_app, qtbot, box):
    def work(report):
        while True:
            report(0.1, "working")
            time.sleep(0.005)

    task = EngineTask("endless", work)
    ear = Ear(task)
    assert box.start(task)
    assert box.running == "endless"
    qtbot.wait(50)
    start = time.monotonic()
    box.cancel()
    ear.wait(qtbot)
    assert time.monotonic() - start < within(1)
    assert ear.heard == [("cancelled", None), ("ended", None)]
    assert box.running == ""


def test_a_task_that_nobody_holds_answers(qgis_app, qtbot):
    ears = []
    for number in range(20):
        task = EngineTask("many", lambda report, number=number: number)
        ears.append(Ear(task))
        task.start()
        del task
        gc.collect()
    for ear in ears:
        ear.wait(qtbot)
    assert [ear.heard[0] for ear in ears] == [("succeeded", number) for number in range(20)]


def test_progress_does_not_flood(qgis_app, qtbot):
    def work(report):
        for number in range(20_000):
            report(number / 20_000, str(number))

    task = EngineTask("chatty", work)
    ear = Ear(task)
    start = time.monotonic()
    task.start()
    ear.wait(qtbot)
    assert 1 <= len(ear.told) <= 2 + 20 * (time.monotonic() - start)


def test_one_at_a_time(qgis_app, qtbot, box):
    go = threading.Event()
    first, second = EngineTask("first", lambda report: go.wait(5)), EngineTask("second", print)
    ear = Ear(first)
    assert box.start(first)
    assert not box.start(second)
    go.set()
    ear.wait(qtbot)
    assert ear.heard[0] == ("succeeded", True)


def test_after_close_no_code_of_ours_runs(qgis_app, qtbot):
    running = threading.Event()

    def work(report):
        running.set()
        try:
            while True:
                report(0.0, "")
                time.sleep(0.01)
        finally:
            running.clear()

    box, task = TaskBox(), EngineTask("endless", work)
    ear = Ear(task)
    box.start(task)
    assert running.wait(2)
    box.close()
    assert not running.is_set()
    qtbot.wait(100)
    assert [what for what, _ in ear.heard] in ([], ["ended"])


def test_a_result_that_comes_too_late_is_discarded(qgis_app, qtbot):
    go, dropped = threading.Event(), []
    task = EngineTask("late", lambda report: go.wait(5) and "result", discard=dropped.append)
    task.start()
    qtbot.wait(50)
    task.silence()
    go.set()
    qtbot.waitUntil(lambda: dropped == ["result"], timeout=15_000)
