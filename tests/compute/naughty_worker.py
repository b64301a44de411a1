# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The real worker with methods that misbehave; runs in the private environment, not under pytest."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tessera_plugin.compute.worker import serve


def echo(params, job):
    return {"params": dict(params), "arguments": sys.argv[1:]}


def environment(params, job):
    return {"environment": dict(os.environ), "folder": str(Path.cwd()), "path": sys.path}


def steps(params, job):
    """Take a while, checked at every step."""
    for step in range(params["steps"]):
        job.report(step / params["steps"], f"step {step}")
        job.event({"step": step, "pid": os.getpid()})
        time.sleep(params.get("pause", 0.01))
    return {"steps": params["steps"]}


def deaf(params, job):
    """Take a while and never look whether it was cancelled."""
    time.sleep(params["seconds"])
    return {}


def noise(params, job):
    """Do what libraries do to stdout and stdin."""
    sys.stdout.write("a library prints\n")
    print('{"type": "result", "id": 1, "value": {"from": "print"}}', flush=True)
    os.write(1, b'native code\n{"type":"result"')
    ctypes.CDLL(None).puts(b"C code")
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["/bin/echo", "a child process"], check=True)
    return {"read": sys.stdin.read()}


def fail(params, job):
    raise ValueError(params["message"])


def leave_by_exit(params, job):
    sys.exit("a library calls sys.exit")


def unsendable(params, job):
    return {"array": object()}


def huge(params, job):
    return {"text": "x" * 2_000_000}


def crash(params, job):
    print("about to crash", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def die(params, job):
    print("Not enough of something: näh", file=sys.stderr, flush=True)
    os._exit(3)


def freeze(params, job):
    """Stop as a whole, heartbeat included."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def small_disk(params, job):
    """From now on no file may grow over so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (params["bytes"], resource.RLIM_INFINITY))
    return {}


METHODS = (
    *(echo, environment, steps, deaf, noise, fail, leave_by_exit),
    *(unsendable, huge, crash, die, freeze, small_disk),
)

if __name__ == "__main__":
    serve.main({**serve.METHODS, **{method.__name__: method for method in METHODS}})
