# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Slow faults with the time-outs that people have: nothing is shortened.

All run side by side, each over its own server, since they do little but wait.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List

from tessera_plugin.values import NetworkSettings
from tests.servers import FOREVER, Fault, RangeServer
from tests.stress.scenes import archive, scene
from tests.stress.table import Row
from tests.stress.trial import Trial

NETWORK = NetworkSettings()
LONG_S = 3600.0


@dataclass(frozen=True)
class Slow:
    """A slow fault on the codes of one part."""

    name: str
    make: Callable[..., Fault]
    words: str
    """Empty where the fetch gets over it."""
    longest_s: float


_TRIES_S = NETWORK.attempts * NETWORK.read_timeout_s + 60
"""All tries in silence, with the waits between them and some for the machine."""

SLOW = (
    Slow("silence for ever", lambda **w: Fault.stall(LONG_S, count=FOREVER, **w),
         "nothing came for 60 s|no connection", 2 * _TRIES_S),
    Slow("silence within a body for ever",
         lambda **w: Fault.stall_body(LONG_S, after=5000, count=FOREVER, **w),
         "nothing came for 60 s", 2 * _TRIES_S),
    Slow("silence once", lambda **w: Fault.stall(LONG_S, count=1, **w), "", 120),
    Slow("one byte a second for ever", lambda **w: Fault.drip(1.0, count=FOREVER, **w),
         "it comes too slowly", 2 * _TRIES_S),
    Slow("one byte a second, once", lambda **w: Fault.drip(1.0, count=1, **w), "", 240),
    Slow("a head that never ends", lambda **w: Fault.drip_head(1.0, count=FOREVER, **w),
         "it comes too slowly|no connection", 2 * _TRIES_S),
    Slow("429, wait 30 s, twice", lambda **w: Fault.status(429, retry_after=30, count=2, **w), "", 150),
    Slow("503 for ever", lambda **w: Fault.status(503, count=FOREVER, **w), "status 503", 240),
    Slow("resets for ever", lambda **w: Fault.reset(after=5000, count=FOREVER, **w),
         "the connection broke", 240),
    Slow("a slow line: 4 kB/s",
         lambda **w: Fault.drip(0.25, piece=1000, count=1, **w), "", 900),
)  # fmt: skip


def run(form: str, folder: Path) -> Row:
    """Try all of them at once."""
    row, began = Row(f"slow faults, real time-outs, {form}"), time.monotonic()
    lock = threading.Lock()

    def work(number: int, slow: Slow) -> None:
        problems = _tried(form, slow, folder / f"slow-{form}-{number}")
        with lock:
            row.add(slow.name, problems)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(SLOW)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row.seconds = time.monotonic() - began
    return row


def _tried(form: str, slow: Slow, folder: Path) -> List[str]:
    try:
        with RangeServer(archive()) as server:
            trial = Trial(scene(form), server, folder)
            part = trial.scene.parts[-1]
            is_drip = "slow line" in slow.name
            server.faults.append(slow.make(path=part.scales if is_drip else part.codes, skip=1))
            outcome = trial.fetch(NETWORK)
            problems = outcome.problems() + outcome.not_bounded(100, slow.longest_s)
            problems += outcome.not_named(slow.words) if slow.words else outcome.not_whole()
            return problems + trial.repaired(outcome, NETWORK)
    except Exception as error:
        return [f"it broke: {error!r}"]
