# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a worker writes to stderr: kept in a file of limited size, and its last words."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import time
from pathlib import Path
from typing import BinaryIO, Optional

MOST_BYTES = 4 << 20
"""The size a log may reach. Past that it begins anew with the last of what was said."""

_CARRIED = 64 << 10
_READ = 64 << 10
_KEPT_LOGS = 5
_WORDS = 500

_TRACE = re.compile(r'(Current thread|Thread) 0x|Timeout \(|File ".*", line \d+ in ')
"""Lines of what faulthandler writes when it is asked where the threads are."""

_FRAME = re.compile(r'\s*File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')

_log_numbers = itertools.count(1)


def new_log(folder: Path) -> Path:
    """Make a log that no other client has, and remove the oldest ones. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("worker-*.log"))[: 1 - _KEPT_LOGS]:
        with contextlib.suppress(OSError):  # on Windows, while another QGIS writes it
            old.unlink()
    started = time.strftime("%Y%m%d-%H%M%S")
    path = folder / f"worker-{started}-{os.getpid()}-{next(_log_numbers):04}.log"
    path.touch()
    return path


def keep(stream: BinaryIO, path: Path) -> None:
    """Write all that comes to a log, until its end.

    A worker whose words are not taken would stand still: whatever happens here, it is read on.
    """
    size, tail = 0, b""
    with contextlib.suppress(OSError, ValueError), stream, path.open("wb", buffering=0) as file:
        while True:
            said = os.read(stream.fileno(), _READ)
            if not said:
                return
            size, tail = size + len(said), (tail + said)[-_CARRIED:]
            with contextlib.suppress(OSError):  # a full disk
                if size > MOST_BYTES:
                    file.seek(0)
                    file.truncate()
                    said = b"[...]\n" + tail
                    size = len(said)
                file.write(said)


def last_words(path: Path) -> str:
    """Return what a log says last: of a native crash the reason, not the stacks below it."""
    lines = [line.strip() for line in _tail(path).splitlines() if line.strip()]
    crashes = ("Fatal Python error", "Windows fatal exception")
    fatal = [number for number, line in enumerate(lines) if line.startswith(crashes)]
    if fatal:
        # What C++ has to say stands right above.
        last = lines[max(0, fatal[-1] - 2) : fatal[-1] + 1]
    else:
        last = [line for line in lines if not _TRACE.match(line)][-1:]
    return " ".join(last)[-_WORDS:]


def place(path: Path) -> str:
    """Return where the main thread was when the threads were last written down; may be empty."""
    lines = _tail(path).splitlines()
    heads = [number for number, line in enumerate(lines) if "(most recent call first)" in line]
    found = _FRAME.match(lines[heads[-1] + 1]) if heads and heads[-1] + 1 < len(lines) else None
    if found is None:
        return ""
    file = re.split(r"[\\/]", found["file"])[-1]
    return f"in {found['name']} ({file}, line {found['line']})"


def ending(status: Optional[int]) -> str:
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


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
