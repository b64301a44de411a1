# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers that crash, shout, lose their pipes or their disk, are old or idle: real ones."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute import folders, log, protocol
from tessera_plugin.errors import (
    DiskFull,
    ProtocolMismatch,
    WorkerDied,
    WorkerFailed,
)
from tessera_plugin.progress import Cancelled
from tests.clock import within
from tests.compute.helpers import (
    MB,
    ROOT,
    Stopper,
    blobs,
    group_of,
    is_running,
    log_of,
    opened,
    wait_until,
    worker_python,
    works,
    write_samples,
)

# --- crashes


def test_an_abort_is_told_and_the_worker_replaced():
    with opened() as client:
        with pytest.raises(WorkerDied, match=r"killed by SIGABRT; .*Fatal Python error: Aborted"):
            client.call("abort", {})
        assert works(client)


def test_the_systems_killer_is_named_by_what_it_is_for():
    with opened() as client:
        client.start()
        threading.Timer(0.3, os.kill, (client.pid, signal.SIGKILL)).start()
        with pytest.raises(WorkerDied, match="as happens when memory runs out"):
            client.call("deaf", {"seconds": 60})


def test_pipes_that_a_library_closes_are_the_workers_end():
    with opened() as client:
        client.start()
        pid, began = client.pid, time.monotonic()
        with pytest.raises(WorkerDied):
            client.call("close_pipes", {"first": 3, "last": 64})
        assert time.monotonic() - began < within(3)
        assert wait_until(lambda: not is_running(pid), 1)
        assert works(client)


@pytest.mark.parametrize("pipe", [3, 4])
def test_one_pipe_that_a_library_closes_leaves_no_call_waiting(pipe):
    with opened() as client:
        client.start()
        pid, began = client.pid, time.monotonic()
        with contextlib.suppress(WorkerDied):
            client.call("close_pipes", {"first": pipe, "last": pipe})
        for _ in range(3):
            with contextlib.suppress(WorkerDied):
                works(client)
        assert time.monotonic() - began < within(5)
        assert works(client)
        assert client.pid != pid


@pytest.mark.parametrize("how", ["crash", "deaf"])
def test_what_the_worker_has_started_ends_with_it(how):
    with opened() as client:
        client.start()
        leader, pids, stopper = client.pid, [], Stopper()

        def hear(facts):
            pids.append(facts["pid"])
            if how == "deaf":
                stopper.press()

        with pytest.raises((WorkerDied, Cancelled)):
            client.call("child", {"how": how}, stopper, hear)
        assert wait_until(lambda: not is_running(pids[0]), 3)
        assert wait_until(lambda: not group_of(leader), 3)


# --- what it writes


def test_megabytes_of_warnings_hold_nothing_up_and_the_last_words_are_kept(tmp_path):
    with opened(str(tmp_path)) as client:
        with pytest.raises(WorkerDied) as caught:
            client.call("shout", {"bytes": 50 * MB})
        assert caught.value.last_words == "exit status 4; its last words: the end is near"
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size <= log.MOST_BYTES + 100_000
    said = path.read_text("utf-8")
    assert said.startswith("[...]\n")
    assert said.endswith("the end is near\n")


def test_noise_on_stdout_lands_in_the_log(tmp_path):
    with opened(str(tmp_path)) as client:
        assert client.call("noise", {}) == {"read": ""}
        assert works(client)
    said = log_of(tmp_path)
    for words in ("a library prints", "native code", "C code", "a child process"):
        assert words in said


# --- the disk


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A disk of 2 MB for all temporary files."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount")
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_by_its_name_and_leaves_nothing(small_disk, tmp_path):
    with opened() as client:
        params = write_samples(tmp_path, blobs(48))
        client.call("train_mlp", {**params, "epochs": 1})
        pid, scratch = client.pid, client.scratch()
        assert scratch.is_relative_to(small_disk)
        data, out = blobs(200_000), str(scratch / "out.npy")
        np.save(tmp_path / "codes.npy", data.codes)
        np.save(tmp_path / "scales.npy", data.scales)
        asked = {name: params[name] for name in ("mean", "std", "codes", "scales")}
        with pytest.raises(DiskFull) as caught:
            client.call("predict", {**asked, "weights": params["out"], "out": out})
        assert (caught.value.path, caught.value.needed_bytes) == (out, 200_000 * 6 * 4)
        assert not list(scratch.iterdir())

        (scratch / "filler").write_bytes(bytes(1_900_000))
        params = {**write_samples(tmp_path, blobs(48)), "out": str(scratch / "weights.npz")}
        with pytest.raises(DiskFull):
            client.call("train_mlp", {**params, "hidden": [512, 512], "epochs": 1})
        assert [path.name for path in scratch.iterdir()] == ["filler"]
        assert client.pid == pid, "the worker lives on"
        (scratch / "filler").unlink()
        assert client.call("train_mlp", {**params, "epochs": 1})


def test_a_full_disk_does_not_hold_up_a_worker_that_shouts(small_disk):
    (small_disk / "filler").write_bytes(bytes(1_900_000))
    with opened(str(small_disk / "log")) as client, pytest.raises(WorkerDied, match="status 4"):
        client.call("shout", {"bytes": 8 * MB})


# --- upgrades


def worker_of_another_protocol(folder: Path, times: int) -> Path:
    """Return a script that for so many starts is a worker of an older protocol."""
    script, count = folder / "worker.py", folder / "starts"
    script.write_text(
        "import sys\n"
        f"sys.path.append({str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from tessera_plugin.compute import protocol\n"
        f"count = Path({str(count)!r})\n"
        "started = len(count.read_bytes()) if count.exists() else 0\n"
        "count.write_bytes(bytes(started + 1))\n"
        f"if started < {times}:\n"
        "    hello = protocol.hello\n"
        "    protocol.hello = lambda *a: hello(*a, protocol=protocol.PROTOCOL - 1)\n"
        "from tessera_plugin.compute.worker import serve\n"
        "serve.main({'echo': lambda params, job: {'params': dict(params)}})\n"
    )
    return script


def test_an_older_worker_is_restarted_once_by_itself(tmp_path):
    with opened(main=worker_of_another_protocol(tmp_path, times=1)) as client:
        assert works(client)
        assert len((tmp_path / "starts").read_bytes()) == 2


def test_one_that_stays_older_is_a_mismatch_and_does_not_stay(tmp_path):
    with opened(main=worker_of_another_protocol(tmp_path, times=2)) as client:
        with pytest.raises(ProtocolMismatch) as caught:
            client.start()
        assert caught.value.found == protocol.PROTOCOL - 1
        assert client.pid is None
        assert works(client), "the third start is right"


# --- idleness


def test_an_idle_worker_leaves_and_the_next_call_starts_another():
    with opened(idle_s=1.0) as client:
        assert works(client)
        pid, scratch = client.pid, client.scratch()
        (scratch / "kept.npy").write_bytes(b"1")
        assert client.call("deaf", {"seconds": 1.5}) == {}, "a job is not idleness"
        assert client.pid == pid
        pauses = []
        for _ in range(4):
            began = time.monotonic()
            time.sleep(0.4)
            assert works(client), "nor is work now and then"
            pauses.append(time.monotonic() - began)
        if max(pauses) < 0.9:  # else this computer was too crowded for "now and then"
            assert client.pid == pid
        pid = client.pid
        assert wait_until(lambda: not is_running(pid), within(3))
        assert time.monotonic() - began > 0.9
        assert not group_of(pid)
        assert client.pid is None
        assert (scratch / "kept.npy").exists()
        assert works(client)


def test_calls_that_meet_a_leaving_worker_all_succeed():
    with opened(idle_s=0.02) as client, ThreadPoolExecutor(4) as pool:
        pauses = [0.0, 0.01, 0.02, 0.03, 0.04] * 3

        def call(pause):
            time.sleep(pause)
            return works(client)

        assert all(pool.map(call, pauses))


# --- what dead programs leave


def left_folder(parent: Path, owner: str, age_s: float = 3600.0) -> Path:
    folder = parent / f"{protocol.FOLDER_PREFIX}{len(list(parent.iterdir()))}"
    (folder / "scratch").mkdir(parents=True)
    (folder / "scratch" / "codes.npy").write_bytes(b"left over")
    if owner:
        (folder / "owner").write_text(owner)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_folders_of_dead_programs_are_swept_at_the_next_start(tmp_path, monkeypatch):
    with subprocess.Popen(["/bin/true"]) as gone:
        pass
    realm, elsewhere = folders.realm(), "another computer pid:[4026531836]"
    dead = left_folder(tmp_path, f"{gone.pid} {realm}")
    old = left_folder(tmp_path, "", age_s=200_000)
    kept = [
        left_folder(tmp_path, f"{os.getpid()} {realm}"),
        left_folder(tmp_path, f"{os.getppid()} {realm}"),
        left_folder(tmp_path, f"{gone.pid} {elsewhere}"),
        left_folder(tmp_path, f"{gone.pid} {realm}", age_s=5),  # perhaps just being made
        left_folder(tmp_path, ""),
        left_folder(tmp_path, "rubbish"),
    ]
    (tmp_path / "tessera-other").mkdir()
    outside = tmp_path / "documents"
    outside.mkdir()
    link = tmp_path / f"{protocol.FOLDER_PREFIX}link"
    link.symlink_to(outside, target_is_directory=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with opened() as client:
        own = client.scratch().parent
        assert wait_until(lambda: not dead.exists() and not old.exists(), 3)
        assert all(folder.exists() for folder in [*kept, own, link, outside])
    assert (own / "owner").exists() is False


def test_a_killed_qgis_leaves_no_folder_even_if_its_worker_was_killed_too(tmp_path, monkeypatch):
    """Both at once, as when the machine runs out of memory: the next one clears it away."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "from tessera_plugin.compute.client import WorkerClient\n"
        f"client = WorkerClient({worker_python()!r})\n"
        "client.start()\n"
        "print(client.scratch(), flush=True)\n"
        "os.killpg(client.pid, signal.SIGKILL)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [os.sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    folder = Path(done.stdout.strip()).parent
    assert done.returncode == -signal.SIGKILL
    assert folder.is_dir()
    assert folder.parent == tmp_path
    assert not folders.is_left_over(folder, time.time()), "it is young"
    assert folders.is_left_over(folder, time.time() + 61)
    os.utime(folder, (time.time() - 61,) * 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with opened() as client:
        client.scratch()
        assert wait_until(lambda: not folder.exists(), 3)


# --- two at once


def test_the_death_of_one_qgis_is_nothing_to_the_worker_of_another():
    with opened() as first, opened() as second:
        first.start()
        second.start()
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(client.call, "steps", {"steps": 60}) for client in (first, second)]
            time.sleep(0.2)
            os.killpg(first.pid, signal.SIGKILL)
            with pytest.raises(WorkerDied):
                calls[0].result(timeout=5)
            assert calls[1].result(timeout=10) == {"steps": 60}


def test_a_failed_job_says_what_failed_and_not_that_the_worker_did():
    with opened() as client, pytest.raises(WorkerFailed):
        client.call("fail", {"message": "no"})
