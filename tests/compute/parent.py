# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that has a worker and is killed, or ends without a word. Arguments: python, main, how.

Prints the pids of the worker and of what it has started, and the scratch folder, as soon as the
worker is where the test wants it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tessera_plugin.compute.client import WorkerClient


def tell(client: WorkerClient, *children: int) -> None:
    (client.scratch() / "codes.npy").write_bytes(b"left over")
    print(
        json.dumps({"pids": [client.pid, *children], "scratch": str(client.scratch())}), flush=True
    )


def main(python: str, script: str, how: str) -> None:
    client = WorkerClient(python, main=Path(script))
    client.start()
    if how == "leave":
        tell(client)
        return
    if how == "forked" and os.fork() == 0:  # a child that keeps copies of the pipes
        time.sleep(8)
        os._exit(0)
    if how in {"busy", "deaf"}:
        method, params = (
            ("steps", {"steps": 10_000}) if how == "busy" else ("deaf", {"seconds": 60})
        )
        job = threading.Thread(target=client.call, args=(method, params), daemon=True)
        job.start()
        time.sleep(0.3)
    if how in {"child", "hold"}:
        started: queue.SimpleQueue = queue.SimpleQueue()

        def ask() -> None:
            hear = lambda facts: started.put(facts["pid"])  # noqa: E731
            client.call("child", {"how": how}, on_event=hear)

        threading.Thread(target=ask, daemon=True).start()
        tell(client, started.get())
    else:
        tell(client)
    time.sleep(60)


main(*sys.argv[1:])
