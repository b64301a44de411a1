# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The client against real child processes."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tessera_plugin.compute import protocol
from tessera_plugin.compute.client import WORKER_MAIN, Limits, WorkerClient
from tessera_plugin.errors import ProtocolMismatch, WorkerDied, WorkerFailed, WorkerUnavailable
from tessera_plugin.progress import Cancelled
from tests.clock import within
from tests.compute.helpers import (
    NAUGHTY_MAIN,
    PARENT_MAIN,
    ROOT,
    Stopper,
    group_of,
    is_running,
    wait_until,
    worker_python,
    works,
)


@pytest.fixture
def client():
    client = WorkerClient(worker_python(), main=NAUGHTY_MAIN)
    yield client
    client.stop()


# --- start


def test_nothing_is_started_before_it_is_needed():
    client = WorkerClient("/no/such/python")
    assert client.pid is None
    assert client.versions == {}
    client.stop()


def test_hello_tells_the_versions_and_imports_nothing_heavy(client):
    versions = client.start()
    assert versions["python"].startswith("3.")
    assert versions["torch"].startswith("2.")
    assert client.versions == versions
    maps = Path(f"/proc/{client.pid}/maps").read_text()
    assert "torch" not in maps
    assert "numpy" not in maps


def test_the_worker_is_started_once_and_kept(client):
    client.start()
    pid = client.pid
    assert works(client)
    assert works(client)
    assert client.pid == pid


def test_the_worker_sees_nothing_of_qgis(client, monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError('a foreign module')")
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('a foreign module')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("PROJ_LIB", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    seen = client.call("environment", {})
    assert not {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "PROJ_LIB"} & set(
        seen["environment"]
    )
    assert seen["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert str(tmp_path) not in [seen["folder"], *seen["path"]]


def test_a_python_that_is_not_there_is_told():
    client = WorkerClient("/no/such/python")
    with pytest.raises(WorkerUnavailable, match="/no/such/python"):
        client.call("echo", {})
    client.stop()


def test_a_python_that_ends_at_once_is_told_with_its_words(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No pyvenv.cfg file' >&2\nexit 106\n")
    broken.chmod(0o755)
    client = WorkerClient(str(broken))
    with pytest.raises(WorkerUnavailable, match=r"exit status 106; .*No pyvenv\.cfg file"):
        client.start()
    client.stop()


def test_a_python_that_never_says_hello_is_given_up_and_can_be_cancelled(tmp_path):
    stuck = tmp_path / "python"
    stuck.write_text("#!/bin/sh\nexec sleep 60\n")
    stuck.chmod(0o755)
    client = WorkerClient(str(stuck), limits=Limits(silence_s=0.5))
    with pytest.raises(WorkerUnavailable, match=r"no sign of life for 0\.5 s"):
        client.start()
    patient = WorkerClient(str(stuck))
    stopper = Stopper()
    stopper.press_in(0.2)
    with pytest.raises(Cancelled):
        patient.start(stopper)
    assert time.monotonic() - stopper.pressed < within(0.5)
    client.stop()
    patient.stop()


def test_noise_before_hello_does_no_harm(tmp_path):
    script = tmp_path / "noisy.py"
    script.write_text(
        "import os, runpy\n"
        'os.write(1, b\'Welcome!\\n{"type":"hel\')\n'  # the last line has no end
        f"runpy.run_path({str(NAUGHTY_MAIN)!r}, run_name='__main__')\n"
    )
    client = WorkerClient(worker_python(), main=script)
    assert works(client)
    client.stop()


def test_a_worker_of_another_version_is_refused_and_one_that_fits_is_taken_next(tmp_path):
    """As after an upgrade of the plugin under a QGIS that still runs the old one."""
    package = tmp_path / "tessera"
    shutil.copytree(ROOT / "tessera_plugin" / "compute", package / "compute")
    shutil.copy(ROOT / "tessera_plugin" / "__init__.py", package)
    file = package / "compute" / "protocol.py"
    ours = file.read_text()
    file.write_text(ours.replace(f"PROTOCOL = {protocol.PROTOCOL}\n", "PROTOCOL = 99\n"))
    client = WorkerClient(worker_python(), main=package / "compute" / "worker" / "__main__.py")
    with pytest.raises(ProtocolMismatch) as caught:
        client.call("predict", {})
    assert (caught.value.expected, caught.value.found) == (protocol.PROTOCOL, 99)
    assert client.pid is None
    file.write_text(ours)
    assert client.start()["torch"]
    client.stop()


def test_folders_with_spaces_and_other_scripts(tmp_path, monkeypatch):
    home = tmp_path / "Łukasz 空 Ü'ser"
    (home / "temp").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(home / "temp"))
    shutil.copytree(ROOT / "tessera_plugin", home / "tessera-main")
    environment = home / "private environment"
    environment.symlink_to(Path(worker_python()).parents[1], target_is_directory=True)
    main = home / "tessera-main" / "compute" / "worker" / "__main__.py"
    client = WorkerClient(str(environment / "bin" / "python"), str(home / "lög"), main=main)
    assert client.start()["torch"]
    with pytest.raises(WorkerFailed, match="空"):  # its answer comes from code in that folder
        client.call("predict", {"空": 1})
    assert client.scratch().parents[1] == home / "temp"
    assert len(list((home / "lög").iterdir())) == 1
    client.stop()
    assert list((home / "temp").iterdir()) == []


# --- calls


def test_progress_and_events_arrive_while_the_job_runs(client):
    client.start()
    told, seen = Stopper(), []
    started = time.monotonic()
    params = {"steps": 10, "pause": 0.1}
    client.call("steps", params, told, lambda facts: seen.append((facts["step"], time.monotonic())))
    assert [step for step, _ in seen] == list(range(10))
    assert seen[0][1] - started < within(0.2)
    assert seen[9][1] - seen[0][1] > 0.4
    assert told.last == (0.9, "step 9")


def test_report_is_called_all_the_time(client):
    told = Stopper()
    client.call("deaf", {"seconds": 1.0}, told)
    assert told.longest_gap_s < within(0.25)
    assert len(told.calls) >= 9


def test_an_error_of_the_job_is_told_and_the_worker_lives_on(client):
    client.start()
    pid = client.pid
    with pytest.raises(WorkerFailed) as caught:
        client.call("fail", {"message": "schön\n" * 10_000})
    assert caught.value.kind == "ValueError"
    assert caught.value.message.startswith("schön")
    assert "in fail" in caught.value.details
    for method, kind in [
        ("leave_by_exit", "SystemExit"),
        ("unsendable", "TypeError"),
        ("huge", "ValueError"),
        ("no_such_method", "ValueError"),
    ]:
        with pytest.raises(WorkerFailed) as caught:
            client.call(method, {})
        assert caught.value.kind == kind
    assert works(client)
    assert client.pid == pid


def test_arrays_are_refused_before_anything_is_sent(client):
    with pytest.raises(TypeError):
        client.call("echo", {"array": object()})
    assert works(client)


def test_libraries_that_print_do_not_disturb(client):
    assert client.call("noise", {}) == {"read": ""}
    assert works(client)


def test_calls_of_several_threads_queue_up(client):
    def call(number):
        spans = []
        client.call("steps", {"steps": 3}, on_event=lambda _: spans.append(time.monotonic()))
        return min(spans), max(spans), client.pid

    with ThreadPoolExecutor(8) as pool:
        done = sorted(pool.map(call, range(8)))
    assert len({pid for _, _, pid in done}) == 1
    assert all(stop < start for (_, stop, _), (start, _, _) in zip(done, done[1:]))


def test_two_clients_at_once_with_one_log_folder(tmp_path):
    clients = [WorkerClient(worker_python(), str(tmp_path), main=NAUGHTY_MAIN) for _ in range(2)]
    for client in clients:
        client.start()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda c: c.call("deaf", {"seconds": 0.4}, Stopper()), clients))
    assert done == [{}, {}]
    assert clients[0].pid != clients[1].pid
    assert clients[0].scratch() != clients[1].scratch()
    assert len(list(tmp_path.iterdir())) == 2
    clients[0].stop()
    assert works(clients[1])
    clients[1].stop()


# --- cancel


def test_cancel_ends_the_job_and_keeps_the_worker(client):
    client.start()
    pid, stopper = client.pid, Stopper()
    stopper.press_in(0.3)
    with pytest.raises(Cancelled):
        client.call("steps", {"steps": 10_000}, stopper)
    assert time.monotonic() - stopper.pressed < within(0.5)
    assert works(client)
    assert client.pid == pid


def test_a_job_that_does_not_listen_is_killed_within_a_second(client):
    client.start()
    pid, stopper = client.pid, Stopper()
    stopper.press_in(1.0)
    with pytest.raises(Cancelled):
        client.call("deaf", {"seconds": 60}, stopper)
    assert 0.7 < time.monotonic() - stopper.pressed < within(1.5)
    assert not is_running(pid)
    assert works(client)


def test_a_cancel_that_crosses_the_result_leaves_nothing_behind(client):
    client.start()
    pid = client.pid
    for pause in (0.0, 0.0005, 0.001, 0.002):
        for _ in range(10):
            with pytest.raises(Cancelled):
                client.call("steps", {"steps": 2, "pause": pause}, _raise_after(1))
            assert works(client)
    assert client.pid == pid


def _raise_after(calls):
    left = iter(range(calls))

    def report(fraction, message=""):
        if next(left, None) is None:
            raise Cancelled

    return report


def test_any_error_of_the_listener_ends_the_job_too(client):
    def on_event(facts):
        raise KeyError("a bug in the listener")

    started = time.monotonic()
    with pytest.raises(KeyError, match="a bug in the listener"):
        client.call("steps", {"steps": 10_000}, on_event=on_event)
    assert works(client)
    assert time.monotonic() - started < within(2)


def test_a_call_that_waits_for_its_turn_can_be_cancelled(client):
    client.start()
    first = threading.Thread(target=client.call, args=("steps", {"steps": 100}))
    first.start()
    time.sleep(0.1)
    stopper = Stopper()
    stopper.press_in(0.2)
    with pytest.raises(Cancelled):
        client.call("echo", {}, stopper)
    assert time.monotonic() - stopper.pressed < within(0.3)
    assert first.is_alive()
    first.join()


# --- the worker's death


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_killed_in_the_middle_is_told_and_replaced(client, sent):
    client.start()
    pid = client.pid
    threading.Timer(0.3, os.kill, (pid, sent)).start()
    started = time.monotonic()
    with pytest.raises(WorkerDied, match=f"killed by {sent.name}"):
        client.call("steps", {"steps": 10_000})
    assert time.monotonic() - started < within(1)
    assert works(client)
    assert client.pid != pid


def test_a_worker_that_died_between_two_calls_is_replaced_without_a_word(client):
    client.start()
    os.kill(client.pid, signal.SIGKILL)
    os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOWAIT)
    assert works(client)


def test_a_native_crash_is_told_by_its_name(client):
    with pytest.raises(WorkerDied) as caught:
        client.call("crash", {})
    words = caught.value.last_words
    assert words.startswith("killed by SIGSEGV; its last words: about to crash")
    assert words.endswith("Fatal Python error: Segmentation fault")
    assert works(client)


def test_last_words_come_from_the_log_and_the_log_is_kept_where_it_was_wanted(tmp_path):
    client = WorkerClient(worker_python(), str(tmp_path / "log"), main=NAUGHTY_MAIN)
    for _ in range(8):
        with pytest.raises(WorkerDied) as caught:
            client.call("die", {})
    words = "exit status 3; its last words: Not enough of something: näh"
    assert caught.value.last_words == words
    assert str(caught.value) == f"The worker ended by itself: {words}"
    client.stop()
    logs = list((tmp_path / "log").iterdir())
    assert len(logs) == 5
    assert all("näh" in log.read_text("utf-8") for log in logs)


def test_a_silent_worker_is_killed():
    client = WorkerClient(worker_python(), main=NAUGHTY_MAIN, limits=Limits(silence_s=2.5))
    client.start()
    pid = client.pid
    client.call("deaf", {"seconds": 3})  # its heart beats
    started = time.monotonic()
    with pytest.raises(WorkerDied, match=r"no sign of life for 2\.5 s"):
        client.call("freeze", {})
    assert 2.4 < time.monotonic() - started < within(6)
    assert not is_running(pid)
    assert works(client)
    client.stop()


# --- the end


def test_stop_from_another_thread_cancels_what_runs_and_what_waits(client):
    client.start()
    pid, folder = client.pid, client.scratch()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(client.call, "deaf", {"seconds": 60}) for _ in range(3)]
        time.sleep(0.3)
        started = time.monotonic()
        client.stop()
        assert time.monotonic() - started < within(0.5)
        for call in calls:
            with pytest.raises(Cancelled):
                call.result(timeout=10)
    assert not is_running(pid)
    assert not folder.exists()
    assert client.pid is None
    client.stop()  # a second time does nothing


def test_stop_while_it_starts(client):
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.start)
        time.sleep(0.02)
        client.stop()
        with pytest.raises(Cancelled):
            call.result(timeout=10)


def test_it_can_be_used_again_after_stop(client):
    assert works(client)
    client.stop()
    assert works(client)
    assert client.scratch().is_dir()


def test_the_scratch_folder_is_private(client):
    folder = client.scratch()
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert client.scratch() == folder


def test_a_client_that_is_dropped_takes_its_worker_along():
    client = WorkerClient(worker_python(), main=NAUGHTY_MAIN)
    client.start()
    pid, folder = client.pid, client.scratch()
    del client
    gc.collect()
    assert not is_running(pid)
    assert not folder.exists()


@pytest.mark.parametrize("how", ["idle", "busy", "deaf", "child", "hold", "forked", "leave"])
def test_nothing_survives_its_parent(how):
    """Also not where native code holds the interpreter, nor what the worker had started itself."""
    command = [sys.executable, str(PARENT_MAIN), worker_python(), str(NAUGHTY_MAIN), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        told = json.loads(parent.stdout.readline())
        if how != "leave":
            assert all(is_running(pid) for pid in told["pids"])
            group = group_of(told["pids"][0])
            assert len(group) == len(told["pids"]) + 1, "and the guard"
            parent.kill()
        else:
            group = told["pids"]
        parent.wait(5)
        ended = time.monotonic()
        assert wait_until(lambda: not any(is_running(pid) for pid in group), 5)
        assert time.monotonic() - ended < within(5 if how == "forked" else 2)
        assert wait_until(lambda: not Path(told["scratch"]).parent.exists(), 1)
    if how == "leave":
        assert parent.returncode == 0


def test_a_folder_that_is_not_the_clients_is_never_removed(tmp_path):
    kept = tmp_path / "my documents"
    kept.mkdir()
    command = [worker_python(), "-I", str(WORKER_MAIN), str(kept)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=True)
    assert kept.exists()


def test_ctrl_c_is_for_the_client_to_decide(client):
    client.start()
    os.kill(client.pid, signal.SIGINT)
    assert works(client)
