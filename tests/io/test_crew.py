# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs side by side: their order, their errors, cancel and pause."""

import threading
import time

import pytest

from tessera_plugin.io.sources.crew import GRACE_S, Crew
from tessera_plugin.progress import Cancelled, Gate
from tests.clock import within


def nothing():
    pass


def test_every_job_is_done_by_so_many_hands_at_most():
    done, busy, most = [], [0], [0]
    lock = threading.Lock()

    def job(number):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.02)
        with lock:
            busy[0] -= 1
            done.append(number)

    Crew(3, nothing).run([lambda n=n: job(n) for n in range(12)], nothing)
    assert sorted(done) == list(range(12))
    assert most[0] == 3


def test_one_hand_keeps_the_order():
    done = []
    Crew(1, nothing).run([lambda n=n: done.append(n) for n in range(20)], nothing)
    assert done == list(range(20))


def test_no_jobs_are_no_trouble():
    ticks = []
    Crew(4, nothing).run([], lambda: ticks.append(1))
    assert ticks == [1]


def test_what_a_job_raises_ends_all_and_is_raised_here():
    done, stopped = [], []

    def fails():
        raise ValueError("no")

    jobs = [fails, *(lambda: (time.sleep(0.05), done.append(1)) for _ in range(50))]
    with pytest.raises(ValueError, match="no"):
        Crew(2, lambda: stopped.append(1)).run(jobs, nothing)
    assert stopped == [1]
    assert len(done) < 50


def test_cancel_ends_it_within_the_grace():
    stop = threading.Event()
    done = []

    def tick():
        if done:
            raise Cancelled

    def job():
        done.append(1)
        stop.wait(30)

    began = time.monotonic()
    with pytest.raises(Cancelled):
        Crew(2, stop.set).run([job] * 10, tick)
    assert time.monotonic() - began < within(GRACE_S + 0.5)
    assert len(done) == 2


def test_while_paused_no_job_begins_and_progress_goes_on():
    gate = Gate()
    done, ticks = [], []

    def job():
        done.append(1)
        if len(done) == 3:
            gate.pause()

    def tick():
        ticks.append(len(done))
        if len(ticks) == 6:
            gate.resume()

    Crew(1, nothing, gate).run([job] * 10, tick)
    assert len(done) == 10
    assert ticks[2:6] == [3] * 4


def test_cancel_is_heard_while_paused():
    gate = Gate()
    gate.pause()
    done, ticks = [], []

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            raise Cancelled

    began = time.monotonic()
    before = threading.active_count()
    with pytest.raises(Cancelled):
        Crew(4, nothing, gate).run([lambda: done.append(1)] * 10, tick)
    assert time.monotonic() - began < within(1.0)
    assert threading.active_count() <= before
    assert not done
