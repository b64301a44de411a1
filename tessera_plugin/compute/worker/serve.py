# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker's loop: take a request, do it, answer; one at a time.

Three threads: the main one does the jobs, one reads (so that a cancel, or the end of the client, is
heard in the middle of a job) and one beats. Nothing heavy is imported before a job needs it. A
second process, the guard, sees to it that nothing of this outlives the client.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import importlib.metadata
import os
import platform
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Mapping, NoReturn, Optional, Sequence

from .. import protocol
from . import guard
from .job import Job, JobCancelled, NoRoom

_STDERR = 2
_PACKAGES = ("numpy", "torch", "onnxruntime", "onnx", "scikit-learn", "numcodecs")


Method = Callable[[Mapping[str, Any], Job], Mapping[str, object]]


def _module(name: str) -> Method:
    """Return the `run` of a module of this package, imported when it is first needed."""

    def run(params: Mapping[str, Any], job: Job) -> Mapping[str, object]:
        job.loading(is_done=False)
        module = importlib.import_module(f".{name}", __package__)
        job.loading(is_done=True)
        job.stop_if_cancelled()  # the import may have taken seconds
        value: Mapping[str, object] = module.run(params, job)
        return value

    return run


METHODS: Mapping[str, Method] = {
    **{name: _module(name) for name in ("devices", "speed", "train_mlp", "predict", "unpack")},
    "sklearn_fit_predict": _module("others"),
    "encode": _module("encode.run"),
    "encode_estimate": _module("encode.estimate"),
    "encoder_speed": _module("encoders.speed"),
    "describe_encoder": _module("encoders.describe"),
    "export_encoder": _module("encoders.export"),
    "describe_model": _module("models.describe"),
    "export_head": _module("models.export_head"),
    "read_head": _module("models.read_head"),
    "head_answers": _module("models.head_answers"),
    "run_model": _module("models.run"),
}


class _Server:
    """The worker's end of the pipes and the jobs it was asked for."""

    def __init__(
        self, requests: BinaryIO, replies: BinaryIO, private_folder: str, dump_s: float
    ) -> None:
        self._requests = requests
        self._replies = replies
        self._writing = threading.Lock()
        self._private_folder = private_folder
        self._dump_s = dump_s
        self._parent = os.getppid()  # before hello: until then the client waits for us
        self._jobs: Dict[int, Job] = {}
        self._waiting: queue.Queue[Job] = queue.Queue()
        self._job: Optional[Job] = None

    def send(self, message: Mapping[str, object]) -> None:
        line = protocol.encode(message)
        try:
            with self._writing:
                self._replies.write(line)
                self._replies.flush()
        except (OSError, ValueError):
            self.leave()

    def leave(self) -> NoReturn:
        """End at once, whatever the other threads are in; the client is gone.

        It would have removed the folder of exchanged arrays itself, had it ended well.
        """
        if self._private_folder:
            shutil.rmtree(self._private_folder, ignore_errors=True)
        os._exit(0)

    def read(self) -> NoReturn:
        try:
            for message in protocol.read_messages(self._requests):
                self._take(message)
        finally:  # also if a library has closed what is not its own: nothing would be heard
            self.leave()

    def _take(self, message: protocol.Message) -> None:
        kind = message["type"]
        if kind == protocol.REQUEST:
            job = Job(message, self.send)
            self._jobs[job.id] = job
            self._waiting.put(job)
        elif kind == protocol.CANCEL:
            wanted = self._jobs.get(message["id"])
            if wanted is not None:
                wanted.cancel()
        elif kind == protocol.DUMP:
            faulthandler.dump_traceback(_STDERR)
            self.send(protocol.dump())

    def beat(self) -> NoReturn:
        """Show that the process is alive and its job gets on, and look whether the client is there.

        If no beat can come, since native code holds the interpreter, the log says where. A client that is killed closes our stdin, unless a process it had forked holds a copy of
        that pipe; then the new parent tells. (Windows names the old one for ever: no harm.)
        """
        while True:
            job = self._job
            told = (job.id, job.steps) if job else (0, 0)
            self.send(protocol.heartbeat(*told, time.process_time()))
            if self._dump_s:
                faulthandler.dump_traceback_later(self._dump_s, file=_STDERR)
            time.sleep(protocol.HEARTBEAT_S)
            if os.getppid() != self._parent:
                self.leave()

    def work(self, methods: Mapping[str, Method]) -> NoReturn:
        while True:
            self._job = None
            job = self._job = self._waiting.get()
            answer = _answer(job, methods)
            # Forgotten before the answer is sent: a cancel that crosses it finds nothing to do.
            del self._jobs[job.id]
            self.send(answer)


def _answer(job: Job, methods: Mapping[str, Method]) -> protocol.Message:
    """Do a job and return its result or error; whatever goes wrong, the worker lives on."""
    try:
        job.stop_if_cancelled()
        if job.method not in methods:
            raise ValueError(f"there is no method {job.method!r}")
        value = protocol.result(job.id, methods[job.method](job.params, job))
        protocol.encode(value)  # what can't be sent is the job's error, not the worker's
    except JobCancelled:
        return protocol.error(job.id, protocol.CANCELLED, "")
    except NoRoom as error:
        return protocol.error(job.id, protocol.DISK_FULL, error.path, str(error.needed_bytes))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - all of them are told to the client
        return protocol.error(job.id, type(error).__name__, str(error), traceback.format_exc())
    return value


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for the protocol, out of reach of libraries that print or read by themselves.

    Descriptor 0 then is null and 1 is the log (stderr), also for native code and child processes.
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _version(package: str) -> Optional[str]:
    """Return the installed version without importing it; None where it is not there."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _versions() -> Dict[str, str]:
    found = {package: _version(package) for package in _PACKAGES}
    return {
        "python": platform.python_version(),
        **{package: version for package, version in found.items() if version},
    }


def _private_folder(arguments: Sequence[str]) -> str:
    """Return the folder that may be removed; a folder of any other name is not ours."""
    path = arguments[0] if arguments else ""
    is_ours = Path(path).name.startswith(protocol.FOLDER_PREFIX)
    return path if is_ours else ""


def main(methods: Mapping[str, Method] = METHODS) -> NoReturn:
    """Serve until the client closes the pipe; never returns.

    The first argument, if there is one, is the folder that is removed when the client was killed;
    the second how many seconds the client bears silence.
    """
    arguments = sys.argv[1:]
    folder = _private_folder(arguments)
    guard.start(folder)
    # Ctrl-C in a terminal reaches both processes; the client decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _take_pipes()
    dump_s = float(arguments[1]) / 2 if len(arguments) > 1 else 0.0
    server = _Server(requests, replies, folder, dump_s)
    # The line break ends whatever was printed to stdout before it was ours.
    replies.write(b"\n")
    server.send(protocol.hello(os.getpid(), _versions()))
    for thread in (server.read, server.beat):
        threading.Thread(target=thread, daemon=True).start()
    server.work(methods)
