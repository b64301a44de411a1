# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers that hang or take too much memory, and those that only seem to: real ones."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tessera_plugin.compute.system import memory_of
from tessera_plugin.errors import WorkerDied, WorkerOutOfMemory
from tessera_plugin.progress import Cancelled
from tests.clock import within
from tests.compute.helpers import MB, Stopper, is_running, log_of, opened, works

# --- memory


def test_a_worker_over_its_memory_is_ended_and_replaced():
    with opened(memory_bytes=200 * MB) as client:
        client.start()
        pid, eaten = client.pid, []
        with pytest.raises(WorkerOutOfMemory) as caught:
            client.call(
                "eat",
                {"bytes": 400 * MB, "seconds": 30},
                on_event=lambda facts: eaten.append(facts["bytes"]),
            )
        assert caught.value.limit_bytes == 200 * MB
        assert 200 * MB < caught.value.used_bytes < 440 * MB
        assert not is_running(pid)
        assert works(client)
        assert client.pid != pid


def test_a_worker_below_its_memory_is_left_alone_and_none_is_no_limit():
    for limit in (300 * MB, 0):
        with opened(memory_bytes=limit) as client:
            asked = {"bytes": 150 * MB, "seconds": 0.5}
            assert client.call("eat", asked)["bytes"] >= 150 * MB


def test_address_space_and_mapped_files_are_no_memory(tmp_path):
    """A limit on address space, and one on all resident pages, would end this; CUDA does the like."""
    file = tmp_path / "large.npy"
    file.write_bytes(bytes(200 * MB))
    with opened(memory_bytes=100 * MB) as client:
        told = client.call("reserve", {"space": 1 << 40, "file": str(file)})
    assert told == {"space": 1 << 40, "read": 0}


def test_the_memory_of_a_process_is_what_it_has_taken():
    with opened(memory_bytes=0) as client:
        client.start()
        before, seen = memory_of(client.pid), []
        client.call(
            "eat", {"bytes": 100 * MB}, on_event=lambda _: seen.append(memory_of(client.pid))
        )
        assert 70 * MB < max(seen) - before < 130 * MB  # it is asked now and then only
    assert memory_of(2**22 + 1) == 0


# --- hangs


def test_a_native_deadlock_is_seen_and_told_with_its_place(tmp_path):
    with opened(str(tmp_path), stall_s=2.0) as client:
        client.start()
        pid, began = client.pid, time.monotonic()
        with pytest.raises(WorkerDied) as caught:
            client.call("deadlock", {"steps": 2})
        assert 2 < time.monotonic() - began < within(7)
        words = caught.value.last_words
        assert words.startswith("it stood still for 2 s in deadlock (naughty_worker.py, line ")
        assert not is_running(pid)
        assert "in deadlock" in log_of(tmp_path)
        assert works(client)


def test_what_has_promised_no_steps_is_not_taken_for_dead():
    with opened(stall_s=1.0) as client:
        assert client.call("deaf", {"seconds": 3}) == {}


def test_one_long_step_that_computes_is_not_taken_for_dead():
    with opened(stall_s=1.0) as client:
        assert client.call("long_step", {"seconds": 3}) == {}


def test_native_code_that_lets_nothing_run_is_ended_and_the_log_says_where(tmp_path):
    with opened(str(tmp_path), silence_s=3.0) as client:
        client.start()
        pid, began = client.pid, time.monotonic()
        with pytest.raises(WorkerDied) as caught:
            client.call("hold", {"seconds": 60})
        assert 3 < time.monotonic() - began < within(7)
        words = caught.value.last_words
        assert words.startswith("it gave no sign of life for 3 s in hold (naughty_worker.py, line ")
        assert not is_running(pid)
        assert works(client)


def test_libraries_that_take_long_to_load_are_waited_for():
    with opened(silence_s=1.5, loading_s=30.0) as client:
        client.start()
        pid = client.pid
        assert client.call("hold", {"seconds": 3, "loading": True}) == {}
        with pytest.raises(WorkerDied, match=r"no sign of life for 1\.5 s"):
            client.call("hold", {"seconds": 60})
        assert not is_running(pid)


def test_a_worker_that_reads_no_more_does_not_hold_the_call():
    """A long request fills the pipe of a frozen worker: the report has to go on, and a cancel."""
    with opened() as client:
        client.start()
        os.kill(client.pid, signal.SIGSTOP)
        stopper = Stopper()
        stopper.press_in(0.5)
        with pytest.raises(Cancelled):
            client.call("echo", {"text": "x" * 900_000}, stopper)
        assert time.monotonic() - stopper.pressed < within(1.5)
        assert stopper.longest_gap_s < within(0.4)
        assert works(client)
