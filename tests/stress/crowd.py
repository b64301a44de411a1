# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two processes that fetch overlapping windows into one cache, while one of them is killed."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import List

from tests import fetch_child
from tests.servers import RangeServer
from tests.stress.kills import BANDWIDTH, end, start
from tests.stress.scenes import LARGE, archive, scene
from tests.stress.table import Row
from tests.stress.trial import Trial


def run(form: str, rounds: int, folder: Path, seed: int = 0) -> Row:
    """Let two fetch at once; in each round one of them, drawn by chance, is killed."""
    row, began = Row(f"two at once, one killed, {form}"), time.monotonic()
    draw = random.Random(f"{form} {seed}")
    cache = folder / f"crowd-{form}"
    with RangeServer(archive(), bandwidth=2 * BANDWIDTH) as server:
        for number in range(rounds):
            row.add(f"round {number}", _round(form, server, cache, draw))
            shutil.rmtree(cache)
    row.seconds = time.monotonic() - began
    return row


def _round(form: str, server: RangeServer, cache: Path, draw: random.Random) -> List[str]:
    window = LARGE[form]
    # most of it is in both
    left = replace(window, width=window.width - 20)
    right = replace(window, col=window.col + 20, width=window.width - 20)
    trials = [Trial(scene(form, place), server, cache) for place in (left, right)]
    processes = [start(trial) for trial in trials]
    victim = draw.randrange(2)
    asked, deadline = len(server.log), time.monotonic() + 60
    while len(server.log) == asked and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(draw.uniform(0.0, 1.5))
    end(processes[victim])
    told = fetch_child.told(processes[1 - victim])
    problems = [f"the other one failed: {told}"] if told["failed"] or told["error"] else []
    survivor, dead = trials[1 - victim], trials[victim]
    outcome = survivor.look()
    problems += outcome.problems() + outcome.not_whole()
    before = dead.look()
    return problems + before.problems() + dead.repaired(before)
