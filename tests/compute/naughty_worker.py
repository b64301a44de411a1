# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The real worker with methods that misbehave; runs in the private environment, not under pytest."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
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


def abort(params, job):
    os.abort()


def hold(params, job):
    """Native code that lets no other thread of Python run; with libraries that load, or without."""
    job.loading(is_done=not params.get("loading", False))
    ctypes.PyDLL(None).sleep(params["seconds"])
    job.loading(is_done=True)
    return {}


def deadlock(params, job):
    """Lock a native mutex twice; where steps were promised before, and where not."""
    for _ in range(params["steps"]):
        job.check()
    mutex = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)


def long_step(params, job):
    """Promise steps, then compute one for long, natively."""
    job.check()
    end = time.monotonic() + params["seconds"]
    while time.monotonic() < end:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)
    return {}


def eat(params, job):
    """Take more and more memory, and tell how much."""
    eaten = []
    while sum(map(len, eaten)) < params["bytes"]:
        eaten.append(b"x" * (8 << 20))
        job.event({"bytes": sum(map(len, eaten))})
    time.sleep(params.get("seconds", 0))
    return {"bytes": sum(map(len, eaten))}


def reserve(params, job):
    """Take address space without using it, as CUDA does, and map a file and read it all."""
    space = mmap.mmap(-1, params["space"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    with Path(params["file"]).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    read = sum(mapped[at] for at in range(0, len(mapped), 4096))
    time.sleep(1.0)
    return {"space": len(space), "read": read}


def shout(params, job):
    """Write a lot to stderr, as some libraries do at every step, and die."""
    line = b"Warning: this goes on and on\n" * 1000
    for _ in range(params["bytes"] // len(line)):
        os.write(2, line)
    os.write(2, b"the end is near\n")
    os._exit(4)


def close_pipes(params, job):
    os.closerange(params["first"], params["last"] + 1)
    return {}


def child(params, job):
    """Start a process, and then hear nothing more."""
    started = subprocess.Popen(["/bin/sleep", "60"])
    job.event({"pid": started.pid})
    if params["how"] == "hold":
        ctypes.PyDLL(None).sleep(60)
    if params["how"] == "crash":
        ctypes.string_at(0)
    time.sleep(60)


def small_disk(params, job):
    """From now on no file may grow over so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (params["bytes"], resource.RLIM_INFINITY))
    return {}


METHODS = (
    *(echo, environment, steps, deaf, noise, fail, leave_by_exit),
    *(unsendable, huge, crash, die, freeze, small_disk, abort, hold, deadlock, long_step),
    *(eat, reserve, shout, close_pipes, child),
)

if __name__ == "__main__":
    serve.main({**serve.METHODS, **{method.__name__: method for method in METHODS}})
