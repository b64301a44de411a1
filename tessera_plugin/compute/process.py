# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One worker process: its pipes, what it says, and its end."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, List, Mapping, NoReturn, Optional, Sequence

from ..children import clean_environment, group_options, kill_group, qgis_folders
from ..errors import ProtocolMismatch, WorkerDied, WorkerOutOfMemory, WorkerUnavailable
from ..progress import Report
from . import log, protocol, windows
from .system import memory_of
from .watch import Limits, Watch

TICK_S = 0.1
"""The longest pause between two calls of a report."""

_ACKNOWLEDGE_S = 0.8
"""How long a worker may take to acknowledge a cancel before it is killed: a person who cancels is
free again within a second, and a worker that is loading libraries is soon started anew."""

_WEIGH_S = 0.25
"""How often its memory is looked at."""

_DUMP_S = 1.0
_END_S = 2.0
"""How long the end of a killed process is waited for."""

_OPTIONS = ("-I", "-u", "-X", "utf8", "-X", "faulthandler")
"""Isolated, unbuffered; a crash in native code leaves its reason in the log."""

_SETTINGS: Mapping[str, str] = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE"})
"""Threads that wait must not spin: with a core taken by QGIS that makes torch ten times slower."""

NONE: Mapping[str, str] = MappingProxyType({})


class _Inbox:
    """What the reading thread has heard: it holds this and not the worker, which can then go."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Optional[protocol.Message]] = queue.SimpleQueue()
        self.heard = 0
        self.beat: Optional[protocol.Message] = None

    def fill(self, stream: BinaryIO) -> None:
        """Take in all that the worker says; None marks the end."""
        with contextlib.suppress(OSError, ValueError), stream:
            for message in protocol.read_messages(stream):
                self.heard += 1
                if message["type"] == protocol.HEARTBEAT:
                    self.beat = message
                else:
                    self.messages.put(message)
        self.messages.put(None)


class _Outbox:
    """What is still to be said: a worker that does not read makes a thread wait, and not a call."""

    def __init__(self, inbox: _Inbox) -> None:
        self.lines: queue.SimpleQueue[Optional[bytes]] = queue.SimpleQueue()
        self._inbox = inbox

    def empty(self, stream: BinaryIO) -> None:
        """Say it, until None comes or the pipe breaks."""
        try:
            with stream:
                while True:
                    line = self.lines.get()
                    if line is None:
                        return
                    stream.write(line)
                    stream.flush()
        except (OSError, ValueError):
            self._inbox.messages.put(None)


class WorkerProcess:
    """One process. It is killed when this object goes, at the latest when Python ends."""

    def __init__(
        self, python: str, main: Path, folder: Path, log_dir: Path, limits: Limits
    ) -> None:
        """Start the process. Raises: WorkerUnavailable."""
        self.versions = NONE
        self.pid: Optional[int] = None
        self._limits = limits
        self._watch = Watch(limits)
        self._looked = self._weighed = time.monotonic()
        self._inbox = _Inbox()
        self._outbox = _Outbox(self._inbox)
        command = [python, *_OPTIONS, str(main), str(folder), str(limits.silence_s)]
        try:
            self._log = log.new_log(log_dir)
            self._process = _start(command, folder)
        except OSError as error:
            raise WorkerUnavailable(str(error)) from error
        job = windows.Job(self._process.pid) if sys.platform == "win32" else None
        process = self._process
        threads = [
            threading.Thread(target=self._inbox.fill, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._outbox.empty, args=(process.stdin,), daemon=True),
            threading.Thread(target=log.keep, args=(process.stderr, self._log), daemon=True),
        ]
        for thread in threads:
            thread.start()
        self.end = weakref.finalize(self, _end, process, job, self._outbox, threads)

    def is_alive(self) -> bool:
        """Whether it still runs."""
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

    def ask(self, line: bytes) -> None:
        """Send a request; the clocks begin anew."""
        self._watch.begin()
        self._looked = time.monotonic()
        self._outbox.lines.put(line)

    def receive(self) -> Optional[protocol.Message]:
        """Return the next message, or None if none comes within a tick.

        Raises: WorkerDied, also where it had to be ended; WorkerOutOfMemory.
        """
        message = self._next()
        if message is not None:
            self._watch.hear(message)
        now = time.monotonic()
        self._watch.listen(now - self._looked, self._inbox.heard, self._inbox.beat)
        self._looked = now
        if self._watch.is_silent:
            self._give_up(f"it gave no sign of life for {self._watch.silence_limit_s:g} s")
        if self._watch.is_still:
            self._dump()
            self._give_up(f"it stood still for {self._limits.stall_s:g} s")
        if self.pid is not None and now - self._weighed >= _WEIGH_S:
            self._weighed = now
            self._weigh(self.pid)
        return message

    def cancel(self, call_id: int) -> bool:
        """Ask the job to end, and return whether it did so in time."""
        deadline = time.monotonic() + _ACKNOWLEDGE_S
        self._outbox.lines.put(protocol.encode(protocol.cancel(call_id)))
        with contextlib.suppress(WorkerDied):
            while time.monotonic() < deadline:
                message = self.receive()
                if message is not None and is_answer(message, call_id):
                    return True
        return False

    def _next(self) -> Optional[protocol.Message]:
        """Return the next message, or None if none comes within a tick. Raises: WorkerDied."""
        try:
            message = self._inbox.messages.get(timeout=TICK_S)
        except queue.Empty:
            return None
        if message is None:
            self._inbox.messages.put(None)  # for whoever asks next
            raise WorkerDied(self._last_words())
        return message

    def _weigh(self, pid: int) -> None:
        """Kill a worker that holds too much memory, before the system looks for somebody to kill."""
        used = memory_of(pid)
        limit = self._limits.memory_bytes
        if 0 < limit < used:
            self.end()
            raise WorkerOutOfMemory(log.last_words(self._log), used, limit)

    def _dump(self) -> None:
        """Let the worker write into its log what its threads are at, if it can."""
        self._outbox.lines.put(protocol.encode(protocol.dump()))
        deadline = time.monotonic() + _DUMP_S
        with contextlib.suppress(WorkerDied):
            while time.monotonic() < deadline:
                message = self._next()
                if message is not None and message["type"] == protocol.DUMP:
                    return

    def _give_up(self, reason: str) -> NoReturn:
        """Kill it, and say where it was."""
        self.end()
        raise WorkerDied(" ".join(filter(None, [reason, log.place(self._log)])))

    def _last_words(self) -> str:
        """Return how the process ended and the last line of its log; ends it if it has not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.end()
        said, ending = log.last_words(self._log), log.ending(self._process.returncode)
        return f"{ending}; its last words: {said}" if said else ending


def is_answer(message: protocol.Message, call_id: int) -> bool:
    """Whether a message is what a request ends with."""
    return message.get("id") == call_id and message["type"] in {protocol.RESULT, protocol.ERROR}


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**clean_environment(os.environ, sys.platform, qgis_folders()), **_SETTINGS},
        **group_options(),
    )


def _end(
    process: subprocess.Popen[bytes],
    job: Optional[windows.Job],
    outbox: _Outbox,
    threads: List[threading.Thread],
) -> None:
    """Kill a process with all it started, and let go of its pipes.

    The threads close their own ends when it is gone, and Python must not end in the middle of that.
    """
    if job is None:
        kill_group(process)
    else:  # quicker than to look for what belongs to it, which Windows takes a program for
        job.close()
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    outbox.lines.put(None)
    for thread in threads:
        thread.join(_END_S)
