# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The side of the worker that lives in QGIS: start it, ask it, cancel, survive its death.

The standard library only. Arrays are exchanged as .npy files in `WorkerClient.scratch()`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import weakref
from pathlib import Path
from typing import Callable, Dict, Iterator, Mapping, Optional, Tuple

from ..errors import (
    DiskFull,
    ProtocolMismatch,
    TesseraError,
    WorkerDied,
    WorkerFailed,
    WorkerUnavailable,
)
from ..progress import Cancelled, Report, silent
from . import protocol
from .devices import Device, read_devices
from .folders import PrivateFolder
from .process import NONE, TICK_S, WorkerProcess, is_answer
from .watch import Limits

__all__ = ["WORKER_MAIN", "Device", "Limits", "WorkerClient"]

WORKER_MAIN = Path(__file__).with_name("worker") / "__main__.py"

OnEvent = Callable[[Mapping[str, object]], None]


class WorkerClient:
    """A worker process: started on first need, started anew after it died, gone when we are.

    Calls may come from any thread; they are done one after the other. A worker that nobody has
    asked for a while leaves, and the next call starts a new one.
    """

    def __init__(
        self,
        python: str,
        log_dir: Optional[str] = None,
        *,
        main: Path = WORKER_MAIN,
        limits: Optional[Limits] = None,
    ) -> None:
        """Start nothing yet.

        `python` is the interpreter of the private environment. `log_dir` keeps what the last few
        workers wrote to stderr; without it, that is removed by `stop`. `limits` are what a worker
        may do before it is ended. `main` is the script it runs.
        """
        self.python = python
        self._log_dir = log_dir
        self._main = main
        self._limits = limits or Limits()
        self._turn = threading.Lock()  # held by the call that speaks with the worker
        self._guard = threading.Lock()  # held for moments, around the fields below
        self._stops = 0
        self._worker: Optional[WorkerProcess] = None
        self._folder: Optional[PrivateFolder] = None
        self._idle: Optional[threading.Timer] = None
        self._used = 0.0
        self._ids = itertools.count(1)

    @property
    def versions(self) -> Mapping[str, str]:
        """Packages of the running worker and their versions, Python's included; empty before."""
        worker = self._worker
        return worker.versions if worker else NONE

    @property
    def pid(self) -> Optional[int]:
        """The worker's process id, None while there is none."""
        worker = self._worker
        return worker.pid if worker else None

    def scratch(self) -> Path:
        """Return the private folder for .npy files; `stop` removes it and all that is in it."""
        with self._guard:
            return self._private_folder() / "scratch"

    def start(self, report: Report = silent) -> Mapping[str, str]:
        """Start the worker if it does not run, and return its versions.

        Raises: as `call`.
        """
        stops = self._stops
        with self._my_turn(stops, report):
            return self._running(stops, report).versions

    def devices(self, report: Report = silent) -> Tuple[Device, ...]:
        """Return what torch and onnxruntime can compute on, each tried, their best first.

        It takes seconds where they are not loaded yet. Raises: as `call`.
        """
        return read_devices(self.call("devices", {}, report))

    def call(
        self,
        method: str,
        params: Mapping[str, object],
        report: Report = silent,
        on_event: Optional[OnEvent] = None,
    ) -> Dict[str, object]:
        """Let the worker do one job and return its answer.

        `report` is called at least every tenth of a second, also while another call has its turn;
        if it raises (Cancelled), the job is cancelled and the worker stays, unless it does not
        answer within a second. `on_event` gets what the job tells on its way. Both run in this
        thread.

        Raises: WorkerUnavailable if it can't be started, ProtocolMismatch if it is of another
        version, WorkerFailed with the error of the job, DiskFull, WorkerDied, WorkerOutOfMemory,
        and Cancelled also when `stop` was called meanwhile.
        """
        call_id = next(self._ids)
        line = protocol.encode(protocol.request(call_id, method, params))
        stops = self._stops
        with self._my_turn(stops, report):
            worker = self._running(stops, report)
            try:
                worker.ask(line)
                answer = _conversation(worker, call_id, report, on_event)
            except WorkerDied:
                self._drop(worker)
                raise
            except BaseException:
                if not worker.cancel(call_id):
                    self._drop(worker)
                raise
        if answer["type"] == protocol.ERROR:
            raise _failure(answer)
        value: Dict[str, object] = answer["value"]
        return value

    def stop(self) -> None:
        """End the worker and remove the scratch folder; calls that run or wait raise Cancelled.

        Quick, and may be called from any thread. A later call starts a new worker.
        """
        with self._guard:
            self._stops += 1
            worker, self._worker = self._worker, None
            folder, self._folder = self._folder, None
            idle, self._idle = self._idle, None
        if idle:
            idle.cancel()
        if worker:
            worker.end()
        if folder:
            folder.remove()

    def _private_folder(self) -> Path:
        """Return the folder of this client, made when it is first needed; under the guard."""
        if self._folder is None:
            self._folder = PrivateFolder()
        return self._folder.path

    @contextlib.contextmanager
    def _my_turn(self, stops: int, report: Report) -> Iterator[None]:
        """Wait until no other call runs; a worker that `stop` took away is no error."""
        while not self._turn.acquire(timeout=TICK_S):
            self._check(stops)
            report(0.0, "")
        try:
            yield
        except (WorkerDied, WorkerUnavailable):
            self._check(stops)
            raise
        finally:
            self._used = time.monotonic()
            self._leave_when_idle(self._limits.idle_s)
            self._turn.release()

    def _check(self, stops: int) -> None:
        if self._stops != stops:
            raise Cancelled

    def _running(self, stops: int, report: Report) -> WorkerProcess:
        """Return a worker that has said hello; called in turn.

        One of another protocol may be the last of an upgrade under way: it gets a second chance.
        """
        try:
            return self._greeted(stops, report)
        except ProtocolMismatch:
            return self._greeted(stops, report)

    def _greeted(self, stops: int, report: Report) -> WorkerProcess:
        with self._guard:
            self._check(stops)
            if self._worker and self._worker.is_alive():
                return self._worker
            folder = self._private_folder()
            log_dir = Path(self._log_dir) if self._log_dir else folder / "log"
            worker = WorkerProcess(self.python, self._main, folder, log_dir, self._limits)
            self._worker = worker
        try:
            worker.greet(report)
        except BaseException:
            self._drop(worker)
            raise
        return worker

    def _drop(self, worker: WorkerProcess) -> None:
        with self._guard:
            if self._worker is worker:
                self._worker = None
        worker.end()

    def _leave_when_idle(self, seconds: float) -> None:
        """Look again in so many seconds whether the worker is still needed."""
        with self._guard:
            if self._worker is None or self._idle is not None:
                return
            self._idle = threading.Timer(seconds, _look_again, (weakref.ref(self),))
            self._idle.daemon = True
            self._idle.start()

    def _look(self) -> None:
        """End a worker that nobody has asked for a while."""
        with self._guard:
            self._idle = None
        if not self._turn.acquire(blocking=False):
            return  # a call has begun; it looks for itself when it ends
        try:
            left_s = self._used + self._limits.idle_s - time.monotonic()
            worker = self._worker
            if left_s > 0:
                self._leave_when_idle(left_s)
            elif worker:
                self._drop(worker)
        finally:
            self._turn.release()


def _look_again(client: weakref.ref[WorkerClient]) -> None:
    """Let a client look whether its worker is idle; the waiting must not keep the client alive."""
    there = client()
    if there is not None:
        there._look()  # noqa: SLF001


def _conversation(
    worker: WorkerProcess, call_id: int, report: Report, on_event: Optional[OnEvent]
) -> protocol.Message:
    """Pass on what a job tells until it is done, and return its result or error."""
    fraction, text = 0.0, ""
    while True:
        message = worker.receive()
        if message is not None and message.get("id") == call_id:
            if is_answer(message, call_id):
                return message
            if message["type"] == protocol.PROGRESS:
                fraction, text = float(message["fraction"]), message["message"]
            elif message["type"] == protocol.EVENT and on_event is not None:
                on_event(message["facts"])
        report(fraction, text)


def _failure(answer: protocol.Message) -> TesseraError:
    """Return the error that a job has answered with."""
    kind, message, details = answer["kind"], answer["message"], answer["details"]
    if kind == protocol.DISK_FULL:
        return DiskFull(message, int(details))
    return WorkerFailed(kind, message, details)
