# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How a worker is judged, and what is read of systems and logs, without a worker."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from tessera_plugin.compute import log, protocol, windows
from tessera_plugin.compute.system import (
    SMALLEST_CEILING,
    MacUsage,
    is_alive,
    machine_memory,
    memory_ceiling,
    realm,
    status_memory,
)
from tessera_plugin.compute.watch import Limits, Watch

GB = 1 << 30


class Told:
    """A watch and the worker it hears, second by second."""

    def __init__(self, **limits):
        self.watch = Watch(Limits(**limits))
        self.heard = 0
        self.beat = None
        self.cpu_s = 0.0
        self.watch.begin()

    def second(self, *, steps=None, cpu=0.0, pause=1.0):
        """Let time pass, with a beat where steps are told."""
        self.cpu_s += cpu
        if steps is not None:
            self.heard += 1
            self.beat = protocol.heartbeat(7, steps, self.cpu_s)
        self.watch.listen(pause, self.heard, self.beat)

    def seconds(self, count, **what):
        for _ in range(count):
            self.second(**what)


# --- silence


def test_silence_is_counted_and_a_beat_ends_it():
    told = Told(silence_s=10)
    told.seconds(10)
    assert not told.watch.is_silent
    told.second()
    assert told.watch.is_silent
    told.second(steps=0)
    assert not told.watch.is_silent


def test_a_computer_that_slept_has_not_listened():
    told = Told(silence_s=10, stall_s=10)
    told.second(steps=3)
    told.second(pause=8 * 3600)
    assert not told.watch.is_silent
    assert not told.watch.is_still


def test_libraries_may_be_loaded_in_silence():
    told = Told(silence_s=10, loading_s=100)
    told.watch.hear(protocol.loading(7, is_done=False))
    told.seconds(100)
    assert not told.watch.is_silent
    told.second()
    assert told.watch.is_silent
    told.watch.begin()
    told.seconds(11)
    assert told.watch.is_silent, "the next job has its own"


# --- standing still


def test_a_job_that_promised_steps_and_does_nothing_stands_still():
    told = Told(stall_s=100)
    told.seconds(101, steps=5, cpu=0.0003)
    assert not told.watch.is_still
    told.second(steps=5)
    assert told.watch.is_still


@pytest.mark.parametrize("cpu", [1.0, 0.1, 0.03])
def test_a_job_that_computes_does_not_however_slow(cpu):
    told = Told(stall_s=100)
    told.seconds(5000, steps=5, cpu=cpu)
    assert not told.watch.is_still


def test_steps_end_it_also_where_they_cost_nothing():
    told = Told(stall_s=100)
    for step in range(20):
        told.seconds(60, steps=1 + step)
        assert not told.watch.is_still


def test_what_promised_nothing_and_what_loads_is_waited_for():
    told = Told(stall_s=100)
    told.seconds(5000, steps=0)
    assert not told.watch.is_still
    told.watch.hear(protocol.loading(7, is_done=False))
    told.seconds(500, steps=5)
    assert not told.watch.is_still
    told.watch.hear(protocol.loading(7, is_done=True))
    told.seconds(102, steps=5)
    assert told.watch.is_still


def test_a_late_beat_is_no_standstill_whatever_the_limit():
    told = Told(stall_s=1.0)
    told.second(steps=1, cpu=0.3)
    for _ in range(50):
        told.seconds(4)  # no beat comes: the worker had no processor, or nobody listened
        assert not told.watch.is_still
        told.second(steps=1, cpu=0.3)
        assert not told.watch.is_still
    told.second(steps=1, pause=0.9)
    assert not told.watch.is_still
    told.second(steps=1, pause=0.9)
    assert told.watch.is_still


def test_a_new_job_begins_with_a_clean_slate():
    told = Told(stall_s=100)
    told.seconds(90, steps=5)
    told.watch.begin()
    told.seconds(90, steps=5)
    assert not told.watch.is_still


# --- memory


def test_the_ceiling_leaves_room_for_qgis_and_for_the_libraries_of_a_gpu():
    assert memory_ceiling(64 * GB) == int(0.6 * 64 * GB)
    assert memory_ceiling(4 * GB) == SMALLEST_CEILING
    assert memory_ceiling(0) == 0
    assert 0 < Limits().memory_bytes < max(machine_memory(), SMALLEST_CEILING + 1)


def test_the_machine_has_as_much_as_proc_says():
    (line,) = [
        line
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    ]
    assert machine_memory() == int(line.split()[1]) * 1024


def test_status_of_linux_counts_what_can_not_be_dropped():
    status = "Name:\tpython: x\nVmRSS:\t  9000 kB\nRssAnon:\t 1000 kB\nRssFile:\t 7000 kB\nRssShmem:\t 1000 kB\n"
    assert status_memory(status) == 2000 * 1024
    assert status_memory("Name:\tkthreadd\n") == 0


def test_processes():
    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(2**22 + 1)
    assert realm() == realm() != ""


# --- structures of other systems, on 64 bits, as their headers have them


@pytest.mark.skipif(sys.maxsize < 2**32, reason="the numbers are those of 64 bits")
@pytest.mark.parametrize(
    ("structure", "size", "offsets"),
    [
        (windows.MemoryCounters, 72, {"working_set": 16, "pagefile": 56}),
        (windows.MemoryStatus, 64, {"total_physical": 8}),
        (windows.JobLimits, 144, {"flags": 16, "io_counters": 64, "process_memory": 112}),
        (MacUsage, 96, {"user_time": 16, "resident": 64, "footprint": 72}),
    ],
)
def test_structures_are_laid_out_as_the_system_expects(structure, size, offsets):
    assert ctypes.sizeof(structure) == size
    assert {name: getattr(structure, name).offset for name in offsets} == offsets


def test_a_job_of_windows_ends_all_with_its_last_handle():
    assert windows.kill_on_close().flags == 0x2000


# --- logs

DUMP = """Warning: something
Timeout (0:00:30)!
Thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.12/threading.py", line 1012 in run
  File "/usr/lib/python3.12/threading.py", line 1030 in _bootstrap

Thread 0x00007f2 (most recent call first):
  File "C:\\Users\\Zoë\\plugins\\tessera\\compute\\worker\\train_mlp.py", line 130 in _fit
  File "C:\\Users\\Zoë\\plugins\\tessera\\compute\\worker\\serve.py", line 40 in run
"""


def test_the_place_of_a_hang_is_that_of_the_main_thread(tmp_path):
    file = tmp_path / "worker.log"
    file.write_text(DUMP, "utf-8")
    assert log.place(file) == "in _fit (train_mlp.py, line 130)"
    assert log.last_words(file) == "Warning: something"
    file.write_text("nothing of the kind")
    assert log.place(file) == ""
    file.write_text("Thread 0x1 (most recent call first):")
    assert log.place(file) == ""
    assert log.place(tmp_path / "absent") == ""


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "it does not answer"),
        (3, "exit status 3"),
        (0xC0000005, "exit status 0xc0000005"),
        (-11, "killed by SIGSEGV"),
        (-9, "killed by SIGKILL, as happens when memory runs out"),
        (-99, "killed by signal 99"),
    ],
)
def test_an_exit_status_is_said_in_words(status, said):
    assert log.ending(status) == said
