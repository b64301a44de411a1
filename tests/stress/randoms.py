# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Several faults at once, drawn by chance: any kind, anywhere, any number of times.

A seed that found something can be tried alone: python -m tests.stress.randoms FORM SEED
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import List

from tessera_plugin.io import http_bodies
from tessera_plugin.values import Window
from tests.servers import FOREVER, Fault, RangeServer
from tests.stress.kinds import KINDS
from tests.stress.scenes import LARGE, Scene, archive, scene
from tests.stress.table import Row
from tests.stress.trial import Trial, with_

PLACES = {
    "zarr": (
        LARGE["zarr"],
        Window(31, -577_340, 29_270, 120, 130),  # the river, and never written on the left
        Window(31, -578_900, 30_200, 130, 150),  # within a shard
        Window(31, -577_830, 29_920, 70, 60),  # codes all zero with a valid scale
    ),
    "npy": (
        LARGE["npy"],
        Window(36, -15, 45_060, 30, 160),  # a lake over the equator
        Window(36, -10, 44_300, 20, 120),  # the edge of what is published
        Window(31, -578_160, 31_030, 30, 40),  # corrupt scales
    ),
}

SLOWEST_S = 60


def run(form: str, seeds: int, folder: Path) -> Row:
    """Try so many seeds."""
    row, began = Row(f"random faults, {form}"), time.monotonic()
    for seed in range(seeds):
        row.add(f"seed {seed}", once(form, seed, folder / f"random-{form}-{seed}"))
    row.seconds = time.monotonic() - began
    return row


def once(form: str, seed: int, folder: Path) -> List[str]:
    """Fetch under the faults of a seed, twice, then without; return what was wrong."""
    draw = random.Random(f"{form} {seed}")
    where = scene(form, draw.choice(PLACES[form]))
    problems: List[str] = []
    patience, http_bodies.SLOWEST_BYTES_PER_S = http_bodies.SLOWEST_BYTES_PER_S, 100_000.0
    try:
        with RangeServer(archive()) as server:
            trial = Trial(where, server, folder)
            is_same = True
            for _ in range(2):
                faults = _drawn(draw, where)
                is_same &= not any("etag" in fault.kind for fault in faults)
                server.faults[:] = faults
                network = with_(
                    attempts=draw.randint(1, 4), connections=draw.randint(1, 6), read_timeout_s=0.4
                )
                outcome = trial.fetch(network)
                problems += outcome.problems() + outcome.not_bounded(600, SLOWEST_S)
            problems += trial.repaired(outcome, is_same=is_same)
    finally:
        http_bodies.SLOWEST_BYTES_PER_S = patience
    return problems


def _drawn(draw: random.Random, where: Scene) -> List[Fault]:
    paths = [path for part in where.parts for path in (part.codes, part.scales)]
    paths += ["*", "*scales*", "*.npy", "*/embeddings/*", "zarr/*/zarr.json"]
    quick = [kind for kind in KINDS if not kind.seconds]
    slow = [kind for kind in KINDS if kind.seconds]
    faults = []
    for _ in range(draw.randint(1, 6)):
        kind = draw.choice(slow if draw.random() < 0.1 else quick)
        count = draw.choice((1, 1, 2, 3, 5, FOREVER))
        faults.append(
            kind.make(path=draw.choice(paths), count=count, skip=draw.choice((0, 0, 1, 2, 5)))
        )
    return faults


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print("\n".join(once(sys.argv[1], int(sys.argv[2]), Path(scratch))) or "nothing wrong")
