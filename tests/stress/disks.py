# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real disks that are full or can only be read."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Iterator, List, Sequence

import pytest

from tessera_plugin.errors import DiskFull
from tessera_plugin.io.sources.base import FetchOptions
from tessera_plugin.values import Window
from tests.cache_builders import small_disk
from tests.servers import RangeServer
from tests.stress.scenes import LARGE, archive, scene
from tests.stress.table import Row
from tests.stress.trial import Trial


def fill(path: Path, leave: int = 0) -> None:
    """Take what is free on a disk, once."""
    if path.exists():
        return
    room = shutil.disk_usage(path.parent).free - leave
    with path.open("wb") as stream, contextlib.suppress(OSError):
        while room > 0:
            room -= stream.write(bytes(min(room, 1 << 20)))
            os.fsync(stream.fileno())


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let a mounted disk only be read."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def run(form: str, count: int, folder: Path, seed: int = 0) -> Row:
    """Let a disk run full at moments drawn by chance."""
    row, began = Row(f"disk runs full, {form}"), time.monotonic()
    draw = random.Random(f"{form} {seed}")
    with RangeServer(archive()) as server:
        try:
            for number in range(count):
                with small_disk(folder / f"disk-{form}-{number}", 40) as disk:
                    row.add(f"disk {number}", _filled(form, server, disk, draw))
        except pytest.skip.Exception as skipped:
            row.remarks = f"NOT TRIED: {skipped}"
    row.seconds = time.monotonic() - began
    return row


def _filled(form: str, server: RangeServer, disk: Path, draw: random.Random) -> List[str]:
    trial = Trial(scene(form, LARGE[form]), server, disk / "cache")
    filler, left = disk / "filler", draw.randrange(0, 9_000_000)
    seen, after = [0], draw.randint(1, 3)

    def arrived(blocks: Sequence[Window]) -> None:
        seen[0] += len(blocks)
        if seen[0] >= after:
            fill(filler, left)

    server.bandwidth = draw.choice((10e6, 20e6, 40e6))
    outcome = trial.fetch(options=FetchOptions(arrived=arrived))
    problems = outcome.problems()
    if outcome.error is not None and not isinstance(outcome.error, DiskFull):
        problems.append(f"it says {outcome.error}")
    if outcome.error is None:
        problems += outcome.not_whole()
    problems += [f"{path.name} is left" for path in disk.rglob("*.tmp")]
    filler.unlink(missing_ok=True)
    server.bandwidth = None
    return problems + trial.repaired(outcome)
