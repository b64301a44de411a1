# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a program of the installation: its output in the log, ended when it is idle or not wanted."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence

from ..children import end_group, group_options
from . import logs

TICK_S = 0.2
WATCH_S = 1.0
"""How often it is looked whether what the program writes has grown."""

Tick = Callable[[], None]
"""Called several times a second; what it raises (Cancelled) ends the program within two seconds."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    status: int
    output: str
    """What it wrote, at most the last 64 KB."""
    is_idle: bool = False
    """Whether it was ended since nothing had happened for too long."""


def run(
    command: Sequence[str],
    environ: Mapping[str, str],
    log: Path,
    tick: Tick,
    *,
    idle_s: float,
    grows: Optional[Callable[[], int]] = None,
) -> Outcome:
    """Run a program to its end and return what it said.

    It is ended when it has written nothing, and `grows` (the bytes of what it makes) has not
    changed, for `idle_s` seconds. Its output goes to the end of the log.
    Raises: OSError where it can't be started, and what `tick` raises.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    logs.shorten(log)
    with log.open("ab") as stream:
        stream.write(logs.heading(command).encode())
        stream.flush()
        start = stream.tell()
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            cwd=str(log.parent),
            **group_options(),
        )
        try:
            is_idle = _watch(process, log, tick, idle_s, grows or _nothing)
        finally:
            end_group(process)
    status = process.returncode if process.returncode is not None else -1
    return Outcome(status, logs.tail(log, start), is_idle)


def _watch(
    process: subprocess.Popen[bytes],
    log: Path,
    tick: Tick,
    idle_s: float,
    grows: Callable[[], int],
) -> bool:
    """Wait for the end; return whether the program has to be ended as nothing happens."""
    seen: List[int] = []
    changed = looked = time.monotonic()
    while process.poll() is None:
        tick()
        now = time.monotonic()
        if now - looked >= WATCH_S:
            found, looked = [log.stat().st_size, grows()], now
            if found != seen:
                seen, changed = found, now
        if now - changed > idle_s:
            return True
        try:
            process.wait(TICK_S)
        except subprocess.TimeoutExpired:
            continue
    return False


def _nothing() -> int:
    return 0
