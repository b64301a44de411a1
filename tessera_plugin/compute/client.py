# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The side of the worker that lives in QGIS: start it, ask it, cancel, survive its death.

The standard library only. Arrays are exchanged as .npy files in `WorkerClient.scratch()`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import BinaryIO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ..errors import ProtocolMismatch, WorkerDied, WorkerFailed, WorkerUnavailable
from ..progress import Cancelled, Report, silent
from . import protocol

WORKER_MAIN = Path(__file__).with_name("worker") / "__main__.py"

_TICK_S = 0.1
"""The longest pause between two calls of a report."""

_ACKNOWLEDGE_S = 0.8
"""How long a worker may take to acknowledge a cancel before it is killed: a person who cancels is
free again within a second, and a worker that is loading libraries is soon started anew."""

_END_S = 2.0
"""How long the end of a killed process is waited for."""

_KEPT_LOGS = 5

_OPTIONS = ("-I", "-u", "-X", "utf8", "-X", "faulthandler")
"""Isolated, unbuffered; a crash in native code leaves its reason in the log."""

_FOREIGN = (
    *("PYTHON", "__PYVENV", "GDAL_", "OGR_", "CPL_", "PROJ_", "GEOTIFF_"),
    *("LD_", "DYLD_", "QT_", "QGIS", "OSGEO4W"),
)
"""Beginnings of the names of variables that QGIS sets for itself and its own libraries."""

_SETTINGS: Mapping[str, str] = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE"})
"""Threads that wait must not spin: with a core taken by QGIS that makes torch ten times slower."""

_NONE: Mapping[str, str] = MappingProxyType({})

_log_numbers = itertools.count(1)

OnEvent = Callable[[Mapping[str, object]], None]


class WorkerClient:
    """A worker process: started on first need, started anew after it died, gone when we are.

    Calls may come from any thread; they are done one after the other.
    """

    def __init__(
        self,
        python: str,
        log_dir: Optional[str] = None,
        *,
        main: Path = WORKER_MAIN,
        silence_s: float = 60.0,
    ) -> None:
        """Start nothing yet.

        `python` is the interpreter of the private environment. `log_dir` keeps what the last few
        workers wrote to stderr; without it, that is removed by `stop`. A worker that gives no sign
        of life for `silence_s` is killed. `main` is the script it runs.
        """
        self.python = python
        self._log_dir = log_dir
        self._main = main
        self._silence_s = silence_s
        self._turn = threading.Lock()  # held by the call that speaks with the worker
        self._guard = threading.Lock()  # held for moments, around the fields below
        self._stops = 0
        self._worker: Optional[_Worker] = None
        self._folder: Optional[_PrivateFolder] = None
        self._ids = itertools.count(1)

    @property
    def versions(self) -> Mapping[str, str]:
        """Packages of the running worker and their versions, Python's included; empty before."""
        worker = self._worker
        return worker.versions if worker else _NONE

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
        answer within 2 s. `on_event` gets what the job tells on its way. Both run in this thread.

        Raises: WorkerUnavailable if it can't be started, ProtocolMismatch if it is of another
        version, WorkerFailed with the error of the job, WorkerDied, and Cancelled also when `stop`
        was called meanwhile.
        """
        call_id = next(self._ids)
        line = protocol.encode(protocol.request(call_id, method, params))
        stops = self._stops
        with self._my_turn(stops, report):
            worker = self._running(stops, report)
            try:
                worker.send(line)
                return _conversation(worker, call_id, report, on_event)
            except WorkerFailed:
                raise
            except WorkerDied:
                self._drop(worker)
                raise
            except BaseException:
                if not worker.cancel(call_id):
                    self._drop(worker)
                raise

    def stop(self) -> None:
        """End the worker and remove the scratch folder; calls that run or wait raise Cancelled.

        Quick, and may be called from any thread. A later call starts a new worker.
        """
        with self._guard:
            self._stops += 1
            worker, self._worker = self._worker, None
            folder, self._folder = self._folder, None
        if worker:
            worker.end()
        if folder:
            folder.remove()

    def _private_folder(self) -> Path:
        """Return the folder of this client, made when it is first needed; under the guard."""
        if self._folder is None:
            self._folder = _PrivateFolder()
        return self._folder.path

    @contextlib.contextmanager
    def _my_turn(self, stops: int, report: Report) -> Iterator[None]:
        """Wait until no other call runs; a worker that `stop` took away is no error."""
        while not self._turn.acquire(timeout=_TICK_S):
            self._check(stops)
            report(0.0, "")
        try:
            yield
        except (WorkerDied, WorkerUnavailable):
            self._check(stops)
            raise
        finally:
            self._turn.release()

    def _check(self, stops: int) -> None:
        if self._stops != stops:
            raise Cancelled

    def _running(self, stops: int, report: Report) -> _Worker:
        """Return a worker that has said hello; called in turn."""
        with self._guard:
            self._check(stops)
            if self._worker and self._worker.is_alive():
                return self._worker
            folder = self._private_folder()
            log_dir = Path(self._log_dir) if self._log_dir else folder / "log"
            command = [self.python, *_OPTIONS, str(self._main), str(folder)]
            worker = self._worker = _Worker(command, folder, log_dir, self._silence_s)
        try:
            worker.greet(report)
        except BaseException:
            self._drop(worker)
            raise
        return worker

    def _drop(self, worker: _Worker) -> None:
        with self._guard:
            if self._worker is worker:
                self._worker = None
        worker.end()


class _PrivateFolder:
    """A folder that only this person may read, removed with the client that made it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=protocol.FOLDER_PREFIX))
        (self.path / "scratch").mkdir()
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class _Inbox:
    """What the reading thread has heard: it holds this and not the worker, which can then go."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Optional[protocol.Message]] = queue.SimpleQueue()
        self.heard = 0

    def fill(self, stream: BinaryIO) -> None:
        """Take in all that the worker says; None marks the end."""
        with contextlib.suppress(OSError, ValueError), stream:
            for message in protocol.read_messages(stream):
                self.heard += 1
                if message["type"] != protocol.HEARTBEAT:
                    self.messages.put(message)
        self.messages.put(None)


class _Worker:
    """One process. It is killed when this object goes, at the latest when Python ends."""

    def __init__(
        self, command: Sequence[str], folder: Path, log_dir: Path, silence_s: float
    ) -> None:
        """Start the process. Raises: WorkerUnavailable."""
        self.versions = _NONE
        self.pid: Optional[int] = None
        self._silence_limit_s = silence_s
        self._silence_s = 0.0
        self._heard = 0
        self._inbox = _Inbox()
        try:
            self._log = _new_log(log_dir)
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=folder,
                    env=clean_environment(os.environ, sys.platform, _qgis_folders()),
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            raise WorkerUnavailable(str(error)) from error
        reader = threading.Thread(
            target=self._inbox.fill, args=(self._process.stdout,), daemon=True
        )
        reader.start()
        self.end = weakref.finalize(self, _end, self._process, reader)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def greet(self, report: Report) -> None:
        """Wait for hello. Raises: WorkerUnavailable, ProtocolMismatch, and what `report` raises."""
        message = None
        try:
            while message is None or message["type"] != protocol.HELLO:
                report(0.0, "")
                message = self.receive()
        except WorkerDied as error:
            raise WorkerUnavailable(error.last_words) from None
        if message["protocol"] != protocol.PROTOCOL:
            raise ProtocolMismatch(protocol.PROTOCOL, message["protocol"])
        self.pid = int(message["pid"])
        self.versions = MappingProxyType(dict(message["packages"]))

    def send(self, line: bytes) -> None:
        """Write one line. Raises: WorkerDied."""
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(line)
                pipe.flush()
        except (OSError, ValueError):  # a broken pipe, or one that `end` has closed
            raise WorkerDied(self._last_words()) from None

    def receive(self) -> Optional[protocol.Message]:
        """Return the next message, or None if none comes within a tick. Raises: WorkerDied."""
        asked = time.monotonic()
        try:
            message = self._inbox.messages.get(timeout=_TICK_S)
        except queue.Empty:
            self._listen(time.monotonic() - asked)
            return None
        if message is None:
            self._inbox.messages.put(None)  # for whoever asks next
            raise WorkerDied(self._last_words())
        return message

    def _listen(self, waited_s: float) -> None:
        """Kill a worker that has been silent for too long.

        A computer that slept, or a QGIS that was frozen, has not listened: such a pause counts as
        one second at most.
        """
        if self._inbox.heard != self._heard:
            self._heard, self._silence_s = self._inbox.heard, 0.0
            return
        self._silence_s += min(waited_s, 1.0)
        if self._silence_s > self._silence_limit_s:
            self.end()
            raise WorkerDied(f"it gave no sign of life for {self._silence_limit_s:g} s")

    def cancel(self, call_id: int) -> bool:
        """Ask the job to end, and return whether it did so in time."""
        deadline = time.monotonic() + _ACKNOWLEDGE_S
        with contextlib.suppress(WorkerDied):
            self.send(protocol.encode(protocol.cancel(call_id)))
            while time.monotonic() < deadline:
                message = self.receive()
                if message is not None and _is_answer(message, call_id):
                    return True
        return False

    def _last_words(self) -> str:
        """Return how the process ended and the last line of its log; ends it if it has not."""
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.end()
        said = _last_line(self._log)
        ending = _ending(self._process.returncode)
        return f"{ending}; its last words: {said}" if said else ending


def _conversation(
    worker: _Worker, call_id: int, report: Report, on_event: Optional[OnEvent]
) -> Dict[str, object]:
    """Pass on what a job tells until it is done."""
    fraction, text = 0.0, ""
    while True:
        message = worker.receive()
        if message is not None and message.get("id") == call_id:
            kind = message["type"]
            if kind == protocol.RESULT:
                value: Dict[str, object] = message["value"]
                return value
            if kind == protocol.ERROR:
                raise WorkerFailed(message["kind"], message["message"], message["details"])
            if kind == protocol.PROGRESS:
                fraction, text = float(message["fraction"]), message["message"]
            elif kind == protocol.EVENT and on_event is not None:
                on_event(message["facts"])
        report(fraction, text)


def _is_answer(message: protocol.Message, call_id: int) -> bool:
    return message.get("id") == call_id and message["type"] in {protocol.RESULT, protocol.ERROR}


def _end(process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """Kill a process and let go of its pipes.

    First kill, then close: closing flushes, which would wait for a worker that no longer reads. The
    reader closes its own end, and Python must not end in the middle of that.
    """
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    reader.join(_END_S)


def clean_environment(
    env: Mapping[str, str], platform: str, qgis_folders: Sequence[str]
) -> Dict[str, str]:
    """Return the variables for a process that must not meet the libraries of QGIS.

    Dropped are those of Python, GDAL, PROJ, Qt, QGIS and of the dynamic loader. On Windows
    (`platform` as in sys.platform) DLLs are found along PATH, so the folders of QGIS are taken off
    it: those in `qgis_folders` with all below them, and any that by its name is of QGIS or OSGeo4W.
    """
    kept = {name: value for name, value in env.items() if not name.upper().startswith(_FOREIGN)}
    if platform == "win32":
        roots = [PureWindowsPath(folder) for folder in qgis_folders if folder]
        for name in [name for name in kept if name.upper() == "PATH"]:
            entries = [entry.strip('"') for entry in kept[name].split(";")]
            kept[name] = ";".join(
                entry for entry in entries if entry and not _is_qgis(entry, roots)
            )
    return {**kept, **_SETTINGS}


def _is_qgis(entry: str, roots: Sequence[PureWindowsPath]) -> bool:
    path = PureWindowsPath(entry)
    if any(part.lower().startswith(("qgis", "osgeo4w")) for part in path.parts):
        return True
    return any(root == path or root in path.parents for root in roots)


def _qgis_folders() -> List[str]:
    """Return where this process has its own libraries from."""
    told = [os.environ.get(name, "") for name in ("OSGEO4W_ROOT", "QGIS_PREFIX_PATH")]
    return [*told, sys.prefix, sys.base_prefix, str(Path(sys.executable).parent)]


def _new_log(folder: Path) -> Path:
    """Return the path of a log that no other client has, and remove the oldest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("worker-*.log"))[: 1 - _KEPT_LOGS]:
        with contextlib.suppress(OSError):  # on Windows, while another QGIS writes it
            old.unlink()
    started = time.strftime("%Y%m%d-%H%M%S")
    return folder / f"worker-{started}-{os.getpid()}-{next(_log_numbers):04}.log"


def _last_line(log: Path) -> str:
    """Return what a log says last: of a native crash the reason, not the stacks below it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    lines = [line.strip() for line in lines if line.strip()]
    crashes = ("Fatal Python error", "Windows fatal exception")
    fatal = [number for number, line in enumerate(lines) if line.startswith(crashes)]
    # What C++ has to say stands right above.
    last = lines[max(0, fatal[-1] - 2) : fatal[-1] + 1] if fatal else lines[-1:]
    return " ".join(last)[-500:]


def _ending(status: Optional[int]) -> str:
    """Say how a process ended, from its exit status."""
    if status is None:
        return "it does not answer"
    if status >= 0:
        return f"exit status {status if status < 256 else hex(status)}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}" + (", as happens when memory runs out" if name == "SIGKILL" else "")
