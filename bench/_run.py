# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs in processes of their own, by us and by the official client, and the plain copy of their bytes."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
OFFICIAL = ROOT / "build" / "geotessera" / "bin" / "python"


def ours(job, url, **facts):
    """Do a job of _child.py: `area`, `points`."""
    facts = {"job": job, "url": url, **facts}
    done = subprocess.run([sys.executable, "-m", "bench._child"], cwd=ROOT, input=json.dumps(facts),
                          stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    return json.loads(done.stdout)


def theirs(job, url, **facts):
    """Let the official client do the same; None where it is not there."""
    if not OFFICIAL.exists():
        return None
    command = [str(OFFICIAL), str(ROOT / "bench" / "_official.py")]
    with tempfile.TemporaryDirectory() as folder:  # it must not find our packages
        done = subprocess.run(command, cwd=folder, input=json.dumps({"job": job, "url": url, **facts}),
                              stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    return json.loads(done.stdout)


def plain_copy(url, requests_made, connections):
    """Ask for the same ranges again, side by side, and keep nothing; return the seconds."""
    waiting = queue.SimpleQueue()
    for one in requests_made:
        waiting.put(one)

    def work():
        with requests.Session() as session, contextlib.suppress(queue.Empty):
            while True:
                one = waiting.get_nowait()
                headers = {"Range": one.range} if one.range else {}
                session.request(one.method, f"{url}/{one.path}", headers=headers, timeout=600)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
