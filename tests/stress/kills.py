# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that fetch into one cache and are killed at random moments, again and again."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

from tests import fetch_child
from tests.servers import RangeServer
from tests.stress.scenes import LARGE, archive, scene
from tests.stress.table import Row
from tests.stress.trial import Trial

BANDWIDTH = 8e6
"""So that a fetch takes about as long as the moments are spread over."""

LATEST_S = 1.2


def run(form: str, count: int, folder: Path, seed: int = 0) -> Row:
    """Kill so many; a cache that is whole is checked, thrown away, and begun anew."""
    row, began = Row(f"killed at random moments, {form}"), time.monotonic()
    draw = random.Random(f"{form} {seed}")
    whole = 0
    with RangeServer(archive(), bandwidth=BANDWIDTH) as server:
        cache = folder / f"kills-{form}"
        trial = Trial(scene(form, LARGE[form]), server, cache)
        before = trial.look()
        for number in range(count):
            _kill_one(trial, draw)
            after = trial.look()
            problems = after.problems()
            if (before.known & ~after.known).any():
                problems.append("something that was there is gone")
            row.add(f"kill {number}", problems)
            before = after
            if after.known.all() or number == count - 1:
                server.bandwidth = None
                row.violations += trial.repaired(after)
                server.bandwidth = BANDWIDTH
                whole += 1
                shutil.rmtree(cache)
                before = trial.look()
    row.remarks = f"{whole} caches were completed by them"
    row.seconds = time.monotonic() - began
    return row


def _kill_one(trial: Trial, draw: random.Random) -> None:
    asked = len(trial.server.log)
    process = start(trial)
    deadline = time.monotonic() + 60
    while len(trial.server.log) == asked and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)  # not yet at it
    time.sleep(draw.uniform(0.0, LATEST_S))
    end(process)


def start(trial: Trial) -> subprocess.Popen[str]:
    """Start a process that fetches what a trial is about."""
    return fetch_child.start(  # type: ignore[no-untyped-call,no-any-return]
        trial.location, trial.folder, trial.scene.window, form=trial.scene.form
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process, and wait until it is gone."""
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
