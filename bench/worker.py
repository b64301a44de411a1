# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What starting the worker costs: process to hello, and with torch and onnxruntime imported."""

import os
import statistics
import time
from pathlib import Path

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.compute.system import memory_of

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get(
    "TESSERA_WORKER_PYTHON", str(ROOT / "build" / "private" / "environment" / "bin" / "python")
)
ROUNDS = 7
MAIN = """
import importlib, sys
sys.path.append({root!r})
from tessera_plugin.compute.worker import serve
serve.main({{"load": lambda params, job: importlib.import_module(params["name"]) and {{}},
            "echo": lambda params, job: {{}}}})
"""


def seconds(do, *arguments):
    began = time.perf_counter()
    do(*arguments)
    return time.perf_counter() - began


def told(name, values, note=""):
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{name:<34}{1000 * middle:>9.1f} ms  ({1000 * low:.1f} to {1000 * high:.1f}) {note}")


def started(main):
    client = WorkerClient(WORKER, main=main)
    return client, seconds(client.start)


def loading(main, packages):
    """Return the seconds from nothing to imported packages, and the memory then."""
    client, took = started(main)
    for name in packages:
        took += seconds(client.call, "load", {"name": name})
    memory = memory_of(client.pid)
    client.stop()
    return took, memory


def main():
    script = ROOT / "build" / "bench_worker.py"
    script.write_text(MAIN.format(root=str(ROOT)))
    client, _ = started(script)  # from the disk
    there = [name for name in ("torch", "onnxruntime") if name in client.versions]
    memory = memory_of(client.pid)
    calls = [seconds(client.call, "echo", {}) for _ in range(200)]
    told("a call", calls)
    client.stop()

    hello, stop = [], []
    for _ in range(ROUNDS):
        client, took = started(script)
        hello.append(took)
        stop.append(seconds(client.stop))
    told("process to hello", hello, f"{memory / 1e6:.0f} MB")
    told("stop", stop)
    for packages in [[name] for name in there] + ([there] if len(there) > 1 else []):
        rounds = [loading(script, packages) for _ in range(ROUNDS)]
        note = f"{rounds[-1][1] / 1e6:.0f} MB"
        told(f"process to {' and '.join(packages)}", [took for took, _ in rounds], note)
    for name in {"torch", "onnxruntime"} - set(there):
        print(f"{name} is not in this environment")

    taken = []
    for _ in range(ROUNDS):
        client = WorkerClient(WORKER)
        taken.append(seconds(client.devices))
        client.stop()
    told("process to devices, all tried", taken)
    script.unlink()


if __name__ == "__main__":
    main()
